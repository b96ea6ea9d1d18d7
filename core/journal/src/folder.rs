//! What lies in a journal's folder, by name.

use std::path::{Path, PathBuf};

use crate::error::JournalError;
use crate::files::Files;
use crate::position::Position;

const SEGMENT: &str = "segment";
const SPARE: &str = "spare";

/// A journal's folder.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Bases of the segments, in order.
    pub(crate) segments: Vec<Position>,
    /// Files kept to become segments.
    pub(crate) spares: Vec<PathBuf>,
}

/// Lists a folder.
pub(crate) fn list(files: &dyn Files, folder: &Path) -> Result<Listing, JournalError> {
    let mut listing = Listing { segments: Vec::new(), spares: Vec::new() };
    for name in files.list(folder)? {
        match name.split_once('.').and_then(|(base, ending)| Some((base.parse().ok()?, ending))) {
            Some((base, SEGMENT)) => listing.segments.push(base),
            Some((base, SPARE)) => listing.spares.push(spare(folder, base)),
            _ => {}
        }
    }
    listing.segments.sort_unstable();
    Ok(listing)
}

/// The file of the segment that begins at `base`.
pub(crate) fn segment(folder: &Path, base: Position) -> PathBuf {
    folder.join(format!("{base}.{SEGMENT}"))
}

/// The file of a spare that was, or is going to be, the segment at `base`.
pub(crate) fn spare(folder: &Path, base: Position) -> PathBuf {
    folder.join(format!("{base}.{SPARE}"))
}

/// The file whose lock the writer holds.
pub(crate) fn lock(folder: &Path) -> PathBuf {
    folder.join("lock")
}
