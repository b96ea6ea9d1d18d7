//! ST12, ST15 and ST16: what a device measures, in which unit, multiplied by what.

use super::codec::{Fields, TableError};
use super::dimensions::SourceDimensions;
use super::format::{ByteOrder, Format};
use super::number::Ni;
use crate::table_id::TableId;

/// An entry of ST12: a unit of measure, 32 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Unit(pub u32);

impl Unit {
    /// [`Self::quantity`]: active power.
    pub const ACTIVE: u8 = 0;
    /// [`Self::quantity`]: reactive power.
    pub const REACTIVE: u8 = 1;
    /// [`Self::quantity`]: apparent power.
    pub const APPARENT: u8 = 2;

    /// A total over time of a quantity, summed over these quadrants (bit 0 the first).
    #[must_use]
    pub const fn total(quantity: u8, quadrants: u8) -> Self {
        Self(quantity as u32 | (quadrants as u32 & 15) << 14)
    }

    /// What is measured: 0 active, 1 reactive, 2 apparent power; over time, energy.
    #[must_use]
    pub const fn quantity(self) -> u8 {
        self.0 as u8
    }

    /// How time enters: 0 total, 1 instantaneous, 2 over a period, 3 sub-block, 4 block average, 5 net total.
    #[must_use]
    pub const fn time_base(self) -> u8 {
        (self.0 >> 8 & 7) as u8
    }

    /// The power of ten by which values are to be multiplied.
    #[must_use]
    pub const fn power(self) -> i8 {
        match self.0 >> 11 & 7 {
            0 => 0,
            1 => 2,
            2 => 3,
            3 => 6,
            4 => 9,
            5 => -2,
            6 => -3,
            _ => -6,
        }
    }

    /// Quadrants that are counted, bit 0 the first.
    #[must_use]
    pub const fn quadrants(self) -> u8 {
        (self.0 >> 14 & 15) as u8
    }

    /// Whether the unit is none of the standard's.
    #[must_use]
    pub const fn is_nonstandard(self) -> bool {
        self.0 >> 31 == 1
    }
}

/// ST12, the units of measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units<'a> {
    octets: &'a [u8],
    order: ByteOrder,
}

impl<'a> Units<'a> {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(12);

    /// Reads ST12 with the sizes of ST11.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &'a [u8], sizes: &SourceDimensions, format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        Ok(Self { octets: fields.take(usize::from(sizes.units) * 4)?, order: format.order })
    }

    /// The units, in order.
    pub fn iter(&self) -> impl Iterator<Item = Unit> + use<'a> {
        let order = self.order;
        self.octets.as_chunks().0.iter().map(move |octets| Unit(order.u32(*octets)))
    }

    /// Appends units.
    pub fn write(units: impl IntoIterator<Item = Unit>, format: &Format, out: &mut Vec<u8>) {
        for unit in units {
            format.order.push(u64::from(unit.0), 4, out);
        }
    }
}

/// An electric constant of ST15: values are multiplied by `multiplier` and then moved by `offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant<'a> {
    /// Multiplier.
    pub multiplier: Ni<'a>,
    /// Offset.
    pub offset: Ni<'a>,
    /// Per ratio set: its flags, current ratio and voltage ratio.
    pub ratios: [Option<(u8, Ni<'a>, Ni<'a>)>; 2],
}

/// ST15, the constants of an electricity meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constants<'a> {
    octets: &'a [u8],
    sizes: SourceDimensions,
    format: Format,
}

impl<'a> Constants<'a> {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(15);

    /// Octets of one constant.
    #[must_use]
    pub fn constant_size(sizes: &SourceDimensions, format: &Format) -> usize {
        let number = format.ni1.size();
        number * 2 + sizes.ratio_sets() * (1 + number * 2)
    }

    /// Reads ST15 with the sizes of ST11.
    ///
    /// # Errors
    /// [`TableError::Short`]; [`TableError::Reserved`] where ST11 says that the constants are not electric.
    pub fn read(data: &'a [u8], sizes: &SourceDimensions, format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        if sizes.constants_kind != SourceDimensions::ELECTRIC {
            return Err(fields.reserved("kind of constants", sizes.constants_kind));
        }
        let octets = fields.take(usize::from(sizes.constants) * Self::constant_size(sizes, format))?;
        Ok(Self { octets, sizes: *sizes, format: *format })
    }

    /// The constants, in order.
    pub fn iter(&self) -> impl Iterator<Item = Constant<'a>> {
        let format = self.format;
        let sets = self.sizes.ratio_sets();
        self.octets.chunks_exact(Self::constant_size(&self.sizes, &format)).filter_map(move |octets| {
            let mut fields = Fields::new(Self::TABLE, format.order, octets);
            let ni = |fields: &mut Fields<'a>| {
                let octets = fields.take(format.ni1.size()).ok()?;
                Some(Ni { format: format.ni1, order: format.order, octets })
            };
            let (multiplier, offset) = (ni(&mut fields)?, ni(&mut fields)?);
            let mut ratios = [None; 2];
            for ratio in ratios.iter_mut().take(sets) {
                *ratio = Some((fields.u8().ok()?, ni(&mut fields)?, ni(&mut fields)?));
            }
            Some(Constant { multiplier, offset, ratios })
        })
    }
}

/// An entry of ST16: which entries of other tables belong to a source. The n-th source that has a flag owns
/// the n-th entry of that table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SourceLink(pub u8);

impl SourceLink {
    /// It has a unit in ST12.
    pub const UNIT: u8 = 1;
    /// It has a demand control in ST13.
    pub const DEMAND_CONTROL: u8 = 1 << 1;
    /// It has a data control in ST14.
    pub const DATA_CONTROL: u8 = 1 << 2;
    /// It has a constant in ST15.
    pub const CONSTANT: u8 = 1 << 3;
    /// It counts pulses, else it is in engineering units.
    pub const PULSES: u8 = 1 << 4;
    /// The reader is to apply its constant.
    pub const APPLY_CONSTANT: u8 = 1 << 5;

    /// Whether a flag is set.
    #[must_use]
    pub const fn has(self, flag: u8) -> bool {
        self.0 & flag != 0
    }
}

/// ST16, the sources: registers and channels name them by their place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceLinks<'a> {
    octets: &'a [u8],
}

impl<'a> SourceLinks<'a> {
    /// Its number.
    pub const TABLE: TableId = TableId::standard(16);

    /// Reads ST16 with the sizes of ST11.
    ///
    /// # Errors
    /// [`TableError::Short`]
    pub fn read(data: &'a [u8], sizes: &SourceDimensions, format: &Format) -> Result<Self, TableError> {
        let mut fields = Fields::new(Self::TABLE, format.order, data);
        Ok(Self { octets: fields.take(usize::from(sizes.sources))? })
    }

    /// The sources, in order.
    pub fn iter(&self) -> impl Iterator<Item = SourceLink> + use<'a> {
        self.octets.iter().map(|octet| SourceLink(*octet))
    }

    /// The place in ST12, ST13, ST14 or ST15 of the entry that belongs to a source by this flag.
    #[must_use]
    pub fn entry(&self, source: usize, flag: u8) -> Option<usize> {
        let before = self.octets.get(..source)?;
        let link = SourceLink(*self.octets.get(source)?);
        link.has(flag).then(|| before.iter().filter(|link| SourceLink(**link).has(flag)).count())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tables::NiFormat;

    #[test]
    fn units_are_taken_apart() {
        let unit = Unit::total(Unit::ACTIVE, 0b1001);
        assert_eq!((unit.quantity(), unit.time_base(), unit.power(), unit.quadrants()), (0, 0, 0, 9));
        let format = Format::default();
        let mut octets = Vec::new();
        Units::write([unit, Unit(0x8000_1001)], &format, &mut octets);
        let sizes = SourceDimensions { units: 2, ..Default::default() };
        let units: Vec<_> = Units::read(&octets, &sizes, &format).unwrap().iter().collect();
        assert_eq!(units, [unit, Unit(0x8000_1001)]);
        assert!(units[1].is_nonstandard());
        assert_eq!(units[1].power(), 3);
    }

    #[test]
    fn constants_follow_flags_and_number_format() {
        let sizes = SourceDimensions { flags: 1 << 5, constants: 1, constants_kind: 2, ..Default::default() };
        let format = Format { ni1: NiFormat::Int24, ..Format::default() };
        let octets = [2, 0, 0, 1, 0, 0, 7, 3, 0, 0, 4, 0, 0];
        let constants = Constants::read(&octets, &sizes, &format).unwrap();
        let constant = constants.iter().next().unwrap();
        assert_eq!(constant.multiplier.decimal().unwrap().to_string(), "2");
        let (flags, current, voltage) = constant.ratios[0].unwrap();
        assert_eq!((flags, current.octets[0], voltage.octets[0]), (7, 3, 4));
        assert_eq!(constant.ratios[1], None);
        let gas = SourceDimensions { constants_kind: 0, ..sizes };
        assert_eq!(Constants::read(&octets, &gas, &format).unwrap_err().name(), "table-reserved");
    }

    #[test]
    fn sources_find_their_entries() {
        let sizes = SourceDimensions { sources: 3, ..Default::default() };
        let links = SourceLinks::read(&[1, 0, 9], &sizes, &Format::default()).unwrap();
        assert_eq!(links.entry(2, SourceLink::UNIT), Some(1));
        assert_eq!(links.entry(1, SourceLink::UNIT), None);
        assert_eq!(links.entry(2, SourceLink::CONSTANT), Some(0));
        assert_eq!(links.entry(3, SourceLink::UNIT), None);
        assert_eq!(links.iter().count(), 3);
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(
            octets in prop::collection::vec(any::<u8>(), 0..64),
            sizes in prop::array::uniform8(0_u8..8),
            flags in any::<u8>(),
            code in 0_u8..14,
        ) {
            let format = Format { ni1: NiFormat::from_code(code).unwrap(), ..Format::default() };
            let mut sizes = SourceDimensions::read(&sizes, &format).unwrap();
            (sizes.flags, sizes.constants_kind) = (flags, SourceDimensions::ELECTRIC);
            if let Ok(units) = Units::read(&octets, &sizes, &format) {
                prop_assert_eq!(units.iter().count(), usize::from(sizes.units));
            }
            if let Ok(constants) = Constants::read(&octets, &sizes, &format) {
                prop_assert_eq!(constants.iter().count(), usize::from(sizes.constants));
                for constant in constants.iter() {
                    let _ = (constant.multiplier.decimal(), constant.offset.float());
                }
            }
            if let Ok(links) = SourceLinks::read(&octets, &sizes, &format) {
                prop_assert_eq!(links.iter().count(), usize::from(sizes.sources));
            }
        }
    }
}
