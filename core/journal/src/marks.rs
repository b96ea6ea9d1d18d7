//! Where cursors and checkpoints lie, and which position the lowest of them has.

use std::path::{Path, PathBuf};

use crate::checkpoint::Checkpoint;
use crate::error::JournalError;
use crate::files::Files;
use crate::position::Position;

const CURSORS: &str = "cursors";
const CHECKPOINTS: &str = "checkpoints";
const NAME_MAX: usize = 64;

/// The lowest position of all cursors and checkpoints of the journal in `folder`: what ends before it is
/// needed by nobody. `None` when there is neither, which says nothing about what may be released.
///
/// # Errors
/// [`JournalError::DamagedFile`], [`JournalError::File`].
pub fn floor(files: &dyn Files, folder: &Path) -> Result<Option<Position>, JournalError> {
    Ok(all(files, folder)?.into_iter().map(|(_, position)| position).min())
}

/// Every cursor and checkpoint.
pub(crate) fn all(files: &dyn Files, folder: &Path) -> Result<Vec<(PathBuf, Position)>, JournalError> {
    let mut marks = Vec::new();
    for folder in [folder.join(CURSORS), folder.join(CHECKPOINTS)] {
        let names = match files.list(&folder) {
            Err(error) if error.is_missing() => continue,
            names => names?,
        };
        for path in names.iter().filter(|name| is_name(name)).map(|name| folder.join(name)) {
            if let Some(checkpoint) = Checkpoint::at(files, path.clone())? {
                marks.push((path, checkpoint.position()));
            }
        }
    }
    Ok(marks)
}

/// The file of a cursor.
pub(crate) fn cursor(folder: &Path, name: &str) -> Result<PathBuf, JournalError> {
    path(folder, CURSORS, name)
}

/// The file of a checkpoint.
pub(crate) fn checkpoint(folder: &Path, name: &str) -> Result<PathBuf, JournalError> {
    path(folder, CHECKPOINTS, name)
}

fn path(folder: &Path, kind: &str, name: &str) -> Result<PathBuf, JournalError> {
    if !is_name(name) {
        return Err(JournalError::Name { name: name.to_owned() });
    }
    Ok(folder.join(kind).join(name))
}

/// Names have no dot, so a file that is not whole yet has none.
fn is_name(name: &str) -> bool {
    let allowed = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || b"-_".contains(&octet);
    (1..=NAME_MAX).contains(&name.len()) && name.bytes().all(allowed)
}
