//! What is sealed of a device's record, octet for octet; its `sid` and `dev` stand before it, authenticated.
//!
//! ```text
//! epoch    u16
//! kind     u8    1 profile 1, 2 classic
//! flags    u8    bit 0: its key came in a file, for a lab
//! profile  32    SHA-256 of the device profile
//! title    u8 length, then tag, length and arcs of the ApTitle
//! esn      u8 length, then ASCII
//! keys     profile 1: PRK_out 32, K_up 16, K_dn 16, Common_IV 13; classic: (key id 1, key 16)*
//! ```
//!
//! The current keys stand beside PRK_out, so that a start derives nothing. Integers are big-endian.

use c1222::ApTitle;
use seal::ids::{Dev, Epoch, Sid};
use seal::schedule::{self, AssociationKeys};
use seal::secret::{Key128, Prk};

use crate::classic::ClassicKeys;
use crate::device::{Kind, ProfileId};
use crate::shipment::{CLASSIC_KEYS_MAX, ESN_OCTETS_MAX, Row, RowKeys};

/// Version of this layout; authenticated with each record.
pub(crate) const VERSION: u8 = 1;

/// The key came in a shipment file, for a lab; registration replaces it.
const TEST_KEY: u8 = 1;

const PROFILE1_KEYS: usize = 32 + 16 + 16 + 13;
const CLASSIC_KEY: usize = 1 + 16;

/// No record is longer.
pub(crate) const OCTETS_MAX: usize =
    2 + 2 + 32 + 1 + (2 + ApTitle::LEN_MAX) + 1 + ESN_OCTETS_MAX + CLASSIC_KEYS_MAX * CLASSIC_KEY;

const _: () = assert!(PROFILE1_KEYS <= CLASSIC_KEYS_MAX * CLASSIC_KEY, "OCTETS_MAX counts the longer keys");

/// A device's keys.
pub enum Keys {
    /// Those of profile 1 in the record's epoch.
    Profile1 {
        /// PRK_out of the epoch, for the next one.
        prk: Prk,
        /// Its traffic keys, derived when the record was made.
        keys: AssociationKeys,
    },
    /// EAX' keys.
    Classic(ClassicKeys),
}

/// A record, read in place.
pub(crate) struct Record<'a> {
    pub(crate) sid: Sid,
    pub(crate) dev: Dev,
    pub(crate) epoch: Epoch,
    pub(crate) kind: Kind,
    pub(crate) test_key: bool,
    pub(crate) profile: ProfileId,
    pub(crate) title: ApTitle<'a>,
    /// The title with tag and length.
    pub(crate) title_octets: &'a [u8],
    pub(crate) esn: &'a str,
    keys: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads what was sealed for this device; `None` when it makes no sense.
    pub(crate) fn read(sid: Sid, dev: Dev, mut octets: &'a [u8]) -> Option<Self> {
        let epoch = Epoch(u16::from_be_bytes(*take(&mut octets)?));
        let [kind, flags] = *take(&mut octets)?;
        let profile = ProfileId(*take(&mut octets)?);
        let title_octets = take_counted(&mut octets)?;
        let esn = take_counted(&mut octets)?;
        Some(Self {
            sid,
            dev,
            epoch,
            kind: Kind::from_octet(kind)?,
            test_key: flags & TEST_KEY != 0,
            profile,
            title: ApTitle::decode(title_octets).ok()?,
            title_octets,
            esn: std::str::from_utf8(esn).ok()?,
            keys: octets,
        })
    }

    /// The keys, copied out.
    pub(crate) fn keys(&self) -> Option<Keys> {
        let mut octets = self.keys;
        match self.kind {
            Kind::Profile1 => {
                let prk = Prk::from_octets(*take(&mut octets)?);
                let up = Key128::from_octets(*take(&mut octets)?);
                let dn = Key128::from_octets(*take(&mut octets)?);
                let common_iv = *take(&mut octets)?;
                let keys = AssociationKeys { up, dn, common_iv };
                octets.is_empty().then_some(Keys::Profile1 { prk, keys })
            }
            Kind::Classic => {
                let key = |octets: &[u8]| {
                    let (id, key) = octets.split_first()?;
                    Some((*id, Key128::from_octets(*key.first_chunk()?)))
                };
                let keys = octets.chunks_exact(CLASSIC_KEY);
                let whole = keys.remainder().is_empty();
                let keys = keys.map(key).collect::<Option<_>>().and_then(ClassicKeys::new)?;
                whole.then_some(Keys::Classic(keys))
            }
        }
    }
}

/// Writes the record of a delivered device over what `out` holds. `out` must have room for [`OCTETS_MAX`]
/// octets: growing it would leave keys behind in freed memory.
pub(crate) fn write(out: &mut Vec<u8>, row: &Row, profile: ProfileId) {
    let kind = row.keys.kind();
    let flags = if kind == Kind::Profile1 { TEST_KEY } else { 0 };
    let mut title = Vec::with_capacity(ApTitle::LEN_MAX + 2);
    row.title.as_title().write(&mut title);
    out.clear();
    out.extend_from_slice(&row.epoch.0.to_be_bytes());
    out.extend_from_slice(&[kind.octet(), flags]);
    out.extend_from_slice(&profile.0);
    put_counted(out, &title);
    put_counted(out, row.esn.as_bytes());
    match &row.keys {
        RowKeys::Profile1(prk) => {
            let keys = schedule::derive(prk, row.sid);
            out.extend_from_slice(prk.expose());
            out.extend_from_slice(keys.up.expose());
            out.extend_from_slice(keys.dn.expose());
            out.extend_from_slice(&keys.common_iv);
        }
        RowKeys::Classic(keys) => {
            for (id, key) in keys.iter() {
                out.push(id);
                out.extend_from_slice(key.expose());
            }
        }
    }
}

fn take<'a, const N: usize>(octets: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, rest) = octets.split_first_chunk()?;
    *octets = rest;
    Some(head)
}

fn take_counted<'a>(octets: &mut &'a [u8]) -> Option<&'a [u8]> {
    let [count] = *take(octets)?;
    let (head, rest) = octets.split_at_checked(usize::from(count))?;
    *octets = rest;
    Some(head)
}

/// Titles and serial numbers are shorter than 256 octets.
fn put_counted(out: &mut Vec<u8>, octets: &[u8]) {
    out.push(u8::try_from(octets.len()).unwrap_or(u8::MAX));
    out.extend_from_slice(octets);
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use c1222::ApTitleBuf;
    use proptest::prelude::*;

    fn row(title: &str, keys: RowKeys) -> Row {
        Row {
            line: 2,
            dev: Dev([1, 2, 3, 4, 5, 6, 7, 8]),
            esn: "E 1".into(),
            title: ApTitleBuf::parse(title).unwrap(),
            profile: 0,
            sid: Sid(0x0e52_0ad3),
            epoch: Epoch(0),
            keys,
        }
    }

    /// A row of each kind, with all the keys that it may have.
    pub(crate) fn rows() -> [Row; 2] {
        let prk = "382f204062cb7af872444ca027585618a0cd023b1dc257727029c2c737e9456a";
        let key = |octet| Key128::from_octets([octet; 16]);
        let longest = ".9223372036854775807".repeat(7);
        [
            row(&longest, RowKeys::Profile1(Prk::from_hex(prk).unwrap())),
            row(".7", RowKeys::Classic(ClassicKeys::new((0..8).map(|id| (id, key(id))).collect()).unwrap())),
        ]
    }

    fn written(row: &Row) -> Vec<u8> {
        let mut out = vec![1, 2, 3];
        write(&mut out, row, ProfileId([7; 32]));
        out
    }

    #[test]
    fn records_read_back_with_derived_keys() {
        for row in rows() {
            let octets = written(&row);
            let record = Record::read(row.sid, row.dev, &octets).unwrap();
            assert_eq!((record.sid, record.dev, record.epoch), (row.sid, row.dev, row.epoch));
            assert_eq!((record.esn, record.kind), (&*row.esn, row.keys.kind()));
            assert_eq!((record.title, record.profile), (row.title.as_title(), ProfileId([7; 32])));
            assert_eq!(record.test_key, row.keys.kind() == Kind::Profile1);
            match record.keys().unwrap() {
                Keys::Profile1 { prk, keys } => {
                    // tests/vectors/profile/key-schedule.json, first row.
                    assert_eq!(prk.expose()[..2], [0x38, 0x2f]);
                    assert_eq!(keys.up.expose()[..4], [0x63, 0xe2, 0x3f, 0x57]);
                    assert_eq!(keys.dn.expose()[..4], [0x87, 0x87, 0x94, 0xa0]);
                    assert_eq!(keys.common_iv[..4], [0xa7, 0xcd, 0x7b, 0x97]);
                }
                Keys::Classic(keys) => assert_eq!(keys.get(5).unwrap().expose(), &[5; 16]),
            }
        }
    }

    #[test]
    fn no_record_is_longer_than_the_limit() {
        for mut row in rows() {
            row.esn = "x".repeat(ESN_OCTETS_MAX).into();
            row.title = ApTitleBuf::parse(&".1".repeat(ApTitle::LEN_MAX)).unwrap();
            assert!(written(&row).len() <= OCTETS_MAX);
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Record::read(Sid(0), Dev([0; 8]), &octets).map(|record| record.keys().is_some());
        }

        #[test]
        fn a_cut_record_has_no_keys(which in 0_usize..2, cut in 0_usize..400) {
            let octets = written(&rows()[which]);
            // Without some of its keys a classic record is still a good one.
            let cut = cut % (octets.len() - if which == 0 { 0 } else { 8 * CLASSIC_KEY });
            let record = Record::read(Sid(0), Dev([0; 8]), &octets[..cut]);
            prop_assert!(record.is_none_or(|record| record.keys().is_none()));
        }
    }
}
