//! HDLC-lite: flags, escapes and FCS-16, as in OpenThread co-processors (after RFC 1662).
//!
//! A frame is 7Eh, payload and FCS-16/X.25 (low octet first) with escapes, 7Eh. Escaped as 7Dh and the octet
//! XOR 20h: 7Eh, 7Dh, 11h and 13h (software flow control), F8h (a vendor's command octet).
//!
//! The check finds any one flipped bit of payload or check. A flip that makes or unmakes a flag or an escape changes the
//! length; of those one in 65 536 passes, so that what a message says is still to be held against its limits.

use crate::fcs::{Fcs16, fcs16};
use crate::framing::{FramingCounts, FramingError};

/// The longest payload, octets: a message with the longest PSDU that a PHR can name.
pub const PAYLOAD_LEN_MAX: usize = 2064;

const FLAG: u8 = 0x7E;
const ESCAPE: u8 = 0x7D;
const ESCAPE_XOR: u8 = 0x20;
const FCS_LEN: usize = 2;

const fn must_escape(octet: u8) -> bool {
    matches!(octet, FLAG | ESCAPE | 0x11 | 0x13 | 0xF8)
}

/// Room for the frame of any payload of `len` octets: all of it escaped, and two flags.
#[must_use]
pub const fn encoded_len_max(len: usize) -> usize {
    (len + FCS_LEN) * 2 + 2
}

/// Writes the frame of `payload` to the front of `out`; returns its length.
///
/// # Errors
/// [`FramingError`] when the payload is empty or over [`PAYLOAD_LEN_MAX`], or `out` too small.
pub fn encode(payload: &[u8], out: &mut [u8]) -> Result<usize, FramingError> {
    if payload.is_empty() {
        return Err(FramingError::Empty);
    }
    if payload.len() > PAYLOAD_LEN_MAX {
        return Err(FramingError::TooLong);
    }
    let room = out.len();
    let mut out = out.iter_mut();
    let mut put = |octet: u8| out.next().map(|place| *place = octet).ok_or(FramingError::NoRoom);
    put(FLAG)?;
    for octet in payload.iter().copied().chain(fcs16(payload).to_le_bytes()) {
        if must_escape(octet) {
            put(ESCAPE)?;
            put(octet ^ ESCAPE_XOR)?;
        } else {
            put(octet)?;
        }
    }
    put(FLAG)?;
    Ok(room - out.len())
}

/// Where in the line the decoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before a flag: octets are passed over.
    Hunt,
    /// After a flag.
    Frame,
    /// After a flag, and the last octet was an escape.
    Escaped,
}

/// Finds the frames in a line that comes in any chunks.
#[derive(Debug)]
pub struct HdlcDecoder {
    buffer: Box<[u8]>,
    len: usize,
    fcs: Fcs16,
    state: State,
    counts: FramingCounts,
}

impl HdlcDecoder {
    /// A decoder of payloads up to `payload_len_max` octets. Memory is taken here and nowhere else.
    #[must_use]
    pub fn new(payload_len_max: usize) -> Self {
        let buffer = vec![0; payload_len_max.saturating_add(FCS_LEN)].into_boxed_slice();
        Self { buffer, len: 0, fcs: Fcs16::new(), state: State::Hunt, counts: FramingCounts::default() }
    }

    /// Takes octets from the front of `input` until a frame is whole; returns its payload.
    ///
    /// Nothing means that `input` is used up.
    pub fn next_frame(&mut self, input: &mut &[u8]) -> Option<&[u8]> {
        while let Some((octet, rest)) = input.split_first() {
            *input = rest;
            if let Some(len) = self.take(*octet) {
                return self.buffer.get(..len);
            }
        }
        None
    }

    /// What was seen so far.
    #[must_use]
    pub const fn counts(&self) -> FramingCounts {
        self.counts
    }

    /// Forgets the frame at hand and waits for a flag; the counts stay.
    pub fn reset(&mut self) {
        self.start(State::Hunt);
    }

    fn start(&mut self, state: State) {
        self.state = state;
        self.len = 0;
        self.fcs = Fcs16::new();
    }

    /// One octet; the payload's length when a frame is whole.
    fn take(&mut self, octet: u8) -> Option<usize> {
        match (self.state, octet) {
            (State::Hunt, FLAG) => self.start(State::Frame),
            (State::Hunt, _) => self.counts.skipped_octets += 1,
            (State::Frame, FLAG) => return self.finish(),
            (State::Escaped, FLAG) => {
                self.counts.aborted += 1;
                self.start(State::Frame);
            }
            (State::Frame, ESCAPE) => self.state = State::Escaped,
            (State::Frame, _) => self.store(octet),
            (State::Escaped, _) => {
                self.state = State::Frame;
                self.store(octet ^ ESCAPE_XOR);
            }
        }
        None
    }

    fn store(&mut self, octet: u8) {
        let Some(place) = self.buffer.get_mut(self.len) else {
            self.counts.too_long += 1;
            self.start(State::Hunt);
            return;
        };
        *place = octet;
        self.len += 1;
        self.fcs.update(octet);
    }

    fn finish(&mut self) -> Option<usize> {
        let (len, good) = (self.len, self.fcs.is_good());
        // The closing flag of one frame may be the opening one of the next.
        self.start(State::Frame);
        if len == 0 {
            return None;
        }
        if len <= FCS_LEN {
            self.counts.short += 1;
            return None;
        }
        if !good {
            self.counts.bad_check += 1;
            return None;
        }
        self.counts.frames += 1;
        Some(len - FCS_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(payload: &[u8]) -> Vec<u8> {
        let mut out = vec![0; encoded_len_max(payload.len())];
        let len = encode(payload, &mut out).unwrap();
        out.truncate(len);
        out
    }

    fn frames(decoder: &mut HdlcDecoder, mut octets: &[u8]) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(frame) = decoder.next_frame(&mut octets) {
            frames.push(frame.to_vec());
        }
        frames
    }

    #[test]
    fn five_octets_are_escaped_and_no_other() {
        for octet in 0..=u8::MAX {
            let escaped = encoded(&[octet])[1] == ESCAPE;
            assert_eq!(escaped, [0x7E, 0x7D, 0x11, 0x13, 0xF8].contains(&octet), "{octet:02x}");
        }
    }

    #[test]
    fn frames_may_share_a_flag_and_idle_flags_are_nothing() {
        let (first, second) = (encoded(b"one"), encoded(b"two"));
        let line = [&[FLAG, FLAG], &first[..first.len() - 1], &second, &[FLAG]].concat();
        let mut decoder = HdlcDecoder::new(16);
        assert_eq!(frames(&mut decoder, &line), [b"one", b"two"]);
        assert_eq!(decoder.counts(), FramingCounts { frames: 2, ..FramingCounts::default() });
    }

    #[test]
    fn each_way_to_lose_a_frame_is_counted_and_the_next_one_is_found() {
        let good = encoded(b"good");
        let mut bad = encoded(b"bad!");
        bad[2] ^= 1;
        let long = encoded(&[0x7E; 17]);
        let aborted = [FLAG, b'x', ESCAPE, FLAG];
        let short = [FLAG, 0, 0, FLAG];
        for (harm, expected) in [
            (&bad[..], FramingCounts { frames: 1, bad_check: 1, ..FramingCounts::default() }),
            (&aborted, FramingCounts { frames: 1, aborted: 1, ..FramingCounts::default() }),
            (&short, FramingCounts { frames: 1, short: 1, ..FramingCounts::default() }),
            (b"noise", FramingCounts { frames: 1, skipped_octets: 5, ..FramingCounts::default() }),
        ] {
            let mut decoder = HdlcDecoder::new(16);
            assert_eq!(frames(&mut decoder, &[harm, &good].concat()), [b"good"]);
            assert_eq!(decoder.counts(), expected);
        }
        let mut decoder = HdlcDecoder::new(16);
        assert_eq!(frames(&mut decoder, &[&long[..], &good].concat()), [b"good"]);
        assert_eq!((decoder.counts().too_long, decoder.counts().frames), (1, 1));
    }

    #[test]
    fn a_reset_forgets_half_a_frame() {
        let good = encoded(b"good");
        let mut decoder = HdlcDecoder::new(16);
        assert!(frames(&mut decoder, &good[..4]).is_empty());
        decoder.reset();
        assert_eq!(frames(&mut decoder, &good), [b"good"]);
        assert_eq!(decoder.counts().bad_check, 0);
    }
}
