//! Between devices and relays: who gets what comes down, and what goes wrong on the way.

use c1222::Leniency;
use c1222::apdu::Apdu;
use c1222::carriage::{self, Place};

use super::faults::{Fate, is_group_keys};
use super::{AgentFleet, AgentsError, CLOSE_LIMIT_NS, Phase, key, micros, nanos};
use crate::agent::{Content, Output};
use crate::end_device::Moment;
use crate::fleet::relay::{ReadEnd, Relay, first};

/// Reads from one relay before the next one has its turn.
const READS: usize = 4;
/// Connections that are made at the same time.
const CONNECTING_MAX: usize = 256;

/// Type 3.
const GROUP_COMMAND: u8 = 3;

/// Which way an APDU goes: its place among those that are late.
#[derive(Clone, Copy)]
enum Way {
    Down,
    Up,
}

impl AgentFleet {
    /// A relay's connection was made.
    pub(super) fn linked(&mut self, number: usize, now: Moment) {
        self.outcome.links += 1;
        for at in 0..self.members.len() {
            let Some(member) = self.members.get_mut(at).filter(|member| member.relay == number) else {
                continue;
            };
            member.agent.connected(now);
            self.wake(at, now.steady_ns);
        }
        if self.phase == Phase::Reaching {
            let until_ns = now.steady_ns.saturating_add(nanos(self.settings.duration));
            self.phase = Phase::Sending { until_ns };
            self.began_ns = now.steady_ns;
            self.register.begin(micros(now));
            self.report.begin(micros(now));
        }
    }

    fn lose(&mut self, number: usize, now: Moment) {
        let Some(relay) = self.relays.get_mut(number) else { return };
        relay.lost(micros(now));
        if !matches!(self.phase, Phase::Closing { .. }) {
            self.outcome.links_lost += 1;
        }
    }

    /// Makes connections that are due, and gives up those that take too long.
    pub(super) fn dial(&mut self, now: Moment) {
        if matches!(self.phase, Phase::Closing { .. } | Phase::Over) {
            return;
        }
        let now_us = micros(now);
        let mut connecting = 0;
        for relay in &mut self.relays {
            relay.give_up(now_us);
            connecting += usize::from(relay.is_connecting());
        }
        for relay in &mut self.relays {
            if connecting >= CONNECTING_MAX {
                break;
            }
            match relay.dial(&self.poller, &self.settings.connect, now_us) {
                Ok(begun) => connecting += usize::from(begun),
                Err(error) => self.refused = Some(error),
            }
        }
    }

    pub(super) fn close(&mut self, now: Moment) {
        self.phase = match self.phase {
            Phase::Closing { .. } | Phase::Over => Phase::Over,
            _ => {
                self.relays.iter().for_each(|relay| drop(relay.end()));
                Phase::Closing { until_ns: now.steady_ns.saturating_add(CLOSE_LIMIT_NS) }
            }
        };
    }

    /// Writes what waits.
    pub(super) fn write(&mut self, now: Moment) {
        for number in 0..self.relays.len() {
            if self.relays.get(number).is_some_and(|relay| relay.is_ripe(micros(now), true)) {
                self.write_relay(number, now);
            }
        }
    }

    pub(super) fn write_relay(&mut self, number: usize, now: Moment) {
        let Some(relay) = self.relays.get_mut(number) else { return };
        if relay.write(&self.poller).is_err() {
            self.lose(number, now);
        }
    }

    /// Reads what a relay brings.
    pub(super) fn read(&mut self, number: usize, now: Moment) -> Result<(), AgentsError> {
        for _ in 0..READS {
            let Some(relay) = self.relays.get_mut(number) else { return Ok(()) };
            let mut inbox = std::mem::take(&mut self.inbox);
            let (filled, end) = relay.read(&mut inbox);
            let mut rest = inbox.get(..filled).unwrap_or_default();
            let mut sound = true;
            loop {
                match first(rest) {
                    Ok(Some(len)) => {
                        let (apdu, after) = rest.split_at(len.min(rest.len()));
                        for apdu in self.astray(number, Way::Down, apdu) {
                            self.deliver(number, &apdu, now)?;
                        }
                        rest = after;
                    }
                    Ok(None) => break,
                    Err(_) => {
                        sound = false;
                        break;
                    }
                }
            }
            if let Some(relay) = self.relays.get_mut(number).filter(|_| sound) {
                relay.keep(rest);
            }
            self.inbox = inbox;
            if !sound || end == ReadEnd::Ended {
                self.lose(number, now);
                return Ok(());
            }
            if end == ReadEnd::Empty {
                return Ok(());
            }
        }
        Ok(())
    }

    /// What arrives instead of an APDU: itself, nothing, both of two, or an earlier one after it.
    fn astray(&mut self, number: usize, way: Way, apdu: &[u8]) -> Vec<Vec<u8>> {
        let fate = self.dice.fate();
        self.outcome.faults += u64::from(fate != Fate::Passes);
        let [down, up] = match self.late.get_mut(number) {
            Some(late) => late,
            None => return vec![apdu.to_vec()],
        };
        let late = match way {
            Way::Down => down,
            Way::Up => up,
        };
        let mut arrives: Vec<Vec<u8>> = match fate {
            Fate::Passes => vec![apdu.to_vec()],
            Fate::Lost => Vec::new(),
            Fate::Twice => vec![apdu.to_vec(); 2],
            Fate::Late => return late.replace(apdu.to_vec()).into_iter().collect(),
        };
        arrives.extend(late.take());
        arrives
    }

    /// Gives an APDU to the device that its title names, or to all behind the relay.
    fn deliver(&mut self, number: usize, apdu: &[u8], now: Moment) -> Result<(), AgentsError> {
        let called = Apdu::decode(apdu, Leniency::Draft).ok().and_then(|apdu| apdu.envelope.called);
        let place = carriage::locate(apdu, Leniency::Draft).map(|located| located.place);
        let to_group = matches!(place, Ok(Place::Frame(frame)) if frame.frame_type == GROUP_COMMAND);
        if to_group || called.is_some_and(|called| called.is_group() || called.is_broadcast()) {
            for at in (number..self.members.len()).step_by(self.relays.len().max(1)) {
                self.hand_over(at, number, apdu, now)?;
            }
            return Ok(());
        }
        match called.and_then(|called| self.titles.get(&key(called)).copied()) {
            Some(at) => self.hand_over(at, number, apdu, now),
            None => {
                self.outcome.unknown_titles += 1;
                Ok(())
            }
        }
    }

    fn hand_over(&mut self, at: usize, number: usize, apdu: &[u8], now: Moment) -> Result<(), AgentsError> {
        let deaf = at < self.settings.faults.miss_group_keys;
        let Some(member) = self.members.get_mut(at) else { return Ok(()) };
        if deaf && member.agent.receiver().is_some_and(|receiver| is_group_keys(apdu, receiver)) {
            self.outcome.faults += 1;
            return Ok(());
        }
        member.agent.handle(number as u64, apdu, now, &mut self.outputs);
        let title = key(member.agent.title().as_title());
        self.titles.insert(title, at);
        self.send_outputs(at, now)?;
        self.wake(at, now.steady_ns);
        Ok(())
    }

    /// Sends what a device gave, and notes what it sealed and opened.
    pub(super) fn send_outputs(&mut self, at: usize, now: Moment) -> Result<(), AgentsError> {
        let number = self.members.get(at).map_or(0, |member| member.relay);
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Send(apdu) => {
                    let arrives = self.astray(number, Way::Up, &apdu);
                    // What no connection takes is lost, and repeated.
                    let relay = self.relays.get_mut(number).filter(|relay| Relay::has_room(relay));
                    if let Some(relay) = relay {
                        let out = relay.out(micros(now));
                        arrives.iter().for_each(|apdu| out.extend_from_slice(apdu));
                    }
                }
                Output::Sealed(sealed) | Output::Opened(sealed) => {
                    let path = self.settings.ledger.clone().unwrap_or_default();
                    self.nonces.add(&sealed).map_err(|source| AgentsError::File { path, source })?;
                }
                Output::Acknowledged { content: Content::Report(number), epoch, seq } => {
                    self.list_report(at, epoch, seq, number, true);
                }
                Output::Registered { .. }
                | Output::Acknowledged { .. }
                | Output::Executed(_)
                | Output::Refused(_) => {}
            }
        }
        self.outputs = outputs;
        Ok(())
    }
}
