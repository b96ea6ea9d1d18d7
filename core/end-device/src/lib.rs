//! The meter: C12.19 tables, sessions, the device half of profile 1, and fleets of them.

pub mod meter;
pub mod report;
pub mod reporter;

mod mix;
