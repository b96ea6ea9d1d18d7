//! What the log tells the desk.

use seal::command::{Addressee, Class, KeyItem};
use seal::control::Items;
use seal::ids::{Dev, Epoch, Gid, Sid};

use super::due::{Due, Why};
use crate::campaign::CampaignChange;
use crate::front::{CommandId, DeviceResult, Outcome, Receipted};
use crate::group::GroupChange;

/// A record of the log that concerns the desk. Its time, Unix seconds, goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A command was taken.
    Taken(Box<Taken>),
    /// Somebody approved of a command.
    Approved {
        /// The command.
        id: CommandId,
        /// Who.
        approver: String,
        /// ES256 over the intent's digest.
        signature: [u8; 64],
    },
    /// The signer signed a command.
    Signed {
        /// The command.
        id: CommandId,
        /// The signed command's octets.
        octets: Vec<u8>,
    },
    /// The signer refused a command.
    Refused {
        /// The command.
        id: CommandId,
        /// Why.
        code: String,
    },
    /// The desk closed a command.
    Closed {
        /// The command.
        id: CommandId,
        /// How it ended.
        outcome: Outcome,
        /// The device's signature, class 3 to one device.
        receipt: Option<Receipted>,
        /// Whether this is durable in the log; else it is told by a checkpoint alone.
        filed: bool,
    },
    /// A member's answer to a group command, told again by a checkpoint.
    Answered {
        /// The command.
        id: CommandId,
        /// The answer.
        result: DeviceResult,
    },
    /// A result after the end of its command, told again by a checkpoint.
    Late {
        /// The command.
        id: CommandId,
        /// The result.
        result: u8,
    },
    /// A frame of an end device opened.
    Report {
        /// Its association.
        sid: Sid,
        /// The device.
        dev: Dev,
        /// The frame's epoch.
        epoch: Epoch,
    },
    /// An end device's RESULT.
    Result {
        /// The device.
        dev: Dev,
        /// Which key signed the command.
        skid: u8,
        /// 1 to one device, 2 to a group.
        kind: u8,
        /// The command's counter.
        ctr: u32,
        /// How it ended.
        result: u8,
        /// What follows in the item.
        rest: Vec<u8>,
    },
    /// An end device has no trusted time.
    TimeRequest {
        /// The device.
        dev: Dev,
        /// To be echoed.
        nonce: [u8; 8],
    },
    /// An association's epochs were issued.
    Issued {
        /// The association.
        sid: Sid,
        /// The newest.
        epoch: Epoch,
        /// For which campaign.
        campaign: u32,
    },
    /// An end device has registered anew.
    Proved {
        /// The device.
        dev: Dev,
    },
    /// An end device is believed no longer.
    Revoked {
        /// The device.
        dev: Dev,
    },
    /// A group has a key for an epoch, sealed.
    GroupKey {
        /// The group.
        gid: Gid,
        /// The epoch.
        epoch: Epoch,
        /// Unix seconds.
        activate_at: u32,
        /// GMS, sealed by the data key of the group's partition.
        sealed: Vec<u8>,
    },
    /// A group changed.
    Group(GroupChange),
    /// A campaign went on.
    Campaign(CampaignChange),
    /// An association should leave its epoch.
    Due {
        /// The association.
        sid: Sid,
        /// The device.
        dev: Dev,
        /// The epoch that it should leave.
        epoch: Epoch,
        /// Why.
        why: Why,
    },
    /// The same with how far it is, told again by a checkpoint.
    DueKept {
        /// The device.
        dev: Dev,
        /// All that is known.
        due: Due,
    },
    /// The highest number of an advance to one device, told again by a checkpoint.
    Advanced {
        /// The number.
        campaign: u32,
    },
    /// The state is that of a backup.
    Restored {
        /// The incarnation that the restore made: one that is known says nothing new.
        incarnation: u64,
        /// How old the backup was.
        days: u32,
    },
    /// How far the last restore is, told again by a checkpoint.
    RestoreKept {
        /// The incarnation that it made.
        incarnation: u64,
        /// Its campaign; `None` while that has not begun.
        campaign: Option<u32>,
    },
    /// Nothing but its time, told again by a checkpoint.
    Clock,
}

/// A command as it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its name: the intent's id.
    pub id: CommandId,
    /// The requester's name for it.
    pub request_id: String,
    /// SHA-256 over what was asked for: the same request id with another content is refused.
    pub content: [u8; 32],
    /// What it does, as [`crate::front::OrderKind::word`].
    pub word: &'static str,
    /// For a group: how many members it had.
    pub members: u64,
    /// Whom it is for.
    pub addressee: Addressee,
    /// Its class.
    pub class: Class,
    /// Not before.
    pub nbf: u32,
    /// Minutes.
    pub ttl_min: u16,
    /// Who asked.
    pub requester: String,
    /// SHA-256 over the intent.
    pub digest: [u8; 32],
    /// The body.
    pub body: Vec<u8>,
    /// The intent's octets, for the signer.
    pub intent: Vec<u8>,
    /// The signed command's octets, when it came signed by root.
    pub signed: Option<Vec<u8>>,
}

/// What a class-4 command changes when its end device has done it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Join(Gid),
    Leave(Gid),
    Advance(u32),
}

impl Taken {
    /// What it changes in the desk's own books.
    pub(crate) fn effects(&self) -> impl Iterator<Item = Effect> + '_ {
        let items =
            (self.class == Class::Keys).then(|| Items::<KeyItem<'_>>::read(&self.body).ok()).flatten();
        items.into_iter().flatten().filter_map(|item| match item {
            KeyItem::Join { gid, .. } => Some(Effect::Join(gid)),
            KeyItem::Leave { gid } => Some(Effect::Leave(gid)),
            KeyItem::Advance { campaign, .. } => Some(Effect::Advance(campaign)),
            _ => None,
        })
    }

    /// How many must approve before the signer signs.
    pub(crate) fn approvals(&self) -> usize {
        let by_two = self.class == Class::Load && matches!(self.addressee, Addressee::Group(_));
        if by_two { 2 } else { 0 }
    }

    /// The device that alone it is for.
    pub(crate) fn device(&self) -> Option<Dev> {
        match self.addressee {
            Addressee::Device(dev) => Some(dev),
            Addressee::Group(_) => None,
        }
    }

    /// Unix seconds after which the end device refuses it.
    pub(crate) fn ends_at(&self) -> u64 {
        u64::from(self.nbf).saturating_add(u64::from(self.ttl_min).saturating_mul(60))
    }
}
