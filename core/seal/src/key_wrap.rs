//! AES key wrap (RFC 3394): how a KEK keeps a DEK. A KEK does this and nothing else.

use aes::Aes256;
use aes::cipher::consts::U16;
use aes::cipher::{BlockDecrypt, BlockEncrypt, BlockSizeUser, KeyInit};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

use crate::secret::Key256;

/// Octets of a wrapped [`Key256`].
pub const WRAPPED_LEN: usize = Key256::LEN + 8;

const IV: [u8; 8] = [0xa6; 8];

/// The KEK or the wrapped key is not the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the wrapped key does not open under this key-encryption key")]
pub struct Unopened;

/// Wraps `dek` under `kek`.
#[must_use]
pub fn wrap(kek: &Key256, dek: &Key256) -> [u8; WRAPPED_LEN] {
    let mut wrapped = [0; WRAPPED_LEN];
    if let Some((check, key)) = wrapped.split_first_chunk_mut() {
        key.copy_from_slice(dek.expose());
        *check = wrap_in_place(&Aes256::new(kek.expose().into()), key);
    }
    wrapped
}

/// Unwraps what [`wrap`] made.
///
/// # Errors
/// [`Unopened`] when it was made under another KEK, or changed since.
pub fn unwrap(kek: &Key256, wrapped: &[u8; WRAPPED_LEN]) -> Result<Key256, Unopened> {
    let (check, key) = wrapped.split_first_chunk().ok_or(Unopened)?;
    let mut key = <[u8; Key256::LEN]>::try_from(key).map_err(|_| Unopened)?;
    let opened = unwrap_in_place(&Aes256::new(kek.expose().into()), *check, &mut key);
    let dek = opened.then(|| Key256::from_octets(key)).ok_or(Unopened);
    key.zeroize();
    dek
}

/// The six rounds over whole semiblocks of eight octets; the answer stands before them.
pub(crate) fn wrap_in_place<C>(cipher: &C, key: &mut [u8]) -> [u8; 8]
where
    C: BlockEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let mut check = u64::from_be_bytes(IV);
    let mut step = 0_u64;
    for _ in 0..6 {
        for semiblock in key.as_chunks_mut::<8>().0 {
            let mut block = join(check, *semiblock).into();
            cipher.encrypt_block(&mut block);
            step = step.wrapping_add(1);
            let (first, second) = split(block.into());
            (check, *semiblock) = (first ^ step, second);
        }
    }
    check.to_be_bytes()
}

/// The six rounds backwards; whether the check came out right.
pub(crate) fn unwrap_in_place<C>(cipher: &C, check: [u8; 8], key: &mut [u8]) -> bool
where
    C: BlockDecrypt + BlockSizeUser<BlockSize = U16>,
{
    let mut check = u64::from_be_bytes(check);
    let semiblocks = key.as_chunks_mut::<8>().0;
    let mut step = 6_u64.wrapping_mul(semiblocks.len() as u64);
    for _ in 0..6 {
        for semiblock in semiblocks.iter_mut().rev() {
            let mut block = join(check ^ step, *semiblock).into();
            cipher.decrypt_block(&mut block);
            step = step.wrapping_sub(1);
            (check, *semiblock) = split(block.into());
        }
    }
    check.to_be_bytes().ct_eq(&IV).into()
}

fn join(first: u64, second: [u8; 8]) -> [u8; 16] {
    ((u128::from(first) << 64) | u128::from(u64::from_be_bytes(second))).to_be_bytes()
}

fn split(block: [u8; 16]) -> (u64, [u8; 8]) {
    let block = u128::from_be_bytes(block);
    ((block >> 64) as u64, (block as u64).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn keys_unwrap_and_any_flipped_bit_is_refused(
            kek: [u8; 32], dek: [u8; 32], octet in 0..WRAPPED_LEN, bit in 0..8_u8,
        ) {
            let kek = Key256::from_octets(kek);
            let mut wrapped = wrap(&kek, &Key256::from_octets(dek));
            prop_assert_eq!(unwrap(&kek, &wrapped).map(|dek| *dek.expose()), Ok(dek));
            wrapped[octet] ^= 1 << bit;
            prop_assert_eq!(unwrap(&kek, &wrapped).err(), Some(Unopened));
        }
    }
}
