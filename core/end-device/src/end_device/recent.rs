//! Remembering for a while, within a limit.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// What was seen lately: at most so many, each for so long.
#[derive(Debug)]
pub(super) struct Recent<K> {
    /// When each is forgotten.
    seen: HashMap<K, u64>,
    /// The same by age, with what was forgotten early.
    order: VecDeque<(K, u64)>,
    max: usize,
    life_ns: u64,
}

impl<K: Clone + Eq + Hash> Recent<K> {
    /// Remembers up to `max`, each for `life_ns`; [`u64::MAX`] for as long as there is room.
    pub fn new(max: usize, life_ns: u64) -> Self {
        Self { seen: HashMap::new(), order: VecDeque::new(), max, life_ns }
    }

    /// Whether it was seen lately.
    pub fn contains(&self, key: &K, now: u64) -> bool {
        self.seen.get(key).is_some_and(|end| now < *end)
    }

    /// Remembers it from now on. Answers what had to be forgotten too early to make room.
    pub fn insert(&mut self, key: K, now: u64) -> Option<K> {
        while self.order.front().is_some_and(|(_, end)| *end <= now) {
            self.forget_oldest();
        }
        let full = self.order.len() >= self.max;
        let early = if full { self.forget_oldest() } else { None };
        let end = now.saturating_add(self.life_ns);
        self.seen.insert(key.clone(), end);
        self.order.push_back((key, end));
        early
    }

    /// Forgets all that `is` picks.
    pub fn forget(&mut self, is: impl Fn(&K) -> bool) {
        self.seen.retain(|key, _| !is(key));
        self.order.retain(|(key, _)| !is(key));
    }

    /// How many are remembered.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    fn forget_oldest(&mut self) -> Option<K> {
        let (key, end) = self.order.pop_front()?;
        // It may have been seen again since.
        if self.seen.get(&key) != Some(&end) {
            return None;
        }
        self.seen.remove(&key);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_and_room_end() {
        let mut recent = Recent::new(3, 10);
        assert_eq!([1, 2, 3].map(|key| recent.insert(key, 0)), [None; 3]);
        assert!(recent.contains(&1, 9) && !recent.contains(&1, 10));
        assert_eq!(recent.insert(4, 5), Some(1));
        assert!(!recent.contains(&1, 5) && recent.contains(&2, 5));
        assert_eq!((recent.insert(5, 12), recent.len()), (None, 2));
        assert_eq!((recent.insert(4, 13), recent.insert(6, 13)), (None, None));
        assert!(recent.contains(&4, 22));
        recent.forget(|key| *key == 4);
        assert!(!recent.contains(&4, 13));
    }

    #[test]
    fn as_long_as_there_is_room() {
        let mut recent = Recent::new(2, u64::MAX);
        recent.insert(1, 0);
        assert!(recent.contains(&1, u64::MAX - 1));
        recent.insert(2, 1);
        assert_eq!(recent.insert(3, 2), Some(1));
    }
}
