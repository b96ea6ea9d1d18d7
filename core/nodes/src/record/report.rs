//! A report that was opened and accepted.

use seal::ids::{Dev, Epoch, Sid};

use crate::fields::Fields;

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
        let mut fields = Fields(octets);
        let report = Self {
            sid: fields.sid()?,
            dev: fields.dev()?,
            epoch: fields.epoch()?,
            origin: fields.take().and_then(|[origin, _]: [u8; 2]| Origin::from_octet(origin))?,
            seq: fields.u32()?,
            iv: fields.u32()?,
            received: fields.u64()?,
        };
        Some((report, fields.rest()))
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
    }

    #[test]
    fn cut_records_are_none() {
        let head = report(Origin::Report).head();
        for length in 0..REPORT_HEAD {
            assert!(Report::read(&head[..length]).is_none());
        }
    }

    #[test]
    fn message_ids_name_device_epoch_and_counter() {
        assert_eq!(report(Origin::Report).message_id(), "0102030405060708-258-77");
        assert_eq!(report(Origin::ClassicReport).message_id(), "0102030405060708-c258-00000009-77");
    }
}
