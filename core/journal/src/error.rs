//! What can go wrong with a journal.

use std::path::PathBuf;

use thiserror::Error;

use crate::files::FileError;
use crate::position::Position;

/// A journal, cursor or checkpoint operation that did not work.
#[derive(Debug, Error)]
pub enum JournalError {
    /// A file operation failed.
    #[error(transparent)]
    File(FileError),
    /// The disk has no room. Nothing that was committed is lost, and a later commit may succeed.
    #[error("the disk is full: {0}")]
    DiskFull(FileError),
    /// The journal has reached its size limit. Nothing is lost; [`Writer::release`] makes room.
    ///
    /// [`Writer::release`]: crate::Writer::release
    #[error("the journal is full: {octets} octets are kept, at most {size_max} are allowed")]
    Full {
        /// Octets of its segments.
        octets: u64,
        /// The limit.
        size_max: u64,
    },
    /// The records not yet committed have reached their limit: commit, then append again.
    #[error("the batch is full: a commit takes at most {octets_max} octets")]
    BatchFull {
        /// The limit, record heads included.
        octets_max: usize,
    },
    /// One record is over the limit.
    #[error("a record of {octets} octets is over the limit of {octets_max}")]
    RecordTooLong {
        /// Its octets.
        octets: usize,
        /// The limit.
        octets_max: usize,
    },
    /// Another writer has the folder.
    #[error("the journal in {folder} is in use by another process or node", folder = .folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// Renaming a segment failed half-way; the writer takes no more until the folder is opened again.
    #[error("the journal in {folder} has to be opened again after a failed change of its segments", folder = .folder.display())]
    MustReopen {
        /// The folder.
        folder: PathBuf,
    },
    /// What stands at a committed position is not what was committed.
    #[error("the journal is damaged at position {position} in {path}: {what}", path = .path.display())]
    Damaged {
        /// Where.
        position: Position,
        /// The segment's file.
        path: PathBuf,
        /// What is wrong there.
        what: &'static str,
    },
    /// A cursor or checkpoint file is not what was stored.
    #[error("{path} is damaged at octet {offset}: {what}", path = .path.display())]
    DamagedFile {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The position was released; its records are gone.
    #[error("position {position} is no longer in the journal, which begins at {first}")]
    Released {
        /// The position asked for.
        position: Position,
        /// Where the journal begins now.
        first: Position,
    },
    /// The journal ends before a position that was known to be durable.
    #[error("the journal ends at {end}, but {known_by} knows of {position}: its end was lost")]
    EndLost {
        /// Where it ends.
        end: Position,
        /// The position that must have been there.
        position: Position,
        /// Who knew it: a cursor, a checkpoint, a reader.
        known_by: String,
    },
    /// No record begins at this position.
    #[error("no record begins at position {position}")]
    NoRecord {
        /// The position.
        position: Position,
    },
    /// A name of a cursor or checkpoint that cannot be a file name.
    #[error("`{name}` cannot name a cursor or checkpoint: use 1 to 64 of a-z, 0-9, `-` and `_`")]
    Name {
        /// The name.
        name: String,
    },
    /// A segment size that cannot work.
    #[error("a segment of {octets} octets is too small or too large: take {octets_min} to {octets_max}")]
    SegmentOctets {
        /// The size asked for.
        octets: u64,
        /// The least.
        octets_min: u64,
        /// The most.
        octets_max: u64,
    },
}

impl From<FileError> for JournalError {
    fn from(error: FileError) -> Self {
        if error.is_full() { Self::DiskFull(error) } else { Self::File(error) }
    }
}
