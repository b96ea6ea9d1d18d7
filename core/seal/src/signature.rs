//! ES256 (FIPS 186-5) over COSE's `Sig_structure`: who signs and who verifies (security layer §1, §3).
//!
//! A signature is raw `r‖s`. A high `s` is legal: the octets are no identity and no freshness.

use alloc::vec::Vec;
use core::convert::Infallible;

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{self, Signature};
use sha2::{Digest, Sha256};
use signing::ecdsa::signature::hazmat::PrehashSigner;

use crate::edhoc::PublicKey;

#[cfg(not(feature = "std"))]
use p256 as signing;
#[cfg(feature = "std")]
use p256_es256 as signing;

/// Octets of a signature.
pub const SIGNATURE_LEN: usize = 64;

/// `["Signature1", h'a10126', ...`.
const HEAD: [u8; 16] = *b"\x84\x6aSignature1\x43\xa1\x01\x26";

/// SHA-256.
#[must_use]
pub fn sha256(octets: &[u8]) -> [u8; 32] {
    Sha256::digest(octets).into()
}

/// A private key that signs, in memory or in a token that never shows it.
pub trait Signer {
    /// Why a token does not answer.
    type Error;

    /// Signs what has this SHA-256 (a token's `CKM_ECDSA`).
    ///
    /// # Errors
    /// Those of the token.
    fn sign(&self, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], Self::Error>;
}

/// A signing key in memory, wiped on drop: a lab's head-end, an end device.
pub struct SigningKey {
    key: signing::ecdsa::SigningKey,
    public: VerifyingKey,
}

impl SigningKey {
    /// Takes over the octets of a number from 1 to the curve's order - 1; of another there is none.
    /// Wiping the place they came from is the caller's work.
    #[must_use]
    pub fn from_octets(octets: &[u8; 32]) -> Option<Self> {
        let key = signing::ecdsa::SigningKey::from_slice(octets).ok()?;
        let public = VerifyingKey(*ecdsa::SigningKey::from_slice(octets).ok()?.verifying_key());
        Some(Self { key, public })
    }

    /// Its public key.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        self.public
    }
}

impl Signer for SigningKey {
    type Error = Infallible;

    fn sign(&self, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], Infallible> {
        let signed: Result<signing::ecdsa::Signature, _> = self.key.sign_prehash(digest);
        let Ok(signature) = signed else { unreachable!("a digest of 32 octets is long enough for P-256") };
        Ok(signature.to_bytes().into())
    }
}

/// A public key that verifies; a point on the curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyingKey(ecdsa::VerifyingKey);

impl VerifyingKey {
    /// The key with these coordinates, if they are on the curve.
    #[must_use]
    pub fn from_xy(x: &[u8; 32], y: &[u8; 32]) -> Option<Self> {
        let point = PublicKey::from_xy(x, y)?;
        ecdsa::VerifyingKey::from_sec1_bytes(&point.uncompressed()).ok().map(Self)
    }

    /// `04 ‖ x ‖ y` (SEC 1).
    #[must_use]
    pub fn uncompressed(&self) -> [u8; 65] {
        self.0.to_encoded_point(false).as_bytes().try_into().unwrap_or([0; 65])
    }

    /// Whether this is the key's signature of what has this SHA-256.
    #[must_use]
    pub fn verifies(&self, digest: &[u8; 32], signature: &[u8; SIGNATURE_LEN]) -> bool {
        Signature::from_slice(signature)
            .is_ok_and(|signature| self.0.verify_prehash(digest, &signature).is_ok())
    }
}

/// `["Signature1", h'a10126', external_aad, payload]`, what a signature covers.
///
/// `external_aad` has fewer than 24 octets, `payload` fewer than 2^16.
pub(crate) fn structure(external_aad: &[&[u8]], payload: &[u8]) -> Vec<u8> {
    let aad_len: usize = external_aad.iter().map(|part| part.len()).sum();
    debug_assert!(aad_len < 24 && payload.len() <= 0xffff, "longer strings have longer heads");
    let mut octets = Vec::with_capacity(payload.len().saturating_add(48));
    octets.extend(HEAD);
    octets.push(0x40 | aad_len as u8);
    external_aad.iter().for_each(|part| octets.extend_from_slice(part));
    match payload.len() {
        len @ 0..24 => octets.push(0x40 | len as u8),
        len @ 24..0x100 => octets.extend([0x58, len as u8]),
        len => {
            octets.push(0x59);
            octets.extend((len as u16).to_be_bytes());
        }
    }
    octets.extend_from_slice(payload);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_signature_is_that_of_one_key_and_one_text(key in 1..=255_u8, text: Vec<u8>, bit in 0..512_usize) {
            let key = SigningKey::from_octets(&[key; 32]);
            prop_assume!(key.is_some());
            let key = key.unwrap();
            let digest = sha256(&text);
            let Ok(mut signature) = key.sign(&digest);
            prop_assert!(key.verifying_key().verifies(&digest, &signature));
            prop_assert!(!key.verifying_key().verifies(&sha256(&digest), &signature));
            signature[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!key.verifying_key().verifies(&digest, &signature));
        }
    }

    #[test]
    fn a_key_is_on_the_curve() {
        let key = SigningKey::from_octets(&[7; 32]).unwrap().verifying_key();
        let [_, xy @ ..] = key.uncompressed();
        let (x, y) = (xy[..32].try_into().unwrap(), xy[32..].try_into().unwrap());
        assert_eq!(VerifyingKey::from_xy(&x, &y), Some(key));
        assert!(
            VerifyingKey::from_xy(&y, &x).is_none() && VerifyingKey::from_xy(&[0; 32], &[0; 32]).is_none()
        );
        assert!(
            SigningKey::from_octets(&[0; 32]).is_none() && SigningKey::from_octets(&[0xff; 32]).is_none()
        );
    }
}
