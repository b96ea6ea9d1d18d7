//! Why a message is refused: the codes of security layer §10.

use super::error::ErrorMessage;

/// Why a message of a registration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Not one of the fixed forms, or a G_X for the second time.
    #[error("SEC-REG-FORMAT: not the fixed form")]
    Format,
    /// A method other than 3.
    #[error("SEC-REG-METHOD: method 3 is the only one")]
    Method,
    /// A suite other than 2.
    #[error("SEC-REG-SUITE: suite 2 is the only one")]
    Suite,
    /// An x that no point of the curve has.
    #[error("SEC-REG-POINT: not on the curve")]
    Point,
    /// A critical EAD, or too much of it.
    #[error("SEC-REG-EAD: critical or oversized EAD")]
    Ead,
    /// A tag or MAC.
    #[error("SEC-REG-MAC: the tag or MAC is wrong")]
    Mac,
    /// A `kid` without a credential.
    #[error("SEC-REG-UNKNOWN: no credential has this kid")]
    Unknown,
    /// A `kid` whose credential was revoked.
    #[error("SEC-REG-REVOKED: the credential was revoked")]
    Revoked,
}

impl Refusal {
    /// The code, as audit, metrics and `inspect` spell it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Format => "SEC-REG-FORMAT",
            Self::Method => "SEC-REG-METHOD",
            Self::Suite => "SEC-REG-SUITE",
            Self::Point => "SEC-REG-POINT",
            Self::Ead => "SEC-REG-EAD",
            Self::Mac => "SEC-REG-MAC",
            Self::Unknown => "SEC-REG-UNKNOWN",
            Self::Revoked => "SEC-REG-REVOKED",
        }
    }

    /// What the head-end sends back: only a wrong suite is told apart.
    #[must_use]
    pub fn reply(self) -> ErrorMessage {
        if self == Self::Suite { ErrorMessage::WrongSuite } else { ErrorMessage::Unspecified }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_begins_with_the_code() {
        for refusal in [
            Refusal::Format,
            Refusal::Method,
            Refusal::Suite,
            Refusal::Point,
            Refusal::Ead,
            Refusal::Mac,
            Refusal::Unknown,
            Refusal::Revoked,
        ] {
            assert!(refusal.to_string().starts_with(&format!("{}: ", refusal.code())));
            assert_eq!(refusal.reply() == ErrorMessage::WrongSuite, refusal == Refusal::Suite);
        }
    }
}
