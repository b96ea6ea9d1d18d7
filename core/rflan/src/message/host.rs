//! What the host says.

use super::MessageError;
use super::data::{DataTx, read_phy};
use super::link_key::{LINK_KEY_LEN, LinkKey};
use super::wire::{Reader, Writer};
use crate::Eui64;
use crate::channel_mask::CHANNEL_MASK_LEN_MAX;
use crate::phy::PhyProfile;

mod id {
    pub(super) const NOP: u8 = 0x01;
    pub(super) const RESET: u8 = 0x03;
    pub(super) const DATA_TX: u8 = 0x10;
    pub(super) const TX_ABORT: u8 = 0x11;
    pub(super) const SET_RADIO: u8 = 0x23;
    pub(super) const TX_POWER: u8 = 0x25;
    pub(super) const CSMA: u8 = 0x27;
    pub(super) const HOP_UNICAST: u8 = 0x30;
    pub(super) const HOP_BROADCAST: u8 = 0x31;
    pub(super) const LINK_KEY: u8 = 0x40;
    pub(super) const STATS: u8 = 0x50;
}

/// On the wire: follow nobody.
const NO_PARENT: Eui64 = Eui64(u64::MAX);

/// CSMA: when a channel counts as free, and how often to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Csma {
    /// The unit of a backoff, microseconds; 0 takes the PHY's own.
    pub backoff_unit_us: u16,
    /// The first backoff exponent.
    pub be_min: u8,
    /// The last backoff exponent.
    pub be_max: u8,
    /// Looks at the channel after the first, before it counts as busy.
    pub cca_retries: u8,
    /// Sends after the first, before a frame fails for want of an ACK.
    pub frame_retries: u8,
}

impl Default for Csma {
    /// BE 3 to 5, 8 more looks, 15 sends in all.
    fn default() -> Self {
        Self { backoff_unit_us: 0, be_min: 3, be_max: 5, cca_retries: 8, frame_retries: 14 }
    }
}

/// HOP_BROADCAST: the broadcast schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HopBroadcast {
    /// From one window to the next, milliseconds.
    pub interval_ms: u32,
    /// A window, milliseconds.
    pub dwell_ms: u16,
    /// The cell.
    pub cell: u16,
    /// Whose timing to follow, frame by frame; a relay follows nobody and leads.
    pub parent: Option<Eui64>,
}

/// A message from host to co-processor. Octets of PSDUs and masks are borrowed.
#[derive(Debug, PartialEq, Eq)]
pub enum HostMessage<'a> {
    /// I am here.
    Nop,
    /// Start anew.
    Reset {
        /// Stay in the boot loader.
        bootloader: bool,
    },
    /// Send a frame.
    DataTx(DataTx<'a>),
    /// Give up a frame; its TX_CNF comes all the same.
    TxAbort {
        /// As in DATA_TX.
        handle: u8,
    },
    /// Choose a PHY. The radio listens from the first HOP_UNICAST after it.
    SetRadio {
        /// Rate, modulation and channels.
        profile: PhyProfile,
    },
    /// The most power to send with.
    TxPower {
        /// dBm.
        dbm: i8,
    },
    /// How to find a free channel.
    Csma(Csma),
    /// The own unicast schedule and, for every peer, the channels in use.
    HopUnicast {
        /// A slot, milliseconds.
        dwell_ms: u8,
        /// See [`ChannelMask`](crate::channel_mask::ChannelMask).
        mask: &'a [u8],
    },
    /// The broadcast schedule.
    HopBroadcast(HopBroadcast),
    /// A key of link security. Wipe what it was encoded into.
    LinkKey {
        /// The key index of 802.15.4, 1 to 255.
        index: u8,
        /// The key.
        key: LinkKey,
        /// The counter of the next secured frame: above any that was used with this key.
        frame_counter: u32,
    },
    /// Tell what was counted.
    Stats,
}

impl<'a> HostMessage<'a> {
    /// Reads any octets.
    ///
    /// # Errors
    /// [`MessageError`] when they are not a message of the host.
    pub fn decode(octets: &'a [u8]) -> Result<Self, MessageError> {
        let (id, body) = octets.split_first().ok_or(MessageError::Empty)?;
        let mut body = Reader::new(body);
        let message = match *id {
            // Anything may follow a NOP, to fill the line up.
            id::NOP => return Ok(Self::Nop),
            id::RESET => Self::Reset { bootloader: body.u8()? & 1 == 1 },
            id::DATA_TX => Self::DataTx(DataTx::read(&mut body)?),
            id::TX_ABORT => Self::TxAbort { handle: body.u8()? },
            id::SET_RADIO => Self::SetRadio { profile: read_phy(&mut body)? },
            id::TX_POWER => Self::TxPower { dbm: body.i8()? },
            id::CSMA => Self::Csma(Csma {
                backoff_unit_us: body.u16()?,
                be_min: body.u8()?,
                be_max: body.u8()?,
                cca_retries: body.u8()?,
                frame_retries: body.u8()?,
            }),
            id::HOP_UNICAST => {
                let dwell_ms = body.u8()?;
                let len = usize::from(body.u8()?);
                if len > CHANNEL_MASK_LEN_MAX {
                    return Err(MessageError::ChannelMaskTooLong);
                }
                Self::HopUnicast { dwell_ms, mask: body.octets(len)? }
            }
            id::HOP_BROADCAST => Self::HopBroadcast(HopBroadcast {
                interval_ms: body.u32()?,
                dwell_ms: body.u16()?,
                cell: body.u16()?,
                parent: Some(body.eui64()?).filter(|parent| *parent != NO_PARENT),
            }),
            id::LINK_KEY => {
                let index = body.u8()?;
                let key = LinkKey::take(&mut body.array::<LINK_KEY_LEN>()?);
                Self::LinkKey { index, key, frame_counter: body.u32()? }
            }
            id::STATS => Self::Stats,
            other => return Err(MessageError::UnknownId(other)),
        };
        body.end()?;
        Ok(message)
    }

    /// Writes the message to the front of `out`; returns its length.
    ///
    /// # Errors
    /// [`MessageError::NoRoom`] when `out` is too small (see [`MESSAGE_LEN_MAX`](super::MESSAGE_LEN_MAX));
    /// [`MessageError::PsduTooLong`] and [`MessageError::ChannelMaskTooLong`] for what no message holds.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, MessageError> {
        let out = match self {
            Self::Nop => Writer::new(out, id::NOP)?,
            Self::Reset { bootloader } => Writer::new(out, id::RESET)?.u8(u8::from(*bootloader))?,
            Self::DataTx(data) => data.write(Writer::new(out, id::DATA_TX)?)?,
            Self::TxAbort { handle } => Writer::new(out, id::TX_ABORT)?.u8(*handle)?,
            Self::SetRadio { profile } => Writer::new(out, id::SET_RADIO)?.u8(profile.mode_id())?,
            Self::TxPower { dbm } => Writer::new(out, id::TX_POWER)?.i8(*dbm)?,
            Self::Csma(csma) => {
                let out = Writer::new(out, id::CSMA)?.u16(csma.backoff_unit_us)?;
                out.u8(csma.be_min)?.u8(csma.be_max)?.u8(csma.cca_retries)?.u8(csma.frame_retries)?
            }
            Self::HopUnicast { dwell_ms, mask } => {
                if mask.len() > CHANNEL_MASK_LEN_MAX {
                    return Err(MessageError::ChannelMaskTooLong);
                }
                Writer::new(out, id::HOP_UNICAST)?.u8(*dwell_ms)?.u8(mask.len() as u8)?.put(mask)?
            }
            Self::HopBroadcast(hop) => {
                let out = Writer::new(out, id::HOP_BROADCAST)?.u32(hop.interval_ms)?.u16(hop.dwell_ms)?;
                out.u16(hop.cell)?.eui64(hop.parent.unwrap_or(NO_PARENT))?
            }
            Self::LinkKey { index, key, frame_counter } => {
                Writer::new(out, id::LINK_KEY)?.u8(*index)?.put(key.octets())?.u32(*frame_counter)?
            }
            Self::Stats => Writer::new(out, id::STATS)?,
        };
        Ok(out.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hop::SlotFraction;
    use crate::message::{HopTarget, MESSAGE_LEN_MAX, PSDU_LEN_MAX};
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn encoded(message: &HostMessage<'_>) -> Vec<u8> {
        let mut out = vec![0; MESSAGE_LEN_MAX];
        let len = message.encode(&mut out).unwrap();
        out.truncate(len);
        out
    }

    #[test]
    fn the_layouts_are_these_octets() {
        let target = HopTarget::Unicast {
            time_us: 0x0102_0304_0506_0708,
            fraction: SlotFraction::from_u24(0x0A_0B0C),
            dwell_ms: 255,
        };
        let parent = Some(Eui64(0x0013_5004_0000_05F8));
        let hop = HopBroadcast { interval_ms: 1020, dwell_ms: 255, cell: 0x1234, parent };
        let key = || LinkKey::take(&mut [0xAA; 16]);
        for (message, octets) in [
            (HostMessage::Nop, "01"),
            (HostMessage::Reset { bootloader: false }, "0300"),
            (
                HostMessage::DataTx(DataTx { handle: 9, target, psdu: &[0x61, 0x88] }),
                "1009000008070605040302010c0b0aff02006188",
            ),
            (
                HostMessage::DataTx(DataTx { handle: 9, target: HopTarget::Async, psdu: &[] }),
                "100904000000000000000000000000000000",
            ),
            (HostMessage::TxAbort { handle: 9 }, "1109"),
            (HostMessage::SetRadio { profile: PhyProfile::Na150 }, "2305"),
            (HostMessage::TxPower { dbm: -3 }, "25fd"),
            (HostMessage::Csma(Csma::default()), "2700000305080e"),
            (HostMessage::HopUnicast { dwell_ms: 255, mask: &[1, 2] }, "30ff020102"),
            (HostMessage::HopBroadcast(hop), "31fc030000ff003412001350040000 05f8"),
            (
                HostMessage::HopBroadcast(HopBroadcast { parent: None, ..hop }),
                "31fc030000ff003412ffffffffffffffff",
            ),
            (
                HostMessage::LinkKey { index: 1, key: key(), frame_counter: 0x0102_0304 },
                "4001aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa04030201",
            ),
            (HostMessage::Stats, "50"),
        ] {
            let hex: String = encoded(&message).iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(hex, octets.replace(' ', ""), "{message:?}");
        }
    }

    #[test]
    fn what_is_wrong_has_a_word() {
        for (octets, error, word) in [
            (&[][..], MessageError::Empty, "message-empty"),
            (&[0x02], MessageError::UnknownId(0x02), "unknown-id"),
            (&[0x11], MessageError::Truncated, "truncated"),
            (&[0x11, 1, 2], MessageError::TrailingOctets, "trailing-octets"),
            (&[0x23, 0x77], MessageError::UnknownPhy(0x77), "unknown-phy"),
            (&[0x30, 255, 18], MessageError::ChannelMaskTooLong, "channel-mask-too-long"),
            (
                &[0x10, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                MessageError::UnknownHopType(2),
                "unknown-hop-type",
            ),
            (
                &[0x10, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFC, 7],
                MessageError::PsduTooLong,
                "psdu-too-long",
            ),
        ] {
            assert_eq!(HostMessage::decode(octets), Err(error));
            assert_eq!(error.to_string(), word);
        }
        assert_eq!(HostMessage::decode(&[1, 2, 3]), Ok(HostMessage::Nop));
        let psdu = [0; PSDU_LEN_MAX + 1];
        let data = HostMessage::DataTx(DataTx { handle: 0, target: HopTarget::Async, psdu: &psdu });
        assert_eq!(data.encode(&mut [0; 4096]), Err(MessageError::PsduTooLong));
    }

    #[test]
    fn a_key_is_in_no_debug_text() {
        let message =
            HostMessage::LinkKey { index: 1, key: LinkKey::take(&mut [0xAB; 16]), frame_counter: 7 };
        let text = format!("{message:?} {:?}", HostMessage::decode(&encoded(&message)));
        assert!(text.contains("LinkKey(..)") && !text.contains("171") && !text.contains("ab"), "{text}");
    }

    proptest! {
        #[test]
        fn any_octets_are_a_message_or_an_error(
            id in prop_oneof![prop::sample::select(vec![0x10_u8, 0x27, 0x30, 0x31, 0x40]), any::<u8>()],
            body in vec(any::<u8>(), 0..80),
        ) {
            let octets = [&[id], &body[..]].concat();
            if let Ok(message) = HostMessage::decode(&octets) {
                // What was understood can be said again, and means the same.
                let again = encoded(&message);
                prop_assert_eq!(HostMessage::decode(&again), Ok(message));
            }
        }

        #[test]
        fn every_message_survives_and_no_shorter_one_is_read(
            psdu in vec(any::<u8>(), 0..300),
            mask in vec(any::<u8>(), 0..=CHANNEL_MASK_LEN_MAX),
            (time_us, bits, backoff_unit_us, dbm) in any::<(u64, u32, u16, i8)>(),
            [handle, dwell_ms, be_min, be_max, cca_retries, frame_retries] in any::<[u8; 6]>(),
            mut key in any::<[u8; 16]>(),
        ) {
            let unicast = HopTarget::Unicast { time_us, fraction: SlotFraction::from_u24(bits), dwell_ms };
            let (interval_ms, parent) = (bits, Some(Eui64(time_us)).filter(|parent| *parent != NO_PARENT));
            let hop = HopBroadcast { interval_ms, dwell_ms: backoff_unit_us, cell: backoff_unit_us, parent };
            for message in [
                HostMessage::Reset { bootloader: handle > 127 },
                HostMessage::DataTx(DataTx { handle, target: unicast, psdu: &psdu }),
                HostMessage::DataTx(DataTx { handle, target: HopTarget::Broadcast, psdu: &psdu }),
                HostMessage::DataTx(DataTx { handle, target: HopTarget::Async, psdu: &psdu }),
                HostMessage::TxAbort { handle },
                HostMessage::SetRadio { profile: PhyProfile::ALL[usize::from(handle % 2)] },
                HostMessage::TxPower { dbm },
                HostMessage::Csma(Csma { backoff_unit_us, be_min, be_max, cca_retries, frame_retries }),
                HostMessage::HopUnicast { dwell_ms, mask: &mask },
                HostMessage::HopBroadcast(hop),
                HostMessage::HopBroadcast(HopBroadcast { parent: None, ..hop }),
                HostMessage::LinkKey { index: handle, key: LinkKey::take(&mut key), frame_counter: bits },
                HostMessage::Stats,
            ] {
                let octets = encoded(&message);
                let read = HostMessage::decode(&octets);
                prop_assert_eq!(read.as_ref(), Ok(&message));
                for len in 0..octets.len() {
                    prop_assert!(HostMessage::decode(&octets[..len]).is_err());
                    prop_assert_eq!(message.encode(&mut vec![0; len]), Err(MessageError::NoRoom));
                }
            }
        }
    }
}
