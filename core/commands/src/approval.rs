//! Approvals: ES256 by approvers whom the policy names, over an intent's digest.

use seal::signature::{SIGNATURE_LEN, sha256};

use crate::intent::Intent;
use crate::policy::Policy;

/// Approvals that go with one intent, at most.
pub const APPROVALS_MAX: usize = 16;

/// Somebody approves of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Who, as the policy names him.
    pub approver: String,
    /// ES256 whose message is the 32 octets of the intent's digest.
    pub signature: [u8; SIGNATURE_LEN],
}

/// Why an approval counts for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// The policy in force has no such approver.
    #[error("the policy in force does not name this approver")]
    Unknown,
    /// Who asks for a command is none of those who approve of it.
    #[error("who asks for a command does not approve of it")]
    Requester,
    /// It is none of this approver over this intent.
    #[error("the signature is not this approver's over the digest of this intent")]
    Signature,
}

impl Approval {
    /// Whether it counts under a policy; answers the approver's name there. `prehash` is that of the intent's
    /// digest, as [`prehash`] gives it.
    ///
    /// # Errors
    /// [`ApprovalError`] says why it counts for nothing.
    pub fn check<'p>(
        &self,
        policy: &'p Policy,
        requester: &str,
        prehash: &[u8; 32],
    ) -> Result<&'p str, ApprovalError> {
        let (name, key) = policy.approver(&self.approver).ok_or(ApprovalError::Unknown)?;
        if name == requester {
            return Err(ApprovalError::Requester);
        }
        if key.verifies(prehash, &self.signature) { Ok(name) } else { Err(ApprovalError::Signature) }
    }
}

/// What an approver's key signs: SHA-256 of its message, the intent's digest.
#[must_use]
pub fn prehash(digest: &[u8; 32]) -> [u8; 32] {
    sha256(digest)
}

/// The different approvers who approve of an intent, in the order of their approvals. Who asks for it is
/// none of them; a name or signature that the policy does not know counts for nothing.
#[must_use]
pub fn approvers<'p>(
    policy: &'p Policy,
    intent: &Intent,
    digest: &[u8; 32],
    approvals: &[Approval],
) -> Vec<&'p str> {
    let prehash = prehash(digest);
    let mut names: Vec<&str> = Vec::new();
    for approval in approvals.iter().take(APPROVALS_MAX) {
        if names.contains(&approval.approver.as_str()) {
            continue;
        }
        if let Ok(name) = approval.check(policy, &intent.requester, &prehash) {
            names.push(name);
        }
    }
    names
}
