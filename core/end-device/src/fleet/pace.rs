//! How many reports are due.

/// Without a rate, so many reports are on their way at most: enough for any batching behind, few enough that
/// none waits until it is repeated.
const ON_THE_WAY_MAX: u64 = 1 << 16;

/// A rate, or as fast as reports are acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Reports a second; 0 for as fast as they are acknowledged.
    rate: f64,
    /// Reports that are due. What was not sent in time is due for a second.
    due: f64,
    at_us: u64,
}

impl Pace {
    pub(super) fn new(rate: f64) -> Self {
        Self { rate: if rate.is_finite() { rate.max(0.0) } else { 0.0 }, due: 0.0, at_us: 0 }
    }

    /// Begins counting now, with one report due.
    pub(super) fn begin(&mut self, now_us: u64) {
        (self.due, self.at_us) = (1.0, now_us);
    }

    /// How many reports may be sent now, with so many on their way.
    pub(super) fn due(&mut self, now_us: u64, on_the_way: u64) -> usize {
        if self.rate == 0.0 {
            return usize::try_from(ON_THE_WAY_MAX.saturating_sub(on_the_way)).unwrap_or(0);
        }
        let passed_us = now_us.saturating_sub(self.at_us);
        self.at_us = now_us;
        self.due = (self.due + self.rate * passed_us as f64 / 1e6).min(self.rate.max(1.0));
        self.due as usize
    }

    /// So many were sent.
    pub(super) fn sent(&mut self, count: usize) {
        self.due -= count as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_kept_whenever_it_is_looked_at() {
        let mut pace = Pace::new(1000.0);
        pace.begin(5);
        let mut sent = 0;
        for step in 0..10_000 {
            let due = pace.due(5 + step * 1000 / 3, 0);
            pace.sent(due);
            sent += due;
        }
        assert!((3330..=3335).contains(&sent), "{sent}");
    }

    #[test]
    fn after_a_pause_a_second_is_made_up_for() {
        let mut pace = Pace::new(100.0);
        pace.begin(0);
        assert_eq!(pace.due(60_000_000, 0), 100);
        let mut slow = Pace::new(0.1);
        slow.begin(0);
        assert_eq!(slow.due(0, 0), 1);
        slow.sent(1);
        assert_eq!((slow.due(9_000_000, 0), slow.due(10_000_001, 0)), (0, 1));
    }

    #[test]
    fn without_a_rate_the_acknowledgements_set_the_pace() {
        let mut pace = Pace::new(0.0);
        pace.begin(0);
        assert_eq!(pace.due(1, 0), 1 << 16);
        assert_eq!((pace.due(1, (1 << 16) - 3), pace.due(1, 1 << 17)), (3, 0));
        assert_eq!(Pace::new(f64::NAN).due(1, 0), 1 << 16);
    }
}
