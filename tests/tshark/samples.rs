//! Messages that our encoder makes: every service, every response, every envelope.

use c1222::ap_title::{self, Form};
use c1222::authentication::{Authentication, AuthenticationValue};
use c1222::canonified::{self, KeyIv};
use c1222::epsem::ResponseControl;
use c1222::identification::{Feature, Identification};
use c1222::native_address::ShortOctets;
use c1222::registration::{ConnectionType, NodeType, Registered, Registration, TaggedId};
use c1222::request::{Index, Password};
use c1222::response::{Detail, Titles};
use c1222::{
    Apdu, ApTitle, ApTitleBuf, Envelope, EpsemControl, EpsemWriter, InvocationId, Leniency, Oid, Qualifier,
    Request, Response, ResponseCode, SecurityMode, ServiceCode, TableData, TableId, U24,
};
use seal::eax_prime::{EaxPrime, Mode};
use seal::secret::Key128;

use crate::capture::Side;

/// The security modes.
pub const MODES: [SecurityMode; 3] = [SecurityMode::Clear, SecurityMode::Mac, SecurityMode::Cipher];
/// Key ids in use. A key is sixteen times its id exclusive or A5.
pub const KEY_IDS: [u8; 4] = [0, 1, 2, 255];
/// Data of a table that is long enough for lengths of three octets, and a part of it for two.
static DATA: [u8; 5000] = pattern();
/// Data that must be continued in a second block.
static HUGE: [u8; 0x1_0005] = pattern();

const fn pattern<const N: usize>() -> [u8; N] {
    let mut octets = [0; N];
    let mut n = 0;
    while n < N {
        octets[n] = (n % 251) as u8;
        n += 1;
    }
    octets
}

/// An APDU, and who sends it.
pub struct Sample {
    pub from: Side,
    pub apdu: Vec<u8>,
}

/// The key of an id.
pub fn key(id: u8) -> [u8; 16] {
    [id ^ 0xa5; 16]
}

/// Makes messages, numbering them.
pub struct Maker {
    pub samples: Vec<Sample>,
    count: u32,
}

/// What stands around the services of a message.
#[derive(Clone, Copy)]
pub struct Frame {
    pub envelope: Envelope<'static>,
    pub control: EpsemControl,
    pub ed_class: Option<[u8; 4]>,
    /// Key and vector of the session, for messages without an authentication value.
    pub session: Option<KeyIv>,
}

impl Frame {
    /// A message of the host to a meter.
    pub fn new(mode: SecurityMode) -> Self {
        let envelope = Envelope {
            called: Some(title(".123.8437")),
            calling: Some(title(".123.4")),
            authentication: (mode != SecurityMode::Clear).then(|| Authentication::c1222(2, [0; 4])),
            ..Envelope::new(InvocationId::new(0))
        };
        let control = EpsemControl::new(mode, ResponseControl::Always);
        Self { envelope, control, ed_class: None, session: None }
    }

    /// The same with another envelope.
    pub fn with(mut self, change: impl FnOnce(&mut Envelope<'static>)) -> Self {
        change(&mut self.envelope);
        self
    }
}

impl Maker {
    pub fn new() -> Self {
        Self { samples: Vec::new(), count: 0 }
    }

    /// One message with a number and an initialization vector of its own; the number is the answer.
    pub fn send(
        &mut self,
        from: Side,
        mut frame: Frame,
        write: impl FnOnce(&mut EpsemWriter<'_>),
    ) -> InvocationId {
        self.count += 1;
        if frame.envelope.invocation.octets() == [0] {
            frame.envelope.invocation = InvocationId::new(self.count);
        }
        if let Some(Authentication { value: AuthenticationValue::C1222 { iv: Some(iv), .. }, .. }) =
            &mut frame.envelope.authentication
        {
            *iv = (0x6a00_0000 + self.count).to_be_bytes();
        }
        self.samples.push(Sample { from, apdu: message(&frame, write) });
        frame.envelope.invocation
    }

    /// A request, and its response, which goes back.
    pub fn exchange(&mut self, frame: Frame, request: &Request<'_>, response: &Response<'_>) {
        let number = self.send(Side::Host, frame, |epsem| {
            epsem.request(request);
        });
        let authentication = frame.envelope.authentication;
        let asked = Envelope { invocation: number, ..frame.envelope };
        let envelope = Envelope { authentication, ..asked.answer(InvocationId::new(0)) };
        self.send(Side::Node, Frame { envelope, ..frame }, |epsem| {
            epsem.response(response);
        });
    }
}

/// Encodes and seals.
fn message(frame: &Frame, write: impl FnOnce(&mut EpsemWriter<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut epsem = EpsemWriter::new(&mut out, frame.control, frame.ed_class);
    write(&mut epsem);
    let mode = match frame.control.security_mode().unwrap() {
        SecurityMode::Clear => None,
        SecurityMode::Mac => Some(Mode::Clear),
        SecurityMode::Cipher => Some(Mode::Cipher),
    };
    if let Some(mode) = mode {
        epsem.leave_mac();
        frame.envelope.wrap(&mut out, 0);
        let mut header = Vec::new();
        let apdu = Apdu::decode(&out, Leniency::Strict).unwrap();
        let key_iv = canonified::canonify(&apdu, frame.session, &ap_title::ROOT, &mut header).unwrap();
        let places = canonified::sealed_places(&apdu).unwrap().unwrap();
        let eax = EaxPrime::new(&Key128::from_octets(key(key_iv.key_id)));
        let mac = eax.seal(mode, &header, &mut out[places.payload]).unwrap();
        out[places.mac].copy_from_slice(&mac);
    } else {
        frame.envelope.wrap(&mut out, 0);
    }
    out
}

/// A title, `.123.4` or absolute.
pub fn title(text: &str) -> ApTitle<'static> {
    let title: &'static ApTitleBuf = Box::leak(Box::new(ApTitleBuf::parse(text).unwrap()));
    title.as_title()
}

/// A title as it stands in services and tables, tag 0D.
fn inner_title(text: &str) -> ApTitle<'static> {
    ApTitle::new(Form::RelativeOid, title(text).arcs()).unwrap()
}

/// Every service and every response at least once, as exchanges.
pub fn exchanges() -> Vec<(Request<'static>, Response<'static>)> {
    let mut all = Vec::new();
    for list in [node_services(), network_services(), table_reads(), table_writes(), refusals()] {
        all.extend(list);
    }
    all
}

fn other(code: u8, parameters: &'static [u8]) -> Request<'static> {
    Request::Other { code: ServiceCode(code), parameters }
}

/// Identification, sessions, and what C12.22 does not have but tshark knows.
fn node_services() -> Vec<(Request<'static>, Response<'static>)> {
    const FEATURES: &[Feature<'static>] = &[
        Feature::SecurityMechanism(TaggedId {
            form: Form::Absolute,
            octets: &[0x60, 0x7c, 0x86, 0xf7, 0x54, 1, 0x16, 2, 1],
        }),
        Feature::Sessions { sessionless: true, sessions: 2 },
        Feature::DeviceClass(TaggedId { form: Form::RelativeOid, octets: b"TEMP" }),
        Feature::Identity { format: 1, octets: b"METER 7" },
    ];
    let logon = |timeout_s| Request::Logon { user_id: 513, user: b"OPERATOR  ", timeout_s };
    let security = |user_id| Request::Security {
        password: Password::new(b"PASSWORD <&\"'>      "),
        user_id,
    };
    let sns = Response::refusal(ResponseCode::Sns);
    vec![
        (Request::Identification, Response::Identification(Identification::c1222(FEATURES))),
        (Request::Identification, Response::Identification(Identification::c1222(&[]))),
        (logon(Some(60)), Response::Logon(Some(45))),
        (logon(None), Response::Logon(None)),
        (security(None), Response::Done),
        (security(Some(65_535)), Response::Done),
        (Request::Wait(255), Response::Done),
        (Request::Logoff, Response::Done),
        (Request::Terminate, Response::Done),
        (Request::Disconnect, Response::Done),
        (other(0x53, &[3, 1, 2, 3]), sns),
        (other(0x60, &[0x02, 0x00, 9]), sns),
        (other(0x6b, &[0x02, 0x00, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]), sns),
        (other(0x71, &[30, 1, 2, 3]), sns),
        (other(0x4e, &[0, 2, 1, 2, 0xfd]), sns),
    ]
}

/// Registration, Deregistration, Resolve, Trace.
fn network_services() -> Vec<(Request<'static>, Response<'static>)> {
    let registration = Registration {
        node_type: NodeType(NodeType::END_DEVICE),
        connection_type: ConnectionType(
            ConnectionType::BROADCAST | ConnectionType::CO | ConnectionType::ACCEPT_CO,
        ),
        device_class: *b"TEMP",
        title: Some(inner_title(".123.8437")),
        serial_number: TaggedId { form: Form::Absolute, octets: &[0x2b, 6, 1, 4, 1, 0x82, 0x85, 0x63, 7] },
        native_address: ShortOctets::new(&[10, 2, 2, 2, 0x04, 0x81, 0x06]).unwrap(),
        period_s: U24::new(86_400).unwrap(),
        domain_pattern: None,
    };
    let relay = Registration {
        node_type: NodeType(NodeType::RELAY | NodeType::MASTER_RELAY),
        title: None,
        serial_number: TaggedId { form: Form::RelativeOid, octets: b"SERIAL 1" },
        native_address: ShortOctets::new(&[]).unwrap(),
        period_s: U24::MAX,
        domain_pattern: ShortOctets::new(&[0x7b, 0x05]),
        ..registration
    };
    let registered = |title| {
        let period_s = U24::new(3600).unwrap();
        Response::Registration(Registered { title, delay_s: 300, period_s, info: ConnectionType(0x83) })
    };
    let way: &'static [ApTitle<'static>] =
        Box::leak(Box::new([inner_title(".123"), title("2.16.124.113620.1.22.0.123.5"), title(".9")]));
    let uat = ResponseCode::Uat;
    vec![
        (Request::Registration(registration), registered(inner_title(".123.8437"))),
        (Request::Registration(relay), registered(title("1.3.6.1.4.1.33507.1.5"))),
        (Request::Deregistration(inner_title(".123.8437")), Response::Done),
        (Request::Deregistration(title("1.3.6.1.4.1.33507.1.5")), Response::refusal(uat)),
        (
            Request::Resolve(title(".123.8437")),
            Response::Resolve(ShortOctets::new(&[10, 2, 2, 2, 0x04, 0x81]).unwrap()),
        ),
        (Request::Trace(title(".123.8437")), Response::Trace(Titles::of(way))),
        (
            Request::Trace(inner_title(".123.9")),
            Response::Refused { code: uat, detail: Detail::Way(Titles::of(way)) },
        ),
    ]
}

/// An index of so many levels.
fn index(depth: usize) -> Index {
    Index::new(&[3, 500, 0, 0xffff, 5, 6, 7, 8, 9][..depth]).unwrap()
}

fn table_reads() -> Vec<(Request<'static>, Response<'static>)> {
    let read = |len| Response::Read(TableData::of(&DATA[..len]));
    let mut all = vec![
        (Request::FullRead(TableId::standard(0)), read(0)),
        (Request::FullRead(TableId::standard(TableId::NUMBER_MAX)), read(1)),
        (Request::FullRead(TableId::manufacturer(83)), read(20)),
        (Request::FullRead(TableId(0x1036)), read(130)),
        (Request::FullRead(TableId(0x1800)), read(300)),
        (Request::FullRead(TableId::standard(64)), read(5000)),
        (Request::DefaultRead, read(7)),
        (offset_read(0, 0), read(0)),
        (offset_read(0x12_3456, 500), read(500)),
        (offset_read(0xff_ffff, 0xffff), read(1)),
    ];
    for depth in 1..=9 {
        let elements = u16::try_from(depth * 300).unwrap();
        let request = Request::IndexRead { table: TableId::standard(23), index: index(depth), elements };
        all.push((request, read(depth)));
    }
    all
}

fn offset_read(offset: u32, count: u16) -> Request<'static> {
    Request::OffsetRead { table: TableId::manufacturer(1), offset: U24::new(offset).unwrap(), count }
}

fn table_writes() -> Vec<(Request<'static>, Response<'static>)> {
    let data = |len| TableData::of(&DATA[..len]);
    let full = |table, data| Request::FullWrite { table, data };
    let initiate = |octets: &'static [u8]| full(TableId::standard(7), TableData::of(octets));
    let mut all = vec![
        full(TableId::standard(6), data(0)),
        full(TableId::standard(6), data(1)),
        full(TableId::manufacturer(2047), data(240)),
        full(TableId(0x1807), data(5000)),
        // A standard procedure without parameters, one with, a manufacturer's one to be posted at once.
        initiate(&[9, 0, 200]),
        initiate(&[0x1a, 0, 0, 2, 0]),
        initiate(&[0x23, 0x38, 7, 1]),
    ];
    for (offset, len) in [(0, 0), (0x12_3456, 6), (0xff_ffff, 300)] {
        let offset = U24::new(offset).unwrap();
        all.push(Request::OffsetWrite { table: TableId::standard(12), offset, data: data(len) });
    }
    for depth in 1..=9 {
        let (table, index) = (TableId::standard(54), index(depth));
        all.push(Request::IndexWrite { table, index, data: data(depth * 2) });
    }
    all.into_iter().map(|request| (request, Response::Done)).collect()
}

/// Every code that refuses, with its detail.
fn refusals() -> Vec<(Request<'static>, Response<'static>)> {
    let mut all: Vec<_> = (0x01..=0x12).map(|code| Response::refusal(ResponseCode::of(code))).collect();
    // Not registered to you: a manufacturer's own.
    all.push(Response::refusal(ResponseCode::Other(0x1e)));
    for (code, detail) in [
        (ResponseCode::Rqtl, Detail::SizeMax(0x0102_0304)),
        (ResponseCode::Rstl, Detail::SizeMax(643)),
        (ResponseCode::Sgerr, Detail::Segment { offset: 108, size: 643 }),
        (ResponseCode::Other(0x1e), Detail::Other(&[1, 2, 3])),
    ] {
        all.push(Response::Refused { code, detail });
    }
    all.into_iter().map(|response| (Request::FullRead(TableId::standard(1)), response)).collect()
}

/// A write that is continued in a second block, too large for a datagram.
pub fn huge(maker: &mut Maker, mode: SecurityMode) {
    let data = TableData::of(&HUGE);
    let write = Request::FullWrite { table: TableId::manufacturer(9), data };
    maker.exchange(Frame::new(mode), &write, &Response::Done);
    let read = Request::FullRead(TableId::manufacturer(9));
    maker.exchange(Frame::new(mode), &read, &Response::Read(data));
}

/// Every form of the elements around the EPSEM.
pub fn frames(mode: SecurityMode) -> Vec<Frame> {
    let plain = Frame::new(mode);
    let mut all = Vec::new();
    let titles = [
        (".123.8437", "2.16.124.113620.1.22.0.123.4"),
        ("2.16.124.113620.1.22.0.123.8437", ".123.4"),
        ("2.16.840.1.114223.5", "1.3.6.1.4.1.33507.1.12345.0"),
        (".123.0", ".1"),
        (".123.0.98", ".9223372036854775807"),
        (".1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19.20.21.22.23.24.25.26.27.28.29.30.31.32", ".0.1"),
    ];
    for (called, calling) in titles {
        all.push(plain.with(|envelope| {
            (envelope.called, envelope.calling) = (Some(title(called)), Some(title(calling)));
        }));
    }
    // Not registered yet.
    all.push(plain.with(|envelope| envelope.calling = None));
    all.push(plain.with(|envelope| {
        // Never together with relative titles (c1222.md §5).
        envelope.aso_context = Some(Oid::new(&[0x60, 0x7c, 0x86, 0xf7, 0x54, 1, 0x16]).unwrap());
        envelope.called = Some(title("2.16.124.113620.1.22.0.123.8437"));
        envelope.calling = Some(title("2.16.124.113620.1.22.0.123.4"));
    }));
    let mechanism = Oid::new(&[0x60, 0x7c, 0x86, 0xf7, 0x54, 1, 0x16, 2, 1]).unwrap();
    all.push(plain.with(|envelope| envelope.mechanism = Some(mechanism)));
    for bits in 0..8 {
        all.push(plain.with(|envelope| envelope.qualifier = Some(Qualifier(bits))));
    }
    let ids: [&[u8]; 9] = [
        &[0, 0],
        &[0x7f],
        &[0x80],
        &[0xff],
        &[0, 7],
        &[0xff, 0],
        &[0x80, 0, 0],
        &[0x7f, 0xff, 0xff, 0xff],
        &[0xa6, 0xe2, 0xd3, 0x4c],
    ];
    for octets in ids {
        all.push(plain.with(|envelope| envelope.invocation = InvocationId::of_octets(octets).unwrap()));
    }
    let controls = [
        EpsemControl::RECOVERY_SESSION,
        EpsemControl::PROXY_SERVICE_USED,
        EpsemControl::RECOVERY_SESSION | EpsemControl::PROXY_SERVICE_USED | 1,
        1,
        2,
    ];
    for bits in controls {
        all.push(Frame { control: plain.control.with(bits), ..plain });
        all.push(Frame { control: plain.control.with(bits), ed_class: Some(*b"TEMP"), ..plain });
    }
    if mode != SecurityMode::Clear {
        for id in KEY_IDS {
            let authentication = Authentication::c1222(id, [0; 4]);
            all.push(plain.with(|envelope| envelope.authentication = Some(authentication)));
            let authentication = Authentication { reference: Some(0), ..authentication };
            all.push(plain.with(|envelope| envelope.authentication = Some(authentication)));
        }
    }
    all
}

/// The shapes that a secured message takes on the wire when its EPSEM has every length around those at which
/// the length octets change their number.
pub fn lengths(maker: &mut Maker, mode: SecurityMode) {
    for len in (0..=40).chain(0x60..0x90).chain(0xe0..0x110).chain(0xffe0..0x10010) {
        let write = |epsem: &mut EpsemWriter<'_>| {
            epsem.service(|out| {
                out.push(0x30);
                out.extend_from_slice(&[0; 2]);
            });
            if let Some(rest) = usize::checked_sub(len, 1) {
                epsem.service(|out| out.extend(std::iter::once(1).chain(HUGE.iter().copied()).take(rest)));
            }
        };
        maker.send(Side::Host, Frame::new(mode), write);
    }
}

/// A session: key id and initialization vector of its Logon seal everything that follows.
pub fn session(maker: &mut Maker, mode: SecurityMode) {
    let logon = Request::Logon { user_id: 1, user: b"OPERATOR  ", timeout_s: Some(60) };
    let frame = Frame::new(mode).with(|envelope| envelope.called = Some(title(".123.8438")));
    maker.exchange(frame, &logon, &Response::Logon(Some(60)));
    let first = maker.samples.iter().rev().nth(1).unwrap();
    let apdu = Apdu::decode(&first.apdu, Leniency::Strict).unwrap();
    let session = Some(canonified::key_iv(&apdu, None).unwrap());
    let frame = Frame { session, ..frame }.with(|envelope| envelope.authentication = None);
    let read = Request::FullRead(TableId::standard(1));
    maker.exchange(frame, &read, &Response::Read(TableData::of(b"MODEL")));
    maker.exchange(frame, &Request::Logoff, &Response::Done);
}
