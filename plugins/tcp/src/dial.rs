//! A peer to be dialled, and when to try again.

use crate::config::Peer;

/// A configured peer.
#[derive(Debug)]
pub struct Dial {
    /// Whom, and by which grant.
    pub peer: Peer,
    /// Tries since it last stood for long.
    tries: u32,
    /// Its deadline in the timers, 0 while a link is there.
    pub timer: u64,
}

impl Dial {
    /// A peer not tried yet.
    pub fn new(peer: Peer) -> Self {
        Self { peer, tries: 0, timer: 0 }
    }

    /// The link stood for long: the next pause is the shortest again.
    pub fn has_stood(&mut self) {
        self.tries = 0;
    }

    /// The pause before the next try, ns: doubling from `min` to `max`, and of that between a half and the
    /// whole, so that many head-ends do not dial as one. `random` is any number.
    pub fn pause(&mut self, min: u64, max: u64, random: u64) -> u64 {
        let whole = min.saturating_mul(1 << self.tries.min(30)).min(max).max(1);
        self.tries = self.tries.saturating_add(1);
        let half = whole / 2;
        half.saturating_add(random.checked_rem(whole.saturating_sub(half).saturating_add(1)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_limit_and_begins_anew() {
        let mut dial = Dial::new(Peer { grant: String::new(), address: String::new() });
        let longest: Vec<u64> = (0..5).map(|_| dial.pause(10, 50, 5 + 20 + 1)).collect();
        for (pause, whole) in longest.iter().zip([10, 20, 40, 50, 50]) {
            assert!((whole / 2..=whole).contains(pause), "{pause} of {whole}");
        }
        dial.has_stood();
        assert!(dial.pause(10, 50, u64::MAX) <= 10);
    }
}
