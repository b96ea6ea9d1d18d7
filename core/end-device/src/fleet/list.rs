//! The list of all reports and what became of them, to be compared with what an MDM got.
//!
//! A line is `message_id sha256 acked|unacked`: SHA-256 over the report's rows
//! `meter,reading_type,end_time,value` and a line feed, in the order of the export.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use c1222::tables::Decimal;
use seal::hex::Hex;
use seal::ids::{Dev, Epoch};
use sha2::{Digest, Sha256};

use crate::classic_reporter::ClassicMessage;
use crate::meter::Meter;
use crate::report::ReportLayout;

/// The list as it grows.
#[derive(Debug)]
pub(super) struct List {
    out: BufWriter<File>,
    row: Vec<u8>,
    /// The first error; nothing is written after it.
    failed: Option<io::Error>,
}

/// What the rows of a report come from.
#[derive(Clone, Copy)]
pub(super) struct Origin<'l> {
    pub(super) dev: Dev,
    pub(super) layout: &'l ReportLayout,
    pub(super) meter: Meter,
}

impl List {
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { out: BufWriter::new(File::create(path)?), row: Vec::new(), failed: None })
    }

    /// Adds a report of a profile-1 device.
    pub(super) fn report(&mut self, origin: Origin<'_>, epoch: Epoch, seq: u32, number: u32, acked: bool) {
        let word = if acked { "acked" } else { "unacked" };
        let hash = self.hash(origin, number);
        let line = writeln!(self.out, "{}-{epoch}-{seq} {} {word}", origin.dev, Hex(&hash));
        self.note(line);
    }

    /// Adds a report of a classic device, which nobody acknowledges.
    pub(super) fn classic(&mut self, origin: Origin<'_>, key_id: u8, message: &ClassicMessage) {
        let ClassicMessage { number, iv, invocation } = *message;
        let hash = self.hash(origin, number);
        let (dev, hash) = (origin.dev, Hex(&hash));
        let line = writeln!(self.out, "{dev}-c{key_id}-{iv:08x}-{invocation} {hash} unacked");
        self.note(line);
    }

    /// Ends the list.
    pub(super) fn close(mut self) -> io::Result<()> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => self.out.flush(),
        }
    }

    fn note(&mut self, line: io::Result<()>) {
        if let Err(error) = line {
            self.failed.get_or_insert(error);
        }
    }

    fn hash(&mut self, Origin { dev, layout, meter }: Origin<'_>, number: u32) -> [u8; 32] {
        let mut hash = Sha256::new();
        let row = &mut self.row;
        layout.rows(meter, number, |reading_type, end_time, value| {
            row.clear();
            push_row(row, dev, reading_type, end_time, value);
            hash.update(&*row);
        });
        hash.finalize().into()
    }
}

fn push_row(out: &mut Vec<u8>, dev: Dev, reading_type: &str, end_time: u64, value: Decimal) {
    let (date, time) = utc(end_time);
    let ([year, month, day], [hour, minute, second]) = (date, time);
    // A vector takes any text.
    let _ = writeln!(
        out,
        "{dev},{reading_type},{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z,{value}"
    );
}

/// Date and time of a Unix second, in the Gregorian calendar. Years begin in March here, so that leap days end
/// them.
fn utc(unix_s: u64) -> ([u64; 3], [u64; 3]) {
    let (days, of_day) = (unix_s / 86_400 + 719_468, unix_s % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    ([year, month, day], [of_day / 3600, of_day / 60 % 60, of_day % 60])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::residential;

    #[test]
    fn a_row_is_written_as_the_export_writes_it() {
        let mut out = Vec::new();
        push_row(&mut out, Dev([0xab; 8]), "0.0.2", 1_767_226_500, Decimal::new(45, -3));
        assert_eq!(out, b"abababababababab,0.0.2,2026-01-01T00:15:00Z,0.045\n");
        for (unix_s, date, time) in [
            (0, [1970, 1, 1], [0, 0, 0]),
            (951_782_399, [2000, 2, 28], [23, 59, 59]),
            (951_782_400, [2000, 2, 29], [0, 0, 0]),
            (4_107_542_400, [2100, 3, 1], [0, 0, 0]),
        ] {
            assert_eq!(utc(unix_s), (date, time));
        }
    }

    #[test]
    fn lines_name_the_report_and_hash_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list");
        let layout = residential();
        let (dev, meter) = (Dev([2; 8]), Meter::new(1, Dev([2; 8])));
        let origin = Origin { dev, layout: &layout, meter };
        let mut list = List::create(&path).unwrap();
        list.report(origin, Epoch(258), 7, 3, true);
        list.report(origin, Epoch(258), 8, 4, false);
        list.classic(origin, 2, &ClassicMessage { number: 3, iv: 0x6550, invocation: 9 });
        list.close().unwrap();
        let mut rows = Vec::new();
        layout.rows(meter, 3, |reading_type, end_time, value| {
            push_row(&mut rows, dev, reading_type, end_time, value)
        });
        assert_eq!(rows.iter().filter(|octet| **octet == b'\n').count(), 6);
        let hash = Hex(&Sha256::digest(&rows)).to_string();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("0202020202020202-258-7 {hash} acked"));
        assert!(lines[1].starts_with("0202020202020202-258-8 ") && lines[1].ends_with(" unacked"));
        assert_eq!(lines[2], format!("0202020202020202-c2-00006550-9 {hash} unacked"));
    }
}
