//! The Trickle timer (RFC 6206), for advertisements.

use crate::random::below;

/// Why a configuration is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrickleError {
    /// Imin is zero.
    #[error("trickle-imin-zero")]
    IminZero,
    /// Imin doubled so often is not a time.
    #[error("trickle-imax-too-large")]
    ImaxTooLarge,
}

/// What a timer does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrickleEvent {
    /// Send an advertisement now.
    Transmit,
    /// Enough were heard: send none in this interval.
    Suppressed,
    /// An interval ended and the next, at most twice as long, began.
    Interval,
}

/// A Trickle timer. Random numbers come in, each from 0 to 2^32 - 1.
#[derive(Clone, Copy, Debug)]
pub struct Trickle {
    imin_ns: u64,
    imax_ns: u64,
    /// The redundancy constant k; 0 suppresses nothing.
    redundancy: u8,
    interval_ns: u64,
    started_ns: u64,
    /// When in this interval to send; nothing once that is past.
    transmit_ns: Option<u64>,
    heard: u8,
}

impl Trickle {
    /// A timer whose first interval, of length Imin, starts now. Imax is Imin doubled `doublings` times.
    ///
    /// # Errors
    /// [`TrickleError`].
    pub fn new(
        imin_ns: u64,
        doublings: u8,
        redundancy: u8,
        now_ns: u64,
        random: u32,
    ) -> Result<Self, TrickleError> {
        if imin_ns == 0 {
            return Err(TrickleError::IminZero);
        }
        let imax_ns = 1_u64
            .checked_shl(u32::from(doublings))
            .and_then(|factor| imin_ns.checked_mul(factor))
            .ok_or(TrickleError::ImaxTooLarge)?;
        let mut timer = Self {
            imin_ns,
            imax_ns,
            redundancy,
            interval_ns: imin_ns,
            started_ns: now_ns,
            transmit_ns: None,
            heard: 0,
        };
        timer.begin(now_ns, random);
        Ok(timer)
    }

    /// The length of the interval, nanoseconds.
    #[must_use]
    pub const fn interval_ns(&self) -> u64 {
        self.interval_ns
    }

    /// When to poll next, nanoseconds.
    #[must_use]
    pub const fn next_ns(&self) -> u64 {
        match self.transmit_ns {
            Some(transmit_ns) => transmit_ns,
            None => self.started_ns.saturating_add(self.interval_ns),
        }
    }

    /// Takes in an advertisement that says nothing new.
    pub const fn consistent(&mut self) {
        self.heard = self.heard.saturating_add(1);
    }

    /// Takes in something new: the interval falls back to Imin, unless it is that already (4.2, rule 6).
    pub fn inconsistent(&mut self, now_ns: u64, random: u32) {
        if self.interval_ns > self.imin_ns {
            self.interval_ns = self.imin_ns;
            self.begin(now_ns, random);
        }
    }

    /// What is due; nothing before [`Trickle::next_ns`]. Called until it answers nothing.
    ///
    /// An interval that ended unnoticed is followed by one that starts now: time that was slept is not made up.
    pub fn poll(&mut self, now_ns: u64, random: u32) -> Option<TrickleEvent> {
        if now_ns < self.next_ns() {
            return None;
        }
        if self.transmit_ns.take().is_some() {
            let suppressed = self.redundancy > 0 && self.heard >= self.redundancy;
            return Some(if suppressed { TrickleEvent::Suppressed } else { TrickleEvent::Transmit });
        }
        self.interval_ns = self.interval_ns.saturating_mul(2).min(self.imax_ns);
        self.begin(now_ns, random);
        Some(TrickleEvent::Interval)
    }

    /// Starts an interval; its time to send lies in the second half (4.2, rule 2).
    fn begin(&mut self, now_ns: u64, random: u32) {
        let half = self.interval_ns / 2;
        self.started_ns = now_ns;
        self.heard = 0;
        self.transmit_ns =
            Some(now_ns.saturating_add(half).saturating_add(below(self.interval_ns - half, random)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn intervals_double_up_to_imax_and_fall_back_on_news() {
        let mut timer = Trickle::new(100, 2, 1, 0, 0).unwrap();
        assert_eq!(timer.next_ns(), 50);
        assert_eq!(timer.poll(49, 0), None);
        assert_eq!(timer.poll(50, 0), Some(TrickleEvent::Transmit));
        assert_eq!(timer.poll(99, 0), None);
        assert_eq!(timer.poll(100, 0), Some(TrickleEvent::Interval));
        timer.consistent();
        assert_eq!(timer.poll(200, 0), Some(TrickleEvent::Suppressed));
        assert_eq!(timer.poll(300, 0), Some(TrickleEvent::Interval));
        assert_eq!(timer.interval_ns(), 400);
        timer.poll(500, 0);
        timer.poll(700, 0);
        assert_eq!(timer.interval_ns(), 400);
        timer.inconsistent(750, 0);
        assert_eq!((timer.interval_ns(), timer.next_ns()), (100, 800));
        // Already at Imin: nothing changes (rule 6).
        timer.inconsistent(760, 0);
        assert_eq!(timer.next_ns(), 800);
    }

    #[test]
    fn a_redundancy_of_zero_suppresses_nothing() {
        let mut timer = Trickle::new(100, 0, 0, 0, 0).unwrap();
        (0..300).for_each(|_| timer.consistent());
        assert_eq!(timer.poll(50, 0), Some(TrickleEvent::Transmit));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        assert_eq!(Trickle::new(0, 2, 1, 0, 0).unwrap_err(), TrickleError::IminZero);
        assert_eq!(Trickle::new(2, 63, 1, 0, 0).unwrap_err(), TrickleError::ImaxTooLarge);
        assert_eq!(Trickle::new(1, 64, 1, 0, 0).unwrap_err(), TrickleError::ImaxTooLarge);
    }

    proptest! {
        #[test]
        fn each_interval_sends_once_at_most_in_its_second_half(
            imin_ns in 1_u64..1_000_000,
            doublings in 0_u8..10,
            random in proptest::collection::vec(any::<u32>(), 1..60),
        ) {
            let mut timer = Trickle::new(imin_ns, doublings, 1, 0, random[0]).unwrap();
            let (mut started_ns, mut sent) = (0, 0);
            for random in random {
                let now_ns = timer.next_ns();
                match timer.poll(now_ns, random).unwrap() {
                    TrickleEvent::Interval => (started_ns, sent) = (now_ns, 0),
                    _ => {
                        sent += 1;
                        prop_assert!(now_ns - started_ns >= timer.interval_ns() / 2);
                        prop_assert!(now_ns - started_ns < timer.interval_ns());
                    }
                }
                prop_assert!(sent <= 1);
                prop_assert!(timer.interval_ns() <= imin_ns << doublings);
            }
        }
    }
}
