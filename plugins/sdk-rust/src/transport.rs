//! What the writer of a plugin implements.

use crate::abi::{self, Limits, Readiness, Stats, Step};
use crate::batch::{BatchIn, BatchOut};
use crate::event::Event;
use crate::host::Host;

/// Why a call failed: a status of the contract and one line for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// One of [`abi::status`], negative.
    pub status: abi::Status,
    /// One line for people.
    pub text: String,
    /// `errno`, or 0.
    pub os_error: i32,
}

impl Error {
    /// An error that no system call caused.
    #[must_use]
    pub fn new(status: abi::Status, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), os_error: 0 }
    }
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.text.is_empty() { write!(f, "status {}", self.status) } else { f.write_str(&self.text) }
    }
}

impl std::error::Error for Error {}

/// One instance of a transport. No method may block.
///
/// Calls come one after another, perhaps from different threads. The meaning of each is that of
/// `mg_plugin` in the header.
pub trait Transport: Send + Sized {
    /// The plugin's name.
    const NAME: &'static str;
    /// The plugin's version.
    const VERSION: &'static str;
    /// JSON Schema of the configuration.
    const CONFIG_SCHEMA: &'static str;
    /// What it wants to reach: a JSON array of `{"kind", "name", "needed", "purpose"}`.
    const GRANTS: &'static str = "[]";

    /// Makes an instance; `config` is a JSON object. May open I/O, moves nothing yet.
    ///
    /// # Errors
    /// What cannot be used or opened; the host shows the text.
    fn open(name: &str, config: &str, host: &Host<'_>) -> Result<(Self, Limits), Error>;

    /// Begins to work.
    ///
    /// # Errors
    /// What stands against it.
    fn start(&mut self, host: &Host<'_>, now: u64) -> Result<(), Error>;

    /// Lets time pass and looks at what is ready.
    ///
    /// # Errors
    /// A fault of the driver.
    fn poll(&mut self, host: &Host<'_>, now: u64, ready: &[Readiness]) -> Result<Step, Error>;

    /// Takes a prefix of the frames and answers how many.
    ///
    /// # Errors
    /// A fault of the driver; a full queue is none.
    fn send(&mut self, host: &Host<'_>, batch: &BatchIn<'_>) -> Result<usize, Error>;

    /// Appends received frames.
    ///
    /// # Errors
    /// A fault of the driver.
    fn receive(&mut self, host: &Host<'_>, out: &mut BatchOut<'_>) -> Result<(), Error>;

    /// The next event, when there is one.
    fn next_event(&mut self, host: &Host<'_>) -> Option<Event>;

    /// Opens a link to an address of the driver's own form and answers its number.
    ///
    /// # Errors
    /// What stands against it; by default `MG_E_UNSUPPORTED`.
    fn open_link(&mut self, host: &Host<'_>, address: &str) -> Result<u32, Error> {
        let _ = (host, address);
        Err(Error::new(abi::status::UNSUPPORTED, "this transport opens no links by address"))
    }

    /// Closes a link; an unknown one is ignored.
    fn close_link(&mut self, host: &Host<'_>, link: u32);

    /// Sums since open.
    fn stats(&self) -> Stats;

    /// A command of the driver's own, JSON in and out.
    ///
    /// # Errors
    /// What stands against it; by default `MG_E_NOT_FOUND`.
    fn command(&mut self, host: &Host<'_>, name: &str, arguments: &str) -> Result<String, Error> {
        let _ = (host, arguments);
        Err(Error::new(abi::status::NOT_FOUND, format!("no command `{name}`")))
    }

    /// Stops at once: closes all I/O and brings every frame that was taken to an end.
    ///
    /// # Errors
    /// A fault of the driver; the host destroys it all the same.
    fn close(&mut self, host: &Host<'_>, now: u64) -> Result<(), Error>;
}
