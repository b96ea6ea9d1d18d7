//! A profile-1 end device, sans I/O: APDUs and a clock in, APDUs and a time to come back out.
//!
//! An [`Agent`] registers (security layer §5), reports, takes commands and answers them (§7), follows epochs
//! and groups (§8), and stores its state through a [`Storage`] before it acts on it: after a cut at any moment
//! it goes on without using a counter twice and without executing a command twice. When its storage fails it
//! does nothing more until it is opened anew.
//!
//! What it is told to do is done by an [`Application`]: tables, switch, reports.
//!
//! The keys' half of this, `seal::receiver` and all below it, does without std; the agent is built on the
//! tables of [`EndDevice`](crate::end_device::EndDevice) and the codec, which use std's maps, so it does not.

mod application;
mod clock;
mod downstream;
mod entropy;
mod identity;
mod ledger;
mod memory;
mod node;
mod octets;
mod output;
mod registration;
mod sending;
mod storage;
#[cfg(test)]
mod tests;
mod upstream;

use c1222::ApTitleBuf;
use c1222::reassembler::{Limits, Reassembler};
use seal::ids::{Epoch, Sid};
use seal::receiver::{DeviceAssociation, Receiver};

pub use application::{Application, MeterApplication};
pub use entropy::Entropy;
pub use identity::{Identity, Provisioned};
pub use output::{Counts, Executed, Output, SealedFrame};
pub use storage::{Cut, CutStorage, FileStorage, MemoryStorage, STATE_MAX, Storage, StorageError};
pub use upstream::Content;

use crate::end_device::Moment;
use clock::Clock;
use entropy::below;
use memory::{Memory, Stored};
use node::Node;
use registration::Registration;
use upstream::{Key, Upstream};

const NS_PER_S: u64 = 1_000_000_000;
const DAY_S: u64 = 86_400;
/// A device registers anew once a year, and after a long silence; both times after a random part of a day (a
/// seventh of the silence, where that is less), so that a fleet does not come as one.
const YEAR_S: u64 = 365 * DAY_S;
/// A time request that nobody answers is made anew after this.
const TIME_PAUSE_S: u64 = 600;
/// A new device registers within this.
const FIRST_SPREAD_S: u64 = 60;

/// What is kept of segments of downstream APDUs.
const SEGMENTS: Limits = Limits {
    octets_per_message: crate::end_device::APDU_MAX,
    messages_per_link: 4,
    octets_per_link: 1 << 16,
    messages: 8,
    octets: 1 << 17,
    parts_per_message: 64,
    remembered: 64,
    life_ns: 30 * NS_PER_S,
};

/// How a device runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How many times faster than real registration, its pauses and time requests are; 1 but for simulations.
    pub speedup: u32,
    /// The clock of a new device was set in the factory and runs since: its time is trusted.
    pub clock_set: bool,
    /// The clock has run on since the device went off: a time that was trusted still is.
    pub clock_kept: bool,
    /// Without a valid downstream frame for so many seconds it registers anew; 7 days but for simulations.
    pub silence_s: u64,
    /// [`Agent::register`] begins the first registration; else the device does by itself.
    pub paced: bool,
    /// [`Output::Sealed`] and [`Output::Opened`] are wanted.
    pub ledger: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            speedup: 1,
            silence_s: 7 * DAY_S,
            clock_set: true,
            clock_kept: true,
            paced: false,
            ledger: false,
        }
    }
}

/// Why a device cannot go on where it was.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its storage.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// What is stored is not its own, or damaged.
    #[error("what is stored is no state of end device {0}")]
    State(seal::ids::Dev),
}

/// A profile-1 end device.
pub struct Agent {
    identity: Identity,
    settings: Settings,
    application: Box<dyn Application>,
    storage: Box<dyn Storage>,
    entropy: Box<dyn Entropy>,
    memory: Memory,
    up: Upstream,
    registration: Registration,
    node: Node,
    reassembler: Reassembler,
    /// The A8 of the last message.
    invocation: u16,
    /// When the next time request is made.
    ask_time_ns: u64,
    counts: Counts,
    halted: bool,
}

impl Agent {
    /// A device that comes up now: a new one, or one that goes on where its storage says.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        identity: Identity,
        settings: Settings,
        mut application: Box<dyn Application>,
        mut storage: Box<dyn Storage>,
        mut entropy: Box<dyn Entropy>,
        now: Moment,
    ) -> Result<Self, OpenError> {
        let mut up = Upstream::new(u64::from_be_bytes(identity.dev.0));
        let foreign = || OpenError::State(identity.dev);
        let memory = match storage.load()? {
            None => Memory {
                receiver: None,
                next: None,
                credential: identity.credential,
                title: identity.title.clone(),
                clock: Clock { trusted: settings.clock_set, offset_s: 0 },
                heard_s: 0,
                registered_s: 0,
            },
            Some(sealed) => {
                let record = memory::open(sealed, &identity.storage, identity.dev).ok_or_else(foreign)?;
                let (mut memory, stored) =
                    memory::read(&record, identity.system, identity.dev).ok_or_else(foreign)?;
                if !application.restore(&stored.application) {
                    return Err(foreign());
                }
                up.resume(stored.reservation, stored.number);
                for (content, plaintext) in stored.controls {
                    up.push(content, plaintext);
                }
                memory.clock.trusted &= settings.clock_kept;
                memory
            }
        };
        let mut invocation = [0; 2];
        entropy.fill(&mut invocation);
        let mut agent = Self {
            registration: Registration::new(settings.speedup),
            node: Node::new(settings.speedup),
            identity,
            settings,
            application,
            storage,
            entropy,
            memory,
            up,
            reassembler: Reassembler::new(SEGMENTS),
            invocation: u16::from_be_bytes(invocation),
            ask_time_ns: 0,
            counts: Counts::default(),
            halted: false,
        };
        if agent.memory.receiver.is_some() {
            agent.application.registered();
            agent.application.set_title(&agent.memory.title);
            agent.node.ask_at(now.steady_ns);
        } else if !settings.paced {
            let spread = agent.random_ns(FIRST_SPREAD_S);
            agent.registration.begin_at(now.steady_ns.saturating_add(spread));
        }
        Ok(agent)
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Its address.
    #[must_use]
    pub fn title(&self) -> &ApTitleBuf {
        &self.memory.title
    }

    /// What it counted since it came up.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What it does when told to.
    #[must_use]
    pub fn application(&self) -> &dyn Application {
        &*self.application
    }

    /// The association that it sends under, and its epoch; `None` before the first registration.
    #[must_use]
    pub fn association(&self) -> Option<(Sid, Epoch)> {
        self.sending().map(|association| (association.sid(), association.epoch()))
    }

    /// Whether an association was made anew and no downstream frame has come under it yet.
    #[must_use]
    pub fn is_renewing(&self) -> bool {
        self.memory.next.is_some()
    }

    /// What it holds to judge commands by; `None` before the first registration.
    #[must_use]
    pub fn receiver(&self) -> Option<&Receiver> {
        self.memory.receiver.as_ref()
    }

    /// Whether its time is trusted.
    #[must_use]
    pub fn has_time(&self) -> bool {
        self.memory.clock.trusted
    }

    /// Whether its storage has failed: it does nothing more.
    #[must_use]
    pub fn is_halted(&self) -> bool {
        self.halted
    }

    /// What waits to be acknowledged.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.up.waiting().len()
    }

    /// The frames that wait to be acknowledged: what they carry, epoch and counter.
    pub fn unacknowledged(&self) -> impl Iterator<Item = (Content, Epoch, u32)> {
        self.up.sealed_frames()
    }

    /// Registers as soon as it is polled: the first time, or on suspicion.
    pub fn register(&mut self, now: Moment) {
        self.registration.begin_at(now.steady_ns);
    }

    /// Its link was made, or made anew: it says where it is, and repeats what may be lost.
    pub fn connected(&mut self, now: Moment) {
        self.up.linked(now.steady_ns);
        if self.memory.receiver.is_some() {
            self.node.linked(now.steady_ns, &mut *self.entropy);
        }
    }

    /// Makes its next report and sends it; `false` when it may not now: not registered, told to wait, or too
    /// much unacknowledged.
    pub fn report(&mut self, now: Moment, out: &mut Vec<Output>) -> bool {
        if self.halted || self.memory.receiver.is_none() || !self.up.may_report(now.steady_ns) {
            return false;
        }
        let mut epsem = Vec::new();
        let number = self.up.take_number();
        if !self.application.report(number, &mut epsem) || !self.up.push(Content::Report(number), &epsem) {
            return false;
        }
        self.pump(now, out);
        true
    }

    /// Tells the head-end of an event (number as in C12.19, bit 15 for the manufacturer's); `false` when
    /// there is no room for it, or no association.
    pub fn event(&mut self, number: u16, data: &[u8], now: Moment, out: &mut Vec<Output>) -> bool {
        use seal::control::{Item, Up};
        if self.halted || self.memory.receiver.is_none() {
            return false;
        }
        let time = self.memory.clock.now(now).map_or(0, |now| u32::try_from(now).unwrap_or(u32::MAX));
        let mut item = Vec::new();
        Up::Event { number, time, data }.write(&mut item);
        let taken = self.up.push(Content::Control { answer_to: None, event: true }, &item);
        // An event that was taken is not forgotten by a restart.
        if taken && self.save() {
            self.pump(now, out);
        }
        taken && !self.halted
    }

    /// Does what is due, and answers when to come back: nanoseconds of the steady clock, `u64::MAX` for never.
    pub fn poll(&mut self, now: Moment, out: &mut Vec<Output>) -> u64 {
        if self.halted {
            return u64::MAX;
        }
        let steady_ns = now.steady_ns;
        if let (Some(time), Some(receiver)) = (self.memory.clock.now(now), &mut self.memory.receiver) {
            receiver.tick(time);
        }
        self.grow_old(now);
        let frame = self.registration.poll(steady_ns, &mut *self.entropy).map(<[u8]>::to_vec);
        if let Some(frame) = frame {
            self.send_message(&frame, out);
        }
        if self.memory.receiver.is_some() {
            self.ask_time(steady_ns);
            let is_due = self.node.is_due(steady_ns, &mut *self.entropy);
            // One that still waits is repeated by itself.
            if is_due && !self.up.has(|content, _| content == Content::Request) {
                let class = self.application.device_class();
                let request = node::request(&self.memory.title, &self.identity.esn, class);
                self.note_pushed(Content::Request, &request);
            }
            self.pump(now, out);
        }
        if self.halted {
            return u64::MAX;
        }
        let asking = self.memory.receiver.is_some() && !self.memory.clock.trusted;
        let ask_time_ns = if asking { self.ask_time_ns } else { u64::MAX };
        let wakes =
            [self.registration.wake_ns(), self.node.wake_ns(), self.up.wake_ns(steady_ns), ask_time_ns];
        let idle = steady_ns.saturating_add(3600 * NS_PER_S);
        wakes.into_iter().fold(idle, u64::min)
    }

    /// Begins a registration when that is due by age, silence, or the end of a counter.
    fn grow_old(&mut self, now: Moment) {
        let Some(receiver) = &self.memory.receiver else { return };
        // A clock that was ahead would make them wait for ever.
        self.memory.heard_s = self.memory.heard_s.min(now.unix_s);
        self.memory.registered_s = self.memory.registered_s.min(now.unix_s);
        if self.registration.is_due_ever() {
            return;
        }
        let association = self.memory.next.as_ref().unwrap_or(&receiver.association);
        let since = |then: u64| now.unix_s.saturating_sub(then);
        if association.epoch() == Epoch(u16::MAX) || self.up.is_used_up() {
            self.registration.begin_at(now.steady_ns);
        } else if since(self.memory.heard_s) >= self.settings.silence_s
            || since(self.memory.registered_s) >= YEAR_S
        {
            let most = DAY_S.min(self.settings.silence_s / 7).saturating_mul(NS_PER_S);
            let spread = below(&mut *self.entropy, most.saturating_add(1));
            self.registration.begin_at(now.steady_ns.saturating_add(spread));
        }
    }

    /// A random time up to so many seconds, at the speed of this device.
    fn random_ns(&mut self, seconds: u64) -> u64 {
        let most = seconds.saturating_mul(NS_PER_S) / u64::from(self.settings.speedup.max(1));
        below(&mut *self.entropy, most.saturating_add(1))
    }

    /// What seals upstream: the newest association.
    fn sending(&self) -> Option<&DeviceAssociation> {
        let present = self.memory.receiver.as_ref().map(|receiver| &receiver.association);
        self.memory.next.as_ref().or(present)
    }

    fn key(&self) -> Option<Key> {
        self.sending().map(|association| Key { sid: association.sid(), epoch: association.epoch() })
    }

    /// Stores all of the state, with a further block of counters where few are left. `false` when that failed:
    /// the device has stopped.
    fn save(&mut self) -> bool {
        if self.halted {
            return false;
        }
        if let Some(key) = self.key() {
            self.up.rekey(key);
        }
        let reservation = self.up.reservation();
        let controls = self.up.waiting().filter(|waiting| matches!(waiting.content, Content::Control { .. }));
        let mut application = Vec::new();
        self.application.keep(&mut application);
        let stored = Stored {
            reservation,
            number: self.up.oldest_report(),
            controls: controls.map(|waiting| (waiting.content, &*waiting.plaintext)).collect(),
            application,
        };
        let record = memory::write(&self.memory, &stored);
        let sealed = memory::seal(&record, &self.identity.storage, self.identity.dev, &mut *self.entropy);
        let saved = sealed.is_some_and(|sealed| self.storage.save(&sealed).is_ok());
        if saved {
            self.up.reserved(reservation);
        }
        self.halted = !saved;
        saved
    }

    fn refuse(&mut self, code: &'static str, out: &mut Vec<Output>) {
        let count = self.counts.refused.entry(code).or_default();
        *count = count.saturating_add(1);
        out.push(Output::Refused(code));
    }
}
