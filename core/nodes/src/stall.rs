//! Something holds a worker up, a full disk for one: what `status` says of it.

use node::{Context, NodeState};

/// It cannot go on, and why.
pub fn begin(context: &Context, why: &str) {
    context.status.set(NodeState::Stalled, why);
}

/// It goes on.
pub fn end(context: &Context) {
    let draining = context.orders.draining();
    context.status.set(if draining { NodeState::Draining } else { NodeState::Running }, "");
}
