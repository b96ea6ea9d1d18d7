//! Frequency hopping: receiver-directed unicast slots and a cell-wide broadcast window.
//!
//! The channel function is the direct hash of open Wi-SUN FAN stacks (DH1CF): Jenkins lookup3 over the slot
//! number and the EUI-64, low word first. Times are nanoseconds of the node's own clock.
//!
//! **One origin a cell.** A relay counts from its own origin; a node that joins takes its father's
//! ([`UnicastSchedule::follow`]). A turn of the u16 slot number, 65 536 x 255 ms, is then also 16 384 broadcast
//! intervals of 1020 ms, so that the one [`SlotFraction`] of a frame names both schedules.
//!
//! **What fits.** A sender starts only when all that it asks for (as a rule
//! [`PhyProfile::exchange_ns`](crate::phy::PhyProfile::exchange_ns): frame, pause, ACK) lies inside one slot of the
//! receiver, less the guard for what the clocks may have drifted, and outside the broadcast window, in which
//! the receiver listens elsewhere.

mod broadcast;
mod fraction;
mod phase;
mod unicast;

pub use broadcast::BroadcastSchedule;
pub use fraction::SlotFraction;
pub use unicast::UnicastSchedule;

/// A unicast slot, milliseconds, as co-processor messages carry it.
pub const UNICAST_DWELL_MS: u8 = 255;
/// A unicast slot, nanoseconds.
pub const UNICAST_DWELL_NS: u64 = 255_000_000;
/// From one broadcast window to the next, milliseconds.
pub const BROADCAST_INTERVAL_MS: u32 = 1020;
/// From one broadcast window to the next, nanoseconds.
pub const BROADCAST_INTERVAL_NS: u64 = 1_020_000_000;
/// A broadcast window, milliseconds.
pub const BROADCAST_DWELL_MS: u16 = 255;
/// A broadcast window, nanoseconds.
pub const BROADCAST_DWELL_NS: u64 = 255_000_000;
/// How much the clock of one node may be wrong, parts per million, either way.
pub const DRIFT_PPM: u64 = 20;
/// How far a peer may have moved its slots onto its father's time since it was heard, nanoseconds.
///
/// Every level that a time is handed down adds up to half a unit of the fraction. A peer that moved further costs
/// a try; the next frame heard from it puts that right.
pub const FOLLOW_SLACK_NS: u64 = 5_000_000;
/// A schedule that was not heard from for this long is not used, nanoseconds.
pub const STALE_NS: u64 = 30 * 60 * 1_000_000_000;

/// No search looks further ahead than this, nanoseconds. Guards are taken for its far end, so that they do not grow
/// while it goes on.
const SEARCH_NS: u64 = 2 * BROADCAST_INTERVAL_NS;

/// Why there is no moment to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HopError {
    /// The peer was not heard for [`STALE_NS`]: find it again.
    #[error("schedule-stale")]
    Stale,
    /// What is to be sent is longer than a slot less its guards.
    #[error("too-long-for-slot")]
    TooLong,
}

/// A moment to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opportunity {
    /// The earliest start, nanoseconds.
    pub start_ns: u64,
    /// The latest start at which it still fits, nanoseconds: the room for a backoff.
    pub latest_ns: u64,
    /// The slot or broadcast interval number.
    pub slot: u16,
    /// The channel.
    pub channel: u16,
}

/// Jenkins lookup3 (`hashword`) over three words, initval 0.
#[must_use]
pub const fn hash3(first: u32, second: u32, third: u32) -> u32 {
    // The published start: DEADBEEFh, the key's length in octets, initval.
    const START: u32 = 0xDEAD_BEEF + (3 << 2);
    let mut a = START.wrapping_add(first);
    let mut b = START.wrapping_add(second);
    let mut c = START.wrapping_add(third);
    c = (c ^ b).wrapping_sub(b.rotate_left(14));
    a = (a ^ c).wrapping_sub(c.rotate_left(11));
    b = (b ^ a).wrapping_sub(a.rotate_left(25));
    c = (c ^ b).wrapping_sub(b.rotate_left(16));
    a = (a ^ c).wrapping_sub(c.rotate_left(4));
    b = (b ^ a).wrapping_sub(a.rotate_left(14));
    (c ^ b).wrapping_sub(b.rotate_left(24))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Eui64, channel_mask::ChannelMask, phy::PhyProfile};

    #[test]
    fn a_turn_of_slots_is_a_whole_number_of_broadcast_intervals() {
        assert_eq!(65_536 * UNICAST_DWELL_NS % BROADCAST_INTERVAL_NS, 0);
        assert_eq!(BROADCAST_INTERVAL_NS, 4 * UNICAST_DWELL_NS);
    }

    #[test]
    fn every_channel_is_used_alike_over_a_turn() {
        for profile in PhyProfile::ALL {
            let mask = ChannelMask::all(profile);
            let own = UnicastSchedule::own(Eui64(0x0013_5004_0000_05F8), mask, 0);
            let mut uses = vec![0_u32; usize::from(mask.count())];
            for slot in 0..=u16::MAX {
                uses[usize::from(own.channel(slot))] += 1;
            }
            let mean = 65_536.0 / f64::from(mask.count());
            // Chi-squared over 128 or 63 degrees of freedom: mean k, deviation sqrt(2k).
            let chi: f64 = uses.iter().map(|n| (f64::from(*n) - mean).powi(2) / mean).sum();
            let freedom = f64::from(mask.count() - 1);
            assert!((chi - freedom).abs() < 4.0 * (2.0 * freedom).sqrt(), "{profile}: {chi}");
        }
    }
}
