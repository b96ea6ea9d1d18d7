//! The fractional slot time of a frame.

use super::UNICAST_DWELL_NS;

/// Where in its unicast schedule a sender was at the end of a frame's SFD; 24 bits on the wire.
///
/// The unit is 1/256 of a slot (996.09 us): the upper 16 bits are the slot number, the lower 8 the part of the
/// slot that had passed, rounded down. It is the unit of the Wi-SUN FAN "unicast fractional sequence
/// interval", 2^-24 of a turn of 65 536 slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotFraction(u32);

/// Units in a slot.
const UNITS: u64 = 256;

impl SlotFraction {
    /// The highest value: the end of slot 65 535.
    pub const MAX: Self = Self(0x00FF_FFFF);
    /// How far the true time can be from [`Self::position_ns`], nanoseconds: half a unit, rounded up.
    pub const ERROR_NS: u64 = UNICAST_DWELL_NS.div_ceil(2 * UNITS);

    /// From the 24 bits of a frame; the upper 8 of `bits` are ignored.
    #[must_use]
    pub const fn from_u24(bits: u32) -> Self {
        Self(bits & Self::MAX.0)
    }

    /// The 24 bits, right-aligned.
    #[must_use]
    pub const fn to_u24(self) -> u32 {
        self.0
    }

    /// The fraction at a position in the turn, nanoseconds from the start of slot 0.
    #[must_use]
    pub const fn at_position_ns(position: u64) -> Self {
        let slot = position / UNICAST_DWELL_NS;
        let units = position % UNICAST_DWELL_NS * UNITS / UNICAST_DWELL_NS;
        // Both parts fit: the slot number wraps as u16, a rest of a slot is below 256 units.
        Self((slot as u16 as u32) << 8 | units as u32)
    }

    /// The middle of the unit, nanoseconds from the start of slot 0.
    #[must_use]
    pub const fn position_ns(self) -> u64 {
        (self.0 as u64 * 2 + 1) * UNICAST_DWELL_NS / (2 * UNITS)
    }

    /// The slot number.
    #[must_use]
    pub const fn slot(self) -> u16 {
        (self.0 >> 8) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_slot_has_256_units() {
        assert_eq!(SlotFraction::at_position_ns(0).to_u24(), 0);
        assert_eq!(SlotFraction::at_position_ns(UNICAST_DWELL_NS - 1).to_u24(), 0xFF);
        assert_eq!(SlotFraction::at_position_ns(UNICAST_DWELL_NS).to_u24(), 0x100);
        assert_eq!(SlotFraction::at_position_ns(65_536 * UNICAST_DWELL_NS).to_u24(), 0);
        assert_eq!(SlotFraction::from_u24(0x1234_5678).to_u24(), 0x34_5678);
        assert_eq!(SlotFraction::from_u24(0x34_5678).slot(), 0x3456);
    }

    proptest! {
        #[test]
        fn the_position_read_back_is_within_half_a_unit(position in 0..65_536 * UNICAST_DWELL_NS) {
            let read = SlotFraction::at_position_ns(position).position_ns();
            prop_assert!(read.abs_diff(position) <= SlotFraction::ERROR_NS);
        }

        #[test]
        fn a_fraction_survives_its_position(bits in 0_u32..=0x00FF_FFFF) {
            let fraction = SlotFraction::from_u24(bits);
            prop_assert_eq!(SlotFraction::at_position_ns(fraction.position_ns()), fraction);
        }
    }
}
