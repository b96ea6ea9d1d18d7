//! The table of commands: what is pending, what ended, what is due.

use std::collections::btree_map::Entry as MapEntry;
use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use seal::command::{Addressee, Class, Receipt, SignedCommand};
use seal::control;
use seal::ids::{Dev, Gid};

use super::entry::{APPROVALS_MAX, Approval, End, Entry, Going, Signed, Told, refusal};
use super::heard::{Heard, Taken};
use super::{Action, Fleet, Settings, Unreadable};
use crate::front::{
    By, CommandId, CommandState, CommandView, DeviceResult, Filter, Outcome, Page, Receipted, Refusal, Word,
};

/// The result of an end device that cannot say what came of a command.
const RESULT_UNKNOWN: u8 = 18;

/// A device, and whether commands to it came signed.
type Lane = (Dev, bool);

/// All commands that have not ended, and those that ended last.
#[derive(Debug)]
pub(super) struct Table {
    settings: Settings,
    entries: HashMap<CommandId, Entry>,
    /// In the order in which they were taken.
    ages: VecDeque<CommandId>,
    requests: HashMap<String, CommandId>,
    /// Commands to one device that have not ended: the first is under way, the others wait. Those that came
    /// signed have a queue of their own: what root orders waits for no signer.
    scopes: HashMap<Lane, VecDeque<CommandId>>,
    unicast: HashMap<(Dev, u8, u32), CommandId>,
    broadcast: HashMap<(u8, u32), CommandId>,
    /// The highest counter that a key signed for a group: what it signed before is not repeated any more.
    newest: HashMap<(Gid, u8), u32>,
    timers: BTreeSet<(u64, CommandId)>,
    /// Given to the signer, which has not said anything: gone with a restart.
    signing: HashSet<CommandId>,
    pending: usize,
    /// Results of group commands that are kept.
    results: usize,
}

impl PartialEq for Table {
    /// Whether the log told both the same.
    fn eq(&self, other: &Self) -> bool {
        let told = |table: &Self| {
            let entry = |id| table.entries.get(id).map(|entry| entry.told.clone());
            table.ages.iter().map(entry).collect::<Vec<_>>()
        };
        self.ages == other.ages
            && self.requests == other.requests
            && self.scopes == other.scopes
            && self.unicast == other.unicast
            && self.broadcast == other.broadcast
            && (self.pending, self.results) == (other.pending, other.results)
            && told(self) == told(other)
    }
}

impl Table {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            entries: HashMap::new(),
            ages: VecDeque::new(),
            requests: HashMap::new(),
            scopes: HashMap::new(),
            unicast: HashMap::new(),
            broadcast: HashMap::new(),
            newest: HashMap::new(),
            timers: BTreeSet::new(),
            signing: HashSet::new(),
            pending: 0,
            results: 0,
        }
    }

    pub(super) fn pending(&self) -> usize {
        self.pending
    }

    pub(super) fn told(&self, id: CommandId) -> Option<&Told> {
        self.entries.get(&id).map(|entry| &entry.told)
    }

    pub(super) fn requested(&self, request_id: &str) -> Option<&Taken> {
        self.requests.get(request_id).and_then(|id| self.told(*id)).map(|told| &*told.taken)
    }

    /// The command under way to a device, and how many wait behind it.
    pub(super) fn of_device(&self, dev: Dev) -> (Option<CommandId>, usize) {
        let queues =
            || [true, false].into_iter().filter_map(|came_signed| self.scopes.get(&(dev, came_signed)));
        let first = queues().find_map(|queue| queue.front().copied());
        (first, queues().map(VecDeque::len).sum::<usize>().saturating_sub(1))
    }

    /// The highest counter that a key signed for a group.
    pub(super) fn newest(&self, gid: Gid, skid: u8) -> Option<u32> {
        self.newest.get(&(gid, skid)).copied()
    }

    pub(super) fn view(&self, id: CommandId, page: Page) -> Result<CommandView, Refusal> {
        self.entries.get(&id).map(|entry| entry.view(page)).ok_or(Refusal::NoCommand(id))
    }

    pub(super) fn list(&self, filter: &Filter, page: Page) -> Vec<CommandView> {
        let wanted = |entry: &&Entry| {
            let Told { taken, end, .. } = &entry.told;
            filter.addressee.is_none_or(|addressee| addressee == taken.addressee)
                && !(filter.pending && end.is_some())
                && filter.requester.as_ref().is_none_or(|requester| *requester == taken.requester)
        };
        let newest = self.ages.iter().rev().filter_map(|id| self.entries.get(id)).filter(wanted);
        page.of(newest.map(|entry| entry.view(Page::NONE)))
    }

    /// Whether a member has answered to a group command.
    pub(super) fn answered(&self, id: CommandId, dev: Dev) -> bool {
        self.told(id).is_some_and(|told| told.results.contains_key(&dev))
    }

    /// How often a command was given to a shard since the start.
    pub(super) fn sent(&self, id: CommandId) -> u32 {
        self.entries.get(&id).map_or(0, |entry| entry.going.sent)
    }

    /// Takes in a record; answers which command it ended.
    pub(super) fn hear(&mut self, at: u64, heard: &Heard, fleet: &dyn Fleet) -> Option<CommandId> {
        match heard {
            Heard::Taken(taken) => self.take(at, taken),
            Heard::Approved { id, approver, signature } => self.approve(at, *id, approver, *signature),
            Heard::Signed { id, octets } => self.sign(at, *id, octets),
            Heard::Refused { id, code } => {
                let outcome = Outcome::Refused { by: By::Signer, code: code.clone() };
                return self.end(at, *id, End { outcome, receipt: None });
            }
            Heard::Closed { id, outcome, receipt, filed } => {
                let ended = self.end(at, *id, End { outcome: outcome.clone(), receipt: *receipt });
                if *filed {
                    self.file(*id);
                }
                return ended;
            }
            Heard::Answered { id, result } => self.answer(*id, *result),
            Heard::Late { id, result } => {
                if let Some(entry) = self.entries.get_mut(id) {
                    entry.told.step(at, Word::Late(*result));
                }
            }
            Heard::Result { dev, skid, kind, ctr, result, rest } => {
                let outcome = control::Outcome { skid: *skid, kind: *kind, ctr: *ctr, result: *result, rest };
                return self.result(at, *dev, &outcome, fleet);
            }
            _ => {}
        }
        None
    }

    fn take(&mut self, at: u64, taken: &Taken) {
        let id = taken.id;
        if self.entries.contains_key(&id) {
            return;
        }
        if let Some(lane) = lane(taken) {
            self.scopes.entry(lane).or_default().push_back(id);
        }
        if !taken.request_id.is_empty() {
            self.requests.insert(taken.request_id.clone(), id);
        }
        let entry = Entry { told: Told::new(Box::new(taken.clone()), at), going: Going::default() };
        self.entries.insert(id, entry);
        self.ages.push_back(id);
        self.pending = self.pending.saturating_add(1);
        self.set_timer(id, Some(0));
        if let Some(octets) = &taken.signed {
            self.sign(at, id, octets);
        }
    }

    fn approve(&mut self, at: u64, id: CommandId, approver: &str, signature: [u8; 64]) {
        let Some(Entry { told, .. }) = self.entries.get_mut(&id) else { return };
        let another = told.approvals.iter().all(|approval| approval.approver != approver);
        if told.end.is_none() && another && told.approvals.len() < APPROVALS_MAX {
            told.approvals.push(Approval { approver: approver.to_owned(), signature });
            told.step(at, Word::Approved(approver.to_owned()));
            self.set_timer(id, Some(0));
        }
    }

    fn sign(&mut self, at: u64, id: CommandId, octets: &[u8]) {
        self.signing.remove(&id);
        let Some(Entry { told, .. }) = self.entries.get_mut(&id) else { return };
        // An id is signed once, ever: the first is the one that counts.
        let (None, Some(signed)) = (&told.signed, Signed::read(octets.to_vec())) else { return };
        let (skid, ctr) = (signed.skid, signed.ctr);
        match told.taken.addressee {
            Addressee::Device(dev) => {
                self.unicast.insert((dev, skid, ctr), id);
            }
            Addressee::Group(gid) => {
                self.broadcast.insert((skid, ctr), id);
                let newest = self.newest.entry((gid, skid)).or_default();
                *newest = ctr.max(*newest);
            }
        }
        told.signed = Some(signed);
        if told.end.is_none() {
            told.step(at, Word::Signed);
            self.set_timer(id, Some(0));
        }
    }

    /// The signed command that a RESULT names.
    fn find(&self, dev: Dev, skid: u8, kind: u8, ctr: u32) -> Option<CommandId> {
        match kind {
            1 => self.unicast.get(&(dev, skid, ctr)).copied(),
            2 => self.broadcast.get(&(skid, ctr)).copied(),
            _ => None,
        }
    }

    /// The command that a RESULT names, when it says for the first time that this device has done it.
    pub(super) fn newly_done(&self, dev: Dev, heard: (u8, u8, u32), result: u8) -> Option<&Taken> {
        let (skid, kind, ctr) = heard;
        let told = self.find(dev, skid, kind, ctr).and_then(|id| self.told(id)).filter(|_| result == 0)?;
        let known = match told.taken.addressee {
            Addressee::Group(_) => told.results.contains_key(&dev),
            Addressee::Device(_) => {
                let done = |end: &End| matches!(end.outcome, Outcome::Done { result: 0, .. });
                let late = |step: &crate::front::Step| step.what == Word::Late(0);
                told.end.as_ref().is_some_and(done) || told.history.iter().any(late)
            }
        };
        (!known).then_some(&*told.taken)
    }

    fn result(
        &mut self,
        at: u64,
        dev: Dev,
        outcome: &control::Outcome<'_>,
        fleet: &dyn Fleet,
    ) -> Option<CommandId> {
        let id = self.find(dev, outcome.skid, outcome.kind, outcome.ctr)?;
        let told = &mut self.entries.get_mut(&id)?.told;
        let answer = Answer::read(told, dev, outcome, fleet);
        if outcome.kind == 2 {
            let unknown = answer.outcome == Outcome::Unknown;
            let result = if unknown { RESULT_UNKNOWN } else { outcome.result };
            self.answer(id, DeviceResult { dev, result, receipt: answer.receipt });
            let told = self.told(id)?;
            if (told.results.len() as u64) < told.taken.members {
                return None;
            }
            let outcome = Outcome::Done { result: 0, response: Vec::new() };
            return self.end(at, id, End { outcome, receipt: None });
        }
        match &told.end {
            None => self.end(at, id, End { outcome: answer.outcome, receipt: answer.receipt }),
            // A repeat says the same again.
            Some(End { outcome: ended, .. }) if *ended == answer.outcome => None,
            Some(_) => {
                told.step(at, Word::Late(outcome.result));
                None
            }
        }
    }

    /// A member's answer to a group command: the first counts.
    fn answer(&mut self, id: CommandId, result: DeviceResult) {
        let Some(Entry { told, .. }) = self.entries.get_mut(&id) else { return };
        if let MapEntry::Vacant(place) = told.results.entry(result.dev) {
            place.insert(result);
            self.results = self.results.saturating_add(1);
        }
    }

    /// Its CLOSED is durable.
    fn file(&mut self, id: CommandId) {
        if let Some(entry) = self.entries.get_mut(&id) {
            entry.told.filed = true;
        }
        self.set_timer(id, None);
    }

    /// Ends a command that has not ended: what comes first counts.
    fn end(&mut self, at: u64, id: CommandId, end: End) -> Option<CommandId> {
        self.signing.remove(&id);
        let Entry { told, .. } = self.entries.get_mut(&id)?;
        if told.end.is_some() {
            return None;
        }
        told.end = Some(end);
        told.step(at, Word::Ended);
        let lane = lane(&told.taken);
        self.pending = self.pending.saturating_sub(1);
        // It is filed next.
        self.set_timer(id, Some(0));
        if let Some(lane) = lane
            && let Some(queue) = self.scopes.get_mut(&lane)
        {
            queue.retain(|other| *other != id);
            match queue.front().copied() {
                Some(next) => self.set_timer(next, Some(0)),
                None => {
                    self.scopes.remove(&lane);
                }
            }
        }
        Some(id)
    }

    /// Forgets the oldest that ended and are filed, where more are kept than should be.
    pub(super) fn forget(&mut self) {
        while self.ages.len() > self.settings.kept_max || self.results > self.settings.results_max {
            let filed = |id: &CommandId| self.told(*id).is_none_or(|told| told.filed);
            let Some(place) = self.ages.iter().position(filed) else { return };
            let Some(entry) = self.ages.remove(place).and_then(|id| self.entries.remove(&id)) else { return };
            let Told { taken, signed, results, .. } = entry.told;
            self.results = self.results.saturating_sub(results.len());
            if self.requests.get(&taken.request_id) == Some(&taken.id) {
                self.requests.remove(&taken.request_id);
            }
            if let Some(Signed { skid, ctr, .. }) = signed {
                match taken.addressee {
                    Addressee::Device(dev) => self.unicast.remove(&(dev, skid, ctr)),
                    Addressee::Group(_) => self.broadcast.remove(&(skid, ctr)),
                };
            }
        }
    }

    fn set_timer(&mut self, id: CommandId, due: Option<u64>) {
        let Some(entry) = self.entries.get_mut(&id) else { return };
        if let Some(before) = std::mem::replace(&mut entry.going.due, due) {
            self.timers.remove(&(before, id));
        }
        if let Some(due) = due {
            self.timers.insert((due, id));
        }
    }

    /// When something is due next, Unix seconds.
    pub(super) fn due(&self) -> Option<u64> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Whether nothing is to be done now, and nothing waits for the signer.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        self.signing.is_empty() && self.due().is_none_or(|due| due > now)
    }

    /// The state is that of a backup: what became of commands since is not known, and none is signed twice.
    pub(super) fn restored(&mut self, at: u64) {
        let pending: Vec<CommandId> = self
            .ages
            .iter()
            .copied()
            .filter(|id| self.told(*id).is_some_and(|told| told.end.is_none()))
            .collect();
        for id in pending {
            self.end(at, id, End { outcome: Outcome::Unknown, receipt: None });
        }
    }

    /// Does what is due, at most so much at once.
    pub(super) fn act(&mut self, now: u64, at_most: usize, actions: &mut Vec<Action>) {
        for _ in 0..at_most {
            let Some((due, id)) = self.timers.first().copied() else { return };
            if due > now {
                return;
            }
            let (action, next) = self.decide(id, now);
            actions.extend(action);
            self.set_timer(id, next.map(|next| next.max(now.saturating_add(1))));
        }
    }

    /// What is to be done about a command now, and when it is looked at again.
    fn decide(&mut self, id: CommandId, now: u64) -> (Option<Action>, Option<u64>) {
        let first = self.is_first(id);
        let Settings { grace_s, repeat_s, repeat_max_s, .. } = self.settings;
        let Some(Entry { told, going }) = self.entries.get_mut(&id) else { return (None, None) };
        let again = Some(now.saturating_add(repeat_s));
        if let Some(End { outcome, receipt }) = &told.end {
            let close = Action::Close { id, outcome: outcome.clone(), receipt: *receipt };
            return if told.filed { (None, None) } else { (Some(close), again) };
        }
        let ends_at = told.ends_at();
        let deadline = ends_at.saturating_add(grace_s);
        if now > deadline {
            return (Some(Action::Close { id, outcome: Outcome::Expired, receipt: None }), again);
        }
        let at_end = Some(deadline.saturating_add(1));
        if !first {
            return (None, at_end);
        }
        let Some(signed) = &told.signed else {
            if !told.approved() {
                return (None, at_end);
            }
            let approvals = told.approvals.iter();
            let approvals = approvals.map(|approval| (approval.approver.clone(), approval.signature));
            self.signing.insert(id);
            let sign = Action::Sign { id, intent: told.taken.intent.clone(), approvals: approvals.collect() };
            return (Some(sign), again.min(at_end));
        };
        let nbf = u64::from(signed.nbf);
        if now < nbf {
            return (None, Some(nbf));
        }
        if now > ends_at {
            return (None, at_end);
        }
        let (action, times_max) = match told.taken.addressee {
            Addressee::Device(dev) => (Action::Send { id, dev, signed: signed.octets.clone() }, u32::MAX),
            Addressee::Group(gid) => {
                if self.newest.get(&(gid, signed.skid)).is_some_and(|newest| *newest > signed.ctr) {
                    return (None, at_end);
                }
                let broadcast = Action::Broadcast { id, gid, signed: signed.octets.clone() };
                (broadcast, self.settings.broadcasts_max)
            }
        };
        if going.sent >= times_max {
            return (None, at_end);
        }
        let wait = repeat_s.checked_shl(going.sent.min(16)).unwrap_or(u64::MAX).min(repeat_max_s.max(1));
        going.sent = going.sent.saturating_add(1);
        (Some(action), Some(now.saturating_add(wait)).min(at_end))
    }

    /// Whether no earlier command to the same device has to end first.
    fn is_first(&self, id: CommandId) -> bool {
        let lane = self.told(id).and_then(|told| lane(&told.taken));
        let queue = lane.map(|lane| self.scopes.get(&lane));
        queue.is_none_or(|queue| queue.and_then(VecDeque::front) == Some(&id))
    }

    /// The state in which a command waits for approvals.
    pub(super) fn awaits(&self, id: CommandId) -> Result<(), Refusal> {
        let entry = self.entries.get(&id).ok_or(Refusal::NoCommand(id))?;
        let awaits = entry.told.state(entry.going) == CommandState::AwaitingApproval;
        if awaits { Ok(()) } else { Err(Refusal::NotAwaiting(id)) }
    }

    /// All that the log told, as records that tell it again.
    pub(super) fn tell(&self, each: &mut dyn FnMut(u64, Heard)) {
        for told in self.ages.iter().filter_map(|id| self.told(*id)) {
            super::retell::command(told, each);
        }
    }
}

/// The queue in which a command to one device waits.
fn lane(taken: &Taken) -> Option<Lane> {
    taken.device().map(|dev| (dev, taken.signed.is_some()))
}

/// What a RESULT means for its command.
struct Answer {
    outcome: Outcome,
    receipt: Option<Receipted>,
}

impl Answer {
    fn read(told: &Told, dev: Dev, outcome: &control::Outcome<'_>, fleet: &dyn Fleet) -> Self {
        let result = outcome.result;
        if result > 6 {
            return Self { outcome: refusal(result), receipt: None };
        }
        let done = |response: &[u8]| Outcome::Done { result, response: response.to_vec() };
        if told.taken.class != Class::Load {
            return Self { outcome: done(outcome.rest), receipt: None };
        }
        // A class-3 result without a signature, or with one that is not the device's or cannot be checked now,
        // proves nothing.
        let unproven = Self { outcome: Outcome::Unknown, receipt: None };
        let digest = told.signed.as_ref().and_then(|signed| SignedCommand::read(&signed.octets));
        let (Some(executed), Some(signed)) = (outcome.executed(), digest) else { return unproven };
        let control::Executed { executed_at, signature, response } = executed;
        let receipt = Receipt { system: fleet.system(), dev, digest: signed.digest(), result, executed_at };
        let verified = match fleet.signing_key(dev) {
            Ok(Some(key)) if receipt.verifies(&key, signature) => true,
            Ok(None) => false,
            Ok(Some(_)) | Err(Unreadable) => return unproven,
        };
        let receipt = Some(Receipted { executed_at, signature: *signature, verified });
        Self { outcome: done(response), receipt }
    }
}
