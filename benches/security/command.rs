//! Commands: signed and sealed by the head-end, opened and verified by an end device.

use std::hint::black_box;

use commands::class::ProfileClassifier;
use commands::front::CommandId;
use commands::intent::{Intent, SigningRequest};
use commands::policy::Policy;
use commands::signer::{Fleet, Member, Signer, Verdict};
use node::{Batch, Frame};
use nodes::audit_log::ABOUT;
use nodes::record::{self, Audit, Ctr, Signed};
use seal::at_rest::{Dek, NONCE_LEN};
use seal::command::{Addressee, Class, Classes, Command};
use seal::frame::{Bound, Head};
use seal::hex::Hex;
use seal::ids::{Dev, Epoch, Sid};
use seal::profile1::Channel;
use seal::receiver::{DeviceAssociation, Received, Receiver, SignerKey, Signers};
use seal::schedule::{self, AssociationKeys};
use seal::secret::{Key256, Prk};
use seal::signature::{self, SIGNATURE_LEN, sha256};

use crate::goal;
use crate::site::{SYSTEM, signing_key};
use crate::support::{Failure, Figures};
use crate::timing::ns_each;

/// Commands of one sample.
const COMMANDS: usize = 1_000;
const SKID: u8 = 1;
pub const NOW: u64 = 1_800_000_000;
/// Signed and sealed a second and core, at least.
pub const GOAL: f64 = 15_000.0;
/// Reads ST1.
const BODY: [u8; 5] = [0x80, 3, 0x30, 0, 1];
pub const PROFILE: &str = "device_profile = 1\nname = 'x'\n[classes]\nread = ['ST1']\n";

pub fn bench(figures: &mut Figures) -> Result<(), Failure> {
    let key = signing_key()?;
    let digest = sha256(b"a digest");
    let signed = ns_each(
        COMMANDS,
        || (),
        |()| {
            for _ in 0..COMMANDS {
                let Ok(signature) = signature::Signer::sign(&key, black_box(&digest));
                black_box(signature);
            }
            Ok(())
        },
    )?;
    goal::rate(figures, "command, ES256 alone, software", signed, None);
    let mut desk = Desk::make()?;
    let whole = ns_each(COMMANDS, || (), |()| desk.pass(COMMANDS, &key))?;
    goal::rate(figures, "command, signed and sealed, software", whole, Some(GOAL));

    let signature = signature::Signer::sign(&key, &digest).unwrap_or([0; SIGNATURE_LEN]);
    let public = key.verifying_key();
    let verified = ns_each(
        COMMANDS,
        || (),
        |()| {
            let good = (0..COMMANDS).all(|_| public.verifies(black_box(&digest), &signature));
            if good { Ok(()) } else { Err("a signature does not verify".into()) }
        },
    )?;
    goal::rate(figures, "command, ES256 verified alone", verified, None);
    let device = EndDevice::make()?;
    let received = ns_each(
        COMMANDS,
        || (device.receiver(), device.frames.clone()),
        |(receiver, frames)| device.receive(receiver, frames),
    )?;
    goal::rate(figures, "command, opened, verified and its class computed by a device", received, None);
    Ok(())
}

/// A signer and what stands around it: reservations and entries are encoded and sealed for the journal, what is
/// signed is sealed for its device.
pub struct Desk {
    signer: Signer,
    fleet: Meters,
    audit: Dek,
    channel: AssociationKeys,
    requests: u64,
}

impl Desk {
    pub fn make() -> Result<Self, Failure> {
        let mut signer = Signer::new(SYSTEM, SKID);
        signer.set_policy(Policy::read(&policy()?)?);
        Ok(Self {
            signer,
            fleet: Meters::make()?,
            audit: Dek::new(&Key256::from_octets([5; 32])),
            channel: schedule::derive(&Prk::from_octets([8; 32]), Sid(1)),
            requests: 0,
        })
    }

    /// One command to each of so many devices that have none outstanding, from the request's octets to the
    /// sealed frame's.
    pub fn pass<S>(&mut self, commands: usize, key: &S) -> Result<(), Failure>
    where
        S: signature::Signer,
        S::Error: std::fmt::Display,
    {
        for _ in 0..commands {
            self.requests += 1;
            let request = request(self.requests).octets();
            let Verdict::Authorised(authorised) = self.signer.authorise(&request, NOW, &self.fleet) else {
                return Err("a command was refused".into());
            };
            let mut batch = Batch::default();
            record::push(&mut batch, &Ctr(authorised.reservation()));
            let (mut entry, mut sealed, mut nonce) = (Vec::new(), Vec::new(), [0; NONCE_LEN]);
            authorised.audit(NOW * 1000).write(&mut entry);
            getrandom::fill(&mut nonce)?;
            self.audit.seal(nonce, ABOUT, &entry, &mut sealed)?;
            record::push(&mut batch, &Audit(&sealed));
            let signed = authorised.sign(key).map_err(|error| error.to_string())?;
            record::push(&mut batch, &Signed { id: authorised.intent.id, octets: &signed });
            self.signer.signed(&authorised);
            let mut frame = Vec::new();
            let channel = channel(&self.channel, dev(self.requests));
            let head = head(&channel, authorised.intent.addressee, 1);
            frame.extend_from_slice(&head.octets());
            if !channel.seal(&head, &signed, &mut frame) {
                return Err("a command does not fit its frame".into());
            }
            black_box((batch.push(&frame, Frame::default()), batch));
        }
        Ok(())
    }
}

fn dev(number: u64) -> Dev {
    Dev(number.to_be_bytes())
}

fn channel(keys: &AssociationKeys, dev: Dev) -> Channel<'_> {
    let bound = Bound { system: SYSTEM, scope: dev.into(), epoch: Epoch(0) };
    Channel { key: &keys.dn, common_iv: &keys.common_iv, bound }
}

fn head(channel: &Channel<'_>, addressee: Addressee, seq: u32) -> Head {
    channel.head(addressee.frame_type(), 1, seq)
}

fn body() -> Vec<u8> {
    let mut body = BODY.to_vec();
    Class::Read.pad(&mut body);
    body
}

pub fn request(number: u64) -> SigningRequest {
    let mut id = [0; 16];
    id.last_chunk_mut::<8>().into_iter().for_each(|last| *last = number.to_be_bytes());
    let intent = Intent {
        id: CommandId(id),
        system: SYSTEM,
        skid: SKID,
        class: Class::Read,
        addressee: Addressee::Device(dev(number)),
        membership: 0,
        body: body(),
        nbf: NOW as u32,
        ttl: 60,
        requester: "alice".to_owned(),
    };
    SigningRequest { intent, approvals: Vec::new() }
}

pub fn policy() -> Result<String, Failure> {
    let mut text =
        "policy = 1\nversion = 1\n[roles]\nall = [0, 1, 2, 3, 4, 5]\n[requesters]\nalice = [\"all\"]\n"
            .to_owned();
    for number in 1..=3_u8 {
        let key = signature::SigningKey::from_octets(&[number; 32]).ok_or("no key")?;
        let [_, x_y @ ..] = key.verifying_key().uncompressed();
        let (x, y) = x_y.split_at(32);
        text += &format!("[[approver]]\nname = \"a{number}\"\nx = \"{}\"\ny = \"{}\"\n", Hex(x), Hex(y));
    }
    Ok(text)
}

/// End devices without number, all of one profile.
struct Meters(ProfileClassifier);

impl Meters {
    fn make() -> Result<Self, Failure> {
        let (profile, _) = graph::device_profile::parse(PROFILE);
        Ok(Self(ProfileClassifier(profile.ok_or("the profile has faults")?)))
    }
}

impl Fleet for Meters {
    fn member(&self, _: Dev) -> Option<Member> {
        Some(Member { profile: 0, classic: false })
    }

    fn profile(&self, _: u32) -> Option<&ProfileClassifier> {
        Some(&self.0)
    }
}

/// An end device, and what it is sent.
struct EndDevice {
    signers: Signers,
    profile: ProfileClassifier,
    frames: Vec<Vec<u8>>,
}

impl EndDevice {
    const DEV: u64 = 7;

    fn make() -> Result<Self, Failure> {
        let key = signing_key()?;
        let mut signers = Signers::default();
        let classes = Classes(0b11_1111);
        signers.add(SignerKey { skid: SKID, key: key.verifying_key(), classes, not_before: 0 });
        let keys = schedule::derive(&Prk::from_octets([8; 32]), Sid(1));
        let (channel, addressee, body) =
            (channel(&keys, dev(Self::DEV)), Addressee::Device(dev(Self::DEV)), body());
        let frame = |number: u32| {
            let class = Class::Read.octet();
            let command = Command { skid: SKID, class, ctr: number, nbf: NOW as u32, ttl: 60, body: &body };
            let octets = command.octets().ok_or("the body is too long")?;
            let Ok(signed) = seal::command::sign(octets, SYSTEM, addressee, &key);
            let head = head(&channel, addressee, number);
            let mut frame = head.octets().to_vec();
            if channel.seal(&head, &signed, &mut frame) { Ok(frame) } else { Err("it does not fit") }
        };
        let frames = (1..=COMMANDS as u32).map(frame).collect::<Result<_, _>>()?;
        Ok(Self { signers, profile: Meters::make()?.0, frames })
    }

    fn receiver(&self) -> Receiver {
        let association = DeviceAssociation::new(Sid(1), Epoch(0), Prk::from_octets([8; 32]));
        Receiver::new(SYSTEM, dev(Self::DEV), association, self.signers.clone())
    }

    fn receive(&self, receiver: &mut Receiver, frames: &mut [Vec<u8>]) -> Result<(), Failure> {
        for frame in frames {
            match receiver.receive(frame, Some(NOW), &self.profile) {
                Ok(Received::Order(order)) => drop(black_box(order)),
                _ => return Err("a command was refused".into()),
            }
        }
        Ok(())
    }
}
