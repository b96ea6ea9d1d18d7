//! The associations of one shard: all their state, found by `sid` in two array look-ups.

use commands::desk::Why;
use node::Frame;
use seal::association::Association;
use seal::ids::{Epoch, Sid};
use seal::schedule;
use seal::secret::{Prk, scrubbed};

/// Where an association stands in its shard; stable for the shard's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place(u32);

/// Where an end device was heard last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The transport's number.
    pub transport: u8,
    /// The link.
    pub link: u32,
}

impl Heard {
    /// Where this frame came from.
    #[must_use]
    pub fn on(frame: &Frame) -> Self {
        Self { transport: frame.transport(), link: frame.link }
    }
}

/// An association with what its shard alone needs of it: 128 octets, epochs in transition apart, and no
/// more cache lines than that.
#[repr(align(128))]
pub struct Entry {
    /// Keys, windows and counters.
    pub association: Association,
    link: u32,
    /// When a repeat was acknowledged last, in milliseconds of the shard's clock. While it is gated, when
    /// nothing is: how far the end device had come in the frame that it was heard with last.
    pub repeated: u32,
    /// Frames that did not open in this run.
    pub failures: u16,
    transport: u8,
    /// A reservation is on its way to the journal.
    pub reserving: bool,
    /// It waits in the ring of acknowledgements.
    pub due: bool,
    /// A frame under it was opened, so that the one before may go.
    pub proven: bool,
    /// It was replaced: opened for a while, but nothing is sealed under it.
    pub retired: bool,
    /// Of a restored state: nothing of it counts until a new challenge is proven.
    pub gated: bool,
}

const _: () = assert!(size_of::<Entry>() == 128);

/// No transport has this number: the device was not heard yet.
const NOWHERE: u8 = u8::MAX;

impl Entry {
    fn new(association: Association, proven: bool) -> Self {
        Self {
            association,
            proven,
            retired: false,
            gated: false,
            link: 0,
            repeated: 0,
            failures: 0,
            transport: NOWHERE,
            reserving: false,
            due: false,
        }
    }

    /// Where it was heard last; changes only with a fresh frame.
    #[must_use]
    pub fn heard(&self) -> Option<Heard> {
        (self.transport != NOWHERE).then_some(Heard { transport: self.transport, link: self.link })
    }

    /// A fresh frame came from here.
    pub fn hear(&mut self, heard: Heard) {
        (self.transport, self.link) = (heard.transport, heard.link);
    }

    /// A frame of this epoch came from here while it is gated: whether it is fresh nobody knows. A challenge for
    /// it alone has to find a way, so it is heard, but not with a frame from before one that it was heard with.
    pub fn hear_gated(&mut self, heard: Heard, epoch: Epoch, seq: u32) {
        // Two epochs may retire, each at most four steps behind the next; candidates are up to four ahead.
        let oldest = self.association.epoch().0.saturating_sub(8);
        let ahead = u32::from(epoch.0.saturating_sub(oldest)).saturating_add(1);
        let reach = ahead.saturating_mul(1 << 24).saturating_add(seq);
        if reach >= self.repeated {
            self.repeated = reach;
            self.hear(heard);
        }
    }
}

/// What an association needs seldom, apart from what every frame needs.
pub struct Cold {
    /// PRK_out of the active epoch.
    prk: Prk,
    /// The last campaign that epochs were issued for; 0 for none.
    pub campaign: u32,
    /// The day of the last reservation, and the blocks that were reserved on it.
    blocks: Blocks,
    /// An epoch that should be left, and what was said of it: bit n for reason n.
    due: (Epoch, u8),
}

/// Blocks of counters that an association may reserve in a day: 65,536 seals (security layer §8).
const BLOCKS_A_DAY: u16 = 1024;

impl Cold {
    /// What belongs to an association in the epoch of this PRK_out.
    #[must_use]
    pub fn new(prk: Prk, campaign: u32) -> Self {
        Self { prk, campaign, blocks: Blocks::default(), due: (Epoch(0), 0) }
    }

    /// What stands in the place of one that was moved away.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(Prk::from_octets([0; Prk::LEN]), 0)
    }

    /// Notes that an epoch should be left; whether that was not known.
    pub fn falls_due(&mut self, epoch: Epoch, why: Why) -> bool {
        if self.due.0 != epoch {
            self.due = (epoch, 0);
        }
        let before = self.due.1;
        self.due.1 |= 1 << why.octet();
        self.due.1 != before
    }

    /// What was noted of an epoch could not be written down: it is said again.
    pub fn is_not_due(&mut self, epoch: Epoch) {
        if self.due.0 == epoch {
            self.due.1 = 0;
        }
    }

    /// Counts a block of counters that is to be reserved on this day. Answers the day that it counts for;
    /// `None` when that has none left.
    pub fn reserve(&mut self, day: u16) -> Option<u16> {
        let counted = self.blocks.and_one(day);
        (counted.number <= BLOCKS_A_DAY).then(|| {
            self.blocks = counted;
            counted.day
        })
    }

    /// At a start: a block was reserved on this day.
    pub fn reserved(&mut self, day: u16) {
        self.blocks = self.blocks.and_one(day);
    }

    /// At a start: so many blocks were reserved, at the least.
    pub fn restore_blocks(&mut self, blocks: Blocks) {
        self.blocks = self.blocks.max(blocks);
    }

    /// The blocks of the last day, those on their way to the journal included.
    #[must_use]
    pub fn blocks(&self) -> Blocks {
        self.blocks
    }
}

/// Blocks of counters by day: a later day is more than any number on one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Blocks {
    /// Since 1970.
    pub day: u16,
    /// On that day.
    pub number: u16,
}

impl Blocks {
    /// With one more on this day. The day only rises: a clock that was set back gives no new ones.
    fn and_one(self, day: u16) -> Self {
        let today = self.max(Self { day, number: 0 });
        Self { number: today.number.saturating_add(1), ..today }
    }
}

/// The associations of the partitions `p` with `p % shards == shard`.
pub struct Associations {
    shard: u32,
    shards: u32,
    /// By dense slot number within the shard: place + 1, or 0. Slots that were never used cost no memory,
    /// since fresh zeros are not backed by pages.
    places: Vec<u32>,
    entries: Vec<Entry>,
    /// By place, as the entries.
    cold: Vec<Cold>,
}

impl Associations {
    /// No association yet; `shards` is at least 1.
    #[must_use]
    pub fn new(shard: usize, shards: usize) -> Self {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self {
            shard: number(shard),
            shards: number(shards).max(1),
            places: Vec::new(),
            entries: Vec::new(),
            cold: Vec::new(),
        }
    }

    /// Which shard's they are.
    #[must_use]
    pub fn shard(&self) -> usize {
        self.shard as usize
    }

    /// Makes room for so many, so that none of them has to move.
    pub fn reserve(&mut self, count: usize) {
        if self.entries.capacity() - self.entries.len() < count {
            self.entries = moved(&mut self.entries, count, |entry| {
                std::mem::replace(entry, Entry::new(Association::nobody(), false))
            });
            self.cold = moved(&mut self.cold, count, |cold| std::mem::replace(cold, Cold::nobody()));
        }
    }

    /// Whether a partition belongs to this shard.
    #[must_use]
    pub fn owns(&self, partition: u32) -> bool {
        partition % self.shards == self.shard
    }

    /// The slot's number among those of this shard.
    fn dense(&self, sid: Sid) -> usize {
        let columns = Sid::PARTITIONS.div_ceil(self.shards);
        let column = sid.partition() / self.shards;
        sid.index() as usize * columns as usize + column as usize
    }

    /// Adds an association; one of the same slot is replaced.
    pub fn add(&mut self, association: Association, cold: Cold, proven: bool) {
        let dense = self.dense(association.sid());
        if dense >= self.places.len() {
            // Growing by doubling would touch the zeros; a slot number has 24 bits.
            let mut grown = vec![0; (dense + 1).next_power_of_two()];
            if let Some(old) = grown.get_mut(..self.places.len()) {
                old.copy_from_slice(&self.places);
            }
            self.places = grown;
        }
        let entry = Entry::new(association, proven);
        match self.places.get(dense).copied() {
            Some(0) | None => {
                if self.entries.len() == self.entries.capacity() {
                    self.reserve(self.entries.len().max(64));
                }
                self.entries.push(entry);
                self.cold.push(cold);
                let place = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
                if let Some(slot) = self.places.get_mut(dense) {
                    *slot = place;
                }
            }
            Some(place) => {
                if let Some((old, old_cold)) = self.both_mut(Place(place - 1)) {
                    (*old, *old_cold) = (entry, cold);
                }
            }
        }
    }

    /// Whether this association may be added: its slot is empty, or holds what was erased or revoked, or
    /// an earlier generation of it when `any` does.
    #[must_use]
    pub fn has_room(&self, sid: Sid, any: bool) -> bool {
        let occupant = self.place(sid).and_then(|place| self.get(place)).map(|entry| &entry.association);
        occupant.is_none_or(|occupant| {
            let before = occupant.sid().generation() < sid.generation();
            !occupant.sid().is_valid() || (before && (any || occupant.is_revoked()))
        })
    }

    /// The association at a place with what it needs seldom.
    pub fn both_mut(&mut self, place: Place) -> Option<(&mut Entry, &mut Cold)> {
        self.entries.get_mut(place.0 as usize).zip(self.cold.get_mut(place.0 as usize))
    }

    /// Issues epochs up to this one, as far as it may.
    pub fn issue(&mut self, place: Place, to: Epoch) {
        let Some((entry, cold)) = self.both_mut(place) else { return };
        let association = &mut entry.association;
        let (sid, active) = (association.sid(), association.epoch());
        while association.newest() < to {
            let keys = |epoch| schedule::derive(&ratcheted(&cold.prk, active, epoch), sid);
            if scrubbed::<8, _>(|| association.issue(keys)).is_none() {
                return;
            }
        }
    }

    fn ratchet(&mut self, place: Place, before: Epoch) {
        let Some((entry, cold)) = self.both_mut(place) else { return };
        let now = entry.association.epoch();
        scrubbed::<8, _>(|| cold.prk = ratcheted(&cold.prk, before, now));
    }

    /// A candidate was proven: goes on from PRK_out of the epoch that was active `before`, and opens the gate.
    pub fn promoted(&mut self, place: Place, before: Epoch) {
        self.ratchet(place, before);
        let Some(entry) = self.get_mut(place) else { return };
        if std::mem::take(&mut entry.gated) {
            entry.repeated = 0;
            entry.association.forget_retiring();
        }
    }

    /// Erases the keys of an association; when revoked it still says so of its frames.
    pub fn erase(&mut self, place: Place, revoked: bool) {
        let Some((entry, cold)) = self.both_mut(place) else { return };
        if revoked {
            entry.association.revoke()
        } else {
            entry.association.erase()
        }
        cold.prk = Prk::from_octets([0; Prk::LEN]);
    }

    /// Where the association of this slot stands; whether its generation is that of `sid` shows there.
    #[must_use]
    #[inline]
    pub fn place(&self, sid: Sid) -> Option<Place> {
        if !self.owns(sid.partition()) {
            return None;
        }
        self.places.get(self.dense(sid))?.checked_sub(1).map(Place)
    }

    /// Finds an association; its generation must fit too.
    #[must_use]
    pub fn find(&self, sid: Sid) -> Option<Place> {
        let place = self.place(sid)?;
        self.get(place).filter(|entry| sid.is_valid() && entry.association.sid() == sid).map(|_| place)
    }

    /// The association at a place.
    #[must_use]
    pub fn get(&self, place: Place) -> Option<&Entry> {
        self.entries.get(place.0 as usize)
    }

    /// As [`Self::get`], to be changed.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut Entry> {
        self.entries.get_mut(place.0 as usize)
    }

    /// Has the memory of these entries fetched: one look at each of their two cache lines, with nothing that
    /// waits for it.
    #[inline]
    pub fn warm(&self, places: impl Iterator<Item = Place>) {
        let entries = places.filter_map(|place| self.get(place));
        let looks = entries.map(|entry| entry.link ^ u32::from(entry.association.epoch().0));
        std::hint::black_box(looks.fold(0_u32, u32::wrapping_add));
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many are gated.
    #[must_use]
    pub fn gated(&self) -> usize {
        self.entries.iter().filter(|entry| entry.gated && entry.association.sid().is_valid()).count()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&Association, &Cold)> {
        self.entries.iter().map(|entry| &entry.association).zip(&self.cold)
    }
}

/// PRK_out of a later epoch.
fn ratcheted(prk: &Prk, from: Epoch, to: Epoch) -> Prk {
    let mut reached = Prk::from_octets(*prk.expose());
    for epoch in (from.0..to.0).filter_map(|epoch| Epoch(epoch).next()) {
        reached = schedule::advance(&reached, epoch);
    }
    reached
}

/// Moves a list to where it has room for so many more. `take` leaves something without a key behind: memory
/// that is let go of holds none.
fn moved<T>(list: &mut [T], more: usize, take: impl Fn(&mut T) -> T) -> Vec<T> {
    let mut moved = Vec::with_capacity(list.len().saturating_add(more));
    moved.extend(list.iter_mut().map(take));
    moved
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal::ids::Dev;

    fn add(associations: &mut Associations, sid: Sid) {
        let prk = Prk::from_octets([7; 32]);
        let keys = schedule::derive(&prk, sid);
        associations.add(Association::new(sid, Dev([1; 8]), Epoch(3), keys), Cold::new(prk, 0), true);
    }

    #[test]
    fn an_association_is_found_by_its_whole_sid() {
        for (shard, shards) in [(0, 1), (1, 2), (2, 3)] {
            let mut associations = Associations::new(shard, shards);
            let mut sids = Vec::new();
            for slot in [0, 1, 2, 1023, 1024, 5000, 0x00ff_ffff] {
                let sid = Sid::new(9, slot).unwrap();
                if associations.owns(sid.partition()) {
                    add(&mut associations, sid);
                    sids.push(sid);
                }
            }
            assert_eq!(associations.len(), sids.len());
            for sid in sids {
                let place = associations.find(sid).unwrap();
                assert_eq!(associations.get(place).unwrap().association.sid(), sid);
                assert_eq!(associations.find(Sid::new(8, sid.slot()).unwrap()), None, "another generation");
            }
            assert_eq!(associations.find(Sid::new(9, 77).unwrap()), None);
        }
    }

    #[test]
    fn a_gated_one_is_not_heard_with_a_frame_from_before() {
        let mut associations = Associations::new(0, 1);
        let sid = Sid::new(1, 4).unwrap();
        add(&mut associations, sid);
        let place = associations.find(sid).unwrap();
        let entry = associations.get_mut(place).unwrap();
        let [first, second] = [5, 6].map(|link| Heard { transport: 1, link });
        // Epoch 3 is the active one.
        for (heard, epoch, seq, route) in [
            (first, 3, 70, first),
            (second, 3, 69, first),
            (second, 2, 90, first),
            (second, 3, 70, second),
            (first, 3, 71, first),
            (second, 4, 0, second),
            (first, 3, 99, second),
        ] {
            entry.hear_gated(heard, Epoch(epoch), seq);
            assert_eq!(entry.heard(), Some(route), "epoch {epoch} seq {seq}");
        }
    }

    #[test]
    fn a_day_has_so_many_blocks_and_does_not_begin_twice() {
        let mut cold = Cold::nobody();
        for _ in 0..BLOCKS_A_DAY {
            assert_eq!(cold.reserve(20_000), Some(20_000));
        }
        assert_eq!(cold.reserve(20_000), None);
        assert_eq!(cold.reserve(20_001), Some(20_001), "a new day");
        // A clock that steps back goes on with the later day.
        for _ in 1..BLOCKS_A_DAY {
            assert_eq!(cold.reserve(20_000), Some(20_001));
        }
        assert_eq!((cold.reserve(20_000), cold.reserve(20_001)), (None, None));
        assert_eq!(cold.blocks(), Blocks { day: 20_001, number: BLOCKS_A_DAY });
        // A start comes to the same, in whatever order it is told.
        let mut restored = Cold::nobody();
        restored.reserved(20_001);
        restored.restore_blocks(Blocks { day: 20_000, number: 7 });
        assert_eq!(restored.blocks(), Blocks { day: 20_001, number: 1 });
        restored.restore_blocks(cold.blocks());
        restored.reserved(19_999);
        assert_eq!(restored.blocks(), Blocks { day: 20_001, number: BLOCKS_A_DAY + 1 });
        assert_eq!((restored.reserve(20_001), restored.reserve(20_002)), (None, Some(20_002)));
    }

    #[test]
    fn a_slot_that_is_filled_again_holds_the_new_one() {
        let mut associations = Associations::new(0, 1);
        for generation in [1, 2] {
            add(&mut associations, Sid::new(generation, 4).unwrap());
        }
        assert_eq!(associations.len(), 1);
        assert!(associations.find(Sid::new(1, 4).unwrap()).is_none());
        assert!(associations.find(Sid::new(2, 4).unwrap()).is_some());
    }
}
