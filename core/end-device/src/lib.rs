//! The meter: C12.19 tables, sessions, the device half of profile 1, and fleets of them.

pub mod agent;
pub mod classic_reporter;
pub mod end_device;
pub mod fleet;
pub mod meter;
pub mod report;
pub mod reporter;
pub mod secrets;
pub mod server;

mod mix;
#[cfg(test)]
mod testing;
