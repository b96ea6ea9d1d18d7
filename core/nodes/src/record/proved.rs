//! A new association is in use.

use seal::ids::{Dev, Sid};

use super::Record;
use crate::fields::{self, Fields};

/// A frame under a new association opened: this stands before its report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proved {
    /// The association.
    pub sid: Sid,
    /// The end device.
    pub dev: Dev,
    /// The association that retires now.
    pub replaces: Option<Sid>,
}

impl Proved {
    /// Reads a record's octets.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        let read = Self { sid: fields.sid()?, dev: fields.dev()?, replaces: fields.sid_or_none()? };
        fields.end().map(|()| read)
    }
}

impl Record for Proved {
    const KIND: u8 = super::PROVED;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sid.0.to_be_bytes());
        out.extend_from_slice(&self.dev.0);
        out.extend_from_slice(&fields::sid_or_none(self.replaces));
    }
}
