//! How often one may call: a token bucket.

use std::time::{Duration, Instant};

/// Fills steadily up to its size; each call takes one.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    /// Calls that are left, in milli-calls.
    left: u64,
    filled: Instant,
}

/// The measure of a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls a second in the long run, at least 1.
    pub per_second: u32,
    /// Calls at once after a pause, at least 1.
    pub burst: u32,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn full(rate: Rate, now: Instant) -> Self {
        Self { left: u64::from(rate.burst).saturating_mul(1000), filled: now }
    }

    /// Takes one call.
    ///
    /// # Errors
    /// How long until there is one again.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let per_second = u64::from(rate.per_second.max(1));
        let passed = now.saturating_duration_since(self.filled);
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        // A millisecond brings `per_second` milli-calls; `filled` moves by whole milliseconds only.
        self.filled = self.filled.checked_add(Duration::from_millis(passed)).unwrap_or(now);
        let size = u64::from(rate.burst.max(1)).saturating_mul(1000);
        self.left = self.left.saturating_add(passed.saturating_mul(per_second)).min(size);
        match self.left.checked_sub(1000) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Duration::from_millis((1000_u64.saturating_sub(self.left)).div_ceil(per_second))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let rate = Rate { per_second: 4, burst: 3 };
        let mut now = Instant::now();
        let mut bucket = Bucket::full(rate, now);
        for _ in 0..3 {
            assert_eq!(bucket.take(rate, now), Ok(()));
        }
        assert_eq!(bucket.take(rate, now), Err(Duration::from_millis(250)));
        now += Duration::from_millis(249);
        assert_eq!(bucket.take(rate, now), Err(Duration::from_millis(1)));
        now += Duration::from_millis(1);
        assert_eq!(bucket.take(rate, now), Ok(()));
        // A long pause fills it to its size and no further.
        now += Duration::from_secs(3600);
        let taken = (0..10).filter(|_| bucket.take(rate, now).is_ok()).count();
        assert_eq!(taken, 3);
        // A clock that seems to go back gives nothing.
        assert!(bucket.take(rate, now - Duration::from_secs(1)).is_err());
    }
}
