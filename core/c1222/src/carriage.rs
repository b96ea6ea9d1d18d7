//! Profile-1 frames inside a C12.22 APDU: the head of the frame travels as calling-authentication-value
//! in its octet-aligned form, the rest in user-information after one EPSEM control octet. The frame is
//! opaque here but for its first octet, version and type.

use crate::ap_title::ApTitle;
use crate::apdu::{self, Apdu, UserPart};
use crate::authentication::{Authentication, AuthenticationValue};
use crate::ber::Reader;
use crate::element::{Elements, Tag};
use crate::envelope::Envelope;
use crate::epsem::EpsemControl;
use crate::error::{DecodeError, Leniency};
use crate::oid::Oid;

/// The outer control octet carries no authority: these of its bits must be those of 88.
const CONTROL_MASK: u8 = 0x9c;
const CONTROL: u8 = 0x88;

/// A frame as an APDU carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried<'a> {
    /// Its first octets: 9 in types 1 to 5, 5 in type A (EDHOC message_3), 1 in types 8, 9, B and C.
    pub head: &'a [u8],
    /// The outer EPSEM control octet.
    pub control: u8,
    /// All octets after the head.
    pub body: &'a [u8],
}

/// What an APDU is for, as [`locate`] found it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located<'a> {
    /// What it carries, and where.
    pub place: Place,
    /// The sender (A6).
    pub calling: Option<ApTitle<'a>>,
}

/// What an APDU carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A profile-1 frame.
    Frame(FramePlace),
    /// No profile-1 frame, but an authentication value: a sessionless classic (EAX') message.
    Classic,
    /// No authentication value: a message in clear, or one of a session.
    Clear,
    /// A segment of an APDU.
    Segment,
}

/// Where the two parts of a profile-1 frame stand in the octets of its APDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePlace {
    /// 1 to 5, 8 to c.
    pub frame_type: u8,
    /// Octets of the head: 9, 5 or 1.
    pub head_len: u8,
    /// Where the head begins.
    pub head: u16,
    /// Where the body begins.
    pub body: u16,
    /// Octets of the body.
    pub body_len: u16,
}

/// The frame that an APDU carries; `None` when it has no octet-aligned authentication value, or one of a
/// named mechanism.
///
/// # Errors
/// SEC-FORMAT of the security layer: [`DecodeError::FrameVersion`], [`DecodeError::FrameType`],
/// [`DecodeError::FrameHeadLength`], [`DecodeError::OuterControl`], [`DecodeError::BadSegment`] in a
/// segment, [`DecodeError::BadLength`] when only draft-era leniency could read the APDU.
pub fn read<'a>(apdu: &Apdu<'a>) -> Result<Option<Carried<'a>>, DecodeError> {
    let Some(Authentication { value: AuthenticationValue::OctetAligned(head), .. }) =
        apdu.envelope.authentication
    else {
        return Ok(None);
    };
    if apdu.envelope.mechanism.is_some() {
        return Ok(None);
    }
    let epsem = apdu.epsem().ok_or(DecodeError::BadSegment)?;
    check(head, epsem, apdu.is_draft())?;
    Ok(epsem.split_first().map(|(control, body)| Carried { head, control: *control, body }))
}

/// Checks the octets that say how a frame is carried; answers its type.
#[inline]
fn check(head: &[u8], epsem: &[u8], draft: bool) -> Result<u8, DecodeError> {
    if draft {
        return Err(DecodeError::BadLength);
    }
    let first = *head.first().ok_or(DecodeError::FrameHeadLength)?;
    let head_len = head_len(first)?;
    if head.len() != head_len {
        return Err(DecodeError::FrameHeadLength);
    }
    match epsem.first() {
        Some(control) if control & CONTROL_MASK == CONTROL => Ok(first & 0x0f),
        _ => Err(DecodeError::OuterControl),
    }
}

/// How many octets of a frame travel in its authentication value, told by its first octet.
///
/// # Errors
/// [`DecodeError::FrameVersion`], [`DecodeError::FrameType`].
pub fn head_len(first: u8) -> Result<usize, DecodeError> {
    if first >> 4 != 1 {
        return Err(DecodeError::FrameVersion);
    }
    match first & 0x0f {
        1..=5 => Ok(9),
        0xa => Ok(5),
        8 | 9 | 0xb | 0xc => Ok(1),
        _ => Err(DecodeError::FrameType),
    }
}

/// Finds the parts of a profile-1 frame, or what else the APDU is, in one pass and without allocation. It
/// accepts and refuses exactly what [`Apdu::decode`] and then [`read`] do.
///
/// # Errors
/// As [`Apdu::decode`] and [`read`]; [`DecodeError::TooLarge`] when a frame would begin or end beyond
/// 65,535 octets.
pub fn locate(octets: &[u8], leniency: Leniency) -> Result<Located<'_>, DecodeError> {
    let mut elements = Elements::open(octets, leniency)?;
    let (mut calling, mut authentication, mut mechanism) = (None, None, false);
    let (mut total, mut user) = (None, None);
    while let Some(element) = elements.next()? {
        match element.tag {
            Tag::CalledApTitle => drop(elements.quirks.title(&element)?),
            Tag::CallingApTitle => calling = Some(elements.quirks.title(&element)?),
            Tag::CalledApInvocationId | Tag::CallingApInvocationId => drop(apdu::invocation_id(&element)?),
            Tag::CallingAeQualifier => drop(apdu::qualifier(&element)?),
            Tag::CallingAuthenticationValue => authentication = Some(octet_aligned(element.content)?),
            Tag::UserInformation => user = Some(UserPart::decode(&element, &mut elements.quirks)?),
            Tag::AsoContext => drop(apdu::aso_context(&element)?),
            Tag::CalledAeQualifier => total = Some(apdu::number(&element)?),
            Tag::MechanismName => {
                Oid::new(element.content.rest())?;
                mechanism = true;
            }
        }
    }
    let user = user.ok_or(DecodeError::MissingElement(Tag::UserInformation))?;
    user.with_total(total)?;
    let place = match authentication {
        Some(Some(head)) if !mechanism => {
            if total.is_some() {
                return Err(DecodeError::BadSegment);
            }
            let frame_type = check(head.rest(), user.octets.rest(), elements.quirks.met)?;
            Place::Frame(frame_place(frame_type, &head, &user.octets).ok_or(DecodeError::TooLarge)?)
        }
        _ if total.is_some() => Place::Segment,
        Some(_) => Place::Classic,
        None => Place::Clear,
    };
    Ok(Located { place, calling })
}

/// The head of a frame in octet-aligned form; `None` in the other forms.
#[inline]
fn octet_aligned(content: Reader<'_>) -> Result<Option<Reader<'_>>, DecodeError> {
    let authentication = Authentication::decode(content)?;
    Ok(match authentication.value {
        AuthenticationValue::OctetAligned(octets) => Some(content.tail(octets.len())),
        _ => None,
    })
}

#[inline]
fn frame_place(frame_type: u8, head: &Reader<'_>, epsem: &Reader<'_>) -> Option<FramePlace> {
    let body = u16::try_from(epsem.at().checked_add(1)?).ok()?;
    let body_len = u16::try_from(epsem.rest().len().checked_sub(1)?).ok()?;
    body.checked_add(body_len)?;
    Some(FramePlace {
        frame_type,
        head_len: u8::try_from(head.rest().len()).ok()?,
        head: u16::try_from(head.at()).ok()?,
        body,
        body_len,
    })
}

impl FramePlace {
    /// The octets of the head in the octets of the same APDU.
    #[must_use]
    pub fn head<'a>(&self, apdu: &'a [u8]) -> &'a [u8] {
        part(apdu, self.head, usize::from(self.head_len))
    }

    /// The octets after the head in the octets of the same APDU.
    #[must_use]
    pub fn body<'a>(&self, apdu: &'a [u8]) -> &'a [u8] {
        part(apdu, self.body, usize::from(self.body_len))
    }
}

fn part(apdu: &[u8], at: u16, len: usize) -> &[u8] {
    let at = usize::from(at);
    apdu.get(at..at.saturating_add(len)).unwrap_or_default()
}

/// The outer control octet of a frame type: a response is never asked for in types 1, 4, 5, B and C.
///
/// # Errors
/// [`DecodeError::FrameVersion`], [`DecodeError::FrameType`].
pub fn control(first: u8) -> Result<EpsemControl, DecodeError> {
    head_len(first)?;
    let never = matches!(first & 0x0f, 1 | 4 | 5 | 0xb | 0xc);
    Ok(EpsemControl(CONTROL | if never { 2 } else { 0 }))
}

/// Appends the APDU of a frame up to its body; exactly `body_len` octets must be appended after it.
/// `envelope` needs no authentication: the head is it.
///
/// # Errors
/// [`DecodeError::FrameVersion`], [`DecodeError::FrameType`], [`DecodeError::FrameHeadLength`]; nothing
/// is appended then.
pub fn write_head(
    out: &mut Vec<u8>,
    envelope: &Envelope<'_>,
    head: &[u8],
    body_len: usize,
) -> Result<(), DecodeError> {
    let first = *head.first().ok_or(DecodeError::FrameHeadLength)?;
    if head.len() != head_len(first)? {
        return Err(DecodeError::FrameHeadLength);
    }
    let control = control(first)?;
    let authentication = Some(AuthenticationValue::OctetAligned(head).into());
    Envelope { authentication, ..*envelope }.write_head(out, body_len.saturating_add(1));
    out.push(control.0);
    Ok(())
}

/// Appends the APDU of a whole frame.
///
/// # Errors
/// As [`write_head`].
pub fn write(out: &mut Vec<u8>, envelope: &Envelope<'_>, frame: &[u8]) -> Result<(), DecodeError> {
    let first = *frame.first().ok_or(DecodeError::FrameHeadLength)?;
    let (head, body) = frame.split_at_checked(head_len(first)?).ok_or(DecodeError::FrameHeadLength)?;
    write_head(out, envelope, head, body.len())?;
    out.extend_from_slice(body);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invocation_id::InvocationId;

    fn carry(head: &[u8], body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let envelope = Envelope::new(InvocationId::new(5));
        write_head(&mut out, &envelope, head, body.len()).unwrap();
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn heads_go_by_type() {
        for first in 0..=255_u8 {
            let expected = match first {
                0x11..=0x15 => Ok(9),
                0x1a => Ok(5),
                0x18 | 0x19 | 0x1b | 0x1c => Ok(1),
                0x10..=0x1f => Err(DecodeError::FrameType),
                _ => Err(DecodeError::FrameVersion),
            };
            assert_eq!(head_len(first), expected, "{first:02x}");
        }
        let mut out = Vec::new();
        let envelope = Envelope::new(InvocationId::new(5));
        for frame in [&[][..], &[0x11; 8], &[0x1a; 4]] {
            assert_eq!(write(&mut out, &envelope, frame), Err(DecodeError::FrameHeadLength));
        }
        assert_eq!(write_head(&mut out, &envelope, &[0x11; 5], 0), Err(DecodeError::FrameHeadLength));
        assert!(out.is_empty());
    }

    #[test]
    fn only_the_masked_bits_of_the_outer_control_count() {
        let octets = carry(&[0x11; 9], &[7; 20]);
        let at = octets.len() - 21;
        for control in 0..=255_u8 {
            let mut octets = octets.clone();
            octets[at] = control;
            let expected = if control & 0x9c == 0x88 { None } else { Some(DecodeError::OuterControl) };
            assert_eq!(locate(&octets, Leniency::Strict).err(), expected, "{control:02x}");
        }
    }

    #[test]
    fn a_named_mechanism_is_not_profile_1() {
        let mechanism = Some(Oid::new(&[0x60, 0x7c]).unwrap());
        let mut out = Vec::new();
        Envelope { mechanism, ..Envelope::new(InvocationId::new(5)) }
            .answer(InvocationId::new(6))
            .write_head(&mut out, 1);
        out.push(0x80);
        assert_eq!(locate(&out, Leniency::Strict).map(|located| located.place), Ok(Place::Clear));
        out.clear();
        let envelope = Envelope { mechanism, ..Envelope::new(InvocationId::new(5)) };
        write(&mut out, &envelope, &[0x18, 1, 2]).unwrap();
        assert_eq!(locate(&out, Leniency::Strict).map(|located| located.place), Ok(Place::Classic));
        assert_eq!(read(&Apdu::decode(&out, Leniency::Strict).unwrap()), Ok(None));
    }

    #[test]
    fn a_frame_beyond_its_descriptor_is_too_large() {
        let octets = carry(&[0x18], &vec![0; 0x1_0000]);
        assert_eq!(locate(&octets, Leniency::Strict), Err(DecodeError::TooLarge));
        let octets = carry(&[0x18], &vec![0; 0xff00]);
        assert!(locate(&octets, Leniency::Strict).is_ok());
    }
}
