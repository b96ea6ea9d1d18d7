//! Every service of c1222.md §3 with its parameters, and every response.

use c1222::ap_title::Form;
use c1222::identification::{Feature, Identification};
use c1222::native_address::ShortOctets;
use c1222::registration::{ConnectionType, NodeType, Registered, Registration, TaggedId};
use c1222::request::{Index, Password};
use c1222::response::{Detail, Titles};
use c1222::{ApTitle, Request, Response, ResponseCode, SecurityMode, ServiceCode, TableData, TableId, U24};

use super::{Frame, Maker, data, title};
use crate::capture::Side;

/// Requests, each with a response.
type Exchanges = Vec<(Request<'static>, Response<'static>)>;

/// Every service and every response at least once.
pub fn exchanges() -> Exchanges {
    [node_services(), network_services(), table_reads(), table_writes(), refusals()].concat()
}

/// A title as it stands in services and tables, tag 0D.
fn inner_title(text: &str) -> ApTitle<'static> {
    ApTitle::new(Form::RelativeOid, title(text).arcs()).unwrap()
}

/// Identification, sessions, and what C12.22 does not have but C12.18 and C12.21 do.
fn node_services() -> Exchanges {
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
    let security = |user_id| Request::Security { password: Password::new(b"PASSWORD <&\"'>      "), user_id };
    let other = |code, parameters| Request::Other { code: ServiceCode(code), parameters };
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
fn network_services() -> Exchanges {
    let meter = Registration {
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
        ..meter
    };
    let registered = |title| {
        let period_s = U24::new(3600).unwrap();
        Response::Registration(Registered { title, delay_s: 300, period_s, info: ConnectionType(0x83) })
    };
    let way: &'static [ApTitle<'static>] =
        Box::leak(Box::new([inner_title(".123"), title("2.16.124.113620.1.22.0.123.5"), title(".9")]));
    let address = ShortOctets::new(&[10, 2, 2, 2, 0x04, 0x81]).unwrap();
    let (elster, uat) = (title("1.3.6.1.4.1.33507.1.5"), ResponseCode::Uat);
    vec![
        (Request::Registration(meter), registered(inner_title(".123.8437"))),
        (Request::Registration(relay), registered(elster)),
        (Request::Deregistration(inner_title(".123.8437")), Response::Done),
        (Request::Deregistration(elster), Response::refusal(uat)),
        (Request::Resolve(title(".123.8437")), Response::Resolve(address)),
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

fn table_reads() -> Exchanges {
    let offset_read = |offset, count| {
        let offset = U24::new(offset).unwrap();
        Request::OffsetRead { table: TableId::manufacturer(1), offset, count }
    };
    let mut all = vec![
        (Request::FullRead(TableId::standard(0)), 0),
        (Request::FullRead(TableId::standard(TableId::NUMBER_MAX)), 1),
        (Request::FullRead(TableId::manufacturer(83)), 20),
        (Request::FullRead(TableId(0x1036)), 130),
        (Request::FullRead(TableId(0x1800)), 300),
        (Request::FullRead(TableId::standard(64)), 5000),
        (Request::DefaultRead, 7),
        (offset_read(0, 0), 0),
        (offset_read(0x12_3456, 500), 500),
        (offset_read(0xff_ffff, 0xffff), 1),
    ];
    for depth in 1..=9 {
        let elements = u16::try_from(depth * 300).unwrap();
        all.push((Request::IndexRead { table: TableId::standard(23), index: index(depth), elements }, depth));
    }
    all.into_iter().map(|(request, len)| (request, Response::Read(data(len)))).collect()
}

fn table_writes() -> Exchanges {
    let full = |table, data| Request::FullWrite { table, data };
    let initiate = |octets: &'static [u8]| full(TableId::standard(7), TableData::of(octets));
    let mut all = vec![
        full(TableId::standard(6), data(0)),
        full(TableId::standard(6), data(1)),
        full(TableId::manufacturer(2047), data(200)),
        full(TableId(0x1807), data(5000)),
        // Standard procedures without and with parameters, one of a manufacturer that posts at once.
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
fn refusals() -> Exchanges {
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

/// Several services in one message, as head-ends send them.
pub fn several(maker: &mut Maker, mode: SecurityMode) {
    let password = Password::new(b"PASSWORD            ");
    let read = |number| Request::FullRead(TableId::standard(number));
    let procedure = Request::FullWrite { table: TableId::standard(7), data: TableData::of(&[3, 0, 1, 4]) };
    let requests = [
        Request::Security { password, user_id: Some(2) },
        read(1),
        procedure,
        read(8),
        read(2000),
        Request::Logoff,
    ];
    let responses = [
        Response::Done,
        Response::Read(data(200)),
        Response::Done,
        Response::Read(TableData::of(&[3, 0, 1, 0])),
        Response::refusal(ResponseCode::Iar),
        Response::Done,
    ];
    maker.exchange(Frame::new(mode), &requests, &responses);
    // An index read may be answered by a block for each index.
    let request = Request::IndexRead { table: TableId::standard(23), index: index(2), elements: 1 };
    let number = maker.request(Frame::new(mode), &[request]);
    maker.send(Side::Node, Frame::new(mode).answer(number), |epsem| {
        epsem.service(|out| out.extend([0, 0, 1, 5, 0xfb, 0, 2, 1, 2, 0xfd]));
    });
    // Nothing at all.
    maker.exchange(Frame::new(mode), &[], &[]);
}

/// A write and a read that are continued in a second block, too large for a datagram.
pub fn continued(maker: &mut Maker, mode: SecurityMode) {
    let (table, data) = (TableId::manufacturer(9), data(super::DATA.len()));
    // tshark's memory does not outlive these in mode 1.
    if mode != SecurityMode::Mac {
        maker.exchange(Frame::new(mode), &[Request::FullWrite { table, data }], &[Response::Done]);
        maker.exchange(Frame::new(mode), &[Request::FullRead(table)], &[Response::Read(data)]);
    }
}
