//! Keys in tokens: who holds which, and what may be done with each (security layer §4).
//!
//! ```text
//! signer     SK_cmd[skid]                signs commands
//! registrar  SK_reg                      multiplies ephemeral points of registrations
//! audit log  SK_audit                    signs checkpoints
//! key store  KEK, incarnation            wraps and unwraps data keys; fences copies of the installation
//! ```
//!
//! Each holder has a token of its own and logs in by itself. Two providers stand behind [`Token`]: files of
//! this machine, for labs, and PKCS#11. Neither shows a private key; what leaves a token is a signature, x of
//! a product, a data key. `tokens.toml` in the key store's folder ([`Config`]) says where each token is.

mod backup;
pub mod ceremony;
mod config;
mod error;
mod file;
pub(crate) mod kek;
mod object;
mod pin;
mod pkcs11;
mod provider;
mod sealed;
mod software;

use std::path::Path;
use std::sync::Arc;

use seal::edhoc::{Agreement, PublicKey};
use seal::key_wrap::WRAPPED_LEN;
use seal::secret::{Key256, SharedSecret};
use seal::signature::{SIGNATURE_LEN, Signer, VerifyingKey};

pub use config::{Config, HolderConfig, TOKENS_FILE};
pub use error::TokenError;
pub(crate) use file::write as write_file;
pub use object::{Holder, Object};
pub use pin::PinSource;
use provider::Provider;
pub use provider::{Incarnation, Restores};

/// The token of one holder, logged in and tested.
pub struct Token {
    holder: Holder,
    provider: Arc<dyn Provider>,
}

/// Opens the token of one holder, as `tokens.toml` in the key store's folder says, and tests it.
///
/// # Errors
/// [`TokenError`]: among them [`TokenError::Violation`] where an object is not protected as it must be.
pub fn open(folder: &Path, holder: Holder) -> Result<Token, TokenError> {
    Config::read(folder)?.open(holder)
}

impl Token {
    pub(crate) fn new(holder: Holder, provider: Arc<dyn Provider>) -> Self {
        Self { holder, provider }
    }

    /// Whose it is.
    #[must_use]
    pub fn holder(&self) -> Holder {
        self.holder
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        self.provider.name()
    }

    /// Whether it is files of this machine, good for labs only.
    #[must_use]
    pub fn is_software(&self) -> bool {
        self.provider.is_software()
    }

    /// Whether the keys that this process has of it lie in memory that is not swapped out.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.provider.is_locked()
    }

    /// Reads what protects each object and uses each once: signs, multiplies, wraps. Done already by [`open`].
    ///
    /// # Errors
    /// [`TokenError::Violation`] names object and attribute; [`TokenError::Answer`] and failures of the token.
    pub fn self_test(&self) -> Result<(), TokenError> {
        provider::self_test(&*self.provider)
    }

    /// The command signing keys that it holds.
    #[must_use]
    pub fn skids(&self) -> Vec<u8> {
        let skid = |object: &Object| match object {
            Object::Command(skid) => Some(*skid),
            _ => None,
        };
        self.provider.objects().iter().filter_map(skid).collect()
    }

    /// SK_cmd of a `skid`.
    ///
    /// # Errors
    /// [`TokenError::NotHeld`]; failures of the token.
    pub fn command(&self, skid: u8) -> Result<SigningHandle, TokenError> {
        self.signing(Object::Command(skid))
    }

    /// SK_audit.
    ///
    /// # Errors
    /// [`TokenError::NotHeld`]; failures of the token.
    pub fn audit(&self) -> Result<SigningHandle, TokenError> {
        self.signing(Object::Audit)
    }

    /// SK_reg.
    ///
    /// # Errors
    /// [`TokenError::NotHeld`]; failures of the token.
    pub fn registration(&self) -> Result<AgreementHandle, TokenError> {
        let provider = self.holding(Object::Registration)?;
        let public = provider.public_key(Object::Registration)?;
        Ok(AgreementHandle { provider, public })
    }

    /// The key-encryption key.
    ///
    /// # Errors
    /// [`TokenError::NotHeld`].
    pub fn kek(&self) -> Result<KekHandle, TokenError> {
        Ok(KekHandle { provider: self.holding(Object::Kek)? })
    }

    /// The incarnation of the installation (§8).
    ///
    /// # Errors
    /// [`TokenError::NotHeld`].
    pub fn incarnation(&self) -> Result<Incarnation, TokenError> {
        Ok(Incarnation::new(self.holding(Object::Incarnation)?))
    }

    fn signing(&self, object: Object) -> Result<SigningHandle, TokenError> {
        let provider = self.holding(object)?;
        let public = provider::verifying_key(&*provider, object)?;
        Ok(SigningHandle { provider, object, public })
    }

    fn holding(&self, object: Object) -> Result<Arc<dyn Provider>, TokenError> {
        if !self.provider.objects().contains(&object) {
            return Err(TokenError::NotHeld { holder: self.holder, object });
        }
        Ok(Arc::clone(&self.provider))
    }
}

/// A private key in a token that signs. Handles of one [`Token`] share its session, one call at a time; who
/// wants to sign from several threads at once opens the token for each.
pub struct SigningHandle {
    provider: Arc<dyn Provider>,
    object: Object,
    public: VerifyingKey,
}

impl SigningHandle {
    /// Its public key.
    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        self.public
    }
}

impl Signer for SigningHandle {
    type Error = TokenError;

    fn sign(&self, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], TokenError> {
        self.provider.sign(self.object, digest)
    }
}

/// A private key in a token that multiplies.
pub struct AgreementHandle {
    provider: Arc<dyn Provider>,
    public: PublicKey,
}

impl AgreementHandle {
    /// Its public key.
    #[must_use]
    pub fn public_key(&self) -> PublicKey {
        self.public
    }
}

impl Agreement for AgreementHandle {
    type Error = TokenError;

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, TokenError> {
        self.provider.agree(Object::Registration, peer)
    }
}

/// The key-encryption key in a token: it only wraps and unwraps, by AES key wrap (RFC 3394).
pub struct KekHandle {
    provider: Arc<dyn Provider>,
}

impl KekHandle {
    /// What the token is called in messages.
    #[must_use]
    pub fn token(&self) -> &str {
        self.provider.name()
    }

    /// Wraps a data key.
    ///
    /// # Errors
    /// Those of the token.
    pub fn wrap(&self, dek: &Key256) -> Result<[u8; WRAPPED_LEN], TokenError> {
        self.provider.wrap(dek)
    }

    /// Unwraps a data key.
    ///
    /// # Errors
    /// [`TokenError::Unopened`] when it was wrapped by another key, or changed since; those of the token.
    pub fn unwrap(&self, wrapped: &[u8; WRAPPED_LEN]) -> Result<Key256, TokenError> {
        self.provider.unwrap(wrapped)
    }
}
