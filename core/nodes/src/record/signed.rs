//! A command was signed.

use commands::front::CommandId;

use super::Record;
use crate::fields::Fields;

/// The signed command of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed<'a> {
    /// The intent.
    pub id: CommandId,
    /// The plaintext of its frames: `skid..body ‖ signature`.
    pub octets: &'a [u8],
}

impl<'a> Signed<'a> {
    /// Reads a record's octets.
    #[must_use]
    pub fn read(octets: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        Some(Self { id: CommandId(fields.take()?), octets: fields.rest() })
    }
}

impl Record for Signed<'_> {
    const KIND: u8 = super::SIGNED;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(self.octets);
    }
}
