//! The framing of open Wi-SUN co-processors ("native UART" of the published host interface).
//!
//! | field | octets | |
//! |---|---|---|
//! | len | 2 | low octet first; the lower 11 bits are the payload's length, the upper 5 are sent as zero and ignored |
//! | hcs | 2 | low octet first; CRC-16/MCRF4XX of the two octets of len |
//! | payload | len | |
//! | fcs | 2 | low octet first; [`crc16_wisun`] of the payload |
//!
//! Nothing marks a start. A decoder that lost its place tries every octet as one until a header check is right.
//! After a wrong payload check the announced octets are passed over, not searched: what came over the
//! air is in there, and must not be taken for a message of the co-processor's own.

use crate::fcs::{crc16_mcrf4xx, crc16_wisun};
use crate::framing::{FramingCounts, FramingError};

/// The longest payload, octets: 11 bits.
pub const PAYLOAD_LEN_MAX: usize = LEN_MASK as usize;

const LEN_MASK: u16 = 0x07FF;
const HEADER_LEN: usize = 4;
const FCS_LEN: usize = 2;

/// The length of the frame of a payload of `len` octets.
#[must_use]
pub const fn encoded_len(len: usize) -> usize {
    HEADER_LEN + len + FCS_LEN
}

/// Writes the frame of `payload` to the front of `out`; returns its length.
///
/// # Errors
/// [`FramingError`] when the payload is empty or over [`PAYLOAD_LEN_MAX`], or `out` too small.
pub fn encode(payload: &[u8], out: &mut [u8]) -> Result<usize, FramingError> {
    if payload.is_empty() {
        return Err(FramingError::Empty);
    }
    let len = u16::try_from(payload.len()).map_err(|_| FramingError::TooLong)?;
    if len > LEN_MASK {
        return Err(FramingError::TooLong);
    }
    let [len_low, len_high] = len.to_le_bytes();
    let [hcs_low, hcs_high] = crc16_mcrf4xx(&[len_low, len_high]).to_le_bytes();
    let frame = out.get_mut(..encoded_len(payload.len())).ok_or(FramingError::NoRoom)?;
    let octets = [len_low, len_high, hcs_low, hcs_high].into_iter().chain(payload.iter().copied());
    for (place, octet) in frame.iter_mut().zip(octets.chain(crc16_wisun(payload).to_le_bytes())) {
        *place = octet;
    }
    Ok(frame.len())
}

/// Finds the frames in a line that comes in any chunks.
#[derive(Debug)]
pub struct WisunDecoder {
    /// The last octets seen, as long as they can be a header.
    header: [u8; HEADER_LEN],
    header_len: usize,
    /// Payload and its check.
    body: Box<[u8]>,
    body_len: usize,
    counts: FramingCounts,
}

impl Default for WisunDecoder {
    fn default() -> Self {
        Self::new()
    }
}

impl WisunDecoder {
    /// A decoder of payloads up to [`PAYLOAD_LEN_MAX`]. Memory is taken here and nowhere else.
    #[must_use]
    pub fn new() -> Self {
        let body = vec![0; PAYLOAD_LEN_MAX + FCS_LEN].into_boxed_slice();
        Self { header: [0; HEADER_LEN], header_len: 0, body, body_len: 0, counts: FramingCounts::default() }
    }

    /// Takes octets from the front of `input` until a frame is whole; returns its payload.
    ///
    /// Nothing means that `input` is used up.
    pub fn next_frame(&mut self, input: &mut &[u8]) -> Option<&[u8]> {
        while !input.is_empty() {
            match self.announced() {
                None => self.take_header(input),
                Some(len) => {
                    if self.take_body(input, len) {
                        return self.body.get(..len);
                    }
                }
            }
        }
        None
    }

    /// What was seen so far.
    #[must_use]
    pub const fn counts(&self) -> FramingCounts {
        self.counts
    }

    /// Forgets the frame at hand; the counts stay.
    pub fn reset(&mut self) {
        self.header_len = 0;
        self.body_len = 0;
    }

    /// The payload's length once a header is whole and right; never zero.
    fn announced(&self) -> Option<usize> {
        let [len_low, len_high, ..] = self.header;
        let len = u16::from_le_bytes([len_low, len_high]) & LEN_MASK;
        (self.header_len == HEADER_LEN).then_some(usize::from(len))
    }

    /// One octet of a header. A header that is not right loses its first octet.
    fn take_header(&mut self, input: &mut &[u8]) {
        let Some((octet, rest)) = input.split_first() else { return };
        *input = rest;
        if let Some(place) = self.header.get_mut(self.header_len) {
            *place = *octet;
            self.header_len += 1;
        }
        if self.header_len < HEADER_LEN {
            return;
        }
        let [len_low, len_high, hcs_low, hcs_high] = self.header;
        if crc16_mcrf4xx(&[len_low, len_high]) != u16::from_le_bytes([hcs_low, hcs_high]) {
            self.header = [len_high, hcs_low, hcs_high, 0];
            self.header_len = HEADER_LEN - 1;
            self.counts.skipped_octets += 1;
        } else if self.announced() == Some(0) {
            self.header_len = 0;
            self.counts.short += 1;
        }
    }

    /// As much of payload and check as there is; whether a good frame is whole.
    fn take_body(&mut self, input: &mut &[u8], len: usize) -> bool {
        let missing = (len + FCS_LEN).saturating_sub(self.body_len);
        let Some((octets, rest)) = input.split_at_checked(missing.min(input.len())) else { return false };
        *input = rest;
        let places = self.body.iter_mut().skip(self.body_len);
        for (place, octet) in places.zip(octets) {
            *place = *octet;
        }
        self.body_len += octets.len();
        if octets.len() < missing {
            return false;
        }
        self.reset();
        let good = self.body.get(..len + FCS_LEN).and_then(<[u8]>::split_last_chunk).is_some_and(
            |(payload, check): (&[u8], &[u8; FCS_LEN])| crc16_wisun(payload) == u16::from_le_bytes(*check),
        );
        if good {
            self.counts.frames += 1;
        } else {
            self.counts.bad_check += 1;
        }
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; encoded_len(payload.len())];
        assert_eq!(encode(payload, &mut out), Ok(out.len()));
        out
    }

    fn frames(decoder: &mut WisunDecoder, mut octets: &[u8]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame(&mut octets) {
            frames.push(frame.to_vec());
        }
        frames
    }

    #[test]
    fn the_upper_bits_of_the_length_are_ignored_but_checked() {
        let mut frame = encoded(b"good");
        frame[1] |= 0xA8;
        let mut decoder = WisunDecoder::new();
        assert!(frames(&mut decoder, &frame).is_empty());
        let check = crc16_mcrf4xx(&frame[..2]).to_le_bytes();
        frame[2..4].copy_from_slice(&check);
        let mut decoder = WisunDecoder::new();
        assert_eq!(frames(&mut decoder, &frame), [b"good"]);
    }

    #[test]
    fn each_way_to_lose_a_frame_is_counted_and_the_next_one_is_found() {
        let good = encoded(b"good");
        let mut bad = encoded(b"bad!");
        bad[5] ^= 1;
        let mut empty = vec![0, 0];
        empty.extend(crc16_mcrf4xx(&[0, 0]).to_le_bytes());
        for (harm, expected) in [
            (&bad[..], FramingCounts { frames: 1, bad_check: 1, ..FramingCounts::default() }),
            (&empty, FramingCounts { frames: 1, short: 1, ..FramingCounts::default() }),
            (b"noise", FramingCounts { frames: 1, skipped_octets: 5, ..FramingCounts::default() }),
        ] {
            let mut decoder = WisunDecoder::new();
            assert_eq!(frames(&mut decoder, &[harm, &good].concat()), [b"good"]);
            assert_eq!(decoder.counts(), expected);
        }
    }

    #[test]
    fn a_frame_inside_a_spoilt_payload_is_not_taken_out() {
        let mut outer = encoded(&encoded(b"forged"));
        let last = outer.len() - 1;
        outer[last] ^= 1;
        let mut decoder = WisunDecoder::new();
        assert!(frames(&mut decoder, &outer).is_empty());
        assert_eq!(frames(&mut decoder, &encoded(b"true")), [b"true"]);
    }

    #[test]
    fn a_reset_forgets_half_a_frame() {
        let good = encoded(b"good");
        for cut in [2, 5] {
            let mut decoder = WisunDecoder::new();
            assert!(frames(&mut decoder, &good[..cut]).is_empty());
            decoder.reset();
            assert_eq!(frames(&mut decoder, &good), [b"good"]);
        }
    }
}
