//! Why a transport could not be opened, or broke down.

use std::io;
use std::path::PathBuf;

use transport_sdk::abi::{ABI_MAJOR, ABI_MINOR, ENTRY_SYMBOL, status};

use crate::grants::GrantError;

/// Why a plugin could not be loaded or a transport not be opened. Each is one line.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// No folder holds the plugin.
    #[error("plugin `{plugin}` is in none of the plugin folders ({folders})")]
    NotFound {
        /// As the graph file names it.
        plugin: String,
        /// Where it was looked for.
        folders: String,
    },
    /// The plugin's file cannot be read.
    #[error("plugin {}: cannot be read: {why}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system answered.
        why: io::Error,
    },
    /// The plugin's file is not the one that the graph pins.
    #[error("plugin {}: its sha256 is {found}, but the graph pins {pinned}", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// What the graph wants, 64 hex digits.
        pinned: String,
        /// What the file has, 64 hex digits.
        found: String,
    },
    /// A file that was loaded is another one now.
    #[error(
        "plugin {}: the file has changed since it was loaded; a loaded plugin stays until this process \
         ends, so give the new one another name",
        path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
    },
    /// The dynamic linker refuses the file.
    #[error("plugin {}: cannot be loaded: {what}", path.display())]
    NotALibrary {
        /// The file.
        path: PathBuf,
        /// What the dynamic linker said.
        what: String,
    },
    /// A library, but no plugin.
    #[error("plugin {}: exports no `{ENTRY_SYMBOL}`, so it is no transport plugin", path.display())]
    NoEntry {
        /// The file.
        path: PathBuf,
    },
    /// The plugin and this host speak different versions of the contract.
    #[error(
        "plugin {}: speaks version {plugin} of the transport contract, this host speaks \
         {ABI_MAJOR}.{ABI_MINOR}",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The plugin's version; what is not known of it is `x`.
        plugin: String,
    },
    /// The plugin finds this host too old.
    #[error(
        "plugin {}: wants a newer host than this one, which speaks version {ABI_MAJOR}.{ABI_MINOR} of the \
         transport contract",
        path.display()
    )]
    HostTooOld {
        /// The file.
        path: PathBuf,
    },
    /// What the plugin says of itself makes no sense.
    #[error("plugin {}: breaks the transport contract: {what}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A grant cannot be read.
    #[error(transparent)]
    Grant(#[from] GrantError),
    /// The driver did not open.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The host's own side.
    #[error("{what}: {why}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// What the operating system answered.
        why: io::Error,
    },
}

/// Why a driver cannot be used (any longer).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DriverError {
    /// A call failed.
    #[error("plugin `{plugin}`: {call}: {}", words(*code, text))]
    Failed {
        /// The plugin's name.
        plugin: String,
        /// Which call.
        call: &'static str,
        /// The contract's status.
        code: i32,
        /// One line for people, or empty.
        text: String,
    },
    /// The driver said that it cannot go on.
    #[error("plugin `{plugin}` gave up: {}", words(*code, text))]
    Fatal {
        /// The plugin's name.
        plugin: String,
        /// The contract's status.
        code: i32,
        /// One line for people, or empty.
        text: String,
    },
    /// A call was stopped or trapped: nothing is left of the instance.
    #[error("plugin `{plugin}`: {call}: stopped: {why}")]
    Trapped {
        /// The plugin's name.
        plugin: String,
        /// Which call.
        call: &'static str,
        /// In words.
        why: String,
    },
    /// The driver answered what the contract does not allow.
    #[error("plugin `{plugin}` breaks the transport contract: {what}")]
    Broken {
        /// The plugin's name.
        plugin: String,
        /// What it answered.
        what: String,
    },
}

fn words(code: i32, text: &str) -> String {
    let word = status::word(code);
    if text.is_empty() { format!("{word} ({code})") } else { format!("{text} ({word})") }
}
