//! What a type of device means by its tables: which octets are which quantity, in which unit.
//!
//! A [`DeviceProfile`] is plain data, made from a device-profile file. It turns the data of tables into
//! exact readings ([`DeviceProfile::readings`]) and, for simulated devices, counts into the data of tables
//! ([`DeviceProfile::write_registers`], [`DeviceProfile::write_block`]).

pub mod classes;
mod describe;
mod quality;
mod quantity;
mod reading;
mod reading_type;
mod service_switch;
mod write;

pub use classes::Classes;
pub use quality::Quality;
pub use quantity::{NumberKind, Quantity};
pub use reading::{Reading, ReadingError, Stamp};
pub use reading_type::ReadingType;
pub use service_switch::{ProcedureCall, ServiceSwitch, SwitchAction, SwitchPosition, SwitchState};
pub use write::WriteError;

use crate::tables::{BlockLayout, Format, TableId};

/// What a type of device means by its tables.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceProfile {
    /// Its name.
    pub name: String,
    /// What a simulated device says of itself.
    pub identity: Identity,
    /// How the device writes its tables.
    pub format: Format,
    /// The device's clock minus UTC, in minutes, the whole year.
    pub utc_offset_min: i16,
    /// Classic devices: how far the IV of a message may be from now, in seconds; 0 takes any.
    pub freshness_s: u32,
    /// Tables with fields at fixed places.
    pub tables: Vec<TableLayout>,
    /// Load-profile data sets.
    pub load_profiles: Vec<LoadProfile>,
    /// How its service switch is worked.
    pub service_switch: Option<ServiceSwitch>,
    /// Which class a command has that reads, writes or starts what.
    pub classes: Classes,
}

/// What a simulated device says of itself in ST0 and ST1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Device class: ST0, and the EPSEM of reports.
    pub device_class: [u8; 4],
    /// Manufacturer, filled with spaces.
    pub manufacturer: [u8; 4],
    /// Model, filled with spaces.
    pub model: [u8; 8],
    /// Hardware version and revision.
    pub hardware: (u8, u8),
    /// Firmware version and revision.
    pub firmware: (u8, u8),
}

/// A table with fields at fixed places.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableLayout {
    /// The table.
    pub table: TableId,
    /// Its octets, exactly.
    pub size: usize,
    /// Whether others may write it.
    pub writable: bool,
    /// Which moment its readings belong to; there when any field has a reading type.
    pub time: Option<TimeSource>,
    /// Its fields.
    pub fields: Vec<Field>,
}

/// Which moment the readings of a table belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeSource {
    /// The device's clock, ST52, written before it in the same report.
    Clock,
    /// When the head-end received it.
    Received,
    /// A moment in the table itself.
    Field {
        /// Where it begins.
        offset: usize,
        /// With seconds.
        long: bool,
    },
}

/// A quantity at a fixed place in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its first octet.
    pub offset: usize,
    /// What it counts.
    pub quantity: Quantity,
}

/// A load-profile data set: blocks of intervals of equal length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadProfile {
    /// The table, ST64 to ST67.
    pub table: TableId,
    /// Length of an interval in minutes.
    pub interval_min: u16,
    /// Blocks that the device keeps.
    pub blocks: u16,
    /// What a block looks like.
    pub layout: BlockLayout,
    /// What each interval holds.
    pub channels: Vec<Quantity>,
}

impl DeviceProfile {
    /// The layout of a table.
    #[must_use]
    pub fn table(&self, table: TableId) -> Option<&TableLayout> {
        self.tables.iter().find(|layout| layout.table == table)
    }

    /// The load-profile data set in a table.
    #[must_use]
    pub fn load_profile(&self, table: TableId) -> Option<&LoadProfile> {
        self.load_profiles.iter().find(|layout| layout.table == table)
    }

    /// Octets of a table that the profile lays out.
    #[must_use]
    pub fn table_size(&self, table: TableId) -> Option<usize> {
        let blocks = |set: &LoadProfile| set.layout.size().saturating_mul(usize::from(set.blocks));
        self.table(table).map(|layout| layout.size).or_else(|| self.load_profile(table).map(blocks))
    }

    /// A moment on the device's clock as Unix seconds; `None` before 1970.
    #[must_use]
    pub fn utc(&self, device: u64) -> Option<u64> {
        device.checked_add_signed(-self.offset_s())
    }

    /// A Unix second on the device's clock; `None` before 1970.
    #[must_use]
    pub fn device_time(&self, utc: u64) -> Option<u64> {
        utc.checked_add_signed(self.offset_s())
    }

    fn offset_s(&self) -> i64 {
        i64::from(self.utc_offset_min) * 60
    }
}

impl TableLayout {
    /// The fields that give readings, in order.
    pub fn registers(&self) -> impl Iterator<Item = &Field> {
        self.fields.iter().filter(|field| field.quantity.reading_type.is_some())
    }

    /// The field of this name.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.quantity.name == name)
    }
}

impl Field {
    /// Octets of a table's data that it takes; `None` when the data ends before it does.
    #[must_use]
    pub fn octets<'a>(&self, data: &'a [u8]) -> Option<&'a [u8]> {
        data.get(self.offset..self.offset.checked_add(self.quantity.size)?)
    }
}

#[cfg(test)]
mod tests;
