//! Credentials: CWT claims sets that hold a public key, in one fixed form. They come from a signed
//! manifest; a message names one by its `kid` and never carries one.

use alloc::vec::Vec;
use core::slice;

use super::PublicKey;
use crate::derivation::byte_string;
use crate::ids::Dev;

/// `{8: {1: {1: 2, 2: kid, -1: 1, -2: x, -3: y}}}`: cnf, COSE_Key, EC2 on P-256.
const CCS: [u8; 8] = [0xa1, 0x08, 0xa1, 0x01, 0xa5, 0x01, 0x02, 0x02];
const X: [u8; 5] = [0x20, 0x01, 0x21, 0x58, 32];
const Y: [u8; 3] = [0x22, 0x58, 32];
/// `{4: kid}`.
const ID_CRED: [u8; 2] = [0xa1, 0x04];

/// Octets that are not the credential of a party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialError {
    /// Not the fixed form of a CCS.
    #[error("a credential is a CCS of the form a1 08 a1 01 a5 01 02 02 kid 20 01 21 x 22 y")]
    Form,
    /// A `kid` that such a party cannot have.
    #[error("the credential's kid is not one of this kind of party")]
    Kid,
    /// Coordinates of no point.
    #[error("the credential's point is not on the curve")]
    Point,
}

/// What names a credential: all that is sent of it.
pub trait Kid: Copy {
    /// The name in these octets, if they are one.
    fn from_octets(octets: &[u8]) -> Option<Self>;
    /// Its octets, fewer than 24.
    fn octets(&self) -> &[u8];
}

/// An end device is named by its `dev`.
impl Kid for Dev {
    fn from_octets(octets: &[u8]) -> Option<Self> {
        octets.try_into().ok().map(Self)
    }

    fn octets(&self) -> &[u8] {
        &self.0
    }
}

/// The name of a head-end's credential: one octet that is also a CBOR integer, and so is sent as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HeadEndKid(u8);

impl HeadEndKid {
    /// The name, if it is one of 00..17 or 20..37.
    #[must_use]
    pub fn new(octet: u8) -> Option<Self> {
        matches!(octet, 0x00..=0x17 | 0x20..=0x37).then_some(Self(octet))
    }

    /// The octet.
    #[must_use]
    pub fn octet(self) -> u8 {
        self.0
    }
}

impl Kid for HeadEndKid {
    fn from_octets(octets: &[u8]) -> Option<Self> {
        <[u8; 1]>::try_from(octets).ok().and_then(|[octet]| Self::new(octet))
    }

    fn octets(&self) -> &[u8] {
        slice::from_ref(&self.0)
    }
}

/// A party's name and static public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credential<K> {
    /// The name.
    pub kid: K,
    /// The static Diffie-Hellman key.
    pub key: PublicKey,
}

/// The credential of an end device.
pub type DeviceCredential = Credential<Dev>;
/// The credential of a head-end.
pub type HeadEndCredential = Credential<HeadEndKid>;

impl<K: Kid> Credential<K> {
    /// Reads the CCS, in its fixed form only.
    ///
    /// # Errors
    /// [`CredentialError`].
    pub fn read(ccs: &[u8]) -> Result<Self, CredentialError> {
        let (kid, x, y) = fields(ccs).ok_or(CredentialError::Form)?;
        let (head, kid) = kid.split_first().ok_or(CredentialError::Form)?;
        if head >> 5 != 2 || usize::from(head & 0x1f) != kid.len() {
            return Err(CredentialError::Form);
        }
        let kid = K::from_octets(kid).ok_or(CredentialError::Kid)?;
        let key = PublicKey::from_xy(x, y).ok_or(CredentialError::Point)?;
        Ok(Self { kid, key })
    }

    /// The CCS, whose octets both sides' transcripts hold.
    #[must_use]
    pub fn octets(&self) -> Vec<u8> {
        let kid = self.kid.octets();
        [&CCS[..], &[byte_string(kid)], kid, &X, &self.key.x(), &Y, &self.key.y()].concat()
    }

    /// ID_CRED: `{4: kid}`.
    pub(super) fn id(&self) -> Vec<u8> {
        let kid = self.kid.octets();
        [&ID_CRED[..], &[byte_string(kid)], kid].concat()
    }
}

/// The `kid` with its head, x and y.
fn fields(ccs: &[u8]) -> Option<(&[u8], &[u8; 32], &[u8; 32])> {
    let (rest, y) = ccs.strip_prefix(&CCS)?.split_last_chunk::<32>()?;
    let (rest, x) = rest.strip_suffix(&Y)?.split_last_chunk::<32>()?;
    Some((rest.strip_suffix(&X)?, x, y))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edhoc::PrivateKey;
    use proptest::prelude::*;

    fn key() -> PublicKey {
        PrivateKey::from_octets(&[7; 32]).unwrap().public_key()
    }

    #[test]
    fn the_fixed_form_reads_back_and_every_other_octet_is_refused() {
        let device = Credential { kid: Dev([0xd1; 8]), key: key() };
        let head_end = Credential { kid: HeadEndKid::new(0x11).unwrap(), key: key() };
        assert_eq!((device.octets().len(), head_end.octets().len()), (89, 82));
        assert_eq!(Credential::read(&device.octets()), Ok(device));
        assert_eq!(Credential::read(&head_end.octets()), Ok(head_end));
        assert_eq!(head_end.id(), [0xa1, 0x04, 0x41, 0x11]);
        for at in (0..82).filter(|at| *at != 9) {
            let mut octets = head_end.octets();
            octets[at] ^= 1;
            let expected =
                if matches!(at, 15..47 | 50..) { CredentialError::Point } else { CredentialError::Form };
            assert_eq!(HeadEndCredential::read(&octets), Err(expected), "{at}");
        }
    }

    #[test]
    fn a_kid_is_of_its_party() {
        let head_end = Credential { kid: HeadEndKid::new(0x11).unwrap(), key: key() };
        assert_eq!(DeviceCredential::read(&head_end.octets()), Err(CredentialError::Kid));
        let mut octets = head_end.octets();
        octets[9] = 0x18;
        assert_eq!(HeadEndCredential::read(&octets), Err(CredentialError::Kid));
        let kids = (0..=255).filter(|octet| HeadEndKid::new(*octet).is_some());
        assert_eq!(kids.count(), 48);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(mut octets: Vec<u8>, framed: bool) {
            if framed {
                octets = [&CCS[..], &octets, &X, &key().x(), &Y, &key().y()].concat();
            }
            if let Ok(credential) = DeviceCredential::read(&octets) {
                prop_assert_eq!(credential.octets(), octets);
            }
        }
    }
}
