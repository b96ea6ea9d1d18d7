//! Why a frame is refused: the codes of security layer §10.

/// Why a frame was refused. Nothing is sent back for any of them but [`Refusal::Body`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Length, type or version; a canonified header of at most 16 octets.
    #[error("SEC-FORMAT: wrong length, type or version")]
    Format,
    /// No such association, or another generation of it.
    #[error("SEC-UP-UNKNOWN: no such association")]
    Unknown,
    /// The association was revoked.
    #[error("SEC-UP-REVOKED: the association was revoked")]
    Revoked,
    /// The low epoch octet is that of no live epoch.
    #[error("SEC-UP-EPOCH: no live epoch has this low octet")]
    Epoch,
    /// Below the window.
    #[error("SEC-UP-REPLAY: below the window")]
    Replay,
    /// The tag or MAC is not that of this message under this key.
    #[error("SEC-UP-AUTH: the tag is wrong")]
    Auth,
    /// It opened, but its body is not what its type says: stored raw, acknowledged, alarmed.
    #[error("SEC-UP-BODY: opened, but the body does not parse")]
    Body,
}

impl Refusal {
    /// The code, as audit, metrics and `inspect` spell it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Format => "SEC-FORMAT",
            Self::Unknown => "SEC-UP-UNKNOWN",
            Self::Revoked => "SEC-UP-REVOKED",
            Self::Epoch => "SEC-UP-EPOCH",
            Self::Replay => "SEC-UP-REPLAY",
            Self::Auth => "SEC-UP-AUTH",
            Self::Body => "SEC-UP-BODY",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_begins_with_the_code() {
        for refusal in [
            Refusal::Format,
            Refusal::Unknown,
            Refusal::Revoked,
            Refusal::Epoch,
            Refusal::Replay,
            Refusal::Auth,
            Refusal::Body,
        ] {
            assert!(refusal.to_string().starts_with(&format!("{}: ", refusal.code())));
        }
    }
}
