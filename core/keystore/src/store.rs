//! The key store of one installation: made, opened, read as a stream.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use seal::ids::{Dev, System};
use seal::secret::scrubbed;

use crate::block::Place;
use crate::credentials::{self, Bucket, Credentials, DeviceCredential};
use crate::error::StoreError;
use crate::group::Group;
use crate::kek::{Deks, KekId, partitions};
use crate::kek_change;
use crate::key_store::{Entry, KeyStore};
use crate::record::Record;
use crate::sled_store::SledStore;
use crate::table::Table;
use crate::token::{self, Config, Holder, Token};
use crate::vault::{GroupKeySource, Vault};

/// The folder of the key store in the state folder.
pub const FOLDER: &str = "keystore";

const LOCK: &str = "lock";
const SYSTEM: &str = "system";
/// Devices that came in a file.
const DEVICES: &str = "devices";
/// Records of associations, those that are gone included.
const ASSOCIATIONS: &str = "associations";
/// Records of device credentials.
const CREDENTIALS: &str = "credentials";

/// How long to wait for another process that is just ending.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// An open key store. No other process can open it meanwhile.
pub struct Store {
    pub(crate) deks: Deks,
    pub(crate) entries: Box<dyn KeyStore>,
    system: System,
    token: Token,
    /// Held from the reading of what is changed to the writing.
    pub(crate) changing: Mutex<()>,
    /// Held for reading from a data key to the records that it opens, for writing while it is replaced.
    pub(crate) keyed: RwLock<()>,
    _lock: File,
}

impl Store {
    /// Makes a key store in `folder`, which must not exist: draws the identity of the installation (or takes
    /// the one given, for tests), the lab's tokens in clear files of it, and the partitions' keys. After a
    /// crash or an error there is no folder.
    ///
    /// # Errors
    /// [`StoreError::Exists`] on a second time; failures of the file system.
    pub fn init(folder: &Path, system: Option<System>) -> Result<System, StoreError> {
        Self::init_with(folder, system, None)
    }

    /// Like [`Store::init`] with the tokens of a configuration. Software tokens that are not there yet are
    /// made; those of PKCS#11 must hold their objects, by `metergraph keys ceremony`.
    ///
    /// # Errors
    /// Those of [`Store::init`], and of the tokens.
    pub fn init_with(
        folder: &Path,
        system: Option<System>,
        tokens: Option<&Config>,
    ) -> Result<System, StoreError> {
        if folder.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { folder: folder.to_owned() });
        }
        let system = match system {
            Some(system) => system,
            None => {
                let mut octets = [0; 8];
                getrandom::fill(&mut octets)?;
                System(octets)
            }
        };
        let new = folder.with_extension("new");
        if new.exists() {
            fs::remove_dir_all(&new).map_err(StoreError::io(&new))?;
        }
        let parent =
            folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(StoreError::io(parent))?;
        DirBuilder::new().mode(0o700).create(&new).map_err(StoreError::io(&new))?;
        let kek = match tokens {
            Some(tokens) => tokens.install(&new)?,
            None => Config::lab(&new)?.install(&new)?,
        };
        let values = [value(SYSTEM, system.0), devices_entry(0), records_entry(0)];
        SledStore::new(&new).commit(&mut values.into_iter().map(Ok).chain(Deks::draw(&kek)?))?;
        fs::rename(&new, folder).map_err(StoreError::io(folder))?;
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(StoreError::io(parent))?;
        Ok(system)
    }

    /// Opens the key store in `folder` and tries its key-encryption key.
    ///
    /// # Errors
    /// [`StoreError`]; among them [`StoreError::Missing`], [`StoreError::InUse`], [`StoreError::WrongKek`],
    /// [`StoreError::KekChanging`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let lock = lock(folder)?;
        if kek_change::is_begun(folder) {
            return Err(StoreError::KekChanging { folder: folder.to_owned() });
        }
        Self::open_with(folder, token::open(folder, Holder::KeyStore)?, lock)
    }

    /// Opens it with this token.
    pub(crate) fn open_with(folder: &Path, token: Token, lock: File) -> Result<Self, StoreError> {
        let entries: Box<dyn KeyStore> = Box::new(SledStore::new(folder));
        let kek = token.kek()?;
        let deks = scrubbed::<128, _>(|| Deks::read(&kek, &*entries))?;
        let system = System(read_value(&*entries, SYSTEM)?);
        Ok(Self {
            deks,
            entries,
            system,
            token,
            changing: Mutex::new(()),
            keyed: RwLock::new(()),
            _lock: lock,
        })
    }

    /// The identity of the installation.
    #[must_use]
    pub fn system(&self) -> System {
        self.system
    }

    /// The key store's token: it wraps the data keys and holds the incarnation.
    #[must_use]
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Which key-encryption key wraps it.
    #[must_use]
    pub fn kek(&self) -> KekId {
        self.deks.kek()
    }

    /// Opens everything that it holds once.
    pub(crate) fn read_through(&self) -> Result<(), StoreError> {
        self.each_record(&|_| true, &mut |_, _| Ok(()))?;
        self.each_credential(&mut |_| Ok(()))?;
        self.entries.read(&[Group::prefix()], &mut |key, value| {
            let group = Group::read(key, value)?;
            group
                .keys
                .iter()
                .try_for_each(|held| self.open_group(group.gid, held.epoch, &held.sealed).map(drop))
        })?;
        self.trust().map(drop)
    }

    /// How many devices it holds.
    ///
    /// # Errors
    /// Those of reading.
    pub fn devices(&self) -> Result<u64, StoreError> {
        read_value(&*self.entries, DEVICES).map(u64::from_be_bytes)
    }

    /// How many records of associations it holds.
    pub(crate) fn records(&self) -> Result<u64, StoreError> {
        match self.entries.get(&Table::Value.key(ASSOCIATIONS.as_bytes()))? {
            Some(_) => read_value(&*self.entries, ASSOCIATIONS).map(u64::from_be_bytes),
            // Once every device had one.
            None => self.devices(),
        }
    }

    /// How many records of device credentials it holds.
    pub(crate) fn credentials_counted(&self) -> Result<u64, StoreError> {
        match self.entries.get(&Table::Value.key(CREDENTIALS.as_bytes()))? {
            Some(_) => read_value(&*self.entries, CREDENTIALS).map(u64::from_be_bytes),
            None => Ok(0),
        }
    }

    /// The store as the place where shards find their keys.
    #[must_use]
    pub fn into_vault(self) -> Vault {
        Arc::new(self).vault()
    }

    /// The same, of a store that others use too.
    #[must_use]
    pub fn vault(self: &Arc<Self>) -> Vault {
        Vault::new(Arc::clone(self))
    }

    /// Where the keys of groups come from.
    #[must_use]
    pub fn group_key_source(self: &Arc<Self>) -> GroupKeySource {
        GroupKeySource::new(self.vault())
    }

    /// The credentials of end devices.
    #[must_use]
    pub fn credentials(self: &Arc<Self>) -> Credentials {
        Credentials::new(Arc::clone(self))
    }

    /// The credential of a device.
    pub(crate) fn credential(&self, dev: Dev) -> Result<Option<DeviceCredential>, StoreError> {
        let _keyed = self.keyed.read().unwrap_or_else(PoisonError::into_inner);
        let bucket = Bucket::of(dev);
        let Some(value) = self.entries.get(&bucket.key())? else { return Ok(None) };
        let mut found = None;
        scrubbed::<32, _>(|| {
            let dek = self.deks.unwrap(bucket.partition)?;
            bucket.open(&dek, &value, &mut |record| {
                if record.dev == dev {
                    found = Some(record.credential().ok_or_else(|| bucket.damaged())?);
                }
                Ok(())
            })
        })?;
        Ok(found)
    }

    /// Hands on every credential's record, bucket by bucket, and returns how many there were.
    pub(crate) fn each_credential(
        &self,
        sink: &mut dyn FnMut(credentials::Record<'_>) -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        let _keyed = self.keyed.read().unwrap_or_else(PoisonError::into_inner);
        let prefixes: Vec<Vec<u8>> = (0..partitions()).map(Bucket::prefix).collect();
        let mut dek = None;
        let mut count = 0;
        // The database calls back from deep in the stack.
        scrubbed::<128, _>(|| {
            self.entries.read(&prefixes, &mut |key, value| {
                let bucket = Bucket::read(key).ok_or(StoreError::Value { name: "credentials" })?;
                let dek = match &mut dek {
                    Some((partition, dek)) if *partition == bucket.partition => dek,
                    other => &mut other.insert((bucket.partition, self.deks.unwrap(bucket.partition)?)).1,
                };
                bucket.open(dek, value, &mut |record| {
                    count += 1;
                    sink(record)
                })
            })
        })?;
        Ok(count)
    }

    /// Hands on every record of the partitions wanted and returns how many there were. Partitions come in
    /// order, the blocks of each too.
    pub(crate) fn each_record(
        &self,
        wanted: &dyn Fn(u16) -> bool,
        sink: &mut dyn FnMut(Place, Record<'_>) -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        let _keyed = self.keyed.read().unwrap_or_else(PoisonError::into_inner);
        let prefixes: Vec<Vec<u8>> = (0..partitions()).filter(|p| wanted(*p)).map(Place::prefix).collect();
        let mut dek = None;
        let mut count = 0;
        // The database calls back from deep in the stack.
        scrubbed::<128, _>(|| {
            self.entries.read(&prefixes, &mut |key, value| {
                let place = Place::read(key).ok_or(StoreError::Value { name: "associations" })?;
                let dek = match &mut dek {
                    Some((partition, dek)) if *partition == place.partition => dek,
                    other => &mut other.insert((place.partition, self.deks.unwrap(place.partition)?)).1,
                };
                place.open(dek, value, &mut |record| {
                    count += 1;
                    sink(place, record)
                })
            })
        })?;
        Ok(count)
    }
}

/// The entry that keeps the number of devices.
pub(crate) fn devices_entry(devices: u64) -> Entry {
    value(DEVICES, devices.to_be_bytes())
}

/// The entry that keeps the number of associations' records.
pub(crate) fn records_entry(records: u64) -> Entry {
    value(ASSOCIATIONS, records.to_be_bytes())
}

/// The entry that keeps the number of credentials' records.
pub(crate) fn credentials_entry(credentials: u64) -> Entry {
    value(CREDENTIALS, credentials.to_be_bytes())
}

fn value(name: &str, octets: [u8; 8]) -> Entry {
    (Table::Value.key(name.as_bytes()), octets.to_vec())
}

fn read_value(entries: &dyn KeyStore, name: &'static str) -> Result<[u8; 8], StoreError> {
    let value = entries.get(&Table::Value.key(name.as_bytes()))?;
    value.and_then(|value| value.try_into().ok()).ok_or(StoreError::Value { name })
}

/// Waits a moment for a store to be free, and holds it.
pub(crate) fn lock(folder: &Path) -> Result<File, StoreError> {
    if !folder.is_dir() {
        return Err(StoreError::Missing { folder: folder.to_owned() });
    }
    let path: PathBuf = folder.join(LOCK);
    let file = File::create(&path).map_err(StoreError::io(&path))?;
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { folder: folder.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(StoreError::io(&path)(error)),
        }
    }
}
