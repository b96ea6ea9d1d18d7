//! Frames to and from the air.

use super::MessageError;
use super::wire::{Reader, Writer};
use crate::hop::SlotFraction;
use crate::phy::PhyProfile;

/// On whose schedule a frame is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HopTarget {
    /// That of the node in the PSDU's destination address.
    Unicast {
        /// When it was last heard, microseconds.
        time_us: u64,
        /// Where in its schedule it was then.
        fraction: SlotFraction,
        /// Its slots, milliseconds.
        dwell_ms: u8,
    },
    /// That of the cell.
    Broadcast,
    /// None: on every channel in turn, to be found by nodes that know no schedule.
    Async,
}

const HOP_TYPE_MASK: u16 = 0x0007;
const HOP_UNICAST: u16 = 0;
const HOP_BROADCAST: u16 = 1;
const HOP_ASYNC: u16 = 4;

/// DATA_TX: a frame to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataTx<'a> {
    /// What TX_CNF names it by; free among those outstanding.
    pub handle: u8,
    /// When and on which channel.
    pub target: HopTarget,
    /// The frame without its FCS.
    pub psdu: &'a [u8],
}

impl<'a> DataTx<'a> {
    pub(super) fn read(body: &mut Reader<'a>) -> Result<Self, MessageError> {
        let handle = body.u8()?;
        let flags = body.u16()?;
        let (time_us, fraction, dwell_ms) = (body.u64()?, SlotFraction::from_u24(body.u24()?), body.u8()?);
        let target = match flags & HOP_TYPE_MASK {
            HOP_UNICAST => HopTarget::Unicast { time_us, fraction, dwell_ms },
            HOP_BROADCAST => HopTarget::Broadcast,
            HOP_ASYNC => HopTarget::Async,
            // Three bits.
            other => return Err(MessageError::UnknownHopType(other as u8)),
        };
        Ok(Self { handle, target, psdu: body.psdu()? })
    }

    pub(super) fn write<'o>(&self, out: Writer<'o>) -> Result<Writer<'o>, MessageError> {
        let (flags, time_us, fraction, dwell_ms) = match self.target {
            HopTarget::Unicast { time_us, fraction, dwell_ms } => (HOP_UNICAST, time_us, fraction, dwell_ms),
            HopTarget::Broadcast => (HOP_BROADCAST, 0, SlotFraction::default(), 0),
            HopTarget::Async => (HOP_ASYNC, 0, SlotFraction::default(), 0),
        };
        let out = out.u8(self.handle)?.u16(flags)?.u64(time_us)?.u24(fraction.to_u24())?.u8(dwell_ms)?;
        out.psdu(self.psdu)
    }
}

/// How a DATA_TX ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TxStatus {
    /// Sent, and acknowledged if that was asked for.
    Ok,
    /// The co-processor had no memory.
    Memory,
    /// The channel was never free.
    ChannelBusy,
    /// No ACK came.
    NoAck,
    /// Not sent in time.
    Timeout,
    /// A fault of the co-processor.
    Internal,
    /// TX_ABORT.
    Aborted,
    /// A status of the future, 7 and up: not delivered. Made by [`Self::from_code`].
    Other(u8),
}

impl TxStatus {
    /// The status of a code.
    #[must_use]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Ok,
            1 => Self::Memory,
            2 => Self::ChannelBusy,
            3 => Self::NoAck,
            4 => Self::Timeout,
            5 => Self::Internal,
            6 => Self::Aborted,
            other => Self::Other(other),
        }
    }

    /// The code of a status.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Memory => 1,
            Self::ChannelBusy => 2,
            Self::NoAck => 3,
            Self::Timeout => 4,
            Self::Internal => 5,
            Self::Aborted => 6,
            Self::Other(code) => code,
        }
    }

    /// Whether the frame may be taken as received. Any status but Ok: it may not.
    #[must_use]
    pub const fn is_delivered(self) -> bool {
        matches!(self, Self::Ok)
    }

    /// The word in records and metrics.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Memory => "memory",
            Self::ChannelBusy => "channel-busy",
            Self::NoAck => "no-ack",
            Self::Timeout => "timeout",
            Self::Internal => "internal",
            Self::Aborted => "aborted",
            Self::Other(_) => "unknown-status",
        }
    }
}

/// TX_CNF: what became of a DATA_TX. Unless the status is Ok, only handle and status count for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxCnf<'a> {
    /// As in DATA_TX.
    pub handle: u8,
    /// How it ended.
    pub status: TxStatus,
    /// When the ACK came, or the frame went without one, microseconds.
    pub time_us: u64,
    /// Link quality of the ACK.
    pub lqi: u8,
    /// Power of the ACK, dBm.
    pub rssi_dbm: i8,
    /// The channel of the last try.
    pub channel: u16,
    /// How often the channel was found busy.
    pub cca_failures: u8,
    /// How often the frame went on the air, the first time included.
    pub tries: u8,
    /// The ACK without its FCS; empty without one.
    pub ack: &'a [u8],
}

impl<'a> TxCnf<'a> {
    pub(super) fn read(body: &mut Reader<'a>) -> Result<Self, MessageError> {
        Ok(Self {
            handle: body.u8()?,
            status: TxStatus::from_code(body.u8()?),
            time_us: body.u64()?,
            lqi: body.u8()?,
            rssi_dbm: body.i8()?,
            channel: body.u16()?,
            cca_failures: body.u8()?,
            tries: body.u8()?,
            ack: body.psdu()?,
        })
    }

    pub(super) fn write<'o>(&self, out: Writer<'o>) -> Result<Writer<'o>, MessageError> {
        let out = out.u8(self.handle)?.u8(self.status.code())?.u64(self.time_us)?;
        let out = out.u8(self.lqi)?.i8(self.rssi_dbm)?.u16(self.channel)?;
        out.u8(self.cca_failures)?.u8(self.tries)?.psdu(self.ack)
    }
}

/// DATA_RX: a frame that came with a good FCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataRx<'a> {
    /// When, microseconds.
    pub time_us: u64,
    /// Link quality.
    pub lqi: u8,
    /// Power, dBm.
    pub rssi_dbm: i8,
    /// How it was modulated.
    pub phy: PhyProfile,
    /// On which channel.
    pub channel: u16,
    /// The frame without its FCS.
    pub psdu: &'a [u8],
}

impl<'a> DataRx<'a> {
    pub(super) fn read(body: &mut Reader<'a>) -> Result<Self, MessageError> {
        Ok(Self {
            time_us: body.u64()?,
            lqi: body.u8()?,
            rssi_dbm: body.i8()?,
            phy: read_phy(body)?,
            channel: body.u16()?,
            psdu: body.psdu()?,
        })
    }

    pub(super) fn write<'o>(&self, out: Writer<'o>) -> Result<Writer<'o>, MessageError> {
        let out = out.u64(self.time_us)?.u8(self.lqi)?.i8(self.rssi_dbm)?;
        out.u8(self.phy.mode_id())?.u16(self.channel)?.psdu(self.psdu)
    }
}

pub(super) fn read_phy(body: &mut Reader<'_>) -> Result<PhyProfile, MessageError> {
    let id = body.u8()?;
    PhyProfile::from_mode_id(id).ok_or(MessageError::UnknownPhy(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_keeps_its_code_and_only_zero_is_delivered() {
        for code in 0..=u8::MAX {
            let status = TxStatus::from_code(code);
            assert_eq!(status.code(), code);
            assert_eq!(status.is_delivered(), code == 0);
            assert_eq!(status.word() == "unknown-status", code > 6);
        }
    }
}
