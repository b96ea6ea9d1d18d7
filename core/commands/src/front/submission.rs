//! What people ask for.

use c1222::TableId;
use c1222::tables::ProcedureId;
use seal::command::Addressee;

/// A command that somebody wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// Chosen by the requester, 1 to 64 octets: the same id with the same content is the same command.
    pub request_id: String,
    /// Whom it is for.
    pub addressee: Addressee,
    /// What is wanted.
    pub order: OrderKind,
    /// Not before: Unix seconds; now, where none is given.
    pub nbf: Option<u32>,
    /// Minutes after `nbf`, 1 to 65,535; 1,440 at most for switches and load.
    pub ttl_min: u16,
    /// Who asks.
    pub requester: String,
    /// What he may.
    pub roles: Roles,
}

/// A command that the offline root signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedSubmission {
    /// Whom it is signed for.
    pub addressee: Addressee,
    /// The signed command, its signature with it.
    pub octets: Vec<u8>,
    /// Who brings it.
    pub requester: String,
    /// What he may.
    pub roles: Roles,
}

/// What a requester may: a set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(pub u8);

impl Roles {
    /// Sees everything.
    pub const READER: Self = Self(1);
    /// Orders what concerns meters.
    pub const OPERATOR: Self = Self(2);
    /// Approves.
    pub const APPROVER: Self = Self(4);
    /// Orders what concerns keys.
    pub const SECURITY: Self = Self(8);

    /// Whether these are all among them.
    #[must_use]
    pub fn cover(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What a command is to do. Watts, minutes, Unix seconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderKind {
    /// Tables, whole or in part: class 0.
    ReadTables(Vec<TableRead>),
    /// A table, whole or from an octet on: the class that the device profile gives it.
    WriteTable {
        /// The table.
        table: TableId,
        /// The first octet, below 2^24; the whole table where none is given.
        offset: Option<u32>,
        /// The octets.
        data: Vec<u8>,
    },
    /// A procedure (ST7), its response (ST8) read in the same body.
    Procedure {
        /// Which.
        procedure: ProcedureId,
        /// As it wants them.
        parameters: Vec<u8>,
    },
    /// Opens the service switch.
    Disconnect,
    /// Closes it.
    Reconnect,
    /// Lets the customer close it.
    Arm,
    /// At most this power for so long; 0 watts lifts a limit.
    LoadLimit {
        /// The limit.
        watts: u32,
        /// How long, from `nbf` on.
        minutes: u16,
    },
    /// A demand-response event.
    DemandResponse {
        /// Its number.
        event: u32,
        /// When it begins, Unix seconds.
        start: u32,
        /// How long it lasts.
        minutes: u16,
        /// Percent of the load to be shed; 0 ends an event.
        percent: u8,
    },
    /// The time of the moment in which the command is made.
    SetTime {
        /// From a TIME_REQUEST.
        nonce: Option<[u8; 8]>,
    },
    /// A block of a firmware image.
    FirmwareBlock {
        /// Where in the image it belongs.
        offset: u32,
        /// Its octets.
        data: Vec<u8>,
    },
    /// Makes the image that was loaded the one that runs.
    FirmwareActivate {
        /// Octets of the image.
        size: u32,
        /// Its SHA-256.
        digest: [u8; 32],
    },
    /// A further command key.
    SignerAdd {
        /// Its name, not 0.
        skid: u8,
        /// x of its public key.
        x: [u8; 32],
        /// y of its public key.
        y: [u8; 32],
        /// Classes that it may sign, bit n for class n.
        classes: u8,
        /// Unix seconds.
        not_before: u32,
    },
    /// A command key is not believed any more; only root may sign this.
    SignerRevoke {
        /// Its name.
        skid: u8,
    },
    /// The head-end's next credential.
    CredentialNext {
        /// Its name.
        kid: u8,
        /// x of its public key.
        x: [u8; 32],
        /// y of its public key.
        y: [u8; 32],
    },
    /// Be a member of a group, by a signed JOIN; the desk makes it of [`super::Front::join`].
    Join {
        /// The group.
        gid: u32,
        /// What the group may order, bit n for class n.
        classes: u8,
    },
    /// Be a member no longer.
    Leave {
        /// The group.
        gid: u32,
    },
    /// To a later epoch; campaigns make it.
    AdvanceEpoch {
        /// Above all before it.
        campaign: u32,
        /// Steps, 1 to 4.
        delta: u8,
        /// To be echoed.
        challenge: [u8; 8],
    },
}

/// A table to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRead {
    /// The table.
    pub table: TableId,
    /// All of it, or a part.
    pub part: Part,
}

/// Which part of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// Elements from an index on.
    Elements {
        /// The first element, 1 to 9 indices.
        index: Vec<u16>,
        /// How many.
        count: u16,
    },
    /// Octets.
    Octets {
        /// The first, below 2^24.
        offset: u32,
        /// How many.
        count: u16,
    },
}
