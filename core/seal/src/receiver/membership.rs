//! The groups of an end device (security layer §7): joined by a signed JOIN, their keys brought by
//! type 4 ahead of time, the current one moved by trusted time only.

use alloc::vec::Vec;

use subtle::ConstantTimeEq;

use super::Refusal;
use crate::command::Classes;
use crate::control::GroupKey;
use crate::frame::Head;
use crate::group::GroupKeys;
use crate::ids::{Epoch, Gid, System};
use crate::secret::Key128;

/// Groups that a device is in, at most.
pub const GROUPS_MAX: usize = 16;
/// An epoch is taken no further ahead of the current one than this.
pub const AHEAD_MAX: u16 = 16;
/// Epochs held of one group, at most: those ahead, the current one and old ones; beyond it none is taken.
pub const KEYS_MAX: usize = 32;
/// An old epoch is kept so long after the next became due, in seconds.
pub const KEPT_S: u64 = 72 * 3600;

/// The key of one epoch.
pub struct HeldKey {
    /// GMS, to be stored sealed.
    pub gms: Key128,
    /// Unix seconds from which on the epoch is the current one.
    pub activate_at: u32,
    keys: GroupKeys,
}

impl HeldKey {
    /// The key of this epoch.
    #[must_use]
    pub fn new(gid: Gid, epoch: Epoch, gms: Key128, activate_at: u32) -> Self {
        let keys = GroupKeys::derive(&gms, gid, epoch);
        Self { gms, activate_at, keys }
    }

    /// The epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.keys.epoch()
    }

    fn is_due(&self, now: u64) -> bool {
        u64::from(self.activate_at) <= now
    }
}

/// One group.
pub struct Membership {
    /// The group.
    pub gid: Gid,
    /// What it may order.
    pub classes: Classes,
    /// The current epoch; none before the first key.
    pub current: Option<Epoch>,
    /// The keys, by ascending epoch.
    pub held: Vec<HeldKey>,
}

impl Membership {
    fn take(&mut self, key: &GroupKey<'_>) -> bool {
        let at = match self.held.binary_search_by_key(&key.epoch, HeldKey::epoch) {
            // The first one stays; it may be told again.
            Ok(at) => return self.held.get(at).is_some_and(|held| held.gms.expose().ct_eq(key.gms).into()),
            Err(at) => at,
        };
        let wanted = self.current.is_none_or(|current| {
            key.epoch.0.checked_sub(current.0).is_some_and(|ahead| (1..=AHEAD_MAX).contains(&ahead))
        });
        if !wanted || self.held.len() >= KEYS_MAX {
            return false;
        }
        self.current.get_or_insert(key.epoch);
        let gms = Key128::from_octets(*key.gms);
        self.held.insert(at, HeldKey::new(self.gid, key.epoch, gms, key.activate_at));
        true
    }

    fn tick(&mut self, now: u64) {
        let due = self.held.iter().filter(|held| held.is_due(now)).map(HeldKey::epoch).max();
        let Some(current) = self.current.max(due) else { return };
        if self.current.is_some() {
            self.current = Some(current);
        }
        // An epoch goes when one after it, up to the current one, has been due for long.
        let expired = now.checked_sub(KEPT_S).and_then(|then| {
            let old = self.held.iter().filter(|held| held.epoch() <= current && held.is_due(then));
            old.map(HeldKey::epoch).max()
        });
        if let Some(expired) = expired {
            self.held.retain(|held| held.epoch() >= expired);
        }
    }
}

/// All groups of one end device.
#[derive(Default)]
pub struct Memberships(Vec<Membership>);

impl Memberships {
    /// Takes back what was stored of a group; `false` when there are [`GROUPS_MAX`] others.
    pub fn restore(&mut self, membership: Membership) -> bool {
        self.leave(membership.gid);
        let room = self.0.len() < GROUPS_MAX;
        if room {
            self.0.push(membership);
        }
        room
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Membership] {
        &self.0
    }

    /// What a group may order; `None` where the device is no member.
    #[must_use]
    pub fn classes(&self, gid: Gid) -> Option<Classes> {
        self.0.iter().find(|group| group.gid == gid).map(|group| group.classes)
    }

    /// Joins, or changes what the group may order.
    pub(super) fn join(&mut self, gid: Gid, classes: Classes) {
        match self.0.iter_mut().find(|group| group.gid == gid) {
            Some(group) => group.classes = classes,
            None => self.0.push(Membership { gid, classes, current: None, held: Vec::new() }),
        }
    }

    pub(super) fn leave(&mut self, gid: Gid) {
        self.0.retain(|group| group.gid != gid);
    }

    /// Whether the key is held now, and not another of its epoch.
    pub(super) fn take(&mut self, key: &GroupKey<'_>) -> bool {
        self.0.iter_mut().find(|group| group.gid == key.gid).is_some_and(|group| group.take(key))
    }

    pub(super) fn tick(&mut self, now: u64) {
        self.0.iter_mut().for_each(|group| group.tick(now));
    }

    /// Opens a frame of type 3. Its counter is only a nonce, never a reason to refuse.
    pub(super) fn open<'f>(
        &self,
        head: &Head,
        body: &'f mut [u8],
        system: System,
    ) -> Result<&'f mut [u8], Refusal> {
        let group = self.0.iter().find(|group| group.gid == Gid(head.id)).ok_or(Refusal::Epoch)?;
        let mut held = group.held.iter().rev();
        let key = held.find(|held| held.epoch().low() == head.epoch_low).ok_or(Refusal::Epoch)?;
        key.keys.channel(system).open(head, body).ok_or(Refusal::Auth)
    }
}
