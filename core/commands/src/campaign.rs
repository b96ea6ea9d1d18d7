//! Epoch campaigns: one signed command moves all associations on, and whoever missed it is told alone.
//!
//! A device is *proved* when a frame of its has opened under the epoch that was issued for it, or when it has
//! registered anew; *missed* when it did not answer to any of the commands that were sent to it alone: it must
//! register anew. Its old epoch stays until it is proved, so nobody is orphaned.

mod change;
mod course;

use std::collections::{BTreeMap, BTreeSet};

use seal::command::{Addressee, Class};
use seal::ids::{Dev, Epoch, Gid, Sid};

use crate::desk::{Action, Effect, Fleet, Heard, Taken};
use crate::front::{By, CampaignState, CampaignView, OrderKind, Outcome, Page, Roles, Submission};
use crate::group::Groups;

pub use change::CampaignChange;
use course::{Broadcast, Course, Going, Tries};

/// Steps of the campaign after a restore.
const RESTORE_DELTA: u8 = 1;
/// Campaigns that are remembered.
const REMEMBERED_MAX: usize = 16;
/// Commands that a device gets alone before it counts as missed.
const TRIES_MAX: u8 = 3;
/// Minutes that a command of a campaign is in force.
const TTL_MIN: u16 = 60;
/// What was asked for and did not come is asked for again after so many seconds.
const AGAIN_S: u64 = 30;
/// All associations are looked through at most every so many seconds.
const SCAN_EVERY_S: u64 = 5;

/// All campaigns that are remembered; the last one may be under way.
#[derive(Debug, Default)]
pub struct Campaigns {
    /// A group's command has so many seconds before its silent members are told one by one.
    catch_up_s: u64,
    courses: BTreeMap<u32, Course>,
    going: Going,
    restore: Restore,
    /// Devices that the campaign after a restore tells at the same time, at most.
    restore_wave: u32,
}

/// The campaign after the last restore of the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Restore {
    /// There was none.
    #[default]
    Never,
    /// It has not begun.
    Wanted,
    /// Its number.
    Course(u32),
}

impl PartialEq for Campaigns {
    /// Whether the log told both the same.
    fn eq(&self, other: &Self) -> bool {
        (&self.courses, self.restore) == (&other.courses, other.restore)
    }
}

impl Campaigns {
    /// No campaign yet.
    #[must_use]
    pub fn new(catch_up_s: u64, restore_wave: u32) -> Self {
        Self { catch_up_s, restore_wave, ..Self::default() }
    }

    /// The number of the next one: above all before it and above this one, the time where that is higher. So
    /// it is above what end devices know, also where the state is that of a backup.
    #[must_use]
    pub fn next_number(&self, above: u32, now: u64) -> u32 {
        let next = self.last().max(above).saturating_add(1);
        u32::try_from(now).unwrap_or(u32::MAX).max(next)
    }

    /// The number of the last one; 0 for none.
    pub(crate) fn last(&self) -> u32 {
        self.courses.keys().next_back().copied().unwrap_or_default()
    }

    /// Whether one moves everybody on now, or is about to.
    pub(crate) fn moves_on(&self) -> bool {
        self.restore == Restore::Wanted
            || self.courses.values().any(|course| course.total.is_none() && !course.paused)
    }

    /// The state is that of a backup: another campaign begins, whatever was under way.
    pub(crate) fn restored(&mut self) {
        for course in self.courses.values_mut().filter(|course| course.total.is_none()) {
            course.finish(course.proved.len().saturating_add(course.missed.len()) as u64);
        }
        (self.restore, self.going) = (Restore::Wanted, Going::default());
    }

    /// The campaign after the last restore, once it has begun.
    pub(crate) fn restore(&self) -> Option<u32> {
        match self.restore {
            Restore::Course(campaign) => Some(campaign),
            Restore::Never | Restore::Wanted => None,
        }
    }

    pub(crate) fn restore_kept(&mut self, campaign: Option<u32>) {
        self.restore = campaign.map_or(Restore::Wanted, Restore::Course);
    }

    /// Whether nothing of a device counts since the last restore.
    pub(crate) fn restores(&self, dev: Dev) -> bool {
        match self.restore {
            Restore::Never => false,
            Restore::Wanted => true,
            Restore::Course(campaign) => {
                let course = self.courses.get(&campaign).filter(|course| course.total.is_none());
                course.is_some_and(|course| course.is_open(dev))
            }
        }
    }

    /// Whether groups are still told of the last restore, under the epochs that their members have: until then
    /// no key of theirs is a new one.
    pub(crate) fn tells_groups(&self) -> bool {
        match self.restore {
            Restore::Never => false,
            Restore::Wanted => true,
            Restore::Course(campaign) => {
                let course = self.courses.get(&campaign);
                course.is_some_and(|course| course.total.is_none() && !course.paused && !course.told)
            }
        }
    }

    /// The one under way.
    #[must_use]
    pub fn running(&self) -> Option<u32> {
        self.courses.iter().find(|(_, course)| course.total.is_none()).map(|(number, _)| *number)
    }

    /// A campaign as people see it, in a fleet of so many associations.
    #[must_use]
    pub fn view(&self, campaign: u32, associations: u64, page: Page) -> Option<CampaignView> {
        let course = self.courses.get(&campaign)?;
        let total = course.total.unwrap_or(associations);
        let (proved, missed) = (course.proved.len() as u64, course.missed.len() as u64);
        let proved = proved.min(total);
        Some(CampaignView {
            campaign,
            delta: course.delta,
            state: course.state(),
            total,
            proved,
            pending: total.saturating_sub(proved).saturating_sub(missed),
            missed,
            reregister: page.of(course.missed.iter().copied()),
        })
    }

    /// Whether it is paused.
    #[must_use]
    pub fn state(&self, campaign: u32) -> Option<CampaignState> {
        self.courses.get(&campaign).map(Course::state)
    }

    pub(crate) fn change(&mut self, change: &CampaignChange) {
        if let CampaignChange::Started { campaign, delta, wave, group, challenge } = change {
            let course = Course::new(*delta, *wave, *group, *challenge);
            self.courses.entry(*campaign).or_insert(course);
            if self.restore == Restore::Wanted {
                self.restore = Restore::Course(*campaign);
            }
            self.going = Going::default();
            while self.courses.len() > REMEMBERED_MAX {
                self.courses.pop_first();
            }
            return;
        }
        let Some(course) = self.courses.get_mut(&change.campaign()) else { return };
        match change {
            CampaignChange::Started { .. } => {}
            CampaignChange::Issued { .. } => course.issued = true,
            CampaignChange::Paused { .. } => course.paused = true,
            CampaignChange::Resumed { .. } => course.paused = false,
            CampaignChange::Missed { dev, .. } => course.miss(*dev),
            CampaignChange::Finished { total, .. } => course.finish(*total),
            CampaignChange::Told { .. } => course.told = true,
            CampaignChange::Proved { dev, .. } => course.prove(*dev),
            CampaignChange::Tried { dev, tries, refused, .. } => {
                course.tries.insert(*dev, Tries { all: *tries, refused: *refused });
            }
            CampaignChange::GroupTried { gid, tries, ended, .. } => course.kept(*gid, *tries, *ended),
        }
    }

    fn current(&mut self) -> Option<&mut Course> {
        self.courses.values_mut().next_back().filter(|course| course.total.is_none())
    }

    fn of(&mut self, taken: &Taken) -> Option<&mut Course> {
        let campaign = taken.effects().find_map(|effect| match effect {
            Effect::Advance(campaign) => Some(campaign),
            _ => None,
        })?;
        self.courses.get_mut(&campaign).filter(|course| course.total.is_none())
    }

    /// A command was taken, perhaps one of a campaign.
    pub(crate) fn taken(&mut self, taken: &Taken) {
        let Some(course) = self.of(taken) else { return };
        match taken.addressee {
            Addressee::Group(gid) => course.tell(gid),
            Addressee::Device(dev) => {
                course.open.insert(dev);
                let tries = course.tries.entry(dev).or_default();
                tries.all = tries.all.saturating_add(1);
                self.going.asked.remove(&dev);
            }
        }
    }

    /// A command has ended, perhaps one of a campaign.
    pub(crate) fn ended(&mut self, at: u64, taken: &Taken, outcome: &Outcome) {
        let Some(course) = self.of(taken) else { return };
        let refused = matches!(outcome, Outcome::Refused { by: By::Signer, .. });
        match taken.addressee {
            Addressee::Group(gid) => {
                course.told(gid, refused);
                self.going.broadcast_at.insert(gid, at);
            }
            Addressee::Device(dev) => {
                course.open.remove(&dev);
                if refused {
                    // The device is not to blame: it is told later.
                    let tries = course.tries.entry(dev).or_default();
                    tries.refused = tries.refused.saturating_add(1);
                    self.going.asked.insert(dev, at);
                }
            }
        }
    }

    /// A device has done what a campaign's command told it.
    pub(crate) fn done(&mut self, campaign: u32, dev: Dev) {
        if let Some(course) = self.courses.get_mut(&campaign).filter(|course| course.total.is_none()) {
            course.prove(dev);
        }
    }

    /// Epochs up to this one were issued for a campaign.
    pub(crate) fn issued(&mut self, campaign: u32, sid: Sid, epoch: Epoch) {
        let last = self.last();
        // One that was issued for a device alone meanwhile leaves the same epoch.
        if let Some(course) = self.current().filter(|_| campaign >= last) {
            course.targets.entry(sid).or_insert(epoch);
        }
    }

    /// A frame opened under this epoch. Answers whether it is the first of its device after a restore.
    pub(crate) fn report(&mut self, sid: Sid, dev: Dev, epoch: Epoch) -> bool {
        let restored = self.restore() == Some(self.last());
        let Some(course) = self.current() else { return false };
        // After a restore no frame gets through before its device is proven.
        let first = restored && course.is_open(dev);
        if first || course.targets.get(&sid).is_some_and(|target| epoch >= *target) {
            course.targets.remove(&sid);
            course.prove(dev);
        }
        first
    }

    /// A device has registered anew: its keys are new.
    pub(crate) fn registered(&mut self, dev: Dev) {
        if let Some(course) = self.current() {
            course.prove(dev);
        }
    }

    /// A device is believed no longer: it counts no more.
    pub(crate) fn revoked(&mut self, dev: Dev) {
        if let Some(course) = self.current() {
            course.proved.remove(&dev);
            course.missed.remove(&dev);
        }
    }

    /// The shards could not issue: it is asked again.
    pub(crate) fn issue_failed(&mut self) {
        self.going.issue_at = None;
    }

    /// When something is due next, Unix seconds; 0 for now.
    pub(crate) fn due(&self) -> Option<u64> {
        self.moves_on().then_some(self.going.due)
    }

    /// Goes on with the campaign under way: at most `at_most` devices at once.
    pub(crate) fn act(
        &mut self,
        now: u64,
        at_most: usize,
        groups: &Groups,
        fleet: &dyn Fleet,
        actions: &mut Vec<Action>,
    ) {
        if self.restore == Restore::Wanted {
            if now >= self.going.due {
                self.going.due = now.saturating_add(AGAIN_S);
                actions.push(Action::Begin { delta: RESTORE_DELTA, wave: self.restore_wave });
            }
            return;
        }
        let Some((campaign, course)) =
            self.courses.iter().next_back().map(|(number, course)| (*number, course))
        else {
            return;
        };
        if course.total.is_some() || course.paused || now < self.going.due {
            return;
        }
        self.going.due = now.saturating_add(1);
        let restores = self.restore == Restore::Course(campaign);
        let wanted: Vec<Gid> = match course.group {
            _ if course.told => Vec::new(),
            Some(gid) => {
                groups.version(gid).filter(|(_, members)| *members > 0).map(|_| gid).into_iter().collect()
            }
            None if restores => groups.tellable(Class::Keys, now).collect(),
            None => Vec::new(),
        };
        let is = |broadcast: Broadcast| move |gid: &Gid| course.broadcast(*gid) == broadcast;
        let spared = || wanted.iter().copied().filter(|gid| course.broadcast(*gid) != Broadcast::Ended);
        let going = &mut self.going;
        if wanted.iter().any(is(Broadcast::Before)) || (restores && spared().next().is_some()) {
            // Shards that started anew have forgotten what proofs of a restored state are to echo.
            let unknown = !course.issued || (restores && going.issue_at.is_none());
            if unknown && going.issue_at.is_none_or(|at| now >= at.saturating_add(AGAIN_S.saturating_mul(10)))
            {
                let devs = groups.members_of(spared()).collect();
                let (delta, challenge) = (course.delta, course.challenge);
                actions.push(Action::Issue { campaign, delta, challenge, devs });
                going.issue_at = Some(now);
            }
            for gid in wanted.iter().copied().filter(is(Broadcast::Before)).filter(|_| course.issued) {
                let asked = going.broadcast_at.get(&gid);
                if asked.is_none_or(|at| now >= at.saturating_add(AGAIN_S)) {
                    let tries = course.groups.get(&gid).map_or(0, |telling| telling.tries);
                    let request_id = match course.group {
                        Some(_) => format!("campaign-{campaign}"),
                        None => format!("campaign-{campaign}-{gid}-{tries}"),
                    };
                    actions.push(advance(campaign, course, Addressee::Group(gid), request_id));
                    going.broadcast_at.insert(gid, now);
                }
            }
            // After a restore others wait for nobody.
            if !restores && wanted.iter().any(is(Broadcast::Before)) {
                return;
            }
        }
        // Members are left alone for as long as the group's command has to reach them.
        if wanted.iter().any(is(Broadcast::Open)) {
            let since = *going.open_since.get_or_insert(now);
            if now >= since.saturating_add(self.catch_up_s) && going.told_at != Some(since) {
                going.told_at = Some(since);
                actions.push(Action::Campaign(CampaignChange::Told { campaign }));
            }
        } else if restores && !course.told && spared().next().is_none() && going.told_at != Some(now) {
            going.told_at = Some(now);
            actions.push(Action::Campaign(CampaignChange::Told { campaign }));
        }
        going.asked.retain(|_, at| now < at.saturating_add(AGAIN_S));
        if going.queue.is_empty() && now >= going.scan_at {
            going.scan_at = now.saturating_add(SCAN_EVERY_S);
            let mut left_alone: Vec<Dev> = groups.members_of(spared()).collect();
            left_alone.sort();
            let mut open = false;
            fleet.each(&mut |dev| {
                if course.is_open(dev) {
                    open = true;
                    if left_alone.binary_search(&dev).is_err() && !course.open.contains(&dev) {
                        going.queue.push(dev);
                    }
                }
            });
            if !open && spared().next().is_none() && course.open.is_empty() {
                actions.push(Action::Campaign(CampaignChange::Finished { campaign, total: fleet.count() }));
                return;
            }
        }
        let wave = usize::try_from(course.wave).unwrap_or(usize::MAX);
        let mut turns = at_most;
        while turns > 0 && course.open.len().saturating_add(going.asked.len()) < wave {
            turns = turns.saturating_sub(1);
            let Some(dev) = going.queue.pop() else { return };
            if !course.is_open(dev) || course.open.contains(&dev) || going.asked.contains_key(&dev) {
                continue;
            }
            let tries = course.tries.get(&dev).copied().unwrap_or_default();
            if tries.all.saturating_sub(tries.refused) >= TRIES_MAX || tries.all == u8::MAX {
                actions.push(Action::Campaign(CampaignChange::Missed { campaign, dev }));
                continue;
            }
            let request_id = format!("campaign-{campaign}-{dev}-{}", tries.all);
            actions.push(advance(campaign, course, Addressee::Device(dev), request_id));
            going.asked.insert(dev, now);
        }
    }

    /// Records from which the campaigns are made before any command is told.
    pub(crate) fn tell_begun(&self, each: &mut dyn FnMut(CampaignChange)) {
        for (campaign, course) in &self.courses {
            let Course { delta, wave, group, challenge, .. } = *course;
            each(CampaignChange::Started { campaign: *campaign, delta, wave, group, challenge });
        }
    }

    /// Records of how far they are, after all commands are told.
    pub(crate) fn tell_progress(&self, each: &mut dyn FnMut(Heard)) {
        for (campaign, course) in &self.courses {
            let campaign = *campaign;
            let mut change = |change| each(Heard::Campaign(change));
            let flags = [
                (course.issued, CampaignChange::Issued { campaign }),
                (course.paused, CampaignChange::Paused { campaign }),
                (course.told, CampaignChange::Told { campaign }),
            ];
            flags.into_iter().filter(|(set, _)| *set).for_each(|(_, flag)| change(flag));
            for (dev, tries) in &course.tries {
                let Tries { all, refused } = *tries;
                change(CampaignChange::Tried { campaign, dev: *dev, tries: all, refused });
            }
            for (gid, telling) in &course.groups {
                let (gid, tries, ended) = (*gid, telling.tries, telling.broadcast == Broadcast::Ended);
                change(CampaignChange::GroupTried { campaign, gid, tries, ended });
            }
            course.missed.iter().for_each(|dev| change(CampaignChange::Missed { campaign, dev: *dev }));
            course.proved.iter().for_each(|dev| change(CampaignChange::Proved { campaign, dev: *dev }));
            if let Some(total) = course.total {
                change(CampaignChange::Finished { campaign, total });
            }
            for (sid, epoch) in &course.targets {
                each(Heard::Issued { sid: *sid, epoch: *epoch, campaign });
            }
        }
    }
}

fn advance(campaign: u32, course: &Course, addressee: Addressee, request_id: String) -> Action {
    Action::Submit(Submission {
        request_id,
        addressee,
        order: OrderKind::AdvanceEpoch { campaign, delta: course.delta, challenge: course.challenge },
        nbf: None,
        ttl_min: TTL_MIN,
        requester: format!("campaign {campaign}"),
        roles: Roles::SECURITY,
    })
}

/// Devices in the order of their identities.
type Devs = BTreeSet<Dev>;
