//! One datagram of which some fragments are still to come.

use super::bitmap::Bitmap;
use super::fragment::UNIT;
use super::{FragmentHeader, Headers, IPV6_UDP_LEN, LinkEnds, LowpanError};

/// A datagram under way.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) size: u16,
    pub(super) started_ns: u64,
    pub(super) headers: Option<Headers>,
    pub(super) payload: Vec<u8>,
    received: Bitmap,
    /// The first unit of each fragment, to tell a duplicate from an overlap.
    starts: Bitmap,
}

/// What a fragment covers: units of the datagram, and octets of the UDP payload.
#[derive(Clone, Copy)]
pub(super) struct Cover<'a> {
    units: Bitmap,
    start: Bitmap,
    next: Bitmap,
    payload_at: usize,
    payload: &'a [u8],
    headers: Option<Headers>,
}

/// How a fragment stands to those that came before.
pub(super) enum Comparison {
    New,
    Duplicate,
    Overlap,
}

impl Partial {
    /// A datagram of `size` octets with headers, `payload_len` without, of which nothing has come.
    pub(super) fn new(size: u16, payload_len: usize, now_ns: u64) -> Self {
        Self {
            size,
            started_ns: now_ns,
            headers: None,
            payload: vec![0; payload_len],
            received: Bitmap::default(),
            starts: Bitmap::default(),
        }
    }

    /// Whether every unit has come.
    pub(super) fn is_whole(&self) -> bool {
        self.received.count() == usize::from(self.size).div_ceil(UNIT)
    }

    /// Compares a fragment with what came before.
    pub(super) fn compare(&self, size: u16, cover: &Cover<'_>) -> Comparison {
        if size != self.size {
            return Comparison::Overlap;
        }
        let common = self.received.and(cover.units);
        if common.is_empty() {
            return Comparison::New;
        }
        // A duplicate has the bounds of one fragment that was taken: it starts where that one started, no
        // other starts inside, and what follows it is missing or starts a fragment.
        let same_bounds = common == cover.units
            && self.starts.and(cover.units) == cover.start
            && (self.received.and(cover.next).is_empty() || !self.starts.and(cover.next).is_empty());
        let end = cover.payload_at.saturating_add(cover.payload.len());
        let same_octets = self.payload.get(cover.payload_at..end) == Some(cover.payload);
        let same_headers = cover.headers.is_none() || cover.headers == self.headers;
        if same_bounds && same_octets && same_headers { Comparison::Duplicate } else { Comparison::Overlap }
    }

    /// Takes a new fragment in.
    pub(super) fn take(&mut self, cover: &Cover<'_>) {
        let end = cover.payload_at.saturating_add(cover.payload.len());
        if let Some(place) = self.payload.get_mut(cover.payload_at..end) {
            place.copy_from_slice(cover.payload);
        }
        self.received = self.received.or(cover.units);
        self.starts = self.starts.or(cover.start);
        self.headers = self.headers.or(cover.headers);
    }
}

impl<'a> Cover<'a> {
    /// Checks a fragment by itself and says what it covers.
    ///
    /// # Errors
    /// [`LowpanError`] of its headers, its offset or its length.
    pub(super) fn of(
        header: FragmentHeader,
        fragment: &'a [u8],
        ends: &LinkEnds,
    ) -> Result<Self, LowpanError> {
        let size = usize::from(header.size);
        if size < IPV6_UDP_LEN {
            return Err(LowpanError::DatagramTooShort);
        }
        let offset = usize::from(header.offset) * UNIT;
        let (headers, payload, payload_at, len) = if header.offset == 0 {
            let (headers, payload) = Headers::decode(fragment, ends)?;
            (Some(headers), payload, 0, IPV6_UDP_LEN + payload.len())
        } else {
            let payload_at = offset.checked_sub(IPV6_UDP_LEN).ok_or(LowpanError::FragmentOffset)?;
            if fragment.is_empty() {
                return Err(LowpanError::FragmentLength);
            }
            (None, fragment, payload_at, fragment.len())
        };
        let end = offset + len;
        if end > size {
            return Err(LowpanError::FragmentOffset);
        }
        if end < size && !len.is_multiple_of(UNIT) {
            return Err(LowpanError::FragmentLength);
        }
        let (first, units) = (offset / UNIT, len.div_ceil(UNIT));
        Ok(Self {
            units: Bitmap::range(first, units),
            start: Bitmap::range(first, 1),
            next: Bitmap::range(first + units, 1),
            payload_at,
            payload,
            headers,
        })
    }
}
