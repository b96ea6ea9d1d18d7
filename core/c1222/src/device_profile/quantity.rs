//! A number in a table: how it is written, and what it stands for.

use crate::tables::{ByteOrder, Decimal, packed_digits, to_packed_digits};

/// How a number is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NumberKind {
    /// Whole, without sign.
    Unsigned,
    /// Whole, two's complement.
    Signed,
    /// Packed digits, two an octet.
    Packed,
}

impl NumberKind {
    /// All of them with their words in device profiles.
    pub const WORDS: [(&'static str, Self); 3] =
        [("uint", Self::Unsigned), ("int", Self::Signed), ("bcd", Self::Packed)];
}

/// A number in a table. Its value, in `unit`, is the count in the table times `multiplier` times ten to the
/// power of `scale`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// Its name.
    pub name: String,
    /// How the count is written.
    pub kind: NumberKind,
    /// In how many octets, 1..=8.
    pub size: usize,
    /// What one count is worth, before the power of ten.
    pub multiplier: u32,
    /// The power of ten, -18..=18.
    pub scale: i8,
    /// Unit of the value, e.g. `kWh`.
    pub unit: String,
    /// CIM reading type, 18 dotted fields; without one it gives no readings.
    pub reading_type: Option<String>,
}

impl Quantity {
    /// The count that octets hold; `None` when they are packed digits with a nibble that is none.
    #[must_use]
    pub fn count(&self, order: ByteOrder, octets: &[u8]) -> Option<i128> {
        Some(match self.kind {
            NumberKind::Unsigned => i128::from(order.unsigned(octets)),
            NumberKind::Signed => i128::from(order.signed(octets)),
            NumberKind::Packed => i128::from(packed_digits(order, octets)?),
        })
    }

    /// The exact value of a count.
    #[must_use]
    pub fn value(&self, count: i128) -> Decimal {
        // A count has at most 64 bits and the multiplier 32, so this never saturates.
        Decimal::new(count.saturating_mul(i128::from(self.multiplier)), self.scale)
    }

    /// The highest count that can be written; a register goes from there to 0.
    #[must_use]
    pub fn count_max(&self) -> u64 {
        let bits = self.size.clamp(1, 8) * 8;
        match self.kind {
            NumberKind::Unsigned => u64::MAX >> (64 - bits),
            NumberKind::Signed => u64::MAX >> (65 - bits),
            NumberKind::Packed => (0..self.size.clamp(1, 8)).fold(0, |max, _| max * 100 + 99),
        }
    }

    /// Whether a count can be written.
    #[must_use]
    pub fn holds(&self, count: i64) -> bool {
        match u64::try_from(count) {
            Ok(count) => count <= self.count_max(),
            Err(_) => self.kind == NumberKind::Signed && count.unsigned_abs() - 1 <= self.count_max(),
        }
    }

    /// Appends a count; of one that it does not [hold](Self::holds) the highest digits are cut off.
    pub fn push(&self, order: ByteOrder, count: i64, out: &mut Vec<u8>) {
        order.push(self.written(count), self.size, out);
    }

    /// Puts a count into its place in a table, as [`Self::push`] would write it.
    pub fn put(&self, order: ByteOrder, count: i64, place: &mut [u8]) {
        order.put(self.written(count), place);
    }

    fn written(&self, count: i64) -> u64 {
        match self.kind {
            NumberKind::Unsigned | NumberKind::Signed => count.cast_unsigned(),
            NumberKind::Packed => to_packed_digits(count.unsigned_abs()),
        }
    }
}
