//! Blocks of downstream counters, reserved in the journal before they are used.

use std::cell::Cell;
use std::sync::Arc;

use node::{Batch, Reason};
use seal::counter::{ADVANCE_AT, HEAD_END_BLOCK};
use seal::ids::{Epoch, Gid, Sid};

use super::Sent;
use super::associations::{Associations, Place};
use super::groups::{Groups, Wanted};
use crate::clock::unix_s;
use crate::key_store::{Fence, FenceError};
use crate::record::{self, Reservation};
use crate::tally::reasons;

/// Seconds of a day.
const DAY_S: u64 = 86_400;

/// The day of a Unix second, since 1970.
pub(super) fn day_of(unix_s: u64) -> u16 {
    u16::try_from(unix_s / DAY_S).unwrap_or(u16::MAX)
}

/// Why counters are not reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unreserved {
    /// The fence is closed: this head-end may be a copy, or its token or mark does not answer. With the code.
    Closed(&'static str),
    /// The counter is at its end, or the association has had all of this day.
    Exhausted,
}

impl Unreserved {
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::Closed(code) => Reason(code),
            Self::Exhausted => reasons::SEQ,
        }
    }
}

/// What reserves counters for one shard.
pub(super) struct Reserving {
    /// A head-end without a key store node has none.
    fence: Option<Arc<Fence>>,
    /// What it said for the batch in hand.
    said: Cell<Option<Result<(), Unreserved>>>,
    /// Whether it was closed when it was last asked.
    closed: Cell<bool>,
}

/// The records of a batch on its way to the journal, and what each is for.
pub(super) struct Records<'a> {
    pub(super) out: &'a mut Batch,
    pub(super) sent: &'a mut Vec<Sent>,
}

impl Reserving {
    pub(super) fn new(fence: Option<Arc<Fence>>) -> Self {
        Self { fence, said: Cell::default(), closed: Cell::default() }
    }

    /// A batch for the journal begins: the token is read again before its first reservation.
    pub(super) fn begin(&self) {
        self.said.set(None);
    }

    /// Whether it is closed, by what it said last.
    pub(super) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Whether it was tried to raise the incarnation, whatever came of it.
    pub(super) fn is_decided(&self) -> bool {
        let decided = |fence: &Arc<Fence>| !matches!(fence.check(), Err(FenceError::NotYet));
        self.fence.as_ref().is_none_or(decided)
    }

    /// Reserves the next block of an association when its present one runs out, or the first one of an
    /// `epoch` that is about to become the active one. Answers whether counters should be given to a newer
    /// epoch.
    pub(super) fn association(
        &self,
        associations: &mut Associations,
        place: Place,
        epoch: Epoch,
        now: u64,
        records: &mut Records<'_>,
    ) -> Result<bool, Unreserved> {
        let Some((entry, cold)) = associations.both_mut(place) else { return Ok(false) };
        let association = &entry.association;
        if entry.reserving || entry.retired || association.is_revoked() {
            return Ok(false);
        }
        let floor = if association.is_candidate(epoch) {
            HEAD_END_BLOCK
        } else {
            match association.wanted_floor() {
                Some(floor) => floor,
                None if association.counter().is_reserved() => return Ok(false),
                None => return Err(Unreserved::Exhausted),
            }
        };
        let epoch = epoch.max(association.epoch());
        self.look()?;
        let day = cold.reserve(day_of(now)).ok_or(Unreserved::Exhausted)?;
        record::push(records.out, &Reservation { sid: association.sid(), epoch, floor, day });
        entry.reserving = true;
        records.sent.push(Sent::Reserved { place, epoch, floor });
        Ok(floor >= ADVANCE_AT)
    }

    /// Reserves the next block of a group.
    pub(super) fn group(
        &self,
        groups: &mut Groups,
        gid: Gid,
        wanted: Wanted,
        records: &mut Records<'_>,
    ) -> Result<(), Unreserved> {
        let Wanted { epoch, floor } = wanted;
        self.look()?;
        record::push(records.out, &Reservation { sid: Sid(gid.0), epoch, floor, day: day_of(unix_s()) });
        groups.set_reserving(gid, epoch, true);
        records.sent.push(Sent::GroupReserved { gid, epoch, floor });
        Ok(())
    }

    /// Whether this head-end may seal: a copy that is behind its token may not. Asked before each
    /// reservation; all those of a batch are one write.
    fn look(&self) -> Result<(), Unreserved> {
        let ask = || match &self.fence {
            Some(fence) => fence.check().map_err(|error| Unreserved::Closed(error.code())),
            None => Ok(()),
        };
        let said = self.said.get().unwrap_or_else(ask);
        self.said.set(Some(said));
        self.closed.set(said.is_err());
        said
    }
}
