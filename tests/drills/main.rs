//! Compromise drills: one secret is stolen, the attacker does with it what he can to real meters and head-ends, the
//! documented answer is carried out, and what is still trusted is computed by asking. THREATS.md tells each in
//! words.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod approver;
mod command_key;
mod decrypt_host;
mod house;
mod key_encryption_key;
mod loot;
mod meter;
mod opened_meter;
mod registration_key;
mod standing;
#[path = "../support/mod.rs"]
mod support;
