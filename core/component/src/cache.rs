//! Machine code of components, kept between runs, so that a start need not compile.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use tracing::warn;
use transport::{Sha256Digest, hex};
use wasmtime::component::Component;
use wasmtime::{Engine, Error};

/// The longest file that is read, octets.
const FILE_MAX: u64 = 256 << 20;
/// Octets of the digest before the code.
const DIGEST: usize = 32;

/// A folder that this program alone writes to. What is in it is machine code that will be run.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// A cache in this folder, which is made for its owner alone; none where that cannot be.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        let ours = made.and_then(|()| std::fs::metadata(folder));
        // SAFETY-relevant, not only tidy: whoever else can write here can have code run.
        match ours {
            Ok(meta) if meta.mode() & 0o022 == 0 && meta.uid() == own_uid() => {
                Self { folder: Some(folder.to_owned()) }
            }
            Ok(_) => {
                warn!(folder = %folder.display(), "not used as a cache of components: others may write to it");
                Self::none()
            }
            Err(error) => {
                warn!(folder = %folder.display(), %error, "cannot be used as a cache of components");
                Self::none()
            }
        }
    }

    /// No cache: every start compiles.
    #[must_use]
    pub fn none() -> Self {
        Self { folder: None }
    }

    /// The component of a file, compiled now or before.
    ///
    /// # Errors
    /// What the compiler says.
    pub fn component(
        &self,
        engine: &Engine,
        octets: &[u8],
        digest: &Sha256Digest,
    ) -> Result<Component, Error> {
        let path = self.folder.as_ref().map(|folder| folder.join(name(engine, digest)));
        if let Some(found) = path.as_deref().and_then(|path| read(engine, path)) {
            return Ok(found);
        }
        let component = Component::from_binary(engine, octets)?;
        if let Some(path) = path {
            let kept = component.serialize().and_then(|code| Ok(write(&path, &code)?));
            if let Err(error) = kept {
                warn!(path = %path.display(), %error, "machine code of a component was not kept");
            }
        }
        Ok(component)
    }
}

fn own_uid() -> u32 {
    std::fs::metadata("/proc/self").map_or(u32::MAX, |meta| meta.uid())
}

/// The name of a file: the component, and everything that its machine code depends on.
fn name(engine: &Engine, digest: &Sha256Digest) -> String {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{}-{:016x}.cwasm", hex(digest), hasher.finish())
}

fn read(engine: &Engine, path: &Path) -> Option<Component> {
    let meta = std::fs::metadata(path).ok()?;
    if meta.len() > FILE_MAX || meta.mode() & 0o022 != 0 || meta.uid() != own_uid() {
        return None;
    }
    let file = std::fs::read(path).ok()?;
    let (digest, code) = file.split_at_checked(DIGEST)?;
    // A file that was cut short or has rotted is compiled anew.
    if Sha256::digest(code).as_slice() != digest {
        return None;
    }
    load(engine, code)
}

#[allow(unsafe_code, reason = "code that this program compiled and nobody else could write")]
fn load(engine: &Engine, code: &[u8]) -> Option<Component> {
    // SAFETY: the octets are what `Component::serialize` gave: only this user may write to file and folder,
    // the digest says that nothing of it is missing or changed, and the name binds it to this very engine,
    // which checks its own version once more.
    unsafe { Component::deserialize(engine, code) }.ok()
}

/// Writes a file whole or not at all.
fn write(path: &Path, code: &[u8]) -> std::io::Result<()> {
    let draft = path.with_extension(format!("{}.draft", std::process::id()));
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(&Sha256::digest(code))?;
    file.write_all(code)?;
    drop(file);
    std::fs::rename(draft, path)
}
