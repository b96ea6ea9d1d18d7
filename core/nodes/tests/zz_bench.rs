//! Temporary measurement.
mod common;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::device::{Device, PROFILE};
use common::graph::config;
use keystore::shipment::Shipment;
use keystore::Store;
use metergraph_nodes::decrypt::DecryptKind;
use metergraph_nodes::ingress::IngressKind;
use metergraph_nodes::journal::Log;
use metergraph_nodes::load_balancer::LoadBalancerKind;
use node::context::{Orders, Output, Wiring};
use node::env::{Services, Wire};
use node::*;
use seal::frame::FrameType;

fn edge(from: &str, port: &str, to: &str) -> Arc<Edge> {
    let name = EdgeName { from: from.into(), port: port.into(), from_instance: 0, to: to.into(), to_instance: 0 };
    Arc::new(Edge::new(name, 1 << 14, WhenFull::Wait))
}

fn cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
#[ignore]
fn shard() {
    let count: u32 = std::env::var("DEVICES").map_or(200_000, |n| n.parse().unwrap());
    let ack = std::env::var("ACK").is_ok();
    let dir = tempfile::tempdir().unwrap();
    let mut text = Vec::new();
    keystore::sample::write(&keystore::sample::Sample { devices: count, classic: 0, profile: PROFILE }, &mut text).unwrap();
    let shipment = Shipment::read(&text[..]).unwrap();
    let path = dir.path().join(keystore::FOLDER);
    let system = common::site::SYSTEM;
    Store::init(&path, Some(system)).unwrap();
    let mut store = Store::open(&path).unwrap();
    store.import(&shipment, &|path| std::fs::read(path).ok(), true).unwrap();
    let services = Services::default();
    services.provide("keys", Arc::new(store.directory().unwrap()));
    services.provide("keys", Arc::new(store.into_vault()));
    let log = Arc::new(Log::new(Arc::new(journal::files::OsFiles), dir.path().join("journal")));
    services.provide("journal", log);
    let mut devices: Vec<Device> = shipment.rows().iter().filter_map(|row| Device::of(system, row)).collect();
    let mut random = common::Random(1);
    for place in (1..devices.len()).rev() {
        devices.swap(place, random.below(place as u64 + 1) as usize);
    }
    let wires: Vec<Wire> = [("balancer", "frames", "decrypt"), ("decrypt", "records", "journal"), ("decrypt", "sealed", "downlink"), ("downlink", "transmit", "transport:wan")]
        .into_iter().map(|(from, port, to)| Wire { from: from.into(), port: port.into(), to: to.into() }).collect();
    let env = |node: &str| Env {
        node: node.into(), instance: 0, instances: 1, run: 1, state: dir.path().into(), meters: Meters::default(),
        services: services.clone(), pool: BatchPool::new(1024), status: NodeStatus::default(), wires: Arc::new(wires.clone()),
        transports: Arc::new(vec!["wan".into()]), transport: Some("wan".into()),
    };
    let body = { let mut b = common::device::plain(); 
        // 128 octets of two services
        b.clear(); use c1222::*; use c1222::epsem::ResponseControl; use c1222::tables::TableId;
        let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Never);
        EpsemWriter::new(&mut b, control, Some(*b"MGRF"))
        .request(&Request::FullWrite { table: TableId::standard(23), data: TableData::of(&[0x11; 12]) })
        .request(&Request::FullWrite { table: TableId::standard(64), data: TableData::of(&[0x22; 95]) });
        b };
    println!("body {}", body.len());
    let rounds = std::env::var("ROUNDS").map_or(6, |n| n.parse().unwrap());
    let mut located = Vec::new();
    let (mut t_ing, mut t_bal) = (0, 0);
    for round in 0..rounds {
        let (a, b, c) = (edge("transport:wan", "received", "ingress"), edge("ingress", "apdus", "balancer"), edge("balancer", "frames", "decrypt"));
        for chunk in devices.chunks(256) {
            let mut batch = Batch::default();
            for device in chunk {
                batch.push(&device.carry(&device.frame(FrameType::Report, round, &body)), Frame { link: 3, ..Frame::default() });
            }
            a.offer(batch).unwrap();
        }
        a.close();
        let mut run = |kind: &dyn NodeKind, node: &str, input: &Arc<Edge>, port: &str, output: &Arc<Edge>| {
            let mut worker = kind.build(&config(kind, []), &env(node)).unwrap();
            let mut context = Context::new(Wiring { inputs: vec![input.clone()], outputs: vec![Output { port: port.into(), edges: vec![output.clone()] }], ..Wiring::default() });
            let t = cpu();
            worker.run(&mut context).unwrap();
            output.close();
            cpu() - t
        };
        t_ing = run(&IngressKind, "ingress", &a, "apdus", &b);
        t_bal = run(&LoadBalancerKind, "balancer", &b, "frames", &c);
        let mut batches = Vec::new();
        while let Some((_, batch)) = c.take() { batches.push(batch); }
        located.push(batches);
    }
    println!("ingress {} ns/frame, balancer {} ns/frame", t_ing / count as u64, t_bal / count as u64);
    let input = edge("balancer", "frames", "decrypt");
    let (records, sealed) = (edge("decrypt", "records", "journal"), edge("decrypt", "sealed", "downlink"));
    let kind = DecryptKind;
    let mut worker = kind.build(&config(&kind, []), &env("decrypt")).unwrap();
    let mut outputs = vec![Output { port: "records".into(), edges: vec![records.clone()] }];
    if ack { outputs.push(Output { port: "sealed".into(), edges: vec![sealed.clone()] }); }
    let orders = Orders::default();
    let mut context = Context::new(Wiring { inputs: vec![input.clone()], outputs, orders: orders.clone(), ..Wiring::default() });
    let (tx, rx) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let shard = scope.spawn(move || {
            tx.send(unsafe_tid()).unwrap();
            worker.run(&mut context).unwrap();
        });
        let (r2, s2, st) = (records.clone(), sealed.clone(), stop.clone());
        let sink = scope.spawn(move || {
            let mut n = 0u64;
            while !st.load(std::sync::atomic::Ordering::Relaxed) {
                let mut any = false;
                while let Some((number, batch)) = r2.take() { n += batch.frames.iter().filter(|f| metergraph_nodes::record::kind_of(f) == 1).count() as u64; r2.settle(number); any = true; COUNT.store(n, std::sync::atomic::Ordering::Relaxed); }
                while let Some((_, batch)) = s2.take() { ACKS.fetch_add(batch.len() as u64, std::sync::atomic::Ordering::Relaxed); any = true; }
                if !any { std::thread::sleep(Duration::from_micros(200)); }
            }
        });
        let tid = rx.recv().unwrap();
        let cpu_of = |tid: u64| -> u64 { std::fs::read_to_string(format!("/proc/self/task/{tid}/schedstat")).unwrap().split_whitespace().next().unwrap().parse().unwrap() };
        for (round, batches) in located.into_iter().enumerate() {
            std::thread::sleep(Duration::from_millis(100));
            let before = cpu_of(tid);
            for batch in batches { input.offer(batch).map_err(|_| "full").unwrap(); }
            let since = Instant::now();
            let want = (round as u64 + 1) * count as u64;
            while COUNT.load(std::sync::atomic::Ordering::Relaxed) < want || (ack && ACKS.load(std::sync::atomic::Ordering::Relaxed) < want) {
                assert!(since.elapsed() < Duration::from_secs(30), "{} {}", COUNT.load(std::sync::atomic::Ordering::Relaxed), ACKS.load(std::sync::atomic::Ordering::Relaxed));
                std::thread::sleep(Duration::from_millis(1));
            }
            std::thread::sleep(Duration::from_millis(50));
            println!("round {round}: {} ns/frame", (cpu_of(tid) - before) / count as u64);
        }
        input.close();
        shard.join().unwrap();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        sink.join().unwrap();
    });
}
static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
static ACKS: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
fn unsafe_tid() -> u64 {
    std::fs::read_link("/proc/thread-self").unwrap().file_name().unwrap().to_str().unwrap().parse().unwrap()
}
