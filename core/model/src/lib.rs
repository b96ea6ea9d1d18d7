//! The rules of security layer §7 and §8 as a small machine, whose every life a checker walks through.
//!
//! One head-end (or two copies of it), one end device, one HSM, and a medium that may lose, repeat, reorder
//! and replay: a frame that was once sent may arrive at any time, any number of times, or never. Everybody
//! may lose power between any two steps and keeps only what was durable. Backups are made, copied and
//! restored.
//!
//! A [`Rule`] can be left out. With all of them no [`Property`] is ever broken; without any one of them the
//! checker finds a life that breaks one (`tests/rules.rs`).
//!
//! Keys and ciphertexts are not modelled: a frame of an epoch opens for whoever holds that epoch's key.
//! Numbers are small, a block of counters is one counter: the flaws that the rules exclude need no more.

#![expect(clippy::indexing_slicing, reason = "head-ends are numbered 0 and 1, properties 0 to 5")]

mod bounds;
mod end_device;
mod frame;
mod head_end;
mod property;
mod rule;
mod world;

pub use bounds::Bounds;
pub use end_device::EndDevice;
pub use frame::{Content, Direction, Frame, Scope};
pub use head_end::{HeadEnd, Kept};
pub use property::Property;
pub use rule::{Rule, Rules};
pub use world::{Action, Machine, World};
