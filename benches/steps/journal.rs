//! The journal on this disk: commits a second by their size, and the disk's own syncs beside them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::files::OsFiles;
use journal::{Durable, JournalError, Settings, Writer};

use crate::disk::syncs;
use crate::lab::{Lab, PLAINTEXT};
use crate::support::{Failure, Figures};

/// A report's record with its own head and the journal's.
const RECORD: [u8; nodes::record::REPORT_HEAD + PLAINTEXT] = [0x5a; nodes::record::REPORT_HEAD + PLAINTEXT];
const LASTS: Duration = Duration::from_secs(1);

pub fn bench(lab: &Lab, figures: &mut Figures) -> Result<(), Failure> {
    for (name, octets) in [("1 record", 1), ("64 KiB", 64 << 10), ("1 MiB", 1 << 20)] {
        let (commits, records) = commits(lab, octets)?;
        figures.put(&format!("journal, commits of {name}"), commits, "commits/s");
        figures.put(&format!("journal, records in commits of {name}"), records, "records/s");
        let syncs = syncs(&lab.state, octets.next_multiple_of(4096))?;
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
