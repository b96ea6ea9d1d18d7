//! C12.22 over TCP (RFC 6142) as a transport plugin.
//!
//! Listens and dials by grant, cuts the stream into APDUs, carries both directions on one connection.
//! All sockets belong to the host; this crate holds no system call and no unsafe code. The work per call
//! depends on what is ready, never on how many links there are.

mod accept;
pub mod config;
mod dial;
mod driver;
mod framing;
mod linking;
mod links;
mod receive;
mod sending;
mod timers;
mod tx_queue;

pub use driver::Tcp;

transport_sdk::export_transport!(Tcp);
