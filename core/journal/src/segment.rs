//! One segment file: a head page, then blocks, one behind the other.
//!
//! ```text
//! magic 8 · base 8 · previous base 8 · life 8 · octets 8 · begun 8 · crc32c 4 · zeros to 4,096
//! ```
//! An octet at offset `o` of the file has position `base + o`. The file is named for its base. `life` is
//! drawn at random for each use of the file; every checksum in it depends on it. `begun` is the Unix second
//! of that use.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::block::{HEAD, Head, PAGE};
use crate::error::JournalError;
use crate::files::{FileError, FileHandle, Files, Open};
use crate::position::Position;

const MAGIC: [u8; 8] = *b"mgjourn1";
const FIELDS: usize = 48;
/// Read at once, where so much is there.
const READ_OCTETS: usize = 256 << 10;
/// Overwritten at once.
const WIPE_OCTETS: usize = 1 << 20;

/// An open segment.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) file: Box<dyn FileHandle>,
    pub(crate) path: PathBuf,
    /// The position of the file's first octet.
    pub(crate) base: Position,
    /// The base of the segment before; its own in the first segment of all.
    pub(crate) previous: Position,
    pub(crate) life: u64,
    /// The file's length.
    pub(crate) octets: u64,
    /// When it became a segment, Unix seconds.
    pub(crate) begun: u64,
}

/// A block found whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) seal: bool,
    /// Octets of payload.
    pub(crate) length: usize,
    /// Where the block ends.
    pub(crate) end: Position,
}

impl Segment {
    /// Opens an existing segment.
    pub(crate) fn open(
        files: &dyn Files,
        path: PathBuf,
        base: Position,
        how: Open,
    ) -> Result<Self, JournalError> {
        let file = files.open(&path, how)?;
        let mut head = [0; FIELDS + 4];
        file.read_at(&mut head, 0)?;
        match read_head(&head).filter(|head| head.base == base.0) {
            Some(Fields { previous, life, octets, begun, .. }) => {
                Ok(Self { file, path, base, previous: Position(previous), life, octets, begun })
            }
            None => Err(JournalError::Damaged { position: base, path, what: "the head of the segment" }),
        }
    }

    /// Makes the file at `path`, new or used, an empty segment, durable but for the name it will have.
    pub(crate) fn prepare(
        files: &dyn Files,
        path: &Path,
        how: Open,
        base: Position,
        previous: Position,
        octets: u64,
    ) -> Result<(), JournalError> {
        let file = files.open(path, how)?;
        file.allocate(octets)?;
        let life = getrandom::u64().map_err(|error| {
            FileError::new("draw random octets for", path, std::io::Error::other(error.to_string()))
        })?;
        let begun = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let fields = Fields { base: base.0, previous: previous.0, life, octets, begun };
        file.write_at(&head_page(&fields), 0)?;
        Ok(file.sync()?)
    }

    /// Overwrites a spare with zeros, its head last; one without head was overwritten before.
    pub(crate) fn wipe(files: &dyn Files, path: &Path) -> Result<(), FileError> {
        let file = files.open(path, Open::Update)?;
        let mut magic = [0; MAGIC.len()];
        file.read_at(&mut magic, 0)?;
        if magic != MAGIC {
            return Ok(());
        }
        let (octets, zeros) = (file.octets()?, vec![0; WIPE_OCTETS]);
        let mut at = PAGE;
        while at < octets {
            let left = usize::try_from(octets.saturating_sub(at)).unwrap_or(usize::MAX);
            let zeros = zeros.get(..left).unwrap_or(&zeros);
            file.write_at(zeros, at)?;
            at = at.saturating_add(zeros.len() as u64);
        }
        file.sync()?;
        file.write_at(&[0; PAGE as usize], 0)?;
        file.sync()
    }

    /// The position of the first block.
    pub(crate) fn first(&self) -> Position {
        self.base.plus(PAGE)
    }

    /// The position behind the file.
    pub(crate) fn limit(&self) -> Position {
        self.base.plus(self.octets)
    }

    /// Writes at a position.
    pub(crate) fn write(&self, octets: &[u8], position: Position) -> Result<(), JournalError> {
        Ok(self.file.write_at(octets, position.since(self.base))?)
    }

    /// The octets from `from` on, as many as `length` asks for and stand before `limit`.
    fn octets_at<'b>(
        &self,
        from: Position,
        length: usize,
        limit: Position,
        buffer: &'b mut Buffer,
    ) -> Result<&'b [u8], JournalError> {
        let limit = limit.min(self.limit()).since(self.base);
        Ok(buffer.fill(&*self.file, from.since(self.base), length, limit)?)
    }

    /// The head of the block at `position`, if one is there and ends before `limit`.
    pub(crate) fn head(
        &self,
        position: Position,
        limit: Position,
        buffer: &mut Buffer,
    ) -> Result<Option<Head>, JournalError> {
        let octets = self.octets_at(position, HEAD, limit, buffer)?;
        let head = Head::read(octets, self.life, position);
        Ok(head.filter(|head| position.plus(head.block_octets()) <= limit.min(self.limit())))
    }

    /// Reads the block at `position`, if a whole one is there and ends before `limit`. Its payload is
    /// then [`Self::payload`].
    pub(crate) fn block(
        &self,
        position: Position,
        limit: Position,
        buffer: &mut Buffer,
    ) -> Result<Option<Found>, JournalError> {
        let Some(head) = self.head(position, limit, buffer)? else { return Ok(None) };
        let length = usize::try_from(head.length).unwrap_or(usize::MAX);
        let octets = self.octets_at(position, length.saturating_add(HEAD), limit, buffer)?;
        let whole = octets.get(HEAD..).is_some_and(|payload| head.fits(payload));
        let end = position.plus(head.block_octets());
        Ok(whole.then_some(Found { seal: head.seal, length, end }))
    }

    /// The payload of the block at `position` that was read last.
    pub(crate) fn payload<'b>(&self, position: Position, length: usize, buffer: &'b Buffer) -> &'b [u8] {
        buffer.get(position.since(self.base).saturating_add(HEAD as u64), length).unwrap_or_default()
    }
}

/// The least and the most octets of a segment: head page, seal, and at least one page of records.
pub(crate) const SEGMENT_OCTETS_MIN: u64 = 4 * PAGE;
pub(crate) const SEGMENT_OCTETS_MAX: u64 = 1 << 40;

/// Payload that one block can have in a segment of this size, beside the head page and the seal.
pub(crate) fn payload_max(segment_octets: u64) -> u64 {
    let pages = segment_octets / PAGE;
    pages.saturating_sub(2).saturating_mul(PAGE).saturating_sub(HEAD as u64)
}

struct Fields {
    base: u64,
    previous: u64,
    life: u64,
    octets: u64,
    begun: u64,
}

fn head_page(fields: &Fields) -> Vec<u8> {
    let mut page = MAGIC.to_vec();
    for field in [fields.base, fields.previous, fields.life, fields.octets, fields.begun] {
        page.extend_from_slice(&field.to_be_bytes());
    }
    page.extend_from_slice(&crc32c::crc32c(&page).to_be_bytes());
    page.resize(usize::try_from(PAGE).unwrap_or(usize::MAX), 0);
    page
}

fn read_head(octets: &[u8]) -> Option<Fields> {
    let (checked, rest) = octets.split_first_chunk::<FIELDS>()?;
    let checksum = rest.first_chunk::<4>()?;
    let (magic, rest) = checked.split_first_chunk::<8>()?;
    if *magic != MAGIC || crc32c::crc32c(checked) != u32::from_be_bytes(*checksum) {
        return None;
    }
    let (base, rest) = rest.split_first_chunk::<8>()?;
    let (previous, rest) = rest.split_first_chunk::<8>()?;
    let (life, rest) = rest.split_first_chunk::<8>()?;
    let (octets, begun) = rest.split_first_chunk::<8>()?;
    Some(Fields {
        base: u64::from_be_bytes(*base),
        previous: u64::from_be_bytes(*previous),
        life: u64::from_be_bytes(*life),
        octets: u64::from_be_bytes(*octets),
        begun: u64::from_be_bytes(begun.try_into().ok()?),
    })
}

/// A stretch of a segment, read ahead; its memory is reused.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    octets: Vec<u8>,
    start: u64,
}

impl Buffer {
    /// Forgets what was read: the next read is of another file, or anew.
    pub(crate) fn clear(&mut self) {
        self.octets.clear();
    }

    fn get(&self, offset: u64, length: usize) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.octets.get(at..at.checked_add(length)?)
    }

    /// The octets at `offset`, `length` of them or those before `limit`; reads ahead up to `limit`.
    fn fill(
        &mut self,
        file: &dyn FileHandle,
        offset: u64,
        length: usize,
        limit: u64,
    ) -> Result<&[u8], FileError> {
        let left = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = length.min(left);
        if self.get(offset, length).is_none() {
            let passed = offset.checked_sub(self.start).and_then(|passed| usize::try_from(passed).ok());
            match passed.filter(|passed| *passed <= self.octets.len()) {
                Some(passed) => drop(self.octets.drain(..passed)),
                None => self.octets.clear(),
            }
            self.start = offset;
            let have = self.octets.len();
            self.octets.resize(length.max(READ_OCTETS).min(left), 0);
            let missing = self.octets.get_mut(have..).unwrap_or_default();
            let read = file.read_at(missing, offset.saturating_add(have as u64));
            self.octets.truncate(have.saturating_add(*read.as_ref().unwrap_or(&0)));
            read?;
        }
        let there = self.octets.len().min(length);
        Ok(self.get(offset, length).or_else(|| self.get(offset, there)).unwrap_or_default())
    }
}
