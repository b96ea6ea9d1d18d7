//! Intervals that are missing between those that came: the gap report.
//!
//! A gap is seen when a later interval of the same device and reading type arrives; what is then filled in
//! comes as ordinary rows. The state is a pure function of the journal up to a position, so that a file
//! written again is the same, octet for octet.

use std::collections::HashMap;

use c1222::device_profile::Reading;
use journal::{Checkpoint, CheckpointWriter, JournalError, Position};
use seal::ids::Dev;

use super::utc;
use crate::journal::Log;

/// Octets of one entry: dev 8, stream 4, end 8.
const ENTRY: usize = 20;
const CHUNK_OCTETS: usize = 64 << 10;

/// A stream of intervals: one device, one reading type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Stream {
    dev: Dev,
    reading_type: u32,
}

/// The end of the newest interval of each stream.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    newest: HashMap<Stream, u64>,
}

impl Gaps {
    /// Takes in a reading; a gap before it becomes a row in `out`.
    pub(super) fn take(&mut self, dev: Dev, reading: &Reading<'_>, out: &mut Vec<u8>) {
        let interval = u64::from(reading.interval_s);
        if interval == 0 {
            return;
        }
        let stream = Stream { dev, reading_type: crc32c::crc32c(reading.reading_type.as_bytes()) };
        let newest = self.newest.entry(stream).or_insert(reading.end_time);
        let before = *newest;
        *newest = before.max(reading.end_time);
        let start = reading.end_time.saturating_sub(interval);
        if start > before {
            row(out, dev, reading, before, start, (start - before) / interval);
        }
    }

    /// Stores the state of everything before `position`.
    pub(super) fn store(&self, log: &Log, name: &str, position: Position) -> Result<(), JournalError> {
        let mut writer = CheckpointWriter::begin(log.files(), log.folder(), name, position)?;
        let mut chunk = Vec::with_capacity(CHUNK_OCTETS + ENTRY);
        for (stream, end) in &self.newest {
            chunk.extend_from_slice(&stream.dev.0);
            chunk.extend_from_slice(&stream.reading_type.to_be_bytes());
            chunk.extend_from_slice(&end.to_be_bytes());
            if chunk.len() >= CHUNK_OCTETS {
                writer.put(&chunk)?;
                chunk.clear();
            }
        }
        if !chunk.is_empty() {
            writer.put(&chunk)?;
        }
        writer.finish()
    }

    /// Loads the state and the position that it belongs to; `None` when it was never stored.
    pub(super) fn load(log: &Log, name: &str) -> Result<Option<(Self, Position)>, JournalError> {
        let mut gaps = Self::default();
        let Some(mut checkpoint) = Checkpoint::open(&*log.files(), log.folder(), name)? else {
            return Ok(None);
        };
        let position = checkpoint.position();
        while let Some(chunk) = checkpoint.next()? {
            for entry in chunk.as_chunks::<ENTRY>().0 {
                let [d0, d1, d2, d3, d4, d5, d6, d7, t0, t1, t2, t3, end @ ..] = *entry;
                let dev = Dev([d0, d1, d2, d3, d4, d5, d6, d7]);
                let reading_type = u32::from_be_bytes([t0, t1, t2, t3]);
                gaps.newest.insert(Stream { dev, reading_type }, u64::from_be_bytes(end));
            }
        }
        Ok(Some((gaps, position)))
    }
}

/// The header of a gap report.
pub(super) const HEADER: &[u8] = b"meter,reading_type,missing_from,missing_to,intervals\n";

/// `missing_from` is the end of the last interval that came, `missing_to` the start of the next.
fn row(out: &mut Vec<u8>, dev: Dev, reading: &Reading<'_>, from: u64, to: u64, intervals: u64) {
    out.extend_from_slice(dev.to_string().as_bytes());
    out.push(b',');
    out.extend_from_slice(reading.reading_type.as_bytes());
    out.push(b',');
    utc::push(out, from);
    out.push(b',');
    utc::push(out, to);
    out.push(b',');
    out.extend_from_slice(intervals.to_string().as_bytes());
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use c1222::device_profile::Quality;
    use c1222::tables::Decimal;

    fn reading(end_time: u64) -> Reading<'static> {
        Reading {
            reading_type: "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0",
            end_time,
            interval_s: 900,
            value: Decimal::new(1, 0),
            quality: Quality::Valid,
        }
    }

    #[test]
    fn a_gap_is_reported_once_and_late_intervals_are_none() {
        let mut gaps = Gaps::default();
        let mut out = Vec::new();
        for end in [900, 1800, 4500, 2700, 5400] {
            gaps.take(Dev([1; 8]), &reading(end), &mut out);
        }
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "0101010101010101,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,\
             1970-01-01T00:30:00Z,1970-01-01T01:00:00Z,2\n"
        );
    }

    #[test]
    fn devices_and_registers_do_not_mix() {
        let mut gaps = Gaps::default();
        let mut out = Vec::new();
        gaps.take(Dev([1; 8]), &reading(900), &mut out);
        gaps.take(Dev([2; 8]), &reading(9000), &mut out);
        gaps.take(Dev([1; 8]), &Reading { interval_s: 0, ..reading(9000) }, &mut out);
        assert!(out.is_empty());
    }
}
