//! The RFLAN-class link layer, without I/O: what a radio driver and a simulator share.

pub mod capture;
pub mod channel_mask;
pub mod duplicates;
pub mod etx;
pub mod fcs;
pub mod frame;
pub mod framing;
pub mod hdlc;
pub mod hop;
pub mod lowpan;
pub mod message;
pub mod parent;
pub mod phy;
pub mod retry;
pub mod route;
pub mod rule_guard;
pub mod security;
pub mod trickle;
pub mod wisun;

mod random;
mod reader;

/// An EUI-64 as a number: its first octet is the highest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Eui64(pub u64);
