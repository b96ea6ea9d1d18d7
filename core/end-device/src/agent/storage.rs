//! Where an end device keeps its state. It is saved before the device acts on what it says.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use journal::files::{FileError, Files};

/// Octets of a saved state, at most.
pub const STATE_MAX: usize = 4 << 20;

/// Why a state could not be saved or read.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A file.
    #[error("the end device's state: {0}")]
    File(#[from] FileError),
    /// The storage is gone: the device was cut off.
    #[error("the end device's state: the storage was cut off")]
    Cut,
}

/// Where an end device keeps its state.
pub trait Storage: Send {
    /// What was saved last; `None` for a device that is new.
    ///
    /// # Errors
    /// [`StorageError`].
    fn load(&mut self) -> Result<Option<Vec<u8>>, StorageError>;

    /// Puts this state in the place of the last one. When it returns, the state is durable; after an error,
    /// and after a cut, either of the two is there, whole.
    ///
    /// # Errors
    /// [`StorageError`].
    fn save(&mut self, state: &[u8]) -> Result<(), StorageError>;
}

impl<S: Storage + ?Sized> Storage for Box<S> {
    fn load(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        (**self).load()
    }

    fn save(&mut self, state: &[u8]) -> Result<(), StorageError> {
        (**self).save(state)
    }
}

/// A state in memory, which lives as long as anybody holds it: a restart of a simulated device.
#[derive(Clone, Debug, Default)]
pub struct MemoryStorage(Arc<Mutex<Option<Vec<u8>>>>);

impl Storage for MemoryStorage {
    fn load(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn save(&mut self, state: &[u8]) -> Result<(), StorageError> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = kept.get_or_insert_default();
        kept.clear();
        kept.extend_from_slice(state);
        Ok(())
    }
}

/// A state in a file, written beside it, synced and renamed.
#[derive(Debug)]
pub struct FileStorage {
    files: Arc<dyn Files>,
    path: PathBuf,
}

impl FileStorage {
    /// The state of one device in this file.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, path: PathBuf) -> Self {
        Self { files, path }
    }
}

impl Storage for FileStorage {
    fn load(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        match self.files.read(&self.path, STATE_MAX) {
            Ok(state) => Ok(Some(state)),
            Err(error) if error.is_missing() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn save(&mut self, state: &[u8]) -> Result<(), StorageError> {
        Ok(self.files.write_atomically(&self.path, state)?)
    }
}

/// What a cut leaves of the save that it hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The state before it.
    Before,
    /// The new state, of which the device never heard.
    After,
}

/// A storage that can be cut off at any save, for tests and for fleets that try their luck.
#[derive(Debug)]
pub struct CutStorage<S> {
    storage: S,
    /// How many saves still go well, and what the next one leaves.
    cut: Option<(u32, Cut)>,
}

impl<S: Storage> CutStorage<S> {
    /// Goes well for `saves` saves; the next one is cut, and all after it fail.
    #[must_use]
    pub fn new(storage: S, saves: u32, cut: Cut) -> Self {
        Self { storage, cut: Some((saves, cut)) }
    }
}

impl<S: Storage> Storage for CutStorage<S> {
    fn load(&mut self) -> Result<Option<Vec<u8>>, StorageError> {
        self.storage.load()
    }

    fn save(&mut self, state: &[u8]) -> Result<(), StorageError> {
        match &mut self.cut {
            Some((0, cut)) => {
                if *cut == Cut::After {
                    self.storage.save(state)?;
                }
                self.cut = None;
                Err(StorageError::Cut)
            }
            Some((saves, _)) => {
                *saves = saves.saturating_sub(1);
                self.storage.save(state)
            }
            None => Err(StorageError::Cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::files::ForgetfulFiles;

    #[test]
    fn a_file_is_as_before_or_new_after_any_cut() {
        for seed in 0..50 {
            let files = ForgetfulFiles::default();
            files.create_folder("states".as_ref()).unwrap();
            let mut storage = FileStorage::new(Arc::new(files.clone()), "states/device".into());
            assert!(storage.load().unwrap().is_none());
            storage.save(b"one").unwrap();
            files.cut(seed);
            let mut storage = FileStorage::new(Arc::new(files.clone()), "states/device".into());
            assert_eq!(storage.load().unwrap().unwrap(), b"one");
            storage.save(b"second").unwrap();
            files.cut(seed);
            assert_eq!(storage.load().unwrap().unwrap(), b"second");
        }
    }

    #[test]
    fn a_cut_leaves_one_of_the_two() {
        for (cut, left) in [(Cut::Before, &b"1"[..]), (Cut::After, b"2")] {
            let memory = MemoryStorage::default();
            let mut storage = CutStorage::new(memory.clone(), 1, cut);
            storage.save(b"1").unwrap();
            assert!(storage.save(b"2").is_err() && storage.save(b"3").is_err());
            assert_eq!(memory.clone().load().unwrap().unwrap(), left);
        }
    }
}
