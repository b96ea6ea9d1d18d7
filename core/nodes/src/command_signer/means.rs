//! What the signer works with: who is who, the fence, and the signing key in its token.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use commands::class::ProfileClassifier;
use commands::code::SignRefusal;
use commands::signer::{Fleet, Member};
use keystore::token::{self, Holder, SigningHandle};
use keystore::{Directory, Kind, ProfileId};
use node::{BuildError, Config, Env};
use seal::ids::{Dev, System};
use seal::signature::{SIGNATURE_LEN, Signer};

use crate::clock::{monotonic_ns, unix_ms};
use crate::key_store::{self, Fence, FenceError};

/// A token that does not answer is left alone for so long.
const PAUSE: Duration = Duration::from_secs(1);

/// What the signer works with.
pub trait Means: Send + Sync {
    /// The installation.
    fn system(&self) -> System;

    /// An end device's profile, and whether it is a classic one.
    fn device(&self, dev: Dev) -> Option<(ProfileId, bool)>;

    /// All device profiles.
    fn profiles(&self) -> Vec<(ProfileId, Arc<str>)>;

    /// Whether this head-end has made sure that it is no copy of another.
    ///
    /// # Errors
    /// [`SignRefusal::Fence`]; [`SignRefusal::Hsm`] and [`SignRefusal::Store`] when it cannot say.
    fn fence(&self) -> Result<(), SignRefusal>;

    /// Signs what has this SHA-256.
    ///
    /// # Errors
    /// What the token says.
    fn sign(&self, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], String>;

    /// Wall time, Unix milliseconds.
    fn now_ms(&self) -> u64 {
        unix_ms()
    }

    /// A clock that nobody sets, in milliseconds.
    fn running_ms(&self) -> u64 {
        monotonic_ns() / 1_000_000
    }
}

/// Means that a program brings itself, under the name of a key store.
#[derive(Clone)]
pub struct Lent(pub Arc<dyn Means>);

/// The means of the key store that the configuration names. A token that does not open closes signing, not
/// the head-end.
///
/// # Errors
/// When there is no such key store.
pub(super) fn find(config: &Config, env: &Env, skid: u8) -> Result<Arc<dyn Means>, BuildError> {
    if let Some(lent) = env.services.find::<Lent>(config.text("keys")) {
        return Ok(Arc::clone(&lent.0));
    }
    Ok(Arc::new(Stored {
        directory: key_store::lent(config, env)?,
        fence: key_store::lent(config, env)?,
        tokens: key_store::lent(config, env)?,
        skid,
        key: Mutex::new(Key::default()),
    }))
}

/// A key store, and the signing key in the signer's token.
struct Stored {
    directory: Arc<Directory>,
    fence: Arc<Fence>,
    tokens: Arc<token::Config>,
    skid: u8,
    key: Mutex<Key>,
}

#[derive(Default)]
struct Key {
    handle: Option<SigningHandle>,
    failed: Option<(Instant, String)>,
}

impl Means for Stored {
    fn system(&self) -> System {
        self.directory.system()
    }

    fn device(&self, dev: Dev) -> Option<(ProfileId, bool)> {
        let device = self.directory.device(self.directory.sid(dev)?)?;
        Some((device.profile, device.kind == Kind::Classic))
    }

    fn profiles(&self) -> Vec<(ProfileId, Arc<str>)> {
        self.directory.profiles().map(|(id, text)| (id, Arc::clone(text))).collect()
    }

    fn fence(&self) -> Result<(), SignRefusal> {
        self.fence.check().map_err(|error| match error {
            FenceError::NotYet | FenceError::Closed { .. } => SignRefusal::Fence,
            FenceError::Token(error) => SignRefusal::Hsm(error.to_string()),
            FenceError::Mark(_) => SignRefusal::Store,
        })
    }

    fn sign(&self, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], String> {
        let mut key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        let Key { handle, failed } = &mut *key;
        if let Some((at, why)) = failed.as_ref().filter(|(at, _)| at.elapsed() < PAUSE) {
            return Err(format!("{why} ({} ms ago)", at.elapsed().as_millis()));
        }
        let opened = match handle.take() {
            Some(opened) => Ok(opened),
            None => self.tokens.open(Holder::Signer).and_then(|token| token.command(self.skid)),
        };
        let signed = opened.and_then(|opened| Ok((opened.sign(digest)?, opened)));
        match signed {
            Ok((signature, opened)) => {
                *handle = Some(opened);
                *failed = None;
                Ok(signature)
            }
            Err(error) => {
                *failed = Some((Instant::now(), error.to_string()));
                Err(error.to_string())
            }
        }
    }
}

/// The token's key, as the security layer wants it.
pub(super) struct Hand<'m>(pub &'m dyn Means);

impl Signer for Hand<'_> {
    type Error = String;

    fn sign(&self, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], String> {
        self.0.sign(digest)
    }
}

/// End devices with their profiles, read once.
pub(super) struct Meters {
    means: Arc<dyn Means>,
    /// In the order of their ids; `None` for one that does not parse.
    profiles: Vec<(ProfileId, Option<ProfileClassifier>)>,
}

impl Meters {
    /// Reads all profiles; tells which cannot be.
    pub fn read(means: &Arc<dyn Means>, mut unreadable: impl FnMut(ProfileId)) -> Self {
        let mut profiles: Vec<_> = means
            .profiles()
            .into_iter()
            .map(|(id, text)| {
                let profile = graph::device_profile::parse(&text).0.map(ProfileClassifier);
                if profile.is_none() {
                    unreadable(id);
                }
                (id, profile)
            })
            .collect();
        profiles.sort_by_key(|(id, _)| *id);
        Self { means: Arc::clone(means), profiles }
    }
}

impl Fleet for Meters {
    fn member(&self, dev: Dev) -> Option<Member> {
        let (profile, classic) = self.means.device(dev)?;
        let place = self.profiles.binary_search_by_key(&profile, |(id, _)| *id);
        // One that is not there has no classifier, so nothing is signed for it.
        let profile = place.ok().and_then(|place| u32::try_from(place).ok()).unwrap_or(u32::MAX);
        Some(Member { profile, classic })
    }

    fn profile(&self, profile: u32) -> Option<&ProfileClassifier> {
        self.profiles.get(usize::try_from(profile).ok()?)?.1.as_ref()
    }
}
