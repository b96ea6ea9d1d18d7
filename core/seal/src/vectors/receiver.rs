//! The receiver of upstream frames that the vectors speak of: one association, one frame at a time.

use serde_json::Value;

use super::folder::Fields;
use crate::association::{Accepted, Association};
use crate::frame::{HEAD_LEN, Head};
use crate::ids::{Dev, Epoch, Sid, System};
use crate::profile1::open_one;
use crate::refusal::Refusal;
use crate::schedule::AssociationKeys;
use crate::secret::Key128;

/// An association, and its frames whose write is on its way.
pub struct Receiver {
    pub system: System,
    pub association: Association,
    pub written: Vec<(Epoch, u32)>,
    /// Seconds.
    pub now: u64,
}

impl Receiver {
    /// The receiver of a case, with the key that its field `up` names.
    pub fn new(case: &Value, up: &str) -> Self {
        let keys = keys(case, up);
        let sid = Sid(u32::from_be_bytes(case.array("sid")));
        let epoch = Epoch(case.number("epoch").try_into().unwrap());
        Self {
            system: System(case.array("system")),
            association: Association::new(sid, Dev(case.array("dev")), epoch, keys),
            written: Vec::new(),
            now: 0,
        }
    }

    /// The verdict about one frame, and its plaintext when it opened.
    pub fn receive(&mut self, frame: &[u8]) -> (&'static str, Vec<u8>) {
        match self.steps(frame) {
            Ok((head, Accepted::Fresh(epoch), plaintext)) => {
                self.written.push((epoch, head.seq));
                ("accept", plaintext)
            }
            Ok((_, Accepted::Duplicate { .. }, plaintext)) => ("SEC-UP-DUP", plaintext),
            Err(refusal) => (refusal.code(), Vec::new()),
        }
    }

    fn steps(&mut self, frame: &[u8]) -> Result<(Head, Accepted, Vec<u8>), Refusal> {
        let (head, _) = Head::split(frame)?;
        let mut body = frame[HEAD_LEN..].to_vec();
        let job = self.association.admit(&head, self.system)?.job(&head, 0, body.len());
        let opened = open_one(&mut body, &job);
        body.truncate(job.text_len());
        Ok((head, self.association.accept(&head, opened)?, body))
    }

    /// The write of all that was accepted since the last succeeds or fails.
    pub fn settle(&mut self, commit: bool) {
        for (epoch, seq) in self.written.drain(..) {
            if commit {
                self.association.committed(epoch, seq, self.now);
            } else {
                self.association.failed(epoch, seq);
            }
        }
    }
}

/// The keys of a case; where it does not name K_dn, that is zeros.
pub fn keys(case: &Value, up: &str) -> AssociationKeys {
    let dn = if case["k_dn"].is_string() { case.array("k_dn") } else { [0; 16] };
    AssociationKeys {
        up: Key128::from_octets(case.array(up)),
        dn: Key128::from_octets(dn),
        common_iv: case.array("common_iv"),
    }
}
