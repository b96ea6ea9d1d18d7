//! Type 4: what the head-end tells an end device unsigned. A closed list; all of it is idempotent.

use alloc::vec::Vec;
use core::fmt;

use subtle::ConstantTimeEq;

use super::{ControlError, Fields, Item};
use crate::frame::SEQ_MAX;
use crate::ids::{Epoch, Gid};

/// End devices wait no longer than this, whatever a WAIT says.
pub const WAIT_MAX_S: u16 = 600;

/// An item of a type-4 frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down<'a> {
    /// 1: a group's key for one epoch.
    GroupKey(GroupKey<'a>),
    /// 2: which upstream frames are durable.
    Ack(Ack),
    /// 3: send nothing for so many seconds; end devices cap it at [`WAIT_MAX_S`].
    Wait {
        /// Seconds.
        seconds: u16,
    },
    /// 4: the answer to a service 24, 25 or 27; the last item.
    Response {
        /// A8 of the APDU that carried the request; a hint only.
        invocation_id: u32,
        /// The response's octets.
        response: &'a [u8],
    },
}

/// A group's key for one epoch.
#[derive(Clone, Copy)]
pub struct GroupKey<'a> {
    /// The group.
    pub gid: Gid,
    /// The epoch that it is the key of.
    pub epoch: Epoch,
    /// GMS: a secret, so it is not shown.
    pub gms: &'a [u8; 16],
    /// Unix seconds from which on it is the current one.
    pub activate_at: u32,
}

impl PartialEq for GroupKey<'_> {
    fn eq(&self, other: &Self) -> bool {
        let same = (self.gid, self.epoch, self.activate_at) == (other.gid, other.epoch, other.activate_at);
        same && bool::from(self.gms.ct_eq(other.gms))
    }
}

impl Eq for GroupKey<'_> {}

impl fmt::Debug for GroupKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupKey")
            .field("gid", &self.gid)
            .field("epoch", &self.epoch)
            .field("activate_at", &self.activate_at)
            .finish_non_exhaustive()
    }
}

/// Which upstream frames of an epoch are durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The epoch of the frames.
    pub epoch: Epoch,
    /// The highest durable counter.
    pub highest: u32,
    /// Bit `n` is the counter `highest - 1 - n`.
    pub bitmap: u64,
}

impl Ack {
    /// Whether it acknowledges the frame with this counter, sealed under [`Self::epoch`].
    #[must_use]
    pub fn covers(&self, seq: u32) -> bool {
        match self.highest.checked_sub(seq) {
            None => false,
            Some(0) => true,
            Some(down) => self.bitmap.checked_shr(down.saturating_sub(1)).unwrap_or(0) & 1 == 1,
        }
    }
}

impl<'a> Item<'a> for Down<'a> {
    fn read(octets: &'a [u8]) -> Result<(Self, &'a [u8]), ControlError> {
        let mut fields = Fields::of(octets)?;
        let item = match fields.code {
            1 => Self::GroupKey(GroupKey {
                gid: Gid(fields.u32()?),
                epoch: Epoch(fields.u16()?),
                gms: fields.take()?,
                activate_at: fields.u32()?,
            }),
            2 => {
                Self::Ack(Ack { epoch: Epoch(fields.u16()?), highest: fields.u24()?, bitmap: fields.u64()? })
            }
            3 => Self::Wait { seconds: fields.u16()? },
            4 => Self::Response { invocation_id: fields.u32()?, response: fields.remainder() },
            code => return Err(ControlError::Unknown(code)),
        };
        Ok((item, fields.rest))
    }

    fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::GroupKey(GroupKey { gid, epoch, gms, activate_at }) => {
                out.push(1);
                out.extend_from_slice(&gid.0.to_be_bytes());
                out.extend_from_slice(&epoch.0.to_be_bytes());
                out.extend_from_slice(gms);
                out.extend_from_slice(&activate_at.to_be_bytes());
            }
            Self::Ack(Ack { epoch, highest, bitmap }) => {
                let [_, highest @ ..] = highest.min(SEQ_MAX).to_be_bytes();
                out.push(2);
                out.extend_from_slice(&epoch.0.to_be_bytes());
                out.extend_from_slice(&highest);
                out.extend_from_slice(&bitmap.to_be_bytes());
            }
            Self::Wait { seconds } => {
                out.push(3);
                out.extend_from_slice(&seconds.to_be_bytes());
            }
            Self::Response { invocation_id, response } => {
                out.push(4);
                out.extend_from_slice(&invocation_id.to_be_bytes());
                out.extend_from_slice(response);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Items;
    use super::*;
    use proptest::prelude::*;

    fn whole(body: &[u8]) -> Result<Vec<Down<'_>>, ControlError> {
        Items::read(body).map(Iterator::collect)
    }

    proptest! {
        #[test]
        fn items_read_back(
            gid: u32, epoch: u16, gms: [u8; 16], time: u32, highest in 0..=SEQ_MAX, bitmap: u64, seconds: u16,
            response: Vec<u8>, ends_with_response: bool,
        ) {
            let group_key = GroupKey { gid: Gid(gid), epoch: Epoch(epoch), gms: &gms, activate_at: time };
            let mut items = vec![
                Down::Ack(Ack { epoch: Epoch(epoch), highest, bitmap }),
                Down::GroupKey(group_key),
                Down::Wait { seconds },
            ];
            if ends_with_response {
                items.push(Down::Response { invocation_id: time, response: &response });
            }
            let mut body = Vec::new();
            items.iter().for_each(|item| item.write(&mut body));
            prop_assert_eq!(whole(&body), Ok(items));
        }

        #[test]
        fn whatever_reads_writes_the_same_octets(body: Vec<u8>, code in 0..6_u8) {
            let body = [vec![code], body].concat();
            if let Ok(items) = whole(&body) {
                let mut again = Vec::new();
                items.iter().for_each(|item| item.write(&mut again));
                prop_assert_eq!(body, again);
            }
        }
    }

    #[test]
    fn one_bad_item_refuses_all() {
        let mut body = Vec::new();
        Down::Wait { seconds: 5 }.write(&mut body);
        assert_eq!(whole(&body), Ok(vec![Down::Wait { seconds: 5 }]));
        assert_eq!(whole(&[]), Err(ControlError::Empty));
        assert_eq!(whole(&[&body[..], &[9]].concat()), Err(ControlError::Unknown(9)));
        assert_eq!(whole(&[&body[..], &[2, 0]].concat()), Err(ControlError::Cut(2)));
        assert_eq!(whole(&[0]), Err(ControlError::Unknown(0)));
    }

    #[test]
    fn an_ack_covers_what_its_bits_say() {
        let ack = Ack { epoch: Epoch(1), highest: 70, bitmap: 0b101 | 1 << 62 };
        let covered: Vec<u32> = (0..=80).filter(|seq| ack.covers(*seq)).collect();
        assert_eq!(covered, [7, 67, 69, 70]);
    }

    #[test]
    fn a_group_key_is_not_shown() {
        let group_key = GroupKey { gid: Gid(1), epoch: Epoch(2), gms: &[0x77; 16], activate_at: 3 };
        let shown = format!("{:?}", Down::GroupKey(group_key));
        assert!(!shown.contains("119") && !shown.contains("77"), "{shown}");
    }
}
