//! Cursors: how far each follower of the log has come.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::checkpoint::{Checkpoint, CheckpointWriter};
use crate::error::JournalError;
use crate::files::{Files, parent};
use crate::marks;
use crate::position::Position;

/// A cursor as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// All before this is done with.
    pub position: Position,
    /// What its owner stored with it.
    pub payload: Vec<u8>,
}

/// The named cursors of one journal. Each is a file of its own, replaced atomically; a cursor has one
/// owner. While it exists it holds back retention, so store one before the first record is needed.
#[derive(Clone, Debug)]
pub struct Cursors {
    files: Arc<dyn Files>,
    folder: PathBuf,
}

impl Cursors {
    /// The cursors of the journal in `folder`.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, folder: &Path) -> Self {
        Self { files, folder: folder.to_owned() }
    }

    /// Stores a cursor, durable when this returns.
    ///
    /// # Errors
    /// [`JournalError::Name`], [`JournalError::RecordTooLong`], [`JournalError::DiskFull`],
    /// [`JournalError::File`]: it is then as before, or as stored.
    pub fn store(&self, name: &str, position: Position, payload: &[u8]) -> Result<(), JournalError> {
        let path = marks::cursor(&self.folder, name)?;
        let mut writer = CheckpointWriter::at(Arc::clone(&self.files), path, position)?;
        writer.put(payload)?;
        writer.finish()
    }

    /// The cursor of this name, if it was ever stored.
    ///
    /// # Errors
    /// [`JournalError::Name`], [`JournalError::DamagedFile`], [`JournalError::File`].
    pub fn load(&self, name: &str) -> Result<Option<Cursor>, JournalError> {
        let path = marks::cursor(&self.folder, name)?;
        let Some(mut checkpoint) = Checkpoint::at(&*self.files, path)? else { return Ok(None) };
        let position = checkpoint.position();
        let payload = checkpoint.next()?.unwrap_or_default().to_vec();
        Ok(Some(Cursor { position, payload }))
    }

    /// Forgets a cursor: it holds nothing back any more.
    ///
    /// # Errors
    /// [`JournalError::Name`], [`JournalError::File`].
    pub fn remove(&self, name: &str) -> Result<(), JournalError> {
        let path = marks::cursor(&self.folder, name)?;
        match self.files.remove(&path) {
            Err(error) if error.is_missing() => Ok(()),
            removed => Ok(removed.and_then(|()| self.files.sync_folder(parent(&path)))?),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::ForgetfulFiles;
    use crate::marks::floor;

    fn cursors() -> (ForgetfulFiles, Cursors) {
        let files = ForgetfulFiles::default();
        (files.clone(), Cursors::new(Arc::new(files), Path::new("/journal")))
    }

    #[test]
    fn a_cursor_is_old_or_new_wherever_the_power_goes() {
        for stop in 1..8 {
            for seed in 0..200 {
                let (files, cursors) = cursors();
                cursors.store("mdm", Position(1), b"file 1").unwrap();
                files.stop_after(stop);
                let done = cursors.store("mdm", Position(2), b"file 2").is_ok();
                files.cut(seed);
                let cursor = cursors.load("mdm").unwrap().unwrap();
                let expected = format!("file {}", cursor.position.0);
                assert_eq!(cursor.payload, expected.as_bytes(), "stop {stop} seed {seed}");
                assert!(cursor.position == Position(2) || !done, "stop {stop} seed {seed}");
            }
        }
    }

    #[test]
    fn the_floor_is_the_lowest_of_cursors_and_checkpoints() {
        let (files, cursors) = cursors();
        let folder = Path::new("/journal");
        assert_eq!(floor(&files, folder).unwrap(), None);
        cursors.store("mdm", Position(30), b"").unwrap();
        cursors.store("desk", Position(40), b"").unwrap();
        assert_eq!(floor(&files, folder).unwrap(), Some(Position(30)));
        let checkpoint =
            CheckpointWriter::begin(Arc::new(files.clone()), folder, "shard-0", Position(20)).unwrap();
        assert_eq!(floor(&files, folder).unwrap(), Some(Position(30)), "an unfinished one counts");
        checkpoint.finish().unwrap();
        assert_eq!(floor(&files, folder).unwrap(), Some(Position(20)));
        cursors.remove("mdm").unwrap();
        cursors.remove("mdm").unwrap();
        assert_eq!(cursors.load("mdm").unwrap(), None);
        assert!(matches!(cursors.load("../mdm"), Err(JournalError::Name { .. })));
        assert!(matches!(cursors.load(""), Err(JournalError::Name { .. })));
    }
}
