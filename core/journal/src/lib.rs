//! A durable log with cursors.
//!
//! [`Writer`] appends records to a batch in memory and makes a batch durable with one write and one
//! `fdatasync`; it publishes how far the log is durable in a [`Durable`]. Any number of [`Reader`]s follow
//! up to there, each on its own. [`Cursors`] remember how far a follower has come, a [`Checkpoint`] what
//! was made of the log up to a position; a segment goes only when all of them have passed it
//! ([`floor`], [`Writer::release`]), and at the size limit a commit says so and nothing is deleted.
//!
//! # What holds at a cut
//!
//! - What was committed is read back, once, in order, at the same [`Position`]s.
//! - A commit is whole or not there. Blocks fill whole pages, so writing one touches nothing that is
//!   durable; a checksum over all of it, bound to its position and to this use of the file, tells a whole
//!   one from a torn one and from anything else that may stand there.
//! - A commit begins only when the one before is durable. So only the last block can be torn; a block that
//!   is not whole with another behind it is damage, and is named ([`JournalError::Damaged`]).
//! - After a write or sync that failed the page cache is not believed: the next commit writes its whole
//!   block over the failed one, in pages that it has to itself, and [`Writer::discard`] voids the place.
//!   At opening the last block, which alone could be in the cache only, is written and synced again and
//!   what stands behind it is voided, so what is not read then is never read later.
//!
//! A last commit that rots before anything follows it looks like one never finished. [`Writer::close`]
//! puts an empty block behind it, and a cursor or checkpoint ahead of the end is an error
//! ([`JournalError::EndLost`]).
//!
//! # Files
//!
//! ```text
//! BASE.segment   the log, in pieces named for their first position
//! BASE.spare     emptied segments, reused: their space and pages are there already
//! cursors/NAME   checkpoints/NAME
//! lock           held by the one writer
//! ```
//! All go through a small file layer, [`files`], which others may use too.

pub mod files;

mod block;
mod checkpoint;
mod cursors;
mod durable;
mod end;
mod error;
mod folder;
mod marks;
mod position;
mod reader;
mod segment;
mod settings;
mod writer;

pub use checkpoint::{CHUNK_OCTETS_MAX, Checkpoint, CheckpointWriter};
pub use cursors::{Cursor, Cursors};
pub use durable::{Durable, Subscription};
pub use error::JournalError;
pub use marks::floor;
pub use position::Position;
pub use reader::{Reader, Record};
pub use settings::Settings;
pub use writer::Writer;
