//! Builds every node and transport of a plan, with its edges, ready to become actors.

use std::sync::Arc;
use std::time::Instant;

use graph::Plan;
use graph::plan::{NodePlan, TransportPlan};
use node::env::Wire;
use node::{BatchPool, BuildError, Env, Meters, NodeKind, NodeStatus, Registry, Worker};
use transport::{TransportSpec, TransportWorker};

use crate::head::Left;
use crate::node_actor::{Factory, Instance, RestartLimits, chain};
use crate::running::{Options, RuntimeError};
use crate::status::{Board, Entry, dropped_counter};
use crate::wiring::{Laid, Wiring, transport_node};

/// Spare batches kept for all nodes together.
const POOL_BATCHES: usize = 1024;

/// One instance, built.
pub struct Part {
    /// What stays while its workers come and go.
    pub instance: Instance,
    /// Its first worker.
    pub worker: Box<dyn Worker>,
    /// Its kind; `transport` for a transport.
    pub kind: String,
    /// Whether it takes in from outside: a transport.
    pub source: bool,
}

/// A plan, built: nothing runs yet.
pub struct Built {
    /// All instances, transports last.
    pub parts: Vec<Part>,
    /// Indices into `parts`, from the MDM end.
    pub start_order: Vec<usize>,
    /// The connections by name.
    pub wires: Arc<Vec<Wire>>,
    /// What is left in the edges at the end is counted here.
    pub left: Vec<Left>,
    wiring: Wiring,
    meters: Meters,
}

impl Built {
    /// The parts that stand at the ends of `wiring`.
    #[must_use]
    pub fn new(parts: Vec<Part>, start_order: Vec<usize>, wiring: Wiring, meters: Meters) -> Self {
        let wires = Arc::new(wiring.wires.clone());
        let left = wiring.edges.iter().map(|laid| left(laid, &meters)).collect();
        Self { parts, start_order, wires, left, wiring, meters }
    }

    /// The board that shows it.
    #[must_use]
    pub fn board(&self, plan: &Plan) -> Board {
        let entry = |part: &Part| Entry {
            name: part.instance.name.clone(),
            kind: part.kind.clone(),
            instance: part.instance.number,
            status: part.instance.status.clone(),
        };
        Board {
            graph: plan.name.clone(),
            entries: self.parts.iter().map(entry).collect(),
            edges: self.wiring.edges.clone(),
            event_edges: self.wiring.event_edges.clone(),
            meters: self.meters.clone(),
            since: Instant::now(),
        }
    }
}

/// Builds the nodes, services first, then the transports.
///
/// # Errors
/// [`RuntimeError`], when something could not be opened; then everything built so far is let go.
pub fn build(plan: &Plan, registry: &Registry, options: &Options) -> Result<Built, RuntimeError> {
    let wiring = Wiring::new(plan);
    let wires = Arc::new(wiring.wires.clone());
    let meters = Meters::default();
    let env = Env {
        node: String::new(),
        instance: 0,
        instances: 1,
        run: 1,
        state: options.state.clone(),
        meters: meters.clone(),
        services: options.services.clone(),
        pool: BatchPool::new(POOL_BATCHES),
        status: NodeStatus::default(),
        wires: Arc::clone(&wires),
        transports: Arc::new(plan.transports.iter().map(|transport| transport.name.clone()).collect()),
        transport: None,
    };
    let mut builder = Builder { plan, options, env, wiring: &wiring, parts: Vec::new() };
    for node in plan.build_order.iter().filter_map(|index| plan.nodes.get(*index)) {
        let kind = registry
            .find(&node.kind)
            .ok_or_else(|| RuntimeError::UnknownKind { node: node.name.clone(), kind: node.kind.clone() })?;
        builder.add_node(node, kind)?;
    }
    for (number, transport) in plan.transports.iter().enumerate() {
        builder.add_transport(transport, number)?;
    }
    let parts = builder.parts;
    let start_order = start_order(plan, &parts);
    Ok(Built::new(parts, start_order, wiring, meters))
}

fn left(Laid { edge, port_type }: &Laid, meters: &Meters) -> Left {
    let (name, help) = dropped_counter(port_type.is_downstream());
    let labels = [("node", edge.name().to.clone()), ("where", "stop".to_owned())];
    Left { edge: Arc::clone(edge), dropped: meters.counter(name, help, &labels) }
}

struct Builder<'a> {
    plan: &'a Plan,
    options: &'a Options,
    env: Env,
    wiring: &'a Wiring,
    parts: Vec<Part>,
}

impl Builder<'_> {
    fn add_node(&mut self, node: &NodePlan, kind: &Arc<dyn NodeKind>) -> Result<(), RuntimeError> {
        let transport = node.transport.and_then(|index| self.plan.transports.get(index));
        for number in 0..node.instances {
            let env = Env {
                node: node.name.clone(),
                instance: number,
                instances: node.instances,
                status: NodeStatus::default(),
                transport: transport.map(|transport| transport.name.clone()),
                ..self.env.clone()
            };
            let (kind, config) = (Arc::clone(kind), node.config.clone());
            let worker = kind.build(&config, &env)?;
            let of_run = env.clone();
            let factory: Factory = Box::new(move |run| kind.build(&config, &Env { run, ..of_run.clone() }));
            let instance = self.instance(&env, factory, false);
            self.parts.push(Part { instance, worker, kind: node.kind.clone(), source: false });
        }
        Ok(())
    }

    fn add_transport(&mut self, transport: &TransportPlan, number: usize) -> Result<(), RuntimeError> {
        let name = transport_node(&transport.name);
        let env = Env { node: name, status: NodeStatus::default(), ..self.env.clone() };
        let spec = TransportSpec {
            name: transport.name.clone(),
            // A checked graph has no more transports than a frame can name.
            number: u8::try_from(number).unwrap_or(u8::MAX),
            plugin: transport.plugin.clone(),
            sha256: transport.sha256,
            config: transport.config.clone(),
            grants: transport.grants.clone(),
            plugin_dirs: self.options.plugin_dirs.clone(),
        };
        let worker = TransportWorker::open(&spec, &env)
            .map_err(|source| RuntimeError::Transport { transport: transport.name.clone(), source })?;
        let of_run = env.clone();
        let factory: Factory = Box::new(move |run| {
            let env = Env { run, ..of_run.clone() };
            match TransportWorker::open(&spec, &env) {
                Ok(worker) => Ok(Box::new(worker)),
                Err(error) => Err(BuildError::new(&env, chain(&error))),
            }
        });
        let instance = self.instance(&env, factory, true);
        let kind = "transport".to_owned();
        self.parts.push(Part { instance, worker: Box::new(worker), kind, source: true });
        Ok(())
    }

    fn instance(&self, env: &Env, factory: Factory, source: bool) -> Instance {
        let ends = self.wiring.ends(&env.node, env.instance);
        // A transport counts by itself what it cannot send.
        let downstream = self.wiring.reads_downstream(&env.node) && !source;
        let (name, help) = dropped_counter(downstream);
        let dropped = |place| env.counter(name, help, &[("where", place)]);
        Instance {
            name: env.node.clone(),
            number: env.instance,
            factory,
            inputs: ends.inputs,
            outputs: ends.outputs,
            event_inputs: ends.event_inputs,
            event_outputs: ends.event_outputs,
            status: env.status.clone(),
            orders: node::context::Orders::default(),
            dropped: dropped("stop"),
            lost: dropped("restart"),
            restarts: env.counter("metergraph_restarts_total", "Starts after a failure.", &[]),
            limits: RestartLimits::new(&self.plan.runtime),
        }
    }
}

/// Indices into `parts` in the order of the plan; what it does not name, the transports, comes last.
fn start_order(plan: &Plan, parts: &[Part]) -> Vec<usize> {
    let rank = |part: &Part| {
        let mut names = plan.start_order.iter().filter_map(|index| plan.nodes.get(*index));
        names.position(|node| node.name == part.instance.name).unwrap_or(usize::MAX)
    };
    let mut order: Vec<(usize, usize)> = parts.iter().map(rank).zip(0..).collect();
    order.sort_unstable();
    order.into_iter().map(|(_, index)| index).collect()
}
