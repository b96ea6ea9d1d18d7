//! The ACSE elements of an APDU, walked in the order in which they stand.

use crate::ap_title::{ApTitle, Form};
use crate::ber::{Reader, Tlv};
use crate::error::{DecodeError, Leniency};

/// The tag of an APDU.
pub(crate) const APDU: u8 = 0x60;

/// An ACSE element, in the order of emission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Tag {
    /// A1.
    AsoContext = 0xa1,
    /// A2: whom it is for.
    CalledApTitle = 0xa2,
    /// A3: only in segments, the size of the whole APDU.
    CalledAeQualifier = 0xa3,
    /// A4: only in responses, the invocation id that is answered.
    CalledApInvocationId = 0xa4,
    /// A6: who sends it.
    CallingApTitle = 0xa6,
    /// A7: test, urgent, notification.
    CallingAeQualifier = 0xa7,
    /// A8: the id of this message.
    CallingApInvocationId = 0xa8,
    /// 8B.
    MechanismName = 0x8b,
    /// AC: key id and IV, or the head of a profile-1 frame.
    CallingAuthenticationValue = 0xac,
    /// BE: the EPSEM, or a part of a segmented APDU.
    UserInformation = 0xbe,
}

impl Tag {
    /// How many elements there are.
    pub const COUNT: usize = 10;

    /// The element of a tag octet.
    #[must_use]
    pub fn of(octet: u8) -> Option<Self> {
        Some(match octet {
            0xa1 => Self::AsoContext,
            0xa2 => Self::CalledApTitle,
            0xa3 => Self::CalledAeQualifier,
            0xa4 => Self::CalledApInvocationId,
            0xa6 => Self::CallingApTitle,
            0xa7 => Self::CallingAeQualifier,
            0xa8 => Self::CallingApInvocationId,
            0x8b => Self::MechanismName,
            0xac => Self::CallingAuthenticationValue,
            0xbe => Self::UserInformation,
            _ => return None,
        })
    }

    /// The tag octet.
    #[must_use]
    pub fn octet(self) -> u8 {
        self as u8
    }

    /// The tag octet in hex, lower case.
    #[must_use]
    pub fn hex(self) -> &'static str {
        match self {
            Self::AsoContext => "a1",
            Self::CalledApTitle => "a2",
            Self::CalledAeQualifier => "a3",
            Self::CalledApInvocationId => "a4",
            Self::CallingApTitle => "a6",
            Self::CallingAeQualifier => "a7",
            Self::CallingApInvocationId => "a8",
            Self::MechanismName => "8b",
            Self::CallingAuthenticationValue => "ac",
            Self::UserInformation => "be",
        }
    }

    /// The standard's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AsoContext => "aSO-context",
            Self::CalledApTitle => "called-AP-title",
            Self::CalledAeQualifier => "called-AE-qualifier",
            Self::CalledApInvocationId => "called-AP-invocation-id",
            Self::CallingApTitle => "calling-AP-title",
            Self::CallingAeQualifier => "calling-AE-qualifier",
            Self::CallingApInvocationId => "calling-AP-invocation-id",
            Self::MechanismName => "mechanism-name",
            Self::CallingAuthenticationValue => "calling-authentication-value",
            Self::UserInformation => "user-information",
        }
    }

    /// One bit per tag; the low nibbles differ.
    fn bit(self) -> u16 {
        1 << (self.octet() & 0x0f)
    }
}

/// One element: its tag, where its tag octet stands in the APDU, and its content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    pub(crate) tag: Tag,
    pub(crate) at: usize,
    pub(crate) content: Reader<'a>,
}

/// What draft-era nodes do otherwise: whether it is accepted, and whether it was met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quirks {
    accepted: bool,
    pub(crate) met: bool,
}

impl Quirks {
    pub(crate) fn new(leniency: Leniency) -> Self {
        Self { accepted: leniency == Leniency::Draft, met: false }
    }

    /// Whether a quirk that is met here may pass.
    #[inline]
    fn pass(&mut self) -> bool {
        self.met |= self.accepted;
        self.accepted
    }

    /// The next `len` octets; a draft-era length may overstate by one what is left.
    #[inline]
    fn split<'a>(&mut self, reader: &mut Reader<'a>, len: usize) -> Result<Reader<'a>, DecodeError> {
        let left = reader.rest().len();
        let len = if len.checked_sub(1) == Some(left) && self.pass() { left } else { len };
        reader.split(len).ok_or(DecodeError::BadLength)
    }

    /// A tag-length-value with that leniency, and nothing may follow.
    #[inline]
    pub(crate) fn tlv<'a>(&mut self, reader: &mut Reader<'a>) -> Result<Tlv<'a>, DecodeError> {
        let tag = reader.octet().ok_or(DecodeError::BadLength)?;
        let len = reader.length().map_err(|_| DecodeError::BadLength)?;
        Ok(Tlv { tag, content: self.split(reader, len)? })
    }

    /// The title in A2 or A6; a draft-era one may be tagged 0d.
    #[inline]
    pub(crate) fn title<'a>(&mut self, element: &Element<'a>) -> Result<ApTitle<'a>, DecodeError> {
        let title = ApTitle::of_tlv(&element.only()?)?;
        if title.form() == Form::RelativeOid && !self.pass() {
            return Err(DecodeError::BadApTitle);
        }
        Ok(title)
    }
}

impl<'a> Element<'a> {
    /// The one tag-length-value that the element must hold.
    #[inline]
    pub(crate) fn only(&self) -> Result<Tlv<'a>, DecodeError> {
        let mut content = self.content;
        content.only().map_err(|_| DecodeError::BadElement(self.tag))
    }

    /// The octets of the one INTEGER that the element must hold.
    #[inline]
    pub(crate) fn integer(&self) -> Result<&'a [u8], DecodeError> {
        match self.only()? {
            Tlv { tag: 0x02, content } => Ok(content.rest()),
            _ => Err(DecodeError::BadElement(self.tag)),
        }
    }
}

/// Walks the elements of exactly one APDU; refuses unknown, doubled and missing ones.
#[derive(Clone, Debug)]
pub(crate) struct Elements<'a> {
    reader: Reader<'a>,
    pub(crate) quirks: Quirks,
    seen: u16,
}

impl<'a> Elements<'a> {
    #[inline]
    pub(crate) fn open(octets: &'a [u8], leniency: Leniency) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(octets);
        let len = head(&mut reader)?;
        let content = reader.split(len).ok_or(DecodeError::Truncated)?;
        if !reader.is_empty() {
            return Err(DecodeError::TrailingOctets);
        }
        Ok(Self { reader: content, quirks: Quirks::new(leniency), seen: 0 })
    }

    /// The next element, or `None` at the end.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Element<'a>>, DecodeError> {
        let at = self.reader.at();
        let Some(octet) = self.reader.octet() else {
            return match [Tag::CallingApInvocationId, Tag::UserInformation]
                .into_iter()
                .find(|tag| self.seen & tag.bit() == 0)
            {
                Some(tag) => Err(DecodeError::MissingElement(tag)),
                None => Ok(None),
            };
        };
        let tag = Tag::of(octet).ok_or(DecodeError::UnknownElement(octet))?;
        if self.seen & tag.bit() != 0 {
            return Err(DecodeError::DuplicateElement(tag));
        }
        self.seen |= tag.bit();
        let len = self.reader.length().map_err(|_| DecodeError::BadLength)?;
        let content = if tag == Tag::UserInformation {
            self.quirks.split(&mut self.reader, len)?
        } else {
            self.reader.split(len).ok_or(DecodeError::BadLength)?
        };
        Ok(Some(Element { tag, at, content }))
    }
}

/// Reads the tag and the length of an APDU.
#[inline]
pub(crate) fn head(reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    match reader.octet() {
        Some(APDU) => reader.length(),
        Some(other) => Err(DecodeError::NotAnApdu(other)),
        None => Err(DecodeError::Truncated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_distinct_and_spelt_as_their_octets() {
        let mut bits = 0_u16;
        let tags: Vec<Tag> = (0..=255).filter_map(Tag::of).collect();
        for tag in &tags {
            assert_eq!(format!("{:02x}", tag.octet()), tag.hex());
            assert_eq!(bits & tag.bit(), 0, "{tag:?}");
            bits |= tag.bit();
        }
        assert_eq!(tags.len(), Tag::COUNT);
    }

    #[test]
    fn walks_any_order_and_names_what_is_wrong() {
        let walk = |octets: &[u8]| {
            let mut elements = Elements::open(octets, Leniency::Strict)?;
            let mut tags = Vec::new();
            while let Some(element) = elements.next()? {
                tags.push(element.tag.hex());
            }
            Ok(tags)
        };
        assert_eq!(walk(&[0x60, 5, 0xbe, 1, 0, 0xa8, 0]), Ok(vec!["be", "a8"]));
        for (octets, error) in [
            (&[][..], DecodeError::Truncated),
            (&[0x61, 0], DecodeError::NotAnApdu(0x61)),
            (&[0x60, 2, 0xa8], DecodeError::Truncated),
            (&[0x60, 0, 0], DecodeError::TrailingOctets),
            (&[0x60, 0x80], DecodeError::BadLength),
            (&[0x60, 2, 0xa5, 0], DecodeError::UnknownElement(0xa5)),
            (&[0x60, 4, 0xa8, 0, 0xa8, 0], DecodeError::DuplicateElement(Tag::CallingApInvocationId)),
            (&[0x60, 2, 0xa8, 0], DecodeError::MissingElement(Tag::UserInformation)),
            (&[0x60, 2, 0xbe, 0], DecodeError::MissingElement(Tag::CallingApInvocationId)),
            (&[0x60, 3, 0xa8, 2, 0], DecodeError::BadLength),
            (&[0x60, 3, 0xbe, 2, 0], DecodeError::BadLength),
        ] {
            assert_eq!(walk(octets), Err(error), "{octets:02x?}");
        }
    }
}
