//! Addresses, response control, TEST, repetition, and services without tables.

use std::net::{IpAddr, Ipv4Addr};

use c1222::ap_title::Form;
use c1222::envelope::Qualifier;
use c1222::epsem::ResponseControl;
use c1222::identification::Feature;
use c1222::native_address::{NativeAddress, ShortOctets};
use c1222::registration::{ConnectionType, NodeType, Registration, TaggedId};
use c1222::request::Password;
use c1222::tables::TableId;
use c1222::{Apdu, Leniency, Request, Response, ResponseCode, ServiceCode, TableData, U24};

use super::super::testing::*;
use super::super::{EndDevice, Refusal, Setup, User, Verdict};

const IDENTIFY: Request<'_> = Request::Identification;
const ST5: Request<'_> = Request::FullRead(TableId::standard(5));

#[test]
fn it_says_what_it_is() {
    for (mut device, secured) in [(open_device(), false), (classic_device(), true)] {
        let answer = Client::clear().ask(&mut device, &[IDENTIFY], at(1));
        let response =
            Response::decode(&answer.responses[0], Some(ServiceCode::IDENTIFICATION), Leniency::Strict)
                .unwrap();
        let Response::Identification(identification) = response else { panic!("{response:?}") };
        assert_eq!(identification.standard, 3);
        let features: Vec<_> = identification.features().collect();
        assert_eq!(matches!(features[0], Feature::SecurityMechanism(_)), secured);
        assert!(features.contains(&Feature::Sessions { sessionless: true, sessions: 8 }));
        assert!(features.contains(&Feature::Identity { format: 1, octets: b"MGRF0001" }));
    }
}

#[test]
fn only_who_is_called_answers() {
    for (called, verdict, code) in [
        (Some(".68.33.3"), Verdict::Served, Some(ResponseCode::Ok)),
        (Some("2.16.124.113620.1.22.0.68.33.3"), Verdict::Served, Some(ResponseCode::Ok)),
        (None, Verdict::Served, Some(ResponseCode::Ok)),
        (Some(".68.33.0"), Verdict::Served, Some(ResponseCode::Ok)),
        (Some(".68.33.4"), Verdict::Refused(Refusal::NotForUs), Some(ResponseCode::Uat)),
        (Some(".68.33.3.1"), Verdict::Refused(Refusal::NotForUs), Some(ResponseCode::Uat)),
        (Some("2.16.124.113620.1.22.68.33.3"), Verdict::Refused(Refusal::NotForUs), Some(ResponseCode::Uat)),
        (Some(".68.34.0"), Verdict::Refused(Refusal::NotForUs), None),
        (Some(".68.0.3"), Verdict::Refused(Refusal::NotForUs), None),
    ] {
        let mut client = Client { called: called.map(title), ..Client::clear() };
        let answer = client.ask(&mut open_device(), &[IDENTIFY], at(1));
        assert_eq!((answer.verdict, answer.codes().first().copied()), (verdict, code), "{called:?}");
        if called == Some("2.16.124.113620.1.22.0.68.33.3") {
            let apdu = Apdu::decode(&answer.apdu, Leniency::Strict).unwrap();
            assert_eq!(apdu.envelope.calling.unwrap(), title("2.16.124.113620.1.22.0.68.33.3").as_title());
        }
    }
}

#[test]
fn a_node_without_title_is_answered_without_called_title() {
    let mut client = Client { title: None, ..Client::clear() };
    let answer = client.ask(&mut open_device(), &[ST5], at(1));
    assert_eq!(answer.codes(), [ResponseCode::Ok]);
}

#[test]
fn responses_come_as_they_are_wished() {
    let wrong = Request::FullRead(TableId::standard(999));
    for (control, request, answered) in [
        (ResponseControl::Always, ST5, true),
        (ResponseControl::OnException, ST5, false),
        (ResponseControl::OnException, wrong, true),
        (ResponseControl::Never, ST5, false),
        (ResponseControl::Never, wrong, false),
    ] {
        let mut client = Client { response_control: control, ..Client::clear() };
        let answer = client.ask(&mut open_device(), &[request], at(1));
        assert_eq!((answer.verdict, !answer.apdu.is_empty()), (Verdict::Served, answered), "{control:?}");
    }
    let mut client =
        Client { response_control: ResponseControl::Never, called: Some(title(".1")), ..Client::clear() };
    assert!(client.ask(&mut open_device(), &[ST5], at(1)).apdu.is_empty());
    // A refusal of a broadcast is kept back.
    let mut client = Client { called: Some(title(".0")), ..Client::clear() };
    assert!(client.ask(&mut open_device(), &[wrong], at(1)).apdu.is_empty());
}

#[test]
fn what_is_refused_does_not_end_what_follows() {
    let unknown = Request::Other { code: ServiceCode(0x53), parameters: &[1] };
    let codes = Client::clear().codes(
        &mut open_device(),
        &[IDENTIFY, unknown, Request::FullRead(TableId(0x1005)), Request::Wait(1), ST5],
        at(1),
    );
    use ResponseCode::{Iar, Isss, Ok, Sns};
    assert_eq!(codes, [Ok, Sns, Iar, Isss, Ok]);
}

#[test]
fn malformed_services_are_answered_err() {
    let mut client = Client::clear();
    let message = client.message_with(at(1), |epsem| {
        epsem.service(|out| out.extend_from_slice(&[0x30, 0x00]));
        epsem.service(|out| out.push(0x20));
    });
    let codes = client.send(&mut open_device(), &message, at(1)).codes();
    assert_eq!(codes, [ResponseCode::Err, ResponseCode::Ok]);
    let message = client.message_with(at(1), |epsem| {
        epsem.request(&IDENTIFY).service(|out| out.extend_from_slice(&[0x70]));
    });
    let mut cut = message.clone();
    // The second service reaches beyond the EPSEM.
    let at_length = cut.len() - 2;
    cut[at_length] = 9;
    let codes = client.send(&mut open_device(), &cut, at(1)).codes();
    assert_eq!(codes, [ResponseCode::Ok, ResponseCode::Err]);
}

#[test]
fn too_many_services_are_refused_at_once() {
    let mut client = Client::clear();
    assert_eq!(client.codes(&mut open_device(), &[ST5; 32], at(1)).len(), 32);
    let answer = client.ask(&mut open_device(), &[ST5; 33], at(1));
    assert_eq!(answer.verdict, Verdict::Refused(Refusal::TooManyServices));
    assert_eq!(answer.codes(), [ResponseCode::Rqtl]);
}

#[test]
fn a_test_has_no_side_effects() {
    let mut device = open_device();
    let now = at(1);
    let before = Client::clear().ask(&mut device, &[Request::FullRead(TableId::manufacturer(1))], now);
    let open = Request::FullWrite { table: TableId::standard(7), data: TableData::of(&[1, 8, 5, 0]) };
    let logon = Request::Logon { user_id: 1, user: &[b' '; 10], timeout_s: Some(60) };
    let mut tester = Client { qualifier: Some(Qualifier::TEST), invocation: 200, ..Client::clear() };
    let answer = tester.ask(
        &mut device,
        &[open, Request::FullRead(TableId::standard(8)), Request::FullRead(TableId::manufacturer(1)), logon],
        now,
    );
    assert_eq!(answer.codes(), [ResponseCode::Ok; 4]);
    assert_eq!((answer.data(1), answer.data(2)), (vec![1, 8, 5, 0], vec![0, 0, 0, 0]));
    assert_eq!(
        Apdu::decode(&answer.apdu, Leniency::Strict).unwrap().envelope.qualifier,
        Some(Qualifier::TEST)
    );
    let mut client = Client { invocation: 300, ..Client::clear() };
    let after = client.ask(&mut device, &[Request::FullRead(TableId::manufacturer(1)), Request::Logoff], now);
    assert_eq!(after.data(0), before.data(0));
    assert_eq!(after.codes()[1], ResponseCode::Isss);
}

#[test]
fn a_repeated_message_is_dropped_for_two_minutes() {
    let mut device = open_device();
    let mut client = Client::clear();
    let message = client.message(&[ST5], at(1));
    assert_eq!(client.send(&mut device, &message, at(1)).verdict, Verdict::Served);
    for later in [1, 60, 120] {
        let answer = client.send(&mut device, &message, at(later));
        assert_eq!((answer.verdict, answer.apdu.len()), (Verdict::Repeated, 0), "{later}");
    }
    assert_eq!(client.send(&mut device, &message, at(121)).verdict, Verdict::Served);
    // The same id from somebody else is another message.
    let mut other = Client { title: Some(title(".9")), ..Client::clear() };
    assert_eq!(other.ask(&mut device, &[ST5], at(121)).verdict, Verdict::Served);
}

#[test]
fn a_response_is_not_answered() {
    let mut device = open_device();
    let answer = Client::clear().ask(&mut device, &[ST5], at(1));
    let mut out = Vec::new();
    let verdict = device.receive(1, &answer.apdu, at(2), &mut out);
    assert_eq!((verdict, out.len()), (Verdict::Refused(Refusal::UnexpectedResponse), 0));
}

#[test]
fn garbage_is_named_and_not_answered() {
    let mut device = open_device();
    let mut out = vec![1];
    for octets in [&[][..], &[0x61, 0], &[0x60, 2, 0xa8, 0], b"GET / HTTP/1.1\r\n"] {
        let verdict = device.receive(1, octets, at(1), &mut out);
        assert!(matches!(verdict, Verdict::Refused(Refusal::Decode(_))), "{verdict:?}");
        assert!(out.is_empty());
    }
}

#[test]
fn it_knows_the_way_to_itself_only() {
    let (own, other) = (title(TITLE), title(".68.33.9"));
    let mut device = open_device();
    let mut client = Client::clear();
    let ask = [
        Request::Resolve(own.as_title()),
        Request::Resolve(other.as_title()),
        Request::Trace(own.as_title()),
        Request::Trace(other.as_title()),
    ];
    use ResponseCode::{Ok, Onp, Uat};
    assert_eq!(client.codes(&mut device, &ask, at(1)), [Onp, Uat, Ok, Uat]);
    device.set_native_address(NativeAddress {
        ip: IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)),
        port: Some(4000),
        protocol: None,
    });
    let answer = client.ask(&mut device, &ask, at(1));
    assert_eq!(answer.codes(), [Ok, Uat, Ok, Uat]);
    assert_eq!(answer.responses[0], [0, 6, 10, 1, 2, 3, 0x0f, 0xa0]);
    assert_eq!(answer.responses[2], [0, 0x80, 3, 0x44, 0x21, 3]);
    assert_eq!(answer.responses[3], [0x0c, 0x80, 3, 0x44, 0x21, 3]);
}

#[test]
fn it_registers_nobody() {
    let own = title(TITLE);
    let registration = Request::Registration(Registration {
        node_type: NodeType(NodeType::END_DEVICE),
        connection_type: ConnectionType(ConnectionType::CO),
        device_class: *b"MGRF",
        title: None,
        serial_number: TaggedId { form: Form::Absolute, octets: &[1, 2] },
        native_address: ShortOctets::new(&[127, 0, 0, 1]).unwrap(),
        period_s: U24::MAX,
        domain_pattern: None,
    });
    let codes = Client::clear().codes(
        &mut open_device(),
        &[
            registration,
            Request::Deregistration(own.as_title()),
            Request::Deregistration(title(".5").as_title()),
        ],
        at(1),
    );
    assert_eq!(codes, [ResponseCode::Sns, ResponseCode::Ok, ResponseCode::Uat]);
}

#[test]
fn users_need_their_passwords_to_write() {
    let users = vec![User::new(2, [b'w'; 20], true), User::new(3, [b'r'; 20], false)];
    let mut device = EndDevice::new(Setup { users, ..setup() }, at(0));
    let mut client = Client::clear();
    let write = Request::FullWrite { table: TableId::standard(7), data: TableData::of(&[9, 0, 1, 1]) };
    let security = |octets, user_id| Request::Security { password: Password::new(octets), user_id };
    use ResponseCode::{Isc, Isss, Ok};
    for (first, codes) in [
        (ST5, [Ok, Isc, Ok]),
        (security(&[b'w'; 20], Some(2)), [Ok, Ok, Ok]),
        (security(&[b'r'; 20], Some(3)), [Ok, Isc, Ok]),
        (security(&[b'w'; 20], Some(3)), [Isc, Isc, Ok]),
        (security(&[b'w'; 20], Some(9)), [Isc, Isc, Ok]),
        (security(&[b'w'; 20], None), [Isss, Isc, Ok]),
    ] {
        assert_eq!(client.codes(&mut device, &[first, write, ST5], at(1)), codes, "{first:?}");
    }
    // What one message showed is no use to the next.
    client.codes(&mut device, &[security(&[b'w'; 20], Some(2))], at(1));
    assert_eq!(client.codes(&mut device, &[write], at(1)), [Isc]);
}
