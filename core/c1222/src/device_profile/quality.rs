//! How good a reading is.

use crate::tables::Interval;

/// What a device says about a reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Quality {
    /// Nothing is wrong with it.
    #[default]
    Valid,
    /// The power failed in the interval.
    PowerFailed,
    /// The counter overflowed.
    Overflow,
    /// The interval was shorter than it should be.
    Partial,
    /// The interval was longer than it should be.
    Long,
    /// It was measured in test mode.
    Test,
    /// The configuration changed in the interval.
    ConfigurationChanged,
    /// The clock was set in the interval.
    ClockChanged,
    /// The device says that it is not valid, and no more.
    Questionable,
}

impl Quality {
    /// CIM reading quality (IEC 61968-9): system 1, the end device; category; index.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Valid => "1.0.0",
            Self::PowerFailed => "1.2.32",
            Self::Overflow => "1.4.1",
            Self::Partial => "1.4.2",
            Self::Long => "1.4.3",
            Self::Test => "1.4.5",
            Self::ConfigurationChanged => "1.4.6",
            Self::ClockChanged => "1.4.9",
            Self::Questionable => "1.10.0",
        }
    }

    /// What an interval's status says of a channel, the channel's own word first; `None` when the interval has no
    /// value: it was skipped, or recording had stopped.
    pub(super) fn of_channel(interval: &Interval<'_>, channel: usize) -> Option<Self> {
        let common = interval.common();
        Some(match interval.channel(channel) {
            0 if common & Interval::POWER_FAILED != 0 => Self::PowerFailed,
            0 if common & (Interval::CLOCK_FORWARD | Interval::CLOCK_BACK) != 0 => Self::ClockChanged,
            0 => Self::Valid,
            1 => Self::Overflow,
            2 => Self::Partial,
            3 => Self::Long,
            4 | 7 => return None,
            5 => Self::Test,
            6 => Self::ConfigurationChanged,
            _ => Self::Questionable,
        })
    }
}
