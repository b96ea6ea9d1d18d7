//! Two parties with keys, and the runs between them.

use crate::edhoc::{
    AwaitMessage2, AwaitMessage3, AwaitMessage4, DeviceCredential, Ephemeral, HeadEndCredential, HeadEndKid,
    MESSAGE_2_LEN, MESSAGE_3_LEN, Message1, PrivateKey, PublicKey, Refusal, initiate,
};
use crate::ids::{Dev, Sid};

pub const SID: Sid = Sid(0x0e52_0ad3);

/// An end device and a head-end that know each other.
pub struct Parties {
    pub x: [u8; 32],
    pub y: [u8; 32],
    pub device: (DeviceCredential, PrivateKey),
    pub head_end: (HeadEndCredential, PrivateKey),
}

/// What a run sent.
pub struct Messages {
    pub message_1: Vec<u8>,
    pub message_2: [u8; MESSAGE_2_LEN],
    pub message_3: [u8; MESSAGE_3_LEN],
}

impl Parties {
    /// From any four numbers; one that is no scalar becomes a small one.
    pub fn new([x, y, i, r]: [[u8; 32]; 4]) -> Self {
        let scalar =
            |octets: [u8; 32]| if PrivateKey::from_octets(&octets).is_some() { octets } else { [9; 32] };
        let key = |octets| PrivateKey::from_octets(&scalar(octets)).unwrap();
        let device = DeviceCredential { kid: Dev([0xd1; 8]), key: key(i).public_key() };
        let head_end = HeadEndCredential { kid: HeadEndKid::new(0x11).unwrap(), key: key(r).public_key() };
        Self { x: scalar(x), y: scalar(y), device: (device, key(i)), head_end: (head_end, key(r)) }
    }

    pub fn begin(&self) -> (AwaitMessage2, Vec<u8>) {
        let (waiting, message_1) = initiate(Ephemeral::from_octets(&self.x).unwrap());
        (waiting, message_1.to_vec())
    }

    pub fn answer(&self, message_1: &[u8]) -> Result<(AwaitMessage3, [u8; MESSAGE_2_LEN]), Refusal> {
        let ephemeral = Ephemeral::from_octets(&self.y).unwrap();
        Ok(Message1::read(message_1)?.answer(&self.head_end.0, &self.head_end.1, ephemeral, SID).unwrap())
    }

    pub fn message_2(
        &self,
        waiting: &AwaitMessage2,
        message_2: &[u8],
    ) -> Result<(AwaitMessage4, [u8; MESSAGE_3_LEN]), Refusal> {
        let head_end = &self.head_end.0;
        let known = |kid| (kid == head_end.kid).then_some(head_end.key);
        waiting.message_2(message_2, &self.device.0, &self.device.1, known)
    }

    /// The key of the device that names itself.
    pub fn known(&self, dev: Dev) -> Result<PublicKey, Refusal> {
        if dev == self.device.0.kid { Ok(self.device.0.key) } else { Err(Refusal::Unknown) }
    }

    /// A run up to message_3.
    pub fn run(&self) -> (AwaitMessage2, AwaitMessage3, AwaitMessage4, Messages) {
        let (initiator, message_1) = self.begin();
        let (responder, message_2) = self.answer(&message_1).unwrap();
        let (last, message_3) = self.message_2(&initiator, &message_2).unwrap();
        (initiator, responder, last, Messages { message_1, message_2, message_3 })
    }
}
