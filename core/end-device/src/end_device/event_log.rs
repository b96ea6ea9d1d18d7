//! The history and event logs: ST74 and ST76.

use std::collections::VecDeque;

use c1222::tables::{EventCode, Format, LogDimensions, LogEntry, LogHead, Set, TimeFormat};

/// Entries of each log.
const ENTRIES: u16 = 64;
/// Octets that go with an entry.
const ARGUMENT: u8 = 2;
/// Bit of [`LogHead::flags`]: the log is circular.
const CIRCULAR: u8 = 1 << 2;
/// Bit of [`LogHead::flags`]: entries were overwritten before they were read.
const OVERFLOW: u8 = 1 << 1;

/// Octets of the head of a log, and where its entries begin in the list of its elements.
pub(super) const HEAD: [usize; 5] = [1, 2, 2, 4, 2];

/// The events of the standard that are logged here.
pub(super) mod event {
    use c1222::tables::EventCode;

    /// The device came up.
    pub const POWER_UP: EventCode = EventCode::standard(2);
    /// The clock was set: this was the time before.
    pub const TIME_BEFORE: EventCode = EventCode::standard(3);
    /// The clock was set: this is the time since.
    pub const TIME_AFTER: EventCode = EventCode::standard(4);
    /// A procedure was started; its id goes with it.
    pub const PROCEDURE: EventCode = EventCode::standard(9);
    /// A table was written; its id goes with it.
    pub const TABLE_WRITTEN: EventCode = EventCode::standard(10);
    /// The history log was cleared.
    pub const HISTORY_CLEARED: EventCode = EventCode::standard(16);
    /// The event log was cleared.
    pub const EVENTS_CLEARED: EventCode = EventCode::standard(18);
    /// The demands were reset.
    pub const DEMAND_RESET: EventCode = EventCode::standard(20);
    /// The registers were read by the device itself.
    pub const SELF_READ: EventCode = EventCode::standard(21);
    /// The service switch moved.
    pub const CONTROL_POINT: EventCode = EventCode::standard(49);

    /// All of them.
    pub const ALL: [EventCode; 10] = [
        POWER_UP,
        TIME_BEFORE,
        TIME_AFTER,
        PROCEDURE,
        TABLE_WRITTEN,
        HISTORY_CLEARED,
        EVENTS_CLEARED,
        DEMAND_RESET,
        SELF_READ,
        CONTROL_POINT,
    ];
}

/// The set of [`event::ALL`] in ST72.
pub(super) fn events() -> Vec<u8> {
    Set::octets(event::ALL.map(EventCode::number))
}

/// The sizes of both logs, as in ST71.
pub(super) fn dimensions(format: &Format) -> LogDimensions {
    let timed = format.time != TimeFormat::Absent;
    LogDimensions {
        flags: LogDimensions::SEQUENCE | if timed { LogDimensions::TIME } else { 0 },
        standard_events: u8::try_from(events().len()).unwrap_or(u8::MAX),
        manufacturer_events: 0,
        history_argument: ARGUMENT,
        event_argument: ARGUMENT,
        history_entries: ENTRIES,
        event_entries: ENTRIES,
    }
}

/// Octets of the parts of an entry, and how many entries there are.
pub(super) fn entry_parts(format: &Format) -> (Vec<usize>, usize) {
    let parts = [format.time.long_size(), 2, 2, 2, usize::from(ARGUMENT)];
    (parts.into_iter().filter(|size| *size > 0).collect(), usize::from(ENTRIES))
}

/// One of the two logs: a ring in which an entry keeps its place, by its sequence number.
#[derive(Clone, Debug, Default)]
pub(super) struct EventLog {
    /// Oldest first, with successive sequence numbers.
    entries: VecDeque<Entry>,
    last_sequence: u32,
    unread: u16,
    overflow: bool,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    time: Option<u64>,
    user: u16,
    code: EventCode,
    argument: [u8; ARGUMENT as usize],
}

impl EventLog {
    /// Adds an entry; `time` on the device's clock.
    pub fn add(&mut self, time: Option<u64>, user: u16, code: EventCode, argument: [u8; ARGUMENT as usize]) {
        if self.entries.len() >= usize::from(ENTRIES) {
            self.entries.pop_front();
            self.overflow |= self.unread >= ENTRIES;
        }
        self.entries.push_back(Entry { time, user, code, argument });
        self.last_sequence = self.last_sequence.wrapping_add(1);
        self.unread = self.unread.saturating_add(1).min(ENTRIES);
    }

    /// Forgets all entries; sequence numbers go on.
    pub fn clear(&mut self) {
        self.entries.clear();
        (self.unread, self.overflow) = (0, false);
    }

    /// The oldest so many entries were read; `false` when there are not so many unread ones.
    pub fn mark_read(&mut self, entries: u16) -> bool {
        let left = self.unread.checked_sub(entries);
        self.unread = left.unwrap_or(self.unread);
        self.overflow &= left.is_none();
        left.is_some()
    }

    /// Appends the data of the table.
    pub fn write(&self, format: &Format, out: &mut Vec<u8>) {
        let valid = u16::try_from(self.entries.len()).unwrap_or(ENTRIES);
        let place = |sequence: u32| (sequence % u32::from(ENTRIES)) as u16;
        LogHead {
            flags: CIRCULAR | if self.overflow { OVERFLOW } else { 0 },
            valid,
            last_entry: if valid == 0 { 0 } else { place(self.last_sequence) },
            last_sequence: self.last_sequence,
            unread: self.unread,
        }
        .write(format, out);
        let flags = dimensions(format).flags;
        let entry_size = entry_parts(format).0.iter().sum();
        for at in 0..ENTRIES {
            // How far before the newest entry this place lies.
            let back = usize::from((place(self.last_sequence) + ENTRIES - at) % ENTRIES);
            let entry = self.entries.iter().rev().nth(back);
            let sequence = self.last_sequence.wrapping_sub(u32::try_from(back).unwrap_or(0));
            let start = out.len();
            let written = entry.map(|entry| entry.write(sequence, flags, format, out));
            if written != Some(true) {
                out.truncate(start);
                out.extend(std::iter::repeat_n(0, entry_size));
            }
        }
    }
}

impl Entry {
    /// Appends the entry; `false` when its time cannot be written.
    fn write(&self, sequence: u32, flags: u8, format: &Format, out: &mut Vec<u8>) -> bool {
        let (user, code, time) = (self.user, self.code, self.time);
        // Entries carry the lower half of the sequence number.
        let sequence = Some((sequence & 0xffff) as u16);
        LogEntry { time, event: None, sequence, user, code, argument: &self.argument }
            .write(flags, format, out)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use c1222::tables::Log;

    #[test]
    fn a_ring_keeps_the_newest_entries_at_their_places() {
        let format = Format::default();
        let sizes = dimensions(&format);
        let mut log = EventLog::default();
        let read = |log: &EventLog| {
            let mut out = Vec::new();
            log.write(&format, &mut out);
            let read = Log::read_events(&out, &sizes, &format).unwrap();
            let entries: Vec<_> =
                read.entries().map(|entry| (entry.sequence, entry.user, entry.time)).collect();
            let (parts, count) = entry_parts(&format);
            assert_eq!(out.len(), HEAD.iter().sum::<usize>() + parts.iter().sum::<usize>() * count);
            (read.head, entries)
        };
        assert_eq!(read(&log).0.valid, 0);
        for user in 1..=3 {
            log.add(Some(1_700_000_000), user, event::SELF_READ, [0, 1]);
        }
        let (head, entries) = read(&log);
        assert_eq!((head.valid, head.last_entry, head.last_sequence, head.unread), (3, 3, 3, 3));
        assert_eq!(entries[3], (Some(3), 3, Some(1_700_000_000)));
        assert_eq!(entries[0], (Some(0), 0, None));
        assert!(log.mark_read(2) && !log.mark_read(2));
        assert_eq!(read(&log).0.unread, 1);
        for user in 4..=100 {
            log.add(None, user, event::SELF_READ, [0, 1]);
        }
        let (head, entries) = read(&log);
        assert_eq!((head.valid, head.last_entry, head.last_sequence), (64, 36, 100));
        assert_eq!(head.flags, CIRCULAR | OVERFLOW);
        assert_eq!((entries[36].1, entries[37].1), (100, 37));
        log.clear();
        assert_eq!((read(&log).0.valid, read(&log).0.last_sequence), (0, 100));
    }
}
