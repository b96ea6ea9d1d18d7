//! One whole C12.22 message.

use crate::authentication::Authentication;
use crate::ber::{Reader, Tlv};
use crate::element::{self, Element, Elements, Quirks, Tag};
use crate::envelope::{Envelope, Qualifier};
use crate::error::{DecodeError, Leniency};
use crate::invocation_id::InvocationId;
use crate::oid::Oid;

/// An APDU, borrowed from its octets.
#[derive(Clone, Copy, Debug)]
pub struct Apdu<'a> {
    /// Every ACSE element but A3 and BE.
    pub envelope: Envelope<'a>,
    /// What user-information (BE) holds.
    pub user: UserInformation<'a>,
    octets: &'a [u8],
    tags: Tags,
    quirks: Quirks,
    /// Where the tag of user-information stands.
    user_information_at: usize,
    /// Where the octets of `user` begin.
    user_at: usize,
}

/// What user-information holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserInformation<'a> {
    /// A whole EPSEM: at least its control octet.
    Epsem(&'a [u8]),
    /// A part of a segmented APDU.
    Segment(Segment<'a>),
}

/// A part of a segmented APDU, within its total size and not empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment<'a> {
    /// Octets of the whole APDU (A3).
    pub total: u32,
    /// Where the part belongs in the whole APDU.
    pub offset: u32,
    /// Its octets.
    pub part: &'a [u8],
}

/// The tags in the order in which they stood.
#[derive(Clone, Copy, Debug)]
struct Tags {
    tags: [Tag; Tag::COUNT],
    len: usize,
}

impl<'a> Apdu<'a> {
    /// Reads exactly one whole APDU, its elements in any order.
    ///
    /// # Errors
    /// [`DecodeError`], the first fault found.
    pub fn decode(octets: &'a [u8], leniency: Leniency) -> Result<Self, DecodeError> {
        const MISSING: DecodeError = DecodeError::MissingElement(Tag::CallingApInvocationId);
        let mut elements = Elements::open(octets, leniency)?;
        let mut tags = Tags { tags: [Tag::UserInformation; Tag::COUNT], len: 0 };
        let (mut envelope, mut invocation) = (Envelope::new(InvocationId::new(0)), None);
        let (mut total, mut user) = (None, None);
        while let Some(element) = elements.next()? {
            tags.push(element.tag);
            match element.tag {
                Tag::AsoContext => envelope.aso_context = Some(aso_context(&element)?),
                Tag::CalledApTitle => envelope.called = Some(elements.quirks.title(&element)?),
                Tag::CalledAeQualifier => total = Some(number(&element)?),
                Tag::CalledApInvocationId => envelope.answer_to = Some(invocation_id(&element)?),
                Tag::CallingApTitle => envelope.calling = Some(elements.quirks.title(&element)?),
                Tag::CallingAeQualifier => envelope.qualifier = Some(qualifier(&element)?),
                Tag::CallingApInvocationId => invocation = Some(invocation_id(&element)?),
                Tag::MechanismName => envelope.mechanism = Some(Oid::new(element.content.rest())?),
                Tag::CallingAuthenticationValue => {
                    envelope.authentication = Some(Authentication::decode(element.content)?);
                }
                Tag::UserInformation => {
                    user = Some((element.at, UserPart::decode(&element, &mut elements.quirks)?));
                }
            }
        }
        envelope.invocation = invocation.ok_or(MISSING)?;
        let (user_information_at, part) = user.ok_or(DecodeError::MissingElement(Tag::UserInformation))?;
        Ok(Self {
            envelope,
            user: part.with_total(total)?,
            octets,
            tags,
            quirks: elements.quirks,
            user_information_at,
            user_at: part.octets.at(),
        })
    }

    /// The octets it was read from.
    #[must_use]
    pub fn octets(&self) -> &'a [u8] {
        self.octets
    }

    /// Its elements in the order in which they stand.
    #[must_use]
    pub fn elements(&self) -> &[Tag] {
        self.tags.tags.get(..self.tags.len).unwrap_or_default()
    }

    /// Whether it could only be read with [`Leniency::Draft`].
    #[must_use]
    pub fn is_draft(&self) -> bool {
        self.quirks.met
    }

    /// The EPSEM: control octet, then clear or sealed octets. `None` in a segment.
    #[must_use]
    pub fn epsem(&self) -> Option<&'a [u8]> {
        match self.user {
            UserInformation::Epsem(epsem) => Some(epsem),
            UserInformation::Segment(_) => None,
        }
    }

    /// Where the EPSEM, or the part of a segment, begins in the octets.
    #[must_use]
    pub fn user_at(&self) -> usize {
        self.user_at
    }

    /// Where the tag of user-information stands in the octets.
    pub(crate) fn user_information_at(&self) -> usize {
        self.user_information_at
    }
}

impl Tags {
    fn push(&mut self, tag: Tag) {
        // No element is accepted twice, so there is room.
        if let Some(slot) = self.tags.get_mut(self.len) {
            *slot = tag;
            self.len += 1;
        }
    }
}

/// Octets of the APDU that these begin with: `None` when too few octets are there to tell. TCP carries
/// APDUs back to back with no other framing (RFC 6142), so this is how a stream is cut.
///
/// # Errors
/// [`DecodeError::NotAnApdu`] or [`DecodeError::BadLength`] when no APDU begins here,
/// [`DecodeError::TooLarge`] when it would have over `octets_max` octets.
pub fn measure(octets: &[u8], octets_max: usize) -> Result<Option<usize>, DecodeError> {
    let mut reader = Reader::new(octets);
    let len = match element::head(&mut reader) {
        Ok(len) => reader.at().saturating_add(len),
        Err(DecodeError::Truncated) => return Ok(None),
        Err(error) => return Err(error),
    };
    if len > octets_max { Err(DecodeError::TooLarge) } else { Ok(Some(len)) }
}

/// The inside of user-information: `28 L [02 L x] 81 L octets`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserPart<'a> {
    offset: Option<&'a [u8]>,
    pub(crate) octets: Reader<'a>,
}

impl<'a> UserPart<'a> {
    #[inline]
    pub(crate) fn decode(element: &Element<'a>, quirks: &mut Quirks) -> Result<Self, DecodeError> {
        const BAD: DecodeError = DecodeError::BadElement(Tag::UserInformation);
        let mut content = element.content;
        let mut external = quirks.tlv(&mut content)?;
        if external.tag != 0x28 {
            return Err(BAD);
        }
        if !content.is_empty() {
            return Err(DecodeError::TrailingOctets);
        }
        let mut item = quirks.tlv(&mut external.content)?;
        let mut offset = None;
        if item.tag == 0x02 {
            offset = Some(item.content.rest());
            item = quirks.tlv(&mut external.content)?;
        }
        if item.tag != 0x81 {
            return Err(BAD);
        }
        if !external.content.is_empty() {
            return Err(DecodeError::TrailingOctets);
        }
        if item.content.is_empty() {
            return Err(DecodeError::NoEpsem);
        }
        Ok(Self { offset, octets: item.content })
    }

    /// With A3 it is a segment, and `02 L x` its offset; else a whole EPSEM.
    #[inline]
    pub(crate) fn with_total(&self, total: Option<u32>) -> Result<UserInformation<'a>, DecodeError> {
        let part = self.octets.rest();
        let Some(total) = total else { return Ok(UserInformation::Epsem(part)) };
        let offset = match self.offset {
            Some(octets @ [_, ..]) if octets.len() <= 3 => unsigned(octets),
            _ => return Err(DecodeError::BadSegment),
        };
        if usize::try_from(total).is_ok_and(|total| (offset as usize).saturating_add(part.len()) <= total) {
            Ok(UserInformation::Segment(Segment { total, offset, part }))
        } else {
            Err(DecodeError::BadSegment)
        }
    }
}

/// A1: `06 L oid`.
#[inline]
pub(crate) fn aso_context<'a>(element: &Element<'a>) -> Result<Oid<'a>, DecodeError> {
    match element.only()? {
        Tlv { tag: 0x06, content } => Oid::new(content.rest()),
        _ => Err(DecodeError::BadElement(element.tag)),
    }
}

/// A4, A8: `02 L n`.
#[inline]
pub(crate) fn invocation_id(element: &Element<'_>) -> Result<InvocationId, DecodeError> {
    InvocationId::of_octets(element.integer()?)
}

/// A7: `02 01 b`.
#[inline]
pub(crate) fn qualifier(element: &Element<'_>) -> Result<Qualifier, DecodeError> {
    match element.integer()? {
        [bits] => Ok(Qualifier(*bits)),
        _ => Err(DecodeError::BadElement(element.tag)),
    }
}

/// A3: `02 L n`, unsigned.
#[inline]
pub(crate) fn number(element: &Element<'_>) -> Result<u32, DecodeError> {
    match element.integer()? {
        octets @ [_, ..] if octets.len() <= 4 => Ok(unsigned(octets)),
        _ => Err(DecodeError::BadElement(element.tag)),
    }
}

/// A number of up to 4 octets.
fn unsigned(octets: &[u8]) -> u32 {
    octets.iter().fold(0, |number, &octet| (number << 8) | u32::from(octet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ap_title::ApTitleBuf;
    use crate::oid::Oid;

    /// A message with every element but A3.
    fn full(out: &mut Vec<u8>) {
        let (called, calling) =
            (ApTitleBuf::parse(".68.33.3").unwrap(), ApTitleBuf::parse("1.3.6.1.4").unwrap());
        let oid = Oid::new(&[0x60, 0x7c]).unwrap();
        let envelope = Envelope {
            aso_context: Some(oid),
            called: Some(called.as_title()),
            answer_to: Some(InvocationId::of_octets(&[0, 7]).unwrap()),
            calling: Some(calling.as_title()),
            qualifier: Some(Qualifier(0x05)),
            invocation: InvocationId::new(0xa6e2_d34c),
            mechanism: Some(oid),
            authentication: Some(Authentication::c1222(2, [1, 2, 3, 4])),
        };
        envelope.write_head(out, 1);
        out.push(0x80);
        let apdu = Apdu::decode(out, Leniency::Strict).unwrap();
        assert_eq!(apdu.envelope, envelope);
    }

    #[test]
    fn elements_stand_in_any_order() {
        let mut octets = Vec::new();
        full(&mut octets);
        let apdu = Apdu::decode(&octets, Leniency::Strict).unwrap();
        let order: Vec<&str> = apdu.elements().iter().map(|tag| tag.hex()).collect();
        assert_eq!(order, ["a1", "a2", "a4", "a6", "a7", "a8", "8b", "ac", "be"]);
        assert_eq!(octets[apdu.user_at()], 0x80);

        let mut elements = Vec::new();
        let mut walk = Elements::open(&octets, Leniency::Strict).unwrap();
        while let Some(element) = walk.next().unwrap() {
            let end = element.content.at() + element.content.rest().len();
            elements.push(&octets[element.at..end]);
        }
        elements.reverse();
        let turned = [&octets[..2], &elements.concat()].concat();
        let other = Apdu::decode(&turned, Leniency::Strict).unwrap();
        assert_eq!((other.envelope, other.user), (apdu.envelope, apdu.user));
        assert_eq!(other.elements().iter().rev().map(|tag| tag.hex()).collect::<Vec<_>>(), order);
    }

    #[test]
    fn every_cut_and_every_octet_more_is_refused() {
        let mut octets = Vec::new();
        full(&mut octets);
        for len in 0..octets.len() {
            assert_eq!(Apdu::decode(&octets[..len], Leniency::Draft).unwrap_err(), DecodeError::Truncated);
        }
        octets.push(0);
        assert_eq!(Apdu::decode(&octets, Leniency::Draft).unwrap_err(), DecodeError::TrailingOctets);
    }

    #[test]
    fn faults_have_their_names() {
        let decode = |content: &[u8], leniency| {
            let octets = [&[0x60, u8::try_from(content.len()).unwrap()], content].concat();
            Apdu::decode(&octets, leniency).map(|apdu| apdu.is_draft()).map_err(|error| error.name())
        };
        let a8 = [0xa8, 3, 2, 1, 9];
        let be = [0xbe, 5, 0x28, 3, 0x81, 1, 0x80];
        assert_eq!(decode(&[&a8[..], &be].concat(), Leniency::Strict), Ok(false));
        for (extra, strict, draft) in [
            (&[0xa2, 3, 0x0d, 1, 5][..], Err("bad-ap-title"), Ok(true)),
            (&[0xa2, 3, 0x81, 1, 5], Err("bad-ap-title"), Err("bad-ap-title")),
            (&[0xa2, 2, 0x80, 0], Err("bad-ap-title"), Err("bad-ap-title")),
            (&[0xa2, 3, 0x80, 1, 0x85], Err("bad-object-identifier"), Err("bad-object-identifier")),
            (&[0xa2, 4, 0x80, 1, 5, 0], Err("bad-element"), Err("bad-element")),
            (&[0xa2, 3, 0x80, 2, 5], Err("bad-element"), Err("bad-element")),
            (&[0xa1, 3, 0x80, 1, 5], Err("bad-element"), Err("bad-element")),
            (&[0xa4, 2, 2, 0], Err("bad-invocation-id"), Err("bad-invocation-id")),
            (&[0xa4, 7, 2, 5, 0, 0, 0, 0, 1], Err("bad-invocation-id"), Err("bad-invocation-id")),
            (&[0xa7, 4, 2, 2, 0, 4], Err("bad-element"), Err("bad-element")),
            (&[0xa3, 3, 2, 1, 9], Err("bad-segment"), Err("bad-segment")),
            (&[0xa5, 0], Err("unknown-element"), Err("unknown-element")),
            (&[0xac, 0], Err("bad-authentication"), Err("bad-authentication")),
            (&[0x8b, 0], Err("bad-object-identifier"), Err("bad-object-identifier")),
            (&a8, Err("duplicate-element"), Err("duplicate-element")),
        ] {
            let content = [&a8[..], extra, &be].concat();
            let found = (decode(&content, Leniency::Strict), decode(&content, Leniency::Draft));
            assert_eq!(found, (strict, draft), "{extra:02x?}");
        }
        for (be, strict, draft) in [
            (&[0xbe, 4, 0x28, 2, 0x81, 0][..], Err("no-epsem"), Err("no-epsem")),
            (&[0xbe, 6, 0x28, 4, 0x81, 2, 0x80], Err("bad-length"), Ok(true)),
            (&[0xbe, 5, 0x28, 3, 0x81, 2, 0x80], Err("bad-length"), Ok(true)),
            (&[0xbe, 7, 0x28, 5, 0x81, 3, 0x80], Err("bad-length"), Err("bad-length")),
            (&[0xbe, 6, 0x28, 3, 0x81, 1, 0x80, 0], Err("trailing-octets"), Err("trailing-octets")),
            (&[0xbe, 6, 0x28, 4, 0x81, 1, 0x80, 0], Err("trailing-octets"), Err("trailing-octets")),
            (&[0xbe, 5, 0x29, 3, 0x81, 1, 0x80], Err("bad-element"), Err("bad-element")),
            (&[0xbe, 5, 0x28, 3, 0x82, 1, 0x80], Err("bad-element"), Err("bad-element")),
            (&[0xbe, 8, 0x28, 6, 2, 1, 0, 0x81, 1, 0x80], Ok(false), Ok(false)),
            (&[], Err("missing-element"), Err("missing-element")),
        ] {
            let content = [&a8[..], be].concat();
            let found = (decode(&content, Leniency::Strict), decode(&content, Leniency::Draft));
            assert_eq!(found, (strict, draft), "{be:02x?}");
        }
    }

    #[test]
    fn a_segment_stays_within_its_total() {
        let decode = |total: u8, offset: &[u8]| {
            let external = [&[2, u8::try_from(offset.len()).unwrap()], offset, &[0x81, 2, 7, 8]].concat();
            let len = u8::try_from(external.len()).unwrap();
            let be = [&[0xbe, len + 2, 0x28, len], &external[..]].concat();
            let content = [&[0xa3, 3, 2, 1, total, 0xa8, 3, 2, 1, 9], &be[..]].concat();
            let octets = [&[0x60, u8::try_from(content.len()).unwrap()], &content[..]].concat();
            Apdu::decode(&octets, Leniency::Strict).map(|apdu| match apdu.user {
                UserInformation::Segment(segment) => (segment.total, segment.offset, segment.part.len()),
                UserInformation::Epsem(_) => panic!("no segment"),
            })
        };
        assert_eq!(decode(200, &[198]), Ok((200, 198, 2)));
        assert_eq!(decode(200, &[0, 0, 5]), Ok((200, 5, 2)));
        for offset in [&[199][..], &[], &[0, 0, 0, 5], &[1, 0]] {
            assert_eq!(decode(200, offset), Err(DecodeError::BadSegment), "{offset:?}");
        }
    }

    #[test]
    fn a_stream_is_measured_before_it_is_read() {
        assert_eq!(measure(&[], 100), Ok(None));
        assert_eq!(measure(&[0x60], 100), Ok(None));
        assert_eq!(measure(&[0x60, 0x81], 100), Ok(None));
        assert_eq!(measure(&[0x60, 0x81, 0x50], 100), Ok(Some(0x53)));
        assert_eq!(measure(&[0x60, 0x82, 0x01, 0x00], 100), Err(DecodeError::TooLarge));
        assert_eq!(measure(&[0x60, 0x84, 0xff, 0xff, 0xff, 0xff], 100), Err(DecodeError::TooLarge));
        assert_eq!(measure(&[0x16], 100), Err(DecodeError::NotAnApdu(0x16)));
        assert_eq!(measure(&[0x60, 0x80], 100), Err(DecodeError::BadLength));
    }
}
