//! The C12.22 services Registration, Deregistration and Resolve: which node has which title, where it is
//! reached, and for how long. A shared service: shards answer from it inside the association, the registrar
//! in clear.
//!
//! A device is known by its association, so what it says under the seal is trusted as far as it fits what was
//! provisioned. What a draft-era node says in clear is kept apart, marked untrusted: it replaces nothing
//! trusted, is told only to those who ask in clear, and opens no way to a command.

use std::sync::{Arc, Mutex, PoisonError};

use c1222::native_address::ShortOctets;
use c1222::registration::{ConnectionType, NodeType, Registered, Registration};
use c1222::response::Detail;
use c1222::{ApTitle, ApTitleBuf, Request, Response, ResponseCode, U24};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry as Place;
use node::Reason;
use seal::ids::{Dev, Sid};

use super::admission::Link;
use crate::tally::reasons;

const SECOND_NS: u64 = 1_000_000_000;
/// The shortest period that a node is told, in seconds.
const PERIOD_MIN_S: u32 = 300;
/// Moves that wait to be reported.
const MOVES_MAX: usize = 1024;
/// Locks of the table: a sweep holds one at a time.
const LOCKS: usize = 1024;

/// What was provisioned of an end device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provisioned {
    /// Its identity.
    pub dev: Dev,
    /// Its serial number.
    pub serial_number: Box<str>,
    /// Its title.
    pub title: ApTitleBuf,
    /// Whether the fixed security layer is its own: then it registers under the seal only.
    pub sealed: bool,
}

/// Where it is found.
pub trait Provisioning: Send + Sync {
    /// The device of an association.
    fn of_association(&self, sid: Sid) -> Option<Provisioned>;
    /// The device with this serial number.
    fn of_serial_number(&self, serial_number: &[u8]) -> Option<Provisioned>;
}

/// How registrations are answered.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// How often a node registers that has no wish, and at most, in seconds.
    pub period_s: u32,
    /// Up to how long it waits, at random, before it registers after an outage, in seconds.
    pub delay_s: u16,
    /// Nodes at most.
    pub max: usize,
}

/// A node that is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The end device.
    pub dev: Dev,
    /// Its association, if it registered under the seal; else it is not to be trusted.
    pub sid: Option<Sid>,
    /// What it is.
    pub node_type: NodeType,
    /// Class of the device.
    pub device_class: [u8; 4],
    /// Where it says that it is reached: a [`c1222::native_address::NativeAddress`] on IP networks.
    pub native_address: Box<[u8]>,
    /// The link that it was heard on.
    pub heard: Link,
    /// When it is forgotten, unless it registers again: monotonic nanoseconds.
    pub expires: u64,
}

/// A node is where another was, or where it was not before; to be told as an alarm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The association that said so; none in clear.
    pub sid: Option<Sid>,
    /// Over which link.
    pub link: Link,
    /// For people.
    pub detail: String,
}

/// All nodes that are registered, by title.
pub struct Registrations {
    provisioning: Arc<dyn Provisioning>,
    terms: Terms,
    nodes: DashMap<Box<[u8]>, Node>,
    moves: Mutex<Vec<Moved>>,
}

/// Who asks.
#[derive(Clone, Copy)]
struct Asker<'a> {
    device: &'a Provisioned,
    sid: Option<Sid>,
    link: Link,
}

impl Registrations {
    /// Nobody is registered.
    #[must_use]
    pub fn new(provisioning: Arc<dyn Provisioning>, terms: Terms) -> Self {
        Self { provisioning, terms, nodes: DashMap::with_shard_amount(LOCKS), moves: Mutex::default() }
    }

    /// Answers a request that came under the seal of an association: the response's octets, without length.
    /// `None` where the service is none of the three. `now` is monotonic, in nanoseconds.
    #[must_use]
    pub fn answer(&self, sid: Sid, request: &[u8], link: Link, now: u64) -> Option<Vec<u8>> {
        let code = request.first()?;
        if ![0x24, 0x25, 0x27].contains(code) {
            return None;
        }
        let response = match (Request::decode(request), self.provisioning.of_association(sid)) {
            (Ok(request), Some(device)) => {
                let asker = Asker { device: &device, sid: Some(sid), link };
                let fits = |registration: &Registration<'_>| {
                    registration.serial_number.octets == device.serial_number.as_bytes()
                };
                match request {
                    Request::Registration(registration) if !fits(&registration) => {
                        self.moved(asker, "claims the serial number of another device");
                        refused(ResponseCode::Isc)
                    }
                    request => self.serve(asker, &request, now),
                }
            }
            (Ok(_), None) => refused(ResponseCode::Uat),
            (Err(_), _) => refused(ResponseCode::Err),
        };
        Some(response)
    }

    /// Answers a request that came in clear.
    ///
    /// # Errors
    /// The code with which it is refused; nothing is sent then.
    pub fn answer_clear(
        &self,
        request: &Request<'_>,
        calling: Option<ApTitle<'_>>,
        link: Link,
        now: u64,
    ) -> Result<Vec<u8>, (Reason, &'static str)> {
        let device = match request {
            Request::Registration(registration) => {
                let found = self.provisioning.of_serial_number(registration.serial_number.octets);
                found.ok_or((reasons::UP_UNKNOWN, "no device has this serial number"))?
            }
            _ => {
                let unknown = (reasons::UP_UNKNOWN, "no node is registered in clear with this title");
                let node = calling.and_then(|title| self.find(title, now)).ok_or(unknown)?;
                let title = calling.map(ApTitleBuf::from).ok_or(unknown)?;
                Provisioned {
                    dev: node.dev,
                    serial_number: Box::default(),
                    title,
                    sealed: node.sid.is_some(),
                }
            }
        };
        if device.sealed {
            return Err((reasons::LEGACY, "a device of the security layer asks in clear"));
        }
        match request {
            Request::Registration(_) | Request::Deregistration(_) | Request::Resolve(_) => {
                Ok(self.serve(Asker { device: &device, sid: None, link }, request, now))
            }
            _ => Err((reasons::CLEAR, "not a service that is answered in clear")),
        }
    }

    /// The node of this title, unless its time is over.
    #[must_use]
    pub fn find(&self, title: ApTitle<'_>, now: u64) -> Option<Node> {
        self.nodes.get(&key(title)).filter(|node| now < node.expires).map(|node| node.clone())
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Forgets those whose time is over.
    pub fn sweep(&self, now: u64) {
        self.nodes.retain(|_, node| now < node.expires);
    }

    /// The moves since the last call, the first thousand of them.
    #[must_use]
    pub fn take_moves(&self) -> Vec<Moved> {
        std::mem::take(&mut *self.moves.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn serve(&self, asker: Asker<'_>, request: &Request<'_>, now: u64) -> Vec<u8> {
        match request {
            Request::Registration(registration) => self.register(asker, registration, now),
            Request::Deregistration(title) => self.deregister(asker, *title),
            Request::Resolve(title) => match self.find(*title, now) {
                // Where a node is under the seal is told under the seal only.
                Some(node) if node.sid.is_some() == asker.sid.is_some() => ShortOctets::new(
                    &node.native_address,
                )
                .map_or_else(|| refused(ResponseCode::Err), |address| octets(&Response::Resolve(address))),
                _ => refused(ResponseCode::Uat),
            },
            _ => refused(ResponseCode::Sns),
        }
    }

    fn register(&self, asker: Asker<'_>, asked: &Registration<'_>, now: u64) -> Vec<u8> {
        let own = asker.device.title.as_title();
        if asked.check().is_err() {
            return refused(ResponseCode::Iar);
        }
        if asked.title.is_some_and(|title| !title.same_node(&own)) {
            // It is told its own title, whatever it had.
            self.moved(asker, "registers with a title that is not its own");
        }
        let wish = asked.period_s.get();
        let period = if wish == 0 || asked.period_s == U24::MAX { self.terms.period_s } else { wish };
        let period = period.min(self.terms.period_s).max(PERIOD_MIN_S.min(self.terms.period_s));
        // A repeat that is a little late finds its entry still there.
        let life = u64::from(period).saturating_add(u64::from(self.terms.delay_s));
        let node = Node {
            dev: asker.device.dev,
            sid: asker.sid,
            node_type: asked.node_type,
            device_class: asked.device_class,
            native_address: asked.native_address.octets().into(),
            heard: asker.link,
            expires: now.saturating_add(life.saturating_mul(SECOND_NS)),
        };
        match self.keep(key(own), node, now) {
            Kept::New | Kept::Same => {}
            Kept::Elsewhere => self.moved(asker, "registers from another native address"),
            Kept::Taken => {
                self.moved(asker, "registers with a title that another device has");
                return refused(ResponseCode::Iar);
            }
            Kept::NoRoom => return refused(ResponseCode::Bsy),
        }
        let info = ConnectionType(asked.connection_type.0 & !ConnectionType::DIRECT_MESSAGING);
        let (delay_s, period_s) = (self.terms.delay_s, U24::saturating(period));
        octets(&Response::Registration(Registered { title: own, delay_s, period_s, info }))
    }

    fn keep(&self, key: Box<[u8]>, node: Node, now: u64) -> Kept {
        let room = self.nodes.len() < self.terms.max;
        match self.nodes.entry(key) {
            Place::Vacant(_) if !room => Kept::NoRoom,
            Place::Vacant(place) => {
                place.insert(node);
                Kept::New
            }
            Place::Occupied(mut place) => {
                let before = place.get();
                let live = now < before.expires;
                if live && (before.dev != node.dev || (before.sid.is_some() && node.sid.is_none())) {
                    return Kept::Taken;
                }
                // What was said in clear is no place that a trusted node was at.
                let known = live && before.sid.is_some() == node.sid.is_some();
                let moved = known && before.native_address != node.native_address;
                place.insert(node);
                if moved { Kept::Elsewhere } else { Kept::Same }
            }
        }
    }

    fn deregister(&self, asker: Asker<'_>, title: ApTitle<'_>) -> Vec<u8> {
        if !title.same_node(&asker.device.title.as_title()) {
            return refused(ResponseCode::Isc);
        }
        let own = |node: &Node| node.dev == asker.device.dev && (asker.sid.is_some() || node.sid.is_none());
        match self.nodes.remove_if(&key(title), |_, node| own(node)) {
            Some(_) => octets(&Response::Done),
            None => refused(ResponseCode::Uat),
        }
    }

    fn moved(&self, asker: Asker<'_>, what: &str) {
        let mut moves = self.moves.lock().unwrap_or_else(PoisonError::into_inner);
        if moves.len() < MOVES_MAX {
            let detail = format!("device {} {what}", asker.device.dev);
            moves.push(Moved { sid: asker.sid, link: asker.link, detail });
        }
    }
}

/// What became of an entry.
enum Kept {
    New,
    Same,
    Elsewhere,
    Taken,
    NoRoom,
}

fn key(title: ApTitle<'_>) -> Box<[u8]> {
    let mut out = Vec::new();
    title.write_absolute(&mut out);
    out.into()
}

fn octets(response: &Response<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    response.encode(&mut out);
    out
}

fn refused(code: ResponseCode) -> Vec<u8> {
    octets(&Response::Refused { code, detail: Detail::None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use c1222::ap_title::Form;
    use c1222::registration::TaggedId;
    use c1222::{Leniency, ServiceCode};
    use proptest::prelude::*;

    const LINK: Link = Link { transport: 0, link: 7 };
    const TERMS: Terms = Terms { period_s: 86_400, delay_s: 300, max: 8 };

    fn title(text: &str) -> ApTitleBuf {
        ApTitleBuf::parse(text).unwrap()
    }

    /// Associations 1 to 8 of sealed devices, and classic ones with serial numbers from C1 on.
    struct Fleet;

    impl Provisioning for Fleet {
        fn of_association(&self, sid: Sid) -> Option<Provisioned> {
            (1..=9).contains(&sid.0).then(|| Provisioned {
                dev: Dev([sid.0 as u8; 8]),
                serial_number: format!("SN{}", sid.0).into(),
                // Nine was provisioned with the title of eight.
                title: title(&format!(".75.{}", sid.0.min(8))),
                sealed: true,
            })
        }

        fn of_serial_number(&self, serial_number: &[u8]) -> Option<Provisioned> {
            let text = std::str::from_utf8(serial_number).ok()?;
            let (sealed, number) = match text.strip_prefix("SN") {
                Some(number) => (true, number),
                None => (false, text.strip_prefix('C')?),
            };
            let number: u32 = number.parse().ok()?;
            let mut found = self.of_association(Sid(number))?;
            if !sealed {
                found = Provisioned {
                    dev: Dev([0xc0 + number as u8; 8]),
                    serial_number: text.into(),
                    title: title(&format!(".76.{number}")),
                    sealed,
                };
            }
            Some(found)
        }
    }

    fn registrations() -> Registrations {
        Registrations::new(Arc::new(Fleet), TERMS)
    }

    fn registration<'a>(serial: &'a str, own: Option<&'a ApTitleBuf>, address: &'a [u8]) -> Request<'a> {
        Request::Registration(Registration {
            node_type: NodeType(NodeType::END_DEVICE),
            connection_type: ConnectionType(ConnectionType::CO | ConnectionType::ACCEPT_CO | 1),
            device_class: *b"MGRF",
            title: own.map(ApTitleBuf::as_title),
            serial_number: TaggedId { form: Form::RelativeOid, octets: serial.as_bytes() },
            native_address: ShortOctets::new(address).unwrap(),
            period_s: U24::MAX,
            domain_pattern: None,
        })
    }

    fn write(request: &Request<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        request.encode(&mut out);
        out
    }

    fn sealed(all: &Registrations, sid: u32, request: &Request<'_>, now: u64) -> Vec<u8> {
        all.answer(Sid(sid), &write(request), LINK, now).unwrap()
    }

    #[test]
    fn a_title_is_assigned_or_confirmed_and_where_the_node_is_kept() {
        let all = registrations();
        let own = title("2.16.124.113620.1.22.0.75.3");
        for asked in [None, Some(&own)] {
            let octets = sealed(&all, 3, &registration("SN3", asked, &[10, 0, 0, 3]), 5);
            let response = Response::decode(&octets, Some(ServiceCode::REGISTRATION), Leniency::Strict);
            let Ok(Response::Registration(told)) = response else { panic!("{response:?}") };
            assert_eq!(told.title.to_string(), ".75.3");
            assert_eq!((told.delay_s, told.period_s.get()), (300, 86_400));
            assert_eq!(told.info.0, ConnectionType::CO | ConnectionType::ACCEPT_CO);
            told.check().unwrap();
        }
        let node = all.find(own.as_title(), 5).unwrap();
        assert_eq!((node.sid, node.dev, node.heard), (Some(Sid(3)), Dev([3; 8]), LINK));
        let resolved = sealed(&all, 4, &Request::Resolve(own.as_title()), 6);
        assert_eq!(resolved, [0, 4, 10, 0, 0, 3]);
        assert!(all.take_moves().is_empty());
    }

    #[test]
    fn time_ends_a_registration_and_so_does_the_node_itself() {
        let all = registrations();
        let own = title(".75.3");
        sealed(&all, 3, &registration("SN3", None, &[10, 0, 0, 3]), 0);
        let end = (86_400 + 300) * SECOND_NS;
        assert!(all.find(own.as_title(), end - 1).is_some());
        assert!(all.find(own.as_title(), end).is_none());
        all.sweep(end - 1);
        assert_eq!(all.len(), 1);
        all.sweep(end);
        assert!(all.is_empty());

        sealed(&all, 3, &registration("SN3", None, &[10, 0, 0, 3]), 0);
        let leave = Request::Deregistration(own.as_title());
        assert_eq!(sealed(&all, 4, &leave, 1), [ResponseCode::Isc.octet()], "only its own");
        assert_eq!(sealed(&all, 3, &leave, 1), [0]);
        assert_eq!(sealed(&all, 3, &leave, 1), [ResponseCode::Uat.octet()]);
        assert_eq!(sealed(&all, 3, &Request::Resolve(own.as_title()), 1), [ResponseCode::Uat.octet()]);
    }

    #[test]
    fn what_does_not_fit_is_refused_or_set_right_and_alarmed() {
        let all = registrations();
        let mismatch = sealed(&all, 3, &registration("SN4", None, &[1; 4]), 0);
        assert_eq!(mismatch, [ResponseCode::Isc.octet()]);
        assert_eq!(all.take_moves().len(), 1);
        let other = title(".99.1");
        let octets = sealed(&all, 3, &registration("SN3", Some(&other), &[1; 4]), 0);
        assert_eq!(octets[0], 0, "it is told its own title");
        assert_eq!(all.take_moves().len(), 1);
        sealed(&all, 3, &registration("SN3", None, &[2; 4]), 1);
        let moves = all.take_moves();
        assert_eq!((moves.len(), moves[0].sid, moves[0].link), (1, Some(Sid(3)), LINK));
        sealed(&all, 8, &registration("SN8", None, &[1; 4]), 0);
        let taken = sealed(&all, 9, &registration("SN9", None, &[1; 4]), 0);
        assert_eq!(taken, [ResponseCode::Iar.octet()]);
        assert_eq!(all.find(title(".75.8").as_title(), 1).unwrap().sid, Some(Sid(8)));
        assert_eq!(all.take_moves().len(), 1);
        assert_eq!(all.answer(Sid(77), &write(&registration("SN3", None, &[])), LINK, 0).unwrap(), [0x0c]);
        assert_eq!(all.answer(Sid(3), &[0x27, 1], LINK, 0).unwrap(), [0x01]);
        assert_eq!(all.answer(Sid(3), &[0x30, 0, 1], LINK, 0), None);
    }

    #[test]
    fn what_is_said_in_clear_gains_nothing() {
        let all = registrations();
        let clear = |request: &Request<'_>, from: Option<&ApTitleBuf>| {
            all.answer_clear(request, from.map(ApTitleBuf::as_title), LINK, 5)
        };
        let reason = |answer: Result<Vec<u8>, (Reason, &str)>| answer.unwrap_err().0;
        assert_eq!(reason(clear(&registration("XX", None, &[]), None)), reasons::UP_UNKNOWN);
        assert_eq!(reason(clear(&registration("SN3", None, &[]), None)), reasons::LEGACY);
        let own = title(".76.2");
        assert_eq!(reason(clear(&Request::Resolve(own.as_title()), Some(&own))), reasons::UP_UNKNOWN);

        assert_eq!(clear(&registration("C2", None, &[9; 4]), None).unwrap()[0], 0);
        assert_eq!(all.find(own.as_title(), 5).unwrap().sid, None, "untrusted");
        let sealed_title = title(".75.3");
        sealed(&all, 3, &registration("SN3", None, &[10, 0, 0, 3]), 5);
        let uat = [ResponseCode::Uat.octet()];
        assert_eq!(clear(&Request::Resolve(sealed_title.as_title()), Some(&own)).unwrap(), uat);
        assert_eq!(clear(&Request::Resolve(own.as_title()), Some(&own)).unwrap(), [0, 4, 9, 9, 9, 9]);
        assert_eq!(sealed(&all, 3, &Request::Resolve(own.as_title()), 5), uat, "nor is it told to others");
        let leave = Request::Deregistration(sealed_title.as_title());
        assert_eq!(clear(&leave, Some(&own)).unwrap(), [ResponseCode::Isc.octet()]);
        assert_eq!(reason(clear(&leave, Some(&sealed_title))), reasons::LEGACY);
        assert_eq!(reason(clear(&Request::Logoff, Some(&own))), reasons::CLEAR);
        assert_eq!(clear(&Request::Deregistration(own.as_title()), Some(&own)).unwrap(), [0]);
    }

    #[test]
    fn the_table_is_bounded() {
        let all = Registrations::new(Arc::new(Fleet), Terms { max: 2, ..TERMS });
        for (sid, expected) in [(1, 0), (2, 0), (3, ResponseCode::Bsy.octet()), (2, 0)] {
            let serial = format!("SN{sid}");
            assert_eq!(sealed(&all, sid, &registration(&serial, None, &[1; 4]), 0)[0], expected);
        }
    }

    proptest! {
        #[test]
        fn any_request_is_answered_or_none_of_ours(code in 0x20_u8..0x30, octets: Vec<u8>) {
            let all = registrations();
            let request = [&[code][..], &octets].concat();
            let answer = all.answer(Sid(1), &request, LINK, 0);
            prop_assert_eq!(answer.is_some(), [0x24, 0x25, 0x27].contains(&code));
        }
    }
}
