//! One life of a head-end: every node with its edges, each instance on a thread that starts it anew when it
//! fails, as the runtime does. Those who command, register and monitor are there where a test wishes for them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use metergraph_nodes::audit_log::AuditLogKind;
use metergraph_nodes::command_desk::CommandDeskKind;
use metergraph_nodes::command_signer::CommandSignerKind;
use metergraph_nodes::decrypt::DecryptKind;
use metergraph_nodes::downlink::DownlinkKind;
use metergraph_nodes::event_monitor::EventMonitorKind;
use metergraph_nodes::ingress::IngressKind;
use metergraph_nodes::journal::{FileLayer, JournalKind, Log};
use metergraph_nodes::key_store::KeyStoreKind;
use metergraph_nodes::load_balancer::LoadBalancerKind;
use metergraph_nodes::mdm_egress::MdmEgressKind;
use metergraph_nodes::registrar::RegistrarKind;
use node::context::{Orders, Output, Wiring};
use node::env::{Services, Wire};
use node::event::EventEdge;
use node::meters::Reading;
use node::{
    Batch, BatchPool, Config, Context, Counter, Edge, EdgeName, Env, Event, Frame, Meters, NodeError,
    NodeKind, NodeStatus, Value, WhenFull,
};

use super::site::Site;
use super::tap::Tap;
use super::wait_for;

/// What a program brings, once the key store is open.
pub type Lend = Arc<dyn Fn(&Services) + Send + Sync>;

/// What a test wants otherwise than the defaults.
#[derive(Clone)]
pub struct Wishes {
    pub shards: usize,
    /// With an export.
    pub mdm: bool,
    /// Without it the test takes the records.
    pub journal: bool,
    /// Node, key, value.
    pub settings: Vec<(&'static str, &'static str, Value)>,
    /// Batches of each edge.
    pub batches_max: usize,
    /// With a second transport, down alone.
    pub lan: bool,
    /// With desk, signer and audit log; the test may hand intents to the signer itself.
    pub commands: bool,
    /// With a registrar.
    pub registrar: bool,
    /// With an event monitor.
    pub monitor: bool,
    pub lend: Option<Lend>,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            shards: 1,
            mdm: false,
            journal: true,
            settings: Vec::new(),
            batches_max: 64,
            lan: false,
            commands: false,
            registrar: false,
            monitor: false,
            lend: None,
        }
    }
}

/// How a graph ends.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Ending {
    #[default]
    Not,
    Drain,
    Stop,
}

/// One instance of a node.
struct Instance {
    node: &'static str,
    number: usize,
    status: NodeStatus,
    /// Of its present run.
    orders: Arc<Mutex<Orders>>,
    inputs: Vec<Arc<Edge>>,
    outputs: Vec<Output>,
    thread: Option<JoinHandle<()>>,
}

pub struct Graph {
    pub meters: Meters,
    pub services: Services,
    pub received: Arc<Edge>,
    /// By transport.
    transmit: Vec<Arc<Edge>>,
    /// To each shard, from a desk that the test plays; only beside a key store.
    pub orders: Vec<Arc<Edge>>,
    /// To the signer, past the desk.
    pub intents: Option<Arc<Edge>>,
    /// Between audit log and journal.
    pub tap: Option<Tap>,
    /// From the first shard to the journal.
    pub records: Arc<Edge>,
    events: Vec<Arc<EventEdge>>,
    /// The monitor's.
    monitored: Option<Vec<Arc<EventEdge>>>,
    instances: Vec<Instance>,
    /// How the graph ends, once it does.
    ending: Arc<Mutex<Ending>>,
}

const WIRES: [(&str, &str, &str); 24] = [
    ("transport:wan", "received", "ingress"),
    ("ingress", "apdus", "balancer"),
    ("balancer", "frames", "decrypt"),
    ("decrypt", "records", "journal"),
    ("decrypt", "sealed", "downlink"),
    ("downlink", "transmit", "transport:wan"),
    ("journal", "log", "mdm"),
    ("journal", "log", "keys"),
    ("desk", "orders", "decrypt"),
    ("decrypt", "sealed", "downlink-lan"),
    ("downlink-lan", "transmit", "transport:lan"),
    ("desk", "intents", "signer"),
    ("office", "intents", "signer"),
    ("desk", "records", "journal"),
    ("journal", "log", "desk"),
    ("signer", "records", "journal"),
    ("signer", "audit", "audit"),
    ("desk", "audit", "audit"),
    ("audit", "records", "tap"),
    ("tap", "records", "journal"),
    ("balancer", "registrations", "registrar"),
    ("registrar", "orders", "decrypt"),
    ("registrar", "sealed", "downlink"),
    ("journal", "log", "registrar"),
];

/// In the order in which they end.
const NODES: [&str; 13] = [
    "ingress",
    "balancer",
    "registrar",
    "desk",
    "signer",
    "audit",
    "decrypt",
    "downlink",
    "downlink-lan",
    "journal",
    "mdm",
    "keys",
    "monitor",
];

impl Wishes {
    /// Whether a node is wished for, or there in any case; a test may play it.
    fn has(&self, node: &str) -> bool {
        match node {
            "mdm" => self.mdm,
            "downlink-lan" | "transport:lan" => self.lan,
            "signer" | "audit" | "office" | "tap" => self.commands,
            "registrar" => self.registrar,
            "monitor" => self.monitor,
            _ => true,
        }
    }
}

fn kind(node: &str) -> Arc<dyn NodeKind> {
    match node {
        "ingress" => Arc::new(IngressKind),
        "balancer" => Arc::new(LoadBalancerKind),
        "decrypt" => Arc::new(DecryptKind),
        "journal" => Arc::new(JournalKind),
        "downlink" | "downlink-lan" => Arc::new(DownlinkKind),
        "registrar" => Arc::new(RegistrarKind),
        "desk" => Arc::new(CommandDeskKind),
        "signer" => Arc::new(CommandSignerKind),
        "audit" => Arc::new(AuditLogKind),
        "monitor" => Arc::new(EventMonitorKind),
        "mdm" => Arc::new(MdmEgressKind),
        "keys" => Arc::new(KeyStoreKind),
        other => panic!("{other}"),
    }
}

/// A kind's defaults with these settings.
pub fn config(kind: &dyn NodeKind, settings: impl IntoIterator<Item = (&'static str, Value)>) -> Config {
    let fields = kind.spec().fields.into_iter();
    let mut config =
        Config(fields.filter_map(|field| Some((field.name.into_owned(), field.default?))).collect());
    config.0.insert("keys".to_owned(), "keys".into());
    config.0.extend(settings.into_iter().map(|(key, value)| (key.to_owned(), value)));
    config
}

impl Graph {
    pub fn start(site: &Site) -> Self {
        Self::start_with(site, &Wishes::default())
    }

    pub fn start_with(site: &Site, wishes: &Wishes) -> Self {
        let services = Services::default();
        if let Some(vault) = &site.vault {
            services.provide("keys", Arc::clone(&site.directory));
            services.provide("keys", Arc::clone(vault));
            let slots = site.directory.slots();
            slots.open();
            services.provide("keys", Arc::new(slots));
        }
        let follows = site.vault.is_none();
        services.provide("", Arc::new(FileLayer(Arc::clone(&site.files))));
        let wires = WIRES.into_iter().filter(|(from, port, to)| {
            // A desk of its own reads and writes; one that the test plays gives orders alone.
            let desk = (wishes.commands || *port == "orders") && follows;
            let fits =
                |node: &str| wishes.has(node) && (desk || node != "desk") && (follows || node != "keys");
            fits(from) && fits(to)
        });
        let wires: Vec<Wire> = wires
            .map(|(from, port, to)| Wire { from: from.into(), port: port.into(), to: to.into() })
            .collect();
        let count = |node: &str| if node == "decrypt" { wishes.shards } else { 1 };
        let mut edges = Vec::new();
        for wire in wires.iter().filter(|wire| wire.port != "log") {
            for from_instance in 0..count(&wire.from) {
                for to_instance in 0..count(&wire.to) {
                    let Wire { from, port, to } = wire.clone();
                    let name = EdgeName { from, port, from_instance, to, to_instance };
                    edges.push(Arc::new(Edge::new(name, wishes.batches_max, WhenFull::Wait)));
                }
            }
        }
        let meters = Meters::default();
        let env = Env {
            node: String::new(),
            instance: 0,
            instances: 1,
            run: 1,
            state: site.state(),
            meters: meters.clone(),
            services: services.clone(),
            pool: BatchPool::new(64),
            status: NodeStatus::default(),
            wires: Arc::new(wires),
            transports: Arc::new(vec!["wan".to_owned(), "lan".to_owned()]),
            transport: Some("wan".to_owned()),
        };
        let find = |from: &str, to: &str| {
            let mut edges = edges.iter();
            Arc::clone(edges.find(|edge| edge.name().from == from && edge.name().to == to).unwrap())
        };
        let mut transmit = vec![find("downlink", "transport:wan")];
        transmit.extend(wishes.lan.then(|| find("downlink-lan", "transport:lan")));
        let ordering = |edge: &&Arc<Edge>| edge.name().from == "desk" && edge.name().port == "orders";
        let played = edges.iter().filter(|edge| !wishes.commands && ordering(edge)).cloned();
        let mut graph = Self {
            meters,
            services,
            received: find("transport:wan", "ingress"),
            transmit,
            orders: played.collect(),
            intents: wishes.commands.then(|| find("office", "signer")),
            tap: wishes.commands.then(|| Tap::between(find("audit", "tap"), find("tap", "journal"))),
            records: find("decrypt", "journal"),
            events: Vec::new(),
            monitored: wishes.monitor.then(Vec::new),
            instances: Vec::new(),
            ending: Arc::default(),
        };
        // The journal is built before those that look for it run.
        let mut nodes = vec![
            "journal",
            "keys",
            "audit",
            "signer",
            "desk",
            "registrar",
            "mdm",
            "downlink",
            "downlink-lan",
            "decrypt",
            "balancer",
            "ingress",
            "monitor",
        ];
        nodes.retain(|node| match *node {
            "keys" => follows,
            "journal" => wishes.journal,
            "desk" => wishes.commands,
            node => wishes.has(node),
        });
        if !wishes.journal {
            let log = Log::new(Arc::clone(&site.files), site.state().join("journal"));
            graph.services.provide("journal", Arc::new(log));
        }
        for node in nodes {
            let transport = if node == "downlink-lan" { "lan" } else { "wan" };
            for number in 0..count(node) {
                let kind = kind(node);
                let settings = wishes.settings.iter().filter(|(of, ..)| *of == node);
                let config = config(&*kind, settings.map(|(_, key, value)| (*key, value.clone())));
                let status = NodeStatus::default();
                let env = Env {
                    node: node.to_owned(),
                    instance: number,
                    instances: count(node),
                    status: status.clone(),
                    transport: Some(transport.to_owned()),
                    ..env.clone()
                };
                graph.add(node, number, &edges, kind, config, env);
            }
            if node == "keys" {
                wishes.lend.iter().for_each(|lend| lend(&graph.services));
            }
        }
        graph
    }

    fn add(
        &mut self,
        node: &'static str,
        number: usize,
        edges: &[Arc<Edge>],
        kind: Arc<dyn NodeKind>,
        config: Config,
        env: Env,
    ) {
        let mine = |name: &str, instance: usize| name == node && instance == number;
        let inputs: Vec<Arc<Edge>> =
            edges.iter().filter(|edge| mine(&edge.name().to, edge.name().to_instance)).cloned().collect();
        let mut outputs: Vec<Output> = Vec::new();
        for edge in edges.iter().filter(|edge| mine(&edge.name().from, edge.name().from_instance)) {
            match outputs.iter_mut().find(|output| output.port == edge.name().port) {
                Some(output) => output.edges.push(Arc::clone(edge)),
                None => outputs.push(Output { port: edge.name().port.clone(), edges: vec![edge.clone()] }),
            }
        }
        let edge = EdgeName {
            from: node.to_owned(),
            port: "events".to_owned(),
            from_instance: number,
            to: "monitor".to_owned(),
            to_instance: 0,
        };
        let new = || Arc::new(EventEdge::new(edge.clone(), 1 << 14, WhenFull::Collapse));
        let mut events = vec![new()];
        self.events.push(Arc::clone(&events[0]));
        let mut event_inputs = Vec::new();
        match &mut self.monitored {
            Some(monitored) if node == "monitor" => event_inputs.clone_from(monitored),
            Some(monitored) => {
                events.push(new());
                monitored.extend(events.last().cloned());
            }
            None => {}
        }
        let worker = kind.build(&config, &env).unwrap_or_else(|error| panic!("{error:?}"));
        let orders = Arc::new(Mutex::new(Orders::default()));
        // What goes down is counted apart.
        let name = if node.starts_with("downlink") {
            "metergraph_apdus_downstream_dropped_total"
        } else {
            "metergraph_frames_dropped_total"
        };
        let dropped = |place| env.counter(name, "", &[("where", place)]);
        let run = Run {
            inputs: inputs.clone(),
            outputs: outputs.clone(),
            events,
            event_inputs,
            status: env.status.clone(),
            orders: Arc::clone(&orders),
            ending: Arc::clone(&self.ending),
            dropped: dropped("stop"),
            lost: dropped("restart"),
            restarts: env.counter("metergraph_restarts_total", "", &[]),
        };
        let status = env.status.clone();
        let thread = std::thread::Builder::new()
            .name(format!("{node}-{number}"))
            .spawn(move || run.supervise(worker, &*kind, &config, &env))
            .unwrap();
        self.instances.push(Instance { node, number, status, orders, inputs, outputs, thread: Some(thread) });
    }

    /// Sends APDUs as one batch, received over a link.
    pub fn send(&self, link: u32, apdus: &[Vec<u8>]) {
        let mut batch = Batch::default();
        for apdu in apdus {
            assert!(batch.push(apdu, Frame { link, ..Frame::default() }.with_transport(0)));
        }
        while let Err(node::edge::Refused::Full(back)) = self.received.offer(batch) {
            batch = back;
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// What came down since the last look: link and APDU.
    pub fn sent(&self) -> Vec<(u32, Vec<u8>)> {
        self.sent_over(0).into_iter().map(|(frame, apdu)| (frame.link, apdu)).collect()
    }

    /// As [`Self::sent`], over a transport, with the descriptors.
    pub fn sent_over(&self, transport: usize) -> Vec<(Frame, Vec<u8>)> {
        let mut sent = Vec::new();
        while let Some((_, batch)) = self.transmit[transport].take() {
            sent.extend(batch.frames.iter().map(|frame| (*frame, batch.octets(frame).unwrap().to_vec())));
        }
        sent
    }

    /// The next APDU that comes down.
    pub fn next_sent(&self) -> (u32, Vec<u8>) {
        wait_for("an APDU downstream", || {
            let (_, batch) = self.transmit[0].take()?;
            assert_eq!(batch.len(), 1, "one at a time");
            Some((batch.frames[0].link, batch.octets(&batch.frames[0]).unwrap().to_vec()))
        })
    }

    /// The sum of a counter over all nodes, where this label has this value.
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

    /// Frames received, and the sum of what became of them.
    pub fn account(&self) -> (u64, u64) {
        let ends = [
            "metergraph_frames_journaled_total",
            "metergraph_frames_duplicate_total",
            "metergraph_frames_refused_total",
            "metergraph_frames_dropped_total",
        ];
        (
            self.sum("metergraph_frames_received_total", None),
            ends.iter().map(|name| self.sum(name, None)).sum(),
        )
    }

    /// Waits until everything that was sent has met its end.
    pub fn settle(&self, received: u64) {
        wait_for(&format!("the end of {received} frames, {:?} so far", self.account()), || {
            (self.account() == (received, received)).then_some(())
        });
    }

    /// How many events of this reason came since the last look.
    pub fn event_count(&self, reason: &str) -> u64 {
        self.events().iter().filter(|event| event.reason.0 == reason).map(|event| event.count).sum()
    }

    /// Waits for an event of this reason.
    pub fn event(&self, reason: &str) -> Event {
        wait_for(reason, || self.events().into_iter().find(|event| event.reason.0 == reason))
    }

    /// Events since the last look.
    pub fn events(&self) -> Vec<Event> {
        self.events.iter().flat_map(|edge| std::iter::from_fn(|| edge.take())).collect()
    }

    fn instance(&self, node: &str, number: usize) -> &Instance {
        self.instances.iter().find(|instance| instance.node == node && instance.number == number).unwrap()
    }

    /// Frames that an instance has been given.
    pub fn frames(&self, node: &str, number: usize) -> u64 {
        self.instance(node, number).inputs.iter().map(|edge| edge.frames().0).sum()
    }

    /// Batches that the journal has taken and not settled.
    pub fn records_in_hand(&self) -> u64 {
        self.instance("journal", 0).inputs.iter().map(|edge| edge.taken() - edge.settled()).sum()
    }

    pub fn status(&self, node: &str) -> NodeStatus {
        self.instance(node, 0).status.clone()
    }

    pub fn log(&self) -> Arc<Log> {
        self.services.find("journal").unwrap()
    }

    /// Ends an instance in the middle of its work; it starts anew.
    pub fn restart(&self, node: &str, number: usize) {
        let starts = self.instance(node, number).status.starts();
        self.instance(node, number).orders.lock().unwrap().stop();
        wait_for("a new start", || (self.instance(node, number).status.starts() > starts).then_some(()));
    }

    /// Ends in good order, from the ingress end.
    pub fn drain(mut self) -> Self {
        *self.ending.lock().unwrap() = Ending::Drain;
        self.received.close();
        self.orders.iter().chain(&self.intents).for_each(|edge| edge.close());
        for node in NODES {
            if node == "monitor" {
                self.monitored.iter().flatten().for_each(|edge| edge.close());
            }
            for instance in self.instances.iter_mut().filter(|instance| instance.node == node) {
                instance.orders.lock().unwrap().drain();
                instance.thread.take().unwrap().join().unwrap();
                instance.outputs.iter().flat_map(|output| &output.edges).for_each(|edge| edge.close());
            }
        }
        self
    }

    /// Ends at once; what is left in the edges is counted.
    pub fn stop(mut self) -> Self {
        *self.ending.lock().unwrap() = Ending::Stop;
        for instance in &self.instances {
            instance.orders.lock().unwrap().stop();
        }
        for instance in &mut self.instances {
            instance.thread.take().unwrap().join().unwrap();
        }
        let left =
            self.meters.counter("metergraph_frames_dropped_total", "", &[("where", "left".to_owned())]);
        for edge in self.instances.iter().flat_map(|instance| &instance.inputs) {
            let from = edge.name().from.as_str();
            while let Some((_, batch)) = edge.take() {
                // Before ingress nothing was received; reservations are no frames; what goes down is not counted.
                let frames = batch.frames.iter().filter(|frame| {
                    from != "decrypt"
                        || metergraph_nodes::record::kind_of(frame) == metergraph_nodes::record::REPORT
                });
                let counts = ["ingress", "balancer", "decrypt"].contains(&from);
                if counts && !edge.name().to.starts_with("downlink") {
                    left.add(frames.count() as u64);
                }
            }
        }
        self
    }

    /// As [`Self::stop`], for a head-end that is killed: nothing is asked of it any more.
    pub fn kill(self) {
        drop(self.stop());
    }
}

/// What an instance needs to run, again and again.
struct Run {
    inputs: Vec<Arc<Edge>>,
    outputs: Vec<Output>,
    events: Vec<Arc<EventEdge>>,
    event_inputs: Vec<Arc<EventEdge>>,
    status: NodeStatus,
    orders: Arc<Mutex<Orders>>,
    ending: Arc<Mutex<Ending>>,
    dropped: Counter,
    lost: Counter,
    restarts: Counter,
}

impl Run {
    fn supervise(self, first: Box<dyn node::Worker>, kind: &dyn NodeKind, config: &Config, env: &Env) {
        let mut worker = Some(first);
        let mut run = self.status.count_start();
        loop {
            let build = || kind.build(config, &Env { run, ..env.clone() });
            let built =
                worker.take().map_or_else(|| catch_unwind(AssertUnwindSafe(build)), |first| Ok(Ok(first)));
            let result = match built {
                Ok(Ok(mut worker)) => {
                    let mut context = Context::new(Wiring {
                        inputs: self.inputs.clone(),
                        outputs: self.outputs.clone(),
                        event_inputs: self.event_inputs.clone(),
                        event_outputs: self.events.clone(),
                        status: self.status.clone(),
                        orders: self.orders.lock().unwrap().clone(),
                        dropped: self.dropped.clone(),
                        ..Wiring::default()
                    });
                    let caught = catch_unwind(AssertUnwindSafe(|| worker.run(&mut context)));
                    caught.unwrap_or_else(|_| Err(NodeError::new("panic")))
                }
                Ok(Err(error)) => Err(NodeError::caused("build", error)),
                Err(_) => Err(NodeError::new("panic")),
            };
            let in_hand = self.status.in_hand();
            self.status.set_in_hand(0);
            match result {
                Ok(()) => return,
                Err(NodeError::Stopped(_)) if *self.ending.lock().unwrap() == Ending::Stop => {
                    return self.dropped.add(in_hand);
                }
                Err(_) => self.lost.add(in_hand),
            }
            for edge in self.inputs.iter().filter(|edge| edge.settled() < edge.taken()) {
                edge.doubt(edge.taken());
                edge.settle(edge.taken());
            }
            self.restarts.add(1);
            let orders = Orders::default();
            *self.orders.lock().unwrap() = orders.clone();
            // The word may have gone to the orders before.
            match *self.ending.lock().unwrap() {
                Ending::Not => {}
                Ending::Drain => orders.drain(),
                Ending::Stop => return,
            }
            run = self.status.count_start();
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Whether a file of this name stands in the state folder.
pub fn stands(site: &Site, path: &str) -> bool {
    Path::new(&site.state()).join(path).exists()
}
