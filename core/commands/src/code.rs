//! Why the signer signs not: the codes of security layer §10.

use seal::ids::{Dev, Gid};

/// Why a command is not signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignRefusal {
    /// No policy is in force.
    #[error("SEC-CMD-POLICY: no policy is in force")]
    NoPolicy,
    /// Octets that are no intent, or one for another installation or signing key.
    #[error("SEC-CMD-POLICY: {0}")]
    Foreign(&'static str),
    /// The policy does not let this requester ask for this class.
    #[error("SEC-CMD-POLICY: policy {version} does not let `{requester}` ask for class {class}")]
    Requester {
        /// The policy's version.
        version: u64,
        /// Who asked.
        requester: String,
        /// For which class.
        class: u8,
    },
    /// `nbf` and `ttl` make no sense now.
    #[error("SEC-CMD-POLICY: {0}")]
    When(&'static str),
    /// No such end device, or a group without members.
    #[error("SEC-CMD-POLICY: {0}")]
    Nobody(&'static str),
    /// The members are others than those for whom it was asked.
    #[error(
        "SEC-CMD-POLICY: the intent is for version {intent} of the membership of group {gid}, in the signer's \
         ledger it is {ledger}: members came or went since; ask again"
    )]
    Membership {
        /// The group.
        gid: Gid,
        /// What the intent says.
        intent: u64,
        /// That of the signer's own ledger.
        ledger: u64,
    },
    /// Fewer different approvers than it takes.
    #[error("SEC-CMD-APPROVAL: {have} of {need} different approvers approve")]
    Approval {
        /// Valid approvals of different approvers.
        have: usize,
        /// As many it takes.
        need: usize,
    },
    /// The body does not parse, or does more than its class says.
    #[error("SEC-CMD-CLASS: the body is {computed}, the command says class {class}")]
    Class {
        /// What was computed.
        computed: Computed,
        /// What the command says.
        class: u8,
    },
    /// Class 3 to a classic end device without an exception.
    #[error("SEC-LEGACY: no class 3 to {0}, a classic device, without an exception in the policy")]
    Legacy(Dev),
    /// The intent has signed already.
    #[error("SEC-SEQ: this intent has signed already")]
    Signed,
    /// Another command to this device has not ended.
    #[error("SEC-SEQ: another command to {0} has not ended")]
    Outstanding(Dev),
    /// Class 3 not after the last to one of its end devices.
    #[error("SEC-SEQ: nbf {nbf} is not after {last}, that of the last class 3 to its end devices")]
    Order {
        /// What the command says.
        nbf: u32,
        /// That of the last.
        last: u32,
    },
    /// No further counter, no room for further ids.
    #[error("SEC-SEQ: {0}")]
    Exhausted(&'static str),
    /// The clock stands before what it said.
    #[error("SEC-SEQ: the clock has stepped back {0} s")]
    Clock(u64),
    /// The clock has stepped so many milliseconds, forward or back, against one that only runs.
    #[error(
        "SEC-SEQ: the clock has stepped {0:+} ms; signing opens again when it is put right, or has run evenly for \
         ten minutes"
    )]
    Stepped(i64),
    /// Reservation or result cannot be made durable.
    #[error("SEC-STORE: the journal cannot be written")]
    Store,
    /// The token does not sign.
    #[error("SEC-HSM: {0}")]
    Hsm(String),
    /// This installation is a copy.
    #[error("SEC-FENCE: this installation is a restored copy")]
    Fence,
    /// The audit log cannot be written.
    #[error("SEC-AUDIT: the audit log cannot be written")]
    Audit,
}

/// The class that was computed for a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Computed(pub Option<u8>);

impl std::fmt::Display for Computed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(class) => write!(f, "of class {class}"),
            None => f.write_str("not one that parses"),
        }
    }
}

impl SignRefusal {
    /// The code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoPolicy
            | Self::Foreign(_)
            | Self::Requester { .. }
            | Self::When(_)
            | Self::Nobody(_)
            | Self::Membership { .. } => "SEC-CMD-POLICY",
            Self::Approval { .. } => "SEC-CMD-APPROVAL",
            Self::Class { .. } => "SEC-CMD-CLASS",
            Self::Legacy(_) => "SEC-LEGACY",
            Self::Signed
            | Self::Outstanding(_)
            | Self::Order { .. }
            | Self::Exhausted(_)
            | Self::Clock(_)
            | Self::Stepped(_) => "SEC-SEQ",
            Self::Store => "SEC-STORE",
            Self::Hsm(_) => "SEC-HSM",
            Self::Fence => "SEC-FENCE",
            Self::Audit => "SEC-AUDIT",
        }
    }
}
