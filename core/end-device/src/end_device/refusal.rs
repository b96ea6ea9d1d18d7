//! Why a message is refused as a whole.

use c1222::segment::SegmentError;
use c1222::{DecodeError, ResponseCode};

/// Why nothing of a message was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its octets are no sound message.
    #[error("{0}")]
    Decode(#[from] DecodeError),
    /// It is a part of a message that is refused.
    #[error("{0}")]
    Segment(#[from] SegmentError),
    /// It is a response, and nothing was asked.
    #[error("a response to nothing that was asked")]
    UnexpectedResponse,
    /// It is for another node.
    #[error("for another node")]
    NotForUs,
    /// It asks for more services than are carried out at once.
    #[error("too many services in one message")]
    TooManyServices,
    /// It is secured, and the device has no keys, or takes no EAX' any more.
    #[error("secured by EAX', which this device does not take")]
    NoEaxPrime,
    /// Its security mechanism is another.
    #[error("another security mechanism than EAX'")]
    UnknownMechanism,
    /// It is secured without both titles.
    #[error("secured, but without called or calling title")]
    NoTitles,
    /// It has no initialization vector, and its caller no session.
    #[error("without authentication value outside of a session")]
    NoSession,
    /// The device has no key of that id.
    #[error("no key of id {0}")]
    UnknownKey(u8),
    /// Its MAC is wrong.
    #[error("the MAC is wrong")]
    WrongMac,
    /// Its initialization vector is too far from now.
    #[error("its IV is {iv}, the time is {now}")]
    Stale {
        /// The vector as UTC seconds.
        iv: u32,
        /// UTC seconds.
        now: u64,
    },
    /// It came before.
    #[error("seen before")]
    Replayed,
}

impl Refusal {
    /// The kebab-case name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Decode(error) => error.name(),
            Self::Segment(error) => error.name(),
            Self::UnexpectedResponse => "unexpected-response",
            Self::NotForUs => "not-for-us",
            Self::TooManyServices => "too-many-services",
            Self::NoEaxPrime => "no-eax-prime",
            Self::UnknownMechanism => "unknown-mechanism",
            Self::NoTitles => "no-titles",
            Self::NoSession => "no-session",
            Self::UnknownKey(_) => "unknown-key",
            Self::WrongMac => "wrong-mac",
            Self::Stale { .. } => "stale",
            Self::Replayed => "replayed",
        }
    }

    /// What the caller is told, in clear; `None` where it is told nothing.
    pub(super) fn response_code(&self) -> Option<ResponseCode> {
        match self {
            Self::Decode(DecodeError::NoMac | DecodeError::NoIv | DecodeError::ReservedSecurityMode) => {
                Some(ResponseCode::Sme)
            }
            Self::Decode(DecodeError::NoEdClass) => Some(ResponseCode::Err),
            Self::Decode(_) | Self::UnexpectedResponse => None,
            Self::Segment(error) => error.response_code(),
            Self::NotForUs => Some(ResponseCode::Uat),
            Self::TooManyServices => Some(ResponseCode::Rqtl),
            Self::NoEaxPrime
            | Self::UnknownMechanism
            | Self::NoTitles
            | Self::NoSession
            | Self::UnknownKey(_)
            | Self::WrongMac
            | Self::Stale { .. }
            | Self::Replayed => Some(ResponseCode::Sme),
        }
    }
}
