//! HKDF-SHA-256 (RFC 5869) for the fixed lengths that the key schedule asks for.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, Zeroizing};

/// The pseudorandom key of a secret that is not uniform yet, to be kept.
pub(crate) fn extract(salt: &[u8], secret: &[u8]) -> Zeroizing<[u8; 32]> {
    let (mut prk, _) = Hkdf::<Sha256>::extract(Some(salt), secret);
    let kept = Zeroizing::new(prk.into());
    prk.as_mut_slice().zeroize();
    kept
}

/// A pseudorandom key, ready to expand.
pub(crate) struct Expander(Hkdf<Sha256>);

impl Expander {
    /// Starts from a secret that is not uniform yet.
    pub(crate) fn extract(salt: &[u8], secret: &[u8]) -> Self {
        Self(Hkdf::new(Some(salt), secret))
    }

    /// Starts from a pseudorandom key.
    pub(crate) fn from_prk(prk: &[u8; 32]) -> Self {
        let Ok(hkdf) = Hkdf::from_prk(prk) else { unreachable!("32 octets are as long as the hash") };
        Self(hkdf)
    }

    /// Expands `N` octets for the concatenation of `info`.
    pub(crate) fn expand<const N: usize>(&self, info: &[&[u8]]) -> [u8; N] {
        const { assert!(N <= 255 * 32, "HKDF-SHA-256 gives no more") }
        let mut octets = [0; N];
        self.fill(info, &mut octets);
        octets
    }

    /// Fills at most 255 * 32 octets for the concatenation of `info`.
    pub(crate) fn fill(&self, info: &[&[u8]], octets: &mut [u8]) {
        let expanded = self.0.expand_multi_info(info, octets);
        assert!(expanded.is_ok(), "HKDF-SHA-256 refuses nothing but a longer output");
    }
}

/// CBOR's head of a byte string shorter than 24 octets.
pub(crate) fn byte_string(octets: &[u8]) -> u8 {
    debug_assert!(octets.len() < 24, "a longer byte string has a longer head");
    0x40 | octets.len() as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_in_agree() {
        let (prk, _) = Hkdf::<Sha256>::extract(Some(b"salt"), b"secret");
        let extracted: [u8; 42] = Expander::extract(b"salt", b"secret").expand(&[b"in", b"fo"]);
        assert_eq!(extracted, Expander::from_prk(&prk.into()).expand(&[b"info"]));
        assert_eq!(extracted, Expander::from_prk(&extract(b"salt", b"secret")).expand(&[b"info"]));
    }
}
