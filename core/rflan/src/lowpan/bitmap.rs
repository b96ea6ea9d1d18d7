//! One bit for each unit of a datagram.

/// 256 bits: a datagram of 2047 octets has 256 units of eight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bitmap {
    high: u128,
    low: u128,
}

impl Bitmap {
    /// The bits of `count` units from `start` on; what lies past 256 is left out.
    pub(super) fn range(start: usize, count: usize) -> Self {
        let below =
            |end: usize| Self { low: ones(end.min(128)), high: ones(end.saturating_sub(128).min(128)) };
        let (end, start) = (below(start.saturating_add(count)), below(start));
        Self { low: end.low & !start.low, high: end.high & !start.high }
    }

    pub(super) const fn and(self, other: Self) -> Self {
        Self { low: self.low & other.low, high: self.high & other.high }
    }

    pub(super) const fn or(self, other: Self) -> Self {
        Self { low: self.low | other.low, high: self.high | other.high }
    }

    pub(super) const fn is_empty(self) -> bool {
        self.low == 0 && self.high == 0
    }

    pub(super) const fn count(self) -> usize {
        (self.low.count_ones() + self.high.count_ones()) as usize
    }
}

/// The lowest `count` bits; all of them from 128 on.
fn ones(count: usize) -> u128 {
    u32::try_from(count).ok().and_then(|count| 1_u128.checked_shl(count)).map_or(u128::MAX, |bit| bit - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_range_has_its_units(start in 0_usize..300, count in 0_usize..300) {
            let range = Bitmap::range(start, count);
            let end = (start + count).min(256);
            prop_assert_eq!(range.count(), end.saturating_sub(start));
            for unit in 0..256 {
                let inside = unit >= start && unit < start + count;
                prop_assert_eq!(!range.and(Bitmap::range(unit, 1)).is_empty(), inside);
            }
            prop_assert_eq!(range.or(Bitmap::range(0, start)).count(), end);
        }
    }
}
