//! The desk: commands from their acceptance to their end, groups and campaigns, without I/O.
//!
//! What it knows is a function of the log's records alone: [`Desk::hear`] takes them in, [`Desk::tell`] gives
//! them again for a checkpoint. What it wants done comes out of [`Desk::act`], and shows in the log when it is
//! done; so a crash between the two repeats an action and loses none.
//!
//! ```text
//! accepted -> (awaiting approval) -> signed -> sent, again and again -> done | refused | expired | unknown
//! ```

mod due;
mod entry;
mod heard;
mod retell;
mod root;
mod seen;
mod table;
#[cfg(test)]
mod tests;

use seal::command::{Addressee, Classes};
use seal::ids::{Dev, Epoch, Gid, System};
use seal::signature::VerifyingKey;

use crate::campaign::{CampaignChange, Campaigns};
use crate::front::{
    CampaignView, CommandId, CommandState, CommandView, Filter, GroupView, OrderKind, Outcome, Page,
    Receipted, Refusal, Roles, Submission,
};
use crate::group::{GroupSettings, Groups};

use due::Dues;
pub use due::{Due, Why, submission as advance};
pub(crate) use heard::Effect;
pub use heard::{Heard, Taken};
pub use root::{OfRoot, RootError};
use seen::Seen;
use table::Table;

/// TIME_REQUESTs that wait to be answered, at most; a device asks again.
const TIME_REQUESTS_MAX: usize = 10_000;
/// A TIME_REQUEST is answered for so many seconds.
const TIME_REQUEST_S: u64 = 60;

/// The limits and times of the desk, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// Commands that are pending, at most.
    pub pending_max: usize,
    /// Commands that are kept, those that ended among them.
    pub kept_max: usize,
    /// Answers of members of groups that are kept.
    pub results_max: usize,
    /// So long after its time has passed, a command still waits for its result.
    pub grace_s: u64,
    /// The first repeat comes after so long, each next after twice as long.
    pub repeat_s: u64,
    /// No repeat waits longer.
    pub repeat_max_s: u64,
    /// A group command is sent so often, at most.
    pub broadcasts_max: u32,
    /// How groups are kept.
    pub groups: GroupSettings,
    /// An epoch campaign's command to a group has so long before its silent members are told one by one.
    pub catch_up_s: u64,
    /// Associations that should leave their epoch, and are kept, at most.
    pub due_max: usize,
    /// So many of them are moved on in a second, at most: 1 % of what an HSM signs (security layer §6).
    pub due_per_s: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pending_max: 100_000,
            kept_max: 200_000,
            results_max: 2_000_000,
            grace_s: 300,
            repeat_s: 30,
            repeat_max_s: 900,
            broadcasts_max: 5,
            groups: GroupSettings { epoch_s: 30 * 86_400, lead_s: 600 },
            catch_up_s: 900,
            due_max: 200_000,
            due_per_s: 2.0,
        }
    }
}

/// What the desk asks about end devices.
pub trait Fleet {
    /// The installation.
    fn system(&self) -> System;
    /// The key with which a device signs what it did, from its manufacturer's manifest.
    fn signing_key(&self, dev: Dev) -> Option<VerifyingKey>;
    /// How many profile-1 devices have an association.
    fn count(&self) -> u64;
    /// Gives each of them.
    fn each(&self, sink: &mut dyn FnMut(Dev));
}

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

/// Commands, groups and campaigns.
#[derive(Debug)]
pub struct Desk {
    settings: Settings,
    table: Table,
    groups: Groups,
    campaigns: Campaigns,
    dues: Dues,
    /// The incarnation that the last restore of the state made.
    restored: u64,
    /// The latest time that the log told.
    clock: u64,
    seen: Seen,
    time_requests: Vec<(u64, Dev, [u8; 8])>,
}

impl PartialEq for Desk {
    /// Whether the log told both the same.
    fn eq(&self, other: &Self) -> bool {
        (self.clock, &self.table) == (other.clock, &other.table)
            && (&self.groups, &self.campaigns) == (&other.groups, &other.campaigns)
            && (&self.dues, self.restored) == (&other.dues, other.restored)
    }
}

/// A command of which the log has just told the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its class.
    pub class: u8,
    /// [`Outcome::word`].
    pub outcome: &'static str,
    /// Whether a class-3 result bore no signature of its device.
    pub unproven: bool,
    /// Its device, when it was to leave its epoch because that was [`Due`].
    pub due: Option<Dev>,
}

impl Desk {
    /// A desk that has heard nothing.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            table: Table::new(settings),
            groups: Groups::new(settings.groups),
            campaigns: Campaigns::new(settings.catch_up_s, restore_wave(&settings)),
            dues: Dues::new(&settings),
            restored: 0,
            clock: 0,
            seen: Seen::default(),
            time_requests: Vec::new(),
        }
    }

    /// Takes in a record of the log; `at` is its time, where it tells one. Answers when it ended a command.
    pub fn hear(&mut self, at: Option<u64>, heard: &Heard, fleet: &dyn Fleet) -> Option<Ended> {
        let at = at.unwrap_or(self.clock);
        self.clock = at.max(self.clock);
        match heard {
            Heard::Report { sid, dev, epoch } => {
                self.seen.saw(*sid, *epoch, at);
                if self.campaigns.report(*sid, *dev, *epoch) {
                    // What it was sent under a state that it does not have is lost.
                    self.groups.deliver_to(*dev);
                }
                self.dues.report(self.clock, *sid, *dev, *epoch);
            }
            Heard::TimeRequest { dev, nonce } if self.time_requests.len() < TIME_REQUESTS_MAX => {
                self.time_requests.push((at, *dev, *nonce));
            }
            Heard::Issued { sid, epoch, campaign } => self.campaigns.issued(*campaign, *sid, *epoch),
            Heard::Proved { dev } => {
                self.campaigns.registered(*dev);
                self.dues.gone(*dev);
            }
            Heard::Revoked { dev } => {
                self.groups.revoked(at, *dev);
                self.campaigns.revoked(*dev);
                self.dues.gone(*dev);
            }
            Heard::GroupKey { gid, epoch, activate_at, sealed } => {
                self.groups.key(at, *gid, *epoch, *activate_at, sealed);
            }
            Heard::Group(change) => self.groups.change(at, change),
            Heard::Campaign(change) => self.campaigns.change(change),
            Heard::Taken(taken) if self.table.told(taken.id).is_none() => {
                self.campaigns.taken(taken);
                self.dues.taken(at, taken);
            }
            Heard::Result { dev, skid, kind, ctr, result, .. } => {
                if let Some(taken) = self.table.newly_done(*dev, (*skid, *kind, *ctr), *result) {
                    let effects: Vec<Effect> = taken.effects().collect();
                    effects.into_iter().for_each(|effect| self.done(at, *dev, effect));
                }
            }
            Heard::Due { sid, dev, epoch, why } => self.dues.hear(self.clock, *sid, *dev, *epoch, *why),
            Heard::DueKept { dev, due } => self.dues.kept(*dev, *due),
            Heard::Advanced { campaign } => self.dues.advanced(*campaign),
            Heard::Restored { incarnation, days } => self.restored(*incarnation, *days),
            Heard::RestoreKept { incarnation, campaign } => {
                self.restored = *incarnation;
                self.campaigns.restore_kept(*campaign);
            }
            _ => {}
        }
        let ended = self.table.hear(at, heard, fleet).and_then(|id| self.ended(at, id));
        if let Heard::Closed { filed: true, .. } = heard {
            // Only now: the one that has just ended may be the one to be forgotten.
            self.table.forget();
        }
        ended
    }

    /// A command has ended: what it changes.
    fn ended(&mut self, at: u64, id: CommandId) -> Option<Ended> {
        let told = self.table.told(id)?;
        let end = told.end.as_ref()?;
        self.campaigns.ended(at, &told.taken, &end.outcome);
        let due = told.taken.device().filter(|_| self.dues.ended(at, &told.taken, &end.outcome));
        let class = told.taken.class;
        let unproven = class == seal::command::Class::Load && end.outcome == Outcome::Unknown;
        Some(Ended { class: class.octet(), outcome: end.outcome.word(), unproven, due })
    }

    /// A device has done what a class-4 command told it.
    fn done(&mut self, at: u64, dev: Dev, effect: Effect) {
        match effect {
            Effect::Join(gid) => self.groups.joined(gid, dev),
            Effect::Leave(gid) => self.groups.left(at, gid, dev),
            Effect::Advance(campaign) => self.campaigns.done(campaign, dev),
        }
    }

    /// The log says that the state is that of a backup so many days old (security layer §8): what became of
    /// commands is not known, a campaign moves all associations on, groups skip the epochs that they may have
    /// had. A restore that is known says nothing new.
    pub fn restored(&mut self, incarnation: u64, days: u32) {
        if incarnation > self.restored {
            self.restored = incarnation;
            self.table.restored(self.clock);
            self.campaigns.restored();
            self.groups.restored(self.clock, days);
            self.dues.restored();
        }
    }

    /// The log has been read to its end: what was on its way before is begun anew.
    pub fn begin(&mut self, now: u64) {
        self.groups.begin(now);
    }

    /// When there is something to be done next, Unix seconds.
    #[must_use]
    pub fn due(&self) -> Option<u64> {
        let times = (!self.time_requests.is_empty()).then_some(0);
        let all = [self.table.due(), self.groups.due(), self.campaigns.due(), self.dues.due(), times];
        all.into_iter().flatten().min()
    }

    /// What is to be done now, at most about `at_most` of each kind.
    pub fn act(&mut self, now: u64, at_most: usize, fleet: &dyn Fleet) -> Vec<Action> {
        let mut actions = Vec::new();
        self.table.act(now, at_most, &mut actions);
        // Who does not answer may lack the key: it goes before the repeat.
        for action in &actions {
            if let Action::Broadcast { id, gid, .. } = action
                && self.table.sent(*id) > 1
            {
                let table = &self.table;
                self.groups.deliver_again(now, *gid, |dev| !table.answered(*id, dev));
            }
        }
        self.groups.act(now, at_most, &mut actions);
        self.campaigns.act(now, at_most, &self.groups, fleet, &mut actions);
        let asks = |action: &Action| matches!(action, Action::Sign { .. } | Action::Submit(_));
        let idle = self.table.is_idle(now) && !self.campaigns.moves_on() && !actions.iter().any(asks);
        self.dues.act(now, at_most, idle, self.campaigns.last(), &mut actions);
        let answered = at_most.min(self.time_requests.len());
        let asked = self.time_requests.drain(..answered);
        let fresh = asked.filter(|(at, ..)| now <= at.saturating_add(TIME_REQUEST_S));
        actions.extend(fresh.map(|(_, dev, nonce)| answer_time(dev, nonce)));
        actions
    }

    /// Checks what somebody asks for, before its body is made.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn check(&self, submission: &Submission) -> Result<(), Refusal> {
        let Submission { request_id, addressee, order, ttl_min, requester, roles, .. } = submission;
        if request_id.is_empty() || request_id.len() > 64 {
            return Err(Refusal::Invalid("a request id has 1 to 64 octets"));
        }
        if request_id.starts_with(root::REQUESTS) {
            return Err(Refusal::Invalid(
                "request ids that begin with `root-` are of commands that root signed",
            ));
        }
        if requester.is_empty() || requester.len() > 64 {
            return Err(Refusal::Invalid("a requester's name has 1 to 64 octets"));
        }
        if *ttl_min == 0 {
            return Err(Refusal::Invalid("a command is in force for at least a minute"));
        }
        let role = role_of(order);
        if !roles.cover(role.0) {
            return Err(Refusal::Role(role.1));
        }
        if matches!(order, OrderKind::SignerRevoke { .. }) {
            return Err(Refusal::RootOnly);
        }
        self.check_addressee(*addressee, matches!(order, OrderKind::AdvanceEpoch { .. }))
    }

    /// Whether a command to it can be taken now; `moves_on`: one that tells it to leave its epoch.
    fn check_addressee(&self, addressee: Addressee, moves_on: bool) -> Result<(), Refusal> {
        match addressee {
            Addressee::Group(gid) => match self.groups.version(gid) {
                None => return Err(Refusal::NoGroup(gid)),
                Some((_, 0)) => return Err(Refusal::EmptyGroup(gid)),
                Some(_) => {}
            },
            // Its answer would not count, and the command that makes it count would wait behind this one.
            Addressee::Device(dev) if !moves_on && self.campaigns.restores(dev) => {
                return Err(Refusal::Restored(dev));
            }
            Addressee::Device(_) => {}
        }
        if self.table.pending() >= self.settings.pending_max {
            return Err(Refusal::Full(self.settings.pending_max));
        }
        Ok(())
    }

    /// Checks the class that a command came to have.
    ///
    /// # Errors
    /// [`Refusal::GroupClass`], [`Refusal::Invalid`].
    pub fn check_class(&self, submission: &Submission, class: seal::command::Class) -> Result<(), Refusal> {
        if class == seal::command::Class::Load && submission.ttl_min > 1440 {
            return Err(Refusal::Invalid("a class-3 command is in force for 1,440 minutes at most"));
        }
        self.check_group_class(submission.addressee, class)
    }

    fn check_group_class(&self, addressee: Addressee, class: seal::command::Class) -> Result<(), Refusal> {
        match addressee {
            Addressee::Group(gid) if !self.groups.classes(gid).is_some_and(|all| all.contain(class)) => {
                Err(Refusal::GroupClass { gid, class: class.octet() })
            }
            _ => Ok(()),
        }
    }

    /// The command that was taken under a request id.
    #[must_use]
    pub fn requested(&self, request_id: &str) -> Option<&Taken> {
        self.table.requested(request_id)
    }

    /// Whether a command waits for approvals.
    ///
    /// # Errors
    /// [`Refusal::NoCommand`], [`Refusal::NotAwaiting`].
    pub fn awaits_approval(&self, id: CommandId) -> Result<(), Refusal> {
        self.table.awaits(id)
    }

    /// Checks that a group of these classes may be created.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn check_group(&self, name: &str, classes: Classes) -> Result<(), Refusal> {
        if name.is_empty() || name.len() > 64 {
            return Err(Refusal::Invalid("a group's name has 1 to 64 octets"));
        }
        if classes.0 == 0 || classes.0 >= 1 << 6 {
            return Err(Refusal::Invalid("a group orders some of the classes 0 to 5"));
        }
        if self.groups.len() >= crate::group::GROUPS_MAX {
            return Err(Refusal::Full(crate::group::GROUPS_MAX));
        }
        Ok(())
    }

    /// The next campaign's number, when one of this kind may begin; `now` in Unix seconds.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn check_campaign(&self, delta: u8, wave: u32, group: Option<Gid>, now: u64) -> Result<u32, Refusal> {
        if !(1..=4).contains(&delta) {
            return Err(Refusal::Invalid("an epoch campaign has 1 to 4 steps"));
        }
        if wave == 0 {
            return Err(Refusal::Invalid("a wave is one device at least"));
        }
        if let Some(gid) = group {
            let classes = self.groups.classes(gid).ok_or(Refusal::NoGroup(gid))?;
            let class = seal::command::Class::Keys;
            if !classes.contain(class) {
                return Err(Refusal::GroupClass { gid, class: class.octet() });
            }
        }
        match self.campaigns.running() {
            Some(running) => Err(Refusal::CampaignRuns(running)),
            None => Ok(self.campaigns.next_number(self.dues.last(), now)),
        }
    }

    /// The shards could not issue a campaign's candidates.
    pub fn issue_failed(&mut self) {
        self.campaigns.issue_failed();
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
    pub fn seen(&self, sid: seal::ids::Sid) -> Option<(u64, Epoch)> {
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

    /// All that the log told, as records with their times: heard by a new desk, they make the same.
    pub fn tell(&self, each: &mut dyn FnMut(u64, Heard)) {
        self.groups.tell_groups(&mut |at, change| each(at, Heard::Group(change)));
        let clock = self.clock;
        self.campaigns.tell_begun(&mut |change| each(clock, Heard::Campaign(change)));
        self.table.tell(each);
        self.groups.tell_books(each);
        self.campaigns.tell_progress(&mut |heard| each(clock, heard));
        self.dues.tell(&mut |heard| each(clock, heard));
        if self.restored > 0 {
            let (incarnation, campaign) = (self.restored, self.campaigns.restore());
            each(clock, Heard::RestoreKept { incarnation, campaign });
        }
        each(clock, Heard::Clock);
    }
}

/// The campaign after a restore is the one thing that everybody waits for: half of the table is its.
fn restore_wave(settings: &Settings) -> u32 {
    u32::try_from(settings.pending_max / 2).unwrap_or(u32::MAX).max(1)
}

/// The role that an order needs, with its word.
fn role_of(order: &OrderKind) -> (Roles, &'static str) {
    match order {
        OrderKind::SignerAdd { .. }
        | OrderKind::SignerRevoke { .. }
        | OrderKind::CredentialNext { .. }
        | OrderKind::Join { .. }
        | OrderKind::Leave { .. }
        | OrderKind::AdvanceEpoch { .. } => (Roles::SECURITY, "security"),
        _ => (Roles::OPERATOR, "operator"),
    }
}

fn answer_time(dev: Dev, nonce: [u8; 8]) -> Action {
    Action::Submit(Submission {
        request_id: format!("time-{dev}-{:016x}", u64::from_be_bytes(nonce)),
        addressee: Addressee::Device(dev),
        order: OrderKind::SetTime { nonce: Some(nonce) },
        nbf: None,
        ttl_min: 1,
        requester: "time request".to_owned(),
        roles: Roles::OPERATOR,
    })
}
