//! What happened in the last minutes: a set whose entries leave it when they are old.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// Keys with a value each, forgotten after a fixed time, at most so many.
#[derive(Debug)]
pub struct Recent<K, V> {
    known: HashMap<K, (u64, V)>,
    /// In the order in which they came; a key may stand here after it was forgotten.
    order: VecDeque<(u64, K)>,
    life_ns: u64,
    max: usize,
}

/// The set holds as many as it may, and none of them is old.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many to remember")]
pub struct Full;

impl<K: Copy + Eq + Hash, V> Recent<K, V> {
    /// Remembers at most `max` keys for `life_ns` nanoseconds each.
    #[must_use]
    pub fn new(life_ns: u64, max: usize) -> Self {
        Self { known: HashMap::new(), order: VecDeque::new(), life_ns, max: max.max(1) }
    }

    /// The value of a key that is not old at `now` (monotonic ns).
    #[must_use]
    pub fn get(&self, key: &K, now: u64) -> Option<&V> {
        self.known.get(key).filter(|(at, _)| now.saturating_sub(*at) < self.life_ns).map(|(_, value)| value)
    }

    /// Remembers a key from `now` on, with a new value where it is known already.
    ///
    /// # Errors
    /// [`Full`]: nothing is forgotten before its time.
    pub fn insert(&mut self, key: K, value: V, now: u64) -> Result<(), Full> {
        self.forget_old(now);
        if self.order.len() >= self.max {
            return Err(Full);
        }
        self.known.insert(key, (now, value));
        self.order.push_back((now, key));
        Ok(())
    }

    /// Forgets a key before its time: what it stood for did not happen.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.known.remove(key).map(|(_, value)| value)
    }

    fn forget_old(&mut self, now: u64) {
        while let Some((at, key)) = self.order.front().copied() {
            if now.saturating_sub(at) < self.life_ns {
                return;
            }
            self.order.pop_front();
            if self.known.get(&key).is_some_and(|(known, _)| *known == at) {
                self.known.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_for_its_time_and_no_longer() {
        let mut recent = Recent::new(10, 8);
        recent.insert('a', 1, 100).unwrap();
        assert_eq!(recent.get(&'a', 109), Some(&1));
        assert_eq!(recent.get(&'a', 110), None);
        recent.insert('a', 2, 105).unwrap();
        assert_eq!(recent.get(&'a', 114), Some(&2), "its time begins anew");
        recent.insert('b', 3, 112).unwrap();
        assert_eq!(recent.get(&'a', 114), Some(&2), "the first entry of `a` left alone");
        assert_eq!(recent.remove(&'a'), Some(2));
        assert_eq!(recent.get(&'a', 113), None);
    }

    #[test]
    fn a_full_set_forgets_nothing_early() {
        let mut recent = Recent::new(10, 2);
        recent.insert(1, (), 0).unwrap();
        recent.insert(2, (), 5).unwrap();
        assert_eq!(recent.insert(3, (), 9), Err(Full));
        assert!(recent.get(&1, 9).is_some());
        recent.insert(3, (), 10).unwrap();
        assert!(recent.get(&2, 10).is_some() && recent.get(&3, 10).is_some());
    }
}
