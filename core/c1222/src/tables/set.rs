//! A set of small numbers, a bit each.

/// The octets of a set: number n is in it when bit n mod 8 of octet n / 8 is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Set<'a>(pub &'a [u8]);

impl Set<'_> {
    /// Whether a number is in it.
    #[must_use]
    pub fn contains(&self, number: usize) -> bool {
        self.0.get(number / 8).is_some_and(|octet| octet >> (number % 8) & 1 == 1)
    }

    /// The numbers in it, rising.
    pub fn iter(&self) -> impl Iterator<Item = usize> {
        (0..self.0.len().saturating_mul(8)).filter(|number| self.contains(*number))
    }

    /// The shortest octets of a set with these numbers, each at most 2047.
    #[must_use]
    pub fn octets(numbers: impl IntoIterator<Item = u16>) -> Vec<u8> {
        let mut octets = Vec::new();
        for number in numbers.into_iter().filter(|number| *number < 2048) {
            let at = usize::from(number / 8);
            if octets.len() <= at {
                octets.resize(at.saturating_add(1), 0_u8);
            }
            if let Some(octet) = octets.get_mut(at) {
                *octet |= 1 << (number % 8);
            }
        }
        octets
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_in_and_come_out() {
        let octets = Set::octets([0, 3, 5, 64, 9999]);
        assert_eq!(octets, [0x29, 0, 0, 0, 0, 0, 0, 0, 1]);
        let set = Set(&octets);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 3, 5, 64]);
        assert!(!set.contains(usize::MAX));
    }
}
