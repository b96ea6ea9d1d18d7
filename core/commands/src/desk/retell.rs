//! A command told again: the records from which a checkpoint rebuilds it.

use super::entry::{End, Told};
use super::heard::Heard;
use crate::front::Word;

/// Gives each record with its time.
pub(super) fn command(told: &Told, each: &mut dyn FnMut(u64, Heard)) {
    let id = told.taken.id;
    let mut approvals = told.approvals.iter();
    let signed = || told.signed.as_ref().map(|signed| Heard::Signed { id, octets: signed.octets.clone() });
    let mut last = 0;
    for step in &told.history {
        last = step.at;
        let heard = match &step.what {
            Word::Accepted => Some(Heard::Taken(told.taken.clone())),
            Word::Approved(_) => approvals.next().map(|approval| Heard::Approved {
                id,
                approver: approval.approver.clone(),
                signature: approval.signature,
            }),
            Word::Signed => signed(),
            Word::Ended => told.end.as_ref().map(|End { outcome, receipt }| Heard::Closed {
                id,
                outcome: outcome.clone(),
                receipt: *receipt,
                filed: false,
            }),
            Word::Late(result) => Some(Heard::Late { id, result: *result }),
        };
        if let Some(heard) = heard {
            each(step.at, heard);
        }
    }
    // Signed after its end: that is no step.
    if !told.history.iter().any(|step| step.what == Word::Signed)
        && let Some(signed) = signed()
    {
        each(last, signed);
    }
    for result in told.results.values() {
        each(last, Heard::Answered { id, result: *result });
    }
    if told.filed
        && let Some(End { outcome, receipt }) = &told.end
    {
        each(last, Heard::Closed { id, outcome: outcome.clone(), receipt: *receipt, filed: true });
    }
}
