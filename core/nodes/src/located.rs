//! Where the sealed frame stands inside an APDU, as the balancer found it, packed into a descriptor.
//!
//! The balancer parses each APDU once; a shard reads these eight octets instead of parsing again.

use node::Frame;

/// Set in `Frame::bits` when the frame belongs to a classic (EAX') device.
const CLASSIC: u32 = 1 << 8;
/// Set when it is a message of a registration; with [`CLASSIC`] too, one in clear.
const REGISTRATION: u32 = 1 << 9;
/// All of them.
const KINDS: u32 = CLASSIC | REGISTRATION;

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
    /// An EDHOC message (types 8 to C): octets 0.. at `head`, the message at `body`.
    Registration {
        /// Its type.
        frame_type: u8,
        /// Offset of the head, of five octets in type A and of one in the others.
        head: u16,
        /// Offset of the message.
        body: u16,
        /// Octets of the message.
        body_len: u16,
    },
    /// A service in clear that the registrar answers: Registration, Deregistration or Resolve.
    Clear,
}

impl Located {
    /// Writes it into a descriptor.
    pub fn put(self, frame: &mut Frame) {
        let place = |head: u16, body: u16, body_len: u16| {
            (u64::from(head) << 32) | (u64::from(body) << 16) | u64::from(body_len)
        };
        let (kind, tag) = match self {
            Self::Profile1 { head, body, body_len } => (0, place(head, body, body_len)),
            Self::Classic { sid } => (CLASSIC, u64::from(sid)),
            Self::Registration { frame_type, head, body, body_len } => {
                (REGISTRATION, (u64::from(frame_type) << 48) | place(head, body, body_len))
            }
            Self::Clear => (KINDS, 0),
        };
        frame.bits = (frame.bits & !KINDS) | kind;
        frame.tag = tag;
    }

    /// Reads it from a descriptor.
    #[must_use]
    pub fn get(frame: &Frame) -> Self {
        let part = |shift: u32| u16::from_be_bytes([octet(frame.tag, shift + 8), octet(frame.tag, shift)]);
        let (head, body, body_len) = (part(32), part(16), part(0));
        match frame.bits & KINDS {
            0 => Self::Profile1 { head, body, body_len },
            CLASSIC => Self::Classic { sid: low32(frame.tag) },
            REGISTRATION => Self::Registration { frame_type: octet(frame.tag, 48), head, body, body_len },
            _ => Self::Clear,
        }
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
            Located::Registration { frame_type: 0xa, head: 19, body: 40, body_len: 28 },
            Located::Clear,
        ];
        let mut frame = Frame { bits: Frame::PRIORITY, ..Frame::default() }.with_transport(3);
        for place in places {
            place.put(&mut frame);
            assert_eq!(Located::get(&frame), place);
            assert_eq!((frame.transport(), frame.bits & 1), (3, 1));
        }
    }
}
