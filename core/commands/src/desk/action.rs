//! What the desk wants done.

use seal::ids::{Dev, Epoch, Gid};

use super::Why;
use crate::campaign::CampaignChange;
use crate::front::{CommandId, Outcome, Receipted, Submission};

/// What the desk wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// The signer is to sign it.
    Sign {
        /// The command.
        id: CommandId,
        /// The intent's octets.
        intent: Vec<u8>,
        /// Who approved, and his ES256 over the intent's digest.
        approvals: Vec<(String, [u8; 64])>,
    },
    /// The device's shard is to seal and send it.
    Send {
        /// The command.
        id: CommandId,
        /// The device.
        dev: Dev,
        /// The signed command: the same octets each time.
        signed: Vec<u8>,
    },
    /// The group's shard is to seal and send it to all.
    Broadcast {
        /// The command.
        id: CommandId,
        /// The group.
        gid: Gid,
        /// The signed command: the same octets each time.
        signed: Vec<u8>,
    },
    /// The journal is to hear how it ended.
    Close {
        /// The command.
        id: CommandId,
        /// How.
        outcome: Outcome,
        /// The device's signature.
        receipt: Option<Receipted>,
    },
    /// A group needs a key for an epoch.
    DrawKey {
        /// The group.
        gid: Gid,
        /// The epoch.
        epoch: Epoch,
        /// Unix seconds.
        activate_at: u32,
    },
    /// A member is to have a group's key.
    Deliver {
        /// The member.
        dev: Dev,
        /// The group.
        gid: Gid,
        /// The epoch.
        epoch: Epoch,
        /// Unix seconds.
        activate_at: u32,
        /// GMS, sealed by the data key of the group's partition.
        sealed: Vec<u8>,
    },
    /// The shards are to issue candidates; [`CampaignChange::Issued`] is recorded when all have.
    Issue {
        /// The campaign.
        campaign: u32,
        /// Steps.
        delta: u8,
        /// What proofs echo.
        challenge: [u8; 8],
        /// Whose.
        devs: Vec<Dev>,
    },
    /// The journal is to hear how a campaign goes on.
    Campaign(CampaignChange),
    /// The journal is to hear of a new campaign, with a challenge that nobody knows.
    Begin {
        /// Steps.
        delta: u8,
        /// Devices that are told alone at the same time, at most.
        wave: u32,
    },
    /// [`advance`] is to be taken, with a challenge that nobody knows.
    Advance {
        /// The device.
        dev: Dev,
        /// Above all that it has heard of.
        campaign: u32,
        /// Why it should leave its epoch.
        why: Why,
        /// Its name.
        request_id: String,
    },
    /// A command of the desk's own is to be taken.
    Submit(Submission),
}
