//! Wakes one worker.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crossbeam::sync::{Parker, Unparker};

/// What a doorbell rings when it is not a parked thread: an I/O poller, for one.
type Ring = Arc<dyn Fn() + Send + Sync>;

/// Rings for one worker, from any thread; cheap when the worker is awake already.
#[derive(Clone)]
pub struct Doorbell {
    how: How,
}

#[derive(Clone)]
enum How {
    Thread(Unparker),
    Call(Ring),
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Doorbell(..)")
    }
}

impl Doorbell {
    /// A bell that calls `ring`, which must be cheap and must not block.
    #[must_use]
    pub fn calling(ring: impl Fn() + Send + Sync + 'static) -> Self {
        Self { how: How::Call(Arc::new(ring)) }
    }

    /// Wakes the worker, now or the next time it would sleep.
    pub fn ring(&self) {
        match &self.how {
            How::Thread(unparker) => unparker.unpark(),
            How::Call(ring) => ring(),
        }
    }
}

/// The side of a doorbell that sleeps. It stays with the worker's thread.
#[derive(Debug)]
pub struct Sleeper {
    parker: Parker,
}

impl Default for Sleeper {
    fn default() -> Self {
        Self { parker: Parker::new() }
    }
}

impl Sleeper {
    /// The bell that wakes this sleeper.
    #[must_use]
    pub fn doorbell(&self) -> Doorbell {
        Doorbell { how: How::Thread(self.parker.unparker().clone()) }
    }

    /// Sleeps until the bell rings (at once if it rang since the last sleep), at most `limit`.
    pub fn sleep(&self, limit: Duration) {
        self.parker.park_timeout(limit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Instant;

    #[test]
    fn a_ring_before_the_sleep_is_not_lost_and_counts_once() {
        let sleeper = Sleeper::default();
        let doorbell = sleeper.doorbell();
        doorbell.ring();
        doorbell.ring();
        sleeper.sleep(Duration::from_secs(60));
        let start = Instant::now();
        sleeper.sleep(Duration::from_millis(20));
        assert!(start.elapsed() >= Duration::from_millis(20), "both rings were heard at once");
    }

    #[test]
    fn a_bell_may_be_any_call() {
        let rung = Arc::new(AtomicU32::new(0));
        let counts = Arc::clone(&rung);
        let doorbell = Doorbell::calling(move || {
            counts.fetch_add(1, Ordering::Relaxed);
        });
        doorbell.clone().ring();
        assert_eq!(rung.load(Ordering::Relaxed), 1);
    }
}
