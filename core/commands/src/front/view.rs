//! What people are shown.

use std::fmt;
use std::str::FromStr;

use seal::command::{Addressee, Classes};
use seal::ids::{Dev, Epoch, Gid, Sid};

/// A command's name: the random id of its intent; 32 hex digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CommandId(pub [u8; 16]);

impl fmt::Display for CommandId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// A text that names no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a command's id has 32 hex digits")]
pub struct NotCommandId;

impl FromStr for CommandId {
    type Err = NotCommandId;

    fn from_str(text: &str) -> Result<Self, NotCommandId> {
        let digits = text.len() == 32 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits).ok_or(NotCommandId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

/// A command was taken, durably.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its name.
    pub id: CommandId,
    /// SHA-256 over the intent: what approvers sign.
    pub digest: [u8; 32],
    /// Whether it was taken earlier, under the same request id.
    pub repeated: bool,
}

/// Where a command is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CommandState {
    /// It waits for one before it to the same end device, or for the signer.
    Accepted,
    /// It waits for approvals.
    AwaitingApproval,
    /// The signer signed it.
    Signed,
    /// It was given to a shard to be sent.
    Sent,
    /// It has ended: [`CommandView::outcome`].
    Ended,
}

impl CommandState {
    /// The word for people and scripts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::AwaitingApproval => "awaiting-approval",
            Self::Signed => "signed",
            Self::Sent => "sent",
            Self::Ended => "ended",
        }
    }
}

/// Who refused a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum By {
    /// The command signer, by its policy.
    Signer,
    /// The end device.
    Device,
}

impl By {
    /// The word for people and scripts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Signer => "signer",
            Self::Device => "device",
        }
    }
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The end device answered: result 0 to 6, as C12.19 table 8 has them. For a group: every member has
    /// answered, see [`CommandView::counts`].
    Done {
        /// 0 done, 1 accepted and pending, 2 to 6 as C12.19 table 8.
        result: u8,
        /// The response EPSEM, perhaps empty.
        response: Vec<u8>,
    },
    /// It was refused.
    Refused {
        /// By whom.
        by: By,
        /// Why: `SEC-...`.
        code: String,
    },
    /// Its time has passed without an answer (for a group: without the answers of all).
    Expired,
    /// The end device had taken it and cannot say what came of it; or what it says does not bear its
    /// signature.
    Unknown,
}

impl Outcome {
    /// The word for people, scripts and metrics.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Done { result: 0 | 1, .. } => "done",
            Self::Done { .. } => "failed",
            Self::Refused { .. } => "refused",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
        }
    }
}

/// An end device's own signature under what it did: a class-3 result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipted {
    /// Unix seconds, on the device's clock.
    pub executed_at: u32,
    /// ES256 over [`seal::command::Receipt`].
    pub signature: [u8; 64],
    /// Whether it was verified with the key of the manufacturer's manifest; else no such key is known.
    pub verified: bool,
}

/// Something happened to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Unix seconds.
    pub at: u64,
    /// What.
    pub what: Word,
}

/// What happened to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// It was taken.
    Accepted,
    /// Somebody approved.
    Approved(String),
    /// The signer signed it.
    Signed,
    /// It ended.
    Ended,
    /// A result came after the end.
    Late(u8),
}

/// How many members of a group answered what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResultCounts {
    /// Members when the command was taken.
    pub members: u64,
    /// Result 0 or 1.
    pub done: u64,
    /// Results 2 to 6.
    pub failed: u64,
    /// Refused by the device.
    pub refused: u64,
    /// Outcome unknown.
    pub unknown: u64,
    /// No answer.
    pub missing: u64,
}

/// What one member of a group answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceResult {
    /// The member.
    pub dev: Dev,
    /// Its result.
    pub result: u8,
    /// For class 3, its signature.
    pub receipt: Option<Receipted>,
}

/// A command as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandView {
    /// Its name.
    pub id: CommandId,
    /// The requester's own name for it; empty for those that the desk makes.
    pub request_id: String,
    /// Whom it is for.
    pub addressee: Addressee,
    /// What it does: a word as `disconnect`.
    pub order: &'static str,
    /// Class 0 to 5.
    pub class: u8,
    /// Who asked.
    pub requester: String,
    /// SHA-256 over the intent: what approvers sign.
    pub digest: [u8; 32],
    /// The intent's octets ([`crate::intent::Intent`]): approvers read all of it and compute the digest
    /// themselves.
    pub intent: Vec<u8>,
    /// Not before, Unix seconds.
    pub nbf: u32,
    /// Minutes.
    pub ttl_min: u16,
    /// Where it is.
    pub state: CommandState,
    /// How often it was given to a shard since the desk's last start.
    pub sent: u32,
    /// What happened, oldest first.
    pub history: Vec<Step>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The device's signature, class 3 to one device.
    pub receipt: Option<Receipted>,
    /// For a group.
    pub counts: Option<ResultCounts>,
    /// A page of the members' results.
    pub results: Vec<DeviceResult>,
}

/// Which commands are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only those to it.
    pub addressee: Option<Addressee>,
    /// Only those that have not ended.
    pub pending: bool,
    /// Only those of this requester.
    pub requester: Option<String>,
}

/// A part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// So many are left out.
    pub skip: usize,
    /// At most so many; the desk gives no more than [`Page::MAX`].
    pub count: usize,
}

impl Page {
    /// The largest page.
    pub const MAX: usize = 1000;
    /// No entries.
    pub const NONE: Self = Self { skip: 0, count: 0 };

    /// The entries of the page.
    pub fn of<T>(self, all: impl Iterator<Item = T>) -> Vec<T> {
        all.skip(self.skip).take(self.count.min(Self::MAX)).collect()
    }
}

/// An end device as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceView {
    /// Its identity.
    pub dev: Dev,
    /// `profile1` or `classic`.
    pub kind: &'static str,
    /// Its association, where it has one.
    pub sid: Option<Sid>,
    /// Its epoch, as far as the desk has heard since its first record.
    pub epoch: Option<Epoch>,
    /// Unix seconds, where the desk has heard of it since its start.
    pub last_heard: Option<u64>,
    /// Whether it was revoked.
    pub revoked: bool,
    /// The command that is under way.
    pub pending: Option<CommandId>,
    /// Commands that wait behind it.
    pub waiting: usize,
    /// Its groups.
    pub groups: Vec<Gid>,
    /// Its ApTitle.
    pub title: String,
    /// SHA-256 of its device profile, 64 hex digits.
    pub profile: String,
}

/// A group as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    /// Its number.
    pub gid: Gid,
    /// Its name.
    pub name: String,
    /// What it may order.
    pub classes: Classes,
    /// Rises with each change of its members.
    pub version: u64,
    /// How many there are.
    pub members: u64,
    /// The epoch in force; none before its first key is durable.
    pub epoch: Option<Epoch>,
    /// When the next one comes into force, Unix seconds.
    pub next_at: Option<u32>,
    /// A page of its members.
    pub page: Vec<Dev>,
}

/// Where an epoch campaign is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CampaignState {
    /// Candidates are being issued and the group is told.
    Broadcast,
    /// Devices are told one by one.
    CatchUp,
    /// It was paused.
    Paused,
    /// Every device is proved or must register anew.
    Finished,
}

impl CampaignState {
    /// The word for people and scripts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::CatchUp => "catch-up",
            Self::Paused => "paused",
            Self::Finished => "finished",
        }
    }
}

/// An epoch campaign as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CampaignView {
    /// Its number.
    pub campaign: u32,
    /// Steps.
    pub delta: u8,
    /// Where it is.
    pub state: CampaignState,
    /// Associations that it concerns.
    pub total: u64,
    /// Those that hold the new epoch.
    pub proved: u64,
    /// Those that may still.
    pub pending: u64,
    /// Those that must register anew.
    pub missed: u64,
    /// A page of those.
    pub reregister: Vec<Dev>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back() {
        let id = CommandId([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255]);
        assert_eq!(id.to_string().parse(), Ok(id));
        for text in ["", "00", &"g".repeat(32), &"+".repeat(32), "+0102030405060708090a0b0c0d0e0ff"] {
            assert_eq!(text.parse::<CommandId>(), Err(NotCommandId), "{text}");
        }
    }

    #[test]
    fn a_page_has_a_largest_size() {
        assert_eq!(Page { skip: 2, count: 2 }.of(0..9), [2, 3]);
        assert_eq!(Page { skip: 0, count: usize::MAX }.of(0..5000).len(), Page::MAX);
        assert!(Page::NONE.of(0..9).is_empty());
    }
}
