//! What people are shown of the desk.

use seal::ids::{Dev, Epoch, Gid, Sid};

use super::{Desk, Fleet, Taken, Why};
use crate::campaign::Campaigns;
use crate::front::{CampaignView, CommandId, CommandState, CommandView, Filter, GroupView, Page, Refusal};
use crate::group::Groups;

impl Desk {
    /// The command that was taken under a request id.
    #[must_use]
    pub fn requested(&self, request_id: &str) -> Option<&Taken> {
        self.table.requested(request_id)
    }

    /// The groups.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.groups
    }

    /// The campaigns.
    #[must_use]
    pub fn campaigns(&self) -> &Campaigns {
        &self.campaigns
    }

    /// How many associations should leave their epoch for this reason.
    #[must_use]
    pub fn due_for(&self, why: Why) -> usize {
        self.dues.waiting(why)
    }

    /// How many of them found no room in this run.
    #[must_use]
    pub fn due_dropped(&self) -> u64 {
        self.dues.dropped()
    }

    /// How many commands are pending.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.table.pending()
    }

    /// A command as people see it.
    ///
    /// # Errors
    /// [`Refusal::NoCommand`]
    pub fn command(&self, id: CommandId, page: Page) -> Result<CommandView, Refusal> {
        self.table.view(id, page)
    }

    /// Where a command is.
    #[must_use]
    pub fn state(&self, id: CommandId) -> Option<CommandState> {
        self.table.view(id, Page::NONE).ok().map(|view| view.state)
    }

    /// Commands, the newest first.
    #[must_use]
    pub fn commands(&self, filter: &Filter, page: Page) -> Vec<CommandView> {
        self.table.list(filter, page)
    }

    /// The command under way to a device, and how many wait behind it.
    #[must_use]
    pub fn of_device(&self, dev: Dev) -> (Option<CommandId>, usize) {
        self.table.of_device(dev)
    }

    /// When an association was heard last since the desk's start, and in which epoch.
    #[must_use]
    pub fn seen(&self, sid: Sid) -> Option<(u64, Epoch)> {
        self.seen.last(sid)
    }

    /// A group as people see it.
    ///
    /// # Errors
    /// [`Refusal::NoGroup`]
    pub fn group(&self, gid: Gid, now: u64, page: Page) -> Result<GroupView, Refusal> {
        self.groups.view(gid, now, page).ok_or(Refusal::NoGroup(gid))
    }

    /// A campaign as people see it.
    ///
    /// # Errors
    /// [`Refusal::NoCampaign`]
    pub fn campaign(&self, campaign: u32, fleet: &dyn Fleet, page: Page) -> Result<CampaignView, Refusal> {
        self.campaigns.view(campaign, fleet.count(), page).ok_or(Refusal::NoCampaign(campaign))
    }
}
