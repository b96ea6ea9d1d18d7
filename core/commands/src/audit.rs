//! What the audit log has of a command (security layer §11): never a key, never a body.

use crate::cbor::{self, Reader};

/// Items of an entry's array.
const ITEMS: usize = 8;

/// One entry, or several alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry {
    /// Unix milliseconds.
    pub time_ms: u64,
    /// `command`, `policy`, or a code of security layer §10.
    pub code: String,
    /// Who asked, and who approved.
    pub actor: String,
    /// The end device or group as commands have it; empty where there is none.
    pub scope: Vec<u8>,
    /// The intent's id, or what else names the matter.
    pub message: Vec<u8>,
    /// SHA-256 over the intent, or over the policy's text.
    pub digest: Vec<u8>,
    /// What came of it.
    pub result: String,
    /// How many alike, or how many end devices it reaches.
    pub count: u64,
}

impl AuditEntry {
    /// Appends deterministic CBOR: `[time, code, actor, scope, message id, intent digest, result, count]`.
    pub fn write(&self, out: &mut Vec<u8>) {
        cbor::array(ITEMS, out);
        cbor::number(self.time_ms, out);
        cbor::text(&self.code, out);
        cbor::text(&self.actor, out);
        cbor::octets(&self.scope, out);
        cbor::octets(&self.message, out);
        cbor::octets(&self.digest, out);
        cbor::text(&self.result, out);
        cbor::number(self.count, out);
    }

    /// Reads what [`Self::write`] writes; `None` for anything else.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut reader = Reader(octets);
        if reader.array()? != ITEMS {
            return None;
        }
        let entry = Self {
            time_ms: reader.number()?,
            code: reader.text()?.to_owned(),
            actor: reader.text()?.to_owned(),
            scope: reader.octets()?.to_vec(),
            message: reader.octets()?.to_vec(),
            digest: reader.octets()?.to_vec(),
            result: reader.text()?.to_owned(),
            count: reader.number()?,
        };
        reader.end().map(|()| entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn entries_read_back(
            times: (u64, u64), code in "[A-Z-]{0,12}", texts: (String, String), octets: (Vec<u8>, Vec<u8>, Vec<u8>),
        ) {
            let ((time_ms, count), (actor, result), (scope, message, digest)) = (times, texts, octets);
            let entry = AuditEntry { time_ms, code, actor, scope, message, digest, result, count };
            let mut out = Vec::new();
            entry.write(&mut out);
            prop_assert_eq!(AuditEntry::read(&out), Some(entry));
            out.pop();
            prop_assert_eq!(AuditEntry::read(&out), None);
        }

        #[test]
        fn any_octets_are_an_entry_of_one_form_or_none(octets: Vec<u8>) {
            if let Some(entry) = AuditEntry::read(&octets) {
                let mut out = Vec::new();
                entry.write(&mut out);
                prop_assert_eq!(out, octets);
            }
        }
    }
}
