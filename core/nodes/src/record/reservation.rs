//! A block of downstream counters that may have been used.

use seal::ids::{Epoch, Gid, Sid};

use super::Record;
use crate::fields::Fields;

/// Downstream counters of an association below `floor` may have been used once this is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The association; for a group its `gid`, whose top bit is set.
    pub sid: Sid,
    /// The epoch that the counter belongs to; for classic devices the key id.
    pub epoch: Epoch,
    /// The first `seq` not reserved; for classic devices the first IV.
    pub floor: u32,
    /// The day that it counts for, since 1970: an association has so many blocks a day, whatever starts anew.
    pub day: u16,
}

impl Reservation {
    /// The group, if it is a group's.
    #[must_use]
    pub fn gid(&self) -> Option<Gid> {
        Some(Gid(self.sid.0)).filter(|gid| gid.is_valid())
    }

    /// The record's octets.
    #[must_use]
    pub fn octets(&self) -> [u8; 12] {
        let ([a, b, c, d], [e, f]) = (self.sid.0.to_be_bytes(), self.epoch.0.to_be_bytes());
        let ([g, h, i, j], [k, l]) = (self.floor.to_be_bytes(), self.day.to_be_bytes());
        [a, b, c, d, e, f, g, h, i, j, k, l]
    }

    /// Reads a record's octets.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        let (sid, epoch, floor) = (fields.sid()?, fields.epoch()?, fields.u32()?);
        let read = Self { sid, epoch, floor, day: fields.u16()? };
        fields.end().map(|()| read)
    }
}

impl Record for Reservation {
    const KIND: u8 = super::RESERVATION;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.octets());
    }
}
