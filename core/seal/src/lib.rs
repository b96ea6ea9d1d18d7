//! The security layer over octets: no I/O, no clock, no randomness; the caller brings them.
//!
//! - Profile 1: [`schedule`] makes an epoch's keys, [`frame`] is the fixed layout, [`profile1`] seals
//!   and opens whole batches in place, [`association`] holds the head-end's steps and state around
//!   that, with a replay [`window`] and a downstream [`counter`]; [`control`] is what types 4 and 5 say.
//!   Clauses (§) are those of the security layer's text.
//! - Commands: [`command`] is what is signed, [`signature`] who signs, [`group`] the keys of a frame for
//!   many; [`receiver`] is the end device's steps and state.
//! - Registration: [`edhoc`], both roles, ends in the first epoch's PRK_out.
//! - Classic C12.22: [`eax_prime`], over what the codec canonified.
//! - At rest: [`at_rest`] seals records under a DEK, [`key_wrap`] keeps the DEK under a KEK.
//!
//! Keys are [`secret`]s. An APDU is never seen here: joining the two is the work of the nodes.

#![cfg_attr(not(test), no_std)]

extern crate alloc;

pub mod association;
pub mod at_rest;
pub mod command;
pub mod control;
pub mod counter;
pub mod eax_prime;
pub mod edhoc;
pub mod frame;
pub mod group;
pub mod hex;
pub mod ids;
pub mod key_wrap;
pub mod oscore;
pub mod profile1;
pub mod receiver;
pub mod refusal;
pub mod schedule;
pub mod secret;
pub mod signature;
pub mod window;

mod derivation;
mod lanes;

#[cfg(test)]
mod vectors;
