//! The calling-authentication-value (AC): `A2 L [02 01 x] (A0 .. | 81 ..)`.

use crate::ber::{self, Reader};
use crate::error::DecodeError;

/// The calling-authentication-value in one of its three forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authentication<'a> {
    /// The octet of `02 01 x`, which is mostly absent.
    pub reference: Option<u8>,
    /// What it holds.
    pub value: AuthenticationValue<'a>,
}

/// What a calling-authentication-value holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthenticationValue<'a> {
    /// C12.22 form, for EAX': `A0 L A1 L [80 01 key-id] [81 04 iv]`.
    C1222 {
        /// Which key.
        key_id: Option<u8>,
        /// The initialization vector: UTC seconds.
        iv: Option<[u8; 4]>,
    },
    /// C12.21 form: `A0 L A0 L (80 | 81 | 82) L octets`.
    C1221 {
        /// Which of its steps.
        step: C1221Step,
        /// Its octets.
        octets: &'a [u8],
    },
    /// Octet-aligned form: `81 L octets`, defined by the mechanism; the head of a profile-1 frame.
    OctetAligned(&'a [u8]),
}

/// The steps of C12.21 authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum C1221Step {
    /// 80.
    Identification = 0x80,
    /// 81.
    Request = 0x81,
    /// 82.
    Response = 0x82,
}

impl<'a> Authentication<'a> {
    /// The form that EAX' uses everywhere: with key id and initialization vector.
    #[must_use]
    pub fn c1222(key_id: u8, iv: [u8; 4]) -> Self {
        AuthenticationValue::C1222 { key_id: Some(key_id), iv: Some(iv) }.into()
    }

    /// Reads the content of AC.
    #[inline]
    pub(crate) fn decode(mut content: Reader<'a>) -> Result<Self, DecodeError> {
        Self::read(&mut content).ok_or(DecodeError::BadAuthentication)
    }

    #[inline]
    fn read(content: &mut Reader<'a>) -> Option<Self> {
        let mut external = constructed(content, 0xa2)?;
        let mut item = external.tlv().ok()?;
        let mut reference = None;
        if item.tag == 0x02 {
            let [octet] = item.content.rest() else { return None };
            reference = Some(*octet);
            item = external.tlv().ok()?;
        }
        if !external.is_empty() {
            return None;
        }
        let value = match item.tag {
            0x81 => AuthenticationValue::OctetAligned(item.content.rest()),
            0xa0 => structured(item.content)?,
            _ => return None,
        };
        Some(Self { reference, value })
    }

    pub(crate) fn encoded_len(&self) -> usize {
        ber::tlv_len(ber::tlv_len(self.external_len()))
    }

    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let external = self.external_len();
        ber::write_head(out, 0xac, ber::tlv_len(external));
        ber::write_head(out, 0xa2, external);
        if let Some(octet) = self.reference {
            ber::write_tlv(out, 0x02, &[octet]);
        }
        match self.value {
            AuthenticationValue::C1222 { key_id, iv } => {
                let inner = c1222_len(key_id, iv);
                ber::write_head(out, 0xa0, ber::tlv_len(inner));
                ber::write_head(out, 0xa1, inner);
                if let Some(key_id) = key_id {
                    ber::write_tlv(out, 0x80, &[key_id]);
                }
                if let Some(iv) = iv {
                    ber::write_tlv(out, 0x81, &iv);
                }
            }
            AuthenticationValue::C1221 { step, octets } => {
                let inner = ber::tlv_len(octets.len());
                ber::write_head(out, 0xa0, ber::tlv_len(inner));
                ber::write_head(out, 0xa0, inner);
                ber::write_tlv(out, step as u8, octets);
            }
            AuthenticationValue::OctetAligned(octets) => ber::write_tlv(out, 0x81, octets),
        }
    }

    /// Octets inside A2.
    fn external_len(&self) -> usize {
        let reference = if self.reference.is_some() { 3 } else { 0 };
        reference
            + match self.value {
                AuthenticationValue::C1222 { key_id, iv } => {
                    ber::tlv_len(ber::tlv_len(c1222_len(key_id, iv)))
                }
                AuthenticationValue::C1221 { octets, .. } => {
                    ber::tlv_len(ber::tlv_len(ber::tlv_len(octets.len())))
                }
                AuthenticationValue::OctetAligned(octets) => ber::tlv_len(octets.len()),
            }
    }
}

impl<'a> From<AuthenticationValue<'a>> for Authentication<'a> {
    fn from(value: AuthenticationValue<'a>) -> Self {
        Self { reference: None, value }
    }
}

fn c1222_len(key_id: Option<u8>, iv: Option<[u8; 4]>) -> usize {
    (if key_id.is_some() { 3 } else { 0 }) + if iv.is_some() { 6 } else { 0 }
}

/// The content of the one element that must stand here.
#[inline]
fn constructed<'a>(reader: &mut Reader<'a>, tag: u8) -> Option<Reader<'a>> {
    reader.only().ok().filter(|tlv| tlv.tag == tag).map(|tlv| tlv.content)
}

/// The content of A0: C12.22 or C12.21 form.
fn structured(mut content: Reader<'_>) -> Option<AuthenticationValue<'_>> {
    let form = content.only().ok()?;
    let mut items = form.content;
    match form.tag {
        0xa1 => {
            let (mut key_id, mut iv) = (None, None);
            while !items.is_empty() {
                let item = items.tlv().ok()?;
                match (item.tag, item.content.rest()) {
                    (0x80, [octet]) if key_id.is_none() && iv.is_none() => key_id = Some(*octet),
                    (0x81, octets) if iv.is_none() => iv = Some(<[u8; 4]>::try_from(octets).ok()?),
                    _ => return None,
                }
            }
            Some(AuthenticationValue::C1222 { key_id, iv })
        }
        0xa0 => {
            let item = items.only().ok()?;
            let step = match item.tag {
                0x80 => C1221Step::Identification,
                0x81 => C1221Step::Request,
                0x82 => C1221Step::Response,
                _ => return None,
            };
            Some(AuthenticationValue::C1221 { step, octets: item.content.rest() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(authentication: Authentication<'_>) -> Vec<u8> {
        let mut out = Vec::new();
        authentication.write(&mut out);
        assert_eq!(out.len(), authentication.encoded_len());
        let content = Reader::new(&out).only().unwrap().content;
        assert_eq!(Authentication::decode(content), Ok(authentication));
        out
    }

    #[test]
    fn every_form_reads_back() {
        assert_eq!(
            round_trip(Authentication::c1222(2, [0x48, 0xf3, 0xd0, 0x61])),
            [0xac, 0x0f, 0xa2, 0x0d, 0xa0, 0x0b, 0xa1, 9, 0x80, 1, 2, 0x81, 4, 0x48, 0xf3, 0xd0, 0x61]
        );
        assert_eq!(
            round_trip(AuthenticationValue::OctetAligned(&[0x18]).into()),
            [0xac, 5, 0xa2, 3, 0x81, 1, 0x18]
        );
        for (key_id, iv) in [(None, None), (Some(1), None), (None, Some([1, 2, 3, 4]))] {
            round_trip(AuthenticationValue::C1222 { key_id, iv }.into());
        }
        for step in [C1221Step::Identification, C1221Step::Request, C1221Step::Response] {
            let value = AuthenticationValue::C1221 { step, octets: &[7; 200] };
            round_trip(Authentication { reference: Some(0), value });
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        for content in [
            &[][..],
            &[0xa2, 0],
            &[0xa2, 3, 0x02, 1, 0],
            &[0xa2, 4, 0x81, 1, 0x18, 0],
            &[0xa2, 3, 0x81, 2, 0x18],
            &[0xa3, 3, 0x81, 1, 0x18],
            &[0xa2, 3, 0x82, 1, 0x18],
            &[0xa2, 8, 0xa0, 6, 0xa1, 4, 0x80, 2, 0, 0],
            &[0xa2, 10, 0xa0, 8, 0xa1, 6, 0x80, 1, 0, 0x80, 1, 0],
            &[0xa2, 6, 0xa0, 4, 0xa0, 2, 0x83, 0],
            &[0xa2, 3, 0x81, 1, 0x18, 0],
        ] {
            let decoded = Authentication::decode(Reader::new(content));
            assert_eq!(decoded, Err(DecodeError::BadAuthentication), "{content:02x?}");
        }
    }
}
