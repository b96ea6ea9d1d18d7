//! One run at the head-end, as a pending table holds it: repeats are answered alike, failures counted.

use super::agreement::PublicKey;
use super::message_1::Message1;
use super::responder::AwaitMessage3;
use super::transcript::{Hash, hash};
use super::{ErrorMessage, MESSAGE_2_LEN, MESSAGE_3_LEN, MESSAGE_4_LEN, Refusal, Registered, join};
use crate::ids::{Dev, Sid};

/// So many message_3 may fail; after them none is opened.
pub const FAILURES_MAX: u8 = 8;

/// A message_3 that was taken.
pub enum Opened {
    /// The device is authentic. Make the association durable, then [`Run::settle`].
    New(Registered),
    /// The identical message_3 again, before that.
    Writing,
    /// The identical message_3 again, after that: message_4 again.
    Again([u8; MESSAGE_4_LEN]),
}

/// A message_3 that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// What is sent back, if anything.
    pub reply: Option<ErrorMessage>,
}

/// A run from message_2 on, bound to its link by whoever holds it.
pub struct Run {
    message_1: Hash,
    message_2: [u8; MESSAGE_2_LEN],
    waiting: AwaitMessage3,
    failures: u8,
    proof: Option<Proof>,
}

/// The message_3 that was good.
struct Proof {
    message_3: [u8; MESSAGE_3_LEN],
    message_4: [u8; MESSAGE_4_LEN],
    durable: bool,
}

impl Run {
    /// The run of a message_1 and of the answer to it.
    #[must_use]
    pub fn new(message_1: &Message1, (waiting, message_2): (AwaitMessage3, [u8; MESSAGE_2_LEN])) -> Self {
        Self { message_1: message_1.hash, message_2, waiting, failures: 0, proof: None }
    }

    /// The association that it is about.
    #[must_use]
    pub fn sid(&self) -> Sid {
        self.waiting.sid()
    }

    /// message_2, to be sent again for each identical message_1.
    #[must_use]
    pub fn message_2(&self) -> &[u8; MESSAGE_2_LEN] {
        &self.message_2
    }

    /// Whether these are the octets of the message_1 that began it.
    #[must_use]
    pub fn began_with(&self, message_1: &[u8]) -> bool {
        hash(&[message_1]) == self.message_1
    }

    /// Takes a message_3, as [`AwaitMessage3::message_3`] does.
    ///
    /// # Errors
    /// [`Refused`], counted; after [`FAILURES_MAX`] of them nothing is opened or sent.
    pub fn message_3(
        &mut self,
        message_3: &[u8],
        device: impl FnOnce(Dev) -> Result<PublicKey, Refusal>,
    ) -> Result<Opened, Refused> {
        let opened = match &self.proof {
            Some(proof) if proof.message_3 == message_3 => {
                return Ok(if proof.durable { Opened::Again(proof.message_4) } else { Opened::Writing });
            }
            _ if self.failures >= FAILURES_MAX => {
                return Err(Refused { refusal: Refusal::Mac, reply: None });
            }
            // The device has proved itself; whatever else comes is not from it.
            Some(_) => Err(Refusal::Mac),
            None => self.waiting.message_3(message_3, device),
        };
        match opened {
            Ok((registered, message_4)) => {
                self.proof = Some(Proof { message_3: join(&[message_3]), message_4, durable: false });
                Ok(Opened::New(registered))
            }
            Err(refusal) => {
                self.failures += 1;
                Err(Refused { refusal, reply: Some(refusal.reply()) })
            }
        }
    }

    /// The association was written, then this is the message_4 to send; or its write failed, then the
    /// same message_3 is taken anew.
    pub fn settle(&mut self, durable: bool) -> Option<[u8; MESSAGE_4_LEN]> {
        self.proof = self.proof.take().filter(|_| durable).map(|proof| Proof { durable, ..proof });
        self.proof.as_ref().map(|proof| proof.message_4)
    }
}
