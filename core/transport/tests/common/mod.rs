//! What these tests share: plugins, and a transport that runs between two edges.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "for tests"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use metergraph_transport::{BoundAddresses, TransportSpec, TransportWorker};
use node::context::{Orders, Output, Wiring};
use node::env::Services;
use node::event::EventEdge;
use node::meters::Reading;
use node::{
    Batch, BatchPool, Config, Context, Edge, EdgeName, Env, Event, Frame, Meters, NodeError, NodeStatus,
    Value, WhenFull, Worker,
};

/// How long anything may take.
pub const LIMIT: Duration = Duration::from_secs(60);

include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/which.rs"));

/// The folder of the shared library of `metergraph-tcp`, which cargo built beside this test.
pub fn plugin_dir() -> PathBuf {
    let folder = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    assert!(folder.join("libmetergraph_tcp.so").is_file(), "no libmetergraph_tcp.so in {}", folder.display());
    folder
}

/// Compiles a C file of `tests/plugins`, or of the SDK, to a shared library called `name`.
pub fn compile(name: &str, source: &str, defines: &[&str]) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (sdk, own) = (here.join("../../plugins/sdk-c"), here.join("tests/plugins"));
    let source = [own.join(source), sdk.join(source)].into_iter().find(|path| path.is_file()).unwrap();
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("lib{name}.so"));
    let output = Command::new("cc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-O1", "-fvisibility=hidden"])
        .args(defines.iter().map(|define| format!("-D{define}")))
        .args([format!("-I{}", sdk.display()), "-o".into()])
        .args([&library, &source])
        .output()
        .expect("a C compiler, `cc`, is needed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// A table of a configuration.
pub fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// A transport called `wan` with this plugin and nothing else.
pub fn spec(plugin: &Path) -> TransportSpec {
    TransportSpec {
        name: "wan".into(),
        number: 3,
        plugin: plugin.display().to_string(),
        sha256: None,
        config: Config::default(),
        grants: Value::Table(BTreeMap::new()),
        plugin_dirs: vec![],
    }
}

/// The TCP transport, listening on any free port, with these further keys.
pub fn tcp<const N: usize>(config: [(&str, Value); N]) -> TransportSpec {
    let (plugin, plugin_dirs) = tcp_plugin();
    TransportSpec {
        config: Config(config.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        grants: table([("wan", table([("tcp_listen", "127.0.0.1:0".into())]))]),
        plugin,
        plugin_dirs,
        ..spec(Path::new(""))
    }
}

/// An environment of its own for the node `transport:wan`.
pub fn env() -> Env {
    let services = Services::default();
    services.provide("", Arc::new(bindings()));
    Env {
        node: "transport:wan".into(),
        instance: 0,
        instances: 1,
        run: 1,
        state: PathBuf::new(),
        meters: Meters::default(),
        services,
        pool: BatchPool::new(1024),
        status: NodeStatus::default(),
        wires: Arc::default(),
        transports: Arc::new(vec!["wan".into()]),
        transport: None,
    }
}

/// An APDU with a body of so many octets.
pub fn apdu(octets: usize, mark: u8) -> Vec<u8> {
    let mut apdu = vec![0x60, 0x82, (octets >> 8) as u8, octets as u8];
    apdu.extend(std::iter::repeat_n(mark, octets));
    apdu
}

/// A transport that runs between an ingress and a downlink, which are the test.
pub struct Running {
    pub env: Env,
    pub orders: Orders,
    pub up: Arc<Edge>,
    pub down: Arc<Edge>,
    events: Arc<EventEdge>,
    pub seen: Vec<Event>,
    thread: Option<JoinHandle<Result<(), NodeError>>>,
}

fn name(from: &str, to: &str) -> EdgeName {
    EdgeName { from: from.into(), port: "out".into(), from_instance: 0, to: to.into(), to_instance: 0 }
}

impl Running {
    /// Opens and starts it; the upstream edge holds `up_max` batches.
    pub fn start(spec: &TransportSpec, up_max: usize) -> Self {
        Self::restart(spec, up_max, env())
    }

    /// As [`Self::start`], in an environment that may have had a run before.
    pub fn restart(spec: &TransportSpec, up_max: usize, env: Env) -> Self {
        let worker = TransportWorker::open(spec, &env).unwrap_or_else(|e| panic!("{e}"));
        Self::run(worker, up_max, env)
    }

    /// Runs a worker between its two edges.
    pub fn run(mut worker: TransportWorker, up_max: usize, env: Env) -> Self {
        let up = Arc::new(Edge::new(name("transport:wan", "ingress"), up_max, WhenFull::Wait));
        let down = Arc::new(Edge::new(name("downlink", "transport:wan"), 64, WhenFull::Wait));
        let events = Arc::new(EventEdge::new(name("transport:wan", "monitor"), 65_536, WhenFull::Collapse));
        let orders = Orders::default();
        let mut context = Context::new(Wiring {
            inputs: vec![Arc::clone(&down)],
            outputs: vec![Output { port: "out".into(), edges: vec![Arc::clone(&up)] }],
            event_outputs: vec![Arc::clone(&events)],
            status: env.status.clone(),
            orders: orders.clone(),
            doorbell: worker.doorbell(),
            ..Wiring::default()
        });
        let thread = std::thread::spawn(move || {
            let result = worker.run(&mut context);
            context.events.flush(true);
            drop(worker);
            result
        });
        Self { env, orders, up, down, events, seen: Vec::new(), thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.env.services.find::<BoundAddresses>("transport:wan").unwrap().get("wan").unwrap()
    }

    /// Takes `count` received frames, each with its link.
    pub fn take(&self, count: usize) -> Vec<(u32, Vec<u8>)> {
        let mut frames = Vec::new();
        let until = Instant::now() + LIMIT;
        while frames.len() < count {
            assert!(Instant::now() < until, "only {} of {count} frames came", frames.len());
            match self.up.take() {
                Some((_, batch)) => {
                    assert!(!batch.is_empty());
                    for frame in &batch.frames {
                        assert_eq!((frame.transport(), frame.bits & 0xffffff, frame.tag), (3, 0, 0));
                        frames.push((frame.link, batch.octets(frame).unwrap().to_vec()));
                    }
                }
                None => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        assert_eq!(frames.len(), count);
        frames
    }

    /// Sends frames in one batch, waiting for room.
    pub fn send(&self, frames: &[(u32, &[u8])]) {
        let mut batch = Batch::default();
        for (tag, (link, octets)) in frames.iter().enumerate() {
            let frame =
                Frame { link: *link, bits: Frame::REPORT | 0x100, tag: tag as u64, ..Frame::default() };
            assert!(batch.push(octets, frame.with_transport(3)));
        }
        self.offer(batch);
    }

    /// Offers a batch, waiting for room.
    pub fn offer(&self, mut batch: Batch) {
        let until = Instant::now() + LIMIT;
        loop {
            match self.down.offer(batch) {
                Ok(_) => return,
                Err(node::edge::Refused::Full(back)) => batch = back,
                Err(node::edge::Refused::Dropped(_)) => panic!("this edge waits"),
            }
            assert!(Instant::now() < until, "the downlink stays full");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The sum of a meter over all its labels, or over those with one value among their labels.
    pub fn sum(&self, name: &str, label: Option<&str>) -> i64 {
        let fits = |meter: &node::meters::Meter| {
            meter.name == name
                && label.is_none_or(|label| meter.labels.iter().any(|(_, value)| value == label))
        };
        let value = |meter: node::meters::Meter| match meter.reading {
            Reading::Counter(counter) => i64::try_from(counter.get()).unwrap(),
            Reading::Gauge(gauge) => gauge.get(),
        };
        self.env.meters.all().into_iter().filter(fits).map(value).sum()
    }

    /// Waits until a condition holds.
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) {
        let until = Instant::now() + LIMIT;
        while !holds(self) {
            assert!(Instant::now() < until, "never: {what}; events: {:?}", self.seen);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for a sum of meters.
    pub fn until_sum(&mut self, name: &str, label: Option<&str>, value: i64) {
        self.until(&format!("{name} {label:?} is {value}"), |running| running.sum(name, label) == value);
    }

    /// All events so far.
    pub fn events(&mut self) -> &[Event] {
        self.seen.extend(std::iter::from_fn(|| self.events.take()));
        &self.seen
    }

    /// Waits for an event of this reason.
    pub fn event(&mut self, reason: &str) -> Event {
        let mut found = None;
        self.until(reason, |running| {
            found = running.events().iter().find(|event| event.reason.0 == reason).cloned();
            found.is_some()
        });
        found.unwrap()
    }

    /// Drains it and answers how it ended.
    pub fn drain(&mut self) -> Result<(), NodeError> {
        self.orders.drain();
        self.down.close();
        self.join()
    }

    /// Waits for its end.
    pub fn join(&mut self) -> Result<(), NodeError> {
        let thread = self.thread.take().unwrap();
        let until = Instant::now() + LIMIT;
        while !thread.is_finished() {
            assert!(Instant::now() < until, "the worker does not end");
            std::thread::sleep(Duration::from_millis(1));
        }
        thread.join().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.orders.stop();
            drop(thread.join());
        }
    }
}
