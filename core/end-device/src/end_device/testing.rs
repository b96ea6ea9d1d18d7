//! What the tests of an end device share: a device, and a client that asks it.

use c1222::authentication::Authentication;
use c1222::canonified::KeyIv;
use c1222::device_profile::DeviceProfile;
use c1222::envelope::Qualifier;
use c1222::epsem::ResponseControl;
use c1222::{
    ApTitleBuf, Apdu, Envelope, Epsem, EpsemControl, EpsemWriter, InvocationId, Leniency, Request, Response,
    ResponseCode, Sealing, SecurityMode,
};
use seal::ids::Dev;
use seal::secret::Key128;

use super::{Classic, EndDevice, Moment, Setup, Verdict};
use crate::meter::{BASE_S, Meter};

pub const TITLE: &str = ".68.33.3";
pub const CALLER: &str = ".68.33.5";
pub const KEY: [u8; 16] = [7; 16];
pub const NS_PER_S: u64 = 1_000_000_000;

/// The profile that is shipped.
pub fn residential() -> DeviceProfile {
    let text = include_str!("../../../../graphs/profiles/residential.toml");
    graph::device_profile::parse(text).0.unwrap()
}

/// So many seconds after some day.
pub fn at(seconds: u64) -> Moment {
    Moment { unix_s: BASE_S + 40 * 86_400 + seconds, steady_ns: seconds * NS_PER_S }
}

pub fn title(text: &str) -> ApTitleBuf {
    ApTitleBuf::parse(text).unwrap()
}

pub fn setup() -> Setup {
    Setup::new(residential(), title(TITLE), "MGRF0001".into(), Meter::new(1, Dev([3; 8])))
}

pub fn open_device() -> EndDevice {
    EndDevice::new(setup(), at(0))
}

pub fn classic(freshness_s: u32) -> Classic {
    Classic::new([(0, &Key128::from_octets(KEY)), (2, &Key128::from_octets([9; 16]))], freshness_s)
}

pub fn classic_device() -> EndDevice {
    EndDevice::new(Setup { classic: Some(classic(900)), ..setup() }, at(0))
}

/// What a client was answered: nothing, or the octets of each response and whether it was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub verdict: Verdict,
    pub apdu: Vec<u8>,
    pub mode: Option<SecurityMode>,
    pub responses: Vec<Vec<u8>>,
    pub iv: Option<[u8; 4]>,
}

impl Answer {
    pub fn codes(&self) -> Vec<ResponseCode> {
        self.responses.iter().map(|response| ResponseCode::of(response[0])).collect()
    }

    /// The table data of a response.
    pub fn data(&self, place: usize) -> Vec<u8> {
        let code = c1222::ServiceCode::FULL_READ;
        let response = Response::decode(&self.responses[place], Some(code), Leniency::Strict).unwrap();
        let Response::Read(data) = response else { panic!("{response:?}") };
        data.check().unwrap();
        let mut octets = Vec::new();
        data.append_to(&mut octets);
        octets
    }
}

/// A client with its keys.
pub struct Client {
    pub title: Option<ApTitleBuf>,
    pub called: Option<ApTitleBuf>,
    pub mode: SecurityMode,
    pub key_id: u8,
    /// Key and IV of its session: then messages carry none.
    pub session: Option<KeyIv>,
    pub response_control: ResponseControl,
    pub recovery: bool,
    pub qualifier: Option<Qualifier>,
    pub invocation: u32,
    pub iv: Option<u32>,
    pub keys: Classic,
}

impl Client {
    /// One that asks in clear.
    pub fn clear() -> Self {
        Self {
            title: Some(title(CALLER)),
            called: Some(title(TITLE)),
            mode: SecurityMode::Clear,
            key_id: 0,
            session: None,
            response_control: ResponseControl::Always,
            recovery: false,
            qualifier: None,
            invocation: 100,
            iv: None,
            keys: classic(0),
        }
    }

    /// One that seals.
    pub fn sealing(mode: SecurityMode) -> Self {
        Self { mode, ..Self::clear() }
    }

    /// The octets of a message.
    pub fn message(&mut self, requests: &[Request<'_>], now: Moment) -> Vec<u8> {
        self.message_with(now, |epsem| {
            for request in requests {
                epsem.request(request);
            }
        })
    }

    pub fn message_with(&mut self, now: Moment, write: impl FnOnce(&mut EpsemWriter<'_>)) -> Vec<u8> {
        let mut control = EpsemControl::new(self.mode, self.response_control);
        if self.recovery {
            control = control.with(EpsemControl::RECOVERY_SESSION);
        }
        let mut out = Vec::new();
        let mut epsem = EpsemWriter::new(&mut out, control, None);
        write(&mut epsem);
        let is_sealed = self.mode != SecurityMode::Clear;
        if is_sealed {
            epsem.leave_mac();
        }
        self.invocation += 1;
        let iv = self.iv.map_or_else(|| self.keys.next_iv(now), u32::to_be_bytes);
        let own = (is_sealed && self.session.is_none()).then(|| Authentication::c1222(self.key_id, iv));
        let (called, calling) = (self.called.clone(), self.title.clone());
        Envelope {
            called: called.as_ref().map(ApTitleBuf::as_title),
            calling: calling.as_ref().map(ApTitleBuf::as_title),
            qualifier: self.qualifier,
            authentication: own,
            ..Envelope::new(InvocationId::new(self.invocation))
        }
        .wrap(&mut out, 0);
        if is_sealed {
            self.keys.seal(&mut out, self.session).unwrap();
        }
        out
    }

    /// Sends octets, and reads the answer.
    pub fn send(&mut self, device: &mut EndDevice, octets: &[u8], now: Moment) -> Answer {
        let mut apdu = Vec::new();
        let verdict = device.receive(1, octets, now, &mut apdu);
        let mut answer = Answer { verdict, apdu, mode: None, responses: Vec::new(), iv: None };
        if answer.apdu.is_empty() {
            return answer;
        }
        let decoded = Apdu::decode(&answer.apdu, Leniency::Strict).unwrap();
        let asked = Apdu::decode(octets, Leniency::Draft).unwrap();
        assert_eq!(decoded.envelope.answer_to, Some(asked.envelope.invocation));
        assert_eq!(decoded.envelope.called, asked.envelope.calling);
        assert!(decoded.envelope.calling.unwrap().same_node(&device.title()));
        let parts = Sealing::split(decoded.epsem().unwrap()).unwrap();
        let mut plaintext = Vec::new();
        if parts.mode == SecurityMode::Clear {
            plaintext.extend_from_slice(parts.payload);
        } else {
            let key_iv = self.keys.open(&decoded, self.session, now, &mut plaintext).unwrap();
            answer.iv = decoded.envelope.authentication.map(|_| key_iv.iv);
        }
        let epsem = Epsem::of_plaintext(parts.control, &plaintext).unwrap();
        epsem.check().unwrap();
        answer.mode = Some(parts.mode);
        answer.responses = epsem.services().map(|service| service.unwrap().to_vec()).collect();
        answer
    }

    /// Asks, and reads the answer.
    pub fn ask(&mut self, device: &mut EndDevice, requests: &[Request<'_>], now: Moment) -> Answer {
        let message = self.message(requests, now);
        self.send(device, &message, now)
    }

    /// The codes of the answer to requests.
    pub fn codes(
        &mut self,
        device: &mut EndDevice,
        requests: &[Request<'_>],
        now: Moment,
    ) -> Vec<ResponseCode> {
        self.ask(device, requests, now).codes()
    }
}
