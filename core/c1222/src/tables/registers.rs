//! ST22 and ST23: which quantities the registers count, and what they show.

use super::codec::{Fields, TableError};
use super::dimensions::RegisterDimensions;
use super::format::Format;
use super::number::Ni;
use super::set::Set;
use crate::table_id::TableId;

/// ST22, the selection of sources for the registers of a block. A source is a place in ST16, 255 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataSelection<'a> {
    /// The source of each summation.
    pub summations: &'a [u8],
    /// The source of each demand.
    pub demands: &'a [u8],
    /// Which demands are maxima; the others are minima.
    pub maxima: Set<'a>,
    /// The source of each coincident value.
    pub coincidents: &'a [u8],
    /// The demand that each coincident value goes with.
    pub coincident_demands: &'a [u8],
}

impl<'a> DataSelection<'a> {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(22);

    /// Reads ST22 with the sizes of ST21.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &'a [u8], sizes: &RegisterDimensions, format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        let demands = usize::from(sizes.demands);
        let coincidents = usize::from(sizes.coincidents);
        Ok(Self {
            summations: fields.take(usize::from(sizes.summations))?,
            demands: fields.take(demands)?,
            maxima: Set(fields.take(demands.div_ceil(8))?),
            coincidents: fields.take(coincidents)?,
            coincident_demands: fields.take(coincidents)?,
        })
    }

    /// Appends ST22.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.summations);
        out.extend_from_slice(self.demands);
        out.extend_from_slice(self.maxima.0);
        out.extend_from_slice(self.coincidents);
        out.extend_from_slice(self.coincident_demands);
    }
}

/// ST23, the registers as they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Registers<'a> {
    /// Demand resets so far, where ST21 says that they are counted.
    pub resets: Option<u8>,
    /// Block after block: the total, then one a tier.
    blocks: &'a [u8],
    sizes: RegisterDimensions,
    format: Format,
}

impl<'a> Registers<'a> {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(23);

    /// Reads ST23 with the sizes of ST21.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &'a [u8], sizes: &RegisterDimensions, format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        let counted = sizes.flags1 & RegisterDimensions::RESET_COUNTER != 0;
        let resets = if counted { Some(fields.u8()?) } else { None };
        let blocks = usize::from(sizes.tiers) + 1;
        let blocks = fields.take(blocks * Layout::new(sizes, format).block())?;
        Ok(Self { resets, blocks, sizes: *sizes, format: *format })
    }

    /// The block of all tiers together.
    #[must_use]
    pub fn total(&self) -> RegisterBlock<'a> {
        self.block(0)
    }

    /// The blocks of the tiers, in order.
    pub fn tiers(&self) -> impl Iterator<Item = RegisterBlock<'a>> {
        let registers = *self;
        (1..=usize::from(self.sizes.tiers)).map(move |block| registers.block(block))
    }

    fn block(&self, block: usize) -> RegisterBlock<'a> {
        let size = Layout::new(&self.sizes, &self.format).block();
        let start = block * size;
        let octets = self.blocks.get(start..start + size).unwrap_or_default();
        RegisterBlock { octets, sizes: self.sizes, format: self.format }
    }
}

/// Octets of the parts of a block.
struct Layout {
    summation: usize,
    occurrences: usize,
    moment: usize,
    cumulative: usize,
    demand_value: usize,
    counts: [usize; 3],
}

impl Layout {
    fn new(sizes: &RegisterDimensions, format: &Format) -> Self {
        let has = |flag: u8| usize::from(sizes.flags1 & flag != 0);
        let cumulative = has(RegisterDimensions::CUMULATIVE) + has(RegisterDimensions::CONTINUOUS_CUMULATIVE);
        Self {
            summation: format.ni1.size(),
            occurrences: usize::from(sizes.occurrences),
            moment: has(RegisterDimensions::DEMAND_TIMES) * format.time.short_size(),
            cumulative: cumulative * format.ni1.size(),
            demand_value: format.ni2.size(),
            counts: [sizes.summations, sizes.demands, sizes.coincidents].map(usize::from),
        }
    }

    fn demand(&self) -> usize {
        self.occurrences * (self.moment + self.demand_value) + self.cumulative
    }

    fn coincident(&self) -> usize {
        self.occurrences * self.demand_value
    }

    fn block(&self) -> usize {
        let [summations, demands, coincidents] = self.counts;
        summations * self.summation + demands * self.demand() + coincidents * self.coincident()
    }
}

/// One block of registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegisterBlock<'a> {
    octets: &'a [u8],
    sizes: RegisterDimensions,
    format: Format,
}

/// A demand: per occurrence a moment and a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand<'a> {
    moments: &'a [u8],
    values: &'a [u8],
    /// Sum of the demands at resets, where there is one.
    pub cumulative: Option<Ni<'a>>,
    /// The same with the present demand, where there is one.
    pub continuous: Option<Ni<'a>>,
    format: Format,
}

impl<'a> RegisterBlock<'a> {
    /// The summations, in order.
    pub fn summations(&self) -> impl Iterator<Item = Ni<'a>> {
        let Format { order, ni1: format, .. } = self.format;
        let layout = Layout::new(&self.sizes, &self.format);
        let [count, _, _] = layout.counts;
        let octets = self.octets.get(..count * layout.summation).unwrap_or_default();
        octets.chunks_exact(layout.summation).map(move |octets| Ni { format, order, octets })
    }

    /// The demands, in order.
    pub fn demands(&self) -> impl Iterator<Item = Demand<'a>> {
        let block = *self;
        let [_, count, _] = Layout::new(&self.sizes, &self.format).counts;
        (0..count).filter_map(move |demand| block.demand(demand))
    }

    fn demand(&self, demand: usize) -> Option<Demand<'a>> {
        let layout = Layout::new(&self.sizes, &self.format);
        let [summations, _, _] = layout.counts;
        let start = summations * layout.summation + demand * layout.demand();
        let octets = self.octets.get(start..start + layout.demand())?;
        let (moments, octets) = octets.split_at_checked(layout.occurrences * layout.moment)?;
        let (totals, values) = octets.split_at_checked(layout.cumulative)?;
        let Format { order, ni1: format, .. } = self.format;
        let mut totals = totals.chunks_exact(layout.summation).map(|octets| Ni { format, order, octets });
        let mut total = |flag: u8| if self.sizes.flags1 & flag == 0 { None } else { totals.next() };
        Some(Demand {
            moments,
            values,
            cumulative: total(RegisterDimensions::CUMULATIVE),
            continuous: total(RegisterDimensions::CONTINUOUS_CUMULATIVE),
            format: self.format,
        })
    }

    /// The coincident values, in order, each with all its occurrences.
    pub fn coincidents(&self) -> impl Iterator<Item = Ni<'a>> {
        let Format { order, ni2: format, .. } = self.format;
        let layout = Layout::new(&self.sizes, &self.format);
        let [summations, demands, _] = layout.counts;
        let start = summations * layout.summation + demands * layout.demand();
        let octets = self.octets.get(start..).unwrap_or_default();
        octets.chunks_exact(layout.demand_value).map(move |octets| Ni { format, order, octets })
    }
}

impl<'a> Demand<'a> {
    /// The values by occurrence, each with its moment (on the device's clock) where moments are kept.
    pub fn occurrences(&self) -> impl Iterator<Item = (Option<u64>, Ni<'a>)> {
        let demand = *self;
        let Format { order, time, ni2: format, .. } = self.format;
        self.values.chunks_exact(format.size()).enumerate().map(move |(occurrence, octets)| {
            let size = time.short_size();
            let start = occurrence * size;
            let moment = demand.moments.get(start..start + size);
            (moment.and_then(|octets| time.read(order, octets)), Ni { format, order, octets })
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tables::{NiFormat, TimeFormat};

    #[test]
    fn a_block_field_by_field() {
        let sizes = RegisterDimensions {
            flags1: RegisterDimensions::RESET_COUNTER
                | RegisterDimensions::DEMAND_TIMES
                | RegisterDimensions::CUMULATIVE,
            summations: 2,
            demands: 1,
            coincidents: 1,
            occurrences: 1,
            ..Default::default()
        };
        let format = Format { ni1: NiFormat::Int24, ni2: NiFormat::Int32, ..Format::default() };
        let octets = [9, 1, 0, 0, 2, 0, 0, 60, 0, 0, 0, 3, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0];
        let registers = Registers::read(&octets, &sizes, &format).unwrap();
        assert_eq!(registers.resets, Some(9));
        let value = |ni: Ni<'_>| ni.decimal().unwrap().mantissa;
        let total = registers.total();
        assert_eq!(total.summations().map(value).collect::<Vec<_>>(), [1, 2]);
        let demand = total.demands().next().unwrap();
        assert_eq!(demand.cumulative.map(value), Some(3));
        assert_eq!(demand.continuous, None);
        let occurrences: Vec<_> = demand.occurrences().map(|(time, ni)| (time, value(ni))).collect();
        assert_eq!(occurrences, [(Some(60), 4)]);
        assert_eq!(total.coincidents().map(value).collect::<Vec<_>>(), [5]);
        assert_eq!(registers.tiers().count(), 0);
        let error = Registers::read(&octets[..21], &sizes, &format).unwrap_err();
        assert_eq!(error, TableError::Short { table: Registers::TABLE, needed: 22, got: 21 });
    }

    #[test]
    fn the_selection_reads_back() {
        let sizes = RegisterDimensions { summations: 2, demands: 9, coincidents: 1, ..Default::default() };
        let octets: Vec<u8> = (0..15).collect();
        let selection = DataSelection::read(&octets, &sizes, &Format::default()).unwrap();
        assert_eq!((selection.summations, selection.maxima.0), (&[0, 1][..], &[11, 12][..]));
        let mut again = Vec::new();
        selection.write(&mut again);
        assert_eq!(again, octets);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(
            octets in prop::collection::vec(any::<u8>(), 0..200),
            sizes in prop::array::uniform10(0_u8..5),
            flags1 in any::<u8>(),
            (ni1, ni2, time) in (0_u8..14, 0_u8..14, 0_u8..5),
        ) {
            let format = Format {
                ni1: NiFormat::from_code(ni1).unwrap(),
                ni2: NiFormat::from_code(ni2).unwrap(),
                time: TimeFormat::from_code(time).unwrap(),
                ..Format::default()
            };
            let mut sizes = RegisterDimensions::read(&sizes, &format).unwrap();
            sizes.flags1 = flags1;
            let _ = DataSelection::read(&octets, &sizes, &format);
            if let Ok(registers) = Registers::read(&octets, &sizes, &format) {
                prop_assert_eq!(registers.tiers().count(), usize::from(sizes.tiers));
                for block in registers.tiers().chain([registers.total()]) {
                    prop_assert_eq!(block.summations().count(), usize::from(sizes.summations));
                    prop_assert_eq!(block.demands().count(), usize::from(sizes.demands));
                    let coincidents = usize::from(sizes.coincidents) * usize::from(sizes.occurrences);
                    prop_assert_eq!(block.coincidents().count(), coincidents);
                    for demand in block.demands() {
                        prop_assert_eq!(demand.occurrences().count(), usize::from(sizes.occurrences));
                    }
                }
            }
        }
    }
}
