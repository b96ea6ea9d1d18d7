//! Transports: plugins that move whole frames between the head-end and links.
//!
//! The contract is `plugins/sdk-c/metergraph_transport.h`. [`load`] checks a plugin before it is used, a
//! driver reaches the world only through the host's I/O table ([`io`], by [`grants`]), and
//! [`TransportWorker`] makes of it a [`node::Worker`] with an edge each way.
//!
//! This is one of the few crates with `unsafe` code: the C contract and a handful of system calls.

pub mod bound;
mod clock;
mod counts;
mod datagram;
mod driver;
mod elf;
mod error;
pub mod grants;
mod host_table;
pub mod io;
mod library;
mod module;
mod native;
mod notes;
mod pipe;
pub mod poller;
mod serial;
pub mod socket;
mod spec;
mod telling;
#[cfg(test)]
mod testing;
mod worker;

pub use bound::BoundAddresses;
pub use clock::{Clock, SimulatedTime};
pub use driver::{
    ANSWER_MAX, BATCH_FRAMES, CALL_BUDGET, Driver, Module, READ_OCTETS, broken, check_limits, failed,
};
pub use error::{DriverError, TransportError};
pub use grants::{Allowed, Grant, GrantError, Grants, SerialLine};
pub use host_table::HostTable;
pub use library::{NativeBinding, NativeModule};
pub use module::{Binding, Bindings, Description, GrantWanted, Sha256Digest, find_plugin, hex};
pub use notes::Notes;
pub use pipe::{PIPE_OCTETS, PipeEnd, PipeError};
pub use socket::raise_file_limit;
pub use spec::TransportSpec;
pub use worker::TransportWorker;
