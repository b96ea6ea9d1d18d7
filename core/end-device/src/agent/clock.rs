//! The device's idea of the time: what its own clock runs, corrected by class 5, and whether it is trusted.

use crate::end_device::Moment;

/// The device's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// Whether the time was set by a signed command, or in the factory, and kept running since.
    pub trusted: bool,
    /// True time minus what the device's own clock shows, in seconds.
    pub offset_s: i64,
}

impl Clock {
    /// Unix seconds; `None` without trusted time.
    pub fn now(&self, now: Moment) -> Option<u64> {
        self.trusted.then(|| self.moment(now).unix_s)
    }

    /// The moment with the corrected time, trusted or not.
    pub fn moment(&self, now: Moment) -> Moment {
        Moment { unix_s: now.unix_s.saturating_add_signed(self.offset_s), ..now }
    }

    /// It is so late now, and that is trusted.
    pub fn set(&mut self, unix_s: u64, now: Moment) {
        let offset = i128::from(unix_s) - i128::from(now.unix_s);
        self.offset_s = i64::try_from(offset).unwrap_or(if offset < 0 { i64::MIN } else { i64::MAX });
        self.trusted = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_clock_runs_on() {
        let moment = |unix_s| Moment { unix_s, steady_ns: 0 };
        let mut clock = Clock { trusted: false, offset_s: 0 };
        assert_eq!((clock.now(moment(5)), clock.moment(moment(5)).unix_s), (None, 5));
        clock.set(1000, moment(5));
        assert_eq!(clock.now(moment(65)), Some(1060));
        clock.set(u64::MAX, moment(0));
        clock.set(0, moment(u64::MAX));
        assert_eq!(clock.offset_s, i64::MIN);
    }
}
