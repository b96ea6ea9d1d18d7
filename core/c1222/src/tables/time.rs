//! Moments in tables: four ways to write them, each long (with seconds) and short.

use super::format::ByteOrder;

const DAY: u64 = 86_400;

/// How a device writes moments: bits 0-2 of ST0's second format octet.
///
/// All moments here are seconds since 1970 on the *device's* clock, which may not run in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimeFormat {
    /// 0: it has no clock.
    Absent,
    /// 1: year, month, day, hour, minute, second in packed digits; short without the second.
    Packed,
    /// 2: the same as numbers.
    Binary,
    /// 3: minutes since 1970 in four octets, then seconds; short without the seconds.
    Minutes,
    /// 4: seconds since 1970 in four octets; the short form is the same.
    Seconds,
}

/// A moment that a time format cannot write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device's time format cannot write {0} s since 1970")]
pub struct TimeRange(pub u64);

impl TimeFormat {
    /// The format of a code; 5 to 7 are reserved.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Absent),
            1 => Some(Self::Packed),
            2 => Some(Self::Binary),
            3 => Some(Self::Minutes),
            4 => Some(Self::Seconds),
            _ => None,
        }
    }

    /// Its code.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Octets of the long form.
    #[must_use]
    pub const fn long_size(self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Packed | Self::Binary => 6,
            Self::Minutes => 5,
            Self::Seconds => 4,
        }
    }

    /// Octets of the short form.
    #[must_use]
    pub const fn short_size(self) -> usize {
        match self {
            Self::Absent => 0,
            Self::Packed | Self::Binary => 5,
            Self::Minutes | Self::Seconds => 4,
        }
    }

    /// Reads a moment, long or short by the number of octets; `None` when it is none, as in an entry
    /// that was never filled.
    #[must_use]
    pub fn read(self, order: ByteOrder, octets: &[u8]) -> Option<u64> {
        let (main, seconds) = match (self, octets.len()) {
            (Self::Packed | Self::Binary, 5) | (Self::Minutes | Self::Seconds, 4) => (octets, 0),
            (Self::Packed | Self::Binary, 6) | (Self::Minutes, 5) => {
                let (seconds, main) = octets.split_last()?;
                (main, *seconds)
            }
            _ => return None,
        };
        let moment = match self {
            Self::Absent => return None,
            Self::Seconds => order.unsigned(main),
            Self::Minutes => minute(order.unsigned(main), seconds)?,
            Self::Binary => calendar(main, seconds)?,
            Self::Packed => {
                let mut digits = [0; 5];
                for (digits, octet) in digits.iter_mut().zip(main) {
                    *digits = unpack(*octet)?;
                }
                calendar(&digits, unpack(seconds)?)?
            }
        };
        (moment != 0).then_some(moment)
    }

    /// Appends the long form of a moment.
    ///
    /// # Errors
    /// [`TimeRange`] when it lies outside what the format can write; nothing is appended.
    pub fn write_long(self, order: ByteOrder, moment: u64, out: &mut Vec<u8>) -> Result<(), TimeRange> {
        self.write_short(order, moment, out)?;
        let second = (moment % 60) as u8;
        match self {
            Self::Absent | Self::Seconds => {}
            Self::Packed => out.push(pack(second)),
            Self::Binary | Self::Minutes => out.push(second),
        }
        Ok(())
    }

    /// Appends the short form of a moment; a second within the minute is dropped where it has no room.
    ///
    /// # Errors
    /// [`TimeRange`] when it lies outside what the format can write; nothing is appended.
    pub fn write_short(self, order: ByteOrder, moment: u64, out: &mut Vec<u8>) -> Result<(), TimeRange> {
        match self {
            Self::Absent => return Err(TimeRange(moment)),
            Self::Seconds => out.extend_from_slice(&number(order, moment, moment)?),
            Self::Minutes => out.extend_from_slice(&number(order, moment / 60, moment)?),
            Self::Binary => out.extend_from_slice(&fields_of(moment)?),
            Self::Packed => out.extend_from_slice(&fields_of(moment)?.map(pack)),
        }
        Ok(())
    }
}

fn number(order: ByteOrder, number: u64, moment: u64) -> Result<[u8; 4], TimeRange> {
    let number = u32::try_from(number).map_err(|_| TimeRange(moment))?;
    Ok(match order {
        ByteOrder::Little => number.to_le_bytes(),
        ByteOrder::Big => number.to_be_bytes(),
    })
}

fn minute(minutes: u64, second: u8) -> Option<u64> {
    (second < 60).then_some(minutes.checked_mul(60)?.checked_add(u64::from(second))?)
}

fn pack(number: u8) -> u8 {
    ((number / 10) << 4) | (number % 10)
}

fn unpack(octet: u8) -> Option<u8> {
    let (high, low) = (octet >> 4, octet & 0x0f);
    (high < 10 && low < 10).then_some(high * 10 + low)
}

/// Seconds since 1970 of year, month, day, hour, minute and a second. A year has two digits: 90 and above
/// are of the last century.
fn calendar(fields: &[u8], second: u8) -> Option<u64> {
    let &[year, month, day, hour, minute] = fields else { return None };
    if year > 99 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let year = if year >= 90 { 1900 } else { 2000 } + u64::from(year);
    if day == 0 || u64::from(day) > days_in_month(year, u64::from(month)) {
        return None;
    }
    let days = days_before(year, u64::from(month)) + u64::from(day) - 1;
    Some(days * DAY + u64::from(hour) * 3600 + u64::from(minute) * 60 + u64::from(second))
}

/// Year, month, day, hour and minute of a moment from 1990 to 2089.
fn fields_of(moment: u64) -> Result<[u8; 5], TimeRange> {
    let days = moment / DAY;
    if !(days_before(1990, 1)..days_before(2090, 1)).contains(&days) {
        return Err(TimeRange(moment));
    }
    // No year is longer than 366 days, so this is the year or the one before it.
    let guess = 1970 + days / 366;
    let year = if days_before(guess + 1, 1) <= days { guess + 1 } else { guess };
    let month = (1..=12).rev().find(|month| days_before(year, *month) <= days).unwrap_or(1);
    let day = days - days_before(year, month) + 1;
    let minutes = moment % DAY / 60;
    Ok([year % 100, month, day, minutes / 60, minutes % 60].map(|field| field as u8))
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970 to the first of a month; years from 1970 on.
fn days_before(year: u64, month: u64) -> u64 {
    let past = year - 1;
    let leaps = past / 4 - past / 100 + past / 400 - 477;
    (year - 1970) * 365 + leaps + (1..month).map(|month| days_in_month(year, month)).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [TimeFormat; 4] =
        [TimeFormat::Packed, TimeFormat::Binary, TimeFormat::Minutes, TimeFormat::Seconds];

    #[test]
    fn each_format_as_it_is_written() {
        // 2026-11-25 00:58:07
        let moment = 1_795_568_287;
        let long = |format: TimeFormat| {
            let mut out = Vec::new();
            format.write_long(ByteOrder::Big, moment, &mut out).map(|()| out)
        };
        assert_eq!(long(TimeFormat::Packed), Ok(vec![0x26, 0x11, 0x25, 0x00, 0x58, 0x07]));
        assert_eq!(long(TimeFormat::Binary), Ok(vec![26, 11, 25, 0, 58, 7]));
        assert_eq!(long(TimeFormat::Minutes), Ok([&29_926_138_u32.to_be_bytes()[..], &[7]].concat()));
        assert_eq!(long(TimeFormat::Seconds), Ok(1_795_568_287_u32.to_be_bytes().to_vec()));
        assert_eq!(long(TimeFormat::Absent), Err(TimeRange(moment)));
    }

    #[test]
    fn what_is_no_moment_is_none() {
        let binary = |octets: &[u8]| TimeFormat::Binary.read(ByteOrder::Big, octets);
        assert_eq!(binary(&[24, 2, 29, 0, 0]), Some(1_709_164_800));
        for octets in [
            &[23, 2, 29, 0, 0][..],
            &[0, 0, 0, 0, 0],
            &[24, 13, 1, 0, 0],
            &[24, 1, 1, 24, 0],
            &[24, 1, 1, 0, 60],
            &[24, 1, 1, 0, 0, 60],
            &[100, 1, 1, 0, 0],
            &[24, 1, 1, 0],
            &[],
        ] {
            assert_eq!(binary(octets), None, "{octets:?}");
        }
        assert_eq!(TimeFormat::Packed.read(ByteOrder::Big, &[0x2a, 1, 1, 0, 0]), None);
        assert_eq!(TimeFormat::Seconds.read(ByteOrder::Big, &[0; 4]), None);
        assert_eq!(TimeFormat::Minutes.read(ByteOrder::Big, &[0, 0, 0, 1, 60]), None);
        let mut out = Vec::new();
        for (format, moment) in [
            (TimeFormat::Seconds, 1 << 32),
            (TimeFormat::Minutes, 60 << 32),
            (TimeFormat::Binary, 631_151_999),
            (TimeFormat::Packed, 3_786_912_000),
            (TimeFormat::Packed, u64::MAX),
        ] {
            assert_eq!(format.write_long(ByteOrder::Big, moment, &mut out), Err(TimeRange(moment)));
        }
        assert_eq!(out, []);
    }

    proptest! {
        #[test]
        fn moments_read_back(moment in 631_152_000_u64..3_786_912_000, big in any::<bool>()) {
            let order = if big { ByteOrder::Big } else { ByteOrder::Little };
            for format in ALL {
                let (mut long, mut short) = (Vec::new(), Vec::new());
                prop_assert_eq!(format.write_long(order, moment, &mut long), Ok(()));
                prop_assert_eq!(format.write_short(order, moment, &mut short), Ok(()));
                prop_assert_eq!((long.len(), short.len()), (format.long_size(), format.short_size()));
                prop_assert_eq!(format.read(order, &long), Some(moment));
                let whole = if format == TimeFormat::Seconds { moment } else { moment / 60 * 60 };
                prop_assert_eq!(format.read(order, &short), Some(whole));
            }
        }

        #[test]
        fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..8)) {
            for format in ALL {
                let _ = format.read(ByteOrder::Little, &octets);
            }
        }
    }
}
