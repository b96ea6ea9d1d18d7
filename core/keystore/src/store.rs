//! The key store of one installation: made, opened, read as a stream.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use seal::ids::System;

use crate::block::Place;
use crate::error::StoreError;
use crate::kek::{Deks, Kek, partitions};
use crate::key_store::{Entry, KeyStore};
use crate::record::Record;
use crate::sled_store::SledStore;
use crate::table::Table;
use crate::vault::Vault;

/// The folder of the key store in the state folder.
pub const FOLDER: &str = "keystore";

const KEK: &str = "kek";
const LOCK: &str = "lock";
const SYSTEM: &str = "system";
const DEVICES: &str = "devices";

/// How long to wait for another process that is just ending.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// An open key store. No other process can open it meanwhile.
pub struct Store {
    pub(crate) deks: Deks,
    pub(crate) entries: Box<dyn KeyStore>,
    system: System,
    _lock: File,
}

impl Store {
    /// Makes a key store in `folder`, which must not exist: draws the identity of the installation (or takes
    /// the one given, for tests), the key-encryption key and the partitions' keys. After a crash or an error
    /// there is no folder.
    ///
    /// # Errors
    /// [`StoreError::Exists`] on a second time; failures of the file system.
    pub fn init(folder: &Path, system: Option<System>) -> Result<System, StoreError> {
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
        let kek = Kek::create(&new.join(KEK))?;
        let values = [value(SYSTEM, system.0), value(DEVICES, 0_u64.to_be_bytes())];
        SledStore::new(&new).commit(&mut values.into_iter().map(Ok).chain(Deks::draw(&kek)))?;
        fs::rename(&new, folder).map_err(StoreError::io(folder))?;
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(StoreError::io(parent))?;
        Ok(system)
    }

    /// Opens the key store in `folder` and tries its key-encryption key.
    ///
    /// # Errors
    /// [`StoreError`]; among them [`StoreError::Missing`], [`StoreError::InUse`], [`StoreError::WrongKek`].
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let kek = folder.join(KEK);
        if !kek.exists() {
            return Err(StoreError::Missing { folder: folder.to_owned() });
        }
        let lock = lock(folder)?;
        let entries: Box<dyn KeyStore> = Box::new(SledStore::new(folder));
        let deks = Deks::read(Kek::read(&kek)?, &*entries)?;
        let system = System(read_value(&*entries, SYSTEM)?);
        Ok(Self { deks, entries, system, _lock: lock })
    }

    /// The identity of the installation.
    #[must_use]
    pub fn system(&self) -> System {
        self.system
    }

    /// How many devices it holds.
    ///
    /// # Errors
    /// Those of reading.
    pub fn devices(&self) -> Result<u64, StoreError> {
        read_value(&*self.entries, DEVICES).map(u64::from_be_bytes)
    }

    /// The store as the place where shards find their keys.
    #[must_use]
    pub fn into_vault(self) -> Vault {
        Vault::new(self)
    }

    /// Hands on every record of the partitions wanted and returns how many there were. Partitions come in
    /// order, the blocks of each too.
    pub(crate) fn each_record(
        &self,
        wanted: &dyn Fn(u16) -> bool,
        sink: &mut dyn FnMut(Place, Record<'_>) -> Result<(), StoreError>,
    ) -> Result<u64, StoreError> {
        let prefixes: Vec<Vec<u8>> = (0..partitions()).filter(|p| wanted(*p)).map(Place::prefix).collect();
        let mut dek = None;
        let mut count = 0;
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
        })?;
        Ok(count)
    }
}

/// The entry that keeps the number of devices.
pub(crate) fn devices_entry(devices: u64) -> Entry {
    value(DEVICES, devices.to_be_bytes())
}

fn value(name: &str, octets: [u8; 8]) -> Entry {
    (Table::Value.key(name.as_bytes()), octets.to_vec())
}

fn read_value(entries: &dyn KeyStore, name: &'static str) -> Result<[u8; 8], StoreError> {
    let mut found = None;
    entries.read(&[Table::Value.key(name.as_bytes())], &mut |_, value| {
        found = value.try_into().ok();
        Ok(())
    })?;
    found.ok_or(StoreError::Value { name })
}

fn lock(folder: &Path) -> Result<File, StoreError> {
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
