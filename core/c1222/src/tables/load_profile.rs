//! ST62 and ST63: what the load profile records, and how full it is.

use super::codec::{Fields, TableError};
use super::dimensions::LoadProfileDimensions;
use super::format::{ByteOrder, Format};
use super::number::NiFormat;
use crate::table_id::TableId;

/// How the values of a set's intervals are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntervalFormat {
    /// 1, 2, 4: without sign, of so many octets.
    Unsigned(u8),
    /// 8, 16, 32: with sign, of 1, 2 or 4 octets.
    Signed(u8),
    /// 64, 128: one of the number formats of ST0.
    Ni(NiFormat),
}

impl IntervalFormat {
    /// The format of a code; `None` for a reserved one.
    #[must_use]
    pub fn from_code(code: u8, format: &Format) -> Option<Self> {
        match code {
            1 | 2 | 4 => Some(Self::Unsigned(code)),
            8 | 16 | 32 => Some(Self::Signed(code / 8)),
            64 => Some(Self::Ni(format.ni1)),
            128 => Some(Self::Ni(format.ni2)),
            _ => None,
        }
    }

    /// Octets of a value.
    #[must_use]
    pub fn size(self) -> usize {
        match self {
            Self::Unsigned(size) | Self::Signed(size) => usize::from(size),
            Self::Ni(format) => format.size(),
        }
    }
}

/// What one channel records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelSelection {
    /// Bit 0: blocks hold the reading of this channel at their end. Bit 1: no multiplier is applied.
    pub flags: u8,
    /// Its source, a place in ST16.
    pub source: u8,
    /// The source of its reading at the end of blocks.
    pub end_source: u8,
}

/// One data set's part of ST62.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetControl<'a> {
    channels: &'a [u8],
    /// Format of the values, as in [`IntervalFormat::from_code`].
    pub format_code: u8,
    scalars: &'a [u8],
    divisors: &'a [u8],
    order: ByteOrder,
}

impl SetControl<'_> {
    /// What the channels record, in order.
    pub fn channels(&self) -> impl Iterator<Item = ChannelSelection> {
        self.channels.as_chunks().0.iter().map(|[flags, source, end_source]| ChannelSelection {
            flags: *flags,
            source: *source,
            end_source: *end_source,
        })
    }

    /// Scalar and divisor of each channel, by which values were multiplied and divided; none when there are none.
    pub fn ratios(&self) -> impl Iterator<Item = (u16, u16)> {
        let (scalars, divisors) = (self.scalars.as_chunks().0, self.divisors.as_chunks().0);
        let number = |octets: &[u8; 2]| self.order.u16(*octets);
        scalars.iter().zip(divisors).map(move |(scalar, divisor)| (number(scalar), number(divisor)))
    }

    /// Appends a set's part without ratios.
    pub fn write(channels: impl IntoIterator<Item = ChannelSelection>, format_code: u8, out: &mut Vec<u8>) {
        for channel in channels {
            out.extend_from_slice(&[channel.flags, channel.source, channel.end_source]);
        }
        out.push(format_code);
    }
}

/// ST62, load-profile control.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadProfileControl<'a> {
    /// The sets that ST61 has.
    pub sets: [Option<SetControl<'a>>; 4],
}

impl<'a> LoadProfileControl<'a> {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(62);

    /// Reads ST62 with the sizes of ST61.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &'a [u8], sizes: &LoadProfileDimensions, format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        let mut control = Self::default();
        let scalars = [0, 1, 2, 3].map(|set| sizes.has(LoadProfileDimensions::SCALARS << set));
        for ((set, size), scalars) in control.sets.iter_mut().zip(&sizes.sets).zip(scalars) {
            let Some(size) = size else { break };
            let channels = usize::from(size.channels);
            let ratios = if scalars { channels * 2 } else { 0 };
            *set = Some(SetControl {
                channels: fields.take(channels * 3)?,
                format_code: fields.u8()?,
                scalars: fields.take(ratios)?,
                divisors: fields.take(ratios)?,
                order: format.order,
            });
        }
        Ok(control)
    }
}

/// One data set's part of ST63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SetStatus {
    /// Bit 0 blocks newest first, 1 overflow, 2 circular, 3 stops when full, 4 intervals newest first,
    /// 5 recording, 6 in test mode.
    pub flags: u8,
    /// Blocks that are filled.
    pub valid_blocks: u16,
    /// Place of the newest block.
    pub last_block: u16,
    /// Sequence number of the newest block.
    pub last_sequence: u32,
    /// Blocks that were not yet read.
    pub unread_blocks: u16,
    /// Intervals in the newest block.
    pub valid_intervals: u16,
}

/// ST63, load-profile status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LoadProfileStatus {
    /// The sets that ST61 has.
    pub sets: [Option<SetStatus>; 4],
}

impl LoadProfileStatus {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(63);

    /// Reads ST63 with the sizes of ST61.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &[u8], sizes: &LoadProfileDimensions, format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        let mut status = Self::default();
        for (set, _) in status.sets.iter_mut().zip(sizes.sets.iter().map_while(Option::as_ref)) {
            *set = Some(SetStatus {
                flags: fields.u8()?,
                valid_blocks: fields.u16()?,
                last_block: fields.u16()?,
                last_sequence: fields.u32()?,
                unread_blocks: fields.u16()?,
                valid_intervals: fields.u16()?,
            });
        }
        Ok(status)
    }

    /// Appends ST63, its sets up to the first that is not there.
    pub fn write(&self, format: &Format, out: &mut Vec<u8>) {
        for set in self.sets.iter().map_while(Option::as_ref) {
            out.push(set.flags);
            format.order.push(u64::from(set.valid_blocks), 2, out);
            format.order.push(u64::from(set.last_block), 2, out);
            format.order.push(u64::from(set.last_sequence), 4, out);
            format.order.push(u64::from(set.unread_blocks), 2, out);
            format.order.push(u64::from(set.valid_intervals), 2, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tables::SetDimensions;

    fn sizes(flags: u16, channels: &[u8]) -> LoadProfileDimensions {
        let mut sizes = LoadProfileDimensions { flags, ..Default::default() };
        for (set, channels) in sizes.sets.iter_mut().zip(channels) {
            *set = Some(SetDimensions { blocks: 1, intervals: 4, channels: *channels, interval_min: 15 });
        }
        sizes
    }

    #[test]
    fn control_field_by_field() {
        let sizes = sizes(LoadProfileDimensions::SCALARS << 1, &[1, 2]);
        let octets = [0, 3, 0, 2, 1, 4, 7, 0, 5, 0, 4, 1, 0, 2, 0, 10, 0, 20, 0];
        let control = LoadProfileControl::read(&octets, &sizes, &Format::default()).unwrap();
        let first = control.sets[0].unwrap();
        assert_eq!(first.channels().map(|channel| channel.source).collect::<Vec<_>>(), [3]);
        assert_eq!((first.format_code, first.ratios().count()), (2, 0));
        let second = control.sets[1].unwrap();
        assert_eq!(second.channels().map(|channel| channel.end_source).collect::<Vec<_>>(), [7, 0]);
        assert_eq!(second.ratios().collect::<Vec<_>>(), [(1, 10), (2, 20)]);
        assert_eq!(control.sets[2], None);
        let format = Format::default();
        assert_eq!(IntervalFormat::from_code(16, &format), Some(IntervalFormat::Signed(2)));
        assert_eq!(IntervalFormat::from_code(64, &format).map(IntervalFormat::size), Some(6));
        assert_eq!(IntervalFormat::from_code(3, &format), None);
        let mut again = Vec::new();
        SetControl::write(first.channels(), first.format_code, &mut again);
        assert_eq!(again, octets[..4]);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(
            octets in prop::collection::vec(any::<u8>(), 0..64),
            flags in any::<u16>(),
            channels in prop::collection::vec(0_u8..5, 0..5),
        ) {
            let (format, sizes) = (Format::default(), sizes(flags, &channels));
            if let Ok(control) = LoadProfileControl::read(&octets, &sizes, &format) {
                for (set, channels) in control.sets.iter().flatten().zip(&channels) {
                    prop_assert_eq!(set.channels().count(), usize::from(*channels));
                    let _ = set.ratios().count();
                }
            }
            if let Ok(status) = LoadProfileStatus::read(&octets, &sizes, &format) {
                let mut again = Vec::new();
                status.write(&format, &mut again);
                prop_assert_eq!(&again, &octets[..again.len()]);
            }
        }
    }
}
