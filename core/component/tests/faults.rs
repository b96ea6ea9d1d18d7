//! A component that breaks down costs its instance, not the head-end; what it may not do it cannot.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use metergraph_component::{Cache, ComponentBinding, encode};
use node::{Batch, Env, Frame};
use transport::poller::Poller;
use transport::{
    Bindings, BoundAddresses, Clock, Driver, DriverError, Grants, HostTable, Module, Notes, SimulatedTime,
    TransportError,
};
use transport_sdk::abi;

/// A component that `scripts/components` built.
fn component(name: &str) -> PathBuf {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/components").join(name);
    assert!(file.is_file(), "{} is missing: run scripts/components", file.display());
    file
}

fn bindings(cache: Cache) -> Bindings {
    Bindings(vec![Arc::new(ComponentBinding::new(cache))])
}

fn load(file: &Path) -> Result<Arc<dyn Module>, TransportError> {
    bindings(Cache::none()).load(file, None)
}

fn env() -> Env {
    Env {
        node: "transport:wan".into(),
        instance: 0,
        instances: 1,
        run: 1,
        state: PathBuf::new(),
        meters: Default::default(),
        services: Default::default(),
        pool: node::BatchPool::new(64),
        status: Default::default(),
        wires: Arc::default(),
        transports: Arc::new(vec!["wan".into()]),
        transport: None,
    }
}

fn open(module: &dyn Module, clock: Clock) -> (Box<dyn Driver>, Env) {
    let env = env();
    let poller = Arc::new(Poller::new().unwrap());
    let io = transport::io::Io::new(Arc::clone(&poller), Grants::default(), BoundAddresses::default(), 16);
    let host = HostTable::new(poller, io, Notes::new(&env), clock);
    let late = env.counter("late_total", "Late.", &[]);
    let mut driver = module.open(host, "wan", "{}", late).unwrap();
    driver.start(1).unwrap();
    (driver, env)
}

fn batch(frames: &[&[u8]]) -> Batch {
    let mut batch = Batch::default();
    for (tag, octets) in frames.iter().enumerate() {
        let frame = Frame { link: 1, bits: Frame::REPORT, tag: tag as u64, ..Frame::default() };
        assert!(batch.push(octets, frame));
    }
    batch
}

#[test]
fn frames_events_sums_and_commands_cross_as_they_are() {
    let module = load(&component("faulty.wasm")).unwrap();
    let described = module.description();
    assert_eq!(
        (described.name.as_str(), described.kind, described.contract.as_str()),
        ("faulty", "component", "1.0")
    );
    let (mut driver, env) = open(&*module, Clock::Real);
    assert_eq!((driver.limits().max_frame, driver.limits().tx_queue), (4096, 64));
    let frames: Vec<Vec<u8>> = (0..70_u8).map(|n| vec![n; usize::from(n)]).collect();
    let all = batch(&frames.iter().map(Vec::as_slice).collect::<Vec<_>>());
    assert_eq!(driver.send(&all, 0).unwrap(), 64, "a prefix");
    assert_eq!(driver.send(&all, 64).unwrap(), 0, "none is no error");
    let step = driver.poll(5, &[]).unwrap();
    assert_eq!((step.tx_room, step.rx_pending, step.events_pending), (0, 1, 1));
    let mut back = Batch::default();
    driver.receive(&mut back).unwrap();
    let octets: Vec<&[u8]> = back.frames.iter().map(|frame| back.octets(frame).unwrap()).collect();
    assert_eq!(octets, frames[..64].iter().map(Vec::as_slice).collect::<Vec<_>>());
    let mut events = vec![abi::Event::default(); 10];
    assert_eq!(driver.events(&mut events).unwrap(), 10);
    assert_eq!((events[0].kind, events[0].state), (abi::event::LINK, abi::event::LINK_UP));
    assert_eq!(&events[0].text[..events[0].text_len as usize], b"faulty");
    assert_eq!((events[1].kind, events[1].tag, events[1].state), (abi::event::TX, 0, abi::event::TX_SENT));
    let sums = driver.stats().unwrap();
    assert_eq!((sums.tx_frames, sums.tx_sent, sums.rx_frames, sums.links), (64, 64, 64, 1));
    assert_eq!(driver.command("who", "[1]").unwrap(), r#"{"who": [1]}"#);
    assert!(matches!(driver.open_link("x"), Err(DriverError::Failed { code: abi::status::UNSUPPORTED, .. })));
    driver.close(9).unwrap();
    let starts = env.meters.all().into_iter().find(|meter| meter.name == "metergraph_plugin_count_total");
    assert!(starts.is_some(), "its counter is on the page");
}

#[test]
fn a_component_that_breaks_down_is_stopped_and_another_one_lives() {
    let module = load(&component("faulty.wasm")).unwrap();
    for guard in [Clock::Real, Clock::Simulated(SimulatedTime::new(1, 0))] {
        for (fault, why) in [
            ("loop", "did not end within"),
            ("panic", "unreachable"),
            // Its own stack, in its memory, ends before the machine's.
            ("recurse", "out of bounds memory access"),
            ("hoard", "unreachable"),
        ] {
            let (mut driver, _env) = open(&*module, guard.clone());
            assert_eq!(driver.send(&batch(&[b"sound"]), 0).unwrap(), 1);
            let error = driver.send(&batch(&[fault.as_bytes()]), 0).unwrap_err();
            let DriverError::Trapped { plugin, call, why: said } = &error else { panic!("{error}") };
            assert!(said.contains(why), "{fault}: {said}");
            assert_eq!((plugin.as_str(), *call), ("faulty", "send"));
            // It is dead, and says why to every later call.
            assert_eq!(driver.poll(2, &[]).unwrap_err(), error);
            assert_eq!(driver.close(3).unwrap_err(), error);
            drop(driver);
            let (mut fresh, _env) = open(&*module, guard.clone());
            assert_eq!(fresh.send(&batch(&[b"sound"]), 0).unwrap(), 1);
        }
    }
}

#[test]
fn a_simulation_is_the_same_again() {
    let module = load(&component("faulty.wasm")).unwrap();
    let luck = |seed| {
        let time = SimulatedTime::new(seed, 0);
        let (_driver, env) = open(&*module, Clock::Simulated(time));
        let gauge =
            env.meters.all().into_iter().find(|meter| meter.name == "metergraph_plugin_value").unwrap();
        match gauge.reading {
            node::meters::Reading::Gauge(gauge) => gauge.get(),
            node::meters::Reading::Counter(_) => panic!("a gauge"),
        }
    };
    assert_eq!(luck(1), luck(1));
    assert!((2..20).any(|seed| luck(seed) != luck(1)));
}

#[test]
fn machine_code_is_kept_and_what_was_changed_is_compiled_anew() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("components");
    let file = component("faulty.wasm");
    let load = || bindings(Cache::open(&place)).load(&file, None).unwrap();
    load();
    let kept: Vec<PathBuf> = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(kept.len(), 1);
    let whole = std::fs::read(&kept[0]).unwrap();
    let stamp = |path: &Path| std::fs::metadata(path).unwrap().modified().unwrap();
    let before = stamp(&kept[0]);
    load();
    assert_eq!(stamp(&kept[0]), before, "it was not compiled again");
    for damage in [whole[..whole.len() / 2].to_vec(), {
        let mut flipped = whole.clone();
        flipped[40] ^= 1;
        flipped
    }] {
        std::fs::write(&kept[0], damage).unwrap();
        let module = load();
        open(&*module, Clock::Real);
        assert_eq!(std::fs::read(&kept[0]).unwrap()[..32], whole[..32], "it is whole again");
    }
    // A folder that others may write to is none to run code from.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&place, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(&kept[0], b"evil").unwrap();
    load();
    assert_eq!(std::fs::read(&kept[0]).unwrap(), b"evil", "neither read nor written");
}

/// Writes a component of this text.
fn of_text(name: &str, text: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
    path
}

#[test]
fn what_reaches_for_more_or_is_no_transport_is_refused_before_it_runs() {
    let said = |path: &Path| {
        let line = load(path).unwrap_err().to_string();
        assert!(!line.contains('\n') && line.contains(&path.display().to_string()), "{line}");
        line
    };
    let wasi = r#"(component (import "wasi:filesystem/preopens@0.2.0" (instance)))"#;
    let line = said(&of_text("wasi.wasm", wasi));
    assert!(line.contains("it imports `wasi:filesystem/preopens@0.2.0`"), "{line}");
    let later = r#"(component (import "metergraph:transport/io@0.2.0" (instance)))"#;
    assert!(said(&of_text("later.wasm", later)).contains("it imports `metergraph:transport/io@0.2.0`"));
    let line = said(&of_text("nothing.wasm", "(component)"));
    assert!(line.contains("it exports no `metergraph:transport/driver@0.1`"), "{line}");
    let line = said(&of_text("core.wasm", "(module)"));
    assert!(line.contains("it is a core module, no component"), "{line}");
    let cut = std::fs::read(component("faulty.wasm")).unwrap();
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cut.wasm");
    std::fs::write(&path, &cut[..cut.len() / 2]).unwrap();
    assert!(said(&path).contains("it is no component that can be compiled"));
}

#[test]
fn what_the_compiler_writes_becomes_a_component() {
    let core = component("wasm32-unknown-unknown/release/faulty.wasm");
    let encoded = encode(&std::fs::read(core).unwrap()).unwrap();
    assert_eq!(encoded, std::fs::read(component("faulty.wasm")).unwrap());
}
