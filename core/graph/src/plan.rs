//! A graph that has passed every check: what the runtime builds.

use node::{Config, FieldType, PortType, Value, WhenFull};

use crate::diagnostic::Span;

/// One end of an edge: an index into [`Plan::nodes`] or [`Plan::transports`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum End {
    /// A node.
    Node(usize),
    /// A transport.
    Transport(usize),
}

/// A checked graph.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The graph's name.
    pub name: String,
    /// Where the metrics page and health are served, `HOST:PORT`.
    pub http: Option<String>,
    /// Restarts and drain.
    pub runtime: RuntimePlan,
    /// The nodes, in the order of the file.
    pub nodes: Vec<NodePlan>,
    /// The transports, in the order of the file.
    pub transports: Vec<TransportPlan>,
    /// The edges, by consumer in the order of the file; those of transports last.
    pub edges: Vec<EdgePlan>,
    /// Who uses whose service.
    pub services: Vec<ServicePlan>,
    /// Nodes in the order in which they are built: those that provide services or logs first.
    pub build_order: Vec<usize>,
    /// Nodes in the order in which they are started: from the MDM end. Transports come after them.
    pub start_order: Vec<usize>,
    /// Values still to be filled in by [`crate::resolve`].
    pub unresolved: Vec<Unresolved>,
}

/// The `[runtime]` section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuntimePlan {
    /// Restarts of one node within the window before it counts as failed.
    pub restarts_max: u32,
    /// The window, seconds.
    pub restart_window_s: u64,
    /// Pause before the first restart, milliseconds; it doubles.
    pub backoff_ms: u64,
    /// Longest pause, milliseconds.
    pub backoff_max_ms: u64,
    /// Limit of the orderly end, milliseconds.
    pub drain_timeout_ms: u64,
}

impl Default for RuntimePlan {
    fn default() -> Self {
        Self {
            restarts_max: 10,
            restart_window_s: 60,
            backoff_ms: 100,
            backoff_max_ms: 10_000,
            drain_timeout_ms: 30_000,
        }
    }
}

/// One `[node.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePlan {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its configuration, defaults filled in.
    pub config: Config,
    /// How many instances it has, at least 1.
    pub instances: usize,
    /// The transport that it is an end of.
    pub transport: Option<usize>,
    /// Its name in the file.
    pub span: Span,
}

/// One `[transport.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct TransportPlan {
    /// Its name.
    pub name: String,
    /// The plugin's file, as written.
    pub plugin: String,
    /// The SHA-256 that the plugin's file must have.
    pub sha256: Option<[u8; 32]>,
    /// The plugin's configuration as written: the plugin knows its defaults.
    pub config: Config,
    /// What the plugin may reach: a table of tables.
    pub grants: Value,
    /// Its name in the file.
    pub span: Span,
}

/// One connection.
#[derive(Clone, Debug, PartialEq)]
pub struct EdgePlan {
    /// Who gives.
    pub from: End,
    /// The output port's name.
    pub port: String,
    /// Who takes.
    pub to: End,
    /// What flows.
    pub port_type: PortType,
    /// Batches (on event edges: events) that it holds; 0 for a log, which has no queue.
    pub batches_max: usize,
    /// What happens when it is full.
    pub when_full: WhenFull,
}

/// A node that uses another node's service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePlan {
    /// The node that provides it.
    pub provider: usize,
    /// The node that uses it.
    pub user: usize,
    /// The service.
    pub service: String,
}

/// Where a value's text comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// `{ env = "NAME" }`
    Env(String),
    /// `{ secret = "FILE" }`
    Secret(String),
}

/// What a value belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// `[http] listen`
    Http,
    /// A node's configuration.
    Node(usize),
    /// A transport's configuration.
    Transport(usize),
    /// A transport's grants.
    Grants(usize),
}

/// One step from a table or list to a value in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A key.
    Key(String),
    /// An index.
    Index(usize),
}

/// A value that an environment variable or a secret file will give.
#[derive(Clone, Debug, PartialEq)]
pub struct Unresolved {
    /// What it belongs to.
    pub owner: Owner,
    /// Where it stands in there.
    pub path: Vec<Step>,
    /// What gives it.
    pub origin: Origin,
    /// What it must be; `None` where the plugin was not looked at.
    pub field_type: Option<FieldType>,
    /// Where it stands in the file.
    pub span: Span,
}
