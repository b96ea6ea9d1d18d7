//! Runs a graph of nodes on actix: edges, supervision, drain, metrics, control.
//!
//! The runtime knows no node kind. It takes a checked [`graph::Plan`] and a [`node::Registry`], builds
//! every node (services first), makes the edges, starts from the MDM end, starts anew what fails, and
//! stops from the ingress end within a limit.

pub mod build;
pub mod control;
pub mod head;
pub mod http;
pub mod node_actor;
pub mod page;
pub mod running;
pub mod status;
pub mod wiring;

pub use control::{Answer, Request, ask};
pub use head::End;
pub use running::{Options, Running, RuntimeError, start};
pub use status::{Board, Status};
