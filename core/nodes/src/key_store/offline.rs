//! What a command does to the store of a head-end that does not run.

use std::path::Path;
use std::sync::Arc;

use journal::files::Files;
use journal::{Checkpoint, Cursors, Durable, JournalError, Position, Reader};
use keystore::{Store, StoreError};

use super::follower::{CURSOR, change};
use crate::clock::unix_s;

/// Changes that are taken in at once.
const CHANGES_MAX: usize = 50_000;
/// The folder of checkpoints in that of the journal.
const CHECKPOINTS: &str = "checkpoints";

/// A store that cannot be brought to where its journal is.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes into the store what the journal in `folder` still holds for it: then data keys may be replaced.
/// Shards that read the journal again at their next start find in the store what is sealed there, or know by
/// the store's cursor that it is over.
///
/// # Errors
/// [`OfflineError`]; the cursor has not moved then.
pub fn catch_up(store: &Store, files: &Arc<dyn Files>, folder: &Path) -> Result<(), OfflineError> {
    let cursors = Cursors::new(Arc::clone(files), folder);
    let cursor = cursors.load(CURSOR)?.map(|cursor| cursor.position);
    if cursor.is_none() && files.list(folder).is_err_and(|error| error.is_missing()) {
        return Ok(());
    }
    let durable = Durable::of_stopped(&**files, folder)?;
    let start = match Reader::new(Arc::clone(files), folder, &durable, Position::START).next() {
        Err(JournalError::Released { first, .. }) => first,
        read => read.map(|_| Position::START)?,
    };
    let mut reader = Reader::new(Arc::clone(files), folder, &durable, cursor.unwrap_or(start).max(start));
    let mut changes = Vec::new();
    while let Some(found) = reader.next()? {
        changes.extend(change(found.kind, found.octets));
        if changes.len() >= CHANGES_MAX {
            store.apply(&std::mem::take(&mut changes), unix_s())?;
        }
    }
    store.apply(&changes, unix_s())?;
    // Where nobody follows, a cursor would only hold segments back.
    if cursor.is_some() {
        cursors.store(CURSOR, reader.position(), &[])?;
    }
    Ok(())
}

/// The lowest position of the shards' checkpoints; `None` when there are none.
pub(super) fn checkpoints(files: &dyn Files, folder: &Path) -> Result<Option<Position>, JournalError> {
    let names = match files.list(&folder.join(CHECKPOINTS)) {
        Err(error) if error.is_missing() => return Ok(None),
        names => names?,
    };
    let mut lowest: Option<Position> = None;
    // One that is not whole yet has a dot in its name.
    for name in names.iter().filter(|name| !name.contains('.')) {
        if let Some(checkpoint) = Checkpoint::open(files, folder, name)? {
            let position = checkpoint.position();
            lowest = Some(lowest.map_or(position, |lowest| lowest.min(position)));
        }
    }
    Ok(lowest)
}
