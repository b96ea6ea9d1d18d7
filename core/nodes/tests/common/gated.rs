//! A file layer whose syncs wait while a gate is closed, and panic when they are told to.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use journal::files::{FileError, FileHandle, Files, Lock, Open};

#[derive(Debug, Default)]
struct State {
    /// Syncs of files with this in their path wait.
    held: Option<&'static str>,
    /// But so many of them.
    passes: u32,
    /// The next sync of a file with this in its name panics.
    panic_at: Option<&'static str>,
}

/// The gate; clones are one.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

impl Gate {
    /// Holds all syncs up.
    pub fn close(&self) {
        self.hold("");
    }

    /// Holds up the syncs of files with this in their path.
    pub fn hold(&self, name: &'static str) {
        self.hold_after(0, name);
    }

    /// Lets so many syncs of files with this in their path through, then holds them up.
    pub fn hold_after(&self, passes: u32, name: &'static str) {
        let mut state = self.0.0.lock().unwrap();
        (state.held, state.passes) = (Some(name), passes);
        self.0.1.notify_all();
    }

    pub fn open(&self) {
        self.0.0.lock().unwrap().held = None;
        self.0.1.notify_all();
    }

    /// The next sync of a file with this in its path panics.
    pub fn panic_at(&self, name: &'static str) {
        self.0.0.lock().unwrap().panic_at = Some(name);
    }

    fn pass(&self, path: &Path) {
        let fits = |name: &str| path.to_str().unwrap().contains(name);
        let held = |state: &mut State| {
            if !state.held.is_some_and(fits) || state.passes > 0 {
                state.passes = state.passes.saturating_sub(u32::from(state.held.is_some_and(fits)));
                return false;
            }
            true
        };
        let mut state = self.0.1.wait_while(self.0.0.lock().unwrap(), held).unwrap();
        let hit = state.panic_at.is_some_and(fits);
        if hit {
            state.panic_at = None;
            drop(state);
            panic!("a sync was told to panic");
        }
    }
}

/// Another layer behind a gate.
#[derive(Debug)]
pub struct GatedFiles {
    pub inner: Arc<dyn Files>,
    pub gate: Gate,
}

#[derive(Debug)]
struct Handle {
    inner: Box<dyn FileHandle>,
    gate: Gate,
    path: std::path::PathBuf,
}

impl FileHandle for Handle {
    fn read_at(&self, octets: &mut [u8], offset: u64) -> Result<usize, FileError> {
        self.inner.read_at(octets, offset)
    }

    fn write_at(&self, octets: &[u8], offset: u64) -> Result<(), FileError> {
        self.inner.write_at(octets, offset)
    }

    fn allocate(&self, octets: u64) -> Result<(), FileError> {
        self.inner.allocate(octets)
    }

    fn octets(&self) -> Result<u64, FileError> {
        self.inner.octets()
    }

    fn sync(&self) -> Result<(), FileError> {
        self.gate.pass(&self.path);
        self.inner.sync()
    }
}

impl Files for GatedFiles {
    fn create_folder(&self, folder: &Path) -> Result<(), FileError> {
        self.inner.create_folder(folder)
    }

    fn open(&self, path: &Path, how: Open) -> Result<Box<dyn FileHandle>, FileError> {
        let inner = self.inner.open(path, how)?;
        Ok(Box::new(Handle { inner, gate: self.gate.clone(), path: path.to_owned() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), FileError> {
        self.inner.rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<(), FileError> {
        self.inner.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> Result<(), FileError> {
        self.inner.sync_folder(folder)
    }

    fn list(&self, folder: &Path) -> Result<Vec<String>, FileError> {
        self.inner.list(folder)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Lock>, FileError> {
        self.inner.lock(path)
    }
}
