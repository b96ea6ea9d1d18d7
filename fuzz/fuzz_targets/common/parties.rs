//! An end device and a head-end with fixed test keys, and what a fuzzer's octets do to a good message.
#![allow(dead_code, reason = "each target uses some of it")]

use seal::edhoc::{
    AwaitMessage2, AwaitMessage4, DeviceCredential, Ephemeral, HeadEndCredential, HeadEndKid, Message1,
    PrivateKey, PublicKey, Refusal, Run, initiate,
};
use seal::ids::{Dev, Sid};

pub const SID: Sid = Sid(0x0e52_0ad3);

pub struct Parties {
    device: (DeviceCredential, PrivateKey),
    head_end: (HeadEndCredential, PrivateKey),
}

impl Default for Parties {
    fn default() -> Self {
        let key = |octet| PrivateKey::from_octets(&[octet; 32]).unwrap();
        let device = DeviceCredential { kid: Dev([0xd1; 8]), key: key(1).public_key() };
        let head_end = HeadEndCredential { kid: HeadEndKid::new(0x11).unwrap(), key: key(2).public_key() };
        Self { device: (device, key(1)), head_end: (head_end, key(2)) }
    }
}

impl Parties {
    pub fn begin(&self) -> (AwaitMessage2, Vec<u8>) {
        let (waiting, message_1) = initiate(Ephemeral::from_octets(&[3; 32]).unwrap());
        (waiting, message_1.to_vec())
    }

    pub fn answer(&self, message_1: &Message1) -> Run {
        let ephemeral = Ephemeral::from_octets(&[4; 32]).unwrap();
        let answer = message_1.answer(&self.head_end.0, &self.head_end.1, ephemeral, SID).unwrap();
        Run::new(message_1, answer)
    }

    pub fn message_2(
        &self,
        waiting: &AwaitMessage2,
        message_2: &[u8],
    ) -> Result<(AwaitMessage4, Vec<u8>), Refusal> {
        let known = |kid| (kid == self.head_end.0.kid).then_some(self.head_end.0.key);
        let (waiting, message_3) = waiting.message_2(message_2, &self.device.0, &self.device.1, known)?;
        Ok((waiting, message_3.to_vec()))
    }

    pub fn known(&self, dev: Dev) -> Result<PublicKey, Refusal> {
        if dev == self.device.0.kid { Ok(self.device.0.key) } else { Err(Refusal::Unknown) }
    }
}

/// The good message with the fuzzer's octets over it: zeros leave it good, others flip bits, more octets make
/// it longer; the first octet cuts it.
pub fn disturbed(good: &[u8], octets: &[u8]) -> Vec<u8> {
    let (cut, flips) = octets.split_first().map_or((0, octets), |(cut, flips)| (usize::from(*cut), flips));
    let mut message: Vec<u8> = good.to_vec();
    message.resize(good.len().max(flips.len()), 0);
    message.iter_mut().zip(flips).for_each(|(octet, flip)| *octet ^= flip);
    message.truncate(message.len().saturating_sub(cut));
    message
}
