//! What an end device is to the head-end, keys apart.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};

/// How a device secures what it sends: a property of its provisioning, not of what it sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The fixed security layer.
    Profile1,
    /// EAX' of C12.22, a legacy.
    Classic,
}

impl Kind {
    /// The word in shipment files.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Profile1 => "profile1",
            Self::Classic => "classic",
        }
    }

    pub(crate) fn octet(self) -> u8 {
        match self {
            Self::Profile1 => 1,
            Self::Classic => 2,
        }
    }

    pub(crate) fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Profile1),
            2 => Some(Self::Classic),
            _ => None,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How an association stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    /// Registered; no frame under it was opened yet.
    Fresh,
    /// In use.
    Proved,
    /// Replaced by another of the same device: still opened for a while, nothing is sealed under it.
    Retired,
    /// Its device is revoked.
    Revoked,
    /// Its keys are erased.
    Gone,
}

impl Standing {
    /// The word for people and scripts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Proved => "proved",
            Self::Retired => "retired",
            Self::Revoked => "revoked",
            Self::Gone => "gone",
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A word that is no [`Kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a device's kind is `profile1` or `classic`")]
pub struct KindError;

impl FromStr for Kind {
    type Err = KindError;

    fn from_str(text: &str) -> Result<Self, KindError> {
        [Self::Profile1, Self::Classic].into_iter().find(|kind| kind.word() == text).ok_or(KindError)
    }
}

/// A device profile, named by the SHA-256 of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProfileId(pub [u8; 32]);

impl ProfileId {
    /// The name of this text.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        Self(Sha256::digest(text).into())
    }
}

impl fmt::Display for ProfileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_read_back() {
        for kind in [Kind::Profile1, Kind::Classic] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
            assert_eq!(Kind::from_octet(kind.octet()), Some(kind));
        }
        assert_eq!("Classic".parse::<Kind>(), Err(KindError));
        assert_eq!(Kind::from_octet(0), None);
    }

    #[test]
    fn a_profile_is_named_by_its_text() {
        let name = ProfileId::of(b"abc").to_string();
        assert_eq!(name, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
