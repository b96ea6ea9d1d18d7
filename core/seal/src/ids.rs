//! Who is who: the identifiers of security layer §2.

use core::fmt;
use core::num::ParseIntError;
use core::str::FromStr;

use crate::hex::{self, Hex, HexError};

/// Text that names nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not the hex digits that this identifier has.
    #[error("{what}: {problem}")]
    Hex {
        /// Which identifier.
        what: &'static str,
        /// What is wrong with the text.
        problem: HexError,
    },
    /// A `sid` has its top bit clear, a `gid` has it set.
    #[error("{what} {id:08x}: the top bit is set for groups and clear for associations")]
    TopBit {
        /// Which identifier.
        what: &'static str,
        /// The number.
        id: u32,
    },
    /// An epoch is a number from 0 to 65535.
    #[error("epoch: {0}")]
    Epoch(#[from] ParseIntError),
}

macro_rules! eight_octets {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; 8]);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                Hex(&self.0).fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                hex::read(text).map(Self).map_err(|problem| IdError::Hex { what: $what, problem })
            }
        }
    };
}

eight_octets!(
    /// One installation: random, so that test and production differ; never sent, always authenticated.
    System,
    "system"
);
eight_octets!(
    /// An end device for life (EUI-64). Not an ApTitle: addresses move.
    Dev,
    "dev"
);

/// An association of one end device with the head-end: `0 ‖ generation 7 bits ‖ slot 24 bits`.
///
/// The slot indexes, the whole number is compared: a reused slot takes the next generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sid(pub u32);

impl Sid {
    /// Slots are below this.
    pub const SLOTS: u32 = 1 << 24;
    /// Partitions are below this.
    pub const PARTITIONS: u32 = 1 << 10;

    /// The association of this slot and generation, or `None` when one is too large (24 and 7 bits).
    #[must_use]
    pub fn new(generation: u8, slot: u32) -> Option<Self> {
        (generation < 0x80 && slot < Self::SLOTS).then_some(Self((u32::from(generation) << 24) | slot))
    }

    /// Whether the top bit is clear; a set one names a group.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.0 >> 31 == 0
    }

    /// The slot, 24 bits.
    #[must_use]
    pub fn slot(self) -> u32 {
        self.0 & (Self::SLOTS - 1)
    }

    /// How often the slot was given anew, 7 bits.
    #[must_use]
    pub fn generation(self) -> u8 {
        (self.0 >> 24) as u8 & 0x7f
    }

    /// The partition: low 10 bits of the slot. One DEK, one shard.
    #[must_use]
    pub fn partition(self) -> u32 {
        self.0 & (Self::PARTITIONS - 1)
    }

    /// The place within the partition, 14 bits.
    #[must_use]
    pub fn index(self) -> u32 {
        self.slot() >> 10
    }
}

impl fmt::Display for Sid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for Sid {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let sid = Self(number("sid", text)?);
        if sid.is_valid() { Ok(sid) } else { Err(IdError::TopBit { what: "sid", id: sid.0 }) }
    }
}

/// A group of end devices; the top bit is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gid(pub u32);

impl Gid {
    /// Whether the top bit is set; a clear one names an association.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.0 >> 31 == 1
    }
}

impl fmt::Display for Gid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl FromStr for Gid {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let gid = Self(number("gid", text)?);
        if gid.is_valid() { Ok(gid) } else { Err(IdError::TopBit { what: "gid", id: gid.0 }) }
    }
}

/// A generation of keys. Its low octet is sent, all of it is authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u16);

impl Epoch {
    /// The octet that a frame carries.
    #[must_use]
    pub fn low(self) -> u8 {
        self.0.to_be_bytes()[1]
    }

    /// The next one; after 65,535 a device registers anew.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        self.0.checked_add(1).map(Self)
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Epoch {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Ok(Self(text.parse()?))
    }
}

/// Whom a frame or a command concerns: `dev`, or `gid ‖ 00000000`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scope(pub [u8; 8]);

impl From<Dev> for Scope {
    fn from(dev: Dev) -> Self {
        Self(dev.0)
    }
}

impl From<Gid> for Scope {
    fn from(gid: Gid) -> Self {
        Self((u64::from(gid.0) << 32).to_be_bytes())
    }
}

fn number(what: &'static str, text: &str) -> Result<u32, IdError> {
    hex::read(text).map(u32::from_be_bytes).map_err(|problem| IdError::Hex { what, problem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_has_generation_slot_partition_and_index() {
        let sid = Sid::new(0x0e, 0x52_0ad3).unwrap();
        assert_eq!((sid.generation(), sid.slot()), (0x0e, 0x52_0ad3));
        assert_eq!((sid.partition(), sid.index()), (0x2d3, 0x52_0ad3 >> 10));
        assert_eq!((sid.index() << 10) | sid.partition(), sid.slot());
        assert!(Sid::new(0x80, 0).is_none() && Sid::new(0, Sid::SLOTS).is_none());
    }

    #[test]
    fn text_reads_back() {
        assert_eq!("0e520ad3".parse::<Sid>().unwrap().to_string(), "0e520ad3");
        assert_eq!("8d9e8180dccdcbbb".parse::<Dev>().unwrap().to_string(), "8d9e8180dccdcbbb");
        assert_eq!("5051F1CBD5F1B7ED".parse::<System>().unwrap().to_string(), "5051f1cbd5f1b7ed");
        assert_eq!("ddda7c22".parse::<Gid>().unwrap().to_string(), "ddda7c22");
        assert_eq!("258".parse::<Epoch>().unwrap().to_string(), "258");
        assert_eq!("258".parse::<Epoch>().unwrap().low(), 2);
    }

    #[test]
    fn wrong_text_is_named() {
        let message = |error: IdError| error.to_string();
        assert_eq!(message("0e52".parse::<Sid>().unwrap_err()), "sid: 4 characters instead of 8");
        assert!(message("8e520ad3".parse::<Sid>().unwrap_err()).starts_with("sid 8e520ad3: the top bit"));
        assert!(message("0e520ad3".parse::<Gid>().unwrap_err()).starts_with("gid 0e520ad3: the top bit"));
        assert!(message("65536".parse::<Epoch>().unwrap_err()).starts_with("epoch: "));
    }

    #[test]
    fn the_scope_of_a_group_is_padded() {
        assert_eq!(Scope::from(Gid(0xddda_7c22)).0, [0xdd, 0xda, 0x7c, 0x22, 0, 0, 0, 0]);
    }
}
