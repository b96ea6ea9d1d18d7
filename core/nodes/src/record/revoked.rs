//! A device was revoked.

use seal::ids::{Dev, Sid};

use super::Record;
use crate::fields::Fields;

/// An end device is refused from now on, and an association of its with its keys is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Revoked {
    /// The end device.
    pub dev: Dev,
    /// The association.
    pub sid: Sid,
}

impl Revoked {
    /// Reads a record's octets.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        let read = Self { dev: fields.dev()?, sid: fields.sid()? };
        fields.end().map(|()| read)
    }
}

impl Record for Revoked {
    const KIND: u8 = super::REVOKED;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.dev.0);
        out.extend_from_slice(&self.sid.0.to_be_bytes());
    }
}
