//! What root signed goes by no signer, so the desk itself tells the audit log of it: the entry is durable before
//! the command is written (security layer §7, §11), and nothing is sent that is not written. Cut between the
//! two, it was not taken: the entry stands, and whoever asked asks again.

use commands::audit::AuditEntry;
use commands::desk::{RootError, Taken};
use commands::front::{Accepted, Reply};
use node::{Context, Frame, Reason, Severity, Source};

use super::{CommandDesk, Ways};
use crate::clock::unix_ms;
use crate::in_flight::Settled;

/// A command of root's whose entry is on its way to the audit log.
pub(super) struct Entered {
    taken: Taken,
    reply: Reply<Accepted>,
}

/// Puts an entry on its way.
pub(super) fn tell(ways: &mut Ways, entry: &AuditEntry, then: Option<Entered>) {
    let write = |batch: &mut node::Batch| batch.push_with(Frame::default(), |data| entry.write(data));
    ways.audit.push(0, write, then);
}

impl CommandDesk {
    /// Has a command of root's entered in the audit log. A log that takes nothing for so long is none.
    pub(super) fn enter(&mut self, ways: &mut Ways, taken: Taken, reply: Reply<Accepted>) {
        if ways.audit.is_full() {
            return reply.send(Err(RootError::Audit.into()));
        }
        self.offered.insert(taken.request_id.clone(), taken.content);
        tell(ways, &taken.audit(unix_ms()), Some(Entered { taken, reply }));
    }

    /// The entry is durable: now the command is taken. Or it is not, and the command is refused.
    pub(super) fn entered(
        &mut self,
        context: &mut Context,
        ways: &mut Ways,
        Entered { taken, reply }: Entered,
        outcome: Settled,
    ) {
        if outcome == Settled::Committed {
            return self.accept(ways, taken, reply);
        }
        self.offered.remove(&taken.request_id);
        let detail =
            || format!("command {} of root's is not taken: the audit log cannot be written", taken.id);
        context.events.report(Reason(RootError::Audit.code()), Severity::Alarm, Source::Node, detail);
        reply.send(Err(RootError::Audit.into()));
    }
}
