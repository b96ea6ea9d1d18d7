//! What the desk asks about end devices.

use seal::ids::{Dev, System};
use seal::signature::VerifyingKey;

/// The store of credentials cannot be read: that is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// What the desk asks about end devices.
pub trait Fleet {
    /// The installation.
    fn system(&self) -> System;
    /// The key with which a device signs what it did, from its manufacturer's manifest; `None` where it has none.
    ///
    /// # Errors
    /// [`Unreadable`]
    fn signing_key(&self, dev: Dev) -> Result<Option<VerifyingKey>, Unreadable>;
    /// How many profile-1 devices have an association.
    fn count(&self) -> u64;
    /// Gives each of them.
    fn each(&self, sink: &mut dyn FnMut(Dev));
}
