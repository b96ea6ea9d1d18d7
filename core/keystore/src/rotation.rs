//! New data keys for old: what was erased from the store is gone for good when the key that sealed it is.

use seal::at_rest::Dek;
use seal::secret::Key256;

use crate::block::{Edit, Place};
use crate::credentials::Bucket;
use crate::error::StoreError;
use crate::group::{self, Group};
use crate::kek::partitions;
use crate::key_store::Entry;
use crate::locked::random_32;
use crate::store::Store;
use crate::table::Table;
use crate::token::KekHandle;

impl Store {
    /// Draws a new data key for each of these partitions and seals all their records under it. After a crash
    /// at any moment the store is as before, or as after.
    ///
    /// What the journal holds sealed does not open any more: let the store have taken it in before, and the
    /// shards' checkpoints passed it.
    ///
    /// # Errors
    /// [`StoreError`], also those of the token; nothing has changed then.
    pub fn rotate_deks(&mut self, wanted: &[u16]) -> Result<(), StoreError> {
        let kek = self.token().kek()?;
        // Room for all at once: a growing vector would leave keys behind.
        let mut keys = Vec::with_capacity(wanted.len());
        for partition in wanted.iter().copied().filter(|partition| *partition < partitions()) {
            keys.push((partition, Key256::from_octets(*random_32()?)));
        }
        let renewed = keys.iter().flat_map(|(partition, key)| {
            let entries = self.renewed(&kek, *partition, key);
            let (entries, error) = match entries {
                Ok(entries) => (entries, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            entries.into_iter().map(Ok).chain(error)
        });
        self.entries.commit(&mut { renewed })?;
        for (partition, key) in &keys {
            self.deks.set(*partition, key);
        }
        Ok(())
    }

    /// All entries of a partition under another key, and the key.
    fn renewed(&self, kek: &KekHandle, partition: u16, key: &Key256) -> Result<Vec<Entry>, StoreError> {
        let (from, to) = (self.deks.unwrap(partition)?, Dek::new(key));
        let mut entries = vec![(Table::Dek.key(&partition.to_be_bytes()), kek.wrap(key)?.to_vec())];
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
