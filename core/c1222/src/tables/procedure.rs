//! ST7 and ST8: procedures, how they are started and what came of them.

use std::fmt;
use std::str::FromStr;

use super::codec::{Fields, TableError};
use super::event::EventCode;
use super::format::Format;
use super::name::number_of;
use crate::table_id::TableId;

/// A procedure: bits 0-10 number, bit 11 manufacturer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProcedureId(pub u16);

/// A text is no procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a procedure: `SP` or `MP` and a number from 0 to 2047")]
pub struct NotProcedureId;

impl ProcedureId {
    const MANUFACTURER: u16 = 0x0800;
    const MASK: u16 = 0x0fff;

    /// A standard procedure.
    #[must_use]
    pub const fn standard(number: u16) -> Self {
        Self(number & TableId::NUMBER_MAX)
    }

    /// A manufacturer's procedure.
    #[must_use]
    pub const fn manufacturer(number: u16) -> Self {
        Self(number & TableId::NUMBER_MAX | Self::MANUFACTURER)
    }

    /// Its number, 0..=2047.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0 & TableId::NUMBER_MAX
    }

    /// Whether it is one of the manufacturer's.
    #[must_use]
    pub const fn is_manufacturer(self) -> bool {
        self.0 & Self::MANUFACTURER != 0
    }

    /// What a standard procedure does.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        if self.is_manufacturer() {
            return None;
        }
        Some(match self.number() {
            0 => "cold start",
            1 => "warm start",
            2 => "save configuration",
            3 => "clear data",
            4 => "reset list pointers",
            5 => "update last read entry",
            6 => "change mode",
            7 => "clear standard status",
            8 => "clear manufacturer status",
            9 => "remote reset",
            10 => "set date and time",
            11 => "diagnostics",
            12 => "activate all pending tables",
            13 => "activate a pending table",
            14 => "clear all pending tables",
            15 => "clear a pending table",
            16 => "start load profile",
            17 => "stop load profile",
            18 => "log in",
            19 => "log out",
            21 => "direct load control",
            22 => "modify credit",
            23 => "register now",
            24 => "deregister",
            25 => "network interface control",
            26 => "exception report",
            32 => "precision time",
            _ => return None,
        })
    }
}

impl fmt::Display for ProcedureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_manufacturer() { "MP" } else { "SP" };
        write!(f, "{kind}{}", self.number())
    }
}

impl FromStr for ProcedureId {
    type Err = NotProcedureId;

    /// `SP10` or `MP5`.
    fn from_str(text: &str) -> Result<Self, NotProcedureId> {
        let (kind, number) = text.split_at_checked(2).ok_or(NotProcedureId)?;
        let number = number_of(number).ok_or(NotProcedureId)?;
        match kind {
            "SP" => Ok(Self::standard(number)),
            "MP" => Ok(Self::manufacturer(number)),
            _ => Err(NotProcedureId),
        }
    }
}

/// When the device is to post its response: bits 12-15 of the id in ST7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Post {
    /// 0: when it is done.
    Completion,
    /// 1: only when something went wrong.
    Exception,
    /// 2: never.
    Never,
    /// 3: now, and when it is done.
    NowAndCompletion,
    /// 4 and above: reserved.
    Reserved(u8),
}

impl Post {
    /// The meaning of four bits.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code & 15 {
            0 => Self::Completion,
            1 => Self::Exception,
            2 => Self::Never,
            3 => Self::NowAndCompletion,
            other => Self::Reserved(other),
        }
    }

    /// Its four bits.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Completion => 0,
            Self::Exception => 1,
            Self::Never => 2,
            Self::NowAndCompletion => 3,
            Self::Reserved(code) => code & 15,
        }
    }
}

/// ST7: starts a procedure. A device's exception report comes as such a write too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initiate<'a> {
    /// What to do.
    pub procedure: ProcedureId,
    /// When to post the response.
    pub post: Post,
    /// Chosen by the caller; ST8 repeats it.
    pub sequence: u8,
    /// As the procedure wants them.
    pub parameters: &'a [u8],
}

impl<'a> Initiate<'a> {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(7);

    /// Reads ST7.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &'a [u8], format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        let (id, sequence) = (fields.u16()?, fields.u8()?);
        let post = Post::from_code((id >> 12) as u8);
        let procedure = ProcedureId(id & ProcedureId::MASK);
        Ok(Self { procedure, post, sequence, parameters: fields.rest() })
    }

    /// The event that an exception report (SP26) tells of: the first two octets of its parameters, as the one
    /// published message has them.
    #[must_use]
    pub fn exception(&self, format: &Format) -> Option<EventCode> {
        let octets = self.parameters.first_chunk().filter(|_| self.procedure == ProcedureId::standard(26))?;
        Some(EventCode(format.order.u16(*octets)))
    }

    /// Appends ST7.
    pub fn write(&self, format: &Format, out: &mut Vec<u8>) {
        push_id(self.procedure, self.post, format, out);
        out.push(self.sequence);
        out.extend_from_slice(self.parameters);
    }
}

fn push_id(procedure: ProcedureId, post: Post, format: &Format, out: &mut Vec<u8>) {
    let id = procedure.0 & ProcedureId::MASK | u16::from(post.code()) << 12;
    format.order.push(u64::from(id), 2, out);
}

/// What came of a procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// 0: done.
    Done,
    /// 1: accepted, not complete: ask again.
    Accepted,
    /// 2: a parameter is wrong.
    BadParameter,
    /// 3: it conflicts with the device's setup.
    Conflict,
    /// 4: a timing constraint.
    Timing,
    /// 5: the caller is not authorised.
    NotAuthorised,
    /// 6: no such procedure.
    Unknown,
    /// 7 and above: not of the standard.
    Other(u8),
}

impl Outcome {
    /// The meaning of a result octet.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Done,
            1 => Self::Accepted,
            2 => Self::BadParameter,
            3 => Self::Conflict,
            4 => Self::Timing,
            5 => Self::NotAuthorised,
            6 => Self::Unknown,
            other => Self::Other(other),
        }
    }

    /// The result octet.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Accepted => 1,
            Self::BadParameter => 2,
            Self::Conflict => 3,
            Self::Timing => 4,
            Self::NotAuthorised => 5,
            Self::Unknown => 6,
            Self::Other(code) => code,
        }
    }
}

/// ST8: what came of the procedure started last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcedureResponse<'a> {
    /// What was asked for.
    pub procedure: ProcedureId,
    /// When the response was to be posted.
    pub post: Post,
    /// As in ST7.
    pub sequence: u8,
    /// What came of it.
    pub outcome: Outcome,
    /// As the procedure gives them.
    pub data: &'a [u8],
}

impl<'a> ProcedureResponse<'a> {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(8);

    /// Reads ST8.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &'a [u8], format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        let (id, sequence, code) = (fields.u16()?, fields.u8()?, fields.u8()?);
        Ok(Self {
            procedure: ProcedureId(id & ProcedureId::MASK),
            post: Post::from_code((id >> 12) as u8),
            sequence,
            outcome: Outcome::from_code(code),
            data: fields.rest(),
        })
    }

    /// Appends ST8.
    pub fn write(&self, format: &Format, out: &mut Vec<u8>) {
        push_id(self.procedure, self.post, format, out);
        out.extend_from_slice(&[self.sequence, self.outcome.code()]);
        out.extend_from_slice(self.data);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_exception_report_of_the_published_vector() {
        let octets = [0x1a, 0x00, 0x00, 0x02, 0x00];
        let initiate = Initiate::read(&octets, &Format::default()).unwrap();
        assert_eq!(initiate.procedure, ProcedureId::standard(26));
        assert_eq!(initiate.procedure.name(), Some("exception report"));
        assert_eq!((initiate.post, initiate.sequence), (Post::Completion, 0));
        assert_eq!(initiate.parameters, [2, 0]);
        assert_eq!(initiate.exception(&Format::default()), Some(EventCode::standard(2)));
        let other = Initiate { procedure: ProcedureId::standard(3), ..initiate };
        assert_eq!(other.exception(&Format::default()), None);
    }

    #[test]
    fn procedures_have_names() {
        for (text, id) in [("SP10", 10), ("MP5", 0x0805)] {
            assert_eq!(text.parse(), Ok(ProcedureId(id)));
            assert_eq!(ProcedureId(id).to_string(), text);
        }
        assert_eq!("PS1".parse::<ProcedureId>(), Err(NotProcedureId));
        assert_eq!(ProcedureId(0x0805).name(), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_and_written(octets in prop::collection::vec(any::<u8>(), 0..20)) {
            let format = Format::default();
            let mut again = Vec::new();
            if let Ok(initiate) = Initiate::read(&octets, &format) {
                initiate.write(&format, &mut again);
                prop_assert_eq!(&again, &octets);
            }
            again.clear();
            if let Ok(response) = ProcedureResponse::read(&octets, &format) {
                response.write(&format, &mut again);
                prop_assert_eq!(&again, &octets);
            }
        }
    }
}
