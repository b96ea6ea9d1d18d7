//! What the head-end answers to a classic device that asks: a write is done, anything else is not supported.
//!
//! An answer is sealed in the mode and under the key of its request. Its IV is the time, or the next one
//! after the last that was used for this device; it is reserved in the write that holds the report, and the
//! answer leaves only when that is durable.

use c1222::authentication::Authentication;
use c1222::canonified::{self, KeyIv};
use c1222::epsem::ResponseControl;
use c1222::response::Detail;
use c1222::{
    Apdu, Envelope, Epsem, EpsemControl, EpsemWriter, InvocationId, Leniency, Request, Response,
    ResponseCode, ap_title,
};
use seal::eax_prime::EaxPrime;
use seal::secret::Key128;

use super::classic::mode_of;

/// Makes answers.
#[derive(Default)]
pub(super) struct Answers {
    /// The last A8.
    invocation: u16,
    /// The canonified cleartext of the answer in hand.
    header: Vec<u8>,
}

impl Answers {
    /// The APDU that answers a request, if it asks for one; `control` is its own, `epsem` what was in it.
    pub(super) fn make(
        &mut self,
        request: &Apdu<'_>,
        control: EpsemControl,
        epsem: &Epsem<'_>,
        (key, key_iv): (&Key128, KeyIv),
    ) -> Option<Box<[u8]>> {
        let codes = || epsem.services().flatten().map(code_of);
        let wanted = match control.response_control() {
            ResponseControl::Always => true,
            ResponseControl::OnException => codes().any(|code| code != ResponseCode::Ok),
            ResponseControl::Never | ResponseControl::Reserved => false,
        };
        let mode = control.security_mode().ok().filter(|_| wanted)?;
        let mut out = Vec::new();
        let mut writer = EpsemWriter::new(&mut out, EpsemControl::new(mode, ResponseControl::Never), None);
        for code in codes() {
            match code {
                ResponseCode::Ok => writer.response(&Response::Done),
                code => writer.response(&Response::Refused { code, detail: Detail::None }),
            };
        }
        writer.leave_mac();
        self.invocation = self.invocation.wrapping_add(1);
        let envelope = Envelope {
            authentication: Some(Authentication::c1222(key_iv.key_id, key_iv.iv)),
            ..request.envelope.answer(InvocationId::new(u32::from(self.invocation)))
        };
        envelope.wrap(&mut out, 0);
        self.seal(key, &mut out)?;
        Some(out.into_boxed_slice())
    }

    /// Seals an APDU in place; `None` when it has not the form for it.
    fn seal(&mut self, key: &Key128, octets: &mut [u8]) -> Option<()> {
        let apdu = Apdu::decode(octets, Leniency::Strict).ok()?;
        self.header.clear();
        canonified::canonify(&apdu, None, &ap_title::ROOT, &mut self.header).ok()?;
        let places = canonified::sealed_places(&apdu).ok()??;
        let payload = octets.get_mut(places.payload)?;
        let mac = EaxPrime::new(key).seal(mode_of(places.mode), &self.header, payload).ok()?;
        octets.get_mut(places.mac)?.copy_from_slice(&mac);
        Some(())
    }
}

/// What a service is answered with. A report is kept whatever is in it.
fn code_of(service: &[u8]) -> ResponseCode {
    match Request::decode(service) {
        Ok(
            Request::FullWrite { data, .. }
            | Request::IndexWrite { data, .. }
            | Request::OffsetWrite { data, .. },
        ) if data.check().is_ok() => ResponseCode::Ok,
        Ok(Request::FullWrite { .. } | Request::IndexWrite { .. } | Request::OffsetWrite { .. }) | Err(_) => {
            ResponseCode::Err
        }
        Ok(_) => ResponseCode::Sns,
    }
}
