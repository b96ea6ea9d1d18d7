//! Registration: EDHOC (RFC 9528) method 3, suite 2, message_4 required, in the fixed forms of security
//! layer §5. No I/O, clock or randomness: a message is a function from a state and octets to the next
//! state and octets.
//!
//! ```text
//! end device                                head-end
//! initiate ──────────── message_1 ────────► Message1::read, then answer (the one use of SK_reg)
//! AwaitMessage2 ◄────── message_2 ──────── AwaitMessage3
//!     │ ─────────────── message_3 ────────► │ in a Run, which counts failures and repeats answers
//! AwaitMessage4 ◄────── message_4 ──────── Registered
//! Registered
//! ```
//!
//! A refused message changes no state: errors are unauthenticated and end no run before its timer.
//! Admission, the pending table and the ten minutes of a G_X are the registrar's.

mod agreement;
mod cbor;
mod credential;
mod error;
mod initiator;
mod message_1;
mod refusal;
mod responder;
mod run;
mod transcript;

#[cfg(test)]
mod tests;

pub use agreement::{Agreement, Ephemeral, PrivateKey, PublicKey};
pub use credential::{Credential, CredentialError, DeviceCredential, HeadEndCredential, HeadEndKid, Kid};
pub use error::{ErrorMessage, WAIT_MAX_S};
pub use initiator::{AwaitMessage2, AwaitMessage4, initiate};
pub use message_1::{EAD_1_MAX, Message1};
pub use refusal::Refusal;
pub use responder::AwaitMessage3;
pub use run::{FAILURES_MAX, Opened, Refused, Run};

use crate::ids::{Dev, Epoch, Sid};
use crate::schedule::{self, AssociationKeys};
use crate::secret::Prk;

/// Octets of our own message_1, which has no EAD.
pub const MESSAGE_1_LEN: usize = 37;
/// Octets of message_2.
pub const MESSAGE_2_LEN: usize = 49;
/// Octets of message_3; its frame names the `sid` before it.
pub const MESSAGE_3_LEN: usize = 28;
/// Octets of message_4.
pub const MESSAGE_4_LEN: usize = 9;

/// What both sides end with: a new association in [`Registered::EPOCH`].
pub struct Registered {
    /// The end device.
    pub dev: Dev,
    /// The association, chosen by the head-end.
    pub sid: Sid,
    /// PRK_out of the first epoch.
    pub prk: Prk,
}

impl Registered {
    /// The epoch that a registration begins.
    pub const EPOCH: Epoch = Epoch(0);

    /// The first epoch's traffic keys.
    #[must_use]
    pub fn keys(&self) -> AssociationKeys {
        schedule::derive(&self.prk, self.sid)
    }
}

/// C_R as messages and MACs have it: the `sid`.
fn c_r(sid: Sid) -> [u8; 5] {
    join(&[&[0x44], &sid.0.to_be_bytes()])
}

/// The parts one after the other; together they have `N` octets.
fn join<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut octets = [0; N];
    for (to, from) in octets.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    octets
}
