//! CIM reading types (IEC 61968-9): eighteen numbers that say what a reading is.

/// A reading type: eighteen numbers, here those that a profile is checked by.
///
/// In order: macro period, aggregate, measuring period, accumulation, flow direction, commodity, measurement
/// kind, two interharmonic, two argument, time of use, critical peak, tier, phases, multiplier, unit, currency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadingType {
    /// Third: length of the interval, a code; 0 for none.
    pub measuring_period: i16,
    /// Fourth: 1 bulk register, 4 delta.
    pub accumulation: i16,
    /// Fifth: 1 forward, 19 reverse.
    pub flow_direction: i16,
    /// Sixteenth: the power of ten of the unit.
    pub multiplier: i16,
    /// Seventeenth: the unit, a code.
    pub unit: i16,
}

/// Measuring periods: minutes and their code.
const PERIODS: [(u16, i16); 10] =
    [(1, 3), (2, 10), (3, 14), (5, 6), (10, 1), (15, 2), (20, 31), (30, 5), (60, 7), (1440, 4)];

/// Units that profiles name: multiplier, code.
const UNITS: [(&str, i16, i16); 20] = [
    ("Wh", 0, 72),
    ("kWh", 3, 72),
    ("MWh", 6, 72),
    ("varh", 0, 73),
    ("kvarh", 3, 73),
    ("Mvarh", 6, 73),
    ("VAh", 0, 71),
    ("kVAh", 3, 71),
    ("MVAh", 6, 71),
    ("W", 0, 38),
    ("kW", 3, 38),
    ("var", 0, 63),
    ("kvar", 3, 63),
    ("VA", 0, 61),
    ("kVA", 3, 61),
    ("V", 0, 29),
    ("A", 0, 5),
    ("Hz", 0, 33),
    ("m3", 0, 42),
    ("ft3", 0, 119),
];

impl ReadingType {
    /// [`Self::accumulation`]: a register that only grows.
    pub const BULK: i16 = 1;
    /// [`Self::accumulation`]: what an interval added.
    pub const DELTA: i16 = 4;
    /// [`Self::flow_direction`]: to the customer.
    pub const FORWARD: i16 = 1;
    /// [`Self::flow_direction`]: from the customer.
    pub const REVERSE: i16 = 19;
    /// How many numbers it has.
    pub const FIELDS: usize = 18;

    /// Reads eighteen numbers with dots between them.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = [0; Self::FIELDS];
        let mut parts = text.split('.');
        for field in &mut fields {
            let part = parts.next()?;
            // `parse` takes a plus sign and leading zeros too; then two texts would be one type.
            *field = part.parse().ok().filter(|number: &i16| number.to_string() == part)?;
        }
        let [_, _, measuring_period, accumulation, flow_direction, .., multiplier, unit, _] = fields;
        let read = Self { measuring_period, accumulation, flow_direction, multiplier, unit };
        parts.next().is_none().then_some(read)
    }

    /// The length of its interval in minutes, where it has one that is known here.
    #[must_use]
    pub fn interval_min(&self) -> Option<u16> {
        PERIODS.iter().find(|(_, code)| *code == self.measuring_period).map(|(minutes, _)| *minutes)
    }

    /// The code for an interval of so many minutes.
    #[must_use]
    pub fn period_of(interval_min: u16) -> Option<i16> {
        PERIODS.iter().find(|(minutes, _)| *minutes == interval_min).map(|(_, code)| *code)
    }

    /// The name of its unit, where it is known here.
    #[must_use]
    pub fn unit_name(&self) -> Option<&'static str> {
        let of = |unit: &&(&str, i16, i16)| (unit.1, unit.2) == (self.multiplier, self.unit);
        UNITS.iter().find(of).map(|(name, _, _)| *name)
    }

    /// The names of all units that are known here.
    pub fn unit_names() -> impl Iterator<Item = &'static str> {
        UNITS.iter().map(|(name, _, _)| *name)
    }

    /// Multiplier and code of a unit by its name.
    #[must_use]
    pub fn unit_of(name: &str) -> Option<(i16, i16)> {
        UNITS.iter().find(|unit| unit.0 == name).map(|(_, multiplier, code)| (*multiplier, *code))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_field() {
        let delta = ReadingType::parse("0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0").unwrap();
        assert_eq!(delta.accumulation, ReadingType::DELTA);
        assert_eq!((delta.interval_min(), delta.unit_name()), (Some(15), Some("kWh")));
        let reverse = ReadingType::parse("0.0.0.1.19.1.12.0.0.0.0.0.0.0.0.3.72.0").unwrap();
        assert_eq!((reverse.accumulation, reverse.flow_direction), (ReadingType::BULK, ReadingType::REVERSE));
        assert_eq!(reverse.interval_min(), None);
        assert_eq!((ReadingType::unit_of("Wh"), ReadingType::period_of(60)), (Some((0, 72)), Some(7)));
        for text in [
            "",
            "0.0.2.4",
            "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0.0",
            "0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.x",
        ] {
            assert_eq!(ReadingType::parse(text), None, "{text}");
        }
        assert_eq!(ReadingType::parse("00.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0"), None);
    }
}
