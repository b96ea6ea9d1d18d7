//! What a token can refuse or fail at. No error shows a key or a PIN.

use std::io;
use std::path::{Path, PathBuf};

use super::{Holder, Object};

/// A token that cannot be used: `SEC-HSM` (security layer §10).
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The configuration is wrong.
    #[error("{}: {reason}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key of another holder was asked for.
    #[error("the token of the {holder} holds no {object}")]
    NotHeld {
        /// Whose token it is.
        holder: Holder,
        /// What was asked for.
        object: Object,
    },
    /// There is no such object.
    #[error("{token} has no object `{object}`; `metergraph keys ceremony` makes it")]
    Missing {
        /// The token.
        token: String,
        /// The object's label.
        object: String,
    },
    /// A file that must not be there yet.
    #[error("{} is there already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others than the owner may read a file of secrets.
    #[error("{} has mode {mode:03o}; only its owner may read it (600)", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file is not what it should be.
    #[error("{} is damaged or no such file: {what}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
    },
    /// A sealed file does not open.
    #[error("{} does not open: another passphrase, or damaged", path.display())]
    Passphrase {
        /// The file.
        path: PathBuf,
    },
    /// A PIN or passphrase cannot be had.
    #[error("no PIN or passphrase from {place}: {reason}")]
    Pin {
        /// The variable or file that should hold it.
        place: String,
        /// Why not.
        reason: String,
    },
    /// The PKCS#11 module cannot be loaded or started.
    #[error("SEC-HSM: PKCS#11 module {}: {source}", module.display())]
    Module {
        /// Its shared library.
        module: PathBuf,
        /// What it said.
        source: Box<cryptoki::error::Error>,
    },
    /// No slot holds the token.
    #[error("SEC-HSM: PKCS#11 module {} has no token `{label}`", module.display())]
    NoToken {
        /// The module's shared library.
        module: PathBuf,
        /// The token's label.
        label: String,
    },
    /// The token gives no session.
    #[error("SEC-HSM: {token}: {source}")]
    Session {
        /// The token.
        token: String,
        /// What it said.
        source: Box<cryptoki::error::Error>,
    },
    /// The token did not do what it was asked.
    #[error("SEC-HSM: {token}, object `{object}`: {source}")]
    Call {
        /// The token.
        token: String,
        /// The object's label.
        object: String,
        /// What it said.
        source: Box<cryptoki::error::Error>,
    },
    /// An object is not protected as it must be (§4).
    #[error("SEC-HSM: {token}, object `{object}`: {attribute} {found}")]
    Violation {
        /// The token.
        token: String,
        /// The object's label.
        object: String,
        /// The attribute, as PKCS#11 names it.
        attribute: &'static str,
        /// What it is, and should not be.
        found: String,
    },
    /// The token's answer is wrong.
    #[error("SEC-HSM: {token}, object `{object}`: {what}")]
    Answer {
        /// The token.
        token: String,
        /// The object's label.
        object: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// A wrapped key does not open under the key-encryption key.
    #[error("{token}: a wrapped key does not open under the key-encryption key")]
    Unopened {
        /// The token.
        token: String,
    },
    /// Another copy of the installation raised the incarnation (§8).
    #[error("SEC-FENCE: {token}: the incarnation is {found}, raised by another copy of this installation")]
    Raised {
        /// The token.
        token: String,
        /// What it is now.
        found: u64,
    },
    /// The incarnation only rises (§8).
    #[error("SEC-FENCE: {token}: the incarnation is {found} and does not go to {wanted}")]
    Behind {
        /// The token.
        token: String,
        /// What it is.
        found: u64,
        /// What it should become.
        wanted: u64,
    },
    /// A backup cannot be made or restored.
    #[error("backup: {reason}")]
    Backup {
        /// Why not.
        reason: String,
    },
    /// The system gives no random octets.
    #[error("no random octets from the system: {0}")]
    Random(#[from] getrandom::Error),
}

impl TokenError {
    /// For `map_err`: an I/O error with its place.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// A backup that cannot be.
    pub(crate) fn backup(reason: impl Into<String>) -> Self {
        Self::Backup { reason: reason.into() }
    }
}
