//! Messages of classic (EAX') devices: security layer §9, C12.22 reference §5.

use std::collections::HashMap;

use c1222::canonified::{self, KeyIv};
use c1222::{ApTitle, ApTitleBuf, Apdu, DecodeError, Epsem, EpsemControl, Leniency, SecurityMode, ap_title};
use keystore::{ClassicKeys, Directory, ProfileId};
use node::event::unix_ns;
use node::{Batch, Reason};
use seal::eax_prime::{EaxPrime, Mode};
use seal::ids::{Dev, Epoch, Sid};

use super::classic_answers::Answers;
use super::replay_cache::{Message, ReplayCache};
use super::reserving::day_of;
use crate::record::{self, Origin, Report, Reservation};
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
    /// IVs of ours below this may have been used, under any of its keys.
    iv_floor: u32,
}

/// Why a message is refused.
pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) detail: String,
}

fn refused(reason: Reason, detail: impl Into<String>) -> Refused {
    Refused { reason, detail: detail.into() }
}

fn unreadable(error: DecodeError) -> Refused {
    refused(reasons::of_decode(&error), error.to_string())
}

/// What a message was opened with.
#[derive(Clone, Copy)]
struct Opened {
    key_iv: KeyIv,
    control: EpsemControl,
}

/// A message that was taken in; its record is on its way.
pub(super) struct Taken {
    pub(super) message: Message,
    /// Whether its body is an EPSEM.
    pub(super) sound: bool,
    /// What to send when its record is durable.
    pub(super) answer: Option<Box<[u8]>>,
}

/// The classic devices of one shard.
pub(super) struct Classics {
    devices: HashMap<Sid, Device>,
    rules: Rules,
    cache: ReplayCache,
    answers: Answers,
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
            answers: Answers::default(),
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
        let device = Device { dev, title: ApTitleBuf::from(title), keys, window, iv_floor: 0 };
        self.devices.insert(sid, device);
    }

    /// Nothing of a device is taken any more, and its keys are erased; whether there was one.
    pub(super) fn remove(&mut self, sid: Sid) -> bool {
        let removed = self.devices.remove(&sid).is_some();
        if removed {
            self.cache.remove_device(sid);
        }
        removed
    }

    pub(super) fn cache(&self) -> &ReplayCache {
        &self.cache
    }

    pub(super) fn cache_mut(&mut self) -> &mut ReplayCache {
        &mut self.cache
    }

    /// Devices that were answered, with the floors of our IVs.
    pub(super) fn iv_floors(&self) -> impl Iterator<Item = (Sid, u32)> {
        let floors = self.devices.iter().map(|(sid, device)| (*sid, device.iv_floor));
        floors.filter(|(_, floor)| *floor > 0)
    }

    /// At a start: messages of this key up to an IV are not remembered.
    pub(super) fn restore_forgotten(&mut self, sid: Sid, key_id: u8, iv: u32) {
        if self.devices.contains_key(&sid) {
            self.cache.forget(sid, key_id, iv);
        }
    }

    /// At a start: our IVs below `floor` may have been used.
    pub(super) fn restore_iv_floor(&mut self, sid: Sid, floor: u32) {
        if let Some(device) = self.devices.get_mut(&sid) {
            device.iv_floor = device.iv_floor.max(floor);
        }
    }

    /// Verifies, opens and takes in a message; its record goes to `out`.
    pub(super) fn accept(&mut self, sid: Sid, octets: &[u8], out: &mut Batch) -> Result<Taken, Refused> {
        let apdu = Apdu::decode(octets, Leniency::Draft).map_err(unreadable)?;
        let device = self
            .devices
            .get_mut(&sid)
            .ok_or_else(|| refused(reasons::UP_UNKNOWN, "no classic device of this association"))?;
        let Opened { key_iv: KeyIv { key_id, iv }, control } =
            device.open(&apdu, &mut self.header, &mut self.payload)?;
        let (now, iv, invocation) = (unix_ns(), u32::from_be_bytes(iv), apdu.envelope.invocation.value());
        device.check_fresh(iv, control, now / NS_PER_S)?;
        let message = Message { sid, key_id, iv, invocation };
        if self.cache.contains(&message) {
            return Err(refused(reasons::UP_REPLAY, "seen before"));
        }
        let response = apdu.envelope.is_response();
        let report = Report {
            sid,
            dev: device.dev,
            epoch: Epoch(u16::from(key_id)),
            origin: if response { Origin::ClassicUnmatched } else { Origin::ClassicReport },
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
        let epsem = Epsem::of_plaintext(clear, &self.payload).ok().filter(|epsem| epsem.check().is_ok());
        let answer = epsem.filter(|_| !response).and_then(|epsem| {
            let key = device.keys.get(key_id)?;
            let iv = u32::try_from(now / NS_PER_S).ok()?.max(device.iv_floor);
            let answer =
                self.answers.make(&apdu, control, &epsem, (key, KeyIv { key_id, iv: iv.to_be_bytes() }))?;
            device.iv_floor = iv.checked_add(1)?;
            let day = day_of(now / NS_PER_S);
            let floor = Reservation { sid, epoch: report.epoch, floor: device.iv_floor, day };
            out.push(&floor.octets(), record::descriptor(record::RESERVATION)).then_some(answer)
        });
        Ok(Taken { message, sound: epsem.is_some(), answer })
    }
}

impl Device {
    /// Verifies a message and leaves its plaintext in `payload`.
    fn open(&self, apdu: &Apdu<'_>, header: &mut Vec<u8>, payload: &mut Vec<u8>) -> Result<Opened, Refused> {
        if !apdu.envelope.calling.is_some_and(|title| title.same_node(&self.title.as_title())) {
            return Err(refused(reasons::UP_UNKNOWN, "another title than the device's"));
        }
        let Some(places) = canonified::sealed_places(apdu).map_err(unreadable)? else {
            return Err(refused(reasons::CLEAR, "in clear from a device that has keys"));
        };
        if apdu.envelope.authentication.is_none() {
            return Err(refused(reasons::NO_SESSION, "no authentication value, and no session is open"));
        }
        // Titles and IV are what keeps the header above one block and each message its own.
        if apdu.envelope.called.is_none() {
            return Err(refused(reasons::LEGACY, "a secured message without called title"));
        }
        header.clear();
        let key_iv = canonified::canonify(apdu, None, &ap_title::ROOT, header).map_err(unreadable)?;
        let key = self
            .keys
            .get(key_iv.key_id)
            .ok_or_else(|| refused(reasons::UP_AUTH, format!("no key of id {}", key_iv.key_id)))?;
        payload.clear();
        payload.extend_from_slice(apdu.octets().get(places.payload.clone()).unwrap_or_default());
        let mac = apdu.octets().get(places.mac.clone()).and_then(|mac| mac.first_chunk());
        let mac = mac.ok_or_else(|| refused(reasons::FORMAT, "no MAC"))?;
        EaxPrime::new(key)
            .open(mode_of(places.mode), header, payload, *mac)
            .map_err(|refusal| refused(Reason(refusal.code()), refusal.to_string()))?;
        let control = apdu.epsem().and_then(|epsem| epsem.first()).copied().map(EpsemControl);
        let control = control.ok_or_else(|| refused(reasons::FORMAT, "no control octet"))?;
        Ok(Opened { key_iv, control })
    }

    /// Whether an IV is near enough to this Unix second.
    fn check_fresh(&self, iv: u32, control: EpsemControl, now: u64) -> Result<(), Refused> {
        let fresh = |window: u32| u64::from(iv).abs_diff(now) <= u64::from(window);
        if control.has(EpsemControl::RECOVERY_SESSION) || self.window.is_none_or(fresh) {
            return Ok(());
        }
        Err(refused(reasons::UP_REPLAY, format!("its IV is {iv}, the time is {now}")))
    }
}

/// The mode of a message that has a MAC.
pub(super) fn mode_of(mode: SecurityMode) -> Mode {
    match mode {
        SecurityMode::Cipher => Mode::Cipher,
        _ => Mode::Clear,
    }
}
