//! The counter of one key and sender. It is used only as far as durable reservations reach, so that no
//! restart ever repeats one (security layer §8).

/// Counters that the head-end reserves at once for an association.
pub const HEAD_END_BLOCK: u32 = 64;
/// Counters that an end device reserves at once.
pub const END_DEVICE_BLOCK: u32 = 32;
/// From here on the epoch should advance.
pub const ADVANCE_AT: u32 = 1 << 23;
/// Here the counter stops.
pub const STOP_AT: u32 = (1 << 24) - 1;

/// A counter and how far it is reserved, 8 octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counter {
    next: u32,
    floor: u32,
}

impl Counter {
    /// The counter after a restart: all below the durable `floor` may have been used.
    #[must_use]
    pub fn resume(floor: u32) -> Self {
        Self { next: floor, floor }
    }

    /// The counter that is taken next, reserved or not.
    #[must_use]
    pub fn next_seq(&self) -> u32 {
        self.next
    }

    /// Whether a reservation covers the next counter.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.next < self.floor.min(STOP_AT)
    }

    /// Takes the next counter; `None` when no reservation covers it.
    pub fn take(&mut self) -> Option<u32> {
        let seq = self.next;
        if !self.is_reserved() {
            return None;
        }
        self.next = seq.saturating_add(1);
        Some(seq)
    }

    /// The floor that should be made durable now, for another `block` counters; `None` while more than
    /// a quarter of a block is left, and at the end.
    #[must_use]
    pub fn wanted(&self, block: u32) -> Option<u32> {
        let left = self.floor.saturating_sub(self.next);
        let floor = self.floor.saturating_add(block).min(STOP_AT);
        (left <= block / 4 && floor > self.floor).then_some(floor)
    }

    /// The reservation up to `floor` is durable.
    pub fn reserved(&mut self, floor: u32) {
        self.floor = self.floor.max(floor);
    }

    /// The first counter that is not reserved.
    #[must_use]
    pub fn floor(&self) -> u32 {
        self.floor
    }

    /// Whether the epoch should advance (or, at the end, has to).
    #[must_use]
    pub fn wants_advance(&self) -> bool {
        self.next >= ADVANCE_AT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_used_before_its_reservation_and_nothing_twice() {
        let mut counter = Counter::default();
        assert_eq!((counter.take(), counter.wanted(64)), (None, Some(64)));
        counter.reserved(64);
        for seq in 0..64 {
            assert_eq!(counter.wanted(64), (seq >= 48).then_some(128));
            assert_eq!(counter.take(), Some(seq));
        }
        assert_eq!(counter.take(), None);
        counter.reserved(128);
        assert_eq!(counter.take(), Some(64));
        let mut again = Counter::resume(counter.floor());
        assert_eq!(again.take(), None);
        again.reserved(192);
        assert_eq!(again.take(), Some(128));
    }

    #[test]
    fn it_stops_at_the_end() {
        let mut counter = Counter::resume(STOP_AT - 2);
        assert!(counter.wants_advance() && !Counter::resume(ADVANCE_AT - 1).wants_advance());
        assert_eq!(counter.wanted(64), Some(STOP_AT));
        counter.reserved(u32::MAX);
        assert_eq!((counter.take(), counter.take()), (Some(STOP_AT - 2), Some(STOP_AT - 1)));
        assert_eq!((counter.take(), counter.wanted(64)), (None, None));
    }
}
