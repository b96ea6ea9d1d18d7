//! ST0: what the device is, how it writes, and which tables and procedures it has.

use super::codec::{Fields, TableError};
use super::format::{ByteOrder, Format};
use super::number::NiFormat;
use super::procedure::ProcedureId;
use super::set::Set;
use super::time::TimeFormat;
use crate::table_id::TableId;

/// ST0, general configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GenConfig<'a> {
    /// How all tables are written.
    pub format: Format,
    /// Character format, 3 bits; 1 is ASCII.
    pub characters: u8,
    /// Model selection, 3 bits.
    pub model: u8,
    /// Which partial accesses it answers, 2 bits: 0 none, 1 by offset, 2 by index, 3 both.
    pub partial_access: u8,
    /// How signed numbers are written, 2 bits; 0 is two's complement.
    pub signed: u8,
    /// The device class, as in the EPSEM of its reports.
    pub device_class: [u8; 4],
    /// 0 gas, 1 water, 2 electric.
    pub nameplate: u8,
    /// Default table sets, bit by bit.
    pub default_sets: u8,
    /// Most octets of parameters in ST7.
    pub parameters_max: u8,
    /// Most octets of data in ST8.
    pub response_max: u8,
    /// Version of the standard.
    pub version: u8,
    /// Revision of the standard.
    pub revision: u8,
    /// Octets of the manufacturer's status in ST3.
    pub manufacturer_status: u8,
    /// Pending tables that it can hold.
    pub pending_max: u8,
    /// Standard tables that it has.
    pub standard_tables: Set<'a>,
    /// Manufacturer's tables that it has.
    pub manufacturer_tables: Set<'a>,
    /// Standard procedures that it has.
    pub standard_procedures: Set<'a>,
    /// Manufacturer's procedures that it has.
    pub manufacturer_procedures: Set<'a>,
    /// Standard tables that may be written; as many octets as `standard_tables`.
    pub standard_writable: Set<'a>,
    /// Manufacturer's tables that may be written; as many octets as `manufacturer_tables`.
    pub manufacturer_writable: Set<'a>,
}

impl<'a> GenConfig<'a> {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(0);

    /// Reads ST0, which says itself how it is written.
    ///
    /// # Errors
    /// [`TableError::Short`]; [`TableError::Reserved`] for a time or number format that is not known.
    pub fn read(data: &'a [u8]) -> Result<Self, TableError> {
        // ST0 holds no number of more than one octet but the device class, which is characters.
        let mut fields = Fields::new(Self::TABLE, ByteOrder::Big, data);
        let [one, two, three] = fields.array()?;
        let time = TimeFormat::from_code(two & 7).ok_or(fields.reserved("time format", two & 7))?;
        let ni1 = NiFormat::from_code(three & 15).ok_or(fields.reserved("number format 1", three & 15))?;
        let ni2 = NiFormat::from_code(three >> 4).ok_or(fields.reserved("number format 2", three >> 4))?;
        let order = if one & 1 == 0 { ByteOrder::Little } else { ByteOrder::Big };
        let device_class = fields.array()?;
        let [nameplate, default_sets, parameters_max, response_max, version, revision] = fields.array()?;
        let [tables, own_tables, procedures, own_procedures] = fields.array()?;
        let [manufacturer_status, pending_max] = fields.array()?;
        let mut set = |octets: u8| fields.take(usize::from(octets)).map(Set);
        Ok(Self {
            format: Format { order, time, ni1, ni2, packed_ids: two >> 5 & 1 == 1 },
            characters: one >> 1 & 7,
            model: one >> 4 & 7,
            partial_access: two >> 3 & 3,
            signed: two >> 6,
            device_class,
            nameplate,
            default_sets,
            parameters_max,
            response_max,
            version,
            revision,
            manufacturer_status,
            pending_max,
            standard_tables: set(tables)?,
            manufacturer_tables: set(own_tables)?,
            standard_procedures: set(procedures)?,
            manufacturer_procedures: set(own_procedures)?,
            standard_writable: set(tables)?,
            manufacturer_writable: set(own_tables)?,
        })
    }

    /// Appends ST0. Sets of tables that may be written are cut or filled to the length of those that it
    /// has; a set is at most 255 octets.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Format { order, time, ni1, ni2, packed_ids } = self.format;
        let big = u8::from(order == ByteOrder::Big);
        out.push(big | (self.characters & 7) << 1 | (self.model & 7) << 4);
        out.push(
            time.code() | (self.partial_access & 3) << 3 | u8::from(packed_ids) << 5 | (self.signed & 3) << 6,
        );
        out.push(ni1.code() | ni2.code() << 4);
        out.extend_from_slice(&self.device_class);
        out.extend_from_slice(&[self.nameplate, self.default_sets, self.parameters_max, self.response_max]);
        out.extend_from_slice(&[self.version, self.revision]);
        let sets = [
            self.standard_tables,
            self.manufacturer_tables,
            self.standard_procedures,
            self.manufacturer_procedures,
        ];
        let size = |set: Set<'_>| u8::try_from(set.0.len()).unwrap_or(u8::MAX);
        out.extend(sets.map(size));
        out.extend_from_slice(&[self.manufacturer_status, self.pending_max]);
        let mut put = |set: Set<'_>, size: u8| {
            let octets = set.0.iter().copied().chain(std::iter::repeat(0));
            out.extend(octets.take(usize::from(size)));
        };
        for set in sets {
            put(set, size(set));
        }
        put(self.standard_writable, size(self.standard_tables));
        put(self.manufacturer_writable, size(self.manufacturer_tables));
    }

    /// Whether the device has a table.
    #[must_use]
    pub fn has(&self, table: TableId) -> bool {
        let set = if table.is_manufacturer() { self.manufacturer_tables } else { self.standard_tables };
        set.contains(usize::from(table.number()))
    }

    /// Whether a table may be written.
    #[must_use]
    pub fn may_write(&self, table: TableId) -> bool {
        let set = if table.is_manufacturer() { self.manufacturer_writable } else { self.standard_writable };
        set.contains(usize::from(table.number()))
    }

    /// Whether the device has a procedure.
    #[must_use]
    pub fn has_procedure(&self, procedure: ProcedureId) -> bool {
        let own = procedure.is_manufacturer();
        let set = if own { self.manufacturer_procedures } else { self.standard_procedures };
        set.contains(usize::from(procedure.number()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// ST0 of Itron's open stack, as captured.
    const CAPTURED: &str = "030b8b54454d5002000000010007010000000029000000000000180120000000000000";

    fn octets(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn a_captured_one_is_read_and_written() {
        let octets = octets(CAPTURED);
        let config = GenConfig::read(&octets).unwrap();
        assert_eq!(config.format.order, ByteOrder::Big);
        assert_eq!(config.format.time, TimeFormat::Minutes);
        assert_eq!((config.format.ni1, config.format.ni2), (NiFormat::Int64, NiFormat::Int32));
        assert_eq!(&config.device_class, b"TEMP");
        assert_eq!(config.standard_tables.iter().collect::<Vec<_>>(), [0, 3, 5]);
        assert!(config.has(TableId(3)) && !config.has(TableId(4)) && !config.has(TableId(2048)));
        let mut again = Vec::new();
        config.write(&mut again);
        assert_eq!(again, octets[..again.len()]);
        for length in 0..again.len() {
            assert!(matches!(GenConfig::read(&octets[..length]), Err(TableError::Short { .. })));
        }
    }

    #[test]
    fn reserved_formats_are_named() {
        let mut octets = octets(CAPTURED);
        octets[1] = 0x0d;
        let error = GenConfig::read(&octets).unwrap_err();
        assert_eq!(error.to_string(), "ST0: time format is 5, which is reserved");
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Ok(config) = GenConfig::read(&octets) {
                let mut again = Vec::new();
                config.write(&mut again);
                prop_assert_eq!(GenConfig::read(&again), Ok(config));
            }
        }
    }
}
