//! The end device's side of security layer §7: its state, and the steps that a downstream frame takes
//! over it, in their order. No I/O, no clock: the caller brings the time, stores the state and acts.
//!
//! ```text
//! receive   open -> length -> skid -> signature -> class -> ctr -> time -> order; the state now holds ctr
//! (write)   the state, durable
//! (act)     classes 0-3 as ordered; class 5 sets the clock; class 4 is done with the write
//! finish    RESULT, kept for a repeat of the same command
//! (write)   the state; then the answer is sealed as a frame of type 5
//! ```
//!
//! Group keys that type 4 brought are stored too. A window alone may wait for the next write: a repeat
//! of a command is refused by its `ctr`, and what type 4 says is idempotent.

use alloc::vec::Vec;

mod acting;
mod association;
mod judging;
mod membership;
mod refusal;
mod signers;
#[cfg(test)]
mod tests;

pub use association::{DeviceAssociation, DownKeys, HELD_MAX};
pub use membership::{GROUPS_MAX, HeldKey, KEPT_S, KEYS_MAX, Membership, Memberships};
pub use refusal::{Refusal, Refused};
pub use signers::{SignerKey, Signers};

use crate::command::{Addressee, Class, Receipt, SetTime, SignedCommand};
use crate::control::{Down, Item, Items, Outcome, Up};
use crate::edhoc::HeadEndCredential;
use crate::frame::{FrameType, HEAD_LEN, Head};
use crate::ids::{Dev, Gid, Scope, System};
use crate::signature::Signer;

/// Sequences of counters that an end device keeps, at most; a command of a further one is refused as
/// SEC-DN-CTR. Signers and groups together need no more in the life of a device.
pub const FLOORS_MAX: usize = 1024;

/// Computes the class of an EPSEM from the signed device profile; it is never believed.
pub trait Classifier {
    /// The highest class of all services in the body; what the profile does not list is
    /// [`Class::Keys`]. `None` when the body does not parse, when it has a session service, an inner
    /// security mode, or anything but zeros after the first service of length 00.
    fn class(&self, body: &[u8]) -> Option<Class>;
}

/// The last counter of one (skid, scope), which a later command must exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The signing key.
    pub skid: u8,
    /// The end device or the group.
    pub scope: Scope,
    /// The counter.
    pub last: u32,
    /// How that command ended, where it did.
    pub answered: Option<Answered>,
}

/// The RESULT of a command, to be sent again when the command comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered {
    /// SHA-256 of the command's `skid..body`.
    pub digest: [u8; 32],
    /// The item's octets.
    pub result: Vec<u8>,
}

/// A command of class 0 to 3 that passed: to be executed once the state is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order<'f> {
    /// The signing key.
    pub skid: u8,
    /// To this device or to a group.
    pub addressee: Addressee,
    /// The command's counter.
    pub ctr: u32,
    /// Its class.
    pub class: Class,
    /// SHA-256 of `skid..body`.
    pub digest: [u8; 32],
    /// The EPSEM.
    pub body: &'f [u8],
}

/// What a frame asks for that passed all steps.
pub enum Received<'f> {
    /// Type 4. Group keys are taken already; `skipped` counts those that their rule skips.
    Control {
        /// All items.
        items: Items<'f, Down<'f>>,
        /// Items without effect.
        skipped: usize,
    },
    /// Classes 0 to 3: store the state, act, then [`Receiver::finish`].
    Order(Order<'f>),
    /// Class 4: store the state, then send the answer, under the association's epoch.
    Keys {
        /// 0 when all items had effect, else why none had.
        result: u8,
        /// The items of the type-5 frame: a PROOF for each ADVANCE, then the RESULT.
        answer: Vec<u8>,
    },
    /// Class 5: store the state, set the clock, which is trusted from then on, then send the answer.
    Time {
        /// What the time is.
        time: SetTime,
        /// The item of the type-5 frame.
        answer: Vec<u8>,
    },
    /// The last command of its sequence once more: its RESULT is sent again.
    Repeat {
        /// The item of the type-5 frame.
        answer: Vec<u8>,
    },
}

/// All that an end device stores to judge what it is told, but its own private keys.
pub struct Receiver {
    /// The installation.
    pub system: System,
    /// The end device.
    pub dev: Dev,
    /// The association with the head-end.
    pub association: DeviceAssociation,
    /// Who may sign what.
    pub signers: Signers,
    /// The last counters.
    pub floors: Vec<Floor>,
    /// `nbf` of the last class-3 command that was executed, in any scope.
    pub class3_nbf: u32,
    /// The last ADVANCE that had effect.
    pub campaign: u32,
    /// Of the outstanding TIME_REQUEST.
    pub time_nonce: Option<[u8; 8]>,
    /// The groups, with their keys.
    pub groups: Memberships,
    /// The head-end's next credential.
    pub credential_next: Option<HeadEndCredential>,
}

impl Receiver {
    /// The state of a device that was just registered and knows only these signers.
    #[must_use]
    pub fn new(system: System, dev: Dev, association: DeviceAssociation, signers: Signers) -> Self {
        Self {
            system,
            dev,
            association,
            signers,
            floors: Vec::new(),
            class3_nbf: 0,
            campaign: 0,
            time_nonce: None,
            groups: Memberships::default(),
            credential_next: None,
        }
    }

    /// Takes a downstream frame, which is opened in place. `now` is Unix seconds, `None` without
    /// trusted time. The buffer may hold a group's secret afterwards: wiping it is the caller's work.
    ///
    /// # Errors
    /// [`Refused`]; then nothing has changed but what opening changes (a window, an older K_dn that is
    /// erased) and what was due by the time.
    pub fn receive<'f, C: Classifier>(
        &mut self,
        frame: &'f mut [u8],
        now: Option<u64>,
        profile: &C,
    ) -> Result<Received<'f>, Refused> {
        if let Some(now) = now {
            self.groups.tick(now);
        }
        let (head, body) = frame.split_at_mut_checked(HEAD_LEN).ok_or(Refusal::Format)?;
        let head = Head::read(head, body.len()).map_err(|_| Refusal::Format)?;
        match head.frame_type {
            FrameType::Report | FrameType::UpControl => Err(Refusal::Format.into()),
            FrameType::DownControl => Ok(self.control(&head, body)?),
            FrameType::Command => {
                let plaintext = self.association.open(&head, body, self.system, self.dev)?;
                self.command(plaintext, Addressee::Device(self.dev), now, profile)
            }
            FrameType::GroupCommand => {
                let gid = Gid(head.id);
                let plaintext = self.groups.open(&head, body, self.system)?;
                self.command(plaintext, Addressee::Group(gid), now, profile)
            }
        }
    }

    /// The group keys that are due become current, old ones are erased.
    pub fn tick(&mut self, now: u64) {
        self.groups.tick(now);
    }

    /// Ends an order: its RESULT, with the device's own signature where the class is 3. The state has
    /// changed and is to be stored before the answer is sent. What is answered to an order that is only
    /// pending (result 1) is replaced by a second call.
    ///
    /// A `response` that does not fit a frame is left away whole.
    ///
    /// # Errors
    /// Those of the signer.
    pub fn finish<S: Signer>(
        &mut self,
        order: &Order<'_>,
        result: u8,
        response: &[u8],
        executed_at: u32,
        signer: &S,
    ) -> Result<Vec<u8>, S::Error> {
        let mut rest = Vec::new();
        if order.class == Class::Load && result <= 6 {
            let receipt =
                Receipt { system: self.system, dev: self.dev, digest: order.digest, result, executed_at };
            rest.extend(executed_at.to_be_bytes());
            rest.extend(receipt.sign(signer)?);
        }
        if rest.len().saturating_add(response.len()) <= RESULT_REST_MAX {
            rest.extend_from_slice(response);
        }
        Ok(self.answer(order.skid, order.addressee, order.ctr, order.digest, result, &rest))
    }

    fn control<'f>(&mut self, head: &Head, body: &'f mut [u8]) -> Result<Received<'f>, Refusal> {
        let plaintext: &'f [u8] = self.association.open(head, body, self.system, self.dev)?;
        let items: Items<'f, Down<'f>> = Items::read(plaintext).map_err(|_| Refusal::Format)?;
        let skipped =
            items.filter(|item| matches!(item, Down::GroupKey(key) if !self.groups.take(key))).count();
        Ok(Received::Control { items, skipped })
    }

    fn command<'f, C: Classifier>(
        &mut self,
        plaintext: &'f [u8],
        addressee: Addressee,
        now: Option<u64>,
        profile: &C,
    ) -> Result<Received<'f>, Refused> {
        let read = SignedCommand::read(plaintext).ok_or(Refusal::Format)?;
        self.judge(&read, addressee, now, profile)
            .map_err(|refusal| Refused { refusal, answer: refusal.answer(&read.command, addressee) })
    }

    /// The RESULT of a command whose counter is stored, kept for a repeat.
    fn answer(
        &mut self,
        skid: u8,
        addressee: Addressee,
        ctr: u32,
        digest: [u8; 32],
        result: u8,
        rest: &[u8],
    ) -> Vec<u8> {
        let mut item = Vec::new();
        Up::Result(Outcome { skid, kind: addressee.kind(), ctr, result, rest }).write(&mut item);
        let scope = addressee.scope();
        // A later command of this sequence may have passed meanwhile: then nobody asks for this one again.
        let mut floors = self.floors.iter_mut();
        if let Some(floor) = floors.find(|floor| (floor.skid, floor.scope, floor.last) == (skid, scope, ctr))
        {
            floor.answered = Some(Answered { digest, result: item.clone() });
        }
        item
    }
}

/// What a RESULT has room for after its result octet.
const RESULT_REST_MAX: usize = crate::frame::PLAINTEXT_MAX - 8;
