//! Checkpoints: what was made of the log up to a position, in a file that is old or new, never half.
//!
//! ```text
//! magic 8 · position 8 · crc32c 4 · chunks · end
//! chunk: length 4 · crc32c 4 · octets      end: ff ff ff ff · crc32c 4
//! ```
//! A chunk's checksum begins with the position and the chunk's number, so chunks cannot change places.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::JournalError;
use crate::files::{FileHandle, Files, Open, parent, unfinished};
use crate::marks;
use crate::position::Position;

const MAGIC: [u8; 8] = *b"mgpoint1";
pub(crate) const HEAD: usize = 20;
const CHUNK_HEAD: usize = 8;
const END: u32 = u32::MAX;
/// One chunk has at most so many octets.
pub const CHUNK_OCTETS_MAX: usize = 16 << 20;
/// Written at once.
const WRITE_OCTETS: usize = 1 << 20;

/// Writes a checkpoint, chunk by chunk. It takes the place of the one before at [`finish`](Self::finish).
#[derive(Debug)]
pub struct CheckpointWriter {
    files: Arc<dyn Files>,
    path: PathBuf,
    file: Box<dyn FileHandle>,
    position: Position,
    chunks: u64,
    /// Octets not yet written, and where they go.
    octets: Vec<u8>,
    offset: u64,
}

impl CheckpointWriter {
    /// Begins the checkpoint `name` of the journal in `folder`: it holds all of the log before
    /// `position`.
    ///
    /// # Errors
    /// [`JournalError::Name`], [`JournalError::DiskFull`], [`JournalError::File`].
    pub fn begin(
        files: Arc<dyn Files>,
        folder: &Path,
        name: &str,
        position: Position,
    ) -> Result<Self, JournalError> {
        let path = marks::checkpoint(folder, name)?;
        Self::at(files, path, position)
    }

    pub(crate) fn at(files: Arc<dyn Files>, path: PathBuf, position: Position) -> Result<Self, JournalError> {
        let file = match files.open(&unfinished(&path), Open::Create) {
            Err(error) if error.is_missing() => {
                files.create_folder(parent(&path))?;
                files.open(&unfinished(&path), Open::Create)?
            }
            opened => opened?,
        };
        let mut octets = MAGIC.to_vec();
        octets.extend_from_slice(&position.0.to_be_bytes());
        octets.extend_from_slice(&crc32c::crc32c(&octets).to_be_bytes());
        Ok(Self { files, path, file, position, chunks: 0, octets, offset: 0 })
    }

    /// Appends a chunk of at most [`CHUNK_OCTETS_MAX`] octets.
    ///
    /// # Errors
    /// [`JournalError::RecordTooLong`], [`JournalError::DiskFull`], [`JournalError::File`].
    pub fn put(&mut self, chunk: &[u8]) -> Result<(), JournalError> {
        if chunk.len() > CHUNK_OCTETS_MAX {
            let (octets, octets_max) = (chunk.len(), CHUNK_OCTETS_MAX);
            return Err(JournalError::RecordTooLong { octets, octets_max });
        }
        self.push(u32::try_from(chunk.len()).unwrap_or(END), chunk);
        if self.octets.len() >= WRITE_OCTETS {
            self.write()?;
        }
        Ok(())
    }

    /// Makes the checkpoint the one that is read, durably.
    ///
    /// # Errors
    /// [`JournalError::DiskFull`], [`JournalError::File`]: the checkpoint before still holds, unless this
    /// one has already taken its place whole.
    pub fn finish(mut self) -> Result<(), JournalError> {
        self.push(END, &[]);
        self.write()?;
        self.file.sync()?;
        Ok(self.files.put_in_place(&unfinished(&self.path), &self.path)?)
    }

    fn push(&mut self, length: u32, chunk: &[u8]) {
        let checksum = checksum(self.position, self.chunks, length, chunk);
        self.octets.extend_from_slice(&length.to_be_bytes());
        self.octets.extend_from_slice(&checksum.to_be_bytes());
        self.octets.extend_from_slice(chunk);
        self.chunks = self.chunks.saturating_add(1);
    }

    fn write(&mut self) -> Result<(), JournalError> {
        self.file.write_at(&self.octets, self.offset)?;
        self.offset = self.offset.saturating_add(self.octets.len() as u64);
        self.octets.clear();
        Ok(())
    }
}

/// A checkpoint that is read, chunk by chunk.
#[derive(Debug)]
pub struct Checkpoint {
    path: PathBuf,
    file: Box<dyn FileHandle>,
    position: Position,
    chunks: u64,
    offset: u64,
    chunk: Vec<u8>,
}

impl Checkpoint {
    /// Opens the checkpoint `name` of the journal in `folder`; `None` when none was ever finished.
    ///
    /// # Errors
    /// [`JournalError::Name`], [`JournalError::DamagedFile`], [`JournalError::File`].
    pub fn open(files: &dyn Files, folder: &Path, name: &str) -> Result<Option<Self>, JournalError> {
        Self::at(files, marks::checkpoint(folder, name)?)
    }

    pub(crate) fn at(files: &dyn Files, path: PathBuf) -> Result<Option<Self>, JournalError> {
        let file = match files.open(&path, Open::Read) {
            Err(error) if error.is_missing() => return Ok(None),
            opened => opened?,
        };
        let mut head = [0; HEAD];
        file.read_at(&mut head, 0)?;
        let Some(position) = read_head(&head) else {
            return Err(JournalError::DamagedFile { path, offset: 0, what: "the head" });
        };
        Ok(Some(Self { path, file, position, chunks: 0, offset: HEAD as u64, chunk: Vec::new() }))
    }

    /// The position that the checkpoint holds the log up to.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next chunk; `None` behind the last. Only when that has come was the checkpoint whole.
    ///
    /// # Errors
    /// [`JournalError::DamagedFile`], [`JournalError::File`].
    #[allow(clippy::should_implement_trait, reason = "the chunk borrows from the checkpoint")]
    pub fn next(&mut self) -> Result<Option<&[u8]>, JournalError> {
        let mut head = [0; CHUNK_HEAD];
        self.file.read_at(&mut head, self.offset)?;
        let [l0, l1, l2, l3, c0, c1, c2, c3] = head;
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        let octets = if length == END { 0 } else { usize::try_from(length).unwrap_or(usize::MAX) };
        if octets > CHUNK_OCTETS_MAX {
            return Err(self.damaged("the length of a chunk"));
        }
        self.chunk.resize(octets, 0);
        let at = self.offset.saturating_add(CHUNK_HEAD as u64);
        let read = self.file.read_at(&mut self.chunk, at)?;
        let expected = checksum(self.position, self.chunks, length, &self.chunk);
        if read != octets || expected != u32::from_be_bytes([c0, c1, c2, c3]) {
            return Err(self.damaged("a chunk"));
        }
        if length == END {
            return Ok(None);
        }
        self.chunks = self.chunks.saturating_add(1);
        self.offset = at.saturating_add(octets as u64);
        Ok(Some(&self.chunk))
    }

    fn damaged(&self, what: &'static str) -> JournalError {
        JournalError::DamagedFile { path: self.path.clone(), offset: self.offset, what }
    }
}

fn read_head(octets: &[u8; HEAD]) -> Option<Position> {
    let (checked, checksum) = octets.split_last_chunk::<4>()?;
    let (magic, position) = checked.split_first_chunk::<8>()?;
    let whole = *magic == MAGIC && crc32c::crc32c(checked) == u32::from_be_bytes(*checksum);
    whole.then_some(Position(u64::from_be_bytes(position.try_into().ok()?)))
}

fn checksum(position: Position, number: u64, length: u32, chunk: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&position.0.to_be_bytes()), &number.to_be_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(place, &length.to_be_bytes()), chunk)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::ForgetfulFiles;

    const FOLDER: &str = "/journal";

    fn write(files: &ForgetfulFiles, position: u64, chunks: &[Vec<u8>]) -> Result<(), JournalError> {
        let files = Arc::new(files.clone());
        let mut writer = CheckpointWriter::begin(files, Path::new(FOLDER), "shard-1", Position(position))?;
        for chunk in chunks {
            writer.put(chunk)?;
        }
        writer.finish()
    }

    type Read = (u64, Vec<Vec<u8>>);

    fn read(files: &ForgetfulFiles) -> Result<Option<Read>, JournalError> {
        let Some(mut checkpoint) = Checkpoint::open(files, Path::new(FOLDER), "shard-1")? else {
            return Ok(None);
        };
        let mut chunks = Vec::new();
        while let Some(chunk) = checkpoint.next()? {
            chunks.push(chunk.to_vec());
        }
        Ok(Some((checkpoint.position().0, chunks)))
    }

    #[test]
    fn a_checkpoint_reads_back() {
        let files = ForgetfulFiles::default();
        assert!(read(&files).unwrap().is_none());
        let chunks = [vec![], vec![1; 3_000_000], vec![2; 7]];
        write(&files, 77, &chunks).unwrap();
        assert_eq!(read(&files).unwrap(), Some((77, chunks.to_vec())));
        write(&files, 78, &[]).unwrap();
        assert_eq!(read(&files).unwrap(), Some((78, vec![])));
        assert!(matches!(
            write(&files, 79, &[vec![0; CHUNK_OCTETS_MAX + 1]]),
            Err(JournalError::RecordTooLong { .. })
        ));
        assert_eq!(read(&files).unwrap(), Some((78, vec![])));
    }

    #[test]
    fn a_checkpoint_is_old_or_new_wherever_the_power_goes() {
        let (old, new) = ([vec![1; 3000], vec![2; 10]], [vec![3; 2000]]);
        for stop in 1..8 {
            for seed in 0..200 {
                let files = ForgetfulFiles::default();
                write(&files, 1, &old).unwrap();
                files.stop_after(stop);
                let done = write(&files, 2, &new).is_ok();
                files.cut(seed);
                let found = read(&files).unwrap().unwrap();
                let is_new = found == (2, new.to_vec());
                assert!(is_new || found == (1, old.to_vec()), "stop {stop} seed {seed}");
                assert!(is_new || !done, "stop {stop} seed {seed}");
            }
        }
    }

    #[test]
    fn damage_is_named_wherever_it_is() {
        let path = marks::checkpoint(Path::new(FOLDER), "shard-1").unwrap();
        let chunks = [vec![1; 30], vec![1; 30], vec![]];
        for offset in 0..HEAD + 4 * CHUNK_HEAD + 60 {
            let files = ForgetfulFiles::default();
            write(&files, 7, &chunks).unwrap();
            files.rot(&path, offset as u64, 0x10);
            let error = read(&files).unwrap_err();
            assert!(matches!(error, JournalError::DamagedFile { .. }), "offset {offset}: {error}");
        }
    }
}
