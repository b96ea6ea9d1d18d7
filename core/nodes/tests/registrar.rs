//! Registration: a balancer and a registrar, with a real end device's side of EDHOC, and a token, a key store
//! and shards that the test plays. Each refusal of security layer §10 that a registration can meet.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;
#[path = "registrar/desk.rs"]
mod desk;
#[path = "registrar/device.rs"]
mod device;
#[path = "registrar/office.rs"]
mod office;
#[path = "registrar/repeats.rs"]
mod repeats;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use c1222::ap_title::Form;
use c1222::epsem::ResponseControl;
use c1222::native_address::ShortOctets;
use c1222::registration::{ConnectionType, NodeType, Registration, TaggedId};
use c1222::{
    ApTitleBuf, Apdu, Envelope, Epsem, EpsemControl, EpsemWriter, InvocationId, Leniency, Request, Response,
    SecurityMode, ServiceCode, U24,
};
use common::vectors::{hex, json, octets};
use common::{lab, wait_for};
use desk::Desk;
use device::Device;
use keystore::{Credentials, Keys, Store, Vault};
use metergraph_nodes::decrypt::{Heard, RegistrationService};
use metergraph_nodes::order::Order;
use metergraph_nodes::registrar::{Closed, Link, RegistrarKind};
use node::{NodeKind, Severity, Value};
use office::{Office, SECOND, carry, registered};
use seal::edhoc::{DeviceCredential, HeadEndCredential, PrivateKey};
use seal::ids::{Dev, Sid};

const MINUTE: u64 = 60 * SECOND;
const ERROR: [u8; 3] = [0x1c, 0x01, 0x60];

fn new_desk() -> Desk {
    Desk::new([0x77; 32])
}

/// The seconds of `wait N`.
fn wait(frame: &[u8]) -> u16 {
    let text = frame.strip_prefix(&[0x1c, 0x01]).unwrap();
    std::str::from_utf8(&text[1..]).unwrap().strip_prefix("wait ").unwrap().parse().unwrap()
}

#[test]
fn a_device_registers_and_hears_so_when_its_association_is_durable() {
    let mut office = Office::open(new_desk());
    let device = Device::of(&office.desk, 1);
    office.desk.associations.lock().unwrap().insert(device.dev, Sid(9));
    let (waiting, message_3) = office.open_run(4, &device, 1);
    office.send(4, &carry(8, &message_3));
    let (shard, number, batch) = office.order();
    let order = Order::read(&batch.frames[0], batch.octets(&batch.frames[0]).unwrap());
    assert!(matches!(order, Some(Order::Register { replaces: Some(Sid(9)), .. })), "{order:?}");
    assert_eq!(registered(&batch, device.dev), waiting.sid());
    office.send(4, &carry(9, &message_3));
    wait_for("the repeat", || (office.sum("metergraph_frames_duplicate_total", None) == 1).then_some(()));
    assert!(office.poll().is_none(), "nothing before it is durable");
    office.orders[shard].settle(number);
    let (link, answer_to, message_4) = office.next();
    assert_eq!((link, answer_to), (4, 9), "to the newest repeat");
    let registered = waiting.message_4(&message_4[1..]).ok().unwrap();
    assert_eq!((registered.dev, registered.sid), (device.dev, waiting.sid()));
    office.settle();
    assert_eq!(office.sum("metergraph_registrations_total", None), 1);
    office.drain();
    assert!(office.desk.freed.lock().unwrap().is_empty());
}

#[test]
fn each_refused_message_ends_with_its_code() {
    let office = Office::open(new_desk());
    let (known, stranger) = (Device::of(&office.desk, 1), Device::stranger(&office.desk, 2));
    let revoked = Device::of(&office.desk, 3);
    office.desk.devices.lock().unwrap().get_mut(&revoked.dev).unwrap().1 = true;

    let (_, good) = known.begin(1);
    let with = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = good.clone();
        change(&mut frame);
        frame
    };
    let not_on_the_curve = with(&|frame| frame[5..37].copy_from_slice(&[0xff; 32]));
    for (code, frame, reply) in [
        ("SEC-REG-FORMAT", with(&|frame| frame[37] = 1), &ERROR[..]),
        ("SEC-REG-METHOD", with(&|frame| frame[1] = 0), &ERROR),
        ("SEC-REG-SUITE", with(&|frame| frame[2] = 3), &[0x1c, 0x02, 0x02]),
        ("SEC-REG-POINT", not_on_the_curve, &ERROR),
        ("SEC-REG-EAD", with(&|frame| frame.extend([0x24, 0x41, 0x01])), &ERROR),
    ] {
        assert_eq!(office.ask(1, &frame), reply, "{code}");
        assert_eq!(office.refused(code), 1, "{code}");
        assert_eq!(office.event(code).severity, Severity::Warning);
    }
    for (code, device, flip) in
        [("SEC-REG-MAC", &known, 1), ("SEC-REG-UNKNOWN", &stranger, 0), ("SEC-REG-REVOKED", &revoked, 0)]
    {
        let (_, mut message_3) = office.open_run(1, device, 10 + u32::from(device.dev.0[0]));
        message_3[20] ^= flip;
        assert_eq!(office.ask(1, &message_3), ERROR, "{code}");
        assert_eq!(office.refused(code), 1, "{code}");
        office.event(code);
    }
    // What only a head-end sends is not answered, nor is an error message.
    for (reason, count, frame) in [
        ("SEC-FORMAT", 1, [0x19, 0x58]),
        ("SEC-FORMAT", 2, [0x1b, 0x48]),
        ("SEC-REG-FORMAT", 2, [0x1c, 0x01]),
    ] {
        office.send(1, &carry(7, &frame));
        wait_for(reason, || (office.refused(reason) == count).then_some(()));
    }
    office.send(1, &carry(7, &ERROR));
    office.event("registration-error");
    assert!(office.poll().is_none());
    office.settle();
}

#[test]
fn repeats_are_answered_alike_on_their_link_while_there_is_time() {
    let office = Office::open(new_desk());
    let device = Device::of(&office.desk, 1);
    let (waiting, message_1) = device.begin(1);
    let message_2 = office.ask(1, &message_1);
    assert_eq!(office.ask(1, &message_1), message_2);
    assert_eq!(office.ask(2, &message_1), ERROR, "another link");
    let (_, message_3) = device.answer(&waiting, &message_2);
    assert_eq!(office.ask(2, &message_3), ERROR, "another link");
    office.send(1, &carry(7, &message_3));
    let sid = office.register(device.dev);
    let message_4 = office.next().2;
    office.desk.pass(5 * MINUTE);
    assert_eq!(office.ask(1, &message_3), message_4, "again, until it is used");
    assert_eq!(office.ask(1, &message_1), message_2);
    office.prove(sid, device.dev, None);
    wait_for("the proof", || (office.ask(1, &message_3) == ERROR).then_some(()));
    assert_eq!(office.ask(1, &message_1), ERROR, "its G_X was used");
    assert_eq!(office.desk.asked.load(Ordering::SeqCst), 1, "the token worked once");
    office.desk.pass(5 * MINUTE);
    assert_eq!(office.ask(1, &message_1)[0], 0x19, "ten minutes later it is a new one");
    assert!(office.desk.freed.lock().unwrap().is_empty());
    office.settle();
}

#[test]
fn a_registration_that_is_not_done_in_a_minute_is_forgotten() {
    let office = Office::open(new_desk());
    let device = Device::of(&office.desk, 1);
    let (waiting, message_3) = office.open_run(1, &device, 1);
    office.desk.pass(MINUTE - 1);
    let mut wrong = message_3.clone();
    wrong[30] ^= 1;
    assert_eq!(office.ask(1, &wrong), ERROR);
    assert_eq!(office.refused("SEC-REG-MAC"), 1, "still open");
    office.desk.pass(1);
    assert_eq!(office.ask(1, &message_3), ERROR);
    assert_eq!(office.refused("SEC-REG-FORMAT"), 1);
    assert_eq!(*office.desk.freed.lock().unwrap(), [waiting.sid()]);
    assert_eq!(office.sum("metergraph_registrations_expired_total", None), 1);
    office.settle();
}

#[test]
fn more_than_is_admitted_is_told_to_wait_or_nothing() {
    let office = Office::open_with(new_desk(), &[("per_second", 20), ("per_link_per_second", 5)]);
    let device = Device::of(&office.desk, 1);
    let messages: Vec<Vec<u8>> = (0..60).map(|number| carry(7, &device.begin(number).1)).collect();
    office.send_all(1, &messages);
    office.settle();
    let answers: Vec<Vec<u8>> =
        std::iter::from_fn(|| office.poll()).map(|(_, apdu)| frame_of(&apdu)).collect();
    let (good, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|frame| frame[0] == 0x19);
    assert_eq!(good.len(), 5);
    assert_eq!(refused.len(), 20, "answers have a limit too");
    assert!(refused.iter().all(|frame| (1..=600).contains(&wait(frame))));
    assert_eq!(office.refused("SEC-REG-BUSY"), 55);
    office.event("SEC-REG-BUSY");
    // Another link has its share.
    assert_eq!(office.ask(2, &device.begin(100).1)[0], 0x19);
}

/// The frame that an APDU carries.
fn frame_of(apdu: &[u8]) -> Vec<u8> {
    let apdu = Apdu::decode(apdu, Leniency::Strict).unwrap();
    let carried = c1222::carriage::read(&apdu).unwrap().unwrap();
    [carried.head, carried.body].concat()
}

#[test]
fn a_full_table_is_busy_and_has_room_again() {
    let office = Office::open_with(new_desk(), &[("pending_max", 2)]);
    let device = Device::of(&office.desk, 1);
    office.open_run(1, &device, 1);
    office.open_run(1, &device, 2);
    assert!(wait(&office.ask(1, &device.begin(3).1)) >= 5);
    assert_eq!(office.refused("SEC-REG-BUSY"), 1);
    office.desk.pass(MINUTE);
    assert_eq!(office.ask(1, &device.begin(3).1)[0], 0x19, "its G_X was not used by the refusal");
    office.settle();
}

#[test]
fn a_slow_token_holds_up_nothing_else() {
    let mut office = Office::open(new_desk());
    let device = Device::of(&office.desk, 1);
    let (_, message_3) = office.open_run(1, &device, 1);
    office.desk.hold_token(true);
    let (_, slow) = device.begin(2);
    office.send(1, &carry(7, &slow));
    wait_for("the token", || (office.desk.asked.load(Ordering::SeqCst) == 2).then_some(()));
    office.desk.pass(2 * SECOND);
    office.send(1, &carry(8, &slow));
    wait_for("the repeat", || (office.sum("metergraph_frames_duplicate_total", None) == 1).then_some(()));
    office.send(1, &carry(7, &message_3));
    office.register(device.dev);
    assert_eq!(office.next().2[0], 0x1b, "others go on");
    office.desk.pass(2 * MINUTE);
    office.desk.hold_token(false);
    assert_eq!(office.next().2[0], 0x19, "what the token has is answered, however late");
    office.settle();
    office.drain();
}

#[test]
fn a_token_that_is_gone_closes_registration_until_it_is_back() {
    let office = Office::open(new_desk());
    let device = Device::of(&office.desk, 1);
    office.desk.broken.store(true, Ordering::SeqCst);
    let (_, message_1) = device.begin(1);
    office.send(1, &carry(7, &message_1));
    assert_eq!(office.event("SEC-HSM").severity, Severity::Alarm);
    office.send(1, &carry(7, &device.begin(2).1));
    wait_for("the second", || (office.refused("SEC-HSM") == 2).then_some(()));
    assert_eq!(office.desk.asked.load(Ordering::SeqCst), 1, "it is left alone");
    assert_eq!(office.desk.freed.lock().unwrap().len(), 1);
    assert!(office.poll().is_none(), "nothing is sent back");
    office.desk.broken.store(false, Ordering::SeqCst);
    office.desk.pass(2 * SECOND);
    assert_eq!(office.ask(1, &message_1)[0], 0x19, "the same message_1 is taken then");
    assert_eq!(office.ask(1, &device.begin(2).1)[0], 0x19);
    office.settle();
}

#[test]
fn a_closed_fence_is_told_by_its_code_and_opens_again() {
    let office = Office::open(new_desk());
    let device = Device::of(&office.desk, 1);
    let why = || "why".to_owned();
    let closed = [
        ("SEC-FENCE", Closed::Fence(why())),
        ("SEC-HSM", Closed::Hsm(why())),
        ("SEC-STORE", Closed::Store(why())),
    ];
    for (number, (code, closed)) in (1..).zip(closed) {
        *office.desk.closed.lock().unwrap() = Some(closed);
        let (_, message_1) = device.begin(number);
        office.send(1, &carry(7, &message_1));
        let event = office.event(code);
        assert_eq!((event.severity, &*event.detail), (Severity::Alarm, "why"));
        office.send(1, &carry(7, &message_1));
        wait_for("the second", || (office.refused(code) == 2).then_some(()));
        assert!(office.poll().is_none(), "nothing is sent back");
        assert_eq!(office.desk.asked.load(Ordering::SeqCst), number - 1, "the token's key is not used");
        *office.desk.closed.lock().unwrap() = None;
        office.desk.pass(2 * SECOND);
        assert_eq!(office.ask(1, &message_1)[0], 0x19, "the same message_1 is taken then");
    }
    assert_eq!(office.desk.freed.lock().unwrap().len(), 3);
    office.settle();
}

#[test]
fn a_device_that_comes_before_the_start_is_over_is_answered_when_it_is() {
    let desk = new_desk();
    desk.open.store(false, Ordering::SeqCst);
    let mut office = Office::open(desk);
    let device = Device::of(&office.desk, 1);
    // Its edge takes four batches; the others are refused, and come again.
    for number in 1..=6 {
        office.send(1, &carry(number, &device.begin(number).1));
    }
    wait_for("refusals", || (office.refused("SEC-REG-BUSY") == 2).then_some(()));
    assert_eq!(office.registrations.waiting(), 4);
    assert!(office.poll().is_none());
    // The journal is followed meanwhile.
    office.prove(Sid(6), Dev([1; 8]), Some(Sid(5)));
    let (shard, number, _) = office.order();
    office.orders[shard].settle(number);
    office.desk.open.store(true, Ordering::SeqCst);
    let answered: Vec<(u32, u8)> =
        (0..4).map(|_| office.next()).map(|(_, to, frame)| (to, frame[0])).collect();
    assert_eq!(answered, [1, 2, 3, 4].map(|number| (number, 0x19)));
    office.settle();
    office.drain();
}

#[test]
fn a_head_end_that_ends_before_its_start_is_over_refuses_who_waits() {
    let desk = new_desk();
    desk.open.store(false, Ordering::SeqCst);
    let mut office = Office::open(desk);
    let device = Device::of(&office.desk, 1);
    office.send(1, &carry(7, &device.begin(1).1));
    wait_for("it", || (office.registrations.waiting() == 1).then_some(()));
    office.tell_drain();
    office.drain();
    assert_eq!(office.refused("SEC-REG-BUSY"), 1);
    assert!(wait(&office.next().2) >= 5);
    office.settle();
}

#[test]
fn associations_whose_message_4_was_lost_retire_when_a_newer_one_is_used() {
    let office = Office::open(new_desk());
    let device = Device::of(&office.desk, 1);
    let others = Device::of(&office.desk, 2);
    let before = office.run(1, &others, 90).sid;
    // More than ten minutes apart, so that none is a suspicious repeat of the one before.
    let given: Vec<Sid> = (1..=3)
        .map(|number| {
            office.desk.pass(11 * MINUTE);
            office.run(1, &device, number).sid
        })
        .collect();
    office.prove(given[1], device.dev, Some(Sid(5)));
    let retired = |count: usize| {
        let mut retired = Vec::new();
        while retired.len() < count {
            let (shard, number, batch) = office.order();
            for frame in &batch.frames {
                let Some(Order::Retire { sid }) = Order::read(frame, batch.octets(frame).unwrap()) else {
                    panic!("no other order is due")
                };
                retired.push(sid);
            }
            office.orders[shard].settle(number);
        }
        retired.sort_unstable();
        retired
    };
    assert_eq!(retired(2), [Sid(5), given[0]], "the last one may still be used");
    office.prove(given[2], device.dev, Some(given[1]));
    assert_eq!(retired(1), [given[1]], "once");
    // A first frame under the one that was lost comes late: the shard says that it replaces the present one.
    office.prove(given[0], device.dev, Some(given[2]));
    office.prove(Sid(7), Dev([7; 8]), Some(Sid(6)));
    assert_eq!(retired(1), [Sid(6)], "it retires nothing");
    // A device that never uses any keeps four.
    let mut given: Vec<Sid> = vec![before];
    for number in 91..=94 {
        office.desk.pass(11 * MINUTE);
        given.push(office.run(1, &others, number).sid);
    }
    assert_eq!(retired(1), [before]);
    office.settle();
    assert!(office.orders.iter().all(|edge| edge.waiting() == 0));
}

#[test]
fn an_association_that_is_not_written_is_not_confirmed() {
    let office = Office::open(new_desk());
    let device = Device::of(&office.desk, 1);
    let (waiting, message_3) = office.open_run(1, &device, 1);
    office.send(1, &carry(7, &message_3));
    let (shard, number, _) = office.order();
    office.orders[shard].fail(number);
    office.orders[shard].settle(number);
    assert_eq!(office.event("SEC-STORE").severity, Severity::Alarm);
    office.desk.store_broken.store(true, Ordering::SeqCst);
    office.send(1, &carry(7, &message_3));
    wait_for("the second", || (office.refused("SEC-STORE") == 2).then_some(()));
    assert!(office.poll().is_none());
    office.desk.store_broken.store(false, Ordering::SeqCst);
    office.send(1, &carry(7, &message_3));
    assert_eq!(office.register(device.dev), waiting.sid());
    assert!(waiting.message_4(&office.next().2[1..]).is_ok());
    office.settle();
}

#[test]
fn a_shard_that_starts_anew_is_told_again() {
    let office = Office::open(new_desk());
    let device = Device::of(&office.desk, 1);
    let (_, message_3) = office.open_run(1, &device, 1);
    office.send(1, &carry(7, &message_3));
    let (shard, number, _) = office.order();
    office.orders[shard].doubt(number);
    office.orders[shard].settle(number);
    office.register(device.dev);
    assert_eq!(office.next().2[0], 0x1b);
    office.settle();
}

#[test]
fn a_device_that_registers_again_at_once_is_accepted_and_alarmed() {
    let office = Office::open(new_desk());
    let device = Device::of(&office.desk, 1);
    let first = office.run(1, &device, 1);
    office.desk.pass(9 * MINUTE);
    let second = office.run(1, &device, 2);
    assert_ne!(first.sid, second.sid);
    let event = office.event("SEC-REG-DUP");
    assert_eq!(event.severity, Severity::Alarm);
    assert_eq!(office.sum("metergraph_alarms_total", Some(("reason", "SEC-REG-DUP"))), 1);
    let (shard, number, batch) = office.order();
    let order = Order::read(&batch.frames[0], batch.octets(&batch.frames[0]).unwrap());
    assert_eq!(order, Some(Order::Retire { sid: first.sid }), "it was never used");
    office.orders[shard].settle(number);
    office.desk.pass(10 * MINUTE);
    office.run(1, &device, 3);
    office.settle();
    assert_eq!(office.sum("metergraph_registrations_total", None), 3);
    assert_eq!(office.sum("metergraph_alarms_total", None), 1);
}

#[test]
fn what_a_used_association_replaces_retires_and_is_told_again_until_it_is_durable() {
    let mut office = Office::open(new_desk());
    office.prove(Sid(5), Dev([1; 8]), None);
    office.prove(Sid(6), Dev([1; 8]), Some(Sid(5)));
    let retire = |office: &Office| {
        let (shard, number, batch) = office.order();
        assert_eq!(batch.len(), 1);
        let order = Order::read(&batch.frames[0], batch.octets(&batch.frames[0]).unwrap());
        assert_eq!(order, Some(Order::Retire { sid: Sid(5) }));
        (shard, number)
    };
    let (shard, number) = retire(&office);
    office.orders[shard].fail(number);
    office.orders[shard].settle(number);
    retire(&office);
    // Before it is durable the head-end is cut; the cursor stands before the proof.
    office.stop();
    let writer = office.writer.lock().unwrap().take().unwrap();
    let office = Office::open_on(office.desk.clone(), office.log.clone(), writer, &[]);
    let (shard, number) = retire(&office);
    office.orders[shard].settle(number);
    assert!(office.log.has_mark("registrar"));
}

#[test]
fn readings_go_on_while_the_registrar_has_no_room() {
    let mut office = Office::open(new_desk());
    let device = Device::of(&office.desk, 1);
    // Its edge takes four batches; nobody takes them.
    office.stop_registrar();
    for number in 0..6 {
        office.send(1, &carry(7, &device.begin(number).1));
    }
    office.send_report(1, &carry(7, &[&[0x11][..], &[0; 40]].concat()));
    wait_for("the reading", || (office.frames.frames().0 == 1).then_some(()));
    assert_eq!(office.refused("SEC-REG-BUSY"), 2);
    office.event("SEC-REG-BUSY");
}

#[test]
fn the_configuration_is_checked() {
    let check = |settings: &[(&'static str, Value)]| {
        let config = common::graph::config(&RegistrarKind, settings.iter().cloned());
        RegistrarKind
            .check(&config)
            .into_iter()
            .map(|problem| (problem.code, problem.warning))
            .collect::<Vec<_>>()
    };
    assert!(check(&[]).is_empty());
    assert_eq!(check(&[("kid", 0x18.into())]), [("node::kid", false)]);
    assert_eq!(check(&[("aptitle", "x".into())]), [("node::ap_title", false)]);
    let settings = [("per_second", 10.into()), ("per_link_per_second", 11.into())];
    assert_eq!(check(&settings), [("node::admission", true)]);
}

/// An APDU in clear with these requests.
fn clear(requests: &[Request<'_>], title: Option<&ApTitleBuf>, control: ResponseControl) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer =
        EpsemWriter::new(&mut out, EpsemControl::new(SecurityMode::Clear, control), Some(*b"MGRF"));
    for request in requests {
        writer.request(request);
    }
    let envelope =
        Envelope { calling: title.map(ApTitleBuf::as_title), ..Envelope::new(InvocationId::new(77)) };
    envelope.wrap(&mut out, 0);
    out
}

fn registration<'a>(serial_number: &'a [u8], native_address: &'a [u8]) -> Request<'a> {
    Request::Registration(Registration {
        node_type: NodeType(NodeType::END_DEVICE),
        connection_type: ConnectionType(ConnectionType::CO | ConnectionType::ACCEPT_CO),
        device_class: *b"MGRF",
        title: None,
        serial_number: TaggedId { form: Form::RelativeOid, octets: serial_number },
        native_address: ShortOctets::new(native_address).unwrap(),
        period_s: U24::MAX,
        domain_pattern: None,
    })
}

#[test]
fn a_node_that_registers_in_clear_is_answered_in_clear_and_not_trusted() {
    let office = Office::open(new_desk());
    office.send(3, &clear(&[registration(b"DRAFT1", &[10, 0, 0, 1])], None, ResponseControl::Always));
    let (link, apdu) = wait_for("an answer", || office.poll());
    let apdu = Apdu::decode(&apdu, Leniency::Strict).unwrap();
    assert_eq!((link, apdu.envelope.answer_to.unwrap().value()), (3, 77));
    assert!(apdu.envelope.authentication.is_none());
    let epsem = Epsem::decode(apdu.epsem().unwrap()).unwrap();
    let service = epsem.services().next().unwrap().unwrap();
    let response = Response::decode(service, Some(ServiceCode::REGISTRATION), Leniency::Strict).unwrap();
    let Response::Registration(told) = response else { panic!("{response:?}") };
    assert_eq!(told.title.to_string(), ".76.1");
    assert_eq!(office.event("clear").severity, Severity::Info);
    let node = office.services_of_nodes().find(told.title, SECOND).unwrap();
    assert_eq!((node.sid, node.heard), (None, Link { transport: 0, link: 3 }));

    let (own, title) = (ApTitleBuf::parse(".76.1").unwrap(), ApTitleBuf::parse(".75.3").unwrap());
    let resolve = [Request::Resolve(own.as_title()), Request::Resolve(title.as_title())];
    office.send(3, &clear(&resolve, Some(&own), ResponseControl::OnException));
    let (_, apdu) = wait_for("an answer", || office.poll());
    let apdu = Apdu::decode(&apdu, Leniency::Strict).unwrap();
    let epsem = Epsem::decode(apdu.epsem().unwrap()).unwrap();
    let services: Vec<&[u8]> = epsem.services().map(Result::unwrap).collect();
    assert_eq!(services, [&[0, 4, 10, 0, 0, 1][..], &[0x0c]]);

    office.send(3, &clear(&[registration(b"NOBODY", &[])], None, ResponseControl::Always));
    wait_for("the refusal", || (office.refused("SEC-UP-UNKNOWN") == 1).then_some(()));
    // Somewhere else than before.
    office.send(3, &clear(&[registration(b"DRAFT1", &[10, 0, 0, 2])], None, ResponseControl::Never));
    assert_eq!(office.event("moved").severity, Severity::Alarm);
    // What is none of the three services is not for the registrar.
    office.send(3, &clear(&[Request::Identification], None, ResponseControl::Always));
    wait_for("the refusal", || (office.refused("SEC-UP-UNKNOWN") == 2).then_some(()));
    assert!(office.poll().is_none());
    office.settle();
}

#[test]
fn a_device_that_moves_is_alarmed() {
    let office = Office::open(new_desk());
    let service: Arc<RegistrationService> = office.services.find("registrar").unwrap();
    for (address, link) in [([10, 0, 0, 1], 1), ([10, 0, 0, 1], 2), ([10, 0, 0, 2], 2)] {
        let mut request = Vec::new();
        registration(b"SN3", &address).encode(&mut request);
        let heard = Heard { transport: 0, link };
        let response = service.0.answer(Sid(3), office::directory(), &request, heard).unwrap();
        assert_eq!(response[0], 0);
    }
    let title = ApTitleBuf::parse(".75.3").unwrap();
    let node = office.services_of_nodes().find(title.as_title(), SECOND).unwrap();
    assert_eq!((node.sid, node.heard), (Some(Sid(3)), Link { transport: 0, link: 2 }));
    let event = office.event("moved");
    assert_eq!((event.severity, event.count), (Severity::Alarm, 1));
    assert_eq!(event.source, node::Source::Association(3));
}

/// A key store with these devices' credentials, from a signed manifest; and the devices.
fn store_of_a_lab(state: &Path, count: u32) -> Vec<Device> {
    Store::init(&state.join(keystore::FOLDER), None).unwrap();
    let secrets = lab::provision(state, count, 0);
    let key = |octets: &[u8; 32]| PrivateKey::from_octets(octets).unwrap();
    let devices = secrets.devices.iter();
    devices.map(|device| Device::new(device.dev, key(&device.agreement), secrets.credential.key)).collect()
}

#[test]
fn a_device_of_a_signed_manifest_registers_with_the_key_in_the_token() {
    let state = tempfile::tempdir().unwrap();
    let devices = store_of_a_lab(state.path(), 3);
    let office = Office::open_on_store(state.path(), &[("kid", 0x13)]);
    let (waiting, message_3) = office.open_run(1, &devices[0], 1);
    office.send(1, &carry(7, &message_3));
    let (shard, number, batch) = office.order();
    let order = Order::read(&batch.frames[0], batch.octets(&batch.frames[0]).unwrap());
    let Some(Order::Register { sid, dev, replaces: None, sealed }) = order else { panic!("{order:?}") };
    assert_eq!(dev, devices[0].dev);
    office.orders[shard].settle(number);
    let registered = waiting.message_4(&office.next().2[1..]).ok().unwrap();

    let vault: Arc<Vault> = office.services.find("keys").unwrap();
    let same = vault.open_association(sid, dev, sealed, |stored| {
        assert_eq!((stored.esn, stored.title.to_string().as_str()), ("MG00000000", ".75.1.1"));
        let Keys::Profile1 { prk, .. } = &stored.keys else { panic!("classic") };
        prk.expose() == registered.prk.expose()
    });
    assert!(same.unwrap());

    let credentials: Arc<Credentials> = office.services.find("keys").unwrap();
    credentials.revoke(devices[1].dev);
    let (_, message_3) = office.open_run(1, &devices[1], 2);
    assert_eq!(office.ask(1, &message_3), ERROR);
    assert_eq!(office.refused("SEC-REG-REVOKED"), 1);
    let stranger = Device::new(Dev([9; 8]), PrivateKey::from_octets(&[9; 32]).unwrap(), devices[0].head_end);
    let (_, message_3) = office.open_run(1, &stranger, 3);
    assert_eq!(office.ask(1, &message_3), ERROR);
    assert_eq!(office.refused("SEC-REG-UNKNOWN"), 1);
    office.settle();
}

#[test]
fn vector_registrations() {
    let Some(cases) = json("profile/registration.json") else { return };
    for case in cases.as_array().unwrap() {
        let mut desk = Desk::new(octets(&case["sk_r"]));
        desk.ephemerals = Mutex::new([octets(&case["y"])].into());
        desk.sids = Mutex::new([Sid(u32::from_be_bytes(octets(&case["c_r"])))].into());
        let device = DeviceCredential::read(&hex(case["cred_i"].as_str().unwrap())).unwrap();
        desk.devices.lock().unwrap().insert(device.kid, (device.key, false));
        let [kid] = octets(&case["kid_r"]);
        let office = Office::open_with(desk, &[("kid", i64::from(kid))]);
        let frames: Vec<Vec<u8>> =
            case["frames"].as_array().unwrap().iter().map(|frame| hex(frame.as_str().unwrap())).collect();
        assert_eq!(office.ask(1, &frames[0]), frames[1], "{case}");
        office.send(1, &carry(7, &frames[2]));
        office.register(device.kid);
        assert_eq!(office.next().2, frames[3], "{case}");
        office.settle();
    }
}

#[test]
fn vector_refused_registrations() {
    let Some(cases) = json("profile/registration-refusals.json") else { return };
    for case in cases["headend"].as_array().unwrap() {
        let title = case["title"].as_str().unwrap();
        let mut desk = Desk::new(octets(&case["sk_r"]));
        desk.ephemerals = Mutex::new([octets(&case["y"])].into());
        desk.sids = Mutex::new([Sid(u32::from_be_bytes(octets(&case["c_r"])))].into());
        let head_end = HeadEndCredential::read(&hex(case["cred_r"].as_str().unwrap())).unwrap();
        for known in case["known"].as_array().unwrap() {
            let device = DeviceCredential::read(&hex(known["cred"].as_str().unwrap())).unwrap();
            let revoked = known["revoked"] == true;
            desk.devices.lock().unwrap().insert(device.kid, (device.key, revoked));
        }
        let office = Office::open_with(desk, &[("kid", i64::from(head_end.kid.octet()))]);
        for g_x in case["g_x_seen"].as_array().unwrap() {
            // It came over another link, and that was nine minutes ago.
            let message_1 = [&[0x18, 3, 2, 0x58, 32][..], &hex(g_x.as_str().unwrap()), &[0]].concat();
            assert_eq!(office.ask(2, &message_1)[0], 0x19);
            office.desk.pass(9 * MINUTE);
        }
        for step in case["steps"].as_array().unwrap() {
            let (verdict, frame) = (step["verdict"].as_str().unwrap(), hex(step["frame"].as_str().unwrap()));
            let before = office.refused(verdict);
            office.send(1, &carry(7, &frame));
            let reply = step["reply"].as_str().map(hex);
            // The first message_3 that is accepted is written.
            if reply.as_ref().is_some_and(|reply| reply[0] == 0x1b)
                && office.sum("metergraph_registrations_total", None) == 0
            {
                let (shard, number, _) = office.order();
                office.orders[shard].settle(number);
            }
            if let Some(reply) = reply {
                assert_eq!(office.next().2, reply, "{title}: {step}");
            }
            office.settle();
            let refused = office.refused(verdict) - before;
            assert_eq!(refused, u64::from(verdict != "accept"), "{title}: {step}");
            assert!(office.poll().is_none(), "{title}: {step}");
        }
    }
}
