//! ST1 and ST5: who made the device, and who it is.

use super::codec::{Fields, TableError};
use super::format::Format;
use crate::table_id::TableId;

/// ST1, the manufacturer's identification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManufacturerId<'a> {
    /// Manufacturer, 4 characters.
    pub manufacturer: [u8; 4],
    /// Model, 8 characters.
    pub model: [u8; 8],
    /// Hardware version and revision.
    pub hardware: (u8, u8),
    /// Firmware version and revision.
    pub firmware: (u8, u8),
    /// Serial number: 16 characters, or 8 octets of packed digits.
    pub serial: &'a [u8],
}

impl<'a> ManufacturerId<'a> {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(1);

    /// Octets of its serial number.
    #[must_use]
    pub const fn serial_size(format: &Format) -> usize {
        if format.packed_ids { 8 } else { 16 }
    }

    /// Reads ST1.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &'a [u8], format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        Ok(Self {
            manufacturer: fields.array()?,
            model: fields.array()?,
            hardware: fields.array().map(|[version, revision]| (version, revision))?,
            firmware: fields.array().map(|[version, revision]| (version, revision))?,
            serial: fields.take(Self::serial_size(format))?,
        })
    }

    /// Appends ST1; the serial number is cut, or filled with spaces (zeros when packed), to its size.
    pub fn write(&self, format: &Format, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.manufacturer);
        out.extend_from_slice(&self.model);
        out.extend_from_slice(&[self.hardware.0, self.hardware.1, self.firmware.0, self.firmware.1]);
        push_padded(self.serial, Self::serial_size(format), format, out);
    }
}

/// ST5, the device's identification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceIdentification<'a> {
    /// 20 characters, or 10 octets of packed digits.
    pub identification: &'a [u8],
}

impl<'a> DeviceIdentification<'a> {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(5);

    /// Octets of the identification.
    #[must_use]
    pub const fn size(format: &Format) -> usize {
        if format.packed_ids { 10 } else { 20 }
    }

    /// Reads ST5.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &'a [u8], format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        Ok(Self { identification: fields.take(Self::size(format))? })
    }

    /// Appends ST5, cut or filled as the serial number of ST1.
    pub fn write(&self, format: &Format, out: &mut Vec<u8>) {
        push_padded(self.identification, Self::size(format), format, out);
    }
}

fn push_padded(octets: &[u8], size: usize, format: &Format, out: &mut Vec<u8>) {
    let filler = if format.packed_ids { 0 } else { b' ' };
    out.extend(octets.iter().copied().chain(std::iter::repeat(filler)).take(size));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_identity() {
        for packed_ids in [false, true] {
            let format = Format { packed_ids, ..Format::default() };
            let id = ManufacturerId {
                manufacturer: *b"ABCD",
                model: *b"MODEL  1",
                hardware: (1, 2),
                firmware: (3, 4),
                serial: &[b'7'; 16][..ManufacturerId::serial_size(&format)],
            };
            let mut octets = Vec::new();
            id.write(&format, &mut octets);
            assert_eq!(octets.len(), if packed_ids { 24 } else { 32 });
            assert_eq!(ManufacturerId::read(&octets, &format), Ok(id));
            octets.pop();
            let error = ManufacturerId::read(&octets, &format).unwrap_err();
            assert_eq!(error.name(), "table-short");
            let mut octets = Vec::new();
            DeviceIdentification { identification: b"12" }.write(&format, &mut octets);
            let read = DeviceIdentification::read(&octets, &format).unwrap();
            assert_eq!(read.identification.len(), DeviceIdentification::size(&format));
            assert!(read.identification.starts_with(b"12"));
        }
    }
}
