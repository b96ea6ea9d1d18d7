//! What a co-processor counted.

use super::MessageError;
use super::wire::{Reader, Writer};

/// How many counters a reply carries.
pub const STATS_COUNTERS: usize = 16;
/// The most channels of any plan.
pub(super) const CHANNELS_MAX: usize = 129;

/// Counters since the last reset. All are u32 and wrap: take differences modulo 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatsCounters {
    /// Frames sent, retries included, ACKs not.
    pub tx_frames: u32,
    /// ACKs sent.
    pub tx_acks: u32,
    /// Tries after which no ACK came.
    pub tx_no_ack: u32,
    /// Clear channel assessments that found the channel busy.
    pub tx_channel_busy: u32,
    /// Sends that waited for the rule of 47 CFR 15.247.
    pub tx_rule_waits: u32,
    /// Handles that ended with a status other than 0.
    pub tx_failed: u32,
    /// Frames handed to the host.
    pub rx_frames: u32,
    /// ACKs received for own frames.
    pub rx_acks: u32,
    /// Frames with a wrong FCS.
    pub rx_bad_fcs: u32,
    /// Frames that link security refused.
    pub rx_bad_security: u32,
    /// Frames for other nodes or cells.
    pub rx_filtered: u32,
    /// Frames lost because the host did not take them in time.
    pub rx_dropped: u32,
    /// Times the broadcast schedule was found again after it was lost.
    pub resyncs: u32,
    /// Serial frames with a wrong check.
    pub serial_bad_check: u32,
    /// Serial frames dropped for any other reason.
    pub serial_dropped: u32,
    /// The link frame counter that the next secured frame uses.
    pub frame_counter: u32,
}

impl StatsCounters {
    const fn to_array(self) -> [u32; STATS_COUNTERS] {
        [
            self.tx_frames,
            self.tx_acks,
            self.tx_no_ack,
            self.tx_channel_busy,
            self.tx_rule_waits,
            self.tx_failed,
            self.rx_frames,
            self.rx_acks,
            self.rx_bad_fcs,
            self.rx_bad_security,
            self.rx_filtered,
            self.rx_dropped,
            self.resyncs,
            self.serial_bad_check,
            self.serial_dropped,
            self.frame_counter,
        ]
    }

    const fn from_array(counters: [u32; STATS_COUNTERS]) -> Self {
        let [
            tx_frames,
            tx_acks,
            tx_no_ack,
            tx_channel_busy,
            tx_rule_waits,
            tx_failed,
            rx_frames,
            rx_acks,
            rx_bad_fcs,
            rx_bad_security,
            rx_filtered,
            rx_dropped,
            resyncs,
            serial_bad_check,
            serial_dropped,
            frame_counter,
        ] = counters;
        Self {
            tx_frames,
            tx_acks,
            tx_no_ack,
            tx_channel_busy,
            tx_rule_waits,
            tx_failed,
            rx_frames,
            rx_acks,
            rx_bad_fcs,
            rx_bad_security,
            rx_filtered,
            rx_dropped,
            resyncs,
            serial_bad_check,
            serial_dropped,
            frame_counter,
        }
    }
}

/// The reply to STATS.
///
/// | offset | field | |
/// |---|---|---|
/// | 0 | id u8 | 51h |
/// | 1 | time u64 | microseconds since the reset |
/// | 9 | 16 counters u32 | in the order of [`StatsCounters`] |
/// | 73 | channels u16 | at most 129 |
/// | 75 | airtime u32 each | microseconds of own transmissions since the reset, ACKs included; wraps |
///
/// A channel at the 2 % that the rule allows wraps after 59 hours; a host asks more often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats<'a> {
    /// When they were taken, microseconds.
    pub time_us: u64,
    /// The counters.
    pub counters: StatsCounters,
    /// Own transmissions, channel by channel.
    pub airtime: ChannelAirtime<'a>,
}

impl<'a> Stats<'a> {
    pub(super) fn read(body: &mut Reader<'a>) -> Result<Self, MessageError> {
        let time_us = body.u64()?;
        let mut counters = [0; STATS_COUNTERS];
        for counter in &mut counters {
            *counter = body.u32()?;
        }
        let channels = usize::from(body.u16()?);
        if channels > CHANNELS_MAX {
            return Err(MessageError::TooManyChannels);
        }
        let (words, _) = body.octets(channels * 4)?.as_chunks();
        let airtime = ChannelAirtime(Repr::Wire(words));
        Ok(Self { time_us, counters: StatsCounters::from_array(counters), airtime })
    }

    pub(super) fn write<'o>(&self, out: Writer<'o>) -> Result<Writer<'o>, MessageError> {
        let mut out = out.u64(self.time_us)?;
        for counter in self.counters.to_array() {
            out = out.u32(counter)?;
        }
        if self.airtime.channels() > CHANNELS_MAX {
            return Err(MessageError::TooManyChannels);
        }
        out = out.u16(self.airtime.channels() as u16)?;
        for airtime_us in self.airtime.iter() {
            out = out.u32(airtime_us)?;
        }
        Ok(out)
    }
}

/// Airtime channel by channel, microseconds; borrowed from a table or from a message.
#[derive(Clone, Copy, Debug)]
pub struct ChannelAirtime<'a>(Repr<'a>);

#[derive(Clone, Copy, Debug)]
enum Repr<'a> {
    Table(&'a [u32]),
    Wire(&'a [[u8; 4]]),
}

impl<'a> ChannelAirtime<'a> {
    /// From a table, channel 0 first.
    #[must_use]
    pub const fn new(airtime_us: &'a [u32]) -> Self {
        Self(Repr::Table(airtime_us))
    }

    /// How many channels.
    #[must_use]
    pub const fn channels(&self) -> usize {
        match self.0 {
            Repr::Table(table) => table.len(),
            Repr::Wire(words) => words.len(),
        }
    }

    /// The airtime of each channel, channel 0 first.
    pub fn iter(&self) -> impl Iterator<Item = u32> + 'a {
        let (table, words): (&'a [u32], &'a [[u8; 4]]) = match self.0 {
            Repr::Table(table) => (table, &[]),
            Repr::Wire(words) => (&[], words),
        };
        table.iter().copied().chain(words.iter().copied().map(u32::from_le_bytes))
    }
}

impl PartialEq for ChannelAirtime<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for ChannelAirtime<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counters_keep_their_order() {
        let counters: [u32; STATS_COUNTERS] = core::array::from_fn(|n| n as u32);
        assert_eq!(StatsCounters::from_array(counters).to_array(), counters);
        assert_eq!(StatsCounters::from_array(counters).frame_counter, 15);
    }
}
