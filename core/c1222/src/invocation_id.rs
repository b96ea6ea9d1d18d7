//! Invocation ids: unsigned numbers that keep the octets in which they came.

use std::fmt;

use crate::ber;
use crate::error::DecodeError;

/// The id of a message (A8), or of the message that is answered (A4): 1 to 4 octets, unsigned.
///
/// The octets are kept, since they enter the MAC and a response repeats them; `==` compares octets,
/// [`InvocationId::value`] is the number.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InvocationId {
    octets: [u8; 4],
    len: u8,
}

impl InvocationId {
    /// The id in as few octets as it needs.
    #[must_use]
    pub fn new(value: u32) -> Self {
        let octets = value.to_be_bytes();
        Self::keep(ber::minimal(&octets))
    }

    /// The id of received octets.
    ///
    /// # Errors
    /// [`DecodeError::BadInvocationId`] unless there are 1 to 4.
    #[inline]
    pub fn of_octets(octets: &[u8]) -> Result<Self, DecodeError> {
        if (1..=4).contains(&octets.len()) {
            Ok(Self::keep(octets))
        } else {
            Err(DecodeError::BadInvocationId)
        }
    }

    /// The octets, without tag and length.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The number.
    #[must_use]
    pub fn value(&self) -> u32 {
        u32::from_be_bytes(self.octets).checked_shr(8 * (4 - u32::from(self.len))).unwrap_or(0)
    }

    /// Keeps up to 4 octets at the front.
    #[inline]
    fn keep(from: &[u8]) -> Self {
        let mut octets = [0; 4];
        for (to, octet) in octets.iter_mut().zip(from) {
            *to = *octet;
        }
        Self { octets, len: u8::try_from(from.len()).unwrap_or(4).min(4) }
    }
}

impl fmt::Display for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}

impl fmt::Debug for InvocationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InvocationId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_unsigned_and_keep_their_octets() {
        let id = InvocationId::of_octets(&[0xa6, 0xe2, 0xd3, 0x4c]).unwrap();
        assert_eq!(id.value(), 0xa6e2_d34c);
        let padded = InvocationId::of_octets(&[0, 5]).unwrap();
        assert_eq!((padded.value(), padded.octets()), (5, &[0, 5][..]));
        for (value, octets) in [(0, &[0][..]), (0x80, &[0x80]), (0x0100, &[1, 0]), (u32::MAX, &[0xff; 4])] {
            let id = InvocationId::new(value);
            assert_eq!((id.octets(), id.value()), (octets, value));
        }
        assert!(InvocationId::of_octets(&[]).is_err() && InvocationId::of_octets(&[0; 5]).is_err());
    }
}
