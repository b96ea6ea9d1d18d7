//! Randomness, which the caller brings.

/// Fills octets with random ones.
pub trait Entropy: Send {
    /// Fills all of `octets`.
    fn fill(&mut self, octets: &mut [u8]);
}

impl<F: FnMut(&mut [u8]) + Send> Entropy for F {
    fn fill(&mut self, octets: &mut [u8]) {
        self(octets);
    }
}

/// A number from 0 to `below - 1`; 0 for 0.
pub(super) fn below(entropy: &mut dyn Entropy, below: u64) -> u64 {
    let mut octets = [0; 8];
    entropy.fill(&mut octets);
    ((u128::from(u64::from_be_bytes(octets)) * u128::from(below)) >> 64) as u64
}
