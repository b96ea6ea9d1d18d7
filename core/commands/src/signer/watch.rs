//! Wall time, compared with a clock that only runs (security layer §10: with the clock stepped, signing closes).
//!
//! How far the one is ahead of the other is believed from the first look on, and follows what correcting a
//! clock smoothly makes of it. Anything beyond is a step, forward or back. It is over when the clock agrees with
//! what is believed again, or when it has run evenly for a while: then it is the new belief.

/// What is further away than this is a step.
const STEP_MS: i64 = 2000;
/// A clock that is corrected smoothly gains or loses 1 ms in so many (500 in a million) at most.
const SLEW: u64 = 2000;
/// A clock that stepped is believed after it has run evenly for so long.
const EVENLY_MS: u64 = 600_000;
/// A first look that took longer than this says nothing.
const BLURRED_MS: u64 = 200;

/// One look at both clocks, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockLook {
    /// The clock that only runs, before wall time was read.
    pub before: u64,
    /// Unix time.
    pub wall: u64,
    /// The clock that only runs, after that.
    pub after: u64,
}

impl ClockLook {
    /// How far wall time is ahead, at the least and at the most.
    fn ahead(self) -> (i64, i64) {
        let ahead = |running: u64| {
            let ahead = i128::from(self.wall).saturating_sub(i128::from(running));
            i64::try_from(ahead).unwrap_or(i64::MAX)
        };
        let least = ahead(self.before.max(self.after));
        (least, least.max(ahead(self.before)))
    }
}

/// How far wall time was ahead, and when.
#[derive(Clone, Copy, Debug)]
struct Ahead {
    ms: i64,
    at: u64,
}

impl Ahead {
    /// How far a look is from this, in milliseconds.
    fn to(self, (least, most): (i64, i64)) -> i64 {
        self.ms.clamp(least, most).saturating_sub(self.ms)
    }
}

/// What the looks so far say.
#[derive(Debug, Default)]
pub(super) struct Watch {
    believed: Option<Ahead>,
    stepped: Option<Ahead>,
}

impl Watch {
    /// Whether nothing is believed so far.
    pub fn is_new(&self) -> bool {
        self.believed.is_none()
    }

    /// Takes a look; answers by how many milliseconds the clock has stepped, if it has.
    pub fn look(&mut self, look: ClockLook) -> Option<i64> {
        let (ahead, now) = (look.ahead(), look.after);
        let new = Ahead { ms: ahead.0, at: now };
        let Some(believed) = &mut self.believed else {
            if now.saturating_sub(look.before) <= BLURRED_MS {
                self.believed = Some(new);
            }
            return None;
        };
        let slewed = now.saturating_sub(believed.at) / SLEW;
        let slew = i64::try_from(slewed).unwrap_or(i64::MAX);
        let by = believed.to(ahead);
        if by.saturating_abs() <= STEP_MS.saturating_add(slew) {
            believed.ms = believed.ms.saturating_add(by.clamp(slew.saturating_neg(), slew));
            believed.at = believed.at.saturating_add(slewed.saturating_mul(SLEW));
            self.stepped = None;
            return None;
        }
        match self.stepped.filter(|stepped| stepped.to(ahead).saturating_abs() <= STEP_MS) {
            Some(stepped) if now.saturating_sub(stepped.at) >= EVENLY_MS => {
                (self.believed, self.stepped) = (Some(new), None);
                return None;
            }
            Some(_) => {}
            None => self.stepped = Some(new),
        }
        Some(by)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn look(watch: &mut Watch, running: u64, wall: u64) -> Option<i64> {
        watch.look(ClockLook { before: running, wall, after: running })
    }

    const START: u64 = 1_000_000_000;

    #[test]
    fn a_step_in_either_direction_is_noticed_and_over_when_it_is_put_right() {
        for step in [3_600_000_i64, 3000, -3000, -3_600_000] {
            let mut watch = Watch::default();
            let stepped = |running: u64| (START + running).saturating_add_signed(step);
            assert_eq!(look(&mut watch, 0, START), None);
            assert_eq!(look(&mut watch, 1000, START + 1000), None);
            for running in (2..500).map(|second| second * 1000) {
                assert_eq!(look(&mut watch, running, stepped(running)), Some(step));
            }
            assert_eq!(look(&mut watch, 500_000, START + 500_000), None);
        }
    }

    #[test]
    fn a_clock_that_has_run_evenly_since_its_step_is_believed() {
        let mut watch = Watch::default();
        look(&mut watch, 0, START);
        let at = |running: u64, ahead: u64| (running, START + running + ahead);
        for (running, wall) in (1..300).map(|second| at(second * 1000, 5000)) {
            assert!(look(&mut watch, running, wall).is_some());
        }
        // It steps once more: the while begins anew.
        for (running, wall) in (300..900).map(|second| at(second * 1000, 9000)) {
            assert!(look(&mut watch, running, wall).is_some());
        }
        let (running, wall) = at(900_000, 9000);
        assert_eq!(look(&mut watch, running, wall), None);
        let (running, wall) = at(901_000, 0);
        assert_eq!(look(&mut watch, running, wall), Some(-9000));
    }

    #[test]
    fn what_is_corrected_smoothly_is_no_step_and_small_steps_do_not_add_up() {
        let (mut watch, mut even) = (Watch::default(), Watch::default());
        for second in 0..100_000_u64 {
            let running = second * 1000;
            assert_eq!(look(&mut watch, running, START + running + running / SLEW), None, "{second} s");
            let steps = look(&mut even, running, START + running + second * 100);
            assert_eq!(steps.is_some(), second > 20, "{second} s, 100 ms each");
        }
        // Nobody looked for a day.
        let running = 100_000_000 + 86_400_000;
        assert_eq!(look(&mut watch, running, START + running + running / SLEW), None);
    }

    #[test]
    fn a_look_that_took_long_is_no_step() {
        let mut watch = Watch::default();
        let blurred = |wall| ClockLook { before: 1000, wall, after: 9000 };
        assert_eq!(watch.look(blurred(START + 1000)), None);
        assert!(watch.believed.is_none());
        assert_eq!(look(&mut watch, 10_000, START + 10_000), None);
        assert_eq!(watch.look(blurred(START + 9000)), None);
        assert_eq!(watch.look(blurred(START + 1000)), None);
        assert_eq!(watch.look(blurred(START + 12_000)), Some(3000));
    }

    proptest! {
        #[test]
        fn any_looks_are_taken(looks: Vec<(u64, u64, u64)>) {
            let mut watch = Watch::default();
            for (before, wall, after) in looks {
                watch.look(ClockLook { before, wall, after });
            }
        }
    }
}
