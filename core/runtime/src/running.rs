//! A running graph, as its owner holds it.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix::{Actor, Addr, AsyncContext, System};
use graph::plan::{NodePlan, Plan};
use node::env::{Env, Services};
use node::{BatchPool, BuildError, Config, Meters, NodeKind, NodeStatus, Registry, Worker};
use transport::{TransportError, TransportSpec, TransportWorker};

use crate::control::ControlServer;
use crate::head::{BeginStop, End, Head, Member};
use crate::http;
use crate::node_actor::{Factory, Instance, NodeActor, RestartLimits, chain};
use crate::page::Page;
use crate::status::{Board, Entry, Status};
use crate::wiring::{Wiring, transport_node};

/// Spare batches kept for all nodes together.
const POOL_BATCHES: usize = 1024;

/// What a program brings to a graph.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The state folder; made when absent.
    pub state: PathBuf,
    /// Folders in which plugins are looked for, in order.
    pub plugin_dirs: Vec<PathBuf>,
    /// Services of the program itself, under the name `""`.
    pub services: Services,
}

/// Why a graph could not be started.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The plan names a kind that the registry does not have: it was made with another registry.
    #[error("node `{node}`: kind `{kind}` is not known here")]
    UnknownKind {
        /// The node.
        node: String,
        /// The kind.
        kind: String,
    },
    /// A node could not be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A transport could not be opened.
    #[error("transport `{transport}`")]
    Transport {
        /// The transport.
        transport: String,
        /// What came back.
        #[source]
        source: TransportError,
    },
    /// The state folder, the control socket or the HTTP address.
    #[error("{what}")]
    Io {
        /// What was tried.
        what: String,
        /// What the operating system answered.
        #[source]
        source: std::io::Error,
    },
    /// The actor system ended before the graph ran.
    #[error("the actor system did not start")]
    System,
}

fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> RuntimeError {
    let what = what.into();
    move |source| RuntimeError::Io { what, source }
}

/// A running graph. Dropping it stops the graph and waits for its end.
pub struct Running {
    head: Addr<Head>,
    board: Arc<Board>,
    services: Services,
    http: Option<SocketAddr>,
    control: Option<ControlServer>,
    end: mpsc::Receiver<End>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({})", self.board.graph)
    }
}

/// Everything of one instance, ready to become an actor.
struct Built {
    instance: Instance,
    worker: Box<dyn Worker>,
    source: bool,
}

/// Builds and starts `plan`.
///
/// # Errors
/// [`RuntimeError`], when something could not be opened; then nothing runs.
pub fn start(plan: &Plan, registry: &Registry, options: Options) -> Result<Running, RuntimeError> {
    std::fs::create_dir_all(&options.state)
        .map_err(io(format!("state folder {}", options.state.display())))?;
    let wiring = Wiring::new(plan);
    let meters = Meters::default();
    let services = options.services.clone();
    let base = Env {
        node: String::new(),
        instance: 0,
        instances: 1,
        run: 1,
        state: options.state.clone(),
        meters: meters.clone(),
        services: services.clone(),
        pool: BatchPool::new(POOL_BATCHES),
        status: NodeStatus::default(),
        wires: Arc::new(wiring.wires.clone()),
        transports: Arc::new(plan.transports.iter().map(|transport| transport.name.clone()).collect()),
        transport: None,
    };
    let mut built = build_nodes(plan, registry, &base, &wiring)?;
    let transports = build_transports(plan, &options, &base, &wiring)?;

    let start_order = start_order(plan, &built, &transports);
    built.extend(transports);
    let entries: Vec<Entry> = built
        .iter()
        .map(|built| Entry {
            name: built.instance.name.clone(),
            kind: kind_of(plan, &built.instance.name),
            instance: built.instance.number,
            status: built.instance.status.clone(),
        })
        .collect();
    let board = Arc::new(Board {
        graph: plan.name.clone(),
        entries,
        edges: wiring.edges.clone(),
        meters: meters.clone(),
        since: Instant::now(),
    });
    let control = ControlServer::bind(&options.state, Arc::clone(&board))
        .map_err(io(format!("control socket in {}", options.state.display())))?;
    let listener = match &plan.http {
        Some(address) => {
            Some(TcpListener::bind(address.as_str()).map_err(io(format!("http listen {address}")))?)
        }
        None => None,
    };
    let http = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let page = Arc::new(Page::new(meters, wiring.edges.clone()));
    run_system(plan, built, start_order, base.wires, board, services, listener, http, page, control)
}

#[allow(clippy::too_many_arguments)] // The parts of one running graph, handed over once.
fn run_system(
    plan: &Plan,
    built: Vec<Built>,
    start_order: Vec<usize>,
    wires: Arc<Vec<node::env::Wire>>,
    board: Arc<Board>,
    services: Services,
    listener: Option<TcpListener>,
    http: Option<SocketAddr>,
    page: Arc<Page>,
    control: ControlServer,
) -> Result<Running, RuntimeError> {
    let drain_timeout = Duration::from_millis(plan.runtime.drain_timeout_ms);
    let (send_head, receive_head) = mpsc::channel();
    let (send_end, end) = mpsc::channel();
    let shown = Arc::clone(&board);
    let thread = std::thread::Builder::new()
        .name("actors".into())
        .spawn(move || {
            System::new().block_on(async move {
                let (on_end, ended) = tokio::sync::oneshot::channel();
                let for_head = Arc::clone(&board);
                let head = Head::create(move |mailbox| {
                    let head = mailbox.address();
                    let members = built
                        .into_iter()
                        .enumerate()
                        .map(|(index, Built { instance, worker, source })| Member {
                            name: instance.name.clone(),
                            actor: NodeActor::new(index, instance, head.clone().recipient()).start(),
                            worker: Some(worker),
                            source,
                        })
                        .collect();
                    Head::new(members, start_order, wires, for_head, drain_timeout, on_end)
                });
                let server = listener.map(|listener| http::serve(listener, page, Arc::clone(&board)));
                if let Some(Err(error)) = &server {
                    tracing::error!(%error, "the HTTP side did not start");
                }
                if send_head.send(head).is_err() {
                    return;
                }
                let end = ended.await.unwrap_or_default();
                if let Some(Ok(server)) = server {
                    server.stop(false).await;
                }
                // The owner may have let go already.
                let _ = send_end.send(end);
            });
        })
        .map_err(io("thread of the actor system"))?;
    let head = receive_head.recv().map_err(|_| RuntimeError::System)?;
    Ok(Running { head, board: shown, services, http, control: Some(control), end, thread: Some(thread) })
}

impl Running {
    /// Begins to stop from the ingress end; returns at once.
    pub fn begin_stop(&self) {
        // A head that is gone has stopped already.
        if self.head.try_send(BeginStop).is_err() {
            tracing::debug!("the head was told to stop twice");
        }
    }

    /// Waits for the end, at most `limit`; `None` when the graph still runs.
    #[must_use]
    pub fn wait(&self, limit: Duration) -> Option<End> {
        match self.end.recv_timeout(limit) {
            Ok(end) => Some(end),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => Some(End::default()),
        }
    }

    /// Stops and waits for the end (bounded by the graph's drain limit and the head's stop limit).
    #[must_use]
    pub fn stop(self) -> (End, Status) {
        self.begin_stop();
        let end = loop {
            if let Some(end) = self.wait(Duration::from_secs(1)) {
                break end;
            }
        };
        (end, self.board.status())
    }

    /// The board as it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        self.board.status()
    }

    /// The states, edges and meters themselves.
    #[must_use]
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }

    /// What the nodes offer.
    #[must_use]
    pub fn services(&self) -> &Services {
        &self.services
    }

    /// Where the HTTP side listens.
    #[must_use]
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.begin_stop();
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
        drop(self.control.take());
    }
}

fn kind_of(plan: &Plan, name: &str) -> String {
    plan.nodes.iter().find(|node| node.name == name).map_or("transport", |node| node.kind.as_str()).to_owned()
}

fn restart_limits(plan: &Plan) -> RestartLimits {
    RestartLimits {
        restarts_max: plan.runtime.restarts_max,
        window: Duration::from_secs(plan.runtime.restart_window_s),
        backoff: Duration::from_millis(plan.runtime.backoff_ms),
        backoff_max: Duration::from_millis(plan.runtime.backoff_max_ms),
    }
}

fn instance(plan: &Plan, env: &Env, wiring: &Wiring, factory: Factory) -> Instance {
    let ends = wiring.ends(&env.node, env.instance);
    let dropped = |place: &str| {
        env.counter(
            "metergraph_frames_dropped_total",
            "Frames given up, by the place where.",
            &[("where", place)],
        )
    };
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
        limits: restart_limits(plan),
    }
}

fn build_nodes(
    plan: &Plan,
    registry: &Registry,
    base: &Env,
    wiring: &Wiring,
) -> Result<Vec<Built>, RuntimeError> {
    let mut built = Vec::new();
    for node in plan.build_order.iter().filter_map(|index| plan.nodes.get(*index)) {
        let kind = registry.find(&node.kind).ok_or_else(|| RuntimeError::UnknownKind {
            node: node.name.clone(),
            kind: node.kind.clone(),
        })?;
        for number in 0..node.instances {
            let env = Env {
                node: node.name.clone(),
                instance: number,
                instances: node.instances,
                status: NodeStatus::default(),
                transport: node
                    .transport
                    .and_then(|index| plan.transports.get(index))
                    .map(|transport| transport.name.clone()),
                ..base.clone()
            };
            let worker = kind.build(&node.config, &env)?;
            let factory = factory(Arc::clone(kind), node, env.clone());
            built.push(Built { instance: instance(plan, &env, wiring, factory), worker, source: false });
        }
    }
    Ok(built)
}

fn factory(kind: Arc<dyn NodeKind>, node: &NodePlan, env: Env) -> Factory {
    let config: Config = node.config.clone();
    Box::new(move |run| kind.build(&config, &Env { run, ..env.clone() }))
}

fn build_transports(
    plan: &Plan,
    options: &Options,
    base: &Env,
    wiring: &Wiring,
) -> Result<Vec<Built>, RuntimeError> {
    let mut built = Vec::new();
    for (number, transport) in plan.transports.iter().enumerate() {
        let env =
            Env { node: transport_node(&transport.name), status: NodeStatus::default(), ..base.clone() };
        let spec = TransportSpec::new(transport, number, &options.plugin_dirs);
        let open = |env: &Env| TransportWorker::open(&spec, env);
        let worker = open(&env).map_err(|source| RuntimeError::Transport {
            transport: transport.name.clone(),
            source,
        })?;
        let factory: Factory = {
            let (spec, env) = (spec.clone(), env.clone());
            Box::new(move |run| {
                let env = Env { run, ..env.clone() };
                match TransportWorker::open(&spec, &env) {
                    Ok(worker) => Ok(Box::new(worker)),
                    Err(error) => Err(BuildError::new(&env, chain(&error))),
                }
            })
        };
        let instance = instance(plan, &env, wiring, factory);
        built.push(Built { instance, worker: Box::new(worker), source: true });
    }
    Ok(built)
}

/// Indices into `built` followed by `transports`, from the MDM end; transports last.
fn start_order(plan: &Plan, built: &[Built], transports: &[Built]) -> Vec<usize> {
    let mut order: Vec<usize> = Vec::new();
    for node in plan.start_order.iter().filter_map(|index| plan.nodes.get(*index)) {
        order.extend((0..built.len()).filter(|index| {
            built.get(*index).is_some_and(|built| built.instance.name == node.name)
        }));
    }
    order.extend(built.len()..built.len() + transports.len());
    order
}
