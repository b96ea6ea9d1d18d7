//! Why an end device refuses a frame: the SEC-DN codes of security layer §10.

use alloc::vec::Vec;

use crate::command::{Addressee, Command};
use crate::control::{Item, Outcome, Up};

/// Why a downstream frame was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// Length, version or type, a plaintext below 76 octets, the items of type 4.
    #[error("SEC-DN-FORMAT: wrong length, version, type or items")]
    Format,
    /// No key is held for this sid or gid and low epoch octet.
    #[error("SEC-DN-EPOCH: no key is held for this sid or gid and epoch")]
    Epoch,
    /// Below the window, or seen.
    #[error("SEC-DN-REPLAY: below the window or seen before")]
    Replay,
    /// The tag is not that of this frame under this key.
    #[error("SEC-DN-AUTH: the tag is wrong")]
    Auth,
    /// The signature, or a signer that is unknown, revoked or not valid yet.
    #[error("SEC-DN-SIG: wrong signature or signer")]
    Signature,
    /// A class that the signer or the group may not order, or above the one that is told.
    #[error("SEC-DN-CLASS: the class is not allowed, or the body is of a higher one")]
    Class,
    /// Not above the last counter.
    #[error("SEC-DN-CTR: not above the last counter of this signer and scope")]
    Ctr,
    /// Too early, too late, or no trusted time to tell.
    #[error("SEC-DN-TIME: not valid now")]
    Time,
    /// Class 3, but not after the last of class 3.
    #[error("SEC-DN-ORDER: not after the last command of class 3")]
    Order,
}

impl Refusal {
    /// The code, as audit, metrics and `inspect` spell it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Format => "SEC-DN-FORMAT",
            Self::Epoch => "SEC-DN-EPOCH",
            Self::Replay => "SEC-DN-REPLAY",
            Self::Auth => "SEC-DN-AUTH",
            Self::Signature => "SEC-DN-SIG",
            Self::Class => "SEC-DN-CLASS",
            Self::Ctr => "SEC-DN-CTR",
            Self::Time => "SEC-DN-TIME",
            Self::Order => "SEC-DN-ORDER",
        }
    }

    /// What a RESULT calls it; `None` for what is refused before the signature.
    #[must_use]
    pub fn result(self) -> Option<u8> {
        match self {
            Self::Format | Self::Epoch | Self::Replay | Self::Auth => None,
            Self::Signature => Some(16),
            Self::Class => Some(17),
            Self::Ctr => Some(18),
            Self::Time => Some(19),
            Self::Order => Some(20),
        }
    }

    /// The RESULT that answers it. Any member can forge a group's frame: its signature is not answered.
    pub(super) fn answer(self, command: &Command<'_>, addressee: Addressee) -> Option<Vec<u8>> {
        if self == Self::Signature && matches!(addressee, Addressee::Group(_)) {
            return None;
        }
        let Command { skid, ctr, .. } = *command;
        let mut item = Vec::new();
        Up::Result(Outcome { skid, kind: addressee.kind(), ctr, result: self.result()?, rest: &[] })
            .write(&mut item);
        Some(item)
    }
}

/// A refused frame, and what is sent back.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct Refused {
    /// Why.
    pub refusal: Refusal,
    /// The item of the type-5 frame that answers it, where one does.
    pub answer: Option<Vec<u8>>,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self { refusal, answer: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_begins_with_the_code() {
        for refusal in [
            Refusal::Format,
            Refusal::Epoch,
            Refusal::Replay,
            Refusal::Auth,
            Refusal::Signature,
            Refusal::Class,
            Refusal::Ctr,
            Refusal::Time,
            Refusal::Order,
        ] {
            assert!(refusal.to_string().starts_with(&format!("{}: ", refusal.code())));
        }
    }
}
