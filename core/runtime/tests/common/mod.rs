//! Node kinds made of closures, and plans made by hand.

#![allow(dead_code)] // Each file of tests uses its part.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use graph::Plan;
use graph::plan::{EdgePlan, End, NodePlan};
use metergraph_runtime::{Options, Running};
use node::{
    Batch, BuildError, Config, Context, Counter, Env, Frame, KindSpec, Next, NodeError, NodeKind, PortType,
    Registry, WhenFull, Worker,
};

/// What a test waits for at most; far more than it should take on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The body of a fake worker.
pub type Run = Box<dyn FnMut(&mut Context) -> Result<(), NodeError> + Send>;

/// What makes a run.
type Make = dyn Fn(&Env) -> Result<Run, BuildError> + Send + Sync;

/// A node kind whose workers are closures.
pub struct Fake {
    name: &'static str,
    make: Box<Make>,
}

/// A kind whose `build` makes a run.
pub fn kind(name: &'static str, make: impl Fn(&Env) -> Run + Send + Sync + 'static) -> Fake {
    try_kind(name, move |env| Ok(make(env)))
}

/// A kind whose `build` may fail.
pub fn try_kind(
    name: &'static str,
    make: impl Fn(&Env) -> Result<Run, BuildError> + Send + Sync + 'static,
) -> Fake {
    Fake { name, make: Box::new(make) }
}

impl NodeKind for Fake {
    fn spec(&self) -> KindSpec {
        KindSpec {
            name: self.name,
            about: "",
            fields: vec![],
            inputs: vec![],
            outputs: vec![],
            provides: vec![],
            instances: None,
            transport: None,
        }
    }

    fn build(&self, _: &Config, env: &Env) -> Result<Box<dyn Worker>, BuildError> {
        Ok(Box::new(FakeWorker((self.make)(env)?)))
    }
}

struct FakeWorker(Run);

impl Worker for FakeWorker {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        (self.0)(context)
    }
}

/// A batch of frames whose tags are successive numbers.
pub fn numbered(first: u64, frames: u64) -> Batch {
    let mut batch = Batch::default();
    for tag in first..first + frames {
        assert!(batch.push(&tag.to_be_bytes(), Frame { tag, ..Frame::default() }));
    }
    batch
}

/// Sends numbered frames, `frames` a batch, until told to drain or `total` have gone. `sent` counts them
/// over all runs.
pub fn source(sent: &Counter, frames: u64, total: u64) -> Fake {
    let sent = sent.clone();
    kind("source", move |_| {
        let sent = sent.clone();
        Box::new(move |context| {
            while !context.orders.draining() && sent.get() < total {
                let batch = numbered(sent.get(), frames);
                sent.add(frames);
                context.send(0, 0, batch)?;
            }
            while !matches!(context.next(Duration::from_secs(1))?, Next::Finished) {}
            Ok(())
        })
    })
}

/// Passes every batch on to its first edge.
pub fn pass() -> Fake {
    kind("pass", |_| {
        each(|context, batch| {
            context.send(0, 0, batch)?;
            Ok(())
        })
    })
}

/// Where a [`sink`] puts the numbers that it has seen.
pub type Seen = Arc<Mutex<Vec<u64>>>;

/// Keeps the numbers of all frames and settles their batches.
pub fn sink(seen: &Seen) -> Fake {
    let seen = Arc::clone(seen);
    kind("sink", move |_| {
        let seen = Arc::clone(&seen);
        Box::new(move |context| {
            loop {
                match context.next(Duration::from_secs(1))? {
                    Next::Batch { input, number, batch } => {
                        seen.lock().unwrap().extend(batch.frames.iter().map(|frame| frame.tag));
                        context.inputs[input].settle(number);
                    }
                    Next::Finished => return Ok(()),
                    Next::Idle | Next::Event(_) => {}
                }
            }
        })
    })
}

/// A run that treats every batch alike.
pub fn each(mut treat: impl FnMut(&mut Context, Batch) -> Result<(), NodeError> + Send + 'static) -> Run {
    Box::new(move |context| {
        loop {
            match context.next(Duration::from_secs(1))? {
                Next::Batch { batch, .. } => treat(context, batch)?,
                Next::Finished => return Ok(()),
                Next::Idle | Next::Event(_) => {}
            }
        }
    })
}

/// A plan made by hand. Nodes are started in the order in which they are added.
#[derive(Default)]
pub struct Graph(Plan);

impl Graph {
    /// Small limits; restarts follow at once.
    pub fn new() -> Self {
        let mut plan = Plan { name: "test".into(), ..Plan::default() };
        plan.runtime.restarts_max = 3;
        plan.runtime.backoff_ms = 1;
        Self(plan)
    }

    /// Changes the plan otherwise.
    pub fn with(mut self, change: impl FnOnce(&mut Plan)) -> Self {
        change(&mut self.0);
        self
    }

    pub fn plan(&self) -> &Plan {
        &self.0
    }

    /// A node of so many instances.
    pub fn node(mut self, name: &str, kind: &str, instances: usize) -> Self {
        let index = self.0.nodes.len();
        self.0.nodes.push(NodePlan {
            name: name.into(),
            kind: kind.into(),
            config: Config::default(),
            instances,
            transport: None,
            span: Default::default(),
        });
        self.0.build_order.push(index);
        self.0.start_order.push(index);
        self
    }

    fn find(&self, name: &str) -> End {
        End::Node(self.0.nodes.iter().position(|node| node.name == name).unwrap())
    }

    fn connect(
        mut self,
        (from, port): (&str, &str),
        to: &str,
        of: PortType,
        max: usize,
        full: WhenFull,
    ) -> Self {
        let (from, to) = (self.find(from), self.find(to));
        let (port, port_type, batches_max, when_full) = (port.to_owned(), of, max, full);
        self.0.edges.push(EdgePlan { from, port, to, port_type, batches_max, when_full });
        self
    }

    /// An edge that makes its producer wait.
    pub fn edge(self, from: &str, to: &str, batches_max: usize) -> Self {
        self.connect((from, "out"), to, PortType::Frames, batches_max, WhenFull::Wait)
    }

    /// An edge that drops when it is full.
    pub fn dropping_edge(self, from: &str, to: &str, batches_max: usize) -> Self {
        self.connect((from, "out"), to, PortType::Frames, batches_max, WhenFull::Drop)
    }

    /// An event edge.
    pub fn events(self, from: &str, to: &str, events_max: usize) -> Self {
        self.connect((from, "events"), to, PortType::Events, events_max, WhenFull::Collapse)
    }

    /// A reader of a log: no queue.
    pub fn log(self, from: &str, to: &str) -> Self {
        self.connect((from, "log"), to, PortType::Log, 0, WhenFull::Wait)
    }

    /// Starts it on a state folder of its own.
    pub fn start(&self, registry: Registry) -> Test {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { state: folder.path().into(), ..Options::default() };
        Test { running: metergraph_runtime::start(&self.0, &registry, options).unwrap(), folder }
    }
}

/// A running graph and its state folder.
pub struct Test {
    pub running: Running,
    pub folder: tempfile::TempDir,
}

impl Test {
    /// The state of a node's first instance.
    pub fn state(&self, node: &str) -> String {
        let status = self.running.status();
        status.nodes.into_iter().find(|line| line.node == node).unwrap().state
    }

    pub fn starts(&self, node: &str) -> u64 {
        let status = self.running.status();
        status.nodes.into_iter().find(|line| line.node == node).unwrap().starts
    }

    pub fn note(&self, node: &str) -> String {
        let status = self.running.status();
        status.nodes.into_iter().find(|line| line.node == node).unwrap().note
    }

    /// Frames dropped at this place.
    pub fn dropped(&self, place: &str) -> i64 {
        self.running.status().sum("metergraph_frames_dropped_total", Some(("where", place)))
    }
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < LIMIT, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The status code and the body that an HTTP server answers.
pub fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut peer = TcpStream::connect(address).unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    write!(peer, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    peer.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}
