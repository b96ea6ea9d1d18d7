//! The two sides of a run: the reports that the fleet lists, and the rows that the MDM gets.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use miette::{IntoDiagnostic, WrapErr, miette};
use runtime::Status;
use serde::Deserialize;
use sha2::{Digest, Sha256};

/// SHA-256 over a report's rows, each `meter,reading_type,end_time,value` and a line feed, in their order.
type RowsHash = String;

/// The fleet's list.
pub struct Listed {
    /// Hash by message id, acknowledged reports only.
    pub reports: BTreeMap<String, RowsHash>,
}

impl Listed {
    /// Reads `message_id sha256 acked|unacked` lines.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is another.
    pub fn read(path: &Path) -> miette::Result<Self> {
        let text = read(path)?;
        let mut reports = BTreeMap::new();
        for line in text.lines() {
            match line.split(' ').collect::<Vec<_>>().as_slice() {
                [id, hash, "acked"] => {
                    reports.insert((*id).to_owned(), (*hash).to_owned());
                }
                [_, _, "unacked"] => {}
                _ => return Err(miette!("{}: `{line}` is no line of a list", path.display())),
            }
        }
        Ok(Self { reports })
    }
}

/// What the CSV files hold.
#[derive(Default)]
pub struct Exported {
    /// Hash by message id.
    pub reports: BTreeMap<String, RowsHash>,
    /// Files read.
    pub files: usize,
    /// Rows read.
    pub rows: usize,
    /// The first file.
    pub first_file: PathBuf,
    /// Its header and first rows.
    pub first_rows: Vec<String>,
}

/// A row of a readings file, as far as it is compared.
#[derive(Deserialize)]
struct Row {
    meter: String,
    reading_type: String,
    end_time: String,
    value: String,
    message_id: String,
}

impl Exported {
    /// Reads every `readings-*.csv` of a folder.
    ///
    /// # Errors
    /// When one cannot be read, or a message id stands in two places.
    pub fn read(folder: &Path) -> miette::Result<Self> {
        let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
            .into_diagnostic()
            .wrap_err_with(|| format!("read {}", folder.display()))?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter(|path| {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                name.starts_with("readings-") && name.ends_with(".csv")
            })
            .collect();
        files.sort();
        let mut exported = Self { files: files.len(), ..Self::default() };
        for path in &files {
            exported.read_file(path)?;
        }
        if let Some(first) = files.first() {
            exported.first_rows = read(first)?.lines().take(10).map(str::to_owned).collect();
            exported.first_file.clone_from(first);
        }
        Ok(exported)
    }

    fn read_file(&mut self, path: &Path) -> miette::Result<()> {
        let mut hashes: BTreeMap<String, Sha256> = BTreeMap::new();
        let mut reader = csv::Reader::from_path(path).into_diagnostic()?;
        for row in reader.deserialize() {
            let row: Row = row.into_diagnostic().wrap_err_with(|| format!("{}", path.display()))?;
            self.rows += 1;
            let hash = hashes.entry(row.message_id).or_default();
            hash.update(format!("{},{},{},{}\n", row.meter, row.reading_type, row.end_time, row.value));
        }
        for (id, hash) in hashes {
            if self.reports.contains_key(&id) {
                return Err(miette!("report {id} stands in {} and in an earlier file", path.display()));
            }
            self.reports.insert(id, hex(&hash.finalize()));
        }
        Ok(())
    }
}

/// Every report that one side lacks or that the two sides see differently.
#[must_use]
pub fn differences(listed: &Listed, exported: &Exported) -> Vec<String> {
    let mut found = Vec::new();
    for (id, hash) in &listed.reports {
        match exported.reports.get(id) {
            None => found.push(format!("{id}: acknowledged, but not exported")),
            Some(other) if other != hash => found.push(format!("{id}: exported with other values")),
            Some(_) => {}
        }
    }
    let unlisted = exported.reports.keys().filter(|id| !listed.reports.contains_key(*id));
    found.extend(unlisted.map(|id| format!("{id}: exported, but not acknowledged to the fleet")));
    found
}

/// What became of every frame that the fleet sent.
pub struct Sums {
    sent: i64,
    journaled: i64,
    duplicate: i64,
    /// Frames refused by the head-end.
    pub refused: i64,
    /// Frames given up by the head-end or lost before it.
    pub dropped: i64,
}

/// The part of the fleet's JSON that is needed here.
#[derive(Deserialize)]
struct FleetSums {
    sent: i64,
}

impl Sums {
    /// Reads the fleet's JSON and the head-end's last status.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn read(fleet: &Path, head_end: &Path) -> miette::Result<Self> {
        let sent: FleetSums = serde_json::from_str(&read(fleet)?).into_diagnostic()?;
        let status: Status = serde_json::from_str(&read(head_end)?).into_diagnostic()?;
        let sum = |name: &str| status.sum(name, None);
        Ok(Self {
            sent: sent.sent,
            journaled: sum("metergraph_frames_journaled_total"),
            duplicate: sum("metergraph_frames_duplicate_total"),
            refused: sum("metergraph_frames_refused_total"),
            dropped: sum("metergraph_frames_dropped_total"),
        })
    }

    /// Whether every frame that was sent is accounted for.
    #[must_use]
    pub fn balanced(&self) -> bool {
        self.sent == self.journaled + self.duplicate + self.refused + self.dropped
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, journaled, duplicate, refused, dropped } = self;
        let sign = if self.balanced() { "=" } else { "IS NOT" };
        write!(
            f,
            "sent {sent} {sign} journaled {journaled} + duplicate {duplicate} + refused + dropped: \
             refused {refused} dropped {dropped}"
        )
    }
}

fn read(path: &Path) -> miette::Result<String> {
    std::fs::read_to_string(path).into_diagnostic().wrap_err_with(|| format!("read {}", path.display()))
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "meter,reading_type,end_time,value,quality,source,received_time,message_id\n";

    #[test]
    fn a_missing_a_changed_and_an_unlisted_report_are_told_apart() {
        let folder = tempfile::tempdir().unwrap();
        let rows = "m1,0.1,2026-01-01T00:00:00Z,1.50,,,,m1-1-1\nm1,0.1,2026-01-01T00:15:00Z,2,,,,m1-1-1\n\
                    m2,0.1,2026-01-01T00:00:00Z,3,,,,m2-1-1\nm3,0.1,2026-01-01T00:00:00Z,3,,,,m3-1-1\n";
        std::fs::write(folder.path().join("readings-1-2.csv"), format!("{HEADER}{rows}")).unwrap();
        let exported = Exported::read(folder.path()).unwrap();
        let m1 = "m1,0.1,2026-01-01T00:00:00Z,1.50\nm1,0.1,2026-01-01T00:15:00Z,2\n";
        let list = format!(
            "m1-1-1 {} acked\nm2-1-1 {} acked\nm4-1-1 {} acked\nm5-1-1 00 unacked\n",
            hex(&Sha256::digest(m1)),
            hex(&Sha256::digest("x")),
            hex(&Sha256::digest("y"))
        );
        std::fs::write(folder.path().join("list"), list).unwrap();
        let listed = Listed::read(&folder.path().join("list")).unwrap();
        let found = differences(&listed, &exported);
        assert_eq!((exported.rows, exported.reports.len(), found.len()), (4, 3, 3));
        for part in ["m2-1-1: exported with other", "m4-1-1: acknowledged", "m3-1-1: exported, but not"] {
            assert!(found.iter().any(|line| line.starts_with(part)), "{part}");
        }
    }

    #[test]
    fn a_report_in_two_files_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["readings-1-2.csv", "readings-2-3.csv"] {
            let row = "m1,0.1,2026-01-01T00:00:00Z,1,,,,m1-1-1\n";
            std::fs::write(folder.path().join(name), format!("{HEADER}{row}")).unwrap();
        }
        assert!(Exported::read(folder.path()).is_err());
    }
}
