//! Each row of security layer §10 that an end device raises, with its code, counted, and with what is sent
//! back; and what never comes near a key.

use c1222::epsem::ResponseControl;
use c1222::request::Request;
use c1222::{
    Apdu, Envelope, Epsem, EpsemControl, EpsemWriter, InvocationId, Leniency, SecurityMode, carriage, segment,
};
use proptest::collection::vec;
use proptest::prelude::*;
use seal::command::{self, Addressee, Class, Classes, Command, KeyItem};
use seal::control::Down;
use seal::frame::FrameType;
use seal::ids::{Dev, Epoch, Gid};

use super::super::*;
use super::head_end::{Pair, Told};
use super::support::{self, DEV, SKID, SYSTEM, at, title};
use crate::end_device::{EndDevice, Setup};
use crate::meter::Meter;
use crate::testing::residential;

pub const GID: Gid = Gid(0x8000_0007);

/// Gives a frame, and what came of it: the code, and the result that the head-end got.
pub fn verdict(pair: &mut Pair, apdu: &[u8]) -> (&'static str, Option<u8>) {
    let before = pair.head_end.told.len();
    let counted = |pair: &Pair| pair.agent.counts().refused.values().sum::<u64>();
    let refused = counted(pair);
    let out = pair.give(apdu);
    let [code] = support::refused(&out)[..] else { panic!("{out:?}") };
    assert_eq!(counted(pair), refused + 1);
    let result = pair.head_end.told[before..].iter().find_map(|(_, told)| match told {
        Told::Result { result, .. } => Some(*result),
        _ => None,
    });
    assert!(pair.done.lock().unwrap().is_empty(), "nothing is done");
    (code, result)
}

/// A registered device in a group that may order class 0.
pub fn member() -> Pair {
    let mut pair = Pair::registered();
    let apdu = pair.head_end.keys(SKID, DEV, &[KeyItem::Join { gid: GID, classes: Classes(1) }]);
    pair.give(&apdu);
    let apdu = pair.head_end.group_key(DEV, GID, Epoch(1), 1);
    pair.give(&apdu);
    pair.head_end.told.clear();
    pair
}

pub fn signed(pair: &Pair, to: Addressee, command: &Command<'_>) -> Vec<u8> {
    let Ok(signed) = command::sign(
        command.octets().unwrap(),
        SYSTEM,
        to,
        &support::signing_key(if pair.head_end.signers.contains_key(&command.skid) {
            command.skid
        } else {
            77
        }),
    );
    signed
}

#[test]
fn before_the_signature_nothing_is_sent_back() {
    let mut pair = member();
    let sid = pair.head_end.sid(DEV);
    // SEC-DN-FORMAT: a plaintext below 76 octets, items that are none, a type that goes up, no frame at all.
    let short = pair.head_end.down(sid, FrameType::Command, &[0; 75]).unwrap();
    let items = pair.head_end.down(sid, FrameType::DownControl, &[9]).unwrap();
    let up = pair.head_end.down(sid, FrameType::UpControl, &[4; 9]).unwrap();
    for apdu in [&short[..], &items, &up, &[0x60, 2, 1, 1], b"junk", &[]] {
        assert_eq!(verdict(&mut pair, apdu), ("SEC-DN-FORMAT", None));
    }
    // SEC-DN-EPOCH, -AUTH, -REPLAY.
    let good = pair.head_end.control(sid, &[Down::Wait { seconds: 0 }]).unwrap();
    let at_sid = good.windows(4).position(|octets| octets == sid.0.to_be_bytes()).unwrap();
    let flipped = |at: usize| {
        let mut octets = good.clone();
        octets[at] ^= 1;
        octets
    };
    assert_eq!(verdict(&mut pair, &flipped(at_sid)), ("SEC-DN-EPOCH", None));
    assert_eq!(verdict(&mut pair, &flipped(at_sid + 4)), ("SEC-DN-EPOCH", None));
    assert_eq!(verdict(&mut pair, &flipped(at_sid + 7)), ("SEC-DN-AUTH", None));
    assert_eq!(verdict(&mut pair, &flipped(good.len() - 1)), ("SEC-DN-AUTH", None));
    assert!(support::refused(&pair.give(&good)).is_empty());
    assert_eq!(verdict(&mut pair, &good), ("SEC-DN-REPLAY", None));
    // A frame held back until 64 later ones have come.
    let late = pair.head_end.control(sid, &[Down::Wait { seconds: 0 }]).unwrap();
    for _ in 0..64 {
        let apdu = pair.head_end.control(sid, &[Down::Wait { seconds: 0 }]).unwrap();
        pair.give(&apdu);
    }
    assert_eq!(verdict(&mut pair, &late), ("SEC-DN-REPLAY", None));
    // A device without association has no key for anything.
    let mut new = Pair::new();
    assert_eq!(verdict(&mut new, &good), ("SEC-DN-EPOCH", None));
}

#[test]
fn after_the_signature_a_result_says_why() {
    let now = at(0).unix_s as u32;
    let command =
        |skid, class: Class, ctr, nbf, body| Command { skid, class: class.octet(), ctr, nbf, ttl: 60, body };
    let good = command(SKID, Class::Write, 100, now, &[1][..]);
    let device = Addressee::Device(DEV);
    let cases: [(&str, u8, Addressee, Command<'_>); 14] = [
        ("SEC-DN-SIG", 16, device, Command { skid: 77, ..good }),
        ("SEC-DN-SIG", 16, Addressee::Device(Dev([9; 8])), good),
        ("SEC-DN-SIG", 16, Addressee::Group(GID), good),
        ("SEC-DN-CLASS", 17, device, Command { class: 9, ..good }),
        ("SEC-DN-CLASS", 17, device, Command { skid: 0, ..good }),
        ("SEC-DN-CLASS", 17, device, Command { body: &[3], ..good }),
        ("SEC-DN-CLASS", 17, device, Command { body: &[], ..good }),
        ("SEC-DN-CLASS", 17, device, Command { class: 5, body: &[0; 15], ..good }),
        ("SEC-DN-CTR", 18, device, Command { ctr: 0, ..good }),
        ("SEC-DN-TIME", 19, device, Command { ttl: 0, ..good }),
        ("SEC-DN-TIME", 19, device, Command { nbf: now + 301, ..good }),
        ("SEC-DN-TIME", 19, device, Command { nbf: now - 3601, ..good }),
        ("SEC-DN-TIME", 19, device, Command { class: 3, ttl: 1441, ..good }),
        ("SEC-DN-TIME", 19, device, Command { class: 5, body: &[1; 16], ..good }),
    ];
    for (code, result, to, command) in cases {
        let mut pair = member();
        let signed = signed(&pair, to, &command);
        let sid = pair.head_end.sid(DEV);
        let apdu = pair.head_end.down(sid, FrameType::Command, &signed).unwrap();
        assert_eq!(verdict(&mut pair, &apdu), (code, Some(result)), "{command:?}");
    }
    // To the group: a class that the JOIN does not give; a forged signature is not answered.
    let mut pair = member();
    let plain = signed(&pair, Addressee::Group(GID), &good);
    let apdu = pair.head_end.group_frame(GID, &plain);
    assert_eq!(verdict(&mut pair, &apdu), ("SEC-DN-CLASS", Some(17)));
    let forged = signed(&pair, device, &command(SKID, Class::Read, 5, now, &[0]));
    let apdu = pair.head_end.group_frame(GID, &forged);
    assert_eq!(verdict(&mut pair, &apdu), ("SEC-DN-SIG", None));
}

#[test]
fn a_reconnect_held_back_behind_a_disconnect_is_out_of_order() {
    let mut pair = Pair::registered();
    let (_, reconnect, _) = pair.head_end.command(SKID, DEV, Class::Load, &[3, 1]);
    let (_, disconnect, _) = pair.head_end.command(SKID, DEV, Class::Load, &[3, 2]);
    pair.give(&disconnect);
    pair.done.lock().unwrap().clear();
    assert_eq!(verdict(&mut pair, &reconnect), ("SEC-DN-CTR", Some(18)));
    // Signed by another key, so that only nbf tells which came first.
    let now = at(0).unix_s as u32;
    pair.head_end.signers.insert(0, support::signing_key(0));
    let early = Command { skid: SKID, class: 3, ctr: 50, nbf: now - 10, ttl: 60, body: &[3, 1] };
    let signed = signed(&pair, Addressee::Device(DEV), &early);
    let sid = pair.head_end.sid(DEV);
    let apdu = pair.head_end.down(sid, FrameType::Command, &signed).unwrap();
    assert_eq!(verdict(&mut pair, &apdu), ("SEC-DN-ORDER", Some(20)));
}

/// A whole meter, with tables.
fn meter() -> Agent {
    let layout = std::sync::Arc::new(residential());
    let meter = Meter::new(1, DEV);
    let setup = Setup::new(layout.profile().clone(), title(".75.1.2"), "MGRF0001".into(), meter);
    let application = MeterApplication::new(EndDevice::new(setup, at(0)), meter, layout);
    let settings = Settings { paced: true, ..Settings::default() };
    let storage = Box::new(MemoryStorage::default());
    Agent::open(support::identity(), settings, Box::new(application), storage, support::entropy(1), at(0))
        .unwrap()
}

/// What a request in clear is answered, as codes.
fn ask(agent: &mut Agent, invocation: u32, requests: &[Request<'_>]) -> Vec<u8> {
    let (host, node) = (title(".1"), title(".75.1.2"));
    let mut apdu = Vec::new();
    let mut writer =
        EpsemWriter::new(&mut apdu, EpsemControl::new(SecurityMode::Clear, ResponseControl::Always), None);
    for request in requests {
        writer.request(request);
    }
    Envelope {
        called: Some(node.as_title()),
        calling: Some(host.as_title()),
        ..Envelope::new(InvocationId::new(invocation))
    }
    .wrap(&mut apdu, 0);
    let mut out = Vec::new();
    agent.handle(1, &apdu, at(1), &mut out);
    let answer = support::sent(&out).remove(0);
    let apdu = Apdu::decode(&answer, Leniency::Strict).unwrap();
    let epsem = Epsem::decode(apdu.epsem().unwrap()).unwrap();
    epsem.services().map(|service| service.unwrap()[0]).collect()
}

#[test]
fn a_registered_meter_answers_in_clear_only_who_and_where_it_is() {
    let mut pair = Pair::new();
    pair.agent = meter();
    let own = title(".75.1.2");
    let table = c1222::TableId::standard(0);
    let requests = [
        Request::Identification,
        Request::Resolve(own.as_title()),
        Request::Trace(own.as_title()),
        Request::FullRead(table),
        Request::Logon { user_id: 1, user: b"          ", timeout_s: Some(60) },
    ];
    assert_eq!(ask(&mut pair.agent, 1, &requests[3..4]), [0], "as classic as it was");
    pair.register();
    // Resolve: it has no address of its own (04); the rest needs a security that it does not take any more.
    assert_eq!(ask(&mut pair.agent, 2, &requests), [0, 4, 0, 3, 3]);
    // EAX' is refused, and nothing is sent back.
    let mut classic = vec![0x88, 0, 0, 0, 0, 0];
    let (host, node) = (title(".1"), title(".75.1.2"));
    Envelope {
        called: Some(node.as_title()),
        calling: Some(host.as_title()),
        authentication: Some(c1222::authentication::Authentication::c1222(0, [1; 4])),
        ..Envelope::new(InvocationId::new(3))
    }
    .wrap(&mut classic, 0);
    let mut out = Vec::new();
    pair.agent.handle(1, &classic, at(1), &mut out);
    assert_eq!(out, [Output::Refused("SEC-LEGACY")]);
}

#[test]
fn a_meter_really_does_what_it_is_told() {
    use c1222::device_profile::SwitchPosition;
    use c1222::tables::{Initiate, Post, ProcedureId, ProcedureResponse};
    use c1222::{TableData, TableId, U24};
    let mut pair = Pair::new();
    pair.agent = meter();
    pair.register();
    let format = residential().profile().format;
    let body = |requests: &[Request<'_>]| {
        let mut body = Vec::new();
        let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Always);
        let mut writer = EpsemWriter::new(&mut body, control, None);
        for request in requests {
            writer.request(request);
        }
        body
    };
    let call = |procedure, parameters: &[u8]| {
        let mut data = Vec::new();
        Initiate { procedure, post: Post::Completion, sequence: 1, parameters }.write(&format, &mut data);
        body(&[
            Request::FullWrite { table: Initiate::TABLE, data: TableData::of(&data) },
            Request::FullRead(ProcedureResponse::TABLE),
        ])
    };
    let mp = ProcedureId::manufacturer;
    let image = [7; 700];
    let digest = seal::signature::sha256(&image);
    let activate = [&700_u32.to_le_bytes()[..], &digest].concat();
    let block = |offset: usize| {
        let data = &image[offset..image.len().min(offset + 400)];
        let offset = U24::new(offset as u32).unwrap();
        body(&[Request::OffsetWrite { table: TableId::manufacturer(52), offset, data: TableData::of(data) }])
    };
    for (class, body, result) in [
        (Class::Read, body(&[Request::FullRead(TableId::standard(23))]), 0),
        (Class::Read, body(&[Request::FullRead(TableId::standard(22))]), 0),
        (Class::Load, call(mp(1), &[2]), 3),
        (Class::Load, call(mp(1), &[0]), 0),
        (Class::Load, call(mp(1), &[9]), 2),
        (Class::Load, call(mp(2), &[1, 2, 3, 4, 5, 6]), 0),
        (Class::Load, call(mp(2), &[1]), 2),
        (Class::Load, call(ProcedureId::standard(21), &[0; 11]), 0),
        (Class::Firmware, block(400), 0),
        (Class::Firmware, call(mp(3), &activate), 3),
        (Class::Firmware, block(0), 0),
        (Class::Firmware, call(mp(3), &activate), 0),
        (Class::Write, call(ProcedureId::standard(5), &[1, 0, 0]), 0),
    ] {
        let (ctr, apdu, _) = pair.head_end.command(SKID, DEV, class, &body);
        let out = pair.give(&apdu);
        assert_eq!(pair.head_end.results(DEV, 1, ctr), [result], "{body:02x?}: {out:?}");
    }
    assert_eq!(pair.agent.application().switch(), Some(SwitchPosition::Open));
    // A class hidden in the body: the meter's own profile says what it is.
    let (_, apdu, _) = pair.head_end.command(SKID, DEV, Class::Write, &call(mp(1), &[1]));
    assert_eq!(support::refused(&pair.give(&apdu)), ["SEC-DN-CLASS"]);
}

#[test]
fn a_frame_in_segments_is_joined_and_segments_of_segments_are_not() {
    let mut pair = Pair::registered();
    let (ctr, apdu, _) = pair.head_end.command(SKID, DEV, Class::Read, &[0; 300]);
    let mut pieces = Vec::new();
    segment::split(&apdu, 200, |piece| pieces.push(piece.to_vec())).unwrap();
    assert!(pieces.len() > 1);
    pieces.iter().for_each(|piece| pair.agent.handle(1, piece, at(0), &mut pair.out));
    let out = std::mem::take(&mut pair.out);
    support::sent(&out).iter().for_each(|apdu| drop(pair.head_end.handle(apdu)));
    assert_eq!(pair.head_end.results(DEV, 1, ctr), [0]);

    let mut nested = Vec::new();
    segment::split(&pieces[0], 100, |piece| nested.push(piece.to_vec())).unwrap_or_default();
    let mut out = Vec::new();
    nested.iter().for_each(|piece| pair.agent.handle(1, piece, at(0), &mut out));
    assert!(support::sent(&out).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_octets_are_taken(octets in vec(any::<u8>(), 0..200), first in 0x10..0x20_u8, flips in vec((any::<prop::sample::Index>(), 0..8_u8), 1..4)) {
        let mut pair = Pair::registered();
        let before = pair.agent.receiver().unwrap().floors.clone();
        let mut framed = Vec::new();
        let frame = [&[first][..], &octets].concat();
        let framed_well = carriage::write(&mut framed, &Envelope::new(InvocationId::new(1)), &frame).is_ok();
        let (_, mut command, _) = pair.head_end.command(SKID, DEV, Class::Load, &[3]);
        for (at, bit) in flips {
            let at = at.index(command.len());
            command[at] ^= 1 << bit;
        }
        for apdu in [&octets, &framed, &command] {
            let mut out = Vec::new();
            pair.agent.handle(1, apdu, at(0), &mut out);
            pair.agent.poll(at(0), &mut out);
        }
        prop_assert!(framed_well || framed.is_empty());
        // Flipped outside the seal it may still be whole: titles and invocation ids are only hints.
        let floors = &pair.agent.receiver().unwrap().floors;
        prop_assert!(*floors == before || pair.done.lock().unwrap().len() == 1);
    }
}
