//! The TCP plugin as a component: the very tests that it passes as a shared library.

extern crate transport as metergraph_transport;

#[path = "../../transport/tests/sockets.rs"]
mod sockets;
