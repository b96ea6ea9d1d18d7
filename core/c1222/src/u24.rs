//! A number of three octets.

/// An unsigned number of 24 bits: offsets into tables, registration periods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct U24(u32);

impl U24 {
    /// FFFFFF.
    pub const MAX: Self = Self(0x00ff_ffff);

    /// The number, when it fits.
    #[must_use]
    pub fn new(value: u32) -> Option<Self> {
        (value <= Self::MAX.0).then_some(Self(value))
    }

    /// The number, or the highest that fits.
    #[must_use]
    pub fn saturating(value: u32) -> Self {
        Self(value.min(Self::MAX.0))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0
    }

    /// Its octets.
    #[must_use]
    pub fn octets(self) -> [u8; 3] {
        let [_, octets @ ..] = self.0.to_be_bytes();
        octets
    }
}

impl From<[u8; 3]> for U24 {
    fn from([a, b, c]: [u8; 3]) -> Self {
        Self(u32::from_be_bytes([0, a, b, c]))
    }
}

impl From<u16> for U24 {
    fn from(value: u16) -> Self {
        Self(u32::from(value))
    }
}
