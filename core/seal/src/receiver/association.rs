//! The end device's half of an association (security layer §4, §8): it ratchets alone, and holds K_dn
//! from the epoch of its last valid downstream frame to its own.

use alloc::vec::Vec;

use super::Refusal;
use crate::frame::{Bound, Head};
use crate::ids::{Dev, Epoch, Sid, System};
use crate::oscore::CommonIv;
use crate::profile1::Channel;
use crate::schedule::{self, AssociationKeys};
use crate::secret::{Key128, Prk};
use crate::window::{Place, Window};

/// Epochs that an end device holds K_dn of, at most; beyond it the oldest is erased. The head-end has at
/// most four steps unproven, so more are only of a device that heard no unicast frame for long.
pub const HELD_MAX: usize = 16;

/// K_dn of one epoch.
pub struct DownKeys {
    /// The epoch.
    pub epoch: Epoch,
    /// K_dn.
    pub key: Key128,
    /// The epoch's Common IV.
    pub common_iv: CommonIv,
    /// What was received under it.
    pub window: Window,
}

/// An association as the end device has it.
pub struct DeviceAssociation {
    sid: Sid,
    epoch: Epoch,
    prk: Prk,
    up: Key128,
    common_iv: CommonIv,
    /// Ascending; the present epoch is the last.
    held: Vec<DownKeys>,
}

impl DeviceAssociation {
    /// The association in this epoch, of which nothing was received yet.
    #[must_use]
    pub fn new(sid: Sid, epoch: Epoch, prk: Prk) -> Self {
        let AssociationKeys { up, dn, common_iv } = schedule::derive(&prk, sid);
        let held = DownKeys { epoch, key: dn, common_iv, window: Window::default() };
        Self { sid, epoch, prk, up, common_iv, held: Vec::from([held]) }
    }

    /// Holds what was stored of an epoch: in place of what is held of it, if it is.
    pub fn hold(&mut self, keys: DownKeys) {
        match self.held.binary_search_by_key(&keys.epoch, |held| held.epoch) {
            Ok(at) => self.held.get_mut(at).into_iter().for_each(|held| held.window = keys.window),
            Err(at) => self.held.insert(at, keys),
        }
    }

    /// Its name.
    #[must_use]
    pub fn sid(&self) -> Sid {
        self.sid
    }

    /// The present epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// PRK_out of the present epoch, to be stored sealed.
    #[must_use]
    pub fn prk(&self) -> &Prk {
        &self.prk
    }

    /// What is held for downstream frames, the present epoch last.
    #[must_use]
    pub fn held(&self) -> &[DownKeys] {
        &self.held
    }

    /// What seals upstream frames in the present epoch.
    #[must_use]
    pub fn up_channel(&self, system: System, dev: Dev) -> Channel<'_> {
        let bound = Bound { system, scope: dev.into(), epoch: self.epoch };
        Channel { key: &self.up, common_iv: &self.common_iv, bound }
    }

    /// Whether so many further epochs exist.
    pub(super) fn can_advance(&self, steps: u16) -> bool {
        self.epoch.0.checked_add(steps).is_some()
    }

    /// Ratchets once; in the last epoch nothing happens.
    pub(super) fn advance(&mut self) {
        let Some(next) = self.epoch.next() else { return };
        self.prk = schedule::advance(&self.prk, next);
        let AssociationKeys { up, dn, common_iv } = schedule::derive(&self.prk, self.sid);
        (self.epoch, self.up, self.common_iv) = (next, up, common_iv);
        if self.held.len() >= HELD_MAX {
            self.held.remove(0);
        }
        self.held.push(DownKeys { epoch: next, key: dn, common_iv, window: Window::default() });
    }

    /// Opens a frame of type 2 or 4 and marks it as received; older epochs than its own are erased.
    pub(super) fn open<'f>(
        &mut self,
        head: &Head,
        body: &'f mut [u8],
        system: System,
        dev: Dev,
    ) -> Result<&'f mut [u8], Refusal> {
        let mut held = self.held.iter_mut();
        let keys = held
            .find(|keys| head.sid() == self.sid && keys.epoch.low() == head.epoch_low)
            .ok_or(Refusal::Epoch)?;
        let place = keys.window.place(head.seq);
        if place == Place::Below {
            return Err(Refusal::Replay);
        }
        let bound = Bound { system, scope: dev.into(), epoch: keys.epoch };
        let channel = Channel { key: &keys.key, common_iv: &keys.common_iv, bound };
        let plaintext = channel.open(head, body).ok_or(Refusal::Auth)?;
        if place == Place::Seen {
            plaintext.fill(0);
            return Err(Refusal::Replay);
        }
        keys.window.restore(head.seq);
        let epoch = keys.epoch;
        self.held.retain(|keys| keys.epoch >= epoch);
        Ok(plaintext)
    }
}
