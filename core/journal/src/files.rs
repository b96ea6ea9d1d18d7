//! The file layer: everything that must survive a power cut goes through it.
//!
//! [`OsFiles`] is the real one; [`ForgetfulFiles`] lives in memory and forgets at a cut what was not
//! synced. What is durable is the same in both: the octets of a file after [`FileHandle::sync`], its
//! name after [`Files::sync_folder`], and nothing else.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

mod forgetful;
mod image;
mod os;

pub use forgetful::{Doing, ForgetfulFiles, Operation};
pub use os::OsFiles;

/// A file operation that did not work.
#[derive(Debug, Error)]
#[error("cannot {doing} {path}: {source}", path = .path.display())]
pub struct FileError {
    /// What was being done: "write", "sync" ...
    pub doing: &'static str,
    /// To which file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl FileError {
    /// Names a failed operation.
    #[must_use]
    pub fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self { doing, path: path.to_owned(), source }
    }

    /// Whether there was no room: the disk or the quota is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether there is no such file or folder.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    /// Whether somebody else holds the lock.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.source.kind() == io::ErrorKind::WouldBlock
    }
}

/// How to open a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// An existing file, to be read.
    Read,
    /// An existing file, to be read and written.
    Update,
    /// A new, empty file to be read and written; one of that name is emptied.
    Create,
}

/// An open file. Offsets and lengths are octets.
pub trait FileHandle: Send + Sync + Debug {
    /// Reads at `offset` until `octets` is full or the file ends; answers how many were read.
    ///
    /// # Errors
    /// [`FileError`].
    fn read_at(&self, octets: &mut [u8], offset: u64) -> Result<usize, FileError>;

    /// Writes all of `octets` at `offset`. After an error any part of them may be there.
    ///
    /// # Errors
    /// [`FileError`]; see [`FileError::is_full`].
    fn write_at(&self, octets: &[u8], offset: u64) -> Result<(), FileError>;

    /// Makes the file exactly `octets` long and reserves its space; new octets read as zero.
    ///
    /// # Errors
    /// [`FileError`]; see [`FileError::is_full`].
    fn allocate(&self, octets: u64) -> Result<(), FileError>;

    /// The file's length.
    ///
    /// # Errors
    /// [`FileError`].
    fn octets(&self) -> Result<u64, FileError>;

    /// Makes what was written durable (`fdatasync`).
    ///
    /// # Errors
    /// [`FileError`]: what was written since the last sync may be on the disk or not, and a later sync
    /// that succeeds says nothing about it. Only octets written again and then synced are durable.
    fn sync(&self) -> Result<(), FileError>;
}

/// Keeps others out for as long as it lives.
pub trait Lock: Send + Sync + Debug {}

/// A file system, as far as the head-end needs one.
pub trait Files: Send + Sync + Debug {
    /// Makes a folder and those above it, durably. One that exists is left as it is.
    ///
    /// # Errors
    /// [`FileError`].
    fn create_folder(&self, folder: &Path) -> Result<(), FileError>;

    /// Opens a file.
    ///
    /// # Errors
    /// [`FileError`]; see [`FileError::is_missing`].
    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn FileHandle>, FileError>;

    /// Gives a file another name in the same folder, taking the place of one that has it.
    ///
    /// # Errors
    /// [`FileError`].
    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError>;

    /// Removes a file.
    ///
    /// # Errors
    /// [`FileError`].
    fn remove(&self, path: &Path) -> Result<(), FileError>;

    /// Makes the names in a folder durable: what was created, renamed, removed.
    ///
    /// # Errors
    /// [`FileError`].
    fn sync_folder(&self, folder: &Path) -> Result<(), FileError>;

    /// The names of the files in a folder, sorted; names that are no Unicode are left out.
    ///
    /// # Errors
    /// [`FileError`]; see [`FileError::is_missing`].
    fn list(&self, folder: &Path) -> Result<Vec<String>, FileError>;

    /// Takes the lock of this name, or fails at once; see [`FileError::is_locked`].
    ///
    /// # Errors
    /// [`FileError`].
    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, FileError>;

    /// Reads a whole file, of at most `octets_max` octets.
    ///
    /// # Errors
    /// [`FileError`], also for a longer file.
    fn read(&self, path: &Path, octets_max: usize) -> Result<Vec<u8>, FileError> {
        let file = self.open(path, Open::Read)?;
        let length = usize::try_from(file.octets()?).unwrap_or(usize::MAX);
        if length > octets_max {
            let why = format!("it has {length} octets, over the limit of {octets_max}");
            return Err(FileError::new("read", path, io::Error::other(why)));
        }
        let mut octets = vec![0; length];
        let read = file.read_at(&mut octets, 0)?;
        octets.truncate(read);
        Ok(octets)
    }

    /// Puts `octets` under this name so that after a cut the file is either as before or whole, and
    /// durable when this returns: written beside it, synced, renamed, folder synced.
    ///
    /// # Errors
    /// [`FileError`]; the file is then as before, or new but not yet durable.
    fn write_atomically(&self, path: &Path, octets: &[u8]) -> Result<(), FileError> {
        let unfinished = unfinished(path);
        let file = self.open(&unfinished, Open::Create)?;
        file.write_at(octets, 0)?;
        file.sync()?;
        drop(file);
        self.put_in_place(&unfinished, path)
    }

    /// The end of an atomic write: gives the finished, synced file its name, durably.
    ///
    /// # Errors
    /// [`FileError`].
    fn put_in_place(&self, unfinished: &Path, path: &Path) -> Result<(), FileError> {
        self.rename(unfinished, path)?;
        self.sync_folder(parent(path))
    }
}

/// The name that a file has until it is whole: its own and `.unfinished`.
#[must_use]
pub fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".unfinished");
    PathBuf::from(name)
}

/// The folder that a file is in.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
