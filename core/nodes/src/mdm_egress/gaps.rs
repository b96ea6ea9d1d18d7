//! Intervals that are missing between those that came, and those that came before: the gap report, and one
//! export for each interval.
//!
//! A device that had to seal a report anew (security layer §3) sends its intervals under another counter: by
//! period end they are known again. A gap is seen when a later interval of the same device and reading type arrives; what is then filled in
//! comes as ordinary rows. The state is a pure function of the journal up to a position, so that a file
//! written again is the same, octet for octet.

use std::collections::HashMap;

use c1222::device_profile::Reading;
use journal::{Checkpoint, CheckpointWriter, JournalError, Position};
use seal::ids::Dev;

use super::utc;
use crate::journal::Log;

/// Octets of one entry: dev 8, stream 4, newest end 8, seen 16.
const ENTRY: usize = 36;
const CHUNK_OCTETS: usize = 64 << 10;

/// A stream of intervals: one device, one reading type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Stream {
    dev: Dev,
    reading_type: u32,
}

/// What came of one stream.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// The end of the newest interval; for registers the newest moment.
    newest: u64,
    /// Bit n: the interval that ended n intervals before came. For registers the last four moments, 32 bits
    /// of each.
    bits: u128,
}

impl Seen {
    /// Whether a register's moment is not among the last four.
    fn take_moment(&mut self, moment: u64) -> bool {
        let short = u128::from(moment & u64::from(u32::MAX));
        let known = (0..4).any(|place| (self.bits >> (32 * place)) & u128::from(u32::MAX) == short);
        if known && self.bits != 0 {
            return false;
        }
        *self = Self { newest: self.newest.max(moment), bits: (self.bits << 32) | short };
        true
    }
}

/// What came of each stream.
#[derive(Debug, Default)]
pub(super) struct Gaps {
    streams: HashMap<Stream, Seen>,
}

impl Gaps {
    /// Takes in a reading; a gap before it becomes a row in `out`. Answers whether it is the first of its
    /// period, as far as that is remembered: 128 intervals, four moments of a register.
    pub(super) fn take(&mut self, dev: Dev, reading: &Reading<'_>, out: &mut Vec<u8>) -> bool {
        let interval = u64::from(reading.interval_s);
        let end = reading.end_time;
        let stream = Stream { dev, reading_type: crc32c::crc32c(reading.reading_type.as_bytes()) };
        let seen = self.streams.entry(stream).or_insert(Seen { newest: end, bits: 0 });
        if interval == 0 {
            return seen.take_moment(end);
        }
        let before = seen.newest;
        // Whole intervals between the two, where they lie on one grid.
        let apart = end.abs_diff(before);
        let steps = if apart.is_multiple_of(interval) {
            u32::try_from(apart / interval).unwrap_or(u32::MAX)
        } else {
            u32::MAX
        };
        if end > before {
            *seen = Seen { newest: end, bits: seen.bits.checked_shl(steps).unwrap_or(0) | 1 };
            let start = end.saturating_sub(interval);
            if start > before {
                row(out, dev, reading, before, start, (start - before) / interval);
            }
            return true;
        }
        let bit = 1_u128.checked_shl(steps).unwrap_or(0);
        let fresh = seen.bits & bit == 0;
        seen.bits |= bit;
        fresh
    }

    /// Stores the state of everything before `position`.
    pub(super) fn store(&self, log: &Log, name: &str, position: Position) -> Result<(), JournalError> {
        let mut writer = CheckpointWriter::begin(log.files(), log.folder(), name, position)?;
        let mut chunk = Vec::with_capacity(CHUNK_OCTETS + ENTRY);
        for (stream, seen) in &self.streams {
            chunk.extend_from_slice(&stream.dev.0);
            chunk.extend_from_slice(&stream.reading_type.to_be_bytes());
            chunk.extend_from_slice(&seen.newest.to_be_bytes());
            chunk.extend_from_slice(&seen.bits.to_be_bytes());
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
                let (Some((dev, rest)), Some((_, bits))) =
                    (entry.split_first_chunk(), entry.split_last_chunk())
                else {
                    continue;
                };
                let (Some((reading_type, rest)), dev) = (rest.split_first_chunk(), Dev(*dev)) else {
                    continue;
                };
                let Some((newest, _)) = rest.split_first_chunk() else { continue };
                let reading_type = u32::from_be_bytes(*reading_type);
                let seen = Seen { newest: u64::from_be_bytes(*newest), bits: u128::from_be_bytes(*bits) };
                gaps.streams.insert(Stream { dev, reading_type }, seen);
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
            assert!(gaps.take(Dev([1; 8]), &reading(end), &mut out));
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
        let register = |end| Reading {
            interval_s: 0,
            reading_type: "0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0",
            ..reading(end)
        };
        assert!(gaps.take(Dev([1; 8]), &reading(900), &mut out));
        assert!(gaps.take(Dev([2; 8]), &reading(9000), &mut out));
        assert!(gaps.take(Dev([1; 8]), &register(9000), &mut out));
        assert!(!gaps.take(Dev([1; 8]), &register(9000), &mut out));
        assert!([9001, 8999, 9003].into_iter().all(|end| gaps.take(Dev([1; 8]), &register(end), &mut out)));
        assert!(![9000, 9001, 8999, 9003].into_iter().any(|end| gaps.take(
            Dev([1; 8]),
            &register(end),
            &mut out
        )));
        assert!(gaps.take(Dev([1; 8]), &register(9004), &mut out));
        assert!(gaps.take(Dev([1; 8]), &register(9000), &mut out), "four are remembered");
        assert!(out.is_empty());
    }

    #[test]
    fn an_interval_is_fresh_once() {
        let mut gaps = Gaps::default();
        let mut out = Vec::new();
        let mut take = |end| gaps.take(Dev([1; 8]), &reading(end), &mut out);
        assert!([900, 1800, 2700].into_iter().all(&mut take));
        assert!(![900, 1800, 2700].into_iter().any(&mut take));
        assert!(take(2700 + 100 * 900) && !take(1800), "still within 128 intervals");
        assert!(take(3600) && !take(3600), "late, but the first");
        assert!(take(2700 + 300 * 900) && take(1800), "too long ago to be known");
        assert!(take(5_000_000) && take(5_000_000 - 7), "another grid");
    }
}
