//! What is wrong with a shipment file or a manifest: rows by line and column, never what stands in them.
//!
//! No text here repeats a field: with two columns swapped, any field may hold a key.

use std::fmt;

use seal::ids::{Dev, Sid};

/// At most so many faults are listed; the rest are counted.
pub const FAULTS_LISTED_MAX: usize = 100;

/// A column of a shipment file or a manifest, in the order of its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Column {
    /// The end device's identity.
    Dev,
    /// Its electronic serial number.
    Esn,
    /// Its C12.22 address.
    ApTitle,
    /// The file that describes its tables.
    DeviceProfile,
    /// `profile1` or `classic`.
    Kind,
    /// Its association.
    Sid,
    /// The epoch of its key.
    Epoch,
    /// Its key or keys.
    Key,
    /// x of its static Diffie-Hellman key.
    DhX,
    /// y of it.
    DhY,
    /// x of its signing key.
    SignX,
    /// y of it.
    SignY,
}

impl Column {
    /// All columns of a shipment file in order; a manifest has as many.
    pub const ALL: [Self; 8] = [
        Self::Dev,
        Self::Esn,
        Self::ApTitle,
        Self::DeviceProfile,
        Self::Kind,
        Self::Sid,
        Self::Epoch,
        Self::Key,
    ];

    /// Its name in the header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Esn => "esn",
            Self::ApTitle => "aptitle",
            Self::DeviceProfile => "device_profile",
            Self::Kind => "kind",
            Self::Sid => "sid",
            Self::Epoch => "epoch",
            Self::Key => "key",
            Self::DhX => "dh_x",
            Self::DhY => "dh_y",
            Self::SignX => "sign_x",
            Self::SignY => "sign_y",
        }
    }
}

/// What is wrong in one place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The first line is not the header.
    #[error("the first line must be `{}`, or that of a manifest", super::HEADER)]
    Header,
    /// The coordinates are those of no point.
    #[error("is, with the other coordinate, no point of P-256")]
    Point,
    /// A manifest's profile is not written with its digest.
    #[error("must be `FILE@SHA256`, with 64 hex digits")]
    ProfileDigest,
    /// The profile is another than the manifest means.
    #[error("names a profile whose SHA-256 is another one")]
    ProfileChanged,
    /// The profile is not signed as it must be.
    #[error("names a profile that is not signed: {0}")]
    ProfileUnsigned(String),
    /// Another device of the manifest has this key.
    #[error("is a key that line {line} has too; a device has keys of its own")]
    KeyTwice {
        /// The earlier row's line.
        line: u64,
    },
    /// The line is over the limit.
    #[error("the line is longer than {} octets", super::LINE_OCTETS_MAX)]
    LineLength,
    /// The line holds other octets than text.
    #[error("the line is not UTF-8 text")]
    NotText,
    /// A quote stands inside a field or does not close.
    #[error("a quote stands inside a field or does not close before the end of the line")]
    Quote,
    /// The row has too few or too many fields.
    #[error("{found} fields, where the header names {}", Column::ALL.len())]
    Fields {
        /// How many it has.
        found: usize,
    },
    /// An identity, key or number of a fixed count of hex digits is something else.
    #[error("must be {digits} hex digits")]
    HexDigits {
        /// How many digits it takes.
        digits: usize,
    },
    /// The serial number is empty, too long or not printable.
    #[error("must be 1 to {} printable ASCII characters", super::ESN_OCTETS_MAX)]
    Esn,
    /// The address is none.
    #[error("must be an ApTitle, as `.123.8437` or `2.16.124.113620.1.22.0.123.8437`")]
    ApTitle,
    /// The address is that of many.
    #[error("is a broadcast or group address; an end device has one of its own")]
    ApTitleOfMany,
    /// The name of the profile is empty, too long or not printable.
    #[error(
        "must be a file name of 1 to {} octets, without control characters",
        super::PROFILE_NAME_OCTETS_MAX
    )]
    ProfileName,
    /// The file names more profiles than a store takes at once.
    #[error("names more than {} different profiles", super::PROFILES_MAX)]
    Profiles,
    /// No such profile was found.
    #[error("names a profile that cannot be read")]
    ProfileMissing,
    /// The profile is no text, or too long.
    #[error("names a profile that is not UTF-8 text of at most {} octets", crate::import::PROFILE_OCTETS_MAX)]
    ProfileText,
    /// The word is neither kind.
    #[error("must be `profile1` or `classic`")]
    Kind,
    /// The top bit of an association number is set.
    #[error("has its top bit set, which marks a group")]
    SidTopBit,
    /// The epoch is no number of 16 bits.
    #[error("must be a number from 0 to 65535")]
    Epoch,
    /// The classic keys are not written as such.
    #[error(
        "must be `ID:HEX[;ID:HEX]`: 1 to {} keys, ids 0 to 255, 32 hex digits each",
        super::CLASSIC_KEYS_MAX
    )]
    ClassicKeys,
    /// Two classic keys have one id.
    #[error("gives two keys the same id")]
    ClassicKeyId,
    /// A profile-1 key stands in the file, and nobody allowed that.
    #[error("profile-1 keys come by registration; a file with them is for labs and needs --test-keys")]
    TestKey,
    /// An earlier row has the same.
    #[error("is that of line {line}, too")]
    Twice {
        /// The earlier row's line.
        line: u64,
    },
    /// A device that may register has the same.
    #[error("is that of device {dev} in the store")]
    Known {
        /// The device.
        dev: Dev,
    },
    /// An association in the store has the same.
    #[error("is that of association {sid} in the store")]
    Stored {
        /// The association.
        sid: Sid,
    },
}

/// One fault: where and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: u64,
    /// The column; `None` when the whole line is meant.
    pub column: Option<Column>,
    /// What is wrong.
    pub reason: Reason,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "line {}, {}: {}", self.line, column.name(), self.reason),
            None => write!(f, "line {}: {}", self.line, self.reason),
        }
    }
}

/// Everything that is wrong with a file: at most [`FAULTS_LISTED_MAX`] listed, all counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    listed: Vec<Fault>,
    total: u64,
}

impl Faults {
    pub(crate) fn add(&mut self, line: u64, column: impl Into<Option<Column>>, reason: Reason) {
        self.total = self.total.saturating_add(1);
        if self.listed.len() < FAULTS_LISTED_MAX {
            self.listed.push(Fault { line, column: column.into(), reason });
        }
    }

    /// `Ok` when there are none; else they are put in the order of the file.
    pub(crate) fn check(mut self) -> Result<(), Self> {
        if self.total == 0 {
            return Ok(());
        }
        self.listed.sort_by_key(|fault| (fault.line, fault.column));
        Err(self)
    }

    /// The first faults, in the order of the file.
    #[must_use]
    pub fn listed(&self) -> &[Fault] {
        &self.listed
    }

    /// How many there are in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.listed.iter().enumerate() {
            let end = if index == 0 { "" } else { "\n" };
            write!(f, "{end}{fault}")?;
        }
        let listed = u64::try_from(self.listed.len()).unwrap_or(u64::MAX);
        match self.total.saturating_sub(listed) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more; {} faults in all", self.total),
        }
    }
}

impl std::error::Error for Faults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_line_and_column_and_are_capped() {
        let mut faults = Faults::default();
        faults.add(9, Column::Key, Reason::HexDigits { digits: 64 });
        faults.add(2, None, Reason::Fields { found: 7 });
        let text = faults.check().unwrap_err().to_string();
        assert_eq!(text, "line 2: 7 fields, where the header names 8\nline 9, key: must be 64 hex digits");

        let mut faults = Faults::default();
        for line in 0..250 {
            faults.add(line, Column::Epoch, Reason::Epoch);
        }
        let faults = faults.check().unwrap_err();
        assert_eq!((faults.listed().len(), faults.total()), (FAULTS_LISTED_MAX, 250));
        assert!(faults.to_string().ends_with("\nand 150 more; 250 faults in all"));
    }

    #[test]
    fn no_faults_are_none() {
        assert_eq!(Faults::default().check(), Ok(()));
    }
}
