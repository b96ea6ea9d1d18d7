//! Measuring in CPU time, so that a busy machine shows less.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::support::{Failure, Spread};

/// Measurements of one figure, after one that does not count.
const SAMPLES: usize = 11;

/// CPU time of this thread.
pub fn thread_cpu() -> Duration {
    clock_gettime(ClockId::ThreadCPUTime).try_into().unwrap_or_default()
}

/// Nanoseconds of each of so many units.
pub fn each(spent: Duration, units: usize) -> f64 {
    spent.as_nanos() as f64 / units.max(1) as f64
}

/// Nanoseconds a unit of `work` over so many units, on what `prepare` makes unmeasured.
///
/// # Errors
/// That of `work`.
pub fn ns_each<S>(
    units: usize,
    mut prepare: impl FnMut() -> S,
    mut work: impl FnMut(&mut S) -> Result<(), Failure>,
) -> Result<Spread, Failure> {
    let mut samples = Vec::with_capacity(SAMPLES);
    for place in 0..=SAMPLES {
        let mut state = prepare();
        let begin = thread_cpu();
        work(&mut state)?;
        let spent = thread_cpu().saturating_sub(begin);
        if place > 0 {
            samples.push(each(spent, units));
        }
    }
    Ok(Spread::of(samples))
}
