//! Who an end device is: what it was made with, and never changes.

use c1222::ApTitleBuf;
use seal::at_rest::Dek;
use seal::edhoc::{Credential, DeviceCredential, HeadEndCredential, PrivateKey};
use seal::ids::{Dev, System};
use seal::receiver::Signers;
use seal::secret::Key256;
use seal::signature::{SigningKey, sha256};
use zeroize::Zeroizing;

/// What an identity is made from.
pub struct Provisioned {
    /// The device.
    pub dev: Dev,
    /// Its serial number.
    pub esn: String,
    /// The address that it ships with.
    pub title: ApTitleBuf,
    /// The installation.
    pub system: System,
    /// The head-end's address.
    pub head_end: ApTitleBuf,
    /// The head-end's credential of the day it was made.
    pub credential: HeadEndCredential,
    /// The root's and the commands' public keys of that day.
    pub signers: Signers,
    /// Its static Diffie-Hellman key.
    pub agreement: Zeroizing<[u8; 32]>,
    /// Its own signing key.
    pub signing: Zeroizing<[u8; 32]>,
}

/// Who an end device is. What the head-end tells it later (a title, signers, a credential) is in its state.
pub struct Identity {
    /// The device.
    pub dev: Dev,
    /// Its serial number.
    pub esn: String,
    /// The address that it ships with.
    pub title: ApTitleBuf,
    /// The installation.
    pub system: System,
    /// The head-end's address.
    pub head_end: ApTitleBuf,
    pub(super) credential: HeadEndCredential,
    pub(super) signers: Signers,
    pub(super) agreement: PrivateKey,
    pub(super) own: DeviceCredential,
    pub(super) signing: SigningKey,
    /// Seals the saved state.
    pub(super) storage: Dek,
}

impl Identity {
    /// The identity; `None` when one of the two private keys is none of the curve's.
    #[must_use]
    pub fn new(made: Provisioned) -> Option<Self> {
        let agreement = PrivateKey::from_octets(&made.agreement)?;
        let signing = SigningKey::from_octets(&made.signing)?;
        let own = Credential { kid: made.dev, key: agreement.public_key() };
        // A part has a storage key fused in; here it hangs on the two keys that stand beside it.
        let parts: Zeroizing<Vec<u8>> =
            Zeroizing::new([&b"end device storage"[..], &*made.agreement, &*made.signing].concat());
        let storage = Key256::from_octets(*Zeroizing::new(sha256(&parts)));
        Some(Self {
            dev: made.dev,
            esn: made.esn,
            title: made.title,
            system: made.system,
            head_end: made.head_end,
            credential: made.credential,
            signers: made.signers,
            agreement,
            own,
            signing,
            storage: Dek::new(&storage),
        })
    }

    /// The credential that the head-end must know of it.
    #[must_use]
    pub fn credential(&self) -> &DeviceCredential {
        &self.own
    }

    /// The key that verifies its class-3 results.
    #[must_use]
    pub fn verifying_key(&self) -> seal::signature::VerifyingKey {
        self.signing.verifying_key()
    }
}
