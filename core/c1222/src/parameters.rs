//! The parameters of one service, read field by field.

use crate::ap_title::ApTitle;
use crate::ber::{Reader, Tlv};
use crate::error::DecodeError;
use crate::native_address::ShortOctets;
use crate::service_code::ServiceCode;
use crate::table_id::TableId;
use crate::u24::U24;

/// A reading position in parameters; too few octets are a fault of the service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parameters<'a> {
    reader: Reader<'a>,
    service: ServiceCode,
}

impl<'a> Parameters<'a> {
    pub(crate) fn new(service: ServiceCode, octets: &'a [u8]) -> Self {
        Self { reader: Reader::new(octets), service }
    }

    /// The fault that these parameters do not fit.
    pub(crate) fn bad(&self) -> DecodeError {
        DecodeError::BadParameters(self.service)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.reader.is_empty()
    }

    /// What is left.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.reader.rest()
    }

    /// What stood between an earlier position and this one.
    pub(crate) fn since(&self, earlier: &Self) -> &'a [u8] {
        let len = self.reader.at().saturating_sub(earlier.reader.at());
        earlier.reader.rest().get(..len).unwrap_or_default()
    }

    /// Nothing may be left.
    pub(crate) fn end<T>(&self, value: T) -> Result<T, DecodeError> {
        if self.is_empty() { Ok(value) } else { Err(self.bad()) }
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        self.reader.take(len).ok_or(self.bad())
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        self.reader.array().ok_or(self.bad())
    }

    pub(crate) fn octet(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[octet]| *octet)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().copied().map(u16::from_be_bytes)
    }

    /// A last field that may be absent.
    pub(crate) fn optional_u16(&mut self) -> Result<Option<u16>, DecodeError> {
        if self.is_empty() { Ok(None) } else { self.u16().map(Some) }
    }

    pub(crate) fn u24(&mut self) -> Result<U24, DecodeError> {
        self.array().copied().map(U24::from)
    }

    pub(crate) fn table(&mut self) -> Result<TableId, DecodeError> {
        self.u16().map(TableId)
    }

    pub(crate) fn tlv(&mut self) -> Result<Tlv<'a>, DecodeError> {
        self.reader.tlv().map_err(|_| self.bad())
    }

    pub(crate) fn title(&mut self) -> Result<ApTitle<'a>, DecodeError> {
        ApTitle::of_tlv(&self.tlv()?)
    }

    /// `len1 octets`.
    pub(crate) fn short(&mut self) -> Result<ShortOctets<'a>, DecodeError> {
        let len = usize::from(self.octet()?);
        self.take(len).and_then(|octets| ShortOctets::new(octets).ok_or(self.bad()))
    }
}
