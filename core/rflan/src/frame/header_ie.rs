//! The list of header IEs and its terminations (802.15.4-2015, 7.4.2).

use super::{FrameError, VendorIe};
use crate::reader::Reader;

/// Element id of a vendor specific header IE.
const ID_VENDOR: u8 = 0x00;
/// Element id of header termination 1: payload IEs follow.
const ID_HT1: u8 = 0x7E;
/// Element id of header termination 2: the payload follows.
const ID_HT2: u8 = 0x7F;
/// Descriptor bit of a payload IE.
const TYPE_PAYLOAD: u16 = 0x8000;
/// Group id of the payload termination.
const GROUP_TERMINATION: u16 = 0xF;

/// One header IE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderIe<'a> {
    /// The element id.
    pub id: u8,
    /// The content, at most 127 octets.
    pub content: &'a [u8],
}

/// The header IEs of a frame, checked; terminations are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderIes<'a> {
    octets: &'a [u8],
}

/// What ended a list of header IEs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Termination {
    /// Payload IEs follow.
    Ht1,
    /// The payload follows, or nothing does.
    Payload,
}

impl<'a> HeaderIes<'a> {
    pub(super) const NONE: Self = Self { octets: &[] };

    /// Reads a list up to its termination, or to the end when there is none.
    ///
    /// Answers the list, what ended it and its octets with the termination.
    pub(super) fn decode(octets: &'a [u8]) -> Result<(Self, Termination, usize), FrameError> {
        let mut reader = Reader::new(octets);
        loop {
            let before = octets.len() - reader.rest().len();
            let ies = Self { octets: octets.get(..before).unwrap_or_default() };
            if reader.rest().is_empty() {
                return Ok((ies, Termination::Payload, before));
            }
            let ie = take(&mut reader)?;
            let after = octets.len() - reader.rest().len();
            match ie.id {
                ID_HT1 => return Ok((ies, Termination::Ht1, after)),
                ID_HT2 => return Ok((ies, Termination::Payload, after)),
                ID_VENDOR => VendorIe::decode(ie.content).map(|_| ())?,
                _ => {}
            }
        }
    }

    /// The IEs in their order.
    pub fn iter(self) -> impl Iterator<Item = HeaderIe<'a>> {
        let mut reader = Reader::new(self.octets);
        core::iter::from_fn(move || take(&mut reader).ok())
    }

    /// The vendor IEs of this link, in their order.
    pub fn vendor(self) -> impl Iterator<Item = VendorIe<'a>> {
        self.iter()
            .filter(|ie| ie.id == ID_VENDOR)
            .filter_map(|ie| VendorIe::decode(ie.content).ok().flatten())
    }
}

fn take<'a>(reader: &mut Reader<'a>) -> Result<HeaderIe<'a>, FrameError> {
    let descriptor = reader.le16().ok_or(FrameError::HeaderIe)?;
    if descriptor & TYPE_PAYLOAD != 0 {
        return Err(FrameError::PayloadIe);
    }
    let content = reader.octets(usize::from(descriptor & 0x7F)).ok_or(FrameError::HeaderIe)?;
    Ok(HeaderIe { id: ((descriptor >> 7) & 0xFF) as u8, content })
}

/// Skips payload IEs (7.4.3): what follows their termination, or nothing when they reach to the end.
pub(super) fn skip_payload_ies(octets: &[u8]) -> Result<&[u8], FrameError> {
    let mut reader = Reader::new(octets);
    while !reader.rest().is_empty() {
        let descriptor = reader.le16().ok_or(FrameError::PayloadIe)?;
        if descriptor & TYPE_PAYLOAD == 0 {
            return Err(FrameError::PayloadIe);
        }
        reader.octets(usize::from(descriptor & 0x7FF)).ok_or(FrameError::PayloadIe)?;
        if (descriptor >> 11) & 0xF == GROUP_TERMINATION {
            break;
        }
    }
    Ok(reader.rest())
}

/// Appends vendor IEs and, before a payload, header termination 2.
pub(super) fn encode(ies: &[VendorIe<'_>], has_payload: bool, out: &mut Vec<u8>) {
    for ie in ies {
        // The longest, a full ROUTE, is 116 octets: seven bits hold every length.
        out.extend_from_slice(&descriptor(ID_VENDOR, ie.content_len() as u16 & 0x7F));
        ie.encode_content(out);
    }
    if has_payload && !ies.is_empty() {
        out.extend_from_slice(&descriptor(ID_HT2, 0));
    }
}

const fn descriptor(id: u8, len: u16) -> [u8; 2] {
    ((id as u16) << 7 | len).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn terminations_have_the_octets_of_the_standard() {
        assert_eq!(descriptor(ID_HT1, 0), [0x00, 0x3F]);
        assert_eq!(descriptor(ID_HT2, 0), [0x80, 0x3F]);
    }

    #[test]
    fn payload_ies_are_skipped_and_a_header_ie_among_them_is_refused() {
        // Group 2 with three octets, payload termination, then the payload.
        let octets = [0x03, 0x90, 1, 2, 3, 0x00, 0xF8, 0xAA];
        assert_eq!(skip_payload_ies(&octets), Ok(&[0xAA][..]));
        assert_eq!(skip_payload_ies(&octets[..5]), Ok(&[][..]));
        assert_eq!(skip_payload_ies(&[0x03, 0x10, 1, 2, 3]), Err(FrameError::PayloadIe));
        assert_eq!(skip_payload_ies(&octets[..4]), Err(FrameError::PayloadIe));
    }

    #[test]
    fn an_ie_of_another_vendor_is_skipped() {
        let octets = [0x04, 0x00, 0x5E, 0x00, 0x00, 0x01, 0x80, 0x3F, 0xAA];
        let (ies, end, len) = HeaderIes::decode(&octets).unwrap();
        assert_eq!((end, len), (Termination::Payload, 8));
        assert_eq!(ies.iter().count(), 1);
        assert_eq!(ies.vendor().count(), 0);
    }

    proptest! {
        #[test]
        fn any_octets_decode_without_panic(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((ies, _, len)) = HeaderIes::decode(&octets) {
                prop_assert!(len <= octets.len());
                prop_assert!(ies.iter().map(|ie| ie.content.len() + 2).sum::<usize>() <= len);
            }
            let _ = skip_payload_ies(&octets);
        }
    }
}
