//! C12.19 tables: views over the octets that a read answers or a write brings, and their builders.
//!
//! Each table is a plain struct with `read(data, &Format)` and `write(&Format, &mut Vec<u8>)`, so a view
//! is also a builder. Reading is total: too few octets are an error, octets past the known layout are
//! let be, since later editions of the standard append. Strings and lists are borrowed.
//!
//! [`Format`] is what ST0 says about the writing of all others: byte order, time and number formats.
//! Layouts are those of the house's reference for C12.22, where that has them, else the widely seen ones
//! of C12.19; a meter that differs is described by its [device profile](crate::device_profile).

mod blocks;
mod clock;
mod codec;
mod decimal;
mod dimensions;
mod event;
mod format;
mod general;
mod identity;
mod load_profile;
mod log;
mod name;
mod number;
mod procedure;
mod registers;
mod set;
mod sources;
mod status;
mod time;

pub use crate::table_id::TableId;
pub use blocks::{Block, BlockLayout, Interval};
pub use clock::Clock;
pub use codec::TableError;
pub use decimal::{Decimal, NotDecimal};
pub use dimensions::{
    LoadProfileDimensions, LogDimensions, RegisterDimensions, SetDimensions, SourceDimensions,
};
pub use event::EventCode;
pub use format::{ByteOrder, Format};
pub use general::GenConfig;
pub use identity::{DeviceIdentification, ManufacturerId};
pub use load_profile::{
    ChannelSelection, IntervalFormat, LoadProfileControl, LoadProfileStatus, SetControl, SetStatus,
};
pub use log::{EventsIdentified, Log, LogEntry, LogHead};
pub use name::NotTableId;
pub use number::{Ni, NiFormat};
pub(crate) use number::{packed_digits, to_packed_digits};
pub use procedure::{Initiate, NotProcedureId, Outcome, Post, ProcedureId, ProcedureResponse};
pub use registers::{DataSelection, Demand, RegisterBlock, Registers};
pub use set::Set;
pub use sources::{Constant, Constants, SourceLink, SourceLinks, Unit, Units};
pub use status::ModeStatus;
pub use time::{TimeFormat, TimeRange};
