//! A head-end and end devices for tests.

use c1222::{ApTitleBuf, InvocationId};
use seal::edhoc::{
    AwaitMessage2, DeviceCredential, Ephemeral, HeadEndCredential, HeadEndKid, MESSAGE_1_LEN, MESSAGE_2_LEN,
    MESSAGE_3_LEN, Message1, PrivateKey, Run, initiate,
};
use seal::ids::{Dev, Sid};

use super::admission::Link;
use super::pending::Caller;

pub const DEV: Dev = Dev([0xd1; 8]);

thread_local! {
    /// The credential of every device here.
    pub static CREDENTIAL: DeviceCredential =
        DeviceCredential { kid: DEV, key: device_key().public_key() };
}

fn device_key() -> PrivateKey {
    PrivateKey::from_octets(&[0x0d; 32]).unwrap()
}

pub fn head_end_key() -> PrivateKey {
    PrivateKey::from_octets(&[0x0e; 32]).unwrap()
}

pub fn head_end() -> HeadEndCredential {
    HeadEndCredential { kid: HeadEndKid::new(0).unwrap(), key: head_end_key().public_key() }
}

/// Whoever asks over this link.
pub fn caller(link: u32) -> Caller {
    Caller {
        link: Link { transport: 0, link },
        title: ApTitleBuf::parse(".75.1").ok(),
        invocation: InvocationId::new(5),
    }
}

/// The run that a message_1 begins.
pub fn run(message_1: &Message1, sid: Sid) -> Box<Run> {
    let ephemeral = Ephemeral::from_octets(&[0x21; 32]).unwrap();
    let Ok(answer) = message_1.answer(&head_end(), &head_end_key(), ephemeral, sid);
    Box::new(Run::new(message_1, answer))
}

/// A device that has begun to register, with an ephemeral key of this number.
pub struct Device {
    pub message_1: [u8; MESSAGE_1_LEN],
    waiting: AwaitMessage2,
}

impl Device {
    pub fn new(number: u8) -> Self {
        let (waiting, message_1) = initiate(Ephemeral::from_octets(&[0x40 + number; 32]).unwrap());
        Self { message_1, waiting }
    }

    pub fn message_3(&self, message_2: &[u8; MESSAGE_2_LEN]) -> [u8; MESSAGE_3_LEN] {
        let credential = CREDENTIAL.with(|credential| *credential);
        let known = |_| Some(head_end().key);
        let answered = self.waiting.message_2(message_2, &credential, &device_key(), known);
        answered.ok().unwrap().1
    }
}
