//! A real end device of the product: agent, tables and service switch. Its private keys are at hand, since one
//! who opens a meter has them.

use std::sync::Arc;

use c1222::ApTitleBuf;
use c1222::device_profile::{DeviceProfile, SwitchPosition};
use end_device::agent::{
    Agent, Entropy, Identity, MemoryStorage, MeterApplication, Output, Provisioned, Settings,
};
use end_device::end_device::{EndDevice, Moment, Setup};
use end_device::report::ReportLayout;
use seal::edhoc::{HeadEndCredential, PrivateKey, PublicKey};
use seal::ids::{Dev, System};
use seal::receiver::Signers;
use seal::signature::{SigningKey, VerifyingKey, sha256};
use zeroize::Zeroizing;

/// Numbers that look random, from a seed.
struct Drawn(u64);

impl Entropy for Drawn {
    fn fill(&mut self, octets: &mut [u8]) {
        for part in octets.chunks_mut(32) {
            self.0 += 1;
            part.copy_from_slice(&sha256(&self.0.to_be_bytes())[..part.len()]);
        }
    }
}

/// The residential example profile.
pub fn profile() -> DeviceProfile {
    let text = include_str!("../../graphs/profiles/residential.toml");
    graph::device_profile::parse(text).0.unwrap()
}

/// The private keys that a meter was made with.
#[derive(Clone, Copy)]
pub struct Secrets {
    pub dev: Dev,
    pub agreement: [u8; 32],
    pub signing: [u8; 32],
}

impl Secrets {
    pub fn of(number: u8) -> Self {
        let key = |what: &str| sha256(format!("{what} of meter {number}").as_bytes());
        Self { dev: Dev([number; 8]), agreement: key("agreement key"), signing: key("signing key") }
    }

    /// What a manifest says of it.
    pub fn public(&self) -> (PublicKey, VerifyingKey) {
        let agreement = PrivateKey::from_octets(&self.agreement).unwrap();
        (agreement.public_key(), self.signing_key().verifying_key())
    }

    pub fn signing_key(&self) -> SigningKey {
        SigningKey::from_octets(&self.signing).unwrap()
    }
}

pub struct Meter {
    pub agent: Agent,
    pub secrets: Secrets,
    pub now: u64,
    pub out: Vec<Output>,
}

impl Meter {
    pub fn new(secrets: Secrets, system: System, head_end: HeadEndCredential, signers: &Signers) -> Self {
        let title = ApTitleBuf::parse(&format!(".75.1.{}", secrets.dev.0[0])).unwrap();
        let identity = Identity::new(Provisioned {
            dev: secrets.dev,
            esn: format!("MGRF{:04}", secrets.dev.0[0]),
            title: title.clone(),
            system,
            head_end: ApTitleBuf::parse(".1").unwrap(),
            credential: head_end,
            signers: signers.clone(),
            agreement: Zeroizing::new(secrets.agreement),
            signing: Zeroizing::new(secrets.signing),
        });
        let layout = Arc::new(ReportLayout::new(profile()).unwrap());
        let meter = end_device::meter::Meter::new(1, secrets.dev);
        let setup = Setup::new(profile(), title, "MGRF".to_owned(), meter);
        let setup = Setup { profile1_only: true, ..setup };
        let device = EndDevice::new(setup, at(0));
        let application = Box::new(MeterApplication::new(device, meter, layout));
        let settings = Settings { paced: true, ..Settings::default() };
        let (storage, entropy) =
            (Box::new(MemoryStorage::default()), Box::new(Drawn(u64::from(secrets.dev.0[0]) << 32)));
        let agent = Agent::open(identity.unwrap(), settings, application, storage, entropy, at(0)).unwrap();
        Self { agent, secrets, now: 0, out: Vec::new() }
    }

    pub fn dev(&self) -> Dev {
        self.secrets.dev
    }

    /// Gives it an APDU; the codes of what it refused.
    pub fn take(&mut self, apdu: &[u8]) -> Vec<&'static str> {
        let mut out = Vec::new();
        self.agent.handle(1, apdu, at(self.now), &mut out);
        let refused = out.iter().filter_map(|output| match output {
            Output::Refused(code) => Some(*code),
            _ => None,
        });
        let refused = refused.collect();
        self.out.append(&mut out);
        refused
    }

    /// What it sends now.
    pub fn sends(&mut self) -> Vec<Vec<u8>> {
        self.agent.poll(at(self.now), &mut self.out);
        let sent = self.out.drain(..).filter_map(|output| match output {
            Output::Send(apdu) => Some(apdu),
            _ => None,
        });
        sent.collect()
    }

    pub fn report(&mut self) -> bool {
        self.agent.report(at(self.now), &mut self.out)
    }

    pub fn switched_off(&self) -> bool {
        self.agent.application().switch() == Some(SwitchPosition::Open)
    }
}

/// So many seconds after the beginning.
pub fn at(seconds: u64) -> Moment {
    Moment { unix_s: BEGIN + seconds, steady_ns: seconds * 1_000_000_000 }
}

/// When the drills begin, Unix seconds.
pub const BEGIN: u64 = 1_800_000_000;
