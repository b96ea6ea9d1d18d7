//! The tables of a key store: the first octet of every key.

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// Plain values by name: `system`, `devices`.
    Value,
    /// The wrapped data key of a partition: partition u16.
    Dek,
    /// A sealed block of association records: partition u16, block u8.
    Association,
    /// The text of a device profile: its SHA-256.
    Profile,
    /// A sealed bucket of device credentials: partition u16, bucket u8.
    Device,
    /// The sealed keys of a group: gid u32.
    Group,
    /// A public key that manifests are checked with, sealed: its name.
    Trust,
}

impl Table {
    /// The octet that stands for it, in keys and in what is authenticated with a sealed block.
    pub(crate) fn octet(self) -> u8 {
        match self {
            Self::Value => 0,
            Self::Dek => 1,
            Self::Association => 2,
            Self::Profile => 3,
            Self::Device => 4,
            Self::Group => 5,
            Self::Trust => 6,
        }
    }

    /// The key of an entry; with no octets, the beginning of every key of the table.
    pub(crate) fn key(self, rest: &[u8]) -> Vec<u8> {
        [&[self.octet()], rest].concat()
    }

    /// What follows the table's octet in a key of this table.
    pub(crate) fn rest(self, key: &[u8]) -> Option<&[u8]> {
        key.strip_prefix(&[self.octet()])
    }
}
