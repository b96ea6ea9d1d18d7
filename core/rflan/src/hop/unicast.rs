//! The unicast schedule of one node.

use super::phase::Phase;
use super::{BroadcastSchedule, HopError, Opportunity, SEARCH_NS, SlotFraction, UNICAST_DWELL_NS, hash3};
use crate::Eui64;
use crate::channel_mask::ChannelMask;

/// Steps of one search. A broadcast interval has four slots and one window, and a window less its guards
/// always leaves a whole slot free, so a search ends well before.
const SEARCH_STEPS: u32 = 16;

/// On which channel a node listens, slot by slot: the own schedule, or that of a peer as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnicastSchedule {
    eui64: Eui64,
    channels: ChannelMask,
    phase: Phase,
}

impl UnicastSchedule {
    /// The own schedule: slot 0 starts at `origin_ns`.
    #[must_use]
    pub const fn own(eui64: Eui64, channels: ChannelMask, origin_ns: u64) -> Self {
        Self { eui64, channels, phase: Phase::own(origin_ns) }
    }

    /// The schedule of a peer that was heard: its SFD ended at `at_ns` and its frame or ACK says `fraction`.
    ///
    /// Call it for every frame and ACK; the newest knowledge replaces the older.
    #[must_use]
    pub const fn learn(eui64: Eui64, channels: ChannelMask, fraction: SlotFraction, at_ns: u64) -> Self {
        Self { eui64, channels, phase: Phase::learnt(fraction, at_ns) }
    }

    /// The own schedule moved onto the father's time: his slot numbers, the own EUI-64.
    ///
    /// What is sent from then on follows this node's clock exactly, so the guard is nil again.
    #[must_use]
    pub const fn follow(eui64: Eui64, channels: ChannelMask, fraction: SlotFraction, at_ns: u64) -> Self {
        Self { eui64, channels, phase: Phase::learnt(fraction, at_ns).as_own() }
    }

    /// Whose schedule it is.
    #[must_use]
    pub const fn eui64(&self) -> Eui64 {
        self.eui64
    }

    /// The slot number at a time.
    #[must_use]
    pub const fn slot(&self, at_ns: u64) -> u16 {
        (self.phase.position(at_ns) / UNICAST_DWELL_NS) as u16
    }

    /// What a frame says whose SFD ends at `at_ns`.
    #[must_use]
    pub const fn fraction(&self, at_ns: u64) -> SlotFraction {
        SlotFraction::at_position_ns(self.phase.position(at_ns))
    }

    /// The channel of a slot number: hash3(slot, EUI-64 low word, EUI-64 high word) over the channels in use.
    #[must_use]
    pub fn channel(&self, slot: u16) -> u16 {
        let low = self.eui64.0 as u32;
        let high = (self.eui64.0 >> 32) as u32;
        self.channels.pick(hash3(u32::from(slot), low, high))
    }

    /// The channel at a time.
    #[must_use]
    pub fn channel_at(&self, at_ns: u64) -> u16 {
        self.channel(self.slot(at_ns))
    }

    /// When the slot at `at_ns` ends, nanoseconds.
    #[must_use]
    pub const fn slot_end_ns(&self, at_ns: u64) -> u64 {
        at_ns.saturating_add(UNICAST_DWELL_NS - self.phase.position(at_ns) % UNICAST_DWELL_NS)
    }

    /// Whether the peer was last heard too long ago.
    #[must_use]
    pub const fn is_stale(&self, at_ns: u64) -> bool {
        self.phase.is_stale(at_ns)
    }

    /// How far off this knowledge of the schedule can be, nanoseconds.
    #[must_use]
    pub const fn guard_ns(&self, at_ns: u64) -> u64 {
        self.phase.guard(at_ns)
    }

    /// The next moment from `now_ns` on at which `on_air_ns` lies inside one slot of this node, less its
    /// guards, and outside the broadcast window.
    ///
    /// # Errors
    /// [`HopError::Stale`] when the schedule is, or would be by then; [`HopError::TooLong`] when it never fits.
    pub fn next_opportunity(
        &self,
        now_ns: u64,
        on_air_ns: u64,
        broadcast: Option<&BroadcastSchedule>,
    ) -> Result<Opportunity, HopError> {
        let horizon = now_ns.saturating_add(SEARCH_NS);
        let guard = self.guard_ns(horizon);
        let mut at = now_ns;
        for _ in 0..SEARCH_STEPS {
            if self.is_stale(at) {
                return Err(HopError::Stale);
            }
            let Some(last) = UNICAST_DWELL_NS.checked_sub(on_air_ns.saturating_add(guard)) else {
                return Err(HopError::TooLong);
            };
            if last < guard {
                return Err(HopError::TooLong);
            }
            let into = self.phase.position(at) % UNICAST_DWELL_NS;
            if into < guard {
                at = at.saturating_add(guard - into);
                continue;
            }
            if into > last {
                at = at.saturating_add(UNICAST_DWELL_NS - into);
                continue;
            }
            let mut latest_ns = at.saturating_add(last - into);
            if let Some(window) = broadcast {
                match window.free_for(at, on_air_ns, horizon) {
                    Ok(free) => latest_ns = latest_ns.min(at.saturating_add(free)),
                    Err(end) => {
                        at = end;
                        continue;
                    }
                }
            }
            let slot = self.slot(at);
            return Ok(Opportunity { start_ns: at, latest_ns, slot, channel: self.channel(slot) });
        }
        Err(HopError::TooLong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hop::{BROADCAST_INTERVAL_NS, DRIFT_PPM, STALE_NS};
    use crate::phy::PhyProfile;
    use proptest::prelude::*;

    fn mask() -> ChannelMask {
        ChannelMask::all(PhyProfile::Na50)
    }

    #[test]
    fn the_slot_number_wraps() {
        let own = UnicastSchedule::own(Eui64(1), mask(), 1_000);
        assert_eq!(own.slot(1_000), 0);
        assert_eq!(own.slot(999), u16::MAX);
        assert_eq!(own.slot(1_000 + 65_536 * UNICAST_DWELL_NS), 0);
        assert_eq!(own.slot_end_ns(1_000), 1_000 + UNICAST_DWELL_NS);
    }

    #[test]
    fn a_frame_longer_than_a_slot_and_a_stale_peer_are_refused() {
        let own = UnicastSchedule::own(Eui64(1), mask(), 0);
        assert_eq!(own.next_opportunity(0, UNICAST_DWELL_NS + 1, None), Err(HopError::TooLong));
        assert_eq!(own.next_opportunity(0, u64::MAX, None), Err(HopError::TooLong));
        assert_eq!(own.next_opportunity(3, UNICAST_DWELL_NS, None).unwrap().start_ns, UNICAST_DWELL_NS);
        let peer = UnicastSchedule::learn(Eui64(2), mask(), SlotFraction::default(), 0);
        assert_eq!(peer.next_opportunity(STALE_NS + 1, 1, None), Err(HopError::Stale));
    }

    #[test]
    fn the_longest_frame_of_the_default_mtu_still_fits_at_half_an_hour() {
        let peer = UnicastSchedule::learn(Eui64(2), mask(), SlotFraction::default(), 0);
        let on_air = PhyProfile::Na50.exchange_ns(255, 40);
        let window = BroadcastSchedule::own(7, mask(), 0);
        assert!(peer.next_opportunity(STALE_NS - BROADCAST_INTERVAL_NS, on_air, Some(&window)).is_ok());
    }

    /// A clock that is `ppm` wrong, at true time `at`.
    fn clock(at: u64, offset: u64, ppm: i64) -> u64 {
        let drift = i128::from(at) * i128::from(ppm) / 1_000_000;
        (i128::from(at) + i128::from(offset) + drift) as u64
    }

    #[test]
    fn a_time_handed_down_sixteen_levels_stays_within_the_slack() {
        // Every node hears its father each 20 s, its clock at the far end of what is allowed, in turn.
        const LEVELS: usize = 16;
        let rate = |level: usize| if level.is_multiple_of(2) { 20 } else { -20 };
        let local = |level: usize, at: u64| clock(at, 1 << 40, rate(level));
        let own = |level: usize| UnicastSchedule::own(Eui64(level as u64), mask(), local(level, 0));
        let mut nodes: Vec<UnicastSchedule> = (0..=LEVELS).map(own).collect();
        let mut heard = [None; LEVELS + 1];
        for second in 0..1_800_u64 {
            for level in 1..=LEVELS {
                let at = second * 1_000_000_000 + 37_000_000 * level as u64;
                if second % 20 == level as u64 % 20 {
                    let told = nodes[level - 1].fraction(local(level - 1, at));
                    nodes[level] =
                        UnicastSchedule::follow(Eui64(level as u64), mask(), told, local(level, at));
                }
                // The relay learns each node once, just before it steps onto its father's time again.
                if second == 399 + level as u64 {
                    let told = nodes[level].fraction(local(level, at));
                    heard[level] =
                        Some(UnicastSchedule::learn(Eui64(level as u64), mask(), told, local(0, at)));
                }
                if let Some(known) = heard[level] {
                    let seen = known.phase.position(local(0, at));
                    let truth = nodes[level].phase.position(local(level, at));
                    assert!(
                        seen.abs_diff(truth) <= known.guard_ns(local(0, at)),
                        "level {level} at {second} s"
                    );
                }
            }
        }
    }

    proptest! {
        /// Two clocks drift apart as far as they may; whatever the sender sends lies wholly in the slot that
        /// the receiver itself is in, on the receiver's channel and outside the broadcast window.
        #[test]
        fn a_frame_sent_by_a_learnt_schedule_meets_its_receiver(
            receiver in any::<u64>(),
            offsets in (0..1_u64 << 50, 0..1_u64 << 50),
            drifts in (-20..=20_i64, -20..=20_i64),
            heard in 0..10_000_000_000_000_u64,
            later in 0..STALE_NS - 10_000_000_000,
            psdu in 20..=255_u16,
            spread in 0.0..=1.0_f64,
        ) {
            prop_assert!(drifts.0.unsigned_abs() <= DRIFT_PPM);
            let theirs = |at| clock(at, offsets.1, drifts.1);
            let ours = |at| clock(at, offsets.0, drifts.0);
            let listening = UnicastSchedule::own(Eui64(receiver), mask(), offsets.1);
            let their_window = BroadcastSchedule::own(0x1234, mask(), offsets.1);
            let fraction = listening.fraction(theirs(heard));
            let known = UnicastSchedule::learn(Eui64(receiver), mask(), fraction, ours(heard));
            let known_window = BroadcastSchedule::follow(0x1234, mask(), fraction, ours(heard));

            let on_air = PhyProfile::Na50.exchange_ns(psdu, 40);
            let now = ours(heard + later);
            let found = known.next_opportunity(now, on_air, Some(&known_window)).unwrap();
            prop_assert!(found.start_ns >= now && found.latest_ns >= found.start_ns);
            prop_assert!(found.start_ns < now + SEARCH_NS);
            let chosen = found.start_ns + ((found.latest_ns - found.start_ns) as f64 * spread) as u64;
            let chosen = chosen.min(found.latest_ns);

            // Back to true time: now is at heard + later, and a second of drift is far below a microsecond.
            let start = heard + later + (chosen - now);
            let drift_since = (chosen - now) / 1_000_000 * 20 + 2;
            let first = theirs(start - drift_since.min(start));
            let last = theirs(start + on_air + drift_since);
            // A hundred nanoseconds for what this test rounds.
            prop_assert_eq!(listening.slot(first + 100), found.slot);
            prop_assert_eq!(listening.slot(last - 100), found.slot);
            prop_assert_eq!(listening.channel_at(theirs(start + on_air / 2)), found.channel);
            prop_assert!(!their_window.is_open(first + 100) && !their_window.is_open(last - 100));
        }
    }
}
