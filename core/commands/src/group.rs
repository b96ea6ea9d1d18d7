//! Groups: who is a member, by signed JOIN and LEAVE alone, and the epochs of their keys.
//!
//! The books change when an end device has answered with result 0, never when it was asked. A group's key is
//! drawn and sealed elsewhere; here it is octets that go to each member ahead of their time. After a removal
//! the next scheduled epoch leaves the removed without a key; at once where that was asked for.

mod book;
mod membership;

use std::collections::{BTreeMap, VecDeque};

use seal::command::{Class, Classes};
use seal::ids::{Dev, Epoch, Gid};

use crate::desk::{Action, Heard};
use crate::front::{GroupView, Page};

use book::{Book, GroupEpoch};
pub use membership::Membership;

/// Groups that there are at most.
pub const GROUPS_MAX: usize = 4096;
/// The clock of an end device may be so many seconds behind.
const SKEW_S: u64 = 300;
/// A key that was asked for is asked for again after so many seconds.
const DRAW_AGAIN_S: u64 = 30;

/// A group changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupChange {
    /// There is a new one.
    Created {
        /// Its number.
        gid: Gid,
        /// Its name.
        name: String,
        /// What members let it order.
        classes: Classes,
    },
    /// Its next epoch is to come at this time at the latest; told by people, and again by checkpoints.
    Rekey {
        /// The group.
        gid: Gid,
        /// Unix seconds; `None`: none is due.
        at: Option<u64>,
    },
    /// Its next epoch skips so many; told again by a checkpoint.
    Jump {
        /// The group.
        gid: Gid,
        /// Epochs.
        by: u32,
    },
    /// Its books are told anew, from an empty one on, by a checkpoint.
    Cleared {
        /// The group.
        gid: Gid,
        /// Rises with each change of its members.
        version: u64,
    },
    /// A member, told again by a checkpoint.
    Member {
        /// The group.
        gid: Gid,
        /// The member.
        dev: Dev,
    },
}

/// How groups are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Scheduled epochs are so many seconds apart, 30 days at most.
    pub epoch_s: u64,
    /// A new key goes to members so many seconds before it is in force.
    pub lead_s: u64,
}

/// All groups.
#[derive(Debug)]
pub struct Groups {
    settings: GroupSettings,
    books: BTreeMap<Gid, Book>,
    /// When each group's key was asked for: gone with a restart.
    drawing: BTreeMap<Gid, u64>,
    /// Keys on their way to members: gone with a restart.
    deliveries: VecDeque<(Gid, Epoch, Dev)>,
}

impl PartialEq for Groups {
    /// Whether the log told both the same.
    fn eq(&self, other: &Self) -> bool {
        self.books == other.books
    }
}

impl Groups {
    /// No group.
    #[must_use]
    pub fn new(settings: GroupSettings) -> Self {
        Self { settings, books: BTreeMap::new(), drawing: BTreeMap::new(), deliveries: VecDeque::new() }
    }

    /// Whether there is one of this number.
    #[must_use]
    pub fn contain(&self, gid: Gid) -> bool {
        self.books.contains_key(&gid)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.books.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.books.is_empty()
    }

    /// What members let a group order.
    #[must_use]
    pub fn classes(&self, gid: Gid) -> Option<Classes> {
        self.books.get(&gid).map(|book| book.classes)
    }

    /// The version of its books and how many members it has.
    #[must_use]
    pub fn version(&self, gid: Gid) -> Option<(u64, u64)> {
        self.books.get(&gid).map(|book| (book.version, book.members.len() as u64))
    }

    /// Who its members are, in a number: what an intent to the group has.
    #[must_use]
    pub fn membership(&self, gid: Gid) -> Option<Membership> {
        self.books.get(&gid).map(|book| book.membership)
    }

    /// Its members.
    pub fn members(&self, gid: Gid) -> impl Iterator<Item = Dev> + '_ {
        self.books.get(&gid).into_iter().flat_map(|book| book.members.iter().copied())
    }

    /// The members of several: each of them once for each of its groups.
    pub(crate) fn members_of(&self, gids: impl Iterator<Item = Gid>) -> impl Iterator<Item = Dev> {
        gids.flat_map(|gid| self.members(gid))
    }

    /// Groups with members and a key, that may order this class.
    pub(crate) fn tellable(&self, class: Class, now: u64) -> impl Iterator<Item = Gid> {
        let tellable = move |(_, book): &(&Gid, &Book)| {
            book.classes.contain(class) && !book.members.is_empty() && book.current(now).is_some()
        };
        self.books.iter().filter(tellable).map(|(gid, _)| *gid)
    }

    /// Whether a device is a member.
    #[must_use]
    pub fn is_member(&self, gid: Gid, dev: Dev) -> bool {
        self.books.get(&gid).is_some_and(|book| book.members.contains(&dev))
    }

    /// The groups of a device.
    pub fn of(&self, dev: Dev) -> impl Iterator<Item = Gid> + '_ {
        self.books.iter().filter(move |(_, book)| book.members.contains(&dev)).map(|(gid, _)| *gid)
    }

    /// Their numbers.
    pub fn gids(&self) -> impl Iterator<Item = Gid> + '_ {
        self.books.keys().copied()
    }

    /// A group as people see it.
    #[must_use]
    pub fn view(&self, gid: Gid, now: u64, page: Page) -> Option<GroupView> {
        let book = self.books.get(&gid)?;
        Some(GroupView {
            gid,
            name: book.name.clone(),
            classes: book.classes,
            version: book.version,
            members: book.members.len() as u64,
            epoch: book.current(now).map(|key| key.epoch),
            next_at: book.next(now).map(|key| key.activate_at),
            page: page.of(book.members.iter().copied()),
        })
    }

    pub(crate) fn change(&mut self, at: u64, change: &GroupChange) {
        match change {
            GroupChange::Created { gid, name, classes } => {
                if gid.is_valid() {
                    self.books.entry(*gid).or_insert_with(|| Book::new(name.clone(), *classes, at));
                }
            }
            GroupChange::Rekey { gid, at } => self.of_gid(*gid, |book| book.rekey_at = *at),
            GroupChange::Jump { gid, by } => self.of_gid(*gid, |book| book.jump = *by),
            GroupChange::Cleared { gid, version } => self.of_gid(*gid, |book| {
                book.members.clear();
                (book.version, book.membership) = (*version, Membership::EMPTY);
            }),
            GroupChange::Member { gid, dev } => self.of_gid(*gid, |book| {
                if book.members.insert(*dev) {
                    book.membership.change(*dev);
                }
            }),
        }
    }

    fn of_gid(&mut self, gid: Gid, change: impl FnOnce(&mut Book)) {
        if let Some(book) = self.books.get_mut(&gid) {
            change(book);
        }
    }

    /// A device has joined. It is to have the keys that are in force or will be.
    pub(crate) fn joined(&mut self, gid: Gid, dev: Dev) {
        let Some(book) = self.books.get_mut(&gid) else { return };
        book.join(dev);
        self.deliveries.extend(book.keys.iter().map(|key| (gid, key.epoch, dev)));
    }

    /// A device has left: the next scheduled epoch is one that it does not get.
    pub(crate) fn left(&mut self, at: u64, gid: Gid, dev: Dev) {
        let epoch_s = self.settings.epoch_s;
        self.of_gid(gid, |book| book.leave(dev, |begun| begun.saturating_add(epoch_s).max(at)));
    }

    /// A device is believed no longer: its groups' next epochs come at once.
    pub(crate) fn revoked(&mut self, at: u64, dev: Dev) {
        self.books.values_mut().for_each(|book| book.leave(dev, |_| at));
    }

    /// The state is that of a backup so many days old: the next epochs come at once, behind those that may have
    /// been since.
    pub(crate) fn restored(&mut self, at: u64, days: u32) {
        for book in self.books.values_mut() {
            book.jump = book.jump.saturating_add(days).saturating_add(1);
            book.rekey_at = Some(book.rekey_at.map_or(at, |due| due.min(at)));
        }
        self.drawing.clear();
    }

    /// A device is to have the keys of its groups once more.
    pub(crate) fn deliver_to(&mut self, dev: Dev) {
        let books = self.books.iter().filter(|(_, book)| book.members.contains(&dev));
        let keys = books.flat_map(|(gid, book)| book.keys.iter().map(|key| (*gid, key.epoch, dev)));
        self.deliveries.extend(keys);
    }

    /// A key is durable. The first of an epoch stays.
    pub(crate) fn key(&mut self, at: u64, gid: Gid, epoch: Epoch, activate_at: u32, sealed: &[u8]) {
        let Some(book) = self.books.get_mut(&gid) else { return };
        if book.keys.last().is_some_and(|last| last.epoch >= epoch) {
            return;
        }
        book.take(GroupEpoch { epoch, activate_at, sealed: sealed.to_vec(), told_at: at });
        self.drawing.remove(&gid);
        self.deliveries.extend(book.members.iter().map(|dev| (gid, epoch, *dev)));
    }

    /// After a start: members may not have got what was on its way.
    pub(crate) fn begin(&mut self, now: u64) {
        self.deliveries.clear();
        for (gid, book) in &self.books {
            let lead_s = self.settings.lead_s;
            let is_fresh = |key: &GroupEpoch| u64::from(key.activate_at).saturating_add(lead_s) >= now;
            // A member without the key in force takes none but later ones once it has the next (§7), so it is told
            // of both, in their order.
            let first = book.keys.iter().find(|key| is_fresh(key)).map(|key| key.epoch);
            let current = book.current(now).map(|key| key.epoch);
            let from = first.map(|first| current.map_or(first, |current| current.min(first)));
            let fresh = book.keys.iter().filter(|key| from.is_some_and(|from| key.epoch >= from));
            let members = |key: &GroupEpoch| {
                let epoch = key.epoch;
                book.members.iter().map(move |dev| (*gid, epoch, *dev)).collect::<Vec<_>>()
            };
            self.deliveries.extend(fresh.flat_map(members));
        }
    }

    /// Members that are `silent` are to have the group's key once more: they may lack it.
    pub(crate) fn deliver_again(&mut self, now: u64, gid: Gid, silent: impl Fn(Dev) -> bool) {
        let Some(book) = self.books.get(&gid) else { return };
        let path: Vec<Epoch> = book.path(now).map(|key| key.epoch).collect();
        let silent = book.members.iter().filter(|dev| silent(**dev));
        self.deliveries.extend(silent.flat_map(|dev| path.iter().map(|epoch| (gid, *epoch, *dev))));
    }

    /// When something is due next, Unix seconds; 0 for now. `held`: no new key is asked for.
    pub(crate) fn due(&self, held: bool) -> Option<u64> {
        if !self.deliveries.is_empty() {
            return Some(0);
        }
        if held {
            return None;
        }
        let due = |(gid, book): (&Gid, &Book)| {
            let asked = self.drawing.get(gid).map_or(0, |at| at.saturating_add(DRAW_AGAIN_S));
            book.rekey_at.map(|at| at.max(asked))
        };
        self.books.iter().filter_map(due).min()
    }

    /// Asks for the keys that are due, unless that is `held`, and hands on at most `at_most` deliveries.
    pub(crate) fn act(&mut self, now: u64, at_most: usize, held: bool, actions: &mut Vec<Action>) {
        for (gid, book) in self.books.iter().filter(|_| !held) {
            let asked = self.drawing.get(gid).is_some_and(|at| now < at.saturating_add(DRAW_AGAIN_S));
            if asked || book.rekey_at.is_none_or(|at| at > now) {
                continue;
            }
            // The last epoch: a group of another number takes over from here.
            let Some(epoch) = book.next_epoch() else { continue };
            let at = match &*book.keys {
                // Before the first key there is nobody to wait for.
                [] => now,
                // On the way only: it is in force at once, also where clocks lag.
                _ if book.steps() => now.saturating_sub(SKEW_S),
                _ => now.saturating_add(self.settings.lead_s),
            };
            let activate_at = u32::try_from(at).unwrap_or(u32::MAX);
            actions.push(Action::DrawKey { gid: *gid, epoch, activate_at });
            self.drawing.insert(*gid, now);
        }
        for (gid, epoch, dev) in self.deliveries.drain(..at_most.min(self.deliveries.len())) {
            let Some(book) = self.books.get(&gid) else { continue };
            // Who has left since gets no key any more.
            let key = book.keys.iter().find(|key| key.epoch == epoch && book.members.contains(&dev));
            if let Some(GroupEpoch { activate_at, sealed, .. }) = key {
                let (activate_at, sealed) = (*activate_at, sealed.clone());
                actions.push(Action::Deliver { dev, gid, epoch, activate_at, sealed });
            }
        }
    }

    /// Records from which the groups are made before any command is told.
    pub(crate) fn tell_groups(&self, each: &mut dyn FnMut(u64, GroupChange)) {
        for (gid, book) in &self.books {
            let (gid, name, classes) = (*gid, book.name.clone(), book.classes);
            each(book.created_at, GroupChange::Created { gid, name, classes });
        }
    }

    /// Records of their books, after all commands are told.
    pub(crate) fn tell_books(&self, each: &mut dyn FnMut(u64, Heard)) {
        for (gid, book) in &self.books {
            let (gid, at) = (*gid, book.created_at);
            each(at, Heard::Group(GroupChange::Cleared { gid, version: book.version }));
            for dev in &book.members {
                each(at, Heard::Group(GroupChange::Member { gid, dev: *dev }));
            }
            for GroupEpoch { epoch, activate_at, sealed, told_at } in &book.keys {
                let (epoch, activate_at, sealed) = (*epoch, *activate_at, sealed.clone());
                each(*told_at, Heard::GroupKey { gid, epoch, activate_at, sealed });
            }
            each(at, Heard::Group(GroupChange::Rekey { gid, at: book.rekey_at }));
            if book.jump > 0 {
                each(at, Heard::Group(GroupChange::Jump { gid, by: book.jump }));
            }
        }
    }
}
