//! A balancer and a registrar in front of shards, a token and a key store that the test plays.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;

use c1222::{ApTitleBuf, Apdu, Envelope, InvocationId, Leniency, Qualifier, carriage};
use journal::Writer;
use journal::files::ForgetfulFiles;
use keystore::Directory;
use metergraph_nodes::journal::Log;
use metergraph_nodes::key_store::{Fence, KeyStoreKind};
use metergraph_nodes::load_balancer::LoadBalancerKind;
use metergraph_nodes::order::Order;
use metergraph_nodes::record::{self, Proved, Record};
use metergraph_nodes::registrar::{Lent, RegistrarKind, Registrations};
use node::context::{Orders, Output, Wiring};
use node::env::{Services, Wire};
use node::event::EventEdge;
use node::meters::Reading;
use node::{
    Batch, BatchPool, Context, Edge, EdgeName, Env, Event, Frame, Meters, NodeError, NodeKind, NodeStatus,
    Value, WhenFull,
};
use seal::edhoc::{AwaitMessage4, Registered};
use seal::ids::{Dev, Sid};

use super::common::egress::SETTINGS;
use super::common::graph::config;
use super::common::site::Site;
use super::common::wait_for;
use super::desk::Desk;
use super::device::Device;

pub const SECOND: u64 = 1_000_000_000;
pub const SHARDS: usize = 2;

/// Whom the balancer knows.
static DIRECTORY: LazyLock<Arc<Directory>> = LazyLock::new(|| Arc::clone(&Site::new(1, 1).directory));

pub fn directory() -> &'static Directory {
    &DIRECTORY
}

/// A balancer and a registrar, running.
pub struct Office {
    pub desk: Arc<Desk>,
    pub log: Arc<Log>,
    pub writer: Mutex<Option<Writer>>,
    pub services: Services,
    meters: Meters,
    apdus: Arc<Edge>,
    pub frames: Arc<Edge>,
    pub registrations: Arc<Edge>,
    pub orders: Vec<Arc<Edge>>,
    sealed: Arc<Edge>,
    events: Vec<Arc<EventEdge>>,
    statuses: Vec<NodeStatus>,
    /// Of both workers.
    tell: Vec<Orders>,
    threads: Vec<JoinHandle<Result<(), NodeError>>>,
    sent: AtomicU64,
}

fn env(node: &str, services: Services, wires: Vec<Wire>, state: PathBuf, status: NodeStatus) -> Env {
    Env {
        node: node.to_owned(),
        instance: 0,
        instances: 1,
        run: 1,
        state,
        meters: Meters::default(),
        services,
        pool: BatchPool::new(16),
        status,
        wires: Arc::new(wires),
        transports: Arc::new(vec!["wan".to_owned()]),
        transport: None,
    }
}

fn edge(from: &str, port: &str, to: &str, to_instance: usize, batches_max: usize) -> Arc<Edge> {
    let name =
        EdgeName { from: from.into(), port: port.into(), from_instance: 0, to: to.into(), to_instance };
    Arc::new(Edge::new(name, batches_max, WhenFull::Wait))
}

impl Office {
    pub fn open(desk: Desk) -> Self {
        Self::open_with(desk, &[])
    }

    pub fn open_with(desk: Desk, settings: &[(&'static str, i64)]) -> Self {
        let files = Arc::new(ForgetfulFiles::default());
        let log = Arc::new(Log::new(files, "journal".into()));
        let writer = Writer::open(log.files(), log.folder(), SETTINGS, log.durable()).unwrap();
        Self::open_on(Arc::new(desk), log, writer, settings)
    }

    /// Over a log that there is.
    pub fn open_on(desk: Arc<Desk>, log: Arc<Log>, writer: Writer, settings: &[(&'static str, i64)]) -> Self {
        let services = Services::default();
        services.provide("keys", Arc::clone(&DIRECTORY));
        services.provide("keys", Arc::new(Lent(desk.clone())));
        Self::open_with_services(desk, log, writer, services, settings)
    }

    /// Over a key store in this state folder; the desk is not asked.
    pub fn open_on_store(state: &Path, settings: &[(&'static str, i64)]) -> Self {
        let services = Services::default();
        let (orders, status) = (Orders::default(), NodeStatus::default());
        let env = env("keys", services.clone(), Vec::new(), state.to_owned(), status.clone());
        let mut keeper = KeyStoreKind.build(&config(&KeyStoreKind, []), &env).unwrap();
        let wiring = Wiring { status, orders: orders.clone(), ..Wiring::default() };
        let thread = std::thread::spawn(move || keeper.run(&mut Context::new(wiring)));
        let fence: Arc<Fence> = services.find("keys").unwrap();
        wait_for("the incarnation", || fence.incarnation());
        let log = Arc::new(Log::new(Arc::new(ForgetfulFiles::default()), "journal".into()));
        let writer = Writer::open(log.files(), log.folder(), SETTINGS, log.durable()).unwrap();
        let mut office =
            Self::open_with_services(Arc::new(Desk::new([1; 32])), log, writer, services, settings);
        office.tell.push(orders);
        office.threads.push(thread);
        office
    }

    fn open_with_services(
        desk: Arc<Desk>,
        log: Arc<Log>,
        writer: Writer,
        services: Services,
        settings: &[(&'static str, i64)],
    ) -> Self {
        services.provide("journal", Arc::clone(&log));
        let wire =
            |from: &str, port: &str, to: &str| Wire { from: from.into(), port: port.into(), to: to.into() };
        let wires = vec![
            wire("balancer", "frames", "decrypt"),
            wire("balancer", "registrations", "registrar"),
            wire("journal", "log", "registrar"),
            wire("registrar", "orders", "decrypt"),
            wire("registrar", "sealed", "downlink"),
            wire("downlink", "transmit", "transport:wan"),
        ];
        let env = env("", services.clone(), wires, PathBuf::new(), NodeStatus::default());
        let mut office = Self {
            desk,
            log,
            writer: Mutex::new(Some(writer)),
            services,
            meters: env.meters.clone(),
            apdus: edge("ingress", "apdus", "balancer", 0, 64),
            frames: edge("balancer", "frames", "decrypt", 0, 64),
            registrations: edge("balancer", "registrations", "registrar", 0, 4),
            orders: (0..SHARDS).map(|shard| edge("registrar", "orders", "decrypt", shard, 64)).collect(),
            sealed: edge("registrar", "sealed", "downlink", 0, 64),
            events: Vec::new(),
            statuses: Vec::new(),
            tell: Vec::new(),
            threads: Vec::new(),
            sent: AtomicU64::new(0),
        };
        let output = |port: &str, edges: &[Arc<Edge>]| Output { port: port.into(), edges: edges.to_vec() };
        let balancer = [
            output("frames", std::slice::from_ref(&office.frames)),
            output("registrations", std::slice::from_ref(&office.registrations)),
        ];
        let registrar =
            [output("orders", &office.orders), output("sealed", std::slice::from_ref(&office.sealed))];
        let (apdus, registrations) = (office.apdus.clone(), office.registrations.clone());
        office.start("balancer", &LoadBalancerKind, &env, apdus, balancer.to_vec(), &[]);
        office.start("registrar", &RegistrarKind, &env, registrations, registrar.to_vec(), settings);
        office
    }

    fn start<K: NodeKind + Copy + 'static>(
        &mut self,
        node: &'static str,
        kind: &K,
        env: &Env,
        input: Arc<Edge>,
        outputs: Vec<Output>,
        settings: &[(&'static str, i64)],
    ) {
        let name = EdgeName {
            from: node.into(),
            port: "events".into(),
            from_instance: 0,
            to: "monitor".into(),
            to_instance: 0,
        };
        let (events, status, orders) = (
            Arc::new(EventEdge::new(name, 4096, WhenFull::Collapse)),
            NodeStatus::default(),
            Orders::default(),
        );
        let env = Env { node: node.into(), status: status.clone(), ..env.clone() };
        let config = config(kind, settings.iter().map(|(key, value)| (*key, Value::from(*value))));
        let mut worker = kind.build(&config, &env).unwrap();
        let wiring = Wiring {
            inputs: vec![input],
            outputs,
            event_outputs: vec![events.clone()],
            status: status.clone(),
            orders: orders.clone(),
            dropped: env.counter("metergraph_frames_dropped_total", "", &[("where", "stop")]),
            ..Wiring::default()
        };
        self.events.push(events);
        self.statuses.push(status);
        self.tell.push(orders);
        self.threads.push(std::thread::spawn(move || worker.run(&mut Context::new(wiring))));
    }

    /// Sends one APDU over a link.
    pub fn send(&self, link: u32, apdu: &[u8]) {
        self.send_all(link, &[apdu.to_vec()]);
    }

    pub fn send_all(&self, link: u32, apdus: &[Vec<u8>]) {
        let mut batch = Batch::default();
        for apdu in apdus {
            let mut frame = Frame { link, ..Frame::default() }.with_transport(0);
            // As ingress leaves what it does not locate.
            frame.bits |= 1 << 8;
            assert!(batch.push(apdu, frame));
        }
        self.sent.fetch_add(apdus.len() as u64, Ordering::SeqCst);
        self.apdus.offer(batch).unwrap();
    }

    /// Sends a report, as ingress has located it.
    pub fn send_report(&self, link: u32, apdu: &[u8]) {
        let carriage::Place::Frame(place) = carriage::locate(apdu, Leniency::Strict).unwrap().place else {
            panic!("no frame")
        };
        let tag = [place.head, place.body, place.body_len].map(u64::from);
        let frame = Frame { link, tag: (tag[0] << 32) | (tag[1] << 16) | tag[2], ..Frame::default() };
        let mut batch = Batch::default();
        assert!(batch.push(apdu, frame));
        self.sent.fetch_add(1, Ordering::SeqCst);
        self.apdus.offer(batch).unwrap();
    }

    /// The next APDU that goes down, as link, A4 and frame.
    pub fn next(&self) -> (u32, u32, Vec<u8>) {
        let (link, apdu) = wait_for("an answer", || self.poll());
        let apdu = Apdu::decode(&apdu, Leniency::Strict).unwrap();
        let carried = carriage::read(&apdu).unwrap().unwrap();
        assert_eq!(apdu.envelope.calling.unwrap().to_string(), ".1");
        assert_eq!(apdu.envelope.called.unwrap().to_string(), ".75.9");
        (link, apdu.envelope.answer_to.unwrap().value(), [carried.head, carried.body].concat())
    }

    /// As [`Self::next`], as it stands.
    pub fn poll(&self) -> Option<(u32, Vec<u8>)> {
        let mut queue = UNREAD.with(|unread| unread.take());
        while let Some((_, batch)) = self.sealed.take() {
            queue
                .extend(batch.frames.iter().map(|frame| (frame.link, batch.octets(frame).unwrap().to_vec())));
        }
        let next = if queue.is_empty() { None } else { Some(queue.remove(0)) };
        UNREAD.with(|unread| unread.replace(queue));
        next
    }

    /// The answer to one frame.
    pub fn ask(&self, link: u32, frame: &[u8]) -> Vec<u8> {
        self.send(link, &carry(7, frame));
        let (to, answer_to, frame) = self.next();
        assert_eq!((to, answer_to), (link, 7));
        frame
    }

    /// The next order: number, shard, and its octets with kind.
    pub fn order(&self) -> (usize, u64, Batch) {
        wait_for("an order", || {
            self.orders
                .iter()
                .enumerate()
                .find_map(|(shard, edge)| edge.take().map(|(number, batch)| (shard, number, batch)))
        })
    }

    /// Settles the next order, which must register this device; answers its association.
    pub fn register(&self, dev: Dev) -> Sid {
        let (shard, number, batch) = self.order();
        let sid = registered(&batch, dev);
        assert_eq!(sid.partition() as usize % SHARDS, shard);
        self.orders[shard].settle(number);
        sid
    }

    /// A message_1, its message_2 and the message_3 to it.
    pub fn open_run(&self, link: u32, device: &Device, number: u32) -> (AwaitMessage4, Vec<u8>) {
        let (waiting, message_1) = device.begin(number);
        let message_2 = self.ask(link, &message_1);
        device.answer(&waiting, &message_2)
    }

    /// The whole of it.
    pub fn run(&self, link: u32, device: &Device, number: u32) -> Registered {
        let (waiting, message_3) = self.open_run(link, device, number);
        self.send(link, &carry(7, &message_3));
        self.register(device.dev);
        let (_, _, message_4) = self.next();
        assert_eq!(message_4[0], 0x1b);
        waiting.message_4(&message_4[1..]).ok().unwrap()
    }

    pub fn sum(&self, name: &str, label: Option<(&str, &str)>) -> u64 {
        let meters = self.meters.all().into_iter().filter(|meter| {
            let fits = |(key, value): (&str, &str)| {
                meter.labels.iter().any(|(own, text)| *own == key && text == value)
            };
            meter.name == name && label.is_none_or(fits)
        });
        meters
            .map(|meter| match meter.reading {
                Reading::Counter(counter) => counter.get(),
                Reading::Gauge(gauge) => u64::try_from(gauge.get()).unwrap(),
            })
            .sum()
    }

    pub fn refused(&self, reason: &str) -> u64 {
        self.sum("metergraph_frames_refused_total", Some(("reason", reason)))
    }

    /// Waits for an event of this reason.
    pub fn event(&self, reason: &str) -> Event {
        wait_for(reason, || {
            let mut events = self.events.iter().flat_map(|edge| std::iter::from_fn(|| edge.take()));
            events.find(|event| event.reason.0 == reason)
        })
    }

    /// What was sent has met its end, here or with the shards.
    pub fn settle(&self) {
        let sent = self.sent.load(Ordering::SeqCst);
        let ends = [
            "metergraph_frames_refused_total",
            "metergraph_frames_duplicate_total",
            "metergraph_registration_messages_total",
            "metergraph_frames_dropped_total",
        ];
        let ended = || ends.iter().map(|name| self.sum(name, None)).sum::<u64>() + self.frames.frames().0;
        wait_for(&format!("the end of {sent} frames, {} so far", ended()), || {
            (ended() == sent).then_some(())
        });
        let in_hand = || self.statuses.iter().map(NodeStatus::in_hand).sum::<u64>();
        wait_for("empty hands", || (in_hand() == 0).then_some(()));
    }

    /// Says in the journal that an association is used.
    pub fn prove(&self, sid: Sid, dev: Dev, replaces: Option<Sid>) {
        let mut octets = Vec::new();
        Proved { sid, dev, replaces }.write(&mut octets);
        let mut writer = self.writer.lock().unwrap();
        let writer = writer.as_mut().unwrap();
        writer.append(record::PROVED, &octets).unwrap();
        writer.commit().unwrap();
    }

    pub fn services_of_nodes(&self) -> Arc<Registrations> {
        self.services.find("registrar").unwrap()
    }

    /// Ends at once; what the registrar says to it.
    pub fn stop(&mut self) {
        self.tell.iter().for_each(Orders::stop);
        for thread in self.threads.drain(..) {
            assert!(matches!(thread.join().unwrap(), Err(NodeError::Stopped(_))));
        }
    }

    /// Ends the registrar alone.
    pub fn stop_registrar(&mut self) {
        self.tell[1].stop();
        assert!(self.threads.remove(1).join().unwrap().is_err());
    }

    /// Tells both that they end when what is on its way is done.
    pub fn tell_drain(&self) {
        self.tell.iter().for_each(Orders::drain);
    }

    /// Ends in good order.
    pub fn drain(&mut self) {
        self.apdus.close();
        for (thread, closes) in self.threads.drain(..).zip([true, false]) {
            thread.join().unwrap().unwrap();
            if closes {
                self.registrations.close();
            }
        }
    }
}

impl Drop for Office {
    fn drop(&mut self) {
        self.desk.hold_token(false);
        self.tell.iter().for_each(Orders::stop);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

thread_local! {
    /// Answers that came together with one that was asked for.
    static UNREAD: std::cell::RefCell<Vec<(u32, Vec<u8>)>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// The association of an order that registers this device.
pub fn registered(batch: &Batch, dev: Dev) -> Sid {
    assert_eq!(batch.len(), 1);
    let order = Order::read(&batch.frames[0], batch.octets(&batch.frames[0]).unwrap());
    let Some(Order::Register { sid, dev: named, sealed, .. }) = order else { panic!("{order:?}") };
    assert_eq!(named, dev);
    assert_eq!(sealed, [b"sealed", &dev.0[..]].concat());
    sid
}

/// The APDU of a frame, with this A8.
pub fn carry(invocation: u32, frame: &[u8]) -> Vec<u8> {
    let (host, title) = (ApTitleBuf::parse(".1").unwrap(), ApTitleBuf::parse(".75.9").unwrap());
    let envelope = Envelope {
        called: Some(host.as_title()),
        calling: Some(title.as_title()),
        qualifier: None::<Qualifier>,
        ..Envelope::new(InvocationId::new(invocation))
    };
    let mut out = Vec::new();
    carriage::write(&mut out, &envelope, frame).unwrap();
    out
}
