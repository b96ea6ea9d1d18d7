//! A head-end in a test: real nodes on real edges, with transports and a runtime made here.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]
#![allow(dead_code, reason = "each test uses a part")]

pub mod agent;
pub mod desk;
pub mod device;
pub mod egress;
pub mod fleet;
pub mod gated;
pub mod graph;
pub mod lab;
pub mod ledger;
pub mod meter;
pub mod office;
pub mod site;
pub mod tap;
pub mod vectors;

use std::time::{Duration, Instant};

/// How long anything may take: other tests share the processors.
pub const LIMIT: Duration = Duration::from_secs(120);

/// Waits for what must come.
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(since.elapsed() < LIMIT, "{what} does not come");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A small generator: a failure is told by its seed and run again.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }
}
