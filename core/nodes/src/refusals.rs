//! Who sends frames that are refused: counted by `decrypt`, limited by the balancer.
//!
//! Security layer §6: over 256 a minute from one (link, sid) throttle that pair, never a whole relay.

use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;

/// Refused frames a minute that one pair may send before it is throttled.
pub const PER_MINUTE_MAX: u32 = 256;
/// Pairs remembered at most; further ones are not limited until a minute has passed.
const PAIRS_MAX: usize = 65_536;
const MINUTE_NS: u64 = 60_000_000_000;
/// How often a full table is searched for old pairs.
const SWEEP_NS: u64 = 1_000_000_000;

/// A pair of link and claimed association.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pair {
    /// The transport's number.
    pub transport: u8,
    /// The link.
    pub link: u32,
    /// The association that the frames claim.
    pub sid: u32,
}

#[derive(Clone, Copy, Debug)]
struct Minute {
    since: u64,
    count: u32,
}

/// The refused frames of the last minute by pair. Cold: touched only by refused frames, and by the
/// balancer only while some pair is over its limit.
#[derive(Debug, Default)]
pub struct Refusals {
    pairs: DashMap<Pair, Minute>,
    /// No pair is throttled after this time (monotonic ns).
    until: AtomicU64,
    /// No search for old pairs before this time.
    sweep_at: AtomicU64,
}

impl Refusals {
    /// Counts a refused frame at `now` (monotonic ns).
    pub fn count(&self, pair: Pair, now: u64) {
        if !self.has_room(&pair, now) {
            return;
        }
        let mut minute = self.pairs.entry(pair).or_insert(Minute { since: now, count: 0 });
        if now.saturating_sub(minute.since) >= MINUTE_NS {
            *minute = Minute { since: now, count: 0 };
        }
        minute.count = minute.count.saturating_add(1);
        if minute.count > PER_MINUTE_MAX {
            self.until.fetch_max(minute.since.saturating_add(MINUTE_NS), Ordering::Relaxed);
        }
    }

    /// Whether a pair finds room; old ones give way.
    fn has_room(&self, pair: &Pair, now: u64) -> bool {
        if self.pairs.len() < PAIRS_MAX || self.pairs.contains_key(pair) {
            return true;
        }
        // A flood of made-up pairs must not cost a search each.
        if now < self.sweep_at.load(Ordering::Relaxed) {
            return false;
        }
        self.sweep_at.store(now.saturating_add(SWEEP_NS), Ordering::Relaxed);
        self.pairs.retain(|_, minute| now.saturating_sub(minute.since) < MINUTE_NS);
        self.pairs.len() < PAIRS_MAX
    }

    /// Whether any pair may be over its limit at `now`: one load, for the hot path.
    #[must_use]
    pub fn any(&self, now: u64) -> bool {
        now < self.until.load(Ordering::Relaxed)
    }

    /// Whether this pair is over its limit at `now`.
    #[must_use]
    pub fn throttled(&self, pair: Pair, now: u64) -> bool {
        self.pairs.get(&pair).is_some_and(|minute| {
            minute.count > PER_MINUTE_MAX && now.saturating_sub(minute.since) < MINUTE_NS
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_pair_over_its_limit_is_throttled_and_only_for_its_minute() {
        let refusals = Refusals::default();
        let bad = Pair { transport: 0, link: 1, sid: 7 };
        let neighbour = Pair { sid: 8, ..bad };
        for _ in 0..PER_MINUTE_MAX {
            refusals.count(bad, 1000);
        }
        assert!(!refusals.any(1001) && !refusals.throttled(bad, 1001));
        refusals.count(bad, 1002);
        assert!(refusals.any(1003) && refusals.throttled(bad, 1003));
        assert!(!refusals.throttled(neighbour, 1003));
        assert!(!refusals.any(1000 + MINUTE_NS) && !refusals.throttled(bad, 1000 + MINUTE_NS));
    }

    #[test]
    fn the_table_is_bounded() {
        let refusals = Refusals::default();
        for sid in 0..(PAIRS_MAX as u32 + 100) {
            refusals.count(Pair { transport: 0, link: 0, sid }, 5);
        }
        assert_eq!(refusals.pairs.len(), PAIRS_MAX);
        refusals.count(Pair { transport: 0, link: 1, sid: 0 }, 6 + SWEEP_NS);
        assert_eq!(refusals.pairs.len(), PAIRS_MAX, "none is old yet");
        refusals.count(Pair { transport: 0, link: 1, sid: 0 }, 5 + MINUTE_NS);
        assert_eq!(refusals.pairs.len(), 1, "old pairs make room");
    }
}
