//! One campaign.

use std::collections::{BTreeMap, HashMap};

use seal::ids::{Dev, Epoch, Gid, Sid};

use super::Devs;
use crate::front::CampaignState;

/// Where the group's command is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Broadcast {
    /// Not taken yet.
    Before,
    /// Under way.
    Open,
    /// It has ended.
    Ended,
}

/// How far a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Telling {
    pub(super) broadcast: Broadcast,
    /// Commands that were taken for it.
    pub(super) tries: u8,
}

/// Commands that a device got alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tries {
    /// All of them.
    pub(super) all: u8,
    /// Those that the signer refused.
    pub(super) refused: u8,
}

/// What the log told of one campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Course {
    pub(super) delta: u8,
    pub(super) wave: u32,
    pub(super) group: Option<Gid>,
    pub(super) challenge: [u8; 8],
    pub(super) issued: bool,
    /// Groups for which a command was taken: one, but after a restore.
    pub(super) groups: BTreeMap<Gid, Telling>,
    /// Groups are told no more.
    pub(super) told: bool,
    pub(super) paused: bool,
    /// Associations that there were when it finished.
    pub(super) total: Option<u64>,
    pub(super) proved: Devs,
    pub(super) missed: Devs,
    pub(super) tries: BTreeMap<Dev, Tries>,
    /// Devices to which such a command is under way.
    pub(super) open: Devs,
    /// The epoch that proves each association.
    pub(super) targets: HashMap<Sid, Epoch>,
}

impl Course {
    pub(super) fn new(delta: u8, wave: u32, group: Option<Gid>, challenge: [u8; 8]) -> Self {
        Self {
            delta,
            wave,
            group,
            challenge,
            issued: false,
            groups: BTreeMap::new(),
            told: false,
            paused: false,
            total: None,
            proved: Devs::new(),
            missed: Devs::new(),
            tries: BTreeMap::new(),
            open: Devs::new(),
            targets: HashMap::new(),
        }
    }

    pub(super) fn state(&self) -> CampaignState {
        match self {
            Self { total: Some(_), .. } => CampaignState::Finished,
            Self { paused: true, .. } => CampaignState::Paused,
            Self { group: Some(_), told: false, .. } => CampaignState::Broadcast,
            Self { told: false, groups, .. }
                if groups.values().any(|telling| telling.broadcast == Broadcast::Open) =>
            {
                CampaignState::Broadcast
            }
            _ => CampaignState::CatchUp,
        }
    }

    /// Where a group's command is.
    pub(super) fn broadcast(&self, gid: Gid) -> Broadcast {
        match self.groups.get(&gid) {
            _ if self.told => Broadcast::Ended,
            Some(telling) => telling.broadcast,
            None => Broadcast::Before,
        }
    }

    /// A command to a group was taken.
    pub(super) fn tell(&mut self, gid: Gid) {
        let telling = self.groups.entry(gid).or_insert(Telling { broadcast: Broadcast::Before, tries: 0 });
        telling.broadcast = telling.broadcast.max(Broadcast::Open);
        telling.tries = telling.tries.saturating_add(1);
    }

    /// As a checkpoint tells it, which has told the command that is under way before.
    pub(super) fn kept(&mut self, gid: Gid, tries: u8, ended: bool) {
        let telling = self.groups.entry(gid).or_insert(Telling { broadcast: Broadcast::Before, tries });
        telling.tries = tries;
        if ended {
            telling.broadcast = Broadcast::Ended;
        }
    }

    /// A group's command has ended. Where there are several, one that was not signed is asked for again.
    pub(super) fn told(&mut self, gid: Gid, refused: bool) {
        self.told |= self.group == Some(gid);
        if let Some(telling) = self.groups.get_mut(&gid) {
            let again = refused && telling.tries < u8::MAX;
            telling.broadcast = if again { Broadcast::Before } else { Broadcast::Ended };
        }
    }

    /// Whether it waits for this device.
    pub(super) fn is_open(&self, dev: Dev) -> bool {
        !self.proved.contains(&dev) && !self.missed.contains(&dev)
    }

    pub(super) fn prove(&mut self, dev: Dev) {
        self.missed.remove(&dev);
        self.proved.insert(dev);
    }

    pub(super) fn miss(&mut self, dev: Dev) {
        if !self.proved.contains(&dev) {
            self.missed.insert(dev);
        }
    }

    pub(super) fn finish(&mut self, total: u64) {
        self.total = Some(total);
        (self.told, self.groups) = (true, BTreeMap::new());
        self.tries = BTreeMap::new();
        self.targets = HashMap::new();
        self.open = Devs::new();
    }
}

/// How the desk goes about it: gone with a restart.
#[derive(Debug, Default)]
pub(super) struct Going {
    /// Since when the group's command is under way, as far as this run has seen.
    pub(super) open_since: Option<u64>,
    /// For which of them the members' time was said to be over.
    pub(super) told_at: Option<u64>,
    pub(super) due: u64,
    /// When the shards were asked to issue.
    pub(super) issue_at: Option<u64>,
    /// When each group's command was asked for, or refused.
    pub(super) broadcast_at: BTreeMap<Gid, u64>,
    /// Devices that are told next, and when all were looked through.
    pub(super) queue: Vec<Dev>,
    pub(super) scan_at: u64,
    /// Devices whose command was asked for.
    pub(super) asked: BTreeMap<Dev, u64>,
}
