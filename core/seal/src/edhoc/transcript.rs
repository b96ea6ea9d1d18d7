//! Transcript hashes and the chain of keys over them (RFC 9528 §4), apart from any form of messages.

use alloc::vec::Vec;

use aes::Aes128Enc;
use ccm::aead::{AeadInPlace, KeyInit};
use ccm::consts::{U8, U13};
use ccm::{Ccm, Tag};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::Refusal;
use super::cbor::{write_bytes, write_unsigned};
use crate::derivation::{self, Expander};
use crate::secret::{Key128, Prk, SharedSecret};

/// Octets of MAC_2, MAC_3 and of the tags of message_3 and message_4.
pub(super) const MAC_LEN: usize = 8;

/// A MAC or tag.
pub(super) type Mac = [u8; MAC_LEN];
/// A hash of messages: TH_2, TH_3, TH_4 or H(message_1).
pub(super) type Hash = [u8; 32];

/// CBOR's head of a byte string of 32 octets.
const HASH: [u8; 2] = [0x58, 32];

/// SHA-256 of the parts one after the other.
pub(super) fn hash(parts: &[&[u8]]) -> Hash {
    parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize().into()
}

/// TH_2, of G_Y and H(message_1).
pub(super) fn th_2(g_y: &[u8; 32], message_1: &Hash) -> Hash {
    hash(&[&HASH, g_y, &HASH, message_1])
}

/// TH_3 or TH_4, of the transcript so far, the plaintext of a message and its sender's credential.
pub(super) fn th_next(th: &Hash, plaintext: &[u8], credential: &[u8]) -> Hash {
    hash(&[&HASH, th, plaintext, credential])
}

/// What a MAC covers: `C_R` (in MAC_2 only), ID_CRED, TH, CRED, EAD.
pub(super) struct MacContext<'a> {
    /// C_R as it stands in the plaintext; empty in MAC_3.
    pub c_r: &'a [u8],
    /// ID_CRED, not shortened.
    pub id: &'a [u8],
    /// TH_2 or TH_3.
    pub th: &'a Hash,
    /// The CCS.
    pub credential: &'a [u8],
    /// EAD_2 or EAD_3, which our messages do not have.
    pub ead: &'a [u8],
}

/// PRK_2e, PRK_3e2m or PRK_4e3m, wiped on drop.
pub(super) struct Chain(pub(super) Zeroizing<[u8; 32]>);

impl Chain {
    /// PRK_2e.
    pub(super) fn begin(th_2: &Hash, g_xy: &SharedSecret) -> Self {
        Self(derivation::extract(th_2, g_xy.expose()))
    }

    /// PRK_3e2m, of PRK_2e and the responder's static key.
    pub(super) fn with_responder(&self, th_2: &Hash, g_rx: &SharedSecret) -> Self {
        self.extend(1, th_2, g_rx)
    }

    /// PRK_4e3m, of PRK_3e2m and the initiator's static key.
    pub(super) fn with_initiator(&self, th_3: &Hash, g_iy: &SharedSecret) -> Self {
        self.extend(5, th_3, g_iy)
    }

    /// PLAINTEXT_2 from CIPHERTEXT_2 or back, under PRK_2e.
    pub(super) fn mask_2(&self, th_2: &Hash, text: &mut [u8]) {
        let mut keystream = Zeroizing::new(alloc::vec![0; text.len()]);
        self.expand(0, &[th_2], &mut keystream);
        text.iter_mut().zip(keystream.iter()).for_each(|(octet, mask)| *octet ^= mask);
    }

    /// MAC_2, under PRK_3e2m.
    pub(super) fn mac_2(&self, context: &MacContext<'_>) -> Mac {
        self.mac(2, context)
    }

    /// MAC_3, under PRK_4e3m.
    pub(super) fn mac_3(&self, context: &MacContext<'_>) -> Mac {
        self.mac(6, context)
    }

    /// Seals the plaintext of message_3 in place, under PRK_3e2m.
    pub(super) fn seal_3(&self, th_3: &Hash, text: &mut [u8]) -> Mac {
        self.seal(3, th_3, text)
    }

    /// Opens the ciphertext of message_3 in place, under PRK_3e2m.
    pub(super) fn open_3(&self, th_3: &Hash, text: &mut [u8], tag: &Mac) -> Result<(), Refusal> {
        self.open(3, th_3, text, tag)
    }

    /// Seals the plaintext of message_4 in place, under PRK_4e3m.
    pub(super) fn seal_4(&self, th_4: &Hash, text: &mut [u8]) -> Mac {
        self.seal(8, th_4, text)
    }

    /// Opens the ciphertext of message_4 in place, under PRK_4e3m.
    pub(super) fn open_4(&self, th_4: &Hash, text: &mut [u8], tag: &Mac) -> Result<(), Refusal> {
        self.open(8, th_4, text, tag)
    }

    /// PRK_out, of PRK_4e3m.
    pub(super) fn out(&self, th_4: &Hash) -> Prk {
        Prk::from_octets(*self.derive(7, th_4))
    }

    fn extend(&self, label: u8, th: &Hash, shared: &SharedSecret) -> Self {
        let salt: Zeroizing<[u8; 32]> = self.derive(label, th);
        Self(derivation::extract(salt.as_slice(), shared.expose()))
    }

    fn mac(&self, label: u8, context: &MacContext<'_>) -> Mac {
        let MacContext { c_r, id, th, credential, ead } = context;
        let mut mac = Mac::default();
        self.expand(label, &[c_r, id, &HASH, *th, credential, ead], &mut mac);
        mac
    }

    fn seal(&self, label: u8, th: &Hash, text: &mut [u8]) -> Mac {
        let (cipher, nonce) = self.cipher(label, th);
        let sealed = cipher.encrypt_in_place_detached(&nonce.into(), &enc_structure(th), text);
        let Ok(tag) = sealed else { unreachable!("CCM refuses nothing but a text of over 65,535 octets") };
        tag.into()
    }

    fn open(&self, label: u8, th: &Hash, text: &mut [u8], tag: &Mac) -> Result<(), Refusal> {
        let (cipher, nonce) = self.cipher(label, th);
        cipher
            .decrypt_in_place_detached(&nonce.into(), &enc_structure(th), text, &Tag::from(*tag))
            .map_err(|_| Refusal::Mac)
    }

    /// AES-CCM-16-64-128 under the key of this label and the nonce of the next.
    fn cipher(&self, label: u8, th: &Hash) -> (Ccm<Aes128Enc, U8, U13>, [u8; 13]) {
        let key = Key128::from_octets(*self.derive(label, th));
        (Ccm::new(key.expose().into()), *self.derive(label + 1, th))
    }

    pub(super) fn derive<const N: usize>(&self, label: u8, th: &Hash) -> Zeroizing<[u8; N]> {
        let mut octets = Zeroizing::new([0; N]);
        self.expand(label, &[th], octets.as_mut_slice());
        octets
    }

    /// EDHOC_KDF: `info` is the CBOR sequence `label, context, length`.
    fn expand(&self, label: u8, context: &[&[u8]], out: &mut [u8]) {
        let mut info = Vec::new();
        write_unsigned(&mut info, label.into());
        write_bytes(&mut info, context);
        write_unsigned(&mut info, out.len() as u16);
        Expander::from_prk(&self.0).fill(&[&info], out);
    }
}

/// Whether two MACs are equal, in a time that does not tell where they differ.
pub(super) fn verify(computed: &Mac, received: &Mac) -> Result<(), Refusal> {
    if bool::from(computed.ct_eq(received)) { Ok(()) } else { Err(Refusal::Mac) }
}

/// `["Encrypt0", h'', TH]`.
pub(super) fn enc_structure(th: &Hash) -> Vec<u8> {
    [&b"\x83\x68Encrypt0\x40"[..], &HASH, th].concat()
}
