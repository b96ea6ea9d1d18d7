//! A fleet: any number of simulated devices behind cell relays, on one thread.
//!
//! Each device belongs to one relay, each relay is one TCP connection to the head-end. Profile-1 devices report
//! and repeat until they are acknowledged; classic devices send EAX' notifications, which nobody acknowledges.
//! What a device reports is a pure function of seed, device and number: an hour of the residential profile
//! passes with each report, however fast they are sent.

pub mod agents;
mod counts;
mod device;
mod latency;
mod ledger;
mod list;
mod pace;
mod poller;
mod receiving;
mod relay;
mod sending;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use c1222::{ApTitleBuf, DecodeError};
use journal::files::OsFiles;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seal::ids::System;

use crate::classic_reporter::ClassicError;
use crate::report::ReportLayout;
use counts::Counts;
pub use counts::{Outcome, Progress};
use device::Devices;
pub use device::{Device, DeviceKeys};
use latency::Latency;
pub use ledger::LedgerError;
use ledger::{Ledger, SavedDevices};
use list::{List, Origin};
use pace::Pace;
use poller::{Poller, Ready};
use receiving::Hearing;
use relay::Relay;
use sending::{BATCH, Making};

/// Timers are looked at so often.
const TICK_US: u64 = 10_000;
/// With nothing to do, sockets are waited for so long.
const REST: Duration = Duration::from_millis(1);
/// Progress is told so often.
const PROGRESS_US: u64 = 100_000;
/// Connections that are made at the same time.
const CONNECTING_MAX: usize = 256;
/// A head-end that nobody reached for so long is not there.
const REACH_LIMIT_US: u64 = 30_000_000;
/// At the end the head-end has so long to take what was sent.
const CLOSE_LIMIT_US: u64 = 3_000_000;
/// Files beside the relays' sockets.
const FILES: u64 = 64;

/// What a fleet does.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The installation.
    pub system: System,
    /// The head-end's addresses; one after the other is tried.
    pub connect: Vec<SocketAddr>,
    /// The head-end's title.
    pub head_end: ApTitleBuf,
    /// Cell relays, at least one.
    pub relays: usize,
    /// Reports a second, all devices together; 0 for as fast as they are acknowledged.
    pub rate: f64,
    /// How long new reports are sent, from the first connection on.
    pub duration: Duration,
    /// How long the last acknowledgements are waited for.
    pub grace: Duration,
    /// The seed of all that is measured.
    pub seed: u64,
    /// The file for the list of reports.
    pub list: Option<PathBuf>,
    /// The folder for counters and unacknowledged frames.
    pub state: Option<PathBuf>,
}

/// Why a fleet could not run, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// Nobody answers.
    #[error("no connection to {address} was made: {why}")]
    Unreachable {
        /// Whom.
        address: String,
        /// What the system said last.
        why: String,
    },
    /// A socket or the operating system failed.
    #[error("cannot {doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Not so many connections are allowed.
    #[error("{relays} relays need {needed} open files; the system allows {allowed} (ulimit -n)")]
    Files {
        /// How many relays.
        relays: usize,
        /// Files that they need.
        needed: u64,
        /// Files that may be open.
        allowed: u64,
    },
    /// A list cannot say when readings were taken.
    #[error(
        "device profile {0} takes the moment of arrival as time of readings, which no device knows: no list"
    )]
    UnknownTimes(String),
    /// The list cannot be written.
    #[error("{path}: {source}")]
    List {
        /// The list.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The state folder cannot be used.
    #[error(transparent)]
    State(#[from] LedgerError),
    /// A report does not fit its carriage.
    #[error(transparent)]
    Carriage(#[from] DecodeError),
    /// A classic message could not be sealed.
    #[error(transparent)]
    Classic(#[from] ClassicError),
}

fn io_error(doing: &'static str) -> impl Fn(io::Error) -> FleetError {
    move |source| FleetError::Io { doing, source }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No connection was made yet.
    Reaching,
    /// New reports are made until then.
    Sending { until_us: u64 },
    /// The last acknowledgements are waited for.
    Waiting { until_us: u64 },
    /// Nothing more is sent.
    Closing { until_us: u64 },
    /// All is over.
    Over,
}

/// A fleet.
pub struct Fleet {
    settings: Settings,
    devices: Devices,
    relays: Vec<Relay>,
    poller: Poller,
    ready: Vec<Ready>,
    since: Instant,
    phase: Phase,
    pace: Pace,
    making: Making,
    hearing: Hearing,
    counts: Counts,
    latency: Latency,
    list: Option<List>,
    ledger: Option<Ledger>,
    /// Devices in the state folder that are not in this run.
    absent: SavedDevices,
    began_us: u64,
    sent_until_us: u64,
    last_ack_us: u64,
    tick_us: u64,
    progress_us: u64,
    /// Why the last connection was not made.
    refused: Option<io::Error>,
}

impl Fleet {
    /// Makes a fleet; nothing is sent yet.
    ///
    /// # Errors
    /// [`FleetError::Files`], [`FleetError::UnknownTimes`], [`FleetError::List`], [`FleetError::State`],
    /// [`FleetError::Io`].
    pub fn new(
        settings: Settings,
        layouts: Vec<ReportLayout>,
        devices: Vec<Device>,
    ) -> Result<Self, FleetError> {
        allow_files(settings.relays)?;
        let list = match &settings.list {
            Some(path) => {
                if let Some(layout) = layouts.iter().find(|layout| !layout.knows_times()) {
                    return Err(FleetError::UnknownTimes(layout.name().to_owned()));
                }
                let failed = |source| FleetError::List { path: path.clone(), source };
                Some(List::create(path).map_err(failed)?)
            }
            None => None,
        };
        let (seed, system) = (settings.seed, settings.system);
        let (ledger, mut saved) = match &settings.state {
            Some(folder) => {
                let (ledger, saved) = Ledger::open(Arc::new(OsFiles), folder, seed, system)?;
                (Some(ledger), saved)
            }
            None => (None, SavedDevices::new()),
        };
        let devices = Devices::new(devices, layouts, &mut saved, seed, system);
        let carried =
            devices.reporters.iter().map(|device| device.reporter.unacknowledged().len() as u64).sum();
        Ok(Self {
            relays: (0..settings.relays.max(1)).map(Relay::new).collect(),
            poller: Poller::new().map_err(io_error("wait for sockets"))?,
            pace: Pace::new(settings.rate),
            settings,
            devices,
            ready: Vec::new(),
            since: Instant::now(),
            phase: Phase::Reaching,
            making: Making::default(),
            hearing: Hearing::default(),
            counts: Counts { carried, ..Counts::default() },
            latency: Latency::new(),
            list,
            ledger,
            absent: saved,
            began_us: 0,
            sent_until_us: 0,
            last_ack_us: 0,
            tick_us: 0,
            progress_us: 0,
            refused: None,
        })
    }

    /// Runs it to its end. `watch` is told how it goes ten times a second, and ends it early by `false`.
    ///
    /// # Errors
    /// [`FleetError`]; what was reserved in the state folder stays so.
    pub fn run(mut self, mut watch: impl FnMut(&Progress) -> bool) -> Result<Outcome, FleetError> {
        self.since = Instant::now();
        let mut busy = false;
        while self.phase != Phase::Over {
            let heard = self.poll(if busy { Duration::ZERO } else { REST })?;
            let now_us = self.now_us();
            if now_us >= self.tick_us {
                self.tick_us = now_us.saturating_add(TICK_US);
                self.dial(now_us);
                if matches!(self.phase, Phase::Sending { .. } | Phase::Waiting { .. }) {
                    self.repeat(now_us)?;
                }
            }
            let made = self.make_due(now_us)?;
            self.reserve(now_us)?;
            // After a whole batch there may be more to make; what is little waits for more while anything moves.
            busy = made == BATCH;
            self.write(now_us, made == 0 && !heard);
            self.turn_phase(now_us)?;
            if now_us >= self.progress_us {
                self.progress_us = now_us.saturating_add(PROGRESS_US);
                if !watch(&self.progress(now_us)) {
                    self.close(now_us);
                }
            }
        }
        let now_us = self.now_us();
        watch(&self.progress(now_us));
        self.finish(now_us)
    }

    /// Microseconds since the start; never 0.
    fn now_us(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_micros()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Waits for sockets and does what they are ready for; answers whether there was something.
    fn poll(&mut self, limit: Duration) -> Result<bool, FleetError> {
        self.poller.wait(limit, &mut self.ready).map_err(io_error("wait for sockets"))?;
        let now_us = self.now_us();
        let ready = std::mem::take(&mut self.ready);
        for &Ready { relay: number, readable, writable } in &ready {
            let Some(relay) = self.relays.get_mut(number) else { continue };
            if relay.is_connecting() {
                match relay.dialled(&self.poller, now_us) {
                    Ok(()) => self.linked(number, now_us),
                    Err(error) => self.refused = Some(error),
                }
                continue;
            }
            if readable {
                self.read(number, now_us);
            }
            if writable {
                self.write_relay(number, now_us);
            }
        }
        self.ready = ready;
        Ok(!self.ready.is_empty())
    }

    /// A relay's connection was made.
    fn linked(&mut self, number: usize, now_us: u64) {
        self.counts.links += 1;
        let relays = self.relays.len().max(1);
        for simulated in self.devices.reporters.iter_mut().skip(number).step_by(relays) {
            simulated.reporter.linked(now_us);
        }
        if self.phase == Phase::Reaching {
            let until_us = now_us.saturating_add(microseconds(self.settings.duration));
            self.phase = Phase::Sending { until_us };
            self.began_us = now_us;
            self.pace.begin(now_us);
        }
    }

    /// A relay's connection has ended.
    fn lose(&mut self, number: usize, now_us: u64) {
        let Some(relay) = self.relays.get_mut(number) else { return };
        self.counts.sent = self.counts.sent.saturating_sub(relay.lost(now_us));
        if !matches!(self.phase, Phase::Closing { .. }) {
            self.counts.links_lost += 1;
        }
    }

    /// Makes connections that are due, and gives up those that take too long.
    fn dial(&mut self, now_us: u64) {
        if matches!(self.phase, Phase::Closing { .. } | Phase::Over) {
            return;
        }
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
                // It is due again later.
                Err(error) => self.refused = Some(error),
            }
        }
    }

    fn make_due(&mut self, now_us: u64) -> Result<usize, FleetError> {
        if !matches!(self.phase, Phase::Sending { .. }) {
            return Ok(0);
        }
        match self.pace.due(now_us, self.counts.on_the_way()) {
            0 => Ok(0),
            due => {
                let made = self.make(now_us, due)?;
                self.pace.sent(made);
                Ok(made)
            }
        }
    }

    /// Makes reservations durable that devices asked for.
    fn reserve(&mut self, now_us: u64) -> Result<(), FleetError> {
        let Some(ledger) = &mut self.ledger else { return Ok(()) };
        Ok(ledger.commit(now_us, |number, floor| self.devices.granted(number, floor))?)
    }

    /// Writes what waits where it is much or old; all of it when there is nothing else to do.
    fn write(&mut self, now_us: u64, all: bool) {
        for number in 0..self.relays.len() {
            if self.relays.get(number).is_some_and(|relay| relay.is_ripe(now_us, all)) {
                self.write_relay(number, now_us);
            }
        }
    }

    fn write_relay(&mut self, number: usize, now_us: u64) {
        let Some(relay) = self.relays.get_mut(number) else { return };
        match relay.write(&self.poller) {
            Ok(octets) => self.counts.octets_sent += octets as u64,
            Err(_) => self.lose(number, now_us),
        }
    }

    /// Goes on to the next phase when this one has ended.
    fn turn_phase(&mut self, now_us: u64) -> Result<(), FleetError> {
        match self.phase {
            Phase::Reaching if now_us >= REACH_LIMIT_US => {
                let addresses: Vec<String> = self.settings.connect.iter().map(ToString::to_string).collect();
                let why = self.refused.as_ref().map_or_else(|| "no answer".to_owned(), ToString::to_string);
                return Err(FleetError::Unreachable { address: addresses.join(", "), why });
            }
            Phase::Sending { until_us } if now_us >= until_us => {
                self.sent_until_us = now_us;
                let until_us = now_us.saturating_add(microseconds(self.settings.grace));
                self.phase = Phase::Waiting { until_us };
            }
            Phase::Waiting { until_us } => {
                let written = self.relays.iter().all(Relay::is_empty);
                if now_us >= until_us || (self.counts.on_the_way() == 0 && written) {
                    self.close(now_us);
                }
            }
            Phase::Closing { until_us } => {
                if now_us >= until_us || !self.relays.iter().any(Relay::is_up) {
                    self.phase = Phase::Over;
                }
            }
            Phase::Reaching | Phase::Sending { .. } | Phase::Over => {}
        }
        Ok(())
    }

    /// Ends the sending side of all connections: the head-end reads to their end, then it closes them. When that
    /// was done already, all is over.
    fn close(&mut self, now_us: u64) {
        self.phase = match self.phase {
            Phase::Closing { .. } | Phase::Over => Phase::Over,
            _ => {
                self.relays.iter().for_each(|relay| drop(relay.end()));
                Phase::Closing { until_us: now_us.saturating_add(CLOSE_LIMIT_US) }
            }
        };
    }

    fn progress(&self, now_us: u64) -> Progress {
        Progress {
            seconds: seconds(now_us.saturating_sub(self.began_us)),
            links: self.relays.iter().filter(|relay| relay.is_up()).count(),
            sent: self.counts.sent,
            acked: self.counts.acked,
            unacked: self.counts.on_the_way(),
        }
    }

    /// Ends list and state, and adds up.
    fn finish(mut self, now_us: u64) -> Result<Outcome, FleetError> {
        if self.sent_until_us == 0 {
            self.sent_until_us = now_us;
        }
        // What no connection took was not sent.
        let lost: u64 = self.relays.iter_mut().map(|relay| relay.lost(now_us)).sum();
        self.counts.sent = self.counts.sent.saturating_sub(lost);
        if let Some(mut list) = self.list.take() {
            for simulated in &self.devices.reporters {
                let association = simulated.reporter.association();
                let Some(layout) = self.devices.layouts.get(simulated.layout) else { continue };
                let origin = Origin { dev: association.dev, layout, meter: simulated.meter };
                for frame in simulated.reporter.unacknowledged() {
                    list.report(origin, association.epoch, frame.seq, frame.number, false);
                }
            }
            let path = self.settings.list.clone().unwrap_or_default();
            list.close().map_err(|source| FleetError::List { path, source })?;
        }
        if let Some(ledger) = self.ledger.take() {
            ledger.close(self.devices.saved().chain(std::mem::take(&mut self.absent).into_values()))?;
        }
        Ok(self.outcome())
    }

    fn outcome(self) -> Outcome {
        let Self { counts, latency, devices, .. } = self;
        let sending = seconds(self.sent_until_us.saturating_sub(self.began_us));
        let acking = seconds(self.last_ack_us.saturating_sub(self.began_us));
        let per_second = |count: u64, seconds: f64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
        Outcome {
            devices: devices.reporters.len(),
            classic_devices: devices.classics.len(),
            relays: self.relays.len(),
            sent: counts.sent,
            reports: counts.made + counts.carried,
            carried: counts.carried,
            acked: counts.acked,
            unacked: counts.on_the_way(),
            repeats: counts.repeats,
            classic: counts.classic,
            refused_downstream: counts.refused.values().sum(),
            skipped_items: counts.skipped_items,
            links: counts.links,
            links_lost: counts.links_lost,
            ended_devices: counts.ended,
            seconds: sending.max(acking),
            reports_per_second: per_second(counts.made, sending),
            acked_per_second: per_second(counts.acked, acking),
            latency_p50_ms: latency.quantile_ms(0.5),
            latency_p99_ms: latency.quantile_ms(0.99),
            latency_max_ms: latency.max_ms(),
            bytes: counts.octets_sent,
            bytes_received: counts.octets_received,
            refused_downstream_by: counts.refused,
        }
    }
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Lets the process open a file for each relay, as far as the system allows it.
fn allow_files(relays: usize) -> Result<(), FleetError> {
    let needed = (relays as u64).saturating_add(FILES);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let current = Some(limit.maximum.map_or(needed, |maximum| maximum.min(needed)));
    let raised = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    match current {
        Some(current) if current >= needed && raised.is_ok() => Ok(()),
        _ => {
            let allowed = limit.maximum.unwrap_or(0);
            Err(FleetError::Files { relays, needed, allowed })
        }
    }
}
