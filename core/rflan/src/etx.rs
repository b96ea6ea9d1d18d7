//! How many tries a frame takes on one link, on average.

/// One try, in the unit of path costs: 1/128 ETX.
pub const ETX_ONE: u16 = 128;

/// What a frame that was never acknowledged counts for: one try more than there may be.
pub const ETX_FAILED_TRIES: u8 = 16;

/// Finer than the unit of path costs, so that the mean moves on small differences too.
const SCALE: u32 = 256;
/// A new value weighs an eighth.
const ALPHA: u32 = 8;

/// The mean number of tries on one link: EWMA, alpha 1/8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etx {
    /// In 1/128 ETX x 1/256.
    mean: u32,
}

impl Default for Etx {
    fn default() -> Self {
        Self::new()
    }
}

impl Etx {
    /// A link not yet used: one try.
    #[must_use]
    pub const fn new() -> Self {
        Self { mean: ETX_ONE as u32 * SCALE }
    }

    /// Takes in a frame that was acknowledged at its `tries`-th try; at least one, at most
    /// [`ETX_FAILED_TRIES`] count.
    pub fn delivered(&mut self, tries: u8) {
        let value = u32::from(tries.clamp(1, ETX_FAILED_TRIES)) * u32::from(ETX_ONE) * SCALE;
        self.mean = self.mean - self.mean / ALPHA + value / ALPHA;
    }

    /// Takes in a frame that was never acknowledged.
    pub fn failed(&mut self) {
        self.delivered(ETX_FAILED_TRIES);
    }

    /// The mean in 1/128 ETX, rounded to the nearest.
    #[must_use]
    pub fn cost(&self) -> u16 {
        u16::try_from((self.mean + SCALE / 2) / SCALE).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_new_value_weighs_an_eighth() {
        let mut etx = Etx::new();
        etx.delivered(9);
        assert_eq!(etx.cost(), 2 * ETX_ONE);
        etx.delivered(2);
        assert_eq!(etx.cost(), 2 * ETX_ONE);
        etx.failed();
        assert_eq!(etx.cost(), 2 * ETX_ONE + 14 * ETX_ONE / 8);
    }

    proptest! {
        #[test]
        fn the_mean_stays_between_one_and_failure(tries in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut etx = Etx::new();
            for tries in tries {
                etx.delivered(tries);
                prop_assert!((ETX_ONE..=ETX_ONE * u16::from(ETX_FAILED_TRIES)).contains(&etx.cost()));
            }
        }
    }
}
