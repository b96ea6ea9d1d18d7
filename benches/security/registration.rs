//! The head-end's side of a registration, with a static key in memory: message_1 read and answered, message_3
//! opened, the association's record sealed.

use std::collections::HashMap;
use std::hint::black_box;

use c1222::ApTitleBuf;
use keystore::{NewAssociation, ProfileId, Vault};
use seal::edhoc::{
    Agreement, AwaitMessage2, AwaitMessage3, Credential, DeviceCredential, Ephemeral, HeadEndCredential,
    HeadEndKid, MESSAGE_1_LEN, MESSAGE_2_LEN, MESSAGE_3_LEN, Message1, Opened, PrivateKey, PublicKey,
    Refusal, Run, initiate,
};
use seal::ids::{Dev, Sid};

use crate::goal;
use crate::site;
use crate::support::{Failure, Figures, Spread};
use crate::timing::{each, thread_cpu};

/// Registrations of one sample.
const DEVICES: u64 = 300;
const SAMPLES: usize = 9;
/// Registrations a second and core, at least.
pub const GOAL: f64 = 1_500.0;

/// An end device.
struct Device {
    key: PrivateKey,
    credential: DeviceCredential,
}

struct Lab {
    devices: Vec<Device>,
    known: HashMap<Dev, PublicKey>,
    key: PrivateKey,
    credential: HeadEndCredential,
    vault: Vault,
    title: ApTitleBuf,
}

pub fn bench(figures: &mut Figures) -> Result<(), Failure> {
    let (store, _folder) = site::store("registration", 0)?;
    let lab = Lab::make(store.vault())?;
    let (mut products, mut raw, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for sample in 0..=SAMPLES {
        let (floor, run, all) = (lab.products()?, lab.sample(false)?, lab.sample(true)?);
        if sample > 0 {
            products.push(floor);
            raw.push(run);
            whole.push(all);
        }
    }
    goal::rate(figures, "registration, its four products on the curve alone", Spread::of(products), None);
    goal::rate(figures, "registration, EDHOC alone", Spread::of(raw), None);
    goal::rate(figures, "registration, whole head-end side", Spread::of(whole), Some(GOAL));
    Ok(())
}

/// A key that is drawn anew each time.
pub fn ephemeral() -> Result<Ephemeral, Failure> {
    loop {
        let mut octets = [0; 32];
        getrandom::fill(&mut octets)?;
        if let Some(ephemeral) = Ephemeral::from_octets(&octets) {
            return Ok(ephemeral);
        }
    }
}

impl Lab {
    fn make(vault: Vault) -> Result<Self, Failure> {
        let device = |number: u64| {
            let (mut octets, dev) = ([7; 32], Dev(number.to_be_bytes()));
            octets.last_chunk_mut::<8>().into_iter().for_each(|last| *last = number.to_be_bytes());
            let key = PrivateKey::from_octets(&octets)?;
            Some(Device { credential: Credential { kid: dev, key: key.public_key() }, key })
        };
        let devices: Vec<Device> = (1..=DEVICES).map(device).collect::<Option<_>>().ok_or("no key")?;
        let key = PrivateKey::from_octets(&[3; 32]).ok_or("no key")?;
        let kid = HeadEndKid::new(0).ok_or("no kid")?;
        Ok(Self {
            known: devices.iter().map(|device| (device.credential.kid, device.credential.key)).collect(),
            devices,
            credential: Credential { kid, key: key.public_key() },
            key,
            vault,
            title: ApTitleBuf::parse(".75.1.1")?,
        })
    }

    /// What no head-end is faster than: an ephemeral key, and three products.
    fn products(&self) -> Result<f64, Failure> {
        let begin = thread_cpu();
        for device in &self.devices {
            let (ephemeral, peer) = (ephemeral()?, &device.credential.key);
            black_box(ephemeral);
            for _ in 0..3 {
                let Ok(product) = self.key.agree(black_box(peer));
                black_box(product);
            }
        }
        Ok(each(thread_cpu().saturating_sub(begin), self.devices.len()))
    }

    /// Nanoseconds of the head-end for each registration; with `whole` what stands around EDHOC counts, too.
    fn sample(&self, whole: bool) -> Result<f64, Failure> {
        let mut begun: Vec<(AwaitMessage2, [u8; MESSAGE_1_LEN])> = Vec::new();
        for _ in &self.devices {
            begun.push(initiate(ephemeral()?));
        }
        let begin = thread_cpu();
        let mut answered: Vec<Answered> = Vec::with_capacity(begun.len());
        for (number, (_, message_1)) in (0..).zip(&begun) {
            let read = Message1::read(message_1).map_err(|refusal| format!("{refusal:?}"))?;
            let Ok(answer) = read.answer(&self.credential, &self.key, ephemeral()?, Sid(number));
            answered.push(Answered::of(whole, &read, answer));
        }
        let mut spent = thread_cpu().saturating_sub(begin);

        let mut proofs: Vec<[u8; MESSAGE_3_LEN]> = Vec::with_capacity(begun.len());
        for ((device, (waiting, _)), answered) in self.devices.iter().zip(&begun).zip(&answered) {
            let proof = waiting.message_2(answered.message_2(), &device.credential, &device.key, |_| {
                Some(self.credential.key)
            });
            proofs.push(proof.map_err(|refusal| format!("{refusal:?}"))?.1);
        }

        let begin = thread_cpu();
        for (answered, message_3) in answered.iter_mut().zip(&proofs) {
            let known = |dev: Dev| self.known.get(&dev).copied().ok_or(Refusal::Unknown);
            match answered {
                Answered::Raw(waiting, _) => {
                    drop(black_box(waiting.message_3(message_3, known).map_err(|_| "message_3 refused")?));
                }
                Answered::Run(run) => {
                    let opened = run.message_3(message_3, known).map_err(|_| "message_3 refused")?;
                    let Opened::New(registered) = opened else { return Err("no registration".into()) };
                    black_box(self.vault.seal_association(&NewAssociation {
                        sid: registered.sid,
                        dev: registered.dev,
                        prk: &registered.prk,
                        title: self.title.as_title(),
                        esn: "MG00000001",
                        profile: ProfileId([7; 32]),
                    })?);
                    black_box(run.settle(true).ok_or("no message_4")?);
                }
            }
        }
        spent += thread_cpu().saturating_sub(begin);
        Ok(each(spent, self.devices.len()))
    }
}

/// A run whose message_2 is made.
enum Answered {
    Raw(Box<AwaitMessage3>, [u8; MESSAGE_2_LEN]),
    Run(Box<Run>),
}

impl Answered {
    fn of(whole: bool, read: &Message1, answer: (AwaitMessage3, [u8; MESSAGE_2_LEN])) -> Self {
        if whole {
            Self::Run(Box::new(Run::new(read, answer)))
        } else {
            Self::Raw(Box::new(answer.0), answer.1)
        }
    }

    fn message_2(&self) -> &[u8; MESSAGE_2_LEN] {
        match self {
            Self::Raw(_, message_2) => message_2,
            Self::Run(run) => run.message_2(),
        }
    }
}
