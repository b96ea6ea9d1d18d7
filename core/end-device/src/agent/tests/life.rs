//! A device's life with a head-end that does nothing wrong.

use seal::command::{Class, Classes, KeyItem, Point, Receipt};
use seal::control::Down;
use seal::ids::{Epoch, Gid};
use seal::signature::sha256;

use super::super::*;
use super::head_end::{Pair, Told};
use super::support::{self, DEV, SKID, SYSTEM, at, title};

const GID: Gid = Gid(0x8000_0007);

#[test]
fn it_registers_says_where_it_is_and_reports() {
    let mut pair = Pair::new();
    assert!(!pair.agent.report(at(0), &mut Vec::new()), "not before it has an association");
    pair.register();
    assert_eq!(pair.head_end.registered, ["MGRF0001"]);
    assert_eq!((pair.agent.waiting(), pair.agent.counts().registrations), (0, 1));
    for _ in 0..100 {
        assert!(pair.agent.report(at(pair.now), &mut pair.out));
        pair.settle();
    }
    let numbers: Vec<u32> = pair
        .head_end
        .reports
        .iter()
        .map(|(_, epsem)| u32::from_be_bytes(epsem[6..].try_into().unwrap()))
        .collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    assert_eq!((pair.agent.waiting(), pair.head_end.duplicates), (0, 0));
    // Before its period has ended it says again that it is there.
    pair.pass(86_400 / 4 * 3);
    assert_eq!(pair.head_end.registered.len(), 2);
}

#[test]
fn without_acknowledgements_it_stops_at_thirty_two() {
    let mut pair = Pair::registered();
    let mut made = 0;
    while pair.agent.report(at(1), &mut pair.out) {
        made += 1;
    }
    assert_eq!(made, 32);
    // Repeats are the identical frames in APDUs with a new A8.
    let first = support::sent(&pair.out);
    pair.out.clear();
    pair.agent.poll(at(100), &mut pair.out);
    let again = support::sent(&pair.out);
    assert_eq!((first.len(), again.len()), (32, 32));
    for (first, again) in first.iter().zip(&again) {
        assert_ne!(first, again);
        let frame = |apdu: &[u8]| {
            let apdu = c1222::Apdu::decode(apdu, c1222::Leniency::Strict).unwrap();
            let carried = c1222::carriage::read(&apdu).unwrap().unwrap();
            [carried.head, carried.body].concat()
        };
        assert_eq!(frame(first), frame(again));
    }
}

#[test]
fn a_new_title_is_kept() {
    let mut pair = Pair::new();
    pair.head_end.title_for = Some(title(".75.9.9"));
    pair.register();
    assert_eq!(pair.agent.title(), &title(".75.9.9"));
    pair.restart();
    assert_eq!(pair.agent.title(), &title(".75.9.9"));
}

#[test]
fn a_class_3_command_is_signed_for_and_its_result_repeated() {
    let mut pair = Pair::registered();
    let (ctr, apdu, signed) = pair.head_end.command(SKID, DEV, Class::Load, &[3, 1]);
    let out = pair.give(&apdu);
    let executed = out.iter().filter(|output| matches!(output, Output::Executed(_)));
    assert_eq!((executed.count(), pair.done.lock().unwrap().len()), (1, 1));
    let Some((_, Told::Result { result: 0, rest, .. })) = pair.head_end.told.first() else { panic!() };
    let executed_at = u32::from_be_bytes(rest[..4].try_into().unwrap());
    let digest = sha256(&signed[..signed.len() - 64]);
    let receipt = Receipt { system: SYSTEM, dev: DEV, digest, result: 0, executed_at };
    assert!(receipt.verifies(&pair.agent.identity().verifying_key(), rest[4..68].try_into().unwrap()));
    // The same command sealed anew, also after a restart: not executed, its RESULT again.
    for restarts in [false, true] {
        if restarts {
            pair.restart();
        }
        let sid = pair.head_end.sid(DEV);
        let again = pair.head_end.down(sid, seal::frame::FrameType::Command, &signed).unwrap();
        pair.give(&again);
        assert_eq!(pair.done.lock().unwrap().len(), 1);
    }
    assert_eq!(pair.head_end.results(DEV, 1, ctr), [0, 0, 0]);
}

#[test]
fn a_response_that_is_too_long_is_cut_to_its_room() {
    let mut pair = Pair::registered();
    let (ctr, apdu, _) = pair.head_end.command(SKID, DEV, Class::Load, &[3, 0xaa]);
    pair.give(&apdu);
    assert_eq!(pair.head_end.results(DEV, 1, ctr), [0]);
    let Some((_, Told::Result { rest, .. })) = pair.head_end.told.first() else { panic!() };
    assert_eq!(rest.len(), seal::frame::PLAINTEXT_MAX - 8);
}

#[test]
fn an_epoch_advances_with_proof_and_result_in_one_frame() {
    let mut pair = Pair::registered();
    for campaign in 1..=3 {
        pair.head_end.issue(DEV, 2);
        let challenge = [campaign as u8; 8];
        let advance = KeyItem::Advance { campaign, delta: 2, challenge: &challenge };
        let apdu = pair.head_end.keys(SKID, DEV, &[advance]);
        pair.give(&apdu);
        let epoch = Epoch(2 * campaign as u16);
        assert_eq!(pair.agent.association().unwrap().1, epoch);
        assert!(pair.head_end.told.contains(&(DEV, Told::Proof { epoch, challenge })));
        let sid = pair.head_end.sid(DEV);
        assert_eq!(pair.head_end.links[&sid.slot()].association.epoch(), epoch);
        // A restart finds the epoch, and uses no counter twice.
        pair.restart();
        pair.agent.report(at(pair.now), &mut pair.out);
        pair.settle();
        assert_eq!(pair.agent.waiting(), 0);
    }
    assert!(pair.head_end.refused.is_empty(), "{:?}", pair.head_end.refused);
    // A campaign that is not greater: PROOF of the present epoch, RESULT 3.
    let advance = KeyItem::Advance { campaign: 3, delta: 1, challenge: &[9; 8] };
    let apdu = pair.head_end.keys(SKID, DEV, &[advance]);
    pair.give(&apdu);
    assert!(pair.head_end.told.contains(&(DEV, Told::Proof { epoch: Epoch(6), challenge: [9; 8] })));
}

#[test]
fn a_report_under_way_is_sealed_anew_in_the_next_epoch() {
    let mut pair = Pair::registered();
    assert!(pair.agent.report(at(1), &mut Vec::new()), "and lost");
    pair.head_end.issue(DEV, 1);
    let advance = KeyItem::Advance { campaign: 1, delta: 1, challenge: &[1; 8] };
    let apdu = pair.head_end.keys(SKID, DEV, &[advance]);
    pair.give(&apdu);
    pair.pass(100);
    assert_eq!((pair.head_end.reports.len(), pair.agent.waiting()), (1, 0));
}

#[test]
fn groups_are_joined_keyed_ordered_and_left() {
    let mut pair = Pair::registered();
    let join = KeyItem::Join { gid: GID, classes: Classes(0b1_1001) };
    let apdu = pair.head_end.keys(SKID, DEV, &[join]);
    pair.give(&apdu);
    let now = at(0).unix_s as u32;
    let key = pair.head_end.group_key(DEV, GID, Epoch(1), now);
    pair.give(&key);
    let (ctr, apdu) = pair.head_end.group_command(SKID, GID, Class::Load, &[3, 5]);
    pair.give(&apdu);
    // The very same broadcast once more, over another relay: the RESULT again, nothing done.
    pair.give(&apdu);
    assert_eq!(pair.head_end.results(DEV, 2, ctr), [0, 0]);
    assert_eq!(*pair.done.lock().unwrap(), [[3, 5]]);
    // The next epoch's key was stored: it opens after a restart too, before it is due.
    let key = pair.head_end.group_key(DEV, GID, Epoch(2), now + 3600);
    pair.give(&key);
    pair.restart();
    let (ctr, apdu) = pair.head_end.group_command(SKID, GID, Class::Read, &[0, 6]);
    pair.give(&apdu);
    assert_eq!(pair.head_end.results(DEV, 2, ctr), [0]);
    pair.pass(3601);
    assert_eq!(pair.agent.receiver().unwrap().groups.all()[0].current, Some(Epoch(2)));
    // A campaign for all of the group.
    pair.head_end.issue(DEV, 1);
    let mut body = Vec::new();
    seal::control::Item::write(&KeyItem::Advance { campaign: 1, delta: 1, challenge: &[7; 8] }, &mut body);
    let (ctr, apdu) = pair.head_end.group_command(SKID, GID, Class::Keys, &body);
    pair.give(&apdu);
    assert_eq!(
        (pair.head_end.results(DEV, 2, ctr), pair.agent.association().unwrap().1),
        (vec![0], Epoch(1))
    );
    let apdu = pair.head_end.keys(SKID, DEV, &[KeyItem::Leave { gid: GID }]);
    pair.give(&apdu);
    let (_, apdu) = pair.head_end.group_command(SKID, GID, Class::Read, &[0, 7]);
    assert_eq!(support::refused(&pair.give(&apdu)), ["SEC-DN-EPOCH"]);
}

#[test]
fn without_trusted_time_only_reads_and_an_answered_time_request() {
    let settings = Settings { paced: true, clock_set: false, ..Settings::default() };
    let mut pair = Pair::with(settings);
    pair.register();
    assert!(!pair.agent.has_time());
    let Some((_, Told::TimeRequest(nonce))) = pair.head_end.told.first().cloned() else { panic!() };
    let (read, apdu, _) = pair.head_end.command(SKID, DEV, Class::Read, &[0]);
    pair.give(&apdu);
    let (write, apdu, _) = pair.head_end.command(SKID, DEV, Class::Write, &[1]);
    pair.give(&apdu);
    assert_eq!(
        (pair.head_end.results(DEV, 1, read), pair.head_end.results(DEV, 1, write)),
        (vec![0], vec![19])
    );
    // The clock shows anything; the answer says what the time is.
    let time = seal::command::SetTime { nonce, time_ms: (at(0).unix_s + 5000) * 1000 };
    let (_, apdu, _) = pair.head_end.command(SKID, DEV, Class::Time, &time.octets());
    pair.give(&apdu);
    assert!(pair.agent.has_time());
    pair.head_end.now += 5000;
    let (ctr, apdu, _) = pair.head_end.command(SKID, DEV, Class::Write, &[1]);
    pair.agent.handle(1, &apdu, at(0), &mut pair.out);
    pair.settle();
    assert_eq!(pair.head_end.results(DEV, 1, ctr), [0]);
    // A clock that stood still while the device was off is not trusted any more; another nonce is asked for.
    pair.settings.clock_kept = false;
    pair.restart();
    pair.settle();
    assert!(!pair.agent.has_time());
    let asked = pair.head_end.told.iter().filter(|(_, told)| matches!(told, Told::TimeRequest(_)));
    assert_eq!(asked.count(), 2);
    // Nobody answers: after a while another one.
    pair.pass(600);
    let asked = pair.head_end.told.iter().filter(|(_, told)| matches!(told, Told::TimeRequest(_)));
    assert_eq!(asked.count(), 3);
}

#[test]
fn a_wait_is_honoured() {
    let mut pair = Pair::registered();
    let sid = pair.head_end.sid(DEV);
    let apdu = pair.head_end.control(sid, &[Down::Wait { seconds: 5000 }]).unwrap();
    pair.give(&apdu);
    assert!(!pair.agent.report(at(599), &mut Vec::new()));
    let wake = pair.agent.poll(at(599), &mut pair.out);
    assert!(pair.out.is_empty() && wake <= at(600 + 7200).steady_ns);
    assert!(pair.agent.report(at(600), &mut pair.out), "no longer than 600 s, whatever it says");
    assert_eq!(support::sent(&pair.out).len(), 1);
}

#[test]
fn an_event_survives_a_restart() {
    let mut pair = Pair::registered();
    assert!(pair.agent.event(47, b"tamper", at(0), &mut Vec::new()), "and lost");
    pair.restart();
    pair.settle();
    assert_eq!(pair.head_end.told, [(DEV, Told::Event { number: 47, data: b"tamper".to_vec() })]);
    assert_eq!(pair.agent.waiting(), 0);
}

#[test]
fn signers_and_the_head_ends_next_credential_change() {
    let mut pair = Pair::registered();
    let signer = support::signing_key(9);
    let [_, xy @ ..] = signer.verifying_key().uncompressed();
    let (x, y) = (xy[..32].try_into().unwrap(), xy[32..].try_into().unwrap());
    let key = seal::edhoc::PrivateKey::from_octets(&[0x77; 32]).unwrap();
    let (next_x, next_y) = (key.public_key().x(), key.public_key().y());
    let add =
        KeyItem::SignerAdd { skid: 9, point: Point { x: &x, y: &y }, classes: Classes(1), not_before: 0 };
    let next = KeyItem::CredentialNext { kid: 0x14, point: Point { x: &next_x, y: &next_y } };
    let apdu = pair.head_end.keys(SKID, DEV, &[add, next]);
    pair.give(&apdu);
    pair.head_end.signers.insert(9, signer);
    pair.restart();
    let (ctr, apdu, _) = pair.head_end.command(9, DEV, Class::Read, &[0]);
    pair.give(&apdu);
    assert_eq!(pair.head_end.results(DEV, 1, ctr).last(), Some(&0));
    // It registers anew with the next credential, which is then the present one.
    pair.head_end.change_key(0x14, key);
    pair.register();
    assert_eq!((pair.agent.memory.credential.kid.octet(), pair.agent.counts().registrations), (0x14, 1));
    assert!(pair.agent.receiver().unwrap().credential_next.is_none());
}
