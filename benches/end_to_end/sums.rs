//! The accounting of both sides.

use runtime::Status;

use crate::fleet::Said;
use crate::support::Failure;

/// What became of the frames that a fleet sent.
#[derive(Debug)]
pub struct Sums {
    journaled: u64,
    duplicate: u64,
    refused: u64,
    dropped: u64,
}

impl Sums {
    /// Checks that every frame came to exactly one end, that none was refused or dropped, and that just those
    /// reports are acknowledged that are in the journal.
    ///
    /// # Errors
    /// The sums, when they do not match.
    pub fn check(said: &Said, status: &Status) -> Result<Self, Failure> {
        let sum = |what: &str| {
            u64::try_from(status.sum(&format!("metergraph_frames_{what}_total"), None)).unwrap_or_default()
        };
        let sums = Self {
            journaled: sum("journaled"),
            duplicate: sum("duplicate"),
            refused: sum("refused"),
            dropped: sum("dropped"),
        };
        let Self { journaled, duplicate, refused, dropped } = sums;
        let balanced = said.sent == journaled + duplicate + refused + dropped;
        let lost = refused + dropped + said.unacked + said.refused_downstream + said.links_lost;
        if balanced && lost == 0 && said.acked == journaled && said.acked == said.reports {
            return Ok(sums);
        }
        Err(format!("the two sides do not agree: {said:?}, {sums:?}").into())
    }

    /// The ends and how many frames came to each.
    pub fn ends(&self) -> [(&'static str, u64); 4] {
        let Self { journaled, duplicate, refused, dropped } = *self;
        [("journaled", journaled), ("duplicate", duplicate), ("refused", refused), ("dropped", dropped)]
    }
}
