//! Node kind `api`: commands, devices and groups over HTTP.
//!
//! [`ApiKind`] is the node; [`view`] is what travels, for clients too; [`tokens`] is the file of bearer
//! tokens; [`openapi`] describes all of it.

#![expect(clippy::result_large_err, reason = "a problem is made once for a refused request")]

mod bucket;
mod guard;
mod kind;
mod problem;
mod refusal;
mod role;
mod routes;
mod server;
mod service;
mod tls;

pub mod openapi;
pub mod tokens;
pub mod view;

pub use kind::{ApiKind, Listens};
pub use problem::{MEDIA_TYPE, Problem};
pub use role::{Role, UnknownRole};

/// The service that the node names in its `desk`.
pub const DESK_SERVICE: &str = "commands";
