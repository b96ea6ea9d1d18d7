//! The services of a signed command: already judged, so its caller may do all that the tables allow.

use c1222::epsem::ResponseControl;
use c1222::tables::Outcome;
use c1222::{Epsem, EpsemControl, EpsemWriter, ResponseCode, SecurityMode};

use super::message::{ENVELOPE_MAX, SERVICES_MAX, SHORT_MAX};
use super::services::{Caller, Refused};
use super::{EndDevice, Moment};

/// A user of whom the logs say that it was a signed command.
const SIGNED: u16 = u16::MAX;

impl EndDevice {
    /// Carries out the EPSEM of a signed command (security layer §7) and answers how that went, as C12.19
    /// table 8 says it. The response EPSEM, where the body wants one, is appended to `out` and has at most
    /// `room` octets, or says that it would be longer.
    pub fn execute(&mut self, body: &[u8], now: Moment, room: usize, out: &mut Vec<u8>) -> Outcome {
        let Ok(epsem) = Epsem::decode(body) else { return Outcome::BadParameter };
        if epsem.services().take(SERVICES_MAX + 1).count() > SERVICES_MAX {
            return Outcome::BadParameter;
        }
        let mut caller = Caller {
            title: None,
            is_trusted: true,
            key_iv: None,
            in_session: false,
            logged_on: false,
            user: SIGNED,
            may_write: true,
        };
        self.state.ended = None;
        // An answer that must fit a frame, instead of one that fits an APDU.
        let room = room.saturating_sub(1).saturating_add(ENVELOPE_MAX + SERVICES_MAX * SHORT_MAX);
        let apdu_max = std::mem::replace(&mut self.apdu_max, room);
        let mut answer = Vec::new();
        let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Never);
        let writer = EpsemWriter::new(&mut answer, control, None);
        let refused = self.serve_all(&epsem, &mut caller, now, writer);
        self.apdu_max = apdu_max;
        let wanted = match epsem.control.response_control() {
            ResponseControl::Never => false,
            ResponseControl::OnException => refused.is_some(),
            ResponseControl::Always | ResponseControl::Reserved => true,
        };
        if wanted {
            out.extend_from_slice(&answer);
        }
        let ended = self.state.ended.take().unwrap_or(Outcome::Done);
        match refused {
            Some(refused) if ended == Outcome::Done => outcome(refused),
            _ => ended,
        }
    }

    /// Takes no EAX' any more, and in clear nothing but Identification, Resolve and Trace: the device has
    /// completed a registration (security layer §9).
    pub fn end_legacy(&mut self) {
        self.profile1_only = true;
    }

    /// The title that it is addressed by from now on.
    pub fn set_title(&mut self, title: c1222::ApTitleBuf) {
        self.title = title;
    }
}

/// What the refusal of a service is as a result of a procedure.
fn outcome(refused: Refused) -> Outcome {
    match refused {
        Refused::Because(ResponseCode::Isc) => Outcome::NotAuthorised,
        Refused::Because(ResponseCode::Iar | ResponseCode::Sns) => Outcome::Unknown,
        Refused::Because(ResponseCode::Bsy | ResponseCode::Dnr | ResponseCode::Dlk) => Outcome::Timing,
        Refused::Because(_) | Refused::TooLarge(_) | Refused::NoWay => Outcome::BadParameter,
    }
}
