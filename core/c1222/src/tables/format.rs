//! How a device writes its tables: what ST0 says for all others.

use super::number::NiFormat;
use super::time::TimeFormat;

/// The order of octets in numbers of more than one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ByteOrder {
    /// The lowest octet first.
    #[default]
    Little,
    /// The highest octet first.
    Big,
}

impl ByteOrder {
    /// Two octets as a number.
    #[must_use]
    pub fn u16(self, octets: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(octets),
            Self::Big => u16::from_be_bytes(octets),
        }
    }

    /// Four octets as a number.
    #[must_use]
    pub fn u32(self, octets: [u8; 4]) -> u32 {
        match self {
            Self::Little => u32::from_le_bytes(octets),
            Self::Big => u32::from_be_bytes(octets),
        }
    }

    /// Up to eight octets as a number without sign; of more, the lowest eight.
    #[must_use]
    pub fn unsigned(self, octets: &[u8]) -> u64 {
        let push = |number: u64, octet: &u8| number << 8 | u64::from(*octet);
        match self {
            Self::Little => octets.iter().rev().fold(0, push),
            Self::Big => octets.iter().fold(0, push),
        }
    }

    /// Up to eight octets as a number in two's complement; of more, the lowest eight.
    #[must_use]
    pub fn signed(self, octets: &[u8]) -> i64 {
        let number = self.unsigned(octets).cast_signed();
        let unused = 64_usize.saturating_sub(octets.len().saturating_mul(8));
        match u32::try_from(unused) {
            Ok(unused @ 0..=63) => number << unused >> unused,
            _ => 0,
        }
    }

    /// Fills up to eight octets with the lowest octets of a number.
    pub fn put(self, number: u64, place: &mut [u8]) {
        let octets = number.to_le_bytes();
        match self {
            Self::Little => place.iter_mut().zip(octets).for_each(|(place, octet)| *place = octet),
            Self::Big => place.iter_mut().rev().zip(octets).for_each(|(place, octet)| *place = octet),
        }
    }

    /// Appends the lowest `size` octets (1..=8) of a number.
    pub fn push(self, number: u64, size: usize, out: &mut Vec<u8>) {
        let octets = number.to_le_bytes();
        let octets = octets.get(..size).unwrap_or(&octets);
        match self {
            Self::Little => out.extend_from_slice(octets),
            Self::Big => out.extend(octets.iter().rev()),
        }
    }
}

/// What ST0 says about the writing of all tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Order of octets.
    pub order: ByteOrder,
    /// How moments are written.
    pub time: TimeFormat,
    /// How summations and other totals are written.
    pub ni1: NiFormat,
    /// How demands and other values of the moment are written.
    pub ni2: NiFormat,
    /// Identities are packed digits, two an octet, instead of characters.
    pub packed_ids: bool,
}

impl Default for Format {
    /// Little-endian, Unix seconds, totals of six octets and demands of four.
    fn default() -> Self {
        Self {
            order: ByteOrder::Little,
            time: TimeFormat::Seconds,
            ni1: NiFormat::Int48,
            ni2: NiFormat::Int32,
            packed_ids: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_follow_the_order() {
        let octets = [0x01, 0x02, 0xff];
        assert_eq!(ByteOrder::Little.unsigned(&octets), 0x00ff_0201);
        assert_eq!(ByteOrder::Big.unsigned(&octets), 0x0001_02ff);
        assert_eq!(ByteOrder::Little.signed(&octets), -0xfdff);
        assert_eq!(ByteOrder::Big.signed(&octets), 0x0001_02ff);
        assert_eq!(ByteOrder::Big.signed(&[]), 0);
        assert_eq!(ByteOrder::Big.signed(&[0x80, 0, 0, 0, 0, 0, 0, 0]), i64::MIN);
        assert_eq!(ByteOrder::Little.unsigned(&[7; 100]), 0x0707_0707_0707_0707);
        let mut out = Vec::new();
        ByteOrder::Little.push(0x01_0203, 3, &mut out);
        ByteOrder::Big.push(0x01_0203, 3, &mut out);
        assert_eq!(out, [3, 2, 1, 1, 2, 3]);
        let (little, big) = out.split_at_mut(3);
        ByteOrder::Little.put(0x0405_0607, little);
        ByteOrder::Big.put(0x0405_0607, big);
        assert_eq!(out, [7, 6, 5, 5, 6, 7]);
    }
}
