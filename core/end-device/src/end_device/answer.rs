//! Answers: around the services the envelope, and the seal that the request had.

use c1222::apdu::Segment;
use c1222::authentication::Authentication;
use c1222::canonified::KeyIv;
use c1222::epsem::{MAC_LEN, ResponseControl};
use c1222::response::Detail;
use c1222::segment::SegmentError;
use c1222::{
    ApTitle, ApTitleBuf, Apdu, Envelope, EpsemControl, EpsemWriter, Response, ResponseCode, SecurityMode,
};

use super::message::Secured;
use super::refusal::Refusal;
use super::{APDU_MAX, EndDevice, Moment};

impl EndDevice {
    /// Puts the envelope around an answer and seals it as the request was.
    pub(super) fn finish(
        &mut self,
        request: &Envelope<'_>,
        secured: Option<Secured>,
        logged_on: bool,
        epsem: Vec<u8>,
        now: Moment,
        out: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        let authentication = match (secured, &mut self.classic) {
            // A session has one IV: its Logon's. What tells the answer's header from the request's is A4.
            (Some(Secured { own: true, key_iv, .. }), _) if logged_on => Some(key_iv),
            (Some(Secured { own: true, key_iv, .. }), Some(classic)) => {
                Some(KeyIv { iv: classic.next_iv(now), ..key_iv })
            }
            _ => None,
        };
        let own_title = self.title.clone();
        let envelope = Envelope {
            calling: Some(self.answering_title(request, &own_title)),
            authentication: authentication.map(|key_iv| Authentication::c1222(key_iv.key_id, key_iv.iv)),
            ..request.answer(self.next_invocation())
        };
        *out = epsem;
        if secured.is_some() {
            out.extend_from_slice(&[0; MAC_LEN]);
        }
        envelope.wrap(out, 0);
        if let (Some(secured), Some(classic)) = (secured, &mut self.classic) {
            classic.seal(out, (!secured.own).then_some(secured.key_iv))?;
        }
        Ok(())
    }

    /// The title to answer with: as the caller wrote it, where they wrote ours.
    fn answering_title<'t>(&self, request: &Envelope<'t>, own: &'t ApTitleBuf) -> ApTitle<'t> {
        let own = own.as_title();
        request.called.filter(|called| called.same_node(&own)).unwrap_or(own)
    }

    /// Tells the caller in clear why a message was refused.
    pub(super) fn refuse(&mut self, apdu: &Apdu<'_>, refusal: &Refusal, out: &mut Vec<u8>) {
        let Some(code) = refusal.response_code() else { return };
        let control = apdu.epsem().and_then(|epsem| epsem.first()).map(|octet| EpsemControl(*octet));
        let never = control.is_some_and(|control| control.response_control() == ResponseControl::Never);
        if never || self.is_called_as_one_of_many(&apdu.envelope) {
            return;
        }
        let detail = match code {
            ResponseCode::Rqtl => Detail::SizeMax(u32::try_from(self.apdu_max).unwrap_or(u32::MAX)),
            _ => Detail::None,
        };
        self.write_refusal(&apdu.envelope, &Response::Refused { code, detail }, out);
    }

    pub(super) fn refuse_segment(
        &mut self,
        envelope: &Envelope<'_>,
        segment: Segment<'_>,
        error: SegmentError,
        out: &mut Vec<u8>,
    ) {
        let Some(code) = error.response_code() else { return };
        let detail = match code {
            ResponseCode::Rqtl => Detail::SizeMax(u32::try_from(APDU_MAX).unwrap_or(u32::MAX)),
            ResponseCode::Sgerr => Detail::Segment {
                offset: segment.offset,
                size: u32::try_from(segment.part.len()).unwrap_or(u32::MAX),
            },
            _ => Detail::None,
        };
        if !self.is_called_as_one_of_many(envelope) {
            self.write_refusal(envelope, &Response::Refused { code, detail }, out);
        }
    }

    fn write_refusal(&mut self, request: &Envelope<'_>, response: &Response<'_>, out: &mut Vec<u8>) {
        let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Always);
        EpsemWriter::new(out, control, None).response(response);
        let own_title = self.title.clone();
        let calling = Some(self.answering_title(request, &own_title));
        Envelope { calling, ..request.answer(self.next_invocation()) }.wrap(out, 0);
    }
}
