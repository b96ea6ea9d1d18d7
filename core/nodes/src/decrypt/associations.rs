//! The associations of one shard: all their state, found by `sid` in two array look-ups.

use keystore::Keys;
use node::Frame;
use seal::association::Association;
use seal::ids::Sid;
use seal::schedule::AssociationKeys;

/// Where an association stands in its shard; stable for the shard's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// When a repeat was acknowledged last, in milliseconds of the shard's clock.
    pub repeated: u32,
    /// Frames that did not open in this run.
    pub failures: u16,
    transport: u8,
    /// A reservation is on its way to the journal.
    pub reserving: bool,
    /// It waits in the ring of acknowledgements.
    pub due: bool,
}

const _: () = assert!(size_of::<Entry>() == 128);

/// No transport has this number: the device was not heard yet.
const NOWHERE: u8 = u8::MAX;

impl Entry {
    fn new(association: Association) -> Self {
        Self {
            association,
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
}

/// The associations of the partitions `p` with `p % shards == shard`.
pub struct Associations {
    shard: u32,
    shards: u32,
    /// By dense slot number within the shard: place + 1, or 0. Slots that were never used cost no memory,
    /// since fresh zeros are not backed by pages.
    places: Vec<u32>,
    entries: Vec<Entry>,
}

impl Associations {
    /// No association yet; `shards` is at least 1.
    #[must_use]
    pub fn new(shard: usize, shards: usize) -> Self {
        let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Self { shard: number(shard), shards: number(shards).max(1), places: Vec::new(), entries: Vec::new() }
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
    pub fn add(&mut self, association: Association) {
        let dense = self.dense(association.sid());
        if dense >= self.places.len() {
            // Growing by doubling would touch the zeros; a slot number has 24 bits.
            let mut grown = vec![0; (dense + 1).next_power_of_two()];
            if let Some(old) = grown.get_mut(..self.places.len()) {
                old.copy_from_slice(&self.places);
            }
            self.places = grown;
        }
        let entry = Entry::new(association);
        match self.places.get(dense).copied() {
            Some(0) | None => {
                self.entries.push(entry);
                let place = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
                if let Some(slot) = self.places.get_mut(dense) {
                    *slot = place;
                }
            }
            Some(place) => {
                if let Some(old) = self.get_mut(Place(place - 1)) {
                    *old = entry;
                }
            }
        }
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
        self.get(place).filter(|entry| entry.association.sid() == sid).map(|_| place)
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

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Association> {
        self.entries.iter().map(|entry| &entry.association)
    }
}

/// Splits what the key store gives: a profile-1 association, or the keys of a classic device.
pub fn split(keys: Keys) -> Result<AssociationKeys, keystore::ClassicKeys> {
    match keys {
        Keys::Profile1 { keys, .. } => Ok(keys),
        Keys::Classic(keys) => Err(keys),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal::ids::{Dev, Epoch};
    use seal::secret::Prk;

    fn add(associations: &mut Associations, sid: Sid) {
        let keys = seal::schedule::derive(&Prk::from_octets([7; 32]), sid);
        associations.add(Association::new(sid, Dev([1; 8]), Epoch(3), keys));
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
