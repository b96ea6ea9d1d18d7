//! A durable log with cursors.
