//! The canonified cleartext of EAX': what its MAC covers besides the EPSEM after the control octet.

use std::ops::Range;

use crate::apdu::Apdu;
use crate::authentication::{Authentication, AuthenticationValue};
use crate::ber;
use crate::element::{Elements, Tag};
use crate::epsem::{MAC_LEN, Sealing, SecurityMode};
use crate::error::{DecodeError, Leniency};

/// Which key of the node, and the initialization vector: UTC seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyIv {
    /// The entry of the node's key table.
    pub key_id: u8,
    /// Big-endian.
    pub iv: [u8; 4],
}

/// What of an APDU is sealed, as ranges of its octets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPlaces {
    /// Mode 1 or 2.
    pub mode: SecurityMode,
    /// What follows the control octet: encrypted in mode 2, only covered by the MAC in mode 1.
    pub payload: Range<usize>,
    /// The MAC.
    pub mac: Range<usize>,
}

/// Where the sealed octets stand; `None` in security mode 0.
///
/// # Errors
/// As [`Sealing::split`]; [`DecodeError::BadSegment`] in a segment.
pub fn sealed_places(apdu: &Apdu<'_>) -> Result<Option<SealedPlaces>, DecodeError> {
    let parts = Sealing::split(apdu.epsem().ok_or(DecodeError::BadSegment)?)?;
    if parts.mac.is_none() {
        return Ok(None);
    }
    let start = apdu.user_at().saturating_add(1);
    let end = start.saturating_add(parts.payload.len());
    Ok(Some(SealedPlaces { mode: parts.mode, payload: start..end, mac: end..end.saturating_add(MAC_LEN) }))
}

/// Which key and initialization vector seal an APDU: those of the message, else those of its session.
/// Without either key id it is 0.
///
/// # Errors
/// [`DecodeError::NoIv`] when neither says the vector.
pub fn key_iv(apdu: &Apdu<'_>, session: Option<KeyIv>) -> Result<KeyIv, DecodeError> {
    let (key_id, iv) = match apdu.envelope.authentication {
        Some(Authentication { value: AuthenticationValue::C1222 { key_id, iv }, .. }) => (key_id, iv),
        _ => (None, None),
    };
    Ok(KeyIv {
        key_id: key_id.or(session.map(|session| session.key_id)).unwrap_or(0),
        iv: iv.or(session.map(|session| session.iv)).ok_or(DecodeError::NoIv)?,
    })
}

/// Appends the canonified cleartext of an APDU to `out`.
///
/// `base` holds the octets of the object identifier under which relative titles hang, mostly
/// [`crate::ap_title::ROOT`]. Absent elements are skipped; all others enter as they stand on the wire.
///
/// # Errors
/// As [`key_iv`], whose result is returned; [`DecodeError::BadSegment`] in a segment.
pub fn canonify(
    apdu: &Apdu<'_>,
    session: Option<KeyIv>,
    base: &[u8],
    out: &mut Vec<u8>,
) -> Result<KeyIv, DecodeError> {
    const ORDER: [Tag; 7] = [
        Tag::AsoContext,
        Tag::CalledApTitle,
        Tag::CalledApInvocationId,
        Tag::CallingAeQualifier,
        Tag::CallingApInvocationId,
        Tag::MechanismName,
        Tag::CallingAuthenticationValue,
    ];
    apdu.epsem().ok_or(DecodeError::BadSegment)?;
    let key_iv = key_iv(apdu, session)?;
    for tag in ORDER {
        element(apdu, tag, base, out)?;
    }
    // From the tag of user-information to the control octet.
    let octets = apdu.octets().get(apdu.user_information_at()..=apdu.user_at());
    out.extend_from_slice(octets.ok_or(DecodeError::NoEpsem)?);
    element(apdu, Tag::CallingApTitle, base, out)?;
    out.push(key_iv.key_id);
    out.extend_from_slice(&key_iv.iv);
    Ok(key_iv)
}

/// Appends an element if it is there, relative titles made absolute.
fn element(apdu: &Apdu<'_>, tag: Tag, base: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let mut elements = Elements::open(apdu.octets(), Leniency::Draft)?;
    while let Some(element) = elements.next()? {
        if element.tag != tag {
            continue;
        }
        let title = match tag {
            Tag::CalledApTitle | Tag::CallingApTitle => Some(elements.quirks.title(&element)?),
            _ => None,
        };
        match title {
            Some(title) if !title.is_absolute() => {
                let len = base.len().saturating_add(title.arcs().len());
                ber::write_head(out, tag.octet(), ber::tlv_len(len));
                ber::write_head(out, 0x06, len);
                out.extend_from_slice(base);
                out.extend_from_slice(title.arcs());
            }
            _ => {
                let end = element.content.at().saturating_add(element.content.rest().len());
                out.extend_from_slice(apdu.octets().get(element.at..end).unwrap_or_default());
            }
        }
        break;
    }
    Ok(())
}
