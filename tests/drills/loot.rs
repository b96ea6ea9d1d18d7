//! What an attacker has, and what he does with it.

use seal::command::Command;
use seal::frame::{Bound, FrameType, Head};
use seal::group::GroupKeys;
use seal::ids::{Dev, Epoch, Sid};
use seal::profile1::Channel;
use seal::schedule::{self, AssociationKeys};
use seal::secret::{Key128, Prk};

use crate::house::{GID, SYSTEM, carried, carry, frame};
use crate::meter::BEGIN;

pub const HOUR: u64 = 3600;

/// The keys of one association in one epoch, in the hands of somebody else.
pub struct Loot {
    pub dev: Dev,
    pub sid: Sid,
    pub epoch: Epoch,
    pub prk: [u8; 32],
    pub keys: AssociationKeys,
}

impl Loot {
    pub fn new(dev: Dev, (sid, prk): (Sid, [u8; 32]), epoch: u16) -> Self {
        Self { dev, sid, epoch: Epoch(epoch), prk, keys: schedule::derive(&Prk::from_octets(prk), sid) }
    }

    /// He can turn the ratchet forwards as well as the owner.
    pub fn next(&self) -> Self {
        let next = self.epoch.next().unwrap();
        let prk = *schedule::advance(&Prk::from_octets(self.prk), next).expose();
        Self::new(self.dev, (self.sid, prk), next.0)
    }

    fn channel(&self, up: bool) -> Channel<'_> {
        let bound = Bound { system: SYSTEM, scope: self.dev.into(), epoch: self.epoch };
        let key = if up { &self.keys.up } else { &self.keys.dn };
        Channel { key, common_iv: &self.keys.common_iv, bound }
    }

    /// A made-up report, in an APDU.
    pub fn report(&self, seq: u32) -> Vec<u8> {
        carry(&frame(&self.channel(true), FrameType::Report, self.sid.0, seq, &[0x80, 1, 0x20]))
    }

    pub fn down(&self, frame_type: FrameType, seq: u32, plaintext: &[u8]) -> Vec<u8> {
        carry(&frame(&self.channel(false), frame_type, self.sid.0, seq, plaintext))
    }

    pub fn opens(&self, apdu: &[u8]) -> bool {
        opens(&self.channel(true), apdu) || opens(&self.channel(false), apdu)
    }
}

pub fn opens(channel: &Channel<'_>, apdu: &[u8]) -> bool {
    let (head, mut body) = carried(apdu);
    let head = Head::read(&head, body.len()).unwrap();
    channel.open(&head, &mut body).is_some()
}

/// A frame to the group under a stolen key, with a command signed by a key that he has.
pub fn to_group((epoch, gms): (Epoch, [u8; 16]), seq: u32, signed: &[u8]) -> Vec<u8> {
    let keys = GroupKeys::derive(&Key128::from_octets(gms), GID, epoch);
    carry(&frame(&keys.channel(SYSTEM), FrameType::GroupCommand, GID.0, seq, signed))
}

/// What an attacker orders: to switch off, in due time, with a counter that was never used.
pub fn off(skid: u8, ctr: u32, now: u64, body: &[u8]) -> Command<'_> {
    Command { skid, class: 3, ctr, nbf: (BEGIN + now) as u32 + 60, ttl: 60, body }
}
