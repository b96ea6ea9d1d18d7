//! The tables of a device: which there are, and what they hold at a moment.

use std::collections::BTreeMap;
use std::ops::Range;

use c1222::device_profile::{DeviceProfile, LoadProfile, SwitchPosition, TableLayout};
use c1222::tables::{
    Clock, DeviceIdentification, GenConfig, Initiate, LoadProfileStatus, Log, LogDimensions, ManufacturerId,
    ModeStatus, ProcedureId, ProcedureResponse, Set, TableId, TimeFormat,
};

use super::blocks::{self, BlockRing};
use super::event_log::{self, EventLog};
use super::orders;
use super::procedures;
use super::shape::Shape;
use super::state::State;
use crate::meter::{BASE_S, Measured, Meter};

/// Most octets of parameters in ST7.
pub(super) const PARAMETERS_MAX: u8 = 255;
/// Most octets of data in ST8.
const RESPONSE_MAX: u8 = 16;
/// The raster of the registers where there is no load profile, in minutes.
const STEP_MIN: u64 = 15;

/// The tables of a device.
pub(super) struct Tables {
    pub profile: DeviceProfile,
    meter: Meter,
    /// The raster of the registers, in minutes.
    step_min: u64,
    list: BTreeMap<TableId, Table>,
}

struct Table {
    content: Content,
    writable: bool,
}

/// Where the data of a table comes from.
enum Content {
    /// It never changes.
    Fixed(Vec<u8>),
    /// A layout of the profile: registers, the switch, or what was written.
    Layout(usize),
    /// A load-profile set.
    Blocks(usize),
    /// ST63.
    BlockStatus,
    /// ST52.
    Clock,
    /// ST7.
    Initiate,
    /// ST8.
    Outcome,
    /// ST74.
    History,
    /// ST76.
    Events,
    /// A firmware image, as far as it came.
    Image,
}

impl Tables {
    /// The tables of a device of this profile.
    pub fn new(profile: DeviceProfile, meter: Meter, serial: &str) -> Self {
        let step_min =
            profile.load_profiles.first().map_or(STEP_MIN, |set| u64::from(set.interval_min).max(1));
        let mut tables = Self { profile, meter, step_min, list: BTreeMap::new() };
        tables.add_laid_out();
        tables.add_described();
        tables.add_identity(serial);
        tables.add_logs();
        tables.put(Initiate::TABLE, Content::Initiate, true);
        tables.put(ProcedureResponse::TABLE, Content::Outcome, false);
        if tables.profile.format.time != TimeFormat::Absent {
            tables.put(Clock::TABLE, Content::Clock, false);
        }
        // The last: it says which others there are.
        tables.add_general();
        tables
    }

    fn put(&mut self, table: TableId, content: Content, writable: bool) {
        self.list.insert(table, Table { content, writable });
    }

    /// A table that the profile does not lay out otherwise.
    fn put_absent(&mut self, table: TableId, content: Content) {
        self.list.entry(table).or_insert(Table { content, writable: false });
    }

    fn add_laid_out(&mut self) {
        let layouts = self.profile.tables.iter().enumerate();
        let layouts = layouts.map(|(at, layout)| (layout.table, Content::Layout(at), layout.writable));
        let sets = self.profile.load_profiles.iter().enumerate();
        let sets = sets.map(|(at, set)| (set.table, Content::Blocks(at), false));
        let images = orders::images(&self.profile).map(|table| (table, Content::Image, true));
        for (table, content, writable) in layouts.chain(sets).chain(images).collect::<Vec<_>>() {
            self.put(table, content, writable);
        }
    }

    /// The tables that say how others are laid out.
    fn add_described(&mut self) {
        for table in [11, 12, 16, 20, 21, 22, 60, 61, 62].map(TableId::standard) {
            let mut data = Vec::new();
            if self.profile.describe(table, &mut data) {
                self.put_absent(table, Content::Fixed(data));
            }
        }
        if self.list.contains_key(&TableId::standard(61)) {
            self.put_absent(LoadProfileStatus::TABLE, Content::BlockStatus);
        }
    }

    fn add_identity(&mut self, serial: &str) {
        let (format, identity) = (self.profile.format, self.profile.identity.clone());
        let serial = identification(serial, format.packed_ids);
        let (mut maker, mut mode, mut device) = (Vec::new(), Vec::new(), Vec::new());
        ManufacturerId {
            manufacturer: identity.manufacturer,
            model: identity.model,
            hardware: identity.hardware,
            firmware: identity.firmware,
            serial: &serial,
        }
        .write(&format, &mut maker);
        ModeStatus { mode: ModeStatus::METERING, status1: 0, status2: 0, manufacturer: &[] }
            .write(&format, &mut mode);
        DeviceIdentification { identification: &serial }.write(&format, &mut device);
        self.put_absent(ManufacturerId::TABLE, Content::Fixed(maker));
        self.put_absent(ModeStatus::TABLE, Content::Fixed(mode));
        self.put_absent(DeviceIdentification::TABLE, Content::Fixed(device));
    }

    fn add_logs(&mut self) {
        let mut sizes = Vec::new();
        event_log::dimensions(&self.profile.format).write(&self.profile.format, &mut sizes);
        self.put_absent(TableId::standard(70), Content::Fixed(sizes.clone()));
        self.put_absent(LogDimensions::TABLE, Content::Fixed(sizes));
        self.put_absent(TableId::standard(72), Content::Fixed(event_log::events()));
        self.put_absent(Log::HISTORY, Content::History);
        self.put_absent(Log::EVENTS, Content::Events);
    }

    /// ST0.
    fn add_general(&mut self) {
        let all = || {
            self.list.iter().map(|(table, entry)| (*table, entry.writable)).chain([(GenConfig::TABLE, false)])
        };
        let numbers = |manufacturer: bool, writable: bool| {
            let of =
                all().filter(|(table, may)| table.is_manufacturer() == manufacturer && (*may || !writable));
            Set::octets(of.map(|(table, _)| table.number()))
        };
        let procedures = |manufacturer: bool| {
            let of = procedures::all(&self.profile).filter(|id| id.is_manufacturer() == manufacturer);
            Set::octets(of.map(ProcedureId::number))
        };
        let sets = [numbers(false, false), numbers(true, false), procedures(false), procedures(true)];
        let writable = [numbers(false, true), numbers(true, true)];
        let [standard, manufacturer, standard_procedures, manufacturer_procedures] = &sets;
        let [standard_writable, manufacturer_writable] = &writable;
        let mut data = Vec::new();
        GenConfig {
            format: self.profile.format,
            characters: 1,
            model: 0,
            partial_access: 3,
            signed: 0,
            device_class: self.profile.identity.device_class,
            nameplate: 2,
            default_sets: 0,
            parameters_max: PARAMETERS_MAX,
            response_max: RESPONSE_MAX,
            version: 2,
            revision: 0,
            manufacturer_status: 0,
            pending_max: 0,
            standard_tables: Set(standard),
            manufacturer_tables: Set(manufacturer),
            standard_procedures: Set(standard_procedures),
            manufacturer_procedures: Set(manufacturer_procedures),
            standard_writable: Set(standard_writable),
            manufacturer_writable: Set(manufacturer_writable),
        }
        .write(&mut data);
        self.put(GenConfig::TABLE, Content::Fixed(data), false);
    }

    /// Whether a table may be written; `None` when there is no such table.
    pub fn may_write(&self, table: TableId) -> Option<bool> {
        self.list.get(&table).map(|entry| entry.writable)
    }

    /// The table that a default read answers: the registers, where there are any, else ST0.
    pub fn default(&self) -> TableId {
        let registers = TableId::standard(23);
        if self.list.contains_key(&registers) { registers } else { GenConfig::TABLE }
    }

    /// Octets of a table; `None` when there is no such table.
    pub fn size(&self, table: TableId, state: &State) -> Option<usize> {
        Some(match &self.list.get(&table)?.content {
            Content::Fixed(data) => data.len(),
            Content::Layout(at) => self.layout(*at)?.size,
            Content::Initiate => state.initiate.len(),
            Content::Outcome => state.outcome.len(),
            Content::Image => state.image.len(),
            _ => self.shape(table, state)?.size(),
        })
    }

    /// The elements of a table.
    pub fn shape(&self, table: TableId, state: &State) -> Option<Shape> {
        let format = &self.profile.format;
        Some(match &self.list.get(&table)?.content {
            Content::Fixed(data) => Shape::of_fixed(table, data, format),
            Content::Layout(at) => Shape::of_layout(self.layout(*at)?),
            Content::Blocks(at) => blocks::shape(self.set(*at)?),
            Content::BlockStatus => {
                let set = || Shape::fields([1, 2, 2, 4, 2, 2]);
                Shape::Record(self.numbered_sets().map(|_| set()).collect())
            }
            Content::Image => Shape::Octets(state.image.len()),
            Content::Clock => Shape::fields([format.time.long_size(), 1]),
            Content::Initiate => Shape::fields([2, 1, state.initiate.len().saturating_sub(3)]),
            Content::Outcome => Shape::fields([2, 1, 1, state.outcome.len().saturating_sub(4)]),
            Content::History | Content::Events => {
                let (parts, entries) = event_log::entry_parts(format);
                let mut log: Vec<_> = event_log::HEAD.into_iter().map(Shape::Octets).collect();
                log.push(Shape::array(Shape::fields(parts), entries));
                Shape::Record(log)
            }
        })
    }

    /// Appends a range of a table's data, at a Unix second by the device's clock; `false` when there is no such
    /// table or range.
    pub fn read(
        &self,
        table: TableId,
        range: Range<usize>,
        state: &State,
        utc: u64,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(entry) = self.list.get(&table) else { return false };
        let mut made = Vec::new();
        let data = match &entry.content {
            Content::Fixed(data) => data,
            Content::Initiate => &state.initiate,
            Content::Outcome => &state.outcome,
            Content::Image => &state.image,
            Content::Blocks(at) => {
                let ring = self.ring(*at, state, utc);
                if let Some(ring) = &ring {
                    ring.write(range, out);
                }
                return ring.is_some();
            }
            other => {
                self.make(other, state, utc, &mut made);
                &made
            }
        };
        let part = data.get(range);
        out.extend_from_slice(part.unwrap_or_default());
        part.is_some()
    }

    /// Makes the data of a table that changes with time.
    fn make(&self, content: &Content, state: &State, utc: u64, out: &mut Vec<u8>) {
        let format = &self.profile.format;
        let write_log = |log: &EventLog, out: &mut Vec<u8>| log.write(format, out);
        match content {
            Content::Layout(at) => {
                if let Some(layout) = self.layout(*at) {
                    self.make_layout(layout, state, utc, out);
                }
            }
            Content::BlockStatus => {
                let mut status = LoadProfileStatus::default();
                for (slot, at) in status.sets.iter_mut().zip(self.numbered_sets()) {
                    *slot = self.ring(at, state, utc).map(|ring| ring.status());
                }
                status.write(format, out);
            }
            Content::Clock => {
                if self.profile.write_clock(utc, out).is_err() {
                    // A time past what the format can write shows as none.
                    out.resize(format.time.long_size().saturating_add(1), 0);
                }
            }
            Content::History => write_log(&state.history, out),
            Content::Events => write_log(&state.events, out),
            Content::Fixed(_)
            | Content::Blocks(_)
            | Content::Initiate
            | Content::Outcome
            | Content::Image => {}
        }
    }

    fn make_layout(&self, layout: &TableLayout, state: &State, utc: u64, out: &mut Vec<u8>) {
        if let Some(stored) = state.stored.get(&layout.table) {
            out.extend_from_slice(stored);
        } else {
            let minute = self.minute(utc);
            let counts: Vec<i64> = layout
                .registers()
                .map(|field| {
                    let (measured, max) = (Measured::of(&field.quantity), field.quantity.count_max());
                    let count = |minute| self.meter.register(measured, minute, self.step_min);
                    state.cleared_min.map_or(count(minute), |since| turned(count(minute), count(since), max))
                })
                .collect();
            // A moment that the clock cannot show leaves the table empty.
            let _ = self.profile.write_registers(layout.table, utc, &counts, out);
        }
        out.resize(layout.size, 0);
        let switch = self.profile.service_switch.as_ref().and_then(|switch| switch.state.as_ref());
        if let Some(shown) = switch.filter(|shown| shown.table == layout.table) {
            let count = shown.count(state.switch).or(shown.count(SwitchPosition::Open));
            shown.field.put(&self.profile, count.unwrap_or(0), out);
        }
    }

    /// The last minute of the registers' raster.
    pub fn minute(&self, utc: u64) -> u64 {
        let minute = utc.saturating_sub(BASE_S) / 60;
        minute - minute % self.step_min
    }

    fn layout(&self, at: usize) -> Option<&TableLayout> {
        self.profile.tables.get(at)
    }

    fn set(&self, at: usize) -> Option<&LoadProfile> {
        self.profile.load_profiles.get(at)
    }

    /// A load-profile set at a moment.
    pub fn ring(&self, at: usize, state: &State, utc: u64) -> Option<BlockRing<'_>> {
        let pointers = *state.sets.get(at)?;
        Some(BlockRing::at(&self.profile, self.set(at)?, self.meter, pointers, utc))
    }

    /// The places of the sets of ST64 to ST67, without a gap from the first.
    fn numbered_sets(&self) -> impl Iterator<Item = usize> {
        let place =
            |number| self.profile.load_profiles.iter().position(|set| set.table == TableId::standard(number));
        (64..=67).map_while(place)
    }
}

/// What a register shows that was at `since` when it was cleared; it goes from `max` to 0.
fn turned(count: i64, since: i64, max: u64) -> i64 {
    let (count, since) = (count.cast_unsigned(), since.cast_unsigned());
    let shown = if count >= since {
        count - since
    } else {
        count.wrapping_sub(since).wrapping_add(max).wrapping_add(1)
    };
    i64::try_from(shown).unwrap_or(0)
}

/// A serial number as the device writes it: characters, or packed digits.
fn identification(serial: &str, packed: bool) -> Vec<u8> {
    if !packed {
        return serial.as_bytes().to_vec();
    }
    let digits: Vec<u8> = serial.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |octet, digit| octet << 4 | digit)).collect()
}
