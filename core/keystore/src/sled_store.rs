//! [`KeyStore`] over sled 0.34.
//!
//! Two of sled's ways decide the form. Its `flush` does not make files durable on Linux, and it may remove
//! an old file before the one that replaces it is safe. So a commit never touches a live database: it
//! writes a new one beside it, fsyncs all its files, and then moves the file `current`, which names the
//! live one, into place. And sled keeps what it has read in memory whatever limit is set. So a database is
//! open only while somebody reads, and is closed and opened again whenever much has been read.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::database::{Database, Found};
use crate::error::StoreError;
use crate::key_store::{EntrySink, EntrySource, KeyStore};

/// A database is closed when so much of it has been read.
const READ_OCTETS_MAX: usize = 32 << 20;

const CURRENT: &str = "current";
const PREFIX: &str = "sled-";

/// A folder with one live sled database and the file that names it.
pub(crate) struct SledStore {
    folder: PathBuf,
    live: Mutex<Live>,
}

/// The live database, while it is open.
#[derive(Default)]
struct Live {
    database: Option<Database>,
    readers: usize,
    octets: usize,
}

/// Somebody reads: the last one closes the database.
struct Reading<'a>(&'a SledStore);

impl<'a> Reading<'a> {
    fn of(store: &'a SledStore) -> Self {
        store.live().readers += 1;
        Self(store)
    }
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        let mut live = self.0.live();
        live.readers -= 1;
        if live.readers == 0 {
            *live = Live::default();
        }
    }
}

impl SledStore {
    /// The store in `folder`; nothing is opened yet.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), live: Mutex::default() }
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

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `read` on the live database, which is opened when it is not; nobody else reads meanwhile.
    fn with_live<T>(&self, read: impl FnOnce(&Database) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut live = self.live();
        if let Some(database) = &live.database {
            return read(database);
        }
        let number = self.current()?;
        let folder = self.database(number);
        if number == 0 || !folder.is_dir() {
            return Err(StoreError::Missing { folder });
        }
        live.octets = 0;
        read(live.database.insert(Database::open(folder)?))
    }

    /// What stands under a prefix. It is held apart from the database, so that several can work on what
    /// they have read.
    fn found(&self, prefix: &[u8]) -> Result<Vec<Found>, StoreError> {
        let found: Vec<Found> = self.with_live(|database| database.scan(prefix).collect())?;
        let mut live = self.live();
        live.octets += found.iter().map(|(_, value)| value.len()).sum::<usize>();
        if live.octets > READ_OCTETS_MAX {
            live.database = None;
        }
        Ok(found)
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
        // The source reads, too.
        let _reading = Reading::of(self);
        for entry in entries {
            let (key, value) = entry?;
            database.put(&key, &value)?;
        }
        if number != 0 {
            self.with_live(|before| {
                before.scan(&[]).try_for_each(|entry| {
                    let (key, value) = entry?;
                    if database.has(&key)? { Ok(()) } else { database.put(&key, &value) }
                })
            })?;
        }
        database.close()?;
        // Read back before it counts. sled puts off some of its work until a database is opened and read,
        // and writes then; so that this is not left to the readers of a live one, twice.
        for _ in 0..2 {
            let database = Database::open(folder.clone())?;
            database.scan(&[]).try_for_each(|entry| entry.map(drop))?;
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
        let _reading = Reading::of(self);
        for prefix in prefixes {
            for (key, value) in self.found(prefix)? {
                sink(&key, &value)?;
            }
        }
        Ok(())
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

/// Makes a folder with all that it holds durable.
fn sync_tree(path: &Path) -> Result<(), StoreError> {
    if path.is_dir() {
        for entry in fs::read_dir(path).map_err(StoreError::io(path))? {
            sync_tree(&entry.map_err(StoreError::io(path))?.path())?;
        }
    }
    File::open(path).and_then(|file| file.sync_all()).map_err(StoreError::io(path))
}
