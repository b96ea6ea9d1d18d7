//! What is sealed of an association, octet for octet; its `sid` and `dev` stand before it, authenticated.
//!
//! ```text
//! epoch    u16   the active one
//! kind     u8    1 profile 1, 2 classic; top bit: gone, no keys follow
//! flags    u8    bit 0: its key came in a file, for a lab; 1: proven; 2: retired; 3: revoked; 4: gated
//! until    u64   Unix seconds: a retired one is opened until then
//! profile  32    SHA-256 of the device profile
//! title    u8 length, then tag, length and arcs of the ApTitle
//! esn      u8 length, then ASCII
//! keys     profile 1: newest issued epoch u16, campaign u32, PRK_out 32, K_up 16, K_dn 16, Common_IV 13,
//!          retiring (epoch u16, until u64, K_up 16, Common_IV 13)*; classic: (key id 1, key 16)*
//! ```
//!
//! The current keys stand beside PRK_out, so that a start derives nothing. Integers are big-endian. Version 1
//! had no `until` and of a profile-1 device only PRK_out and the three that follow.

use c1222::ApTitle;
use seal::association::RETIRING_MAX;
use seal::ids::{Dev, Epoch, Sid};
use seal::oscore::CommonIv;
use seal::schedule::{self, AssociationKeys};
use seal::secret::{Key128, Prk};

use crate::classic::ClassicKeys;
use crate::device::{Kind, ProfileId, Standing};
use crate::shipment::{CLASSIC_KEYS_MAX, ESN_OCTETS_MAX, Row, RowKeys};

/// Version of this layout; authenticated with each record.
pub(crate) const VERSION: u8 = 2;
/// The layout before, still read.
pub(crate) const VERSION_1: u8 = 1;

const GONE: u8 = 0x80;
const LAB: u8 = 1;
const PROVED: u8 = 2;
const RETIRED: u8 = 4;
const REVOKED: u8 = 8;
const GATED: u8 = 16;

const ACTIVE_KEYS: usize = 2 + 4 + 32 + 16 + 16 + 13;
const RETIRING: usize = 2 + 8 + 16 + 13;
const CLASSIC_KEY: usize = 1 + 16;
const PROFILE1_KEYS: usize = ACTIVE_KEYS + RETIRING_MAX * RETIRING;
const CLASSIC_KEYS: usize = CLASSIC_KEYS_MAX * CLASSIC_KEY;
const KEYS_MAX: usize = if PROFILE1_KEYS > CLASSIC_KEYS { PROFILE1_KEYS } else { CLASSIC_KEYS };

/// No record is longer.
pub(crate) const OCTETS_MAX: usize =
    2 + 2 + 8 + 32 + 1 + (2 + ApTitle::LEN_MAX) + 1 + ESN_OCTETS_MAX + KEYS_MAX;

/// The keys of an association.
pub enum Keys {
    /// Those of profile 1.
    Profile1 {
        /// PRK_out of the active epoch, for the next one.
        prk: Prk,
        /// The active epoch's traffic keys.
        keys: AssociationKeys,
        /// The newest epoch that was issued: those after the active one are candidates.
        issued: Epoch,
        /// The campaign that issued it.
        campaign: u32,
        /// Epochs before the active one that are still opened, oldest first.
        retiring: Vec<Retiring>,
    },
    /// EAX' keys.
    Classic(ClassicKeys),
}

/// What opens upstream frames of an epoch that another followed.
pub struct Retiring {
    /// The epoch.
    pub epoch: Epoch,
    /// K_up.
    pub up: Key128,
    /// Common_IV.
    pub common_iv: CommonIv,
    /// From this Unix second on it is not opened any more.
    pub until: u64,
}

/// A record without its keys.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub(crate) epoch: Epoch,
    pub(crate) kind: Kind,
    /// Its keys are erased.
    pub(crate) gone: bool,
    /// The key came in a shipment file, for a lab; registration replaces it.
    pub(crate) lab: bool,
    pub(crate) proved: bool,
    pub(crate) retired: bool,
    pub(crate) revoked: bool,
    /// Of a restored state: its frames count from the proof of a new challenge on.
    pub(crate) gated: bool,
    pub(crate) until: u64,
    pub(crate) profile: ProfileId,
    pub(crate) title: ApTitle<'a>,
    pub(crate) esn: &'a str,
}

impl<'a> Head<'a> {
    /// An association in epoch 0 that is not proven.
    pub(crate) fn new(kind: Kind, profile: ProfileId, title: ApTitle<'a>, esn: &'a str) -> Self {
        Self {
            epoch: Epoch(0),
            kind,
            gone: false,
            lab: false,
            proved: false,
            retired: false,
            revoked: false,
            gated: false,
            until: 0,
            profile,
            title,
            esn,
        }
    }

    /// How the association stands.
    pub(crate) fn standing(&self) -> Standing {
        match self {
            Self { revoked: true, .. } => Standing::Revoked,
            Self { gone: true, .. } => Standing::Gone,
            Self { retired: true, .. } => Standing::Retired,
            Self { proved: true, .. } => Standing::Proved,
            _ => Standing::Fresh,
        }
    }
}

/// A record, read in place.
pub(crate) struct Record<'a> {
    pub(crate) sid: Sid,
    pub(crate) dev: Dev,
    pub(crate) head: Head<'a>,
    version: u8,
    keys: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads what was sealed of this association; `None` when it makes no sense.
    pub(crate) fn read(version: u8, sid: Sid, dev: Dev, mut octets: &'a [u8]) -> Option<Self> {
        let octets = &mut octets;
        let epoch = Epoch(u16::from_be_bytes(*take(octets)?));
        let [kind, flags] = *take(octets)?;
        let until = if version == VERSION_1 { 0 } else { u64::from_be_bytes(*take(octets)?) };
        let profile = ProfileId(*take(octets)?);
        let title = ApTitle::decode(take_counted(octets)?).ok()?;
        let esn = std::str::from_utf8(take_counted(octets)?).ok()?;
        let head = Head {
            epoch,
            kind: Kind::from_octet(kind & !GONE)?,
            gone: kind & GONE != 0,
            lab: flags & LAB != 0,
            // Before registrations, what had a record had its key from elsewhere.
            proved: flags & PROVED != 0 || version == VERSION_1,
            retired: flags & RETIRED != 0,
            revoked: flags & REVOKED != 0,
            gated: flags & GATED != 0,
            until,
            profile,
            title,
            esn,
        };
        Some(Self { sid, dev, head, version, keys: octets })
    }

    /// The keys, copied out; `None` of a record that is gone, too.
    pub(crate) fn keys(&self) -> Option<Keys> {
        let mut octets = self.keys;
        match self.head.kind {
            _ if self.head.gone => None,
            Kind::Profile1 => self.profile1(&mut octets),
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

    fn profile1(&self, octets: &mut &[u8]) -> Option<Keys> {
        let (issued, campaign) = match self.version {
            VERSION_1 => (self.head.epoch, 0),
            _ => (Epoch(u16::from_be_bytes(*take(octets)?)), u32::from_be_bytes(*take(octets)?)),
        };
        let prk = Prk::from_octets(*take(octets)?);
        let up = Key128::from_octets(*take(octets)?);
        let dn = Key128::from_octets(*take(octets)?);
        let keys = AssociationKeys { up, dn, common_iv: *take(octets)? };
        // Room for all at once: a growing vector would leave keys behind.
        let mut retiring = Vec::with_capacity(octets.len().div_ceil(RETIRING).min(RETIRING_MAX));
        while !octets.is_empty() && retiring.len() < RETIRING_MAX {
            retiring.push(Retiring {
                epoch: Epoch(u16::from_be_bytes(*take(octets)?)),
                until: u64::from_be_bytes(*take(octets)?),
                up: Key128::from_octets(*take(octets)?),
                common_iv: *take(octets)?,
            });
        }
        octets.is_empty().then_some(Keys::Profile1 { prk, keys, issued, campaign, retiring })
    }
}

/// Writes a record over what `out` holds; one that is gone has no keys. `out` must have room for
/// [`OCTETS_MAX`] octets: growing it would leave keys behind in freed memory.
pub(crate) fn write(out: &mut Vec<u8>, head: &Head<'_>, keys: Option<&Keys>) {
    write_head(out, head);
    match keys {
        None => {}
        Some(Keys::Profile1 { prk, keys, issued, campaign, retiring }) => {
            write_active(out, *issued, *campaign, prk, keys);
            for old in retiring.iter().take(RETIRING_MAX) {
                out.extend_from_slice(&old.epoch.0.to_be_bytes());
                out.extend_from_slice(&old.until.to_be_bytes());
                out.extend_from_slice(old.up.expose());
                out.extend_from_slice(&old.common_iv);
            }
        }
        Some(Keys::Classic(keys)) => write_classic(out, keys),
    }
}

/// Writes the record of a delivered device, in the same way.
pub(crate) fn write_row(out: &mut Vec<u8>, row: &Row, profile: ProfileId) {
    let kind = row.keys.kind();
    let title = row.title.as_title();
    let head = Head {
        epoch: row.epoch,
        lab: kind == Kind::Profile1,
        proved: true,
        ..Head::new(kind, profile, title, &row.esn)
    };
    write_head(out, &head);
    match &row.keys {
        RowKeys::Profile1(prk) => write_active(out, row.epoch, 0, prk, &schedule::derive(prk, row.sid)),
        RowKeys::Classic(keys) => write_classic(out, keys),
    }
}

/// Writes the record of an association that a registration made, in the same way.
pub(crate) fn write_registered(out: &mut Vec<u8>, sid: Sid, head: &Head<'_>, prk: &Prk) {
    write_head(out, head);
    write_active(out, head.epoch, 0, prk, &schedule::derive(prk, sid));
}

fn write_head(out: &mut Vec<u8>, head: &Head<'_>) {
    let flag = |set, flag| if set { flag } else { 0 };
    let flags = flag(head.lab, LAB)
        | flag(head.proved, PROVED)
        | flag(head.retired, RETIRED)
        | flag(head.revoked, REVOKED)
        | flag(head.gated, GATED);
    let mut title = Vec::with_capacity(ApTitle::LEN_MAX + 2);
    head.title.write(&mut title);
    out.clear();
    out.extend_from_slice(&head.epoch.0.to_be_bytes());
    out.extend_from_slice(&[head.kind.octet() | flag(head.gone, GONE), flags]);
    out.extend_from_slice(&head.until.to_be_bytes());
    out.extend_from_slice(&head.profile.0);
    put_counted(out, &title);
    put_counted(out, head.esn.as_bytes());
}

fn write_active(out: &mut Vec<u8>, issued: Epoch, campaign: u32, prk: &Prk, keys: &AssociationKeys) {
    out.extend_from_slice(&issued.0.to_be_bytes());
    out.extend_from_slice(&campaign.to_be_bytes());
    out.extend_from_slice(prk.expose());
    out.extend_from_slice(keys.up.expose());
    out.extend_from_slice(keys.dn.expose());
    out.extend_from_slice(&keys.common_iv);
}

fn write_classic(out: &mut Vec<u8>, keys: &ClassicKeys) {
    for (id, key) in keys.iter() {
        out.push(id);
        out.extend_from_slice(key.expose());
    }
}

pub(crate) fn take<'a, const N: usize>(octets: &mut &'a [u8]) -> Option<&'a [u8; N]> {
    let (head, rest) = octets.split_first_chunk()?;
    *octets = rest;
    Some(head)
}

pub(crate) fn take_counted<'a>(octets: &mut &'a [u8]) -> Option<&'a [u8]> {
    let [count] = *take(octets)?;
    let (head, rest) = octets.split_at_checked(usize::from(count))?;
    *octets = rest;
    Some(head)
}

/// Titles and serial numbers are shorter than 256 octets.
pub(crate) fn put_counted(out: &mut Vec<u8>, octets: &[u8]) {
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
        write_row(&mut out, row, ProfileId([7; 32]));
        out
    }

    #[test]
    fn records_read_back_with_derived_keys() {
        for row in rows() {
            let octets = written(&row);
            let record = Record::read(VERSION, row.sid, row.dev, &octets).unwrap();
            let head = record.head;
            assert_eq!((record.sid, record.dev, head.epoch), (row.sid, row.dev, row.epoch));
            assert_eq!((head.esn, head.kind), (&*row.esn, row.keys.kind()));
            assert_eq!((head.title, head.profile), (row.title.as_title(), ProfileId([7; 32])));
            assert_eq!(head.lab, row.keys.kind() == Kind::Profile1);
            assert_eq!(head.standing(), Standing::Proved);
            match record.keys().unwrap() {
                Keys::Profile1 { prk, keys, issued, campaign: 0, retiring } => {
                    assert!(issued == row.epoch && retiring.is_empty());
                    // tests/vectors/profile/key-schedule.json, first row.
                    assert_eq!(prk.expose()[..2], [0x38, 0x2f]);
                    assert_eq!(keys.up.expose()[..4], [0x63, 0xe2, 0x3f, 0x57]);
                    assert_eq!(keys.dn.expose()[..4], [0x87, 0x87, 0x94, 0xa0]);
                    assert_eq!(keys.common_iv[..4], [0xa7, 0xcd, 0x7b, 0x97]);
                }
                Keys::Classic(keys) => assert_eq!(keys.get(5).unwrap().expose(), &[5; 16]),
                Keys::Profile1 { .. } => panic!("a campaign"),
            }
        }
    }

    /// A record of version 1, of the row of profile 1.
    pub(crate) fn version_1(row: &Row) -> Vec<u8> {
        let RowKeys::Profile1(prk) = &row.keys else { panic!("a profile-1 device") };
        let mut out = Vec::new();
        write_head(
            &mut out,
            &Head {
                lab: true,
                ..Head::new(Kind::Profile1, ProfileId([7; 32]), row.title.as_title(), &row.esn)
            },
        );
        out.drain(4..12);
        out[..2].copy_from_slice(&row.epoch.0.to_be_bytes());
        let keys = schedule::derive(prk, row.sid);
        out.extend([&prk.expose()[..], keys.up.expose(), keys.dn.expose(), &keys.common_iv].concat());
        out
    }

    #[test]
    fn version_1_is_read() {
        let [row, _] = rows();
        let row = Row { epoch: Epoch(258), ..row };
        let octets = version_1(&row);
        let record = Record::read(VERSION_1, row.sid, row.dev, &octets).unwrap();
        assert_eq!((record.head.epoch, record.head.standing()), (Epoch(258), Standing::Proved));
        let Some(Keys::Profile1 { prk, issued, .. }) = record.keys() else { panic!("its keys") };
        assert_eq!((prk.expose()[0], issued), (0x38, Epoch(258)));
        assert!(
            Record::read(VERSION, row.sid, row.dev, &octets).is_none_or(|record| record.keys().is_none())
        );
    }

    #[test]
    fn retiring_epochs_and_standings_read_back() {
        let [row, _] = rows();
        let octets = written(&row);
        let read = Record::read(VERSION, row.sid, row.dev, &octets).unwrap();
        let Some(Keys::Profile1 { prk, keys, .. }) = read.keys() else { panic!("its keys") };
        let old = |epoch: u16| Retiring {
            epoch: Epoch(epoch),
            up: Key128::from_octets([epoch as u8; 16]),
            common_iv: [7; 13],
            until: u64::from(epoch) << 32,
        };
        let retiring = vec![old(3), old(5)];
        let keys = Keys::Profile1 { prk, keys, issued: Epoch(9), campaign: 77, retiring };
        let head = Head { epoch: Epoch(6), retired: true, until: 1 << 40, ..read.head };
        let mut out = Vec::new();
        write(&mut out, &head, Some(&keys));
        let read = Record::read(VERSION, row.sid, row.dev, &out).unwrap();
        assert_eq!((read.head.standing(), read.head.until), (Standing::Retired, 1 << 40));
        let Some(Keys::Profile1 { issued, campaign, retiring, .. }) = read.keys() else { panic!("its keys") };
        assert_eq!((issued, campaign, retiring.len()), (Epoch(9), 77, 2));
        assert_eq!((retiring[1].epoch, retiring[1].until), (Epoch(5), 5 << 32));
        for (head, standing) in [
            (Head { proved: false, retired: false, ..head }, Standing::Fresh),
            (Head { gone: true, ..head }, Standing::Gone),
            (Head { gone: true, revoked: true, ..head }, Standing::Revoked),
        ] {
            write(&mut out, &head, if head.gone { None } else { Some(&keys) });
            let read = Record::read(VERSION, row.sid, row.dev, &out).unwrap();
            assert_eq!((read.head.standing(), read.keys().is_none()), (standing, head.gone));
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
            for version in [VERSION_1, VERSION] {
                let record = Record::read(version, Sid(0), Dev([0; 8]), &octets);
                let _ = record.map(|record| record.keys().is_some());
            }
        }

        #[test]
        fn a_cut_record_has_no_keys(which in 0_usize..2, cut in 0_usize..400) {
            let octets = written(&rows()[which]);
            // Without some of its keys a classic record is still a good one.
            let cut = cut % (octets.len() - if which == 0 { 0 } else { 8 * CLASSIC_KEY });
            let record = Record::read(VERSION, Sid(0), Dev([0; 8]), &octets[..cut]);
            prop_assert!(record.is_none_or(|record| record.keys().is_none()));
        }
    }
}
