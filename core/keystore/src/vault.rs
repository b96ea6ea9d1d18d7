//! Where shards find the keys of their associations. Only `decrypt` holds it.

use c1222::ApTitle;
use seal::ids::{Dev, Epoch, Sid};

use crate::device::ProfileId;
use crate::error::StoreError;
use crate::record::Keys;
use crate::store::Store;

/// An association with its keys, as a shard takes it over.
pub struct Association<'a> {
    /// Its number.
    pub sid: Sid,
    /// The end device.
    pub dev: Dev,
    /// The epoch of its keys; of no meaning for a classic device.
    pub epoch: Epoch,
    /// The device's address, in the form provisioned.
    pub title: ApTitle<'a>,
    /// Its device profile.
    pub profile: ProfileId,
    /// Its keys, by kind.
    pub keys: Keys,
}

/// The keys of an installation, read at the start of a shard. It keeps none of them in memory in clear, and
/// lets go of the database when the last load ends.
pub struct Vault {
    store: Store,
}

impl Vault {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    /// Hands on the associations of the partitions wanted, in the order of partition and index, and returns
    /// how many there were. Several shards may load at once.
    ///
    /// # Errors
    /// [`StoreError::Block`] where a block does not open; those of the database.
    pub fn load(
        &self,
        wanted: &dyn Fn(u16) -> bool,
        sink: &mut dyn FnMut(Association<'_>),
    ) -> Result<u64, StoreError> {
        self.store.each_record(wanted, &mut |place, record| {
            let keys = record.keys().ok_or_else(|| place.damaged())?;
            let (sid, dev, epoch, title, profile) =
                (record.sid, record.dev, record.epoch, record.title, record.profile);
            sink(Association { sid, dev, epoch, title, profile, keys });
            Ok(())
        })
    }
}
