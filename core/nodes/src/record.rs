//! The records that the head-end keeps in its journal, octet for octet.
//!
//! Integers are big-endian. A report's record holds its window change: sid, epoch and seq. No record
//! here holds a key, so none is sealed.

use node::Frame;
use seal::ids::{Dev, Epoch, Sid};

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

/// Octets of a report's record before its body.
pub const REPORT_HEAD: usize = 32;

/// How a report came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A profile-1 frame of type 1: the body is an EPSEM.
    Report,
    /// A profile-1 frame of type 5: the body is a list of control items.
    Control,
    /// A profile-1 frame that opened, but whose body is neither (SEC-UP-BODY).
    Raw,
    /// A classic (EAX') notification: the body is an EPSEM.
    ClassicReport,
    /// A classic response that no request of ours matches.
    ClassicUnmatched,
}

impl Origin {
    /// The octet in a record.
    #[must_use]
    pub fn octet(self) -> u8 {
        match self {
            Self::Report => 1,
            Self::Control => 5,
            Self::Raw => 0xff,
            Self::ClassicReport => 0x81,
            Self::ClassicUnmatched => 0x82,
        }
    }

    /// The origin of an octet.
    #[must_use]
    pub fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            1 => Some(Self::Report),
            5 => Some(Self::Control),
            0xff => Some(Self::Raw),
            0x81 => Some(Self::ClassicReport),
            0x82 => Some(Self::ClassicUnmatched),
            _ => None,
        }
    }

    /// Whether it came under EAX'.
    #[must_use]
    pub fn is_classic(self) -> bool {
        matches!(self, Self::ClassicReport | Self::ClassicUnmatched)
    }

    /// The word for people and scripts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Report => "report",
            Self::Control => "control",
            Self::Raw => "raw",
            Self::ClassicReport => "classic-report",
            Self::ClassicUnmatched => "classic-unmatched",
        }
    }
}

/// The fixed part of an upstream frame that was opened and accepted; its body follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The association.
    pub sid: Sid,
    /// The end device.
    pub dev: Dev,
    /// The epoch of the frame; for classic devices the key id.
    pub epoch: Epoch,
    /// How it came.
    pub origin: Origin,
    /// `seq` of the frame; for classic devices the calling-AP-invocation-id (A8).
    pub seq: u32,
    /// For classic devices the IV of the message; else 0.
    pub iv: u32,
    /// Wall time of arrival, Unix nanoseconds.
    pub received: u64,
}

impl Report {
    /// The record's octets before the body.
    #[must_use]
    pub fn head(&self) -> [u8; REPORT_HEAD] {
        let mut head = [0; REPORT_HEAD];
        let (sid, rest) = head.split_at_mut(4);
        let (dev, rest) = rest.split_at_mut(8);
        let (epoch, rest) = rest.split_at_mut(2);
        let (origin, rest) = rest.split_at_mut(2);
        let (seq, rest) = rest.split_at_mut(4);
        let (iv, received) = rest.split_at_mut(4);
        sid.copy_from_slice(&self.sid.0.to_be_bytes());
        dev.copy_from_slice(&self.dev.0);
        epoch.copy_from_slice(&self.epoch.0.to_be_bytes());
        origin.copy_from_slice(&[self.origin.octet(), 0]);
        seq.copy_from_slice(&self.seq.to_be_bytes());
        iv.copy_from_slice(&self.iv.to_be_bytes());
        received.copy_from_slice(&self.received.to_be_bytes());
        head
    }

    /// Reads a record's octets: the fixed part and the body. `None` when it is none.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<(Self, &[u8])> {
        let (head, body) = octets.split_first_chunk::<REPORT_HEAD>()?;
        let (sid, rest) = head.split_first_chunk::<4>()?;
        let (dev, rest) = rest.split_first_chunk::<8>()?;
        let (epoch, rest) = rest.split_first_chunk::<2>()?;
        let ([origin, _], rest) = rest.split_first_chunk::<2>()?;
        let (seq, rest) = rest.split_first_chunk::<4>()?;
        let (iv, rest) = rest.split_first_chunk::<4>()?;
        let received = rest.first_chunk::<8>()?;
        let report = Self {
            sid: Sid(u32::from_be_bytes(*sid)),
            dev: Dev(*dev),
            epoch: Epoch(u16::from_be_bytes(*epoch)),
            origin: Origin::from_octet(*origin)?,
            seq: u32::from_be_bytes(*seq),
            iv: u32::from_be_bytes(*iv),
            received: u64::from_be_bytes(*received),
        };
        Some((report, body))
    }

    /// The message id of exports: `dev-epoch-seq`; for classic devices `dev-cKEY-IV-A8`.
    #[must_use]
    pub fn message_id(&self) -> String {
        if self.origin.is_classic() {
            format!("{}-c{}-{:08x}-{}", self.dev, self.epoch.0, self.iv, self.seq)
        } else {
            format!("{}-{}-{}", self.dev, self.epoch.0, self.seq)
        }
    }
}

/// Downstream counters of an association below `floor` may have been used once this is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    /// The association.
    pub sid: Sid,
    /// The epoch that the counter belongs to; for classic devices the key id.
    pub epoch: Epoch,
    /// The first `seq` not reserved; for classic devices the first IV.
    pub floor: u32,
}

impl Reservation {
    /// The record's octets.
    #[must_use]
    pub fn octets(&self) -> [u8; 10] {
        let mut octets = [0; 10];
        let (sid, rest) = octets.split_at_mut(4);
        let (epoch, floor) = rest.split_at_mut(2);
        sid.copy_from_slice(&self.sid.0.to_be_bytes());
        epoch.copy_from_slice(&self.epoch.0.to_be_bytes());
        floor.copy_from_slice(&self.floor.to_be_bytes());
        octets
    }

    /// Reads a record's octets.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let (sid, rest) = octets.split_first_chunk::<4>()?;
        let (epoch, rest) = rest.split_first_chunk::<2>()?;
        let floor = <[u8; 4]>::try_from(rest).ok()?;
        Some(Self {
            sid: Sid(u32::from_be_bytes(*sid)),
            epoch: Epoch(u16::from_be_bytes(*epoch)),
            floor: u32::from_be_bytes(floor),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(origin: Origin) -> Report {
        Report {
            sid: Sid(0x0e52_0ad3),
            dev: Dev([1, 2, 3, 4, 5, 6, 7, 8]),
            epoch: Epoch(258),
            origin,
            seq: 77,
            iv: 9,
            received: u64::MAX - 1,
        }
    }

    #[test]
    fn records_read_back() {
        for origin in
            [Origin::Report, Origin::Control, Origin::Raw, Origin::ClassicReport, Origin::ClassicUnmatched]
        {
            let report = report(origin);
            let mut octets = report.head().to_vec();
            octets.extend_from_slice(b"body");
            assert_eq!(Report::read(&octets), Some((report, &b"body"[..])));
        }
        let reservation = Reservation { sid: Sid(5), epoch: Epoch(6), floor: 64 };
        assert_eq!(Reservation::read(&reservation.octets()), Some(reservation));
    }

    #[test]
    fn cut_records_are_none() {
        let head = report(Origin::Report).head();
        for length in 0..REPORT_HEAD {
            assert!(Report::read(&head[..length]).is_none());
        }
        let octets = Reservation { sid: Sid(5), epoch: Epoch(6), floor: 64 }.octets();
        for length in 0..octets.len() {
            assert!(Reservation::read(&octets[..length]).is_none());
        }
    }

    #[test]
    fn message_ids_name_device_epoch_and_counter() {
        assert_eq!(report(Origin::Report).message_id(), "0102030405060708-258-77");
        assert_eq!(report(Origin::ClassicReport).message_id(), "0102030405060708-c258-00000009-77");
    }
}
