//! [`KeyStore`] over sled 0.34.
//!
//! Two of sled's ways decide the form. Its `flush` does not make files durable on Linux, and it may remove
//! an old file before the one that replaces it is safe. So a commit never touches a live database: it
//! writes a new one beside it, fsyncs all its files, and then moves the file `current`, which names the
//! live one, into place. And sled keeps what it has read in memory whatever limit is set. So a database is
//! open only while somebody reads, shared by all who do, and closed after the last.

use std::fs::{self, File};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use crate::error::StoreError;
use crate::key_store::{EntrySink, EntrySource, KeyStore};

/// The limit that sled is given for its cache; it is exceeded, see above.
const CACHE_OCTETS: u64 = 64 << 20;
/// How long to wait for sled to let go of a database that was closed.
const REOPEN_WAIT: Duration = Duration::from_secs(5);

const CURRENT: &str = "current";
const PREFIX: &str = "sled-";

/// A folder with one live sled database and the file that names it.
pub(crate) struct SledStore {
    folder: PathBuf,
    open: Mutex<Weak<Database>>,
}

impl SledStore {
    /// The store in `folder`; nothing is opened yet.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), open: Mutex::new(Weak::new()) }
    }

    /// The number of the live database, or 0 where there is none yet.
    fn current(&self) -> Result<u64, StoreError> {
        let path = self.folder.join(CURRENT);
        match fs::read_to_string(&path) {
            Ok(text) => text.trim_end().parse().map_err(|_| StoreError::Value { name: CURRENT }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(StoreError::io(&path)(error)),
        }
    }

    fn database(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{number}"))
    }

    /// The live database, opened unless another reader has it open.
    fn live(&self) -> Result<Arc<Database>, StoreError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(database) = open.upgrade() {
            return Ok(database);
        }
        let number = self.current()?;
        let folder = self.database(number);
        if number == 0 || !folder.is_dir() {
            return Err(StoreError::Missing { folder });
        }
        let database = Arc::new(Database::open(folder)?);
        *open = Arc::downgrade(&database);
        Ok(database)
    }

    /// Removes databases that a crash left behind, before their commit or after the next one's.
    fn sweep(&self, live: u64) -> Result<(), StoreError> {
        let live = self.database(live);
        let entries = fs::read_dir(&self.folder).map_err(StoreError::io(&self.folder))?;
        for entry in entries {
            let path = entry.map_err(StoreError::io(&self.folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.starts_with(PREFIX)) && path != live {
                fs::remove_dir_all(&path).map_err(StoreError::io(&path))?;
            }
        }
        Ok(())
    }

    /// Writes database `next`: the entries, and those of database `number` that they do not replace.
    fn write(&self, number: u64, next: u64, entries: &mut EntrySource<'_>) -> Result<(), StoreError> {
        let folder = self.database(next);
        let database = Database::open(folder.clone())?;
        let before = if number == 0 { None } else { Some(self.live()?) };
        for entry in entries {
            let (key, value) = entry?;
            database.put(&key, &value)?;
        }
        if let Some(before) = before {
            before.scan(&[], &mut |key, value| {
                if database.has(key)? { Ok(()) } else { database.put(key, value) }
            })?;
        }
        database.close()?;
        // Read back before it counts. sled puts off some of its work until a database is opened and read,
        // and writes then; so that this is not left to the readers of a live one, twice.
        for _ in 0..2 {
            let database = Database::open(folder.clone())?;
            database.scan(&[], &mut |_, _| Ok(()))?;
            database.close()?;
        }
        sync_tree(&folder)
    }

    /// Makes database `number` the live one: the moment of a commit.
    fn publish(&self, number: u64) -> Result<(), StoreError> {
        let new = self.folder.join("current.new");
        let write = || {
            let mut file = File::create(&new)?;
            writeln!(file, "{number}")?;
            file.sync_all()?;
            fs::rename(&new, self.folder.join(CURRENT))?;
            File::open(&self.folder)?.sync_all()
        };
        write().map_err(StoreError::io(&new))
    }
}

impl KeyStore for SledStore {
    fn read(&self, prefixes: &[Vec<u8>], sink: &mut EntrySink<'_>) -> Result<(), StoreError> {
        let database = self.live()?;
        prefixes.iter().try_for_each(|prefix| database.scan(prefix, sink))
    }

    fn commit(&self, entries: &mut EntrySource<'_>) -> Result<(), StoreError> {
        let number = self.current()?;
        self.sweep(number)?;
        let next = number.saturating_add(1);
        let written = self.write(number, next, entries).and_then(|()| self.publish(next));
        // The old database goes, or the new one that came to nothing.
        self.sweep(self.current()?)?;
        written
    }
}

/// One open sled database.
struct Database {
    folder: PathBuf,
    db: sled::Db,
    failed: AtomicBool,
}

impl Database {
    /// Opens or makes it. sled lets go of its lock a moment after it was closed, hence the wait.
    fn open(folder: PathBuf) -> Result<Self, StoreError> {
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

    fn has(&self, key: &[u8]) -> Result<bool, StoreError> {
        guard(&self.folder, || self.db.contains_key(key))
    }

    fn put(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.write(|| self.db.insert(key, value).map(drop))
    }

    fn scan(&self, prefix: &[u8], sink: &mut EntrySink<'_>) -> Result<(), StoreError> {
        let mut entries = self.db.scan_prefix(prefix);
        while let Some((key, value)) = guard(&self.folder, || entries.next().transpose())? {
            sink(&key, &value)?;
        }
        Ok(())
    }

    fn close(self) -> Result<(), StoreError> {
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

/// Makes a folder with all that it holds durable.
fn sync_tree(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(StoreError::io(path))? {
            sync_tree(&entry.map_err(StoreError::io(path))?.path())?;
        }
    }
    File::open(path).and_then(|file| file.sync_all()).map_err(StoreError::io(path))
}
