//! ST52: the device's clock.

use super::codec::{Fields, TableError};
use super::format::Format;
use crate::table_id::TableId;

/// ST52, clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Seconds since 1970 on the device's clock.
    pub time: u64,
    /// Bits 0-2 day of week (0 Sunday), 3 daylight saving, 4 UTC, 5 time zone and 6 daylight saving applied.
    pub qualifier: u8,
}

impl Clock {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(52);
    /// Bit of [`Self::qualifier`]: the clock runs in UTC.
    pub const UTC: u8 = 1 << 4;

    /// A clock that runs in UTC.
    #[must_use]
    pub fn utc(time: u64) -> Self {
        // The first of January 1970 was a Thursday.
        Self { time, qualifier: ((time / 86_400 + 4) % 7) as u8 | Self::UTC }
    }

    /// Reads ST52.
    ///
    /// # Errors
    /// [`TableError::Short`]; [`TableError::Time`] when it shows no time, or the device has no clock.
    pub fn read(data: &[u8], format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        let time = fields.take(format.time.long_size())?;
        let time = format.time.read(format.order, time).ok_or(TableError::Time { table: Self::TABLE })?;
        Ok(Self { time, qualifier: fields.u8()? })
    }

    /// Appends ST52.
    ///
    /// # Errors
    /// [`TableError::TimeRange`]; nothing is appended.
    pub fn write(&self, format: &Format, out: &mut Vec<u8>) -> Result<(), TableError> {
        let range = |source| TableError::TimeRange { table: Self::TABLE, source };
        format.time.write_long(format.order, self.time, out).map_err(range)?;
        out.push(self.qualifier);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::TimeFormat;

    #[test]
    fn a_clock_reads_back() {
        for code in 1..=4 {
            let time = TimeFormat::from_code(code).unwrap();
            let format = Format { time, ..Format::default() };
            let clock = Clock::utc(1_795_568_287);
            // A Wednesday.
            assert_eq!(clock.qualifier, 3 | Clock::UTC);
            let mut octets = Vec::new();
            clock.write(&format, &mut octets).unwrap();
            assert_eq!(Clock::read(&octets, &format), Ok(clock));
            assert!(Clock::read(&octets[..octets.len() - 1], &format).is_err());
        }
        let format = Format { time: TimeFormat::Absent, ..Format::default() };
        assert_eq!(Clock::read(&[0; 9], &format).unwrap_err().name(), "table-time");
        assert_eq!(Clock::utc(5).write(&format, &mut Vec::new()).unwrap_err().name(), "table-time-range");
    }
}
