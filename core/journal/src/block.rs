//! A block: what one commit writes, or the seal that ends a segment.
//!
//! ```text
//! magic 4 · kind 1 · zero 3 · position 8 · length 4 · payload crc32c 4 · head crc32c 4 · payload · zeros
//! record: kind 1 · length 3 · octets
//! ```
//! Integers are big-endian. A block begins and ends at a multiple of 4,096 octets, so that no write ever
//! touches a page, or a sector of a disk, that holds what is already durable. Both checksums begin with
//! the segment's life and the block's position: octets left from another use of the file, from a commit
//! that failed, or made to look like a block inside a record, are no block at the place where they stand.

use crate::position::Position;

/// Blocks begin at multiples of this.
pub(crate) const PAGE: u64 = 4096;
/// Octets before the payload.
pub(crate) const HEAD: usize = 28;
/// Octets before a record's own.
pub(crate) const RECORD_HEAD: usize = 4;
/// A record's length has three octets; the limit leaves room in every commit.
pub(crate) const RECORD_OCTETS_MAX: usize = 1 << 20;

const MAGIC: [u8; 4] = *b"mgj1";
const RECORDS: u8 = 1;
const SEAL: u8 = 2;

/// The head of a block whose checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The segment ends with this block; the next one begins behind it.
    pub(crate) seal: bool,
    /// Octets of payload.
    pub(crate) length: u32,
    checksum: u32,
    seed: u32,
}

impl Head {
    /// Reads the head of the block at `position`, if one stands there.
    pub(crate) fn read(octets: &[u8], life: u64, position: Position) -> Option<Self> {
        let (head, _) = octets.split_first_chunk::<HEAD>()?;
        let seed = seed(life, position);
        let (checked, head_checksum) = head.split_last_chunk::<4>()?;
        if crc32c::crc32c_append(seed, checked) != u32::from_be_bytes(*head_checksum) {
            return None;
        }
        let (magic, rest) = checked.split_first_chunk::<4>()?;
        let ([kind, ..], rest) = rest.split_first_chunk::<4>()?;
        let (own_position, rest) = rest.split_first_chunk::<8>()?;
        let (length, checksum) = rest.split_first_chunk::<4>()?;
        let checksum = u32::from_be_bytes(checksum.try_into().ok()?);
        let known = *magic == MAGIC && matches!(*kind, RECORDS | SEAL);
        (known && u64::from_be_bytes(*own_position) == position.0).then_some(Self {
            seal: *kind == SEAL,
            length: u32::from_be_bytes(*length),
            checksum,
            seed,
        })
    }

    /// Octets of the whole block.
    pub(crate) fn block_octets(&self) -> u64 {
        block_octets(u64::from(self.length))
    }

    /// Whether this is the payload that the head was written with.
    pub(crate) fn fits(&self, payload: &[u8]) -> bool {
        crc32c::crc32c_append(self.seed, payload) == self.checksum
    }
}

/// Octets of a block with so much payload.
pub(crate) fn block_octets(payload: u64) -> u64 {
    payload.saturating_add(HEAD as u64).next_multiple_of(PAGE)
}

fn seed(life: u64, position: Position) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&life.to_be_bytes()), &position.0.to_be_bytes())
}

/// The records of one commit, as they will be written.
#[derive(Debug)]
pub(crate) struct Block {
    /// Space for the head, then the payload.
    octets: Vec<u8>,
    records: usize,
}

impl Block {
    pub(crate) fn new() -> Self {
        Self { octets: vec![0; HEAD], records: 0 }
    }

    pub(crate) fn records(&self) -> usize {
        self.records
    }

    pub(crate) fn payload_octets(&self) -> usize {
        self.octets.len().saturating_sub(HEAD)
    }

    /// Appends a record of at most [`RECORD_OCTETS_MAX`] octets.
    pub(crate) fn push(&mut self, kind: u8, octets: &[u8]) {
        let [_, length @ ..] = u32::try_from(octets.len()).unwrap_or(u32::MAX).to_be_bytes();
        self.octets.push(kind);
        self.octets.extend_from_slice(&length);
        self.octets.extend_from_slice(octets);
        self.records = self.records.saturating_add(1);
    }

    pub(crate) fn clear(&mut self) {
        self.octets.truncate(HEAD);
        self.records = 0;
    }

    /// Hands the octets to be written at `position` to `write`.
    pub(crate) fn with_octets<R>(
        &mut self,
        life: u64,
        position: Position,
        write: impl FnOnce(&[u8]) -> R,
    ) -> R {
        let end = self.octets.len();
        close(&mut self.octets, RECORDS, life, position);
        let result = write(&self.octets);
        self.octets.truncate(end);
        result
    }
}

/// The seal of a segment, to be written at `position`.
pub(crate) fn seal(life: u64, position: Position) -> Vec<u8> {
    let mut octets = vec![0; HEAD];
    close(&mut octets, SEAL, life, position);
    octets
}

/// Fills in the head and pads the block.
fn close(octets: &mut Vec<u8>, kind: u8, life: u64, position: Position) {
    let seed = seed(life, position);
    let Some((head, payload)) = octets.split_at_mut_checked(HEAD) else { return };
    let payload_checksum = crc32c::crc32c_append(seed, payload);
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let Some((checked, head_checksum)) = head.split_last_chunk_mut::<4>() else { return };
    let fields = MAGIC
        .into_iter()
        .chain([kind, 0, 0, 0])
        .chain(position.0.to_be_bytes())
        .chain(length.to_be_bytes())
        .chain(payload_checksum.to_be_bytes());
    checked.iter_mut().zip(fields).for_each(|(octet, field)| *octet = field);
    *head_checksum = crc32c::crc32c_append(seed, checked).to_be_bytes();
    let padded = usize::try_from(block_octets(u64::from(length))).unwrap_or(usize::MAX);
    octets.resize(padded, 0);
}

/// The record at offset `at` of a payload: its kind, its octets, the offset of the next.
pub(crate) fn record(payload: &[u8], at: usize) -> Option<(u8, &[u8], usize)> {
    let (&[kind, a, b, c], rest) = payload.get(at..)?.split_first_chunk::<RECORD_HEAD>()?;
    let length = usize::try_from(u32::from_be_bytes([0, a, b, c])).ok()?;
    Some((kind, rest.get(..length)?, at.checked_add(RECORD_HEAD)?.checked_add(length)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: u64 = 0x0123_4567_89ab_cdef;
    const PLACE: Position = Position(0x5000);

    fn block() -> Vec<u8> {
        let mut block = Block::new();
        block.push(1, b"one");
        block.push(2, b"");
        block.push(255, &[7; 5000]);
        assert_eq!((block.records(), block.payload_octets()), (3, 5015));
        block.with_octets(LIFE, PLACE, <[u8]>::to_vec)
    }

    #[test]
    fn a_block_reads_back() {
        let octets = block();
        assert_eq!(octets.len(), 8192);
        let head = Head::read(&octets, LIFE, PLACE).unwrap();
        let payload = &octets[HEAD..HEAD + head.length as usize];
        assert!(head.fits(payload) && !head.seal);
        assert_eq!(head.block_octets(), 8192);
        let (kind, one, at) = record(payload, 0).unwrap();
        assert_eq!((kind, one), (1, &b"one"[..]));
        let (kind, two, at) = record(payload, at).unwrap();
        assert_eq!((kind, two), (2, &b""[..]));
        let (kind, three, at) = record(payload, at).unwrap();
        assert_eq!((kind, three, at), (255, &[7; 5000][..], payload.len()));
        assert!(record(payload, at).is_none());
    }

    #[test]
    fn a_block_is_none_elsewhere_and_in_another_life() {
        let octets = block();
        assert!(Head::read(&octets, LIFE, Position(0x6000)).is_none());
        assert!(Head::read(&octets, LIFE + 1, PLACE).is_none());
        for length in 0..HEAD {
            assert!(Head::read(&octets[..length], LIFE, PLACE).is_none());
        }
    }

    #[test]
    fn a_flipped_bit_shows() {
        let octets = block();
        let head = Head::read(&octets, LIFE, PLACE).unwrap();
        let end = HEAD + head.length as usize;
        for bit in 0..end * 8 {
            let mut flipped = octets.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let whole = Head::read(&flipped, LIFE, PLACE).is_some_and(|head| head.fits(&flipped[HEAD..end]));
            assert!(!whole, "bit {bit}");
        }
    }

    #[test]
    fn records_cut_short_are_none() {
        let payload = [1, 0, 0, 3, b'o', b'n'];
        for length in 0..=payload.len() {
            assert!(record(&payload[..length], 0).is_none());
        }
        assert!(record(&payload, usize::MAX).is_none());
    }
}
