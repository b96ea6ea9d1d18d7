//! A registered association.

use seal::ids::{Dev, Sid};

use super::Record;
use crate::fields::{self, Fields};

/// A device registered: its keys, sealed as they stand in the key store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Association<'a> {
    /// The new association.
    pub sid: Sid,
    /// The end device.
    pub dev: Dev,
    /// The association that retires when this one is proven.
    pub replaces: Option<Sid>,
    /// The key store's record of it, sealed by its partition's key.
    pub sealed: &'a [u8],
}

impl<'a> Association<'a> {
    /// Reads a record's octets.
    #[must_use]
    pub fn read(octets: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        Some(Self {
            sid: fields.sid()?,
            dev: fields.dev()?,
            replaces: fields.sid_or_none()?,
            sealed: fields.rest(),
        })
    }
}

impl Record for Association<'_> {
    const KIND: u8 = super::ASSOCIATION;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sid.0.to_be_bytes());
        out.extend_from_slice(&self.dev.0);
        out.extend_from_slice(&fields::sid_or_none(self.replaces));
        out.extend_from_slice(self.sealed);
    }
}
