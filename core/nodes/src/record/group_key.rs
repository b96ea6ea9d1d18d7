//! A group's key of one epoch.

use seal::ids::{Epoch, Gid};

use super::Record;
use crate::fields::Fields;

/// A group has a key for an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupKey<'a> {
    /// The group.
    pub gid: Gid,
    /// The epoch that it is the key of.
    pub epoch: Epoch,
    /// Unix seconds from which on it is the current one.
    pub activate_at: u32,
    /// GMS, sealed by the key of the group's partition.
    pub sealed: &'a [u8],
}

impl<'a> GroupKey<'a> {
    /// Reads a record's octets.
    #[must_use]
    pub fn read(octets: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        Some(Self {
            gid: fields.gid()?,
            epoch: fields.epoch()?,
            activate_at: fields.u32()?,
            sealed: fields.rest(),
        })
    }
}

impl Record for GroupKey<'_> {
    const KIND: u8 = super::GROUP_KEY;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.gid.0.to_be_bytes());
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
        out.extend_from_slice(&self.activate_at.to_be_bytes());
        out.extend_from_slice(self.sealed);
    }
}
