//! What the tests share.
#![allow(dead_code, reason = "each test uses its part")]

use std::path::Path;
use std::sync::Arc;

use metergraph_journal::files::{Files, ForgetfulFiles};
use metergraph_journal::{Durable, JournalError, Position, Reader, Settings, Writer};

/// The journal's folder in the forgetful layer.
pub const FOLDER: &str = "/state/journal";

/// Small segments, so that everything happens often: four pages of blocks each.
pub const SMALL: Settings = Settings { segment_octets: 6 * 4096, size_max: 1 << 30, spares_max: 2 };

/// A record as it is compared: its position, kind and octets.
pub type Entry = (Position, u8, Vec<u8>);

pub fn open(files: &ForgetfulFiles, durable: &Durable) -> Result<Writer, JournalError> {
    Writer::open(Arc::new(files.clone()), Path::new(FOLDER), SMALL, durable)
}

pub fn reader(files: &ForgetfulFiles, durable: &Durable, from: Position) -> Reader {
    Reader::new(Arc::new(files.clone()), Path::new(FOLDER), durable, from)
}

/// All records from a position on.
pub fn read_from(
    files: &ForgetfulFiles,
    durable: &Durable,
    from: Position,
) -> Result<Vec<Entry>, JournalError> {
    read_on(&mut reader(files, durable, from))
}

/// All records that a reader still has.
pub fn read_on(reader: &mut Reader) -> Result<Vec<Entry>, JournalError> {
    let mut entries = Vec::new();
    while let Some(record) = reader.next()? {
        entries.push((record.position, record.kind, record.octets.to_vec()));
    }
    Ok(entries)
}

/// The octets of all records, without their positions.
pub fn octets(entries: &[Entry]) -> Vec<&[u8]> {
    entries.iter().map(|(_, _, octets)| &octets[..]).collect()
}

/// The files of the folder.
pub fn names(files: &ForgetfulFiles) -> Vec<String> {
    files.list(Path::new(FOLDER)).unwrap()
}

/// `SplitMix64`: all that a test does follows from its seed.
pub struct Random(pub u64);

impl Random {
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, count: u64) -> u64 {
        self.word() % count
    }

    pub fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}
