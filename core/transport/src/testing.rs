//! What the tests of this crate share.

use std::path::PathBuf;
use std::sync::Arc;

use node::env::Services;
use node::{BatchPool, Env, Meters, NodeStatus};

/// An environment of its own for one node.
pub fn env(node: &str) -> Env {
    Env {
        node: node.into(),
        instance: 0,
        instances: 1,
        run: 1,
        state: PathBuf::new(),
        meters: Meters::default(),
        services: Services::default(),
        pool: BatchPool::new(64),
        status: NodeStatus::default(),
        wires: Arc::default(),
        transports: Arc::new(vec!["wan".into()]),
        transport: None,
    }
}
