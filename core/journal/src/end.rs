//! Finding the end of a log that a writer left, with or without warning.

use std::path::Path;

use crate::block::PAGE;
use crate::durable::Durable;
use crate::error::JournalError;
use crate::files::{Files, Open};
use crate::folder;
use crate::position::Position;
use crate::segment::{Buffer, Segment};

/// The end of the last segment.
#[derive(Debug)]
pub(crate) struct End {
    /// Behind the last commit.
    pub(crate) position: Position,
    /// The seal stands there.
    pub(crate) sealed: bool,
    /// The last block, the seal included. All before it was durable before it was written; the block
    /// itself may be in the page cache only.
    pub(crate) last: Option<(Position, Position)>,
}

/// Finds the end of the last segment: the first place where no whole block stands.
///
/// A block there that was cut off is a commit that nobody was told of, since the next one begins only
/// when it is durable. So a block further on means that a durable one is damaged.
///
/// # Errors
/// [`JournalError::Damaged`], [`JournalError::File`].
pub(crate) fn find(segment: &Segment) -> Result<End, JournalError> {
    let mut buffer = Buffer::default();
    let mut end = End { position: segment.first(), sealed: false, last: None };
    while let Some(found) = segment.block(end.position, segment.limit(), &mut buffer)? {
        end.last = Some((end.position, found.end));
        if found.seal {
            end.sealed = true;
            return Ok(end);
        }
        end.position = found.end;
    }
    let mut further = end.position.plus(PAGE);
    while further < segment.limit() {
        if segment.head(further, segment.limit(), &mut buffer)?.is_some() {
            return Err(JournalError::Damaged {
                position: end.position,
                path: segment.path.clone(),
                what: "no whole block, though one follows",
            });
        }
        further = further.plus(PAGE);
    }
    Ok(end)
}

impl Durable {
    /// The durable position of a log whose writer has stopped, for readers of its folder.
    ///
    /// # Errors
    /// [`JournalError::InUse`] while there is a writer; [`JournalError::Damaged`]; [`JournalError::File`].
    pub fn of_stopped(files: &dyn Files, folder: &Path) -> Result<Self, JournalError> {
        let _lock = lock(files, folder)?;
        let durable = Self::default();
        if let Some(&base) = folder::list(files, folder)?.segments.last() {
            let segment = Segment::open(files, folder::segment(folder, base), base, Open::Read)?;
            durable.publish(find(&segment)?.position);
        }
        Ok(durable)
    }
}

/// Takes the folder for one writer.
pub(crate) fn lock(files: &dyn Files, folder: &Path) -> Result<Box<dyn crate::files::Lock>, JournalError> {
    files.lock(&folder::lock(folder)).map_err(|error| {
        if error.is_locked() { JournalError::InUse { folder: folder.to_owned() } } else { error.into() }
    })
}
