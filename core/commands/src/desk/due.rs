//! Associations that should leave their epoch, each moved on by an ADVANCE to it alone (security layer §6, §8).
//!
//! Nothing is less urgent: an advance is asked for only when no other command waits for the signer and no
//! campaign is under way, which moves everybody on, and at a rate of its own. Of one device at most one is
//! under way; for frames that did not open there is at most one a day, however many attackers make.

use std::collections::{BTreeMap, BTreeSet};

use seal::ids::{Dev, Epoch, Sid};

use super::heard::{Effect, Heard, Taken};
use super::{Action, Settings};
use crate::front::{OrderKind, Outcome, Roles, Submission};

/// Who asks: by its first word it may what campaigns may.
const REQUESTER: &str = "campaign due";
/// Minutes that an advance is in force.
const TTL_MIN: u16 = 60;
/// After an advance that did not come through the next one waits so many seconds.
const AGAIN_S: u64 = 3600;
/// An advance that was asked for and was not taken is asked for again after so many seconds.
const ASKED_S: u64 = 30;
/// Between two advances for frames that did not open.
const DAY_S: u64 = 86_400;

/// Why an association should leave its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Its counters near their end.
    Counters,
    /// Too many frames did not open.
    Failures,
}

impl Why {
    /// Each of them.
    pub const ALL: [Self; 2] = [Self::Counters, Self::Failures];

    /// Its number.
    #[must_use]
    pub fn octet(self) -> u8 {
        self as u8
    }

    /// That of a number.
    #[must_use]
    pub fn from_octet(octet: u8) -> Option<Self> {
        Self::ALL.into_iter().nth(octet.into())
    }

    /// In a word, for labels.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Counters => "counters",
            Self::Failures => "failures",
        }
    }
}

/// An association that should leave its epoch, or did within a day; told again by a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The association.
    pub sid: Sid,
    /// The epoch that it should leave.
    pub epoch: Epoch,
    /// Why.
    pub why: Why,
    /// It has not left it.
    pub waits: bool,
    /// An advance is under way.
    pub open: bool,
    /// The number of the last advance that it may not have heard of; 0 for none.
    pub campaign: u32,
    /// Advances so far.
    pub tries: u32,
    /// None before this, Unix seconds.
    pub from: u64,
    /// When the last one for frames that did not open was taken, Unix seconds; 0 for never.
    pub limited_at: u64,
}

impl Due {
    fn is_over(&self, clock: u64) -> bool {
        !self.waits && !self.open && clock >= self.limited_at.saturating_add(DAY_S)
    }
}

/// What is asked of the signer with what is left of its time.
#[derive(Debug, Default)]
struct Bucket {
    tokens: f64,
    /// When it was filled last, Unix seconds; 0 for never.
    at: u64,
}

impl Bucket {
    /// Fills it; a start, and a clock that stepped back, bring nothing.
    fn fill(&mut self, now: u64, per_s: f64) {
        let passed = if self.at == 0 { 0 } else { now.saturating_sub(self.at) };
        self.at = now;
        // No burst: what was not used is gone, but for a second's worth.
        let passed = u32::try_from(passed).unwrap_or(u32::MAX);
        self.tokens = f64::from(passed).mul_add(per_s, self.tokens).min(per_s.max(1.0));
    }

    fn take(&mut self) -> bool {
        let has_one = self.tokens >= 1.0;
        if has_one {
            self.tokens -= 1.0;
        }
        has_one
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct Dues {
    max: usize,
    per_s: f64,
    entries: BTreeMap<Dev, Due>,
    /// Those that wait with nothing under way, by when they may go on.
    ready: BTreeSet<(u64, Dev)>,
    /// Of each reason, how many have not left their epoch.
    waiting: [usize; Why::ALL.len()],
    /// The highest number of an advance.
    last: u32,
    dropped: u64,
    /// Advances that were asked for: gone with a restart.
    asked: BTreeMap<Dev, u64>,
    bucket: Bucket,
    /// No look before this.
    look_at: u64,
}

impl PartialEq for Dues {
    /// Whether the log told both the same.
    fn eq(&self, other: &Self) -> bool {
        (&self.entries, &self.ready, self.waiting, self.last)
            == (&other.entries, &other.ready, other.waiting, other.last)
    }
}

impl Dues {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            max: settings.due_max,
            per_s: settings.due_per_s,
            entries: BTreeMap::new(),
            ready: BTreeSet::new(),
            waiting: [0; Why::ALL.len()],
            last: 0,
            dropped: 0,
            asked: BTreeMap::new(),
            bucket: Bucket::default(),
            look_at: 0,
        }
    }

    /// The highest number that an advance had.
    pub(super) fn last(&self) -> u32 {
        self.last
    }

    /// How many have not left their epoch, for this reason.
    pub(super) fn waiting(&self, why: Why) -> usize {
        self.waiting.get(usize::from(why.octet())).copied().unwrap_or_default()
    }

    /// How many found no room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Changes an entry; what is derived from it follows.
    fn change(&mut self, dev: Dev, clock: u64, change: impl FnOnce(&mut Due)) {
        let Some(before) = self.entries.get(&dev).copied() else { return };
        let mut after = before;
        change(&mut after);
        self.forget(dev);
        if !after.is_over(clock) {
            self.insert(dev, after);
        }
    }

    fn insert(&mut self, dev: Dev, due: Due) {
        self.forget(dev);
        if due.waits {
            if let Some(waiting) = self.waiting.get_mut(usize::from(due.why.octet())) {
                *waiting = waiting.saturating_add(1);
            }
            if !due.open {
                self.ready.insert((due.from, dev));
            }
        }
        self.entries.insert(dev, due);
    }

    fn forget(&mut self, dev: Dev) {
        let Some(due) = self.entries.remove(&dev) else { return };
        self.ready.remove(&(due.from, dev));
        if due.waits
            && let Some(waiting) = self.waiting.get_mut(usize::from(due.why.octet()))
        {
            *waiting = waiting.saturating_sub(1);
        }
    }

    /// An association should leave its epoch. Said again of the same epoch it is nothing new.
    pub(super) fn hear(&mut self, clock: u64, sid: Sid, dev: Dev, epoch: Epoch, why: Why) {
        let new =
            Due { sid, epoch, why, waits: true, open: false, campaign: 0, tries: 0, from: 0, limited_at: 0 };
        let Some(known) = self.entries.get(&dev).copied() else {
            if self.entries.len() >= self.max {
                self.entries.retain(|_, due| !due.is_over(clock));
            }
            if self.entries.len() >= self.max {
                self.dropped = self.dropped.saturating_add(1);
            } else {
                self.insert(dev, new);
            }
            return;
        };
        if known.sid != sid {
            return self.insert(dev, Due { open: known.open, ..new });
        }
        if epoch < known.epoch || (epoch == known.epoch && (!known.waits || why >= known.why)) {
            return;
        }
        let from = match why {
            Why::Counters => 0,
            Why::Failures if known.limited_at == 0 => 0,
            Why::Failures => known.limited_at.saturating_add(DAY_S),
        };
        if epoch > known.epoch {
            let Due { open, limited_at, .. } = known;
            return self.insert(dev, Due { open, from, limited_at, ..new });
        }
        self.insert(dev, Due { why, from, ..known });
    }

    /// A frame opened under this epoch.
    pub(super) fn report(&mut self, clock: u64, sid: Sid, dev: Dev, epoch: Epoch) {
        if self.entries.get(&dev).is_some_and(|due| due.sid == sid && due.waits && epoch > due.epoch) {
            self.change(dev, clock, |due| due.waits = false);
        }
    }

    /// The state is that of a backup: everybody is moved on.
    pub(super) fn restored(&mut self) {
        (self.entries, self.ready, self.waiting) = Default::default();
    }

    /// A device has another association, or none any more.
    pub(super) fn gone(&mut self, dev: Dev) {
        self.forget(dev);
    }

    /// The number of an advance that is one of these.
    fn of(taken: &Taken) -> Option<(Dev, u32)> {
        let campaign = taken.effects().find_map(|effect| match effect {
            Effect::Advance(campaign) => Some(campaign),
            _ => None,
        });
        taken.device().zip(campaign).filter(|_| taken.requester == REQUESTER)
    }

    /// A command was taken, perhaps one of these.
    pub(super) fn taken(&mut self, at: u64, taken: &Taken) {
        let Some((dev, campaign)) = Self::of(taken) else { return };
        self.last = self.last.max(campaign);
        self.asked.remove(&dev);
        self.change(dev, at, |due| {
            (due.open, due.campaign, due.tries) = (true, campaign, due.tries.saturating_add(1));
            if due.why == Why::Failures {
                due.limited_at = at;
            }
        });
    }

    /// A command has ended. Answers whether it is one of these.
    pub(super) fn ended(&mut self, at: u64, taken: &Taken, outcome: &Outcome) -> bool {
        let Some((dev, campaign)) = Self::of(taken) else { return false };
        self.change(dev, at, |due| {
            due.open = false;
            if due.campaign != campaign {
                // It was meant for an epoch before.
                return;
            }
            match outcome {
                Outcome::Done { result: 0, .. } => due.waits = false,
                // The device knows a higher number: the next one is fresh.
                Outcome::Done { .. } => due.campaign = 0,
                // It may not have heard of it, and the next epoch is issued: the number stays.
                _ => {}
            }
            due.from = match due.why {
                Why::Counters => at.saturating_add(AGAIN_S),
                Why::Failures => due.limited_at.saturating_add(DAY_S).max(at.saturating_add(AGAIN_S)),
            };
        });
        true
    }

    /// When something is due next, Unix seconds.
    pub(super) fn due(&self) -> Option<u64> {
        self.ready.first().map(|(from, _)| self.look_at.max(*from))
    }

    /// Asks for the advances that may go on, with numbers above this one; `idle`: nothing else waits.
    pub(super) fn act(
        &mut self,
        now: u64,
        at_most: usize,
        idle: bool,
        above: u32,
        actions: &mut Vec<Action>,
    ) {
        if self.ready.is_empty() || now < self.look_at {
            return;
        }
        self.look_at = now.saturating_add(1);
        self.bucket.fill(now, self.per_s);
        if !idle {
            return;
        }
        // Those of one second may share a number: it rises for each device.
        let second = u32::try_from(now).unwrap_or(u32::MAX).max(above.saturating_add(1));
        let fresh = if second < self.last { self.last.saturating_add(1) } else { second };
        self.asked.retain(|_, at| now < at.saturating_add(ASKED_S));
        let asked = &self.asked;
        let ready = self.ready.iter().take_while(|(from, _)| *from <= now).map(|(_, dev)| *dev);
        let ready: Vec<Dev> = ready.filter(|dev| !asked.contains_key(dev)).take(at_most).collect();
        for dev in ready {
            let Some(due) = self.entries.get(&dev) else { continue };
            if !self.bucket.take() {
                return;
            }
            let campaign = if due.campaign == 0 { fresh } else { due.campaign };
            let request_id = format!("due-{}-{}-{}", due.sid, due.epoch.0, due.tries);
            actions.push(Action::Advance { dev, campaign, why: due.why, request_id });
            self.asked.insert(dev, now);
        }
    }

    /// All that the log told.
    pub(super) fn tell(&self, each: &mut dyn FnMut(Heard)) {
        each(Heard::Advanced { campaign: self.last });
        for (dev, due) in &self.entries {
            each(Heard::DueKept { dev: *dev, due: *due });
        }
    }

    /// As a checkpoint tells it.
    pub(super) fn kept(&mut self, dev: Dev, due: Due) {
        self.insert(dev, due);
    }

    /// The highest number, as a checkpoint tells it.
    pub(super) fn advanced(&mut self, campaign: u32) {
        self.last = self.last.max(campaign);
    }
}

/// The command that moves a device on.
#[must_use]
pub fn submission(dev: Dev, campaign: u32, challenge: [u8; 8], request_id: String) -> Submission {
    Submission {
        request_id,
        addressee: seal::command::Addressee::Device(dev),
        order: OrderKind::AdvanceEpoch { campaign, delta: 1, challenge },
        nbf: None,
        ttl_min: TTL_MIN,
        requester: REQUESTER.to_owned(),
        roles: Roles::SECURITY,
    }
}
