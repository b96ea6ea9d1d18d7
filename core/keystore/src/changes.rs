//! What the journal says of keys, taken into the store in batches.
//!
//! The journal is the truth; the store follows it, so that a start has not to read all of it. Each change may
//! come again, after a crash between the store's write and the cursor's: taken in twice it is as once.

use std::collections::HashSet;
use std::sync::PoisonError;

use seal::association::{CANDIDATES_MAX, RETIRING_MAX, RETIRING_S};
use seal::at_rest::NONCE_LEN;
use seal::ids::{Dev, Epoch, Gid, Sid};
use seal::schedule::{self, AssociationKeys};
use seal::secret::{Prk, scrubbed};
use zeroize::Zeroizing;

use crate::block::{self, Edit, Place};
use crate::credentials::{self, Bucket};
use crate::error::StoreError;
use crate::group::Group;
use crate::kek::Deks;
use crate::key_store::Entry;
use crate::record::{self, Head, Keys, Record, Retiring};
use crate::store::{Store, records_entry};

/// Blocks that are changed in one write: what they hold is in memory then.
const BLOCKS_A_WRITE: usize = 128;
/// KiB of the stack on which blocks are changed.
const SCRUBBED: usize = 64;
/// Room for a record that is opened.
const BUFFER: usize = record::OCTETS_MAX + seal::at_rest::OVERHEAD;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A device registered.
    Association {
        /// The new association.
        sid: Sid,
        /// The end device.
        dev: Dev,
        /// Its record, as [`Vault::seal_association`](crate::Vault::seal_association) made it.
        sealed: Box<[u8]>,
    },
    /// A candidate epoch is the active one.
    Promoted {
        /// The association.
        sid: Sid,
        /// The epoch.
        epoch: Epoch,
        /// When, Unix seconds.
        at: u64,
    },
    /// Epochs up to this one are issued.
    Issued {
        /// The association.
        sid: Sid,
        /// The newest.
        epoch: Epoch,
        /// For which campaign.
        campaign: u32,
    },
    /// The state was restored from a backup: frames count from the next proof on, and these epochs are issued.
    Gated {
        /// The association.
        sid: Sid,
        /// The active epoch; with another one it has been proven since.
        active: Epoch,
        /// The newest.
        newest: Epoch,
    },
    /// A frame under it was opened.
    Proved {
        /// The association.
        sid: Sid,
    },
    /// It was replaced.
    Retired {
        /// The association.
        sid: Sid,
        /// It is opened until then, Unix seconds.
        until: u64,
    },
    /// A device is revoked, with this association, if it is one.
    Revoked {
        /// The end device.
        dev: Dev,
        /// The association.
        sid: Sid,
    },
    /// A group has a key for an epoch.
    GroupKey {
        /// The group.
        gid: Gid,
        /// The epoch.
        epoch: Epoch,
        /// Unix seconds from which on it is the current one.
        activate_at: u32,
        /// GMS, sealed by the key of the group's partition.
        sealed: Box<[u8]>,
    },
}

impl Change {
    fn sid(&self) -> Option<Sid> {
        match self {
            Self::Association { sid, .. }
            | Self::Promoted { sid, .. }
            | Self::Issued { sid, .. }
            | Self::Gated { sid, .. }
            | Self::Proved { sid }
            | Self::Retired { sid, .. }
            | Self::Revoked { sid, .. } => Some(*sid).filter(|sid| sid.is_valid()),
            Self::GroupKey { .. } => None,
        }
    }
}

/// What came of changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Associations whose keys are erased now.
    pub gone: Vec<Sid>,
    /// Changes that fit nothing in the store: of an association that is not there, a record that does not
    /// open, epochs that were never issued.
    pub odd: u64,
}

impl Store {
    /// Takes in changes in their order, at this Unix second. They are durable on return.
    ///
    /// # Errors
    /// [`StoreError`]: some of them are in then; take all in again.
    pub fn apply(&self, changes: &[Change], now: u64) -> Result<Applied, StoreError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        scrubbed::<SCRUBBED, _>(|| self.take_in(changes, now))
    }

    fn take_in(&self, changes: &[Change], now: u64) -> Result<Applied, StoreError> {
        let mut applied = Applied::default();
        let mut records = self.records()?;
        let mut by_place: Vec<(Place, &Change)> =
            changes.iter().filter_map(|change| Some((Place::of(change.sid()?), change))).collect();
        by_place.sort_by_key(|(place, _)| *place);
        let groups: Vec<_> = by_place.chunk_by(|a, b| a.0 == b.0).collect();
        let barred = self.barred(changes)?;
        for some in groups.chunks(BLOCKS_A_WRITE) {
            let before = records;
            let mut entries = Vec::new();
            for changes in some {
                entries.extend(self.change_block(changes, (now, &barred), &mut records, &mut applied)?);
            }
            if records != before {
                entries.push(records_entry(records));
            }
            self.write(&entries)?;
        }
        let mut entries = self.revoke(changes)?;
        entries.extend(self.change_groups(changes, now, &mut applied)?);
        self.write(&entries)?;
        Ok(applied)
    }

    /// Erases the keys of retired associations, epochs and groups of these partitions whose time is over.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then.
    pub fn sweep(&self, partitions: std::ops::Range<u16>, now: u64) -> Result<Applied, StoreError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        scrubbed::<SCRUBBED, _>(|| self.sweep_out(partitions, now))
    }

    fn sweep_out(&self, partitions: std::ops::Range<u16>, now: u64) -> Result<Applied, StoreError> {
        let (mut applied, mut entries) = (Applied::default(), Vec::new());
        let prefixes: Vec<Vec<u8>> = partitions.clone().map(Place::prefix).collect();
        self.entries.read(&prefixes, &mut |key, value| {
            let place = Place::read(key).ok_or(StoreError::Value { name: "associations" })?;
            let dek = self.deks.unwrap(place.partition)?;
            let mut over = Vec::new();
            place.open(&dek, value, &mut |record| {
                over.extend(is_over(&record, now).then_some(record.sid));
                Ok(())
            })?;
            if !over.is_empty() {
                let mut edit = Edit::begin(place, &dek, value)?;
                for sid in over {
                    change(&mut edit, sid, |head, keys| expire(head, keys, sid, now, &mut applied))?;
                }
                entries.push((place.key(), edit.finish()?));
            }
            Ok(())
        })?;
        self.entries.read(&[Group::prefix()], &mut |key, value| {
            let mut group = Group::read(key, value)?;
            let keys = group.keys.len();
            group.expire(now.saturating_sub(RETIRING_S));
            if group.keys.len() < keys && partitions.contains(&crate::group::partition(group.gid)) {
                entries.push(group.entry());
            }
            Ok(())
        })?;
        self.write(&entries)?;
        Ok(applied)
    }

    fn write(&self, entries: &[Entry]) -> Result<(), StoreError> {
        if entries.is_empty() { Ok(()) } else { self.entries.update(entries) }
    }

    /// The devices that register here and are revoked: what was under way when they were.
    fn barred(&self, changes: &[Change]) -> Result<HashSet<Dev>, StoreError> {
        let revoked = |change: &Change| match change {
            Change::Revoked { dev, .. } => Some(*dev),
            _ => None,
        };
        let mut barred: HashSet<Dev> = changes.iter().filter_map(revoked).collect();
        for change in changes {
            if let Change::Association { dev, .. } = change
                && self.credential(*dev)?.is_some_and(|found| found.revoked)
            {
                barred.insert(*dev);
            }
        }
        Ok(barred)
    }

    /// The block of these changes, all of one place, if any of them changes something.
    fn change_block(
        &self,
        changes: &[(Place, &Change)],
        (now, barred): (u64, &HashSet<Dev>),
        records: &mut u64,
        applied: &mut Applied,
    ) -> Result<Option<Entry>, StoreError> {
        let Some((place, _)) = changes.first() else { return Ok(None) };
        let dek = self.deks.unwrap(place.partition)?;
        let before = self.entries.get(&place.key())?.unwrap_or_default();
        let mut edit = Edit::begin(*place, &dek, &before)?;
        let mut changed = false;
        for (_, change) in changes {
            let outcome = match change {
                Change::Association { sid, dev, sealed } => {
                    let dek = (&self.deks, place.partition);
                    let barred = barred.contains(dev);
                    let added = add(&mut edit, dek, (*sid, *dev), (sealed, barred), records)?;
                    applied.gone.extend((barred && added == Outcome::Changed).then_some(*sid));
                    added
                }
                change => alter(&mut edit, change, now, applied)?,
            };
            changed |= outcome == Outcome::Changed;
            applied.odd += u64::from(outcome == Outcome::Odd);
        }
        if changed { Ok(Some((place.key(), edit.finish()?))) } else { Ok(None) }
    }

    /// The buckets of the devices that are revoked.
    fn revoke(&self, changes: &[Change]) -> Result<Vec<Entry>, StoreError> {
        let mut devs: Vec<(Bucket, Dev)> = changes
            .iter()
            .filter_map(|change| match change {
                Change::Revoked { dev, .. } => Some((Bucket::of(*dev), *dev)),
                _ => None,
            })
            .collect();
        devs.sort_unstable_by_key(|(bucket, _)| *bucket);
        let mut entries = Vec::new();
        for devs in devs.chunk_by(|a, b| a.0 == b.0) {
            let Some((bucket, _)) = devs.first() else { continue };
            let Some(value) = self.entries.get(&bucket.key())? else { continue };
            let dek = self.deks.unwrap(bucket.partition)?;
            let (mut new, mut changed) = (Vec::new(), false);
            bucket.open(&dek, &value, &mut |record| {
                let revoked = record.revoked || devs.iter().any(|(_, dev)| *dev == record.dev);
                changed |= revoked != record.revoked;
                let record = credentials::Record { revoked, ..record };
                record.append(&mut new, &dek, nonce()?)
            })?;
            if changed {
                entries.push((bucket.key(), new));
            }
        }
        Ok(entries)
    }

    fn change_groups(
        &self,
        changes: &[Change],
        now: u64,
        applied: &mut Applied,
    ) -> Result<Vec<Entry>, StoreError> {
        let mut groups: Vec<(Group, bool)> = Vec::new();
        for change in changes {
            let Change::GroupKey { gid, epoch, activate_at, sealed } = change else { continue };
            // What does not open is of no use to anybody.
            let Ok(gms) = self.open_group(*gid, *epoch, sealed) else {
                applied.odd += 1;
                continue;
            };
            // It may be sealed under a data key that was replaced since.
            let dek = self.deks.unwrap(crate::group::partition(*gid))?;
            let sealed = crate::group::seal(&dek, *gid, *epoch, &gms)?;
            let place = match groups.iter().position(|(group, _)| group.gid == *gid) {
                Some(place) => place,
                None => {
                    let value = self.entries.get(&Group::key(*gid))?;
                    let group = value.map(|value| Group::read(&Group::key(*gid), &value)).transpose()?;
                    groups.push((group.unwrap_or_else(|| Group::new(*gid)), false));
                    groups.len() - 1
                }
            };
            if let Some((group, changed)) = groups.get_mut(place) {
                *changed |= group.learn(*epoch, *activate_at, &sealed);
            }
        }
        let changed = groups.into_iter().filter(|(_, changed)| *changed);
        Ok(changed
            .map(|(mut group, _)| {
                group.expire(now.saturating_sub(RETIRING_S));
                group.entry()
            })
            .collect())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Changed,
    /// It was so already.
    Same,
    Odd,
}

impl From<bool> for Outcome {
    fn from(changed: bool) -> Self {
        if changed { Self::Changed } else { Self::Same }
    }
}

/// Adds a registered association, of a revoked device without its keys. One that is there already has gone on
/// since.
fn add(
    edit: &mut Edit<'_>,
    (deks, partition): (&Deks, u16),
    (sid, dev): (Sid, Dev),
    (sealed, barred): (&[u8], bool),
    records: &mut u64,
) -> Result<Outcome, StoreError> {
    let occupant = edit.occupant(sid);
    if let Some((other, _)) = occupant.filter(|(other, _)| other.generation() >= sid.generation()) {
        return Ok(if other == sid { Outcome::Same } else { Outcome::Odd });
    }
    let mut buffer = Zeroizing::new([0; BUFFER]);
    // It may be sealed under a data key that was replaced since.
    let added = deks.find(partition, |dek| {
        let opened = block::open(&dek, (sid, dev), sealed, buffer.as_mut_slice()).ok()?;
        let keys = opened.keys()?;
        let head = Head { revoked: barred, gone: barred, ..opened.head };
        edit.set((sid, dev), |out| record::write(out, &head, Some(&keys).filter(|_| !barred)));
        Some(Outcome::Changed)
    })?;
    *records += u64::from(added.is_some() && occupant.is_none());
    Ok(added.unwrap_or(Outcome::Odd))
}

/// Changes the record of an association.
fn alter(edit: &mut Edit<'_>, what: &Change, now: u64, applied: &mut Applied) -> Result<Outcome, StoreError> {
    let Some(sid) = what.sid() else { return Ok(Outcome::Same) };
    match edit.occupant(sid) {
        // The slot has been used again since.
        Some((other, _)) if other.generation() > sid.generation() => return Ok(Outcome::Same),
        Some((other, _)) if other == sid => {}
        _ => return Ok(Outcome::Odd),
    }
    let occupant = edit.occupant(sid).map(|(_, dev)| dev);
    change(edit, sid, |head, keys| match *what {
        Change::Promoted { epoch, at, .. } => promote(head, keys, sid, epoch, at, now),
        Change::Issued { epoch, campaign, .. } => issue(head, keys, epoch, campaign),
        Change::Gated { active, newest, .. } => gate(head, keys, active, newest),
        Change::Proved { .. } => {
            let changed = !head.proved && !head.gone;
            head.proved |= changed;
            changed.into()
        }
        Change::Retired { until, .. } => {
            let changed = !head.retired && !head.gone;
            if changed {
                (head.retired, head.until) = (true, until);
            }
            changed.into()
        }
        Change::Revoked { dev, .. } if occupant == Some(dev) => {
            let changed = !head.revoked || !head.gone;
            if !head.gone {
                applied.gone.push(sid);
            }
            (head.revoked, head.gone, *keys) = (true, true, None);
            changed.into()
        }
        Change::Revoked { .. } => Outcome::Odd,
        Change::Association { .. } | Change::GroupKey { .. } => Outcome::Same,
    })
}

/// Opens a record, changes it, and puts it back when it has changed.
fn change(
    edit: &mut Edit<'_>,
    sid: Sid,
    act: impl FnOnce(&mut Head<'_>, &mut Option<Keys>) -> Outcome,
) -> Result<Outcome, StoreError> {
    let mut buffer = Zeroizing::new([0; BUFFER]);
    let Some(record) = edit.find(sid, buffer.as_mut_slice())? else { return Ok(Outcome::Odd) };
    let (mut head, mut keys, dev) = (record.head, record.keys(), record.dev);
    if keys.is_none() && !head.gone {
        return Err(Place::of(sid).damaged());
    }
    let outcome = act(&mut head, &mut keys);
    if outcome == Outcome::Changed {
        edit.set((sid, dev), |out| record::write(out, &head, keys.as_ref()));
    }
    Ok(outcome)
}

/// Ratchets to the proven epoch: the one before retires, what led there is erased.
fn promote(head: &mut Head<'_>, keys: &mut Option<Keys>, sid: Sid, to: Epoch, at: u64, now: u64) -> Outcome {
    if head.gone || to <= head.epoch {
        return Outcome::Same;
    }
    let steps = to.0.saturating_sub(head.epoch.0);
    let Some(Keys::Profile1 { prk, keys: active, issued, retiring, .. }) = keys else {
        return Outcome::Odd;
    };
    if usize::from(steps) > CANDIDATES_MAX {
        return Outcome::Odd;
    }
    let mut reached = Prk::from_octets(*prk.expose());
    for epoch in (head.epoch.0..to.0).filter_map(|epoch| Epoch(epoch).next()) {
        reached = schedule::advance(&reached, epoch);
    }
    let AssociationKeys { up, common_iv, .. } = std::mem::replace(active, schedule::derive(&reached, sid));
    *prk = reached;
    // Room for all at once: a growing vector would leave keys behind.
    let mut still = Vec::with_capacity(RETIRING_MAX + 1);
    // Of a restored state nobody knows what was seen of the epochs before.
    if !std::mem::take(&mut head.gated) {
        still.extend(retiring.drain(..).filter(|old| old.until > now));
        still.push(Retiring { epoch: head.epoch, up, common_iv, until: at.saturating_add(RETIRING_S) });
    }
    still.drain(..still.len().saturating_sub(RETIRING_MAX));
    (*retiring, *issued, head.epoch) = (still, to.max(*issued), to);
    Outcome::Changed
}

fn gate(head: &mut Head<'_>, keys: &mut Option<Keys>, active: Epoch, to: Epoch) -> Outcome {
    match keys {
        _ if head.gone || head.epoch > active => Outcome::Same,
        Some(Keys::Profile1 { issued, .. }) => {
            let changed = !head.gated || to > *issued;
            (head.gated, *issued) = (true, to.max(*issued));
            changed.into()
        }
        _ => Outcome::Odd,
    }
}

fn issue(head: &Head<'_>, keys: &mut Option<Keys>, to: Epoch, by: u32) -> Outcome {
    match keys {
        _ if head.gone => Outcome::Same,
        Some(Keys::Profile1 { issued, campaign, .. }) => {
            let changed = to > *issued || by > *campaign;
            (*issued, *campaign) = (to.max(*issued), by.max(*campaign));
            changed.into()
        }
        _ => Outcome::Odd,
    }
}

/// Whether something of a record is to be erased.
fn is_over(record: &Record<'_>, now: u64) -> bool {
    let head = &record.head;
    !head.gone
        && (head.retired && head.until <= now
            || matches!(record.keys(), Some(Keys::Profile1 { retiring, .. })
                if retiring.iter().any(|old| old.until <= now)))
}

fn expire(
    head: &mut Head<'_>,
    keys: &mut Option<Keys>,
    sid: Sid,
    now: u64,
    applied: &mut Applied,
) -> Outcome {
    if head.retired && head.until <= now {
        (head.gone, *keys) = (true, None);
        applied.gone.push(sid);
    } else if let Some(Keys::Profile1 { retiring, .. }) = keys {
        let mut still = Vec::with_capacity(RETIRING_MAX);
        still.extend(retiring.drain(..).filter(|old| old.until > now));
        *retiring = still;
    }
    Outcome::Changed
}

fn nonce() -> Result<[u8; NONCE_LEN], StoreError> {
    crate::vault::nonce()
}
