//! Messages that our encoder makes: every service, every response, every envelope.

pub mod frames;
pub mod services;

use c1222::ap_title;
use c1222::authentication::{Authentication, AuthenticationValue};
use c1222::canonified::{self, KeyIv};
use c1222::epsem::ResponseControl;
use c1222::{
    ApTitle, ApTitleBuf, Apdu, Envelope, EpsemControl, EpsemWriter, InvocationId, Leniency, Request,
    Response, SecurityMode, TableData, segment,
};
use seal::eax_prime::{EaxPrime, Mode};
use seal::secret::Key128;

use crate::capture::Side;

/// The security modes.
pub const MODES: [SecurityMode; 3] = [SecurityMode::Clear, SecurityMode::Mac, SecurityMode::Cipher];
/// The key ids in use.
pub const KEY_IDS: [u8; 4] = [0, 1, 2, 255];
/// The IV of the first message, where nobody asks which time it says.
pub const SOME_TIME: u32 = 0x6a00_0000;
/// Octets for tables; all of them must be continued in a second block.
static DATA: [u8; 0x1_0005] = {
    let mut octets = [0; 0x1_0005];
    let mut n = 0;
    while n < octets.len() {
        octets[n] = (n % 251) as u8;
        n += 1;
    }
    octets
};

/// The key of an id.
pub fn key(id: u8) -> [u8; 16] {
    [id ^ 0xa5; 16]
}

/// Table data of so many octets.
fn data(len: usize) -> TableData<'static> {
    TableData::of(&DATA[..len])
}

/// A title, `.123.4` or absolute.
pub fn title(text: &str) -> ApTitle<'static> {
    let title: &'static ApTitleBuf = Box::leak(Box::new(ApTitleBuf::parse(text).unwrap()));
    title.as_title()
}

/// An APDU, and who sends it.
pub struct Sample {
    pub from: Side,
    pub apdu: Vec<u8>,
}

/// What stands around the services of a message.
#[derive(Clone, Copy)]
pub struct Frame {
    /// An invocation id of one octet 00, and the IV, are replaced by fresh ones.
    pub envelope: Envelope<'static>,
    pub control: EpsemControl,
    pub ed_class: Option<[u8; 4]>,
    /// Key and vector of the session, for messages without an authentication value.
    pub session: Option<KeyIv>,
}

impl Frame {
    /// A message of the host to a meter.
    pub fn new(mode: SecurityMode) -> Self {
        let envelope = Envelope {
            called: Some(title(".123.8437")),
            calling: Some(title(".123.4")),
            authentication: (mode != SecurityMode::Clear).then(|| Authentication::c1222(2, [0; 4])),
            ..Envelope::new(InvocationId::new(0))
        };
        let control = EpsemControl::new(mode, ResponseControl::Always);
        Self { envelope, control, ed_class: None, session: None }
    }

    /// The message that answers the one with this number.
    fn answer(self, number: InvocationId) -> Self {
        let asked = Envelope { invocation: number, ..self.envelope };
        let authentication = self.envelope.authentication;
        let envelope = Envelope { authentication, ..asked.answer(InvocationId::new(0)) };
        Self { envelope, ..self }
    }

    /// The same with another envelope.
    pub fn with(mut self, change: impl FnOnce(&mut Envelope<'static>)) -> Self {
        change(&mut self.envelope);
        self
    }
}

/// Makes messages, numbering them.
pub struct Maker {
    pub samples: Vec<Sample>,
    count: u32,
    first_iv: u32,
}

impl Maker {
    pub fn new(first_iv: u32) -> Self {
        Self { samples: Vec::new(), count: 0, first_iv }
    }

    /// One message; the answer is its number.
    fn send(
        &mut self,
        from: Side,
        mut frame: Frame,
        write: impl FnOnce(&mut EpsemWriter<'_>),
    ) -> InvocationId {
        self.count += 1;
        if frame.envelope.invocation.octets() == [0] {
            frame.envelope.invocation = InvocationId::new(self.count);
        }
        if let Some(Authentication { value: AuthenticationValue::C1222 { iv: Some(iv), .. }, .. }) =
            &mut frame.envelope.authentication
        {
            *iv = (self.first_iv + self.count).to_be_bytes();
        }
        self.samples.push(Sample { from, apdu: message(&frame, write) });
        frame.envelope.invocation
    }

    /// Requests of the host in one message; the answer is its number.
    pub fn request(&mut self, frame: Frame, requests: &[Request<'_>]) -> InvocationId {
        self.send(Side::Host, frame, |epsem| {
            for request in requests {
                epsem.request(request);
            }
        })
    }

    /// Responses of the node in one message.
    pub fn response(&mut self, frame: Frame, responses: &[Response<'_>]) {
        self.send(Side::Node, frame, |epsem| {
            for response in responses {
                epsem.response(response);
            }
        });
    }

    /// Requests in one message, and their responses in the one that goes back.
    pub fn exchange(&mut self, frame: Frame, requests: &[Request<'_>], responses: &[Response<'_>]) {
        let number = self.request(frame, requests);
        self.response(frame.answer(number), responses);
    }

    /// Cuts the last message into segments.
    pub fn cut_last(&mut self, octets_max: usize) {
        let Sample { from, apdu } = self.samples.pop().unwrap();
        let emit = |apdu: &[u8]| self.samples.push(Sample { from, apdu: apdu.to_vec() });
        assert!(segment::split(&apdu, octets_max, emit).unwrap() > 1);
    }
}

/// Encodes and seals.
fn message(frame: &Frame, write: impl FnOnce(&mut EpsemWriter<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    let mut epsem = EpsemWriter::new(&mut out, frame.control, frame.ed_class);
    write(&mut epsem);
    let mode = match frame.control.security_mode().unwrap() {
        SecurityMode::Clear => {
            frame.envelope.wrap(&mut out, 0);
            return out;
        }
        SecurityMode::Mac => Mode::Clear,
        SecurityMode::Cipher => Mode::Cipher,
    };
    epsem.leave_mac();
    frame.envelope.wrap(&mut out, 0);
    let mut header = Vec::new();
    let apdu = Apdu::decode(&out, Leniency::Strict).unwrap();
    let key_iv = canonified::canonify(&apdu, frame.session, &ap_title::ROOT, &mut header).unwrap();
    let places = canonified::sealed_places(&apdu).unwrap().unwrap();
    let eax = EaxPrime::new(&Key128::from_octets(key(key_iv.key_id)));
    let mac = eax.seal(mode, &header, &mut out[places.payload]).unwrap();
    out[places.mac].copy_from_slice(&mac);
    out
}
