//! The time rule of 47 CFR 15.247(a)(1)(i), watched at the transmitter.
//!
//! A hopping system in 902-928 MHz may use one channel for at most 0.4 s within 20 s (20 dB bandwidth under
//! 250 kHz, at least 50 channels), or within 10 s (250 kHz and more, at least 25 channels). The window
//! slides here, which is stricter than any fixed partition into windows.

use std::collections::VecDeque;

const MS: u64 = 1_000_000;

/// The bandwidth from which the wide rule holds, hertz.
const WIDE_HZ: u32 = 250_000;

/// One of the two paragraphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The sliding window, nanoseconds.
    pub window_ns: u64,
    /// The most time on one channel within it, nanoseconds.
    pub limit_ns: u64,
    /// The fewest channels that may be hopped over.
    pub channels_min: u16,
    /// The most power with so few channels, dBm.
    pub power_max_dbm: i8,
}

impl Rule {
    /// Under 250 kHz: 0.4 s in 20 s, 50 channels, 1 W.
    pub const NARROW: Self =
        Self { window_ns: 20_000 * MS, limit_ns: 400 * MS, channels_min: 50, power_max_dbm: 30 };
    /// From 250 kHz: 0.4 s in 10 s, 25 channels; 0.25 W, the bound for 25 to 49 channels.
    pub const WIDE: Self =
        Self { window_ns: 10_000 * MS, channels_min: 25, power_max_dbm: 24, ..Self::NARROW };

    /// The rule for a 20 dB bandwidth in hertz.
    #[must_use]
    pub const fn for_bandwidth(hz: u32) -> Self {
        if hz < WIDE_HZ { Self::NARROW } else { Self::WIDE }
    }
}

/// Why the guard names no time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// The frame alone is longer than the rule allows.
    #[error("frame-over-limit")]
    FrameOverLimit,
    /// The channel is not in the plan.
    #[error("channel-beyond-plan")]
    BeyondPlan,
}

/// One stretch on one channel: [end - airtime, end].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Use {
    end_ns: u64,
    airtime_ns: u64,
    channel: u16,
}

/// The sliding window of one transmitter over all of its channels.
///
/// Memory is bounded: at most [`Self::USES_MAX`] stretches (24 octets each), or one more than there are channels if
/// that is more. When full, the two oldest stretches of one channel become one at the end of the later: the
/// guard then counts time for longer than it has to and may make a send wait, never let one through.
#[derive(Clone, Debug)]
pub struct RuleGuard {
    rule: Rule,
    channels: u16,
    uses_max: usize,
    uses: VecDeque<Use>,
    breaches: u64,
}

impl RuleGuard {
    /// Stretches that are kept apart.
    pub const USES_MAX: usize = 1024;

    /// Nothing was sent yet on any of `channels`.
    #[must_use]
    pub fn new(rule: Rule, channels: u16) -> Self {
        Self::with_uses_max(rule, channels, Self::USES_MAX)
    }

    /// With another bound: a simulator of many transmitters keeps fewer apart.
    ///
    /// The bound is at least one more than `channels`, so that two stretches always share a channel when full.
    #[must_use]
    pub fn with_uses_max(rule: Rule, channels: u16, uses_max: usize) -> Self {
        let uses_max = uses_max.max(usize::from(channels) + 1);
        Self { rule, channels, uses_max, uses: VecDeque::new(), breaches: 0 }
    }

    /// The rule it watches.
    #[must_use]
    pub const fn rule(&self) -> Rule {
        self.rule
    }

    /// The earliest start from `now_ns` on at which a frame of `airtime_ns` keeps to the rule.
    ///
    /// `now_ns` is not before the start of the last stretch recorded.
    ///
    /// # Errors
    /// [`RuleError::FrameOverLimit`] when no start ever does; [`RuleError::BeyondPlan`] for a channel not in the plan.
    pub fn earliest(&self, channel: u16, now_ns: u64, airtime_ns: u64) -> Result<u64, RuleError> {
        self.in_plan(channel)?;
        let Some(mut left) = self.rule.limit_ns.checked_sub(airtime_ns) else {
            return Err(RuleError::FrameOverLimit);
        };
        // Of all windows the one that ends with the frame holds the most of it. Going back in time, find how
        // far that window may reach before it holds too much.
        for used in self.uses.iter().rev().filter(|used| used.channel == channel) {
            if used.airtime_ns > left {
                let window_start = used.end_ns.saturating_sub(left);
                let frame_end = window_start.saturating_add(self.rule.window_ns);
                return Ok(now_ns.max(frame_end.saturating_sub(airtime_ns)));
            }
            left -= used.airtime_ns;
        }
        Ok(now_ns)
    }

    /// Notes that a channel was used for `airtime_ns` from `start_ns` on.
    ///
    /// A stretch that breaks the rule is noted too and counted in [`Self::breaches`].
    ///
    /// # Errors
    /// [`RuleError::BeyondPlan`] for a channel not in the plan; nothing is noted.
    pub fn record(&mut self, channel: u16, start_ns: u64, airtime_ns: u64) -> Result<(), RuleError> {
        self.in_plan(channel)?;
        let end_ns = start_ns.saturating_add(airtime_ns);
        let horizon = start_ns.saturating_sub(self.rule.window_ns);
        while self.uses.front().is_some_and(|used| used.end_ns <= horizon) {
            self.uses.pop_front();
        }
        if self.uses.len() >= self.uses_max {
            self.merge_oldest_pair();
        }
        // Stretches come in order but for a caller that notes them late.
        let at = self.uses.partition_point(|used| used.end_ns <= end_ns);
        self.uses.insert(at, Use { end_ns, airtime_ns, channel });
        if self.used_ns(channel, end_ns) > self.rule.limit_ns {
            self.breaches = self.breaches.saturating_add(1);
        }
        Ok(())
    }

    /// The time on a channel in the window that ends at `at_ns`, nanoseconds.
    #[must_use]
    pub fn used_ns(&self, channel: u16, at_ns: u64) -> u64 {
        let window_start = at_ns.saturating_sub(self.rule.window_ns);
        let within = |used: &Use| {
            let start = used.end_ns.saturating_sub(used.airtime_ns).max(window_start);
            used.end_ns.min(at_ns).saturating_sub(start)
        };
        self.uses.iter().filter(|used| used.channel == channel).map(within).fold(0, u64::saturating_add)
    }

    /// How many stretches broke the rule.
    #[must_use]
    pub const fn breaches(&self) -> u64 {
        self.breaches
    }

    const fn in_plan(&self, channel: u16) -> Result<(), RuleError> {
        if channel < self.channels { Ok(()) } else { Err(RuleError::BeyondPlan) }
    }

    fn merge_oldest_pair(&mut self) {
        for older in 0..self.uses.len() {
            let Some(first) = self.uses.get(older).copied() else { return };
            let mut later = self.uses.iter_mut().skip(older + 1);
            if let Some(second) = later.find(|used| used.channel == first.channel) {
                second.airtime_ns = second.airtime_ns.saturating_add(first.airtime_ns);
                self.uses.remove(older);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ten_frames_fill_a_channel_and_the_eleventh_waits() {
        let mut guard = RuleGuard::new(Rule::NARROW, 129);
        for n in 0..10 {
            assert_eq!(guard.earliest(5, n * 50 * MS, 40 * MS), Ok(n * 50 * MS));
            guard.record(5, n * 50 * MS, 40 * MS).unwrap();
        }
        // Full: the window that ends with the frame may not hold any of the first one.
        assert_eq!(guard.earliest(5, 500 * MS, 40 * MS), Ok(20_000 * MS));
        assert_eq!(guard.earliest(6, 500 * MS, 40 * MS), Ok(500 * MS));
        assert_eq!(guard.used_ns(5, 500 * MS), 400 * MS);
        assert_eq!(guard.breaches(), 0);
        guard.record(5, 500 * MS, 40 * MS).unwrap();
        assert_eq!(guard.breaches(), 1);
    }

    #[test]
    fn what_can_never_be_sent_is_refused() {
        let mut guard = RuleGuard::new(Rule::NARROW, 129);
        assert_eq!(guard.earliest(0, 0, 400 * MS), Ok(0));
        assert_eq!(guard.earliest(0, 0, 400 * MS + 1), Err(RuleError::FrameOverLimit));
        assert_eq!(guard.earliest(129, 0, 1), Err(RuleError::BeyondPlan));
        assert_eq!(guard.record(129, 0, 1), Err(RuleError::BeyondPlan));
    }

    #[test]
    fn the_rule_follows_the_bandwidth() {
        assert_eq!(Rule::for_bandwidth(249_999), Rule::NARROW);
        assert_eq!(Rule::for_bandwidth(250_000), Rule::WIDE);
        assert_eq!(Rule::WIDE.window_ns, 10_000 * MS);
        assert_eq!(Rule::WIDE.limit_ns, 400 * MS);
    }

    /// All stretches ever, and every window that could be the worst.
    #[derive(Default)]
    struct Naive(Vec<(u16, u64, u64)>);

    impl Naive {
        fn used(&self, channel: u16, window: (u64, u64)) -> u64 {
            let within = |used: &&(u16, u64, u64)| used.0 == channel;
            self.0
                .iter()
                .filter(within)
                .map(|(_, s, e)| e.min(&window.1).saturating_sub(*s.max(&window.0)))
                .sum()
        }

        /// Occupancy is piecewise linear in the place of the window, so its maximum lies where an edge of the
        /// window meets an edge of a stretch.
        fn worst(&self, channel: u16, rule: Rule) -> u64 {
            let edges = self.0.iter().flat_map(|(_, start, end)| [*start, *end]);
            let ends = edges.flat_map(|edge| [edge, edge + rule.window_ns]);
            ends.map(|end| self.used(channel, (end.saturating_sub(rule.window_ns), end))).max().unwrap_or(0)
        }
    }

    fn sends() -> impl Strategy<Value = Vec<(u16, u64, u64)>> {
        // Channel, pause before it, airtime: frames of 1 to 340 ms, crowded on three channels.
        proptest::collection::vec((0..3_u16, 0..1_500 * MS, MS..340 * MS), 1..120)
    }

    proptest! {
        #[test]
        fn the_guard_is_exact_against_a_model_that_forgets_nothing(sends in sends(), wide in any::<bool>()) {
            let rule = if wide { Rule::WIDE } else { Rule::NARROW };
            let (mut guard, mut naive, mut now) = (RuleGuard::new(rule, 3), Naive::default(), 0);
            for (channel, pause, airtime) in sends {
                now += pause;
                let start = guard.earliest(channel, now, airtime).unwrap();
                prop_assert!(start >= now);
                if start > now {
                    // One nanosecond sooner would break the rule.
                    let sooner = start - 1 + airtime;
                    let used = naive.used(channel, (sooner.saturating_sub(rule.window_ns), sooner));
                    prop_assert!(used + airtime > rule.limit_ns);
                }
                guard.record(channel, start, airtime).unwrap();
                naive.0.push((channel, start, start + airtime));
                now = start + airtime;
                prop_assert_eq!(
                    guard.used_ns(channel, now),
                    naive.used(channel, (now.saturating_sub(rule.window_ns), now))
                );
            }
            prop_assert!((0..3).all(|channel| naive.worst(channel, rule) <= rule.limit_ns));
            prop_assert_eq!(guard.breaches(), 0);
        }

        #[test]
        fn a_full_guard_still_keeps_the_rule(sends in sends()) {
            let rule = Rule::NARROW;
            let mut guard = RuleGuard::with_uses_max(rule, 3, 0);
            let (mut naive, mut now) = (Naive::default(), 0);
            for (channel, pause, airtime) in sends {
                let start = guard.earliest(channel, now + pause, airtime).unwrap();
                guard.record(channel, start, airtime).unwrap();
                prop_assert!(guard.uses.len() <= 4);
                naive.0.push((channel, start, start + airtime));
                now = start + airtime;
            }
            prop_assert!((0..3).all(|channel| naive.worst(channel, rule) <= rule.limit_ns));
        }
    }
}
