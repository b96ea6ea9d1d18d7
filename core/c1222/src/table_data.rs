//! Table data as services carry it: blocks of `count2 data ck`. A count of FFFF means that another block
//! follows.

use std::iter;

use crate::error::DecodeError;
use crate::parameters::Parameters;
use crate::service_code::ServiceCode;

/// The count of a block that another one follows.
const CONTINUED: usize = 0xffff;

/// The data of a table, or a part of it, with its checksums.
#[derive(Clone, Copy, Debug)]
pub struct TableData<'a>(Form<'a>);

#[derive(Clone, Copy, Debug)]
enum Form<'a> {
    /// One block, as received.
    Block(Block<'a>),
    /// Several blocks, as received.
    Blocks(&'a [u8]),
    /// Data to be sent.
    Plain(&'a [u8]),
}

/// One block of table data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    /// Its data, at most 65,535 octets.
    pub data: &'a [u8],
    /// The checksum octet.
    pub checksum: u8,
}

/// The two's complement of the 8-bit sum of the octets.
#[must_use]
pub fn checksum(data: &[u8]) -> u8 {
    data.iter().fold(0_u8, |sum, octet| sum.wrapping_add(*octet)).wrapping_neg()
}

impl<'a> TableData<'a> {
    /// Data to be sent, with the checksums that it needs.
    #[must_use]
    pub fn of(data: &'a [u8]) -> Self {
        Self(Form::Plain(data))
    }

    /// Its blocks.
    pub fn blocks(&self) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let mut left = Some(self.0);
        iter::from_fn(move || {
            let (block, rest) = split_first(left.take()?)?;
            left = rest;
            Some(block)
        })
    }

    /// The data, when it stands in one block.
    #[must_use]
    pub fn as_single(&self) -> Option<&'a [u8]> {
        let mut blocks = self.blocks();
        let first = blocks.next()?;
        blocks.next().is_none().then_some(first.data)
    }

    /// Appends the data of all blocks.
    pub fn append_to(&self, out: &mut Vec<u8>) {
        for block in self.blocks() {
            out.extend_from_slice(block.data);
        }
    }

    /// Octets of data in all blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.blocks().map(|block| block.data.len()).fold(0, usize::saturating_add)
    }

    /// Whether no block has data.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether every checksum is right. Decoding does not ask.
    ///
    /// # Errors
    /// [`DecodeError::TableChecksum`] when one is wrong.
    pub fn check(&self) -> Result<(), DecodeError> {
        let sound = self.blocks().all(|block| checksum(block.data) == block.checksum);
        if sound { Ok(()) } else { Err(DecodeError::TableChecksum) }
    }

    /// Reads blocks as long as they announce another one; with `more`, to the end of the octets: an index
    /// read may be answered by a block for each index.
    pub(crate) fn read(parameters: &mut Parameters<'a>, more: bool) -> Result<Self, DecodeError> {
        let start = *parameters;
        let first = Block::read(parameters)?;
        let (mut last, mut single) = (first, true);
        while last.data.len() == CONTINUED || (more && !parameters.is_empty()) {
            last = Block::read(parameters)?;
            single = false;
        }
        Ok(Self(if single { Form::Block(first) } else { Form::Blocks(parameters.since(&start)) }))
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        for block in self.blocks() {
            // No block is longer.
            let count = u16::try_from(block.data.len()).unwrap_or(u16::MAX);
            out.extend_from_slice(&count.to_be_bytes());
            out.extend_from_slice(block.data);
            out.push(block.checksum);
        }
    }
}

impl PartialEq for TableData<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.blocks().eq(other.blocks())
    }
}

impl Eq for TableData<'_> {}

impl<'a> Block<'a> {
    fn of(data: &'a [u8]) -> Self {
        Self { data, checksum: checksum(data) }
    }

    fn read(parameters: &mut Parameters<'a>) -> Result<Self, DecodeError> {
        let count = usize::from(parameters.u16()?);
        Ok(Self { data: parameters.take(count)?, checksum: parameters.octet()? })
    }
}

/// The first block, and what is left after it.
fn split_first(form: Form<'_>) -> Option<(Block<'_>, Option<Form<'_>>)> {
    match form {
        Form::Block(block) => Some((block, None)),
        Form::Plain(data) => Some(match data.split_at_checked(CONTINUED) {
            Some((head, rest)) => (Block::of(head), Some(Form::Plain(rest))),
            None => (Block::of(data), None),
        }),
        Form::Blocks(octets) => {
            // Blocks were read once already, so the service that would be named here does not matter.
            let mut parameters = Parameters::new(ServiceCode::FULL_READ, octets);
            let block = Block::read(&mut parameters).ok()?;
            Some((block, (!parameters.is_empty()).then_some(Form::Blocks(parameters.rest()))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(len: usize) -> Vec<usize> {
        let data: Vec<u8> = (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let mut out = Vec::new();
        TableData::of(&data).write(&mut out);
        let mut parameters = Parameters::new(ServiceCode::FULL_READ, &out);
        let read = TableData::read(&mut parameters, false).unwrap();
        assert!(parameters.is_empty());
        assert_eq!(read, TableData::of(&data));
        assert_eq!(read.check(), Ok(()));
        let mut all = Vec::new();
        read.append_to(&mut all);
        assert_eq!((all.len(), all == data), (read.len(), true));
        read.blocks().map(|block| block.data.len()).collect()
    }

    #[test]
    fn long_data_continues_in_blocks() {
        assert_eq!(round_trip(0), [0]);
        assert_eq!(round_trip(8), [8]);
        assert_eq!(round_trip(0xfffe), [0xfffe]);
        assert_eq!(round_trip(0xffff), [0xffff, 0]);
        assert_eq!(round_trip(0x1_0005), [0xffff, 6]);
    }

    #[test]
    fn checksum_is_the_complement_of_the_sum() {
        let mut parameters = Parameters::new(
            ServiceCode::FULL_READ,
            &[0, 8, b't', b'e', b's', b't', b'd', b'a', b't', b'a', 0],
        );
        let data = TableData::read(&mut parameters, false).unwrap();
        assert_eq!(data.as_single(), Some(&b"testdata"[..]));
        assert_eq!(data.check(), Err(DecodeError::TableChecksum));
        assert_eq!(checksum(b"testdata"), 0xa6);
    }

    #[test]
    fn an_index_read_may_have_a_block_for_each_index() {
        let octets = [0, 1, 5, 0xfb, 0, 2, 1, 2, 0xfd];
        let mut parameters = Parameters::new(ServiceCode::FULL_READ, &octets);
        let data = TableData::read(&mut parameters, true).unwrap();
        assert_eq!((data.blocks().count(), data.as_single(), data.len()), (2, None, 3));
        let mut out = Vec::new();
        data.write(&mut out);
        assert_eq!(out, octets);
        assert_eq!(data.check(), Ok(()));
    }
}
