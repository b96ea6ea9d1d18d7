//! A candidate epoch became the active one.

use seal::ids::{Epoch, Sid};

use super::Record;
use crate::fields::Fields;

/// A candidate epoch was proven: this stands directly before the report that did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// The association.
    pub sid: Sid,
    /// Its active epoch from now on.
    pub epoch: Epoch,
    /// When, Unix seconds: the epoch before retires from then on.
    pub at: u64,
}

impl Promoted {
    /// Reads a record's octets.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        let read = Self { sid: fields.sid()?, epoch: fields.epoch()?, at: fields.u64()? };
        fields.end().map(|()| read)
    }
}

impl Record for Promoted {
    const KIND: u8 = super::PROMOTED;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sid.0.to_be_bytes());
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
        out.extend_from_slice(&self.at.to_be_bytes());
    }
}
