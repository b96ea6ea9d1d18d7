//! Manufacturer manifests: what a manufacturer says about the devices of profile 1 that it delivered. No
//! secret stands in them; a registration stands on them, so they are signed (security layer §5).
//!
//! CSV (RFC 4180) in UTF-8, one device a line, under the header [`HEADER`]. `device_profile` is `FILE@SHA256`:
//! the profile's file, relative to the manifest, and the SHA-256 of its text. The four coordinates are 64 hex
//! digits each: of the device's static Diffie-Hellman key and of its signing key. Beside the manifest, and
//! beside each profile, stand two detached signatures ([`signature`]). A manifest is taken whole or not at
//! all; [`Faults`] name every bad row.

mod lab;
mod row;
pub mod signature;

use std::io::{self, Read};

use sha2::{Digest, Sha256};

pub use lab::{LabHead, LabSample};
pub use row::Row;

use crate::device::ProfileId;
use crate::shipment::lines::Lines;
use crate::shipment::{Column, Faults, Reason, ShipmentError, title_key};

/// The first line of a manifest.
pub const HEADER: &str = "dev,esn,aptitle,device_profile,dh_x,dh_y,sign_x,sign_y";

/// A manifest without a fault. Its signatures are checked where it is taken in.
pub struct Manifest {
    rows: Vec<Row>,
    profiles: Vec<(String, ProfileId)>,
    digest: [u8; 32],
}

impl Manifest {
    /// Whether a file that begins with these octets is one.
    #[must_use]
    pub fn begins(octets: &[u8]) -> bool {
        octets.strip_prefix("\u{feff}".as_bytes()).unwrap_or(octets).starts_with(HEADER.as_bytes())
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// [`ShipmentError`]; all faults at once.
    pub fn read(source: impl Read) -> Result<Self, ShipmentError> {
        let mut source = Hashing { source, hash: Sha256::new() };
        let mut faults = Faults::default();
        let (mut rows, mut names) = (Vec::new(), Vec::new());
        let mut lines = Lines::new(&mut source);
        let header = lines.next()?.is_some_and(|(_, line)| {
            line.is_ok_and(|line| line.strip_prefix('\u{feff}').unwrap_or(line) == HEADER)
        });
        if !header {
            faults.add(1, None, Reason::Header);
            return Err(faults.into());
        }
        while let Some((number, line)) = lines.next()? {
            match line {
                Ok("") => {}
                Ok(line) => rows.extend(Row::read(number, line, &mut names, &mut faults)),
                Err(reason) => faults.add(number, None, reason),
            }
        }
        find_twice(&rows, &mut faults);
        faults.check()?;
        let profile = |name: String| {
            let (file, digest) = row::profile(&name)?;
            Some((file.to_owned(), digest))
        };
        let profiles = names.into_iter().filter_map(profile).collect();
        Ok(Self { rows, profiles, digest: source.hash.finalize().into() })
    }

    /// The devices, in the order of the file.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The device profiles, file and digest, as [`Row::profile`] counts them.
    #[must_use]
    pub fn profiles(&self) -> &[(String, ProfileId)] {
        &self.profiles
    }

    /// The SHA-256 of the file, which the signatures cover.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

/// What belongs to one device may stand in one row only.
fn find_twice(rows: &[Row], faults: &mut Faults) {
    let mut order: Vec<&Row> = rows.iter().collect();
    let mut check = |column, key: bool, compare: fn(&Row, &Row) -> std::cmp::Ordering| {
        order.sort_unstable_by(|a, b| compare(a, b).then(a.line.cmp(&b.line)));
        for equal in order.chunk_by(|a, b| compare(a, b).is_eq()) {
            let Some((first, others)) = equal.split_first() else { continue };
            for other in others {
                let line = first.line;
                let reason = if key { Reason::KeyTwice { line } } else { Reason::Twice { line } };
                faults.add(other.line, column, reason);
            }
        }
    };
    check(Column::Dev, false, |a, b| a.dev.cmp(&b.dev));
    check(Column::Esn, false, |a, b| a.esn.cmp(&b.esn));
    check(Column::ApTitle, false, |a, b| title_key(a.title.as_title()).cmp(&title_key(b.title.as_title())));
    check(Column::DhX, true, |a, b| xs(a).0.cmp(xs(b).0));
    check(Column::SignX, true, |a, b| xs(a).1.cmp(xs(b).1));
}

/// What tells a device's two keys: x of each.
fn xs(row: &Row) -> (&[u8; 32], &[u8; 32]) {
    let [dh_x, _, sign_x, _] = &row.points;
    (dh_x, sign_x)
}

/// Hashes what is read through it.
struct Hashing<R> {
    source: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(room)?;
        self.hash.update(room.get(..count).unwrap_or_default());
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shipment::Fault;
    use proptest::prelude::*;
    use seal::edhoc::PrivateKey;
    use seal::hex::Hex;

    fn point(octet: u8) -> (String, String) {
        let key = PrivateKey::from_octets(&[octet; 32]).unwrap().public_key();
        (Hex(&key.x()).to_string(), Hex(&key.y()).to_string())
    }

    fn profile() -> String {
        format!("p.toml@{}", "0a".repeat(32))
    }

    fn row(number: u8) -> String {
        let ((x, y), (sign_x, sign_y)) = (point(number), point(number + 100));
        format!("{number:016x},E{number},.1.{number},{},{x},{y},{sign_x},{sign_y}", profile())
    }

    fn read(rows: &str) -> Result<Manifest, Vec<Fault>> {
        Manifest::read(format!("{HEADER}\n{rows}").as_bytes()).map_err(|error| match error {
            ShipmentError::Faults(faults) => faults.listed().to_vec(),
            ShipmentError::Io(error) => panic!("{error}"),
        })
    }

    #[test]
    fn a_manifest_is_read_with_its_digest() {
        let text = format!("{HEADER}\n{}\r\n\n{}\n", row(1), row(2));
        assert!(
            Manifest::begins(text.as_bytes()) && !Manifest::begins(b"dev,esn,aptitle,device_profile,kind")
        );
        let manifest = Manifest::read(text.as_bytes()).unwrap();
        assert_eq!((manifest.rows().len(), manifest.rows()[1].line), (2, 4));
        assert_eq!(manifest.profiles(), [("p.toml".to_owned(), ProfileId([10; 32]))]);
        assert_eq!(manifest.digest(), &seal::signature::sha256(text.as_bytes()));
        let key = PrivateKey::from_octets(&[1; 32]).unwrap().public_key();
        assert_eq!(manifest.rows()[0].points[..2], [key.x(), key.y()]);
    }

    #[test]
    fn each_bad_field_is_named() {
        let good: Vec<String> = row(1).split(',').map(str::to_owned).collect();
        let short = "p.toml@".to_owned() + &"0".repeat(63);
        let cases = [
            (0, "1", Column::Dev, Reason::HexDigits { digits: 16 }),
            (1, "", Column::Esn, Reason::Esn),
            (2, ".1.0", Column::ApTitle, Reason::ApTitleOfMany),
            (3, "p.toml", Column::DeviceProfile, Reason::ProfileDigest),
            (3, &short, Column::DeviceProfile, Reason::ProfileDigest),
            (4, "00", Column::DhX, Reason::HexDigits { digits: 64 }),
            (5, &good[4], Column::DhY, Reason::Point),
            (6, &good[4], Column::SignY, Reason::Point),
            (7, "x", Column::SignY, Reason::HexDigits { digits: 64 }),
        ];
        for (place, text, column, reason) in cases {
            let mut fields = good.clone();
            fields[place] = text.to_owned();
            let fault = Fault { line: 2, column: Some(column), reason };
            assert_eq!(read(&fields.join(",")).err(), Some(vec![fault]), "{text}");
        }
        let fields = |count: usize| good[..count].join(",");
        let fault = Fault { line: 2, column: None, reason: Reason::Fields { found: 7 } };
        assert_eq!(read(&fields(7)).err(), Some(vec![fault]));
    }

    #[test]
    fn a_device_has_a_row_and_keys_of_its_own() {
        let other: Vec<String> = row(2).split(',').map(str::to_owned).collect();
        let first: Vec<String> = row(1).split(',').map(str::to_owned).collect();
        for (places, column, reason) in [
            (0..1, Column::Dev, Reason::Twice { line: 2 }),
            (1..2, Column::Esn, Reason::Twice { line: 2 }),
            (2..3, Column::ApTitle, Reason::Twice { line: 2 }),
            (4..6, Column::DhX, Reason::KeyTwice { line: 2 }),
            (6..8, Column::SignX, Reason::KeyTwice { line: 2 }),
        ] {
            let mut fields = other.clone();
            places.for_each(|place| fields[place] = first[place].clone());
            let fault = Fault { line: 3, column: Some(column), reason };
            assert_eq!(read(&format!("{}\n{}", row(1), fields.join(","))).err(), Some(vec![fault]));
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(octets in proptest::collection::vec(any::<u8>(), 0..2000), cut in 0_usize..500) {
            let _ = Manifest::read(&octets[..]);
            let _ = Manifest::read(&[HEADER.as_bytes(), b"\n", &octets].concat()[..]);
            let row = row(1);
            let _ = read(&row[..cut.min(row.len())]);
        }
    }
}
