//! From the octets of a message to the octets of its answer.

use c1222::apdu::UserInformation;
use c1222::canonified::KeyIv;
use c1222::envelope::Qualifier;
use c1222::epsem::ResponseControl;
use c1222::reassembler::Reassembly;
use c1222::{
    ApTitleBuf, Apdu, DecodeError, Envelope, Epsem, EpsemControl, EpsemWriter, Leniency, ResponseCode,
    Sealing, SecurityMode, ServiceCode,
};

use super::refusal::Refusal;
use super::services::{Caller, Refused};
use super::{EndDevice, Moment, Verdict};

/// Services in one message.
pub(super) const SERVICES_MAX: usize = 32;
/// Octets around the services of an answer, more than two titles and AC can take.
pub(super) const ENVELOPE_MAX: usize = 256;
/// Octets with its length of a response that always has room: [`SERVICES_MAX`] of them are kept free.
pub(super) const SHORT_MAX: usize = 8;

/// How a message was secured, and so its answer.
#[derive(Clone, Copy)]
pub(super) struct Secured {
    pub mode: SecurityMode,
    pub key_iv: KeyIv,
    /// Key and IV stood in the message itself.
    pub own: bool,
}

impl EndDevice {
    /// Octets that the services of an answer may take.
    pub(super) fn room(&self) -> usize {
        self.apdu_max.saturating_sub(ENVELOPE_MAX + SERVICES_MAX * SHORT_MAX)
    }

    pub(super) fn take(
        &mut self,
        link: u64,
        octets: &[u8],
        now: Moment,
        out: &mut Vec<u8>,
    ) -> Result<Verdict, Refusal> {
        let apdu = Apdu::decode(octets, Leniency::Draft)?;
        let UserInformation::Segment(segment) = apdu.user else { return self.message(&apdu, now, out) };
        if !self.is_called(&apdu.envelope) {
            return Err(Refusal::NotForUs);
        }
        match self.reassembler.push(link, &apdu, now.steady_ns) {
            Reassembly::Incomplete => Ok(Verdict::Waiting),
            Reassembly::Repeated => Ok(Verdict::Repeated),
            Reassembly::Complete(whole) => self.message(&Apdu::decode(&whole, Leniency::Draft)?, now, out),
            Reassembly::Refused(error) => {
                self.refuse_segment(&apdu.envelope, segment, error, out);
                Err(error.into())
            }
        }
    }

    fn message(&mut self, apdu: &Apdu<'_>, now: Moment, out: &mut Vec<u8>) -> Result<Verdict, Refusal> {
        if apdu.envelope.is_response() {
            return Err(Refusal::UnexpectedResponse);
        }
        let result = self.try_message(apdu, now, out);
        if let Err(refusal) = &result {
            out.clear();
            self.refuse(apdu, refusal, out);
        }
        result
    }

    fn try_message(&mut self, apdu: &Apdu<'_>, now: Moment, out: &mut Vec<u8>) -> Result<Verdict, Refusal> {
        if !self.is_called(&apdu.envelope) {
            return Err(Refusal::NotForUs);
        }
        let parts = Sealing::split(apdu.epsem().ok_or(DecodeError::BadSegment)?)?;
        self.state.sessions.expire(now.steady_ns);
        let title = apdu.envelope.calling.map(|title| ApTitleBuf::from(title.canonical()));
        let mut plaintext = Vec::new();
        let secured = match parts.mode {
            SecurityMode::Clear => {
                plaintext.extend_from_slice(parts.payload);
                None
            }
            mode => match self.open(apdu, mode, &title, now, &mut plaintext) {
                Err(Refusal::Replayed) if self.is_answered(apdu, &title, now) => {
                    return Ok(Verdict::Repeated);
                }
                opened => Some(opened?),
            },
        };
        let epsem = Epsem::of_plaintext(parts.control, &plaintext)?;
        if epsem.services().take(SERVICES_MAX + 1).count() > SERVICES_MAX {
            return Err(Refusal::TooManyServices);
        }
        let mut caller = self.caller(title, secured);
        if self.is_repeated(apdu, &epsem, &caller, now) {
            return Ok(Verdict::Repeated);
        }

        let before = is_test(&apdu.envelope).then(|| self.state.clone());
        let mut answer = Vec::new();
        let mode = secured.map_or(SecurityMode::Clear, |secured| secured.mode);
        let control = EpsemControl::new(mode, ResponseControl::Always);
        let writer = EpsemWriter::new(&mut answer, control, None);
        let refused = self.serve_all(&epsem, &mut caller, now, writer).is_some();
        if let Some(before) = before {
            self.state = before;
        }

        let is_wanted = match parts.control.response_control() {
            ResponseControl::Never => false,
            ResponseControl::OnException => refused,
            ResponseControl::Always | ResponseControl::Reserved => true,
        };
        // One refusal from each of many nodes helps nobody.
        if is_wanted && !(refused && self.is_called_as_one_of_many(&apdu.envelope)) {
            self.finish(&apdu.envelope, secured, caller.logged_on, answer, now, out)?;
        }
        Ok(Verdict::Served)
    }

    /// Whether a message is for this node. One without called title is for whom it reaches.
    fn is_called(&self, envelope: &Envelope<'_>) -> bool {
        let own = self.title.as_title();
        envelope.called.is_none_or(|called| called.same_node(&own) || called.covers(&own))
    }

    pub(super) fn is_called_as_one_of_many(&self, envelope: &Envelope<'_>) -> bool {
        envelope.called.is_some_and(|called| called.is_broadcast() || called.is_group())
    }

    fn open(
        &mut self,
        apdu: &Apdu<'_>,
        mode: SecurityMode,
        caller: &Option<ApTitleBuf>,
        now: Moment,
        plaintext: &mut Vec<u8>,
    ) -> Result<Secured, Refusal> {
        let classic = self.classic.as_mut().filter(|_| !self.profile1_only).ok_or(Refusal::NoEaxPrime)?;
        let session = self.state.sessions.of(caller).and_then(|session| session.key_iv);
        let key_iv = classic.open(apdu, session, now, plaintext)?;
        Ok(Secured { mode, key_iv, own: apdu.envelope.authentication.is_some() })
    }

    /// Who asks, and what the session, where there is one, lets them do.
    fn caller(&mut self, title: Option<ApTitleBuf>, secured: Option<Secured>) -> Caller {
        let is_trusted = !self.profile1_only && (self.classic.is_none() || secured.is_some());
        let mut caller = Caller {
            title,
            is_trusted,
            key_iv: secured.map(|secured| secured.key_iv),
            in_session: false,
            logged_on: false,
            user: 0,
            may_write: self.users.anybody_may_write(),
        };
        if is_trusted && let Some(session) = self.state.sessions.of(&caller.title) {
            caller.in_session = true;
            caller.user = session.user;
            caller.may_write |= session.may_write;
        }
        caller
    }

    /// Whether a message of that caller and id was answered lately.
    fn is_answered(&self, apdu: &Apdu<'_>, caller: &Option<ApTitleBuf>, now: Moment) -> bool {
        let invocation = apdu.envelope.invocation.value();
        caller.clone().is_some_and(|title| self.answered.contains(&(title, invocation), now.steady_ns))
    }

    /// Whether the message came before. Else it is remembered, and the idle time of its session begins anew.
    fn is_repeated(&mut self, apdu: &Apdu<'_>, epsem: &Epsem<'_>, caller: &Caller, now: Moment) -> bool {
        let Some(title) = &caller.title else { return false };
        let key = (title.clone(), apdu.envelope.invocation.value());
        // A Logon begins the invocation ids of its caller anew. In clear nothing tells a new one from the old.
        let logs_on =
            matches!(epsem.services().next(), Some(Ok([code, ..])) if *code == ServiceCode::LOGON.0);
        if logs_on && caller.key_iv.is_some() {
            self.answered.forget(|(other, _)| other == title);
        }
        if self.answered.contains(&key, now.steady_ns) {
            return true;
        }
        if caller.is_trusted {
            self.answered.insert(key, now.steady_ns);
        }
        if caller.in_session
            && let Some(session) = self.state.sessions.of(&caller.title)
        {
            session.touch(now.steady_ns);
        }
        false
    }

    /// Carries out the services one after the other; the first refusal, if any was refused.
    pub(super) fn serve_all(
        &mut self,
        epsem: &Epsem<'_>,
        caller: &mut Caller,
        now: Moment,
        mut answer: EpsemWriter<'_>,
    ) -> Option<Refused> {
        let mut room = self.room();
        let (mut first_refused, mut response) = (None, Vec::new());
        for service in epsem.services() {
            response.clear();
            let served = match service {
                Ok(service) => self.serve(service, caller, now, room, &mut response),
                Err(_) => Err(Refused::Because(ResponseCode::Err)),
            };
            if let Err(refused) = served {
                first_refused = first_refused.or(Some(refused));
                response.clear();
                refused.encode(self.title.as_title(), &mut response);
            }
            // A short one always has room: what it tells may have been carried out.
            let len = response.len().saturating_add(3);
            if response.len() >= SHORT_MAX && len > room {
                first_refused = first_refused.or(Some(self.too_large()));
                response.clear();
                self.too_large().encode(self.title.as_title(), &mut response);
            } else if response.len() >= SHORT_MAX {
                room = room.saturating_sub(len);
            }
            answer.service(|out| out.extend_from_slice(&response));
        }
        first_refused
    }
}

fn is_test(envelope: &Envelope<'_>) -> bool {
    envelope.qualifier.is_some_and(|qualifier| qualifier.has(Qualifier::TEST))
}
