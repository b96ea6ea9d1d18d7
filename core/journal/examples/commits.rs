//! How fast the log is on this disk: `cargo run -p metergraph-journal --example commits [FOLDER]`.
//!
//! Each row commits records of 170 octets for a while, so many octets a commit: into new segments, then
//! into recycled ones; in between all is read back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use metergraph_journal::files::OsFiles;
use metergraph_journal::{Durable, JournalError, Position, Reader, Settings, Writer};

const RECORD: [u8; 170] = [0x5a; 170];
const LASTS: Duration = Duration::from_millis(700);
const SETTINGS: Settings = Settings { segment_octets: 16 << 20, size_max: 16 << 30, spares_max: 4 };

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => std::env::temp_dir().join(format!("metergraph-rate-{}", std::process::id())),
    };
    println!("commit octets  segments  records/s  commits/s    MB/s");
    for commit_octets in [170, 4 << 10, 64 << 10, 256 << 10, 1 << 20, 4 << 20] {
        let result = rows(&folder, commit_octets);
        std::fs::remove_dir_all(&folder)?;
        result?;
    }
    Ok(())
}

fn rows(folder: &Path, commit_octets: usize) -> Result<(), JournalError> {
    let durable = Durable::default();
    let mut writer = Writer::open(Arc::new(OsFiles), folder, SETTINGS, &durable)?;
    let (start, mut records, mut commits) = (Instant::now(), 0, 0);
    while start.elapsed() < LASTS {
        records += commit(&mut writer, commit_octets)?;
        commits += 1;
    }
    print(commit_octets, "new", records, commits, start.elapsed());

    let (start, mut records) = (Instant::now(), 0);
    let mut reader = Reader::new(Arc::new(OsFiles), folder, &durable, Position::START);
    while reader.next()?.is_some() {
        records += 1;
    }
    print(commit_octets, "read", records, 0, start.elapsed());

    // Until every segment has been used before.
    let used = writer.end().0 + 8 * SETTINGS.segment_octets;
    while writer.end().0 < used {
        commit(&mut writer, 1 << 20)?;
        writer.release(durable.position())?;
    }
    let (start, mut records, mut commits) = (Instant::now(), 0, 0);
    while start.elapsed() < LASTS {
        records += commit(&mut writer, commit_octets)?;
        commits += 1;
        writer.release(durable.position())?;
    }
    print(commit_octets, "recycled", records, commits, start.elapsed());
    Ok(())
}

/// Commits about so many octets; answers how many records that were.
fn commit(writer: &mut Writer, octets: usize) -> Result<u32, JournalError> {
    let mut records = 0;
    while records == 0 || writer.batch_octets() + RECORD.len() < octets {
        match writer.append(1, &RECORD) {
            Err(JournalError::BatchFull { .. }) => break,
            appended => appended?,
        }
        records += 1;
    }
    writer.commit()?;
    Ok(records)
}

fn print(commit_octets: usize, what: &str, records: u32, commits: u32, took: Duration) {
    let (records, commits, seconds) = (f64::from(records), f64::from(commits), took.as_secs_f64());
    println!(
        "{commit_octets:>13}  {what:>8}  {:>9.0}  {:>9.0}  {:>6.1}",
        records / seconds,
        commits / seconds,
        records * 170.0 / seconds / 1e6,
    );
}
