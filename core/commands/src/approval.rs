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
        let Some((name, key)) = policy.approver(&approval.approver) else { continue };
        let new = name != intent.requester && !names.contains(&name);
        if new && key.verifies(&prehash, &approval.signature) {
            names.push(name);
        }
    }
    names
}
