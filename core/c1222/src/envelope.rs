//! The ACSE part of an APDU, and how it is written around an EPSEM.

use std::fmt;

use crate::ap_title::ApTitle;
use crate::authentication::Authentication;
use crate::ber;
use crate::element::APDU;
use crate::invocation_id::InvocationId;
use crate::oid::Oid;

/// The calling-AE-qualifier (A7).
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Qualifier(pub u8);

impl Qualifier {
    /// Bit 0: no side effects; the answer carries it too.
    pub const TEST: Self = Self(0x01);
    /// Bit 1.
    pub const URGENT: Self = Self(0x02);
    /// Bit 2: an unsolicited report.
    pub const NOTIFICATION: Self = Self(0x04);

    /// Whether every bit of `other` is set.
    #[must_use]
    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Qualifier({:02x})", self.0)
    }
}

/// Every ACSE element but A3 and BE. Written in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// A1; absent means 2.16.124.113620.1.22.
    pub aso_context: Option<Oid<'a>>,
    /// A2: the target.
    pub called: Option<ApTitle<'a>>,
    /// A4: in responses only, the invocation id of the request.
    pub answer_to: Option<InvocationId>,
    /// A6: the sender; a node that is not yet registered has none.
    pub calling: Option<ApTitle<'a>>,
    /// A7.
    pub qualifier: Option<Qualifier>,
    /// A8: the id of this message.
    pub invocation: InvocationId,
    /// 8B; absent means the default mechanism.
    pub mechanism: Option<Oid<'a>>,
    /// AC.
    pub authentication: Option<Authentication<'a>>,
}

/// What makes an APDU a segment: the size of the whole, and where this part of it begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) total: u32,
    pub(crate) offset: u32,
}

impl<'a> Envelope<'a> {
    /// An envelope with nothing but the id of its message.
    #[must_use]
    pub fn new(invocation: InvocationId) -> Self {
        Self {
            aso_context: None,
            called: None,
            answer_to: None,
            calling: None,
            qualifier: None,
            invocation,
            mechanism: None,
            authentication: None,
        }
    }

    /// Whether it stands around a response.
    #[must_use]
    pub fn is_response(&self) -> bool {
        self.answer_to.is_some()
    }

    /// Whether its qualifier has the NOTIFICATION bit.
    #[must_use]
    pub fn is_notification(&self) -> bool {
        self.qualifier.is_some_and(|qualifier| qualifier.has(Qualifier::NOTIFICATION))
    }

    /// The envelope of the answer: titles exchanged, A4 from A8, TEST kept.
    #[must_use]
    pub fn answer(&self, invocation: InvocationId) -> Self {
        Self {
            called: self.calling,
            answer_to: Some(self.invocation),
            calling: self.called,
            qualifier: self
                .qualifier
                .filter(|qualifier| qualifier.has(Qualifier::TEST))
                .map(|_| Qualifier::TEST),
            ..Self::new(invocation)
        }
    }

    /// Appends an APDU up to its EPSEM; exactly `epsem_len` octets must be appended after it.
    pub fn write_head(&self, out: &mut Vec<u8>, epsem_len: usize) {
        self.write_head_of(out, epsem_len, None);
    }

    /// Puts the envelope before the EPSEM that stands at `out[start..]`.
    pub fn wrap(&self, out: &mut Vec<u8>, start: usize) {
        let epsem_len = out.len().saturating_sub(start);
        ber::write_before(out, start, |out| self.write_head(out, epsem_len));
    }

    pub(crate) fn write_head_of(&self, out: &mut Vec<u8>, user_len: usize, cut: Option<Cut>) {
        ber::write_head(out, APDU, self.content_len(user_len, cut));
        if let Some(oid) = &self.aso_context {
            ber::write_head(out, 0xa1, ber::tlv_len(oid.octets().len()));
            ber::write_tlv(out, 0x06, oid.octets());
        }
        write_title(out, 0xa2, self.called);
        if let Some(Cut { total, .. }) = cut {
            write_integer(out, 0xa3, ber::minimal(&total.to_be_bytes()));
        }
        if let Some(id) = &self.answer_to {
            write_integer(out, 0xa4, id.octets());
        }
        write_title(out, 0xa6, self.calling);
        if let Some(qualifier) = self.qualifier {
            write_integer(out, 0xa7, &[qualifier.0]);
        }
        write_integer(out, 0xa8, self.invocation.octets());
        if let Some(oid) = &self.mechanism {
            ber::write_tlv(out, 0x8b, oid.octets());
        }
        if let Some(authentication) = &self.authentication {
            authentication.write(out);
        }
        let external = external_len(user_len, cut);
        ber::write_head(out, 0xbe, ber::tlv_len(external));
        ber::write_head(out, 0x28, external);
        if let Some(Cut { offset, .. }) = cut {
            ber::write_tlv(out, 0x02, ber::minimal(&offset.to_be_bytes()));
        }
        ber::write_head(out, 0x81, user_len);
    }

    /// Octets of a whole APDU with a user part of that length.
    pub(crate) fn encoded_len(&self, user_len: usize, cut: Option<Cut>) -> usize {
        ber::tlv_len(self.content_len(user_len, cut))
    }

    fn content_len(&self, user_len: usize, cut: Option<Cut>) -> usize {
        let title = |title: &ApTitle<'_>| ber::tlv_len(title.encoded_len());
        let integer = |octets: &[u8]| ber::tlv_len(ber::tlv_len(octets.len()));
        self.aso_context.map_or(0, |oid| ber::tlv_len(ber::tlv_len(oid.octets().len())))
            + self.called.as_ref().map_or(0, title)
            + cut.map_or(0, |cut| integer(ber::minimal(&cut.total.to_be_bytes())))
            + self.answer_to.map_or(0, |id| integer(id.octets()))
            + self.calling.as_ref().map_or(0, title)
            + self.qualifier.map_or(0, |qualifier| integer(&[qualifier.0]))
            + integer(self.invocation.octets())
            + self.mechanism.map_or(0, |oid| ber::tlv_len(oid.octets().len()))
            + self.authentication.map_or(0, |authentication| authentication.encoded_len())
            + ber::tlv_len(ber::tlv_len(external_len(user_len, cut)))
    }
}

/// Octets inside 28: the offset of a segment, and 81.
fn external_len(user_len: usize, cut: Option<Cut>) -> usize {
    cut.map_or(0, |cut| ber::tlv_len(ber::minimal(&cut.offset.to_be_bytes()).len())) + ber::tlv_len(user_len)
}

fn write_title(out: &mut Vec<u8>, tag: u8, title: Option<ApTitle<'_>>) {
    if let Some(title) = title {
        ber::write_head(out, tag, title.encoded_len());
        title.write(out);
    }
}

fn write_integer(out: &mut Vec<u8>, tag: u8, octets: &[u8]) {
    ber::write_head(out, tag, ber::tlv_len(octets.len()));
    ber::write_tlv(out, 0x02, octets);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ap_title::ApTitleBuf;

    #[test]
    fn an_answer_goes_back_and_keeps_test() {
        let (meter, host) = (ApTitleBuf::parse(".1.5").unwrap(), ApTitleBuf::parse(".1.9").unwrap());
        let request = Envelope {
            called: Some(meter.as_title()),
            calling: Some(host.as_title()),
            qualifier: Some(Qualifier(0x03)),
            ..Envelope::new(InvocationId::of_octets(&[0, 7]).unwrap())
        };
        assert!(!request.is_response() && !request.is_notification());
        let answer = request.answer(InvocationId::new(300));
        assert_eq!((answer.called, answer.calling), (request.calling, request.called));
        assert_eq!(answer.answer_to, Some(request.invocation));
        assert_eq!(answer.qualifier, Some(Qualifier::TEST));
        assert!(answer.is_response());
    }
}
