//! The file layer of the operating system.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::{FileError, FileHandle, Files, Lock, Open, parent};

/// Files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFiles;

#[derive(Debug)]
struct OsFile {
    file: File,
    path: PathBuf,
}

/// The lock goes with the open file.
#[derive(Debug)]
struct OsLock(#[allow(dead_code, reason = "held, never read")] File);

impl Lock for OsLock {}

/// Names what went wrong.
fn named<T>(result: io::Result<T>, doing: &'static str, path: &Path) -> Result<T, FileError> {
    result.map_err(|source| FileError::new(doing, path, source))
}

impl FileHandle for OsFile {
    fn read_at(&self, octets: &mut [u8], offset: u64) -> Result<usize, FileError> {
        let mut done = 0;
        while let Some(rest) = octets.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset.saturating_add(done as u64)) {
                Ok(0) => break,
                Ok(read) => done = done.saturating_add(read),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::new("read", &self.path, error)),
            }
        }
        Ok(done)
    }

    fn write_at(&self, octets: &[u8], offset: u64) -> Result<(), FileError> {
        named(self.file.write_all_at(octets, offset), "write", &self.path)
    }

    fn allocate(&self, octets: u64) -> Result<(), FileError> {
        if octets > 0 {
            match fallocate(&self.file, FallocateFlags::empty(), 0, octets) {
                // A file system that cannot reserve space reports a full disk at the write.
                Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
                Err(error) => return Err(FileError::new("reserve space for", &self.path, error.into())),
            }
        }
        named(self.file.set_len(octets), "set the length of", &self.path)
    }

    fn octets(&self) -> Result<u64, FileError> {
        named(self.file.metadata().map(|metadata| metadata.len()), "read the length of", &self.path)
    }

    fn sync(&self) -> Result<(), FileError> {
        named(self.file.sync_data(), "sync", &self.path)
    }
}

impl Files for OsFiles {
    fn create_folder(&self, folder: &Path) -> Result<(), FileError> {
        let above = parent(folder);
        if !folder.is_dir() {
            if !above.is_dir() {
                self.create_folder(above)?;
            }
            match fs::create_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
                made => named(made, "create folder", folder)?,
            }
        }
        // Also for one that exists: who made it may have been killed before this.
        self.sync_folder(above)
    }

    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn FileHandle>, FileError> {
        let mut options = OpenOptions::new();
        options.read(true).write(how != Open::Read).create(how == Open::Create).truncate(how == Open::Create);
        let file = named(options.open(path), "open", path)?;
        Ok(Box::new(OsFile { file, path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        named(fs::rename(from, to), "rename", from)
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        named(fs::remove_file(path), "remove", path)
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), FileError> {
        named(File::open(folder).and_then(|folder| folder.sync_all()), "sync folder", folder)
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, FileError> {
        let mut names = Vec::new();
        for entry in named(fs::read_dir(folder), "list", folder)? {
            let entry = named(entry, "list", folder)?;
            let is_file = named(entry.file_type(), "list", folder)?.is_file();
            if let (true, Ok(name)) = (is_file, entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, FileError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = named(options.open(path), "open", path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(OsLock(file))),
            Err(TryLockError::WouldBlock) => {
                Err(FileError::new("lock", path, io::ErrorKind::WouldBlock.into()))
            }
            Err(TryLockError::Error(error)) => Err(FileError::new("lock", path, error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_read_and_renamed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("a/b");
        OsFiles.create_folder(&folder).unwrap();
        OsFiles.create_folder(&folder).unwrap();
        let path = folder.join("file");
        OsFiles.write_atomically(&path, b"first").unwrap();
        OsFiles.write_atomically(&path, b"second").unwrap();
        assert_eq!(OsFiles.list(&folder).unwrap(), ["file"]);
        assert_eq!(OsFiles.read(&path, 6).unwrap(), b"second");
        assert!(OsFiles.read(&path, 5).is_err());

        let file = OsFiles.open(&path, Open::Update).unwrap();
        file.allocate(10_000).unwrap();
        file.write_at(b"x", 9_999).unwrap();
        file.sync().unwrap();
        let mut octets = [9; 4];
        assert_eq!(file.read_at(&mut octets, 9_997).unwrap(), 3);
        assert_eq!(octets, [0, 0, b'x', 9]);
        file.allocate(3).unwrap();
        assert_eq!(file.octets().unwrap(), 3);
        OsFiles.remove(&path).unwrap();
        assert!(OsFiles.open(&path, Open::Read).unwrap_err().is_missing());
    }

    #[test]
    fn a_lock_is_held_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("lock");
        let held = OsFiles.lock(&path).unwrap();
        assert!(OsFiles.lock(&path).unwrap_err().is_locked());
        drop(held);
        OsFiles.lock(&path).unwrap();
    }

    #[test]
    fn a_full_device_is_named() {
        let path = Path::new("/dev/full");
        if let Ok(file) = OsFiles.open(path, Open::Update) {
            let error = file.write_at(b"x", 0).unwrap_err();
            assert!(error.is_full(), "{error}");
            assert!(error.to_string().starts_with("cannot write /dev/full: "));
        }
    }
}
