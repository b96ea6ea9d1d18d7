//! One row of a shipment file: one end device.

use std::str::FromStr;

use c1222::ApTitleBuf;
use seal::ids::{Dev, Epoch, Sid};
use seal::secret::{Key128, Prk};

use super::fault::{Column, Faults, Reason};
use super::lines::Fields;
use super::{CLASSIC_KEYS_MAX, ESN_OCTETS_MAX, PROFILE_NAME_OCTETS_MAX, PROFILES_MAX};
use crate::classic::ClassicKeys;
use crate::device::Kind;

/// An end device as delivered.
pub struct Row {
    /// Its line in the file, from 1.
    pub line: u64,
    /// Its identity.
    pub dev: Dev,
    /// Its electronic serial number, printable ASCII.
    pub esn: Box<str>,
    /// Its address, in the form given.
    pub title: ApTitleBuf,
    /// Its device profile, as a place in [`Shipment::profiles`](super::Shipment::profiles).
    pub profile: u16,
    /// Its association.
    pub sid: Sid,
    /// The epoch of its key; of no meaning for a classic device.
    pub epoch: Epoch,
    /// Its keys.
    pub keys: RowKeys,
}

/// What a device's kind gives it as keys.
pub enum RowKeys {
    /// PRK_out of the row's epoch.
    Profile1(Prk),
    /// EAX' keys by id.
    Classic(ClassicKeys),
}

impl RowKeys {
    /// The kind of device that has such keys.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Profile1(_) => Kind::Profile1,
            Self::Classic(_) => Kind::Classic,
        }
    }
}

impl Row {
    /// Reads a line. Every fault in it goes to `faults`, and then there is no row.
    pub(super) fn read(
        line: u64,
        text: &str,
        profiles: &mut Vec<String>,
        faults: &mut Faults,
    ) -> Option<Self> {
        let fields: Vec<&str> = match Fields::of(text).collect() {
            Ok(fields) => fields,
            Err(reason) => {
                faults.add(line, None, reason);
                return None;
            }
        };
        let [dev, esn, title, profile, kind, sid, epoch, key] = fields[..] else {
            faults.add(line, None, Reason::Fields { found: fields.len() });
            return None;
        };
        let kind = Kind::from_str(kind).map_err(|_| Reason::Kind);
        let keys = match kind {
            Ok(Kind::Profile1) => Some(profile1_key(key)),
            Ok(Kind::Classic) => Some(classic_keys(key)),
            // What the key should look like is not known then.
            Err(_) => None,
        };
        let mut seen = Seen { line, faults };
        let dev = seen.check(Column::Dev, dev.parse().map_err(|_| Reason::HexDigits { digits: 16 }));
        let esn = seen.check(Column::Esn, serial_number(esn));
        let title = seen.check(Column::ApTitle, address(title));
        let profile = seen.check(Column::DeviceProfile, profile_place(profile, profiles));
        seen.check(Column::Kind, kind);
        let sid = seen.check(Column::Sid, association(sid));
        let epoch = seen.check(Column::Epoch, epoch.parse().map_err(|_| Reason::Epoch));
        let keys = keys.and_then(|keys| seen.check(Column::Key, keys));
        Some(Self {
            line,
            dev: dev?,
            esn: esn?,
            title: title?,
            profile: profile?,
            sid: sid?,
            epoch: epoch?,
            keys: keys?,
        })
    }
}

/// Notes the faults of one line.
pub(crate) struct Seen<'a> {
    pub(crate) line: u64,
    pub(crate) faults: &'a mut Faults,
}

impl Seen<'_> {
    pub(crate) fn check<T>(&mut self, column: Column, result: Result<T, Reason>) -> Option<T> {
        result.map_err(|reason| self.faults.add(self.line, column, reason)).ok()
    }
}

pub(crate) fn serial_number(text: &str) -> Result<Box<str>, Reason> {
    let printable = text.bytes().all(|octet| (b' '..=b'~').contains(&octet));
    if printable && (1..=ESN_OCTETS_MAX).contains(&text.len()) { Ok(text.into()) } else { Err(Reason::Esn) }
}

pub(crate) fn address(text: &str) -> Result<ApTitleBuf, Reason> {
    let title = ApTitleBuf::parse(text).map_err(|_| Reason::ApTitle)?;
    let of_many = title.as_title().is_broadcast() || title.as_title().is_group();
    if of_many { Err(Reason::ApTitleOfMany) } else { Ok(title) }
}

/// The place of a profile among those named so far; a new name takes the next one.
pub(crate) fn profile_place(name: &str, profiles: &mut Vec<String>) -> Result<u16, Reason> {
    let place = match profiles.iter().position(|known| known == name) {
        Some(place) => place,
        None if name.is_empty() || name.len() > PROFILE_NAME_OCTETS_MAX => return Err(Reason::ProfileName),
        None if name.chars().any(char::is_control) => return Err(Reason::ProfileName),
        None if profiles.len() >= PROFILES_MAX => return Err(Reason::Profiles),
        None => {
            profiles.push(name.to_owned());
            profiles.len() - 1
        }
    };
    u16::try_from(place).map_err(|_| Reason::Profiles)
}

fn association(text: &str) -> Result<Sid, Reason> {
    text.parse().map_err(|error| match error {
        seal::ids::IdError::TopBit { .. } => Reason::SidTopBit,
        _ => Reason::HexDigits { digits: 8 },
    })
}

fn profile1_key(text: &str) -> Result<RowKeys, Reason> {
    Prk::from_hex(text).map(RowKeys::Profile1).map_err(|_| Reason::HexDigits { digits: 64 })
}

fn classic_keys(text: &str) -> Result<RowKeys, Reason> {
    let keys = text.split(';').take(CLASSIC_KEYS_MAX + 1).map(|key| {
        let (id, hex) = key.split_once(':')?;
        Some((id.parse().ok()?, Key128::from_hex(hex).ok()?))
    });
    let keys: Vec<(u8, Key128)> = keys.collect::<Option<_>>().ok_or(Reason::ClassicKeys)?;
    if keys.len() > CLASSIC_KEYS_MAX {
        return Err(Reason::ClassicKeys);
    }
    ClassicKeys::new(keys).map(RowKeys::Classic).ok_or(Reason::ClassicKeyId)
}
