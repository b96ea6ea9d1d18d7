//! A fleet of whole end devices: agents that register, report, take commands, and go wrong where they are told
//! to. On one thread, behind few relay connections.

mod faults;
mod links;
mod member;
mod nonces;
mod outcome;
mod settings;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use c1222::ApTitle;
use c1222::device_profile::SwitchPosition;
use seal::ids::Epoch;

pub use faults::Faults;
pub use outcome::{AgentsOutcome, AgentsProgress};
pub use settings::{AgentsError, AgentsSettings};

use super::list::List;
use super::pace::Pace;
use super::poller::{Poller, Ready};
use super::relay::Relay;
use super::{FleetError, allow_files, io_error};
use crate::agent::{Content, Cut, Output, Settings};
use crate::end_device::Moment;
use crate::report::ReportLayout;
use crate::secrets::{SecretDevice, Secrets};
use faults::Dice;
use member::{Maker, Member};
use nonces::Nonces;

/// With nothing to do, sockets are waited for so long.
const REST: Duration = Duration::from_millis(1);
/// Progress is told so often.
const PROGRESS_NS: u64 = 100_000_000;
/// A head-end that nobody reached for so long is not there.
const REACH_LIMIT_NS: u64 = 30_000_000_000;
/// At the end the head-end has so long to take what was sent.
const CLOSE_LIMIT_NS: u64 = 3_000_000_000;
/// Devices that are looked at for one report that is due.
const LOOKS_MAX: usize = 4096;
/// A device that was cut off comes up again after this.
const OFF_NS: u64 = 200_000_000;
/// Saves that go well before a cut.
const SAVES_MAX: u64 = 6;
const NS_PER_S: f64 = 1e9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Reaching,
    Sending { until_ns: u64 },
    Waiting { until_ns: u64 },
    Closing { until_ns: u64 },
    Over,
}

/// A fleet of agents.
pub struct AgentFleet {
    settings: AgentsSettings,
    maker: Maker,
    members: Vec<Member>,
    /// When each is polled, soonest first.
    wakes: BTreeSet<(u64, usize)>,
    /// The device of a title.
    titles: HashMap<Box<[u8]>, usize>,
    relays: Vec<Relay>,
    /// An APDU that comes after the next one, for each relay: down and up.
    late: Vec<[Option<Vec<u8>>; 2]>,
    poller: Poller,
    inbox: Vec<u8>,
    since: Instant,
    phase: Phase,
    register: Pace,
    /// Devices before this one were told to register.
    begun: usize,
    report: Pace,
    turn: usize,
    dice: Dice,
    restart_ns: u64,
    nonces: Nonces,
    list: Option<List>,
    outcome: AgentsOutcome,
    outputs: Vec<Output>,
    began_ns: u64,
    progress_ns: u64,
    refused: Option<io::Error>,
}

impl AgentFleet {
    /// Makes a fleet; nothing is sent yet. `layouts` are those of the secrets' profiles, `place` says which of
    /// them a device has.
    ///
    /// # Errors
    /// [`AgentsError`]
    pub fn new(
        settings: AgentsSettings,
        secrets: Secrets,
        layouts: Vec<ReportLayout>,
        place: impl Fn(&SecretDevice) -> Option<usize>,
    ) -> Result<Self, AgentsError> {
        allow_files(settings.relays)?;
        let file = |path: &Option<PathBuf>| {
            let path = path.clone().unwrap_or_default();
            move |source| AgentsError::File { path, source }
        };
        if let Some(folder) = &settings.state {
            std::fs::create_dir_all(folder).map_err(file(&settings.state))?;
        }
        let list = settings.list.as_deref().map(List::create).transpose().map_err(file(&settings.list))?;
        if let Some(layout) = layouts.iter().find(|layout| list.is_some() && !layout.knows_times()) {
            return Err(FleetError::UnknownTimes(layout.name().to_owned()).into());
        }
        let nonces = Nonces::open(settings.ledger.as_deref()).map_err(file(&settings.ledger))?;
        let Secrets { system, credential, signers, devices } = secrets;
        let maker = Maker {
            system,
            credential,
            signers,
            head_end: settings.head_end.clone(),
            settings: Settings { paced: true, ledger: true, ..settings.agent },
            seed: settings.seed,
            layouts: layouts.into_iter().map(Arc::new).collect(),
        };
        let relays = settings.relays.max(1);
        let (mut members, mut titles): (Vec<Member>, HashMap<Box<[u8]>, usize>) =
            (Vec::with_capacity(devices.len()), HashMap::with_capacity(devices.len()));
        let since = Instant::now();
        for (at, device) in devices.into_iter().enumerate() {
            let layout = place(&device).ok_or(AgentsError::Key(device.dev))?;
            let state = settings.state.as_deref();
            let member = Member::new(&maker, device, layout, at % relays, state, moment(since))?;
            if let Some(other) = titles.insert(key(member.agent.title().as_title()), at) {
                let other = members.get(other).map_or(member.dev(), Member::dev);
                return Err(AgentsError::Title(other, member.dev()));
            }
            members.push(member);
        }
        Ok(Self {
            wakes: (0..members.len()).map(|at| (0, at)).collect(),
            outcome: AgentsOutcome { devices: members.len(), relays, ..AgentsOutcome::default() },
            maker,
            members,
            titles,
            relays: (0..relays).map(Relay::new).collect(),
            late: vec![[None, None]; relays],
            poller: Poller::new().map_err(io_error("wait for sockets"))?,
            inbox: Vec::new(),
            since,
            phase: Phase::Reaching,
            register: Pace::new(settings.register_rate),
            begun: 0,
            report: Pace::new(settings.rate),
            turn: 0,
            dice: Dice::new(settings.faults, settings.seed),
            restart_ns: u64::MAX,
            nonces,
            list,
            outputs: Vec::new(),
            began_ns: 0,
            progress_ns: 0,
            refused: None,
            settings,
        })
    }

    /// Runs it to its end. `watch` is told how it goes ten times a second; by `false` it ends the making of
    /// reports early, and what waits is still waited for.
    ///
    /// # Errors
    /// [`AgentsError`]
    pub fn run(
        mut self,
        mut watch: impl FnMut(&AgentsProgress) -> bool,
    ) -> Result<AgentsOutcome, AgentsError> {
        self.since = Instant::now();
        let mut ready = Vec::new();
        while self.phase != Phase::Over {
            self.poller.wait(REST, &mut ready).map_err(io_error("wait for sockets"))?;
            self.take_ready(&ready)?;
            let now = moment(self.since);
            self.dial(now);
            if !matches!(self.phase, Phase::Reaching | Phase::Closing { .. }) {
                self.begin_registrations(now)?;
                self.poll_due(now)?;
                self.report_due(now)?;
                self.go_wrong(now)?;
            }
            self.write(now);
            self.turn_phase(now)?;
            if now.steady_ns >= self.progress_ns {
                self.progress_ns = now.steady_ns.saturating_add(PROGRESS_NS);
                if !watch(&self.progress(now)) {
                    self.end_early(now);
                }
            }
        }
        self.finish()
    }

    fn take_ready(&mut self, ready: &[Ready]) -> Result<(), AgentsError> {
        let now = moment(self.since);
        for &Ready { relay: number, readable, writable } in ready {
            let Some(relay) = self.relays.get_mut(number) else { continue };
            if relay.is_connecting() {
                match relay.dialled(&self.poller, micros(now)) {
                    Ok(()) => self.linked(number, now),
                    Err(error) => self.refused = Some(error),
                }
                continue;
            }
            if readable {
                self.read(number, now)?;
            }
            if writable {
                self.write_relay(number, now);
            }
        }
        Ok(())
    }

    /// Tells devices to register for the first time, as many as are due.
    fn begin_registrations(&mut self, now: Moment) -> Result<(), AgentsError> {
        if self.begun >= self.members.len() {
            return Ok(());
        }
        let due = match self.settings.register_rate {
            rate if rate > 0.0 => self.register.due(micros(now), 0),
            _ => usize::MAX,
        };
        let mut told = 0;
        while told < due
            && let Some(member) = self.members.get_mut(self.begun)
        {
            member.begun = true;
            // One that goes on where it was is registered already, and costs nothing.
            if member.agent.association().is_none() {
                member.agent.register(now);
                told += 1;
            }
            let at = self.begun;
            self.begun += 1;
            self.poll_member(at, now)?;
        }
        if self.settings.register_rate > 0.0 {
            self.register.sent(told);
        }
        Ok(())
    }

    fn poll_due(&mut self, now: Moment) -> Result<(), AgentsError> {
        while let Some((wake_ns, at)) = self.wakes.first().copied()
            && wake_ns <= now.steady_ns
        {
            self.poll_member(at, now)?;
        }
        Ok(())
    }

    /// Polls a device, sends what it gives, and notes when it comes next.
    fn poll_member(&mut self, at: usize, now: Moment) -> Result<(), AgentsError> {
        let Some(member) = self.members.get_mut(at) else { return Ok(()) };
        self.wakes.remove(&(member.wake_ns, at));
        let mut outputs = std::mem::take(&mut self.outputs);
        let next = if member.agent.is_halted() {
            self.outcome.add(member.agent.counts());
            self.outcome.restarts += 1;
            member.restart(&self.maker, None, now)?;
            now.steady_ns
        } else {
            member.agent.poll(now, &mut outputs)
        };
        // One that was cut off comes up again later.
        let soon = if member.agent.is_halted() { now.steady_ns.saturating_add(OFF_NS) } else { next };
        member.wake_ns = soon.max(now.steady_ns.saturating_add(1));
        self.wakes.insert((member.wake_ns, at));
        self.outputs = outputs;
        self.send_outputs(at, now)
    }

    /// Makes the reports that are due, one device after the other.
    fn report_due(&mut self, now: Moment) -> Result<(), AgentsError> {
        if !matches!(self.phase, Phase::Sending { .. }) || self.settings.rate <= 0.0 {
            return Ok(());
        }
        let due = self.report.due(micros(now), 0);
        let (mut made, mut looks) = (0, 0);
        while made < due && looks < self.members.len().min(LOOKS_MAX) {
            looks += 1;
            let at = self.turn;
            self.turn = if at + 1 < self.members.len() { at + 1 } else { 0 };
            let Some(member) = self.members.get_mut(at) else { break };
            if !self.relays.get(member.relay).is_some_and(Relay::has_room) {
                continue;
            }
            if member.agent.report(now, &mut self.outputs) {
                made += 1;
                self.outcome.reports += 1;
            }
            self.send_outputs(at, now)?;
            self.wake(at, now.steady_ns.saturating_add(1));
        }
        self.report.sent(made);
        Ok(())
    }

    /// Lets a device be polled then, if not before.
    fn wake(&mut self, at: usize, wake_ns: u64) {
        let Some(member) = self.members.get_mut(at) else { return };
        if wake_ns < member.wake_ns {
            self.wakes.remove(&(member.wake_ns, at));
            member.wake_ns = wake_ns;
            self.wakes.insert((wake_ns, at));
        }
    }

    /// Turns off one device or another.
    fn go_wrong(&mut self, now: Moment) -> Result<(), AgentsError> {
        let every_ns = self.settings.faults.restart_every_ms.saturating_mul(1_000_000);
        if every_ns == 0 || self.members.is_empty() || !matches!(self.phase, Phase::Sending { .. }) {
            return Ok(());
        }
        if self.restart_ns == u64::MAX {
            self.restart_ns = now.steady_ns.saturating_add(every_ns);
        }
        while now.steady_ns >= self.restart_ns {
            self.restart_ns = self.restart_ns.saturating_add(every_ns);
            let at = usize::try_from(self.dice.below(self.members.len() as u64)).unwrap_or(0);
            let cut = self.settings.faults.cut_storage.then(|| {
                let saves = u32::try_from(self.dice.below(SAVES_MAX)).unwrap_or(0);
                (saves, if self.dice.below(2) == 0 { Cut::Before } else { Cut::After })
            });
            let Some(member) = self.members.get_mut(at) else { break };
            self.wakes.remove(&(member.wake_ns, at));
            self.outcome.add(member.agent.counts());
            self.outcome.restarts += 1;
            member.restart(&self.maker, cut, now)?;
            self.wakes.insert((member.wake_ns, at));
        }
        Ok(())
    }

    fn progress(&self, now: Moment) -> AgentsProgress {
        let counts = || self.members.iter().map(|member| member.agent.counts());
        AgentsProgress {
            seconds: seconds(now.steady_ns.saturating_sub(self.began_ns)),
            links: self.relays.iter().filter(|relay| relay.is_up()).count(),
            registered: self.members.iter().filter(|member| member.agent.association().is_some()).count(),
            reports: self.outcome.reports,
            acked: self.outcome.acked + counts().map(|counts| counts.acknowledged).sum::<u64>(),
            executed: self.outcome.executed.values().sum::<u64>()
                + counts().flat_map(|counts| counts.executed).sum::<u64>(),
        }
    }

    /// Goes on to the next phase when this one has ended.
    fn turn_phase(&mut self, now: Moment) -> Result<(), AgentsError> {
        let now_ns = now.steady_ns;
        let registered = || self.members.iter().all(|member| member.agent.association().is_some());
        if self.outcome.registered_after_s.is_none() && self.phase != Phase::Reaching && registered() {
            self.outcome.registered_after_s = Some(seconds(now_ns.saturating_sub(self.began_ns)));
        }
        match self.phase {
            Phase::Reaching if now_ns >= REACH_LIMIT_NS => {
                let addresses: Vec<String> = self.settings.connect.iter().map(ToString::to_string).collect();
                let why = self.refused.as_ref().map_or_else(|| "no answer".to_owned(), ToString::to_string);
                return Err(FleetError::Unreachable { address: addresses.join(", "), why }.into());
            }
            Phase::Sending { until_ns } if now_ns >= until_ns => {
                let until_ns = now_ns.saturating_add(nanos(self.settings.grace));
                self.phase = Phase::Waiting { until_ns };
            }
            Phase::Waiting { until_ns } => {
                let quiet = || self.members.iter().all(|member| member.agent.waiting() == 0);
                if now_ns >= until_ns || (self.relays.iter().all(Relay::is_empty) && quiet()) {
                    self.close(now);
                }
            }
            Phase::Closing { until_ns } if now_ns >= until_ns || !self.relays.iter().any(Relay::is_up) => {
                self.phase = Phase::Over;
            }
            _ => {}
        }
        Ok(())
    }

    /// No more reports are made. Where nobody is there, nothing is waited for.
    fn end_early(&mut self, now: Moment) {
        let linked = self.relays.iter().any(Relay::is_up);
        match self.phase {
            Phase::Sending { .. } if linked => {
                let until_ns = now.steady_ns.saturating_add(nanos(self.settings.grace));
                self.phase = Phase::Waiting { until_ns };
            }
            Phase::Waiting { .. } | Phase::Closing { .. } if linked => {}
            _ => self.close(now),
        }
    }

    /// Adds a report to the list, if there is one.
    fn list_report(&mut self, at: usize, epoch: Epoch, seq: u32, number: u32, acked: bool) {
        let origin = self.members.get(at).and_then(|member| member.origin(&self.maker));
        if let (Some(list), Some(origin)) = (&mut self.list, origin) {
            list.report(origin, epoch, seq, number, acked);
        }
    }

    fn finish(mut self) -> Result<AgentsOutcome, AgentsError> {
        for at in 0..self.members.len() {
            let Some(member) = self.members.get(at) else { continue };
            for (content, epoch, seq) in member.agent.unacknowledged().collect::<Vec<_>>() {
                if let Content::Report(number) = content {
                    self.list_report(at, epoch, seq, number, false);
                }
            }
        }
        if let Some(list) = self.list.take() {
            let path = self.settings.list.clone().unwrap_or_default();
            list.close().map_err(|source| AgentsError::File { path, source })?;
        }
        let outcome = &mut self.outcome;
        for member in &self.members {
            let agent = &member.agent;
            outcome.add(agent.counts());
            outcome.renewing += usize::from(agent.is_renewing());
            outcome.timed += usize::from(agent.has_time());
            outcome.unacked += agent.waiting() as u64;
            outcome.unacked_devices += usize::from(agent.waiting() > 0);
            if let Some(position) = agent.application().switch() {
                *outcome.switches.entry(word(position)).or_default() += 1;
            }
            if let Some((_, epoch)) = agent.association() {
                outcome.registered += 1;
                *outcome.epochs.entry(epoch.0).or_default() += 1;
            }
        }
        outcome.seconds = seconds(moment(self.since).steady_ns.saturating_sub(self.began_ns));
        outcome.nonce_reuses = self.nonces.reuses;
        let path = self.settings.ledger.clone().unwrap_or_default();
        self.nonces.close().map_err(|source| AgentsError::File { path, source })?;
        Ok(self.outcome)
    }
}

fn word(position: SwitchPosition) -> &'static str {
    match position {
        SwitchPosition::Open => "open",
        SwitchPosition::Closed => "closed",
        SwitchPosition::Armed => "armed",
    }
}

/// Now, by the system's clock and by this fleet's.
fn moment(since: Instant) -> Moment {
    let unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    // Never 0, which is before everything.
    let steady_ns = u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1000);
    Moment { unix_s, steady_ns }
}

/// The same for titles that mean the same node.
fn key(title: ApTitle<'_>) -> Box<[u8]> {
    let title = title.canonical();
    [&[title.form().tag()], title.arcs()].concat().into()
}

fn micros(now: Moment) -> u64 {
    now.steady_ns / 1000
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / NS_PER_S
}
