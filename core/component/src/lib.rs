//! Transport plugins that are WebAssembly components.
//!
//! A component implements the world `transport-plugin` of `wit/transport.wit`. What it can reach is what that
//! world imports, and of I/O only what the graph grants; there is no WASI. It is looked at before any of its
//! code runs, compiled once and kept, stopped when a call does not end, and bounded in memory. [`ComponentBinding`]
//! makes of it a [`transport::Module`] like any other.

mod bindings;
mod cache;
mod convert;
mod driver;
mod encode;
mod engine;
mod module;
mod state;

pub use cache::Cache;
pub use encode::{EncodeError, encode};
pub use module::{ComponentBinding, MEMORY_OCTETS};
