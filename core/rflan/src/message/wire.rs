//! Octets in and out of a message.

use super::{MessageError, PSDU_LEN_MAX};
use crate::Eui64;

/// Takes fields off the front of a body.
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) const fn new(body: &'a [u8]) -> Self {
        Self { rest: body }
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], MessageError> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(MessageError::Truncated)?;
        self.rest = rest;
        Ok(*array)
    }

    pub(super) fn octets(&mut self, len: usize) -> Result<&'a [u8], MessageError> {
        let (octets, rest) = self.rest.split_at_checked(len).ok_or(MessageError::Truncated)?;
        self.rest = rest;
        Ok(octets)
    }

    pub(super) fn u8(&mut self) -> Result<u8, MessageError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn i8(&mut self) -> Result<i8, MessageError> {
        self.array().map(i8::from_le_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, MessageError> {
        self.array().map(u16::from_le_bytes)
    }

    pub(super) fn u24(&mut self) -> Result<u32, MessageError> {
        let [low, middle, high] = self.array()?;
        Ok(u32::from_le_bytes([low, middle, high, 0]))
    }

    pub(super) fn u32(&mut self) -> Result<u32, MessageError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, MessageError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn eui64(&mut self) -> Result<Eui64, MessageError> {
        self.array().map(|octets| Eui64(u64::from_be_bytes(octets)))
    }

    /// A PSDU after its length.
    pub(super) fn psdu(&mut self) -> Result<&'a [u8], MessageError> {
        let len = usize::from(self.u16()?);
        if len > PSDU_LEN_MAX {
            return Err(MessageError::PsduTooLong);
        }
        self.octets(len)
    }

    /// All that is left.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// The body ends here.
    pub(super) const fn end(self) -> Result<(), MessageError> {
        if self.rest.is_empty() { Ok(()) } else { Err(MessageError::TrailingOctets) }
    }
}

/// Puts fields at the front of the room given.
pub(super) struct Writer<'o> {
    room: &'o mut [u8],
    len: usize,
}

impl<'o> Writer<'o> {
    /// Starts with the id.
    pub(super) fn new(room: &'o mut [u8], id: u8) -> Result<Self, MessageError> {
        Self { room, len: 0 }.put(&[id])
    }

    pub(super) fn put(mut self, octets: &[u8]) -> Result<Self, MessageError> {
        let end = self.len.saturating_add(octets.len());
        let place = self.room.get_mut(self.len..end).ok_or(MessageError::NoRoom)?;
        place.copy_from_slice(octets);
        self.len = end;
        Ok(self)
    }

    pub(super) fn u8(self, value: u8) -> Result<Self, MessageError> {
        self.put(&[value])
    }

    pub(super) fn i8(self, value: i8) -> Result<Self, MessageError> {
        self.put(&value.to_le_bytes())
    }

    pub(super) fn u16(self, value: u16) -> Result<Self, MessageError> {
        self.put(&value.to_le_bytes())
    }

    /// The lower 24 bits.
    pub(super) fn u24(self, value: u32) -> Result<Self, MessageError> {
        let [low, middle, high, _] = value.to_le_bytes();
        self.put(&[low, middle, high])
    }

    pub(super) fn u32(self, value: u32) -> Result<Self, MessageError> {
        self.put(&value.to_le_bytes())
    }

    pub(super) fn u64(self, value: u64) -> Result<Self, MessageError> {
        self.put(&value.to_le_bytes())
    }

    pub(super) fn eui64(self, value: Eui64) -> Result<Self, MessageError> {
        self.put(&value.0.to_be_bytes())
    }

    /// A PSDU after its length.
    pub(super) fn psdu(self, psdu: &[u8]) -> Result<Self, MessageError> {
        let len = u16::try_from(psdu.len()).map_err(|_| MessageError::PsduTooLong)?;
        if psdu.len() > PSDU_LEN_MAX {
            return Err(MessageError::PsduTooLong);
        }
        self.u16(len)?.put(psdu)
    }

    /// The length of the message.
    pub(super) const fn finish(self) -> usize {
        self.len
    }
}
