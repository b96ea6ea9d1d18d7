//! The one who writes the log.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{Block, PAGE, RECORD_HEAD, block_octets, seal};
use crate::durable::Durable;
use crate::end::{self, End};
use crate::error::JournalError;
use crate::files::{Files, Lock, Open};
use crate::folder::{self, Listing};
use crate::marks;
use crate::position::Position;
use crate::segment::Segment;
use crate::settings::Settings;

/// Writes the log: records are appended to a batch in memory, one commit makes the batch durable.
///
/// A commit is all or nothing, also after a cut. After one that failed the batch is still there: commit
/// again, or [`discard`](Self::discard) it, and do one of the two before appending what does not belong
/// to it. Until either has succeeded, a cut may show the whole failed batch or nothing of it.
#[derive(Debug)]
pub struct Writer {
    files: Arc<dyn Files>,
    folder: PathBuf,
    settings: Settings,
    durable: Durable,
    batch: Block,
    /// Kinds of records that hold keys.
    secret_kinds: &'static [u8],
    /// The batch holds such a record.
    batch_secret: bool,
    current: Segment,
    /// The current segment holds such a record, or what an earlier writer wrote.
    current_secret: bool,
    /// The segments before the current one, oldest first.
    earlier: VecDeque<Earlier>,
    spares: Vec<PathBuf>,
    /// Behind the last commit.
    end: Position,
    tail: Tail,
    must_reopen: bool,
    _lock: Box<dyn Lock>,
}

/// A segment before the current one.
#[derive(Clone, Copy, Debug)]
struct Earlier {
    base: Position,
    octets: u64,
    /// As [`Writer::current_secret`].
    secret: bool,
}

/// What stands at the end of the current segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tail {
    /// No block.
    Clean,
    /// Perhaps a block that was not committed: a write or sync failed.
    Unknown,
    /// The seal.
    Sealed,
}

impl Writer {
    /// Opens the log in `folder`, which is made where there is none, and publishes its end.
    ///
    /// What was committed is there; of what was not, a last batch that had reached the disk whole counts
    /// as committed now, and anything less is voided so that it cannot turn up later.
    ///
    /// # Errors
    /// [`JournalError::InUse`], [`JournalError::Damaged`], [`JournalError::EndLost`] when a cursor, a
    /// checkpoint or `durable` is ahead of what is there, [`JournalError::SegmentOctets`],
    /// [`JournalError::DiskFull`], [`JournalError::File`].
    pub fn open(
        files: Arc<dyn Files>,
        folder: &Path,
        settings: Settings,
        durable: &Durable,
    ) -> Result<Self, JournalError> {
        let settings = settings.checked()?;
        files.create_folder(folder)?;
        let lock = end::lock(&*files, folder)?;
        let Listing { segments, mut spares } = folder::list(&*files, folder)?;
        let mut earlier = VecDeque::with_capacity(segments.len());
        let mut last = None;
        for base in segments {
            let segment = Segment::open(&*files, folder::segment(folder, base), base, Open::Update)?;
            if let Some(before) = last.replace(segment) {
                earlier.push_back(Earlier { base: before.base, octets: before.octets, secret: true });
                check_chain(&before, last.as_ref())?;
            }
        }
        let known = known_position(&*files, folder, durable)?;
        let (current, end) = match last {
            Some(segment) => {
                let end = end::find(&segment)?;
                check_end(end.position, known)?;
                repair(&segment, &end)?;
                files.sync_folder(folder)?;
                (segment, end)
            }
            None => {
                check_end(Position::START, known)?;
                let segment = first_segment(&*files, folder, settings, &mut spares)?;
                let end = End { position: segment.first(), sealed: false, last: None };
                (segment, end)
            }
        };
        let mut writer = Self {
            files,
            folder: folder.to_owned(),
            settings,
            durable: durable.clone(),
            batch: Block::new(),
            secret_kinds: &[],
            batch_secret: false,
            current_secret: end.position > current.first(),
            current,
            earlier,
            spares,
            end: end.position,
            tail: if end.sealed { Tail::Sealed } else { Tail::Clean },
            must_reopen: false,
            _lock: lock,
        };
        writer.drop_spares()?;
        writer.durable.publish(writer.end);
        Ok(writer)
    }

    /// Says which kinds of records hold keys. From now on the file of a segment that may hold one is
    /// overwritten before it is kept as a spare: a spare may lie there for as long as the disk, and a key that
    /// was erased everywhere else would still be in it. Those that are removed are the file system's to
    /// overwrite.
    ///
    /// # Errors
    /// [`JournalError::File`], for spares that are there.
    pub fn wiping(mut self, kinds: &'static [u8]) -> Result<Self, JournalError> {
        self.secret_kinds = kinds;
        for path in std::mem::take(&mut self.spares) {
            self.keep_wiped(path)?;
        }
        Ok(self)
    }

    /// Appends a record to the batch. Nothing is written before [`commit`](Self::commit).
    ///
    /// # Errors
    /// [`JournalError::BatchFull`]: commit first, then append it again. [`JournalError::RecordTooLong`].
    pub fn append(&mut self, kind: u8, octets: &[u8]) -> Result<(), JournalError> {
        let octets_max = self.settings.record_octets_max();
        if octets.len() > octets_max {
            return Err(JournalError::RecordTooLong { octets: octets.len(), octets_max });
        }
        let octets_max = self.settings.batch_octets_max();
        let record = octets.len().saturating_add(RECORD_HEAD);
        if self.batch.payload_octets().saturating_add(record) > octets_max {
            return Err(JournalError::BatchFull { octets_max });
        }
        self.batch.push(kind, octets);
        self.batch_secret |= self.secret_kinds.contains(&kind);
        Ok(())
    }

    /// Makes the batch durable with one write and one sync, publishes the new durable position and
    /// answers it. An empty batch costs nothing.
    ///
    /// # Errors
    /// [`JournalError::Full`] and [`JournalError::DiskFull`]: the batch is kept, commit again when there
    /// is room. [`JournalError::File`]: the batch is kept and may or may not be on the disk; the next
    /// commit overwrites it. [`JournalError::MustReopen`].
    pub fn commit(&mut self) -> Result<Position, JournalError> {
        self.check_usable()?;
        if self.batch.records() > 0 {
            self.write_batch()?;
        }
        Ok(self.end)
    }

    /// Drops the batch. Where a commit of it failed, its place on the disk is voided.
    ///
    /// # Errors
    /// [`JournalError::File`], [`JournalError::DiskFull`]: the batch is gone here, but until a commit or
    /// another discard succeeds it may still turn up, whole, after a cut.
    pub fn discard(&mut self) -> Result<(), JournalError> {
        self.batch.clear();
        self.batch_secret = false;
        if self.tail == Tail::Unknown {
            self.current.write(&[0; PAGE as usize], self.end)?;
            self.current.file.sync()?;
            self.tail = Tail::Clean;
        }
        Ok(())
    }

    /// Gives up the segments that end at or before `position`: every cursor and checkpoint has passed
    /// them ([`floor`](crate::floor)). The newest segment stays. Answers how many went.
    ///
    /// # Errors
    /// [`JournalError::File`]; the writer must then be opened anew. [`JournalError::MustReopen`].
    pub fn release(&mut self, position: Position) -> Result<usize, JournalError> {
        self.check_usable()?;
        let mut released = 0_usize;
        while let Some(&Earlier { base, secret, .. }) = self.earlier.front() {
            let next = self.earlier.get(1).map_or(self.current.base, |next| next.base);
            // The last page before the next segment is the seal: it is nobody's to read.
            if next > position.plus(PAGE) {
                break;
            }
            let (path, spare) = (folder::segment(&self.folder, base), folder::spare(&self.folder, base));
            // Durable one by one, oldest first: a cut never leaves a gap, and no file is written anew
            // while it may still come back under its old name.
            self.must_reopen = true;
            if self.spares.len() < self.settings.spares_max {
                self.files.put_in_place(&path, &spare)?;
                if secret && !self.secret_kinds.is_empty() {
                    self.keep_wiped(spare)?;
                } else {
                    self.spares.push(spare);
                }
            } else {
                self.files.remove(&path)?;
                self.files.sync_folder(&self.folder)?;
            }
            self.must_reopen = false;
            self.earlier.pop_front();
            released = released.saturating_add(1);
        }
        Ok(released)
    }

    /// Ends the current segment when there is something in it and it began `age_s` or longer before `now`, in
    /// Unix seconds, so that it can be given up though little is written; also one that a clock which was set
    /// back since left in the future. Answers whether it did, and publishes the end, which then is in the next
    /// one.
    ///
    /// # Errors
    /// As [`commit`](Self::commit); what was committed stays so.
    pub fn end_segment_of(&mut self, age_s: u64, now: u64) -> Result<bool, JournalError> {
        self.check_usable()?;
        let begun = self.current.begun;
        let young = begun <= now && now < begun.saturating_add(age_s);
        // What a failed commit left at the end is first written again or voided.
        if young || self.end == self.current.first() || self.tail == Tail::Unknown {
            return Ok(false);
        }
        self.roll()?;
        self.durable.publish(self.end);
        Ok(true)
    }

    /// Commits the batch and, behind it, an empty block: with it the next opening can tell damage of the
    /// last commit from one that was never finished.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn close(mut self) -> Result<(), JournalError> {
        self.commit()?;
        self.write_batch()
    }

    /// Behind the last commit.
    #[must_use]
    pub fn end(&self) -> Position {
        self.end
    }

    /// Where the log begins: all before was released.
    #[must_use]
    pub fn first(&self) -> Position {
        self.earlier.front().map_or(self.current.base, |first| first.base)
    }

    /// Records in the batch.
    #[must_use]
    pub fn records(&self) -> usize {
        self.batch.records()
    }

    /// Octets of the batch's records, their heads included.
    #[must_use]
    pub fn batch_octets(&self) -> usize {
        self.batch.payload_octets()
    }

    /// Octets that the segments take on the disk, spares included.
    #[must_use]
    pub fn octets(&self) -> u64 {
        let spares = self.settings.segment_octets.saturating_mul(self.spares.len() as u64);
        let earlier = self.earlier.iter().fold(spares, |sum, before| sum.saturating_add(before.octets));
        earlier.saturating_add(self.current.octets)
    }

    fn check_usable(&self) -> Result<(), JournalError> {
        if self.must_reopen {
            return Err(JournalError::MustReopen { folder: self.folder.clone() });
        }
        Ok(())
    }

    /// Writes the batch at the end. Nothing there is trusted after a failure: the whole block is written
    /// again, and pages never hold parts of two blocks, so a sync that succeeds covers all of it.
    fn write_batch(&mut self) -> Result<(), JournalError> {
        let octets = block_octets(self.batch.payload_octets() as u64);
        let no_room = self.end.plus(octets).plus(PAGE) > self.current.limit();
        if no_room || self.tail == Tail::Sealed {
            self.roll()?;
        }
        self.tail = Tail::Unknown;
        self.current_secret |= self.batch_secret;
        let Self { batch, current, end, .. } = self;
        batch.with_octets(current.life, *end, |octets| current.write(octets, *end))?;
        current.file.sync()?;
        self.tail = Tail::Clean;
        self.end = self.end.plus(octets);
        self.batch.clear();
        self.batch_secret = false;
        self.durable.publish(self.end);
        Ok(())
    }

    /// Seals the current segment and begins the next one.
    fn roll(&mut self) -> Result<(), JournalError> {
        let base = self.end.plus(PAGE);
        // First what may fail for want of room: the current segment can then still take what fits.
        let spare = self.prepare(base)?;
        if self.tail != Tail::Sealed {
            self.tail = Tail::Unknown;
            self.current.write(&seal(self.current.life, self.end), self.end)?;
            self.current.file.sync()?;
            self.tail = Tail::Sealed;
        }
        // From here the seal may be followed by a segment: it must not be overwritten any more.
        self.must_reopen = true;
        let path = folder::segment(&self.folder, base);
        self.files.put_in_place(&spare, &path)?;
        let next = Segment::open(&*self.files, path, base, Open::Update)?;
        self.must_reopen = false;
        self.spares.pop();
        let before = std::mem::replace(&mut self.current, next);
        let secret = std::mem::take(&mut self.current_secret);
        self.earlier.push_back(Earlier { base: before.base, octets: before.octets, secret });
        self.end = self.current.first();
        self.tail = Tail::Clean;
        Ok(())
    }

    /// Makes the last spare, or a new one, ready to become the segment at `base`.
    fn prepare(&mut self, base: Position) -> Result<PathBuf, JournalError> {
        let octets = self.settings.segment_octets;
        let previous = self.current.base;
        if let Some(path) = self.spares.last() {
            Segment::prepare(&*self.files, path, Open::Update, base, previous, octets)?;
            return Ok(path.clone());
        }
        let (size, size_max) = (self.octets(), self.settings.size_max);
        if !self.earlier.is_empty() && size.saturating_add(octets) > size_max {
            return Err(JournalError::Full { octets: size, size_max });
        }
        let path = folder::spare(&self.folder, base);
        new_spare(&*self.files, &path, base, previous, octets)?;
        self.spares.push(path.clone());
        Ok(path)
    }

    /// Overwrites a spare and keeps it; one that cannot be overwritten is removed.
    fn keep_wiped(&mut self, path: PathBuf) -> Result<(), JournalError> {
        match Segment::wipe(&*self.files, &path) {
            Ok(()) => self.spares.push(path),
            Err(_) => {
                self.files.remove(&path)?;
                self.files.sync_folder(&self.folder)?;
            }
        }
        Ok(())
    }

    /// Removes the spares beyond the limit.
    fn drop_spares(&mut self) -> Result<(), JournalError> {
        let keep = self.spares.len().min(self.settings.spares_max);
        for path in self.spares.drain(keep..) {
            self.files.remove(&path)?;
        }
        Ok(())
    }
}

/// Each segment names the one before it.
fn check_chain(before: &Segment, segment: Option<&Segment>) -> Result<(), JournalError> {
    match segment {
        Some(segment) if segment.previous != before.base => Err(JournalError::Damaged {
            position: segment.previous,
            path: segment.path.clone(),
            what: "the segment before this one is missing",
        }),
        _ => Ok(()),
    }
}

/// The highest position that somebody knows to be durable, and who.
fn known_position(
    files: &dyn Files,
    folder: &Path,
    durable: &Durable,
) -> Result<(Position, String), JournalError> {
    let published = (durable.position(), "a reader".to_owned());
    Ok(marks::all(files, folder)?
        .into_iter()
        .map(|(path, position)| (position, path.display().to_string()))
        .fold(published, |highest, mark| if mark.0 > highest.0 { mark } else { highest }))
}

fn check_end(end: Position, known: (Position, String)) -> Result<(), JournalError> {
    let (position, known_by) = known;
    if position > end {
        return Err(JournalError::EndLost { end, position, known_by });
    }
    Ok(())
}

/// Makes the end as it was found certain: the last block may be in the page cache only (even a sync that
/// failed leaves it there as if clean), and octets of a later one may be on the disk only.
fn repair(segment: &Segment, end: &End) -> Result<(), JournalError> {
    if let Some((from, to)) = end.last {
        let mut block = vec![0; usize::try_from(to.since(from)).unwrap_or(usize::MAX)];
        segment.file.read_at(&mut block, from.since(segment.base))?;
        segment.write(&block, from)?;
    }
    if !end.sealed && end.position < segment.limit() {
        segment.write(&[0; PAGE as usize], end.position)?;
    }
    Ok(segment.file.sync()?)
}

/// Begins a log.
fn first_segment(
    files: &dyn Files,
    folder: &Path,
    settings: Settings,
    spares: &mut Vec<PathBuf>,
) -> Result<Segment, JournalError> {
    let base = Position::START;
    let unnamed = folder::spare(folder, base);
    new_spare(files, &unnamed, base, base, settings.segment_octets)?;
    spares.retain(|spare| *spare != unnamed);
    let path = folder::segment(folder, base);
    files.put_in_place(&unnamed, &path)?;
    Segment::open(files, path, base, Open::Update)
}

/// Makes a new file that is ready to become the segment at `base`.
fn new_spare(
    files: &dyn Files,
    path: &Path,
    base: Position,
    previous: Position,
    octets: u64,
) -> Result<(), JournalError> {
    Segment::prepare(files, path, Open::Create, base, previous, octets).inspect_err(|_| {
        // What there is of it would only take room; left behind, it is found as a spare.
        drop(files.remove(path));
    })
}
