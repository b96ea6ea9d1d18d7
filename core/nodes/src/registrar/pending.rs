//! The registrations that are under way, and for a while those that are done.
//!
//! Each is bound to the link that its message_1 came over and lives 60 s. One whose keys are being agreed or
//! whose association is being written outlives that until its answer comes. One that is done is kept so that
//! message_4 can be sent again, until its association is used; the oldest of these gives way to a new one.

use std::collections::{HashMap, VecDeque};

use c1222::{ApTitleBuf, InvocationId};
use seal::edhoc::{MESSAGE_2_LEN, MESSAGE_4_LEN, Opened, PublicKey, Refusal, Refused, Registered, Run};
use seal::ids::{Dev, Sid};

use super::admission::Link;

/// How long a registration may take.
pub const LIFE_NS: u64 = 60_000_000_000;
/// How long one that is done is kept.
pub const KEPT_NS: u64 = 600_000_000_000;
/// When one that could not end yet is looked at again.
const AGAIN_NS: u64 = 1_000_000_000;

/// SHA-256 of a message_1.
pub type Hash = [u8; 32];

/// Whom an answer goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Where the message came from.
    pub link: Link,
    /// The sender's title (A6).
    pub title: Option<ApTitleBuf>,
    /// The message's id (A8).
    pub invocation: InvocationId,
}

/// What is known of a message_1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begun<'a> {
    /// Its keys are being agreed; its message_2 goes out then.
    Agreeing,
    /// It was answered so.
    Answered(&'a [u8; MESSAGE_2_LEN]),
}

/// What became of a message_3.
pub enum Third {
    /// No registration of this association is under way on this link.
    NoRun,
    /// It is refused.
    Refused(Refused),
    /// The device is authentic: make the association durable, then [`Pending::settle`].
    New(Registered),
    /// The identical message_3 again, before that.
    Writing,
    /// The identical message_3 again, after that: message_4 again.
    Again([u8; MESSAGE_4_LEN]),
}

struct Entry {
    link: Link,
    message_1: Hash,
    /// When its time is over.
    ends: u64,
    state: State,
}

enum State {
    /// In the queue to the token.
    Agreeing(Caller),
    /// message_2 is sent.
    Open(Box<Run>),
    /// message_3 was good; the association is being written.
    Writing(Box<Run>, Caller),
    /// message_4 is sent.
    Done(Box<Run>),
}

impl State {
    fn run(&self) -> Option<&Run> {
        match self {
            Self::Agreeing(_) => None,
            Self::Open(run) | Self::Writing(run, _) | Self::Done(run) => Some(run),
        }
    }

    fn run_mut(&mut self) -> Option<&mut Run> {
        match self {
            Self::Agreeing(_) => None,
            Self::Open(run) | Self::Writing(run, _) | Self::Done(run) => Some(run),
        }
    }
}

/// The table. Times are monotonic nanoseconds.
pub struct Pending {
    entries: HashMap<Sid, Entry>,
    begun: HashMap<(Link, Hash), Sid>,
    /// When those that are not done end, in the order in which they began.
    deadlines: VecDeque<(u64, Sid)>,
    /// When those that are done are forgotten.
    kept: VecDeque<(u64, Sid)>,
    under_way: usize,
    max: usize,
}

impl Pending {
    /// A table for at most `max` registrations under way, and as many that are done.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            entries: HashMap::new(),
            begun: HashMap::new(),
            deadlines: VecDeque::new(),
            kept: VecDeque::new(),
            under_way: 0,
            max: max.max(1),
        }
    }

    /// How many are under way.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// Whether one more may begin.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.under_way < self.max
    }

    /// What is known of an identical message_1 on this link.
    #[must_use]
    pub fn find(&self, link: Link, message_1: &Hash) -> Option<Begun<'_>> {
        let entry = self.entries.get(self.begun.get(&(link, *message_1))?)?;
        Some(entry.state.run().map_or(Begun::Agreeing, |run| Begun::Answered(run.message_2())))
    }

    /// A message_1 goes to the token.
    pub fn begin(&mut self, sid: Sid, message_1: Hash, caller: Caller, now: u64) {
        let (link, ends) = (caller.link, now.saturating_add(LIFE_NS));
        self.entries.insert(sid, Entry { link, message_1, ends, state: State::Agreeing(caller) });
        self.begun.insert((link, message_1), sid);
        self.deadlines.push_back((ends, sid));
        self.under_way += 1;
    }

    /// The token has answered: to whom message_2 goes, and message_2.
    pub fn agreed(&mut self, run: Box<Run>) -> Option<(Caller, [u8; MESSAGE_2_LEN])> {
        let entry = self.entries.get_mut(&run.sid())?;
        let State::Agreeing(caller) = &entry.state else { return None };
        let answer = (caller.clone(), *run.message_2());
        entry.state = State::Open(run);
        Some(answer)
    }

    /// The token has failed: the registration ends, and its `sid` is free again.
    pub fn not_agreed(&mut self, sid: Sid) -> Option<Caller> {
        match self.remove(sid)?.state {
            State::Agreeing(caller) => Some(caller),
            _ => None,
        }
    }

    /// Takes a message_3; `device` as in [`Run::message_3`].
    pub fn message_3(
        &mut self,
        sid: Sid,
        message_3: &[u8],
        caller: Caller,
        device: impl FnOnce(Dev) -> Result<PublicKey, Refusal>,
    ) -> Third {
        let entry = self.entries.get_mut(&sid).filter(|entry| entry.link == caller.link);
        let Some(run) = entry.and_then(|entry| entry.state.run_mut()) else { return Third::NoRun };
        match run.message_3(message_3, device) {
            Ok(Opened::New(registered)) => {
                self.replace(sid, |state| match state {
                    State::Open(run) => State::Writing(run, caller),
                    other => other,
                });
                Third::New(registered)
            }
            Ok(Opened::Writing) => {
                // The newest one is answered.
                self.replace(sid, |state| match state {
                    State::Writing(run, _) => State::Writing(run, caller),
                    other => other,
                });
                Third::Writing
            }
            Ok(Opened::Again(message_4)) => Third::Again(message_4),
            Err(refused) => Third::Refused(refused),
        }
    }

    /// The association was written, then this is whom message_4 goes to; or its write failed, then the same
    /// message_3 is taken anew while there is time.
    pub fn settle(&mut self, sid: Sid, durable: bool, now: u64) -> Option<(Caller, [u8; MESSAGE_4_LEN])> {
        let entry = self.entries.get_mut(&sid)?;
        let State::Writing(run, caller) = &mut entry.state else { return None };
        let message_4 = run.settle(durable);
        let answer = message_4.map(|message_4| (caller.clone(), message_4));
        if answer.is_none() {
            self.replace(sid, |state| match state {
                State::Writing(run, _) => State::Open(run),
                other => other,
            });
            return None;
        }
        entry.ends = now.saturating_add(KEPT_NS);
        self.kept.push_back((entry.ends, sid));
        self.replace(sid, |state| match state {
            State::Writing(run, _) => State::Done(run),
            other => other,
        });
        self.under_way = self.under_way.saturating_sub(1);
        if self.kept.len() > self.max {
            let oldest = self.kept.pop_front();
            oldest.into_iter().for_each(|(_, sid)| self.used(sid));
        }
        answer
    }

    /// Whom the answer goes to of a registration that is being written.
    #[must_use]
    pub fn writing(&self, sid: Sid) -> Option<&Caller> {
        match &self.entries.get(&sid)?.state {
            State::Writing(_, caller) => Some(caller),
            _ => None,
        }
    }

    /// An association was used: its message_4 has come.
    pub fn used(&mut self, sid: Sid) {
        if self.entries.get(&sid).is_some_and(|entry| matches!(entry.state, State::Done(_))) {
            self.remove(sid);
        }
    }

    /// Ends what has had its time; each `sid` told is free again.
    pub fn expire(&mut self, now: u64, mut free: impl FnMut(Sid)) {
        while let Some((_, sid)) = self.deadlines.pop_front_if(|(at, _)| *at <= now) {
            // The number may be that of a later one by now.
            let Some(entry) = self.entries.get(&sid).filter(|entry| entry.ends <= now) else { continue };
            match entry.state {
                State::Open(_) => {
                    self.remove(sid);
                    free(sid);
                }
                State::Agreeing(_) | State::Writing(..) => {
                    self.deadlines.push_back((now.saturating_add(AGAIN_NS), sid));
                }
                State::Done(_) => {}
            }
        }
        while let Some((_, sid)) = self.kept.pop_front_if(|(at, _)| *at <= now) {
            self.used(sid);
        }
    }

    /// Ends everything; each `sid` told was never handed to a shard and is free again.
    pub fn end(&mut self, mut free: impl FnMut(Sid)) {
        for (sid, entry) in self.entries.drain() {
            if matches!(entry.state, State::Agreeing(_) | State::Open(_)) {
                free(sid);
            }
        }
        *self = Self::new(self.max);
    }

    fn replace(&mut self, sid: Sid, next: impl FnOnce(State) -> State) {
        if let Some(entry) = self.entries.remove(&sid) {
            self.entries.insert(sid, Entry { state: next(entry.state), ..entry });
        }
    }

    fn remove(&mut self, sid: Sid) -> Option<Entry> {
        let entry = self.entries.remove(&sid)?;
        self.begun.remove(&(entry.link, entry.message_1));
        if !matches!(entry.state, State::Done(_)) {
            self.under_way = self.under_way.saturating_sub(1);
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registrar::sample::{CREDENTIAL, Device, caller, run};
    use seal::edhoc::Message1;

    const SECOND: u64 = 1_000_000_000;

    /// A table of two, with one registration that waits for the token.
    fn begun() -> (Pending, Device, Box<Run>) {
        let (mut pending, device) = (Pending::new(2), Device::new(1));
        pending.begin(Sid(1), [1; 32], caller(1), 0);
        let run = run(&Message1::read(&device.message_1).unwrap(), Sid(1));
        (pending, device, run)
    }

    fn freed(pending: &mut Pending, now: u64) -> Vec<Sid> {
        let mut freed = Vec::new();
        pending.expire(now, |sid| freed.push(sid));
        freed
    }

    #[test]
    fn what_waits_for_an_answer_outlives_its_time_until_it_comes() {
        let (mut pending, device, run) = begun();
        assert_eq!(pending.find(caller(1).link, &[1; 32]), Some(Begun::Agreeing));
        assert!(freed(&mut pending, 100 * SECOND).is_empty(), "the token has it");
        let (_, message_2) = pending.agreed(run).unwrap();
        let message_3 = device.message_3(&message_2);
        let key = CREDENTIAL.with(|credential| credential.key);
        assert!(matches!(pending.message_3(Sid(1), &message_3, caller(1), |_| Ok(key)), Third::New(_)));
        assert!(freed(&mut pending, 200 * SECOND).is_empty(), "the shard has it");
        assert!(pending.settle(Sid(1), false, 200 * SECOND).is_none());
        assert_eq!(freed(&mut pending, 300 * SECOND), [Sid(1)]);
        assert_eq!(pending.find(caller(1).link, &[1; 32]), None);
        assert_eq!(pending.under_way(), 0);
    }

    #[test]
    fn the_answer_goes_to_the_newest_repeat() {
        let (mut pending, device, run) = begun();
        let (_, message_2) = pending.agreed(run).unwrap();
        let message_3 = device.message_3(&message_2);
        let key = CREDENTIAL.with(|credential| credential.key);
        let newer = Caller { invocation: InvocationId::new(99), ..caller(1) };
        assert!(matches!(pending.message_3(Sid(1), &message_3, caller(1), |_| Ok(key)), Third::New(_)));
        let again = pending.message_3(Sid(1), &message_3, newer.clone(), |_| Ok(key));
        assert!(matches!(again, Third::Writing));
        assert_eq!(pending.settle(Sid(1), true, 0).unwrap().0, newer);
    }

    #[test]
    fn those_that_are_done_give_way_to_new_ones() {
        let mut pending = Pending::new(2);
        for number in 1..=3 {
            let (device, sid) = (Device::new(number), Sid(number.into()));
            pending.begin(sid, [number; 32], caller(1), 0);
            let read = Message1::read(&device.message_1).unwrap();
            let (_, message_2) = pending.agreed(run(&read, sid)).unwrap();
            let key = CREDENTIAL.with(|credential| credential.key);
            let taken = pending.message_3(sid, &device.message_3(&message_2), caller(1), |_| Ok(key));
            assert!(matches!(taken, Third::New(_)));
            assert!(pending.settle(sid, true, 0).is_some());
        }
        let known = |number| pending.find(caller(1).link, &[number; 32]).is_some();
        assert_eq!([1, 2, 3].map(known), [false, true, true]);
        assert!(freed(&mut pending, KEPT_NS).is_empty());
        assert!(pending.entries.is_empty() && pending.begun.is_empty());
    }

    #[test]
    fn at_the_end_only_what_no_shard_has_heard_of_is_free() {
        let (mut pending, device, run) = begun();
        pending.begin(Sid(2), [2; 32], caller(1), 0);
        assert!(!pending.has_room());
        let (_, message_2) = pending.agreed(run).unwrap();
        let key = CREDENTIAL.with(|credential| credential.key);
        pending.message_3(Sid(1), &device.message_3(&message_2), caller(1), |_| Ok(key));
        let mut free = Vec::new();
        pending.end(|sid| free.push(sid));
        assert_eq!(free, [Sid(2)]);
        assert!(pending.has_room());
    }
}
