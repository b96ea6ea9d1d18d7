//! One sled database: opened, filled, read, closed.

use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::error::StoreError;

/// The limit that sled is given for its cache. It keeps more than that.
const CACHE_OCTETS: u64 = 64 << 20;
/// How long to wait for sled to let go of a database that was closed.
const REOPEN_WAIT: Duration = Duration::from_secs(5);

/// An entry, shared with the database's cache.
pub(crate) type Found = (sled::IVec, sled::IVec);

/// One open sled database.
pub(crate) struct Database {
    folder: PathBuf,
    db: sled::Db,
    failed: AtomicBool,
}

impl Database {
    /// Opens or makes it. sled lets go of its lock a moment after it was closed, hence the wait.
    pub(crate) fn open(folder: PathBuf) -> Result<Self, StoreError> {
        let until = Instant::now() + REOPEN_WAIT;
        loop {
            let config = sled::Config::new()
                .path(&folder)
                .mode(sled::Mode::HighThroughput)
                .cache_capacity(CACHE_OCTETS)
                .flush_every_ms(None);
            match guard(&folder, || config.open()) {
                // What sled says of a lock that is held.
                Err(StoreError::Sled { source: sled::Error::Io(error), .. })
                    if error.kind() == io::ErrorKind::Other && Instant::now() < until =>
                {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(error) => return Err(error),
                Ok(db) => return Ok(Self { folder, db, failed: AtomicBool::new(false) }),
            }
        }
    }

    pub(crate) fn has(&self, key: &[u8]) -> Result<bool, StoreError> {
        guard(&self.folder, || self.db.contains_key(key))
    }

    pub(crate) fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.write(|| self.db.insert(key, value).map(drop))
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<sled::IVec>, StoreError> {
        guard(&self.folder, || self.db.get(key))
    }

    /// The entries whose keys begin with `prefix`, in order; none after an error.
    pub(crate) fn scan(&self, prefix: &[u8]) -> impl Iterator<Item = Result<Found, StoreError>> {
        self.guarded(self.db.scan_prefix(prefix))
    }

    /// The entries behind a key, or all, in order; none after an error.
    pub(crate) fn scan_after(&self, key: Option<&[u8]>) -> impl Iterator<Item = Result<Found, StoreError>> {
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.guarded(self.db.range::<&[u8], _>((from, Bound::Unbounded)))
    }

    fn guarded(&self, entries: sled::Iter) -> impl Iterator<Item = Result<Found, StoreError>> {
        let mut entries = Some(entries);
        std::iter::from_fn(move || {
            let found = guard(&self.folder, || entries.as_mut().and_then(Iterator::next).transpose());
            if found.is_err() {
                entries = None;
            }
            found.transpose()
        })
    }

    /// Writes what sled holds back, and lets go. The files are not yet durable then.
    pub(crate) fn close(self) -> Result<(), StoreError> {
        self.write(|| self.db.flush().map(drop))
    }

    fn write(&self, call: impl FnOnce() -> sled::Result<()>) -> Result<(), StoreError> {
        let result = guard(&self.folder, call);
        self.failed.fetch_or(result.is_err(), Ordering::Relaxed);
        result
    }
}

impl Drop for Database {
    /// To drop a database that could not be written would have sled wait for ever for the write that failed.
    fn drop(&mut self) {
        if self.failed.load(Ordering::Relaxed) {
            std::mem::forget(self.db.clone());
        }
    }
}

/// Calls sled, which meets some damage to its files with a panic.
fn guard<T>(folder: &Path, call: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|source| StoreError::Sled { folder: folder.to_owned(), source }),
        Err(_) => Err(StoreError::SledPanic { folder: folder.to_owned() }),
    }
}
