//! Where shards find the keys of their associations and groups, and where new ones are sealed for the journal.
//! Of the nodes only `decrypt`, `registrar` and the key store itself hold it.

use std::sync::{Arc, PoisonError};

use c1222::ApTitle;
use getrandom::fill;
use seal::at_rest::{NONCE_LEN, OVERHEAD};
use seal::ids::{Dev, Epoch, Gid, Sid};
use seal::secret::{Key128, Prk, scrubbed};
use zeroize::Zeroizing;

use crate::block::{self, Place};
use crate::device::{Kind, ProfileId, Standing};
use crate::error::StoreError;
use crate::group::{self, Group};
use crate::record::{self, Head, Keys, Record};
use crate::store::Store;

/// KiB of the stack on which records are opened and sealed.
const SCRUBBED: usize = 32;

/// An association with its keys, as a shard takes it over.
pub struct StoredAssociation<'a> {
    /// Its number.
    pub sid: Sid,
    /// The end device.
    pub dev: Dev,
    /// The active epoch; of no meaning for a classic device.
    pub epoch: Epoch,
    /// The device's address, in the form provisioned.
    pub title: ApTitle<'a>,
    /// Its serial number.
    pub esn: &'a str,
    /// Its device profile.
    pub profile: ProfileId,
    /// How it stands: fresh, proved or retired.
    pub standing: Standing,
    /// When retired: from this Unix second on it is not opened any more.
    pub until: u64,
    /// Of a restored state: its frames count from the proof of a new challenge on.
    pub gated: bool,
    /// Its keys, by kind.
    pub keys: Keys,
}

impl<'a> StoredAssociation<'a> {
    pub(crate) fn of(record: Record<'a>) -> Option<Self> {
        let keys = record.keys()?;
        let Record { sid, dev, head, .. } = record;
        let Head { epoch, title, esn, profile, until, gated, .. } = head;
        Some(Self { sid, dev, epoch, title, esn, profile, standing: head.standing(), until, gated, keys })
    }
}

/// What a registration makes.
pub struct NewAssociation<'a> {
    /// The association's number.
    pub sid: Sid,
    /// The end device.
    pub dev: Dev,
    /// PRK_out of epoch 0.
    pub prk: &'a Prk,
    /// The device's address.
    pub title: ApTitle<'a>,
    /// Its serial number, at most [`ESN_OCTETS_MAX`](crate::shipment::ESN_OCTETS_MAX) octets.
    pub esn: &'a str,
    /// Its device profile.
    pub profile: ProfileId,
}

/// A group's key of one epoch, as the shard of the group takes it over.
pub struct StoredGroupKey {
    /// The group.
    pub gid: Gid,
    /// The epoch.
    pub epoch: Epoch,
    /// Unix seconds from which on it is the current one.
    pub activate_at: u32,
    /// The group master secret.
    pub gms: Key128,
}

/// The keys of an installation. It keeps none of them in memory in clear but the partitions' data keys, and
/// lets go of the database when the last load ends.
pub struct Vault {
    store: Arc<Store>,
}

impl Vault {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store }
    }

    /// Hands on the associations of the partitions wanted, in the order of partition and block, and returns
    /// how many there were; those that are gone or revoked are left out. Several shards may load at once.
    ///
    /// # Errors
    /// [`StoreError::Block`] where a block does not open; those of the database.
    pub fn load(
        &self,
        wanted: &dyn Fn(u16) -> bool,
        sink: &mut dyn FnMut(StoredAssociation<'_>),
    ) -> Result<u64, StoreError> {
        let mut count = 0;
        self.store.each_record(wanted, &mut |place, record| {
            if !record.head.gone {
                sink(StoredAssociation::of(record).ok_or_else(|| place.damaged())?);
                count += 1;
            }
            Ok(())
        })?;
        Ok(count)
    }

    /// Whether the store says that a device is revoked. What was revoked since it was written last the
    /// [`Directory`](crate::Directory) knows.
    ///
    /// # Errors
    /// [`StoreError::Bucket`] when its credential does not open; those of the database.
    pub fn is_revoked(&self, dev: Dev) -> Result<bool, StoreError> {
        Ok(self.store.credential(dev)?.is_some_and(|found| found.revoked))
    }

    /// The record of a new association, sealed as it will stand in the store: for the journal's record 3 and
    /// for `Order::Register`.
    ///
    /// # Errors
    /// When the system gives no random octets.
    pub fn seal_association(&self, new: &NewAssociation<'_>) -> Result<Vec<u8>, StoreError> {
        scrubbed::<SCRUBBED, _>(|| {
            let dek = self.store.deks.unwrap(Place::of(new.sid).partition)?;
            let mut octets = Zeroizing::new(Vec::with_capacity(record::OCTETS_MAX));
            let head = Head::new(Kind::Profile1, new.profile, new.title, new.esn);
            record::write_registered(&mut octets, new.sid, &head, new.prk);
            let mut sealed = Vec::with_capacity(octets.len() + OVERHEAD);
            block::seal(&mut sealed, &dek, nonce()?, (new.sid, new.dev), &octets)?;
            Ok(sealed)
        })
    }

    /// Opens what [`Vault::seal_association`] made for these two and hands it to `take`.
    ///
    /// # Errors
    /// [`StoreError::Block`] when it does not open: changed, moved, or sealed under a data key that was
    /// replaced since and is not kept any more.
    pub fn open_association<T>(
        &self,
        sid: Sid,
        dev: Dev,
        sealed: &[u8],
        take: impl FnOnce(StoredAssociation<'_>) -> T,
    ) -> Result<T, StoreError> {
        scrubbed::<SCRUBBED, _>(|| {
            let place = Place::of(sid);
            let mut buffer = Zeroizing::new([0; record::OCTETS_MAX + OVERHEAD]);
            let mut take = Some(take);
            let taken = self.store.deks.find(place.partition, |dek| {
                let record = block::open(&dek, (sid, dev), sealed, buffer.as_mut_slice()).ok()?;
                StoredAssociation::of(record).map(take.take()?)
            })?;
            taken.ok_or_else(|| place.damaged())
        })
    }

    /// Draws the key of a group for an epoch. It leaves only sealed, by the key of the group's partition.
    ///
    /// # Errors
    /// When the system gives no random octets.
    pub fn draw_group_key(&self, gid: Gid, epoch: Epoch) -> Result<Vec<u8>, StoreError> {
        scrubbed::<SCRUBBED, _>(|| {
            let mut octets = Zeroizing::new([0; Key128::LEN]);
            fill(octets.as_mut_slice())?;
            self.seal_group_key(gid, epoch, &Key128::from_octets(*octets))
        })
    }

    /// Seals the key of a group for an epoch.
    ///
    /// # Errors
    /// When the system gives no random octets.
    pub fn seal_group_key(&self, gid: Gid, epoch: Epoch, gms: &Key128) -> Result<Vec<u8>, StoreError> {
        scrubbed::<SCRUBBED, _>(|| {
            let dek = self.store.deks.unwrap(group::partition(gid))?;
            group::seal(&dek, gid, epoch, gms)
        })
    }

    /// Opens a group's key. Who keeps one for long has it sealed under a data key that is gone; then it is
    /// what the store has for this group and epoch.
    ///
    /// # Errors
    /// [`StoreError::Group`] when neither is there.
    pub fn open_group_key(&self, gid: Gid, epoch: Epoch, sealed: &[u8]) -> Result<Key128, StoreError> {
        scrubbed::<SCRUBBED, _>(|| {
            self.store.open_group(gid, epoch, sealed).or_else(|error| {
                let _keyed = self.store.keyed.read().unwrap_or_else(PoisonError::into_inner);
                let key = Group::key(gid);
                let Some(value) = self.store.entries.get(&key)? else { return Err(error) };
                let group = Group::read(&key, &value)?;
                let held = group.keys.iter().find(|held| held.epoch == epoch).ok_or(error)?;
                self.store.open_group(gid, epoch, &held.sealed)
            })
        })
    }

    /// Hands on the keys of all groups of the partitions wanted, a group's in the order of epochs, and
    /// returns how many there were.
    ///
    /// # Errors
    /// [`StoreError::Group`] where a key does not open; those of the database.
    pub fn load_groups(
        &self,
        wanted: &dyn Fn(u16) -> bool,
        sink: &mut dyn FnMut(StoredGroupKey),
    ) -> Result<u64, StoreError> {
        let mut count = 0;
        let _keyed = self.store.keyed.read().unwrap_or_else(PoisonError::into_inner);
        self.store.entries.read(&[Group::prefix()], &mut |key, value| {
            let group = Group::read(key, value)?;
            if !wanted(group::partition(group.gid)) {
                return Ok(());
            }
            for held in &group.keys {
                let gms =
                    scrubbed::<SCRUBBED, _>(|| self.store.open_group(group.gid, held.epoch, &held.sealed))?;
                sink(StoredGroupKey {
                    gid: group.gid,
                    epoch: held.epoch,
                    activate_at: held.activate_at,
                    gms,
                });
                count += 1;
            }
            Ok(())
        })?;
        Ok(count)
    }
}

/// Draws keys of groups for who orders them and must not see one: the command desk.
pub struct GroupKeySource(Vault);

impl GroupKeySource {
    pub(crate) fn new(vault: Vault) -> Self {
        Self(vault)
    }

    /// The key of a group for an epoch, sealed: [`Vault::draw_group_key`].
    ///
    /// # Errors
    /// When the system gives no random octets.
    pub fn draw(&self, gid: Gid, epoch: Epoch) -> Result<Vec<u8>, StoreError> {
        self.0.draw_group_key(gid, epoch)
    }
}

pub(crate) fn nonce() -> Result<[u8; NONCE_LEN], StoreError> {
    let mut nonce = [0; NONCE_LEN];
    fill(&mut nonce)?;
    Ok(nonce)
}
