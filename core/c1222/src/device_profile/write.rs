//! From counts to the data of tables: what a simulated device does.

use super::{DeviceProfile, Field, Quantity, TimeSource};
use crate::tables::{Clock, TableError, TableId};

/// Why the data of a table could not be made. Nothing was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// The profile lays out no such table, or not of this kind.
    #[error("the device profile has no such {0}")]
    UnknownTable(TableId),
    /// Not as many counts as the table has fields or values.
    #[error("{table} takes {expected} counts, not {got}")]
    Counts {
        /// The table.
        table: TableId,
        /// Counts that it takes.
        expected: usize,
        /// Counts that were given.
        got: usize,
    },
    /// A count that its field cannot hold.
    #[error("{table}: count {place}, {count}, does not fit its field")]
    TooLarge {
        /// The table.
        table: TableId,
        /// Which count, from 0.
        place: usize,
        /// The count.
        count: i64,
    },
    /// A moment that the device's clock cannot show.
    #[error("the device's clock cannot show {0} s since 1970")]
    Time(u64),
}

impl DeviceProfile {
    /// Appends the data of ST52 at this Unix second.
    ///
    /// # Errors
    /// [`WriteError::Time`]
    pub fn write_clock(&self, utc: u64, out: &mut Vec<u8>) -> Result<(), WriteError> {
        let range = |_: TableError| WriteError::Time(utc);
        let time = self.device_time(utc).ok_or(WriteError::Time(utc))?;
        let mut clock = Clock::utc(time);
        if self.utc_offset_min != 0 {
            clock.qualifier &= !Clock::UTC;
        }
        clock.write(&self.format, out).map_err(range)
    }

    /// Appends the data of a table with registers that stood so at this Unix second: one count for each field with
    /// a reading type, in the profile's order. Other octets are 0.
    ///
    /// # Errors
    /// [`WriteError`]
    pub fn write_registers(
        &self,
        table: TableId,
        utc: u64,
        counts: &[i64],
        out: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        let layout = self.table(table).ok_or(WriteError::UnknownTable(table))?;
        let expected = layout.registers().count();
        check(table, expected, layout.registers().map(|field| &field.quantity), counts)?;
        let start = out.len();
        out.resize(start.saturating_add(layout.size), 0);
        if let Some(TimeSource::Field { offset, long }) = layout.time {
            let (form, order) = (self.format.time, self.format.order);
            let time = self.device_time(utc).and_then(|time| {
                let written =
                    if long { form.write_long(order, time, out) } else { form.write_short(order, time, out) };
                written.ok()
            });
            if time.is_none() {
                out.truncate(start);
                return Err(WriteError::Time(utc));
            }
            // The moment stands behind the table now; from there it goes to its place.
            let tail = out.get_mut(start..).and_then(|tail| tail.split_at_mut_checked(layout.size));
            if let Some((data, time)) = tail
                && let Some(place) = data.get_mut(offset..offset.saturating_add(time.len()))
            {
                place.copy_from_slice(time);
            }
            out.truncate(start.saturating_add(layout.size));
        }
        let data = out.get_mut(start..).unwrap_or_default();
        for (field, count) in layout.registers().zip(counts) {
            field.put(self, *count, data);
        }
        Ok(())
    }

    /// Appends one load-profile block whose last interval ended at this Unix second: the counts of all channels of
    /// the oldest interval, then of the next. All intervals are valid.
    ///
    /// # Errors
    /// [`WriteError`]
    pub fn write_block(
        &self,
        table: TableId,
        end_utc: u64,
        counts: &[i64],
        out: &mut Vec<u8>,
    ) -> Result<(), WriteError> {
        let load_profile = self.load_profile(table).ok_or(WriteError::UnknownTable(table))?;
        let (layout, channels) = (&load_profile.layout, &load_profile.channels);
        let expected = layout.intervals.saturating_mul(channels.len());
        check(table, expected, channels.iter().cycle(), counts)?;
        let time = self.device_time(end_utc).ok_or(WriteError::Time(end_utc))?;
        let start = out.len();
        self.format.time.write_short(self.format.order, time, out).map_err(|_| WriteError::Time(end_utc))?;
        out.extend(std::iter::repeat_n(0, layout.skip));
        // The simple status, where there is one: a bit for each interval, all set.
        let mut left = layout.intervals;
        while out.len().saturating_sub(start) < layout.head_size() {
            out.push(if left >= 8 { 0xff } else { (1_u8 << left).wrapping_sub(1) });
            left = left.saturating_sub(8);
        }
        for interval in counts.chunks_exact(channels.len().max(1)) {
            out.extend(std::iter::repeat_n(0, layout.status_size()));
            for (channel, count) in channels.iter().zip(interval) {
                channel.push(self.format.order, *count, out);
            }
        }
        Ok(())
    }
}

fn check<'q>(
    table: TableId,
    expected: usize,
    quantities: impl Iterator<Item = &'q Quantity>,
    counts: &[i64],
) -> Result<(), WriteError> {
    if counts.len() != expected {
        return Err(WriteError::Counts { table, expected, got: counts.len() });
    }
    match quantities.zip(counts).position(|(quantity, count)| !quantity.holds(*count)) {
        Some(place) => {
            let count = counts.get(place).copied().unwrap_or(0);
            Err(WriteError::TooLarge { table, place, count })
        }
        None => Ok(()),
    }
}

impl Field {
    /// Puts a count into the data of its table; nothing where the data ends before the field does.
    pub fn put(&self, profile: &DeviceProfile, count: i64, data: &mut [u8]) {
        let end = self.offset.saturating_add(self.quantity.size);
        if let Some(place) = data.get_mut(self.offset..end) {
            self.quantity.put(profile.format.order, count, place);
        }
    }
}
