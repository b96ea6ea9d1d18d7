//! The book of one group.

use std::collections::BTreeSet;

use seal::command::Classes;
use seal::ids::{Dev, Epoch};

use super::Membership;

/// What the log told of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Book {
    pub(super) name: String,
    pub(super) classes: Classes,
    pub(super) created_at: u64,
    pub(super) version: u64,
    pub(super) members: BTreeSet<Dev>,
    pub(super) membership: Membership,
    /// Keys of the last epochs, in their order.
    pub(super) keys: Vec<GroupEpoch>,
    /// When the next epoch is due, Unix seconds.
    pub(super) rekey_at: Option<u64>,
    /// Epochs that the next one skips: a restored state may have had them.
    pub(super) jump: u32,
}

/// One epoch of a group.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct GroupEpoch {
    pub(super) epoch: Epoch,
    pub(super) activate_at: u32,
    /// GMS, sealed.
    pub(super) sealed: Vec<u8>,
    pub(super) told_at: u64,
}

impl std::fmt::Debug for GroupEpoch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { epoch, activate_at, .. } = self;
        f.debug_struct("GroupEpoch")
            .field("epoch", epoch)
            .field("activate_at", activate_at)
            .finish_non_exhaustive()
    }
}

impl Book {
    pub(super) fn new(name: String, classes: Classes, at: u64) -> Self {
        let members = BTreeSet::new();
        // Its first key is due at once.
        let (keys, membership, rekey_at) = (Vec::new(), Membership::EMPTY, Some(at));
        Self { name, classes, created_at: at, version: 0, members, membership, keys, rekey_at, jump: 0 }
    }

    pub(super) fn join(&mut self, dev: Dev) {
        if self.members.insert(dev) {
            self.membership.change(dev);
            self.version = self.version.saturating_add(1);
        }
    }

    /// Takes a member out; the next epoch is due at what `due` makes of the moment at which the last began.
    pub(super) fn leave(&mut self, dev: Dev, due: impl FnOnce(u64) -> u64) {
        if self.members.remove(&dev) {
            self.membership.change(dev);
            self.version = self.version.saturating_add(1);
            let begun = self.keys.last().map_or(self.created_at, |key| u64::from(key.activate_at));
            let due = due(begun);
            self.rekey_at = Some(self.rekey_at.map_or(due, |at| at.min(due)));
        }
    }

    /// The epoch in force.
    pub(super) fn current(&self, now: u64) -> Option<&GroupEpoch> {
        self.keys.iter().rev().find(|key| u64::from(key.activate_at) <= now)
    }

    /// The epoch of the next key; `None` behind the last one.
    pub(super) fn next_epoch(&self) -> Option<Epoch> {
        let next = self.keys.last().map_or(0, |last| u32::from(last.epoch.0).saturating_add(1));
        u16::try_from(next.saturating_add(self.jump)).ok().map(Epoch)
    }

    /// The epoch that comes into force next.
    pub(super) fn next(&self, now: u64) -> Option<&GroupEpoch> {
        self.keys.iter().find(|key| u64::from(key.activate_at) > now)
    }
}
