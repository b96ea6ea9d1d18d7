//! A file layer that forgets: files in memory, a power cut at any moment, faults on demand.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::image::Image;
use super::{FileError, FileHandle, Files, Lock, Open, parent};

/// What an operation does that changes something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Doing {
    /// A file comes to be, or is emptied.
    Create,
    /// Its space is reserved.
    Allocate,
    /// Octets are written to it.
    Write,
    /// It is made durable.
    Sync,
    /// It gets another name.
    Rename,
    /// It is removed.
    Remove,
    /// The names in a folder are made durable.
    SyncFolder,
}

/// An operation that is about to be done.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// What it does.
    pub doing: Doing,
    /// To which file or folder; when it is renamed, the name that it gets.
    pub path: &'a Path,
    /// What is written; else nothing.
    pub octets: &'a [u8],
}

/// Files in memory that survive a power cut no better than the real ones promise.
///
/// At [`cut`](Self::cut) each unsynced piece of 512 octets is, by the seed, as it was, as it is, or as
/// any write in between left it; so is each file's length; each unsynced creation, renaming and removal
/// has happened or not. Folders are durable once made. Everything follows from the calls and the seeds.
/// Clones share the files.
#[derive(Clone, Debug, Default)]
pub struct ForgetfulFiles {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// Handles and locks of an earlier life are dead.
    life: u64,
    images: BTreeMap<u64, Image>,
    next_image: u64,
    folders: BTreeSet<PathBuf>,
    /// Names as the cache shows them, and as the disk has them.
    names: BTreeMap<PathBuf, u64>,
    disk_names: BTreeMap<PathBuf, u64>,
    /// What happened to names since their folders were synced, oldest first.
    changes: Vec<Change>,
    locks: BTreeSet<PathBuf>,
    faults: Faults,
    operations: u64,
    watch: Watch,
}

type See = dyn FnMut(&Operation<'_>) -> bool + Send;

/// Who is told of each operation.
#[derive(Default)]
struct Watch(Option<Box<See>>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch(..)")
    }
}

/// What is to go wrong.
#[derive(Debug, Default)]
struct Faults {
    stop_at: Option<u64>,
    space: Option<u64>,
    write: Option<u64>,
    syncs: u32,
}

#[derive(Debug)]
struct Change {
    folder: PathBuf,
    image: u64,
    /// The name that the image gets, or `None` when it loses the one it had.
    name: Option<PathBuf>,
}

impl ForgetfulFiles {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The power goes and comes back: only what was synced is certain. Every handle and lock is dead,
    /// every fault asked for is forgotten.
    pub fn cut(&self, seed: u64) {
        let mut state = self.state();
        let mut random = Random(seed);
        // Mostly a mixture, but all and nothing must come up too.
        let taste = random.below(6);
        let mut choose = |count: usize| match taste {
            0 => 0,
            1 => count.saturating_sub(1),
            _ => random.below(count),
        };
        for change in std::mem::take(&mut state.changes) {
            if choose(2) == 1 {
                state.apply(&change);
            }
        }
        state.images.values_mut().for_each(|image| image.cut(&mut choose));
        let State { images, names, disk_names, .. } = &mut *state;
        names.clone_from(disk_names);
        images.retain(|image, _| names.values().any(|named| named == image));
        state.end_life();
    }

    /// The process is killed, the system lives on: handles and locks are dead, the page cache stays, but
    /// for pages that a failed sync left, which it may drop. Faults asked for are forgotten.
    pub fn kill(&self, seed: u64) {
        let mut state = self.state();
        let mut random = Random(seed);
        if random.below(2) == 1 {
            state.images.values_mut().for_each(|image| image.evict(&mut |count| random.below(count)));
        }
        state.end_life();
    }

    /// So many more operations that change something are done; then every one fails, until the cut or
    /// kill.
    pub fn stop_after(&self, operations: u64) {
        let mut state = self.state();
        state.faults.stop_at = Some(state.operations.saturating_add(operations));
    }

    /// Has `see` told of each operation that changes something, before it is done. Where it says no, neither
    /// this one nor any other is done until the cut or kill. It must not touch the files itself.
    pub fn watch(&self, see: impl FnMut(&Operation<'_>) -> bool + Send + 'static) {
        self.state().watch = Watch(Some(Box::new(see)));
    }

    /// Operations so far that changed something.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    /// Files may grow by so many octets more, then the disk is full; `None` takes the limit away.
    pub fn set_space(&self, octets: Option<u64>) {
        self.state().faults.space = octets;
    }

    /// The write that would pass so many octets more is done up to there and fails, once.
    pub fn fail_write_after(&self, octets: u64) {
        self.state().faults.write = Some(octets);
    }

    /// The next so many syncs fail: of a file, see [`FileHandle::sync`] for what that means; of a folder,
    /// its names are as if not synced, until a later sync.
    pub fn fail_syncs(&self, count: u32) {
        self.state().faults.syncs = count;
    }

    /// Flips `bits` of the octet at `offset` of a file.
    pub fn rot(&self, path: &Path, offset: u64, bits: u8) {
        let mut state = self.state();
        if let Some(image) = state.names.get(path).copied().and_then(|image| state.images.get_mut(&image)) {
            image.rot(usize::try_from(offset).unwrap_or(usize::MAX), bits);
        }
    }
}

impl<'a> Operation<'a> {
    /// One that writes nothing.
    fn on(doing: Doing, path: &'a Path) -> Self {
        Self { doing, path, octets: &[] }
    }
}

impl State {
    fn end_life(&mut self) {
        self.life = self.life.saturating_add(1);
        self.locks.clear();
        self.faults = Faults { space: self.faults.space, ..Faults::default() };
    }

    /// Brings a change of names to the disk. A file has one name.
    fn apply(&mut self, change: &Change) {
        self.disk_names.retain(|_, image| *image != change.image);
        if let Some(name) = &change.name {
            self.disk_names.insert(name.clone(), change.image);
        }
    }

    fn change(&mut self, folder: &Path, image: u64, name: Option<PathBuf>) {
        self.changes.push(Change { folder: folder.to_owned(), image, name });
    }

    /// Counts an operation that changes something.
    fn operate(&mut self, operation: &Operation<'_>) -> io::Result<()> {
        let off = || io::Error::other("the power is off");
        if self.faults.stop_at.is_some_and(|at| self.operations >= at) {
            return Err(off());
        }
        if self.watch.0.as_mut().is_some_and(|see| !see(operation)) {
            self.faults.stop_at = Some(self.operations);
            return Err(off());
        }
        self.operations = self.operations.saturating_add(1);
        Ok(())
    }

    fn image(&mut self, image: u64, life: u64) -> io::Result<&mut Image> {
        if life != self.life {
            return Err(io::Error::other("the file was open when the power went"));
        }
        self.images.get_mut(&image).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn open(&mut self, path: &Path, how: Open) -> io::Result<u64> {
        if how == Open::Create {
            self.operate(&Operation::on(Doing::Create, path))?;
        }
        match self.names.get(path).copied() {
            Some(image) if how == Open::Create => {
                let life = self.life;
                self.image(image, life)?.set_len(0);
                Ok(image)
            }
            Some(image) => Ok(image),
            None if how == Open::Create && self.folders.contains(parent(path)) => {
                let image = self.next_image;
                self.next_image = self.next_image.saturating_add(1);
                self.images.insert(image, Image::default());
                self.names.insert(path.to_owned(), image);
                self.change(parent(path), image, Some(path.to_owned()));
                Ok(image)
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn write(&mut self, to: &Handle, octets: &[u8], offset: usize) -> io::Result<()> {
        let Handle { image, life, path, .. } = to;
        let (image, life) = (*image, *life);
        let length = self.image(image, life)?.len();
        self.operate(&Operation { octets, ..Operation::on(Doing::Write, path) })?;
        let end = offset.saturating_add(octets.len());
        let mut allowed = octets.len();
        if let Some(left) = self.faults.write {
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            allowed = allowed.min(left);
            self.faults.write = (allowed == octets.len()).then_some(left.saturating_sub(allowed) as u64);
        }
        if let Some(space) = self.faults.space {
            let space = usize::try_from(space).unwrap_or(usize::MAX);
            let growth = end.saturating_sub(length);
            allowed = allowed.min(octets.len().saturating_sub(growth.saturating_sub(space)));
            self.faults.space = Some(space.saturating_sub(growth) as u64);
        }
        let written = octets.get(..allowed).unwrap_or_default();
        self.image(image, life)?.write(written, offset);
        if allowed < octets.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn allocate(&mut self, file: &Handle, octets: usize) -> io::Result<()> {
        let (image, life) = (file.image, file.life);
        let length = self.image(image, life)?.len();
        self.operate(&Operation::on(Doing::Allocate, &file.path))?;
        if let Some(space) = self.faults.space {
            let growth = octets.saturating_sub(length) as u64;
            if growth > space {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.faults.space = Some(space.saturating_sub(growth));
        }
        self.image(image, life)?.set_len(octets);
        Ok(())
    }

    fn sync(&mut self, file: &Handle) -> io::Result<()> {
        self.image(file.image, file.life)?;
        self.operate(&Operation::on(Doing::Sync, &file.path))?;
        let failed = self.sync_fault();
        let image = self.image(file.image, file.life)?;
        if failed.is_err() {
            image.fail_sync()
        } else {
            image.sync()
        }
        failed
    }

    /// Whether this sync is one that fails.
    fn sync_fault(&mut self) -> io::Result<()> {
        if self.faults.syncs == 0 {
            return Ok(());
        }
        self.faults.syncs = self.faults.syncs.saturating_sub(1);
        Err(io::Error::other("input/output error"))
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.operate(&Operation::on(Doing::Rename, to))?;
        let image = self.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.names.insert(to.to_owned(), image);
        self.change(parent(to), image, Some(to.to_owned()));
        Ok(())
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.operate(&Operation::on(Doing::Remove, path))?;
        let image = self.names.remove(path).ok_or(io::ErrorKind::NotFound)?;
        self.change(parent(path), image, None);
        Ok(())
    }

    fn sync_folder(&mut self, folder: &Path) -> io::Result<()> {
        self.operate(&Operation::on(Doing::SyncFolder, folder))?;
        self.sync_fault()?;
        for change in std::mem::take(&mut self.changes) {
            if change.folder == folder {
                self.apply(&change);
            } else {
                self.changes.push(change);
            }
        }
        Ok(())
    }
}

impl Files for ForgetfulFiles {
    fn create_folder(&self, folder: &Path) -> Result<(), FileError> {
        self.state().folders.extend(folder.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn FileHandle>, FileError> {
        let mut state = self.state();
        let image = state.open(path, how).map_err(|error| FileError::new("open", path, error))?;
        let (files, life) = (self.clone(), state.life);
        Ok(Box::new(Handle { files, image, life, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        self.state().rename(from, to).map_err(|error| FileError::new("rename", from, error))
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        self.state().remove(path).map_err(|error| FileError::new("remove", path, error))
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), FileError> {
        self.state().sync_folder(folder).map_err(|error| FileError::new("sync folder", folder, error))
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, FileError> {
        let state = self.state();
        if !state.folders.contains(folder) {
            return Err(FileError::new("list", folder, io::ErrorKind::NotFound.into()));
        }
        let inside = state.names.keys().filter(|path| parent(path) == folder);
        Ok(inside.filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, FileError> {
        let mut state = self.state();
        if !state.locks.insert(path.to_owned()) {
            return Err(FileError::new("lock", path, io::ErrorKind::WouldBlock.into()));
        }
        Ok(Box::new(Held { files: self.clone(), life: state.life, path: path.to_owned() }))
    }
}

/// An open file.
#[derive(Debug)]
struct Handle {
    files: ForgetfulFiles,
    image: u64,
    life: u64,
    path: PathBuf,
}

impl Handle {
    fn named<T>(&self, doing: &'static str, result: io::Result<T>) -> Result<T, FileError> {
        result.map_err(|error| FileError::new(doing, &self.path, error))
    }
}

impl FileHandle for Handle {
    fn read_at(&self, octets: &mut [u8], offset: u64) -> Result<usize, FileError> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let mut state = self.files.state();
        self.named("read", state.image(self.image, self.life).map(|image| image.read(octets, offset)))
    }

    fn write_at(&self, octets: &[u8], offset: u64) -> Result<(), FileError> {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.named("write", self.files.state().write(self, octets, offset))
    }

    fn allocate(&self, octets: u64) -> Result<(), FileError> {
        let octets = usize::try_from(octets).unwrap_or(usize::MAX);
        self.named("reserve space for", self.files.state().allocate(self, octets))
    }

    fn octets(&self) -> Result<u64, FileError> {
        let mut state = self.files.state();
        self.named("read the length of", state.image(self.image, self.life).map(|image| image.len() as u64))
    }

    fn sync(&self) -> Result<(), FileError> {
        self.named("sync", self.files.state().sync(self))
    }
}

/// A lock that is held.
#[derive(Debug)]
struct Held {
    files: ForgetfulFiles,
    life: u64,
    path: PathBuf,
}

impl Lock for Held {}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.files.state();
        if state.life == self.life {
            state.locks.remove(&self.path);
        }
    }
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, count: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^= word >> 31;
        usize::try_from(word % (count.max(1) as u64)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files() -> (ForgetfulFiles, PathBuf) {
        let files = ForgetfulFiles::default();
        let folder = PathBuf::from("/sim");
        files.create_folder(&folder).unwrap();
        (files, folder)
    }

    #[test]
    fn an_atomic_write_is_old_or_new_wherever_the_power_goes() {
        for stop in 1..7 {
            let mut seen = BTreeSet::new();
            for seed in 0..200 {
                let (files, folder) = files();
                let path = folder.join("file");
                files.write_atomically(&path, &[1; 3000]).unwrap();
                files.stop_after(stop);
                let done = files.write_atomically(&path, &[2; 2000]).is_ok();
                files.cut(seed);
                let octets = files.read(&path, 3000).unwrap();
                assert!(octets == [1; 3000] || octets == [2; 2000], "stop {stop} seed {seed}");
                assert!(!done || octets == [2; 2000], "stop {stop} seed {seed}");
                seen.insert(octets.len());
            }
            assert_eq!(seen.len(), if stop == 4 { 2 } else { 1 }, "stop {stop}");
        }
    }

    #[test]
    fn a_name_not_synced_may_be_lost_and_its_file_with_it() {
        let mut seen = BTreeSet::new();
        for seed in 0..100 {
            let (files, folder) = files();
            let path = folder.join("file");
            let file = files.open(&path, Open::Create).unwrap();
            file.write_at(b"abc", 0).unwrap();
            file.sync().unwrap();
            files.cut(seed);
            assert!(file.write_at(b"abc", 0).is_err(), "a handle outlived the power");
            seen.insert(files.open(&path, Open::Read).is_ok());
        }
        assert_eq!(seen.len(), 2);
    }

    #[test]
    fn faults_come_as_asked_for() {
        let (files, folder) = files();
        let file = files.open(&folder.join("file"), Open::Create).unwrap();
        files.set_space(Some(1000));
        assert!(file.allocate(1001).unwrap_err().is_full());
        file.allocate(900).unwrap();
        assert!(file.write_at(&[1; 300], 800).unwrap_err().is_full());
        assert_eq!(file.octets().unwrap(), 1000);
        files.set_space(None);
        files.fail_write_after(10);
        file.write_at(&[1; 9], 0).unwrap();
        assert!(file.write_at(&[1; 9], 0).is_err());
        file.write_at(&[1; 9], 0).unwrap();
        files.fail_syncs(1);
        assert!(file.sync().is_err());
        file.sync().unwrap();
    }

    #[test]
    fn whoever_watches_is_told_of_each_operation_and_stops_it() {
        let (files, folder) = files();
        let path = folder.join("file");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&seen);
        files.watch(move |operation| {
            let name = operation.path.file_name().unwrap().to_str().unwrap().to_owned();
            told.lock().unwrap().push((operation.doing, name, operation.octets.to_vec()));
            operation.doing != Doing::Rename
        });
        assert!(files.write_atomically(&path, b"new").is_err());
        assert!(files.write_atomically(&path, b"new").is_err(), "it was done after it was stopped");
        let unfinished = "file.unfinished";
        let expected = [
            (Doing::Create, unfinished, &b""[..]),
            (Doing::Write, unfinished, b"new"),
            (Doing::Sync, unfinished, b""),
            (Doing::Rename, "file", b""),
        ];
        let expected = expected.map(|(doing, name, octets)| (doing, name.to_owned(), octets.to_vec()));
        assert_eq!(*seen.lock().unwrap(), expected);
        files.kill(0);
        assert!(files.open(&path, Open::Read).unwrap_err().is_missing());
        assert_eq!(files.read(&folder.join(unfinished), 10).unwrap(), b"new");
    }

    #[test]
    fn a_lock_dies_with_its_process() {
        let (files, folder) = files();
        let path = folder.join("lock");
        let held = files.lock(&path).unwrap();
        assert!(files.lock(&path).unwrap_err().is_locked());
        files.kill(0);
        let again = files.lock(&path).unwrap();
        drop(held);
        assert!(files.lock(&path).unwrap_err().is_locked());
        drop(again);
        files.lock(&path).unwrap();
    }
}
