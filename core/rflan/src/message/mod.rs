//! What host and radio co-processor say to each other.
//!
//! A message is one id octet and a body, little-endian; a framing ([`crate::framing`]) carries it. Ids and meanings
//! follow the published host interface of open Wi-SUN co-processors; an EUI-64 is eight octets, first octet
//! first, as there. All times are microseconds since the co-processor's reset and name the end of a frame's
//! SFD. PSDUs come and go without their FCS, which the co-processor computes and checks.
//!
//! From the host ([`HostMessage`]):
//!
//! | id | name | body |
//! |---|---|---|
//! | 01 | NOP | none; what follows is ignored |
//! | 03 | RESET | bootloader u8 (bit 0) |
//! | 10 | DATA_TX | handle u8, flags u16, peer time u64, peer slot fraction u24, dwell u8 (ms), length u16, PSDU |
//! | 11 | TX_ABORT | handle u8 |
//! | 23 | SET_RADIO | PHY mode id u8 |
//! | 25 | TX_POWER | dBm i8 |
//! | 27 | CSMA | backoff unit u16 (us, 0: the PHY's own), lowest BE u8, highest BE u8, CCA retries u8, frame retries u8 |
//! | 30 | HOP_UNICAST | dwell u8 (ms), length u8, channel mask |
//! | 31 | HOP_BROADCAST | interval u32 (ms), dwell u16 (ms), cell id u16, parent EUI-64 (all ones: nobody) |
//! | 40 | LINK_KEY | index u8, key 16 octets, frame counter u32 |
//! | 50 | STATS | none |
//!
//! From the co-processor ([`RcpMessage`]):
//!
//! | id | name | body |
//! |---|---|---|
//! | 02 | NOP_IND | none; what follows is ignored |
//! | 04 | RESET_IND | api u32, firmware u32, EUI-64, count u8, radios (see [`Radio`]); what follows is ignored |
//! | 05 | FATAL_IND | code u16, text up to a zero octet or the end |
//! | 12 | TX_CNF | handle u8, status u8, time u64, LQI u8, RSSI i8, channel u16, CCA failures u8, tries u8, length u16, ACK |
//! | 13 | DATA_RX | time u64, LQI u8, RSSI i8, PHY mode id u8, channel u16, length u16, PSDU |
//! | 51 | STATS | see [`Stats`] |
//!
//! Flags of DATA_TX: bits 0-2 are 0 unicast, 1 broadcast, 4 asynchronous (on every channel in turn); the
//! others are sent as zero and ignored. The three peer fields count for unicast only and are zero else. Whose
//! schedule it is stands in the PSDU: its destination address.
//!
//! LINK_KEY ends with the counter that the next secured frame uses, as in the published interface. A
//! co-processor forgets it in a reset; without it the first frames after would repeat nonces of AES-CCM.

mod data;
mod host;
mod link_key;
mod radio;
mod rcp;
mod stats;
mod wire;

pub use data::{DataRx, DataTx, HopTarget, TxCnf, TxStatus};
pub use host::{Csma, HopBroadcast, HostMessage};
pub use link_key::{LINK_KEY_LEN, LinkKey};
pub use radio::{RADIOS_MAX, Radio, RadioList};
pub use rcp::{RcpMessage, ResetInd};
pub use stats::{ChannelAirtime, STATS_COUNTERS, Stats, StatsCounters};

use crate::{fcs, phy};

/// The version of these messages: major in the upper octet, then minor (16 bits), then patch.
pub const API_VERSION: u32 = 0x0100_0000;
/// The most handles that are outstanding at once.
pub const HANDLES_MAX: usize = 8;
/// From one NOP or NOP_IND to the next, nanoseconds.
pub const LIVENESS_NS: u64 = 2_500_000_000;
/// Silence after which a co-processor counts as lost, nanoseconds.
pub const SILENCE_NS: u64 = 6_000_000_000;
/// The longest PSDU of a message, octets, FCS left out.
pub const PSDU_LEN_MAX: usize = phy::PSDU_LEN_MAX as usize - fcs::FCS32_LEN;
/// The longest text of FATAL_IND, octets.
pub const TEXT_LEN_MAX: usize = 255;

/// Why octets are not a message, or a message cannot be written. Its text is one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Not even an id.
    #[error("message-empty")]
    Empty,
    /// No message of this side has this id.
    #[error("unknown-id")]
    UnknownId(u8),
    /// The body ends too soon.
    #[error("truncated")]
    Truncated,
    /// The body goes on after its end.
    #[error("trailing-octets")]
    TrailingOctets,
    /// DATA_TX names no known way to hop.
    #[error("unknown-hop-type")]
    UnknownHopType(u8),
    /// A PHY mode id without a profile.
    #[error("unknown-phy")]
    UnknownPhy(u8),
    /// A PSDU or ACK over [`PSDU_LEN_MAX`].
    #[error("psdu-too-long")]
    PsduTooLong,
    /// A text over [`TEXT_LEN_MAX`].
    #[error("text-too-long")]
    TextTooLong,
    /// A text to be written has a zero octet in it.
    #[error("text-has-zero")]
    TextHasZero,
    /// A channel mask over [`CHANNEL_MASK_LEN_MAX`](crate::channel_mask::CHANNEL_MASK_LEN_MAX).
    #[error("channel-mask-too-long")]
    ChannelMaskTooLong,
    /// More than [`RADIOS_MAX`] radios.
    #[error("too-many-radios")]
    TooManyRadios,
    /// Airtime for more channels than any plan has.
    #[error("too-many-channels")]
    TooManyChannels,
    /// The message does not fit in the room given.
    #[error("no-room")]
    NoRoom,
}

/// Room that holds any message, octets.
pub const MESSAGE_LEN_MAX: usize = PSDU_LEN_MAX + 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{channel_mask, framing::Framing, hdlc};

    #[test]
    fn any_message_fits_in_its_room_and_in_an_hdlc_frame() {
        let mut room = [0; MESSAGE_LEN_MAX];
        let psdu = [0; PSDU_LEN_MAX];
        let target = HopTarget::Broadcast;
        assert!(HostMessage::DataTx(DataTx { handle: 0, target, psdu: &psdu }).encode(&mut room).is_ok());
        let cnf = TxCnf {
            handle: 0,
            status: TxStatus::Ok,
            time_us: 0,
            lqi: 0,
            rssi_dbm: 0,
            channel: 0,
            cca_failures: 0,
            tries: 0,
            ack: &psdu,
        };
        assert!(RcpMessage::TxCnf(cnf).encode(&mut room).is_ok());
        const { assert!(MESSAGE_LEN_MAX <= hdlc::PAYLOAD_LEN_MAX) };
        // The other framing carries 2047: any message with a PSDU of the usual link MTU.
        assert!(MESSAGE_LEN_MAX > Framing::Wisun.payload_len_max());
        const { assert!(channel_mask::CHANNEL_MASK_LEN_MAX * 8 >= stats::CHANNELS_MAX) };
    }
}
