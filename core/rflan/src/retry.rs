//! When a frame is tried again: after a missing ACK and after a busy channel.

use crate::random::below;

/// The most tries of one frame, the first included.
pub const TRIES_MAX: u8 = 15;
/// The window of a retry grows no further after so many.
pub const WINDOW_EXPONENT_MAX: u8 = 5;
/// The backoff exponent that CSMA starts with.
pub const CSMA_BE_MIN: u8 = 3;
/// The backoff exponent that CSMA does not pass.
pub const CSMA_BE_MAX: u8 = 5;
/// How often CSMA waits again for a busy channel (802.15.4 macMaxCsmaBackoffs).
pub const CSMA_BACKOFFS_MAX: u8 = 4;

/// What to do with a frame that did not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again after so many nanoseconds.
    Wait(u64),
    /// All tries are used up.
    GiveUp,
}

/// The wait before retry `retry` (from 1): rand(0, airtime x 2^min(retry, 5)), nanoseconds.
///
/// The window is longer than a frame from the first retry on; in shorter ones hidden nodes meet again.
#[must_use]
pub fn retry_wait_ns(retry: u8, airtime_ns: u64, random: u32) -> u64 {
    below(airtime_ns.saturating_mul(1 << retry.min(WINDOW_EXPONENT_MAX)), random)
}

/// The tries of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    tries: u8,
}

impl Retry {
    /// Before the first try.
    #[must_use]
    pub const fn new() -> Self {
        Self { tries: 0 }
    }

    /// How many tries have failed.
    #[must_use]
    pub const fn tries(&self) -> u8 {
        self.tries
    }

    /// Takes in a try without ACK.
    pub fn failed(&mut self, airtime_ns: u64, random: u32) -> Next {
        self.tries = self.tries.saturating_add(1);
        if self.tries >= TRIES_MAX {
            return Next::GiveUp;
        }
        Next::Wait(retry_wait_ns(self.tries, airtime_ns, random))
    }
}

/// Unslotted CSMA-CA of one try (802.15.4-2015, 6.2.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Csma {
    exponent: u8,
    busy: u8,
    unit_ns: u64,
}

impl Csma {
    /// Starts with [`CSMA_BE_MIN`]; `unit_ns` is the unit backoff period. Answers the first wait as well.
    #[must_use]
    pub fn start(unit_ns: u64, random: u32) -> (Self, u64) {
        let csma = Self { exponent: CSMA_BE_MIN, busy: 0, unit_ns };
        (csma, csma.wait_ns(random))
    }

    /// Takes in a busy channel.
    pub fn busy(&mut self, random: u32) -> Next {
        self.busy = self.busy.saturating_add(1);
        if self.busy > CSMA_BACKOFFS_MAX {
            return Next::GiveUp;
        }
        self.exponent = (self.exponent + 1).min(CSMA_BE_MAX);
        Next::Wait(self.wait_ns(random))
    }

    /// Whole units from 0 to 2^BE - 1.
    fn wait_ns(self, random: u32) -> u64 {
        self.unit_ns.saturating_mul(below(1 << self.exponent, random))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_has_fifteen_tries_and_its_window_grows_five_times() {
        let mut retry = Retry::new();
        let waits: Vec<_> = core::iter::repeat_with(|| retry.failed(1 << 32, u32::MAX)).take(15).collect();
        assert_eq!(waits[0], Next::Wait((2 << 32) - 2));
        assert_eq!(waits[3], Next::Wait((16 << 32) - 16));
        for wait in &waits[4..14] {
            assert_eq!(*wait, Next::Wait((32 << 32) - 32));
        }
        assert_eq!(waits[14], Next::GiveUp);
        assert_eq!(retry.tries(), TRIES_MAX);
    }

    #[test]
    fn a_busy_channel_is_waited_for_five_times() {
        let (mut csma, first) = Csma::start(10, u32::MAX);
        assert_eq!(first, 70);
        let waits: Vec<_> = core::iter::repeat_with(|| csma.busy(u32::MAX)).take(5).collect();
        assert_eq!(waits, [Next::Wait(150), Next::Wait(310), Next::Wait(310), Next::Wait(310), Next::GiveUp]);
    }

    proptest! {
        #[test]
        fn a_wait_stays_in_its_window(retry in any::<u8>(), airtime_ns in any::<u64>(), random in any::<u32>()) {
            let wait = u128::from(retry_wait_ns(retry, airtime_ns, random));
            prop_assert!(wait <= u128::from(airtime_ns) << retry.min(5));
        }
    }
}
