//! What profile 1 takes from OSCORE: key derivation (RFC 8613 §3.2) and the nonce (§5.2).

use crate::derivation::{Expander, byte_string};

/// Octets of a nonce and of a Common IV.
pub const NONCE_LEN: usize = 13;

/// A Common IV: with a sender's id and counter it gives the nonce.
pub type CommonIv = [u8; NONCE_LEN];

/// Master secret and salt of a security context; keys and the Common IV expand from it.
pub struct Context<'a> {
    expander: Expander,
    id_context: Option<&'a [u8]>,
}

impl<'a> Context<'a> {
    /// A context; `id_context` has fewer than 24 octets.
    #[must_use]
    pub fn new(secret: &[u8; 16], salt: &[u8], id_context: Option<&'a [u8]>) -> Self {
        Self { expander: Expander::extract(salt, secret), id_context }
    }

    /// The key of the sender with this id, which has at most 7 octets.
    #[must_use]
    pub fn key(&self, id: &[u8]) -> [u8; 16] {
        self.expand(id, b"\x63Key")
    }

    /// The Common IV.
    #[must_use]
    pub fn common_iv(&self) -> CommonIv {
        self.expand(&[], b"\x62IV")
    }

    /// `info` is the CBOR array `[id, id_context, 10 (AES-CCM-16-64-128), kind, N]`.
    fn expand<const N: usize>(&self, id: &[u8], kind: &[u8]) -> [u8; N] {
        const { assert!(N < 24, "the length is one octet of CBOR") }
        let context_head = self.id_context.map_or(0xf6, byte_string);
        self.expander.expand(&[
            &[0x85, byte_string(id)],
            id,
            &[context_head],
            self.id_context.unwrap_or_default(),
            &[0x0a],
            kind,
            &[N as u8],
        ])
    }
}

/// Common IV XOR (length of the sender's id 1 ‖ the id left-padded to 7 ‖ partial IV 5).
///
/// The id and the partial IV (the counter) are numbers below 2^56 and 2^40.
#[must_use]
pub fn nonce(common_iv: &CommonIv, id_len: u8, id: u64, partial_iv: u64) -> [u8; NONCE_LEN] {
    let [_, _, _, nonce @ ..] = nonce_number(common_iv, id_len, id, partial_iv).to_be_bytes();
    nonce
}

/// [`nonce`] as a number of 104 bits.
#[inline]
pub(crate) fn nonce_number(common_iv: &CommonIv, id_len: u8, id: u64, partial_iv: u64) -> u128 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m] = *common_iv;
    let common_iv = u128::from_be_bytes([0, 0, 0, a, b, c, d, e, f, g, h, i, j, k, l, m]);
    common_iv ^ (u128::from(id_len) << 96) ^ (u128::from(id) << 40) ^ u128::from(partial_iv)
}
