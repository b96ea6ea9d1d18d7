//! What the holder of a token may do.

use std::fmt;
use std::str::FromStr;

use commands::front::Roles;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What the holder of a token may do. Every role reads; none includes another's deeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads.
    Reader,
    /// Submits commands.
    Operator,
    /// Hands in approvals; what counts is the approver's signature under the policy, this is only the door.
    Approver,
    /// Groups, epoch campaigns, revocation.
    Security,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Reader, Self::Operator, Self::Approver, Self::Security];

    /// The word in token files and answers.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Approver => "approver",
            Self::Security => "security",
        }
    }
}

impl Role {
    /// The same in the desk's words.
    pub(crate) fn of_desk(self) -> Roles {
        match self {
            Self::Reader => Roles::READER,
            Self::Operator => Roles::OPERATOR,
            Self::Approver => Roles::APPROVER,
            Self::Security => Roles::SECURITY,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A word that is no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no role; roles are reader, operator, approver and security")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.word() == word).ok_or_else(|| UnknownRole(word.to_owned()))
    }
}
