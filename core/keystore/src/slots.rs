//! Which numbers new associations get: dense, even over the partitions, none ever twice.
//!
//! A slot is used again when its association is gone, by the next generation; after 128 it stays empty. The
//! record of a gone association stays in the store, so that generations survive a restart. A shared service:
//! the registrar takes and gives back, the key store says what has become of associations.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use seal::ids::Sid;

/// Freed slots rest until there are so many of them: a device may still send under the number before.
const RESTING: usize = 1024;
/// Of a slot that was never used.
const NEVER: u8 = u8::MAX;

/// The allocator.
pub struct Slots {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    open: bool,
    /// By slot: the generation used last.
    generations: Vec<u8>,
    /// Below it every slot was used.
    next: u32,
    /// Associations to be, of slots that were freed.
    free: VecDeque<Sid>,
    /// Their slots.
    released: HashSet<u32>,
    /// Of runs that died: never an association, so given again as they are.
    returned: Vec<Sid>,
    /// Given, and not yet heard of.
    lent: HashSet<Sid>,
}

impl Slots {
    /// From all associations that there are or were, with whether they are gone. Gives nothing before
    /// [`Slots::open`].
    #[must_use]
    pub fn new(known: impl Iterator<Item = (Sid, bool)>) -> Self {
        let mut inner = Inner::default();
        for (sid, gone) in known {
            inner.take(sid);
            if gone {
                inner.release(sid);
            }
        }
        Self { inner: Mutex::new(inner) }
    }

    /// From now on it gives: what the journal says of associations is known.
    pub fn open(&self) {
        self.inner().open = true;
    }

    /// Whether it gives.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner().open
    }

    /// A number for a new association; `None` while the journal is not read, or when none is left.
    pub fn allocate(&self) -> Option<Sid> {
        let inner = &mut *self.inner();
        if !inner.open {
            return None;
        }
        let sid = inner.next()?;
        inner.take(sid);
        inner.lent.insert(sid);
        Some(sid)
    }

    /// Gives back a number under which nothing was registered: its run has died. Another is not taken.
    pub fn free(&self, sid: Sid) {
        let inner = &mut *self.inner();
        if inner.lent.remove(&sid) {
            inner.returned.push(sid);
        }
    }

    /// An association has this number.
    pub fn taken(&self, sid: Sid) {
        let inner = &mut *self.inner();
        inner.lent.remove(&sid);
        inner.returned.retain(|other| *other != sid);
        inner.take(sid);
    }

    /// An association is gone, and that is durable: its slot may be used again.
    pub fn release(&self, sid: Sid) {
        self.inner().release(sid);
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn generation(&self, slot: u32) -> u8 {
        self.generations.get(slot as usize).copied().unwrap_or(NEVER)
    }

    /// Notes that this generation of the slot is used.
    fn take(&mut self, sid: Sid) {
        let slot = sid.slot() as usize;
        if self.generations.len() <= slot {
            self.generations.resize(slot + 1, NEVER);
        }
        let Some(generation) = self.generations.get_mut(slot) else { return };
        if *generation == NEVER || *generation < sid.generation() {
            *generation = sid.generation();
        }
    }

    /// The slot of this association is free for the next generation, unless that is used already.
    fn release(&mut self, sid: Sid) {
        let next = sid.generation().checked_add(1).and_then(|generation| Sid::new(generation, sid.slot()));
        if let Some(next) = next.filter(|_| self.generation(sid.slot()) == sid.generation())
            && !self.released.contains(&sid.slot())
        {
            self.released.insert(sid.slot());
            self.free.push_back(next);
        }
    }

    fn next(&mut self) -> Option<Sid> {
        if let Some(sid) = self.returned.pop() {
            return Some(sid);
        }
        if self.free.len() > RESTING {
            return self.reuse();
        }
        while self.next < Sid::SLOTS && self.generation(self.next) != NEVER {
            self.next += 1;
        }
        Sid::new(0, self.next).or_else(|| self.reuse())
    }

    fn reuse(&mut self) -> Option<Sid> {
        while let Some(sid) = self.free.pop_front() {
            self.released.remove(&sid.slot());
            // The journal may have told of it since.
            if self.generation(sid.slot()) < sid.generation() {
                return Some(sid);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slots(known: &[(u32, bool)]) -> Slots {
        let slots = Slots::new(known.iter().map(|(sid, gone)| (Sid(*sid), *gone)));
        assert_eq!(slots.allocate(), None);
        slots.open();
        slots
    }

    #[test]
    fn slots_are_dense_and_go_over_the_partitions() {
        let slots = slots(&[(0, false), (0x0500_0002, false)]);
        let given: Vec<u32> = (0..3000).map(|_| slots.allocate().unwrap().0).collect();
        assert_eq!(given[..3], [1, 3, 4]);
        assert_eq!(given[2999], 3001);
    }

    #[test]
    fn a_run_that_died_gives_its_number_back_as_it_is() {
        let slots = slots(&[]);
        let sid = slots.allocate().unwrap();
        slots.free(sid);
        slots.free(sid);
        assert_eq!((slots.allocate(), slots.allocate()), (Some(sid), Some(Sid(1))));
        slots.taken(sid);
        slots.free(sid);
        assert_eq!(slots.allocate(), Some(Sid(2)));
    }

    #[test]
    fn a_gone_association_makes_room_for_the_next_generation_after_a_rest() {
        let known: Vec<(u32, bool)> =
            (0..RESTING as u32 + 1).map(|slot| (0x7e00_0000 + slot, true)).collect();
        let slots = slots(&known);
        let first = slots.allocate().unwrap();
        assert_eq!(first, Sid(0x7f00_0000));
        // Too few rest now; and of this slot nothing is left.
        assert_eq!(slots.allocate(), Some(Sid(RESTING as u32 + 1)));
        slots.taken(first);
        slots.release(first);
        assert_eq!(slots.allocate(), Some(Sid(RESTING as u32 + 2)));
    }

    #[test]
    fn what_the_journal_tells_at_a_start_is_not_given_again() {
        let known: Vec<(u32, bool)> = (0..RESTING as u32 + 2).map(|slot| (slot, true)).collect();
        let slots = Slots::new(known.iter().map(|(sid, gone)| (Sid(*sid), *gone)));
        // Given before the cut: the first of the freed slots, and a fresh one.
        slots.taken(Sid(0x0100_0000));
        slots.taken(Sid(RESTING as u32 + 2));
        slots.open();
        assert_eq!(slots.allocate(), Some(Sid(0x0100_0001)));
        assert_eq!(slots.allocate(), Some(Sid(RESTING as u32 + 3)));
    }

    proptest! {
        #[test]
        fn no_number_comes_twice(acts in prop::collection::vec((0..4_u8, any::<prop::sample::Index>()), 1..400)) {
            let known: Vec<(u32, bool)> = (0..2000).map(|slot| (slot, slot % 3 > 0)).collect();
            let slots = slots(&known);
            let mut used: HashSet<Sid> = known.iter().map(|(sid, _)| Sid(*sid)).collect();
            let (mut lent, mut held) = (Vec::new(), Vec::new());
            for (act, index) in acts {
                match act {
                    0 | 1 => {
                        let sid = slots.allocate().unwrap();
                        prop_assert!(!used.contains(&sid) && !lent.contains(&sid), "{sid}");
                        lent.push(sid);
                    }
                    2 if !lent.is_empty() => {
                        let sid = lent.swap_remove(index.index(lent.len()));
                        slots.taken(sid);
                        used.insert(sid);
                        held.push(sid);
                    }
                    2 => {}
                    _ if !held.is_empty() => {
                        let sid = held.swap_remove(index.index(held.len()));
                        slots.release(sid);
                        slots.release(sid);
                    }
                    _ => if let Some(sid) = lent.pop() { slots.free(sid) },
                }
            }
        }
    }
}
