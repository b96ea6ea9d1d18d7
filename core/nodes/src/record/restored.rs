//! RESTORED: the state is that of a backup.

use super::{RESTORED, Record};
use crate::fields::Fields;

/// A backup was restored (security layer §8). It stands before the [`Gated`](super::Gated) records of the same
/// restore; met again it says nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Restored {
    /// The incarnation that the restore made; rises from one to the next.
    pub incarnation: u64,
    /// How old the backup was, in days.
    pub days: u32,
    /// When, Unix seconds.
    pub at: u64,
}

impl Restored {
    /// What counters skip for each day, and for the day that has begun: more than an association may seal.
    pub const SKIP_A_DAY: u32 = 1 << 16;

    /// What every counter skips.
    #[must_use]
    pub fn skip(&self) -> u32 {
        self.days.saturating_add(1).saturating_mul(Self::SKIP_A_DAY)
    }

    /// Reads one; `None` when it is cut.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        let read = Self { incarnation: fields.u64()?, days: fields.u32()?, at: fields.u64()? };
        fields.end().map(|()| read)
    }
}

impl Record for Restored {
    const KIND: u8 = RESTORED;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.incarnation.to_be_bytes());
        out.extend_from_slice(&self.days.to_be_bytes());
        out.extend_from_slice(&self.at.to_be_bytes());
    }
}
