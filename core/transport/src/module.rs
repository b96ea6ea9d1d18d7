//! Plugins as files: found, pinned, and loaded by the binding that knows their kind.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::driver::Module;
use crate::error::TransportError;
use crate::library::NativeBinding;

/// A SHA-256.
pub type Sha256Digest = [u8; 32];

/// What a plugin says of itself.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What it is made of: `native` or `component`.
    pub kind: &'static str,
    /// Version of the transport contract, `MAJOR.MINOR`.
    pub contract: String,
    /// SHA-256 of its file, 64 hex digits: what a graph pins.
    pub sha256: String,
    /// JSON Schema of its configuration.
    pub config_schema: serde_json::Value,
    /// What it wants to reach.
    pub grants: Vec<GrantWanted>,
}

/// One thing that a plugin wants to reach; nothing is granted by it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantWanted {
    /// The kind of grant, as in a graph: `tcp_listen`.
    pub kind: String,
    /// The name that it opens it by; empty for the only one of its kind.
    #[serde(default)]
    pub name: String,
    /// Whether it cannot work without it.
    #[serde(default)]
    pub needed: bool,
    /// What for, one line for people.
    #[serde(default)]
    pub purpose: String,
}

impl Description {
    /// Of the texts of the contract: name and version; major and minor; schema and grants.
    ///
    /// # Errors
    /// [`TransportError::Malformed`], when a text is not what it has to be.
    pub fn read(
        path: &Path,
        kind: &'static str,
        (name, version): (&str, &str),
        (major, minor): (u32, u32),
        digest: &Sha256Digest,
        (config_schema, grants): (&str, &str),
    ) -> Result<Self, TransportError> {
        let malformed = |what: String| TransportError::Malformed { path: path.to_owned(), what };
        let config_schema = serde_json::from_str(config_schema)
            .map_err(|e| malformed(format!("the schema of its configuration is no JSON: {e}")))?;
        let grants = serde_json::from_str(grants)
            .map_err(|e| malformed(format!("the list of grants that it wants cannot be read: {e}")))?;
        Ok(Self {
            name: name.to_owned(),
            version: version.to_owned(),
            kind,
            contract: format!("{major}.{minor}"),
            sha256: hex(digest),
            config_schema,
            grants,
        })
    }
}

/// A way to make a driver of a file.
pub trait Binding: Debug + Send + Sync {
    /// Whether a file is of its kind, by its first octets.
    fn claims(&self, octets: &[u8]) -> bool;

    /// Loads a plugin; its digest has been compared already.
    ///
    /// # Errors
    /// [`TransportError`], one line that names the file.
    fn load(
        &self,
        path: &Path,
        octets: &[u8],
        digest: &Sha256Digest,
    ) -> Result<Arc<dyn Module>, TransportError>;
}

/// The bindings of this program, in the order in which they are asked; native libraries come last. Offered
/// as a service without a name.
#[derive(Clone, Debug, Default)]
pub struct Bindings(pub Vec<Arc<dyn Binding>>);

impl Bindings {
    /// Loads a plugin whose file must have the digest `pinned`, if there is one. Code of a native plugin runs:
    /// to look at one that is not trusted, do it in a process of its own.
    ///
    /// # Errors
    /// [`TransportError`], one line that names the file.
    pub fn load(
        &self,
        path: &Path,
        pinned: Option<&Sha256Digest>,
    ) -> Result<Arc<dyn Module>, TransportError> {
        let octets =
            std::fs::read(path).map_err(|why| TransportError::Unreadable { path: path.to_owned(), why })?;
        let digest: Sha256Digest = Sha256::digest(&octets).into();
        if let Some(pinned) = pinned.filter(|pinned| **pinned != digest) {
            return Err(TransportError::Digest {
                path: path.to_owned(),
                pinned: hex(pinned),
                found: hex(&digest),
            });
        }
        match self.0.iter().find(|binding| binding.claims(&octets)) {
            Some(binding) => binding.load(path, &octets, &digest),
            None => NativeBinding.load(path, &octets, &digest),
        }
    }
}

/// Looks for a plugin's file: a name is looked for in the folders, in order; a path is taken as it is.
///
/// # Errors
/// [`TransportError::NotFound`].
pub fn find_plugin(plugin: &str, folders: &[PathBuf]) -> Result<PathBuf, TransportError> {
    let candidates = if plugin.contains('/') {
        vec![PathBuf::from(plugin)]
    } else {
        folders.iter().map(|folder| folder.join(plugin)).collect()
    };
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let folders: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        TransportError::NotFound { plugin: plugin.to_owned(), folders: folders.join(", ") }
    })
}

/// As hex digits.
#[must_use]
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
