//! A place in the log.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

/// A place in the log: a count of octets that only ever grows, over all segments and restarts.
///
/// A record's position never changes and is never used again. Printed as 16 hexadecimal digits, so that
/// names made of positions sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    /// Where the first journal begins.
    pub const START: Self = Self(0);

    /// The position so many octets on.
    #[must_use]
    pub(crate) fn plus(self, octets: u64) -> Self {
        Self(self.0.saturating_add(octets))
    }

    /// Octets from `earlier` to here.
    #[must_use]
    pub fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Position {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        u64::from_str_radix(text, 16).map(Self)
    }
}
