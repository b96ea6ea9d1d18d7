//! New data keys for old: what was erased from the store is gone for good when the key that sealed it is.

use std::sync::PoisonError;

use seal::at_rest::Dek;
use seal::ids::{Epoch, Gid};
use seal::secret::{Key128, Key256, scrubbed};

use crate::block::{Edit, Place};
use crate::credentials::Bucket;
use crate::error::StoreError;
use crate::group::{self, Group};
use crate::kek::{Held, KekId, OLD_MAX, OldHeld, partitions, unix_s};
use crate::key_store::Entry;
use crate::locked::random_32;
use crate::store::Store;
use crate::token::KekHandle;

/// KiB of the stack on which records are sealed anew.
const SCRUBBED: usize = 64;

/// A data key that was replaced and is kept for what stands sealed under it outside the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OldDek {
    /// Its partition.
    pub partition: u16,
    /// When it was replaced, Unix seconds.
    pub replaced: u64,
    /// A position of the journal before which everything sealed under it stands; `None` while there may
    /// come more.
    pub mark: Option<u64>,
}

impl OldDek {
    fn of(partition: u16, old: &OldHeld) -> Self {
        Self { partition, replaced: old.replaced, mark: old.mark }
    }
}

impl Store {
    /// Draws a new data key for each of these partitions, seals all their records under it and keeps no old
    /// one. After a crash at any moment the store is as before, or as after.
    ///
    /// What the journal holds sealed does not open any more: let the store have taken it in before, and the
    /// shards' checkpoints passed it.
    ///
    /// # Errors
    /// [`StoreError`], also those of the token; nothing has changed then.
    pub fn rotate_deks(&mut self, wanted: &[u16]) -> Result<(), StoreError> {
        for (partition, key, held) in self.renew(wanted, &self.token().kek()?)? {
            self.deks.set(partition, &key, held);
        }
        Ok(())
    }

    /// Has another key-encryption key wrap all data keys: new ones, under which everything is sealed anew, or
    /// those that there are. The store itself goes on with its own; it is of no more use than to be closed.
    pub(crate) fn change_kek(&self, kek: &KekHandle, rewrap: bool) -> Result<(), StoreError> {
        if !rewrap {
            let all: Vec<u16> = (0..partitions()).collect();
            return self.renew(&all, kek).map(drop);
        }
        let id = KekId::of(kek)?;
        let entry = |partition| Ok(self.deks.rewrapped(partition, (kek, id))?.entry(partition));
        self.entries.commit(&mut (0..partitions()).map(entry))
    }

    /// Draws new data keys, wrapped by this key-encryption key, and seals everything of their partitions anew.
    fn renew(&self, wanted: &[u16], kek: &KekHandle) -> Result<Vec<(u16, Key256, Held)>, StoreError> {
        let id = Some(KekId::of(kek)?);
        // Room for all at once: a growing vector would leave keys behind.
        let mut keys = Vec::with_capacity(wanted.len());
        for partition in wanted.iter().copied().filter(|partition| *partition < partitions()) {
            let key = Key256::from_octets(*random_32()?);
            let held = Held { wrapped: kek.wrap(&key)?, since: unix_s(), kek: id, old: Vec::new() };
            keys.push((partition, key, held));
        }
        let renewed = keys.iter().flat_map(|(partition, key, held)| {
            let entries = self.renewed(*partition, key, held);
            let (entries, error) = match entries {
                Ok(entries) => (entries, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            entries.into_iter().map(Ok).chain(error)
        });
        self.entries.commit(&mut { renewed })?;
        Ok(keys)
    }

    /// Draws a new data key for a partition of a store that is in use, at this Unix second: its records are
    /// sealed under it, in one write, and the old key is kept for what others hold, until
    /// [`Store::release_deks`]. Who reads records waits meanwhile.
    ///
    /// # Errors
    /// [`StoreError`], also those of the token; nothing has changed then.
    pub fn replace_dek(&self, partition: u16, now: u64) -> Result<(), StoreError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let _keyed = self.keyed.write().unwrap_or_else(PoisonError::into_inner);
        scrubbed::<SCRUBBED, _>(|| {
            let before = self.deks.held().get(usize::from(partition)).cloned();
            let before = before.ok_or(StoreError::Dek { partition })?;
            if before.old.len() >= OLD_MAX {
                return Err(StoreError::OldDeks { partition });
            }
            let key = Key256::from_octets(*random_32()?);
            let mut old = before.old;
            old.insert(0, OldHeld { wrapped: before.wrapped, replaced: now, mark: None });
            let wrapped = self.token().kek()?.wrap(&key)?;
            let held = Held { wrapped, since: now, kek: Some(self.deks.kek()), old };
            self.entries.update(&self.renewed(partition, &key, &held)?)?;
            self.deks.set(partition, &key, held);
            Ok(())
        })
    }

    /// Since when, in Unix seconds, each partition has its data key; 0 where nobody knows.
    #[must_use]
    pub fn dek_dates(&self) -> Vec<u64> {
        self.deks.held().iter().map(|held| held.since).collect()
    }

    /// The replaced data keys that are kept.
    #[must_use]
    pub fn old_deks(&self) -> Vec<OldDek> {
        let held = self.deks.held();
        let old = (0..).zip(held.iter());
        old.flat_map(|(partition, held)| held.old.iter().map(move |old| OldDek::of(partition, old))).collect()
    }

    /// Says of the replaced keys that are `quiet` that all that is sealed under them stands before this
    /// position of the journal.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn mark_deks(&self, quiet: &dyn Fn(&OldDek) -> bool, position: u64) -> Result<usize, StoreError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = self.with_old(|partition, held| {
            for old in held.old.iter_mut().filter(|old| old.mark.is_none()) {
                if quiet(&OldDek::of(partition, old)) {
                    old.mark = Some(position);
                }
            }
        });
        if !changed.is_empty() {
            let entries: Vec<Entry> = changed.iter().map(|(at, held)| held.entry(*at)).collect();
            self.entries.update(&entries)?;
        }
        Ok(self.forget(changed))
    }

    /// Deletes the replaced keys that nobody needs any more. The whole store is written anew, so that no file
    /// of it has them.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn release_deks(&self, over: &dyn Fn(&OldDek) -> bool) -> Result<usize, StoreError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed =
            self.with_old(|partition, held| held.old.retain(|old| !over(&OldDek::of(partition, old))));
        if !changed.is_empty() {
            self.entries.commit(&mut changed.iter().map(|(at, held)| Ok(held.entry(*at))))?;
        }
        Ok(self.forget(changed))
    }

    /// Whether all keys that it holds lie in memory that is not swapped out.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.deks.is_locked() && self.token().is_locked()
    }

    /// The entries of partitions that `act` changes.
    fn with_old(&self, mut act: impl FnMut(u16, &mut Held)) -> Vec<(u16, Held)> {
        let held = self.deks.held();
        let changed = (0..).zip(held.iter()).filter_map(|(partition, before)| {
            let mut after = before.clone();
            act(partition, &mut after);
            (after != *before).then_some((partition, after))
        });
        changed.collect()
    }

    fn forget(&self, changed: Vec<(u16, Held)>) -> usize {
        let count = changed.len();
        changed.into_iter().for_each(|(partition, held)| self.deks.forget(partition, held));
        count
    }

    /// Opens a group's key, sealed by a data key that the partition has or had.
    pub(crate) fn open_group(&self, gid: Gid, epoch: Epoch, sealed: &[u8]) -> Result<Key128, StoreError> {
        let opened =
            self.deks.find(group::partition(gid), |dek| group::open(&dek, gid, epoch, sealed).ok())?;
        opened.ok_or(StoreError::Group { gid })
    }

    /// All entries of a partition under another key, and the key.
    fn renewed(&self, partition: u16, key: &Key256, held: &Held) -> Result<Vec<Entry>, StoreError> {
        let (from, to) = (self.deks.unwrap(partition)?, Dek::new(key));
        let mut entries = vec![held.entry(partition)];
        self.entries.read(&[Place::prefix(partition)], &mut |key, value| {
            let place = Place::read(key).ok_or(StoreError::Value { name: "associations" })?;
            entries.push((key.to_vec(), Edit::begin(place, &from, value)?.finish_under(&to)?));
            Ok(())
        })?;
        self.entries.read(&[Bucket::prefix(partition)], &mut |key, value| {
            let bucket = Bucket::read(key).ok_or(StoreError::Value { name: "credentials" })?;
            let mut new = Vec::with_capacity(value.len());
            bucket.open(&from, value, &mut |record| record.append(&mut new, &to, crate::vault::nonce()?))?;
            entries.push((key.to_vec(), new));
            Ok(())
        })?;
        self.entries.read(&[Group::prefix()], &mut |key, value| {
            let mut group = Group::read(key, value)?;
            if group::partition(group.gid) == partition {
                group.renew(&from, &to)?;
                entries.push(group.entry());
            }
            Ok(())
        })?;
        if partition == 0 {
            entries.extend(self.renewed_trust(&to)?);
        }
        Ok(entries)
    }
}
