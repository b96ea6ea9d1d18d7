//! What a key store can refuse or fail at.

use std::io;
use std::path::{Path, PathBuf};

use seal::at_rest::AtRestError;
use seal::ids::Gid;

use crate::device::ProfileId;
use crate::kek::KekId;
use crate::shipment::Faults;
use crate::token::TokenError;

/// A key store that cannot be made, opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A second `init`.
    #[error("a key store already stands in {}", folder.display())]
    Exists {
        /// The folder.
        folder: PathBuf,
    },
    /// There is no store.
    #[error("no key store in {}; `metergraph keys init` makes one", folder.display())]
    Missing {
        /// The folder.
        folder: PathBuf,
    },
    /// Another process holds the store.
    #[error("the key store in {} is in use by another process", folder.display())]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// The key-encryption key unwraps no partition's key.
    #[error(
        "the key-encryption key of {token}, {found}, is not that of this key store{}",
        wanted.map(|wanted| format!(", {wanted}")).unwrap_or_default()
    )]
    WrongKek {
        /// The token that holds the key.
        token: String,
        /// Which key it is.
        found: KekId,
        /// Which key the store names.
        wanted: Option<KekId>,
    },
    /// Another key-encryption key is taking the place of the present one.
    #[error(
        "a change of the key-encryption key of {} has begun; `metergraph keys rotate-kek` goes on with it",
        folder.display()
    )]
    KekChanging {
        /// The store's folder.
        folder: PathBuf,
    },
    /// The key-encryption key cannot be changed so.
    #[error("the key-encryption key is not changed: {reason}")]
    KekChange {
        /// Why not.
        reason: String,
    },
    /// The token of the key-encryption key refused or failed.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// One partition's key does not unwrap.
    #[error("the key of partition {partition} is missing or damaged")]
    Dek {
        /// The partition.
        partition: u16,
    },
    /// Too many replaced keys of a partition are still kept.
    #[error("partition {partition} keeps too many replaced keys: the journal has not passed them")]
    OldDeks {
        /// The partition.
        partition: u16,
    },
    /// A sealed block does not open, or holds what does not belong there.
    #[error("block {block} of partition {partition} is damaged or out of its place")]
    Block {
        /// The partition.
        partition: u16,
        /// The block within it.
        block: u8,
    },
    /// A sealed bucket of device credentials does not open, or holds what does not belong there.
    #[error("bucket {bucket} of device credentials in partition {partition} is damaged or out of its place")]
    Bucket {
        /// The partition.
        partition: u16,
        /// The bucket within it.
        bucket: u8,
    },
    /// A group's key does not open.
    #[error("the key of group {gid} is damaged, or that of another group or epoch")]
    Group {
        /// The group.
        gid: Gid,
    },
    /// A key that manifests are checked with does not open.
    #[error("the trusted key `{name}` is damaged")]
    Trust {
        /// Its name.
        name: String,
    },
    /// A profile is gone or is another text than its digest says.
    #[error("the device profile {profile} is missing or damaged")]
    Profile {
        /// Its SHA-256.
        profile: ProfileId,
    },
    /// One of the store's few plain values is gone or misformed.
    #[error("the key store's value `{name}` is missing or damaged")]
    Value {
        /// Which.
        name: &'static str,
    },
    /// Blocks are gone.
    #[error("the key store holds {found} devices where it counts {counted}")]
    Count {
        /// Devices found.
        found: u64,
        /// Devices that its own count names.
        counted: u64,
    },
    /// The file system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// sled refused.
    #[error("sled in {}: {source}", folder.display())]
    Sled {
        /// The database's folder.
        folder: PathBuf,
        /// Why.
        source: sled::Error,
    },
    /// sled gave up on damaged files by a panic.
    #[error("sled in {} cannot read its files: they are damaged", folder.display())]
    SledPanic {
        /// The database's folder.
        folder: PathBuf,
    },
    /// A record cannot be sealed.
    #[error(transparent)]
    Seal(#[from] AtRestError),
    /// The system gives no random octets.
    #[error("no random octets from the system: {0}")]
    Random(#[from] getrandom::Error),
}

impl StoreError {
    /// For `map_err`: an I/O error with its place.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// An import that changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The manifest is not signed as it must be.
    #[error("the manifest is not taken: {0}")]
    Trust(#[from] TrustError),
    /// The file has bad rows.
    #[error(transparent)]
    Faults(#[from] Faults),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A signature that is not good, or a key that is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The key store knows no root key.
    #[error("the key store has no root key; `metergraph keys init --root` sets it")]
    NoRoot,
    /// Another root key is set.
    #[error("the key store has another root key, which stays")]
    RootFixed,
    /// A key cannot be called so.
    #[error(
        "`{name}` is no name of a manufacturer's key: 1 to 64 letters, digits, `-`, `_`, `.`, not `root`"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A signature file is not there.
    #[error("its signature file {ending} cannot be read")]
    Missing {
        /// The end of the file's name.
        ending: &'static str,
    },
    /// A signature file holds something else.
    #[error("its signature file {ending} is not `NAME` and 128 hex digits")]
    Form {
        /// The end of the file's name.
        ending: &'static str,
    },
    /// Nobody knows the key.
    #[error("it is signed by `{name}`, whose key is not trusted; `metergraph keys trust` adds one")]
    Unknown {
        /// The key's name.
        name: String,
    },
    /// The signature does not verify.
    #[error("the signature by `{name}` is wrong: the file was changed, or signed by another key")]
    Wrong {
        /// The key's name.
        name: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
