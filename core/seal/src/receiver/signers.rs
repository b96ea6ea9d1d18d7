//! The signing keys that an end device believes.

use alloc::vec::Vec;

use crate::command::Classes;
use crate::signature::VerifyingKey;

/// One signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignerKey {
    /// Its name; 0 is the offline root.
    pub skid: u8,
    /// The public key.
    pub key: VerifyingKey,
    /// What it may sign.
    pub classes: Classes,
    /// Unix seconds; a command with an earlier `nbf` is not its.
    pub not_before: u32,
}

/// All signing keys, one a `skid`; a revoked `skid` is never given again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signers {
    keys: Vec<SignerKey>,
    revoked: Vec<u8>,
}

impl Signers {
    /// The key of this name, unless it is revoked.
    #[must_use]
    pub fn get(&self, skid: u8) -> Option<&SignerKey> {
        self.keys.iter().find(|key| key.skid == skid)
    }

    /// Whether the name is in use, or was revoked.
    #[must_use]
    pub fn knows(&self, skid: u8) -> bool {
        self.get(skid).is_some() || self.is_revoked(skid)
    }

    /// Whether the name was revoked.
    #[must_use]
    pub fn is_revoked(&self, skid: u8) -> bool {
        self.revoked.contains(&skid)
    }

    /// The keys that are believed.
    #[must_use]
    pub fn keys(&self) -> &[SignerKey] {
        &self.keys
    }

    /// The names that were revoked.
    #[must_use]
    pub fn revoked(&self) -> &[u8] {
        &self.revoked
    }

    /// Adds a key; `false`, and nothing is added, when its name is known.
    pub fn add(&mut self, key: SignerKey) -> bool {
        let new = !self.knows(key.skid);
        if new {
            self.keys.push(key);
        }
        new
    }

    /// Revokes a name, in use or not.
    pub fn revoke(&mut self, skid: u8) {
        self.keys.retain(|key| key.skid != skid);
        if !self.is_revoked(skid) {
            self.revoked.push(skid);
        }
    }
}
