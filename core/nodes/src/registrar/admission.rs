//! Who may begin a registration now: security layer §5, step 1.
//!
//! One half of what is admitted in total is divided evenly among the links that were heard within a minute:
//! their guaranteed shares. The other half goes to whoever comes first. So a link that floods has its own
//! share and the common half, and takes nothing of the others' shares.

use std::collections::HashMap;

use seal::edhoc::WAIT_MAX_S;

/// A link of a transport: a cell relay, or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link {
    /// The transport's number.
    pub transport: u8,
    /// The link's number.
    pub link: u32,
}

/// How much is admitted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Registrations begun a second, of all links together.
    pub per_second: u32,
    /// Registrations begun a second over one link.
    pub per_link_per_second: u32,
}

/// Links told apart; those beyond share one place.
const LINKS_MAX: usize = 4096;
/// A link that was not heard for so long has no share.
const IDLE_NS: u64 = 60_000_000_000;
/// No search for idle links before so much time has passed since the last.
const SWEEP_NS: u64 = 1_000_000_000;
/// The place of links that found no place of their own.
const OTHERS: Link = Link { transport: u8::MAX, link: u32::MAX };
const SECOND_NS: u64 = 1_000_000_000;
/// The shortest wait that is asked for.
const WAIT_MIN_S: u64 = 5;

/// What is said to a message_1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// Go on.
    Yes,
    /// Not now: come back after so many seconds.
    Wait(u16),
    /// Not now, and not worth an answer.
    Silently,
}

/// A bucket: it fills by `rate` tokens a second up to `depth`, and each use takes one.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Billionths of a token.
    level: u64,
    at: u64,
}

impl Bucket {
    /// Full at `now`.
    fn full(depth: u64, now: u64) -> Self {
        Self { level: depth.saturating_mul(SECOND_NS), at: now }
    }

    /// Fills it. `rate` is in millionths of a token a second, so that shares below one add up.
    fn fill(&mut self, rate: u64, depth: u64, now: u64) {
        let elapsed = now.saturating_sub(self.at);
        let gained = u128::from(elapsed) * u128::from(rate) / 1_000_000;
        self.at = self.at.max(now);
        self.level = self.level.saturating_add(u64::try_from(gained).unwrap_or(u64::MAX));
        self.level = self.level.min(depth.saturating_mul(SECOND_NS));
    }

    fn take(&mut self) -> bool {
        let left = self.level.checked_sub(SECOND_NS);
        self.level = left.unwrap_or(self.level);
        left.is_some()
    }
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    /// What it may take in all.
    limit: Bucket,
    /// Its guaranteed share.
    share: Bucket,
    heard: u64,
}

/// The buckets. Times are monotonic nanoseconds.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    peers: HashMap<Link, Peer>,
    common: Bucket,
    /// How many answers to refused messages may be sent.
    answers: Bucket,
    /// Who was refused and may come back: it drains as fast as registrations are admitted.
    backlog: u64,
    backlog_at: u64,
    sweep_at: u64,
}

impl Admission {
    /// Full buckets at `now`.
    #[must_use]
    pub fn new(limits: Limits, now: u64) -> Self {
        let total = u64::from(limits.per_second);
        Self {
            limits,
            peers: HashMap::new(),
            common: Bucket::full(total / 2, now),
            answers: Bucket::full(total, now),
            backlog: 0,
            backlog_at: now,
            sweep_at: now,
        }
    }

    /// Whether a message_1 from this link is looked at.
    pub fn admit(&mut self, link: Link, now: u64) -> Admitted {
        let total = u64::from(self.limits.per_second);
        let place = self.place(link, now);
        let active = (self.peers.len() as u64).max(1);
        // In millionths a second: half of the whole among all.
        let share = total.saturating_mul(500_000) / active;
        let limit = u64::from(self.limits.per_link_per_second);
        self.common.fill(total.saturating_mul(500_000), total / 2, now);
        let Some(peer) = self.peers.get_mut(&place) else { return Admitted::Silently };
        peer.heard = now;
        peer.limit.fill(limit.saturating_mul(1_000_000), limit, now);
        peer.share.fill(share, (share / 1_000_000).max(1), now);
        if peer.limit.level >= SECOND_NS && (peer.share.take() || self.common.take()) {
            peer.limit.take();
            return Admitted::Yes;
        }
        self.refused(now)
    }

    /// Somebody is refused for want of something else than a token.
    pub fn refused(&mut self, now: u64) -> Admitted {
        let total = u64::from(self.limits.per_second).max(1);
        let drained = u128::from(now.saturating_sub(self.backlog_at)) * u128::from(total);
        let drained = u64::try_from(drained / u128::from(SECOND_NS)).unwrap_or(u64::MAX);
        if drained > 0 {
            self.backlog = self.backlog.saturating_sub(drained);
            self.backlog_at = now;
        }
        self.backlog = self.backlog.saturating_add(1);
        if !self.may_answer(now) {
            return Admitted::Silently;
        }
        let wait = (self.backlog / total).saturating_add(WAIT_MIN_S).min(u64::from(WAIT_MAX_S));
        Admitted::Wait(u16::try_from(wait).unwrap_or(WAIT_MAX_S))
    }

    /// Whether one more answer may be sent to somebody who is refused or repeats himself.
    pub fn may_answer(&mut self, now: u64) -> bool {
        let total = u64::from(self.limits.per_second);
        self.answers.fill(total.saturating_mul(1_000_000), total, now);
        self.answers.take()
    }

    /// The place of a link: its own, or that of all who found none.
    fn place(&mut self, link: Link, now: u64) -> Link {
        if self.peers.contains_key(&link) {
            return link;
        }
        if self.peers.len() >= LINKS_MAX && now >= self.sweep_at {
            self.sweep_at = now.saturating_add(SWEEP_NS);
            self.peers.retain(|_, peer| now.saturating_sub(peer.heard) < IDLE_NS);
        }
        let place = if self.peers.len() >= LINKS_MAX { OTHERS } else { link };
        let limit = Bucket::full(u64::from(self.limits.per_link_per_second), now);
        self.peers.entry(place).or_insert(Peer { limit, share: Bucket::full(1, now), heard: now });
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { per_second: 100, per_link_per_second: 80 };

    fn link(link: u32) -> Link {
        Link { transport: 0, link }
    }

    /// How many of so many attempts, spread over a second, are admitted.
    fn second(admission: &mut Admission, attempts: &[(u32, u64)], from: u64) -> Vec<u64> {
        let mut admitted = vec![0; attempts.len()];
        for step in 0..1000 {
            for (count, (number, per_ms)) in admitted.iter_mut().zip(attempts) {
                for _ in 0..*per_ms {
                    let verdict = admission.admit(link(*number), from + step * 1_000_000);
                    *count += u64::from(verdict == Admitted::Yes);
                }
            }
        }
        admitted
    }

    #[test]
    fn one_link_has_at_most_its_limit() {
        let mut admission = Admission::new(LIMITS, 0);
        for n in 0..5 {
            second(&mut admission, &[(1, 1)], n * SECOND_NS);
        }
        let admitted = second(&mut admission, &[(1, 1)], 5 * SECOND_NS);
        assert!((79..=81).contains(&admitted[0]), "{admitted:?}");
    }

    #[test]
    fn all_links_together_have_at_most_the_total() {
        let mut admission = Admission::new(LIMITS, 0);
        let attempts: Vec<(u32, u64)> = (0..50).map(|number| (number, 1)).collect();
        second(&mut admission, &attempts, 0);
        let admitted: u64 =
            (1..=4).map(|n| second(&mut admission, &attempts, n * SECOND_NS).iter().sum::<u64>()).sum();
        assert!((390..=410).contains(&admitted), "{admitted}");
    }

    #[test]
    fn a_flood_does_not_touch_the_share_of_others() {
        let mut admission = Admission::new(LIMITS, 0);
        // Three links share one half of the total: 16 a second each. Two of them ask for 12.
        for n in 0..3 {
            second(&mut admission, &[(1, 1), (2, 1), (9, 20)], n * SECOND_NS);
        }
        let mut quiet = [0, 0];
        for step in 1..=12_u64 {
            let now = 3 * SECOND_NS + step * 83_000_000;
            for _ in 0..1000 {
                admission.admit(link(9), now);
            }
            for (count, number) in quiet.iter_mut().zip([1, 2]) {
                *count += u32::from(admission.admit(link(number), now) == Admitted::Yes);
            }
        }
        assert_eq!(quiet, [12, 12]);
    }

    #[test]
    fn who_is_refused_waits_longer_the_more_there_are_and_answers_are_bounded() {
        let mut admission = Admission::new(LIMITS, 0);
        let verdicts: Vec<Admitted> = (0..500).map(|_| admission.admit(link(1), 0)).collect();
        let waits = verdicts.iter().filter_map(|verdict| match verdict {
            Admitted::Wait(seconds) => Some(*seconds),
            _ => None,
        });
        let waits: Vec<u16> = waits.collect();
        assert_eq!(waits.len(), 100, "one second's worth of answers");
        assert!(waits.is_sorted() && waits.first() == Some(&5));
        assert_eq!(verdicts.last(), Some(&Admitted::Silently));
        for _ in 0..100_000 {
            admission.admit(link(1), 1);
        }
        assert_eq!(admission.admit(link(1), SECOND_NS / 2), Admitted::Yes, "buckets fill again");
        let busy = admission.refused(SECOND_NS / 2);
        assert_eq!(busy, Admitted::Wait(WAIT_MAX_S), "and the hint is capped");
    }

    #[test]
    fn links_without_a_place_share_one() {
        let mut admission = Admission::new(LIMITS, 0);
        for number in 0..LINKS_MAX as u32 + 100 {
            admission.admit(link(number), 1);
        }
        assert_eq!(admission.peers.len(), LINKS_MAX + 1);
        admission.admit(link(u32::MAX), 2 + IDLE_NS);
        assert_eq!(admission.peers.len(), 1, "idle links gave way");
    }
}
