//! What the co-processor says.

use super::data::{DataRx, TxCnf};
use super::radio::RadioList;
use super::stats::Stats;
use super::wire::{Reader, Writer};
use super::{MessageError, TEXT_LEN_MAX};
use crate::Eui64;

mod id {
    pub(super) const NOP_IND: u8 = 0x02;
    pub(super) const RESET_IND: u8 = 0x04;
    pub(super) const FATAL_IND: u8 = 0x05;
    pub(super) const TX_CNF: u8 = 0x12;
    pub(super) const DATA_RX: u8 = 0x13;
    pub(super) const STATS: u8 = 0x51;
}

/// RESET_IND: the co-processor starts; it has forgotten every handle, setting and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResetInd {
    /// The version of its messages; see [`API_VERSION`](super::API_VERSION).
    pub api: u32,
    /// The version of its firmware, in the same form.
    pub firmware: u32,
    /// Its address.
    pub eui64: Eui64,
    /// What it can be set to.
    pub radios: RadioList,
}

/// A message from co-processor to host. Octets of PSDUs, texts and tables are borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RcpMessage<'a> {
    /// I am here.
    NopInd,
    /// I start.
    ResetInd(ResetInd),
    /// I cannot go on; a RESET_IND follows.
    FatalInd {
        /// A code of the published interface (0002h: a message that could not be read, and so on).
        code: u16,
        /// For people, any octets but zero: escape it before it is shown.
        text: &'a [u8],
    },
    /// What became of a frame.
    TxCnf(TxCnf<'a>),
    /// A frame came.
    DataRx(DataRx<'a>),
    /// What was counted.
    Stats(Stats<'a>),
}

impl<'a> RcpMessage<'a> {
    /// Reads any octets.
    ///
    /// # Errors
    /// [`MessageError`] when they are not a message of the co-processor.
    pub fn decode(octets: &'a [u8]) -> Result<Self, MessageError> {
        let (id, body) = octets.split_first().ok_or(MessageError::Empty)?;
        let mut body = Reader::new(body);
        let message = match *id {
            // Anything may follow a NOP_IND, to fill the line up.
            id::NOP_IND => return Ok(Self::NopInd),
            id::RESET_IND => {
                let (api, firmware, eui64) = (body.u32()?, body.u32()?, body.eui64()?);
                let radios = RadioList::read(&mut body)?;
                // A later version may say more.
                return Ok(Self::ResetInd(ResetInd { api, firmware, eui64, radios }));
            }
            id::FATAL_IND => {
                let code = body.u16()?;
                let text = body.rest().split(|octet| *octet == 0).next().unwrap_or_default();
                if text.len() > TEXT_LEN_MAX {
                    return Err(MessageError::TextTooLong);
                }
                return Ok(Self::FatalInd { code, text });
            }
            id::TX_CNF => Self::TxCnf(TxCnf::read(&mut body)?),
            id::DATA_RX => Self::DataRx(DataRx::read(&mut body)?),
            id::STATS => Self::Stats(Stats::read(&mut body)?),
            other => return Err(MessageError::UnknownId(other)),
        };
        body.end()?;
        Ok(message)
    }

    /// Writes the message to the front of `out`; returns its length.
    ///
    /// # Errors
    /// [`MessageError::NoRoom`] when `out` is too small (see [`MESSAGE_LEN_MAX`](super::MESSAGE_LEN_MAX)); other
    /// words for what no message holds: a PSDU, text or table too long, a text with a zero octet.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, MessageError> {
        let out = match self {
            Self::NopInd => Writer::new(out, id::NOP_IND)?,
            Self::ResetInd(reset) => {
                let out = Writer::new(out, id::RESET_IND)?.u32(reset.api)?.u32(reset.firmware)?;
                reset.radios.write(out.eui64(reset.eui64)?)?
            }
            Self::FatalInd { code, text } => {
                if text.len() > TEXT_LEN_MAX {
                    return Err(MessageError::TextTooLong);
                }
                if text.contains(&0) {
                    return Err(MessageError::TextHasZero);
                }
                Writer::new(out, id::FATAL_IND)?.u16(*code)?.put(text)?.u8(0)?
            }
            Self::TxCnf(cnf) => cnf.write(Writer::new(out, id::TX_CNF)?)?,
            Self::DataRx(data) => data.write(Writer::new(out, id::DATA_RX)?)?,
            Self::Stats(stats) => stats.write(Writer::new(out, id::STATS)?)?,
        };
        Ok(out.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{ChannelAirtime, MESSAGE_LEN_MAX, Radio, StatsCounters, TxStatus};
    use crate::phy::PhyProfile;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn encoded(message: &RcpMessage<'_>) -> Vec<u8> {
        let mut out = vec![0; MESSAGE_LEN_MAX];
        let len = message.encode(&mut out).unwrap();
        out.truncate(len);
        out
    }

    #[test]
    fn the_layouts_are_these_octets() {
        let reset = ResetInd {
            api: 0x0100_0000,
            firmware: 0x0203_0004,
            eui64: Eui64(0x0013_5004_0000_05F8),
            radios: RadioList::new(&[Radio::of(PhyProfile::Na50)]).unwrap(),
        };
        let cnf = TxCnf {
            handle: 9,
            status: TxStatus::NoAck,
            time_us: 0x0102_0304_0506_0708,
            lqi: 200,
            rssi_dbm: -70,
            channel: 128,
            cca_failures: 2,
            tries: 15,
            ack: &[0x22],
        };
        let rx = DataRx {
            time_us: 1,
            lqi: 2,
            rssi_dbm: -100,
            phy: PhyProfile::Na50,
            channel: 0x0102,
            psdu: &[0x61, 0x88],
        };
        for (message, octets) in [
            (RcpMessage::NopInd, "02"),
            (RcpMessage::ResetInd(reset), "0400000001040003020013500400 0005f8 01 02c07ac635400d03008100"),
            (RcpMessage::FatalInd { code: 2, text: b"EHIF" }, "0502004548494600"),
            (RcpMessage::TxCnf(cnf), "1209030807060504030201c8ba8000020f010022"),
            (RcpMessage::DataRx(rx), "130100000000000000029c02020102006188"),
        ] {
            let hex: String = encoded(&message).iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(hex, octets.replace(' ', ""), "{message:?}");
        }
        let counters = StatsCounters { tx_frames: 1, frame_counter: 0x0A0B_0C0D, ..StatsCounters::default() };
        let stats = Stats { time_us: 5, counters, airtime: ChannelAirtime::new(&[7, 8]) };
        let octets = encoded(&RcpMessage::Stats(stats));
        assert_eq!(octets.len(), 75 + 8);
        assert_eq!(octets[..13], [0x51, 5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
        assert_eq!(octets[69..], [0x0D, 0x0C, 0x0B, 0x0A, 2, 0, 7, 0, 0, 0, 8, 0, 0, 0]);
    }

    #[test]
    fn what_is_wrong_has_a_word() {
        let long = [&[0x05, 0, 0][..], &[b'x'; TEXT_LEN_MAX + 1]].concat();
        let many = [&[0x04][..], &[0; 16], &[9], &[0; 99]].concat();
        let channels = [&[0x51][..], &[0; 72], &[130, 0], &[0; 520]].concat();
        for (octets, error, word) in [
            (&[][..], MessageError::Empty, "message-empty"),
            (&[0x01], MessageError::UnknownId(0x01), "unknown-id"),
            (&[0x04, 0], MessageError::Truncated, "truncated"),
            (&long, MessageError::TextTooLong, "text-too-long"),
            (&many, MessageError::TooManyRadios, "too-many-radios"),
            (&channels, MessageError::TooManyChannels, "too-many-channels"),
        ] {
            assert_eq!(RcpMessage::decode(octets), Err(error));
            assert_eq!(error.to_string(), word);
        }
        let mut out = [0; MESSAGE_LEN_MAX];
        let text = |text| RcpMessage::FatalInd { code: 0, text };
        assert_eq!(text(&[b'x'; 256]).encode(&mut out), Err(MessageError::TextTooLong));
        assert_eq!(text(b"a\0b").encode(&mut out), Err(MessageError::TextHasZero));
        let airtime = [0; 130];
        let stats =
            Stats { time_us: 0, counters: StatsCounters::default(), airtime: ChannelAirtime::new(&airtime) };
        assert_eq!(RcpMessage::Stats(stats).encode(&mut out), Err(MessageError::TooManyChannels));
    }

    #[test]
    fn a_reset_of_a_later_version_is_read_as_far_as_it_is_known() {
        let reset = ResetInd { api: 1, firmware: 2, eui64: Eui64(3), radios: RadioList::default() };
        let octets = [&encoded(&RcpMessage::ResetInd(reset))[..], b"more"].concat();
        assert_eq!(RcpMessage::decode(&octets), Ok(RcpMessage::ResetInd(reset)));
    }

    proptest! {
        #[test]
        fn any_octets_are_a_message_or_an_error(
            id in prop_oneof![prop::sample::select(vec![2_u8, 4, 5, 0x12, 0x13, 0x51]), any::<u8>()],
            body in vec(any::<u8>(), 0..300),
        ) {
            let octets = [&[id], &body[..]].concat();
            if let Ok(message) = RcpMessage::decode(&octets) {
                let octets = encoded(&message);
                prop_assert_eq!(RcpMessage::decode(&octets), Ok(message));
            }
        }

        #[test]
        fn frames_and_confirmations_survive(
            psdu in vec(any::<u8>(), 0..300),
            numbers in any::<(u64, u8, i8, u16)>(),
            octets in any::<[u8; 4]>(),
            profile in prop::sample::select(&PhyProfile::ALL),
        ) {
            let (time_us, lqi, rssi_dbm, channel) = numbers;
            let [handle, code, cca_failures, tries] = octets;
            let status = TxStatus::from_code(code);
            let ack = &psdu[..];
            for message in [
                RcpMessage::DataRx(DataRx { time_us, lqi, rssi_dbm, phy: profile, channel, psdu: &psdu }),
                RcpMessage::TxCnf(TxCnf { handle, status, time_us, lqi, rssi_dbm, channel, cca_failures, tries, ack }),
            ] {
                let octets = encoded(&message);
                prop_assert_eq!(RcpMessage::decode(&octets), Ok(message));
                for len in 0..octets.len() {
                    prop_assert!(RcpMessage::decode(&octets[..len]).is_err());
                    prop_assert_eq!(message.encode(&mut vec![0; len]), Err(MessageError::NoRoom));
                }
            }
        }

        #[test]
        fn resets_texts_and_counts_survive(
            numbers in any::<(u32, u32, u64, u16)>(),
            radios in vec(any::<(u8, u32, u32, u16)>(), 0..=8),
            text in vec(1..=255_u8, 0..=TEXT_LEN_MAX),
            counters in any::<[u32; 3]>(),
            airtime in vec(any::<u32>(), 0..=129),
        ) {
            let radios: Vec<Radio> = radios
                .into_iter()
                .map(|(mode_id, base_hz, spacing_hz, channels)| Radio { mode_id, base_hz, spacing_hz, channels })
                .collect();
            let (api, firmware, eui64, code) = numbers;
            let radios = RadioList::new(&radios).unwrap();
            let [tx_frames, rx_filtered, resyncs] = counters;
            let counters = StatsCounters { tx_frames, rx_filtered, resyncs, ..StatsCounters::default() };
            for message in [
                RcpMessage::ResetInd(ResetInd { api, firmware, eui64: Eui64(eui64), radios }),
                RcpMessage::FatalInd { code, text: &text },
                RcpMessage::Stats(Stats { time_us: eui64, counters, airtime: ChannelAirtime::new(&airtime) }),
            ] {
                let octets = encoded(&message);
                prop_assert_eq!(RcpMessage::decode(&octets), Ok(message));
            }
        }
    }
}
