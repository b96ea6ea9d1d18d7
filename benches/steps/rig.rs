//! What a runtime does around one node: its place in a graph, its configuration, its edges.

use std::sync::Arc;

use journal::files::OsFiles;
use keystore::{FOLDER, Slots};
use node::env::Wire;
use node::{
    BatchPool, BuildError, Config, Edge, EdgeName, Env, Meters, NodeKind, NodeStatus, Value, WhenFull, Worker,
};
use nodes::journal::Log;
use nodes::key_store::KeyStoreKind;

use crate::lab::Lab;

const WIRES: [(&str, &str, &str); 5] = [
    ("balancer", "frames", "decrypt"),
    ("decrypt", "records", "journal"),
    ("decrypt", "sealed", "downlink"),
    ("downlink", "transmit", "transport:wan"),
    ("journal", "log", "mdm"),
];

/// A graph of which one node is really there.
pub struct Rig {
    env: Env,
    pub log: Arc<Log>,
}

impl Rig {
    /// The services of a key store and of a journal in a folder of this name.
    pub fn new(lab: &Lab, journal: &str) -> Result<Self, BuildError> {
        let wire = |(from, port, to): (&str, &str, &str)| Wire {
            from: from.to_owned(),
            port: port.to_owned(),
            to: to.to_owned(),
        };
        let env = Env {
            node: String::new(),
            instance: 0,
            instances: 1,
            run: 1,
            state: lab.state.path().to_owned(),
            meters: Meters::default(),
            services: Default::default(),
            pool: BatchPool::new(1024),
            status: NodeStatus::default(),
            wires: Arc::new(WIRES.into_iter().map(wire).collect()),
            transports: Arc::new(vec!["wan".to_owned()]),
            transport: None,
        };
        let log = Arc::new(Log::new(Arc::new(OsFiles), lab.state.join(journal)));
        env.services.provide("journal", Arc::clone(&log));
        let rig = Self { env, log };
        // It offers its services when it is built, and has nothing else to do: the journal tells it nothing.
        drop(rig.build(&KeyStoreKind, "keys", &[("path", FOLDER)])?);
        rig.env.services.find::<Slots>("keys").iter().for_each(|slots| slots.open());
        Ok(rig)
    }

    /// Builds a node with these settings, else with the defaults.
    pub fn build(
        &self,
        kind: &dyn NodeKind,
        node: &str,
        settings: &[(&str, &str)],
    ) -> Result<Box<dyn Worker>, BuildError> {
        let fields = kind.spec().fields.into_iter();
        let mut config =
            Config(fields.filter_map(|field| Some((field.name.into_owned(), field.default?))).collect());
        for (key, text) in settings {
            config.0.insert((*key).to_owned(), Value::from(*text));
        }
        kind.build(&config, &Env { node: node.to_owned(), ..self.env.clone() })
    }

    /// The sum of a counter over all labels.
    pub fn sum(&self, name: &str) -> u64 {
        let meters = self.env.meters.all().into_iter().filter(|meter| meter.name == name);
        meters
            .map(|meter| match meter.reading {
                node::meters::Reading::Counter(counter) => counter.get(),
                node::meters::Reading::Gauge(_) => 0,
            })
            .sum()
    }
}

/// An edge that never fills in a bench.
pub fn edge(from: &str, port: &str, to: &str) -> Arc<Edge> {
    let name = EdgeName {
        from: from.to_owned(),
        port: port.to_owned(),
        from_instance: 0,
        to: to.to_owned(),
        to_instance: 0,
    };
    Arc::new(Edge::new(name, 4096, WhenFull::Wait))
}
