//! ST72, ST74 and ST76: which events a device knows, and its history and event logs.

use super::codec::{Fields, TableError};
use super::dimensions::LogDimensions;
use super::event::EventCode;
use super::format::Format;
use super::set::Set;
use crate::table_id::TableId;

/// ST72, the events that the device can log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventsIdentified<'a> {
    /// Events of the standard.
    pub standard: Set<'a>,
    /// Events of the manufacturer.
    pub manufacturer: Set<'a>,
}

impl<'a> EventsIdentified<'a> {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(72);

    /// Reads ST72 with the sizes of ST71.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &'a [u8], sizes: &LogDimensions, format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        Ok(Self {
            standard: fields.take(usize::from(sizes.standard_events)).map(Set)?,
            manufacturer: fields.take(usize::from(sizes.manufacturer_events)).map(Set)?,
        })
    }

    /// Appends ST72.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.standard.0);
        out.extend_from_slice(self.manufacturer.0);
    }
}

/// The beginning of ST74 and ST76.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogHead {
    /// Bit 0 order (1: newest first), 1 overflow, 2 circular, 3 stops when full.
    pub flags: u8,
    /// Entries that are filled.
    pub valid: u16,
    /// Place of the newest entry.
    pub last_entry: u16,
    /// Sequence number of the newest entry.
    pub last_sequence: u32,
    /// Entries that were not yet read.
    pub unread: u16,
}

/// ST74 or ST76, a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Log<'a> {
    /// How full it is.
    pub head: LogHead,
    entries: &'a [u8],
    layout: EntryLayout,
    format: Format,
}

/// An entry of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEntry<'a> {
    /// Seconds since 1970 on the device's clock, where entries carry a time and this one has one.
    pub time: Option<u64>,
    /// Number of the event, where entries carry it.
    pub event: Option<u16>,
    /// Sequence number, where entries carry it.
    pub sequence: Option<u16>,
    /// Who caused it: 0 nobody, 1 the device itself, else a user id of Logon.
    pub user: u16,
    /// What happened.
    pub code: EventCode,
    /// Octets that go with it, as many as ST71 says.
    pub argument: &'a [u8],
}

/// What entries carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EntryLayout {
    flags: u8,
    argument: usize,
}

impl EntryLayout {
    fn size(self, format: &Format) -> usize {
        let has = |flag: u8| usize::from(self.flags & flag != 0);
        has(LogDimensions::TIME) * format.time.long_size()
            + (has(LogDimensions::EVENT_NUMBER) + has(LogDimensions::SEQUENCE) + 2) * 2
            + self.argument
    }
}

impl<'a> Log<'a> {
    /// Number of the history log.
    pub const HISTORY: TableId = TableId::standard(74);
    /// Number of the event log.
    pub const EVENTS: TableId = TableId::standard(76);

    /// Reads ST74 with the sizes of ST71.
    ///
    /// # Errors
    /// [`TableError::Short`] when there is not even the beginning.
    pub fn read_history(data: &'a [u8], sizes: &LogDimensions, format: &Format) -> Result<Self, TableError> {
        let layout = EntryLayout { flags: sizes.flags, argument: usize::from(sizes.history_argument) };
        Self::read(Fields::new(Self::HISTORY, format.order, data), layout, format)
    }

    /// Reads ST76 with the sizes of ST71.
    ///
    /// # Errors
    /// [`TableError::Short`] when there is not even the beginning.
    pub fn read_events(data: &'a [u8], sizes: &LogDimensions, format: &Format) -> Result<Self, TableError> {
        let layout = EntryLayout { flags: sizes.flags, argument: usize::from(sizes.event_argument) };
        Self::read(Fields::new(Self::EVENTS, format.order, data), layout, format)
    }

    fn read(mut fields: Fields<'a>, layout: EntryLayout, format: &Format) -> Result<Self, TableError> {
        let head = LogHead {
            flags: fields.u8()?,
            valid: fields.u16()?,
            last_entry: fields.u16()?,
            last_sequence: fields.u32()?,
            unread: fields.u16()?,
        };
        Ok(Self { head, entries: fields.rest(), layout, format: *format })
    }

    /// The entries that are there and whole, in the table's order; those past `head.valid` were never filled.
    pub fn entries(&self) -> impl Iterator<Item = LogEntry<'a>> {
        let Self { layout, format, .. } = *self;
        self.entries
            .chunks_exact(layout.size(&format))
            .filter_map(move |octets| LogEntry::read(octets, layout, &format).ok())
    }
}

impl LogHead {
    /// Appends the beginning of a log; the entries follow.
    pub fn write(&self, format: &Format, out: &mut Vec<u8>) {
        out.push(self.flags);
        format.order.push(u64::from(self.valid), 2, out);
        format.order.push(u64::from(self.last_entry), 2, out);
        format.order.push(u64::from(self.last_sequence), 4, out);
        format.order.push(u64::from(self.unread), 2, out);
    }
}

impl<'a> LogEntry<'a> {
    fn read(octets: &'a [u8], layout: EntryLayout, format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Log::EVENTS, format.order, octets);
        let has = |flag: u8| layout.flags & flag != 0;
        let time = if has(LogDimensions::TIME) {
            format.time.read(format.order, fields.take(format.time.long_size())?)
        } else {
            None
        };
        let event = if has(LogDimensions::EVENT_NUMBER) { Some(fields.u16()?) } else { None };
        let sequence = if has(LogDimensions::SEQUENCE) { Some(fields.u16()?) } else { None };
        Ok(Self {
            time,
            event,
            sequence,
            user: fields.u16()?,
            code: EventCode(fields.u16()?),
            argument: fields.rest(),
        })
    }

    /// Appends an entry with what `flags` of ST71 say that entries carry; what is `None` is written as zeros,
    /// the argument as it is.
    ///
    /// # Errors
    /// [`TableError::TimeRange`]; nothing is appended.
    pub fn write(&self, flags: u8, format: &Format, out: &mut Vec<u8>) -> Result<(), TableError> {
        let has = |flag: u8| flags & flag != 0;
        if has(LogDimensions::TIME) {
            match self.time {
                Some(time) => format
                    .time
                    .write_long(format.order, time, out)
                    .map_err(|source| TableError::TimeRange { table: Log::EVENTS, source })?,
                None => out.extend(std::iter::repeat_n(0, format.time.long_size())),
            }
        }
        for (flag, number) in
            [(LogDimensions::EVENT_NUMBER, self.event), (LogDimensions::SEQUENCE, self.sequence)]
        {
            if has(flag) {
                format.order.push(u64::from(number.unwrap_or(0)), 2, out);
            }
        }
        format.order.push(u64::from(self.user), 2, out);
        format.order.push(u64::from(self.code.0), 2, out);
        out.extend_from_slice(self.argument);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tables::TimeFormat;

    #[test]
    fn a_log_reads_back() {
        let head = LogHead { flags: 4, valid: 2, last_entry: 1, last_sequence: 70_000, unread: 1 };
        for flags in 0..8 {
            let sizes = LogDimensions { flags, event_argument: 2, ..Default::default() };
            let format = Format { time: TimeFormat::Minutes, ..Format::default() };
            let has = |flag: u8| flags & flag != 0;
            let entry = |number: u16| LogEntry {
                time: has(LogDimensions::TIME).then_some(1_795_568_287),
                event: has(LogDimensions::EVENT_NUMBER).then_some(number),
                sequence: has(LogDimensions::SEQUENCE).then_some(number),
                user: 1,
                code: EventCode::standard(number),
                argument: &[7, 8],
            };
            let mut octets = Vec::new();
            head.write(&format, &mut octets);
            entry(47).write(flags, &format, &mut octets).unwrap();
            entry(1).write(flags, &format, &mut octets).unwrap();
            let log = Log::read_events(&octets, &sizes, &format).unwrap();
            assert_eq!(log.head, head);
            assert_eq!(log.entries().collect::<Vec<_>>(), [entry(47), entry(1)]);
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(
            octets in prop::collection::vec(any::<u8>(), 0..100),
            sizes in prop::array::uniform9(0_u8..20),
        ) {
            let format = Format::default();
            let sizes = LogDimensions::read(&sizes, &format).unwrap();
            if let Ok(log) = Log::read_history(&octets, &sizes, &format) {
                prop_assert!(log.entries().count() <= octets.len() / 4);
            }
            if let Ok(log) = Log::read_events(&octets, &sizes, &format) {
                prop_assert!(log.entries().count() <= octets.len() / 4);
            }
            let _ = EventsIdentified::read(&octets, &sizes, &format);
        }
    }
}
