//! A schedule's place on the own clock.

use super::{DRIFT_PPM, FOLLOW_SLACK_NS, STALE_NS, SlotFraction, UNICAST_DWELL_NS};

/// A turn of the u16 slot number, nanoseconds.
const TURN_NS: u64 = 65_536 * UNICAST_DWELL_NS;
const MILLION: u64 = 1_000_000;

/// Where in its turn a schedule is, by the own clock, and how well that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Phase {
    anchor_ns: u64,
    position_ns: u64,
    learnt: bool,
}

impl Phase {
    /// The own schedule: slot 0 starts at `origin_ns`, exactly.
    pub(super) const fn own(origin_ns: u64) -> Self {
        Self { anchor_ns: origin_ns, position_ns: 0, learnt: false }
    }

    /// A schedule that was at `fraction` when the own clock was at `at_ns`.
    pub(super) const fn learnt(fraction: SlotFraction, at_ns: u64) -> Self {
        Self { anchor_ns: at_ns, position_ns: fraction.position_ns(), learnt: true }
    }

    /// The same place, taken as the own: exact by definition.
    pub(super) const fn as_own(self) -> Self {
        Self { learnt: false, ..self }
    }

    /// The place in the turn, nanoseconds from the start of slot 0; also before the anchor.
    pub(super) const fn position(&self, at_ns: u64) -> u64 {
        let away = self.anchor_ns.abs_diff(at_ns) % TURN_NS;
        let ahead = if at_ns >= self.anchor_ns { away } else { TURN_NS - away };
        (self.position_ns + ahead) % TURN_NS
    }

    /// How far off [`Self::position`] can be, nanoseconds: the unit in which it was told, the slack for a peer that
    /// follows its father, the drift of two clocks away from each other.
    pub(super) const fn guard(&self, at_ns: u64) -> u64 {
        if !self.learnt {
            return 0;
        }
        let age = self.anchor_ns.abs_diff(at_ns);
        SlotFraction::ERROR_NS + FOLLOW_SLACK_NS + (age / MILLION + 1) * 2 * DRIFT_PPM
    }

    /// Whether it was last heard more than [`STALE_NS`] ago. The own schedule never is.
    pub(super) const fn is_stale(&self, at_ns: u64) -> bool {
        self.learnt && at_ns.saturating_sub(self.anchor_ns) > STALE_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_runs_through_the_anchor_and_wraps() {
        let phase = Phase::learnt(SlotFraction::from_u24(0xFF_FFFF), 1_000);
        let here = phase.position(1_000);
        assert_eq!(phase.position(0), here - 1_000);
        assert_eq!(phase.position(1_000 + TURN_NS), here);
        assert!(phase.position(1_000 + UNICAST_DWELL_NS) < UNICAST_DWELL_NS);
        assert_eq!(Phase::own(5).position(4), TURN_NS - 1);
    }

    #[test]
    fn the_guard_grows_by_72_ms_in_half_an_hour() {
        let phase = Phase::learnt(SlotFraction::default(), 0);
        assert_eq!(phase.guard(0), SlotFraction::ERROR_NS + FOLLOW_SLACK_NS + 40);
        assert_eq!(phase.guard(STALE_NS) - phase.guard(0), 72_000_000);
        assert!(!phase.is_stale(STALE_NS));
        assert!(phase.is_stale(STALE_NS + 1));
        assert!(!Phase::own(0).is_stale(u64::MAX));
        assert_eq!(Phase::own(0).guard(u64::MAX), 0);
    }
}
