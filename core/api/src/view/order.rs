//! What a command is to do, and to whom.

use seal::command::Addressee;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::text::{FieldError, Named, hex_of, octets, octets_of};
use commands::front::{OrderKind, Part as DeskPart, TableRead};

/// Whom a command is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum To {
    /// One end device: its EUI-64.
    #[schema(example = "0011223344556677")]
    Device(String),
    /// All members of a group; its gid has the top bit set.
    #[schema(example = "80000001")]
    Group(String),
}

impl To {
    /// Whom it names.
    ///
    /// # Errors
    /// [`FieldError`] when it names nobody.
    pub fn addressee(&self) -> Result<Addressee, FieldError> {
        match self {
            Self::Device(text) => text.read("to.device").map(Addressee::Device),
            Self::Group(text) => text.read("to.group").map(Addressee::Group),
        }
    }
}

impl From<Addressee> for To {
    fn from(addressee: Addressee) -> Self {
        match addressee {
            Addressee::Device(dev) => Self::Device(dev.to_string()),
            Addressee::Group(gid) => Self::Group(gid.to_string()),
        }
    }
}

/// A table to be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// `ST` or `MT` and its number.
    #[schema(example = "ST23")]
    pub table: String,
    /// All of it where none is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<Part>,
}

/// A part of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, deny_unknown_fields)]
pub enum Part {
    /// Elements from an index on.
    Elements {
        /// The first element: 1 to 9 indices.
        #[schema(min_items = 1, max_items = 9)]
        index: Vec<u16>,
        /// How many.
        count: u16,
    },
    /// Octets.
    Octets {
        /// The first one, below 2^24.
        #[schema(maximum = 16777215)]
        offset: u32,
        /// How many.
        count: u16,
    },
}

/// What a command is to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Order {
    /// Reads tables: class 0.
    ReadTables {
        /// At least one.
        tables: Vec<Table>,
    },
    /// Writes a table: the class that the device profile gives it.
    WriteTable {
        /// `ST` or `MT` and its number.
        #[schema(example = "MT5")]
        table: String,
        /// The first octet; the whole table where none is given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset: Option<u32>,
        /// Hex.
        data: String,
    },
    /// Has a procedure executed: the class that the device profile gives it.
    Procedure {
        /// `SP` or `MP` and its number.
        #[schema(example = "SP4")]
        procedure: String,
        /// Hex.
        #[serde(default)]
        parameters: String,
    },
    /// Opens the service switch: class 3.
    Disconnect,
    /// Closes it: class 3.
    Reconnect,
    /// Lets the customer close it: class 3.
    Arm,
    /// At most this power for so long: class 3.
    Limit {
        /// Watts; 0 lifts a limit.
        watts: u32,
        /// Minutes.
        minutes: u16,
    },
    /// A demand-response event: class 3.
    DemandResponse {
        /// Its number.
        event: u32,
        /// When it begins, Unix seconds.
        start: u32,
        /// Minutes.
        minutes: u16,
        /// Percent of the load to be shed; 0 ends an event.
        #[schema(maximum = 100)]
        percent: u8,
    },
    /// Sets the clock to the moment in which the command is made: class 5.
    SetTime {
        /// The nonce of the device's outstanding TIME_REQUEST, hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        nonce: Option<String>,
    },
    /// A block of a firmware image: class 2.
    FirmwareBlock {
        /// Where in the image it belongs.
        offset: u32,
        /// Hex.
        data: String,
    },
    /// Makes the image that was loaded the one that runs: class 2.
    FirmwareActivate {
        /// Octets of the image.
        size: u32,
        /// SHA-256 of the image, hex.
        sha256: String,
    },
    /// A further command key: class 4, for `security`.
    SignerAdd {
        /// Its number, not 0.
        skid: u8,
        /// x of its public key, hex.
        x: String,
        /// y of its public key, hex.
        y: String,
        /// Classes that it may sign.
        classes: Vec<u8>,
        /// Unix seconds.
        not_before: u32,
    },
    /// A command key is believed no longer: root alone signs that, see `POST /v1/commands/signed`.
    SignerRevoke {
        /// Its number.
        skid: u8,
    },
    /// The head-end's next credential: class 4, for `security`.
    CredentialNext {
        /// Its number.
        kid: u8,
        /// x of its public key, hex.
        x: String,
        /// y of its public key, hex.
        y: String,
    },
}

impl Order {
    /// The order as the desk has it.
    ///
    /// # Errors
    /// [`FieldError`] for the first field that does not hold what it should.
    pub fn kind(&self) -> Result<OrderKind, FieldError> {
        Ok(match self {
            Self::ReadTables { tables } => {
                OrderKind::ReadTables(tables.iter().map(Table::read).collect::<Result<_, _>>()?)
            }
            Self::WriteTable { table, offset, data } => OrderKind::WriteTable {
                table: table.read("order.table")?,
                offset: *offset,
                data: octets("order.data", data)?,
            },
            Self::Procedure { procedure, parameters } => OrderKind::Procedure {
                procedure: procedure.read("order.procedure")?,
                parameters: octets("order.parameters", parameters)?,
            },
            Self::Disconnect => OrderKind::Disconnect,
            Self::Reconnect => OrderKind::Reconnect,
            Self::Arm => OrderKind::Arm,
            Self::Limit { watts, minutes } => OrderKind::LoadLimit { watts: *watts, minutes: *minutes },
            Self::DemandResponse { event, start, minutes, percent } => OrderKind::DemandResponse {
                event: *event,
                start: *start,
                minutes: *minutes,
                percent: *percent,
            },
            Self::SetTime { nonce } => OrderKind::SetTime {
                nonce: nonce.as_deref().map(|nonce| octets_of("order.nonce", nonce)).transpose()?,
            },
            Self::FirmwareBlock { offset, data } => {
                OrderKind::FirmwareBlock { offset: *offset, data: octets("order.data", data)? }
            }
            Self::FirmwareActivate { size, sha256 } => {
                OrderKind::FirmwareActivate { size: *size, digest: octets_of("order.sha256", sha256)? }
            }
            Self::SignerAdd { skid, x, y, classes, not_before } => OrderKind::SignerAdd {
                skid: *skid,
                x: octets_of("order.x", x)?,
                y: octets_of("order.y", y)?,
                classes: super::classes(classes)?.0,
                not_before: *not_before,
            },
            Self::SignerRevoke { skid } => OrderKind::SignerRevoke { skid: *skid },
            Self::CredentialNext { kid, x, y } => OrderKind::CredentialNext {
                kid: *kid,
                x: octets_of("order.x", x)?,
                y: octets_of("order.y", y)?,
            },
        })
    }

    /// The order to load this block of a firmware image.
    #[must_use]
    pub fn firmware_block(offset: u32, octets: &[u8]) -> Self {
        Self::FirmwareBlock { offset, data: hex_of(octets) }
    }
}

impl Table {
    fn read(&self) -> Result<TableRead, FieldError> {
        let part = match &self.part {
            None => DeskPart::Whole,
            Some(Part::Elements { index, count }) => {
                DeskPart::Elements { index: index.clone(), count: *count }
            }
            Some(Part::Octets { offset, count }) => DeskPart::Octets { offset: *offset, count: *count },
        };
        Ok(TableRead { table: self.table.read("order.tables.table")?, part })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_told_by_their_word_and_take_no_other_keys() {
        let order = |text: &str| serde_json::from_str::<Order>(text).map_err(|error| error.to_string());
        assert_eq!(order(r#"{"do":"disconnect"}"#), Ok(Order::Disconnect));
        let limit = Order::Limit { watts: 1500, minutes: 60 };
        assert_eq!(order(r#"{"do":"limit","watts":1500,"minutes":60}"#), Ok(limit));
        for wrong in [
            r#"{"do":"explode"}"#,
            r#"{"do":"limit","watts":1500}"#,
            r#"{"do":"limit","watts":-1,"minutes":1}"#,
            r#"{"do":"limit","watts":1500,"minutes":60,"hours":1}"#,
        ] {
            assert!(order(wrong).is_err(), "{wrong}");
        }
        let tables = r#"{"do":"read-tables","tables":[{"table":"ST23","part":{"offset":0,"count":8}},{"table":"MT1"}]}"#;
        let kind = order(tables).unwrap().kind().unwrap();
        let OrderKind::ReadTables(reads) = kind else { panic!() };
        assert_eq!(reads[0].part, DeskPart::Octets { offset: 0, count: 8 });
        assert_eq!(reads[1].part, DeskPart::Whole);
    }

    #[test]
    fn a_field_that_holds_something_else_is_named() {
        let wrong = Order::WriteTable { table: "XT1".into(), offset: None, data: "00".into() };
        assert!(wrong.kind().unwrap_err().to_string().starts_with("`order.table`: "));
        let wrong = Order::FirmwareActivate { size: 1, sha256: "00".into() };
        assert!(wrong.kind().unwrap_err().to_string().starts_with("`order.sha256`: "));
        assert!(To::Group("00000001".into()).addressee().is_err(), "a group has its top bit set");
        assert!(To::Device("00000001".into()).addressee().is_err());
    }
}
