//! What a fleet of agents does, and why it could not.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use c1222::ApTitleBuf;
use seal::ids::Dev;

use super::Faults;
use crate::agent::{OpenError, Settings};
use crate::fleet::FleetError;

/// What a fleet of agents does.
#[derive(Clone, Debug)]
pub struct AgentsSettings {
    /// The head-end's addresses; one after the other is tried.
    pub connect: Vec<SocketAddr>,
    /// The head-end's title.
    pub head_end: ApTitleBuf,
    /// Cell relays, at least one.
    pub relays: usize,
    /// First registrations a second; 0 for all at once.
    pub register_rate: f64,
    /// Reports a second, all devices together.
    pub rate: f64,
    /// How long reports are made, from the first connection on.
    pub duration: Duration,
    /// How long the last acknowledgements are waited for.
    pub grace: Duration,
    /// The seed of all that is measured, and of what goes wrong.
    pub seed: u64,
    /// The folder for the devices' states; without one they are lost with the fleet.
    pub state: Option<PathBuf>,
    /// The file for the list of reports: message id, SHA-256 over its rows, acked or unacked. A report that was
    /// sealed anew, after a restart or an advance, has the id of the frame that was acknowledged.
    pub list: Option<PathBuf>,
    /// The file for the ledger of all nonces. Without one they are compared in memory only.
    pub ledger: Option<PathBuf>,
    /// How the devices run.
    pub agent: Settings,
    /// What goes wrong on purpose.
    pub faults: Faults,
}

/// Why a fleet of agents could not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// As any fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// A device's state.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A device whose keys are none of the curve's, or whose profile is not there.
    #[error("device {0} has no sound keys, or no device profile")]
    Key(Dev),
    /// Two devices with one title.
    #[error("devices {0} and {1} have one ApTitle")]
    Title(Dev, Dev),
    /// The ledger or the state folder.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}
