//! An entry of the audit log.

use super::Record;

/// An audit entry, sealed: `nonce ‖ ciphertext ‖ tag`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit<'a>(pub &'a [u8]);

impl Record for Audit<'_> {
    const KIND: u8 = super::AUDIT;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.0);
    }
}
