//! The sizes of a journal.

use crate::block::{PAGE, RECORD_HEAD, RECORD_OCTETS_MAX};
use crate::error::JournalError;
use crate::segment::{SEGMENT_OCTETS_MAX, SEGMENT_OCTETS_MIN, payload_max};

/// One commit takes at most so much, where the segments are large enough.
const COMMIT_OCTETS_MAX: u64 = 4 << 20;

/// The sizes of a journal. They may differ from those it was written with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Octets of a segment, 16 KiB to 1 TiB; rounded down to a multiple of 4,096.
    pub segment_octets: u64,
    /// All segments together take at most so many octets, but for the first two.
    pub size_max: u64,
    /// Emptied segments to keep for reuse; further ones are removed.
    pub spares_max: usize,
}

impl Default for Settings {
    /// Segments of 64 MiB, 64 GiB in all, 4 spares.
    fn default() -> Self {
        Self { segment_octets: 64 << 20, size_max: 64 << 30, spares_max: 4 }
    }
}

impl Settings {
    /// The settings, with the segment a whole number of pages.
    pub(crate) fn checked(self) -> Result<Self, JournalError> {
        let (octets_min, octets_max) = (SEGMENT_OCTETS_MIN, SEGMENT_OCTETS_MAX);
        if !(octets_min..=octets_max).contains(&self.segment_octets) {
            return Err(JournalError::SegmentOctets { octets: self.segment_octets, octets_min, octets_max });
        }
        let segment_octets = self.segment_octets.saturating_sub(self.segment_octets % PAGE);
        Ok(Self { segment_octets, ..self })
    }

    /// Octets of records, with their heads, that one commit takes at most.
    #[must_use]
    pub fn batch_octets_max(&self) -> usize {
        usize::try_from(payload_max(self.segment_octets).min(COMMIT_OCTETS_MAX)).unwrap_or(usize::MAX)
    }

    /// Octets that one record can have.
    #[must_use]
    pub fn record_octets_max(&self) -> usize {
        self.batch_octets_max().saturating_sub(RECORD_HEAD).min(RECORD_OCTETS_MAX)
    }
}
