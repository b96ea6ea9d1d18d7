//! A random number scaled to a range.

/// A number from zero up to but not including `range`, spread as evenly as `random` is; zero for an empty range.
pub(crate) const fn below(range: u64, random: u32) -> u64 {
    // The product has at most 96 bits; the quotient is below the range.
    ((range as u128 * random as u128) >> 32) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_is_not_reached() {
        assert_eq!(below(0, u32::MAX), 0);
        assert_eq!(below(10, 0), 0);
        assert_eq!(below(10, u32::MAX), 9);
        assert_eq!(below(u64::MAX, 1 << 31), u64::MAX / 2);
    }
}
