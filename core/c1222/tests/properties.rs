//! What holds for any message and for any octets.

#![allow(missing_docs, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use metergraph_c1222::ap_title::{ApTitle, ApTitleBuf, Form};
use metergraph_c1222::authentication::{Authentication, AuthenticationValue, C1221Step};
use metergraph_c1222::identification::{Feature, Identification};
use metergraph_c1222::native_address::{NativeAddress, ShortOctets};
use metergraph_c1222::reassembler::{Limits, Reassembler, Reassembly};
use metergraph_c1222::registration::{ConnectionType, NodeType, Registered, Registration, TaggedId};
use metergraph_c1222::request::{Index, Password};
use metergraph_c1222::response::{Detail, Titles};
use metergraph_c1222::{
    Apdu, Envelope, Epsem, EpsemControl, InvocationId, Leniency, Oid, Qualifier, Request, Response,
    ResponseCode, Sealing, ServiceCode, TableData, TableId, U24, apdu, canonified, carriage, segment,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn title() -> impl Strategy<Value = ApTitleBuf> {
    let arc = prop_oneof![0..200_u64, any::<u64>().prop_map(|arc| arc >> 1)];
    (any::<bool>(), vec(arc, 1..7)).prop_map(|(relative, arcs)| {
        let text: String = arcs.iter().map(|arc| format!(".{arc}")).collect();
        ApTitleBuf::parse(&if relative { text } else { format!("2.16{text}") }).unwrap()
    })
}

fn octets(max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=max)
}

fn id() -> impl Strategy<Value = InvocationId> {
    vec(any::<u8>(), 1..=4).prop_map(|octets| InvocationId::of_octets(&octets).unwrap())
}

/// What an envelope is made of.
type Parts = (
    (bool, bool),
    (Option<ApTitleBuf>, Option<ApTitleBuf>),
    (Option<InvocationId>, InvocationId),
    Option<u8>,
    (u8, Option<u8>, Option<[u8; 4]>, Vec<u8>),
    Vec<u8>,
);

fn parts() -> impl Strategy<Value = Parts> {
    (
        any::<(bool, bool)>(),
        (option::of(title()), option::of(title())),
        (option::of(id()), id()),
        option::of(any::<u8>()),
        (0..6_u8, any::<Option<u8>>(), any::<Option<[u8; 4]>>(), octets(200)),
        vec(any::<u8>(), 1..400),
    )
}

fn envelope(parts: &Parts) -> Envelope<'_> {
    let ((context, mechanism), (called, calling), (answer_to, invocation), qualifier, authentication, _) =
        parts;
    let oid = Some(Oid::new(&[0x60, 0x7c, 0x86, 0xf7, 0x54, 0x01, 0x16]).unwrap());
    let (form, key_id, iv, octets) = authentication;
    let value = match form {
        0 => None,
        1 => Some(AuthenticationValue::C1222 { key_id: *key_id, iv: *iv }),
        2 => Some(AuthenticationValue::C1221 { step: C1221Step::Request, octets }),
        _ => Some(AuthenticationValue::OctetAligned(octets)),
    };
    Envelope {
        aso_context: oid.filter(|_| *context),
        called: called.as_ref().map(ApTitleBuf::as_title),
        answer_to: *answer_to,
        calling: calling.as_ref().map(ApTitleBuf::as_title),
        qualifier: qualifier.map(Qualifier),
        invocation: *invocation,
        mechanism: oid.filter(|_| *mechanism),
        authentication: value.map(|value| Authentication { reference: *key_id, value }),
    }
}

fn write(parts: &Parts) -> Vec<u8> {
    let mut out = parts.5.clone();
    envelope(parts).wrap(&mut out, 0);
    out
}

/// Reads octets with everything that reads an APDU or a part of one.
fn read_all(octets: &[u8]) {
    for leniency in [Leniency::Strict, Leniency::Draft] {
        let decoded = Apdu::decode(octets, leniency);
        let read = decoded.and_then(|apdu| carriage::read(&apdu));
        match carriage::locate(octets, leniency) {
            Ok(located) => {
                let apdu = decoded.unwrap();
                assert_eq!(located.calling, apdu.envelope.calling);
                if let carriage::Place::Frame(place) = located.place {
                    let carried = read.unwrap().unwrap();
                    assert_eq!((place.head(octets), place.body(octets)), (carried.head, carried.body));
                } else {
                    assert_eq!(read, Ok(None));
                }
            }
            Err(error) => assert_eq!(read, Err(error)),
        }
        if let Ok(apdu) = decoded {
            assert_eq!(apdu::measure(octets, octets.len()), Ok(Some(octets.len())));
            let session = Some(canonified::KeyIv { key_id: 0, iv: [0; 4] });
            let mut out = Vec::new();
            let canonified = canonified::canonify(&apdu, session, &[0x60], &mut out);
            assert_eq!(canonified.is_ok(), apdu.epsem().is_some());
            if let Ok(Some(places)) = canonified::sealed_places(&apdu) {
                assert_eq!(places.mac.end, octets.len().min(places.mac.end));
                assert!(octets.get(places.payload).is_some() && octets.get(places.mac).is_some());
            }
            read_epsem(apdu.epsem().unwrap_or_default());
            let _ = segment::split(octets, 60, |_| ());
        }
    }
    let _ = apdu::measure(octets, 100);
    let _ = ApTitle::decode(octets);
    let _ = (NativeAddress::decode(octets), NativeAddress::of_table_field(octets));
}

fn read_epsem(octets: &[u8]) {
    let _ = Sealing::split(octets);
    let Ok(epsem) = Epsem::decode(octets) else { return };
    let _ = epsem.check();
    for service in epsem.services().flatten() {
        read_service(service);
    }
}

fn read_service(octets: &[u8]) {
    if let Ok(request) = Request::decode(octets) {
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(Request::decode(&out), Ok(request));
        let _ = (request.check(), request.table(), format!("{request:?}"));
    }
    for leniency in [Leniency::Strict, Leniency::Draft] {
        for code in (0x1f..=0x72).map(ServiceCode) {
            if let Ok(response) = Response::decode(octets, Some(code), leniency) {
                let mut out = Vec::new();
                response.encode(&mut out);
                assert_eq!(Response::decode(&out, Some(code), leniency), Ok(response));
                let _ = (response.check(), format!("{response:?}"));
            }
        }
        let _ = Response::decode(octets, None, leniency);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn an_apdu_reads_back(parts in parts()) {
        let octets = write(&parts);
        let apdu = Apdu::decode(&octets, Leniency::Strict).unwrap();
        prop_assert_eq!(apdu.envelope, envelope(&parts));
        prop_assert_eq!(apdu.epsem().unwrap(), &parts.5[..]);
        prop_assert_eq!(&octets[apdu.user_at()..], &parts.5[..]);
        read_all(&octets);
    }

    #[test]
    fn no_octets_panic(octets in octets(200)) {
        read_all(&octets);
        read_epsem(&octets);
        read_service(&octets);
    }

    #[test]
    fn no_damage_panics(parts in parts(), damage in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut octets = write(&parts);
        for (at, octet) in damage {
            let at = at.index(octets.len());
            octets[at] = octet;
        }
        read_all(&octets);
    }

    #[test]
    fn no_service_parameters_panic(code in 0x00..=0x72_u8, parameters in octets(60)) {
        read_service(&[&[code], &parameters[..]].concat());
    }

    #[test]
    fn titles_read_back(title in title()) {
        prop_assert_eq!(&ApTitleBuf::parse(&title.to_string()).unwrap(), &title);
        let mut out = Vec::new();
        title.as_title().write(&mut out);
        prop_assert_eq!(ApTitle::decode(&out).unwrap(), title.as_title());
        let mut absolute = Vec::new();
        title.as_title().write_absolute(&mut absolute);
        let absolute = ApTitle::new(Form::Absolute, &absolute).unwrap();
        prop_assert!(absolute.same_node(&title.as_title()));
        prop_assert_eq!(absolute.canonical(), title.as_title().canonical());
        prop_assert!(!(absolute.is_group() && absolute.is_broadcast()));
    }

    #[test]
    fn frames_are_carried_unchanged(parts in parts(), kind in 1..=12_u8, frame in vec(any::<u8>(), 9..700)) {
        let mut frame = frame;
        frame[0] = 0x10 | kind;
        let mut out = vec![1, 2, 3];
        let envelope = Envelope { mechanism: None, ..envelope(&parts) };
        let written = carriage::write(&mut out, &envelope, &frame);
        prop_assert_eq!(written.is_ok(), kind != 6 && kind != 7);
        if written.is_ok() {
            read_all(&out[3..]);
            let apdu = Apdu::decode(&out[3..], Leniency::Strict).unwrap();
            let carried = carriage::read(&apdu).unwrap().unwrap();
            prop_assert_eq!([carried.head, carried.body].concat(), frame);
        }
    }

    #[test]
    fn segments_join_in_any_order(
        parts in parts(),
        octets_max in 90..200_usize,
        order in any::<prop::sample::Index>().prop_flat_map(|_| vec(any::<prop::sample::Index>(), 0..40)),
        lost in option::of(any::<prop::sample::Index>()),
    ) {
        let mut parts = parts;
        (parts.0, parts.4.0) = ((false, false), 0);
        let whole = write(&parts);
        let mut segments = Vec::new();
        if segment::split(&whole, octets_max, |octets| segments.push(octets.to_vec())).is_err() {
            return Ok(());
        }
        if segments.len() == 1 {
            prop_assert_eq!(&segments[0], &whole);
            return Ok(());
        }
        // Shuffled with duplicates, then each once more; perhaps without one of them.
        let mut sent: Vec<usize> = order.iter().map(|at| at.index(segments.len())).collect();
        sent.extend(0..segments.len());
        let lost = lost.map(|lost| lost.index(segments.len()));
        sent.retain(|at| Some(*at) != lost);
        let mut reassembler = Reassembler::new(Limits::default());
        let mut joined = Vec::new();
        for at in sent {
            match reassembler.push(4, &Apdu::decode(&segments[at], Leniency::Strict).unwrap(), 0) {
                Reassembly::Complete(octets) => joined.push(octets),
                Reassembly::Incomplete | Reassembly::Repeated => {}
                Reassembly::Refused(error) => panic!("{error}"),
            }
        }
        let expected = if lost.is_some() { vec![] } else { vec![whole] };
        prop_assert_eq!(joined, expected);
        prop_assert_eq!(reassembler.messages(), usize::from(lost.is_some()));
        reassembler.expire(u64::MAX);
        prop_assert_eq!(reassembler.octets(), 0);
    }

    #[test]
    fn a_flood_of_segments_stays_within_the_limits(
        floods in vec((0..3_u64, 0..6_u32, 1..400_u32, 0..400_u32, 1..40_usize, 0..50_u64), 1..200),
    ) {
        let limits = Limits {
            octets_per_message: 300,
            messages_per_link: 3,
            octets_per_link: 700,
            messages: 6,
            octets: 1200,
            parts_per_message: 3,
            remembered: 5,
            life_ns: 400,
        };
        let mut reassembler = Reassembler::new(limits);
        let mut now = 0;
        for (link, id, total, offset, len, wait) in floods {
            now += wait;
            let octets = segment_of(id, total, offset, &vec![u8::try_from(link).unwrap(); len]);
            if let Ok(apdu) = Apdu::decode(&octets, Leniency::Strict) {
                reassembler.push(link, &apdu, now);
            }
            prop_assert!(reassembler.messages() <= limits.messages);
            prop_assert!(reassembler.octets() <= limits.octets);
        }
        reassembler.expire(now + 1000);
        prop_assert_eq!((reassembler.messages(), reassembler.octets()), (0, 0));
    }

    #[test]
    fn requests_read_back(
        kind in 0..18_u8,
        (table, offset, count) in any::<(u16, u32, u16)>(),
        indices in vec(any::<u16>(), 1..=9),
        data in octets(300),
        (title, esn) in (title(), octets(20)),
        (user, password, user_id) in any::<([u8; 10], [u8; 20], Option<u16>)>(),
        (node_type, connection, class, assign) in any::<(u8, u8, [u8; 4], bool)>(),
    ) {
        let (table, offset) = (TableId(table), U24::saturating(offset));
        let (index, data) = (Index::new(&indices).unwrap(), TableData::of(&data));
        let title = title.as_title();
        let registration = Registration {
            node_type: NodeType(node_type & 0x7f),
            connection_type: ConnectionType(connection),
            device_class: class,
            title: assign.then_some(title),
            serial_number: TaggedId { form: Form::Absolute, octets: &esn },
            native_address: ShortOctets::new(&esn).unwrap(),
            period_s: offset,
            domain_pattern: user_id.and_then(|_| ShortOctets::new(&esn)),
        };
        let request = match kind {
            0 => Request::Identification,
            1 => Request::Terminate,
            2 => Request::Disconnect,
            3 => Request::Deregistration(title),
            4 => Request::Resolve(title),
            5 => Request::Trace(title),
            6 => Request::Registration(registration),
            7 => Request::FullRead(table),
            8 => Request::IndexRead { table, index, elements: count },
            9 => Request::DefaultRead,
            10 => Request::OffsetRead { table, offset, count },
            11 => Request::FullWrite { table, data },
            12 => Request::IndexWrite { table, index, data },
            13 => Request::OffsetWrite { table, offset, data },
            14 => Request::Logon { user_id: count, user: &user, timeout_s: user_id },
            15 => Request::Security { password: Password::new(&password), user_id },
            16 => Request::Wait(node_type),
            _ => Request::Logoff,
        };
        let mut out = Vec::new();
        request.encode(&mut out);
        prop_assert_eq!(Request::decode(&out), Ok(request));
        prop_assert_eq!(out[0], request.code().0);
        prop_assert!(request.code().name() != "unknown");
        let reserved = kind == 6 && (node_type & 0x40 != 0 || connection & 0x08 != 0);
        prop_assert_eq!(request.check().is_err(), reserved);
        for len in 1..out.len() {
            // Fields at the end of these may be absent.
            let shorter = Request::decode(&out[..len]);
            prop_assert!(shorter != Ok(request));
        }
    }

    #[test]
    fn responses_read_back(
        kind in 0..14_u8,
        data in octets(300),
        (title, other) in (title(), title()),
        (a, b, timeout, info) in any::<(u32, u32, Option<u16>, u8)>(),
        code in 1..=0xff_u8,
    ) {
        let titles = [title.as_title(), other.as_title()];
        let id = TaggedId { form: Form::RelativeOid, octets: &data };
        let features = [
            Feature::SecurityMechanism(id),
            Feature::Sessions { sessionless: info & 1 != 0, sessions: info >> 1 },
            Feature::DeviceClass(id),
            Feature::Identity { format: 1, octets: &data[..data.len().min(254)] },
        ];
        let registered = Registered {
            title: titles[0],
            delay_s: timeout.unwrap_or(9),
            period_s: U24::saturating(a),
            info: ConnectionType(info),
        };
        let address = ShortOctets::new(&data[..data.len().min(255)]).unwrap();
        let refused = |code: ResponseCode, detail| Response::Refused { code, detail };
        let (request, response) = match kind {
            0 => (ServiceCode::FULL_WRITE, Response::Done),
            1 => (ServiceCode::IDENTIFICATION, Response::Identification(Identification::c1222(&features))),
            2 => (ServiceCode::OFFSET_READ, Response::Read(TableData::of(&data))),
            3 => (ServiceCode::LOGON, Response::Logon(timeout)),
            4 => (ServiceCode::REGISTRATION, Response::Registration(registered)),
            5 => (ServiceCode::RESOLVE, Response::Resolve(address)),
            6 => (ServiceCode::TRACE, Response::Trace(Titles::of(&titles))),
            7 => (ServiceCode::TRACE, refused(ResponseCode::Netr, Detail::Way(Titles::of(&titles)))),
            8 => (ServiceCode::FULL_READ, refused(ResponseCode::Rstl, Detail::SizeMax(a))),
            9 => (ServiceCode::FULL_WRITE, refused(ResponseCode::Rqtl, Detail::SizeMax(b))),
            10 => (ServiceCode::FULL_READ, refused(ResponseCode::Sgerr, Detail::Segment { offset: a, size: b })),
            11 => (ServiceCode(0x53), Response::Other(&data)),
            12 => (ServiceCode::SECURITY, Response::refusal(ResponseCode::of(code))),
            _ => (ServiceCode::index_read(2).unwrap(), Response::Read(TableData::of(&data))),
        };
        let mut out = Vec::new();
        response.encode(&mut out);
        prop_assert_eq!(Response::decode(&out, Some(request), Leniency::Strict), Ok(response));
        prop_assert_eq!(out[0], response.code().octet());
    }

    #[test]
    fn epsem_control_keeps_every_bit(control in any::<u8>(), class in any::<[u8; 4]>(), service in vec(any::<u8>(), 1..300)) {
        let mut out = Vec::new();
        let class = EpsemControl(control).has(EpsemControl::ED_CLASS_INCLUDED).then_some(class);
        metergraph_c1222::EpsemWriter::new(&mut out, EpsemControl(control), class)
            .service(|out| out.extend_from_slice(&service));
        prop_assert_eq!(out[0], control);
        let epsem = Epsem::of_plaintext(EpsemControl(control), &out[1..]).unwrap();
        prop_assert_eq!(epsem.ed_class, class);
        prop_assert_eq!(epsem.services().collect::<Vec<_>>(), vec![Ok(&service[..])]);
    }
}

/// A segment as an attacker writes it.
fn segment_of(id: u32, total: u32, offset: u32, part: &[u8]) -> Vec<u8> {
    let tlv = |tag: u8, content: &[u8]| {
        [&[tag, 0x82], &u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
    };
    let number = |value: u32| tlv(2, &value.to_be_bytes()[1..]);
    let be = tlv(0x28, &[number(offset), tlv(0x81, part)].concat());
    let content = [tlv(0xa3, &number(total)), tlv(0xa8, &number(id)), tlv(0xbe, &be)].concat();
    tlv(0x60, &content)
}
