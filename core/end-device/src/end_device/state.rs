//! What of a device changes.

use std::collections::BTreeMap;

use c1222::ApTitleBuf;
use c1222::device_profile::{DeviceProfile, SwitchPosition};
use c1222::tables::{EventCode, Outcome, ProcedureId, TableId};

use super::Moment;
use super::blocks::Pointers;
use super::event_log::EventLog;
use super::session::Sessions;

/// How long the answer to a procedure is kept for the one who started it.
const HELD_NS: u64 = 5_000_000_000;

/// All that a service may change. A service in test mode works on a copy.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub sessions: Sessions,
    /// The device's clock minus the true time, in seconds.
    pub clock_offset_s: i64,
    /// When the registers began to count, on the device's clock: minutes since [`BASE_S`](crate::meter::BASE_S),
    /// once they were cleared.
    pub cleared_min: Option<u64>,
    /// What was written to the profile's tables.
    pub stored: BTreeMap<TableId, Vec<u8>>,
    pub switch: SwitchPosition,
    /// The last parameters of each procedure of load control.
    pub load_control: BTreeMap<ProcedureId, Vec<u8>>,
    /// The blocks of a firmware image that came so far.
    pub image: Vec<u8>,
    /// SHA-256 of the image that was activated last.
    pub firmware: Option<[u8; 32]>,
    /// Of the load-profile sets, in the profile's order.
    pub sets: Vec<Pointers>,
    pub history: EventLog,
    pub events: EventLog,
    /// ST7: the last procedure that was started.
    pub initiate: Vec<u8>,
    /// ST8: what came of it.
    pub outcome: Vec<u8>,
    /// How the last procedure ended, until somebody asks.
    pub ended: Option<Outcome>,
    /// Who has still to read ST8, and until when it is kept for them.
    held: Option<(Option<ApTitleBuf>, u64)>,
}

impl State {
    /// A device that came up just now.
    pub fn new(profile: &DeviceProfile) -> Self {
        Self {
            sessions: Sessions::default(),
            clock_offset_s: 0,
            cleared_min: None,
            stored: BTreeMap::new(),
            switch: SwitchPosition::Closed,
            load_control: BTreeMap::new(),
            image: Vec::new(),
            firmware: None,
            sets: vec![Pointers::default(); profile.load_profiles.len()],
            history: EventLog::default(),
            events: EventLog::default(),
            initiate: vec![0; 3],
            outcome: vec![0; 4],
            ended: None,
            held: None,
        }
    }

    /// The time that the device takes for UTC.
    pub fn utc(&self, now: Moment) -> u64 {
        now.unix_s.saturating_add_signed(self.clock_offset_s)
    }

    /// Adds an entry to the history log.
    pub fn note_history(
        &mut self,
        profile: &DeviceProfile,
        now: Moment,
        user: u16,
        code: EventCode,
        about: u16,
    ) {
        let mut argument = [0; 2];
        profile.format.order.put(u64::from(about), &mut argument);
        let time = profile.device_time(self.utc(now));
        self.history.add(time, user, code, argument);
    }

    /// Adds an entry to the event log.
    pub fn note_event(&mut self, profile: &DeviceProfile, now: Moment, user: u16, code: EventCode) {
        let time = profile.device_time(self.utc(now));
        self.events.add(time, user, code, [0; 2]);
    }

    /// Whether ST8 is kept for somebody else than this caller.
    pub fn is_held_from(&self, caller: &Option<ApTitleBuf>, now: Moment) -> bool {
        self.held.as_ref().is_some_and(|(holder, until)| holder != caller && now.steady_ns < *until)
    }

    /// Keeps ST8 for a caller.
    pub fn hold(&mut self, caller: &Option<ApTitleBuf>, now: Moment) {
        self.held = Some((caller.clone(), now.steady_ns.saturating_add(HELD_NS)));
    }

    /// The caller has read ST8.
    pub fn release(&mut self, caller: &Option<ApTitleBuf>) {
        self.held.take_if(|(holder, _)| holder == caller);
    }
}
