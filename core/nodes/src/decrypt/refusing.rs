//! Frames that a shard refuses: counted by reason, reported, and told to the balancer, which limits those
//! who send many.

use std::sync::Arc;

use node::{Context, Env, Reason, Source};
use seal::ids::Sid;

use super::associations::Heard;
use crate::clock::monotonic_ns;
use crate::refusals::{Pair, Refusals};
use crate::tally::Tally;

/// The refused frames of one shard.
pub(super) struct Refusing {
    refusals: Arc<Refusals>,
    tally: Tally,
}

impl Refusing {
    pub(super) fn new(env: &Env, refusals: Arc<Refusals>) -> Self {
        Self { refusals, tally: Tally::new(env) }
    }

    /// Counts a refused frame that claims to be of this association.
    pub(super) fn refuse(
        &mut self,
        context: &mut Context,
        heard: Heard,
        sid: Sid,
        reason: Reason,
        detail: impl FnOnce() -> String,
    ) {
        let Heard { transport, link } = heard;
        self.refusals.count(Pair { transport, link, sid: sid.0 }, monotonic_ns());
        self.tally.refuse(context, reason, Source::Association(sid.0), || {
            format!("from link {link}: {}", detail())
        });
    }
}
