//! A command was refused by the signer.

use commands::front::CommandId;

use super::Record;
use crate::fields::Fields;

/// The signer does not sign an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    /// The intent.
    pub id: CommandId,
    /// The code of security layer §10.
    pub code: &'a str,
}

impl<'a> Refused<'a> {
    /// Reads a record's octets.
    #[must_use]
    pub fn read(octets: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        Some(Self { id: CommandId(fields.take()?), code: std::str::from_utf8(fields.rest()).ok()? })
    }
}

impl Record for Refused<'_> {
    const KIND: u8 = super::REFUSED;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(self.code.as_bytes());
    }
}
