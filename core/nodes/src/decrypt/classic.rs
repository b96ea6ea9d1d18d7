//! Messages of classic (EAX') devices: security layer §9, C12.22 reference §5.

use std::collections::HashMap;

use c1222::{ApTitle, ApTitleBuf, Apdu, EpsemControl, Leniency, ap_title, canonified};
use keystore::{ClassicKeys, Directory, ProfileId};
use node::event::unix_ns;
use node::{Batch, Reason};
use seal::eax_prime::{EaxPrime, Mode};
use seal::ids::{Dev, Epoch, Sid};

use super::replay_cache::{Message, ReplayCache};
use crate::record::{self, Origin, Report};
use crate::tally::reasons;

/// The bits of the security mode in a control octet.
const SECURITY_MODE: u8 = 0x0c;
const NS_PER_S: u64 = 1_000_000_000;

/// What device profiles say of classic devices.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Half the acceptance window in seconds, by profile; `None` where it is off.
    windows: HashMap<ProfileId, Option<u32>>,
    /// Profiles that could not be read.
    pub(super) faults: Vec<(ProfileId, String)>,
}

impl Rules {
    /// Reads the profiles of the key store.
    pub(super) fn read(directory: &Directory) -> Self {
        let mut rules = Self::default();
        for (id, text) in directory.profiles() {
            let (profile, faults) = graph::device_profile::parse(text);
            match profile {
                Some(profile) => {
                    let window = profile.freshness_s;
                    rules.windows.insert(id, (window != 0).then_some(window));
                }
                None => {
                    let first = faults.first().map(|fault| fault.message.clone());
                    rules.faults.push((id, first.unwrap_or_default()));
                }
            }
        }
        rules
    }
}

/// A device with its keys.
struct Device {
    dev: Dev,
    title: ApTitleBuf,
    keys: ClassicKeys,
    /// Half the acceptance window, seconds.
    window: Option<u32>,
}

/// Why a message is refused.
pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

fn refused(reason: Reason, detail: impl Into<String>) -> Refused {
    Refused { reason, detail: detail.into() }
}

/// The classic devices of one shard.
pub(super) struct Classics {
    devices: HashMap<Sid, Device>,
    rules: Rules,
    cache: ReplayCache,
    /// The canonified cleartext and the payload of the message in hand.
    header: Vec<u8>,
    payload: Vec<u8>,
}

impl Classics {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            devices: HashMap::new(),
            rules,
            cache: ReplayCache::default(),
            header: Vec::new(),
            payload: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        sid: Sid,
        dev: Dev,
        title: ApTitle<'_>,
        profile: ProfileId,
        keys: ClassicKeys,
    ) {
        // A profile that cannot be read leaves the device with the strictest rule.
        let window = self.rules.windows.get(&profile).copied().unwrap_or(Some(0));
        self.devices.insert(sid, Device { dev, title: ApTitleBuf::from(title), keys, window });
    }

    pub(super) fn cache(&self) -> &ReplayCache {
        &self.cache
    }

    pub(super) fn cache_mut(&mut self) -> &mut ReplayCache {
        &mut self.cache
    }

    /// Verifies, opens and takes in a message; its record goes to `out`.
    pub(super) fn accept(&mut self, sid: u32, octets: &[u8], out: &mut Batch) -> Result<Message, Refused> {
        let sid = Sid(sid);
        let unreadable = |error: c1222::DecodeError| refused(reasons::of_decode(&error), error.to_string());
        let apdu = Apdu::decode(octets, Leniency::Draft).map_err(unreadable)?;
        let device = self
            .devices
            .get(&sid)
            .ok_or_else(|| refused(reasons::UP_UNKNOWN, "no classic device of this association"))?;
        let calling = apdu.envelope.calling;
        if !calling.is_some_and(|title| title.same_node(&device.title.as_title())) {
            return Err(refused(reasons::UP_UNKNOWN, "another title than the device's"));
        }
        let Some(places) = canonified::sealed_places(&apdu).map_err(unreadable)? else {
            return Err(refused(reasons::CLEAR, "in clear from a device that has keys"));
        };
        if apdu.envelope.authentication.is_none() {
            return Err(refused(reasons::NO_SESSION, "no authentication value, and no session is open"));
        }
        // Titles and IV are what keeps the header above one block and each message its own.
        if apdu.envelope.called.is_none() {
            return Err(refused(reasons::LEGACY, "a secured message without called title"));
        }
        self.header.clear();
        let key_iv =
            canonified::canonify(&apdu, None, &ap_title::ROOT, &mut self.header).map_err(unreadable)?;
        let key = device
            .keys
            .get(key_iv.key_id)
            .ok_or_else(|| refused(reasons::UP_AUTH, format!("no key of id {}", key_iv.key_id)))?;
        self.payload.clear();
        self.payload.extend_from_slice(octets.get(places.payload.clone()).unwrap_or_default());
        let mac = octets.get(places.mac.clone()).and_then(|mac| mac.first_chunk());
        let mac = mac.ok_or_else(|| refused(reasons::FORMAT, "no MAC"))?;
        let mode = match places.mode {
            c1222::SecurityMode::Cipher => Mode::Cipher,
            _ => Mode::Clear,
        };
        EaxPrime::new(key)
            .open(mode, &self.header, &mut self.payload, *mac)
            .map_err(|refusal| refused(Reason(refusal.code()), refusal.to_string()))?;
        let control = apdu.epsem().and_then(|epsem| epsem.first()).copied().map(EpsemControl);
        let control = control.ok_or_else(|| refused(reasons::FORMAT, "no control octet"))?;

        let now = unix_ns();
        let iv = u32::from_be_bytes(key_iv.iv);
        if let Some(window) = device.window
            && !control.has(EpsemControl::RECOVERY_SESSION)
        {
            let seconds = now / NS_PER_S;
            if u64::from(iv).abs_diff(seconds) > u64::from(window) {
                return Err(refused(reasons::UP_REPLAY, format!("its IV is {iv}, the time is {seconds}")));
            }
        }
        let invocation = apdu.envelope.invocation.value();
        let message = Message { sid, key_id: key_iv.key_id, iv, invocation };
        if self.cache.contains(&message) {
            return Err(refused(reasons::UP_REPLAY, "seen before"));
        }
        let report = Report {
            sid,
            dev: device.dev,
            epoch: Epoch(u16::from(key_iv.key_id)),
            origin: if apdu.envelope.is_response() {
                Origin::ClassicUnmatched
            } else {
                Origin::ClassicReport
            },
            seq: invocation,
            iv,
            received: now,
        };
        // The record holds the EPSEM as one in clear: its control octet without security mode.
        let clear = EpsemControl(control.0 & !SECURITY_MODE);
        out.push_with(record::descriptor(record::REPORT), |data| {
            data.extend_from_slice(&report.head());
            data.push(clear.0);
            data.extend_from_slice(&self.payload);
        });
        self.cache.insert(message);
        Ok(message)
    }
}
