//! Keys. They are wiped on drop, compare in constant time, and cannot be printed or copied by accident.

use core::hint::black_box;

use subtle::{Choice, ConstantTimeEq};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::hex::{self, HexError};

macro_rules! secret {
    ($(#[$doc:meta])* $name:ident, $octets:literal) => {
        $(#[$doc])*
        #[derive(Zeroize, ZeroizeOnDrop)]
        pub struct $name([u8; $octets]);

        impl $name {
            /// Its length in octets.
            pub const LEN: usize = $octets;

            /// Takes over the octets; wiping the place they came from is the caller's work.
            #[must_use]
            pub fn from_octets(octets: [u8; $octets]) -> Self {
                Self(octets)
            }

            /// Reads it from hex digits.
            ///
            /// # Errors
            /// [`HexError`], which never shows the text.
            pub fn from_hex(text: &str) -> Result<Self, HexError> {
                hex::read(text).map(Self)
            }

            /// The octets, for a cipher or a sealed record and nothing else.
            #[must_use]
            pub fn expose(&self) -> &[u8; $octets] {
                &self.0
            }
        }

        impl ConstantTimeEq for $name {
            fn ct_eq(&self, other: &Self) -> Choice {
                self.0.ct_eq(&other.0)
            }
        }
    };
}

/// Does work with keys, then overwrites `KIB` KiB of the stack below, where it was done: what a cipher or a
/// derivation kept there, and what was moved on from there, is wiped by no drop.
///
/// What `work` answers is moved, so a key in it should lie behind a pointer.
pub fn scrubbed<const KIB: usize, T>(work: impl FnOnce() -> T) -> T {
    let done = below(work);
    overwrite::<KIB>();
    done
}

/// In a frame of its own, so that all of it lies below the caller's.
#[inline(never)]
fn below<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn overwrite<const KIB: usize>() {
    black_box(&mut [[0_u128; 64]; KIB]);
}

secret!(
    /// A traffic key: K_up, K_dn, an EAX' key.
    Key128,
    16
);
secret!(
    /// A key at rest: KEK, DEK.
    Key256,
    32
);
secret!(
    /// PRK_out of an epoch: the next epoch and this one's traffic keys follow from it (§4).
    Prk,
    32
);
secret!(
    /// x of a Diffie-Hellman product, as this process or a token computed it.
    SharedSecret,
    32
);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::{Debug, Display};
    use std::marker::PhantomData;

    #[test]
    fn equal_and_different_keys() {
        let key = Key128::from_octets([7; 16]);
        assert!(bool::from(key.ct_eq(&Key128::from_hex(&"07".repeat(16)).unwrap())));
        for octet in 0..16 {
            let mut other = [7; 16];
            other[octet] ^= 0x80;
            assert!(!bool::from(key.ct_eq(&Key128::from_octets(other))));
        }
    }

    /// Inherent constants win over those of a trait, where their bounds hold.
    struct Probe<T>(PhantomData<T>);
    trait Absent {
        const DEBUG: bool = false;
        const DISPLAY: bool = false;
        const CLONE: bool = false;
    }
    impl<T> Absent for Probe<T> {}
    impl<T: Debug> Probe<T> {
        const DEBUG: bool = true;
    }
    impl<T: Display> Probe<T> {
        const DISPLAY: bool = true;
    }
    impl<T: Clone> Probe<T> {
        const CLONE: bool = true;
    }

    // A key cannot be printed or copied; the first line shows that the probe sees what it should.
    const _: () = {
        assert!(Probe::<u8>::DEBUG && Probe::<u8>::DISPLAY && Probe::<u8>::CLONE);
        assert!(!Probe::<Key128>::DEBUG && !Probe::<Key128>::DISPLAY && !Probe::<Key128>::CLONE);
        assert!(!Probe::<Key256>::DEBUG && !Probe::<Key256>::DISPLAY && !Probe::<Key256>::CLONE);
        assert!(!Probe::<Prk>::DEBUG && !Probe::<Prk>::DISPLAY && !Probe::<Prk>::CLONE);
        assert!(!Probe::<SharedSecret>::DEBUG && !Probe::<SharedSecret>::DISPLAY);
        assert!(!Probe::<SharedSecret>::CLONE);
    };

    #[test]
    fn a_key_is_wiped() {
        let mut key = Key256::from_octets([0xa5; 32]);
        key.zeroize();
        assert_eq!(key.expose(), &[0; 32]);
        assert!(std::mem::needs_drop::<Key256>());
    }
}
