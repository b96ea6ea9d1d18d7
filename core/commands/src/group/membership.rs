//! The version of a membership.

use seal::ids::Dev;
use seal::signature::sha256;

/// Who is a member, in a number: the same for the same members, whatever way they came and went. So desk and
/// signer, who keep books of their own, agree as long as their books do, and again once they do again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Membership(u64);

impl Membership {
    /// Of nobody.
    pub const EMPTY: Self = Self(0);
    /// So many bits: people read it as JSON, whose numbers have no more.
    const BITS: u32 = 53;

    /// A device comes, or goes.
    pub fn change(&mut self, Dev(dev): Dev) {
        let [a, b, c, d, e, f, g, h, ..] = sha256(&dev);
        self.0 ^= u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> (u64::BITS - Self::BITS);
    }

    /// The number: 0 of nobody.
    #[must_use]
    pub fn version(self) -> u64 {
        self.0
    }
}

impl FromIterator<Dev> for Membership {
    fn from_iter<T: IntoIterator<Item = Dev>>(devs: T) -> Self {
        let mut of = Self::EMPTY;
        devs.into_iter().for_each(|dev| of.change(dev));
        of
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn it_is_that_of_the_members_whatever_way_they_came(mut devs: Vec<[u8; 8]>, gone: [u8; 8], at: prop::sample::Index) {
            devs.sort();
            devs.dedup();
            devs.retain(|dev| *dev != gone);
            let of = |devs: &[[u8; 8]]| devs.iter().copied().map(Dev).collect::<Membership>();
            let mut backwards: Membership = devs.iter().rev().copied().map(Dev).collect();
            prop_assert_eq!(backwards, of(&devs));
            prop_assert!(backwards.version() < 1 << 53);
            backwards.change(Dev(gone));
            prop_assert_ne!(backwards, of(&devs));
            backwards.change(Dev(gone));
            prop_assert_eq!(backwards, of(&devs));
            if !devs.is_empty() {
                let mut less = devs.clone();
                less.remove(at.index(devs.len()));
                prop_assert_ne!(of(&less), of(&devs));
            }
        }
    }
}
