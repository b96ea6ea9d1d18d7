//! UTC times as RFC 3339 writes them.

const DAY_S: u64 = 86_400;

/// Appends a Unix second as `YYYY-MM-DDThh:mm:ssZ`.
pub(super) fn push(out: &mut Vec<u8>, unix_s: u64) {
    let (year, month, day) = date(unix_s / DAY_S);
    let second = unix_s % DAY_S;
    digits(out, year, 4);
    out.push(b'-');
    digits(out, month, 2);
    out.push(b'-');
    digits(out, day, 2);
    out.push(b'T');
    digits(out, second / 3600, 2);
    out.push(b':');
    digits(out, second / 60 % 60, 2);
    out.push(b':');
    digits(out, second % 60, 2);
    out.push(b'Z');
}

/// The Gregorian date of a day since 1970-01-01. Years begin in March here, so that leap days end them.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Appends a number with at least so many digits.
fn digits(out: &mut Vec<u8>, number: u64, least: u32) {
    let mut power = 10_u64.pow(least - 1);
    while number / power >= 10 {
        power *= 10;
    }
    while power > 0 {
        out.push(b'0' + u8::try_from(number / power % 10).unwrap_or(0));
        power /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(unix_s: u64) -> String {
        let mut out = Vec::new();
        push(&mut out, unix_s);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_moments() {
        for (unix_s, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_764_547_199, "2025-11-30T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (253_402_300_800, "10000-01-01T00:00:00Z"),
        ] {
            assert_eq!(text(unix_s), expected);
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..146_097 {
            assert_eq!(date(days), (year, month, day));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            day += 1;
            if day > length[month as usize - 1] {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }

    #[test]
    fn no_moment_panics() {
        text(u64::MAX);
        text(u64::MAX / 1000);
    }
}
