//! From PRK_out of an epoch to its traffic keys, and to the next epoch (security layer §4).

use zeroize::Zeroizing;

use crate::derivation::{Expander, byte_string};
use crate::ids::{Epoch, Sid};
use crate::oscore::{self, CommonIv};
use crate::secret::{Key128, Prk};

/// The id of the head-end as a sender: `C_I`, always 00.
const HEAD_END: [u8; 1] = [0];

/// The traffic keys of one association in one epoch.
pub struct AssociationKeys {
    /// K_up: frames of types 1 and 5.
    pub up: Key128,
    /// K_dn: frames of types 2 and 4.
    pub dn: Key128,
    /// With the sender's id and counter it gives the nonce, both ways.
    pub common_iv: CommonIv,
}

/// PRK_out → EDHOC exporter 0 and 1 → OSCORE → K_up, K_dn, Common_IV.
#[must_use]
pub fn derive(prk: &Prk, sid: Sid) -> AssociationKeys {
    let exporter = Zeroizing::new(edhoc_kdf(&Expander::from_prk(prk.expose()), 10, &[]));
    let exporter = Expander::from_prk(&exporter);
    let secret = Zeroizing::new(edhoc_kdf(&exporter, 0, &[]));
    let salt: Zeroizing<[u8; 8]> = Zeroizing::new(edhoc_kdf(&exporter, 1, &[]));
    let context = oscore::Context::new(&secret, salt.as_slice(), None);
    AssociationKeys {
        up: Key128::from_octets(context.key(&sid.0.to_be_bytes())),
        dn: Key128::from_octets(context.key(&HEAD_END)),
        common_iv: context.common_iv(),
    }
}

/// EDHOC_KeyUpdate: PRK_out of epoch `to` from that of the epoch before. There is no way back.
#[must_use]
pub fn advance(prk: &Prk, to: Epoch) -> Prk {
    Prk::from_octets(edhoc_kdf(&Expander::from_prk(prk.expose()), 11, &to.0.to_be_bytes()))
}

/// EDHOC_KDF (RFC 9528 §4.1.2): `info` is the CBOR sequence `label, context, N`.
///
/// `label` is below 24, `context` has fewer than 24 octets.
pub(crate) fn edhoc_kdf<const N: usize>(prk: &Expander, label: u8, context: &[u8]) -> [u8; N] {
    const { assert!(N < 256, "the length is at most two octets of CBOR") }
    let length: &[u8] = if N < 24 { &[N as u8] } else { &[0x18, N as u8] };
    prk.expand(&[&[label, byte_string(context)], context, length])
}
