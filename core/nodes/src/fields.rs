//! Fields of records and orders, taken from the front of their octets.

use seal::ids::{Dev, Epoch, Gid, Sid};

/// What is left of the octets.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.take().map(|[octet]| octet)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    pub(crate) fn sid(&mut self) -> Option<Sid> {
        self.u32().map(Sid)
    }

    /// `ffffffff` is no association.
    pub(crate) fn sid_or_none(&mut self) -> Option<Option<Sid>> {
        self.sid().map(|sid| sid.is_valid().then_some(sid))
    }

    pub(crate) fn gid(&mut self) -> Option<Gid> {
        self.u32().map(Gid)
    }

    pub(crate) fn dev(&mut self) -> Option<Dev> {
        self.take().map(Dev)
    }

    pub(crate) fn epoch(&mut self) -> Option<Epoch> {
        self.u16().map(Epoch)
    }

    /// All that is left.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// `Some` when nothing is left.
    pub(crate) fn end(self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

/// The octets of an association that may be none.
pub(crate) fn sid_or_none(sid: Option<Sid>) -> [u8; 4] {
    sid.map_or(u32::MAX, |sid| sid.0).to_be_bytes()
}
