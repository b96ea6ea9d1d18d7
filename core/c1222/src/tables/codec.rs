//! Reading fields one after the other, and what can be wrong with a table.

use super::format::ByteOrder;
use super::time::TimeRange;
use crate::table_id::TableId;

/// Why a table's octets could not be read, or a table not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The data ends too early.
    #[error("{table} has {got} octets, at least {needed} are needed")]
    Short {
        /// The table.
        table: TableId,
        /// Octets that its layout needs, as far as it was read.
        needed: usize,
        /// Octets that are there.
        got: usize,
    },
    /// A code that the standard reserves stands where a layout depends on it.
    #[error("{table}: {field} is {value}, which is reserved")]
    Reserved {
        /// The table.
        table: TableId,
        /// The field.
        field: &'static str,
        /// What it holds.
        value: u8,
    },
    /// Octets that stand for no moment.
    #[error("{table}: its time is none")]
    Time {
        /// The table.
        table: TableId,
    },
    /// A moment that the device's time format cannot write.
    #[error("{table}: {source}")]
    TimeRange {
        /// The table.
        table: TableId,
        /// What the format can write.
        source: TimeRange,
    },
}

impl TableError {
    /// The name in reports and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Short { .. } => "table-short",
            Self::Reserved { .. } => "table-reserved",
            Self::Time { .. } => "table-time",
            Self::TimeRange { .. } => "table-time-range",
        }
    }
}

/// Takes fields off the front of a table's octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub table: TableId,
    pub order: ByteOrder,
    rest: &'a [u8],
    taken: usize,
}

impl<'a> Fields<'a> {
    pub fn new(table: TableId, order: ByteOrder, octets: &'a [u8]) -> Self {
        Self { table, order, rest: octets, taken: 0 }
    }

    /// The next `count` octets.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], TableError> {
        let Some((octets, rest)) = self.rest.split_at_checked(count) else {
            let got = self.taken.saturating_add(self.rest.len());
            let needed = self.taken.saturating_add(count);
            return Err(TableError::Short { table: self.table, needed, got });
        };
        self.rest = rest;
        self.taken = self.taken.saturating_add(count);
        Ok(octets)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], TableError> {
        let octets = self.take(N)?;
        octets.try_into().map_err(|_| TableError::Short { table: self.table, needed: N, got: octets.len() })
    }

    pub fn u8(&mut self) -> Result<u8, TableError> {
        self.array().map(|[octet]| octet)
    }

    pub fn u16(&mut self) -> Result<u16, TableError> {
        self.array().map(|octets| self.order.u16(octets))
    }

    pub fn u32(&mut self) -> Result<u32, TableError> {
        self.array().map(|octets| self.order.u32(octets))
    }

    /// All that is left.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn reserved(&self, field: &'static str, value: u8) -> TableError {
        TableError::Reserved { table: self.table, field, value }
    }
}
