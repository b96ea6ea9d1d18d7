//! What a shard is told to do: the frames of an Orders edge.
//!
//! The kind stands in the low octet of the descriptor's tag, integers are big-endian. An order goes to the
//! shard that owns its partition, on the edge of that number; the shard settles an edge's batch when all
//! that it asks for is durable, and fails it when it could not be made so. Every order may come again.

use node::{Batch, Frame};
use seal::ids::{Dev, Epoch, Gid, Sid};

use crate::fields::{self, Fields};

/// One order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order<'a> {
    /// 1: a device has registered; settled when its association is durable.
    Register {
        /// The new association.
        sid: Sid,
        /// The end device.
        dev: Dev,
        /// The association that retires when the new one is proven.
        replaces: Option<Sid>,
        /// The key store's record, sealed.
        sealed: &'a [u8],
    },
    /// 2: an association was replaced.
    Retire {
        /// The association.
        sid: Sid,
    },
    /// 3: a device is revoked.
    Revoke {
        /// The end device.
        dev: Dev,
        /// An association of its.
        sid: Sid,
    },
    /// 4: a signed command to one device (type 2).
    Send {
        /// Its association.
        sid: Sid,
        /// The command with its signature.
        signed: &'a [u8],
    },
    /// 5: a signed command to a group (type 3).
    Broadcast {
        /// The group.
        gid: Gid,
        /// The command with its signature.
        signed: &'a [u8],
    },
    /// 6: candidate epochs for an ADVANCE to a group; settled when they are durable.
    Issue {
        /// The members in this shard, four octets each: see [`Order::sids`].
        sids: &'a [u8],
        /// The campaign of the ADVANCE.
        campaign: u32,
        /// Its steps.
        delta: u8,
        /// Its challenge: what a proof echoes.
        challenge: [u8; 8],
    },
    /// 7: a group has a key for an epoch.
    GroupKey {
        /// The group.
        gid: Gid,
        /// The epoch.
        epoch: Epoch,
        /// Unix seconds from which on it is the current one.
        activate_at: u32,
        /// GMS, sealed by the key of the group's partition.
        sealed: &'a [u8],
    },
    /// 8: a group's key is to go to a member (type 4).
    Deliver {
        /// The member's association.
        sid: Sid,
        /// The group.
        gid: Gid,
        /// The epoch.
        epoch: Epoch,
        /// Unix seconds from which on it is the current one.
        activate_at: u32,
        /// GMS, sealed by the key of the group's partition.
        sealed: &'a [u8],
    },
    /// 9: control items for a device (type 4): RESPONSE, WAIT.
    Respond {
        /// Its association.
        sid: Sid,
        /// The items.
        items: &'a [u8],
    },
}

impl<'a> Order<'a> {
    /// Appends it to a batch.
    pub fn push(&self, batch: &mut Batch) {
        let frame = Frame { tag: u64::from(self.kind()), ..Frame::default() };
        batch.push_with(frame, |data| self.write(data));
    }

    /// Reads an order of a batch; `None` when it is none.
    #[must_use]
    pub fn read(frame: &Frame, octets: &'a [u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        Some(match frame.tag & 0xff {
            1 => Self::Register {
                sid: fields.sid()?,
                dev: fields.dev()?,
                replaces: fields.sid_or_none()?,
                sealed: fields.rest(),
            },
            2 => Self::Retire { sid: fields.sid()? },
            3 => Self::Revoke { dev: fields.dev()?, sid: fields.sid()? },
            4 => Self::Send { sid: fields.sid()?, signed: fields.rest() },
            5 => Self::Broadcast { gid: fields.gid()?, signed: fields.rest() },
            6 => Self::Issue {
                campaign: fields.u32()?,
                delta: fields.u8()?,
                challenge: fields.take()?,
                sids: fields.rest(),
            },
            7 => Self::GroupKey {
                gid: fields.gid()?,
                epoch: fields.epoch()?,
                activate_at: fields.u32()?,
                sealed: fields.rest(),
            },
            8 => Self::Deliver {
                sid: fields.sid()?,
                gid: fields.gid()?,
                epoch: fields.epoch()?,
                activate_at: fields.u32()?,
                sealed: fields.rest(),
            },
            9 => Self::Respond { sid: fields.sid()?, items: fields.rest() },
            _ => return None,
        })
    }

    /// The partition whose shard it goes to: `partition % shards` is the edge. An [`Order::Issue`] goes where
    /// its first association does; one without any has none.
    #[must_use]
    pub fn partition(&self) -> Option<u32> {
        match *self {
            Self::Register { sid, .. }
            | Self::Retire { sid }
            | Self::Revoke { sid, .. }
            | Self::Send { sid, .. }
            | Self::Deliver { sid, .. }
            | Self::Respond { sid, .. } => Some(sid.partition()),
            Self::Broadcast { gid, .. } | Self::GroupKey { gid, .. } => Some(partition_of(gid)),
            Self::Issue { sids, .. } => Self::sids(sids).next().map(Sid::partition),
        }
    }

    /// The associations of an [`Order::Issue`].
    pub fn sids(octets: &'a [u8]) -> impl Iterator<Item = Sid> + 'a {
        octets.as_chunks().0.iter().map(|octets| Sid(u32::from_be_bytes(*octets)))
    }

    fn kind(&self) -> u8 {
        match self {
            Self::Register { .. } => 1,
            Self::Retire { .. } => 2,
            Self::Revoke { .. } => 3,
            Self::Send { .. } => 4,
            Self::Broadcast { .. } => 5,
            Self::Issue { .. } => 6,
            Self::GroupKey { .. } => 7,
            Self::Deliver { .. } => 8,
            Self::Respond { .. } => 9,
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Register { sid, dev, replaces, sealed } => {
                out.extend_from_slice(&sid.0.to_be_bytes());
                out.extend_from_slice(&dev.0);
                out.extend_from_slice(&fields::sid_or_none(replaces));
                out.extend_from_slice(sealed);
            }
            Self::Retire { sid } => out.extend_from_slice(&sid.0.to_be_bytes()),
            Self::Revoke { dev, sid } => {
                out.extend_from_slice(&dev.0);
                out.extend_from_slice(&sid.0.to_be_bytes());
            }
            Self::Send { sid, signed: octets } | Self::Respond { sid, items: octets } => {
                out.extend_from_slice(&sid.0.to_be_bytes());
                out.extend_from_slice(octets);
            }
            Self::Broadcast { gid, signed } => {
                out.extend_from_slice(&gid.0.to_be_bytes());
                out.extend_from_slice(signed);
            }
            Self::Issue { sids, campaign, delta, challenge } => {
                out.extend_from_slice(&campaign.to_be_bytes());
                out.push(delta);
                out.extend_from_slice(&challenge);
                out.extend_from_slice(sids);
            }
            Self::GroupKey { gid, epoch, activate_at, sealed } => {
                write_group_key(out, gid, epoch, activate_at, sealed);
            }
            Self::Deliver { sid, gid, epoch, activate_at, sealed } => {
                out.extend_from_slice(&sid.0.to_be_bytes());
                write_group_key(out, gid, epoch, activate_at, sealed);
            }
        }
    }
}

/// The partition of a group: its low 10 bits.
#[must_use]
pub fn partition_of(gid: Gid) -> u32 {
    gid.0 & (Sid::PARTITIONS - 1)
}

fn write_group_key(out: &mut Vec<u8>, gid: Gid, epoch: Epoch, activate_at: u32, sealed: &[u8]) {
    out.extend_from_slice(&gid.0.to_be_bytes());
    out.extend_from_slice(&epoch.0.to_be_bytes());
    out.extend_from_slice(&activate_at.to_be_bytes());
    out.extend_from_slice(sealed);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn orders_read_back(
            id in 0..1_u32 << 31, other in prop::option::of(0..1_u32 << 31), dev: [u8; 8], epoch: u16,
            number: u32, delta: u8, octets: Vec<u8>,
        ) {
            let (sid, replaces, dev, epoch) = (Sid(id), other.map(Sid), Dev(dev), Epoch(epoch));
            let (gid, activate_at, sealed) = (Gid(id | 1 << 31), number, &octets[..]);
            let orders = [
                Order::Register { sid, dev, replaces, sealed },
                Order::Retire { sid },
                Order::Revoke { dev, sid },
                Order::Send { sid, signed: &octets },
                Order::Broadcast { gid, signed: &octets },
                Order::Issue { sids: &octets, campaign: number, delta, challenge: dev.0 },
                Order::GroupKey { gid, epoch, activate_at, sealed },
                Order::Deliver { sid, gid, epoch, activate_at, sealed },
                Order::Respond { sid, items: &octets },
            ];
            let mut batch = Batch::default();
            orders.iter().for_each(|order| order.push(&mut batch));
            let read = batch.frames.iter().map(|frame| Order::read(frame, batch.octets(frame).unwrap()));
            prop_assert_eq!(read.collect::<Option<Vec<_>>>(), Some(orders.to_vec()));
            let routed = orders.iter().filter(|order| !matches!(order, Order::Issue { .. }));
            prop_assert!(routed.map(Order::partition).all(|partition| partition == Some(id & 1023)));
            prop_assert_eq!(Order::sids(&octets).count(), octets.len() / 4);
        }

        #[test]
        fn any_octets_are_an_order_or_none(tag: u64, octets: Vec<u8>) {
            for tag in (0..12).chain([tag]) {
                let frame = Frame { tag, ..Frame::default() };
                if let Some(order) = Order::read(&frame, &octets) {
                    let mut batch = Batch::default();
                    order.push(&mut batch);
                    prop_assert!(batch.octets(&batch.frames[0]).unwrap().len() <= octets.len());
                }
            }
        }
    }
}
