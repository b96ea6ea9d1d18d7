//! What a shard knows of its associations, kept beside the journal so that a start reads only its end.
//!
//! A checkpoint holds no key: windows and counter floors by epoch, the blocks reserved on the last day, floors
//! of groups, and of classic devices the messages, what was forgotten of them, and IV floors. What it tells of an epoch counts when the epoch is known, from the key store or the
//! journal. Each shard writes one under its own name, `windows-SHARD-of-SHARDS`. When the number of shards changes, a start
//! reads those of the old number too, and they go once every shard has written its new one.
//!
//! ```text
//! association   01  sid 4  epoch 2  highest 4  bits 8  floor 4  day 2  blocks 2
//!                                                      highest ffffffff: no window yet
//! message       02  sid 4  key id 1  iv 4  invocation 4
//! IV floor      03  sid 4  floor 4
//! group         04  gid 4  epoch 2  floor 4
//! forgotten     05  sid 4  key id 1  iv 4
//! ```

use journal::{Checkpoint, CheckpointWriter, JournalError, Position};
use seal::association::Association;
use seal::ids::{Epoch, Gid, Sid};
use seal::window::View;

use super::associations::{Associations, Blocks, Entry};
use super::classic::Classics;
use super::groups::Groups;
use super::rebuild::Rebuilding;
use super::replay_cache::Message;
use crate::fields::Fields;
use crate::journal::Log;

const ASSOCIATION: u8 = 1;
const MESSAGE: u8 = 2;
const IV_FLOOR: u8 = 3;
const GROUP: u8 = 4;
const FORGOTTEN: u8 = 5;
const ASSOCIATION_OCTETS: usize = 27;
const NO_WINDOW: u32 = u32::MAX;
/// A chunk is written when it has so many octets.
const CHUNK_OCTETS: usize = 64 << 10;
/// The folder of checkpoints in that of the journal.
const FOLDER: &str = "checkpoints";

/// Names a shard among its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardOf {
    /// From 0.
    pub shard: usize,
    /// How many there are.
    pub shards: usize,
}

impl ShardOf {
    /// The checkpoint's name.
    #[must_use]
    pub fn name(self) -> String {
        format!("windows-{}-of-{}", self.shard, self.shards)
    }

    fn parse(name: &str) -> Option<Self> {
        let (shard, shards) = name.strip_prefix("windows-")?.split_once("-of-")?;
        let (shard, shards) = (shard.parse().ok()?, shards.parse().ok()?);
        (shard < shards).then_some(Self { shard, shards })
    }

    fn covers(self, partition: u32) -> bool {
        partition as usize % self.shards == self.shard
    }
}

/// What a checkpoint is made of.
pub(super) struct Books<'a> {
    pub(super) associations: &'a Associations,
    pub(super) classics: &'a Classics,
    pub(super) groups: &'a Groups,
}

/// Writes the state of a shard; all its own records before `position` are in it.
///
/// # Errors
/// [`JournalError`]; the checkpoint before still holds.
pub(super) fn write(
    log: &Log,
    own: ShardOf,
    position: Position,
    books: &Books<'_>,
) -> Result<(), JournalError> {
    let Books { associations, classics, groups } = books;
    let mut writer = CheckpointWriter::begin(log.files(), log.folder(), &own.name(), position)?;
    let mut chunk = Vec::with_capacity(CHUNK_OCTETS + ASSOCIATION_OCTETS);
    let mut put = |chunk: &mut Vec<u8>, least: usize| {
        if chunk.len() > least {
            writer.put(chunk)?;
            chunk.clear();
        }
        Ok::<(), JournalError>(())
    };
    for (association, cold) in associations.iter() {
        let spent = (association.counter().floor(), cold.blocks());
        push(&mut chunk, association, association.epoch(), spent);
        let none = (0, Blocks::default());
        association.other_epochs().for_each(|epoch| push(&mut chunk, association, epoch, none));
        put(&mut chunk, CHUNK_OCTETS)?;
    }
    for (gid, epoch, floor) in groups.floors() {
        chunk.push(GROUP);
        chunk.extend_from_slice(&gid.0.to_be_bytes());
        chunk.extend_from_slice(&epoch.0.to_be_bytes());
        chunk.extend_from_slice(&floor.to_be_bytes());
        put(&mut chunk, CHUNK_OCTETS)?;
    }
    for message in classics.cache().iter() {
        chunk.push(MESSAGE);
        chunk.extend_from_slice(&message.sid.0.to_be_bytes());
        chunk.push(message.key_id);
        chunk.extend_from_slice(&message.iv.to_be_bytes());
        chunk.extend_from_slice(&message.invocation.to_be_bytes());
        put(&mut chunk, CHUNK_OCTETS)?;
    }
    for ((sid, key_id), iv) in classics.cache().forgotten() {
        chunk.push(FORGOTTEN);
        chunk.extend_from_slice(&sid.0.to_be_bytes());
        chunk.push(key_id);
        chunk.extend_from_slice(&iv.to_be_bytes());
        put(&mut chunk, CHUNK_OCTETS)?;
    }
    for (sid, floor) in classics.iv_floors() {
        chunk.push(IV_FLOOR);
        chunk.extend_from_slice(&sid.0.to_be_bytes());
        chunk.extend_from_slice(&floor.to_be_bytes());
        put(&mut chunk, CHUNK_OCTETS)?;
    }
    put(&mut chunk, 0)?;
    writer.finish()?;
    log.mark(&own.name());
    remove_old(log, own)
}

/// Writes what is known of one epoch, if anything is.
fn push(chunk: &mut Vec<u8>, association: &Association, epoch: Epoch, (floor, blocks): (u32, Blocks)) {
    let view = association.durable(epoch);
    if (view.is_none() && floor == 0 && blocks.number == 0) || !association.sid().is_valid() {
        return;
    }
    let view = view.unwrap_or(View { highest: NO_WINDOW, bits: 0 });
    chunk.push(ASSOCIATION);
    chunk.extend_from_slice(&association.sid().0.to_be_bytes());
    chunk.extend_from_slice(&epoch.0.to_be_bytes());
    chunk.extend_from_slice(&view.highest.to_be_bytes());
    chunk.extend_from_slice(&view.bits.to_be_bytes());
    chunk.extend_from_slice(&floor.to_be_bytes());
    chunk.extend_from_slice(&blocks.day.to_be_bytes());
    chunk.extend_from_slice(&blocks.number.to_be_bytes());
}

/// Removes the checkpoints of another number of shards, once every shard of this number has its own.
fn remove_old(log: &Log, own: ShardOf) -> Result<(), JournalError> {
    if !(0..own.shards).all(|shard| log.has_mark(&ShardOf { shard, ..own }.name())) {
        return Ok(());
    }
    let folder = log.folder().join(FOLDER);
    for name in list(log)?.iter().filter(|name| name.shards != own.shards) {
        match log.files().remove(&folder.join(name.name())) {
            Err(error) if !error.is_missing() => return Err(error.into()),
            _ => {}
        }
    }
    Ok(())
}

fn list(log: &Log) -> Result<Vec<ShardOf>, JournalError> {
    match log.files().list(&log.folder().join(FOLDER)) {
        Ok(names) => Ok(names.iter().filter_map(|name| ShardOf::parse(name)).collect()),
        Err(error) if error.is_missing() => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// What checkpoints say of epochs that are not known yet: the journal tells of them.
#[derive(Default)]
pub(super) struct Checkpoints {
    windows: Vec<[u8; ASSOCIATION_OCTETS]>,
    groups: Vec<(Gid, Epoch, u32)>,
}

impl Checkpoints {
    /// Takes in all checkpoints, and answers from where on the journal tells more than they do.
    ///
    /// # Errors
    /// [`JournalError`] with the place that cannot be read.
    pub(super) fn read(log: &Log, state: &mut Rebuilding<'_>) -> Result<(Self, Position), JournalError> {
        let mut rest = Self::default();
        let mut newest: Vec<Option<Position>> = vec![None; Sid::PARTITIONS as usize];
        for name in list(log)? {
            let Some(mut checkpoint) = Checkpoint::open(&*log.files(), log.folder(), &name.name())? else {
                continue;
            };
            let position = checkpoint.position();
            for (slot, partition) in newest.iter_mut().zip(0..) {
                if name.covers(partition) {
                    *slot = (*slot).max(Some(position));
                }
            }
            while let Some(chunk) = checkpoint.next()? {
                rest.take_in(chunk, state);
            }
        }
        // A partition that no checkpoint covers needs the log from its beginning.
        state.checkpointed.clone_from(&newest);
        let own = newest.iter().zip(0..).filter(|(_, partition)| state.associations.owns(*partition));
        let from = own.map(|(position, _)| position.unwrap_or(Position::START)).min();
        Ok((rest, from.unwrap_or(Position::START)))
    }

    /// Takes in what could not be before the journal was.
    pub(super) fn merge_rest(self, state: &mut Rebuilding<'_>) {
        for entry in &self.windows {
            merge(entry, state);
        }
        for (gid, epoch, floor) in self.groups {
            state.groups.restore_floor(gid, epoch, floor);
        }
    }

    /// Takes in a chunk. It is whole, or reading it has failed: an entry that does not fit ends it.
    fn take_in(&mut self, chunk: &[u8], state: &mut Rebuilding<'_>) -> Option<()> {
        let mut fields = Fields(chunk);
        loop {
            match *fields.0.first()? {
                ASSOCIATION => {
                    let entry = fields.take()?;
                    if !merge(&entry, state) {
                        self.windows.push(entry);
                    }
                }
                MESSAGE => {
                    fields.u8()?;
                    let (sid, key_id) = (fields.sid()?, fields.u8()?);
                    let message = Message { sid, key_id, iv: fields.u32()?, invocation: fields.u32()? };
                    let cache = state.classics.cache_mut();
                    if state.associations.owns(sid.partition()) && !cache.contains(&message) {
                        cache.insert(message);
                    }
                }
                IV_FLOOR => {
                    fields.u8()?;
                    let sid = fields.sid()?;
                    state.classics.restore_iv_floor(sid, fields.u32()?);
                }
                FORGOTTEN => {
                    fields.u8()?;
                    let (sid, key_id) = (fields.sid()?, fields.u8()?);
                    state.classics.restore_forgotten(sid, key_id, fields.u32()?);
                }
                GROUP => {
                    fields.u8()?;
                    // Its key may come from the journal.
                    self.groups.push((fields.gid()?, fields.epoch()?, fields.u32()?));
                }
                _ => return None,
            }
        }
    }
}

/// Adds the frames and the floor of an entry to what is known; `false` when the epoch is not the active one,
/// as far as is known. What is another shard's is nothing.
fn merge(entry: &[u8; ASSOCIATION_OCTETS], state: &mut Rebuilding<'_>) -> bool {
    let [_, s0, s1, s2, s3, e0, e1, h0, h1, h2, h3, bits @ .., f0, f1, f2, f3, d0, d1, b0, b1] = *entry;
    let sid = Sid(u32::from_be_bytes([s0, s1, s2, s3]));
    let epoch = Epoch(u16::from_be_bytes([e0, e1]));
    let view = View { highest: u32::from_be_bytes([h0, h1, h2, h3]), bits: u64::from_be_bytes(bits) };
    if !state.associations.owns(sid.partition()) {
        return true;
    }
    let place = state.associations.find(sid);
    let found = place.and_then(|place| state.associations.both_mut(place));
    let Some((Entry { association, .. }, cold)) = found else { return false };
    let [day, number] = [[d0, d1], [b0, b1]].map(u16::from_be_bytes);
    cold.restore_blocks(Blocks { day, number });
    association.restore_floor(epoch, u32::from_be_bytes([f0, f1, f2, f3]));
    association.merge(epoch, view);
    association.epoch() == epoch
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decrypt::associations::Cold;
    use crate::decrypt::lives::Lives;
    use crate::record::{self, Origin, Report};
    use journal::files::ForgetfulFiles;
    use journal::{Settings, Writer};
    use keystore::{Directory, Store, Vault};
    use seal::ids::Dev;
    use seal::secret::Prk;
    use std::path::Path;
    use std::sync::Arc;

    const EPOCH: Epoch = Epoch(3);

    /// An empty key store.
    struct Keys {
        directory: Directory,
        vault: Vault,
        _folder: tempfile::TempDir,
    }

    impl Keys {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let place = folder.path().join("keystore");
            Store::init(&place, None).unwrap();
            let store = Arc::new(Store::open(&place).unwrap());
            Self { directory: store.directory().unwrap(), vault: Store::vault(&store), _folder: folder }
        }

        /// Associations 0 to 5, as far as this shard owns them, and nothing known of their windows.
        fn state(&self, own: ShardOf) -> Rebuilding<'_> {
            let mut associations = Associations::new(own.shard, own.shards);
            for sid in (0..6).map(Sid).filter(|sid| own.covers(sid.partition())) {
                let prk = Prk::from_octets([7; 32]);
                let keys = seal::schedule::derive(&prk, sid);
                associations.add(Association::new(sid, Dev([1; 8]), EPOCH, keys), Cold::new(prk, 0), true);
            }
            Rebuilding {
                associations,
                classics: Classics::new(Default::default()),
                groups: Groups::default(),
                lives: Lives::default(),
                vault: &self.vault,
                directory: &self.directory,
                damaged: Vec::new(),
                taken: Position::START,
                checkpointed: Vec::new(),
                born: Default::default(),
            }
        }

        /// The windows that a start finds: highest and bits of each association.
        fn found(&self, log: &Log, own: ShardOf) -> Vec<(u32, u64)> {
            let mut state = self.state(own);
            state.follow(log, None).unwrap();
            let window = |a: &Association| a.durable(EPOCH).map_or((0, 0), |view| (view.highest, view.bits));
            state.associations.iter().map(|(association, _)| window(association)).collect()
        }
    }

    fn save(log: &Log, own: ShardOf, position: Position, state: &Rebuilding<'_>) {
        let Rebuilding { associations, classics, groups, .. } = state;
        write(log, own, position, &Books { associations, classics, groups }).unwrap();
    }

    /// One report of each association.
    fn append(writer: &mut Writer, seq: u32) -> Position {
        for sid in (0..6).map(Sid) {
            let dev = Dev([1; 8]);
            let report = Report { sid, dev, epoch: EPOCH, origin: Origin::Raw, seq, iv: 0, received: 0 };
            writer.append(record::REPORT, &report.head()).unwrap();
        }
        writer.commit().unwrap()
    }

    #[test]
    fn checkpoints_of_other_shards_at_other_positions_are_put_together() {
        let keys = Keys::new();
        let log = Log::new(Arc::new(ForgetfulFiles::default()), Path::new("/journal").into());
        let mut writer = Writer::open(log.files(), log.folder(), Settings::default(), log.durable()).unwrap();
        let own = |shard, shards| ShardOf { shard, shards };
        // Two shards write after the first and after the third round of reports.
        for (round, shard) in [(0, Some(1)), (1, None), (2, Some(0)), (3, None)] {
            let position = append(&mut writer, round);
            let Some(shard) = shard else { continue };
            let mut state = keys.state(own(shard, 2));
            state.replay(&log, Position::START).unwrap();
            save(&log, own(shard, 2), position, &state);
        }
        for shards in 1..5 {
            for shard in 0..shards {
                let windows = keys.found(&log, own(shard, shards));
                assert!(
                    windows.iter().all(|window| *window == (3, 0b1111)),
                    "{shard} of {shards}: {windows:?}"
                );
            }
        }
        // The old ones go when all of the new number are there, and not before.
        let names = || log.files().list(&log.folder().join(FOLDER)).unwrap();
        let end = append(&mut writer, 4);
        for shard in 0..3 {
            assert_eq!(names().iter().filter(|name| name.ends_with("-of-2")).count(), 2);
            let mut state = keys.state(own(shard, 3));
            state.follow(&log, None).unwrap();
            save(&log, own(shard, 3), end, &state);
        }
        assert_eq!(names(), ["windows-0-of-3", "windows-1-of-3", "windows-2-of-3"]);
        assert!(keys.found(&log, own(0, 1)).iter().all(|window| *window == (4, 0b1_1111)));
    }

    /// A block reserved for association 0.
    fn reserve(writer: &mut Writer, floor: u32, day: u16) -> Position {
        let mut octets = Vec::new();
        let reserved = record::Reservation { sid: Sid(0), epoch: EPOCH, floor, day };
        record::Record::write(&reserved, &mut octets);
        writer.append(record::RESERVATION, &octets).unwrap();
        writer.commit().unwrap()
    }

    #[test]
    fn the_blocks_of_a_day_are_counted_once() {
        let keys = Keys::new();
        let log = Log::new(Arc::new(ForgetfulFiles::default()), Path::new("/journal").into());
        let mut writer = Writer::open(log.files(), log.folder(), Settings::default(), log.durable()).unwrap();
        let own = |shards| ShardOf { shard: 0, shards };
        // From wherever the key store lets it be read.
        let found = |shards, followed| {
            let mut state = keys.state(own(shards));
            state.follow(&log, followed).unwrap();
            state.associations.iter().next().map(|(_, cold)| cold.blocks()).unwrap()
        };
        let mut number = 0;
        for day in [20_000, 20_001] {
            for floor in 1..4 {
                reserve(&mut writer, floor * 64 + u32::from(day), day);
                number += 1;
            }
            number = if day == 20_000 { number } else { 3 };
            assert_eq!(found(1, None), Blocks { day, number });
            let mut state = keys.state(own(1));
            state.follow(&log, None).unwrap();
            save(&log, own(1), writer.end(), &state);
            // A clock that was set back counts on with the later day.
            for floor in 4..6 {
                reserve(&mut writer, floor * 64 + u32::from(day), 19_990);
                number += 1;
            }
            for (shards, followed) in
                [(1, None), (1, Some(Position::START)), (2, None), (2, Some(writer.end()))]
            {
                assert_eq!(found(shards, followed), Blocks { day, number }, "{shards} {followed:?}");
            }
        }
    }

    #[test]
    fn what_was_forgotten_of_classic_messages_stays_so() {
        let keys = Keys::new();
        let log = Log::new(Arc::new(ForgetfulFiles::default()), Path::new("/journal").into());
        let writer = Writer::open(log.files(), log.folder(), Settings::default(), log.durable()).unwrap();
        let own = ShardOf { shard: 0, shards: 1 };
        let state = || {
            let mut state = keys.state(own);
            let key = seal::secret::Key128::from_octets([1; 16]);
            let keys = keystore::ClassicKeys::new(vec![(2, key)]).unwrap();
            let title = c1222::ApTitleBuf::parse(".75.9").unwrap();
            state.classics.add(Sid(9), Dev([9; 8]), title.as_title(), keystore::ProfileId([0; 32]), keys);
            state
        };
        let mut before = state();
        for (sid, key_id, iv) in [(9, 2, 700), (9, 2, 600), (8, 2, 900)] {
            before.classics.cache_mut().forget(Sid(sid), key_id, iv);
        }
        save(&log, own, writer.end(), &before);
        let mut after = state();
        after.follow(&log, None).unwrap();
        let message = |iv| Message { sid: Sid(9), key_id: 2, iv, invocation: 1 };
        let cache = after.classics.cache();
        assert!(cache.contains(&message(700)) && !cache.contains(&message(701)));
        // Of one that is gone nothing is kept.
        assert_eq!(cache.forgotten().collect::<Vec<_>>(), [((Sid(9), 2), 700)]);
    }

    #[test]
    fn names_read_back() {
        let name = ShardOf { shard: 3, shards: 8 };
        assert_eq!(ShardOf::parse(&name.name()), Some(name));
        for other in ["windows-8-of-8", "windows--of-", "cursor", "windows-1"] {
            assert_eq!(ShardOf::parse(other), None, "{other}");
        }
    }

    #[test]
    fn cut_chunks_are_no_panic() {
        let keys = Keys::new();
        let mut state = keys.state(ShardOf { shard: 0, shards: 1 });
        let mut chunk = vec![MESSAGE];
        chunk.extend_from_slice(&[7; 13]);
        chunk.push(ASSOCIATION);
        chunk.extend_from_slice(&[9; ASSOCIATION_OCTETS - 1]);
        chunk.push(IV_FLOOR);
        chunk.extend_from_slice(&[9; 8]);
        chunk.push(GROUP);
        chunk.extend_from_slice(&[9; 10]);
        chunk.push(FORGOTTEN);
        chunk.extend_from_slice(&[9; 9]);
        for end in 0..=chunk.len() {
            let _ = Checkpoints::default().take_in(&chunk[..end], &mut state);
        }
        assert_eq!(state.classics.cache().iter().count(), 1);
    }
}
