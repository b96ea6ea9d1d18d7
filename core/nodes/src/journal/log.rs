//! What the journal's node offers to its neighbours: the log itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use journal::files::{Files, OsFiles};
use journal::{Cursors, Durable, JournalError, Position, Reader};
use node::Env;

/// The file layer under journal, checkpoints, cursors and exports. A program may bring another one, under
/// the service name `""`, than that of the operating system.
#[derive(Clone, Debug)]
pub struct FileLayer(pub Arc<dyn Files>);

impl FileLayer {
    /// The layer that the program brought, or the operating system's.
    #[must_use]
    pub fn of(env: &Env) -> Arc<dyn Files> {
        match env.services.find::<Self>("") {
            Some(layer) => Arc::clone(&layer.0),
            None => Arc::new(OsFiles),
        }
    }
}

/// The durable log, shared by its writer, the shards and the readers.
#[derive(Debug)]
pub struct Log {
    files: Arc<dyn Files>,
    folder: PathBuf,
    durable: Durable,
    settled: AtomicU64,
    ended: AtomicBool,
    wants_room: AtomicBool,
    aged: AtomicU64,
    marks: Mutex<BTreeSet<String>>,
}

impl Log {
    /// The log in `folder`; opens nothing.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, folder: PathBuf) -> Self {
        Self {
            files,
            folder,
            durable: Durable::default(),
            settled: AtomicU64::new(0),
            ended: AtomicBool::new(false),
            wants_room: AtomicBool::new(false),
            aged: AtomicU64::new(0),
            marks: Mutex::default(),
        }
    }

    /// The file layer.
    #[must_use]
    pub fn files(&self) -> Arc<dyn Files> {
        Arc::clone(&self.files)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// How far it is durable.
    #[must_use]
    pub fn durable(&self) -> &Durable {
        &self.durable
    }

    /// A reader from a position on.
    #[must_use]
    pub fn reader(&self, from: Position) -> Reader {
        Reader::new(self.files(), &self.folder, &self.durable, from)
    }

    /// Where the log begins: what was before is released.
    ///
    /// # Errors
    /// [`JournalError`] when its first segment cannot be read.
    pub fn first(&self) -> Result<Position, JournalError> {
        match self.reader(Position::START).next() {
            Err(JournalError::Released { first, .. }) => Ok(first),
            read => read.map(|_| Position::START),
        }
    }

    /// The cursors.
    #[must_use]
    pub fn cursors(&self) -> Cursors {
        Cursors::new(self.files(), &self.folder)
    }

    /// Up to where the edges to the journal have heard what became of their batches. Whoever reads this
    /// first and then looks at its edge knows of all its own records before the position.
    #[must_use]
    pub fn settled(&self) -> Position {
        Position(self.settled.load(Ordering::Acquire))
    }

    pub(super) fn set_settled(&self, position: Position) {
        self.settled.fetch_max(position.0, Ordering::AcqRel);
    }

    /// Whether its writer has ended. What became of a batch that nobody was told of is certain only when the
    /// next one has opened the log.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    pub(super) fn set_ended(&self, ended: bool) {
        self.ended.store(ended, Ordering::Release);
    }

    /// Whether the writer waits for room.
    #[must_use]
    pub fn wants_room(&self) -> bool {
        self.wants_room.load(Ordering::Relaxed)
    }

    /// Whether the owner of a mark at this position should move it on if it can: the writer waits for room, or
    /// what stands behind the mark has been there for long enough (security layer §4: what was erased is gone
    /// within 72 h).
    #[must_use]
    pub fn wants_mark(&self, mark: Position) -> bool {
        self.wants_room() || mark.0 < self.aged.load(Ordering::Acquire)
    }

    /// No mark should stay before this.
    pub(super) fn set_aged(&self, position: Position) {
        self.aged.fetch_max(position.0, Ordering::AcqRel);
    }

    pub(super) fn set_wants_room(&self, wants_room: bool) {
        self.wants_room.store(wants_room, Ordering::Relaxed);
    }

    /// Says that a cursor or checkpoint of this name is stored, so that it holds back what its owner needs.
    pub fn mark(&self, name: &str) {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    /// Whether this mark is stored.
    #[must_use]
    pub fn has_mark(&self, name: &str) -> bool {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    /// How many marks are stored.
    pub(super) fn marks(&self) -> usize {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The lowest mark.
    pub(super) fn floor(&self) -> Result<Option<Position>, JournalError> {
        journal::floor(&*self.files, &self.folder)
    }
}
