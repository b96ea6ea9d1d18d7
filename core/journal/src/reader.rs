//! Those who follow the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{HEAD, PAGE, record};
use crate::durable::Durable;
use crate::error::JournalError;
use crate::files::{Files, Open};
use crate::folder;
use crate::position::Position;
use crate::segment::{Buffer, Segment};

/// A record, borrowed from its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Where it stands: the same for ever.
    pub position: Position,
    /// The kind that it was appended with.
    pub kind: u8,
    /// Its octets.
    pub octets: &'a [u8],
}

/// Follows the log from a position up to the durable one, never past it.
///
/// Every record comes exactly once and in order, or an error names the position that cannot be read.
#[derive(Debug)]
pub struct Reader {
    files: Arc<dyn Files>,
    folder: PathBuf,
    durable: Durable,
    /// Of the record to come, or of the block that it will be in.
    position: Position,
    segment: Option<Segment>,
    buffer: Buffer,
    block: Option<OpenBlock>,
}

/// A block that is being read.
#[derive(Clone, Copy, Debug)]
struct OpenBlock {
    position: Position,
    length: usize,
    end: Position,
    /// Offset in the payload of the record to come.
    at: usize,
}

impl Reader {
    /// A reader of the log in `folder`, from `from` on: a position that [`Reader::position`],
    /// [`Writer::end`](crate::Writer::end) or [`Record::position`] told, or [`Position::START`].
    ///
    /// Opens nothing yet, so it may be made before the log's first writer.
    #[must_use]
    pub fn new(files: Arc<dyn Files>, folder: &Path, durable: &Durable, from: Position) -> Self {
        Self {
            files,
            folder: folder.to_owned(),
            durable: durable.clone(),
            position: from,
            segment: None,
            buffer: Buffer::default(),
            block: None,
        }
    }

    /// Where to go on: the position of the next record, or of the commit that it will be in. A cursor
    /// stores this.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The next record; `None` when all that is durable has been read.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] with the position: nothing is skipped, the next call tries again.
    /// [`JournalError::Released`], [`JournalError::NoRecord`], [`JournalError::EndLost`] when it stands
    /// past the durable end, [`JournalError::File`].
    #[allow(clippy::should_implement_trait, reason = "the record borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<Record<'_>>, JournalError> {
        while self.block.is_none_or(|block| block.at >= block.length) {
            if !self.next_block()? {
                return Ok(None);
            }
        }
        let (Some(segment), Some(block)) = (&self.segment, &mut self.block) else { return Ok(None) };
        let payload = segment.payload(block.position, block.length, &self.buffer);
        let Some((kind, octets, next)) = record(payload, block.at) else {
            return Err(damaged(segment, self.position, "no whole record"));
        };
        let position = self.position;
        block.at = next;
        self.position = if next < block.length { record_position(block.position, next) } else { block.end };
        Ok(Some(Record { position, kind, octets }))
    }

    /// One step to the next block: opens the segment, or reads a block of it. `false` at the durable end.
    fn next_block(&mut self) -> Result<bool, JournalError> {
        let end = self.durable.position();
        // Before the first writer has opened the log there is no end to compare with.
        if self.position > end && end != Position::START {
            let known_by = "this reader".to_owned();
            return Err(JournalError::EndLost { end, position: self.position, known_by });
        }
        if self.position >= end {
            return Ok(false);
        }
        self.block = None;
        let Some(segment) = self.segment.take() else {
            self.open_segment(end)?;
            return Ok(true);
        };
        let Some(found) = segment.block(self.position, end, &mut self.buffer)? else {
            return match self.fault(&segment, self.position) {
                // On the seal of a segment that is gone: the next one is the first, and is opened.
                JournalError::Released { first, .. } if self.position.plus(PAGE) == first => Ok(true),
                fault => Err(fault),
            };
        };
        if found.seal {
            // The next segment begins behind the seal.
            self.position = found.end;
            return Ok(true);
        }
        let position = self.position;
        if found.length == 0 {
            self.position = found.end;
        }
        self.block = Some(OpenBlock { position, length: found.length, end: found.end, at: 0 });
        self.segment = Some(segment);
        Ok(true)
    }

    /// Opens the segment that holds the position, and the block when the position is inside one.
    fn open_segment(&mut self, end: Position) -> Result<(), JournalError> {
        self.buffer.clear();
        let segments = folder::list(&*self.files, &self.folder)?.segments;
        let first = segments.first().copied().unwrap_or(end);
        // A position on the seal before the first segment, whose own segment is gone, has lost nothing.
        let wanted = if self.position.plus(PAGE) == first { first } else { self.position };
        let Some(base) = segments.into_iter().rev().find(|base| *base <= wanted) else {
            return Err(JournalError::Released { position: self.position, first });
        };
        let segment = Segment::open(&*self.files, folder::segment(&self.folder, base), base, Open::Read);
        let segment = match segment {
            // It was released since it was listed.
            Err(JournalError::File(error)) if error.is_missing() => {
                return Err(JournalError::Released { position: self.position, first });
            }
            opened => opened?,
        };
        if wanted < segment.first() {
            self.position = segment.first();
        } else {
            self.seek(&segment, end)?;
        }
        self.segment = Some(segment);
        Ok(())
    }

    /// Finds the block that the position is in, and the record in it.
    fn seek(&mut self, segment: &Segment, end: Position) -> Result<(), JournalError> {
        let mut at = segment.first();
        while at < self.position {
            let Some(head) = segment.head(at, end, &mut self.buffer)? else {
                return Err(self.fault(segment, at));
            };
            let next = at.plus(head.block_octets());
            if head.seal && next <= self.position {
                return Err(damaged(segment, self.position, "the segment after this one is missing"));
            }
            if next > self.position {
                return self.seek_record(segment, at, end);
            }
            at = next;
        }
        Ok(())
    }

    fn seek_record(&mut self, segment: &Segment, at: Position, end: Position) -> Result<(), JournalError> {
        let Some(found) = segment.block(at, end, &mut self.buffer)? else {
            return Err(self.fault(segment, at));
        };
        let payload = segment.payload(at, found.length, &self.buffer);
        let mut offset = 0;
        while record_position(at, offset) < self.position
            && let Some((_, _, next)) = record(payload, offset)
        {
            offset = next;
        }
        if offset >= found.length || record_position(at, offset) != self.position {
            return Err(JournalError::NoRecord { position: self.position });
        }
        self.block = Some(OpenBlock { position: at, length: found.length, end: found.end, at: offset });
        Ok(())
    }

    /// Why there is no block where one was committed: damage, or the file has gone to other use.
    fn fault(&self, segment: &Segment, position: Position) -> JournalError {
        match folder::list(&*self.files, &self.folder) {
            Ok(listing) => match listing.segments.first() {
                Some(&first) if first > segment.base => {
                    JournalError::Released { position: self.position, first }
                }
                _ => damaged(segment, position, "not the block that was committed"),
            },
            Err(error) => error,
        }
    }
}

fn damaged(segment: &Segment, position: Position, what: &'static str) -> JournalError {
    JournalError::Damaged { position, path: segment.path.clone(), what }
}

/// The position of the record at an offset of a block's payload.
fn record_position(block: Position, offset: usize) -> Position {
    block.plus((HEAD as u64).saturating_add(offset as u64))
}
