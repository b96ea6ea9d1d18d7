//! What a fleet counts, and what it says at the end.

use std::collections::BTreeMap;

use serde::Serialize;

/// Counted as it happens.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    /// APDUs given to connections, and not lost with one before they were written.
    pub(super) sent: u64,
    /// Reports sealed by profile-1 devices.
    pub(super) made: u64,
    /// Unacknowledged reports from an earlier run.
    pub(super) carried: u64,
    pub(super) acked: u64,
    pub(super) repeats: u64,
    /// Reports of classic devices.
    pub(super) classic: u64,
    /// Downstream APDUs that were refused, by reason.
    pub(super) refused: BTreeMap<&'static str, u64>,
    /// Downstream items that their rule skips.
    pub(super) skipped_items: u64,
    pub(super) links: u64,
    pub(super) links_lost: u64,
    pub(super) octets_sent: u64,
    pub(super) octets_received: u64,
    /// Devices whose clock has come to its end.
    pub(super) ended: u64,
}

impl Counts {
    pub(super) fn refuse(&mut self, reason: &'static str) {
        *self.refused.entry(reason).or_default() += 1;
    }

    /// Reports that wait to be acknowledged.
    pub(super) fn on_the_way(&self) -> u64 {
        (self.made + self.carried).saturating_sub(self.acked)
    }
}

/// How far a fleet has come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Seconds since the first report.
    pub seconds: f64,
    /// Connections that stand.
    pub links: usize,
    /// APDUs sent.
    pub sent: u64,
    /// Reports acknowledged.
    pub acked: u64,
    /// Reports that wait to be acknowledged.
    pub unacked: u64,
}

/// What a fleet says at the end. `sent = reports - carried + repeats + classic`, less what no connection took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Profile-1 devices.
    pub devices: usize,
    /// Classic devices.
    pub classic_devices: usize,
    /// Cell relays.
    pub relays: usize,
    /// APDUs sent, repeats included.
    pub sent: u64,
    /// Different reports of profile-1 devices, those carried over from an earlier run included:
    /// `acked + unacked`.
    pub reports: u64,
    /// Of these, how many were carried over.
    pub carried: u64,
    /// Reports whose acknowledgement was opened.
    pub acked: u64,
    /// Reports without one.
    pub unacked: u64,
    /// APDUs that repeat a report.
    pub repeats: u64,
    /// Reports of classic devices, which nobody acknowledges.
    pub classic: u64,
    /// Downstream APDUs that devices refused.
    pub refused_downstream: u64,
    /// The same by reason.
    pub refused_downstream_by: BTreeMap<&'static str, u64>,
    /// Downstream items that their rule skips, as an acknowledgement of nothing new.
    pub skipped_items: u64,
    /// Connections that were made.
    pub links: u64,
    /// Connections that ended before the fleet did.
    pub links_lost: u64,
    /// Devices whose clock came to its end.
    pub ended_devices: u64,
    /// From the first report to the last acknowledgement, or to the end of sending when that is later.
    pub seconds: f64,
    /// New reports a second while reports were sent.
    pub reports_per_second: f64,
    /// Acknowledged reports a second, from the first report to the last acknowledgement.
    pub acked_per_second: f64,
    /// Half of all acknowledgements were opened within this after sealing, milliseconds.
    pub latency_p50_ms: Option<f64>,
    /// 99 of 100 were.
    pub latency_p99_ms: Option<f64>,
    /// All were.
    pub latency_max_ms: Option<f64>,
    /// Octets sent.
    pub bytes: u64,
    /// Octets received.
    pub bytes_received: u64,
}
