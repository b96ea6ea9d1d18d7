//! BER as far as C12.22 uses it: a reading position, definite lengths, and writing a head before its body.

use crate::error::DecodeError;

/// A reading position in octets that remembers how far from the beginning it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    at: usize,
}

/// One tag-length-value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tlv<'a> {
    pub(crate) tag: u8,
    pub(crate) content: Reader<'a>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets, at: 0 }
    }

    /// Octets before this position.
    pub(crate) fn at(&self) -> usize {
        self.at
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` octets with their own position.
    #[inline]
    pub(crate) fn split(&mut self, len: usize) -> Option<Self> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        let part = Self { rest: head, at: self.at };
        *self = Self { rest, at: self.at.saturating_add(len) };
        Some(part)
    }

    /// The last `len` octets, or none when there are fewer.
    pub(crate) fn tail(mut self, len: usize) -> Self {
        let before = self.rest.len().saturating_sub(len);
        self.take(before);
        self
    }

    #[inline]
    pub(crate) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        self.split(len).map(|part| part.rest)
    }

    #[inline]
    pub(crate) fn array<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let (head, rest) = self.rest.split_first_chunk::<N>()?;
        *self = Self { rest, at: self.at.saturating_add(N) };
        Some(head)
    }

    #[inline]
    pub(crate) fn octet(&mut self) -> Option<u8> {
        self.array::<1>().map(|[octet]| *octet)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().copied().map(u16::from_be_bytes)
    }

    /// A definite length of up to 4 octets after its head; non-minimal forms are accepted.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] when the octets end inside, [`DecodeError::BadLength`] for other forms.
    #[inline]
    pub(crate) fn length(&mut self) -> Result<usize, DecodeError> {
        let first = self.octet().ok_or(DecodeError::Truncated)?;
        if first < 0x80 {
            return Ok(usize::from(first));
        }
        let count = usize::from(first & 0x7f);
        if !(1..=4).contains(&count) {
            return Err(DecodeError::BadLength);
        }
        let octets = self.take(count).ok_or(DecodeError::Truncated)?;
        Ok(octets.iter().fold(0, |length, &octet| (length << 8) | usize::from(octet)))
    }

    /// A tag-length-value that must end within these octets.
    #[inline]
    pub(crate) fn tlv(&mut self) -> Result<Tlv<'a>, DecodeError> {
        let tag = self.octet().ok_or(DecodeError::BadLength)?;
        let len = self.length().map_err(|_| DecodeError::BadLength)?;
        Ok(Tlv { tag, content: self.split(len).ok_or(DecodeError::BadLength)? })
    }

    /// As [`Self::tlv`], and nothing may follow.
    #[inline]
    pub(crate) fn only(&mut self) -> Result<Tlv<'a>, DecodeError> {
        let tlv = self.tlv()?;
        if self.is_empty() { Ok(tlv) } else { Err(DecodeError::TrailingOctets) }
    }
}

/// How many octets the minimal form of a length has.
pub(crate) fn length_len(len: usize) -> usize {
    if len < 0x80 { 1 } else { 1 + minimal(&len.to_be_bytes()).len() }
}

/// How many octets a tag, a minimal length and that many octets have.
pub(crate) fn tlv_len(len: usize) -> usize {
    1 + length_len(len) + len
}

/// Appends the minimal form of a length.
pub(crate) fn write_length(out: &mut Vec<u8>, len: usize) {
    let octets = len.to_be_bytes();
    let octets = minimal(&octets);
    match octets {
        [short @ 0..0x80] => out.push(*short),
        long => {
            // At most 8 octets.
            out.push(0x80 | u8::try_from(long.len()).unwrap_or(8));
            out.extend_from_slice(long);
        }
    }
}

/// Appends a tag and a minimal length.
pub(crate) fn write_head(out: &mut Vec<u8>, tag: u8, len: usize) {
    out.push(tag);
    write_length(out, len);
}

/// Appends a tag, a minimal length and the octets.
pub(crate) fn write_tlv(out: &mut Vec<u8>, tag: u8, octets: &[u8]) {
    write_head(out, tag, octets.len());
    out.extend_from_slice(octets);
}

/// Writes a head and moves it before what stands from `start` on: no second buffer is needed where a
/// length is known only after its content.
pub(crate) fn write_before(out: &mut Vec<u8>, start: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let end = out.len();
    write(out);
    let written = out.len().saturating_sub(end);
    if let Some(tail) = out.get_mut(start..) {
        tail.rotate_right(written);
    }
}

/// An unsigned big-endian number without leading zeros; at least one octet.
pub(crate) fn minimal(octets: &[u8]) -> &[u8] {
    let mut rest = octets;
    while let [0, tail @ ..] = rest
        && !tail.is_empty()
    {
        rest = tail;
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_minimal_and_read_back() {
        for (len, octets) in [
            (0, vec![0]),
            (0x7f, vec![0x7f]),
            (0x80, vec![0x81, 0x80]),
            (0x156, vec![0x82, 0x01, 0x56]),
            (0x1_0000, vec![0x83, 0x01, 0, 0]),
            (0x100_0000, vec![0x84, 0x01, 0, 0, 0]),
        ] {
            let mut out = Vec::new();
            write_length(&mut out, len);
            assert_eq!((&out, length_len(len)), (&octets, octets.len()));
            assert_eq!(Reader::new(&out).length(), Ok(len));
        }
    }

    #[test]
    fn lengths_of_other_forms() {
        assert_eq!(Reader::new(&[0x82, 0, 5]).length(), Ok(5));
        assert_eq!(Reader::new(&[0x80]).length(), Err(DecodeError::BadLength));
        assert_eq!(Reader::new(&[0x85, 0, 0, 0, 0, 1]).length(), Err(DecodeError::BadLength));
        assert_eq!(Reader::new(&[0x82, 0]).length(), Err(DecodeError::Truncated));
        assert_eq!(Reader::new(&[]).length(), Err(DecodeError::Truncated));
    }

    #[test]
    fn a_head_goes_before_its_body() {
        let mut out = b"keep body".to_vec();
        write_before(&mut out, 5, |out| out.extend_from_slice(b"the "));
        assert_eq!(out, b"keep the body");
    }
}
