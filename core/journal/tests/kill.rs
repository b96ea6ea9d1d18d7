//! A writer on a real disk, killed at random moments: what it said it had committed is there.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use metergraph_journal::files::OsFiles;
use metergraph_journal::{Durable, JournalError, Position, Reader, Settings, Writer};

const FOLDER: &str = "METERGRAPH_JOURNAL_KILLED";
const SETTINGS: Settings = Settings { segment_octets: 128 << 10, size_max: 1 << 30, spares_max: 4 };
const ROUNDS: u32 = 25;

/// Opens, waiting for the lock of a process that is still dying.
fn open(folder: &Path, durable: &Durable) -> Writer {
    for _ in 0..500 {
        match Writer::open(Arc::new(OsFiles), folder, SETTINGS, durable) {
            Err(JournalError::InUse { .. }) => std::thread::sleep(Duration::from_millis(10)),
            opened => return opened.unwrap(),
        }
    }
    panic!("the lock is never let go");
}

/// All numbers in the log.
fn numbers(folder: &Path, durable: &Durable, from: Position) -> Vec<u64> {
    let mut reader = Reader::new(Arc::new(OsFiles), folder, durable, from);
    let mut numbers = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        numbers.push(u64::from_be_bytes(*record.octets.first_chunk().unwrap()));
        assert!(record.octets[8..].iter().all(|octet| *octet == record.kind));
    }
    numbers
}

/// Not a test of its own: the process that is killed. It goes on counting from what it finds, and prints
/// the number that each commit ends with.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let folder = Path::new(&folder);
    let durable = Durable::default();
    let mut writer = open(folder, &durable);
    let mut number = numbers(folder, &durable, Position::START).len() as u64;
    let mut stdout = std::io::stdout();
    loop {
        for _ in 0..1 + number % 40 {
            let kind = number.to_be_bytes()[7];
            let mut octets = number.to_be_bytes().to_vec();
            octets.resize(8 + usize::from(kind), kind);
            writer.append(kind, &octets).unwrap();
            number += 1;
        }
        writer.commit().unwrap();
        writeln!(stdout, "committed {number}").unwrap();
        stdout.flush().unwrap();
    }
}

#[test]
fn nothing_committed_is_lost_when_the_writer_is_killed() {
    let root = tempfile::tempdir().unwrap();
    let mut told = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child", "--nocapture", "--test-threads", "1"])
            .env(FOLDER, root.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            let lines = stdout.lines().map_while(Result::ok);
            lines.filter_map(|line| line.strip_prefix("committed ")?.parse::<u64>().ok()).last()
        });
        std::thread::sleep(Duration::from_millis(u64::from(20 + round * 37 % 90)));
        child.kill().unwrap();
        child.wait().unwrap();
        told = reader.join().unwrap().unwrap_or(told);

        let durable = Durable::default();
        let writer = open(root.path(), &durable);
        let numbers = numbers(root.path(), &durable, Position::START);
        drop(writer);
        assert!(numbers.len() as u64 >= told, "{told} were committed, {} are there", numbers.len());
        assert!(numbers.iter().copied().eq(0..numbers.len() as u64), "not once each and in order");
    }
    assert!(told > 1000, "too slow to tell: {told}");
}
