//! Registration, Deregistration and Resolve in clear, from nodes that know nothing better.

use c1222::epsem::ResponseControl;
use c1222::{Apdu, Epsem, Request, SecurityMode};
use node::{Context, Frame, Reason, Severity, Source};

use super::answers::Answer;
use super::numbers::Message;
use super::{Link, Registrar, caller};
use crate::tally::reasons;

/// Services of one APDU that are answered.
const SERVICES_MAX: usize = 8;

/// Takes an APDU in clear and answers it in clear.
pub(super) fn take(
    registrar: &mut Registrar,
    context: &mut Context,
    frame: &Frame,
    apdu: &Apdu<'_>,
    now: u64,
) {
    let source = Source::Link { transport: frame.transport(), link: frame.link };
    let answered = if registrar.reception.may_answer(now) {
        answer(registrar, Link::of(frame), apdu, now)
    } else {
        Err((reasons::REG_BUSY, "too many requests in clear"))
    };
    match answered {
        Ok((responses, wanted)) => {
            if wanted {
                registrar.answers.write(&caller(frame, apdu), Answer::Clear(&responses));
            }
            registrar.numbers.took(Message::Clear);
            context.let_go(1);
            context.events.report(reasons::CLEAR, Severity::Info, source, || {
                "a node registers in clear; it is not trusted".to_owned()
            });
        }
        Err((reason, detail)) => {
            registrar.tally.refuse(context, reason, source, || detail.to_owned());
        }
    }
}

/// The responses, and whether they are wanted.
type Answered = Result<(Vec<Vec<u8>>, bool), (Reason, &'static str)>;

fn answer(registrar: &Registrar, link: Link, apdu: &Apdu<'_>, now: u64) -> Answered {
    let unreadable = (reasons::FORMAT, "no EPSEM in clear");
    let epsem = apdu.epsem().and_then(|epsem| Epsem::decode(epsem).ok()).ok_or(unreadable)?;
    if epsem.control.security_mode() != Ok(SecurityMode::Clear) {
        return Err(unreadable);
    }
    let mut responses = Vec::new();
    for service in epsem.services().take(SERVICES_MAX) {
        let request = service.and_then(Request::decode);
        let request =
            request.map_err(|error| (reasons::of_decode(&error), "a service that does not parse"))?;
        let registrations = &registrar.registrations;
        responses.push(registrations.answer_clear(&request, apdu.envelope.calling, link, now)?);
    }
    let excepted = responses.iter().any(|response| response.first() != Some(&0));
    let wanted = match epsem.control.response_control() {
        ResponseControl::Always | ResponseControl::Reserved => true,
        ResponseControl::OnException => excepted,
        ResponseControl::Never => false,
    };
    Ok((responses, wanted))
}
