//! Captures of the air: pcap with link type 283, IEEE 802.15.4 TAP.
//!
//! Octets are appended to a buffer; the caller writes them where it likes. Wireshark reads the result, FCS-32
//! and channel included.

use crate::phy::PhyProfile;

/// LINKTYPE_IEEE802_15_4_TAP.
pub const LINK_TYPE: u32 = 283;

/// Magic of a pcap file whose times are in nanoseconds, low octet first.
const MAGIC_NANOSECONDS: u32 = 0xA1B2_3C4D;
const VERSION: [u16; 2] = [2, 4];
const SNAP_LEN: u32 = 65_535;
const NS_PER_S: u64 = 1_000_000_000;

const TLV_FCS_TYPE: u16 = 0;
const TLV_RSS: u16 = 1;
const TLV_BIT_RATE: u16 = 2;
const TLV_CHANNEL_ASSIGNMENT: u16 = 3;
const TLV_CHANNEL_CENTER_FREQUENCY: u16 = 11;
const TLV_CHANNEL_PLAN: u16 = 12;
/// FCS type: four octets.
const FCS_32: u8 = 2;
/// Channel page of the SUN PHYs.
const CHANNEL_PAGE: u8 = 9;
const TAP_HEADER_LEN: u16 = 4;

/// Appends the head of a capture file.
pub fn write_head(out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC_NANOSECONDS.to_le_bytes());
    for part in VERSION {
        out.extend_from_slice(&part.to_le_bytes());
    }
    // Time zone and accuracy are zero.
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&SNAP_LEN.to_le_bytes());
    out.extend_from_slice(&LINK_TYPE.to_le_bytes());
}

/// How a frame was on the air.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reception {
    /// When, nanoseconds since 1970; a capture file counts seconds in 32 bits.
    pub at_ns: u64,
    /// The profile of the radio.
    pub profile: PhyProfile,
    /// The channel, counted from zero.
    pub channel: u16,
    /// The received signal strength, dBm; nothing for a frame that was sent.
    pub rss_dbm: Option<f32>,
}

/// Appends one frame; `psdu` includes its FCS-32. What is past 2047 octets, the most a PHR names, is left out.
pub fn write_frame(reception: &Reception, psdu: &[u8], out: &mut Vec<u8>) {
    let psdu = psdu.get(..usize::from(crate::phy::PSDU_LEN_MAX)).unwrap_or(psdu);
    let seconds = u32::try_from(reception.at_ns / NS_PER_S).unwrap_or(u32::MAX);
    let tap_len = TAP_HEADER_LEN + if reception.rss_dbm.is_some() { 8 } else { 0 } + 8 + 8 + 8 + 8 + 16;
    let len = u32::from(tap_len) + psdu.len() as u32;
    out.extend_from_slice(&seconds.to_le_bytes());
    out.extend_from_slice(&((reception.at_ns % NS_PER_S) as u32).to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&len.to_le_bytes());
    // TAP version 0, reserved, length.
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&tap_len.to_le_bytes());
    let profile = reception.profile;
    write_tlv(TLV_FCS_TYPE, &[FCS_32], out);
    if let Some(rss_dbm) = reception.rss_dbm {
        write_tlv(TLV_RSS, &rss_dbm.to_le_bytes(), out);
    }
    write_tlv(TLV_BIT_RATE, &profile.rate().to_le_bytes(), out);
    let [low, high] = reception.channel.to_le_bytes();
    write_tlv(TLV_CHANNEL_ASSIGNMENT, &[low, high, CHANNEL_PAGE], out);
    let frequency = profile.frequency_hz(reception.channel).unwrap_or(0);
    write_tlv(TLV_CHANNEL_CENTER_FREQUENCY, &khz(frequency), out);
    let ([b0, b1, b2, b3], [s0, s1, s2, s3]) = (khz(profile.base_hz()), khz(profile.spacing_hz()));
    let [low, high] = profile.channels().to_le_bytes();
    write_tlv(TLV_CHANNEL_PLAN, &[b0, b1, b2, b3, s0, s1, s2, s3, low, high], out);
    out.extend_from_slice(psdu);
}

/// Appends a TLV and its padding to four octets.
fn write_tlv(kind: u16, value: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    out.extend(core::iter::repeat_n(0, value.len().next_multiple_of(4) - value.len()));
}

/// Kilohertz as the format has them. Channels lie on whole multiples of 100 kHz, which a float holds exactly.
fn khz(hz: u32) -> [u8; 4] {
    ((hz / 1000) as f32).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_agree_with_what_is_written() {
        for rss_dbm in [None, Some(-80.5)] {
            let mut out = Vec::new();
            let reception =
                Reception { at_ns: 1_500_000_007, profile: PhyProfile::Na50, channel: 128, rss_dbm };
            write_frame(&reception, &[0xAA; 30], &mut out);
            assert_eq!(out[..8], [1, 0, 0, 0, 0x07, 0x65, 0xCD, 0x1D]);
            assert_eq!(out[8..12], ((out.len() - 16) as u32).to_le_bytes());
            assert_eq!(out[18..20], ((out.len() - 16 - 30) as u16).to_le_bytes());
        }
    }

    #[test]
    fn a_frame_that_no_phr_can_name_is_cut() {
        let mut out = Vec::new();
        let reception =
            Reception { at_ns: u64::MAX, profile: PhyProfile::Na150, channel: 999, rss_dbm: None };
        write_frame(&reception, &[0; 3000], &mut out);
        assert_eq!(out.len(), 16 + 52 + 2047);
    }
}
