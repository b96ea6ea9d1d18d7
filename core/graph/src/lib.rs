//! Graph files and device profiles: spans, diagnostics, schema, drawing.
//!
//! [`compile`] is the one way from a file's text to a [`Plan`]: pure, and with all faults at once. What
//! only the environment knows is filled in by [`resolve`] before a graph runs.

pub mod codes;
mod compile;
pub mod device_profile;
pub mod diagnostic;
pub mod document;
pub mod draw;
pub mod explain;
mod fields;
pub mod plan;
mod plugin;
pub mod render;
mod resolve;
mod schema;
mod substitution;
#[cfg(test)]
mod testing;

pub use compile::{Compiled, compile};
pub use diagnostic::{Code, Diagnostic, Label, Severity, Span};
pub use plan::Plan;
pub use plugin::{Described, PluginSchemas, plugins_named};
pub use resolve::{Secret, Sources, resolve};
pub use schema::schema;
