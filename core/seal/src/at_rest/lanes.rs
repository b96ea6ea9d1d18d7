//! Records at rest of one key, eight at once.
//!
//! A CBC-MAC waits for its own last block. Eight of them side by side, with the key streams of their texts, make
//! sixteen blocks that wait for nothing, which is what the `aes` crate encrypts at its full speed.

use core::slice::ChunksMut;

use aes::cipher::BlockEncrypt;
use aes::{Aes256Enc, Block};
use subtle::ConstantTimeEq;

use super::{ABOUT_LEN, NONCE_LEN, RECORD_MAX, Sealed, TAG_LEN};

/// Records at once.
pub(super) const LANES: usize = 8;

/// First octet of a counter block: two octets of counter.
const COUNTER_FLAGS: u128 = 0x01 << 120;
/// First octet of the MAC's first block: additional data, tag of 16, two octets of length.
const MAC_FLAGS: u128 = 0x79 << 120;

/// Opens up to [`LANES`] records in place; the text of one that does not open is wiped.
pub(super) fn open(cipher: &Aes256Enc, records: &mut [Sealed<'_>]) {
    let mut lanes: [Option<Lane<'_>>; LANES] = [const { None }; LANES];
    for (lane, record) in lanes.iter_mut().zip(records.iter_mut()) {
        *lane = Lane::new(&record.about, record.octets);
    }
    let mut blocks = [Block::default(); 2 * LANES];
    let mut first = true;
    while first || lanes.iter().flatten().any(|lane| lane.waiting) {
        let (macs, counters) = blocks.split_at_mut(LANES);
        for ((lane, mac), counter) in lanes.iter_mut().flatten().zip(macs).zip(counters) {
            *mac = lane.mac.to_be_bytes().into();
            *counter = lane.counter.to_be_bytes().into();
        }
        cipher.encrypt_blocks(&mut blocks);
        let (macs, streams) = blocks.split_at(LANES);
        for ((lane, mac), stream) in lanes.iter_mut().flatten().zip(macs).zip(streams) {
            let (mac, stream) = (u128::from_be_bytes((*mac).into()), u128::from_be_bytes((*stream).into()));
            if first { lane.begin(mac, stream) } else { lane.step(mac, stream) }
        }
        first = false;
    }
    let same = lanes.map(|lane| lane.is_some_and(|lane| lane.is_authentic()));
    for (record, same) in records.iter_mut().zip(same) {
        record.opened = same;
        if !same {
            record.octets.fill(0);
        }
    }
}

/// One record. Blocks are big-endian numbers.
struct Lane<'r> {
    /// What is left of the text.
    text: ChunksMut<'r, u8>,
    /// The block of additional data.
    about: u128,
    tag: u128,
    mac: u128,
    tag_stream: u128,
    counter: u128,
    /// Whether a block of the MAC is on its way.
    waiting: bool,
}

impl<'r> Lane<'r> {
    fn new(about: &[u8; ABOUT_LEN], sealed: &'r mut [u8]) -> Option<Self> {
        let (nonce, rest) = sealed.split_first_chunk_mut::<NONCE_LEN>()?;
        let (text, tag) = rest.split_last_chunk_mut::<TAG_LEN>()?;
        let length = u128::try_from(text.len()).ok().filter(|_| text.len() <= RECORD_MAX)?;
        let nonce = number(nonce) >> 8;
        Some(Self {
            text: text.chunks_mut(16),
            // Two octets of its length, then it fills the block.
            about: (ABOUT_LEN as u128) << 112 | number(about) >> 16,
            tag: u128::from_be_bytes(*tag),
            mac: MAC_FLAGS | nonce | length,
            tag_stream: 0,
            counter: COUNTER_FLAGS | nonce,
            waiting: true,
        })
    }

    /// The MAC's first block, and what hides the tag.
    fn begin(&mut self, mac: u128, stream: u128) {
        self.mac = mac ^ self.about;
        self.tag_stream = stream;
        self.counter = self.counter.wrapping_add(1);
    }

    /// The MAC so far, and the stream for the next block of the text, if there is one.
    fn step(&mut self, mac: u128, stream: u128) {
        if !self.waiting {
            return;
        }
        self.mac = mac;
        let Some(block) = self.text.next() else {
            self.waiting = false;
            return;
        };
        let stream = stream.to_be_bytes();
        match <&mut [u8; 16]>::try_from(&mut *block) {
            Ok(whole) => *whole = (u128::from_be_bytes(*whole) ^ u128::from_be_bytes(stream)).to_be_bytes(),
            Err(_) => block.iter_mut().zip(stream).for_each(|(octet, stream)| *octet ^= stream),
        }
        self.mac ^= number(block);
        self.counter = self.counter.wrapping_add(1);
    }

    fn is_authentic(&self) -> bool {
        self.tag.to_be_bytes().ct_eq(&(self.mac ^ self.tag_stream).to_be_bytes()).into()
    }
}

/// The first 16 octets as a number; zeros stand for those past the end.
fn number(octets: &[u8]) -> u128 {
    match octets.first_chunk() {
        Some(block) => u128::from_be_bytes(*block),
        None => {
            let mut block = [0; 16];
            block.iter_mut().zip(octets).for_each(|(octet, given)| *octet = *given);
            u128::from_be_bytes(block)
        }
    }
}
