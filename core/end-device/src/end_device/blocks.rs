//! The load-profile data sets: blocks in a ring, made when they are read.

use std::ops::Range;

use c1222::device_profile::{DeviceProfile, LoadProfile};
use c1222::tables::SetStatus;

use super::shape::Shape;
use crate::meter::{BASE_S, Measured, Meter};

/// Bit of [`SetStatus::flags`]: blocks are in a ring.
const CIRCULAR: u8 = 1 << 2;
/// Bit of [`SetStatus::flags`]: it records.
const RECORDING: u8 = 1 << 5;

/// Which blocks of a set were given up or read. Block `n` is the `n`-th since [`BASE_S`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pointers {
    /// The first that was not cleared.
    pub first: u64,
    /// The first that was not read.
    pub unread: u64,
}

/// A data set at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockRing<'p> {
    profile: &'p DeviceProfile,
    set: &'p LoadProfile,
    meter: Meter,
    pointers: Pointers,
    /// Minutes of a block.
    block_min: u64,
    /// Blocks that the ring holds.
    room: u64,
    /// The blocks that are there.
    first: u64,
    next: u64,
}

impl<'p> BlockRing<'p> {
    /// The data set at a Unix second.
    pub fn at(
        profile: &'p DeviceProfile,
        set: &'p LoadProfile,
        meter: Meter,
        pointers: Pointers,
        utc: u64,
    ) -> Self {
        let intervals = u64::try_from(set.layout.intervals).unwrap_or(u64::MAX);
        let block_min = intervals.saturating_mul(u64::from(set.interval_min)).max(1);
        let room = u64::from(set.blocks).max(1);
        let next = utc.saturating_sub(BASE_S) / 60 / block_min;
        let first = pointers.first.max(next.saturating_sub(room)).min(next);
        Self { profile, set, meter, pointers, block_min, room, first, next }
    }

    /// All blocks are given up.
    pub fn cleared(&self) -> Pointers {
        Pointers { first: self.next, unread: self.next }
    }

    /// The oldest so many unread blocks were read; `None` when there are not so many.
    pub fn read(&self, blocks: u16) -> Option<Pointers> {
        let unread = self.unread().checked_add(u64::from(blocks)).filter(|unread| *unread <= self.next)?;
        Some(Pointers { unread, ..self.pointers })
    }

    fn unread(&self) -> u64 {
        self.pointers.unread.clamp(self.first, self.next)
    }

    /// Its part of ST63.
    pub fn status(&self) -> SetStatus {
        let count = |blocks: u64| u16::try_from(blocks).unwrap_or(u16::MAX);
        let newest = self.next.saturating_sub(1);
        SetStatus {
            flags: CIRCULAR | RECORDING,
            valid_blocks: count(self.next.saturating_sub(self.first)),
            last_block: count(newest % self.room),
            last_sequence: (newest & u64::from(u32::MAX)) as u32,
            unread_blocks: count(self.next.saturating_sub(self.unread())),
            valid_intervals: if self.first < self.next {
                u16::try_from(self.set.layout.intervals).unwrap_or(u16::MAX)
            } else {
                0
            },
        }
    }

    /// Appends a range of the table's data; only the blocks in it are made.
    pub fn write(&self, range: Range<usize>, out: &mut Vec<u8>) {
        let size = self.set.layout.size().max(1);
        let (mut block, mut counts) = (Vec::with_capacity(size), Vec::new());
        let mut at = range.start;
        while at < range.end {
            let (place, within) = (at / size, at % size);
            block.clear();
            self.write_block(place, &mut counts, &mut block);
            block.resize(size, 0);
            let end = size.min(within.saturating_add(range.end.saturating_sub(at)));
            out.extend_from_slice(block.get(within..end).unwrap_or_default());
            at = at.saturating_add(end.saturating_sub(within).max(1));
        }
    }

    /// Appends the block at a place of the ring; nothing where there is none.
    fn write_block(&self, place: usize, counts: &mut Vec<i64>, out: &mut Vec<u8>) {
        let place = u64::try_from(place).unwrap_or(u64::MAX) % self.room;
        // How far before the place after the newest block this one lies.
        let back = self.room - (self.room + place - self.next % self.room) % self.room;
        let Some(number) = self.next.checked_sub(back).filter(|number| *number >= self.first) else { return };
        let minute = number.saturating_mul(self.block_min);
        let (intervals, channels) = (self.set.layout.intervals, self.set.channels.len());
        counts.clear();
        counts.resize(intervals.saturating_mul(channels), 0);
        for (at, channel) in self.set.channels.iter().enumerate() {
            let step = u64::from(self.set.interval_min);
            let measured = self.meter.intervals(Measured::of(channel), minute, step, intervals);
            counts.iter_mut().skip(at).step_by(channels).zip(measured).for_each(|(to, count)| *to = count);
        }
        let end = BASE_S.saturating_add(minute.saturating_add(self.block_min).saturating_mul(60));
        // A moment that the clock cannot show leaves the place empty.
        let _ = self.profile.write_block(self.set.table, end, counts, out);
    }
}

/// The elements of a set's table.
pub(super) fn shape(set: &LoadProfile) -> Shape {
    let layout = &set.layout;
    let values = set.channels.iter().map(|channel| channel.size);
    let interval =
        Shape::fields((layout.status_size() > 0).then_some(layout.status_size()).into_iter().chain(values));
    let time = layout.time.short_size();
    let rest = layout.head_size().saturating_sub(time);
    let mut block: Vec<_> = [time, rest].into_iter().filter(|size| *size > 0).map(Shape::Octets).collect();
    block.push(Shape::array(interval, layout.intervals));
    Shape::Record(vec![Shape::array(Shape::Record(block), usize::from(set.blocks))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::end_device::testing::residential;
    use c1222::device_profile::Stamp;
    use c1222::tables::TableId;
    use proptest::prelude::*;
    use seal::ids::Dev;

    const HOUR: u64 = 3600;

    fn ring(profile: &DeviceProfile, pointers: Pointers, utc: u64) -> BlockRing<'_> {
        BlockRing::at(profile, &profile.load_profiles[0], Meter::new(1, Dev([1; 8])), pointers, utc)
    }

    fn ends(profile: &DeviceProfile, ring: &BlockRing<'_>) -> Vec<u64> {
        let mut data = Vec::new();
        ring.write(0..profile.table_size(TableId::standard(64)).unwrap(), &mut data);
        let set = &profile.load_profiles[0];
        set.layout.blocks(set.table, &data).unwrap().filter_map(|block| block.end_time()).collect()
    }

    #[test]
    fn a_ring_fills_and_turns() {
        let profile = residential();
        let room = u64::from(profile.load_profiles[0].blocks);
        let empty = ring(&profile, Pointers::default(), 5);
        assert_eq!((empty.status().valid_blocks, ends(&profile, &empty).len()), (0, 0));
        let three = ring(&profile, Pointers::default(), BASE_S + 3 * HOUR + 7);
        assert_eq!(ends(&profile, &three), [1, 2, 3].map(|hour| BASE_S + hour * HOUR));
        let status = three.status();
        assert_eq!((status.valid_blocks, status.last_block, status.last_sequence), (3, 2, 2));
        assert_eq!((status.unread_blocks, status.valid_intervals), (3, 4));
        let turned = ring(&profile, Pointers::default(), BASE_S + (room + 5) * HOUR);
        let ends = ends(&profile, &turned);
        let status = turned.status();
        assert_eq!((u64::from(status.valid_blocks), status.last_block), (room, 4));
        assert_eq!(ends[4], BASE_S + (room + 5) * HOUR);
        assert_eq!(ends[5], BASE_S + 6 * HOUR);
    }

    #[test]
    fn blocks_are_read_and_given_up() {
        let profile = residential();
        let now = BASE_S + 10 * HOUR;
        let ten = ring(&profile, Pointers::default(), now);
        let read = ten.read(4).unwrap();
        assert_eq!(read, Pointers { first: 0, unread: 4 });
        assert_eq!(ring(&profile, read, now).status().unread_blocks, 6);
        assert_eq!(ring(&profile, read, now).read(7), None);
        let later = ring(&profile, ten.cleared(), now + 2 * HOUR);
        assert_eq!((later.status().valid_blocks, later.status().unread_blocks), (2, 2));
        assert_eq!(ends(&profile, &later).len(), 2);
    }

    #[test]
    fn it_is_what_the_profile_reads() {
        let profile = residential();
        let mut data = Vec::new();
        ring(&profile, Pointers::default(), BASE_S + 500 * HOUR).write(0..64, &mut data);
        let mut count = 0;
        let read = profile.readings(TableId::standard(64), &data, &mut Stamp::received(0), |_| count += 1);
        assert_eq!((read, count), (Ok(()), 16));
        assert_eq!(Some(shape(&profile.load_profiles[0]).size()), profile.table_size(TableId::standard(64)));
    }

    proptest! {
        #[test]
        fn a_part_is_a_part_of_the_whole(start in 0..2688_usize, len in 0..200_usize, hours in 0..400_u64) {
            let profile = residential();
            let ring = ring(&profile, Pointers::default(), BASE_S + hours * HOUR);
            let (mut whole, mut part) = (Vec::new(), Vec::new());
            ring.write(0..2688, &mut whole);
            let end = (start + len).min(2688);
            ring.write(start..end, &mut part);
            prop_assert_eq!(&whole[start..end], &part[..]);
        }
    }
}
