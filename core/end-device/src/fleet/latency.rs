//! How long acknowledgements take: a histogram of fixed size.

/// Buckets for each doubling: values are exact to 1/64.
const PARTS: u64 = 64;
/// Doublings above [`PARTS`] that are told apart; longer times go to the last bucket.
const DOUBLINGS: u64 = 32;
const BUCKETS: usize = (PARTS * (DOUBLINGS + 1)) as usize;

/// Times in microseconds.
#[derive(Debug)]
pub(super) struct Latency {
    buckets: Box<[u64]>,
    count: u64,
    max: u64,
}

impl Latency {
    pub(super) fn new() -> Self {
        Self { buckets: vec![0; BUCKETS].into(), count: 0, max: 0 }
    }

    pub(super) fn add(&mut self, us: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(us)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(us);
    }

    /// The time, in milliseconds, within which this part of all came; `None` when none came.
    pub(super) fn quantile_ms(&self, part: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = ((self.count as f64 * part).ceil() as u64).clamp(1, self.count);
        let mut below = 0;
        let bucket = self.buckets.iter().position(|count| {
            below += count;
            below >= rank
        })?;
        Some(highest_in(bucket).min(self.max) as f64 / 1000.0)
    }

    pub(super) fn max_ms(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max as f64 / 1000.0)
    }
}

fn bucket_of(us: u64) -> usize {
    let doublings = u64::from(us.max(1).ilog2()).saturating_sub(u64::from(PARTS.ilog2()));
    let bucket = if doublings > DOUBLINGS { u64::MAX } else { doublings * PARTS + (us >> doublings) };
    usize::try_from(bucket).unwrap_or(usize::MAX).min(BUCKETS - 1)
}

/// The longest time that belongs to a bucket.
fn highest_in(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let doublings = (bucket / PARTS).saturating_sub(1);
    ((bucket - doublings * PARTS + 1) << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_bucket_holds_times_that_differ_little(us in 0..1_u64 << 37) {
            let highest = highest_in(bucket_of(us));
            prop_assert!(us <= highest && highest - us <= us / 64, "{} in {}", us, highest);
        }

        #[test]
        fn any_time_has_a_bucket(us: u64) {
            prop_assert!(bucket_of(us) < BUCKETS);
        }
    }

    #[test]
    fn quantiles() {
        let mut latency = Latency::new();
        assert_eq!((latency.quantile_ms(0.5), latency.max_ms()), (None, None));
        for us in 1..=1000 {
            latency.add(us * 1000);
        }
        for (part, expected) in [(0.0, 1.0), (0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let found = latency.quantile_ms(part).unwrap();
            assert!((found - expected).abs() <= expected / 60.0, "{found} for {expected}");
        }
        assert_eq!(latency.max_ms(), Some(1000.0));
    }
}
