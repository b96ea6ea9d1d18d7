//! [`KeyStore`] over sled 0.34.
//!
//! Two of sled's ways decide the form. Its `flush` does not make files durable on Linux, and it may reuse
//! space or remove a file before what replaces it is safe. So nothing ever writes to a live database. A
//! commit writes a new one beside it, fsyncs all its files, and then moves the file `current`, which names
//! what is live, into place. A small update does the same with a database that holds only the changed
//! entries, a layer over the others; when layers are many they are put together. And sled keeps what it has
//! read in memory whatever limit is set. So databases are open only while somebody reads, and are closed and
//! opened again whenever much has been read.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::database::{Database, Found};
use crate::error::StoreError;
use crate::key_store::{Entry, EntrySink, EntrySource, KeyStore};

/// Databases are closed when so much of them has been read.
const READ_OCTETS_MAX: usize = 32 << 20;
/// Entries are copied in pieces of about this size.
const PIECE_OCTETS: usize = 4 << 20;
/// Layers over the first database, at most; then they are put together.
const LAYERS_MAX: usize = 8;

const CURRENT: &str = "current";
const PREFIX: &str = "sled-";

/// A folder with live sled databases and the file that names them.
pub(crate) struct SledStore {
    folder: PathBuf,
    live: Mutex<Live>,
    /// Held while something is written.
    writing: Mutex<()>,
}

/// The live databases, while they are open: the whole one and, oldest first, the layers over it.
#[derive(Default)]
struct Live {
    databases: Vec<Database>,
    readers: usize,
    octets: usize,
}

/// Somebody reads: the last one closes the databases.
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
            live.close();
        }
    }
}

impl Live {
    fn close(&mut self) {
        self.databases.clear();
        self.octets = 0;
    }

    fn count(&mut self, octets: usize) {
        self.octets += octets;
        if self.octets > READ_OCTETS_MAX {
            self.close();
        }
    }
}

impl SledStore {
    /// The store in `folder`; nothing is opened yet.
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), live: Mutex::default(), writing: Mutex::default() }
    }

    /// The numbers of the live databases, oldest first; none where there are none yet.
    fn current(&self) -> Result<Vec<u64>, StoreError> {
        let path = self.folder.join(CURRENT);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(StoreError::io(&path)(error)),
        };
        let numbers = text.split_ascii_whitespace().map(str::parse).collect::<Result<Vec<u64>, _>>();
        numbers.ok().filter(|numbers| !numbers.is_empty()).ok_or(StoreError::Value { name: CURRENT })
    }

    fn database(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{PREFIX}{number}"))
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `read` on the live databases, which are opened when they are not; nobody else reads meanwhile.
    fn with_live<T>(
        &self,
        read: impl FnOnce(&[Database]) -> Result<(T, usize), StoreError>,
    ) -> Result<T, StoreError> {
        let mut live = self.live();
        if live.databases.is_empty() {
            let numbers = self.current()?;
            if numbers.is_empty() {
                return Err(StoreError::Missing { folder: self.folder.clone() });
            }
            for number in numbers {
                let folder = self.database(number);
                if !folder.is_dir() {
                    live.close();
                    return Err(StoreError::Missing { folder });
                }
                live.databases.push(Database::open(folder)?);
            }
        }
        let (answer, octets) = read(&live.databases)?;
        live.count(octets);
        Ok(answer)
    }

    /// What stands under a prefix. It is held apart from the databases, so that several can work on what
    /// they have read.
    fn found(&self, prefix: &[u8]) -> Result<Vec<Found>, StoreError> {
        self.with_live(|databases| {
            let found: Vec<Found> = match databases {
                [database] => database.scan(prefix).collect::<Result<_, _>>()?,
                _ => {
                    let mut merged = BTreeMap::new();
                    for entry in databases.iter().flat_map(|database| database.scan(prefix)) {
                        let (key, value) = entry?;
                        merged.insert(key, value);
                    }
                    merged.into_iter().collect()
                }
            };
            let octets = found.iter().map(|(_, value)| value.len()).sum();
            Ok((found, octets))
        })
    }

    /// Removes databases that a crash left behind, before their commit or after the next one's.
    fn sweep(&self, live: &[u64]) -> Result<(), StoreError> {
        let live: Vec<PathBuf> = live.iter().map(|number| self.database(*number)).collect();
        let entries = fs::read_dir(&self.folder).map_err(StoreError::io(&self.folder))?;
        for entry in entries {
            let path = entry.map_err(StoreError::io(&self.folder))?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if name.is_some_and(|name| name.starts_with(PREFIX)) && !live.contains(&path) {
                fs::remove_dir_all(&path).map_err(StoreError::io(&path))?;
            }
        }
        Ok(())
    }

    /// Writes database `next`: the entries, and those of the live databases from the place `from` on that
    /// they do not replace.
    fn write(
        &self,
        numbers: &[u64],
        from: usize,
        next: u64,
        entries: &mut EntrySource<'_>,
    ) -> Result<(), StoreError> {
        let folder = self.database(next);
        let database = Database::open(folder.clone())?;
        // The source reads, too.
        let _reading = Reading::of(self);
        for entry in entries {
            let (key, value) = entry?;
            database.put(&key, &value)?;
        }
        for place in (from..numbers.len()).rev() {
            self.copy(place, &database)?;
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

    /// Copies what `to` does not have from one of the live databases, piece by piece: others read meanwhile.
    fn copy(&self, place: usize, to: &Database) -> Result<(), StoreError> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let piece: Vec<Found> = self.with_live(|databases| {
                let database = databases.get(place).ok_or(StoreError::Value { name: CURRENT })?;
                let (mut piece, mut octets) = (Vec::new(), 0);
                for entry in database.scan_after(after.as_deref()) {
                    let entry = entry?;
                    octets += entry.1.len();
                    piece.push(entry);
                    if octets > PIECE_OCTETS {
                        break;
                    }
                }
                Ok((piece, octets))
            })?;
            let Some((last, _)) = piece.last() else { return Ok(()) };
            after = Some(last.to_vec());
            for (key, value) in &piece {
                if !to.has(key)? {
                    to.put(key, value)?;
                }
            }
        }
    }

    /// Makes these databases the live ones: the moment of a commit.
    fn publish(&self, numbers: &[u64]) -> Result<(), StoreError> {
        let new = self.folder.join("current.new");
        let text: Vec<String> = numbers.iter().map(u64::to_string).collect();
        let mut live = self.live();
        let write = || {
            let mut file = File::create(&new)?;
            writeln!(file, "{}", text.join(" "))?;
            file.sync_all()?;
            fs::rename(&new, self.folder.join(CURRENT))?;
            File::open(&self.folder)?.sync_all()
        };
        let written = write().map_err(StoreError::io(&new));
        live.close();
        written
    }

    /// Writes a database over the first `keep` of the live ones and makes them live together.
    fn replace(&self, numbers: &[u64], keep: usize, entries: &mut EntrySource<'_>) -> Result<(), StoreError> {
        self.sweep(numbers)?;
        let next = numbers.iter().max().map_or(1, |last| last.saturating_add(1));
        let kept = numbers.get(..keep).unwrap_or(numbers);
        let now: Vec<u64> = kept.iter().copied().chain([next]).collect();
        let written = self.write(numbers, keep, next, entries).and_then(|()| self.publish(&now));
        // The old databases go, or the new one that came to nothing.
        self.sweep(&self.current()?)?;
        written
    }

    /// Whether layers have grown so much that they should be put into the whole database.
    fn are_heavy(&self, numbers: &[u64]) -> bool {
        let octets = |number: &u64| tree_octets(&self.database(*number));
        let [first, layers @ ..] = numbers else { return true };
        layers.iter().map(octets).sum::<u64>() > octets(first) / 2
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

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.with_live(|databases| {
            for database in databases.iter().rev() {
                if let Some(value) = database.get(key)? {
                    return Ok((Some(value.to_vec()), value.len()));
                }
            }
            Ok((None, 0))
        })
    }

    fn commit(&self, entries: &mut EntrySource<'_>) -> Result<(), StoreError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(&self.current()?, 0, entries)
    }

    fn update(&self, entries: &[Entry]) -> Result<(), StoreError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let numbers = self.current()?;
        let keep = match numbers.len() {
            0 => 0,
            layers if layers <= LAYERS_MAX => layers,
            _ if self.are_heavy(&numbers) => 0,
            _ => 1,
        };
        self.replace(&numbers, keep, &mut entries.iter().cloned().map(Ok))
    }
}

/// How much all files below a folder hold; what cannot be looked at counts nothing.
fn tree_octets(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return fs::metadata(path).map_or(0, |data| data.len()) };
    entries.flatten().map(|entry| tree_octets(&entry.path())).sum()
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
