//! The files of one export: readings, gaps, and a manifest that says they are whole.
//!
//! A file covers a range of the journal, and its name carries the range. The manifest comes last; so a
//! range with a manifest is done, and one with other files only is written again, octet for octet.

use std::path::{Path, PathBuf};

use journal::Position;
use journal::files::{FileError, Files, Open, unfinished};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::rows::Sheet;
use super::{gaps, rows};

/// A piece of the journal: from a position up to another, which is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Range {
    pub(super) from: Position,
    pub(super) to: Position,
}

impl Range {
    fn name(self, kind: &str, suffix: &str) -> String {
        format!("{kind}-{}-{}.{suffix}", self.from, self.to)
    }

    fn parse(name: &str) -> Option<(&str, Self)> {
        let (kind, rest) = name.split_once('-')?;
        let (from, rest) = rest.split_once('-')?;
        let (to, _) = rest.split_once('.')?;
        Some((kind, Self { from: from.parse().ok()?, to: to.parse().ok()? }))
    }
}

/// The manifest of one export, as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// First journal position, 16 hex digits.
    from: String,
    /// Journal position behind the last.
    to: String,
    /// Readings in it.
    rows: u64,
    /// End devices in it.
    meters: u64,
    /// The files.
    files: Vec<Entry>,
}

/// One file of a manifest.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    name: String,
    octets: u64,
    sha256: String,
}

/// What was begun at a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Begun {
    /// Nothing.
    No,
    /// Files of this range, without manifest: write them again.
    Unfinished(Range),
    /// This range is done.
    Done(Range),
}

/// The folder that the MDM loads from.
#[derive(Debug)]
pub(super) struct Folder<'a> {
    pub(super) files: &'a dyn Files,
    pub(super) path: &'a Path,
}

impl Folder<'_> {
    /// What stands here that begins at `from`; leftovers that are no whole file are removed.
    pub(super) fn begun(&self, from: Position) -> Result<Begun, FileError> {
        self.files.create_folder(self.path)?;
        let mut begun = Begun::No;
        for name in self.files.list(self.path)? {
            if name.ends_with(".unfinished") {
                self.files.remove(&self.path.join(&name))?;
                continue;
            }
            let Some((kind, range)) = Range::parse(&name) else { continue };
            if range.from != from {
                continue;
            }
            if kind == "manifest" {
                return Ok(Begun::Done(range));
            }
            begun = Begun::Unfinished(range);
        }
        Ok(begun)
    }

    /// Writes the files of a range: whole and durable when this returns.
    pub(super) fn write(&self, range: Range, sheet: &Sheet, meters: u64) -> Result<(), FileError> {
        let mut manifest = Manifest {
            from: range.from.to_string(),
            to: range.to.to_string(),
            rows: sheet.readings,
            meters,
            files: Vec::new(),
        };
        if sheet.readings > 0 {
            manifest.files.push(self.put(range.name("readings", "csv"), rows::HEADER, &sheet.rows)?);
        }
        if !sheet.gaps.is_empty() {
            manifest.files.push(self.put(range.name("gaps", "csv"), gaps::HEADER, &sheet.gaps)?);
        }
        // The names must be durable before the manifest vouches for them.
        self.files.sync_folder(self.path)?;
        let text = serde_json::to_vec_pretty(&manifest)
            .map_err(|error| FileError::new("write", self.path, std::io::Error::other(error)))?;
        self.files.write_atomically(&self.path.join(range.name("manifest", "json")), &text)
    }

    fn put(&self, name: String, header: &[u8], rows: &[u8]) -> Result<Entry, FileError> {
        let path: PathBuf = self.path.join(&name);
        let written = unfinished(&path);
        let file = self.files.open(&written, Open::Create)?;
        file.write_at(header, 0)?;
        file.write_at(rows, header.len() as u64)?;
        file.sync()?;
        drop(file);
        self.files.rename(&written, &path)?;
        let hash = Sha256::new().chain_update(header).chain_update(rows).finalize();
        Ok(Entry {
            name,
            octets: (header.len() + rows.len()) as u64,
            sha256: hash.iter().map(|octet| format!("{octet:02x}")).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use journal::files::OsFiles;

    fn range(from: u64, to: u64) -> Range {
        Range { from: Position(from), to: Position(to) }
    }

    #[test]
    fn a_range_is_done_only_with_its_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let here = Folder { files: &OsFiles, path: folder.path() };
        assert_eq!(here.begun(Position(5)).unwrap(), Begun::No);
        let sheet = Sheet { rows: b"r\n".to_vec(), gaps: b"g\n".to_vec(), readings: 1 };
        here.write(range(5, 900), &sheet, 1).unwrap();
        assert_eq!(here.begun(Position(5)).unwrap(), Begun::Done(range(5, 900)));
        assert_eq!(here.begun(Position(6)).unwrap(), Begun::No);
        let manifest = folder.path().join(range(5, 900).name("manifest", "json"));
        let text: Manifest = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
        for entry in &text.files {
            let octets = std::fs::read(folder.path().join(&entry.name)).unwrap();
            let hash: String = Sha256::digest(&octets).iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!((octets.len() as u64, hash), (entry.octets, entry.sha256.clone()));
        }
        std::fs::remove_file(manifest).unwrap();
        std::fs::write(folder.path().join("readings-x.csv.unfinished"), "half").unwrap();
        assert_eq!(here.begun(Position(5)).unwrap(), Begun::Unfinished(range(5, 900)));
        assert!(!folder.path().join("readings-x.csv.unfinished").exists());
    }
}
