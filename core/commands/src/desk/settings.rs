//! The limits and times of the desk.

use crate::group::GroupSettings;

/// The limits and times of the desk, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Commands that are pending, at most.
    pub pending_max: usize,
    /// Commands that are kept, those that ended among them.
    pub kept_max: usize,
    /// Answers of members of groups that are kept.
    pub results_max: usize,
    /// So long after its time has passed, a command still waits for its result.
    pub grace_s: u64,
    /// The first repeat comes after so long, each next after twice as long.
    pub repeat_s: u64,
    /// No repeat waits longer.
    pub repeat_max_s: u64,
    /// A group command is sent so often, at most.
    pub broadcasts_max: u32,
    /// How groups are kept.
    pub groups: GroupSettings,
    /// An epoch campaign's command to a group has so long before its silent members are told one by one.
    pub catch_up_s: u64,
    /// Associations that should leave their epoch, and are kept, at most.
    pub due_max: usize,
    /// So many of them are moved on in a second, at most: 1 % of what an HSM signs (security layer §6).
    pub due_per_s: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pending_max: 100_000,
            kept_max: 200_000,
            results_max: 2_000_000,
            grace_s: 300,
            repeat_s: 30,
            repeat_max_s: 900,
            broadcasts_max: 5,
            groups: GroupSettings { epoch_s: 30 * 86_400, lead_s: 600 },
            catch_up_s: 900,
            due_max: 200_000,
            due_per_s: 2.0,
        }
    }
}
