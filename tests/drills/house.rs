//! A head-end in memory, of the product's parts: registration, associations, group keys. What its hosts and tokens
//! hold is at hand, so that a drill can steal one thing of it and nothing else.

use std::collections::{BTreeMap, HashMap, HashSet};

use c1222::{ApTitleBuf, Apdu, Envelope, InvocationId, Leniency, carriage};
use commands::body::{Maker, Recipes};
use commands::class::ProfileClassifier;
use commands::front::OrderKind;
use seal::association::{Accepted, Association};
use seal::command::{self, Addressee, Class, Classes, Command, KeyItem};
use seal::control::{Down, GroupKey, Item, Items, Up};
use seal::edhoc::{
    Credential, Ephemeral, HeadEndCredential, HeadEndKid, Message1, Opened, PrivateKey, PublicKey, Refusal,
    Run,
};
use seal::frame::{FrameType, Head};
use seal::group::GroupKeys;
use seal::ids::{Dev, Epoch, Gid, Sid, System};
use seal::profile1::Channel;
use seal::receiver::{SignerKey, Signers};
use seal::schedule;
use seal::secret::{Key128, Prk};
use seal::signature::{SigningKey, VerifyingKey, sha256};

use super::meter::{BEGIN, Meter, Secrets, at, profile};

pub const SYSTEM: System = System([0x51; 8]);
pub const GID: Gid = Gid(0x8000_0007);
/// The offline root, the command key in use, the next one that devices know already.
pub const ROOT: u8 = 0;
pub const SKID: u8 = 1;
pub const NEXT: u8 = 2;

/// A signing key of a name.
pub fn signing_key(name: &str) -> SigningKey {
    SigningKey::from_octets(&sha256(name.as_bytes())).unwrap()
}

/// A registration key of a name, with its credential.
pub fn registration_key(kid: u8, name: &str) -> (HeadEndCredential, PrivateKey) {
    let key = PrivateKey::from_octets(&sha256(name.as_bytes())).unwrap();
    (Credential { kid: HeadEndKid::new(kid).unwrap(), key: key.public_key() }, key)
}

pub struct House {
    pub registration: (HeadEndCredential, PrivateKey),
    pub keys: BTreeMap<u8, SigningKey>,
    pub known: HashMap<Dev, (PublicKey, VerifyingKey)>,
    pub revoked: HashSet<Dev>,
    runs: Vec<Run>,
    associations: BTreeMap<Sid, (Association, [u8; 32])>,
    /// The newest association of a device.
    pub devices: BTreeMap<Dev, Sid>,
    slot: u32,
    ctr: HashMap<(u8, [u8; 8]), u32>,
    nbf: u32,
    gms: [u8; 16],
    group: (Epoch, u32),
    pub now: u64,
    /// Fresh reports.
    pub reports: Vec<Dev>,
    /// Results of commands: device, signing key, result.
    pub results: Vec<(Dev, u8, u8)>,
    /// Codes of what was refused.
    pub refused: Vec<&'static str>,
}

impl House {
    /// A head-end with this registration key; `slot` is the first association's.
    pub fn new(registration: (HeadEndCredential, PrivateKey), slot: u32) -> Self {
        let names = [(ROOT, "root"), (SKID, "SK_cmd 1"), (NEXT, "SK_cmd 2")];
        Self {
            registration,
            keys: names.into_iter().map(|(skid, name)| (skid, signing_key(name))).collect(),
            known: (1..=3).map(Secrets::of).map(|secrets| (secrets.dev, secrets.public())).collect(),
            revoked: HashSet::new(),
            runs: Vec::new(),
            associations: BTreeMap::new(),
            devices: BTreeMap::new(),
            slot,
            ctr: HashMap::new(),
            nbf: 0,
            gms: [1; 16],
            group: (Epoch(1), 0),
            now: 0,
            reports: Vec::new(),
            results: Vec::new(),
            refused: Vec::new(),
        }
    }

    /// Three meters, registered, in one group, and their head-end.
    pub fn with_meters() -> (Self, [Meter; 3]) {
        let mut house = Self::new(registration_key(0, "SK_reg"), 1);
        let meters = [1, 2, 3].map(|number| {
            let mut meter = house.make(Secrets::of(number));
            assert!(house.register(&mut meter));
            let mut join = Vec::new();
            KeyItem::Join { gid: GID, classes: Classes(0b01_1000) }.write(&mut join);
            assert_eq!(house.order(&mut meter, SKID, Class::Keys, &join), Some(0));
            house.deliver(&mut meter);
            meter
        });
        (house, meters)
    }

    /// A meter of these secrets, provisioned for this head-end.
    pub fn make(&self, secrets: Secrets) -> Meter {
        let mut signers = Signers::default();
        for (skid, classes) in [(ROOT, 0b01_0000), (SKID, 0b11_1111), (NEXT, 0b11_1111)] {
            let names = ["root", "SK_cmd 1", "SK_cmd 2"];
            let key = signing_key(names[usize::from(skid)]).verifying_key();
            assert!(signers.add(SignerKey { skid, key, classes: Classes(classes), not_before: 0 }));
        }
        Meter::new(secrets, SYSTEM, registration_key(0, "SK_reg").0, &signers)
    }

    /// Whether the meter ends up with a new association that this head-end knows.
    pub fn register(&mut self, meter: &mut Meter) -> bool {
        let before = self.devices.get(&meter.dev()).copied();
        let since = meter.agent.counts().registrations;
        meter.now = self.now;
        meter.agent.register(at(self.now));
        self.settle(meter);
        let after = self.devices.get(&meter.dev()).copied();
        meter.agent.counts().registrations > since && after.is_some() && after != before
    }

    /// Whether a new report of the meter is taken.
    pub fn hears(&mut self, meter: &mut Meter) -> bool {
        let before = self.reports.len();
        meter.now = self.now;
        let reported = meter.report();
        self.settle(meter);
        reported && self.reports[before..].contains(&meter.dev())
    }

    /// Carries everything to and fro until nothing moves.
    pub fn settle(&mut self, meter: &mut Meter) {
        for _ in 0..50 {
            let sent = meter.sends();
            if sent.is_empty() {
                return;
            }
            for apdu in sent {
                for answer in self.handle(&apdu) {
                    meter.take(&answer);
                }
            }
        }
        panic!("it never ends")
    }

    /// Takes an APDU; the answers.
    pub fn handle(&mut self, octets: &[u8]) -> Vec<Vec<u8>> {
        let (head, body) = carried(octets);
        let answer = match head[0] {
            0x18 => self.message_1(&body),
            0x1a => self.message_3(Sid(u32::from_be_bytes(head[1..5].try_into().unwrap())), &body),
            _ => self.upstream(&head, body),
        };
        answer.map(|frame| carry(&frame)).into_iter().collect()
    }

    fn message_1(&mut self, message_1: &[u8]) -> Option<Vec<u8>> {
        let read = Message1::read(message_1).unwrap();
        let sid = Sid::new(0, self.slot).unwrap();
        self.slot += 1;
        let ephemeral = Ephemeral::from_octets(&sha256(&sid.0.to_be_bytes())).unwrap();
        let answered = read.answer(&self.registration.0, &self.registration.1, ephemeral, sid).unwrap();
        let run = Run::new(&read, answered);
        let frame = [&[0x19][..], run.message_2()].concat();
        self.runs.push(run);
        Some(frame)
    }

    fn message_3(&mut self, sid: Sid, message_3: &[u8]) -> Option<Vec<u8>> {
        let Self { runs, known, revoked, .. } = self;
        let run = runs.iter_mut().find(|run| run.sid() == sid)?;
        let opened = run.message_3(message_3, |dev| match known.get(&dev) {
            _ if revoked.contains(&dev) => Err(Refusal::Revoked),
            Some((key, _)) => Ok(*key),
            None => Err(Refusal::Unknown),
        });
        match opened {
            Ok(Opened::New(registered)) => {
                let mut association = Association::new(sid, registered.dev, Epoch(0), registered.keys());
                association.reserved(Epoch(0), 1 << 20);
                self.associations.insert(sid, (association, *registered.prk.expose()));
                // What it replaces is erased at once: these drills are of days on which it is not believed.
                if let Some(old) = self.devices.insert(registered.dev, sid) {
                    self.associations.remove(&old);
                }
                Some([&[0x1b][..], &run.settle(true).unwrap()].concat())
            }
            Ok(_) => None,
            Err(refused) => {
                self.refused.push(refused.refusal.code());
                refused.reply.map(|reply| [&[0x1c][..], &reply.octets()].concat())
            }
        }
    }

    fn upstream(&mut self, head: &[u8], mut body: Vec<u8>) -> Option<Vec<u8>> {
        let head = Head::read(head, body.len()).unwrap();
        let Some((association, _)) = self.associations.get_mut(&head.sid()) else {
            self.refused.push("SEC-UP-UNKNOWN");
            return None;
        };
        let dev = association.dev();
        let admitted = association.admit(&head, SYSTEM);
        let opened =
            admitted.map(|channel| channel.open(&head, &mut body).map(|plaintext| plaintext.to_vec()));
        let accepted = match &opened {
            Ok(opened) => association.accept(&head, opened.is_some()),
            Err(refusal) => Err(*refusal),
        };
        let epoch = match accepted {
            Ok(Accepted::Fresh(epoch)) => {
                if association.committed(epoch, head.seq, BEGIN + self.now) {
                    association.reserved(epoch, 1 << 20);
                }
                epoch
            }
            Ok(Accepted::Duplicate { epoch, .. }) => epoch,
            Err(refusal) => {
                self.refused.push(refusal.code());
                return None;
            }
        };
        let plaintext = opened.unwrap().unwrap();
        if head.frame_type == FrameType::Report {
            self.reports.push(dev);
        } else {
            for item in Items::<Up<'_>>::read(&plaintext).unwrap() {
                if let Up::Result(outcome) = item {
                    self.results.push((dev, outcome.skid, outcome.result));
                }
            }
        }
        let ack = self.associations[&head.sid()].0.ack(epoch).unwrap();
        let mut item = Vec::new();
        Down::Ack(ack).write(&mut item);
        self.seal(dev, FrameType::DownControl, &item)
    }

    /// A frame to a device, under its association.
    pub fn seal(&mut self, dev: Dev, frame_type: FrameType, plaintext: &[u8]) -> Option<Vec<u8>> {
        let sid = *self.devices.get(&dev)?;
        let (association, _) = self.associations.get_mut(&sid)?;
        let seq = association.take_seq()?;
        Some(frame(&association.downstream(SYSTEM), frame_type, sid.0, seq, plaintext))
    }

    /// The next command, signed by a key of ours.
    pub fn sign(&mut self, skid: u8, to: Addressee, class: Class, body: &[u8]) -> Vec<u8> {
        let ctr = self.ctr.entry((skid, to.scope().0)).or_default();
        *ctr += 1;
        self.nbf = self.nbf.max((BEGIN + self.now) as u32) + 1;
        let command = Command { skid, class: class.octet(), ctr: *ctr, nbf: self.nbf, ttl: 60, body };
        signed(&command, to, &self.keys[&skid])
    }

    /// Orders a meter; the result that came back.
    pub fn order(&mut self, meter: &mut Meter, skid: u8, class: Class, body: &[u8]) -> Option<u8> {
        let signed = self.sign(skid, Addressee::Device(meter.dev()), class, body);
        self.give(meter, &signed)
    }

    /// Gives a meter a signed command; the result that came back.
    pub fn give(&mut self, meter: &mut Meter, signed: &[u8]) -> Option<u8> {
        let before = self.results.len();
        let sealed = self.seal(meter.dev(), FrameType::Command, signed)?;
        meter.take(&carry(&sealed));
        self.settle(meter);
        self.results[before..].iter().find(|(dev, ..)| *dev == meter.dev()).map(|(.., result)| *result)
    }

    /// Whether the meter does what this key of ours tells it: its switch opens, and closes again.
    pub fn commands(&mut self, meter: &mut Meter, skid: u8) -> bool {
        self.order(meter, skid, Class::Load, &switch(false));
        let opened = meter.switched_off();
        self.order(meter, skid, Class::Load, &switch(true));
        opened && !meter.switched_off()
    }

    /// A frame that tells the group to switch off.
    pub fn broadcast(&mut self) -> Vec<u8> {
        let signed = self.sign(SKID, Addressee::Group(GID), Class::Load, &switch(false));
        self.group.1 += 1;
        carry(&frame(
            &self.group_keys().channel(SYSTEM),
            FrameType::GroupCommand,
            GID.0,
            self.group.1,
            &signed,
        ))
    }

    fn group_keys(&self) -> GroupKeys {
        GroupKeys::derive(&Key128::from_octets(self.gms), GID, self.group.0)
    }

    /// A new key for the group, in force at once.
    pub fn rekey(&mut self) {
        self.gms = [self.gms[0] + 1; 16];
        self.group = (self.group.0.next().unwrap(), 0);
    }

    /// Brings a member the group's present key.
    pub fn deliver(&mut self, meter: &mut Meter) {
        let mut item = Vec::new();
        let activate_at = (BEGIN + self.now) as u32;
        Down::GroupKey(GroupKey { gid: GID, epoch: self.group.0, gms: &self.gms, activate_at })
            .write(&mut item);
        let sealed = self.seal(meter.dev(), FrameType::DownControl, &item).unwrap();
        assert!(meter.take(&carry(&sealed)).is_empty());
        self.settle(meter);
    }

    /// An end device is believed no longer.
    pub fn revoke(&mut self, dev: Dev) {
        self.revoked.insert(dev);
        self.associations.get_mut(&self.devices[&dev]).unwrap().0.revoke();
    }

    /// What a shard holds of a device: association and PRK_out.
    pub fn prk(&self, dev: Dev) -> (Sid, [u8; 32]) {
        let sid = self.devices[&dev];
        (sid, self.associations[&sid].1)
    }

    /// What a shard holds of the group: epoch and GMS.
    pub fn gms(&self) -> (Epoch, [u8; 16]) {
        (self.group.0, self.gms)
    }

    /// Issues the next epoch to a device, as for an ADVANCE.
    pub fn issue(&mut self, dev: Dev) {
        let sid = self.devices[&dev];
        let (association, prk) = self.associations.get_mut(&sid).unwrap();
        let issued = association.issue(|next| {
            *prk = *schedule::advance(&Prk::from_octets(*prk), next).expose();
            schedule::derive(&Prk::from_octets(*prk), sid)
        });
        assert!(issued.is_some());
    }
}

/// A body that works the service switch, padded as the desk pads it.
pub fn switch(on: bool) -> Vec<u8> {
    let recipes = Recipes { load_limit: None, demand_response: None, firmware: None };
    let classifier = ProfileClassifier(profile());
    let maker = Maker { profile: &classifier.0, recipes: &recipes, procedure_class: &classifier };
    let order = if on { OrderKind::Reconnect } else { OrderKind::Disconnect };
    maker.body(&order, 1, 0).unwrap().octets
}

/// A command signed by a key, whoever has it.
pub fn signed(command: &Command<'_>, to: Addressee, key: &SigningKey) -> Vec<u8> {
    let Ok(signed) = command::sign(command.octets().unwrap(), SYSTEM, to, key);
    signed
}

/// A sealed frame.
pub fn frame(channel: &Channel<'_>, frame_type: FrameType, id: u32, seq: u32, plaintext: &[u8]) -> Vec<u8> {
    let head = channel.head(frame_type, id, seq);
    let mut frame = head.octets().to_vec();
    assert!(channel.seal(&head, plaintext, &mut frame));
    frame
}

/// An APDU that carries a frame, as anybody between can write one.
pub fn carry(frame: &[u8]) -> Vec<u8> {
    let (here, there) = (ApTitleBuf::parse(".1").unwrap(), ApTitleBuf::parse(".75.1").unwrap());
    let envelope = Envelope {
        called: Some(there.as_title()),
        calling: Some(here.as_title()),
        ..Envelope::new(InvocationId::new(7))
    };
    let mut out = Vec::new();
    carriage::write(&mut out, &envelope, frame).unwrap();
    out
}

/// Head and body of the frame in an APDU.
pub fn carried(octets: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let apdu = Apdu::decode(octets, Leniency::Strict).unwrap();
    let carried = carriage::read(&apdu).unwrap().unwrap();
    (carried.head.to_vec(), carried.body.to_vec())
}
