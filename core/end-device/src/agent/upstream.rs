//! What goes up: sealed once, repeated as the identical octets until it is acknowledged (security layer §3).
//!
//! Types 1 and 5 share one counter. At most 32 frames are unacknowledged, and none has a counter above the
//! oldest unacknowledged and 63. What was sealed under an epoch or an association that is not the present one
//! is sealed anew when it is due, and its old acknowledgement still counts.

use std::collections::VecDeque;

use seal::control::Ack;
use seal::counter::{Counter, END_DEVICE_BLOCK};
use seal::frame::{FrameType, Head, PLAINTEXT_MAX};
use seal::ids::{Epoch, Sid};

use crate::mix::mix_below;
use crate::reporter::{RELINK_SPREAD_US, REPEAT_MAX_US, REPEAT_MIN_US, SEQ_SPAN, UNACKNOWLEDGED_MAX};

/// Frames of types other than a report that wait, at most; what comes then is dropped.
pub(super) const WAITING_MAX: usize = 64;
/// Earlier seals of one frame whose acknowledgement is still understood.
const EARLIER_MAX: usize = 4;
/// The first counter of a key.
const FIRST_SEQ: u32 = 1;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// The device's report of this number.
    Report(u32),
    /// A C12.22 request to the head-end. It is not kept over a restart.
    Request,
    /// Items of type 5.
    Control {
        /// Of a RESULT: the A8 that it answers.
        answer_to: Option<u32>,
        /// It is an EVENT.
        event: bool,
    },
}

impl Content {
    fn frame_type(self) -> FrameType {
        match self {
            Self::Report(_) | Self::Request => FrameType::Report,
            Self::Control { .. } => FrameType::UpControl,
        }
    }

    /// Whether its APDU is a NOTIFICATION.
    pub fn is_notification(self) -> bool {
        !matches!(self, Self::Control { event: false, .. })
    }

    /// Its A4.
    pub fn answer_to(self) -> Option<u32> {
        match self {
            Self::Control { answer_to, .. } => answer_to,
            _ => None,
        }
    }
}

/// What seals upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub sid: Sid,
    pub epoch: Epoch,
}

/// One use of a counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    key: Key,
    seq: u32,
}

struct Sealed {
    name: Name,
    body: Box<[u8]>,
}

/// What waits to be acknowledged.
pub(super) struct Waiting {
    pub content: Content,
    pub plaintext: Box<[u8]>,
    sealed: Option<Sealed>,
    earlier: Vec<Name>,
    sent_ns: u64,
    due_ns: u64,
    doublings: u8,
}

/// What is to be done for the next frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Counters must be reserved first.
    Reserve,
    /// The frame at this place is to be sealed under this head, then [`Upstream::sealed`].
    Seal(usize, Head),
    /// The frame at this place is to be repeated under this head.
    Repeat(usize, Head),
}

/// All that goes up.
pub(super) struct Upstream {
    key: Option<Key>,
    counter: Counter,
    queue: VecDeque<Waiting>,
    /// The number of the next report.
    number: u32,
    wait_until_ns: u64,
    /// What tells this device's pauses from others'.
    spread: u64,
}

impl Upstream {
    pub fn new(spread: u64) -> Self {
        Self {
            key: None,
            counter: Counter::default(),
            queue: VecDeque::new(),
            number: 0,
            wait_until_ns: 0,
            spread,
        }
    }

    /// Goes on after a restart: all below `floor` may have been used under this key.
    pub fn resume(&mut self, key: Option<(Key, u32)>, number: u32) {
        self.number = number;
        if let Some((key, floor)) = key {
            (self.key, self.counter) = (Some(key), Counter::resume(floor));
        }
    }

    /// Seals under this key from now on. A key that was not the present one begins its counters anew: none is
    /// ever taken up again.
    pub fn rekey(&mut self, key: Key) {
        if self.key != Some(key) {
            (self.key, self.counter) = (Some(key), Counter::resume(FIRST_SEQ));
        }
    }

    /// A registration made this key: what was sealed before, perhaps under another key of the same name, is not
    /// repeated as it is.
    pub fn renew(&mut self, key: Key) {
        if self.key == Some(key) {
            self.queue.iter_mut().for_each(|waiting| (waiting.sealed, waiting.earlier) = (None, Vec::new()));
        }
        self.rekey(key);
    }

    /// The key and the floor of its counters to be made durable, reserving more where few are left.
    pub fn reservation(&self) -> Option<(Key, u32)> {
        let floor = self.counter.wanted(END_DEVICE_BLOCK).unwrap_or(self.counter.floor());
        self.key.map(|key| (key, floor))
    }

    /// This reservation is durable.
    pub fn reserved(&mut self, reservation: Option<(Key, u32)>) {
        if let Some((key, floor)) = reservation
            && self.key == Some(key)
        {
            self.counter.reserved(floor);
        }
    }

    /// The report to begin with after a restart: the oldest that is not acknowledged.
    pub fn oldest_report(&self) -> u32 {
        let reports = self.queue.iter().filter_map(|waiting| match waiting.content {
            Content::Report(number) => Some(number),
            _ => None,
        });
        reports.min().unwrap_or(self.number)
    }

    pub fn waiting(&self) -> impl ExactSizeIterator<Item = &Waiting> {
        self.queue.iter()
    }

    /// The counters of this key are used up, or nearly.
    pub fn is_used_up(&self) -> bool {
        self.counter.wants_advance() && self.counter.wanted(END_DEVICE_BLOCK).is_none()
    }

    /// Whether another report may be made.
    pub fn may_report(&self, now_ns: u64) -> bool {
        self.key.is_some() && now_ns >= self.wait_until_ns && self.queue.len() < UNACKNOWLEDGED_MAX
    }

    /// The number for the next report.
    pub fn take_number(&mut self) -> u32 {
        let number = self.number;
        self.number = number.saturating_add(1);
        number
    }

    /// Puts a frame in the queue; `false` when it is full, or the plaintext too long.
    pub fn push(&mut self, content: Content, plaintext: &[u8]) -> bool {
        let others = self.queue.iter().filter(|waiting| !matches!(waiting.content, Content::Report(_)));
        let full = !matches!(content, Content::Report(_)) && others.count() >= WAITING_MAX;
        if full || plaintext.len() > PLAINTEXT_MAX {
            return false;
        }
        self.queue.push_back(Waiting {
            content,
            plaintext: plaintext.into(),
            sealed: None,
            earlier: Vec::new(),
            sent_ns: 0,
            due_ns: 0,
            doublings: 0,
        });
        true
    }

    /// Sends what was said before once more: at once where it still waits, else anew.
    pub fn again(&mut self, content: Content, plaintext: &[u8]) -> bool {
        match self.queue.iter_mut().find(|waiting| *waiting.plaintext == *plaintext) {
            Some(waiting) => {
                waiting.due_ns = 0;
                true
            }
            None => self.push(content, plaintext),
        }
    }

    /// Whether such a frame waits to be acknowledged.
    pub fn has(&self, wanted: impl Fn(Content, &[u8]) -> bool) -> bool {
        self.queue.iter().any(|waiting| wanted(waiting.content, &waiting.plaintext))
    }

    /// What is to be done now.
    pub fn step(&self, now_ns: u64) -> Option<Step> {
        let key = self.key.filter(|_| now_ns >= self.wait_until_ns)?;
        let unacknowledged = self.queue.iter().filter(|waiting| waiting.sealed.is_some()).count();
        let names = self.queue.iter().filter_map(|waiting| waiting.sealed.as_ref()).map(|sealed| sealed.name);
        let oldest = names.filter(|name| name.key == key).map(|name| name.seq).min();
        let seq = self.counter.next_seq();
        let in_span = oldest.is_none_or(|oldest| seq <= oldest.saturating_add(SEQ_SPAN));
        for (at, waiting) in self.queue.iter().enumerate().filter(|(_, waiting)| waiting.due_ns <= now_ns) {
            let head = |seq| Head {
                frame_type: waiting.content.frame_type(),
                id: key.sid.0,
                epoch_low: key.epoch.low(),
                seq,
            };
            match &waiting.sealed {
                Some(sealed) if sealed.name.key == key => {
                    return Some(Step::Repeat(at, head(sealed.name.seq)));
                }
                None if unacknowledged >= UNACKNOWLEDGED_MAX => {}
                _ if !in_span => {}
                _ if self.counter.is_reserved() => return Some(Step::Seal(at, head(seq))),
                _ if self.counter.wanted(END_DEVICE_BLOCK).is_some() => return Some(Step::Reserve),
                _ => {}
            }
        }
        None
    }

    /// Takes the counter of a [`Step::Seal`]; `None` when that is not the next one.
    pub fn take(&mut self, head: &Head) -> Option<u32> {
        if self.counter.next_seq() != head.seq {
            return None;
        }
        self.counter.take()
    }

    /// The frame at this place was sealed.
    pub fn sealed(&mut self, at: usize, seq: u32, body: &[u8], now_ns: u64) {
        let (Some(key), Some(waiting)) = (self.key, self.queue.get_mut(at)) else { return };
        if let Some(earlier) = waiting.sealed.replace(Sealed { name: Name { key, seq }, body: body.into() }) {
            if waiting.earlier.len() >= EARLIER_MAX {
                waiting.earlier.remove(0);
            }
            waiting.earlier.push(earlier.name);
        }
        waiting.doublings = 0;
        self.postpone(at, now_ns);
    }

    /// The frame at this place was sent: when it is due again.
    pub fn postpone(&mut self, at: usize, now_ns: u64) {
        let spread = self.spread;
        let Some(waiting) = self.queue.get_mut(at) else { return };
        waiting.sent_ns = now_ns;
        waiting.due_ns = now_ns.saturating_add(pause_ns(spread, waiting.doublings));
        waiting.doublings = waiting.doublings.saturating_add(1);
    }

    /// What waits under its last seal: what it carries, epoch and counter.
    pub fn sealed_frames(&self) -> impl Iterator<Item = (Content, Epoch, u32)> {
        self.queue.iter().filter_map(|waiting| {
            let name = waiting.sealed.as_ref()?.name;
            Some((waiting.content, name.key.epoch, name.seq))
        })
    }

    /// The sealed frame at this place: what it carries, and its ciphertext.
    pub fn frame(&self, at: usize) -> Option<(Content, &[u8])> {
        let waiting = self.queue.get(at)?;
        waiting.sealed.as_ref().map(|sealed| (waiting.content, &*sealed.body))
    }

    /// What the frame at this place says.
    pub fn plaintext(&self, at: usize) -> &[u8] {
        self.queue.get(at).map_or(&[], |waiting| &waiting.plaintext)
    }

    /// Takes out what an acknowledgement under this association shows to be durable. The head-end is there, so
    /// that what is left was lost and does not wait for the end of a long pause.
    pub fn acknowledge(&mut self, sid: Sid, ack: &Ack, mut acknowledged: impl FnMut(Content, u32)) -> bool {
        let key = Key { sid, epoch: ack.epoch };
        let covered = |name: &Name| name.key == key && ack.covers(name.seq);
        let before = self.queue.len();
        self.queue.retain(|waiting| {
            let sealed = waiting.sealed.iter().map(|sealed| &sealed.name);
            let durable = waiting.earlier.iter().chain(sealed).find(|name| covered(name));
            durable.inspect(|name| acknowledged(waiting.content, name.seq)).is_none()
        });
        let progress = self.queue.len() < before;
        if progress {
            let shortest_ns = pause_ns(self.spread, 0);
            for waiting in self.queue.iter_mut().filter(|waiting| waiting.sealed.is_some()) {
                waiting.due_ns = waiting.due_ns.min(waiting.sent_ns.saturating_add(shortest_ns));
                waiting.doublings = waiting.doublings.min(1);
            }
        }
        progress
    }

    /// Sends nothing for so long.
    pub fn wait(&mut self, until_ns: u64) {
        self.wait_until_ns = until_ns;
    }

    /// The link was made anew: what was on its way may be lost. What was sent in vain over links that broke says
    /// nothing of this one, so the pauses begin with the shortest.
    pub fn linked(&mut self, now_ns: u64) {
        let apart = mix_below(self.spread, now_ns, RELINK_SPREAD_US).saturating_mul(1000);
        for waiting in &mut self.queue {
            waiting.due_ns = waiting.due_ns.min(now_ns.saturating_add(apart));
            waiting.doublings = 0;
        }
    }

    /// When [`Self::step`] may have something to do; what has no room before an acknowledgement does not count,
    /// as an acknowledgement wakes by itself.
    pub fn wake_ns(&self, now_ns: u64) -> u64 {
        let held_back = now_ns < self.wait_until_ns;
        let waiting = self.queue.iter().filter(|waiting| waiting.sealed.is_some() || held_back);
        let due = waiting.map(|waiting| waiting.due_ns).min();
        due.map_or(u64::MAX, |due| due.max(self.wait_until_ns))
    }
}

/// The shortest pause, so often doubled, and this device's share of a quarter more or less.
fn pause_ns(spread: u64, doublings: u8) -> u64 {
    let pause_us = REPEAT_MIN_US.saturating_mul(1 << doublings.min(30)).min(REPEAT_MAX_US);
    let apart = mix_below(spread, u64::from(doublings), pause_us / 2);
    (pause_us - pause_us / 4 + apart).saturating_mul(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: Key = Key { sid: Sid(5), epoch: Epoch(3) };

    /// Seals and repeats all that can be, and gives what was sent.
    fn send(up: &mut Upstream, now_ns: u64) -> Vec<(Content, Head)> {
        let mut sent = Vec::new();
        while let Some(step) = up.step(now_ns) {
            match step {
                Step::Reserve => up.reserved(up.reservation()),
                Step::Seal(at, head) => {
                    let seq = up.take(&head).unwrap();
                    let body = [up.plaintext(at), &[0; 8]].concat();
                    up.sealed(at, seq, &body, now_ns);
                    sent.push((up.frame(at).unwrap().0, head));
                }
                Step::Repeat(at, head) => {
                    sent.push((up.frame(at).unwrap().0, head));
                    up.postpone(at, now_ns);
                }
            }
        }
        sent
    }

    fn upstream() -> Upstream {
        let mut up = Upstream::new(1);
        up.rekey(KEY);
        up
    }

    fn report(up: &mut Upstream) {
        let number = up.take_number();
        assert!(up.push(Content::Report(number), &number.to_be_bytes()));
    }

    fn ack(epoch: Epoch, seqs: &[u32]) -> Ack {
        let highest = *seqs.iter().max().unwrap();
        let bits = seqs.iter().filter(|seq| **seq < highest).map(|seq| 1 << (highest - 1 - seq));
        Ack { epoch, highest, bitmap: bits.sum() }
    }

    #[test]
    fn thirty_two_and_sixty_three_are_the_limits() {
        let mut up = upstream();
        for _ in 0..40 {
            up.push(Content::Request, b"x");
        }
        assert_eq!(send(&mut up, 1).len(), 32);
        // All but the oldest are acknowledged, again and again.
        let seqs: Vec<u32> = (2..=32).collect();
        assert!(up.acknowledge(KEY.sid, &ack(KEY.epoch, &seqs), |_, _| {}));
        for _ in 0..60 {
            up.push(Content::Request, b"x");
        }
        let sent = send(&mut up, 2);
        assert_eq!((sent.len(), sent.last().unwrap().1.seq), (31, 63));
        up.acknowledge(KEY.sid, &ack(KEY.epoch, &(33..=63).collect::<Vec<_>>()), |_, _| {});
        assert_eq!(send(&mut up, 3).len(), 1, "64 is 1 + 63");
        assert_eq!(send(&mut up, 4).len(), 0);
        up.acknowledge(KEY.sid, &ack(KEY.epoch, &[1]), |_, _| {});
        assert!(!send(&mut up, 5).is_empty());
    }

    #[test]
    fn a_repeat_is_identical_until_the_epoch_changes() {
        let mut up = upstream();
        report(&mut up);
        let first = send(&mut up, 1);
        assert!(send(&mut up, 2).is_empty());
        let later = up.wake_ns(3);
        assert_eq!(send(&mut up, later), first);
        let next = Key { epoch: Epoch(4), ..KEY };
        up.rekey(next);
        assert!(send(&mut up, later + 1).is_empty(), "not before it is due");
        let later = up.wake_ns(3);
        let anew = send(&mut up, later);
        assert_eq!((anew.len(), anew[0].1.epoch_low, anew[0].1.seq), (1, 4, 1));
        // The acknowledgement of the old seal was only late.
        let mut acked = Vec::new();
        assert!(!up.acknowledge(Sid(6), &ack(KEY.epoch, &[1]), |_, _| panic!()));
        assert!(up.acknowledge(KEY.sid, &ack(KEY.epoch, &[1]), |content, _| acked.push(content)));
        assert_eq!((acked, up.waiting().len()), (vec![Content::Report(0)], 0));
    }

    #[test]
    fn a_restart_begins_above_the_floor_with_the_oldest() {
        let mut up = upstream();
        for _ in 0..3 {
            report(&mut up);
        }
        let head = send(&mut up, 1)[0].1;
        up.acknowledge(KEY.sid, &ack(KEY.epoch, &[1, 3]), |_, _| {});
        let (kept, oldest) = (up.reservation(), up.oldest_report());
        assert_eq!((kept, oldest), (Some((KEY, 33)), 1));
        let mut again = Upstream::new(1);
        again.resume(kept, oldest);
        again.rekey(KEY);
        report(&mut again);
        assert_eq!(send(&mut again, 1)[0], (Content::Report(1), Head { seq: 33, ..head }));
    }

    #[test]
    fn a_wait_holds_all_back_and_a_new_link_hurries() {
        let mut up = upstream();
        report(&mut up);
        up.wait(100);
        assert!(send(&mut up, 99).is_empty() && !up.may_report(99));
        assert_eq!(send(&mut up, 100).len(), 1);
        up.linked(200);
        assert!(up.wake_ns(200) <= 200 + RELINK_SPREAD_US * 1000);
    }

    #[test]
    fn links_that_broke_make_no_pause_of_the_next_one_longer() {
        let mut up = upstream();
        report(&mut up);
        let mut now = 1;
        assert_eq!(send(&mut up, now).len(), 1);
        for _ in 0..8 {
            up.linked(now);
            now = up.wake_ns(now);
            assert_eq!(send(&mut up, now).len(), 1);
        }
        assert!(up.wake_ns(now) - now <= REPEAT_MIN_US * 1250);
        // Without a new link they grow.
        for _ in 0..8 {
            now = up.wake_ns(now);
            assert_eq!(send(&mut up, now).len(), 1);
        }
        assert!(up.wake_ns(now) - now >= REPEAT_MAX_US * 750);
    }

    #[test]
    fn what_an_acknowledgement_does_not_cover_waits_no_longer_than_the_shortest_pause() {
        let mut up = upstream();
        report(&mut up);
        let mut now = 1;
        for _ in 0..8 {
            assert_eq!(send(&mut up, now).len(), 1);
            now = up.wake_ns(now);
        }
        assert_eq!(send(&mut up, now).len(), 1);
        report(&mut up);
        assert_eq!(send(&mut up, now + 1).len(), 1);
        assert!(up.acknowledge(KEY.sid, &ack(KEY.epoch, &[2]), |_, _| {}));
        assert!(up.wake_ns(now + 2) - now <= REPEAT_MIN_US * 1250);
        // One that shows nothing new hurries nobody.
        now = up.wake_ns(now + 2);
        assert_eq!(send(&mut up, now).len(), 1);
        let due = up.wake_ns(now);
        assert!(!up.acknowledge(KEY.sid, &ack(KEY.epoch, &[2]), |_, _| {}));
        assert_eq!(up.wake_ns(now), due);
    }

    #[test]
    fn the_queue_has_a_limit() {
        let mut up = upstream();
        let control = Content::Control { answer_to: None, event: true };
        let taken = (0..100_u8).filter(|number| up.push(control, &[*number])).count();
        assert_eq!(taken, WAITING_MAX);
        assert!(!up.push(Content::Report(0), &[0; PLAINTEXT_MAX + 1]));
        assert!(up.again(control, &[1]) && !up.again(control, &[200]));
    }

    proptest! {
        /// Whatever is acknowledged, rekeyed and restarted: no counter of a key twice.
        #[test]
        fn no_counter_is_used_twice(steps in proptest::collection::vec((0..6_u8, 0..80_u32), 1..80)) {
            let mut up = upstream();
            let (mut used, mut key, mut now) = (std::collections::HashMap::new(), KEY, 1_u64);
            let mut saved = up.reservation();
            for (step, seq) in steps {
                now += u64::from(seq) * 1_000_000_000;
                match step {
                    0 | 1 => report(&mut up),
                    2 => drop(up.acknowledge(key.sid, &ack(key.epoch, &[seq]), |_, _| {})),
                    3 => {
                        key.epoch = key.epoch.next().unwrap();
                        up.rekey(key);
                    }
                    4 => {
                        let number = up.oldest_report();
                        up = Upstream::new(1);
                        up.resume(saved, number);
                        up.rekey(key);
                    }
                    _ => up.linked(now),
                }
                saved = up.reservation();
                up.reserved(saved);
                while let Some(step) = up.step(now) {
                    match step {
                        Step::Reserve => {
                            saved = up.reservation();
                            up.reserved(saved);
                        }
                        Step::Seal(at, head) => {
                            let seq = up.take(&head).unwrap();
                            let plaintext = up.plaintext(at).to_vec();
                            let other = used.insert((key.epoch, seq), plaintext.clone());
                            prop_assert_eq!(other, None);
                            up.sealed(at, seq, &plaintext, now);
                        }
                        Step::Repeat(at, head) => {
                            let (_, body) = up.frame(at).unwrap();
                            prop_assert_eq!(Some(body), used.get(&(key.epoch, head.seq)).map(Vec::as_slice));
                            up.postpone(at, now);
                        }
                    }
                    let names = up.queue.iter().filter_map(|waiting| waiting.sealed.as_ref());
                    let seqs: Vec<u32> = names.filter(|sealed| sealed.name.key == key).map(|sealed| sealed.name.seq).collect();
                    if let (Some(least), Some(most)) = (seqs.iter().min(), seqs.iter().max()) {
                        prop_assert!(most - least <= SEQ_SPAN && seqs.len() <= UNACKNOWLEDGED_MAX);
                    }
                }
            }
        }
    }
}
