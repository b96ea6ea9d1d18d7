//! Transports: plugins that move whole frames between the head-end and links.
//!
//! The contract is `plugins/sdk-c/metergraph_transport.h`. [`load`] checks a plugin before it is used, a
//! driver reaches the world only through the host's I/O table ([`io`], by [`grants`]), and
//! [`TransportWorker`] makes of it a [`node::Worker`] with an edge each way.
//!
//! This is one of the few crates with `unsafe` code: the C contract and a handful of system calls.

pub mod bound;
mod counts;
mod driver;
mod elf;
mod error;
pub mod grants;
mod host_table;
pub mod io;
mod library;
mod notes;
pub mod poller;
pub mod socket;
mod spec;
mod telling;
#[cfg(test)]
mod testing;
mod worker;

pub use bound::BoundAddresses;
pub use error::{DriverError, TransportError};
pub use grants::{Grant, GrantError, Grants};
pub use library::{Description, GrantWanted, Plugin, Sha256Digest, describe, find_plugin, hex, load};
pub use socket::raise_file_limit;
pub use spec::TransportSpec;
pub use worker::TransportWorker;
