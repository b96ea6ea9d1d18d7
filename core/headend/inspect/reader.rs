//! From octets to what is known of them: decoded, verified, decrypted.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use c1222::canonified::{self, KeyIv};
use c1222::carriage::{self, Carried};
use c1222::reassembler::{Limits, Reassembler, Reassembly};
use c1222::{
    ApTitle, ApTitleBuf, Apdu, Epsem, EpsemControl, Leniency, Request, Response, SecurityMode, ServiceCode,
    UserInformation, ap_title,
};
use seal::control::{Down, Items, Up};
use seal::eax_prime::{self, Mode};
use seal::frame::{FrameType, Head};

use super::found::{self, FrameSeen, Seen, hex};
use super::keys::Keys;
use super::source::Found;

/// Requests and sessions remembered; the oldest are forgotten past that.
const REMEMBERED_MAX: usize = 100_000;

/// Two nodes, whoever speaks.
type Pair = (String, [Option<ApTitleBuf>; 2]);

/// A request whose response may come.
struct Asked {
    pair: Pair,
    invocation: u32,
    services: Vec<ServiceCode>,
}

/// Reads APDUs one after the other, remembering what later ones need.
pub(super) struct Inspector {
    keys: Keys,
    leniency: Leniency,
    reassembler: Reassembler,
    /// Key ids and IVs of Logons, newest last.
    sessions: HashMap<Pair, VecDeque<KeyIv>>,
    asked: VecDeque<Asked>,
    /// A clock for the reassembler: APDUs seen.
    count: u64,
}

impl Inspector {
    pub(super) fn new(keys: Keys, lenient: bool) -> Self {
        Self {
            keys,
            leniency: if lenient { Leniency::Draft } else { Leniency::Strict },
            reassembler: Reassembler::new(Limits::default()),
            sessions: HashMap::new(),
            asked: VecDeque::new(),
            count: 0,
        }
    }

    /// What is known of octets that were found; two when they complete a segmented APDU.
    pub(super) fn look_at(&mut self, found: Found) -> Vec<Seen> {
        self.count += 1;
        let Found { place, id, conversation, octets } = found;
        let mut seen = Seen { id, place, apdu: hex(&octets), ..Seen::default() };
        let whole = self.read(&octets, &conversation, &mut seen);
        let Some(octets) = whole else { return vec![seen] };
        let mut joined = Seen {
            id: seen.id.clone(),
            place: seen.place.clone(),
            apdu: hex(&octets),
            reassembled: true,
            ..Seen::default()
        };
        if self.read(&octets, &conversation, &mut joined).is_some() {
            joined.fault("nested-segment");
        }
        vec![seen, joined]
    }

    /// Reads one APDU; the answer is a whole one that a segment completes.
    fn read(&mut self, octets: &[u8], conversation: &str, seen: &mut Seen) -> Option<Vec<u8>> {
        if let Err(error) = Apdu::decode(octets, self.leniency) {
            seen.fault(error.name());
        }
        // What a draft-era node sent is shown all the same.
        let Ok(apdu) = Apdu::decode(octets, Leniency::Draft) else { return None };
        seen.envelope(&apdu);
        match apdu.user {
            UserInformation::Segment(_) => self.segment(&apdu, conversation, seen),
            UserInformation::Epsem(epsem) => {
                self.epsem(&apdu, epsem, conversation, seen);
                None
            }
        }
    }

    fn segment(&mut self, apdu: &Apdu<'_>, conversation: &str, seen: &mut Seen) -> Option<Vec<u8>> {
        let link = number_of(conversation);
        match self.reassembler.push(link, apdu, self.count) {
            Reassembly::Complete(octets) => return Some(octets),
            Reassembly::Refused(error) => seen.fault(error.name()),
            Reassembly::Incomplete | Reassembly::Repeated => {}
        }
        None
    }

    fn epsem(&mut self, apdu: &Apdu<'_>, epsem: &[u8], conversation: &str, seen: &mut Seen) {
        let control = EpsemControl(epsem.first().copied().unwrap_or_default());
        seen.epsem_control = Some(format!("{:02x}", control.0));
        match control.security_mode() {
            Ok(mode) => seen.security_mode = Some(mode.number()),
            Err(error) => return seen.fault(error.name()),
        }
        match carriage::read(apdu) {
            Ok(None) => self.classic(apdu, control, epsem, conversation, seen),
            Ok(Some(carried)) => self.frame(&carried, seen),
            Err(error) => seen.fault(error.name()),
        }
    }

    fn classic(
        &mut self,
        apdu: &Apdu<'_>,
        control: EpsemControl,
        epsem: &[u8],
        conversation: &str,
        seen: &mut Seen,
    ) {
        let pair = pair(conversation, apdu);
        let plaintext = match canonified::sealed_places(apdu) {
            Err(error) => return seen.fault(error.name()),
            Ok(None) => Some(epsem.get(1..).unwrap_or_default().to_vec()),
            Ok(Some(places)) => self.open(apdu, &places, &pair, seen),
        };
        let Some(plaintext) = plaintext else { return };
        seen.epsem_plaintext = Some(hex(&plaintext));
        match Epsem::of_plaintext(control, &plaintext) {
            Ok(epsem) => self.services(apdu, &epsem, &pair, seen),
            Err(error) => seen.fault(error.name()),
        }
    }

    /// Verifies and decrypts; the answer is the plaintext, where it can be read.
    fn open(
        &mut self,
        apdu: &Apdu<'_>,
        places: &canonified::SealedPlaces,
        pair: &Pair,
        seen: &mut Seen,
    ) -> Option<Vec<u8>> {
        let octets = apdu.octets();
        let sealed = octets.get(places.payload.clone()).unwrap_or_default();
        let readable = (places.mode == SecurityMode::Mac).then(|| sealed.to_vec());
        let Some(mac) = octets.get(places.mac.clone()).and_then(|mac| mac.first_chunk().copied()) else {
            seen.fault("no-mac");
            return readable;
        };
        let mode = if places.mode == SecurityMode::Cipher { Mode::Cipher } else { Mode::Clear };
        let own = apdu.envelope.authentication.is_some();
        let sessions: Vec<Option<KeyIv>> = if own {
            vec![None]
        } else {
            self.sessions.get(pair).into_iter().flatten().rev().map(|key_iv| Some(*key_iv)).collect()
        };
        if sessions.is_empty() {
            seen.fault("no-session");
        }
        let mut tried = false;
        for session in sessions {
            let mut header = Vec::new();
            let key_iv = match canonified::canonify(apdu, session, &ap_title::ROOT, &mut header) {
                Ok(key_iv) => key_iv,
                Err(error) => {
                    seen.fault(error.name());
                    continue;
                }
            };
            if header.len() < eax_prime::HEADER_MIN {
                // The MAC proves nothing then: 00000000 can be right under every key.
                seen.mac_valid = Some(false);
                seen.fault("header-too-short");
                return readable;
            }
            let titles = [apdu.envelope.calling, apdu.envelope.called];
            for key in self.keys.classic(key_iv.key_id, titles) {
                tried = true;
                let mut body = sealed.to_vec();
                if key.open(mode, &header, &mut body, mac).is_ok() {
                    seen.mac_valid = Some(true);
                    seen.key_id_and_iv = Some(hex(&[&[key_iv.key_id], &key_iv.iv[..]].concat()));
                    seen.from_session = !own;
                    if own {
                        remember_session(&mut self.sessions, pair, key_iv);
                    }
                    return Some(body);
                }
            }
            if own && !tried {
                // Without its key a Logon still says which key and vector its session has.
                remember_session(&mut self.sessions, pair, key_iv);
            }
        }
        if tried {
            seen.mac_valid = Some(false);
            seen.fault("wrong-mac");
        }
        readable
    }

    fn services(&mut self, apdu: &Apdu<'_>, epsem: &Epsem<'_>, pair: &Pair, seen: &mut Seen) {
        if let Err(error) = epsem.check() {
            seen.fault(error.name());
        }
        let services: Vec<&[u8]> = epsem.services().flatten().collect();
        seen.services = Some(services.iter().map(|service| hex(service)).collect());
        // Some nodes leave A4 out: codes below 20 are no requests.
        let is_response = apdu.envelope.is_response()
            || (!services.is_empty()
                && services.iter().all(|service| service.first().is_some_and(|code| *code < 0x20)));
        seen.role = Some(if is_response { "response" } else { "request" });
        let names = if is_response {
            self.responses(apdu, &services, pair, seen)
        } else {
            self.requests(apdu, &services, pair, seen)
        };
        seen.service_names = Some(names);
    }

    fn requests(&mut self, apdu: &Apdu<'_>, services: &[&[u8]], pair: &Pair, seen: &mut Seen) -> Vec<String> {
        let mut names = Vec::new();
        let mut codes = Vec::new();
        for service in services {
            match Request::decode(service) {
                Ok(request) => {
                    if let Err(error) = request.check() {
                        seen.fault(error.name());
                    }
                    codes.push(request.code());
                    names.push(found::request(&request));
                }
                Err(error) => {
                    seen.fault(error.name());
                    codes.push(ServiceCode(service.first().copied().unwrap_or_default()));
                    names.push(error.to_string());
                }
            }
        }
        if self.asked.len() >= REMEMBERED_MAX {
            self.asked.pop_front();
        }
        let invocation = apdu.envelope.invocation.value();
        self.asked.push_back(Asked { pair: pair.clone(), invocation, services: codes });
        names
    }

    fn responses(
        &mut self,
        apdu: &Apdu<'_>,
        services: &[&[u8]],
        pair: &Pair,
        seen: &mut Seen,
    ) -> Vec<String> {
        let number = apdu.envelope.answer_to.unwrap_or(apdu.envelope.invocation).value();
        let theirs = |asked: &&Asked| asked.pair == *pair;
        let asked = self
            .asked
            .iter()
            .rev()
            .filter(theirs)
            .find(|asked| asked.invocation == number)
            .or_else(|| self.asked.iter().rev().find(theirs).filter(|_| !apdu.envelope.is_response()));
        // With fewer responses than requests nobody knows which is missing.
        let asked = asked.filter(|asked| asked.services.len() == services.len());
        let mut names = Vec::new();
        for (place, service) in services.iter().enumerate() {
            let code = asked.and_then(|asked| asked.services.get(place)).copied();
            match Response::decode(service, code, self.leniency) {
                Ok(response) => {
                    if let Err(error) = response.check() {
                        seen.fault(error.name());
                    }
                    names.push(found::response(&response));
                }
                Err(error) => {
                    seen.fault(error.name());
                    names.push(error.to_string());
                }
            }
        }
        names
    }

    fn frame(&self, carried: &Carried<'_>, seen: &mut Seen) {
        let first = carried.head.first().copied().unwrap_or_default();
        let Some(frame_type) = FrameType::from_octet(first) else {
            seen.frame = Some(FrameSeen {
                frame_type: "edhoc",
                id: None,
                epoch: None,
                seq: None,
                dev: None,
                plaintext: None,
                items: Vec::new(),
            });
            return;
        };
        let head = match Head::read(carried.head, carried.body.len()) {
            Ok(head) => head,
            Err(refusal) => return seen.fault(refusal.code()),
        };
        let opened = self.keys.open(&head, carried.body);
        seen.mac_valid = opened.as_ref().map(Option::is_some);
        let mut frame = FrameSeen {
            frame_type: match frame_type {
                FrameType::Report => "report",
                FrameType::Command => "command",
                FrameType::GroupCommand => "group-command",
                FrameType::DownControl => "down-control",
                FrameType::UpControl => "up-control",
            },
            id: Some(format!("{:08x}", head.id)),
            epoch: Some(u16::from(head.epoch_low)),
            seq: Some(head.seq),
            dev: None,
            plaintext: None,
            items: Vec::new(),
        };
        match opened {
            Some(Some(opened)) => {
                frame.dev = Some(opened.dev.to_string());
                frame.epoch = Some(opened.epoch.0);
                frame.plaintext = Some(hex(&opened.plaintext));
                self.opened(frame_type, &opened.plaintext, &mut frame, seen);
            }
            Some(None) => seen.fault("SEC-UP-AUTH"),
            None => {}
        }
        seen.frame = Some(frame);
    }

    fn opened(&self, frame_type: FrameType, plaintext: &[u8], frame: &mut FrameSeen, seen: &mut Seen) {
        match frame_type {
            FrameType::Report => match Epsem::decode(plaintext) {
                Ok(epsem) => {
                    if let Err(error) = epsem.check() {
                        seen.fault(error.name());
                    }
                    seen.epsem_plaintext = Some(hex(plaintext.get(1..).unwrap_or_default()));
                    let services: Vec<&[u8]> = epsem.services().flatten().collect();
                    seen.services = Some(services.iter().map(|service| hex(service)).collect());
                    let name = |service: &&[u8]| {
                        Request::decode(service)
                            .map_or_else(|error| error.to_string(), |request| found::request(&request))
                    };
                    seen.service_names = Some(services.iter().map(name).collect());
                    seen.role = Some("request");
                }
                Err(error) => seen.fault(error.name()),
            },
            FrameType::UpControl => match Items::<Up<'_>>::read(plaintext) {
                Ok(items) => frame.items = items.map(|item| format!("{item:?}")).collect(),
                Err(_) => seen.fault("SEC-UP-BODY"),
            },
            FrameType::DownControl => match Items::<Down<'_>>::read(plaintext) {
                Ok(items) => frame.items = items.map(|item| format!("{item:?}")).collect(),
                Err(_) => seen.fault("SEC-DN-FORMAT"),
            },
            // Part of the command path: shown as octets.
            FrameType::Command | FrameType::GroupCommand => {}
        }
    }
}

/// The two nodes of an APDU, in an order that does not depend on who speaks.
fn pair(conversation: &str, apdu: &Apdu<'_>) -> Pair {
    let name = |title: Option<ApTitle<'_>>| title.map(|title| ApTitleBuf::from(title.canonical()));
    let mut titles = [name(apdu.envelope.calling), name(apdu.envelope.called)];
    titles.sort_by_key(|title| title.as_ref().map(ToString::to_string));
    (conversation.to_owned(), titles)
}

fn remember_session(sessions: &mut HashMap<Pair, VecDeque<KeyIv>>, pair: &Pair, key_iv: KeyIv) {
    /// Vectors kept of one pair.
    const KEPT: usize = 8;
    if sessions.len() >= REMEMBERED_MAX && !sessions.contains_key(pair) {
        sessions.clear();
    }
    let known = sessions.entry(pair.clone()).or_default();
    if known.back() != Some(&key_iv) {
        known.push_back(key_iv);
    }
    if known.len() > KEPT {
        known.pop_front();
    }
}

/// A number that stands for a conversation.
fn number_of(conversation: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    conversation.hash(&mut hasher);
    hasher.finish()
}
