//! Beyond the vectors: nothing makes it panic, lists are all or nothing, tables have limits.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::command::{self, Classes, Command, KeyItem, ROOT};
use crate::control::GroupKey;
use crate::frame::TAG_LEN;
use crate::group::GroupKeys;
use crate::ids::{Epoch, Sid};
use crate::secret::{Key128, Prk};
use crate::signature::{SigningKey, VerifyingKey};

const SYSTEM: System = System([1; 8]);
const DEV: Dev = Dev([2; 8]);
const SID: Sid = Sid(3);
const GID: Gid = Gid(0x8000_0004);
const GMS: [u8; 16] = [6; 16];
const SKID: u8 = 7;
const NOW: u64 = 1_800_000_000;

/// Every body has the class that its first octet names.
struct FirstOctet;

impl Classifier for FirstOctet {
    fn class(&self, body: &[u8]) -> Option<Class> {
        body.first().and_then(|first| Class::from_octet(*first))
    }
}

fn signer(skid: u8) -> SigningKey {
    SigningKey::from_octets(&[skid + 1; 32]).unwrap()
}

/// A device with the root, one signer of all classes, and one group of class 3.
fn device() -> Receiver {
    let association = DeviceAssociation::new(SID, Epoch(5), Prk::from_octets([8; 32]));
    let mut signers = Signers::default();
    for (skid, classes) in [(ROOT, 0b01_0000), (SKID, 0b11_1111)] {
        let key = signer(skid).verifying_key();
        assert!(signers.add(SignerKey { skid, key, classes: Classes(classes), not_before: 0 }));
    }
    let mut device = Receiver::new(SYSTEM, DEV, association, signers);
    device.groups.join(GID, Classes(0b01_1000));
    assert!(device.groups.take(&group_key(1, 0)));
    device
}

fn group_key(epoch: u16, activate_at: u32) -> GroupKey<'static> {
    GroupKey { gid: GID, epoch: Epoch(epoch), gms: &GMS, activate_at }
}

/// A frame of this plaintext under the newest epoch that the device holds.
fn sealed(device: &Receiver, frame_type: FrameType, seq: u32, plaintext: &[u8]) -> Vec<u8> {
    let group = GroupKeys::derive(&Key128::from_octets(GMS), GID, Epoch(1));
    let up = device.association.up_channel(SYSTEM, DEV);
    let dn = device.association.held().last().unwrap();
    let (channel, id) = match frame_type {
        FrameType::GroupCommand => (group.channel(SYSTEM), GID.0),
        _ => (crate::profile1::Channel { key: &dn.key, ..up }, SID.0),
    };
    let head = channel.head(frame_type, id, seq);
    let mut frame = head.octets().to_vec();
    assert!(channel.seal(&head, plaintext, &mut frame));
    frame
}

fn signed(device: &Receiver, to: Addressee, command: &Command<'_>) -> Vec<u8> {
    let Ok(plaintext) = command::sign(command.octets().unwrap(), SYSTEM, to, &signer(command.skid));
    sealed(device, to.frame_type(), command.ctr, &plaintext)
}

fn command(skid: u8, class: Class, ctr: u32, body: &[u8]) -> Command<'_> {
    Command { skid, class: class.octet(), ctr, nbf: NOW as u32 + ctr, ttl: 10, body }
}

/// Orders a class-4 list and gives its result.
fn list(device: &mut Receiver, skid: u8, ctr: u32, items: &[KeyItem<'_>]) -> u8 {
    let mut body = Vec::new();
    items.iter().for_each(|item| item.write(&mut body));
    let mut frame = signed(device, Addressee::Device(DEV), &command(skid, Class::Keys, ctr, &body));
    match device.receive(&mut frame, Some(NOW), &FirstOctet) {
        Ok(Received::Keys { result, .. }) => result,
        Ok(_) => panic!("not a class-4 list"),
        Err(refused) => panic!("{refused}"),
    }
}

proptest! {
    #[test]
    fn any_octets_are_refused(octets in vec(any::<u8>(), 0..700), first in 0x10..0x16_u8, now: Option<u64>) {
        let mut device = device();
        for start in [&[][..], &[first, 0, 0, 0, 3, 5], &[0x13, 0x80, 0, 0, 4, 1]] {
            let mut frame = [start, &octets].concat();
            prop_assert!(device.receive(&mut frame, now, &FirstOctet).is_err());
            prop_assert!(device.floors.is_empty());
        }
    }

    #[test]
    fn any_plaintext_is_judged(plaintext in vec(any::<u8>(), 0..200), control: bool, now: Option<u64>) {
        let mut device = device();
        let frame_type = if control { FrameType::DownControl } else { FrameType::Command };
        let mut frame = sealed(&device, frame_type, 1, &plaintext);
        let received = device.receive(&mut frame, now, &FirstOctet);
        prop_assert!(received.is_err() || control);
    }

    #[test]
    fn any_signed_command_is_judged(
        header: (u8, u32, u32, u16), body in vec(0..8_u8, 0..80), group: bool, now: Option<u32>,
    ) {
        let (class, ctr, nbf, ttl) = header;
        let mut device = device();
        let to = if group { Addressee::Group(GID) } else { Addressee::Device(DEV) };
        let ctr = ctr & crate::frame::SEQ_MAX;
        let command = Command { skid: SKID, class: class % 8, ctr, nbf, ttl, body: &body };
        let mut frame = signed(&device, to, &command);
        match device.receive(&mut frame, now.map(u64::from), &FirstOctet) {
            Ok(_) => prop_assert_eq!(device.floors[0].last, ctr),
            Err(refused) => {
                prop_assert!(refused.refusal.result().is_some_and(|result| result > 16));
                prop_assert!(refused.answer.is_some() && device.floors.is_empty());
            }
        }
    }
}

#[test]
fn an_order_of_class_3_is_stored_answered_with_a_signature_and_repeated() {
    let mut device = device();
    let key = SigningKey::from_octets(&[9; 32]).unwrap();
    for to in [Addressee::Device(DEV), Addressee::Group(GID)] {
        let ctr = u32::from(to.kind());
        let command = command(SKID, Class::Load, ctr, &[3]);
        let frame = signed(&device, to, &command);
        let again = |device: &Receiver, seq| {
            let Ok(plaintext) = command::sign(command.octets().unwrap(), SYSTEM, to, &signer(SKID));
            sealed(device, to.frame_type(), seq, &plaintext)
        };
        let mut octets = frame.clone();
        let Ok(Received::Order(order)) = device.receive(&mut octets, Some(NOW), &FirstOctet) else {
            panic!("refused")
        };
        // The counter is in the state before anything is done: cut here, the outcome stays unknown.
        assert_eq!((device.class3_nbf, device.floors.last().unwrap().last), (command.nbf, ctr));
        let refused = device.receive(&mut again(&device, 10 + ctr), Some(NOW), &FirstOctet).err().unwrap();
        assert_eq!(refused.refusal, Refusal::Ctr);
        let Ok(answer) = device.finish(&order, 0, b"done", 77, &key);
        let Some(Up::Result(outcome)) = Items::read(&answer).unwrap().next() else { panic!("no RESULT") };
        let executed = outcome.executed().unwrap();
        assert_eq!((executed.executed_at, executed.response), (77, &b"done"[..]));
        let receipt = Receipt { system: SYSTEM, dev: DEV, digest: order.digest, result: 0, executed_at: 77 };
        assert!(receipt.verifies(&key.verifying_key(), executed.signature));
        let mut octets = again(&device, 20 + ctr);
        let repeated = device.receive(&mut octets, Some(NOW), &FirstOctet);
        assert!(matches!(repeated, Ok(Received::Repeat { answer: repeated }) if repeated == answer));
        // A response that does not fit is left away, and the rest still goes into one frame.
        let Ok(answer) = device.finish(&order, 0, &[0; 600], 77, &key);
        assert_eq!(answer.len(), 8 + 4 + 64);
    }
}

#[test]
fn a_list_is_all_or_nothing() {
    let mut device = device();
    let bad = KeyItem::Join { gid: Gid(5), classes: Classes(1) };
    let advance = KeyItem::Advance { campaign: 1, delta: 2, challenge: &[0; 8] };
    assert_eq!(list(&mut device, SKID, 1, &[KeyItem::Leave { gid: GID }, advance, bad]), 2);
    assert_eq!((device.groups.all().len(), device.campaign, device.association.epoch()), (1, 0, Epoch(5)));
    // Later items see what earlier ones do.
    assert_eq!(list(&mut device, SKID, 2, &[advance, advance]), 3);
    let next = KeyItem::Advance { campaign: 2, delta: 1, challenge: &[0; 8] };
    assert_eq!(list(&mut device, SKID, 3, &[KeyItem::Leave { gid: GID }, advance, next]), 0);
    assert_eq!((device.groups.all().len(), device.campaign, device.association.epoch()), (0, 2, Epoch(8)));
    let held: Vec<Epoch> = device.association.held().iter().map(|held| held.epoch).collect();
    assert_eq!(held, [5, 6, 7, 8].map(Epoch));
    // In the last epoch there is no further one.
    device.association = DeviceAssociation::new(SID, Epoch(u16::MAX - 1), Prk::from_octets([8; 32]));
    let two = KeyItem::Advance { campaign: 3, delta: 2, challenge: &[0; 8] };
    assert_eq!(list(&mut device, SKID, 4, &[two]), 3);
    let one = KeyItem::Advance { campaign: 3, delta: 1, challenge: &[0; 8] };
    assert_eq!(list(&mut device, SKID, 5, &[one]), 0);
}

#[test]
fn a_revoked_signer_is_refused_for_ever() {
    let mut device = device();
    let [_, xy @ ..] = signer(9).verifying_key().uncompressed();
    let (x, y) = (xy[..32].try_into().unwrap(), xy[32..].try_into().unwrap());
    let point = command::Point { x: &x, y: &y };
    let add = KeyItem::SignerAdd { skid: 9, point, classes: Classes(1), not_before: 0 };
    assert_eq!(list(&mut device, SKID, 1, &[add]), 0);
    assert_eq!(device.signers.get(9).map(|added| added.key), VerifyingKey::from_xy(&x, &y));
    assert_eq!(list(&mut device, ROOT, 2, &[KeyItem::SignerRevoke { skid: 9 }]), 0);
    assert_eq!(list(&mut device, ROOT, 3, &[KeyItem::SignerRevoke { skid: 9 }]), 3);
    assert_eq!(list(&mut device, SKID, 4, &[add]), 3);
    let mut frame = signed(&device, Addressee::Device(DEV), &command(9, Class::Read, 5, &[0]));
    let refused = device.receive(&mut frame, Some(NOW), &FirstOctet).err().unwrap();
    assert_eq!(refused.refusal, Refusal::Signature);
    assert!(device.signers.knows(9) && device.signers.revoked() == [9]);
}

#[test]
fn a_replayed_frame_leaves_no_plaintext() {
    let mut device = device();
    let frame = sealed(&device, FrameType::DownControl, 1, &[3, 0x5a, 0x5a]);
    assert!(device.receive(&mut frame.clone(), Some(NOW), &FirstOctet).is_ok());
    let mut again = frame;
    let refused = device.receive(&mut again, Some(NOW), &FirstOctet).err().unwrap();
    assert_eq!(refused.refusal, Refusal::Replay);
    assert_eq!(again[HEAD_LEN..again.len() - TAG_LEN], [0; 3]);
}

#[test]
fn every_table_has_a_limit() {
    let mut device = device();
    for number in 0..40 {
        let gid = Gid(0x9000_0000 + number);
        let restored = Membership { gid, classes: Classes(1), current: None, held: Vec::new() };
        assert_eq!(device.groups.restore(restored), number < 15);
    }
    for epoch in 2..60 {
        device.groups.take(&group_key(epoch, 0));
        // Due at once, but the old ones are kept.
        device.tick(1);
    }
    assert_eq!(device.groups.all()[0].held.len(), KEYS_MAX);
    (0..40).for_each(|_| device.association.advance());
    assert_eq!(device.association.held().len(), HELD_MAX);
    for number in 0..FLOORS_MAX as u64 {
        let scope = Scope(number.to_be_bytes());
        device.floors.push(Floor { skid: 99, scope, last: 1, answered: None });
    }
    let mut frame = signed(&device, Addressee::Device(DEV), &command(SKID, Class::Read, 1, &[0]));
    let refused = device.receive(&mut frame, Some(NOW), &FirstOctet).err().unwrap();
    assert_eq!((refused.refusal, device.floors.len()), (Refusal::Ctr, FLOORS_MAX));
}
