//! Requests, with their parameters.

use std::fmt;

use crate::ap_title::ApTitle;
use crate::error::DecodeError;
use crate::parameters::Parameters;
use crate::registration::Registration;
use crate::service_code::ServiceCode;
use crate::table_data::TableData;
use crate::table_id::TableId;
use crate::u24::U24;

/// One request: a service and its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'a> {
    /// 20: which standard, which features.
    Identification,
    /// 21: ends a session at once.
    Terminate,
    /// 22.
    Disconnect,
    /// 24: the node leaves the network.
    Deregistration(ApTitle<'a>),
    /// 25: asks for the native address of a node.
    Resolve(ApTitle<'a>),
    /// 26: asks for the way to a node.
    Trace(ApTitle<'a>),
    /// 27.
    Registration(Registration<'a>),
    /// 30: a whole table.
    FullRead(TableId),
    /// 31..39: elements of a table, from an index on.
    IndexRead {
        /// The table.
        table: TableId,
        /// The first element: its index, and in it that of its parts.
        index: Index,
        /// How many elements.
        elements: u16,
    },
    /// 3E: the default table.
    DefaultRead,
    /// 3F: octets of a table.
    OffsetRead {
        /// The table.
        table: TableId,
        /// The first octet.
        offset: U24,
        /// How many octets.
        count: u16,
    },
    /// 40: a whole table.
    FullWrite {
        /// The table.
        table: TableId,
        /// Its content.
        data: TableData<'a>,
    },
    /// 41..49: elements of a table, from an index on.
    IndexWrite {
        /// The table.
        table: TableId,
        /// The first element.
        index: Index,
        /// Their content.
        data: TableData<'a>,
    },
    /// 4F: octets of a table.
    OffsetWrite {
        /// The table.
        table: TableId,
        /// The first octet.
        offset: U24,
        /// The octets.
        data: TableData<'a>,
    },
    /// 50: begins a session.
    Logon {
        /// Number of the user.
        user_id: u16,
        /// Name of the user, filled up with spaces.
        user: &'a [u8; 10],
        /// How long the session may be idle, in seconds; C12.18 has none.
        timeout_s: Option<u16>,
    },
    /// 51: shows a password.
    Security {
        /// The password.
        password: Password<'a>,
        /// Number of the user; only outside of a session.
        user_id: Option<u16>,
    },
    /// 52: ends a session.
    Logoff,
    /// 70: keeps an idle session open, for so many seconds.
    Wait(u8),
    /// A service that C12.22 does not have.
    Other {
        /// Its code.
        code: ServiceCode,
        /// The octets after its code.
        parameters: &'a [u8],
    },
}

/// An element of a table: 1 to 9 indices, from the outermost to the innermost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Index {
    indices: [u16; 9],
    depth: usize,
}

impl Index {
    /// The index of these indices, when there are 1 to 9.
    #[must_use]
    pub fn new(indices: &[u16]) -> Option<Self> {
        let mut index = Self { indices: [0; 9], depth: indices.len() };
        index.indices.get_mut(..indices.len())?.copy_from_slice(indices);
        (!indices.is_empty()).then_some(index)
    }

    /// The indices.
    #[must_use]
    pub fn indices(&self) -> &[u16] {
        self.indices.get(..self.depth).unwrap_or_default()
    }

    fn read(parameters: &mut Parameters<'_>, depth: usize) -> Result<Self, DecodeError> {
        let mut indices = [0; 9];
        for index in indices.iter_mut().take(depth) {
            *index = parameters.u16()?;
        }
        Ok(Self { indices, depth })
    }

    fn write(&self, out: &mut Vec<u8>) {
        for index in self.indices() {
            out.extend_from_slice(&index.to_be_bytes());
        }
    }
}

/// A password. It is never shown.
#[derive(Clone, Copy)]
pub struct Password<'a>(&'a [u8; 20]);

impl<'a> Password<'a> {
    /// The password of these octets.
    #[must_use]
    pub fn new(octets: &'a [u8; 20]) -> Self {
        Self(octets)
    }

    /// Its octets.
    #[must_use]
    pub fn expose(&self) -> &'a [u8; 20] {
        self.0
    }
}

impl PartialEq for Password<'_> {
    /// In a time that does not depend on the octets.
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl Eq for Password<'_> {}

impl fmt::Debug for Password<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl<'a> Request<'a> {
    /// Reads one service of an EPSEM, without its length. Checksums and reserved bits are left to
    /// [`Request::check`].
    ///
    /// # Errors
    /// [`DecodeError::EmptyService`], [`DecodeError::BadParameters`]; [`DecodeError::BadApTitle`] or
    /// [`DecodeError::BadObjectIdentifier`] for a title in it.
    pub fn decode(octets: &'a [u8]) -> Result<Self, DecodeError> {
        let (code, parameters) = octets.split_first().ok_or(DecodeError::EmptyService)?;
        let code = ServiceCode(*code);
        let mut parameters = Parameters::new(code, parameters);
        let request = Self::read(code, &mut parameters)?;
        parameters.end(request)
    }

    fn read(code: ServiceCode, parameters: &mut Parameters<'a>) -> Result<Self, DecodeError> {
        let depth = usize::from(code.0 & 0x0f);
        Ok(match code.0 {
            0x20 => Self::Identification,
            0x21 => Self::Terminate,
            0x22 => Self::Disconnect,
            0x24 => Self::Deregistration(parameters.title()?),
            0x25 => Self::Resolve(parameters.title()?),
            0x26 => Self::Trace(parameters.title()?),
            0x27 => Self::Registration(Registration::read(parameters)?),
            0x30 => Self::FullRead(parameters.table()?),
            0x31..=0x39 => Self::IndexRead {
                table: parameters.table()?,
                index: Index::read(parameters, depth)?,
                elements: parameters.u16()?,
            },
            0x3e => Self::DefaultRead,
            0x3f => Self::OffsetRead {
                table: parameters.table()?,
                offset: parameters.u24()?,
                count: parameters.u16()?,
            },
            0x40 => Self::FullWrite { table: parameters.table()?, data: TableData::read(parameters, false)? },
            0x41..=0x49 => Self::IndexWrite {
                table: parameters.table()?,
                index: Index::read(parameters, depth)?,
                data: TableData::read(parameters, false)?,
            },
            0x4f => Self::OffsetWrite {
                table: parameters.table()?,
                offset: parameters.u24()?,
                data: TableData::read(parameters, false)?,
            },
            0x50 => Self::Logon {
                user_id: parameters.u16()?,
                user: parameters.array()?,
                timeout_s: parameters.optional_u16()?,
            },
            0x51 => Self::Security {
                password: Password(parameters.array()?),
                user_id: parameters.optional_u16()?,
            },
            0x52 => Self::Logoff,
            0x70 => Self::Wait(parameters.octet()?),
            _ => Self::Other { code, parameters: parameters.take(parameters.rest().len())? },
        })
    }

    /// Appends the service, without its length.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.code().0);
        match self {
            Self::Identification | Self::Terminate | Self::Disconnect | Self::DefaultRead | Self::Logoff => {}
            Self::Deregistration(title) | Self::Resolve(title) | Self::Trace(title) => title.write(out),
            Self::Registration(registration) => registration.write(out),
            Self::FullRead(table) => write_table(out, *table),
            Self::IndexRead { table, index, elements } => {
                write_table(out, *table);
                index.write(out);
                out.extend_from_slice(&elements.to_be_bytes());
            }
            Self::OffsetRead { table, offset, count } => {
                write_table(out, *table);
                out.extend_from_slice(&offset.octets());
                out.extend_from_slice(&count.to_be_bytes());
            }
            Self::FullWrite { table, data } => {
                write_table(out, *table);
                data.write(out);
            }
            Self::IndexWrite { table, index, data } => {
                write_table(out, *table);
                index.write(out);
                data.write(out);
            }
            Self::OffsetWrite { table, offset, data } => {
                write_table(out, *table);
                out.extend_from_slice(&offset.octets());
                data.write(out);
            }
            Self::Logon { user_id, user, timeout_s } => {
                out.extend_from_slice(&user_id.to_be_bytes());
                out.extend_from_slice(user.as_slice());
                write_optional(out, *timeout_s);
            }
            Self::Security { password, user_id } => {
                out.extend_from_slice(password.0);
                write_optional(out, *user_id);
            }
            Self::Wait(seconds) => out.push(*seconds),
            Self::Other { parameters, .. } => out.extend_from_slice(parameters),
        }
    }

    /// Its code.
    #[must_use]
    pub fn code(&self) -> ServiceCode {
        let index_code = |base: u8, index: &Index| ServiceCode(base | u8::try_from(index.depth).unwrap_or(9));
        match self {
            Self::Identification => ServiceCode::IDENTIFICATION,
            Self::Terminate => ServiceCode::TERMINATE,
            Self::Disconnect => ServiceCode::DISCONNECT,
            Self::Deregistration(_) => ServiceCode::DEREGISTRATION,
            Self::Resolve(_) => ServiceCode::RESOLVE,
            Self::Trace(_) => ServiceCode::TRACE,
            Self::Registration(_) => ServiceCode::REGISTRATION,
            Self::FullRead(_) => ServiceCode::FULL_READ,
            Self::IndexRead { index, .. } => index_code(0x30, index),
            Self::DefaultRead => ServiceCode::DEFAULT_READ,
            Self::OffsetRead { .. } => ServiceCode::OFFSET_READ,
            Self::FullWrite { .. } => ServiceCode::FULL_WRITE,
            Self::IndexWrite { index, .. } => index_code(0x40, index),
            Self::OffsetWrite { .. } => ServiceCode::OFFSET_WRITE,
            Self::Logon { .. } => ServiceCode::LOGON,
            Self::Security { .. } => ServiceCode::SECURITY,
            Self::Logoff => ServiceCode::LOGOFF,
            Self::Wait(_) => ServiceCode::WAIT,
            Self::Other { code, .. } => *code,
        }
    }

    /// The table that it reads or writes.
    #[must_use]
    pub fn table(&self) -> Option<TableId> {
        match self {
            Self::FullRead(table)
            | Self::IndexRead { table, .. }
            | Self::OffsetRead { table, .. }
            | Self::FullWrite { table, .. }
            | Self::IndexWrite { table, .. }
            | Self::OffsetWrite { table, .. } => Some(*table),
            _ => None,
        }
    }

    /// Whether what the octets say is sound: checksums of table data, reserved bits.
    ///
    /// # Errors
    /// [`DecodeError::TableChecksum`], [`DecodeError::ReservedBits`].
    pub fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::FullWrite { data, .. } | Self::IndexWrite { data, .. } | Self::OffsetWrite { data, .. } => {
                data.check()
            }
            Self::Registration(registration) => registration.check(),
            _ => Ok(()),
        }
    }
}

fn write_table(out: &mut Vec<u8>, table: TableId) {
    out.extend_from_slice(&table.0.to_be_bytes());
}

pub(crate) fn write_optional(out: &mut Vec<u8>, number: Option<u16>) {
    if let Some(number) = number {
        out.extend_from_slice(&number.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn optional_fields_are_whole_or_absent() {
        let logon = [&[0x50, 0, 2][..], b"OPERATOR  ", &[0, 60]].concat();
        let decoded = Request::decode(&logon).unwrap();
        assert!(matches!(decoded, Request::Logon { user_id: 2, timeout_s: Some(60), .. }));
        let decoded = Request::decode(&logon[..13]).unwrap();
        assert!(matches!(decoded, Request::Logon { timeout_s: None, .. }));
        let bad = Err(DecodeError::BadParameters(ServiceCode::LOGON));
        assert_eq!(Request::decode(&logon[..14]), bad);
        assert_eq!(Request::decode(&[&logon[..], &[0]].concat()), bad);
    }

    #[test]
    fn a_password_is_not_shown() {
        let octets = [&[0x51][..], &[b'0'; 20]].concat();
        let request = Request::decode(&octets).unwrap();
        assert_eq!(format!("{request:?}"), "Security { password: Password(..), user_id: None }");
        assert_ne!(Password::new(&[1; 20]), Password::new(&[2; 20]));
    }

    #[test]
    fn services_of_other_standards_are_kept_raw() {
        for code in [0x4e, 0x53, 0x60, 0x71, 0x99] {
            let octets = [code, 1, 2];
            let request = Request::decode(&octets).unwrap();
            assert_eq!(request, Request::Other { code: ServiceCode(code), parameters: &[1, 2] });
        }
        assert_eq!(Request::decode(&[]), Err(DecodeError::EmptyService));
    }

    #[test]
    fn a_notified_procedure_reads_as_it_is() {
        let octets = [0x40, 0, 7, 0, 5, 0x1a, 0, 0, 2, 0, 0xe4];
        let request = Request::decode(&octets).unwrap();
        assert_eq!(request.table(), Some(TableId::standard(7)));
        assert_eq!(request.check(), Ok(()));
        let wrong = [0x40, 0, 7, 0, 1, 0x1a, 0];
        assert_eq!(Request::decode(&wrong).unwrap().check(), Err(DecodeError::TableChecksum));
    }

    #[test]
    fn an_index_has_one_to_nine_levels() {
        assert!(Index::new(&[]).is_none() && Index::new(&[0; 10]).is_none());
        let index = Index::new(&[3, 500]).unwrap();
        let request = Request::IndexRead { table: TableId::standard(23), index, elements: 2 };
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(out, [0x32, 0, 23, 0, 3, 1, 0xf4, 0, 2]);
    }
}
