//! What a node finds around it when it is built.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::batch::BatchPool;
use crate::meters::{Counter, Gauge, Label, Meters};
use crate::status::NodeStatus;

/// A service of any type.
type Service = Arc<dyn Any + Send + Sync>;

/// Things that nodes offer to one another, by node name and type: a key store, a journal's reader.
/// The name `""` holds what the program itself brings (a file layer, for one).
#[derive(Clone, Debug, Default)]
pub struct Services(Arc<Mutex<HashMap<(String, TypeId), Service>>>);

impl Services {
    /// Offers `service` under a node's name, in place of an earlier one of the same type.
    pub fn provide<T: Any + Send + Sync>(&self, node: &str, service: Arc<T>) {
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        services.insert((node.to_owned(), TypeId::of::<T>()), service);
    }

    /// What a node offers of this type; what `made` is, where nothing is offered yet. For what two
    /// neighbours share, whichever is built first.
    pub fn find_or_provide<T: Any + Send + Sync>(&self, node: &str, made: T) -> Arc<T> {
        let made = Arc::new(made);
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let offered = services.entry((node.to_owned(), TypeId::of::<T>())).or_insert_with(|| made.clone());
        // The type is part of the key, so the cast cannot fail.
        Arc::clone(offered).downcast().unwrap_or(made)
    }

    /// What a node offers of this type.
    #[must_use]
    pub fn find<T: Any + Send + Sync>(&self, node: &str) -> Option<Arc<T>> {
        let services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let service = services.get(&(node.to_owned(), TypeId::of::<T>()))?;
        Arc::clone(service).downcast().ok()
    }
}

/// One connection of the graph, by node names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wire {
    /// The producing node.
    pub from: String,
    /// Its output port.
    pub port: String,
    /// The consuming node.
    pub to: String,
}

/// What a node finds around it when it is built.
#[derive(Clone, Debug)]
pub struct Env {
    /// The node's name in the graph.
    pub node: String,
    /// Which instance of the node this is, from 0.
    pub instance: usize,
    /// How many instances the node has.
    pub instances: usize,
    /// The number of this run of the instance, from 1: a restart raises it.
    pub run: u64,
    /// The state folder.
    pub state: PathBuf,
    /// Counters and gauges.
    pub meters: Meters,
    /// What other nodes offer.
    pub services: Services,
    /// Recycled memory for batches.
    pub pool: BatchPool,
    /// The node's state.
    pub status: NodeStatus,
    /// All connections of the graph.
    pub wires: Arc<Vec<Wire>>,
    /// Numbers of the transports: names in the order of the graph file.
    pub transports: Arc<Vec<String>>,
    /// The transport that this node is an end of.
    pub transport: Option<String>,
}

impl Env {
    /// The nodes that read an output port of this one.
    #[must_use]
    pub fn readers(&self, port: &str) -> Vec<&str> {
        let mine = |wire: &&Wire| wire.from == self.node && wire.port == port;
        self.wires.iter().filter(mine).map(|wire| wire.to.as_str()).collect()
    }

    /// Whether a node gives what it takes to this transport.
    #[must_use]
    pub fn leads_to_transport(&self, node: &str, transport: &str) -> bool {
        let to = |wire: &Wire| wire.to.strip_prefix("transport:") == Some(transport);
        self.wires.iter().any(|wire| wire.from == node && to(wire))
    }

    /// The nodes that this one reads from.
    #[must_use]
    pub fn writers(&self) -> Vec<&str> {
        self.wires.iter().filter(|wire| wire.to == self.node).map(|wire| wire.from.as_str()).collect()
    }

    /// A counter labelled with this node's name and `labels`.
    #[must_use]
    pub fn counter(
        &self,
        name: &'static str,
        help: &'static str,
        labels: &[(&'static str, &str)],
    ) -> Counter {
        self.meters.counter(name, help, &self.labels(labels))
    }

    /// A gauge labelled with this node's name, its instance and `labels`.
    #[must_use]
    pub fn gauge(&self, name: &'static str, help: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        let mut all = self.labels(labels);
        all.push(("instance", self.instance.to_string()));
        self.meters.gauge(name, help, &all)
    }

    fn labels(&self, labels: &[(&'static str, &str)]) -> Vec<Label> {
        let mut all = vec![("node", self.node.clone())];
        all.extend(labels.iter().map(|(key, value)| (*key, (*value).to_owned())));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_found_by_node_and_type() {
        let services = Services::default();
        services.provide("keys", Arc::new(7_u32));
        assert_eq!(services.find::<u32>("keys").as_deref(), Some(&7));
        assert!(services.find::<u64>("keys").is_none());
        assert!(services.find::<u32>("other").is_none());
        assert_eq!(*services.find_or_provide::<u32>("keys", 8), 7);
        assert_eq!(*services.find_or_provide::<u64>("keys", 8), 8);
    }

    #[test]
    fn neighbours_and_labels_are_those_of_the_node() {
        let wire =
            |from: &str, port: &str, to: &str| Wire { from: from.into(), port: port.into(), to: to.into() };
        let wires = vec![
            wire("balancer", "frames", "decrypt"),
            wire("decrypt", "records", "journal"),
            wire("decrypt", "events", "monitor"),
        ];
        let env = Env {
            node: "decrypt".into(),
            instance: 1,
            instances: 2,
            run: 1,
            state: PathBuf::new(),
            meters: Meters::default(),
            services: Services::default(),
            pool: BatchPool::new(1),
            status: NodeStatus::default(),
            wires: Arc::new(wires),
            transports: Arc::default(),
            transport: None,
        };
        assert_eq!(env.readers("records"), ["journal"]);
        assert_eq!(env.writers(), ["balancer"]);
        env.counter("metergraph_x_total", "", &[("reason", "truncated")]).add(1);
        env.gauge("metergraph_y", "", &[]).set(5);
        let labels: Vec<_> = env.meters.all().into_iter().map(|meter| meter.labels).collect();
        let node = ("node", "decrypt".to_owned());
        assert_eq!(labels[0], [node.clone(), ("reason", "truncated".to_owned())]);
        assert_eq!(labels[1], [node, ("instance", "1".to_owned())]);
    }
}
