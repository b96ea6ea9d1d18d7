//! The clocks.

pub use node::clock::monotonic_ns;

/// Wall time, Unix seconds.
#[must_use]
pub fn unix_s() -> u64 {
    node::event::unix_ns() / 1_000_000_000
}

/// Wall time, Unix milliseconds.
#[must_use]
pub fn unix_ms() -> u64 {
    node::event::unix_ns() / 1_000_000
}
