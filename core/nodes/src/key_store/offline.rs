//! What a command does to the store of a head-end that does not run.

use std::path::Path;
use std::sync::Arc;

use journal::files::Files;
use journal::{Checkpoint, Cursors, Durable, JournalError, Position, Reader};
use keystore::{Change, Store, StoreError};

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
    /// A shard would want sealed records of the journal at its next start.
    #[error(
        "the journal holds sealed keys that a checkpoint has not passed; run the head-end, stop it, and try again"
    )]
    Needed,
}

/// Takes into the store what the journal in `folder` still holds for it, and makes sure that nobody needs what
/// is sealed there any more: then data keys may be replaced.
///
/// # Errors
/// [`OfflineError`].
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
    let taken = cursor.unwrap_or(start);
    let passed = checkpoints(&**files, folder)?;
    let from = taken.min(passed.unwrap_or(taken)).max(start);
    let mut reader = Reader::new(Arc::clone(files), folder, &durable, from);
    let (mut changes, mut end) = (Vec::new(), taken);
    while let Some(found) = reader.next()? {
        let change = change(found.kind, found.octets);
        let at = reader.position();
        if let Some(change) = change {
            let sealed = matches!(change, Change::Association { .. } | Change::GroupKey { .. });
            if sealed && passed.is_some_and(|passed| at > passed) {
                return Err(OfflineError::Needed);
            }
            if at > taken {
                changes.push(change);
            }
        }
        end = end.max(at);
        if changes.len() >= CHANGES_MAX {
            store.apply(&std::mem::take(&mut changes), unix_s())?;
        }
    }
    store.apply(&changes, unix_s())?;
    // Where nobody follows, a cursor would only hold segments back.
    if cursor.is_some() {
        cursors.store(CURSOR, end, &[])?;
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
