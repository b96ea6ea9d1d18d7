//! What a fleet of agents counts, and what it says at the end.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::agent::Counts;

/// Names of the classes, by number.
const CLASSES: [&str; 6] = ["read", "write", "firmware", "load", "keys", "time"];

/// How far a fleet of agents has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AgentsProgress {
    /// Seconds since the first connection.
    pub seconds: f64,
    /// Connections that stand.
    pub links: usize,
    /// Devices that have an association.
    pub registered: usize,
    /// Reports made.
    pub reports: u64,
    /// Frames acknowledged.
    pub acked: u64,
    /// Commands executed.
    pub executed: u64,
}

/// What a fleet of agents says at the end.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AgentsOutcome {
    /// Devices.
    pub devices: usize,
    /// Cell relays.
    pub relays: usize,
    /// Devices that have an association at the end.
    pub registered: usize,
    /// Registrations completed, repeated ones too.
    pub registrations: u64,
    /// Devices that have an association no downstream frame has come under yet.
    pub renewing: usize,
    /// Devices whose time is trusted.
    pub timed: usize,
    /// Reports made.
    pub reports: u64,
    /// Frames sealed: reports, requests and type 5.
    pub sealed: u64,
    /// Frames acknowledged.
    pub acked: u64,
    /// Frames that wait to be acknowledged.
    pub unacked: u64,
    /// Devices that they are of.
    pub unacked_devices: usize,
    /// Frames sent again.
    pub repeats: u64,
    /// Commands executed, by class.
    pub executed: BTreeMap<&'static str, u64>,
    /// RESULTs sent again because their command came again.
    pub repeated_results: u64,
    /// What devices refused, by code.
    pub refused: BTreeMap<&'static str, u64>,
    /// Downstream items that their rule skips.
    pub skipped_items: u64,
    /// Frames that had no room to wait.
    pub dropped: u64,
    /// How many devices are in which epoch.
    pub epochs: BTreeMap<u16, usize>,
    /// How many service switches are closed, open and armed.
    pub switches: BTreeMap<&'static str, usize>,
    /// Devices that came up again.
    pub restarts: u64,
    /// APDUs lost, doubled and delayed on purpose, and class-4 commands to groups that were kept from a device.
    pub faults: u64,
    /// Pairs of key and nonce with two frames; anything but 0 is a fault of this program.
    pub nonce_reuses: u64,
    /// Downstream APDUs with the title of no device.
    pub unknown_titles: u64,
    /// Connections that were made.
    pub links: u64,
    /// Connections that ended before the fleet did.
    pub links_lost: u64,
    /// From the first connection to the end.
    pub seconds: f64,
    /// Until every device had registered, from the first connection on; `None` when not all have.
    pub registered_after_s: Option<f64>,
}

impl AgentsOutcome {
    /// Adds what a device counted until it went off, or until the end.
    pub(super) fn add(&mut self, counts: &Counts) {
        self.registrations += counts.registrations;
        self.sealed += counts.sealed;
        self.acked += counts.acknowledged;
        self.repeats += counts.repeats;
        self.repeated_results += counts.repeated_results;
        self.skipped_items += counts.skipped_items;
        self.dropped += counts.dropped;
        for (class, count) in CLASSES.into_iter().zip(counts.executed).filter(|(_, count)| *count > 0) {
            *self.executed.entry(class).or_default() += count;
        }
        for (code, count) in &counts.refused {
            *self.refused.entry(code).or_default() += count;
        }
    }

    /// Whether all is well: every device registered and acknowledged, no nonce used twice.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.registered == self.devices && self.unacked == 0 && self.nonce_reuses == 0
    }
}
