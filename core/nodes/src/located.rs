//! Where the sealed frame stands inside an APDU, as the balancer found it, packed into a descriptor.
//!
//! The balancer parses each APDU once; a shard reads these eight octets instead of parsing again.

use node::Frame;

/// Set in `Frame::bits` when the frame belongs to a classic (EAX') device.
const CLASSIC: u32 = 1 << 8;

/// What the balancer found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Located {
    /// A profile-1 frame of type 1 or 5: octets 0..8 at `head`, ciphertext and tag at `body`.
    Profile1 {
        /// Offset of the nine head octets in the APDU.
        head: u16,
        /// Offset of the ciphertext.
        body: u16,
        /// Octets of ciphertext and tag.
        body_len: u16,
    },
    /// An APDU of the classic device that owns this association number.
    Classic {
        /// Its `sid`.
        sid: u32,
    },
}

impl Located {
    /// Writes it into a descriptor.
    pub fn put(self, frame: &mut Frame) {
        match self {
            Self::Profile1 { head, body, body_len } => {
                frame.bits &= !CLASSIC;
                frame.tag = (u64::from(head) << 32) | (u64::from(body) << 16) | u64::from(body_len);
            }
            Self::Classic { sid } => {
                frame.bits |= CLASSIC;
                frame.tag = u64::from(sid);
            }
        }
    }

    /// Reads it from a descriptor.
    #[must_use]
    pub fn get(frame: &Frame) -> Self {
        if frame.bits & CLASSIC != 0 {
            return Self::Classic { sid: low32(frame.tag) };
        }
        let part = |shift: u32| u16::from_be_bytes([octet(frame.tag, shift + 8), octet(frame.tag, shift)]);
        Self::Profile1 { head: part(32), body: part(16), body_len: part(0) }
    }
}

fn octet(word: u64, shift: u32) -> u8 {
    ((word >> shift) & 0xff) as u8
}

fn low32(word: u64) -> u32 {
    (word & 0xffff_ffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_the_descriptor() {
        let places = [
            Located::Profile1 { head: 19, body: 40, body_len: 152 },
            Located::Profile1 { head: u16::MAX, body: u16::MAX, body_len: u16::MAX },
            Located::Classic { sid: 0x7fff_ffff },
        ];
        for place in places {
            let mut frame = Frame { bits: Frame::PRIORITY, ..Frame::default() }.with_transport(3);
            place.put(&mut frame);
            assert_eq!(Located::get(&frame), place);
            assert_eq!((frame.transport(), frame.bits & 1), (3, 1));
        }
    }
}
