//! The duplicate cache: what was heard lately is not taken twice.

use crate::Eui64;

/// How many (originator, sequence) pairs are kept.
pub const DUPLICATES_MAX: usize = 64;

/// The last [`DUPLICATES_MAX`] pairs of originator and sequence; the oldest gives way.
#[derive(Clone, Debug)]
pub struct DuplicateCache {
    entries: [Option<(Eui64, u16)>; DUPLICATES_MAX],
    oldest: usize,
    duplicates: u64,
}

impl Default for DuplicateCache {
    fn default() -> Self {
        Self::new()
    }
}

impl DuplicateCache {
    /// An empty cache.
    #[must_use]
    pub const fn new() -> Self {
        Self { entries: [None; DUPLICATES_MAX], oldest: 0, duplicates: 0 }
    }

    /// Whether a pair is new; it is kept from now on.
    pub fn is_new(&mut self, originator: Eui64, sequence: u16) -> bool {
        let pair = Some((originator, sequence));
        if self.entries.contains(&pair) {
            self.duplicates = self.duplicates.saturating_add(1);
            return false;
        }
        if let Some(entry) = self.entries.get_mut(self.oldest) {
            *entry = pair;
        }
        self.oldest = (self.oldest + 1) % DUPLICATES_MAX;
        true
    }

    /// Forgets an originator, which has restarted and counts anew.
    pub fn forget(&mut self, originator: Eui64) {
        for entry in &mut self.entries {
            entry.take_if(|(kept, _)| *kept == originator);
        }
    }

    /// How many duplicates were found.
    #[must_use]
    pub const fn duplicates(&self) -> u64 {
        self.duplicates
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_new_once_and_again_after_64_others() {
        let mut cache = DuplicateCache::new();
        assert!(cache.is_new(Eui64(1), 7));
        assert!(!cache.is_new(Eui64(1), 7));
        for sequence in 0..63 {
            assert!(cache.is_new(Eui64(2), sequence));
        }
        assert!(!cache.is_new(Eui64(1), 7));
        assert!(cache.is_new(Eui64(2), 63));
        assert!(cache.is_new(Eui64(1), 7));
        assert_eq!(cache.duplicates(), 2);
    }

    #[test]
    fn a_restarted_originator_is_forgotten() {
        let mut cache = DuplicateCache::new();
        assert!(cache.is_new(Eui64(1), 0));
        assert!(cache.is_new(Eui64(2), 0));
        cache.forget(Eui64(1));
        assert!(cache.is_new(Eui64(1), 0));
        assert!(!cache.is_new(Eui64(2), 0));
    }
}
