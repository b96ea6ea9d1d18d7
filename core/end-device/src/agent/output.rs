//! What an end device gives its caller to send, and to know.

use std::collections::BTreeMap;

use seal::command::Class;
use seal::ids::{Epoch, Sid};

/// One thing that came of a call, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// An APDU to be sent to the head-end.
    Send(Vec<u8>),
    /// A frame was sealed; before it is sent. Only where the ledger is wanted.
    Sealed(SealedFrame),
    /// A frame that somebody else sealed came and opened, whether it is a repeat or not. Only where the ledger is
    /// wanted.
    Opened(SealedFrame),
    /// A registration was completed.
    Registered {
        /// The new association.
        sid: Sid,
    },
    /// What waited is durable at the head-end.
    Acknowledged {
        /// What it was.
        content: super::Content,
        /// The epoch of the frame that is acknowledged; of several seals the first that is.
        epoch: Epoch,
        /// Its counter.
        seq: u32,
    },
    /// A command was executed: acted upon, whatever came of it.
    Executed(Executed),
    /// A frame or message was refused, with this code.
    Refused(&'static str),
}

/// A command that was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Executed {
    /// Which key signed it.
    pub skid: u8,
    /// 1 to this device, 2 to a group.
    pub kind: u8,
    /// Its counter.
    pub ctr: u32,
    /// Its class.
    pub class: Class,
    /// How it ended.
    pub result: u8,
}

/// One use of a key: a (key, nonce) pair must never stand with two hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SealedFrame {
    /// The first octets of SHA-256 of the key: which key it was, not what it is.
    pub key: [u8; 16],
    /// The nonce.
    pub nonce: [u8; 13],
    /// SHA-256 of the frame's octets.
    pub frame: [u8; 32],
}

/// What an end device counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Registrations that were completed.
    pub registrations: u64,
    /// Frames sealed, each once.
    pub sealed: u64,
    /// Frames sent again.
    pub repeats: u64,
    /// Frames that were acknowledged.
    pub acknowledged: u64,
    /// Commands executed, by class.
    pub executed: [u64; 6],
    /// RESULTs sent again because the command came again.
    pub repeated_results: u64,
    /// Frames and messages refused, by code.
    pub refused: BTreeMap<&'static str, u64>,
    /// Downstream items without effect.
    pub skipped_items: u64,
    /// What could not wait to be sent, for lack of room.
    pub dropped: u64,
}
