//! The desk: commands from their acceptance to their end, groups and campaigns, without I/O.
//!
//! What it knows is a function of the log's records alone: [`Desk::hear`] takes them in, [`Desk::tell`] gives
//! them again for a checkpoint. What it wants done comes out of [`Desk::act`], and shows in the log when it is
//! done; so a crash between the two repeats an action and loses none.
//!
//! ```text
//! accepted -> (awaiting approval) -> signed -> sent, again and again -> done | refused | expired | unknown
//! ```

mod action;
mod admission;
mod due;
mod entry;
mod fleet;
mod heard;
mod retell;
mod root;
mod seen;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod views;

use seal::command::Addressee;
use seal::ids::Dev;

use crate::campaign::Campaigns;
use crate::front::{CommandId, OrderKind, Outcome, Roles, Submission};
use crate::group::Groups;

pub use action::Action;
use due::Dues;
pub use due::{Due, Why, submission as advance};
pub use fleet::{Fleet, Unreadable};
pub(crate) use heard::Effect;
pub use heard::{Heard, Taken};
pub use root::{OfRoot, RootError};
use seen::Seen;
pub use settings::Settings;
use table::Table;

/// TIME_REQUESTs that wait to be answered, at most; a device asks again.
const TIME_REQUESTS_MAX: usize = 10_000;
/// A TIME_REQUEST is answered for so many seconds.
const TIME_REQUEST_S: u64 = 60;

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
                // What it was sent under the association before may be lost.
                self.groups.deliver_to(*dev);
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
        let all = [
            self.table.due(),
            self.groups.due(self.campaigns.tells_groups()),
            self.campaigns.due(),
            self.dues.due(),
            times,
        ];
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
        self.groups.act(now, at_most, self.campaigns.tells_groups(), &mut actions);
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

    /// The shards could not issue a campaign's candidates.
    pub fn issue_failed(&mut self) {
        self.campaigns.issue_failed();
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
