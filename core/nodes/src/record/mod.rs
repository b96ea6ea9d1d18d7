//! The records that the head-end keeps in its journal, octet for octet.
//!
//! Integers are big-endian. A report's record holds its window change: sid, epoch and seq. What holds a key
//! is sealed by the key of its partition. Readers skip the kinds that they do not know.

use node::{Batch, Frame};

mod association;
mod audit;
mod ctr;
mod desk;
mod due;
mod gated;
mod group_key;
mod issued;
mod promoted;
mod proved;
mod refused;
mod report;
mod reservation;
mod restored;
mod retired;
mod revoked;
mod signed;

pub use association::Association;
pub use audit::Audit;
pub use ctr::Ctr;
pub use desk::DeskEntry;
pub use due::Due;
pub use gated::Gated;
pub use group_key::GroupKey;
pub use issued::Issued;
pub use promoted::Promoted;
pub use proved::Proved;
pub use refused::Refused;
pub use report::{Origin, REPORT_HEAD, Report};
pub use reservation::Reservation;
pub use restored::Restored;
pub use retired::Retired;
pub use revoked::Revoked;
pub use signed::Signed;

/// Kind octet of [`Report`].
pub const REPORT: u8 = 1;
/// Kind octet of [`Reservation`].
pub const RESERVATION: u8 = 2;
/// A registered association, sealed as it stands in the key store.
pub const ASSOCIATION: u8 = 3;
/// A candidate epoch was proven.
pub const PROMOTED: u8 = 4;
/// Epochs were issued.
pub const ISSUED: u8 = 5;
/// A new association was proven.
pub const PROVED: u8 = 6;
/// An association was replaced.
pub const RETIRED: u8 = 7;
/// A device was revoked.
pub const REVOKED: u8 = 8;
/// A group's key of one epoch, sealed.
pub const GROUP_KEY: u8 = 9;
/// A command was asked for.
pub const INTENT: u8 = 10;
/// A command was signed.
pub const SIGNED: u8 = 11;
/// A command was refused by the signer.
pub const REFUSED: u8 = 12;
/// A command ended.
pub const CLOSED: u8 = 13;
/// A command was approved.
pub const APPROVAL: u8 = 14;
/// A group changed.
pub const GROUP: u8 = 15;
/// An epoch campaign went on.
pub const CAMPAIGN: u8 = 16;
/// An audit entry, sealed.
pub const AUDIT: u8 = 17;
/// Command counters were reserved.
pub const CTR: u8 = 18;
/// A restore closed an association.
pub const GATED: u8 = 20;
/// A backup was restored.
pub const RESTORED: u8 = 21;
/// An association should leave its epoch.
pub const DUE: u8 = 22;

/// The kind octet of a record on its way to the journal, where it stands in the descriptor's tag.
#[must_use]
pub fn kind_of(frame: &Frame) -> u8 {
    (frame.tag & 0xff) as u8
}

/// The descriptor of a record of this kind.
#[must_use]
pub fn descriptor(kind: u8) -> Frame {
    Frame { tag: u64::from(kind), ..Frame::default() }
}

/// A record that is written whole.
pub trait Record {
    /// Its kind octet.
    const KIND: u8;

    /// Appends its octets.
    fn write(&self, out: &mut Vec<u8>);
}

/// Appends a record to a batch for the journal.
pub fn push<R: Record>(batch: &mut Batch, record: &R) {
    batch.push_with(descriptor(R::KIND), |data| record.write(data));
}

#[cfg(test)]
mod tests {
    use super::*;
    use commands::front::CommandId;
    use proptest::prelude::*;
    use seal::command::Addressee;
    use seal::ids::{Dev, Epoch, Gid, Sid};
    use std::fmt::Debug;

    /// Reads back what it writes; what is cut before `fixed` octets is none.
    fn check<R: Record + Debug + PartialEq>(
        record: &R,
        fixed: usize,
        reads: impl Fn(&[u8]) -> Option<bool>,
    ) -> Result<(), TestCaseError> {
        let mut batch = Batch::default();
        push(&mut batch, record);
        let frame = batch.frames[0];
        prop_assert_eq!(kind_of(&frame), R::KIND);
        let octets = batch.octets(&frame).unwrap();
        prop_assert_eq!(reads(octets), Some(true), "{:?}", record);
        for length in 0..fixed {
            prop_assert_eq!(reads(&octets[..length]), None);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_record_reads_back_and_cut_ones_are_none(
            id in 0..1_u32 << 31, other in prop::option::of(0..1_u32 << 31), dev: [u8; 8], epoch: u16,
            number: u32, time: u64, sealed: Vec<u8>,
        ) {
            let (sid, replaces, dev, epoch) = (Sid(id), other.map(Sid), Dev(dev), Epoch(epoch));
            let gid = Gid(id | 1 << 31);
            let reservation = Reservation { sid, epoch, floor: number, day: epoch.0 };
            check(&reservation, 12, |octets| Reservation::read(octets).map(|read| read == reservation))?;
            prop_assert_eq!(reservation.gid(), None);
            prop_assert_eq!(Reservation { sid: Sid(gid.0), ..reservation }.gid(), Some(gid));
            let association = Association { sid, dev, replaces, sealed: &sealed };
            check(&association, 16, |octets| Association::read(octets).map(|read| read == association))?;
            let promoted = Promoted { sid, epoch, at: time };
            check(&promoted, 14, |octets| Promoted::read(octets).map(|read| read == promoted))?;
            let issued = Issued { sid, epoch, campaign: number };
            check(&issued, 10, |octets| Issued::read(octets).map(|read| read == issued))?;
            let proved = Proved { sid, dev, replaces };
            check(&proved, 16, |octets| Proved::read(octets).map(|read| read == proved))?;
            let retired = Retired { sid, until: time };
            check(&retired, 12, |octets| Retired::read(octets).map(|read| read == retired))?;
            let revoked = Revoked { dev, sid };
            check(&revoked, 12, |octets| Revoked::read(octets).map(|read| read == revoked))?;
            let gated = Gated { sid, active: epoch, newest: Epoch(!epoch.0), floor: number };
            check(&gated, 12, |octets| Gated::read(octets).map(|read| read == gated))?;
            let restored = Restored { incarnation: time, days: number, at: time };
            check(&restored, 20, |octets| Restored::read(octets).map(|read| read == restored))?;
            for why in commands::desk::Why::ALL {
                let due = Due { sid, dev, epoch, why };
                check(&due, 15, |octets| Due::read(octets).map(|read| read == due))?;
            }
            let key = GroupKey { gid, epoch, activate_at: number, sealed: &sealed };
            check(&key, 10, |octets| GroupKey::read(octets).map(|read| read == key))?;
            let command = CommandId([dev.0, time.to_be_bytes()].concat().try_into().unwrap());
            for addressee in [Addressee::Device(dev), Addressee::Group(gid)] {
                let ctr = Ctr(commands::signer::Reservation { skid: 1, addressee, ctr: number, id: command, at: time });
                check(&ctr, 38, |octets| Ctr::read(octets).map(|read| read == ctr))?;
            }
            let signed = Signed { id: command, octets: &sealed };
            check(&signed, 16, |octets| Signed::read(octets).map(|read| read == signed))?;
            let refused = Refused { id: command, code: "SEC-SEQ" };
            check(&refused, 16, |octets| Refused::read(octets).map(|read| read == refused))?;
        }
    }
}
