//! Ordered deadlines: one for each link and each peer to be dialled.

use std::collections::BTreeSet;

/// Whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Due {
    /// A link, by number.
    Link(u32),
    /// A peer, by its place in the configuration.
    Dial(usize),
}

/// Deadlines in order; the owner remembers when its own is, so that moving one costs two steps down a
/// tree and nothing is ever scanned.
#[derive(Debug, Default)]
pub struct Timers(BTreeSet<(u64, Due)>);

impl Timers {
    /// Moves a deadline from `was` (0: there was none) to `at` (0: none any more).
    pub fn set(&mut self, who: Due, was: u64, at: u64) {
        if was == at {
            return;
        }
        if was != 0 {
            self.0.remove(&(was, who));
        }
        if at != 0 {
            self.0.insert((at, who));
        }
    }

    /// Takes one deadline that has come; the owner's is then none.
    pub fn take_due(&mut self, now: u64) -> Option<Due> {
        let &(at, who) = self.0.first()?;
        (at <= now).then(|| {
            self.0.pop_first();
            who
        })
    }

    /// The next deadline, 0 for none.
    pub fn next(&self) -> u64 {
        self.0.first().map_or(0, |(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_in_order_and_move() {
        let mut timers = Timers::default();
        timers.set(Due::Link(1), 0, 30);
        timers.set(Due::Link(2), 0, 20);
        timers.set(Due::Dial(0), 0, 10);
        timers.set(Due::Link(1), 30, 15);
        timers.set(Due::Link(2), 20, 0);
        assert_eq!(timers.next(), 10);
        assert_eq!(timers.take_due(12), Some(Due::Dial(0)));
        assert_eq!(timers.take_due(12), None);
        assert_eq!(timers.take_due(15), Some(Due::Link(1)));
        assert_eq!(timers.next(), 0);
    }
}
