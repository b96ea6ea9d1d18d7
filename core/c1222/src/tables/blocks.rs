//! ST64 to ST67: load-profile data, block after block of intervals.

use super::codec::TableError;
use super::dimensions::LoadProfileDimensions;
use super::format::{ByteOrder, Format};
use super::load_profile::IntervalFormat;
use super::time::TimeFormat;
use crate::table_id::TableId;

/// The parts of a block: end time (short), `skip` octets, a bit an interval where `simple`, then per interval
/// the status nibbles where `extended`, and a value a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockLayout {
    /// How the end time is written.
    pub time: TimeFormat,
    /// Order of octets.
    pub order: ByteOrder,
    /// Octets between the end time and the intervals' part: readings at the end, closure status.
    pub skip: usize,
    /// A bit an interval says whether it is valid.
    pub simple: bool,
    /// Each interval begins with a nibble for all channels and one for each.
    pub extended: bool,
    /// Intervals in a block.
    pub intervals: usize,
    /// Channels, for the number of nibbles.
    pub channels: usize,
    /// Octets of the values of all channels in an interval.
    pub values_size: usize,
}

impl BlockLayout {
    /// The layout of set 0..=3 (ST64 to ST67) that ST61, and the set's value format in ST62, give; `None` when
    /// ST61 has no such set.
    #[must_use]
    pub fn of_set(
        set: usize,
        sizes: &LoadProfileDimensions,
        values: IntervalFormat,
        format: &Format,
    ) -> Option<Self> {
        let size = (*sizes.sets.get(set)?)?;
        let channels = usize::from(size.channels);
        let has = |flag: u16| usize::from(sizes.has(flag));
        let skip = has(LoadProfileDimensions::END_READINGS) * format.ni1.size()
            + has(LoadProfileDimensions::END_PULSES) * 4
            + has(LoadProfileDimensions::CLOSURE_STATUS) * 2;
        Some(Self {
            time: format.time,
            order: format.order,
            skip: skip * channels,
            simple: sizes.has(LoadProfileDimensions::SIMPLE_STATUS),
            extended: sizes.has(LoadProfileDimensions::EXTENDED_STATUS),
            intervals: usize::from(size.intervals),
            channels,
            values_size: channels * values.size(),
        })
    }

    /// Octets before the first interval.
    #[must_use]
    pub fn head_size(&self) -> usize {
        let valid = if self.simple { self.intervals.div_ceil(8) } else { 0 };
        self.time.short_size().saturating_add(self.skip).saturating_add(valid)
    }

    /// Octets of the status nibbles of an interval.
    #[must_use]
    pub fn status_size(&self) -> usize {
        if self.extended { (self.channels / 2).saturating_add(1) } else { 0 }
    }

    /// Octets of an interval.
    #[must_use]
    pub fn interval_size(&self) -> usize {
        self.status_size().saturating_add(self.values_size)
    }

    /// Octets of a block.
    #[must_use]
    pub fn size(&self) -> usize {
        self.head_size().saturating_add(self.intervals.saturating_mul(self.interval_size()))
    }

    /// The blocks in a table's data, in its order; what is left at the end is no whole block.
    ///
    /// # Errors
    /// [`TableError::Short`] when there is not one whole block.
    pub fn blocks<'a>(
        &self,
        table: TableId,
        data: &'a [u8],
    ) -> Result<impl Iterator<Item = Block<'a>> + use<'a>, TableError> {
        let (layout, size) = (*self, self.size().max(1));
        if data.len() < size {
            return Err(TableError::Short { table, needed: size, got: data.len() });
        }
        Ok(data.chunks_exact(size).map(move |octets| Block { octets, layout }))
    }
}

/// One block of intervals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    octets: &'a [u8],
    layout: BlockLayout,
}

impl<'a> Block<'a> {
    /// When its last interval ended: seconds since 1970 on the device's clock; `None` when it was never filled.
    #[must_use]
    pub fn end_time(&self) -> Option<u64> {
        let octets = self.octets.get(..self.layout.time.short_size())?;
        self.layout.time.read(self.layout.order, octets)
    }

    /// The intervals, oldest first (the order of most devices: ST63 says whether it is).
    pub fn intervals(&self) -> impl ExactSizeIterator<Item = Interval<'a>> + use<'a> {
        let layout = self.layout;
        let (head, intervals) = self.octets.split_at_checked(layout.head_size()).unwrap_or_default();
        let valid = head.get(layout.time.short_size().saturating_add(layout.skip)..).unwrap_or_default();
        intervals.chunks_exact(layout.interval_size().max(1)).enumerate().map(move |(at, octets)| {
            let (status, values) = octets.split_at_checked(layout.status_size()).unwrap_or_default();
            let valid = valid.get(at / 8).is_none_or(|octet| octet >> (at % 8) & 1 == 1);
            Interval { valid, status, values }
        })
    }
}

/// One interval: its status and the values of all channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval<'a> {
    /// What the simple status says; `true` where there is none.
    pub valid: bool,
    status: &'a [u8],
    /// The values, channel after channel.
    pub values: &'a [u8],
}

impl Interval<'_> {
    /// Bit of [`Self::common`]: daylight saving was in effect.
    pub const DAYLIGHT_SAVING: u8 = 1;
    /// Bit of [`Self::common`]: the power failed.
    pub const POWER_FAILED: u8 = 2;
    /// Bit of [`Self::common`]: the clock was set forward.
    pub const CLOCK_FORWARD: u8 = 4;
    /// Bit of [`Self::common`]: the clock was set back.
    pub const CLOCK_BACK: u8 = 8;

    /// The status bits for all channels; 0 where there are none.
    #[must_use]
    pub fn common(&self) -> u8 {
        self.nibble(0)
    }

    /// The status of a channel: 0 none, 1 overflow, 2 partial, 3 long, 4 skipped, 5 test mode, 6 configuration
    /// changed, 7 recording stopped.
    #[must_use]
    pub fn channel(&self, channel: usize) -> u8 {
        self.nibble(channel.saturating_add(1))
    }

    /// Nibbles go from the high one of the first octet.
    fn nibble(&self, at: usize) -> u8 {
        let octet = self.status.get(at / 2).copied().unwrap_or(0);
        if at.is_multiple_of(2) { octet >> 4 } else { octet & 15 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tables::SetDimensions;

    fn sizes(flags: u16) -> LoadProfileDimensions {
        let set = SetDimensions { blocks: 2, intervals: 2, channels: 2, interval_min: 15 };
        LoadProfileDimensions { flags, sets: [Some(set), None, None, None], ..Default::default() }
    }

    #[test]
    fn a_block_field_by_field() {
        let flags = LoadProfileDimensions::EXTENDED_STATUS
            | LoadProfileDimensions::SIMPLE_STATUS
            | LoadProfileDimensions::CLOSURE_STATUS;
        let values = IntervalFormat::Unsigned(2);
        let format = Format::default();
        let layout = BlockLayout::of_set(0, &sizes(flags), values, &format).unwrap();
        assert_eq!(BlockLayout::of_set(1, &sizes(flags), values, &format), None);
        let octets = [
            0x80, 0x51, 0x01, 0x00, // 86,400
            9, 9, 9, 9,    // closure status
            0b01, // the first interval is valid
            0x24, 0x50, 1, 0, 2, 0, //
            0x00, 0x00, 3, 0, 4, 0,
        ];
        assert_eq!(layout.size(), octets.len());
        let table = TableId::standard(64);
        let block = layout.blocks(table, &octets).unwrap().next().unwrap();
        assert_eq!(block.end_time(), Some(86_400));
        let [first, second] = block.intervals().collect::<Vec<_>>()[..] else { panic!() };
        assert!(first.valid && !second.valid);
        assert_eq!(first.common(), Interval::POWER_FAILED);
        assert_eq!((first.channel(0), first.channel(1), first.channel(2)), (4, 5, 0));
        assert_eq!((first.values, second.values), (&[1, 0, 2, 0][..], &[3, 0, 4, 0][..]));
        let error = layout.blocks(table, &octets[1..]).err().unwrap();
        assert_eq!(error.to_string(), "ST64 has 20 octets, at least 21 are needed");
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(
            octets in prop::collection::vec(any::<u8>(), 0..200),
            flags in any::<u16>(),
            code in prop::sample::select(vec![1_u8, 2, 4, 8, 16, 32, 64, 128]),
            time in 0_u8..5,
        ) {
            let time = TimeFormat::from_code(time).unwrap();
            let format = Format { time, ..Format::default() };
            let values = IntervalFormat::from_code(code, &format).unwrap();
            let layout = BlockLayout::of_set(0, &sizes(flags), values, &format).unwrap();
            if let Ok(blocks) = layout.blocks(TableId::standard(64), &octets) {
                for block in blocks {
                    let _ = block.end_time();
                    prop_assert_eq!(block.intervals().len(), 2);
                    for interval in block.intervals() {
                        prop_assert_eq!(interval.values.len(), 2 * values.size());
                        let _ = (interval.common(), interval.channel(usize::MAX));
                    }
                }
            }
        }
    }
}
