//! The time that a driver sees, and its random numbers: the machine's, or those of a simulation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use node::clock::monotonic_ns;
use node::event::unix_ns;

/// Where time and random numbers come from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's.
    #[default]
    Real,
    /// Those of a simulation: a run with the same seed and inputs is the same run.
    Simulated(Arc<SimulatedTime>),
}

impl Clock {
    /// Monotonic time, ns.
    #[must_use]
    pub fn now(&self) -> u64 {
        match self {
            Self::Real => monotonic_ns(),
            Self::Simulated(time) => time.now(),
        }
    }

    /// Wall time, ns since 1970.
    #[must_use]
    pub fn wall(&self) -> u64 {
        match self {
            Self::Real => unix_ns(),
            Self::Simulated(time) => time.began.saturating_add(time.now()),
        }
    }

    /// Whether it is a simulation's.
    #[must_use]
    pub fn is_simulated(&self) -> bool {
        matches!(self, Self::Simulated(_))
    }

    /// Fills `out` with random octets; `false` when the system has none.
    #[must_use]
    pub fn random(&self, out: &mut [u8]) -> bool {
        match self {
            Self::Real => getrandom::fill(out).is_ok(),
            Self::Simulated(time) => {
                time.random(out);
                true
            }
        }
    }
}

/// The time of a simulation: it passes only when it is told to.
#[derive(Debug)]
pub struct SimulatedTime {
    now: AtomicU64,
    /// Wall time at its beginning, ns since 1970.
    began: u64,
    /// The state of the random numbers.
    random: AtomicU64,
}

impl SimulatedTime {
    /// A time that begins at 1 ns (0 means "never" to drivers), at this wall time, ns since 1970.
    #[must_use]
    pub fn new(seed: u64, began: u64) -> Arc<Self> {
        Arc::new(Self { now: AtomicU64::new(1), began, random: AtomicU64::new(seed) })
    }

    /// Monotonic time, ns.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::Acquire)
    }

    /// Lets time pass until `at`; it never goes back.
    pub fn advance_to(&self, at: u64) {
        self.now.fetch_max(at, Ordering::AcqRel);
    }

    /// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
    fn random(&self, out: &mut [u8]) {
        const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
        for chunk in out.chunks_mut(8) {
            let mut word = self.random.fetch_add(STEP, Ordering::AcqRel).wrapping_add(STEP);
            word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            word ^= word >> 31;
            chunk.iter_mut().zip(word.to_le_bytes()).for_each(|(to, from)| *to = from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulated_time_passes_only_when_told_and_never_goes_back() {
        let time = SimulatedTime::new(7, 1_000);
        let clock = Clock::Simulated(Arc::clone(&time));
        assert_eq!((clock.now(), clock.wall()), (1, 1_001));
        time.advance_to(50);
        time.advance_to(20);
        assert_eq!((clock.now(), clock.wall()), (50, 1_050));
    }

    #[test]
    fn simulated_randomness_follows_from_the_seed() {
        let draw = |seed| {
            let mut octets = [0; 21];
            assert!(Clock::Simulated(SimulatedTime::new(seed, 0)).random(&mut octets));
            octets
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        // The published first output for seed 0.
        assert_eq!(draw(0)[..8], 0xe220_a839_7b1d_cdaf_u64.to_le_bytes());
        let mut real = [0; 32];
        assert!(Clock::Real.random(&mut real) && real != [0; 32]);
    }
}
