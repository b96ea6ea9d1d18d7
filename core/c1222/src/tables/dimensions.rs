//! The tables that say how large others are: ST11, ST20 and 21, ST60 and 61, ST70 and 71. The first of a
//! pair says what the device could hold, the second what it is set to; both have the same layout.

use super::codec::{Fields, TableError};
use super::format::Format;
use crate::table_id::TableId;

/// ST10 and ST11: data sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceDimensions {
    /// Bit 0 power-fail exclusion, 1 reset exclusion, 2 block, 3 sliding, 4 thermal demand, 5 and 6 ratio
    /// sets in [`Constants`](super::Constants).
    pub flags: u8,
    /// Entries of ST12.
    pub units: u8,
    /// Entries of ST13.
    pub demand_controls: u8,
    /// Octets of an entry of ST14.
    pub data_control_size: u8,
    /// Entries of ST14.
    pub data_controls: u8,
    /// Entries of ST15.
    pub constants: u8,
    /// What ST15 holds: 0 gas (AGA 3), 1 gas (AGA 7), 2 electric.
    pub constants_kind: u8,
    /// Entries of ST16.
    pub sources: u8,
}

impl SourceDimensions {
    /// Number of the table in force.
    pub const TABLE: TableId = TableId::standard(11);
    /// [`Self::constants_kind`]: electric constants.
    pub const ELECTRIC: u8 = 2;

    /// Reads ST11.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &[u8], format: &Format) -> Result<Self, TableError> {
        let [
            flags,
            units,
            demand_controls,
            data_control_size,
            data_controls,
            constants,
            constants_kind,
            sources,
        ] = Fields::new(Self::TABLE, format.order, data).array()?;
        Ok(Self {
            flags,
            units,
            demand_controls,
            data_control_size,
            data_controls,
            constants,
            constants_kind,
            sources,
        })
    }

    /// Appends ST11.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[
            self.flags,
            self.units,
            self.demand_controls,
            self.data_control_size,
            self.data_controls,
            self.constants,
            self.constants_kind,
            self.sources,
        ]);
    }

    /// Ratio sets that follow each electric constant, 0..=2.
    #[must_use]
    pub fn ratio_sets(&self) -> usize {
        usize::from(self.flags >> 5 & 1) + usize::from(self.flags >> 6 & 1)
    }
}

/// ST20 and ST21: registers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RegisterDimensions {
    /// Bits as the constants here name them.
    pub flags1: u8,
    /// Bit 0 self reads stop when full, 1 self reads have sequence numbers, 2 daily, 3 weekly, 4-5 at resets.
    pub flags2: u8,
    /// Self reads kept in ST26.
    pub self_reads: u8,
    /// Summations in a block.
    pub summations: u8,
    /// Demands in a block.
    pub demands: u8,
    /// Coincident values in a block.
    pub coincidents: u8,
    /// Occurrences of each demand.
    pub occurrences: u8,
    /// Blocks beside the total: one a tier.
    pub tiers: u8,
    /// Demands in ST28.
    pub present_demands: u8,
    /// Values in ST28.
    pub present_values: u8,
}

impl RegisterDimensions {
    /// Number of the table in force.
    pub const TABLE: TableId = TableId::standard(21);
    /// Bit of `flags1`: demands carry their time.
    pub const DEMAND_TIMES: u8 = 1 << 1;
    /// Bit of `flags1`: ST23 begins with the number of demand resets.
    pub const RESET_COUNTER: u8 = 1 << 2;
    /// Bit of `flags1`: demands carry a cumulative demand.
    pub const CUMULATIVE: u8 = 1 << 4;
    /// Bit of `flags1`: demands carry a continuous cumulative demand.
    pub const CONTINUOUS_CUMULATIVE: u8 = 1 << 5;

    /// Reads ST20 or ST21.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &[u8], format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        let [flags1, flags2, self_reads, summations, demands] = fields.array()?;
        let [coincidents, occurrences, tiers, present_demands, present_values] = fields.array()?;
        Ok(Self {
            flags1,
            flags2,
            self_reads,
            summations,
            demands,
            coincidents,
            occurrences,
            tiers,
            present_demands,
            present_values,
        })
    }

    /// Appends ST20 or ST21.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.flags1, self.flags2, self.self_reads, self.summations, self.demands]);
        out.extend_from_slice(&[self.coincidents, self.occurrences, self.tiers]);
        out.extend_from_slice(&[self.present_demands, self.present_values]);
    }
}

/// Sizes of one of the four load-profile data sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetDimensions {
    /// Blocks in the set.
    pub blocks: u16,
    /// Intervals in a block.
    pub intervals: u16,
    /// Channels.
    pub channels: u8,
    /// Length of an interval in minutes.
    pub interval_min: u8,
}

/// ST60 and ST61: load profile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadProfileDimensions {
    /// Octets of memory for all sets.
    pub memory: u32,
    /// Bits as the constants here name them.
    pub flags: u16,
    /// Number formats that intervals may use: bits 0-2 without sign of 1, 2, 4 octets, 3-5 with sign, 6 and 7
    /// the number formats of ST0.
    pub formats: u8,
    /// The sets, in ST64 to ST67.
    pub sets: [Option<SetDimensions>; 4],
}

impl LoadProfileDimensions {
    /// Number of the table in force.
    pub const TABLE: TableId = TableId::standard(61);
    /// Bit of `flags`: a block holds the registers at its end.
    pub const END_READINGS: u16 = 1 << 4;
    /// Bit of `flags`: a block holds the pulse counts at its end.
    pub const END_PULSES: u16 = 1 << 5;
    /// Bit of `flags`: ST62 has scalars and divisors for the first set; the next three bits for the others.
    pub const SCALARS: u16 = 1 << 6;
    /// Bit of `flags`: each interval has a status nibble for all and one a channel.
    pub const EXTENDED_STATUS: u16 = 1 << 10;
    /// Bit of `flags`: each block has a bit an interval that says whether it is valid.
    pub const SIMPLE_STATUS: u16 = 1 << 11;
    /// Bit of `flags`: each block has a closure status a channel.
    pub const CLOSURE_STATUS: u16 = 1 << 12;

    /// Reads ST60 or ST61. Sets are there one after the other, as many as the octets hold, at most four.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &[u8], format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        let (memory, flags, formats) = (fields.u32()?, fields.u16()?, fields.u8()?);
        let mut sets = [None; 4];
        for set in &mut sets {
            if fields.rest().is_empty() {
                break;
            }
            *set = Some(SetDimensions {
                blocks: fields.u16()?,
                intervals: fields.u16()?,
                channels: fields.u8()?,
                interval_min: fields.u8()?,
            });
        }
        Ok(Self { memory, flags, formats, sets })
    }

    /// Appends ST60 or ST61, its sets up to the first that is not there.
    pub fn write(&self, format: &Format, out: &mut Vec<u8>) {
        format.order.push(u64::from(self.memory), 4, out);
        format.order.push(u64::from(self.flags), 2, out);
        out.push(self.formats);
        for set in self.sets.iter().map_while(Option::as_ref) {
            format.order.push(u64::from(set.blocks), 2, out);
            format.order.push(u64::from(set.intervals), 2, out);
            out.extend_from_slice(&[set.channels, set.interval_min]);
        }
    }

    /// Whether a flag is set.
    #[must_use]
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// ST70 and ST71: logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogDimensions {
    /// Bits as the constants here name them; 3 and 4: history and event log stop when full.
    pub flags: u8,
    /// Octets of the set of standard events in ST72.
    pub standard_events: u8,
    /// Octets of the set of the manufacturer's events in ST72.
    pub manufacturer_events: u8,
    /// Octets of an argument in ST74.
    pub history_argument: u8,
    /// Octets of an argument in ST76.
    pub event_argument: u8,
    /// Entries of ST74.
    pub history_entries: u16,
    /// Entries of ST76.
    pub event_entries: u16,
}

impl LogDimensions {
    /// Number of the table in force.
    pub const TABLE: TableId = TableId::standard(71);
    /// Bit of `flags`: entries carry the number of the event.
    pub const EVENT_NUMBER: u8 = 1;
    /// Bit of `flags`: entries carry their time.
    pub const TIME: u8 = 1 << 1;
    /// Bit of `flags`: entries carry a sequence number.
    pub const SEQUENCE: u8 = 1 << 2;

    /// Reads ST70 or ST71.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &[u8], format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        let [flags, standard_events, manufacturer_events, history_argument, event_argument] =
            fields.array()?;
        Ok(Self {
            flags,
            standard_events,
            manufacturer_events,
            history_argument,
            event_argument,
            history_entries: fields.u16()?,
            event_entries: fields.u16()?,
        })
    }

    /// Appends ST70 or ST71.
    pub fn write(&self, format: &Format, out: &mut Vec<u8>) {
        out.extend_from_slice(&[self.flags, self.standard_events, self.manufacturer_events]);
        out.extend_from_slice(&[self.history_argument, self.event_argument]);
        format.order.push(u64::from(self.history_entries), 2, out);
        format.order.push(u64::from(self.event_entries), 2, out);
    }

    /// Whether a flag is set.
    #[must_use]
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tables::ByteOrder;

    #[test]
    fn load_profile_dimensions_field_by_field() {
        let octets = [0, 0, 1, 0, 0x04, 0x00, 0x02, 0, 96, 0, 4, 1, 15];
        let format = Format { order: ByteOrder::Big, ..Format::default() };
        let read = LoadProfileDimensions::read(&octets, &format).unwrap();
        assert_eq!(read.memory, 256);
        assert!(read.has(LoadProfileDimensions::EXTENDED_STATUS));
        assert!(!read.has(LoadProfileDimensions::SIMPLE_STATUS));
        let set = SetDimensions { blocks: 96, intervals: 4, channels: 1, interval_min: 15 };
        assert_eq!(read.sets, [Some(set), None, None, None]);
        assert!(LoadProfileDimensions::read(&octets[..12], &format).is_err());
    }

    proptest! {
        #[test]
        fn any_octets_are_read_and_written(
            octets in prop::collection::vec(any::<u8>(), 0..32),
            big in any::<bool>(),
        ) {
            let order = if big { ByteOrder::Big } else { ByteOrder::Little };
            let format = Format { order, ..Format::default() };
            let mut again = Vec::new();
            if let Ok(read) = SourceDimensions::read(&octets, &format) {
                read.write(&mut again);
                prop_assert_eq!(&again, &octets[..8]);
            }
            again.clear();
            if let Ok(read) = RegisterDimensions::read(&octets, &format) {
                read.write(&mut again);
                prop_assert_eq!(&again, &octets[..10]);
            }
            again.clear();
            if let Ok(read) = LogDimensions::read(&octets, &format) {
                read.write(&format, &mut again);
                prop_assert_eq!(&again, &octets[..9]);
            }
            again.clear();
            if let Ok(read) = LoadProfileDimensions::read(&octets, &format) {
                read.write(&format, &mut again);
                prop_assert_eq!(&again, &octets[..again.len()]);
            }
        }
    }
}
