//! ST3: the device's mode and what ails it.

use super::codec::{Fields, TableError};
use super::format::Format;
use crate::table_id::TableId;

/// ST3, mode and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModeStatus<'a> {
    /// Modes, bit by bit: see [`Self::modes`].
    pub mode: u8,
    /// Conditions, bit by bit: see [`Self::conditions`].
    pub status1: u16,
    /// Further status of the standard.
    pub status2: u8,
    /// The manufacturer's status: as many octets as ST0 says.
    pub manufacturer: &'a [u8],
}

const MODES: [&str; 4] = ["metering", "test", "meter-shop", "factory"];
const CONDITIONS: [&str; 14] = [
    "unprogrammed",
    "configuration-error",
    "self-check-error",
    "ram-failure",
    "rom-failure",
    "non-volatile-memory-failure",
    "clock-error",
    "measurement-error",
    "low-battery",
    "low-loss-potential",
    "demand-overload",
    "power-failure",
    "tamper",
    "reverse-rotation",
];

impl<'a> ModeStatus<'a> {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(3);
    /// Bit of [`Self::mode`]: it meters.
    pub const METERING: u8 = 1;
    /// Bit of [`Self::status1`]: somebody tampered with it.
    pub const TAMPER: u16 = 1 << 12;

    /// Reads ST3. All that follows the standard's part is the manufacturer's.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &'a [u8], format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        let (mode, status1, status2) = (fields.u8()?, fields.u16()?, fields.u8()?);
        Ok(Self { mode, status1, status2, manufacturer: fields.rest() })
    }

    /// Appends ST3.
    pub fn write(&self, format: &Format, out: &mut Vec<u8>) {
        out.push(self.mode);
        format.order.push(u64::from(self.status1), 2, out);
        out.push(self.status2);
        out.extend_from_slice(self.manufacturer);
    }

    /// The names of the modes it is in.
    pub fn modes(&self) -> impl Iterator<Item = &'static str> {
        named(MODES, u16::from(self.mode))
    }

    /// The names of the conditions it reports.
    pub fn conditions(&self) -> impl Iterator<Item = &'static str> {
        named(CONDITIONS, self.status1)
    }
}

fn named<const N: usize>(names: [&'static str; N], bits: u16) -> impl Iterator<Item = &'static str> {
    names.into_iter().enumerate().filter(move |(bit, _)| bits >> bit & 1 == 1).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::ByteOrder;

    #[test]
    fn a_captured_one() {
        let format = Format { order: ByteOrder::Big, ..Format::default() };
        let octets = [0x04, 0x41, 0x01, 0x00];
        let status = ModeStatus::read(&octets, &format).unwrap();
        assert_eq!(status.modes().collect::<Vec<_>>(), ["meter-shop"]);
        assert_eq!(status.conditions().collect::<Vec<_>>(), ["unprogrammed", "low-battery"]);
        let mut again = Vec::new();
        status.write(&format, &mut again);
        assert_eq!(again, octets);
        assert!(ModeStatus::read(&octets[..3], &format).is_err());
    }
}
