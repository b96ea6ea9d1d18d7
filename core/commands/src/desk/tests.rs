mod due;
mod restored;
mod root;

use std::collections::BTreeMap;

use proptest::prelude::*;
use seal::command::{Class, Command, KeyItem, Receipt, sign};
use seal::control::Item;
use seal::ids::Sid;
use seal::signature::{SigningKey, sha256};

use super::*;
use crate::front::By;
use crate::group::GroupChange;

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

    fn signing_key(&self, dev: Dev) -> Option<VerifyingKey> {
        Some(device_key(dev.0[0]).verifying_key())
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

use seal::command::SignedCommand;

fn read() -> Vec<u8> {
    vec![0x80, 3, 0x30, 0, 23]
}

#[test]
fn one_command_at_a_time_goes_to_a_device() {
    let mut world = World::new();
    let to = Addressee::Device(dev(0));
    let first = world.take(to, Class::Read, read(), "a");
    let second = world.take(to, Class::Read, read(), "b");
    let other = world.take(Addressee::Device(dev(1)), Class::Read, read(), "c");
    world.act(true);
    world.act(true);
    assert!(world.signed.contains_key(&first) && world.signed.contains_key(&other));
    assert!(!world.signed.contains_key(&second), "it waits");
    assert_eq!(world.desk.of_device(dev(0)), (Some(first), 1));
    // Repeats are the same octets, with growing gaps.
    let before = world.sent.len();
    (0..120).for_each(|_| {
        world.now += 1;
        world.act(true);
    });
    let repeats: Vec<_> = world.sent[before..].iter().collect();
    assert_eq!(repeats.len(), 4, "after 30 and 90 seconds, to each of two");
    assert!(repeats.iter().all(|action| world.sent[..before].contains(action)));
    world.result(0, first, 0, false);
    assert_eq!(world.outcome(first), Some(Outcome::Done { result: 0, response: b"epsem".to_vec() }));
    world.act(true);
    assert!(world.signed.contains_key(&second), "its turn");
    world.finish(true);
    assert_eq!(world.outcome(second), Some(Outcome::Expired));
    assert_eq!((world.ended["done"], world.ended["expired"], world.desk.pending()), (1, 2, 0));
}

#[test]
fn results_say_who_refused() {
    let mut world = World::new();
    let expected = [
        (16, Outcome::Refused { by: By::Device, code: "SEC-DN-SIG".into() }),
        (17, Outcome::Refused { by: By::Device, code: "SEC-DN-CLASS".into() }),
        (18, Outcome::Unknown),
        (19, Outcome::Refused { by: By::Device, code: "SEC-DN-TIME".into() }),
        (20, Outcome::Refused { by: By::Device, code: "SEC-DN-ORDER".into() }),
        (3, Outcome::Done { result: 3, response: b"epsem".to_vec() }),
    ];
    for (result, outcome) in expected {
        let id = world.take(Addressee::Device(dev(0)), Class::Read, read(), "");
        world.act(true);
        world.result(0, id, result, false);
        assert_eq!(world.outcome(id), Some(outcome));
    }
    let id = world.take(Addressee::Device(dev(0)), Class::Read, read(), "");
    let code = "SEC-CMD-POLICY".to_owned();
    world.tell(None, Heard::Refused { id, code: code.clone() });
    assert_eq!(world.outcome(id), Some(Outcome::Refused { by: By::Signer, code }));
}

#[test]
fn only_the_device_that_was_addressed_ends_a_command() {
    let mut world = World::new();
    let id = world.take(Addressee::Device(dev(0)), Class::Read, read(), "");
    world.act(true);
    world.result(1, id, 0, false);
    assert_eq!(world.outcome(id), None);
    world.result(0, id, 0, false);
    world.result(0, id, 0, false);
    world.result(0, id, 18, false);
    let view = world.desk.command(id, Page::NONE).unwrap();
    let late = view.history.iter().filter(|step| matches!(step.what, crate::front::Word::Late(18))).count();
    assert_eq!((late, view.history.len()), (1, 4), "a repeat is nothing, another result is late");
}

#[test]
fn a_switch_needs_the_devices_own_signature() {
    let mut world = World::new();
    let to = Addressee::Device(dev(0));
    let id = world.take(to, Class::Load, read(), "");
    world.act(true);
    world.result(0, id, 0, false);
    let receipt = world.desk.command(id, Page::NONE).unwrap().receipt.unwrap();
    assert!(receipt.verified && u64::from(receipt.executed_at) == world.now);
    let forged = world.take(to, Class::Load, read(), "");
    world.act(true);
    world.result(0, forged, 0, true);
    assert_eq!(world.outcome(forged), Some(Outcome::Unknown));
}

#[test]
fn a_group_switch_waits_for_two_different_approvers() {
    let mut world = World::new();
    world.group();
    world.item(0, &KeyItem::Join { gid: GID, classes: Classes(0x3f) });
    world.act(true);
    world.result(0, CommandId([1; 16]), 0, false);
    let id = world.take(Addressee::Group(GID), Class::Load, read(), "");
    let approve = |world: &mut World, approver: &str| {
        let heard = Heard::Approved { id, approver: approver.into(), signature: [7; 64] };
        world.tell(Some(world.now), heard);
        world.act(true);
        world.signed.contains_key(&id)
    };
    assert_eq!(world.desk.awaits_approval(id), Ok(()));
    assert!(!approve(&mut world, "ann"));
    assert!(!approve(&mut world, "ann"));
    assert!(approve(&mut world, "bob"));
    assert_eq!(world.desk.awaits_approval(id), Err(Refusal::NotAwaiting(id)));
    world.result(0, id, 0, false);
    let view = world.desk.command(id, Page { skip: 0, count: 10 }).unwrap();
    assert_eq!(view.outcome, Some(Outcome::Done { result: 0, response: vec![] }));
    assert_eq!((view.counts.unwrap().done, view.counts.unwrap().missing, view.results.len()), (1, 0, 1));
    assert!(view.results[0].receipt.unwrap().verified);
}

#[test]
fn members_join_and_leave_by_result_and_removal_brings_a_new_epoch() {
    let mut world = World::new();
    world.group();
    world.act(true);
    let join = KeyItem::Join { gid: GID, classes: Classes(0x3f) };
    let first = world.item(0, &join);
    let second = world.item(1, &join);
    world.act(true);
    assert_eq!(world.desk.groups().version(GID), Some((0, 0)), "asked is not joined");
    world.result(0, first, 0, false);
    world.result(1, second, 5, false);
    assert_eq!(world.desk.groups().version(GID), Some((1, 1)));
    world.sent.clear();
    world.now += 1;
    world.act(true);
    let delivered = |world: &World, to: u8| {
        let to =
            |action: &&Action| matches!(action, Action::Deliver { dev: member, .. } if *member == dev(to));
        world.sent.iter().filter(to).count()
    };
    assert_eq!((delivered(&world, 0), delivered(&world, 1)), (1, 0), "only a member has the key");
    let leave = world.item(0, &KeyItem::Leave { gid: GID });
    world.act(true);
    world.result(0, leave, 0, false);
    assert_eq!(world.desk.groups().version(GID), Some((2, 0)));
    world.sent.clear();
    world.finish(true);
    let view = world.desk.group(GID, world.now, Page::NONE).unwrap();
    assert_eq!((view.epoch, delivered(&world, 0)), (Some(Epoch(1)), 0), "who left has no key any more");
}

#[test]
fn a_device_that_joins_late_is_a_member_once_for_each_time_that_it_joins() {
    let mut world = World::new();
    world.group();
    let join = world.item(0, &KeyItem::Join { gid: GID, classes: Classes(0x3f) });
    world.act(true);
    for _ in 0..5 {
        world.now += 600;
        world.act(true);
    }
    assert_eq!(world.outcome(join), Some(Outcome::Expired));
    world.result(0, join, 0, false);
    assert_eq!(world.desk.groups().version(GID), Some((1, 1)), "the signer counts it too");
    let members = |devs: &[Dev]| devs.iter().copied().collect::<crate::group::Membership>();
    assert_eq!(world.desk.groups().membership(GID), Some(members(&[dev(0)])));
    let leave = world.item(0, &KeyItem::Leave { gid: GID });
    world.act(true);
    world.result(0, leave, 0, false);
    world.result(0, leave, 0, false);
    world.result(0, join, 0, false);
    assert_eq!(world.desk.groups().version(GID), Some((2, 0)), "what it says again changes nothing");
    assert_eq!(world.desk.groups().membership(GID), Some(members(&[])));
    for at in 0..=world.log.len() {
        assert!(world.rebuilt(at) == world.desk);
    }
}

#[test]
fn a_campaign_proves_all_or_names_them() {
    let mut world = World::new();
    world.group();
    for number in [0, 1] {
        let id = world.item(number, &KeyItem::Join { gid: GID, classes: Classes(0x3f) });
        world.act(true);
        world.result(number, id, 0, false);
    }
    assert_eq!(world.desk.check_campaign(1, 2, Some(GID), world.now), Ok(START as u32));
    let started =
        CampaignChange::Started { campaign: 1, delta: 1, wave: 2, group: Some(GID), challenge: [3; 8] };
    world.tell(Some(world.now), Heard::Campaign(started));
    assert_eq!(world.desk.check_campaign(1, 2, None, world.now), Err(Refusal::CampaignRuns(1)));
    world.act(true);
    world.now += 1;
    world.act(true);
    let group = world.desk.requested("campaign-1").unwrap();
    assert_eq!(group.addressee, Addressee::Group(GID));
    // Those that are no members are told alone, the members are left alone meanwhile.
    (0..40).for_each(|_| {
        world.now += 1;
        world.act(true);
    });
    let alone =
        |world: &World, number: u8| world.desk.requested(&format!("campaign-1-{}-0", dev(number))).is_some();
    assert_eq!((0..4).map(|number| alone(&world, number)).collect::<Vec<_>>(), [false, false, true, true]);
    // Device 0 answers the group's command, 2 its own, 3 registers anew; 1 never answers.
    let report =
        |number: u8| Heard::Report { sid: Sid(u32::from(number)), dev: dev(number), epoch: Epoch(1) };
    world.tell(Some(world.now), Heard::Issued { sid: Sid(2), epoch: Epoch(1), campaign: 1 });
    world.tell(Some(world.now), report(0));
    world.tell(Some(world.now), report(2));
    world.tell(Some(world.now), report(3));
    world.tell(Some(world.now), Heard::Proved { dev: dev(3) });
    let view = world.desk.campaign(1, &Four, Page::NONE).unwrap();
    assert_eq!((view.total, view.proved, view.pending, view.missed), (4, 3, 1, 0));
    for _ in 0..3 {
        world.finish(true);
    }
    let view = world.desk.campaign(1, &Four, Page { skip: 0, count: 9 }).unwrap();
    assert_eq!((view.total, view.proved, view.pending, view.missed), (4, 3, 0, 1));
    assert_eq!((view.state, view.reregister), (crate::front::CampaignState::Finished, vec![dev(1)]));
    assert!(alone(&world, 1), "a member that was silent is told alone after the group's command");
}

#[test]
fn a_paused_campaign_tells_nobody() {
    let mut world = World::new();
    let started = CampaignChange::Started { campaign: 1, delta: 1, wave: 1, group: None, challenge: [3; 8] };
    world.tell(Some(world.now), Heard::Campaign(started));
    world.tell(Some(world.now), Heard::Campaign(CampaignChange::Paused { campaign: 1 }));
    world.finish(true);
    assert_eq!(world.taken(), 0);
    world.tell(Some(world.now), Heard::Campaign(CampaignChange::Resumed { campaign: 1 }));
    world.now += 10;
    world.act(true);
    assert_eq!(world.taken(), 1, "a wave of one");
}

#[test]
fn a_time_request_is_answered_once() {
    let mut world = World::new();
    let asked = Heard::TimeRequest { dev: dev(0), nonce: [5; 8] };
    world.tell(Some(world.now), asked.clone());
    world.tell(Some(world.now), asked);
    world.act(true);
    assert_eq!(world.taken(), 1);
    world.tell(Some(world.now - 100), Heard::TimeRequest { dev: dev(1), nonce: [5; 8] });
    world.act(true);
    assert_eq!(world.taken(), 1, "too late");
}

#[test]
fn old_commands_are_forgotten_when_they_are_filed() {
    let mut world = World::with(Settings { kept_max: 5, ..settings() });
    for _ in 0..20 {
        let id = world.take(Addressee::Device(dev(0)), Class::Read, read(), "");
        world.act(true);
        world.result(0, id, 0, false);
        world.now += 1;
        world.act(true);
    }
    let all = Page { skip: 0, count: 100 };
    assert_eq!(world.desk.commands(&Filter::default(), all).len(), 5);
    assert_eq!(world.ended["done"], 20);
}

#[derive(Clone, Debug)]
enum Move {
    Take {
        to: u8,
        class: u8,
    },
    /// By root, to a device or (4) the group.
    Root {
        to: u8,
        ctr: u32,
    },
    RootResult {
        from: u8,
        which: prop::sample::Index,
        result: u8,
    },
    Group(u8),
    Join(u8),
    Leave(u8),
    Approve {
        id: u8,
        approver: u8,
    },
    Refuse(u8),
    Result {
        from: u8,
        id: u8,
        result: u8,
        forged: bool,
    },
    Report {
        from: u8,
        epoch: u16,
    },
    Act {
        later: u64,
        signs: bool,
    },
    Revoke(u8),
    Registered(u8),
    Start,
    Pause(bool),
    Due {
        of: u8,
        epoch: u16,
        why: Why,
    },
    Restored {
        again: bool,
        days: u32,
    },
    Crash,
}

fn a_move() -> impl Strategy<Value = Move> {
    let id = 1..30_u8;
    let to = 0..4_u8;
    let results = prop_oneof![Just(0_u8), Just(0), Just(1), Just(3), Just(16), Just(18), Just(200)];
    prop_oneof![
        3 => (to.clone(), 0..4_u8).prop_map(|(to, class)| Move::Take { to, class }),
        2 => (0..5_u8, 1..9_u32).prop_map(|(to, ctr)| Move::Root { to, ctr }),
        4 => (to.clone(), any::<prop::sample::Index>(), results.clone())
            .prop_map(|(from, which, result)| Move::RootResult { from, which, result }),
        1 => (0..4_u8).prop_map(Move::Group),
        2 => to.clone().prop_map(Move::Join),
        1 => to.clone().prop_map(Move::Leave),
        2 => (id.clone(), 0..3_u8).prop_map(|(id, approver)| Move::Approve { id, approver }),
        1 => id.clone().prop_map(Move::Refuse),
        8 => (to.clone(), id, results, any::<bool>())
            .prop_map(|(from, id, result, forged)| Move::Result { from, id, result, forged }),
        2 => (to.clone(), 0..3_u16).prop_map(|(from, epoch)| Move::Report { from, epoch }),
        6 => (0..900_u64, any::<bool>()).prop_map(|(later, signs)| Move::Act { later, signs }),
        1 => to.clone().prop_map(Move::Revoke),
        1 => to.prop_map(Move::Registered),
        1 => Just(Move::Start),
        1 => any::<bool>().prop_map(Move::Pause),
        2 => (0..4_u8, 0..3_u16, prop::sample::select(Why::ALL.as_slice()))
            .prop_map(|(of, epoch, why)| Move::Due { of, epoch, why }),
        1 => (any::<bool>(), 0..9_u32).prop_map(|(again, days)| Move::Restored { again, days }),
        2 => Just(Move::Crash),
    ]
}

fn go(world: &mut World, step: Move) {
    let join = KeyItem::Join { gid: GID, classes: Classes(0x3f) };
    let now = Some(world.now);
    match step {
        Move::Take { to, class } => {
            let class = Class::from_octet(class).unwrap();
            world.take(Addressee::Device(dev(to)), class, read(), "");
        }
        Move::Root { to, ctr } => {
            let addressee = if to == 4 { Addressee::Group(GID) } else { Addressee::Device(dev(to)) };
            world.take_of_root(addressee, ctr);
        }
        Move::RootResult { from, which, result } => {
            if !world.roots.is_empty() {
                world.result(from, *which.get(&world.roots), result, false);
            }
        }
        Move::Group(class) => {
            if world.desk.groups().version(GID).is_some_and(|(_, members)| members > 0) {
                world.take(Addressee::Group(GID), Class::from_octet(class).unwrap(), read(), "");
            }
        }
        Move::Join(to) => {
            world.item(to, &join);
        }
        Move::Leave(to) => {
            world.item(to, &KeyItem::Leave { gid: GID });
        }
        Move::Approve { id, approver } => {
            let id = CommandId([id; 16]);
            world.tell(
                now,
                Heard::Approved { id, approver: format!("{approver}"), signature: [approver; 64] },
            );
        }
        Move::Refuse(id) => {
            let id = CommandId([id; 16]);
            world.tell(None, Heard::Refused { id, code: "SEC-CMD-CAP".into() });
        }
        Move::Result { from, id, result, forged } => world.result(from, CommandId([id; 16]), result, forged),
        Move::Report { from, epoch } => {
            let (sid, dev, epoch) = (Sid(u32::from(from)), dev(from), Epoch(epoch));
            world.tell(now, Heard::Report { sid, dev, epoch });
        }
        Move::Act { later, signs } => {
            world.now += later;
            world.act(signs);
        }
        Move::Revoke(whom) => world.tell(None, Heard::Revoked { dev: dev(whom) }),
        Move::Registered(whom) => world.tell(None, Heard::Proved { dev: dev(whom) }),
        Move::Start => {
            if let Ok(campaign) = world.desk.check_campaign(1, 2, Some(GID), world.now) {
                let challenge = [campaign as u8; 8];
                let started =
                    CampaignChange::Started { campaign, delta: 1, wave: 2, group: Some(GID), challenge };
                world.tell(now, Heard::Campaign(started));
            }
        }
        Move::Pause(pause) => {
            let Some(campaign) = world.desk.campaigns().running() else { return };
            let change = if pause {
                CampaignChange::Paused { campaign }
            } else {
                CampaignChange::Resumed { campaign }
            };
            world.tell(now, Heard::Campaign(change));
        }
        Move::Due { of, epoch, why } => {
            let sid = Sid(u32::from(of));
            world.tell(None, Heard::Due { sid, dev: dev(of), epoch: Epoch(epoch), why });
        }
        Move::Restored { again, days } => {
            let incarnation = world.desk.restored + u64::from(!again);
            world.tell(now, Heard::Restored { incarnation, days });
        }
        Move::Crash => {
            let rebuilt = world.rebuilt(world.log.len() / 2);
            assert!(rebuilt == world.desk, "replay anywhere makes the same table");
            world.desk = rebuilt;
            world.desk.begin(world.now);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_every_command_ends_once_and_a_replay_knows_the_same(
        steps in prop::collection::vec(a_move(), 1..60), at: prop::sample::Index, keeps_few: bool,
    ) {
        let kept_max = if keeps_few { 8 } else { 1000 };
        let mut world = World::with(Settings { kept_max, ..settings() });
        world.group();
        for step in steps {
            if world.ids > 100 {
                break;
            }
            go(&mut world, step);
        }
        prop_assert!(world.rebuilt(at.index(world.log.len())) == world.desk);
        if let Some(campaign) = world.desk.campaigns().running() {
            world.tell(None, Heard::Campaign(CampaignChange::Finished { campaign, total: 4 }));
        }
        world.tell(None, Heard::RestoreKept { incarnation: 99, campaign: Some(1) });
        (0..4).for_each(|number| world.tell(None, Heard::Revoked { dev: dev(number) }));
        world.finish(false);
        prop_assert_eq!(world.desk.pending(), 0);
        let ended: usize = world.ended.values().sum();
        prop_assert_eq!(ended, world.taken(), "each ended, once: {:?}", world.ended);
        // Each end is in the log.
        let mut filed: Vec<CommandId> = world.log.iter().filter_map(|(_, heard)| match heard {
            Heard::Closed { id, .. } => Some(*id),
            _ => None,
        }).collect();
        filed.sort();
        filed.dedup();
        prop_assert_eq!(filed.len(), world.taken());
        prop_assert!(world.rebuilt(at.index(world.log.len())) == world.desk);
    }
}
