//! Shipment files: what a manufacturer says about the devices it delivered, their first keys among it.
//!
//! CSV (RFC 4180) in UTF-8, one device a line, under the header [`HEADER`]. A file is taken whole or not at
//! all; [`Faults`] name every bad row.

mod fault;
pub(crate) mod lines;
pub(crate) mod row;

use std::cmp::Ordering;
use std::io::{self, Read};

use c1222::ApTitle;

pub use fault::{Column, FAULTS_LISTED_MAX, Fault, Faults, Reason};
pub use row::{Row, RowKeys};

/// The first line of a shipment file.
pub const HEADER: &str = "dev,esn,aptitle,device_profile,kind,sid,epoch,key";
/// The longest line, in octets.
pub const LINE_OCTETS_MAX: usize = 4096;
/// The longest serial number, in octets.
pub const ESN_OCTETS_MAX: usize = 64;
/// The longest name of a device profile, in octets.
pub const PROFILE_NAME_OCTETS_MAX: usize = 1024;
/// At most so many different profiles are named in one file.
pub const PROFILES_MAX: usize = 256;
/// At most so many keys has a classic device.
pub const CLASSIC_KEYS_MAX: usize = 8;

/// A shipment file that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ShipmentError {
    /// It cannot be read.
    #[error("the shipment file cannot be read: {0}")]
    Io(#[from] io::Error),
    /// It has bad rows.
    #[error(transparent)]
    Faults(#[from] Faults),
}

/// A shipment file without a fault. It holds keys, so it is not to be printed.
pub struct Shipment {
    rows: Vec<Row>,
    profiles: Vec<String>,
}

impl Shipment {
    /// Reads a whole file. Give it the file itself: a `BufReader` would leave keys in its buffer.
    ///
    /// # Errors
    /// [`ShipmentError`]; all faults at once.
    pub fn read(source: impl Read) -> Result<Self, ShipmentError> {
        let mut shipment = Self { rows: Vec::new(), profiles: Vec::new() };
        let mut faults = Faults::default();
        let mut lines = lines::Lines::new(source);
        let header = lines.next()?.is_some_and(|(_, line)| {
            line.is_ok_and(|line| line.strip_prefix('\u{feff}').unwrap_or(line) == HEADER)
        });
        if !header {
            // Without it nobody knows what the rows mean.
            faults.add(1, None, Reason::Header);
            return Err(faults.into());
        }
        while let Some((number, line)) = lines.next()? {
            match line {
                Ok("") => {}
                Ok(line) => {
                    shipment.rows.extend(Row::read(number, line, &mut shipment.profiles, &mut faults))
                }
                Err(reason) => faults.add(number, None, reason),
            }
        }
        shipment.find_twice(&mut faults);
        faults.check()?;
        Ok(shipment)
    }

    /// The devices, in the order of the file.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The devices, given away with their keys.
    #[must_use]
    pub fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// The names of device profiles in the file, as [`Row::profile`] counts them.
    #[must_use]
    pub fn profiles(&self) -> &[String] {
        &self.profiles
    }

    /// The name of a row's device profile, as a path relative to the file.
    #[must_use]
    pub fn profile(&self, row: &Row) -> &str {
        self.profiles.get(usize::from(row.profile)).map_or("", String::as_str)
    }

    /// What belongs to one device may stand in one row only. Two associations cannot share a slot either.
    fn find_twice(&self, faults: &mut Faults) {
        let mut order: Vec<&Row> = self.rows.iter().collect();
        let mut check = |column, compare: fn(&Row, &Row) -> Ordering| {
            order.sort_unstable_by(|a, b| compare(a, b).then(a.line.cmp(&b.line)));
            for equal in order.chunk_by(|a, b| compare(a, b).is_eq()) {
                let Some((first, others)) = equal.split_first() else { continue };
                for other in others {
                    faults.add(other.line, column, Reason::Twice { line: first.line });
                }
            }
        };
        check(Column::Dev, |a, b| a.dev.cmp(&b.dev));
        check(Column::Esn, |a, b| a.esn.cmp(&b.esn));
        check(Column::ApTitle, |a, b| title_key(a.title.as_title()).cmp(&title_key(b.title.as_title())));
        check(Column::Sid, |a, b| a.sid.slot().cmp(&b.sid.slot()));
    }
}

/// Equal for titles that mean the same node.
pub(crate) fn title_key(title: ApTitle<'_>) -> (u8, &[u8]) {
    let title = title.canonical();
    (title.form().tag(), title.arcs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PRK: &str = "382f204062cb7af872444ca027585618a0cd023b1dc257727029c2c737e9456a";
    const KEY: &str = "0102030405060708090a0b0c0d0e0f10";

    fn read(rows: &str) -> Result<Shipment, Faults> {
        match Shipment::read(format!("{HEADER}\n{rows}").as_bytes()) {
            Ok(shipment) => Ok(shipment),
            Err(ShipmentError::Faults(faults)) => Err(faults),
            Err(ShipmentError::Io(error)) => panic!("{error}"),
        }
    }

    fn faults(rows: &str) -> Vec<(u64, Option<Column>, Reason)> {
        let faults = read(rows).err().expect("a fault");
        faults.listed().iter().map(|fault| (fault.line, fault.column, fault.reason.clone())).collect()
    }

    #[test]
    fn rows_of_both_kinds_are_read() {
        let shipment = read(&format!(
            "0102030405060708,A1,.1.5,a.toml,profile1,0e520ad3,258,{PRK}\r\n\n\
             \"0102030405060709\",\"A 2\",2.16.124.113620.1.22.0.1.6,\"b, c.toml\",classic,00000001,0,2:{KEY};0:{PRK}"
        ));
        // The second row's second key is too long.
        assert_eq!(shipment.err().unwrap().to_string(), format!("line 4, key: {}", Reason::ClassicKeys));

        let shipment = read(&format!(
            "0102030405060708,A1,.1.5,a.toml,profile1,0e520ad3,258,{PRK}\r\n\n\
             \"0102030405060709\",\"A 2\",2.16.124.113620.1.22.0.1.6,\"b, c.toml\",classic,00000001,0,2:{KEY};0:{KEY}"
        ))
        .unwrap_or_else(|faults| panic!("{faults}"));
        let [first, second] = shipment.rows() else { panic!("two rows") };
        assert_eq!((first.dev.to_string().as_str(), &*first.esn), ("0102030405060708", "A1"));
        assert_eq!((first.sid.0, first.epoch.0, first.line), (0x0e52_0ad3, 258, 2));
        assert_eq!((shipment.profile(first), shipment.profile(second)), ("a.toml", "b, c.toml"));
        assert!(matches!(&first.keys, RowKeys::Profile1(prk) if prk.expose()[..2] == [0x38, 0x2f]));
        assert!(
            matches!(&second.keys, RowKeys::Classic(keys) if keys.get(2).is_some() && keys.get(1).is_none())
        );
        assert_eq!((second.line, &*second.esn), (4, "A 2"));
    }

    #[test]
    fn a_byte_order_mark_is_no_fault() {
        assert!(Shipment::read(format!("\u{feff}{HEADER}\r\n").as_bytes()).is_ok());
    }

    #[test]
    fn without_the_header_nothing_is_read() {
        for text in ["", "dev,esn\n", "dev;esn;aptitle;device_profile;kind;sid;epoch;key\nx"] {
            let Err(ShipmentError::Faults(faults)) = Shipment::read(text.as_bytes()) else {
                panic!("{text}")
            };
            assert_eq!(faults.listed(), [Fault { line: 1, column: None, reason: Reason::Header }]);
        }
    }

    #[test]
    fn each_bad_field_is_named() {
        let good = ["0102030405060708", "A1", ".1.5", "a.toml", "profile1", "0e520ad3", "258", PRK];
        let two_keys = format!("5:{KEY};5:{KEY}");
        let nine_keys = vec![format!("5:{KEY}"); 9].join(";");
        let (long_esn, long_name) = ("x".repeat(65), "x".repeat(1025));
        type Changes<'a> = &'a [(usize, &'a str)];
        let cases: &[(Changes<'_>, Column, Reason)] = &[
            (&[(0, "010203040506070")], Column::Dev, Reason::HexDigits { digits: 16 }),
            (&[(0, "")], Column::Dev, Reason::HexDigits { digits: 16 }),
            (&[(1, "")], Column::Esn, Reason::Esn),
            (&[(1, "ä")], Column::Esn, Reason::Esn),
            (&[(1, &long_esn)], Column::Esn, Reason::Esn),
            (&[(2, "1.5")], Column::ApTitle, Reason::ApTitle),
            (&[(2, ".1.0")], Column::ApTitle, Reason::ApTitleOfMany),
            (&[(2, ".1.0.7")], Column::ApTitle, Reason::ApTitleOfMany),
            (&[(3, "")], Column::DeviceProfile, Reason::ProfileName),
            (&[(3, &long_name)], Column::DeviceProfile, Reason::ProfileName),
            (&[(3, "a\tb")], Column::DeviceProfile, Reason::ProfileName),
            (&[(4, "profile2")], Column::Kind, Reason::Kind),
            (&[(5, "0e520ad")], Column::Sid, Reason::HexDigits { digits: 8 }),
            (&[(5, "8e520ad3")], Column::Sid, Reason::SidTopBit),
            (&[(6, "65536")], Column::Epoch, Reason::Epoch),
            (&[(6, "-1")], Column::Epoch, Reason::Epoch),
            (&[(7, KEY)], Column::Key, Reason::HexDigits { digits: 64 }),
            (&[(4, "classic"), (7, KEY)], Column::Key, Reason::ClassicKeys),
            (
                &[(4, "classic"), (7, "256:0102030405060708090a0b0c0d0e0f10")],
                Column::Key,
                Reason::ClassicKeys,
            ),
            (&[(4, "classic"), (7, "")], Column::Key, Reason::ClassicKeys),
            (&[(4, "classic"), (7, &nine_keys)], Column::Key, Reason::ClassicKeys),
            (&[(4, "classic"), (7, &two_keys)], Column::Key, Reason::ClassicKeyId),
        ];
        for (changes, column, reason) in cases {
            let mut row = good;
            for (place, text) in *changes {
                row[*place] = text;
            }
            assert_eq!(faults(&row.join(",")), [(2, Some(*column), reason.clone())], "{changes:?}");
        }
        let short = good[..7].join(",");
        let long = [&good[..], &["x"]].concat().join(",");
        assert_eq!(faults(&short), [(2, None, Reason::Fields { found: 7 })]);
        assert_eq!(faults(&long), [(2, None, Reason::Fields { found: 9 })]);
        assert_eq!(faults(&short.replace("A1", "A\"1")), [(2, None, Reason::Quote)]);
        assert_eq!(faults(&"x".repeat(5000)), [(2, None, Reason::LineLength)]);
    }

    #[test]
    fn all_faults_of_all_rows_are_named_at_once() {
        let rows = format!(
            "01,A1,.1.5,a.toml,profile1,x,258,{PRK}\n\
             0102030405060708,A1,.1.5,a.toml,profile1,0e520ad3,258,{PRK}\n\
             0102030405060709,A2,.1.6,a.toml,classic,00000001,0,{PRK}\n"
        );
        let expected = [
            (2, Some(Column::Dev), Reason::HexDigits { digits: 16 }),
            (2, Some(Column::Sid), Reason::HexDigits { digits: 8 }),
            (4, Some(Column::Key), Reason::ClassicKeys),
        ];
        assert_eq!(faults(&rows), expected);
    }

    #[test]
    fn what_stands_in_two_rows_is_named_at_the_later() {
        let rows = format!(
            "0102030405060708,A1,.1.5,a.toml,profile1,0e520ad3,258,{PRK}\n\
             0102030405060709,A1,.1.6,a.toml,profile1,0e520ad4,258,{PRK}\n\
             0102030405060708,A3,2.16.124.113620.1.22.0.1.5,a.toml,profile1,0f520ad4,258,{PRK}\n"
        );
        let expected = [
            (3, Some(Column::Esn), Reason::Twice { line: 2 }),
            (4, Some(Column::Dev), Reason::Twice { line: 2 }),
            (4, Some(Column::ApTitle), Reason::Twice { line: 2 }),
            // Another generation, but the same slot.
            (4, Some(Column::Sid), Reason::Twice { line: 3 }),
        ];
        assert_eq!(faults(&rows), expected);
    }

    #[test]
    fn too_many_profiles_are_refused() {
        let row = |n: usize| format!("{n:016x},E{n},.1.{},p{n}.toml,profile1,{n:08x},1,{PRK}\n", n + 1);
        let rows = |count| (0..count).map(row).collect::<String>();
        assert!(read(&rows(PROFILES_MAX)).is_ok());
        let expected = [(258, Some(Column::DeviceProfile), Reason::Profiles)];
        assert_eq!(faults(&rows(PROFILES_MAX + 1)), expected);
    }

    #[test]
    fn no_fault_repeats_a_field() {
        // Every column in turn holds a key with a digit too many.
        let key = format!("{PRK}0");
        for place in 0..8 {
            let mut row = ["0102030405060708", "A1", ".1.5", "a.toml", "profile1", "0e520ad3", "258", "?"];
            row[place] = &key;
            let faults = read(&row.join(",")).err().unwrap();
            assert!(!format!("{faults} {faults:?}").contains(&PRK[..8]), "{faults}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(octets in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = Shipment::read(&octets[..]);
            let _ = Shipment::read(&[HEADER.as_bytes(), b"\n", &octets].concat()[..]);
        }

        #[test]
        fn reading_rows_never_panics(
            rows in proptest::collection::vec(
                "([0-9a-f]{16}|[^,]{0,9}),(E[0-9]|\"[^\"]\"?),(\\.[0-2]\\.[0-3]|[.0-9]{0,9}),p[0-9]?,\
                 (profile1|classic|x),(0000000[0-9]|[0-9a-f]{8}),[0-9]{1,6},([0-9]:[0-9a-f]{32};?|[0-9a-f]{64})",
                0..20,
            )
        ) {
            let _ = read(&rows.join("\n"));
        }
    }
}
