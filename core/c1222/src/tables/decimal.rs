//! Exact decimal numbers.

use std::fmt;
use std::str::FromStr;

/// Digits of the longest mantissa, its sign apart.
const DIGITS_MAX: usize = 39;

/// An exact decimal number: `mantissa` times ten to the power of `scale`.
///
/// It prints as many decimals as its scale says: `1200 · 10⁻³` is `1.200`, which also tells the resolution.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Decimal {
    /// All digits, with the sign.
    pub mantissa: i128,
    /// The power of ten.
    pub scale: i8,
}

/// A text is no decimal number, or has more digits than fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number of at most 38 digits")]
pub struct NotDecimal;

impl Decimal {
    /// A number.
    #[must_use]
    pub const fn new(mantissa: i128, scale: i8) -> Self {
        Self { mantissa, scale }
    }

    /// Appends its text.
    pub fn push_to(&self, out: &mut Vec<u8>) {
        let mut digits = [b'0'; DIGITS_MAX];
        let digits = digits_of(self.mantissa.unsigned_abs(), &mut digits);
        if self.mantissa < 0 {
            out.push(b'-');
        }
        let decimals = usize::from(self.scale.unsigned_abs());
        if self.scale >= 0 {
            out.extend_from_slice(digits);
            if self.mantissa != 0 {
                out.extend(std::iter::repeat_n(b'0', decimals));
            }
        } else if let Some((whole, part)) =
            digits.len().checked_sub(decimals).and_then(|point| digits.split_at_checked(point))
        {
            out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
            out.push(b'.');
            out.extend_from_slice(part);
        } else {
            out.extend_from_slice(b"0.");
            out.extend(std::iter::repeat_n(b'0', decimals.saturating_sub(digits.len())));
            out.extend_from_slice(digits);
        }
    }
}

/// The digits of a number, at the end of `room`.
fn digits_of(mut number: u128, room: &mut [u8; DIGITS_MAX]) -> &[u8] {
    let mut first = room.len();
    // Nearly all numbers fit 64 bits, whose division is many times as fast.
    while number > u128::from(u64::MAX) {
        first = first.saturating_sub(1);
        put(room, first, (number % 10) as u8);
        number /= 10;
    }
    let mut number = number as u64;
    loop {
        first = first.saturating_sub(1);
        put(room, first, (number % 10) as u8);
        number /= 10;
        if number == 0 {
            return room.get(first..).unwrap_or_default();
        }
    }
}

fn put(room: &mut [u8; DIGITS_MAX], at: usize, digit: u8) {
    if let Some(place) = room.get_mut(at) {
        *place = b'0' | digit;
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        self.push_to(&mut text);
        f.pad(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Decimal {
    type Err = NotDecimal;

    /// `-12.50`, `3`, `.5` or `1.2E-3`.
    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        let (number, power) = match text.split_once(['e', 'E']) {
            Some((number, power)) => (number, power.parse::<i8>().map_err(|_| NotDecimal)?),
            None => (text, 0),
        };
        let (sign, number) = match number.strip_prefix('-') {
            Some(number) => (-1, number),
            None => (1, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.len().saturating_add(part.len()) == 0 {
            return Err(NotDecimal);
        }
        let mantissa = whole.bytes().chain(part.bytes()).try_fold(0_i128, |mantissa, octet| {
            let digit = char::from(octet).to_digit(10)?;
            mantissa.checked_mul(10)?.checked_add(i128::from(digit))
        });
        let scale = i8::try_from(part.len()).ok().and_then(|decimals| power.checked_sub(decimals));
        match (mantissa, scale) {
            (Some(mantissa), Some(scale)) => Ok(Self { mantissa: sign * mantissa, scale }),
            _ => Err(NotDecimal),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_is_exact() {
        for (mantissa, scale, text) in [
            (0, 0, "0"),
            (0, -3, "0.000"),
            (0, 3, "0"),
            (1200, -3, "1.200"),
            (-5, -3, "-0.005"),
            (-12345, -2, "-123.45"),
            (7, 2, "700"),
            (999, -3, "0.999"),
            (i128::MAX, 0, "170141183460469231731687303715884105727"),
            (i128::MIN, -1, "-17014118346046923173168730371588410572.8"),
            (18_446_744_073_709_551_616, -6, "18446744073709.551616"),
        ] {
            assert_eq!(Decimal::new(mantissa, scale).to_string(), text);
        }
        assert_eq!(Decimal::new(1, i8::MIN).to_string().len(), 2 + 128);
        assert_eq!(Decimal::new(1, i8::MAX).to_string().len(), 128);
    }

    #[test]
    fn text_reads_back() {
        for (text, mantissa, scale) in [
            ("1.200", 1200, -3),
            ("-.5", -5, -1),
            ("+12", 12, 0),
            ("1.2E-3", 12, -4),
            ("5e2", 5, 2),
            ("7.", 7, 0),
        ] {
            assert_eq!(text.parse(), Ok(Decimal::new(mantissa, scale)));
        }
        for text in ["", "-", ".", "1.2.3", "a", "1e", "1e999", "--1", " 1", "1_0", &"9".repeat(40)] {
            assert_eq!(text.parse::<Decimal>(), Err(NotDecimal), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_prints_reads_back(mantissa in -(10_i128.pow(37))..10_i128.pow(37), scale in -38_i8..=0) {
            let decimal = Decimal::new(mantissa, scale);
            prop_assert_eq!(decimal.to_string().parse(), Ok(decimal));
        }

        #[test]
        fn any_text_is_refused_or_read(text in ".{0,50}") {
            let _ = text.parse::<Decimal>();
        }
    }
}
