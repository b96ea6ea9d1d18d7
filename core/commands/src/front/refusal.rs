//! Why the desk does not do what it is asked.

use seal::ids::{Dev, Gid};

use super::CommandId;
use crate::approval::ApprovalError;
use crate::body::BodyError;
use crate::desk::RootError;

/// Why the desk does not do what it is asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Too many requests wait.
    #[error("too many requests wait: try again")]
    Busy,
    /// No answer came within the limit; what was asked for may still happen. Asking again with the same
    /// request id is safe.
    #[error("no answer yet: ask again with the same request id")]
    TimedOut,
    /// The desk has stopped, or starts anew.
    #[error("the desk is closed")]
    Closed,
    /// The journal cannot be written.
    #[error("SEC-STORE: the journal cannot be written")]
    Store,
    /// So many commands are pending already.
    #[error("{0} commands are pending: no more are taken")]
    Full(usize),
    /// No such command.
    #[error("no command {0}")]
    NoCommand(CommandId),
    /// No such end device.
    #[error("no end device {0}")]
    NoDevice(Dev),
    /// The end device has not registered.
    #[error("end device {0} has no association")]
    NotRegistered(Dev),
    /// The end device is a classic one: signed commands are none of its.
    #[error("SEC-LEGACY: end device {0} is classic")]
    Classic(Dev),
    /// No such group.
    #[error("no group {0}")]
    NoGroup(Gid),
    /// The group has no members, or no key yet.
    #[error("group {0} has no members")]
    EmptyGroup(Gid),
    /// The members of a group have several device profiles.
    #[error("the members of group {0} have several device profiles: a body fits one")]
    MixedGroup(Gid),
    /// The group may not order this class.
    #[error("SEC-CMD-CLASS: members of group {gid} let it not order class {class}")]
    GroupClass {
        /// The group.
        gid: Gid,
        /// The class.
        class: u8,
    },
    /// No such campaign.
    #[error("no campaign {0}")]
    NoCampaign(u32),
    /// A campaign is under way.
    #[error("campaign {0} is not finished")]
    CampaignRuns(u32),
    /// A value that cannot be.
    #[error("{0}")]
    Invalid(&'static str),
    /// The same request id came with another content.
    #[error("request id `{0}` was used for another command")]
    RequestId(String),
    /// The requester's roles do not allow it.
    #[error("SEC-CMD-POLICY: needs the role {0}")]
    Role(&'static str),
    /// The command has ended, or needs no approval.
    #[error("command {0} does not wait for an approval")]
    NotAwaiting(CommandId),
    /// The end device is gated.
    #[error("SEC-FENCE: the state was restored, and end device {0} has not proven a new challenge")]
    Restored(Dev),
    /// No policy says who approves.
    #[error("SEC-CMD-POLICY: no policy is in force that names approvers")]
    NoPolicy,
    /// The approval counts for nothing.
    #[error("SEC-CMD-APPROVAL: {0}")]
    Approval(#[from] ApprovalError),
    /// A signing key is to be revoked, and not by root.
    #[error("SEC-CMD-POLICY: only the offline root revokes a signing key")]
    RootOnly,
    /// It is no command of root's.
    #[error(transparent)]
    Root(#[from] RootError),
    /// The body cannot be made.
    #[error(transparent)]
    Body(#[from] BodyError),
}

impl Refusal {
    /// The code for scripts; the codes of the security layer where one fits.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::TimedOut => "timed-out",
            Self::Closed => "closed",
            Self::Store => "SEC-STORE",
            Self::Full(_) => "full",
            Self::NoCommand(_) | Self::NoDevice(_) | Self::NoGroup(_) | Self::NoCampaign(_) => "not-found",
            Self::NotRegistered(_) => "not-registered",
            Self::Classic(_) => "SEC-LEGACY",
            Self::EmptyGroup(_) => "empty-group",
            Self::MixedGroup(_) => "mixed-group",
            Self::GroupClass { .. } => "SEC-CMD-CLASS",
            Self::CampaignRuns(_) => "campaign-runs",
            Self::Invalid(_) => "invalid",
            Self::RequestId(_) => "request-id",
            Self::Role(_) | Self::RootOnly => "SEC-CMD-POLICY",
            Self::Root(error) => error.code(),
            Self::NotAwaiting(_) => "not-awaiting",
            Self::Restored(_) => "SEC-FENCE",
            Self::NoPolicy => "SEC-CMD-POLICY",
            Self::Approval(_) => "SEC-CMD-APPROVAL",
            Self::Body(_) => "body",
        }
    }
}
