//! One instance of a plugin, as the host holds it, whatever it is made of.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use node::{Batch, Counter};
use transport_sdk::abi::{self, Limits, Readiness, Stats, Status, Step};

use crate::error::DriverError;
use crate::host_table::HostTable;
use crate::module::Description;

/// How long a call may take; longer ones are counted.
pub const CALL_BUDGET: Duration = Duration::from_millis(1);
/// Longest frame that a driver may announce, octets.
pub const FRAME_MAX: u32 = 16 << 20;
/// Room for what one read brings, beside one frame that was begun before, octets.
pub const READ_OCTETS: usize = 65_536;
/// Frames of one received batch.
pub const BATCH_FRAMES: usize = 2048;
/// Longest answer to a command, octets.
pub const ANSWER_MAX: usize = 65_536;

/// A plugin that was loaded and checked: native, a component, or one in a process of its own.
pub trait Module: Debug + Send + Sync {
    /// What it says of itself.
    fn description(&self) -> &Description;

    /// Opens an instance called `name` with the JSON object `config`. Calls longer than [`CALL_BUDGET`] are
    /// counted in `late`.
    ///
    /// # Errors
    /// What the driver says, or how it breaks the contract.
    fn open(
        &self,
        host: Arc<HostTable>,
        name: &str,
        config: &str,
        late: Counter,
    ) -> Result<Box<dyn Driver>, DriverError>;
}

/// One instance of a plugin. The meaning of each call is that of `mg_plugin` in the header; calls follow one
/// another, perhaps from different threads. Dropping it destroys the instance.
///
/// What comes out of a call is checked: counts are within what there was room for, frames within their batch.
pub trait Driver: Debug + Send {
    /// The plugin's name.
    fn name(&self) -> &str;

    /// What it keeps to, as answered by open.
    fn limits(&self) -> Limits;

    /// Begins to work.
    ///
    /// # Errors
    /// What the driver says.
    fn start(&mut self, now: u64) -> Result<(), DriverError>;

    /// Lets time pass, tells what is ready, and answers what the driver wants next.
    ///
    /// # Errors
    /// What the driver says.
    fn poll(&mut self, now: u64, ready: &[Readiness]) -> Result<Step, DriverError>;

    /// Offers frames of a batch from number `from` on; answers how many were taken.
    ///
    /// # Errors
    /// What the driver says, or that it claims to have taken more than there are.
    fn send(&mut self, batch: &Batch, from: usize) -> Result<usize, DriverError>;

    /// Empties a batch and puts received frames into it.
    ///
    /// # Errors
    /// What the driver says, or how it breaks the contract.
    fn receive(&mut self, batch: &mut Batch) -> Result<(), DriverError>;

    /// Writes events into `events`; answers how many.
    ///
    /// # Errors
    /// What the driver says, or that it claims to have written more than there is room for.
    fn events(&mut self, events: &mut [abi::Event]) -> Result<usize, DriverError>;

    /// Opens a link to an address of the driver's own form; answers its number.
    ///
    /// # Errors
    /// What the driver says.
    fn open_link(&mut self, address: &str) -> Result<u32, DriverError>;

    /// Closes a link; an unknown one is ignored.
    fn close_link(&mut self, link: u32);

    /// Sums since open.
    ///
    /// # Errors
    /// What the driver says.
    fn stats(&mut self) -> Result<Stats, DriverError>;

    /// A command of the driver's own, JSON in and out.
    ///
    /// # Errors
    /// What the driver says; an answer longer than [`ANSWER_MAX`] is too large.
    fn command(&mut self, name: &str, arguments: &str) -> Result<String, DriverError>;

    /// Closes all I/O and brings every frame that was taken to its end; events follow.
    ///
    /// # Errors
    /// What the driver says.
    fn close(&mut self, now: u64) -> Result<(), DriverError>;
}

/// Refuses limits that no driver can keep to.
///
/// # Errors
/// [`DriverError::Broken`].
pub fn check_limits(plugin: &str, limits: &Limits) -> Result<(), DriverError> {
    if (1..=FRAME_MAX).contains(&limits.max_frame) {
        return Ok(());
    }
    Err(broken(plugin, format!("its longest frame has {} octets", limits.max_frame)))
}

/// A call that failed.
pub fn failed(plugin: &str, call: &'static str, code: Status, error: &abi::Error) -> DriverError {
    let text = error.text().replace(char::is_control, " ");
    DriverError::Failed { plugin: plugin.to_owned(), call, code, text }
}

/// A breach of the contract.
pub fn broken(plugin: &str, what: impl Into<String>) -> DriverError {
    DriverError::Broken { plugin: plugin.to_owned(), what: what.into() }
}
