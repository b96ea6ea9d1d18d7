//! A folder under `target` that goes when it is dropped. What is measured there is to be durable, so a file
//! system in memory is refused.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::statfs;

use super::Failure;

const TMPFS: i64 = 0x0102_1994;
const RAMFS: i64 = 0x8584_58f6;

/// The folder.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Makes an empty folder of this name.
    ///
    /// # Errors
    /// When it cannot be made, or lies in memory.
    pub fn make(name: &str) -> Result<Self, Failure> {
        let path =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}-{}", std::process::id()));
        if path.exists() {
            fs::remove_dir_all(&path)?;
        }
        fs::create_dir_all(&path)?;
        let folder = Self { path };
        let kind = statfs(&folder.path)?.f_type;
        if matches!(kind, TMPFS | RAMFS) {
            return Err(format!(
                "{} lies in memory, where nothing is durable: set CARGO_TARGET_DIR to a folder on a disk",
                folder.path.display()
            )
            .into());
        }
        Ok(folder)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path in it.
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{}: {error}", self.path.display());
        }
    }
}
