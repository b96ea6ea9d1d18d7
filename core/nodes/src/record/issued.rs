//! Candidate epochs were issued.

use seal::ids::{Epoch, Sid};

use super::Record;
use crate::fields::Fields;

/// All epochs of an association up to this one are issued: its device may prove any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Issued {
    /// The association.
    pub sid: Sid,
    /// The newest.
    pub epoch: Epoch,
    /// For which campaign; a campaign issues once.
    pub campaign: u32,
}

impl Issued {
    /// Reads a record's octets.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        let read = Self { sid: fields.sid()?, epoch: fields.epoch()?, campaign: fields.u32()? };
        fields.end().map(|()| read)
    }
}

impl Record for Issued {
    const KIND: u8 = super::ISSUED;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sid.0.to_be_bytes());
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
        out.extend_from_slice(&self.campaign.to_be_bytes());
    }
}
