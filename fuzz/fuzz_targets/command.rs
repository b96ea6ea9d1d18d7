//! An end device that gets any octets as the body of a signed command, as a whole plaintext, and as items of
//! type 4, under keys that it holds: no panic, and nothing unsigned has an effect.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use seal::command::{self, Addressee, Class, Classes, Command, KeyItem, SetTime, SignedCommand};
use seal::control::Items;
use seal::frame::{Bound, FrameType};
use seal::ids::{Dev, Epoch, Sid, System};
use seal::profile1::Channel;
use seal::receiver::{Classifier, DeviceAssociation, Received, Receiver, SignerKey, Signers};
use seal::schedule;
use seal::secret::Prk;
use seal::signature::SigningKey;

const SYSTEM: System = System([1; 8]);
const DEV: Dev = Dev([2; 8]);
const SID: Sid = Sid(3);
const NOW: u32 = 1_800_000_000;

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_octets(&[5; 32]).unwrap());

/// The body's first octet is its class.
struct First;

impl Classifier for First {
    fn class(&self, body: &[u8]) -> Option<Class> {
        Class::from_octet(*body.first()?)
    }
}

fn receiver() -> Receiver {
    let association = DeviceAssociation::new(SID, Epoch(0), Prk::from_octets([4; 32]));
    let mut signers = Signers::default();
    signers.add(SignerKey { skid: 0, key: KEY.verifying_key(), classes: Classes(0x3f), not_before: 0 });
    Receiver::new(SYSTEM, DEV, association, signers)
}

/// Seals a plaintext as the head-end does.
fn sealed(frame_type: FrameType, plaintext: &[u8]) -> Option<Vec<u8>> {
    let keys = schedule::derive(&Prk::from_octets([4; 32]), SID);
    let bound = Bound { system: SYSTEM, scope: DEV.into(), epoch: Epoch(0) };
    let channel = Channel { key: &keys.dn, common_iv: &keys.common_iv, bound };
    let head = channel.head(frame_type, SID.0, 7);
    let mut frame = head.octets().to_vec();
    channel.seal(&head, plaintext, &mut frame).then_some(frame)
}

fuzz_target!(|octets: &[u8]| {
    let _ = SignedCommand::read(octets).map(|read| read.verifies(&KEY.verifying_key(), SYSTEM, Addressee::Device(DEV)));
    let _ = Items::<KeyItem<'_>>::read(octets).map(Iterator::count);
    let _ = SetTime::read(octets);
    let now = Some(u64::from(NOW));
    for frame_type in [FrameType::Command, FrameType::DownControl] {
        if let Some(mut frame) = sealed(frame_type, octets) {
            let mut device = receiver();
            let received = device.receive(&mut frame, now, &First);
            assert!(!matches!(received, Ok(Received::Order(_) | Received::Keys { .. } | Received::Time { .. })));
            drop(received);
            assert_eq!((device.campaign, device.floors.len(), device.association.epoch()), (0, 0, Epoch(0)));
        }
    }
    // Signed: the class is that of the first octet, the rest is the body.
    let Some((class, body)) = octets.split_first() else { return };
    let command = Command { skid: 0, class: *class, ctr: 1, nbf: NOW, ttl: 5, body };
    let Some(octets) = command.octets() else { return };
    let Ok(plaintext) = command::sign(octets, SYSTEM, Addressee::Device(DEV), &*KEY);
    let Some(mut frame) = sealed(FrameType::Command, &plaintext) else { return };
    let mut device = receiver();
    if let Ok(Received::Order(order)) = device.receive(&mut frame, now, &First) {
        let _ = device.finish(&order, 0, body, NOW, &*KEY);
    }
});
