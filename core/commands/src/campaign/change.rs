//! How a campaign goes on, as the log has it.

use seal::ids::{Dev, Gid};

/// A campaign went on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CampaignChange {
    /// It was begun.
    Started {
        /// Its number, above all before it.
        campaign: u32,
        /// Steps, 1 to 4.
        delta: u8,
        /// Devices that are told alone at the same time, at most.
        wave: u32,
        /// The group that is told at once.
        group: Option<Gid>,
        /// To be echoed by all.
        challenge: [u8; 8],
    },
    /// The candidates of all members are durable: the group may be told.
    Issued {
        /// Its number.
        campaign: u32,
    },
    /// Nobody further is told.
    Paused {
        /// Its number.
        campaign: u32,
    },
    /// It goes on.
    Resumed {
        /// Its number.
        campaign: u32,
    },
    /// A device must register anew.
    Missed {
        /// The campaign.
        campaign: u32,
        /// The device.
        dev: Dev,
    },
    /// All are proved or missed.
    Finished {
        /// Its number.
        campaign: u32,
        /// Associations that there were.
        total: u64,
    },
    /// The group's command has ended; told again by a checkpoint.
    Told {
        /// The campaign.
        campaign: u32,
    },
    /// A device holds the new epoch; told again by a checkpoint.
    Proved {
        /// The campaign.
        campaign: u32,
        /// The device.
        dev: Dev,
    },
    /// How many commands a device got alone; told again by a checkpoint.
    Tried {
        /// The campaign.
        campaign: u32,
        /// The device.
        dev: Dev,
        /// So many.
        tries: u8,
        /// Those of them that were not signed.
        refused: u8,
    },
    /// How many commands a group got, where there are several; told again by a checkpoint.
    GroupTried {
        /// The campaign.
        campaign: u32,
        /// The group.
        gid: Gid,
        /// So many.
        tries: u8,
        /// It gets no more.
        ended: bool,
    },
}

impl CampaignChange {
    /// The campaign.
    #[must_use]
    pub fn campaign(&self) -> u32 {
        match *self {
            Self::Started { campaign, .. }
            | Self::Issued { campaign }
            | Self::Paused { campaign }
            | Self::Resumed { campaign }
            | Self::Missed { campaign, .. }
            | Self::Finished { campaign, .. }
            | Self::Told { campaign }
            | Self::Proved { campaign, .. }
            | Self::Tried { campaign, .. }
            | Self::GroupTried { campaign, .. } => campaign,
        }
    }
}
