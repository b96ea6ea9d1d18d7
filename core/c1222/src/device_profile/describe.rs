//! The tables in which a device describes its others, as they follow from its profile: so a simulated device
//! and its profile cannot differ.

use super::{DeviceProfile, LoadProfile, NumberKind, Quantity, ReadingType};
use crate::tables::{
    ChannelSelection, DataSelection, LoadProfileDimensions, NiFormat, RegisterDimensions, Registers,
    SetControl, SetDimensions, SourceDimensions, SourceLink, TableId, Unit, Units,
};

impl DeviceProfile {
    /// Appends the data of ST11, 12, 16, 20, 21, 22, 60, 61 or 62, where the profile's registers (ST23) and load
    /// profiles (ST64 to ST67) can be so described: registers are summations in number format 1 one after the
    /// other, channels of a set are written alike, units are of energy. Answers `false`, and appends nothing, for
    /// other tables and where they cannot.
    pub fn describe(&self, table: TableId, out: &mut Vec<u8>) -> bool {
        if table.is_manufacturer() || table.is_pending() {
            return false;
        }
        let described = match table.number() {
            11 => self.sources().map(|sources| {
                let count = u8::try_from(sources.len()).unwrap_or(u8::MAX);
                let constants_kind = SourceDimensions::ELECTRIC;
                SourceDimensions { units: count, sources: count, constants_kind, ..Default::default() }
                    .write(out);
            }),
            12 => self.sources().map(|units| Units::write(units, &self.format, out)),
            16 => self.sources().map(|units| out.extend(units.iter().map(|_| SourceLink::UNIT))),
            20 | 21 => self.register_dimensions().map(|sizes| sizes.write(out)),
            22 => self.register_dimensions().map(|sizes| {
                let summations: Vec<u8> = (0..sizes.summations).collect();
                DataSelection { summations: &summations, ..Default::default() }.write(out);
            }),
            60 | 61 => self.load_profile_dimensions().map(|sizes| sizes.write(&self.format, out)),
            62 => self.load_profile_dimensions().and_then(|_| self.write_control(out)),
            _ => None,
        };
        described.is_some()
    }

    /// The registers of ST23: summations, if that is what they are.
    fn registers(&self) -> Option<Vec<&Quantity>> {
        let Some(layout) = self.table(Registers::TABLE) else { return Some(Vec::new()) };
        let mut offset = 0_usize;
        for field in &layout.fields {
            if field.offset != offset || number_format(&field.quantity) != Some(self.format.ni1) {
                return None;
            }
            offset = offset.saturating_add(field.quantity.size);
        }
        (offset == layout.size && u8::try_from(layout.fields.len()).is_ok())
            .then(|| layout.fields.iter().map(|field| &field.quantity).collect())
    }

    fn register_dimensions(&self) -> Option<RegisterDimensions> {
        let summations = u8::try_from(self.registers()?.len()).ok()?;
        Some(RegisterDimensions { summations, ..Default::default() })
    }

    /// The sets of ST64 to ST67, without a gap from the first.
    fn sets(&self) -> impl Iterator<Item = &LoadProfile> {
        (64..=67).map_while(|number| self.load_profile(TableId::standard(number)))
    }

    fn load_profile_dimensions(&self) -> Option<LoadProfileDimensions> {
        let mut sizes = LoadProfileDimensions::default();
        let mut status = None;
        for (set, place) in self.sets().zip(&mut sizes.sets) {
            let layout = &set.layout;
            let channels = u8::try_from(set.channels.len()).ok()?;
            sizes.formats |= interval_format(set)?;
            if layout.skip != 0
                || *status.get_or_insert((layout.simple, layout.extended)) != (layout.simple, layout.extended)
            {
                return None;
            }
            let memory = layout.size().saturating_mul(usize::from(set.blocks));
            sizes.memory = sizes.memory.saturating_add(u32::try_from(memory).unwrap_or(u32::MAX));
            *place = Some(SetDimensions {
                blocks: set.blocks,
                intervals: u16::try_from(layout.intervals).ok()?,
                channels,
                interval_min: u8::try_from(set.interval_min).ok()?,
            });
        }
        let (simple, extended) = status.unwrap_or_default();
        sizes.flags = u16::from(simple) * LoadProfileDimensions::SIMPLE_STATUS
            + u16::from(extended) * LoadProfileDimensions::EXTENDED_STATUS;
        (self.sets().count() == self.load_profiles.len()).then_some(sizes)
    }

    fn write_control(&self, out: &mut Vec<u8>) -> Option<()> {
        // Sources are numbered as `sources` lists them: the registers, then the channels.
        let mut source = u8::try_from(self.registers()?.len()).ok()?;
        let mut control = Vec::new();
        for set in self.sets() {
            let last = source.checked_add(u8::try_from(set.channels.len()).ok()?)?;
            let channels = (source..last).map(|source| ChannelSelection { source, ..Default::default() });
            SetControl::write(channels, interval_format(set)?, &mut control);
            source = last;
        }
        out.append(&mut control);
        Some(())
    }

    /// The units of all sources: the registers, then the channels.
    fn sources(&self) -> Option<Vec<Unit>> {
        let channels = self.sets().flat_map(|set| &set.channels);
        let units = self.registers()?.into_iter().chain(channels).map(unit).collect::<Option<Vec<_>>>()?;
        (units.len() <= usize::from(u8::MAX)).then_some(units)
    }
}

/// The number format of ST0 in which a quantity is written.
fn number_format(quantity: &Quantity) -> Option<NiFormat> {
    match (quantity.kind, quantity.size) {
        (NumberKind::Signed, 3) => Some(NiFormat::Int24),
        (NumberKind::Signed, 4) => Some(NiFormat::Int32),
        (NumberKind::Signed, 5) => Some(NiFormat::Int40),
        (NumberKind::Signed, 6) => Some(NiFormat::Int48),
        (NumberKind::Signed, 8) => Some(NiFormat::Int64),
        (NumberKind::Packed, 4) => Some(NiFormat::Bcd4),
        (NumberKind::Packed, 6) => Some(NiFormat::Bcd6),
        (NumberKind::Packed, 8) => Some(NiFormat::Bcd8),
        _ => None,
    }
}

/// The code of the format in which all channels of a set are written.
fn interval_format(set: &LoadProfile) -> Option<u8> {
    let code = |quantity: &Quantity| match (quantity.kind, quantity.size) {
        (NumberKind::Unsigned, size @ (1 | 2 | 4)) => u8::try_from(size).ok(),
        (NumberKind::Signed, size @ (1 | 2 | 4)) => u8::try_from(size * 8).ok(),
        _ => None,
    };
    let first = code(set.channels.first()?)?;
    set.channels.iter().all(|channel| code(channel) == Some(first)).then_some(first)
}

/// The unit of ST12 for a quantity of energy.
fn unit(quantity: &Quantity) -> Option<Unit> {
    let reading_type = ReadingType::parse(quantity.reading_type.as_deref()?)?;
    let kind = match reading_type.unit {
        72 => Unit::ACTIVE,
        73 => Unit::REACTIVE,
        71 => Unit::APPARENT,
        _ => return None,
    };
    let quadrants = match reading_type.flow_direction {
        ReadingType::FORWARD => 0b1001,
        ReadingType::REVERSE => 0b0110,
        _ => 0b1111,
    };
    Some(Unit::total(kind, quadrants))
}
