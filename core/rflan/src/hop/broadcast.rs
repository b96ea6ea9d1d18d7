//! The broadcast schedule of one cell.

use super::phase::Phase;
use super::{
    BROADCAST_DWELL_NS, BROADCAST_INTERVAL_NS, HopError, Opportunity, SEARCH_NS, SlotFraction, hash3,
};
use crate::channel_mask::ChannelMask;

/// When the whole cell listens on one channel: the first 255 ms of each 1020 ms.
///
/// Intervals are numbered 0 to 16 383 and follow the unicast slots four by four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BroadcastSchedule {
    cell: u16,
    channels: ChannelMask,
    phase: Phase,
}

impl BroadcastSchedule {
    /// The schedule of the relay that leads the cell: interval 0 starts at `origin_ns`.
    #[must_use]
    pub const fn own(cell: u16, channels: ChannelMask, origin_ns: u64) -> Self {
        Self { cell, channels, phase: Phase::own(origin_ns) }
    }

    /// The schedule as a node takes it from its father, whose SFD ended at `at_ns` and whose frame or ACK says
    /// `fraction`.
    #[must_use]
    pub const fn follow(cell: u16, channels: ChannelMask, fraction: SlotFraction, at_ns: u64) -> Self {
        Self { cell, channels, phase: Phase::learnt(fraction, at_ns) }
    }

    /// The cell id.
    #[must_use]
    pub const fn cell(&self) -> u16 {
        self.cell
    }

    /// The interval number at a time.
    #[must_use]
    pub const fn slot(&self, at_ns: u64) -> u16 {
        (self.phase.position(at_ns) / BROADCAST_INTERVAL_NS) as u16
    }

    /// The channel of an interval: hash3(interval, cell id in the upper half of a word, 0).
    ///
    /// The cell id stands where open Wi-SUN stacks put the broadcast schedule id.
    #[must_use]
    pub fn channel(&self, slot: u16) -> u16 {
        self.channels.pick(hash3(u32::from(slot), u32::from(self.cell) << 16, 0))
    }

    /// Whether the window is open, as far as this node knows.
    #[must_use]
    pub const fn is_open(&self, at_ns: u64) -> bool {
        self.phase.position(at_ns) % BROADCAST_INTERVAL_NS < BROADCAST_DWELL_NS
    }

    /// When the window opens or closes next after `at_ns`, nanoseconds.
    #[must_use]
    pub const fn next_change_ns(&self, at_ns: u64) -> u64 {
        let into = self.phase.position(at_ns) % BROADCAST_INTERVAL_NS;
        let change = if into < BROADCAST_DWELL_NS { BROADCAST_DWELL_NS } else { BROADCAST_INTERVAL_NS };
        at_ns.saturating_add(change - into)
    }

    /// Whether the father was last heard too long ago.
    #[must_use]
    pub const fn is_stale(&self, at_ns: u64) -> bool {
        self.phase.is_stale(at_ns)
    }

    /// The next moment from `now_ns` on at which `on_air_ns` lies inside one window, less its guards.
    ///
    /// # Errors
    /// [`HopError::Stale`] when the schedule is, or would be by then; [`HopError::TooLong`] when it never fits.
    pub fn next_opportunity(&self, now_ns: u64, on_air_ns: u64) -> Result<Opportunity, HopError> {
        let guard = self.phase.guard(now_ns.saturating_add(SEARCH_NS));
        let mut at = now_ns;
        // At most: to the end of this interval, then past the guard at the start of the next.
        for _ in 0..4 {
            if self.is_stale(at) {
                return Err(HopError::Stale);
            }
            let Some(last) = BROADCAST_DWELL_NS.checked_sub(on_air_ns.saturating_add(guard)) else {
                return Err(HopError::TooLong);
            };
            if last < guard {
                return Err(HopError::TooLong);
            }
            let into = self.phase.position(at) % BROADCAST_INTERVAL_NS;
            if into < guard {
                at = at.saturating_add(guard - into);
            } else if into > last {
                at = at.saturating_add(BROADCAST_INTERVAL_NS - into);
            } else {
                let slot = self.slot(at);
                let latest_ns = at.saturating_add(last - into);
                return Ok(Opportunity { start_ns: at, latest_ns, slot, channel: self.channel(slot) });
            }
        }
        Err(HopError::TooLong)
    }

    /// For how long a start of `on_air_ns` can be put off from `at_ns` without touching a window, with the guard
    /// that holds at `horizon_ns`.
    ///
    /// # Errors
    /// When it touches one now: the end of that window, guard included, nanoseconds.
    pub(super) const fn free_for(&self, at_ns: u64, on_air_ns: u64, horizon_ns: u64) -> Result<u64, u64> {
        let guard = self.phase.guard(horizon_ns);
        let into = self.phase.position(at_ns) % BROADCAST_INTERVAL_NS;
        let closed = BROADCAST_DWELL_NS + guard;
        if into < closed {
            return Err(at_ns.saturating_add(closed - into));
        }
        match BROADCAST_INTERVAL_NS.checked_sub(into.saturating_add(on_air_ns).saturating_add(guard)) {
            Some(free) => Ok(free),
            None => Err(at_ns.saturating_add(BROADCAST_INTERVAL_NS - into + closed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hop::STALE_NS;
    use crate::phy::PhyProfile;
    use proptest::prelude::*;

    fn mask() -> ChannelMask {
        ChannelMask::all(PhyProfile::Na150)
    }

    #[test]
    fn the_window_is_the_first_quarter() {
        let relay = BroadcastSchedule::own(3, mask(), 0);
        assert!(relay.is_open(0) && relay.is_open(BROADCAST_DWELL_NS - 1));
        assert!(!relay.is_open(BROADCAST_DWELL_NS) && !relay.is_open(BROADCAST_INTERVAL_NS - 1));
        assert_eq!(relay.next_change_ns(1), BROADCAST_DWELL_NS);
        assert_eq!(relay.next_change_ns(BROADCAST_DWELL_NS), BROADCAST_INTERVAL_NS);
        assert_eq!(relay.slot(16_383 * BROADCAST_INTERVAL_NS), 16_383);
        assert_eq!(relay.slot(16_384 * BROADCAST_INTERVAL_NS), 0);
    }

    #[test]
    fn a_frame_waits_for_a_window_that_holds_it() {
        let relay = BroadcastSchedule::own(3, mask(), 0);
        let on_air = PhyProfile::Na150.airtime_ns(255);
        let now = BROADCAST_DWELL_NS - on_air + 1;
        assert_eq!(relay.next_opportunity(now, on_air).unwrap().start_ns, BROADCAST_INTERVAL_NS);
        assert_eq!(relay.next_opportunity(now - 1, on_air).unwrap().start_ns, now - 1);
        assert_eq!(relay.next_opportunity(0, BROADCAST_DWELL_NS + 1), Err(HopError::TooLong));
        let child = BroadcastSchedule::follow(3, mask(), SlotFraction::default(), 0);
        assert_eq!(child.next_opportunity(STALE_NS + 1, 1), Err(HopError::Stale));
    }

    #[test]
    fn a_guard_that_grows_on_the_way_does_not_end_the_search() {
        let (origin, heard, later) = (901_937_362_308_829, 906_874_782_875_236, 38_383_382_141);
        let relay = super::super::UnicastSchedule::own(crate::Eui64(1), mask(), origin);
        let child = BroadcastSchedule::follow(3, mask(), relay.fraction(heard), heard);
        let found = child.next_opportunity(heard + later, PhyProfile::Na150.airtime_ns(54));
        assert!(found.is_ok_and(|found| found.start_ns < heard + later + BROADCAST_INTERVAL_NS));
    }

    proptest! {
        #[test]
        fn a_child_meets_the_window_of_its_father(
            origin in 0..1_u64 << 50,
            heard in 0..1_u64 << 50,
            later in 0..STALE_NS - SEARCH_NS,
            psdu in 20..=255_u16,
        ) {
            let relay = BroadcastSchedule::own(3, mask(), origin);
            let unicast = super::super::UnicastSchedule::own(crate::Eui64(1), mask(), origin);
            let child = BroadcastSchedule::follow(3, mask(), unicast.fraction(heard), heard);
            let on_air = PhyProfile::Na150.airtime_ns(psdu);
            let found = child.next_opportunity(heard + later, on_air).unwrap();
            for start in [found.start_ns, found.latest_ns] {
                prop_assert!(relay.is_open(start) && relay.is_open(start + on_air - 1));
                prop_assert_eq!(relay.slot(start), found.slot);
                prop_assert_eq!(relay.channel(relay.slot(start)), found.channel);
            }
        }
    }
}
