//! The journal on this disk: commits a second by their size, and the disk's own syncs beside them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::files::OsFiles;
use journal::{Durable, JournalError, Settings, Writer};

use crate::lab::{Lab, PLAINTEXT};
use crate::support::{Failure, Figures};

/// A report's record with its own head and the journal's.
const RECORD: [u8; nodes::record::REPORT_HEAD + PLAINTEXT] = [0x5a; nodes::record::REPORT_HEAD + PLAINTEXT];
const LASTS: Duration = Duration::from_secs(1);
/// The file that is synced without a journal is written over and over.
const FILE_OCTETS: u64 = 64 << 20;

pub fn bench(lab: &Lab, figures: &mut Figures) -> Result<(), Failure> {
    for (name, octets) in [("1 record", 1), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)] {
        let (commits, records) = commits(lab, octets)?;
        figures.put(&format!("journal, commits of {name}"), commits, "commits/s");
        figures.put(&format!("journal, records in commits of {name}"), records, "records/s");
        let syncs = syncs(lab, octets.next_multiple_of(4096))?;
        figures.put(&format!("disk, write and fdatasync of {name}"), syncs, "syncs/s");
    }
    Ok(())
}

/// Commits and records a second, in commits of about so many octets.
fn commits(lab: &Lab, octets: usize) -> Result<(f64, f64), Failure> {
    let folder = lab.state.join("commits");
    let mut writer = Writer::open(Arc::new(OsFiles), &folder, Settings::default(), &Durable::default())?;
    let (since, mut commits, mut records) = (Instant::now(), 0_u32, 0_u32);
    while since.elapsed() < LASTS {
        while writer.records() == 0 || writer.batch_octets() + RECORD.len() < octets {
            match writer.append(nodes::record::REPORT, &RECORD) {
                Err(JournalError::BatchFull { .. }) => break,
                appended => appended?,
            }
            records += 1;
        }
        writer.commit()?;
        commits += 1;
    }
    let seconds = since.elapsed().as_secs_f64();
    drop(writer);
    std::fs::remove_dir_all(&folder)?;
    Ok((f64::from(commits) / seconds, f64::from(records) / seconds))
}

/// Writes of so many octets, each synced, a second.
fn syncs(lab: &Lab, octets: usize) -> Result<f64, Failure> {
    let path = lab.state.join("syncs");
    let (file, data) = (File::create(&path)?, vec![0x5a; octets]);
    for start in (0..FILE_OCTETS).step_by(octets) {
        file.write_all_at(&data, start)?;
    }
    file.sync_all()?;
    let (since, mut syncs) = (Instant::now(), 0_u32);
    while since.elapsed() < LASTS {
        file.write_all_at(&data, u64::from(syncs) * octets as u64 % FILE_OCTETS)?;
        file.sync_data()?;
        syncs += 1;
    }
    let rate = f64::from(syncs) / since.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(rate)
}
