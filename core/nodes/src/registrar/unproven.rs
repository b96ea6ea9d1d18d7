//! Associations that were given out and that nobody has used yet. Of a device whose message_4 is lost again and
//! again only the last one is ever used; the others would keep their slots for ever.
//!
//! What was given out before a start is not known: such an association retires only as the one that a newer one
//! replaces.

use std::collections::HashMap;

use seal::association::RETIRING_S;
use seal::ids::{Dev, Sid};

use super::recent::Recent;

/// Devices remembered; the associations of those beyond stay.
const DEVICES_MAX: usize = 1 << 18;
/// Associations of one device; the oldest gives way.
const EACH_MAX: usize = 4;
/// Those that retire, remembered while frames under them are opened.
const LOST_MAX: usize = 1 << 16;
const LOST_NS: u64 = RETIRING_S * 1_000_000_000;

/// The table. Times are monotonic nanoseconds.
#[derive(Debug)]
pub struct Unproven {
    /// By device, oldest first.
    given: HashMap<Dev, Vec<Sid>>,
    /// Retired before they were used. A frame under one of them that was on its way meanwhile must not retire
    /// the one that is used since.
    lost: Recent<Sid, ()>,
}

impl Unproven {
    /// Nothing was given out yet.
    #[must_use]
    pub fn new() -> Self {
        Self { given: HashMap::new(), lost: Recent::new(LOST_NS, LOST_MAX) }
    }

    /// A device was given an association. Answers its oldest one when these are too many.
    pub fn gave(&mut self, dev: Dev, sid: Sid) -> Option<Sid> {
        if self.given.len() >= DEVICES_MAX && !self.given.contains_key(&dev) {
            return None;
        }
        let given = self.given.entry(dev).or_default();
        given.push(sid);
        (given.len() > EACH_MAX).then(|| given.remove(0))
    }

    /// An association retires before anybody has used it.
    pub fn retired(&mut self, dev: Dev, sid: Sid, now: u64) {
        self.take(dev, |given| given.retain(|other| *other != sid));
        // One that finds no room is as one of a run before this one.
        let _ = self.lost.insert(sid, (), now);
    }

    /// An association is used. Answers those that its device was given before it: their message_4 was lost.
    /// What it was given later may still be used. `None`: it retired before, so it replaces nothing.
    pub fn proved(&mut self, dev: Dev, sid: Sid, now: u64) -> Option<Vec<Sid>> {
        if self.lost.get(&sid, now).is_some() {
            return None;
        }
        let mut lost = Vec::new();
        self.take(dev, |given| {
            if let Some(at) = given.iter().position(|other| *other == sid) {
                lost.extend(given.drain(..=at));
                lost.pop();
            }
        });
        lost.iter().for_each(|sid| self.retired(dev, *sid, now));
        Some(lost)
    }

    fn take(&mut self, dev: Dev, act: impl FnOnce(&mut Vec<Sid>)) {
        if let Some(given) = self.given.get_mut(&dev) {
            act(given);
            if given.is_empty() {
                self.given.remove(&dev);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEV: Dev = Dev([1; 8]);

    #[test]
    fn what_was_given_before_the_one_that_is_used_is_lost() {
        let mut unproven = Unproven::new();
        for sid in 1..=4 {
            assert_eq!(unproven.gave(DEV, Sid(sid)), None);
        }
        unproven.gave(Dev([2; 8]), Sid(9));
        unproven.retired(DEV, Sid(2), 0);
        assert_eq!(unproven.proved(DEV, Sid(7), 0), Some(vec![]), "of a run before this one");
        assert_eq!(unproven.proved(DEV, Sid(3), 0), Some(vec![Sid(1)]));
        for late in [1, 2] {
            assert_eq!(unproven.proved(DEV, Sid(late), LOST_NS - 1), None, "it replaces nothing");
        }
        assert_eq!(unproven.proved(DEV, Sid(4), 0), Some(vec![]));
        assert_eq!(unproven.given.len(), 1);
        unproven.retired(Dev([2; 8]), Sid(9), 0);
        assert!(unproven.given.is_empty());
    }

    #[test]
    fn the_oldest_of_a_device_gives_way_and_devices_are_bounded() {
        let mut unproven = Unproven::new();
        let given: Vec<_> = (1..=6).filter_map(|sid| unproven.gave(DEV, Sid(sid))).collect();
        assert_eq!(given, [Sid(1), Sid(2)]);
        for number in 0..DEVICES_MAX as u64 {
            unproven.gave(Dev(number.to_be_bytes()), Sid(7));
        }
        assert_eq!(unproven.given.len(), DEVICES_MAX);
        assert_eq!(unproven.gave(DEV, Sid(8)), Some(Sid(3)), "one that is known is still kept");
    }
}
