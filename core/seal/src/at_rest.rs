//! Records at rest: AES-256-CCM, tag 16, random nonce 13 (security layer §1, §4).
//!
//! A sealed record is `nonce ‖ ciphertext ‖ tag`. The additional data says which record it is (table,
//! sid, dev, version), so that one cannot be put in the place of another.

use alloc::vec::Vec;

use aes::Aes256Enc;
use ccm::aead::{AeadInPlace, KeyInit};
use ccm::consts::{U13, U16};
use ccm::{Ccm, Tag};

use crate::secret::Key256;

/// Octets of the nonce.
pub const NONCE_LEN: usize = 13;
/// Octets of the tag.
pub const TAG_LEN: usize = 16;
/// What sealing adds to a record.
pub const OVERHEAD: usize = NONCE_LEN + TAG_LEN;
/// The longest record: CCM with this nonce counts its octets in sixteen bits.
pub const RECORD_MAX: usize = 0xffff;

/// Why a record could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AtRestError {
    /// Longer than [`RECORD_MAX`].
    #[error("a record of {0} octets is too long to be sealed; the limit is {RECORD_MAX}")]
    TooLong(usize),
    /// Changed, cut, moved from another place, or sealed under another key.
    #[error("the record does not open under this data-encryption key")]
    Unopened,
}

/// A data-encryption key, expanded.
pub struct Dek {
    cipher: Ccm<Aes256Enc, U16, U13>,
}

impl Dek {
    /// Expands a key.
    #[must_use]
    pub fn new(key: &Key256) -> Self {
        Self { cipher: Ccm::new(key.expose().into()) }
    }

    /// Appends the sealed record to `out`. The nonce is random, never used before under this key.
    ///
    /// # Errors
    /// [`AtRestError::TooLong`]; then `out` is as before.
    pub fn seal(
        &self,
        nonce: [u8; NONCE_LEN],
        about: &[u8],
        record: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), AtRestError> {
        let too_long = AtRestError::TooLong(record.len());
        if record.len() > RECORD_MAX {
            return Err(too_long);
        }
        out.extend_from_slice(&nonce);
        let start = out.len();
        out.extend_from_slice(record);
        let text = out.get_mut(start..).unwrap_or_default();
        let tag = self.cipher.encrypt_in_place_detached(&nonce.into(), about, text).map_err(|_| too_long)?;
        out.extend_from_slice(&tag);
        Ok(())
    }

    /// Opens a sealed record in place and answers the record's octets.
    ///
    /// # Errors
    /// [`AtRestError::Unopened`]; then the ciphertext is wiped.
    pub fn open<'r>(&self, about: &[u8], sealed: &'r mut [u8]) -> Result<&'r mut [u8], AtRestError> {
        let (nonce, rest) = sealed.split_first_chunk_mut::<NONCE_LEN>().ok_or(AtRestError::Unopened)?;
        let (record, tag) = rest.split_last_chunk_mut::<TAG_LEN>().ok_or(AtRestError::Unopened)?;
        let tag = Tag::from(*tag);
        self.cipher
            .decrypt_in_place_detached(&(*nonce).into(), about, record, &tag)
            .map_err(|_| AtRestError::Unopened)?;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn records_read_back_and_any_flipped_bit_is_refused(
            key: [u8; 32], nonce: [u8; 13], about: Vec<u8>, record: Vec<u8>, flip: prop::sample::Index, bit in 0..8_u8,
        ) {
            let dek = Dek::new(&Key256::from_octets(key));
            let mut sealed = vec![1, 2];
            dek.seal(nonce, &about, &record, &mut sealed).unwrap();
            prop_assert_eq!(sealed.len(), 2 + record.len() + OVERHEAD);
            let sealed = &mut sealed[2..];
            let mut copy = sealed.to_vec();
            prop_assert_eq!(&*dek.open(&about, &mut copy).unwrap(), &record);
            let elsewhere = [&about[..], &[0]].concat();
            let mut copy = sealed.to_vec();
            prop_assert_eq!(dek.open(&elsewhere, &mut copy), Err(AtRestError::Unopened));
            sealed[flip.index(record.len() + OVERHEAD)] ^= 1 << bit;
            prop_assert_eq!(dek.open(&about, sealed), Err(AtRestError::Unopened));
        }
    }

    #[test]
    fn lengths_have_limits() {
        let dek = Dek::new(&Key256::from_octets([7; 32]));
        let mut out = vec![9];
        let long = vec![0; RECORD_MAX + 1];
        assert_eq!(dek.seal([0; 13], &[], &long, &mut out), Err(AtRestError::TooLong(RECORD_MAX + 1)));
        assert_eq!(out, [9]);
        assert_eq!(dek.seal([0; 13], &[], &long[1..], &mut out), Ok(()));
        assert_eq!(dek.open(&[], &mut out[1..]).map(|record| record.len()), Ok(RECORD_MAX));
        for len in 0..OVERHEAD {
            assert_eq!(dek.open(&[], &mut vec![0; len]), Err(AtRestError::Unopened));
        }
    }
}
