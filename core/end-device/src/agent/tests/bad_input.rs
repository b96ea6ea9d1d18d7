//! What somebody in between, a stranger or a member can make of commands: each is refused by the device with
//! its code, counted, and nothing is done.

use seal::command::{Addressee, Class, Classes, Command, KeyItem, SetTime};
use seal::control::Down;
use seal::frame::FrameType;
use seal::ids::{Dev, Epoch, Gid};

use super::super::*;
use super::head_end::{Pair, Told};
use super::refusals::{GID, member, signed, verdict};
use super::support::{self, DEV, SKID, at};

const OTHER: Gid = Gid(0x8000_0009);

/// The device's last counters, and what of class 3 and epochs it knows: what no refused command changes.
fn state(pair: &Pair) -> (Vec<seal::receiver::Floor>, u32, u32, Epoch, usize) {
    let receiver = pair.agent.receiver().unwrap();
    let groups = receiver.groups.all().len();
    (receiver.floors.clone(), receiver.class3_nbf, receiver.campaign, receiver.association.epoch(), groups)
}

/// Gives a frame that is refused, and changes nothing.
fn refused(pair: &mut Pair, apdu: &[u8]) -> (&'static str, Option<u8>) {
    let before = state(pair);
    let verdict = verdict(pair, apdu);
    assert!(state(pair) == before, "a refused frame changes nothing");
    verdict
}

/// A command of this moment.
fn command(skid: u8, class: Class, ctr: u32, body: &[u8]) -> Command<'_> {
    Command { skid, class: class.octet(), ctr, nbf: at(0).unix_s as u32, ttl: 60, body }
}

/// Seals a plaintext as a command to the device.
fn to_device(pair: &mut Pair, plaintext: &[u8]) -> Vec<u8> {
    let sid = pair.head_end.sid(DEV);
    pair.head_end.down(sid, FrameType::Command, plaintext).unwrap()
}

/// Signs and seals a command to the device.
fn send(pair: &mut Pair, to: Addressee, command: &Command<'_>) -> Vec<u8> {
    let signed = signed(pair, to, command);
    to_device(pair, &signed)
}

fn alone() -> Addressee {
    Addressee::Device(DEV)
}

#[test]
fn a_command_that_is_re_targeted_is_refused() {
    let mut pair = member();
    // Signed for another device, for a group, and for the group as if for the device.
    let order = command(SKID, Class::Write, 9, &[1]);
    for to in [Addressee::Device(Dev([9; 8])), Addressee::Group(GID)] {
        let apdu = send(&mut pair, to, &order);
        assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-SIG", Some(16)));
    }
    let read = signed(&pair, alone(), &command(SKID, Class::Read, 9, &[0]));
    let apdu = pair.head_end.group_frame(GID, &read);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-SIG", None));
    // A frame with another association's number on it.
    let mut apdu = send(&mut pair, alone(), &order);
    let sid = pair.head_end.sid(DEV).0.to_be_bytes();
    let place = apdu.windows(4).position(|octets| octets == sid).unwrap();
    apdu[place + 3] ^= 1;
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-EPOCH", None));
}

#[test]
fn a_command_that_is_replayed_is_refused() {
    let mut pair = Pair::registered();
    let (ctr, first, signed) = pair.head_end.command(SKID, DEV, Class::Load, &[3, 1]);
    pair.give(&first);
    assert_eq!(pair.head_end.results(DEV, 1, ctr), [0]);
    pair.done.lock().unwrap().clear();
    // The same octets; the same command in a frame of its own: its RESULT again, and nothing is done.
    assert_eq!(refused(&mut pair, &first), ("SEC-DN-REPLAY", None));
    let apdu = to_device(&mut pair, &signed);
    assert!(support::refused(&pair.give(&apdu)).is_empty());
    assert_eq!((pair.head_end.results(DEV, 1, ctr), pair.done.lock().unwrap().len()), (vec![0, 0], 0));
    // Behind a later one it is known no more than by its counter.
    let (_, later, _) = pair.head_end.command(SKID, DEV, Class::Read, &[0]);
    pair.give(&later);
    pair.done.lock().unwrap().clear();
    let apdu = to_device(&mut pair, &signed);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-CTR", Some(18)));
    // Also after the device went off.
    pair.restart();
    pair.settle();
    let apdu = to_device(&mut pair, &signed);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-CTR", Some(18)));
}

#[test]
fn a_stale_frame_is_refused() {
    let mut pair = Pair::registered();
    let (_, kept, _) = pair.head_end.command(SKID, DEV, Class::Write, &[1]);
    let (_, of_the_old_epoch, _) = pair.head_end.command(SKID, DEV, Class::Write, &[1, 1]);
    let sid = pair.head_end.sid(DEV);
    for _ in 0..64 {
        let apdu = pair.head_end.control(sid, &[Down::Wait { seconds: 0 }]).unwrap();
        pair.give(&apdu);
    }
    assert_eq!(refused(&mut pair, &kept), ("SEC-DN-REPLAY", None));
    // The device has ratcheted, and heard the head-end under the new epoch.
    pair.head_end.issue(DEV, 1);
    let advance = KeyItem::Advance { campaign: 1, delta: 1, challenge: &[7; 8] };
    let apdu = pair.head_end.keys(SKID, DEV, &[advance]);
    pair.give(&apdu);
    let apdu = pair.head_end.control(sid, &[Down::Wait { seconds: 0 }]).unwrap();
    pair.give(&apdu);
    assert_eq!(refused(&mut pair, &of_the_old_epoch), ("SEC-DN-EPOCH", None));
}

#[test]
fn a_reconnect_that_comes_behind_a_later_disconnect_is_refused() {
    let mut pair = Pair::registered();
    let (_, reconnect, _) = pair.head_end.command(SKID, DEV, Class::Load, &[3, 1]);
    let (_, disconnect, _) = pair.head_end.command(SKID, DEV, Class::Load, &[3, 2]);
    pair.give(&disconnect);
    assert_eq!(*pair.done.lock().unwrap(), [[3, 2]]);
    pair.done.lock().unwrap().clear();
    assert_eq!(refused(&mut pair, &reconnect), ("SEC-DN-CTR", Some(18)));
    // In other scopes counters say nothing of each other; the order of class 3 holds over all of them.
    let apdu = pair.head_end.keys(SKID, DEV, &[KeyItem::Join { gid: GID, classes: Classes(0b1000) }]);
    pair.give(&apdu);
    let apdu = pair.head_end.group_key(DEV, GID, Epoch(1), 1);
    pair.give(&apdu);
    let early = Command { nbf: at(0).unix_s as u32 - 10, ..command(SKID, Class::Load, 1, &[3, 1]) };
    let reconnect = signed(&pair, Addressee::Group(GID), &early);
    let apdu = pair.head_end.group_frame(GID, &reconnect);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-ORDER", Some(20)));
}

#[test]
fn a_command_with_any_bit_flipped_is_refused() {
    let mut pair = Pair::registered();
    let (_, whole, _) = pair.head_end.command(SKID, DEV, Class::Load, &[3]);
    let sid = pair.head_end.sid(DEV).0.to_be_bytes();
    let head = whole.windows(4).position(|octets| octets == sid).unwrap() - 1;
    // The head of nine octets stands apart from the ciphertext, which ends the APDU.
    let body = whole.len() - (1 + 1 + 4 + 4 + 2 + 1 + 64 + 8);
    for octet in (head..head + 9).chain(body..whole.len()) {
        for bit in 0..8 {
            let mut flipped = whole.clone();
            flipped[octet] ^= 1 << bit;
            let (code, result) = refused(&mut pair, &flipped);
            let early = ["SEC-DN-FORMAT", "SEC-DN-EPOCH", "SEC-DN-AUTH"].contains(&code);
            assert!(early && result.is_none(), "octet {octet}, bit {bit}: {code}");
        }
    }
    // None of it has spoilt the command itself.
    pair.give(&whole);
    assert_eq!(pair.done.lock().unwrap().len(), 1);
}

#[test]
fn a_command_of_a_class_that_its_signer_or_the_join_lacks_is_refused() {
    let mut pair = member();
    // Root signs class 4 alone.
    pair.head_end.signers.insert(0, support::signing_key(0));
    let apdu = send(&mut pair, alone(), &command(0, Class::Load, 1, &[3]));
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-CLASS", Some(17)));
    // There is no such class; the JOIN lets the group read.
    let none = Command { class: 6, ..command(SKID, Class::Write, 9, &[1]) };
    let apdu = send(&mut pair, alone(), &none);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-CLASS", Some(17)));
    let order = signed(&pair, Addressee::Group(GID), &command(SKID, Class::Load, 1, &[3]));
    let apdu = pair.head_end.group_frame(GID, &order);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-CLASS", Some(17)));
}

#[test]
fn a_class_that_is_hidden_in_the_body_is_refused() {
    let mut pair = Pair::registered();
    // The body's first octet says here what a profile would say of it.
    for (claimed, body) in [(Class::Read, 1), (Class::Write, 3), (Class::Firmware, 3), (Class::Load, 4)] {
        let apdu = send(&mut pair, alone(), &command(SKID, claimed, 90, &[body]));
        assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-CLASS", Some(17)), "{claimed:?} with {body}");
    }
}

#[test]
fn a_command_of_a_wrong_signer_is_refused() {
    let mut pair = Pair::registered();
    // Nobody's key; the right name under another key; one that is not yet valid; one that was revoked.
    let unknown = send(&mut pair, alone(), &command(77, Class::Read, 9, &[0]));
    let good = pair.head_end.signers.insert(SKID, support::signing_key(77));
    let (_, foreign, _) = pair.head_end.command(SKID, DEV, Class::Read, &[0]);
    pair.head_end.signers.insert(SKID, good.unwrap());
    for apdu in [unknown, foreign] {
        assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-SIG", Some(16)));
    }
    let [_, xy @ ..] = support::signing_key(8).verifying_key().uncompressed();
    let (x, y) = (xy[..32].try_into().unwrap(), xy[32..].try_into().unwrap());
    let point = seal::command::Point { x: &x, y: &y };
    let not_before = at(0).unix_s as u32 + 100;
    let add = KeyItem::SignerAdd { skid: 8, point, classes: Classes(1), not_before };
    let apdu = pair.head_end.keys(SKID, DEV, &[add]);
    pair.give(&apdu);
    pair.head_end.signers.insert(8, support::signing_key(8));
    let (_, early, _) = pair.head_end.command(8, DEV, Class::Read, &[0]);
    assert_eq!(refused(&mut pair, &early), ("SEC-DN-SIG", Some(16)));
    let apdu = pair.head_end.keys(0, DEV, &[KeyItem::SignerRevoke { skid: SKID }]);
    pair.give(&apdu);
    let (_, apdu, _) = pair.head_end.command(SKID, DEV, Class::Read, &[0]);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-SIG", Some(16)));
}

#[test]
fn a_command_of_a_wrong_group_is_refused() {
    let mut pair = member();
    let sid = pair.head_end.sid(DEV);
    // The other group's key is made known to its head-end alone: the device never joined it.
    pair.head_end.group_key(DEV, OTHER, Epoch(1), 1);
    let (_, apdu) = pair.head_end.group_command(SKID, OTHER, Class::Read, &[0]);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-EPOCH", None));
    // A member of both, or whoever has opened one, seals the other's command under this one's key.
    let (_, foreign) = pair.head_end.sign(SKID, Addressee::Group(OTHER), Class::Read, &[0]);
    let apdu = pair.head_end.group_frame(GID, &foreign);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-SIG", None));
    // A command to the group as one to the device.
    let (_, ours) = pair.head_end.sign(SKID, Addressee::Group(GID), Class::Read, &[0]);
    let apdu = pair.head_end.down(sid, FrameType::Command, &ours).unwrap();
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-SIG", Some(16)));
}

#[test]
fn a_forged_membership_is_refused() {
    let mut pair = member();
    let mut join = Vec::new();
    seal::control::Item::write(&KeyItem::Join { gid: OTHER, classes: Classes(0x3f) }, &mut join);
    // Signed by nobody that it knows, or in the name of one; by way of a group that may not order class 4; as
    // class 1.
    let apdu = send(&mut pair, alone(), &command(77, Class::Keys, 9, &join));
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-SIG", Some(16)));
    let good = pair.head_end.signers.insert(SKID, support::signing_key(77));
    let apdu = pair.head_end.keys(SKID, DEV, &[KeyItem::Join { gid: OTHER, classes: Classes(0x3f) }]);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-SIG", Some(16)));
    pair.head_end.signers.insert(SKID, good.unwrap());
    let by_group = signed(&pair, Addressee::Group(GID), &command(SKID, Class::Keys, 9, &join));
    let apdu = pair.head_end.group_frame(GID, &by_group);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-CLASS", Some(17)));
    let apdu = send(&mut pair, alone(), &command(SKID, Class::Write, 9, &join));
    let (code, result) = verdict(&mut pair, &apdu);
    assert_eq!(
        (code, result, pair.agent.receiver().unwrap().groups.all().len()),
        ("SEC-DN-CLASS", Some(17), 1)
    );
    // A key without a JOIN is skipped, and counted; so is another key for an epoch that it holds.
    let skipped = pair.agent.counts().skipped_items;
    let apdu = pair.head_end.group_key(DEV, OTHER, Epoch(1), 1);
    assert!(support::refused(&pair.give(&apdu)).is_empty());
    let sid = pair.head_end.sid(DEV);
    let other = seal::control::GroupKey { gid: GID, epoch: Epoch(1), gms: &[9; 16], activate_at: 1 };
    let apdu = pair.head_end.control(sid, &[Down::GroupKey(other)]).unwrap();
    pair.give(&apdu);
    assert_eq!(pair.agent.counts().skipped_items, skipped + 2);
    let (_, apdu) = pair.head_end.group_command(SKID, OTHER, Class::Read, &[0]);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-EPOCH", None));
}

#[test]
fn a_time_that_was_held_back_is_refused() {
    let settings = Settings { paced: true, clock_set: false, ..Settings::default() };
    let mut pair = Pair::with(settings);
    pair.register();
    let nonce = |pair: &Pair| {
        let mut told = pair.head_end.told.iter().rev();
        told.find_map(|(_, told)| if let Told::TimeRequest(nonce) = told { Some(*nonce) } else { None })
            .unwrap()
    };
    let time = |nonce, unix_s: u64| SetTime { nonce, time_ms: unix_s * 1000 }.octets();
    // The answer to a request is held back until the device has asked again.
    let asked = nonce(&pair);
    let (_, held, _) = pair.head_end.command(SKID, DEV, Class::Time, &time(asked, at(0).unix_s));
    pair.pass(600);
    assert_ne!(nonce(&pair), asked);
    assert_eq!(refused(&mut pair, &held), ("SEC-DN-TIME", Some(19)));
    assert!(!pair.agent.has_time());
    // That to the new one is taken once.
    let now = at(pair.now).unix_s;
    let asked = nonce(&pair);
    let (_, apdu, _) = pair.head_end.command(SKID, DEV, Class::Time, &time(asked, now));
    pair.give(&apdu);
    assert!(pair.agent.has_time());
    let (_, again, _) = pair.head_end.command(SKID, DEV, Class::Time, &time(asked, now));
    assert_eq!(refused(&mut pair, &again), ("SEC-DN-TIME", Some(19)));
    // One that nobody asked for is of its own time; and none sets the clock behind the last of class 3.
    let (_, held, _) = pair.head_end.command(SKID, DEV, Class::Time, &time([0; 8], now));
    pair.pass(3601);
    assert_eq!(refused(&mut pair, &held), ("SEC-DN-TIME", Some(19)));
    let (_, switch, _) = pair.head_end.command(SKID, DEV, Class::Load, &[3]);
    pair.give(&switch);
    pair.done.lock().unwrap().clear();
    let (_, back, _) = pair.head_end.command(SKID, DEV, Class::Time, &time([0; 8], now));
    assert_eq!(refused(&mut pair, &back), ("SEC-DN-TIME", Some(19)));
}

#[test]
fn a_command_that_has_expired_or_not_begun_is_refused() {
    let mut pair = Pair::registered();
    let (ctr, late, signed) = pair.head_end.command(SKID, DEV, Class::Load, &[3]);
    pair.pass(3601);
    assert_eq!(refused(&mut pair, &late), ("SEC-DN-TIME", Some(19)));
    // A frame of its own makes it no younger.
    let apdu = to_device(&mut pair, &signed);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-TIME", Some(19)));
    assert_eq!(pair.head_end.results(DEV, 1, ctr), [19, 19]);
    let begins = Command { nbf: at(pair.now).unix_s as u32 + 301, ..command(SKID, Class::Write, 50, &[1]) };
    let apdu = send(&mut pair, alone(), &begins);
    assert_eq!(refused(&mut pair, &apdu), ("SEC-DN-TIME", Some(19)));
}
