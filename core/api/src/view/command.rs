//! Commands: what is asked for, what became of it.

use commands::front::{self, CommandView, Receipted, Word};
use seal::command::Class;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::text::{FieldError, Named, hex_of, octets};
use super::{Order, To};

/// The longest request id, in octets.
pub const REQUEST_ID_MAX: usize = 64;

/// A command that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCommand {
    /// Whom it is for.
    pub to: To,
    /// What it is to do.
    pub order: Order,
    /// Not before: Unix seconds; now, where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<u32>,
    /// Minutes after `valid_from`; at most 1,440 for class 3.
    #[serde(default = "an_hour")]
    #[schema(minimum = 1, default = 60)]
    pub ttl_min: u16,
    /// The same id with the same content is the same command, however often it is sent. The header
    /// `Idempotency-Key` says the same; one of the two must be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(min_length = 1, max_length = 64)]
    pub request_id: Option<String>,
}

fn an_hour() -> u16 {
    60
}

/// A command that the offline root signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSigned {
    /// Whom it is signed for.
    pub to: To,
    /// The signed command, its signature with it, hex: as `metergraph keys root-command` prints it.
    pub signed: String,
}

/// A command was taken, durably.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accepted {
    /// Its name.
    pub id: String,
    /// SHA-256 over the intent: what approvers sign.
    pub digest: String,
    /// Whether it was taken earlier, under the same request id.
    pub repeated: bool,
}

/// An approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewApproval {
    /// Who approves, as the policy names him.
    #[schema(max_length = 64)]
    pub approver: String,
    /// ES256 (raw r and s, hex) whose message is the 32 octets of the intent's digest.
    #[schema(pattern = "^[0-9a-f]{128}$")]
    pub signature: String,
}

/// What is signed for, whole: the digest is computed from these fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Intent {
    /// The command's name.
    pub id: String,
    /// The installation.
    pub system: String,
    /// The signing key.
    pub skid: u8,
    /// 0 to 5.
    pub class: u8,
    /// Whom it is for.
    pub to: To,
    /// For a group: the version of its membership.
    pub membership: u64,
    /// The command's body, hex.
    pub body: String,
    /// Not before, Unix seconds.
    pub nbf: u32,
    /// Minutes.
    pub ttl_min: u16,
    /// Who asked.
    pub requester: String,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "end", rename_all = "lowercase")]
pub enum Outcome {
    /// The end device answered. For a group: every member has, see `counts`.
    Done {
        /// 0 done, 1 accepted and pending, 2 to 6 as C12.19 table 8 has them: not done.
        result: u8,
        /// The response EPSEM, hex, perhaps empty.
        response: String,
    },
    /// It was refused.
    Refused {
        /// `signer` or `device`.
        by: String,
        /// A code of the security layer §10.
        code: String,
    },
    /// Its time passed without an answer (for a group: without the answers of all).
    Expired,
    /// The end device had taken it and cannot say what came of it.
    Unknown,
}

impl Outcome {
    /// Whether what was asked for was done or is under way in the device.
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Self::Done { result: 0 | 1, .. })
    }
}

/// The device's own signature under what it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// Unix seconds, on the device's clock.
    pub executed_at: u32,
    /// ES256, hex.
    pub signature: String,
    /// Whether it was verified with the key of the manufacturer's manifest.
    pub verified: bool,
}

/// Something happened to a command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Unix seconds.
    pub at: u64,
    /// `accepted`, `approved`, `signed`, `ended` or `late`.
    pub what: String,
    /// Who approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The result that came late.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<u8>,
}

/// How many members of a group answered what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Counts {
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberResult {
    /// The member.
    pub dev: String,
    /// Its result.
    pub result: u8,
    /// For class 3, its signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
}

/// A command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Command {
    /// Its name.
    pub id: String,
    /// The requester's name for it; empty for those that the desk makes.
    pub request_id: String,
    /// Whom it is for.
    pub to: To,
    /// What it does, in a word.
    pub order: String,
    /// 0 to 5.
    pub class: u8,
    /// Who asked.
    pub requester: String,
    /// SHA-256 over the intent: what approvers sign.
    pub digest: String,
    /// The intent, whole; left out in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// Not before, Unix seconds.
    pub valid_from: u32,
    /// Minutes.
    pub ttl_min: u16,
    /// `accepted`, `awaiting-approval`, `signed`, `sent` or `ended`.
    pub state: String,
    /// How often it was given to be sent since the desk's last start.
    pub sent: u32,
    /// What happened, oldest first.
    pub history: Vec<Step>,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The device's signature: class 3 to one device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<Receipt>,
    /// For a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// For a group: a page of the members' results.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<MemberResult>,
}

/// Commands, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CommandList {
    /// A page of them.
    pub commands: Vec<Command>,
}

impl From<front::Accepted> for Accepted {
    fn from(accepted: front::Accepted) -> Self {
        Self { id: accepted.id.to_string(), digest: hex_of(&accepted.digest), repeated: accepted.repeated }
    }
}

impl From<front::Outcome> for Outcome {
    fn from(outcome: front::Outcome) -> Self {
        match outcome {
            front::Outcome::Done { result, response } => Self::Done { result, response: hex_of(&response) },
            front::Outcome::Refused { by, code } => Self::Refused { by: by.word().to_owned(), code },
            front::Outcome::Expired => Self::Expired,
            front::Outcome::Unknown => Self::Unknown,
        }
    }
}

impl From<Receipted> for Receipt {
    fn from(receipt: Receipted) -> Self {
        Self {
            executed_at: receipt.executed_at,
            signature: hex_of(&receipt.signature),
            verified: receipt.verified,
        }
    }
}

impl From<front::Step> for Step {
    fn from(step: front::Step) -> Self {
        let (what, by, result) = match step.what {
            Word::Accepted => ("accepted", None, None),
            Word::Approved(by) => ("approved", Some(by), None),
            Word::Signed => ("signed", None, None),
            Word::Ended => ("ended", None, None),
            Word::Late(result) => ("late", None, Some(result)),
        };
        Self { at: step.at, what: what.to_owned(), by, result }
    }
}

impl From<front::ResultCounts> for Counts {
    fn from(counts: front::ResultCounts) -> Self {
        let front::ResultCounts { members, done, failed, refused, unknown, missing } = counts;
        Self { members, done, failed, refused, unknown, missing }
    }
}

impl From<front::DeviceResult> for MemberResult {
    fn from(result: front::DeviceResult) -> Self {
        Self {
            dev: result.dev.to_string(),
            result: result.result,
            receipt: result.receipt.map(Receipt::from),
        }
    }
}

impl From<CommandView> for Command {
    fn from(view: CommandView) -> Self {
        Self {
            id: view.id.to_string(),
            request_id: view.request_id,
            to: view.addressee.into(),
            order: view.order.to_owned(),
            class: view.class,
            requester: view.requester,
            digest: hex_of(&view.digest),
            intent: None,
            valid_from: view.nbf,
            ttl_min: view.ttl_min,
            state: view.state.word().to_owned(),
            sent: view.sent,
            history: view.history.into_iter().map(Step::from).collect(),
            outcome: view.outcome.map(Outcome::from),
            receipt: view.receipt.map(Receipt::from),
            counts: view.counts.map(Counts::from),
            results: view.results.into_iter().map(MemberResult::from).collect(),
        }
    }
}

impl Intent {
    /// The fields of an intent's octets; `None` when they are none.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let intent = commands::intent::Intent::read(octets)?;
        Some(Self {
            id: intent.id.to_string(),
            system: intent.system.to_string(),
            skid: intent.skid,
            class: intent.class.octet(),
            to: intent.addressee.into(),
            membership: intent.membership,
            body: hex_of(&intent.body),
            nbf: intent.nbf,
            ttl_min: intent.ttl,
            requester: intent.requester,
        })
    }

    /// SHA-256 over the intent, computed from the fields: what an approver signs is what he reads.
    ///
    /// # Errors
    /// [`FieldError`] names a field that holds something else.
    pub fn digest(&self) -> Result<[u8; 32], FieldError> {
        let class = Class::from_octet(self.class);
        let intent = commands::intent::Intent {
            id: self.id.read("intent.id")?,
            system: self.system.read("intent.system")?,
            skid: self.skid,
            class: class.ok_or_else(|| FieldError::new("intent.class", "classes are 0 to 5"))?,
            addressee: self.to.addressee()?,
            membership: self.membership,
            body: octets("intent.body", &self.body)?,
            nbf: self.nbf,
            ttl: self.ttl_min,
            requester: self.requester.clone(),
        };
        Ok(intent.digest())
    }

    /// What its body does, in words, line by line: read from the same octets as the digest.
    ///
    /// # Errors
    /// [`FieldError`] names a field that holds something else.
    pub fn shown(&self) -> Result<Vec<String>, FieldError> {
        let class = Class::from_octet(self.class);
        let class = class.ok_or_else(|| FieldError::new("intent.class", "classes are 0 to 5"))?;
        Ok(commands::body::shown(class, &octets("intent.body", &self.body)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seal::command::Addressee;
    use seal::ids::{Dev, System};

    #[test]
    fn an_intent_is_shown_whole_and_its_digest_is_that_of_what_is_shown() {
        let intent = commands::intent::Intent {
            id: front::CommandId([7; 16]),
            system: System([1; 8]),
            skid: 1,
            class: Class::Load,
            addressee: Addressee::Device(Dev([2; 8])),
            membership: 0,
            body: vec![1, 2, 3],
            nbf: 4,
            ttl: 5,
            requester: "alice".into(),
        };
        let shown = Intent::read(&intent.octets()).unwrap();
        assert_eq!(shown.digest(), Ok(intent.digest()));
        let other = Intent { body: "010204".into(), ..shown.clone() };
        assert_ne!(other.digest(), Ok(intent.digest()));
        let wrong = Intent { class: 9, ..shown };
        assert!(wrong.digest().unwrap_err().to_string().starts_with("`intent.class`"));
        assert_eq!(Intent::read(b"none"), None);
    }
}
