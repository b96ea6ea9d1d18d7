//! The groups of one shard: their keys by epoch, and the counters that frames of type 3 take (security layer
//! §4, §7, §8).

use std::collections::HashMap;

use c1222::ApTitleBuf;
use seal::counter::Counter;
use seal::group::GroupKeys;
use seal::ids::{Epoch, Gid};
use seal::secret::Key128;

/// Counters that are reserved at once for a group.
pub(super) const GROUP_BLOCK: u32 = 1024;
/// Groups that a shard holds at most.
const GROUPS_MAX: usize = 1 << 16;
/// Epochs of a group that are held at most: as many as an end device takes ahead, and two.
const EPOCHS_MAX: usize = 18;

/// A group's key of one epoch.
struct GroupEpoch {
    /// Boxed, so that no key is left behind where a list grows or closes up.
    keys: Box<GroupKeys>,
    /// Unix seconds.
    activate_at: u32,
    counter: Counter,
    /// A reservation is on its way to the journal.
    reserving: bool,
}

/// The groups of the partitions of one shard.
#[derive(Default)]
pub(super) struct Groups {
    /// Epochs ascend.
    groups: HashMap<Gid, Vec<GroupEpoch>>,
}

/// What the next frame to a group is sealed with.
pub(super) enum Next<'g> {
    /// These keys, and this counter.
    Seal(&'g GroupKeys, u32),
    /// Its counters have to be reserved first.
    Reserve(Wanted),
    /// A reservation is on its way.
    Wait,
    /// No key of the group is in force.
    NoKey,
    /// The epoch has no counter left.
    Exhausted,
}

/// Counters of a group to be reserved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The group's epoch.
    pub(super) epoch: Epoch,
    /// Up to where.
    pub(super) floor: u32,
}

impl Groups {
    /// Takes in a key; the first one of an epoch stays. `false` when there are too many groups.
    pub(super) fn learn(&mut self, gid: Gid, epoch: Epoch, activate_at: u32, gms: &Key128) -> bool {
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&gid) {
            return false;
        }
        let epochs = self.groups.entry(gid).or_default();
        if let Err(at) = epochs.binary_search_by_key(&epoch, |held| held.keys.epoch()) {
            let keys = Box::new(GroupKeys::derive(gms, gid, epoch));
            let (counter, reserving) = (Counter::default(), false);
            epochs.insert(at, GroupEpoch { keys, activate_at, counter, reserving });
            let surplus = epochs.len().saturating_sub(EPOCHS_MAX);
            epochs.drain(..surplus);
        }
        true
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// What the next frame is sealed with at this Unix second.
    pub(super) fn next(&mut self, gid: Gid, now: u64) -> Next<'_> {
        let in_force = |held: &&mut GroupEpoch| u64::from(held.activate_at) <= now;
        let epochs = self.groups.get_mut(&gid).into_iter().flatten();
        let Some(current) = epochs.rev().find(in_force) else { return Next::NoKey };
        match (current.counter.take(), current.counter.wanted(GROUP_BLOCK)) {
            (Some(seq), _) => Next::Seal(&current.keys, seq),
            (None, _) if current.reserving => Next::Wait,
            (None, Some(floor)) => Next::Reserve(Wanted { epoch: current.keys.epoch(), floor }),
            (None, None) => Next::Exhausted,
        }
    }

    /// A reservation is sent to the journal, or did not get there.
    pub(super) fn set_reserving(&mut self, gid: Gid, epoch: Epoch, reserving: bool) {
        if let Some(held) = self.epoch_mut(gid, epoch) {
            held.reserving = reserving;
        }
    }

    /// The write that reserves counters up to `floor` is durable.
    pub(super) fn reserved(&mut self, gid: Gid, epoch: Epoch, floor: u32) {
        if let Some(held) = self.epoch_mut(gid, epoch) {
            held.counter.reserved(floor);
        }
    }

    /// At a start: counters below `floor` may have been used.
    pub(super) fn restore_floor(&mut self, gid: Gid, epoch: Epoch, floor: u32) {
        if let Some(held) = self.epoch_mut(gid, epoch) {
            held.counter = Counter::resume(held.counter.floor().max(floor));
        }
    }

    /// All counters that were ever reserved.
    pub(super) fn floors(&self) -> impl Iterator<Item = (Gid, Epoch, u32)> {
        self.held().filter(|(.., floor)| *floor > 0)
    }

    /// All epochs that are held, with their counters.
    pub(super) fn held(&self) -> impl Iterator<Item = (Gid, Epoch, u32)> {
        let each = |(gid, epochs): (&Gid, &Vec<GroupEpoch>)| {
            let floors = epochs.iter().map(|held| (*gid, held.keys.epoch(), held.counter.floor()));
            floors.collect::<Vec<_>>()
        };
        self.groups.iter().flat_map(each)
    }

    fn epoch_mut(&mut self, gid: Gid, epoch: Epoch) -> Option<&mut GroupEpoch> {
        self.groups.get_mut(&gid)?.iter_mut().find(|held| held.keys.epoch() == epoch)
    }
}

/// The address of a group: the relative title `.0.GID`, which an interior 0 makes that of a group.
#[must_use]
pub fn title_of(gid: Gid) -> Option<ApTitleBuf> {
    ApTitleBuf::parse(&format!(".0.{}", gid.0)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GID: Gid = Gid(0x8000_0005);

    fn learn(groups: &mut Groups, epoch: u16, activate_at: u32) {
        assert!(groups.learn(GID, Epoch(epoch), activate_at, &Key128::from_octets([epoch as u8; 16])));
    }

    fn take(groups: &mut Groups, now: u64) -> (u16, u32) {
        loop {
            match groups.next(GID, now) {
                Next::Seal(keys, seq) => return (keys.epoch().0, seq),
                Next::Reserve(Wanted { epoch, floor }) => groups.reserved(GID, epoch, floor),
                _ => panic!("nothing to seal with"),
            }
        }
    }

    #[test]
    fn the_newest_epoch_in_force_is_sealed_under_each_with_its_own_counter() {
        let mut groups = Groups::default();
        assert!(matches!(groups.next(GID, 50), Next::NoKey));
        learn(&mut groups, 7, 100);
        assert!(matches!(groups.next(GID, 99), Next::NoKey));
        assert_eq!((take(&mut groups, 100), take(&mut groups, 100)), ((7, 0), (7, 1)));
        learn(&mut groups, 8, 200);
        assert_eq!((take(&mut groups, 199), take(&mut groups, 200)), ((7, 2), (8, 0)));
        // The first key of an epoch stays.
        learn(&mut groups, 8, 500);
        assert_eq!(take(&mut groups, 201), (8, 1));
        let mut floors: Vec<_> = groups.floors().collect();
        floors.sort();
        assert_eq!(floors, [(GID, Epoch(7), 1024), (GID, Epoch(8), 1024)]);
    }

    #[test]
    fn a_restart_goes_on_behind_the_block() {
        let mut groups = Groups::default();
        learn(&mut groups, 1, 0);
        groups.restore_floor(GID, Epoch(1), 2048);
        groups.restore_floor(GID, Epoch(1), 1024);
        groups.restore_floor(GID, Epoch(9), 4096);
        assert!(matches!(groups.next(GID, 9), Next::Reserve(Wanted { floor: 3072, .. })));
        assert_eq!(take(&mut groups, 9), (1, 2048));
        groups.restore_floor(GID, Epoch(1), u32::MAX);
        assert!(matches!(groups.next(GID, 9), Next::Exhausted));
    }

    #[test]
    fn a_reservation_on_its_way_is_waited_for() {
        let mut groups = Groups::default();
        learn(&mut groups, 1, 0);
        groups.set_reserving(GID, Epoch(1), true);
        assert!(matches!(groups.next(GID, 9), Next::Wait));
        groups.set_reserving(GID, Epoch(1), false);
        assert!(matches!(groups.next(GID, 9), Next::Reserve(_)));
    }

    #[test]
    fn old_epochs_go() {
        let mut groups = Groups::default();
        (0..40).for_each(|epoch| learn(&mut groups, epoch, 0));
        assert_eq!((groups.len(), groups.groups[&GID].len()), (1, EPOCHS_MAX));
        assert_eq!(take(&mut groups, 1), (39, 0));
    }

    #[test]
    fn a_groups_title_is_a_groups() {
        for gid in [0x8000_0000, 0x8000_0005, u32::MAX] {
            let title = title_of(Gid(gid)).unwrap();
            assert!(title.as_title().is_group() && !title.as_title().is_broadcast());
        }
    }
}
