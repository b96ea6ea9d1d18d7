//! Which associations should go on to their next epoch (security layer §6, §8): the desk follows the log, and
//! orders it.

use commands::desk::Why;
use node::{Context, Severity, Source};

use super::Sent;
use super::associations::{Associations, Place};
use super::reserving::Records;
use crate::record::{self, Due};
use crate::tally::reasons;

/// Says that an association should leave its epoch: once a run and epoch, for each reason.
pub(super) fn say(
    context: &mut Context,
    associations: &mut Associations,
    place: Place,
    why: Why,
    records: &mut Records<'_>,
) {
    let Some((entry, cold)) = associations.both_mut(place) else { return };
    let association = &entry.association;
    let (sid, dev, epoch) = (association.sid(), association.dev(), association.epoch());
    // Nothing is sealed any more under one that was replaced, and nothing yet under one that nobody has proven.
    if !entry.proven || entry.retired || association.is_revoked() || !cold.falls_due(epoch, why) {
        return;
    }
    record::push(records.out, &Due { sid, dev, epoch, why });
    records.sent.push(Sent::Due { place, epoch });
    if why == Why::Counters {
        context.events.report(reasons::EPOCH_DUE, Severity::Warning, Source::Association(sid.0), || {
            format!("the counters of {sid} run out: its epoch should advance")
        });
    }
}
