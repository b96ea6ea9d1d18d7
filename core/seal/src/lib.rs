//! The security layer over octets: profile 1, the replay window, EAX'.

pub mod association;
pub mod at_rest;
pub mod control;
pub mod counter;
pub mod eax_prime;
pub mod frame;
pub mod hex;
pub mod ids;
pub mod key_wrap;
pub mod oscore;
pub mod profile1;
pub mod refusal;
pub mod schedule;
pub mod secret;
pub mod window;

mod derivation;
mod lanes;

#[cfg(test)]
mod vectors;
