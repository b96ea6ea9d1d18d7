//! C12.22 services inside an association: Registration, Deregistration, Resolve. The registrar answers, the
//! shard seals the answer as a RESPONSE.

use std::sync::Arc;

use c1222::{Apdu, Epsem, Leniency};
use keystore::Directory;
use node::{Batch, Context};
use seal::control::{Down, Item};
use seal::ids::Sid;

use super::associations::{Heard, Place};
use super::downstream::{Outgoing, To, What};
use super::{Sent, Shard};

/// The codes of Deregistration, Resolve and Registration.
const CODES: [u8; 3] = [0x24, 0x25, 0x27];

/// What answers the C12.22 services of registered devices.
pub trait Registrations: Send + Sync {
    /// The response to a service of an accepted report, octet for octet; `None` when it is none of
    /// theirs. `heard` is where the device is.
    fn answer(&self, sid: Sid, directory: &Directory, service: &[u8], heard: Heard) -> Option<Vec<u8>>;
}

/// The service under which the registrar offers it, by the name of its node.
#[derive(Clone)]
pub struct RegistrationService(pub Arc<dyn Registrations>);

/// A service that is answered when its report is durable.
pub(crate) struct Request {
    place: Place,
    sid: Sid,
    heard: Heard,
    /// A8 of the APDU that carried it.
    invocation: u32,
    service: Box<[u8]>,
}

impl Shard {
    /// Takes the services out of an accepted report that stands at `start` of a batch.
    pub(super) fn find_services(
        &mut self,
        batch: &Batch,
        start: usize,
        (place, sid, heard): (Place, Sid, Heard),
        body: &[u8],
    ) {
        if self.registrations.is_none() {
            return;
        }
        let Ok(epsem) = Epsem::decode(body) else { return };
        let asks = |service: &&[u8]| service.first().is_some_and(|code| CODES.contains(code));
        for service in epsem.services().flatten().filter(asks) {
            let after = batch.frames.partition_point(|frame| frame.offset as usize <= start);
            let frame = after.checked_sub(1).and_then(|at| batch.frames.get(at));
            let apdu = frame.and_then(|frame| Apdu::decode(batch.octets(frame)?, Leniency::Draft).ok());
            let invocation = apdu.map_or(0, |apdu| apdu.envelope.invocation.value());
            let service = service.into();
            self.sent.push(Sent::Request(Box::new(Request { place, sid, heard, invocation, service })));
        }
    }

    /// Has a service answered.
    pub(super) fn answer(&mut self, context: &mut Context, request: Request) {
        let Request { place, sid, heard, invocation, service } = request;
        let Some(registrations) = &self.registrations else { return };
        let Some(response) = registrations.0.answer(sid, &self.directory, &service, heard) else { return };
        let mut items = Vec::new();
        Down::Response { invocation_id: invocation, response: &response }.write(&mut items);
        let to = To::Device { place, sid, at: Some(heard) };
        self.downstream.push(context, Outgoing { to, what: What::Control(items.into()) });
    }
}
