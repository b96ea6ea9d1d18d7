//! A served end device: a C12.22 node that answers requests with its C12.19 tables.
//!
//! Sans-I/O: octets of a request in, octets of the answer out, at a time that the caller says. Whoever owns
//! the sockets cuts streams into APDUs and long answers into segments.

mod answer;
mod blocks;
mod classic;
mod command;
mod event_log;
mod kept;
mod message;
mod orders;
mod procedures;
mod recent;
mod refusal;
mod services;
mod session;
mod shape;
mod state;
mod table_services;
mod tables;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod user;

use c1222::device_profile::DeviceProfile;
use c1222::native_address::NativeAddress;
use c1222::reassembler::{Limits, Reassembler};
use c1222::{ApTitle, ApTitleBuf, InvocationId};

pub use classic::Classic;
pub use refusal::Refusal;
pub use user::User;

use crate::meter::Meter;
use event_log::event;
use recent::Recent;
use state::State;
use tables::Tables;
use user::Users;

/// Octets of the longest APDU that is taken and sent where the setup says nothing else.
pub const APDU_MAX: usize = 32_767;
/// The least that [`Setup::apdu_max`] can be.
const APDU_MAX_LEAST: usize = 1024;
/// How long a message is remembered, so that its repetition is dropped.
const ANSWERED_NS: u64 = 120_000_000_000;
/// Messages so remembered.
const ANSWERED_MAX: usize = 4096;

/// What is kept of segmented requests.
const SEGMENTS: Limits = Limits {
    octets_per_message: APDU_MAX,
    messages_per_link: 8,
    octets_per_link: 1 << 17,
    messages: 32,
    octets: 1 << 19,
    parts_per_message: 64,
    remembered: 256,
    life_ns: 30_000_000_000,
};

/// Now, by two clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// UTC seconds since 1970.
    pub unix_s: u64,
    /// Nanoseconds of a clock that does not go back.
    pub steady_ns: u64,
}

/// What became of the octets that an end device was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its services were carried out, or refused one by one.
    Served,
    /// A segment; more of the message are missing.
    Waiting,
    /// It, or the same segment, came before; it is dropped.
    Repeated,
    /// Nothing of it was carried out. The caller may be told so.
    Refused(Refusal),
}

/// What an end device is made from.
pub struct Setup {
    /// Its tables.
    pub profile: DeviceProfile,
    /// Its address.
    pub title: ApTitleBuf,
    /// Its serial number.
    pub serial: String,
    /// What it measures.
    pub meter: Meter,
    /// Its EAX' keys. A device without keys serves all in clear.
    pub classic: Option<Classic>,
    /// Who may do what; nobody listed: everybody may do everything.
    pub users: Vec<User>,
    /// It has completed registration into profile 1: it takes no EAX' any more, and in clear answers only
    /// Identification, Resolve and Trace.
    pub profile1_only: bool,
    /// Octets of the longest APDU that it sends, at least 1024.
    pub apdu_max: usize,
    /// The invocation id of its first answer; the others follow.
    pub invocation: u32,
}

impl Setup {
    /// A device without keys and users.
    #[must_use]
    pub fn new(profile: DeviceProfile, title: ApTitleBuf, serial: String, meter: Meter) -> Self {
        Self {
            profile,
            title,
            serial,
            meter,
            classic: None,
            users: Vec::new(),
            profile1_only: false,
            apdu_max: APDU_MAX,
            invocation: 1,
        }
    }
}

/// One end device.
pub struct EndDevice {
    title: ApTitleBuf,
    serial: String,
    native_address: Option<NativeAddress>,
    classic: Option<Classic>,
    users: Users,
    profile1_only: bool,
    apdu_max: usize,
    invocation: u32,
    tables: Tables,
    state: State,
    reassembler: Reassembler,
    /// Messages of the last two minutes.
    answered: Recent<(ApTitleBuf, u32)>,
}

impl EndDevice {
    /// A device that comes up now.
    #[must_use]
    pub fn new(setup: Setup, now: Moment) -> Self {
        let mut state = State::new(&setup.profile);
        state.note_event(&setup.profile, now, 1, event::POWER_UP);
        let tables = Tables::new(setup.profile, setup.meter, &setup.serial);
        Self {
            title: setup.title,
            serial: setup.serial,
            native_address: None,
            classic: setup.classic,
            users: Users(setup.users),
            profile1_only: setup.profile1_only,
            apdu_max: setup.apdu_max.clamp(APDU_MAX_LEAST, APDU_MAX),
            invocation: setup.invocation,
            tables,
            state,
            reassembler: Reassembler::new(SEGMENTS),
            answered: Recent::new(ANSWERED_MAX, ANSWERED_NS),
        }
    }

    /// Says where it is reached, for Resolve.
    pub fn set_native_address(&mut self, address: NativeAddress) {
        self.native_address = Some(address);
    }

    /// Its address.
    #[must_use]
    pub fn title(&self) -> ApTitle<'_> {
        self.title.as_title()
    }

    /// Takes the octets of one APDU that came over `link`. `out` becomes the answer; it stays empty where
    /// there is none. Any octets are taken, and what is kept of them has a limit.
    pub fn receive(&mut self, link: u64, octets: &[u8], now: Moment, out: &mut Vec<u8>) -> Verdict {
        out.clear();
        self.take(link, octets, now, out).unwrap_or_else(Verdict::Refused)
    }

    /// Forgets what a link that is gone has left unfinished. Sessions go on over others.
    pub fn close_link(&mut self, link: u64) {
        self.reassembler.close_link(link);
    }

    fn next_invocation(&mut self) -> InvocationId {
        let id = InvocationId::new(self.invocation);
        self.invocation = self.invocation.wrapping_add(1);
        id
    }
}
