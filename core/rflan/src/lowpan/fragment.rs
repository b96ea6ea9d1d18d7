//! Fragment headers FRAG1 and FRAGN (RFC 4944, 5.3).

use super::LowpanError;
use crate::reader::Reader;

/// The longest IPv6 datagram that eleven bits can name, octets.
pub const DATAGRAM_LEN_MAX: usize = 2047;

/// The unit of a fragment's offset, octets.
pub(super) const UNIT: usize = 8;

const DISPATCH_FIRST: u8 = 0b1100_0000;
const DISPATCH_NEXT: u8 = 0b1110_0000;
const DISPATCH_MASK: u8 = 0b1111_1000;

/// A fragment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// Octets of the whole IPv6 datagram before compression, at most [`DATAGRAM_LEN_MAX`].
    pub size: u16,
    /// Which datagram of the originator.
    pub tag: u16,
    /// Where the fragment starts in the datagram before compression, in units of eight octets.
    /// Zero is the first fragment, FRAG1.
    pub offset: u8,
}

impl FragmentHeader {
    /// Octets of FRAG1.
    pub const FIRST_LEN: usize = 4;
    /// Octets of FRAGN.
    pub const NEXT_LEN: usize = 5;

    /// Whether a payload starts with a fragment header.
    #[must_use]
    pub fn is_next(payload: &[u8]) -> bool {
        payload.first().is_some_and(|octet| matches!(octet & DISPATCH_MASK, DISPATCH_FIRST | DISPATCH_NEXT))
    }

    /// Reads a fragment header. Answers it and the fragment.
    ///
    /// # Errors
    /// [`LowpanError::Dispatch`], [`LowpanError::Truncated`], [`LowpanError::FragmentOffset`] for FRAGN with
    /// offset zero.
    pub fn decode(payload: &[u8]) -> Result<(Self, &[u8]), LowpanError> {
        let truncated = LowpanError::Truncated;
        let mut reader = Reader::new(payload);
        let first = reader.be16().ok_or(truncated)?;
        let [dispatch, _] = first.to_be_bytes();
        let size = first & DATAGRAM_LEN_MAX as u16;
        let tag = reader.be16().ok_or(truncated)?;
        let offset = match dispatch & DISPATCH_MASK {
            DISPATCH_FIRST => 0,
            DISPATCH_NEXT => match reader.octet().ok_or(truncated)? {
                0 => return Err(LowpanError::FragmentOffset),
                offset => offset,
            },
            _ => return Err(LowpanError::Dispatch),
        };
        Ok((Self { size, tag, offset }, reader.rest()))
    }

    /// Appends the header; a size past [`DATAGRAM_LEN_MAX`] is cut to its eleven bits.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let dispatch = if self.offset == 0 { DISPATCH_FIRST } else { DISPATCH_NEXT };
        let first = u16::from_be_bytes([dispatch, 0]) | self.size & DATAGRAM_LEN_MAX as u16;
        out.extend_from_slice(&first.to_be_bytes());
        out.extend_from_slice(&self.tag.to_be_bytes());
        if self.offset != 0 {
            out.push(self.offset);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_later_fragment_at_offset_zero_is_refused() {
        assert_eq!(FragmentHeader::decode(&[0xE0, 40, 0, 1, 0]), Err(LowpanError::FragmentOffset));
        assert_eq!(FragmentHeader::decode(&[0xE8, 40, 0, 1, 1]), Err(LowpanError::Dispatch));
    }

    proptest! {
        #[test]
        fn a_header_reads_as_it_was_written(size in 0_u16..2048, tag in any::<u16>(), offset in any::<u8>()) {
            let header = FragmentHeader { size, tag, offset };
            let mut out = Vec::new();
            header.encode(&mut out);
            out.push(0xAA);
            prop_assert!(FragmentHeader::is_next(&out));
            prop_assert_eq!(FragmentHeader::decode(&out), Ok((header, &[0xAA][..])));
        }

        #[test]
        fn any_octets_decode_without_panic(octets in proptest::collection::vec(any::<u8>(), 0..20)) {
            let _ = FragmentHeader::decode(&octets);
        }
    }
}
