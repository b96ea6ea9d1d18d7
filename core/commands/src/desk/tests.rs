mod campaigns;
mod due;
mod ends;
mod groups;
mod moves;
mod restored;
mod root;

use std::collections::BTreeMap;

use seal::command::{Class, Classes, Command, KeyItem, Receipt, SignedCommand, sign};
use seal::control::Item;
use seal::ids::{Epoch, Gid, Sid, System};
use seal::signature::{SigningKey, VerifyingKey, sha256};

use super::*;
use crate::campaign::CampaignChange;
use crate::front::{By, CommandState, Filter, Page, Refusal};
use crate::group::{GroupChange, GroupSettings};

const SYSTEM: System = System([1; 8]);
const GID: Gid = Gid(0x8000_0007);
const START: u64 = 1_800_000_000;

fn dev(number: u8) -> Dev {
    Dev([number; 8])
}

fn device_key(number: u8) -> SigningKey {
    SigningKey::from_octets(&[number.saturating_add(1); 32]).unwrap()
}

fn head_end() -> SigningKey {
    SigningKey::from_octets(&[99; 32]).unwrap()
}

/// Four devices, all registered.
struct Four;

impl Fleet for Four {
    fn system(&self) -> System {
        SYSTEM
    }

    fn signing_key(&self, dev: Dev) -> Result<Option<VerifyingKey>, Unreadable> {
        Ok(Some(device_key(dev.0[0]).verifying_key()))
    }

    fn count(&self) -> u64 {
        4
    }

    fn each(&self, sink: &mut dyn FnMut(Dev)) {
        (0..4).map(dev).for_each(sink);
    }
}

/// A head-end around a desk: a log, a signer, a clock.
struct World {
    settings: Settings,
    desk: Desk,
    log: Vec<(Option<u64>, Heard)>,
    now: u64,
    ctr: u32,
    ids: u8,
    ended: BTreeMap<&'static str, usize>,
    sent: Vec<Action>,
    /// Signed commands by id.
    signed: BTreeMap<CommandId, Vec<u8>>,
    /// Those that came signed.
    roots: Vec<CommandId>,
}

fn settings() -> Settings {
    let groups = GroupSettings { epoch_s: 3600, lead_s: 60 };
    Settings { kept_max: 1000, groups, ..Settings::default() }
}

impl World {
    fn new() -> Self {
        Self::with(settings())
    }

    fn with(settings: Settings) -> Self {
        Self {
            settings,
            desk: Desk::new(settings),
            log: Vec::new(),
            now: START,
            ctr: 0,
            ids: 0,
            ended: BTreeMap::new(),
            sent: Vec::new(),
            signed: BTreeMap::new(),
            roots: Vec::new(),
        }
    }

    fn tell(&mut self, at: Option<u64>, heard: Heard) {
        let before = self.desk.pending();
        if let Some(ended) = self.desk.hear(at, &heard, &Four) {
            *self.ended.entry(ended.outcome).or_default() += 1;
        } else if matches!(heard, Heard::Restored { .. }) {
            *self.ended.entry("unknown").or_default() += before - self.desk.pending();
        }
        self.log.push((at, heard));
    }

    fn taken(&self) -> usize {
        self.log.iter().filter(|(_, heard)| matches!(heard, Heard::Taken(_))).count()
    }

    fn take(&mut self, addressee: Addressee, class: Class, body: Vec<u8>, request_id: &str) -> CommandId {
        self.take_for("ann", addressee, class, body, request_id)
    }

    fn take_for(
        &mut self,
        requester: &str,
        addressee: Addressee,
        class: Class,
        body: Vec<u8>,
        request_id: &str,
    ) -> CommandId {
        self.ids += 1;
        let id = CommandId([self.ids; 16]);
        let members = match addressee {
            Addressee::Group(gid) => self.desk.groups().version(gid).map_or(0, |(_, members)| members),
            Addressee::Device(_) => 0,
        };
        let taken = Taken {
            id,
            request_id: request_id.to_owned(),
            content: sha256(&body),
            word: "read-tables",
            members,
            addressee,
            class,
            nbf: self.now as u32,
            ttl_min: 10,
            requester: requester.into(),
            digest: [self.ids; 32],
            body,
            intent: vec![self.ids; 10],
            signed: None,
        };
        self.tell(Some(self.now), Heard::Taken(Box::new(taken)));
        id
    }

    fn item(&mut self, number: u8, item: &KeyItem<'_>) -> CommandId {
        let mut body = Vec::new();
        item.write(&mut body);
        self.take(Addressee::Device(dev(number)), Class::Keys, body, "")
    }

    fn group(&mut self) {
        let change = GroupChange::Created { gid: GID, name: "all".into(), classes: Classes(0x3f) };
        self.tell(Some(self.now), Heard::Group(change));
    }

    fn sign(&mut self, id: CommandId) {
        let Ok(view) = self.desk.command(id, Page::NONE) else { return };
        self.ctr += 1;
        let taken = self.log.iter().find_map(|(_, heard)| match heard {
            Heard::Taken(taken) if taken.id == id => Some(taken.clone()),
            _ => None,
        });
        let body = &taken.unwrap().body;
        let command =
            Command { skid: 1, class: view.class, ctr: self.ctr, nbf: view.nbf, ttl: view.ttl_min, body };
        let Ok(octets) = sign(command.octets().unwrap(), SYSTEM, view.addressee, &head_end());
        self.signed.insert(id, octets.clone());
        self.tell(None, Heard::Signed { id, octets });
    }

    /// The desk acts; what it records and asks the signer for happens, what it sends is kept.
    fn act(&mut self, signs: bool) {
        for action in self.desk.act(self.now, 100, &Four) {
            match action {
                Action::Close { id, outcome, receipt } => {
                    self.tell(Some(self.now), Heard::Closed { id, outcome, receipt, filed: true });
                }
                Action::Sign { id, .. } if signs && !self.signed.contains_key(&id) => self.sign(id),
                Action::Campaign(change) => self.tell(Some(self.now), Heard::Campaign(change)),
                Action::DrawKey { gid, epoch, activate_at } => {
                    self.tell(
                        None,
                        Heard::GroupKey { gid, epoch, activate_at, sealed: vec![epoch.low(); 40] },
                    );
                }
                Action::Issue { campaign, devs, .. } => {
                    for dev in devs {
                        let sid = Sid(u32::from(dev.0[0]));
                        self.tell(None, Heard::Issued { sid, epoch: Epoch(1), campaign });
                    }
                    self.tell(Some(self.now), Heard::Campaign(CampaignChange::Issued { campaign }));
                }
                Action::Submit(submission) => self.submit(&submission),
                Action::Begin { delta, wave } => {
                    if let Ok(campaign) = self.desk.check_campaign(delta, wave, None, self.now) {
                        let challenge = [campaign as u8; 8];
                        let started =
                            CampaignChange::Started { campaign, delta, wave, group: None, challenge };
                        self.tell(Some(self.now), Heard::Campaign(started));
                    }
                }
                Action::Advance { dev, campaign, request_id, .. } => {
                    self.submit(&advance(dev, campaign, [self.ids; 8], request_id));
                }
                other => self.sent.push(other),
            }
        }
    }

    fn submit(&mut self, submission: &Submission) {
        let Submission { request_id, addressee, order, requester, .. } = submission;
        if self.desk.requested(request_id).is_none() {
            let body = crate::body::universal(order, 0).unwrap().unwrap();
            self.take_for(requester, *addressee, body.class, body.octets, request_id);
        }
    }

    /// The numbers of the advances that were taken, with whom each is for.
    fn advances(&self) -> Vec<(Dev, u32)> {
        let advance = |heard: &Heard| match heard {
            Heard::Taken(taken) => taken.effects().find_map(|effect| match effect {
                Effect::Advance(campaign) => taken.device().map(|dev| (dev, campaign)),
                _ => None,
            }),
            _ => None,
        };
        self.log.iter().filter_map(|(_, heard)| advance(heard)).collect()
    }

    fn last_id(&self) -> CommandId {
        CommandId([self.ids; 16])
    }

    fn result(&mut self, number: u8, id: CommandId, result: u8, forged: bool) {
        let Some(octets) = self.signed.get(&id) else { return };
        let command = SignedCommand::read(octets).unwrap();
        let Ok(view) = self.desk.command(id, Page::NONE) else { return };
        let mut rest = Vec::new();
        if view.class == 3 && result <= 6 {
            let (dev, digest, executed_at) = (dev(number), command.digest(), self.now as u32);
            let receipt = Receipt { system: SYSTEM, dev, digest, result, executed_at };
            let signer = device_key(if forged { number + 1 } else { number });
            let Ok(signature) = receipt.sign(&signer);
            rest.extend(executed_at.to_be_bytes());
            rest.extend(signature);
        }
        rest.extend(b"epsem");
        let (skid, ctr, kind) = (command.command.skid, command.command.ctr, view.addressee.kind());
        let heard = Heard::Result { dev: dev(number), skid, kind, ctr, result, rest };
        self.tell(Some(self.now), heard);
    }

    /// A desk that starts from a checkpoint at `at` and the log behind it.
    fn rebuilt(&self, at: usize) -> Desk {
        let mut first = Desk::new(self.settings);
        for (at, heard) in &self.log[..at] {
            first.hear(*at, heard, &Four);
        }
        let mut desk = Desk::new(self.settings);
        first.tell(&mut |at, heard| {
            desk.hear(Some(at), &heard, &Four);
        });
        assert!(first == desk, "a checkpoint tells all");
        for (at, heard) in &self.log[at..] {
            desk.hear(*at, heard, &Four);
        }
        desk
    }

    fn outcome(&self, id: CommandId) -> Option<Outcome> {
        self.desk.command(id, Page::NONE).unwrap().outcome
    }

    /// Time passes until nothing is pending.
    fn finish(&mut self, signs: bool) {
        for _ in 0..200 {
            self.now += 600;
            self.act(signs);
        }
    }
}

fn read() -> Vec<u8> {
    vec![0x80, 3, 0x30, 0, 23]
}
