//! The procedures that a device carries out when ST7 is written.

use c1222::device_profile::{DeviceProfile, SwitchAction, SwitchPosition};
use c1222::tables::{Initiate, Outcome, ProcedureId, TableId, TimeFormat};

use super::Moment;
use super::blocks::Pointers;
use super::event_log::event;
use super::orders;
use super::state::State;
use super::tables::Tables;

const CLEAR_DATA: ProcedureId = ProcedureId::standard(3);
const RESET_LIST_POINTERS: ProcedureId = ProcedureId::standard(4);
const UPDATE_LAST_READ_ENTRY: ProcedureId = ProcedureId::standard(5);
const REMOTE_RESET: ProcedureId = ProcedureId::standard(9);
const SET_DATE_TIME: ProcedureId = ProcedureId::standard(10);
/// Those of the standard.
const STANDARD: [ProcedureId; 5] =
    [CLEAR_DATA, RESET_LIST_POINTERS, UPDATE_LAST_READ_ENTRY, REMOTE_RESET, SET_DATE_TIME];

const DAY: u64 = 86_400;
/// Bits of set-date-and-time: what is set.
const SET_TIME: u8 = 1;
const SET_DATE: u8 = 1 << 1;
/// Bits of remote reset.
const DEMAND_RESET: u8 = 1;
const SELF_READ: u8 = 1 << 1;

/// A list of entries by its number in procedures 4 and 5.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    Events,
    /// A load-profile set, 0 to 3.
    Set(u16),
    All,
}

impl List {
    fn of(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Events),
            3..=6 => Some(Self::Set(u16::from(number) - 3)),
            255 => Some(Self::All),
            _ => None,
        }
    }
}

/// All procedures of a device of this profile.
pub(super) fn all(profile: &DeviceProfile) -> impl Iterator<Item = ProcedureId> {
    let switch = profile.service_switch.iter();
    let actions = [SwitchAction::Disconnect, SwitchAction::Connect, SwitchAction::Arm];
    let calls = switch.flat_map(move |switch| actions.into_iter().filter_map(|action| switch.call(action)));
    calls.map(|call| call.procedure).chain(STANDARD).chain(orders::procedures(profile))
}

/// One procedure on its way.
pub(super) struct Running<'a> {
    pub tables: &'a Tables,
    pub state: &'a mut State,
    pub user: u16,
    pub now: Moment,
}

impl Running<'_> {
    /// Carries it out; the response's data goes to `out`.
    pub fn run(&mut self, call: &Initiate<'_>, out: &mut Vec<u8>) -> Outcome {
        let switch = self.tables.profile.service_switch.as_ref();
        if let Some(action) = switch.and_then(|switch| switch.action(call.procedure, call.parameters)) {
            return self.switch(action);
        }
        let parameters = call.parameters;
        if let Some(outcome) = orders::run(&self.tables.profile, self.state, call.procedure, parameters) {
            if outcome == Outcome::Done {
                self.note(event::CONTROL_POINT);
            }
            return outcome;
        }
        let result = match call.procedure {
            CLEAR_DATA => self.clear_data(parameters),
            RESET_LIST_POINTERS => self.reset_lists(parameters),
            UPDATE_LAST_READ_ENTRY => self.mark_read(parameters),
            REMOTE_RESET => self.remote_reset(parameters, out),
            SET_DATE_TIME if self.tables.profile.format.time == TimeFormat::Absent => {
                return Outcome::Conflict;
            }
            SET_DATE_TIME => self.set_clock(parameters, out),
            other if all(&self.tables.profile).any(|known| known == other) => None,
            _ => return Outcome::Unknown,
        };
        result.map_or(Outcome::BadParameter, |()| Outcome::Done)
    }

    fn switch(&mut self, action: SwitchAction) -> Outcome {
        let to = match (action, self.state.switch) {
            (SwitchAction::Disconnect, _) => SwitchPosition::Open,
            (SwitchAction::Connect, _) => SwitchPosition::Closed,
            // What is closed need not be armed.
            (SwitchAction::Arm, SwitchPosition::Closed) => return Outcome::Conflict,
            (SwitchAction::Arm, _) => SwitchPosition::Armed,
        };
        if to != self.state.switch {
            self.state.switch = to;
            self.note(event::CONTROL_POINT);
        }
        Outcome::Done
    }

    fn clear_data(&mut self, parameters: &[u8]) -> Option<()> {
        if !parameters.is_empty() {
            return None;
        }
        self.state.cleared_min = Some(self.tables.minute(self.state.utc(self.now)));
        self.state.history.clear();
        self.note(event::HISTORY_CLEARED);
        self.clear(List::All)
    }

    fn reset_lists(&mut self, parameters: &[u8]) -> Option<()> {
        let [list] = parameters else { return None };
        self.clear(List::of(*list)?)
    }

    fn clear(&mut self, list: List) -> Option<()> {
        let utc = self.state.utc(self.now);
        for (at, set) in self.tables.profile.load_profiles.iter().enumerate() {
            let picked = match list {
                List::Set(number) => set.table == TableId::standard(64 + number),
                List::All => true,
                List::Events => false,
            };
            if picked && let Some(ring) = self.tables.ring(at, self.state, utc) {
                self.point(at, ring.cleared());
            }
        }
        if list == List::Events || list == List::All {
            self.state.events.clear();
            self.note(event::EVENTS_CLEARED);
        }
        self.has(list)
    }

    fn mark_read(&mut self, parameters: &[u8]) -> Option<()> {
        let [list, entries @ ..] = parameters else { return None };
        let entries = self.tables.profile.format.order.u16(entries.try_into().ok()?);
        match List::of(*list)? {
            List::Events => self.state.events.mark_read(entries).then_some(()),
            List::Set(number) => {
                let at = self.set(number)?;
                let utc = self.state.utc(self.now);
                let pointers = self.tables.ring(at, self.state, utc)?.read(entries)?;
                self.point(at, pointers);
                Some(())
            }
            List::All => None,
        }
    }

    fn remote_reset(&mut self, parameters: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let [flags] = *parameters else { return None };
        if flags & !(DEMAND_RESET | SELF_READ) != 0 {
            return None;
        }
        for (flag, code) in [(DEMAND_RESET, event::DEMAND_RESET), (SELF_READ, event::SELF_READ)] {
            if flags & flag != 0 {
                self.note(code);
            }
        }
        out.push(flags);
        Some(())
    }

    /// `mask1 time [qualifier1]`; the response is the time before and the time after.
    fn set_clock(&mut self, parameters: &[u8], out: &mut Vec<u8>) -> Option<()> {
        let profile = &self.tables.profile;
        let (form, order) = (profile.format.time, profile.format.order);
        let (mask, rest) = parameters.split_first()?;
        let (time, qualifier) = rest.split_at_checked(form.long_size())?;
        let before = profile.device_time(self.state.utc(self.now))?;
        let after = match (mask & SET_DATE != 0, mask & SET_TIME != 0) {
            (true, true) => form.read(order, time)?,
            (true, false) => form.read(order, time)? / DAY * DAY + before % DAY,
            (false, true) => before / DAY * DAY + form.read(order, time)? % DAY,
            (false, false) => before,
        };
        if qualifier.len() > 1 {
            return None;
        }
        let moved = i64::try_from(after).ok()?.checked_sub(i64::try_from(before).ok()?)?;
        form.write_long(order, before, out).ok()?;
        form.write_long(order, after, out).ok()?;
        if moved != 0 {
            self.note(event::TIME_BEFORE);
            self.state.clock_offset_s = self.state.clock_offset_s.checked_add(moved)?;
            self.note(event::TIME_AFTER);
        }
        Some(())
    }

    fn note(&mut self, code: c1222::tables::EventCode) {
        self.state.note_event(&self.tables.profile, self.now, self.user, code);
    }

    fn point(&mut self, at: usize, pointers: Pointers) {
        if let Some(slot) = self.state.sets.get_mut(at) {
            *slot = pointers;
        }
    }

    fn set(&self, number: u16) -> Option<usize> {
        let table = TableId::standard(64 + number);
        self.tables.profile.load_profiles.iter().position(|set| set.table == table)
    }

    /// Whether the device has this list.
    fn has(&self, list: List) -> Option<()> {
        match list {
            List::Set(number) => self.set(number).map(drop),
            List::Events | List::All => Some(()),
        }
    }
}
