//! Blocks: the sealed records of 1,024 successive indices of one partition, in one value of the store.
//!
//! A value per device would cost sled minutes at a start; a value per block costs it seconds. The block is
//! only that, a way to keep records together. Each record in it is sealed for itself, as the security layer
//! (§4) has it: AES-256-CCM under the partition's data key, with `table ‖ sid ‖ dev ‖ record version`
//! authenticated. CCM with its nonce of 13 octets seals at most 65,535 octets, less than a full block; and
//! so a record can be added without opening the others. A record is accepted only in the block to which its
//! `sid` belongs, so none can be moved.
//!
//! ```text
//! version  u8    of every record in the block
//! record*  u16 length of what follows, sid u32, dev 8, nonce 13, ciphertext, tag 16
//! ```

use std::collections::HashMap;

use seal::at_rest::{ABOUT_LEN, Dek, NONCE_LEN, OVERHEAD, Sealed};
use seal::ids::{Dev, Sid};
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::record::{self, Record};
use crate::table::Table;

/// Records that are opened at once.
const BATCH: usize = 8;

/// Indices of one partition in one block.
const INDICES: u32 = 1024;

/// Where a block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) partition: u16,
    pub(crate) block: u8,
}

impl Place {
    /// The block of an association.
    pub(crate) fn of(sid: Sid) -> Self {
        // 10 bits of the slot, and the upper 4 of the 14-bit index.
        Self { partition: sid.partition() as u16, block: (sid.index() / INDICES) as u8 }
    }

    /// Its key in the store.
    pub(crate) fn key(self) -> Vec<u8> {
        let [high, low] = self.partition.to_be_bytes();
        Table::Association.key(&[high, low, self.block])
    }

    /// The place that a key of the store names.
    pub(crate) fn read(key: &[u8]) -> Option<Self> {
        match Table::Association.rest(key)? {
            &[high, low, block] => Some(Self { partition: u16::from_be_bytes([high, low]), block }),
            _ => None,
        }
    }

    /// The key's beginning for every block of a partition.
    pub(crate) fn prefix(partition: u16) -> Vec<u8> {
        Table::Association.key(&partition.to_be_bytes())
    }

    /// What is said when a record does not open, or makes no sense.
    pub(crate) fn damaged(self) -> StoreError {
        StoreError::Block { partition: self.partition, block: self.block }
    }

    /// Hands on the records of the value that stands here. Few are in clear at a time.
    pub(crate) fn open(
        self,
        dek: &Dek,
        value: &[u8],
        sink: &mut dyn FnMut(Record<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (version, mut rest) = split(value).ok_or_else(|| self.damaged())?;
        let mut buffers = Zeroizing::new([[0; record::OCTETS_MAX + OVERHEAD]; BATCH]);
        while !rest.is_empty() {
            let (mut names, mut batch) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
            for buffer in buffers.iter_mut() {
                if rest.is_empty() {
                    break;
                }
                let (sid, dev, sealed) = next(&mut rest).ok_or_else(|| self.damaged())?;
                let place = buffer.get_mut(..sealed.len()).ok_or_else(|| self.damaged())?;
                place.copy_from_slice(sealed);
                names.push((sid, dev));
                batch.push(Sealed::new(authenticated(version, sid, dev), place));
            }
            dek.open_batch(&mut batch);
            for ((sid, dev), sealed) in names.into_iter().zip(&batch) {
                let opened = sealed.record().ok_or_else(|| self.damaged())?;
                sink(self.parse((version, sid, dev), opened)?)?;
            }
        }
        Ok(())
    }

    /// Reads a record that has opened.
    fn parse<'b>(
        self,
        (version, sid, dev): (u8, Sid, Dev),
        opened: &'b [u8],
    ) -> Result<Record<'b>, StoreError> {
        let record = Record::read(version, sid, dev, opened).filter(|_| Self::of(sid) == self);
        record.ok_or_else(|| self.damaged())
    }

    /// Opens one record in `buffer`.
    fn record<'b>(
        self,
        dek: &Dek,
        (version, sid, dev): (u8, Sid, Dev),
        sealed: &[u8],
        buffer: &'b mut [u8],
    ) -> Result<Record<'b>, StoreError> {
        let place = buffer.get_mut(..sealed.len()).ok_or_else(|| self.damaged())?;
        place.copy_from_slice(sealed);
        let opened = dek.open(&authenticated(version, sid, dev), place).map_err(|_| self.damaged())?;
        self.parse((version, sid, dev), opened)
    }
}

/// Appends a record of at most [`record::OCTETS_MAX`] octets, sealed. The nonce is random.
pub(crate) fn seal(
    out: &mut Vec<u8>,
    dek: &Dek,
    nonce: [u8; NONCE_LEN],
    (sid, dev): (Sid, Dev),
    record: &[u8],
) -> Result<(), StoreError> {
    Ok(dek.seal(nonce, &authenticated(record::VERSION, sid, dev), record, out)?)
}

/// Opens a record that stands for itself, in `buffer`.
pub(crate) fn open<'b>(
    dek: &Dek,
    (sid, dev): (Sid, Dev),
    sealed: &[u8],
    buffer: &'b mut [u8],
) -> Result<Record<'b>, StoreError> {
    Place::of(sid).record(dek, (record::VERSION, sid, dev), sealed, buffer)
}

/// A block that is changed: records are opened one by one, where they are asked for, and what is not touched
/// stays as it was sealed.
pub(crate) struct Edit<'a> {
    place: Place,
    dek: &'a Dek,
    version: u8,
    records: Vec<Entry<'a>>,
    /// Places in `records` by slot.
    slots: HashMap<u32, usize>,
}

struct Entry<'a> {
    sid: Sid,
    dev: Dev,
    octets: Octets<'a>,
}

enum Octets<'a> {
    Sealed(&'a [u8]),
    Plain(Zeroizing<Vec<u8>>),
}

impl<'a> Edit<'a> {
    /// Begins with the value that stands here, or with no octets for a new block.
    pub(crate) fn begin(place: Place, dek: &'a Dek, value: &'a [u8]) -> Result<Self, StoreError> {
        let (version, mut rest) = match value {
            [] => (record::VERSION, value),
            _ => split(value).ok_or_else(|| place.damaged())?,
        };
        let mut edit = Self { place, dek, version, records: Vec::new(), slots: HashMap::new() };
        while !rest.is_empty() {
            let (sid, dev, sealed) = next(&mut rest).ok_or_else(|| place.damaged())?;
            edit.slots.insert(sid.slot(), edit.records.len());
            edit.records.push(Entry { sid, dev, octets: Octets::Sealed(sealed) });
        }
        Ok(edit)
    }

    /// Whose record stands in the slot of this association.
    pub(crate) fn occupant(&self, sid: Sid) -> Option<(Sid, Dev)> {
        let entry = self.records.get(*self.slots.get(&sid.slot())?)?;
        Some((entry.sid, entry.dev))
    }

    /// The record of this association, in `buffer`; `None` when it is not here.
    pub(crate) fn find<'b>(&self, sid: Sid, buffer: &'b mut [u8]) -> Result<Option<Record<'b>>, StoreError> {
        let entry = self.slots.get(&sid.slot()).and_then(|at| self.records.get(*at));
        let Some(entry) = entry.filter(|entry| entry.sid == sid) else { return Ok(None) };
        match &entry.octets {
            Octets::Sealed(sealed) => {
                self.place.record(self.dek, (self.version, sid, entry.dev), sealed, buffer).map(Some)
            }
            Octets::Plain(octets) => {
                let place = buffer.get_mut(..octets.len()).ok_or_else(|| self.place.damaged())?;
                place.copy_from_slice(octets);
                let record = Record::read(record::VERSION, sid, entry.dev, place);
                record.map(Some).ok_or_else(|| self.place.damaged())
            }
        }
    }

    /// Sets the record of an association; one that stood in its slot is replaced. `write` fills a buffer that
    /// has room for the longest record.
    pub(crate) fn set(&mut self, (sid, dev): (Sid, Dev), write: impl FnOnce(&mut Vec<u8>)) {
        let mut octets = Zeroizing::new(Vec::with_capacity(record::OCTETS_MAX));
        write(&mut octets);
        let entry = Entry { sid, dev, octets: Octets::Plain(octets) };
        match self.slots.get(&sid.slot()).and_then(|at| self.records.get_mut(*at)) {
            Some(before) => *before = entry,
            None => {
                self.slots.insert(sid.slot(), self.records.len());
                self.records.push(entry);
            }
        }
    }

    /// Seals every record anew, as after a change of the data key or of the record's layout.
    fn renew(&mut self) -> Result<(), StoreError> {
        let mut buffer = Zeroizing::new([0; record::OCTETS_MAX + OVERHEAD]);
        for at in 0..self.records.len() {
            let Some(Entry { sid, dev, octets: Octets::Sealed(_) }) = self.records.get(at) else { continue };
            let (sid, dev) = (*sid, *dev);
            let Some(record) = self.find(sid, buffer.as_mut_slice())? else {
                return Err(self.place.damaged());
            };
            let keys = record.keys();
            if keys.is_none() && !record.head.gone {
                return Err(self.place.damaged());
            }
            let head = record.head;
            self.set((sid, dev), |out| record::write(out, &head, keys.as_ref()));
        }
        Ok(())
    }

    /// The value of the changed block, in records of the present layout.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, StoreError> {
        if self.version != record::VERSION {
            self.renew()?;
        }
        self.write(self.dek)
    }

    /// The value of the block under another data key.
    pub(crate) fn finish_under(mut self, dek: &Dek) -> Result<Vec<u8>, StoreError> {
        self.renew()?;
        self.write(dek)
    }

    fn write(&self, dek: &Dek) -> Result<Vec<u8>, StoreError> {
        let plain = |entry: &&Entry<'_>| matches!(entry.octets, Octets::Plain(_));
        let mut nonces = vec![[0; NONCE_LEN]; self.records.iter().filter(plain).count()];
        getrandom::fill(nonces.as_flattened_mut())?;
        let mut value = vec![record::VERSION];
        for entry in &self.records {
            let length = match &entry.octets {
                Octets::Sealed(sealed) => sealed.len(),
                Octets::Plain(octets) => octets.len() + OVERHEAD,
            };
            value.extend_from_slice(&((4 + 8 + length) as u16).to_be_bytes());
            value.extend_from_slice(&entry.sid.0.to_be_bytes());
            value.extend_from_slice(&entry.dev.0);
            match &entry.octets {
                Octets::Sealed(sealed) => value.extend_from_slice(sealed),
                Octets::Plain(octets) => {
                    let nonce = nonces.pop().ok_or_else(|| self.place.damaged())?;
                    seal(&mut value, dek, nonce, (entry.sid, entry.dev), octets)?;
                }
            }
        }
        Ok(value)
    }
}

/// The version of a value's records, and they.
fn split(value: &[u8]) -> Option<(u8, &[u8])> {
    let (version, rest) = value.split_first()?;
    [record::VERSION_1, record::VERSION].contains(version).then_some((*version, rest))
}

/// Takes one sealed record from the head of `octets`.
fn next<'a>(octets: &mut &'a [u8]) -> Option<(Sid, Dev, &'a [u8])> {
    let (length, rest) = octets.split_first_chunk::<2>()?;
    let (record, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let (sid, record) = record.split_first_chunk::<4>()?;
    let (dev, sealed) = record.split_first_chunk::<8>()?;
    *octets = rest;
    Some((Sid(u32::from_be_bytes(*sid)), Dev(*dev), sealed))
}

/// `table ‖ sid ‖ dev ‖ record version`.
fn authenticated(version: u8, sid: Sid, dev: Dev) -> [u8; ABOUT_LEN] {
    let mut octets = [0; ABOUT_LEN];
    let (table, rest) = octets.split_at_mut(1);
    let (id, rest) = rest.split_at_mut(4);
    let (device, last) = rest.split_at_mut(8);
    table.copy_from_slice(&[Table::Association.octet()]);
    id.copy_from_slice(&sid.0.to_be_bytes());
    device.copy_from_slice(&dev.0);
    last.copy_from_slice(&[version]);
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::rows;
    use proptest::prelude::*;
    use seal::secret::Key256;

    fn dek() -> Dek {
        Dek::new(&Key256::from_octets([7; 32]))
    }

    /// A block of two records, and its place.
    fn block() -> (Place, Vec<u8>) {
        let (place, dek) = (Place::of(rows()[0].sid), dek());
        let mut edit = Edit::begin(place, &dek, &[]).unwrap();
        for (row, generation) in rows().iter().zip(0_u32..) {
            let sid = Sid(row.sid.0 + (generation << 10));
            edit.set((sid, row.dev), |out| record::write_row(out, row, crate::ProfileId([7; 32])));
        }
        (place, edit.finish().unwrap())
    }

    fn open(place: Place, value: &[u8]) -> Result<Vec<Sid>, StoreError> {
        let mut sids = Vec::new();
        place.open(&dek(), value, &mut |record| {
            sids.push(record.sid);
            Ok(())
        })?;
        Ok(sids)
    }

    #[test]
    fn every_slot_has_one_place() {
        for slot in [0, 1023, 1024, 0x0f_ffff, 0x10_0000, 0xff_ffff, 0x52_0ad3] {
            let sid = Sid::new(3, slot).unwrap();
            let place = Place::of(sid);
            assert_eq!(u32::from(place.partition), slot & 1023);
            assert_eq!(u32::from(place.block), slot >> 20);
            assert_eq!(Place::read(&place.key()), Some(place));
            assert!(place.key().starts_with(&Place::prefix(place.partition)));
        }
        assert_eq!(Place::read(&[2, 0, 0]), None);
        assert_eq!(Place::read(&[1, 0, 0, 0]), None);
    }

    #[test]
    fn a_block_opens_in_its_place_only() {
        let (place, value) = block();
        let sid = rows()[0].sid;
        assert_eq!(open(place, &value).unwrap(), [sid, Sid(sid.0 + 1024)]);
        for other in
            [Place { partition: place.partition ^ 1, ..place }, Place { block: place.block ^ 1, ..place }]
        {
            assert!(matches!(open(other, &value), Err(StoreError::Block { .. })));
        }
    }

    #[test]
    fn any_flipped_bit_is_refused() {
        let (place, value) = block();
        for bit in 0..value.len() * 8 {
            let mut value = value.clone();
            value[bit / 8] ^= 1 << (bit % 8);
            let error = open(place, &value).unwrap_err();
            assert!(
                matches!(error, StoreError::Block { partition, block }
                if (partition, block) == (place.partition, place.block)),
                "{error}"
            );
        }
    }

    #[test]
    fn a_block_of_version_1_is_rewritten_whole() {
        let ([row, _], dek) = (rows(), dek());
        let old = crate::record::tests::version_1(&row);
        let mut value = vec![record::VERSION_1];
        value.extend_from_slice(&((12 + old.len() + OVERHEAD) as u16).to_be_bytes());
        value.extend_from_slice(&row.sid.0.to_be_bytes());
        value.extend_from_slice(&row.dev.0);
        dek.seal([1; 13], &authenticated(record::VERSION_1, row.sid, row.dev), &old, &mut value).unwrap();
        let place = Place::of(row.sid);
        assert_eq!(open(place, &value).unwrap(), [row.sid]);
        let new = Edit::begin(place, &dek, &value).unwrap().finish().unwrap();
        assert_eq!(new[0], record::VERSION);
        assert_eq!(open(place, &new).unwrap(), [row.sid]);
        let other = Dek::new(&Key256::from_octets([8; 32]));
        let moved = Edit::begin(place, &dek, &value).unwrap().finish_under(&other).unwrap();
        assert!(open(place, &moved).is_err());
        place
            .open(&other, &moved, &mut |record| {
                assert!(record.keys().is_some());
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn what_is_not_touched_stays_as_it_was_sealed() {
        let (place, value) = block();
        let (dek, [row, _]) = (dek(), rows());
        let mut edit = Edit::begin(place, &dek, &value).unwrap();
        assert_eq!(edit.occupant(row.sid), Some((row.sid, row.dev)));
        let next = Sid::new(row.sid.generation() + 1, row.sid.slot()).unwrap();
        edit.set((next, row.dev), |out| record::write_row(out, &row, crate::ProfileId([7; 32])));
        let mut buffer = [0; record::OCTETS_MAX];
        assert!(edit.find(row.sid, &mut buffer).unwrap().is_none());
        assert!(edit.find(next, &mut buffer).unwrap().is_some());
        let new = edit.finish().unwrap();
        assert_eq!(open(place, &new).unwrap(), [next, Sid(row.sid.0 + 1024)]);
        assert_eq!(new[new.len() - 100..], value[value.len() - 100..]);
    }

    proptest! {
        #[test]
        fn opening_never_panics(mut octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let (place, dek) = (Place { partition: 0, block: 0 }, dek());
            for version in [record::VERSION, record::VERSION_1] {
                let _ = open(place, &octets);
                let _ = Edit::begin(place, &dek, &octets).map(|edit| edit.finish().is_ok());
                octets.insert(0, version);
            }
        }
    }
}
