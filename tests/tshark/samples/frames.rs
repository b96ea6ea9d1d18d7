//! Every form of what stands around the services.

use c1222::authentication::{Authentication, AuthenticationValue, C1221Step};
use c1222::canonified;
use c1222::{
    Apdu, EpsemControl, InvocationId, Leniency, Oid, Qualifier, Request, Response, ResponseCode,
    SecurityMode, TableId,
};

use super::{Frame, KEY_IDS, Maker, data, title};
use crate::capture::Side;

/// A short request.
const READ: Request<'static> = Request::FullRead(TableId::standard(1));

/// Every ACSE element in every form that tshark knows, every bit of the control octet.
pub fn all(maker: &mut Maker, mode: SecurityMode) {
    let plain = Frame::new(mode);
    for frame in [titles(plain), identifiers(plain), controls(plain), authentications(plain, mode)].concat() {
        if frame.envelope.is_response() {
            maker.response(frame, &[Response::refusal(ResponseCode::Bsy)]);
        } else {
            maker.request(frame, &[READ]);
        }
    }
}

fn titles(plain: Frame) -> Vec<Frame> {
    let pairs = [
        (".123.8437", "2.16.124.113620.1.22.0.123.4"),
        ("2.16.124.113620.1.22.0.123.8437", ".123.4"),
        ("2.16.840.1.114223.5", "1.3.6.1.4.1.33507.1.12345.0"),
        // Broadcast, group, arcs of every length, many arcs.
        (".123.0", ".127.128.16383.16384.2097151.2097152.268435455.268435456.4294967295"),
        (".123.0.98", ".9223372036854775807"),
        (".1.2.3.4.5.6.7.8.9.10.11.12.13.14.15.16.17.18.19.20.21.22.23.24.25.26.27.28.29.30.31", ".0.1"),
    ];
    let pair = |(called, calling)| {
        plain.with(|envelope| {
            (envelope.called, envelope.calling) = (Some(title(called)), Some(title(calling)));
        })
    };
    let mut all: Vec<Frame> = pairs.into_iter().map(pair).collect();
    // Not registered yet.
    all.push(plain.with(|envelope| envelope.calling = None));
    // A1 is never sent together with relative titles (c1222.md §5).
    let (called, calling) = ("2.16.124.113620.1.22.0.123.8437", "2.16.124.113620.1.22.0.123.4");
    let context = Oid::new(&[0x60, 0x7c, 0x86, 0xf7, 0x54, 1, 0x16]).unwrap();
    all.push(pair((called, calling)).with(|envelope| envelope.aso_context = Some(context)));
    all
}

fn identifiers(plain: Frame) -> Vec<Frame> {
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
    // Another node, since it takes numbers that messages of the first one have.
    let plain = plain.with(|envelope| envelope.calling = Some(title(".123.5")));
    let mut all = Vec::new();
    for octets in ids {
        let id = InvocationId::of_octets(octets).unwrap();
        all.push(plain.with(|envelope| envelope.invocation = id));
        all.push(plain.with(|envelope| envelope.answer_to = Some(id)));
    }
    all.extend((0..8).map(|bits| plain.with(|envelope| envelope.qualifier = Some(Qualifier(bits)))));
    let mechanism = Oid::new(&[0x60, 0x7c, 0x86, 0xf7, 0x54, 1, 0x16, 2, 1]).unwrap();
    all.push(plain.with(|envelope| envelope.mechanism = Some(mechanism)));
    all
}

fn controls(plain: Frame) -> Vec<Frame> {
    let (recovery, proxy) = (EpsemControl::RECOVERY_SESSION, EpsemControl::PROXY_SERVICE_USED);
    let control = |bits| Frame { control: plain.control.with(bits), ..plain };
    let mut all: Vec<Frame> =
        [recovery, proxy, recovery | proxy | 1, 1, 2].into_iter().map(control).collect();
    all.extend(all.clone().into_iter().map(|frame| Frame { ed_class: Some(*b"TEMP"), ..frame }));
    all
}

fn authentications(plain: Frame, mode: SecurityMode) -> Vec<Frame> {
    let mut all = Vec::new();
    let mut push = |authentication| {
        all.push(plain.with(|envelope| envelope.authentication = Some(authentication)));
    };
    for id in KEY_IDS {
        push(Authentication::c1222(id, [0; 4]));
        push(Authentication { reference: Some(0), ..Authentication::c1222(id, [0; 4]) });
    }
    if mode == SecurityMode::Clear {
        push(AuthenticationValue::C1222 { key_id: None, iv: None }.into());
        push(AuthenticationValue::C1222 { key_id: Some(1), iv: None }.into());
        push(AuthenticationValue::C1222 { key_id: None, iv: Some([0; 4]) }.into());
        for step in [C1221Step::Identification, C1221Step::Request, C1221Step::Response] {
            push(AuthenticationValue::C1221 { step, octets: &[1, 2, 3, 4] }.into());
        }
    }
    all
}

/// Secured messages of every length around those at which length octets change their number.
pub fn lengths(maker: &mut Maker, mode: SecurityMode) {
    // 64 KiB are beyond tshark's memory in mode 1.
    let near_64k: &[usize] =
        if mode == SecurityMode::Mac { &[] } else { &[0xffe0, 0xffe6, 0xffe7, 0xffee, 0xfff8] };
    for len in (0x58..0x80).chain(0xd8..0x108).chain(near_64k.iter().copied()) {
        let write = Request::FullWrite { table: TableId::manufacturer(5), data: data(len) };
        maker.request(Frame::new(mode), &[write]);
    }
}

/// A session: key id and IV of its Logon seal everything that follows.
pub fn session(maker: &mut Maker, mode: SecurityMode) {
    let logon = Request::Logon { user_id: 1, user: b"OPERATOR  ", timeout_s: Some(60) };
    let frame = Frame::new(mode).with(|envelope| envelope.called = Some(title(".123.8438")));
    let place = maker.samples.len();
    maker.exchange(frame, &[logon], &[Response::Logon(Some(60))]);
    let apdu = Apdu::decode(&maker.samples[place].apdu, Leniency::Strict).unwrap();
    let session = Some(canonified::key_iv(&apdu, None).unwrap());
    let frame = Frame { session, ..frame }.with(|envelope| envelope.authentication = None);
    maker.exchange(frame, &[READ], &[Response::Read(data(5))]);
    maker.exchange(frame, &[Request::Logoff], &[Response::Done]);
}

/// What is right by the standard, and beyond tshark.
pub fn beyond(maker: &mut Maker, mode: SecurityMode) {
    let plain = Frame::new(mode);
    maker.send(Side::Host, plain, |epsem| {
        epsem.request(&READ).pad(16);
    });
    maker.response(plain, &[Response::Read(data(900))]);
    maker.cut_last(400);
    if mode != SecurityMode::Clear {
        maker.request(plain.with(|envelope| envelope.called = None), &[READ]);
        let no_key_id = AuthenticationValue::C1222 { key_id: None, iv: Some([0; 4]) };
        maker.request(plain.with(|envelope| envelope.authentication = Some(no_key_id.into())), &[READ]);
    }
}
