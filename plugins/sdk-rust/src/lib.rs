//! Writes a transport plugin in safe Rust.
