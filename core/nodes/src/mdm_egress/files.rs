//! The files of one export: readings, gaps, and a manifest that says they are whole.
//!
//! A file covers a range of the journal, and its name carries the range. The cursor announces the range
//! before anything of it is written, and the manifest comes last; after a crash in between all of it is
//! written again, octet for octet.

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

/// The folder that the MDM loads from.
#[derive(Debug)]
pub(super) struct Folder<'a> {
    pub(super) files: &'a dyn Files,
    pub(super) path: &'a Path,
}

impl Folder<'_> {
    /// Makes the folder; removes what a crash left half written.
    pub(super) fn tidy(&self) -> Result<(), FileError> {
        self.files.create_folder(self.path)?;
        for name in self.files.list(self.path)?.iter().filter(|name| name.ends_with(".unfinished")) {
            self.files.remove(&self.path.join(name))?;
        }
        Ok(())
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

    #[test]
    fn the_manifest_names_what_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let here = Folder { files: &OsFiles, path: folder.path() };
        let range = Range { from: Position(5), to: Position(900) };
        let sheet = Sheet { rows: b"r\n".to_vec(), gaps: b"g\n".to_vec(), readings: 1, repeated: 0 };
        here.write(range, &sheet, 1).unwrap();
        let manifest = folder.path().join(range.name("manifest", "json"));
        let text: Manifest = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
        assert_eq!(text.files.len(), 2);
        for entry in &text.files {
            let octets = std::fs::read(folder.path().join(&entry.name)).unwrap();
            let hash: String = Sha256::digest(&octets).iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!((octets.len() as u64, hash), (entry.octets, entry.sha256.clone()));
        }
    }

    #[test]
    fn leftovers_are_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mdm");
        let here = Folder { files: &OsFiles, path: &path };
        here.tidy().unwrap();
        for name in ["readings-x.csv.unfinished", "readings-x.csv"] {
            std::fs::write(path.join(name), "x").unwrap();
        }
        here.tidy().unwrap();
        assert_eq!(OsFiles.list(&path).unwrap(), ["readings-x.csv"]);
    }
}
