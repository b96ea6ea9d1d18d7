//! The little of CBOR (RFC 8949) that the fixed forms need: definite lengths, shortest heads, no nesting.

use alloc::vec::Vec;

use super::Refusal;

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;

/// Reads a CBOR sequence item by item. Anything else than the item asked for, in its shortest form, is
/// [`Refusal::Format`].
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }

    /// What was not read yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// An integer of either sign.
    pub(super) fn integer(&mut self) -> Result<i128, Refusal> {
        match self.head()? {
            (UNSIGNED, number) => Ok(i128::from(number)),
            (NEGATIVE, number) => Ok(!i128::from(number)),
            _ => Err(Refusal::Format),
        }
    }

    /// A byte string.
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Refusal> {
        self.string(BYTES)
    }

    /// The octets of a text string; whether they are UTF-8 is not looked at.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Refusal> {
        self.string(TEXT)
    }

    /// The length of an array, whose items follow.
    pub(super) fn array(&mut self) -> Result<u64, Refusal> {
        self.sized(ARRAY)
    }

    /// Whether an array follows.
    pub(super) fn is_array(&self) -> bool {
        self.follows(ARRAY)
    }

    /// Whether a byte string follows.
    pub(super) fn is_bytes(&self) -> bool {
        self.follows(BYTES)
    }

    /// Exactly these octets.
    pub(super) fn exactly(&mut self, octets: &[u8]) -> Result<(), Refusal> {
        self.rest = self.rest.strip_prefix(octets).ok_or(Refusal::Format)?;
        Ok(())
    }

    fn follows(&self, major: u8) -> bool {
        self.rest.first().is_some_and(|first| first >> 5 == major)
    }

    fn string(&mut self, major: u8) -> Result<&'a [u8], Refusal> {
        let len = self.sized(major)?.try_into().map_err(|_| Refusal::Format)?;
        let (string, rest) = self.rest.split_at_checked(len).ok_or(Refusal::Format)?;
        self.rest = rest;
        Ok(string)
    }

    fn sized(&mut self, major: u8) -> Result<u64, Refusal> {
        let (found, number) = self.head()?;
        if found == major { Ok(number) } else { Err(Refusal::Format) }
    }

    /// The major type and the number of one head.
    fn head(&mut self) -> Result<(u8, u64), Refusal> {
        let [first] = self.take()?;
        let (number, shortest) = match first & 0x1f {
            number @ 0..24 => (u64::from(number), 0),
            24 => (u64::from(u8::from_be_bytes(self.take()?)), 24),
            25 => (u64::from(u16::from_be_bytes(self.take()?)), 1 << 8),
            26 => (u64::from(u32::from_be_bytes(self.take()?)), 1 << 16),
            27 => (u64::from_be_bytes(self.take()?), 1 << 32),
            _ => return Err(Refusal::Format),
        };
        if number < shortest { Err(Refusal::Format) } else { Ok((first >> 5, number)) }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        let (octets, rest) = self.rest.split_first_chunk().ok_or(Refusal::Format)?;
        self.rest = rest;
        Ok(*octets)
    }
}

/// Appends an unsigned integer below 2^16.
pub(super) fn write_unsigned(out: &mut Vec<u8>, number: u16) {
    write_head(out, UNSIGNED, number);
}

/// Appends a byte string given in parts, shorter than 2^16 octets together.
pub(super) fn write_bytes(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    debug_assert!(len <= 0xffff, "nothing that long is hashed here");
    write_head(out, BYTES, len as u16);
    parts.iter().for_each(|part| out.extend_from_slice(part));
}

fn write_head(out: &mut Vec<u8>, major: u8, number: u16) {
    let major = major << 5;
    match number {
        0..24 => out.push(major | number as u8),
        24..0x100 => out.extend([major | 24, number as u8]),
        _ => {
            out.push(major | 25);
            out.extend(number.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_the_shortest_definite_head_is_read() {
        for (octets, number) in [
            (&[0x17][..], 23),
            (&[0x18, 0x18], 24),
            (&[0x19, 1, 0], 256),
            (&[0x1a, 0, 1, 0, 0], 65_536),
            (&[0x1b, 0, 0, 0, 1, 0, 0, 0, 0], 1 << 32),
            (&[0x20], -1),
            (&[0x38, 0xff], -256),
            (&[0x3b, 255, 255, 255, 255, 255, 255, 255, 255], -(1 << 64)),
        ] {
            assert_eq!(Reader::new(octets).integer(), Ok(number), "{octets:02x?}");
            let cut = &octets[..octets.len() - 1];
            assert_eq!(Reader::new(cut).integer(), Err(Refusal::Format), "{cut:02x?}");
        }
        for octets in [
            &[0x18, 0x17][..],
            &[0x19, 0, 0xff],
            &[0x1a, 0, 0, 0xff, 0xff],
            &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
            &[0x1c],
            &[0x1f],
            &[0x40],
            &[0xf6],
        ] {
            assert_eq!(Reader::new(octets).integer(), Err(Refusal::Format), "{octets:02x?}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_reads_back(string in prop::collection::vec(any::<u8>(), 0..300), number: u16) {
            let mut out = Vec::new();
            write_bytes(&mut out, &[&string[..string.len() / 2], &string[string.len() / 2..]]);
            write_unsigned(&mut out, number);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.bytes(), Ok(&string[..]));
            prop_assert_eq!(reader.integer(), Ok(i128::from(number)));
            prop_assert!(reader.rest().is_empty());
        }

        #[test]
        fn any_octets_are_read_or_refused(octets: Vec<u8>) {
            let mut reader = Reader::new(&octets);
            while reader.integer().is_ok() || reader.bytes().is_ok() || reader.text().is_ok() || reader.array().is_ok() {}
            prop_assert!(reader.rest().len() <= octets.len());
        }
    }
}
