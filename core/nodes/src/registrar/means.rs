//! What the registrar works with: the key store's associations and credentials, and the static key in its
//! token.

use std::sync::Arc;

use c1222::ApTitleBuf;
use keystore::token::{self, AgreementHandle, Holder};
use keystore::{Credentials, Directory, Kind, NewAssociation, Slots, Vault};
use node::{BuildError, Config, Env, Reason};
use seal::edhoc::{Agreement, Ephemeral, PublicKey, Refusal, Registered};
use seal::ids::{Dev, Sid};
use seal::secret::SharedSecret;
use zeroize::Zeroizing;

use super::registrations::{Provisioned, Provisioning};
use crate::key_store::{self, Fence, FenceError};
use crate::tally::reasons;

/// What the registrar works with.
pub trait Means: Provisioning {
    /// The public key of the head-end's static key (SK_reg).
    fn public_key(&self) -> PublicKey;

    /// x of the product of the static key and `peer`: the one operation of the token.
    ///
    /// # Errors
    /// What the token says.
    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, String>;

    /// An association that nobody ever had; `None` when there is none left.
    fn allocate(&self) -> Option<Sid>;

    /// Gives back an association that no shard has heard of.
    fn free(&self, sid: Sid);

    /// The static public key of an end device.
    ///
    /// # Errors
    /// [`NoKey`].
    fn device(&self, dev: Dev) -> Result<PublicKey, NoKey>;

    /// The association that a device has.
    fn association(&self, dev: Dev) -> Option<Sid>;

    /// The key store's record of a new association, sealed.
    ///
    /// # Errors
    /// What the key store says.
    fn seal(&self, registered: &Registered) -> Result<Box<[u8]>, String>;

    /// Whether the start is over: the incarnation was raised, or that failed, and what the journal says of
    /// associations is known. It stays so.
    fn is_open(&self) -> bool;

    /// Whether registrations may begin. It reads the token, so it is asked on the token's thread.
    ///
    /// # Errors
    /// [`Closed`].
    fn fence(&self) -> Result<(), Closed>;

    /// A key pair for one run.
    ///
    /// # Errors
    /// What the system's source of randomness says.
    fn ephemeral(&self) -> Result<Ephemeral, String> {
        let mut octets = Zeroizing::new([0; 32]);
        loop {
            getrandom::fill(octets.as_mut_slice()).map_err(|error| error.to_string())?;
            // Nearly every number is one of the curve's.
            if let Some(ephemeral) = Ephemeral::from_octets(&octets) {
                return Ok(ephemeral);
            }
        }
    }

    /// Monotonic nanoseconds.
    fn now(&self) -> u64 {
        crate::clock::monotonic_ns()
    }
}

/// Why there is no key of an end device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoKey {
    /// [`Refusal::Unknown`] or [`Refusal::Revoked`].
    Refused(Refusal),
    /// The key store cannot say.
    Fault(String),
}

/// Why no registration begins now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// This head-end may be a copy of another.
    Fence(String),
    /// A token does not answer.
    Hsm(String),
    /// The incarnation's mark cannot be read.
    Store(String),
}

impl Closed {
    /// The code, and what people are told.
    #[must_use]
    pub fn told(self) -> (Reason, String) {
        match self {
            Self::Fence(why) => (reasons::FENCE, why),
            Self::Hsm(why) => (reasons::HSM, why),
            Self::Store(why) => (reasons::STORE, why),
        }
    }
}

/// Means that a program brings itself, under the name of a key store.
#[derive(Clone)]
pub struct Lent(pub Arc<dyn Means>);

/// The means of the key store that the configuration names.
///
/// # Errors
/// When it has none, or the token does not open.
pub(super) fn find(config: &Config, env: &Env) -> Result<Arc<dyn Means>, BuildError> {
    if let Some(lent) = env.services.find::<Lent>(config.text("keys")) {
        return Ok(Arc::clone(&lent.0));
    }
    let tokens: Arc<token::Config> = key_store::lent(config, env)?;
    let token = tokens.open(Holder::Registrar).and_then(|token| token.registration());
    Ok(Arc::new(Stored {
        directory: key_store::lent(config, env)?,
        vault: key_store::lent(config, env)?,
        credentials: key_store::lent(config, env)?,
        slots: key_store::lent(config, env)?,
        fence: key_store::lent(config, env)?,
        key: token.map_err(|error| BuildError::caused(env, "open the registrar's token", error))?,
    }))
}

/// A key store, and the static key in the registrar's token.
struct Stored {
    directory: Arc<Directory>,
    vault: Arc<Vault>,
    credentials: Arc<Credentials>,
    slots: Arc<Slots>,
    fence: Arc<Fence>,
    key: AgreementHandle,
}

impl Stored {
    fn provisioned(&self, sid: Sid) -> Option<Provisioned> {
        let device = self.directory.device(sid)?;
        Some(Provisioned {
            dev: device.dev,
            serial_number: device.esn().into(),
            title: ApTitleBuf::from(device.title()),
            sealed: device.kind == Kind::Profile1,
        })
    }
}

impl Provisioning for Stored {
    fn of_association(&self, sid: Sid) -> Option<Provisioned> {
        self.provisioned(sid)
    }

    fn of_serial_number(&self, serial_number: &[u8]) -> Option<Provisioned> {
        let serial_number = std::str::from_utf8(serial_number).ok()?;
        self.provisioned(self.directory.classic_by_esn(serial_number)?)
    }
}

impl Means for Stored {
    fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }

    fn agree(&self, peer: &PublicKey) -> Result<SharedSecret, String> {
        self.key.agree(peer).map_err(|error| error.to_string())
    }

    fn allocate(&self) -> Option<Sid> {
        self.slots.allocate()
    }

    fn free(&self, sid: Sid) {
        self.slots.free(sid);
    }

    fn device(&self, dev: Dev) -> Result<PublicKey, NoKey> {
        match self.credentials.find(dev) {
            Ok(Some(found)) if found.revoked => Err(NoKey::Refused(Refusal::Revoked)),
            Ok(Some(found)) => Ok(found.key),
            Ok(None) => Err(NoKey::Refused(Refusal::Unknown)),
            Err(error) => Err(NoKey::Fault(error.to_string())),
        }
    }

    fn association(&self, dev: Dev) -> Option<Sid> {
        self.directory.sid(dev)
    }

    fn seal(&self, registered: &Registered) -> Result<Box<[u8]>, String> {
        let Registered { dev, sid, prk } = registered;
        let found = self.credentials.find(*dev).map_err(|error| error.to_string())?;
        let found = found.ok_or_else(|| format!("device {dev} is not provisioned any more"))?;
        let sealed = self.vault.seal_association(&NewAssociation {
            sid: *sid,
            dev: *dev,
            prk,
            title: found.title.as_title(),
            esn: &found.esn,
            profile: found.profile,
        });
        sealed.map(Vec::into_boxed_slice).map_err(|error| error.to_string())
    }

    fn is_open(&self) -> bool {
        // The key store raises the incarnation before it opens them.
        self.slots.is_open()
    }

    fn fence(&self) -> Result<(), Closed> {
        self.fence.check().map_err(|error| {
            let closed = match &error {
                FenceError::NotYet | FenceError::Closed { .. } => Closed::Fence,
                FenceError::Token(_) => Closed::Hsm,
                FenceError::Mark(_) => Closed::Store,
            };
            closed(error.to_string())
        })
    }
}
