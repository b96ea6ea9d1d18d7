//! An association was replaced.

use seal::ids::Sid;

use super::Record;
use crate::fields::Fields;

/// An association is sealed under no more; what its device still sends is opened for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired {
    /// The association.
    pub sid: Sid,
    /// Until when it is opened, Unix seconds; then its keys are erased.
    pub until: u64,
}

impl Retired {
    /// Reads a record's octets.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        let read = Self { sid: fields.sid()?, until: fields.u64()? };
        fields.end().map(|()| read)
    }
}

impl Record for Retired {
    const KIND: u8 = super::RETIRED;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sid.0.to_be_bytes());
        out.extend_from_slice(&self.until.to_be_bytes());
    }
}
