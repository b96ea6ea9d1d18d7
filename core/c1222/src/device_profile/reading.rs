//! From the data of a table to readings.

use super::{DeviceProfile, LoadProfile, Quality, TableLayout, TimeSource};
use crate::tables::{Clock, Decimal, TableError, TableId};

/// One reading of one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading<'p> {
    /// CIM reading type, as in the profile.
    pub reading_type: &'p str,
    /// Unix seconds: the end of its interval, or the moment at which a register stood so.
    pub end_time: u64,
    /// Length of its interval in seconds; 0 for a register.
    pub interval_s: u32,
    /// Its exact value in the unit of the reading type.
    pub value: Decimal,
    /// What the device says about it.
    pub quality: Quality,
}

/// What is known of the time in one report. One report, one stamp: the clock table that a report brings stamps
/// the register tables that follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Unix seconds at which the head-end received the report.
    pub received: u64,
    /// Unix seconds on the device's clock, once ST52 was seen.
    pub clock: Option<u64>,
}

impl Stamp {
    /// At the beginning of a report.
    #[must_use]
    pub const fn received(unix_s: u64) -> Self {
        Self { received: unix_s, clock: None }
    }
}

/// Why a table's data gave no readings, or not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadingError {
    /// The profile does not lay out this table.
    #[error("the device profile has no {0}")]
    UnknownTable(TableId),
    /// The data is not as long as the profile says; for blocks, no whole number of them, or too many.
    #[error("{table} has {got} octets, not {expected}")]
    Size {
        /// The table.
        table: TableId,
        /// Octets of the table, or of one block.
        expected: usize,
        /// Octets that came.
        got: usize,
    },
    /// Registers came before any clock.
    #[error("{0} came without a clock (ST52) before it")]
    NoClock(TableId),
    /// A moment that is none. Other blocks were read.
    #[error("{0} has a time that is none")]
    Time(TableId),
    /// A nibble that is no digit. Other fields were read.
    #[error("{table}: field or channel {place} holds something else than digits")]
    Digits {
        /// The table.
        table: TableId,
        /// Which field or channel, from 0.
        place: usize,
    },
    /// The clock's table is malformed.
    #[error(transparent)]
    Clock(#[from] TableError),
}

impl ReadingError {
    /// The name in reports and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::UnknownTable(_) => "table-not-in-profile",
            Self::Size { .. } => "table-size",
            Self::NoClock(_) => "table-without-clock",
            Self::Time(_) => "table-time",
            Self::Digits { .. } => "table-digits",
            Self::Clock(error) => error.name(),
        }
    }
}

impl DeviceProfile {
    /// Gives the readings in the data of a whole table (or of whole blocks of a load profile) to `sink`, fields and
    /// channels in the profile's order, intervals oldest first. Intervals that the device skipped give none. ST52
    /// gives none either: it sets the stamp's clock. Allocates nothing.
    ///
    /// # Errors
    /// [`ReadingError`]; for [`Time`](ReadingError::Time) and [`Digits`](ReadingError::Digits) the first of
    /// possibly several, after all that could be read was given, else nothing was.
    pub fn readings<'p>(
        &'p self,
        table: TableId,
        data: &[u8],
        stamp: &mut Stamp,
        sink: impl FnMut(Reading<'p>),
    ) -> Result<(), ReadingError> {
        if table == Clock::TABLE {
            let clock = Clock::read(data, &self.format)?;
            stamp.clock = Some(self.utc(clock.time).ok_or(ReadingError::Time(table))?);
            Ok(())
        } else if let Some(layout) = self.table(table) {
            self.register_readings(layout, data, stamp, sink)
        } else if let Some(load_profile) = self.load_profile(table) {
            self.interval_readings(load_profile, data, sink)
        } else {
            Err(ReadingError::UnknownTable(table))
        }
    }

    fn register_readings<'p>(
        &'p self,
        layout: &'p TableLayout,
        data: &[u8],
        stamp: &Stamp,
        mut sink: impl FnMut(Reading<'p>),
    ) -> Result<(), ReadingError> {
        let table = layout.table;
        if data.len() != layout.size {
            return Err(ReadingError::Size { table, expected: layout.size, got: data.len() });
        }
        let Some(time) = layout.time else { return Ok(()) };
        let end_time = match time {
            TimeSource::Clock => stamp.clock.ok_or(ReadingError::NoClock(table))?,
            TimeSource::Received => stamp.received,
            TimeSource::Field { offset, long } => {
                let form = self.format.time;
                let size = if long { form.long_size() } else { form.short_size() };
                let octets = data.get(offset..offset.saturating_add(size));
                octets
                    .and_then(|octets| form.read(self.format.order, octets))
                    .and_then(|time| self.utc(time))
                    .ok_or(ReadingError::Time(table))?
            }
        };
        let mut result = Ok(());
        for (place, field) in layout.fields.iter().enumerate() {
            let Some(reading_type) = &field.quantity.reading_type else { continue };
            let count = field.octets(data).and_then(|octets| field.quantity.count(self.format.order, octets));
            let Some(count) = count else {
                result = result.and(Err(ReadingError::Digits { table, place }));
                continue;
            };
            let value = field.quantity.value(count);
            sink(Reading { reading_type, end_time, interval_s: 0, value, quality: Quality::Valid });
        }
        result
    }

    fn interval_readings<'p>(
        &'p self,
        load_profile: &'p LoadProfile,
        data: &[u8],
        mut sink: impl FnMut(Reading<'p>),
    ) -> Result<(), ReadingError> {
        let LoadProfile { table, ref layout, ref channels, .. } = *load_profile;
        let size = layout.size();
        let whole = size != 0 && data.len().is_multiple_of(size) && !data.is_empty();
        if !whole || data.len() / size > usize::from(load_profile.blocks) {
            return Err(ReadingError::Size { table, expected: size, got: data.len() });
        }
        let interval_s = u32::from(load_profile.interval_min) * 60;
        let mut result = Ok(());
        for block in layout.blocks(table, data)? {
            let intervals = block.intervals();
            let length = (intervals.len() as u64).saturating_mul(u64::from(interval_s));
            let start =
                block.end_time().and_then(|end| self.utc(end)).and_then(|end| end.checked_sub(length));
            let Some(mut end_time) = start else {
                result = result.and(Err(ReadingError::Time(table)));
                continue;
            };
            for interval in intervals {
                end_time = end_time.saturating_add(u64::from(interval_s));
                if !interval.valid {
                    continue;
                }
                let mut values = interval.values;
                for (place, channel) in channels.iter().enumerate() {
                    let Some((octets, rest)) = values.split_at_checked(channel.size) else { break };
                    values = rest;
                    let Some(reading_type) = &channel.reading_type else { continue };
                    let Some(quality) = Quality::of_channel(&interval, place) else { continue };
                    let Some(count) = channel.count(self.format.order, octets) else {
                        result = result.and(Err(ReadingError::Digits { table, place }));
                        continue;
                    };
                    let value = channel.value(count);
                    sink(Reading { reading_type, end_time, interval_s, value, quality });
                }
            }
        }
        result
    }
}
