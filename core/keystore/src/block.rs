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

use seal::at_rest::{AtRestError, Dek, NONCE_LEN, OVERHEAD};
use seal::ids::{Dev, Sid};
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::record::{self, Record};
use crate::table::Table;

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

    /// Hands on the records of the value that stands here. Only one is in clear at a time.
    pub(crate) fn open(
        self,
        dek: &Dek,
        value: &[u8],
        sink: &mut dyn FnMut(Record<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut rest = value.strip_prefix(&[record::VERSION]).ok_or_else(|| self.damaged())?;
        let mut buffer = Zeroizing::new([0; record::OCTETS_MAX + OVERHEAD]);
        while !rest.is_empty() {
            let (sid, dev, sealed) = next(&mut rest).ok_or_else(|| self.damaged())?;
            let place = buffer.get_mut(..sealed.len()).ok_or_else(|| self.damaged())?;
            place.copy_from_slice(sealed);
            let opened = dek.open(&authenticated(sid, dev), place).map_err(|_| self.damaged())?;
            let record = Record::read(sid, dev, opened).filter(|_| Self::of(sid) == self);
            sink(record.ok_or_else(|| self.damaged())?)?;
        }
        Ok(())
    }
}

/// Appends a record of at most [`record::OCTETS_MAX`] octets to the value of its block, which is empty at
/// first. The nonce is random.
pub(crate) fn append(
    value: &mut Vec<u8>,
    dek: &Dek,
    nonce: [u8; NONCE_LEN],
    (sid, dev): (Sid, Dev),
    record: &[u8],
) -> Result<(), AtRestError> {
    if value.is_empty() {
        value.push(record::VERSION);
    }
    let length = 4 + 8 + record.len() + OVERHEAD;
    value.extend_from_slice(&(length as u16).to_be_bytes());
    value.extend_from_slice(&sid.0.to_be_bytes());
    value.extend_from_slice(&dev.0);
    dek.seal(nonce, &authenticated(sid, dev), record, value)
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
fn authenticated(sid: Sid, dev: Dev) -> [u8; 14] {
    let mut octets = [0; 14];
    let (table, rest) = octets.split_at_mut(1);
    let (id, rest) = rest.split_at_mut(4);
    let (device, version) = rest.split_at_mut(8);
    table.copy_from_slice(&[Table::Association.octet()]);
    id.copy_from_slice(&sid.0.to_be_bytes());
    device.copy_from_slice(&dev.0);
    version.copy_from_slice(&[record::VERSION]);
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
        let mut value = Vec::new();
        for (row, nonce) in rows().iter().zip(0..) {
            let mut record = Vec::new();
            record::write(&mut record, row, crate::ProfileId([7; 32]));
            append(&mut value, &dek(), [nonce; 13], (row.sid, row.dev), &record).unwrap();
        }
        (Place::of(rows()[0].sid), value)
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
        assert_eq!(open(place, &value).unwrap(), rows().map(|row| row.sid));
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

    proptest! {
        #[test]
        fn opening_never_panics(mut octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = open(Place { partition: 0, block: 0 }, &octets);
            octets.insert(0, record::VERSION);
            let _ = open(Place { partition: 0, block: 0 }, &octets);
        }
    }
}
