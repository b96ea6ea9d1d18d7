//! Replaces the partitions' data keys while the head-end runs (security layer §4: within 30 days), each on its
//! day, and deletes a replaced one when nothing is needed any more that stands sealed under it.

use std::time::{Duration, Instant};

use journal::{JournalError, Position, floor};
use keystore::{OldDek, Store, StoreError};
use node::{Context, Counter, Env, Gauge, Reason, Severity, Source};

use super::offline::checkpoints;
use crate::clock::unix_s;
use crate::journal::Log;

const DAY_S: u64 = 86_400;
const HOUR_S: u64 = 3_600;
/// The schedule ends so long before the day.
const MARGIN_S: u64 = HOUR_S;
/// What was sealed under a replaced key has reached the journal after so long.
const QUIET_S: u64 = HOUR_S;
/// A replaced key is kept so long at most, when those who need it have passed its mark.
const KEPT_S: u64 = 72 * HOUR_S;
/// No faster than so, also when much is overdue.
const PACE: Duration = Duration::from_secs(2);
/// How often old keys are looked at; they are deleted some at a time, because the store is written anew for it.
const LOOK_EVERY: Duration = Duration::from_secs(600);
const RELEASE_EVERY: Duration = Duration::from_secs(12 * HOUR_S);
/// What failed is left alone so long.
const PAUSE: Duration = Duration::from_secs(60);

pub(super) struct Rekey {
    period_s: u64,
    next: Instant,
    look: Instant,
    release: Instant,
    age: Gauge,
    replaced: Counter,
}

impl Rekey {
    pub(super) fn new(env: &Env, days: u64) -> Self {
        let age = "Days since the oldest data key of a partition was drawn.";
        let replaced = "Data keys of partitions that were replaced.";
        let now = Instant::now();
        Self {
            period_s: days.saturating_mul(DAY_S).saturating_sub(MARGIN_S),
            next: now,
            look: now,
            release: now,
            age: env.gauge("metergraph_dek_age_days", age, &[]),
            replaced: env.counter("metergraph_deks_replaced_total", replaced, &[]),
        }
    }

    /// Does what is due; `taken` is what the store has taken in of the journal.
    pub(super) fn turn(&mut self, context: &mut Context, store: &Store, log: &Log, taken: Position) {
        let now = Instant::now();
        if now >= self.next {
            self.next = now + PACE;
            if let Err(error) = self.replace(store) {
                self.next = now + PAUSE;
                failed(context, &error);
            }
        }
        if now >= self.look {
            self.look = now + LOOK_EVERY;
            if let Err(error) = self.let_go(store, log, taken, now) {
                failed(context, &error);
            }
        }
    }

    fn replace(&self, store: &Store) -> Result<(), Failed> {
        let (mut dates, now) = (store.dek_dates(), unix_s());
        if let Some(partition) = due(&dates, self.period_s, now) {
            store.replace_dek(partition, now)?;
            self.replaced.add(1);
            dates = store.dek_dates();
        }
        // One that nobody knows the day of is as old as can be.
        let oldest = dates.iter().min().map_or(0, |oldest| now.saturating_sub(*oldest) / DAY_S);
        self.age.set(i64::try_from(oldest).unwrap_or(i64::MAX));
        Ok(())
    }

    fn let_go(&mut self, store: &Store, log: &Log, taken: Position, at: Instant) -> Result<(), Failed> {
        let old = store.old_deks();
        if old.is_empty() {
            return Ok(());
        }
        let now = unix_s();
        let quiet = |old: &OldDek| old.replaced.saturating_add(QUIET_S) <= now;
        store.mark_deks(&quiet, log.durable().position().0)?;
        if at < self.release {
            return Ok(());
        }
        let lowest = |position: Option<Position>| position.unwrap_or(taken).min(taken);
        let passed = Passed {
            first: log.first()?,
            marks: lowest(floor(&*log.files(), log.folder())?),
            keys: lowest(checkpoints(&*log.files(), log.folder())?),
        };
        if store.release_deks(&|old| passed.is_over(old, now))? > 0 {
            self.release = at + RELEASE_EVERY;
        }
        Ok(())
    }
}

/// How far the journal's beginning and its readers are.
struct Passed {
    first: Position,
    /// All who hold segments back.
    marks: Position,
    /// Those who open what is sealed.
    keys: Position,
}

impl Passed {
    fn is_over(&self, old: &OldDek, now: u64) -> bool {
        let Some(mark) = old.mark.map(Position) else { return false };
        let nothing_stands = self.first >= mark && self.marks >= mark;
        nothing_stands || (old.replaced.saturating_add(KEPT_S) <= now && self.keys >= mark)
    }
}

/// The partition to be replaced now: the oldest, when with one a step any would come too late otherwise.
fn due(dates: &[u64], period_s: u64, now: u64) -> Option<u16> {
    let mut sorted: Vec<(u64, u16)> = dates.iter().copied().zip(0..).collect();
    sorted.sort_unstable();
    let count = u64::try_from(sorted.len()).unwrap_or(u64::MAX);
    let late = |(place, (date, _)): (u64, &(u64, u16))| {
        let steps = period_s.saturating_mul(place) / count;
        date.saturating_add(period_s) < now.saturating_add(steps)
    };
    let is_due = (0..).zip(&sorted).any(late);
    sorted.first().filter(|_| is_due).map(|(_, partition)| *partition)
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Journal(#[from] JournalError),
}

fn failed(context: &mut Context, error: &Failed) {
    context.events.report(Reason("dek-not-replaced"), Severity::Alarm, Source::Node, || error.to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: u64 = 28 * DAY_S;
    const NOW: u64 = 2_000_000_000;

    /// Runs the schedule, looked at every `look` seconds, and answers the oldest age that there was.
    fn run(dates: &mut [u64], mut now: u64, for_s: u64, look: u64) -> (u64, usize) {
        let (mut oldest, mut replaced) = (0, 0);
        for _ in 0..for_s / look {
            now += look;
            oldest = oldest.max(now - *dates.iter().min().unwrap());
            if let Some(partition) = due(dates, PERIOD, now) {
                dates[usize::from(partition)] = now;
                replaced += 1;
            }
        }
        (oldest, replaced)
    }

    #[test]
    fn each_is_replaced_within_its_time_one_after_the_other() {
        let mut dates = [NOW; 1024];
        let step = PERIOD / 1024;
        // Spread from the first day on.
        let (_, replaced) = run(&mut dates, NOW, PERIOD / 4, step / 2);
        assert!((250..=260).contains(&replaced), "{replaced}");
        let (oldest, replaced) = run(&mut dates, NOW + PERIOD / 4, 2 * PERIOD, step / 2);
        assert!(oldest <= PERIOD + step, "{}", oldest - PERIOD);
        assert!((2040..=2056).contains(&replaced), "{replaced}");
    }

    #[test]
    fn what_is_overdue_after_a_stop_is_done_first_and_no_more_than_that() {
        let mut dates: [u64; 1024] = std::array::from_fn(|at| NOW - at as u64 * (PERIOD / 1024));
        // Ten days nothing ran: what should have been replaced meanwhile is.
        let (_, replaced) = run(&mut dates, NOW + 10 * DAY_S, 2 * 400, 2);
        assert!((360..=372).contains(&replaced), "{replaced}");
        // Nobody knows when, as in stores of an older form: all of them.
        assert_eq!(run(&mut [0; 1024], NOW, 2 * 1024, 2).1, 1024);
        // A clock that was set back does no harm.
        assert_eq!(due(&[NOW + 90 * DAY_S; 1024], PERIOD, NOW), None);
    }

    #[test]
    fn an_old_key_goes_when_nothing_is_left_or_after_three_days_when_nobody_needs_it() {
        let old = |mark| OldDek { partition: 1, replaced: NOW, mark };
        let passed = |first, marks, keys| Passed {
            first: Position(first),
            marks: Position(marks),
            keys: Position(keys),
        };
        let late = NOW + KEPT_S;
        assert!(passed(10, 10, 10).is_over(&old(Some(10)), NOW));
        assert!(!passed(10, 9, 10).is_over(&old(Some(10)), NOW));
        assert!(!passed(9, 10, 10).is_over(&old(Some(10)), NOW));
        assert!(!passed(9, 9, 10).is_over(&old(Some(10)), late - 1));
        assert!(passed(9, 9, 10).is_over(&old(Some(10)), late));
        assert!(!passed(9, 9, 9).is_over(&old(Some(10)), late), "a shard needs it");
        assert!(!passed(99, 99, 99).is_over(&old(None), late), "more may come");
    }
}
