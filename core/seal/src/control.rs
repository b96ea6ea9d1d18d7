//! The items of types 4 and 5, octet for octet (security layer, Annex A).
//!
//! A body is one or more items; one unknown or cut item refuses all of it. An item whose last field
//! has no length runs to the end of the body and so is the last.

use alloc::vec::Vec;

mod down;
mod up;

use core::fmt;
use core::marker::PhantomData;

pub use down::{Ack, Down, GroupKey, WAIT_MAX_S};
pub use up::{Executed, Outcome, Up};

/// Why a body of items is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// Not one item.
    #[error("no control item")]
    Empty,
    /// A code that this type does not have.
    #[error("unknown control item {0}")]
    Unknown(u8),
    /// An item shorter than its fields.
    #[error("control item {0} is cut")]
    Cut(u8),
}

/// One kind of items: [`Down`] or [`Up`].
pub trait Item<'a>: Sized {
    /// Reads the first item; the rest is what follows it.
    ///
    /// # Errors
    /// [`ControlError`] for the first item only.
    fn read(octets: &'a [u8]) -> Result<(Self, &'a [u8]), ControlError>;

    /// Appends the item's octets.
    fn write(&self, out: &mut Vec<u8>);
}

/// The items of a body that was read to its end and found whole.
#[derive(Clone, Copy)]
pub struct Items<'a, I> {
    rest: &'a [u8],
    item: PhantomData<I>,
}

/// A body may hold a group's key.
impl<I> fmt::Debug for Items<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Items(..)")
    }
}

impl<'a, I: Item<'a>> Items<'a, I> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// [`ControlError`] when any item is unknown or cut, or there is none.
    pub fn read(body: &'a [u8]) -> Result<Self, ControlError> {
        let mut rest = body;
        loop {
            (_, rest) = I::read(rest)?;
            if rest.is_empty() {
                return Ok(Self { rest: body, item: PhantomData });
            }
        }
    }
}

impl<'a, I: Item<'a>> Iterator for Items<'a, I> {
    type Item = I;

    fn next(&mut self) -> Option<I> {
        let (item, rest) = I::read(self.rest).ok()?;
        self.rest = rest;
        Some(item)
    }
}

/// The fields of one item, taken from the front.
pub(crate) struct Fields<'a> {
    pub(crate) code: u8,
    pub(crate) rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) fn of(octets: &'a [u8]) -> Result<Self, ControlError> {
        let (code, rest) = octets.split_first().ok_or(ControlError::Empty)?;
        Ok(Self { code: *code, rest })
    }

    pub(crate) fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], ControlError> {
        let (field, rest) = self.rest.split_first_chunk().ok_or(ControlError::Cut(self.code))?;
        self.rest = rest;
        Ok(field)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, ControlError> {
        self.take().map(|[octet]| *octet)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, ControlError> {
        self.take().copied().map(u16::from_be_bytes)
    }

    pub(crate) fn u24(&mut self) -> Result<u32, ControlError> {
        self.take().map(|[a, b, c]| u32::from_be_bytes([0, *a, *b, *c]))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, ControlError> {
        self.take().copied().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, ControlError> {
        self.take().copied().map(u64::from_be_bytes)
    }

    /// All that is left.
    pub(crate) fn remainder(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }
}
