//! How a message is told from the next on the serial line.
//!
//! Two ways exist and a configuration picks one: HDLC-lite ([`crate::hdlc`]) and the framing of the open
//! Wi-SUN co-processor ([`crate::wisun`]). Both carry the same messages.

use core::fmt;

use crate::hdlc::{self, HdlcDecoder};
use crate::wisun::{self, WisunDecoder};

/// Why a payload cannot be framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// A frame has a payload.
    #[error("payload-empty")]
    Empty,
    /// Longer than the framing carries.
    #[error("payload-too-long")]
    TooLong,
    /// The frame does not fit in the room given.
    #[error("no-room")]
    NoRoom,
}

/// What a decoder saw; every number only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FramingCounts {
    /// Whole frames handed out.
    pub frames: u64,
    /// Frames dropped for a wrong check over the payload.
    pub bad_check: u64,
    /// Frames dropped because they are longer than allowed.
    pub too_long: u64,
    /// Frames given up by the sender (HDLC: an escape, then a flag).
    pub aborted: u64,
    /// Frames without a payload.
    pub short: u64,
    /// Octets passed over between frames, looking for the next start.
    pub skipped_octets: u64,
}

/// The framing of a serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Framing {
    /// Flags, escapes and FCS-16, as in OpenThread co-processors.
    HdlcLite,
    /// Length, its check, payload, its check, as in open Wi-SUN co-processors.
    Wisun,
}

impl Framing {
    /// Every framing.
    pub const ALL: [Self; 2] = [Self::HdlcLite, Self::Wisun];

    /// The name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::HdlcLite => "hdlc-lite",
            Self::Wisun => "wisun",
        }
    }

    /// The framing of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|framing| framing.name() == name)
    }

    /// The longest payload, octets.
    #[must_use]
    pub const fn payload_len_max(self) -> usize {
        match self {
            Self::HdlcLite => hdlc::PAYLOAD_LEN_MAX,
            Self::Wisun => wisun::PAYLOAD_LEN_MAX,
        }
    }

    /// Room that holds the frame of any payload of `len` octets.
    #[must_use]
    pub const fn encoded_len_max(self, len: usize) -> usize {
        match self {
            Self::HdlcLite => hdlc::encoded_len_max(len),
            Self::Wisun => wisun::encoded_len(len),
        }
    }

    /// Writes the frame of `payload` to the front of `out`; returns its length.
    ///
    /// # Errors
    /// [`FramingError`] when the payload is empty, too long or `out` too small; `out` is then undefined.
    pub fn encode(self, payload: &[u8], out: &mut [u8]) -> Result<usize, FramingError> {
        match self {
            Self::HdlcLite => hdlc::encode(payload, out),
            Self::Wisun => wisun::encode(payload, out),
        }
    }

    /// A decoder at the start of a line. All of its memory is taken here.
    #[must_use]
    pub fn decoder(self) -> Decoder {
        match self {
            Self::HdlcLite => Decoder::HdlcLite(HdlcDecoder::new(hdlc::PAYLOAD_LEN_MAX)),
            Self::Wisun => Decoder::Wisun(WisunDecoder::new()),
        }
    }

    /// Reads all of `octets` as a line of its own and hands every whole payload to `sink`.
    pub fn decode(self, mut octets: &[u8], mut sink: impl FnMut(&[u8])) -> FramingCounts {
        let mut decoder = self.decoder();
        while let Some(payload) = decoder.next_frame(&mut octets) {
            sink(payload);
        }
        decoder.counts()
    }
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The decoder of either framing.
#[derive(Debug)]
pub enum Decoder {
    /// See [`Framing::HdlcLite`].
    HdlcLite(HdlcDecoder),
    /// See [`Framing::Wisun`].
    Wisun(WisunDecoder),
}

impl Decoder {
    /// Takes octets from the front of `input` until a frame is whole; returns its payload.
    ///
    /// Nothing means that `input` is used up. Call it until then, with whatever chunks arrive.
    pub fn next_frame(&mut self, input: &mut &[u8]) -> Option<&[u8]> {
        match self {
            Self::HdlcLite(decoder) => decoder.next_frame(input),
            Self::Wisun(decoder) => decoder.next_frame(input),
        }
    }

    /// What was seen so far.
    #[must_use]
    pub const fn counts(&self) -> FramingCounts {
        match self {
            Self::HdlcLite(decoder) => decoder.counts(),
            Self::Wisun(decoder) => decoder.counts(),
        }
    }

    /// Forgets the frame at hand, as after the line was opened again; the counts stay.
    pub fn reset(&mut self) {
        match self {
            Self::HdlcLite(decoder) => decoder.reset(),
            Self::Wisun(decoder) => decoder.reset(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(framing: Framing, payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut octets = Vec::new();
        for payload in payloads {
            let mut out = vec![0; framing.encoded_len_max(payload.len())];
            let len = framing.encode(payload, &mut out).unwrap();
            octets.extend_from_slice(&out[..len]);
        }
        octets
    }

    fn decoded(framing: Framing, octets: &[u8]) -> (Vec<Vec<u8>>, FramingCounts) {
        let mut frames = Vec::new();
        let counts = framing.decode(octets, |payload| frames.push(payload.to_vec()));
        (frames, counts)
    }

    fn framing() -> impl Strategy<Value = Framing> {
        prop::sample::select(Framing::ALL.to_vec())
    }

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        // Half of the octets are those that HDLC has to escape.
        let octet = prop_oneof![any::<u8>(), prop::sample::select(vec![0x7E, 0x7D, 0x11, 0x13, 0xF8, 0x5E])];
        proptest::collection::vec(octet, 1..200)
    }

    #[test]
    fn names_lead_back_and_limits_hold() {
        for framing in Framing::ALL {
            assert_eq!(Framing::from_name(framing.name()), Some(framing));
            let mut out = vec![0; framing.encoded_len_max(framing.payload_len_max())];
            let longest = vec![0x7E; framing.payload_len_max()];
            let len = framing.encode(&longest, &mut out).unwrap();
            assert_eq!(decoded(framing, &out[..len]).0, std::slice::from_ref(&longest), "{framing}");
            assert_eq!(framing.encode(&longest, &mut out[..len - 1]), Err(FramingError::NoRoom));
            assert_eq!(framing.encode(&[&longest[..], &[0]].concat(), &mut out), Err(FramingError::TooLong));
            assert_eq!(framing.encode(&[], &mut out), Err(FramingError::Empty));
        }
        assert_eq!(Framing::from_name("slip"), None);
    }

    proptest! {
        #[test]
        fn any_chunks_give_the_same_frames(
            framing in framing(),
            payloads in proptest::collection::vec(payload(), 0..6),
            cuts in proptest::collection::vec(1..40_usize, 1..30),
        ) {
            let octets = line(framing, &payloads);
            let (whole, counts) = decoded(framing, &octets);
            prop_assert_eq!(&whole, &payloads);
            prop_assert_eq!(counts, FramingCounts { frames: payloads.len() as u64, ..FramingCounts::default() });

            let (mut decoder, mut frames, mut rest) = (framing.decoder(), Vec::new(), octets.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break; }
                let (mut chunk, after) = rest.split_at(rest.len().min(*cut));
                rest = after;
                while let Some(frame) = decoder.next_frame(&mut chunk) {
                    frames.push(frame.to_vec());
                }
                prop_assert!(chunk.is_empty());
            }
            prop_assert_eq!(frames, payloads);
            prop_assert_eq!(decoder.counts(), counts);
        }

        #[test]
        fn any_octets_are_read_to_their_end(
            framing in framing(),
            noise in proptest::collection::vec(any::<u8>(), 0..5_000),
        ) {
            let mut decoder = framing.decoder();
            let mut input = noise.as_slice();
            let mut handed_out = 0;
            while let Some(frame) = decoder.next_frame(&mut input) {
                prop_assert!(!frame.is_empty() && frame.len() <= framing.payload_len_max());
                handed_out += 1;
            }
            prop_assert!(input.is_empty());
            prop_assert_eq!(decoder.counts().frames, handed_out);
        }

        #[test]
        fn a_flipped_bit_never_yields_another_frame(
            framing in framing(),
            sent in payload(),
            bit in any::<prop::sample::Index>(),
        ) {
            let mut octets = line(framing, std::slice::from_ref(&sent));
            let bit = bit.index(octets.len() * 8);
            let before = octets[bit / 8];
            octets[bit / 8] ^= 1 << (bit % 8);
            // A flip that makes or unmakes a flag or an escape moves every later octet. No check of 16 bits finds all
            // of those: one in 65 536 passes.
            let moves = |octet| framing == Framing::HdlcLite && matches!(octet, 0x7D | 0x7E);
            if moves(before) || moves(octets[bit / 8]) {
                return Ok(());
            }
            let (frames, counts) = decoded(framing, &octets);
            prop_assert!(frames.is_empty(), "{:?} {:?}", frames, counts);
        }

        #[test]
        fn after_noise_the_line_is_found_again(
            framing in framing(),
            noise in proptest::collection::vec(any::<u8>(), 0..300),
            sent in payload(),
        ) {
            // A Wi-SUN length in the noise can swallow at most one longest frame; HDLC loses at most one frame.
            let many = vec![sent.clone(); 2 + 2 * framing.encoded_len_max(framing.payload_len_max()) / sent.len()];
            let octets = [noise, line(framing, &many)].concat();
            let (frames, _) = decoded(framing, &octets);
            prop_assert_eq!(frames.last(), Some(&sent));
        }
    }
}
