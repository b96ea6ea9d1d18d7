//! A command that may be signed.

use seal::command::{self, Addressee, Command};
use seal::ids::Scope;

use super::books::Reserved;
use crate::audit::AuditEntry;
use crate::front::CommandId;
use crate::intent::Intent;

/// A command that may be signed once its reservation and its audit entry are durable.
#[derive(Debug)]
pub struct Authorised {
    /// What is signed.
    pub intent: Intent,
    /// SHA-256 over the intent.
    pub digest: [u8; 32],
    /// Who approves.
    pub approvers: Vec<String>,
    /// How many end devices it reaches, by the signer's own books.
    pub reach: u64,
    pub(super) at: u64,
    pub(super) reserved: Reserved,
}

/// A counter that is used up, whether it is signed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The signing key.
    pub skid: u8,
    /// Whose sequence; of groups there is one for all.
    pub addressee: Addressee,
    /// The counter.
    pub ctr: u32,
    /// For which intent.
    pub id: CommandId,
    /// When, Unix seconds.
    pub at: u64,
}

impl Authorised {
    /// The counter.
    #[must_use]
    pub fn ctr(&self) -> u32 {
        self.reserved.ctr
    }

    /// What must be durable before it is signed.
    #[must_use]
    pub fn reservation(&self) -> Reservation {
        let Intent { skid, addressee, id, .. } = self.intent;
        Reservation { skid, addressee, ctr: self.reserved.ctr, id, at: self.at }
    }

    /// What the audit log must have before it is signed: who asked, who approved, for whom.
    #[must_use]
    pub fn audit(&self, time_ms: u64) -> AuditEntry {
        let Scope(scope) = self.intent.addressee.scope();
        let mut actor = self.intent.requester.clone();
        for (at, approver) in self.approvers.iter().enumerate() {
            actor.push_str(if at == 0 { "; approved by " } else { ", " });
            actor.push_str(approver);
        }
        AuditEntry {
            time_ms,
            code: "command".to_owned(),
            actor,
            scope: scope.to_vec(),
            message: self.intent.id.0.to_vec(),
            digest: self.digest.to_vec(),
            result: format!(
                "class {}, skid {}, ctr {}: authorised",
                self.intent.class.octet(),
                self.intent.skid,
                self.reserved.ctr
            ),
            count: self.reach,
        }
    }

    /// Signs it: the plaintext of a frame of type 2 or 3.
    ///
    /// # Errors
    /// Those of the signer.
    pub fn sign<S: seal::signature::Signer>(&self, signer: &S) -> Result<Vec<u8>, S::Error> {
        let Intent { system, skid, class, addressee, nbf, ttl, ref body, .. } = self.intent;
        let command = Command { skid, class: class.octet(), ctr: self.reserved.ctr, nbf, ttl, body };
        // Authorised bodies fit.
        command::sign(command.octets().unwrap_or_default(), system, addressee, signer)
    }
}
