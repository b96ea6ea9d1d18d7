//! What a simulated meter measures: a household's energy, from a seed.
//!
//! Everything is a pure function of the seed, the device and the time, so that nothing has to be kept and a
//! report made again is the same. An interval is the difference of two register readings, as in a real meter.

use c1222::device_profile::Quantity;
use seal::ids::Dev;

use crate::mix::{mix, mix_below};

/// When meters begin: 2026-01-01T00:00:00Z.
pub const BASE_S: u64 = 1_767_225_600;

const HOURS: usize = 24;
const DAY_MIN: u64 = 1440;
/// Watt-hours in each hour of a day.
const LOAD: [u64; HOURS] = [
    250, 200, 180, 170, 180, 250, 450, 600, 500, 400, 380, 400, 420, 400, 380, 400, 500, 750, 950, 900, 800,
    650, 450, 320,
];
/// The least of them.
const LOAD_MIN: u64 = 170;
/// Watt-hours of a day before each hour, and all of them.
const BEFORE: ([u64; HOURS], u64) = {
    let (mut before, mut sum, mut rest) = ([0; HOURS], 0, LOAD.as_slice());
    let mut slots = before.as_mut_slice();
    while let (Some((load, loads)), Some((slot, others))) = (rest.split_first(), slots.split_first_mut()) {
        *slot = sum;
        sum += *load;
        (rest, slots) = (loads, others);
    }
    (before, sum)
};
/// Households differ: from a half to twice that load, in parts of this.
const UNIT: u64 = 128;
/// Registers begin below this.
const START_BELOW: u64 = 10_000_000;

/// One simulated meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meter(u64);

/// What of a quantity a meter has to know: its name, and the highest count that its field can hold.
///
/// A register and a load-profile channel of the same name measure the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    name: u64,
    count_max: u64,
}

impl Measured {
    /// What is to be measured for this quantity.
    #[must_use]
    pub fn of(quantity: &Quantity) -> Self {
        let name = quantity.name.bytes().fold(0, |name, octet| mix(name, u64::from(octet)));
        Self { name, count_max: quantity.count_max().min(i64::MAX.unsigned_abs()) }
    }
}

impl Meter {
    /// The meter of a device.
    #[must_use]
    pub fn new(seed: u64, dev: Dev) -> Self {
        Self(mix(seed, u64::from_be_bytes(dev.0)))
    }

    /// The count of a register at a minute since [`BASE_S`] that is a multiple of `step_min`. It rises, and
    /// goes from the highest count that the register can hold to 0.
    #[must_use]
    pub fn register(self, measured: Measured, minute: u64, step_min: u64) -> i64 {
        let stream = self.stream(measured);
        let start = mix_below(stream, u64::MAX, START_BELOW);
        let count = start.saturating_add(energy(stream, minute, step_min)) % (measured.count_max + 1);
        i64::try_from(count).unwrap_or(0)
    }

    /// What `count` intervals of `step_min` minutes each from `minute` on added, oldest first.
    pub fn intervals(
        self,
        measured: Measured,
        minute: u64,
        step_min: u64,
        count: usize,
    ) -> impl Iterator<Item = i64> {
        let stream = self.stream(measured);
        let mut before = energy(stream, minute, step_min);
        (1..=count as u64).map(move |place| {
            let after = energy(stream, minute.saturating_add(place.saturating_mul(step_min)), step_min);
            let added = after.saturating_sub(before).min(measured.count_max);
            before = after;
            i64::try_from(added).unwrap_or(0)
        })
    }

    /// Minutes, 1 to 5, from the end of a block to the report that brings it.
    #[must_use]
    pub fn delay_min(self, number: u32) -> u64 {
        1 + mix_below(self.0, u64::from(number), 5)
    }

    fn stream(self, measured: Measured) -> u64 {
        mix(self.0, measured.name)
    }
}

/// Watt-hours from the beginning to this minute: the load of a day over and over, and a little more or less,
/// never so much that it falls from one multiple of `step_min` to the next.
fn energy(stream: u64, minute: u64, step_min: u64) -> u64 {
    let factor = UNIT / 2 + stream % (UNIT + UNIT / 2);
    let (day, of_day) = (minute / DAY_MIN, minute % DAY_MIN);
    let hour = usize::try_from(of_day / 60).unwrap_or(0);
    let (before, whole_day) = BEFORE;
    let of_hour = LOAD.get(hour).map_or(0, |load| load * (of_day % 60) / 60);
    let of_day = before.get(hour).map_or(0, |before| before + of_hour);
    let even = day.saturating_mul(whole_day).saturating_add(of_day).saturating_mul(factor) / UNIT;
    let least = (LOAD_MIN * step_min / 60).saturating_sub(1).saturating_mul(factor) / UNIT;
    even.saturating_add(mix_below(stream, minute, least))
}

#[cfg(test)]
mod tests {
    use super::*;
    use c1222::device_profile::NumberKind;
    use proptest::prelude::*;

    fn quantity(name: &str, size: usize) -> Quantity {
        Quantity {
            name: name.into(),
            kind: NumberKind::Unsigned,
            size,
            multiplier: 1,
            scale: -3,
            unit: "kWh".into(),
            reading_type: Some("x".into()),
        }
    }

    fn measured(name: &str, size: usize) -> Measured {
        Measured::of(&quantity(name, size))
    }

    proptest! {
        #[test]
        fn registers_rise_and_intervals_are_their_differences(
            seed: u64, dev: [u8; 8], place in 0..100_000_u64,
            step in prop::sample::select(vec![1_u64, 5, 15, 30, 60]),
        ) {
            let meter = Meter::new(seed, Dev(dev));
            let registers: Vec<i64> =
                (place..=place + 4).map(|place| meter.register(measured("forward", 6), place * step, step)).collect();
            let intervals: Vec<i64> = meter.intervals(measured("forward", 4), place * step, step, 4).collect();
            prop_assert!(registers.is_sorted());
            let differences: Vec<i64> = registers.windows(2).map(|pair| pair[1] - pair[0]).collect();
            prop_assert_eq!(differences, intervals);
        }

        #[test]
        fn every_count_fits_its_field(seed: u64, minute in 0..10_000_000_u64, size in 1..=8_usize) {
            let (meter, minute) = (Meter::new(seed, Dev([1; 8])), minute * 15);
            for kind in [NumberKind::Unsigned, NumberKind::Signed, NumberKind::Packed] {
                let quantity = Quantity { kind, ..quantity("any", size) };
                let measured = Measured::of(&quantity);
                prop_assert!(quantity.holds(meter.register(measured, minute, 15)));
                prop_assert!(meter.intervals(measured, minute, 15, 5).all(|count| quantity.holds(count)));
            }
        }
    }

    #[test]
    fn a_household_uses_some_kilowatt_hours_a_day() {
        let (mut least, mut most) = (i64::MAX, 0);
        for dev in 0..200 {
            let meter = Meter::new(1, Dev([dev; 8]));
            let day: i64 = meter.intervals(measured("forward", 2), 0, 15, 96).sum();
            (least, most) = (least.min(day), most.max(day));
        }
        assert!(least > 4_000 && most < 25_000 && most > 2 * least, "{least} to {most} Wh");
        assert_eq!(LOAD.iter().copied().min(), Some(LOAD_MIN));
        assert_eq!((BEFORE.0[23] + LOAD[23], BEFORE.0[1]), (BEFORE.1, LOAD[0]));
    }

    #[test]
    fn meters_and_quantities_differ() {
        let count = |seed, dev, name| Meter::new(seed, Dev([dev; 8])).register(measured(name, 6), 0, 15);
        assert_eq!(count(1, 1, "forward"), count(1, 1, "forward"));
        assert_ne!(count(1, 1, "forward"), count(1, 1, "reverse"));
        assert_ne!(count(1, 1, "forward"), count(1, 2, "forward"));
        assert_ne!(count(1, 1, "forward"), count(2, 1, "forward"));
    }
}
