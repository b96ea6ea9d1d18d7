//! The end device's side.

use metergraph_nodes::registrar::Means;
use seal::edhoc::{
    AwaitMessage2, AwaitMessage4, DeviceCredential, Ephemeral, PrivateKey, PublicKey, initiate,
};
use seal::ids::Dev;

use super::desk::Desk;

/// An end device that registers.
pub struct Device {
    pub dev: Dev,
    key: PrivateKey,
    pub head_end: PublicKey,
}

impl Device {
    /// One that the desk knows.
    pub fn of(desk: &Desk, number: u8) -> Self {
        let device = Self::stranger(desk, number);
        desk.devices.lock().unwrap().insert(device.dev, (device.key.public_key(), false));
        device
    }

    /// One with these keys.
    pub fn new(dev: Dev, key: PrivateKey, head_end: PublicKey) -> Self {
        Self { dev, key, head_end }
    }

    /// One that it does not.
    pub fn stranger(desk: &Desk, number: u8) -> Self {
        let key = PrivateKey::from_octets(&[number; 32]).unwrap();
        Self { dev: Dev([number; 8]), key, head_end: desk.public_key() }
    }

    /// The frame of a message_1 with an ephemeral key of this number.
    pub fn begin(&self, number: u32) -> (AwaitMessage2, Vec<u8>) {
        let mut octets = [0x31; 32];
        octets[28..].copy_from_slice(&number.to_be_bytes());
        let (waiting, message_1) = initiate(Ephemeral::from_octets(&octets).unwrap());
        (waiting, [&[0x18][..], &message_1].concat())
    }

    /// The frame of the message_3 that answers this frame.
    pub fn answer(&self, waiting: &AwaitMessage2, message_2: &[u8]) -> (AwaitMessage4, Vec<u8>) {
        assert_eq!(message_2[0], 0x19, "{message_2:02x?}");
        let credential = DeviceCredential { kid: self.dev, key: self.key.public_key() };
        let answer = waiting.message_2(&message_2[1..], &credential, &self.key, |_| Some(self.head_end));
        let (waiting, message_3) = answer.ok().unwrap();
        let frame = [&[0x1a][..], &waiting.sid().0.to_be_bytes(), &message_3].concat();
        (waiting, frame)
    }
}
