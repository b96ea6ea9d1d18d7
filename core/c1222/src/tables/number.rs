//! The number formats of ST0: what `NI_FMAT1` and `NI_FMAT2` stand for.

use super::decimal::Decimal;
use super::format::ByteOrder;

/// A number format, as a nibble of ST0's third format octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NiFormat {
    /// 0: binary floating point, 8 octets.
    Float64,
    /// 1: binary floating point, 4 octets.
    Float32,
    /// 2: characters, 12 octets.
    Char12,
    /// 3: characters, 6 octets.
    Char6,
    /// 4: whole number of ten-thousandths, 4 octets.
    Int32Fraction,
    /// 5: packed digits, 6 octets.
    Bcd6,
    /// 6: packed digits, 4 octets.
    Bcd4,
    /// 7: whole number, 3 octets.
    Int24,
    /// 8: whole number, 4 octets.
    Int32,
    /// 9: whole number, 5 octets.
    Int40,
    /// 10: whole number, 6 octets.
    Int48,
    /// 11: whole number, 8 octets.
    Int64,
    /// 12: packed digits, 8 octets.
    Bcd8,
    /// 13: characters, 21 octets.
    Char21,
}

impl NiFormat {
    /// All of them, by code.
    pub const ALL: [Self; 14] = [
        Self::Float64,
        Self::Float32,
        Self::Char12,
        Self::Char6,
        Self::Int32Fraction,
        Self::Bcd6,
        Self::Bcd4,
        Self::Int24,
        Self::Int32,
        Self::Int40,
        Self::Int48,
        Self::Int64,
        Self::Bcd8,
        Self::Char21,
    ];

    /// The format of a code; 14 and 15 are reserved.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// Its code, a nibble.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// Octets that a number takes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Int24 => 3,
            Self::Float32 | Self::Int32Fraction | Self::Bcd4 | Self::Int32 => 4,
            Self::Int40 => 5,
            Self::Char6 | Self::Bcd6 | Self::Int48 => 6,
            Self::Float64 | Self::Int64 | Self::Bcd8 => 8,
            Self::Char12 => 12,
            Self::Char21 => 21,
        }
    }

    /// The word in device profiles.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Float64 => "float64",
            Self::Float32 => "float32",
            Self::Char12 => "char12",
            Self::Char6 => "char6",
            Self::Int32Fraction => "int32-fraction",
            Self::Bcd6 => "bcd6",
            Self::Bcd4 => "bcd4",
            Self::Int24 => "int24",
            Self::Int32 => "int32",
            Self::Int40 => "int40",
            Self::Int48 => "int48",
            Self::Int64 => "int64",
            Self::Bcd8 => "bcd8",
            Self::Char21 => "char21",
        }
    }
}

/// A number in one of the formats of ST0, not yet interpreted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ni<'a> {
    /// Its format.
    pub format: NiFormat,
    /// Order of its octets.
    pub order: ByteOrder,
    /// Its octets, as many as the format says.
    pub octets: &'a [u8],
}

impl Ni<'_> {
    /// Its exact value; `None` for binary floating point and for octets that are no number.
    #[must_use]
    pub fn decimal(&self) -> Option<Decimal> {
        match self.format {
            NiFormat::Float64 | NiFormat::Float32 => None,
            NiFormat::Char12 | NiFormat::Char6 | NiFormat::Char21 => {
                std::str::from_utf8(self.octets).ok()?.trim_matches([' ', '\0']).parse().ok()
            }
            NiFormat::Bcd6 | NiFormat::Bcd4 | NiFormat::Bcd8 => {
                Some(Decimal::new(i128::from(packed_digits(self.order, self.octets)?), 0))
            }
            NiFormat::Int32Fraction => Some(Decimal::new(i128::from(self.order.signed(self.octets)), -4)),
            NiFormat::Int24 | NiFormat::Int32 | NiFormat::Int40 | NiFormat::Int48 | NiFormat::Int64 => {
                Some(Decimal::new(i128::from(self.order.signed(self.octets)), 0))
            }
        }
    }

    /// Its value in binary floating point, where the format is that.
    #[must_use]
    pub fn float(&self) -> Option<f64> {
        let bits = self.order.unsigned(self.octets);
        match self.format {
            NiFormat::Float64 => Some(f64::from_bits(bits)),
            NiFormat::Float32 => u32::try_from(bits).ok().map(|bits| f64::from(f32::from_bits(bits))),
            _ => None,
        }
    }
}

/// Up to eight octets of packed digits; `None` when a nibble is no digit.
pub(crate) fn packed_digits(order: ByteOrder, octets: &[u8]) -> Option<u64> {
    let push = |number: u64, octet: &u8| {
        let (high, low) = (octet >> 4, octet & 0x0f);
        let digits = u64::from(high).checked_mul(10)?.checked_add(u64::from(low))?;
        (high < 10 && low < 10).then_some(number.checked_mul(100)?.checked_add(digits)?)
    };
    match order {
        ByteOrder::Little => octets.iter().rev().try_fold(0, push),
        ByteOrder::Big => octets.iter().try_fold(0, push),
    }
}

/// The packed digits of a number: its lowest sixteen, the lowest two in the lowest octet.
pub(crate) fn to_packed_digits(mut number: u64) -> u64 {
    let mut packed = 0;
    for shift in (0..64).step_by(4) {
        packed |= (number % 10) << shift;
        number /= 10;
    }
    packed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(format: NiFormat, order: ByteOrder, octets: &[u8]) -> Option<String> {
        Ni { format, order, octets }.decimal().map(|decimal| decimal.to_string())
    }

    #[test]
    fn codes_follow_the_table() {
        for (code, format) in (0..).zip(NiFormat::ALL) {
            assert_eq!((format.code(), NiFormat::from_code(code)), (code, Some(format)));
        }
        assert_eq!(NiFormat::from_code(14), None);
        assert_eq!(NiFormat::Int64.code(), 11);
        assert_eq!(NiFormat::Char21.code(), 13);
    }

    #[test]
    fn every_kind_has_its_value() {
        use ByteOrder::{Big, Little};
        assert_eq!(decimal(NiFormat::Int24, Little, &[0xfe, 0xff, 0xff]).as_deref(), Some("-2"));
        assert_eq!(decimal(NiFormat::Int32Fraction, Big, &[0, 1, 0, 0]).as_deref(), Some("6.5536"));
        assert_eq!(decimal(NiFormat::Bcd4, Big, &[0x00, 0x12, 0x34, 0x56]).as_deref(), Some("123456"));
        assert_eq!(decimal(NiFormat::Bcd4, Little, &[0x56, 0x34, 0x12, 0]).as_deref(), Some("123456"));
        assert_eq!(decimal(NiFormat::Bcd4, Big, &[0x0a, 0, 0, 0]), None);
        assert_eq!(decimal(NiFormat::Char12, Big, b"   -12.50   ").as_deref(), Some("-12.50"));
        assert_eq!(decimal(NiFormat::Char6, Big, b"  \xff   "), None);
        assert_eq!(decimal(NiFormat::Float32, Big, &[0; 4]), None);
        let half = Ni { format: NiFormat::Float32, order: Big, octets: &0.5_f32.to_be_bytes() };
        assert_eq!(half.float(), Some(0.5));
        assert_eq!(packed_digits(Big, &[0x99; 8]), Some(9_999_999_999_999_999));
        assert_eq!(to_packed_digits(123_456), 0x12_3456);
    }
}
