//! The node kinds of a head-end.

pub mod event_monitor;
