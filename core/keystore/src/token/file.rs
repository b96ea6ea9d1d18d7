//! Files of secrets: only their owner may read them, and they are written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::TokenError;

/// So much of a file is overwritten; no token's file is longer.
const OVERWRITTEN_MAX: usize = 1 << 16;

/// Reads a file that only its owner may read, of at most `max` octets.
pub(crate) fn read_secret(path: &Path, max: usize) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let io = || TokenError::io(path);
    let file = File::open(path).map_err(io())?;
    let mode = file.metadata().map_err(io())?.mode();
    if mode & 0o077 != 0 {
        return Err(TokenError::Mode { path: path.to_owned(), mode: mode & 0o777 });
    }
    // Room for all at once: a growing vector would leave copies behind.
    let mut octets = Zeroizing::new(Vec::with_capacity(max.saturating_add(1)));
    file.take(max as u64 + 1).read_to_end(&mut octets).map_err(io())?;
    if octets.len() > max {
        return Err(TokenError::Damaged { path: path.to_owned(), what: "it is too long" });
    }
    Ok(octets)
}

/// Overwrites a file and deletes it, if it is there. What a disk or a file system keeps of it besides, nobody
/// here can reach.
pub(crate) fn destroy(path: &Path) -> Result<(), TokenError> {
    let destroyed = || -> std::io::Result<()> {
        let mut file = match OpenOptions::new().write(true).open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX).min(OVERWRITTEN_MAX);
        file.write_all(&vec![0; length])?;
        file.sync_all()?;
        fs::remove_file(path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    destroyed().map_err(TokenError::io(path))
}

/// Writes a file whole or not at all, for its owner only; one that was there is replaced.
pub(crate) fn write(path: &Path, octets: &[u8]) -> Result<(), TokenError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let written = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(octets)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder)?.sync_all()
    };
    written().map_err(TokenError::io(path))
}
