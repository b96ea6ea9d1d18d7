//! What becomes of each message of a registration: security layer §5 without its I/O.

use std::hash::{BuildHasher, RandomState};

use node::Reason;
use seal::edhoc::{ErrorMessage, MESSAGE_2_LEN, MESSAGE_4_LEN, Message1, PublicKey, Refusal, Registered};
use seal::ids::{Dev, Sid};
use sha2::{Digest, Sha256};

use super::admission::{Admission, Admitted, Limits, Link};
use super::pending::{Begun, Caller, Pending, Third};
use super::recent::Recent;
use crate::tally::reasons;

/// How long a G_X may not come again, and how soon a device registers suspiciously often.
const TEN_MINUTES_NS: u64 = 600_000_000_000;
/// The same in seconds.
const TEN_MINUTES_S: usize = 600;

/// What the token with the head-end's static key can do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// It takes one more.
    Ready,
    /// It has enough to do.
    Busy,
    /// It failed, or the fence is closed (that is this reason), and is left alone for a moment.
    Gone(Reason),
}

/// Why a message is refused, and what is sent back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declined {
    /// The code.
    pub reason: Reason,
    /// For people.
    pub detail: &'static str,
    /// Sent back, if anything.
    pub reply: Option<ErrorMessage>,
}

impl Declined {
    fn silently(reason: Reason, detail: &'static str) -> Self {
        Self { reason, detail, reply: None }
    }

    pub(super) fn by(refusal: Refusal, detail: &'static str) -> Self {
        Self { reason: reasons::of_registration(refusal), detail, reply: Some(refusal.reply()) }
    }
}

/// What becomes of a message_1.
pub enum First {
    /// It goes to the token.
    Ask(Message1, Sid),
    /// It is answered as before, or its answer is under way, or such repeats are too many.
    Again(Option<[u8; MESSAGE_2_LEN]>),
    /// It is refused.
    Declined(Declined),
}

/// What becomes of a message_3.
pub enum Answer3 {
    /// The device is authentic: make the association durable.
    New(Registered),
    /// A repeat: answered as before, or its answer is under way, or such repeats are too many.
    Again(Option<[u8; MESSAGE_4_LEN]>),
    /// It is refused.
    Declined(Declined),
}

/// Admission, the pending table, and what was seen in the last ten minutes. Times are monotonic nanoseconds.
pub struct Reception {
    admission: Admission,
    /// The registrations under way.
    pub pending: Pending,
    /// Every G_X that was let through to the token, as a hash under a key of this run. Admission bounds how
    /// many that can be within ten minutes; nothing is forgotten before its time.
    shares: Recent<u64, ()>,
    hasher: RandomState,
    /// Devices that completed a registration, with the association and the one that they completed before.
    devices: Recent<Dev, (Sid, Option<Sid>)>,
}

impl Reception {
    /// Nothing has come yet.
    #[must_use]
    pub fn new(limits: Limits, pending_max: usize, now: u64) -> Self {
        let per_second = usize::try_from(limits.per_second).unwrap_or(usize::MAX);
        // What the buckets hold at the beginning comes on top of what flows into them.
        let most = per_second.saturating_mul(TEN_MINUTES_S + 2).saturating_add(pending_max);
        Self {
            admission: Admission::new(limits, now),
            pending: Pending::new(pending_max),
            shares: Recent::new(TEN_MINUTES_NS, most),
            hasher: RandomState::new(),
            devices: Recent::new(TEN_MINUTES_NS, most),
        }
    }

    /// Whether one more answer to somebody without a registration may be sent.
    pub fn may_answer(&mut self, now: u64) -> bool {
        self.admission.may_answer(now)
    }

    /// Takes a message_1; `sid` draws a free association.
    pub fn message_1(
        &mut self,
        message_1: &[u8],
        caller: Caller,
        token: Token,
        now: u64,
        sid: impl FnOnce() -> Option<Sid>,
    ) -> First {
        let hash = Sha256::digest(message_1).into();
        match self.pending.find(caller.link, &hash) {
            Some(Begun::Agreeing) => return First::Again(None),
            Some(Begun::Answered(message_2)) => {
                let message_2 = *message_2;
                return First::Again(self.admission.may_answer(now).then_some(message_2));
            }
            None => {}
        }
        let admitted = self.admission.admit(caller.link, now);
        if admitted != Admitted::Yes {
            return busy(admitted, "more than its link, or all together, may begin");
        }
        if let Token::Gone(reason) = token {
            return First::Declined(Declined::silently(reason, "not before the token is asked again"));
        }
        let read = match Message1::read(message_1) {
            Ok(read) => read,
            Err(refusal) => return First::Declined(Declined::by(refusal, "message_1")),
        };
        let share = self.hasher.hash_one(read.g_x());
        if self.shares.get(&share, now).is_some() {
            return First::Declined(Declined::by(Refusal::Format, "its G_X came within ten minutes"));
        }
        if token == Token::Busy {
            return busy(self.admission.refused(now), "the token has enough to do");
        }
        if !self.pending.has_room() {
            return busy(self.admission.refused(now), "the pending table is full");
        }
        let Some(sid) = sid() else {
            return busy(self.admission.refused(now), "no association is free");
        };
        if self.shares.insert(share, (), now).is_err() {
            return busy(self.admission.refused(now), "too many in ten minutes");
        }
        self.pending.begin(sid, hash, caller, now);
        First::Ask(read, sid)
    }

    /// The token has failed: the same message_1 may come again.
    pub fn not_agreed(&mut self, sid: Sid, g_x: &[u8; 32]) -> Option<Caller> {
        self.shares.remove(&self.hasher.hash_one(g_x));
        self.pending.not_agreed(sid)
    }

    /// Takes a message_3 for this association; `device` as in [`seal::edhoc::Run::message_3`].
    pub fn message_3(
        &mut self,
        sid: Sid,
        message_3: &[u8],
        caller: Caller,
        now: u64,
        device: impl FnOnce(Dev) -> Result<PublicKey, Refusal>,
    ) -> Answer3 {
        match self.pending.message_3(sid, message_3, caller, device) {
            Third::New(registered) => Answer3::New(registered),
            Third::Writing => Answer3::Again(None),
            Third::Again(message_4) => Answer3::Again(self.admission.may_answer(now).then_some(message_4)),
            Third::Refused(refused) => Answer3::Declined(Declined {
                reply: refused.reply,
                ..Declined::by(refused.refusal, "message_3")
            }),
            Third::NoRun => {
                let declined =
                    Declined::by(Refusal::Format, "a message_3 that continues nothing on its link");
                let reply = declined.reply.filter(|_| self.admission.may_answer(now));
                Answer3::Declined(Declined { reply, ..declined })
            }
        }
    }

    /// A device has completed a registration; answers the association of one that it completed within ten
    /// minutes before (SEC-REG-DUP).
    pub fn completed(&mut self, dev: Dev, sid: Sid, now: u64) -> Option<Sid> {
        let before = self.devices.get(&dev, now).map(|(sid, _)| *sid);
        // No more complete than begin, so there is room.
        let _ = self.devices.insert(dev, (sid, before), now);
        before
    }

    /// An association is used for the first time: message_4 has come. Answers the one that its device completed
    /// just before, which it may have used meanwhile.
    pub fn used(&mut self, dev: Dev, sid: Sid, now: u64) -> Option<Sid> {
        self.pending.used(sid);
        self.devices.get(&dev, now).filter(|(last, _)| *last == sid).and_then(|(_, before)| *before)
    }
}

fn busy(admitted: Admitted, detail: &'static str) -> First {
    let reply = match admitted {
        Admitted::Wait(seconds) => Some(ErrorMessage::Wait(seconds)),
        Admitted::Yes | Admitted::Silently => None,
    };
    First::Declined(Declined { reason: reasons::REG_BUSY, detail, reply })
}

impl Link {
    /// The link that a frame came over.
    #[must_use]
    pub fn of(frame: &node::Frame) -> Self {
        Self { transport: frame.transport(), link: frame.link }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registrar::sample::{CREDENTIAL, DEV, Device, caller, run};
    use proptest::prelude::*;
    use seal::edhoc::{FAILURES_MAX, MESSAGE_3_LEN};

    const LIMITS: Limits = Limits { per_second: 100, per_link_per_second: 100 };
    const SECOND: u64 = 1_000_000_000;
    const SID: Sid = Sid(7);

    fn reception() -> Reception {
        Reception::new(LIMITS, 4, 0)
    }

    fn begin(reception: &mut Reception, message_1: &[u8], link: u32, sid: u32, now: u64) -> First {
        reception.message_1(message_1, caller(link), Token::Ready, now, || Some(Sid(sid)))
    }

    /// What a message_1 that is not let through is answered.
    fn declined(first: First) -> (&'static str, Option<ErrorMessage>) {
        match first {
            First::Declined(declined) => (declined.reason.0, declined.reply),
            First::Ask(..) | First::Again(_) => panic!("it was taken"),
        }
    }

    /// A reception in which message_2 was sent, and the message_3 that answers it.
    fn open() -> (Reception, [u8; MESSAGE_3_LEN]) {
        let mut reception = reception();
        let device = Device::new(1);
        let First::Ask(message_1, sid) = begin(&mut reception, &device.message_1, 1, SID.0, 0) else {
            panic!("it is admitted")
        };
        let (to, message_2) = reception.pending.agreed(run(&message_1, sid)).unwrap();
        assert_eq!(to, caller(1));
        (reception, device.message_3(&message_2))
    }

    fn third(reception: &mut Reception, message_3: &[u8], link: u32) -> Answer3 {
        reception.message_3(SID, message_3, caller(link), SECOND, |dev| {
            if dev == DEV { Ok(CREDENTIAL.with(|credential| credential.key)) } else { Err(Refusal::Unknown) }
        })
    }

    #[test]
    fn an_identical_message_1_is_answered_again_on_its_link_and_no_other_repeat_of_its_share() {
        let mut reception = reception();
        let message_1 = Device::new(1).message_1;
        let First::Ask(read, sid) = begin(&mut reception, &message_1, 1, 7, 0) else { panic!() };
        assert!(matches!(begin(&mut reception, &message_1, 1, 8, 1), First::Again(None)), "under way");
        let (_, message_2) = reception.pending.agreed(run(&read, sid)).unwrap();
        let again = begin(&mut reception, &message_1, 1, 8, 2);
        assert!(matches!(again, First::Again(Some(again)) if again == message_2));
        let format = ("SEC-REG-FORMAT", Some(ErrorMessage::Unspecified));
        let padded = [&message_1[..], &[0]].concat();
        assert_eq!(declined(begin(&mut reception, &padded, 1, 8, 3)), format);
        assert_eq!(declined(begin(&mut reception, &message_1, 2, 8, 3)), format);
        reception.pending.expire(TEN_MINUTES_NS - 1, |_| {});
        assert_eq!(declined(begin(&mut reception, &message_1, 1, 8, TEN_MINUTES_NS - 1)), format);
        assert!(matches!(begin(&mut reception, &message_1, 1, 8, TEN_MINUTES_NS), First::Ask(..)));
    }

    #[test]
    fn want_of_anything_is_busy_and_leaves_no_trace() {
        let mut reception = reception();
        let wait = |answer: (&'static str, Option<ErrorMessage>)| {
            assert_eq!(answer.0, "SEC-REG-BUSY");
            assert!(matches!(answer.1, Some(ErrorMessage::Wait(1..=600))), "{answer:?}");
        };
        let message_1 = Device::new(1).message_1;
        let full = reception.message_1(&message_1, caller(1), Token::Busy, 0, || Some(SID));
        wait(declined(full));
        let no_sid = reception.message_1(&message_1, caller(1), Token::Ready, 0, || None);
        wait(declined(no_sid));
        let gone = reception.message_1(&message_1, caller(1), Token::Gone(reasons::HSM), 0, || Some(SID));
        assert_eq!(declined(gone), ("SEC-HSM", None));
        let fenced = reception.message_1(&message_1, caller(1), Token::Gone(reasons::FENCE), 0, || Some(SID));
        assert_eq!(declined(fenced), ("SEC-FENCE", None));
        for number in 1..=4 {
            let message_1 = Device::new(number).message_1;
            assert!(matches!(begin(&mut reception, &message_1, 1, number.into(), 0), First::Ask(..)));
        }
        wait(declined(begin(&mut reception, &Device::new(5).message_1, 1, 5, 0)));
        let share = Message1::read(&Device::new(2).message_1).unwrap().g_x();
        assert_eq!(reception.not_agreed(Sid(2), &share), Some(caller(1)));
        let again = begin(&mut reception, &Device::new(2).message_1, 1, 2, 0);
        assert!(matches!(again, First::Ask(..)), "a token that failed leaves no trace");
    }

    #[test]
    fn a_message_3_belongs_to_its_link_and_is_answered_again() {
        let (mut reception, message_3) = open();
        let elsewhere = third(&mut reception, &message_3, 2);
        assert!(matches!(elsewhere, Answer3::Declined(declined) if declined.reason.0 == "SEC-REG-FORMAT"));
        let Answer3::New(registered) = third(&mut reception, &message_3, 1) else { panic!() };
        assert_eq!((registered.dev, registered.sid), (DEV, SID));
        assert!(matches!(third(&mut reception, &message_3, 1), Answer3::Again(None)), "being written");
        assert!(reception.pending.settle(SID, false, SECOND).is_none());
        assert!(matches!(third(&mut reception, &message_3, 1), Answer3::New(_)), "its write failed");
        let (to, message_4) = reception.pending.settle(SID, true, SECOND).unwrap();
        assert_eq!(to, caller(1));
        assert_eq!(reception.pending.under_way(), 0);
        reception.pending.expire(599 * SECOND, |sid| panic!("{sid} is in use"));
        let again = third(&mut reception, &message_3, 1);
        assert!(matches!(again, Answer3::Again(Some(again)) if again == message_4));
        reception.pending.used(SID);
        assert!(matches!(third(&mut reception, &message_3, 1), Answer3::Declined(_)));
    }

    #[test]
    fn failures_are_answered_eight_times_and_end_nothing_before_its_time() {
        let (mut reception, message_3) = open();
        for failure in 0..=FAILURES_MAX {
            let mut wrong = message_3;
            wrong[20] ^= failure + 1;
            let Answer3::Declined(declined) = third(&mut reception, &wrong, 1) else { panic!() };
            let reply = (failure < FAILURES_MAX).then_some(ErrorMessage::Unspecified);
            assert_eq!((declined.reason.0, declined.reply), ("SEC-REG-MAC", reply));
        }
        let Answer3::Declined(declined) = third(&mut reception, &message_3, 1) else { panic!() };
        assert_eq!(declined.reply, None, "none is opened any more");
        let mut free = Vec::new();
        reception.pending.expire(60 * SECOND - 1, |sid| free.push(sid));
        assert!(free.is_empty());
        reception.pending.expire(60 * SECOND, |sid| free.push(sid));
        assert_eq!(free, [SID]);
    }

    #[test]
    fn a_device_that_registers_again_within_ten_minutes_is_noticed() {
        let mut reception = reception();
        assert_eq!(reception.completed(DEV, Sid(1), 0), None);
        assert_eq!(reception.completed(DEV, Sid(2), TEN_MINUTES_NS - 1), Some(Sid(1)));
        assert_eq!(reception.used(DEV, Sid(1), TEN_MINUTES_NS), None);
        assert_eq!(reception.used(DEV, Sid(2), TEN_MINUTES_NS), Some(Sid(1)));
        assert_eq!(reception.completed(DEV, Sid(3), 2 * TEN_MINUTES_NS), None);
        assert_eq!(reception.used(DEV, Sid(3), 2 * TEN_MINUTES_NS), None);
    }

    proptest! {
        #[test]
        fn any_octets_are_taken_or_refused(octets: Vec<u8>, number: u32, link in 1..3_u32) {
            let (mut reception, message_3) = open();
            let first = begin(&mut reception, &octets, link, number, SECOND);
            prop_assert!(matches!(first, First::Declined(_)));
            prop_assert!(matches!(third(&mut reception, &octets, link), Answer3::Declined(_)));
            prop_assert!(matches!(third(&mut reception, &message_3, 1), Answer3::New(_)));
        }
    }
}
