//! Numbers that look random and are the same at every run.

/// A number that depends on all bits of `a` and `b` (the finalizer of SplitMix64, twice).
#[must_use]
pub(crate) fn mix(a: u64, b: u64) -> u64 {
    scramble(scramble(a).wrapping_add(b))
}

fn scramble(number: u64) -> u64 {
    let number = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

/// `mix(a, b)` as a part of `below`: 0 to `below - 1`, and 0 for 0.
#[must_use]
pub(crate) fn mix_below(a: u64, b: u64, below: u64) -> u64 {
    ((u128::from(mix(a, b)) * u128::from(below)) >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_differ_and_the_range_is_kept() {
        let mut seen: Vec<u64> = (0..1000).map(|number| mix(1, number)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 1000);
        assert!((0..1000).all(|number| mix_below(7, number, 5) < 5));
        assert!((0..5).all(|part| (0..1000).any(|number| mix_below(7, number, 5) == part)));
        assert_eq!(mix_below(7, 7, 0), 0);
    }
}
