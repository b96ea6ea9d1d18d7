//! The key of a link, which leaves no trace.

use core::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

/// Octets of an AES-128 key.
pub const LINK_KEY_LEN: usize = 16;

/// An AES-128 key of the link layer. It is wiped when dropped, cannot be copied and prints as nothing.
pub struct LinkKey([u8; LINK_KEY_LEN]);

impl LinkKey {
    /// Takes the key over and wipes what it was taken from.
    #[must_use]
    pub fn take(octets: &mut [u8; LINK_KEY_LEN]) -> Self {
        let key = Self(*octets);
        octets.zeroize();
        key
    }

    /// The key itself, for the cipher and the serial line only.
    #[must_use]
    pub const fn octets(&self) -> &[u8; LINK_KEY_LEN] {
        &self.0
    }
}

impl Drop for LinkKey {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for LinkKey {}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(..)")
    }
}

impl PartialEq for LinkKey {
    /// Compares every octet, whatever the first ones are.
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(&other.0).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

impl Eq for LinkKey {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_prints_as_nothing_and_wipes_its_source() {
        let mut octets = [0xA5; LINK_KEY_LEN];
        let key = LinkKey::take(&mut octets);
        assert_eq!(octets, [0; LINK_KEY_LEN]);
        assert_eq!(key.octets(), &[0xA5; LINK_KEY_LEN]);
        assert_eq!(format!("{key:?} {key:#?}"), "LinkKey(..) LinkKey(..)");
    }

    #[test]
    fn a_key_is_wiped_when_dropped() {
        fn wiped<T: ZeroizeOnDrop>(_: &T) {}
        wiped(&LinkKey::take(&mut [1; LINK_KEY_LEN]));
        assert!(core::mem::needs_drop::<LinkKey>());
    }

    #[test]
    fn keys_differ_in_any_octet() {
        let first = LinkKey::take(&mut [7; LINK_KEY_LEN]);
        assert_eq!(first, LinkKey::take(&mut [7; LINK_KEY_LEN]));
        for at in 0..LINK_KEY_LEN {
            let mut octets = [7; LINK_KEY_LEN];
            octets[at] ^= 0x80;
            assert_ne!(first, LinkKey::take(&mut octets));
        }
    }
}
