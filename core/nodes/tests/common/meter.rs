//! An end device that takes commands: the device's half of the security layer, and what it sends up until that is
//! acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use c1222::{Apdu, Leniency, carriage};
use seal::command::{Addressee, Class, Classes, Command, KeyItem, sign};
use seal::control::{Down, Item};
use seal::frame::{FrameType, HEAD_LEN, Head};
use seal::ids::{Dev, Epoch, Gid, Sid};
use seal::receiver::{Classifier, DeviceAssociation, Received, Receiver, SignerKey, Signers};
use seal::secret::Prk;
use seal::signature::SigningKey;

use super::device::{Device, carry};
use super::site::SYSTEM;

/// Frames on their way at most; the span of their counters is smaller than a window.
const UNACKNOWLEDGED_MAX: usize = 16;

/// Every body is a read.
struct Reads;

impl Classifier for Reads {
    fn class(&self, _: &[u8]) -> Option<Class> {
        Some(Class::Read)
    }
}

/// The head-end's signing key.
pub fn signer() -> SigningKey {
    SigningKey::from_octets(&[9; 32]).unwrap()
}

pub fn now() -> u64 {
    node::event::unix_ns() / 1_000_000_000
}

/// A signed command.
pub fn command(to: Addressee, class: Class, ctr: u32, body: &[u8]) -> Vec<u8> {
    let nbf = u32::try_from(now()).unwrap();
    let command = Command { skid: 1, class: class.octet(), ctr, nbf, ttl: 60, body };
    let Ok(signed) = sign(command.octets().unwrap(), SYSTEM, to, &signer());
    signed
}

/// The body of a class-4 command.
pub fn items(items: &[KeyItem<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    items.iter().for_each(|item| item.write(&mut body));
    body
}

pub struct Meter {
    pub receiver: Receiver,
    pub device: Device,
    /// The next counter of the present epoch.
    next: u32,
    /// By association, epoch and counter: the APDU.
    pub unacknowledged: BTreeMap<(Sid, Epoch, u32), Vec<u8>>,
    pub acknowledged: BTreeSet<(Sid, Epoch, u32)>,
    /// Codes of what it refused.
    pub refused: Vec<String>,
    /// Commands that it was told to execute, by addressee and counter.
    pub executed: Vec<(Addressee, u32)>,
    /// What comes down for it is lost.
    pub deaf: bool,
    /// What it says is lost.
    pub mute: bool,
}

impl Meter {
    /// The device of this place in a shipment.
    pub fn of(device: Device, slot: u8) -> Self {
        let prk = Prk::from_octets([slot % 251 + 1; 32]);
        let mut signers = Signers::default();
        signers.add(SignerKey {
            skid: 1,
            key: signer().verifying_key(),
            classes: Classes(0x3f),
            not_before: 0,
        });
        let association = DeviceAssociation::new(device.sid, device.epoch, prk);
        Self {
            receiver: Receiver::new(SYSTEM, device.dev, association, signers),
            device,
            next: 0,
            unacknowledged: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
            refused: Vec::new(),
            executed: Vec::new(),
            deaf: false,
            mute: false,
        }
    }

    pub fn dev(&self) -> Dev {
        self.device.dev
    }

    pub fn sid(&self) -> Sid {
        self.receiver.association.sid()
    }

    pub fn epoch(&self) -> Epoch {
        self.receiver.association.epoch()
    }

    /// It registered anew.
    pub fn register(&mut self, sid: Sid, prk: Prk) {
        self.receiver.association = DeviceAssociation::new(sid, Epoch(0), prk);
        self.next = 0;
        // The end device seals anew what was not heard under the association before.
        self.unacknowledged.clear();
    }

    /// Whether it may send a fresh report.
    pub fn has_room(&self) -> bool {
        self.unacknowledged.len() < UNACKNOWLEDGED_MAX
    }

    /// A frame of the present epoch.
    pub fn up(&mut self, frame_type: FrameType, plaintext: &[u8]) -> Vec<u8> {
        let (sid, epoch, seq) = (self.sid(), self.epoch(), self.next);
        self.next += 1;
        let channel = self.receiver.association.up_channel(SYSTEM, self.device.dev);
        let head = channel.head(frame_type, sid.0, seq);
        let mut frame = head.octets().to_vec();
        assert!(channel.seal(&head, plaintext, &mut frame));
        let apdu = carry(Some(&self.device.title), &frame);
        self.unacknowledged.insert((sid, epoch, seq), apdu.clone());
        apdu
    }

    pub fn is_heard(&self) -> bool {
        self.unacknowledged.is_empty()
    }

    /// All that is not acknowledged, again.
    pub fn repeats(&self) -> Vec<Vec<u8>> {
        self.unacknowledged.values().cloned().collect()
    }

    /// Takes what came down for it, and answers.
    pub fn hear(&mut self, head: &Head, body: &[u8]) -> Option<Vec<u8>> {
        let mut frame = [&head.octets()[..], body].concat();
        let before = self.epoch();
        let (answer, acks) = match self.receiver.receive(&mut frame, Some(now()), &Reads) {
            Ok(Received::Control { items, .. }) => {
                let acks: Vec<_> = items
                    .filter_map(|item| match item {
                        Down::Ack(ack) => Some(ack),
                        _ => None,
                    })
                    .collect();
                (None, acks)
            }
            Ok(Received::Order(order)) => {
                self.executed.push((order.addressee, order.ctr));
                let Ok(answer) = self.receiver.finish(&order, 0, b"", 0, &signer());
                (Some(answer), Vec::new())
            }
            Ok(
                Received::Keys { answer, .. } | Received::Time { answer, .. } | Received::Repeat { answer },
            ) => (Some(answer), Vec::new()),
            Err(refused) => {
                self.refused.push(refused.refusal.code().to_owned());
                (refused.answer, Vec::new())
            }
        };
        let sid = self.sid();
        for ack in acks {
            let heard: Vec<_> = self
                .unacknowledged
                .keys()
                .filter(|(of, epoch, seq)| *of == sid && *epoch == ack.epoch && ack.covers(*seq))
                .copied()
                .collect();
            for key in heard {
                self.unacknowledged.remove(&key);
                self.acknowledged.insert(key);
            }
        }
        if self.epoch() != before {
            self.next = 0;
        }
        Some(self.up(FrameType::UpControl, &answer?))
    }

    pub fn is_member(&self, gid: Gid) -> bool {
        self.receiver.groups.classes(gid).is_some()
    }

    pub fn has_key(&self, gid: Gid, epoch: Epoch) -> bool {
        let mut groups = self.receiver.groups.all().iter().filter(|group| group.gid == gid);
        groups.any(|group| group.held.iter().any(|held| held.epoch() == epoch))
    }
}

/// Head and body of the frame in an APDU.
pub fn frame_of(apdu: &[u8]) -> (Head, Vec<u8>) {
    let apdu = Apdu::decode(apdu, Leniency::Strict).unwrap();
    let carried = carriage::read(&apdu).unwrap().unwrap();
    assert_eq!(carried.head.len(), HEAD_LEN);
    (Head::read(carried.head, carried.body.len()).unwrap(), carried.body.to_vec())
}
