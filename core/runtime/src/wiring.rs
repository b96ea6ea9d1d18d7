//! Makes the edges of a plan and hands each node instance its ends.

use std::collections::HashMap;
use std::sync::Arc;

use graph::plan::{EdgePlan, End, Plan};
use node::context::Output;
use node::edge::EdgeName;
use node::env::Wire;
use node::event::EventEdge;
use node::{Edge, PortType};

/// The ends that one instance of a node (or a transport) holds.
#[derive(Clone, Debug, Default)]
pub struct Ends {
    /// Data edges it consumes.
    pub inputs: Vec<Arc<Edge>>,
    /// Data ports it fills.
    pub outputs: Vec<Output>,
    /// Event edges it consumes.
    pub event_inputs: Vec<Arc<EventEdge>>,
    /// Event edges it fills.
    pub event_outputs: Vec<Arc<EventEdge>>,
}

impl Ends {
    fn add_output(&mut self, port: &str, edge: Arc<Edge>) {
        match self.outputs.iter_mut().find(|output| output.port == port) {
            Some(output) => output.edges.push(edge),
            None => self.outputs.push(Output { port: port.to_owned(), edges: vec![edge] }),
        }
    }
}

/// A data edge and what flows through it.
#[derive(Clone, Debug)]
pub struct Laid {
    /// The edge.
    pub edge: Arc<Edge>,
    /// What flows.
    pub port_type: PortType,
}

/// All edges of a running graph.
#[derive(Debug, Default)]
pub struct Wiring {
    /// The ends by (node or transport name, instance). A transport stands under `transport:NAME`.
    pub ends: HashMap<(String, usize), Ends>,
    /// All data edges.
    pub edges: Vec<Laid>,
    /// All event edges.
    pub event_edges: Vec<Arc<EventEdge>>,
    /// The connections by name, logs included.
    pub wires: Vec<Wire>,
}

/// The name under which a transport stands among the nodes.
#[must_use]
pub fn transport_node(name: &str) -> String {
    format!("transport:{name}")
}

fn name_and_instances(plan: &Plan, end: &End) -> (String, usize) {
    match end {
        End::Node(index) => {
            plan.nodes.get(*index).map(|node| (node.name.clone(), node.instances)).unwrap_or_default()
        }
        End::Transport(index) => {
            (plan.transports.get(*index).map(|t| transport_node(&t.name)).unwrap_or_default(), 1)
        }
    }
}

/// A graph file names no events of a transport: they go where those of its ingress go.
fn transport_events(plan: &Plan) -> Vec<EdgePlan> {
    let events = plan.edges.iter().filter(|edge| edge.port_type == PortType::Events);
    let of_ingress = |edge: &EdgePlan| {
        let received =
            plan.edges.iter().find(|other| other.port_type == PortType::Received && other.to == edge.from)?;
        Some(EdgePlan { from: received.from, ..edge.clone() })
    };
    events.filter_map(of_ingress).collect()
}

impl Wiring {
    /// The edges of `plan`: one for each pair of instances.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let mut wiring = Self::default();
        for edge in plan.edges.iter().chain(&transport_events(plan)) {
            let (from, from_instances) = name_and_instances(plan, &edge.from);
            let (to, to_instances) = name_and_instances(plan, &edge.to);
            wiring.wires.push(Wire { from: from.clone(), port: edge.port.clone(), to: to.clone() });
            if edge.port_type == PortType::Log {
                continue;
            }
            for from_instance in 0..from_instances {
                for to_instance in 0..to_instances {
                    let name = EdgeName {
                        from: from.clone(),
                        port: edge.port.clone(),
                        from_instance,
                        to: to.clone(),
                        to_instance,
                    };
                    let source = (from.clone(), from_instance);
                    let target = (to.clone(), to_instance);
                    if edge.port_type == PortType::Events {
                        let made = Arc::new(EventEdge::new(name, edge.batches_max, edge.when_full));
                        wiring.event_edges.push(Arc::clone(&made));
                        wiring.ends.entry(source).or_default().event_outputs.push(Arc::clone(&made));
                        wiring.ends.entry(target).or_default().event_inputs.push(made);
                    } else {
                        let made = Arc::new(Edge::new(name, edge.batches_max, edge.when_full));
                        wiring.edges.push(Laid { edge: Arc::clone(&made), port_type: edge.port_type });
                        wiring.ends.entry(source).or_default().add_output(&edge.port, Arc::clone(&made));
                        wiring.ends.entry(target).or_default().inputs.push(made);
                    }
                }
            }
        }
        wiring
    }

    /// Whether a node reads only what flows towards end devices.
    #[must_use]
    pub fn reads_downstream(&self, node: &str) -> bool {
        let mut read = self.edges.iter().filter(|laid| laid.edge.name().to == node).peekable();
        read.peek().is_some() && read.all(|laid| laid.port_type.is_downstream())
    }

    /// The ends of one instance.
    #[must_use]
    pub fn ends(&self, node: &str, instance: usize) -> Ends {
        self.ends.get(&(node.to_owned(), instance)).cloned().unwrap_or_default()
    }
}
