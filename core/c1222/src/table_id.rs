//! Which C12.19 table a service reads or writes.

use std::fmt;

/// A table id as services carry it: bits 0 to 10 number, bit 11 manufacturer, bit 12 pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableId(pub u16);

impl TableId {
    /// Highest table number.
    pub const NUMBER_MAX: u16 = 0x07ff;
    const MANUFACTURER: u16 = 0x0800;
    const PENDING: u16 = 0x1000;

    /// A standard table; of `number` only 11 bits count.
    #[must_use]
    pub const fn standard(number: u16) -> Self {
        Self(number & Self::NUMBER_MAX)
    }

    /// A manufacturer table; of `number` only 11 bits count.
    #[must_use]
    pub const fn manufacturer(number: u16) -> Self {
        Self(Self::MANUFACTURER | (number & Self::NUMBER_MAX))
    }

    /// The number, without its kind.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0 & Self::NUMBER_MAX
    }

    /// Whether it is a manufacturer's.
    #[must_use]
    pub fn is_manufacturer(self) -> bool {
        self.0 & Self::MANUFACTURER != 0
    }

    /// Whether it is the pending form of a table.
    #[must_use]
    pub fn is_pending(self) -> bool {
        self.0 & Self::PENDING != 0
    }
}

impl fmt::Display for TableId {
    /// `ST23`, `MT0`, `pending ST54`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pending = if self.is_pending() { "pending " } else { "" };
        let kind = if self.is_manufacturer() { "MT" } else { "ST" };
        write!(f, "{pending}{kind}{}", self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_as_people_write_them() {
        for (id, text) in [
            (TableId::standard(23), "ST23"),
            (TableId(2048), "MT0"),
            (TableId(0x1036), "pending ST54"),
            (TableId(0x1800), "pending MT0"),
        ] {
            assert_eq!(id.to_string(), text);
        }
        assert_eq!(TableId::manufacturer(83), TableId(2131));
    }
}
