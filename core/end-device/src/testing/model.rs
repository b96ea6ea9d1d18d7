//! A head-end without sockets, disks and nodes: the rules of the security layer from its parts, for tests.

use std::collections::{BTreeMap, HashMap, HashSet};

use c1222::registration::{ConnectionType, Registered as NodeRegistered};
use c1222::{ApTitleBuf, Apdu, Envelope, Epsem, InvocationId, Leniency, Request, Response, U24, carriage};
use seal::association::{Accepted, Association};
use seal::command::{self, Addressee, Class, Command, KeyItem};
use seal::control::{Down, GroupKey, Item, Items, Up};
use seal::edhoc::{
    Credential, Ephemeral, ErrorMessage, HeadEndCredential, HeadEndKid, Message1, Opened, PrivateKey,
    PublicKey, Refusal, Run,
};
use seal::frame::{FrameType, Head};
use seal::group::GroupKeys;
use seal::ids::{Dev, Epoch, Gid, Sid, System};
use seal::profile1::Channel;
use seal::schedule;
use seal::secret::{Key128, Prk};
use seal::signature::{SigningKey, sha256};

/// A device's association.
pub struct Link {
    pub association: Association,
    /// PRK_out of the newest epoch that was issued.
    newest: Prk,
    pub title: ApTitleBuf,
    pub proven: bool,
    retired: bool,
}

/// What a device told besides reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Result { skid: u8, kind: u8, ctr: u32, result: u8, rest: Vec<u8> },
    Proof { epoch: Epoch, challenge: [u8; 8] },
    Event { number: u16, data: Vec<u8> },
    TimeRequest([u8; 8]),
}

struct Pending {
    run: Run,
    message_1: Vec<u8>,
}

/// The head-end.
pub struct HeadEnd {
    pub system: System,
    title: ApTitleBuf,
    key: PrivateKey,
    credential: HeadEndCredential,
    pub known: HashMap<Dev, PublicKey>,
    pub revoked: HashSet<Dev>,
    runs: Vec<Pending>,
    pub links: BTreeMap<u32, Link>,
    /// The proven association of a device.
    pub devices: BTreeMap<Dev, Sid>,
    next_slot: u32,
    pub signers: HashMap<u8, SigningKey>,
    ctr: HashMap<(u8, [u8; 8]), u32>,
    last_nbf: u32,
    groups: HashMap<u32, (GroupKeys, u32)>,
    /// Unix seconds.
    pub now: u64,
    /// Registrations are refused with `wait N`.
    pub wait: Option<u16>,
    /// Nothing that is asked by C12.22 Registration is answered.
    pub mute: bool,
    pub title_for: Option<ApTitleBuf>,
    invocation: u32,
    seed: u64,
    /// EPSEMs of fresh frames of type 1.
    pub reports: Vec<(Dev, Vec<u8>)>,
    /// What fresh frames of type 5 said.
    pub told: Vec<(Dev, Told)>,
    pub duplicates: u64,
    pub refused: BTreeMap<&'static str, u64>,
    /// C12.22 registrations, by serial number.
    pub registered: Vec<String>,
}

impl HeadEnd {
    pub fn new(system: System, kid: u8, key: PrivateKey) -> Self {
        Self {
            system,
            title: ApTitleBuf::parse(".1").unwrap(),
            credential: Credential { kid: HeadEndKid::new(kid).unwrap(), key: key.public_key() },
            key,
            known: HashMap::new(),
            revoked: HashSet::new(),
            runs: Vec::new(),
            links: BTreeMap::new(),
            devices: BTreeMap::new(),
            next_slot: 1,
            signers: HashMap::new(),
            ctr: HashMap::new(),
            last_nbf: 0,
            groups: HashMap::new(),
            now: 1_800_000_000,
            wait: None,
            mute: false,
            title_for: None,
            invocation: 0,
            seed: 1,
            reports: Vec::new(),
            told: Vec::new(),
            duplicates: 0,
            refused: BTreeMap::new(),
            registered: Vec::new(),
        }
    }

    /// Another key that it answers with.
    pub fn change_key(&mut self, kid: u8, key: PrivateKey) {
        self.credential = Credential { kid: HeadEndKid::new(kid).unwrap(), key: key.public_key() };
        self.key = key;
    }

    fn octets(&mut self) -> [u8; 32] {
        self.seed += 1;
        sha256(&[&b"head-end"[..], &self.seed.to_be_bytes()].concat())
    }

    /// Takes an APDU; the answers.
    pub fn handle(&mut self, octets: &[u8]) -> Vec<Vec<u8>> {
        let apdu = Apdu::decode(octets, Leniency::Strict).unwrap();
        let carried = carriage::read(&apdu).unwrap().expect("a frame of profile 1");
        let (head, body) = (carried.head, carried.body);
        let title: ApTitleBuf = apdu.envelope.calling.unwrap().into();
        let to = (title, apdu.envelope.invocation.value());
        match head[0] {
            0x18 => self.message_1(body, &to),
            0x1a => self.message_3(Sid(u32::from_be_bytes(head[1..5].try_into().unwrap())), body, &to),
            0x11 | 0x15 => self.upstream(head, body, &to.0, to.1),
            other => panic!("type {other:02x} up"),
        }
    }

    fn answer(&mut self, (title, id): &(ApTitleBuf, u32), frame: &[u8]) -> Vec<Vec<u8>> {
        let envelope = Envelope { answer_to: Some(InvocationId::new(*id)), ..self.envelope() };
        let mut out = Vec::new();
        carriage::write(
            &mut out,
            &Envelope { called: Some(title.as_title()), calling: Some(self.title.as_title()), ..envelope },
            frame,
        )
        .unwrap();
        vec![out]
    }

    fn envelope(&mut self) -> Envelope<'static> {
        self.invocation += 1;
        Envelope::new(InvocationId::new(self.invocation & 0x7fff))
    }

    fn message_1(&mut self, message_1: &[u8], to: &(ApTitleBuf, u32)) -> Vec<Vec<u8>> {
        if let Some(seconds) = self.wait {
            return self.answer(to, &[&[0x1c][..], &ErrorMessage::Wait(seconds).octets()].concat());
        }
        if let Some(pending) = self.runs.iter().find(|pending| pending.message_1 == message_1) {
            let message_2 = *pending.run.message_2();
            return self.answer(to, &[&[0x19][..], &message_2].concat());
        }
        let read = Message1::read(message_1).unwrap();
        let ephemeral = Ephemeral::from_octets(&self.octets()).unwrap();
        let sid = Sid::new(0, self.next_slot).unwrap();
        self.next_slot += 1;
        let answered = read.answer(&self.credential, &self.key, ephemeral, sid).unwrap();
        let run = Run::new(&read, answered);
        let message_2 = *run.message_2();
        self.runs.push(Pending { run, message_1: message_1.to_vec() });
        self.answer(to, &[&[0x19][..], &message_2].concat())
    }

    fn message_3(&mut self, sid: Sid, message_3: &[u8], to: &(ApTitleBuf, u32)) -> Vec<Vec<u8>> {
        let (known, revoked) = (self.known.clone(), self.revoked.clone());
        let Some(pending) = self.runs.iter_mut().find(|pending| pending.run.sid() == sid) else {
            return Vec::new();
        };
        let opened = pending.run.message_3(message_3, |dev| match known.get(&dev) {
            _ if revoked.contains(&dev) => Err(Refusal::Revoked),
            Some(key) => Ok(*key),
            None => Err(Refusal::Unknown),
        });
        let message_4 = match opened {
            Ok(Opened::New(registered)) => {
                let mut association = Association::new(sid, registered.dev, Epoch(0), registered.keys());
                association.reserved(Epoch(0), 1 << 20);
                let newest = registered.prk;
                let title = to.0.clone();
                self.links
                    .insert(sid.slot(), Link { association, newest, title, proven: false, retired: false });
                pending.run.settle(true).unwrap()
            }
            Ok(Opened::Again(message_4)) => message_4,
            Ok(Opened::Writing) => return Vec::new(),
            Err(refused) => {
                *self.refused.entry(refused.refusal.code()).or_default() += 1;
                let Some(reply) = refused.reply else { return Vec::new() };
                return self.answer(to, &[&[0x1c][..], &reply.octets()].concat());
            }
        };
        self.answer(to, &[&[0x1b][..], &message_4].concat())
    }

    fn upstream(&mut self, head: &[u8], body: &[u8], title: &ApTitleBuf, invocation: u32) -> Vec<Vec<u8>> {
        let head = Head::read(head, body.len()).unwrap();
        let mut body = body.to_vec();
        let now = self.now;
        let Some(link) = self.links.get_mut(&head.sid().slot()) else {
            *self.refused.entry("SEC-UP-UNKNOWN").or_default() += 1;
            return Vec::new();
        };
        let opened = match link.association.admit(&head, self.system) {
            Ok(channel) => channel.open(&head, &mut body).map(|plaintext| plaintext.to_vec()),
            Err(refusal) => {
                *self.refused.entry(refusal.code()).or_default() += 1;
                return Vec::new();
            }
        };
        let dev = link.association.dev();
        match link.association.accept(&head, opened.is_some()) {
            Ok(Accepted::Fresh(epoch)) => {
                if link.association.committed(epoch, head.seq, now) {
                    let epoch = link.association.epoch();
                    link.association.reserved(epoch, 1 << 20);
                }
                link.title = title.clone();
                let fresh = !std::mem::replace(&mut link.proven, true);
                if fresh && let Some(old) = self.devices.insert(dev, head.sid()) {
                    self.links.get_mut(&old.slot()).unwrap().retired = true;
                }
                let plaintext = opened.unwrap();
                let mut out = if head.frame_type == FrameType::Report {
                    self.report(dev, head.sid(), &plaintext, invocation)
                } else {
                    self.tell(dev, &plaintext);
                    Vec::new()
                };
                out.extend(self.acknowledge(head.sid(), epoch));
                out
            }
            Ok(Accepted::Duplicate { epoch, .. }) => {
                self.duplicates += 1;
                self.acknowledge(head.sid(), epoch).into_iter().collect()
            }
            Err(refusal) => {
                *self.refused.entry(refusal.code()).or_default() += 1;
                Vec::new()
            }
        }
    }

    /// A report, or a request that is answered.
    fn report(&mut self, dev: Dev, sid: Sid, epsem: &[u8], invocation: u32) -> Vec<Vec<u8>> {
        let request = Epsem::decode(epsem).ok().and_then(|epsem| {
            let service = epsem.services().next()?.ok()?;
            match Request::decode(service).ok()? {
                Request::Registration(asked) => Some((
                    String::from_utf8(asked.serial_number.octets.to_vec()).unwrap(),
                    asked.title?.into(),
                )),
                _ => None,
            }
        });
        let Some((serial, asked)) = request else {
            self.reports.push((dev, epsem.to_vec()));
            return Vec::new();
        };
        self.registered.push(serial);
        if self.mute {
            return Vec::new();
        }
        let asked: ApTitleBuf = asked;
        let title = self.title_for.clone().unwrap_or(asked);
        let mut response = Vec::new();
        Response::Registration(NodeRegistered {
            title: title.as_title(),
            delay_s: 60,
            period_s: U24::new(86_400).unwrap(),
            info: ConnectionType(0),
        })
        .encode(&mut response);
        let item = Down::Response { invocation_id: invocation, response: &response };
        self.control(sid, &[item]).into_iter().collect()
    }

    fn tell(&mut self, dev: Dev, plaintext: &[u8]) {
        for item in Items::<Up<'_>>::read(plaintext).unwrap() {
            let told = match item {
                Up::Result(told) => Told::Result {
                    skid: told.skid,
                    kind: told.kind,
                    ctr: told.ctr,
                    result: told.result,
                    rest: told.rest.to_vec(),
                },
                Up::Proof { epoch, challenge } => Told::Proof { epoch, challenge: *challenge },
                Up::Event { number, data, .. } => Told::Event { number, data: data.to_vec() },
                Up::TimeRequest { nonce } => Told::TimeRequest(*nonce),
            };
            self.told.push((dev, told));
        }
    }

    fn acknowledge(&mut self, sid: Sid, epoch: Epoch) -> Option<Vec<u8>> {
        let link = self.links.get(&sid.slot())?;
        let ack = link.association.ack(epoch)?;
        // A retired association seals nothing downstream.
        if link.retired { None } else { self.control(sid, &[Down::Ack(ack)]) }
    }

    /// A type-4 frame.
    pub fn control(&mut self, sid: Sid, items: &[Down<'_>]) -> Option<Vec<u8>> {
        let mut plaintext = Vec::new();
        items.iter().for_each(|item| item.write(&mut plaintext));
        self.down(sid, FrameType::DownControl, &plaintext)
    }

    /// A sealed frame for a device, in an APDU.
    pub fn down(&mut self, sid: Sid, frame_type: FrameType, plaintext: &[u8]) -> Option<Vec<u8>> {
        let envelope = self.envelope();
        let link = self.links.get_mut(&sid.slot())?;
        let seq = link.association.take_seq()?;
        let channel = link.association.downstream(self.system);
        let head = channel.head(frame_type, sid.0, seq);
        Some(carry(&envelope, &self.title, &link.title, &channel, &head, plaintext))
    }

    /// The proven association of a device.
    pub fn sid(&self, dev: Dev) -> Sid {
        self.devices[&dev]
    }

    /// The next command to a device or group, signed: the plaintext of a frame.
    pub fn sign(&mut self, skid: u8, to: Addressee, class: Class, body: &[u8]) -> (u32, Vec<u8>) {
        let ctr = self.ctr.entry((skid, to.scope().0)).or_default();
        *ctr += 1;
        let ctr = *ctr;
        let mut nbf = self.now as u32;
        if class == Class::Load {
            // Later than any of class 3 before it.
            nbf = nbf.max(self.last_nbf + 1);
            self.last_nbf = nbf;
        }
        let command = Command { skid, class: class.octet(), ctr, nbf, ttl: 60, body };
        let signed = command::sign(command.octets().unwrap(), self.system, to, &self.signers[&skid]);
        (ctr, signed.unwrap())
    }

    /// A command to one device.
    pub fn command(&mut self, skid: u8, dev: Dev, class: Class, body: &[u8]) -> (u32, Vec<u8>, Vec<u8>) {
        let (ctr, signed) = self.sign(skid, Addressee::Device(dev), class, body);
        let apdu = self.down(self.sid(dev), FrameType::Command, &signed).unwrap();
        (ctr, apdu, signed)
    }

    /// A list of class 4 to one device.
    pub fn keys(&mut self, skid: u8, dev: Dev, items: &[KeyItem<'_>]) -> Vec<u8> {
        let mut body = Vec::new();
        items.iter().for_each(|item| item.write(&mut body));
        self.command(skid, dev, Class::Keys, &body).1
    }

    /// Candidates for an advance.
    pub fn issue(&mut self, dev: Dev, delta: u8) {
        let sid = self.sid(dev);
        let link = self.links.get_mut(&sid.slot()).unwrap();
        for _ in 0..delta {
            let newest = &mut link.newest;
            let issued = link.association.issue(|next| {
                *newest = schedule::advance(newest, next);
                schedule::derive(newest, sid)
            });
            issued.expect("a free candidate");
        }
    }

    /// A group's key for an epoch; the newest one seals.
    pub fn group_key(&mut self, dev: Dev, gid: Gid, epoch: Epoch, activate_at: u32) -> Vec<u8> {
        let gms: [u8; 16] = sha256(&[gid.0.to_be_bytes().as_slice(), &epoch.0.to_be_bytes()].concat())[..16]
            .try_into()
            .unwrap();
        let keys = GroupKeys::derive(&Key128::from_octets(gms), gid, epoch);
        if self.groups.get(&gid.0).is_none_or(|(keys, _)| keys.epoch() < epoch) {
            self.groups.insert(gid.0, (keys, 1));
        }
        let item = Down::GroupKey(GroupKey { gid, epoch, gms: &gms, activate_at });
        self.control(self.sid(dev), &[item]).unwrap()
    }

    /// A command to a group, sealed once.
    pub fn group_command(&mut self, skid: u8, gid: Gid, class: Class, body: &[u8]) -> (u32, Vec<u8>) {
        let (ctr, signed) = self.sign(skid, Addressee::Group(gid), class, body);
        (ctr, self.group_frame(gid, &signed))
    }

    pub fn group_frame(&mut self, gid: Gid, signed: &[u8]) -> Vec<u8> {
        let envelope = self.envelope();
        let (keys, seq) = self.groups.get_mut(&gid.0).unwrap();
        *seq += 1;
        let channel = keys.channel(self.system);
        let head = channel.head(FrameType::GroupCommand, gid.0, *seq);
        let title = ApTitleBuf::parse(".75.0.98").unwrap();
        carry(&envelope, &self.title, &title, &channel, &head, signed)
    }

    /// The results of commands of this counter.
    pub fn results(&self, dev: Dev, kind: u8, ctr: u32) -> Vec<u8> {
        let of = |told: &Told| match told {
            Told::Result { kind: other, ctr: counter, result, .. } if (*other, *counter) == (kind, ctr) => {
                Some(*result)
            }
            _ => None,
        };
        self.told.iter().filter(|(from, _)| *from == dev).filter_map(|(_, told)| of(told)).collect()
    }
}

fn carry(
    envelope: &Envelope<'_>,
    host: &ApTitleBuf,
    title: &ApTitleBuf,
    channel: &Channel<'_>,
    head: &Head,
    plaintext: &[u8],
) -> Vec<u8> {
    let mut frame = head.octets().to_vec();
    assert!(channel.seal(head, plaintext, &mut frame));
    let envelope = Envelope { called: Some(title.as_title()), calling: Some(host.as_title()), ..*envelope };
    let mut out = Vec::new();
    carriage::write(&mut out, &envelope, &frame).unwrap();
    out
}
