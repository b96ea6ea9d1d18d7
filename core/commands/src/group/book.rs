//! The book of one group.

use std::collections::BTreeSet;

use seal::command::Classes;
use seal::ids::{Dev, Epoch};

use super::Membership;

/// Keys that are kept: the one in force, the one before, the next.
const KEPT_MAX: usize = 3;
/// An end device takes a key no further ahead of the one in force (security layer §7).
const AHEAD_MAX: u16 = 16;
/// Keys on the way to a restored group's next epoch that are kept beside: a backup that is nearly three years
/// old needs so many. Members without the oldest ones have to join anew.
const STEPS_MAX: usize = 64;

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

    /// The epoch of the next key; `None` behind the last one. It skips no more than members take.
    pub(super) fn next_epoch(&self) -> Option<Epoch> {
        let next = self.keys.last().map_or(0, |last| u32::from(last.epoch.0).saturating_add(1));
        // Where epochs end before what is to be skipped does, no step leads on.
        u16::try_from(next.saturating_add(self.jump)).ok()?;
        let skipped = self.jump.min(u32::from(AHEAD_MAX).saturating_sub(1));
        u16::try_from(next.saturating_add(skipped)).ok().map(Epoch)
    }

    /// Whether the next key is only one on the way.
    pub(super) fn steps(&self) -> bool {
        self.jump >= u32::from(AHEAD_MAX)
    }

    /// A key of a later epoch. While it is not past all that is to be skipped, the next one is due at once.
    pub(super) fn take(&mut self, key: GroupEpoch) {
        let skipped = self
            .keys
            .last()
            .map_or(key.epoch.0, |last| key.epoch.0.saturating_sub(last.epoch.0).saturating_sub(1));
        let on_the_way = self.jump > u32::from(skipped);
        self.rekey_at = on_the_way.then_some(key.told_at);
        self.jump =
            if on_the_way { self.jump.saturating_sub(u32::from(skipped).saturating_add(1)) } else { 0 };
        self.keys.push(key);
        let steps = self.steps_kept();
        let surplus = self.keys.len().saturating_sub(steps).saturating_sub(KEPT_MAX);
        self.keys.drain(steps..steps.saturating_add(surplus));
        self.keys.drain(..steps.saturating_sub(STEPS_MAX));
    }

    /// How many of the first keys lead a member that had none since a restore to those after them.
    fn steps_kept(&self) -> usize {
        let far = |two: &[GroupEpoch]| match two {
            [one, next] => next.epoch.0.saturating_sub(one.epoch.0) > 1,
            _ => false,
        };
        let Some(before) = self.keys.windows(2).rposition(far) else { return 0 };
        let reached = before.saturating_add(2);
        let of = |key: Option<&GroupEpoch>| key.map_or(0, |key| key.epoch.0);
        let ahead = of(self.keys.last()).saturating_sub(of(self.keys.get(reached.saturating_sub(1))));
        if ahead > AHEAD_MAX { 0 } else { reached }
    }

    /// The keys that a member needs who may have none of them: those on the way, and the one in force.
    pub(super) fn path(&self, now: u64) -> impl Iterator<Item = &GroupEpoch> {
        let current = self.current(now).map(|key| key.epoch);
        let steps = self.keys.iter().take(self.steps_kept()).filter(move |key| Some(key.epoch) < current);
        steps.chain(self.current(now))
    }

    /// The epoch that comes into force next.
    pub(super) fn next(&self, now: u64) -> Option<&GroupEpoch> {
        self.keys.iter().find(|key| u64::from(key.activate_at) > now)
    }
}
