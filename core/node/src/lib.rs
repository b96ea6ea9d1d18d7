//! The contract between a node and the runtime.
//!
//! A *node* is one box of a graph file. Its kind is a [`NodeKind`]: what it takes, what it gives,
//! which keys its configuration has. `check` is pure, `build` may open things and sets nothing going,
//! [`Worker::run`] does the work until its input ends or it is told to stop. Between nodes lie
//! [`edge`]s, bounded queues that belong to the runtime, so that a node that fails and comes back
//! finds them as they were.
//!
//! This crate knows no node kind, no file format, no octet of the protocol.

pub mod batch;
pub mod clock;
pub mod config;
pub mod context;
pub mod doorbell;
pub mod edge;
pub mod env;
pub mod event;
pub mod kind;
pub mod meters;
pub mod port;
pub mod spec;
pub mod status;

pub use batch::{Batch, BatchPool, Frame};
pub use config::{Config, Value};
pub use context::{Context, Next, Stopped};
pub use doorbell::Doorbell;
pub use edge::{Edge, EdgeName, WhenFull};
pub use env::Env;
pub use event::{Event, EventSink, Reason, Severity, Source};
pub use kind::{BuildError, NodeError, NodeKind, Problem, Registry, Worker};
pub use meters::{Counter, Gauge, Meters};
pub use port::{InputSpec, OutputSpec, PortType};
pub use spec::{FieldSpec, FieldType, KindSpec};
pub use status::{NodeState, NodeStatus};
