//! A device and its head-end with losses, repeats, late frames, restarts, and cuts at any save: no counter
//! twice, no command twice, no report forgotten, no device lost.

use std::collections::{HashMap, HashSet};

use proptest::collection::vec;
use proptest::prelude::*;
use seal::command::{Class, Classes, KeyItem};
use seal::frame::FrameType;
use seal::ids::{Epoch, Gid};

use super::super::*;
use super::head_end::Pair;
use super::support::{self, DEV, SKID, at};

const GID: Gid = Gid(0x8000_0007);

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    Report,
    Event,
    /// A command of this class, to the device or to its group.
    Command(bool),
    /// The last command once more, sealed anew.
    Again,
    Advance(u8),
    GroupKey,
    Register,
    /// The first APDU on its way up or down arrives, or is lost, or arrives and stays, or is overtaken.
    Arrive(bool),
    Lose(bool),
    Double(bool),
    Overtake(bool),
    /// The device goes off and comes up; it is cut at that save.
    Restart(Option<(u8, bool)>),
    Pass(u16),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Report),
        1 => Just(Step::Event),
        3 => any::<bool>().prop_map(Step::Command),
        1 => Just(Step::Again),
        1 => (1..3_u8).prop_map(Step::Advance),
        1 => Just(Step::GroupKey),
        1 => Just(Step::Register),
        16 => any::<bool>().prop_map(Step::Arrive),
        2 => any::<bool>().prop_map(Step::Lose),
        2 => any::<bool>().prop_map(Step::Double),
        2 => any::<bool>().prop_map(Step::Overtake),
        2 => proptest::option::of((0..6_u8, any::<bool>())).prop_map(Step::Restart),
        2 => (1..200_u16).prop_map(Step::Pass),
    ]
}

/// The two, and what is on its way between them.
struct World {
    pair: Pair,
    ways: [Vec<Vec<u8>>; 2],
    nonces: HashMap<([u8; 16], [u8; 13]), [u8; 32]>,
    last: Option<Vec<u8>>,
    body: u16,
    campaign: u32,
    group_epoch: u16,
}

impl World {
    fn new() -> Self {
        let mut pair = Pair::registered();
        let join = KeyItem::Join { gid: GID, classes: Classes(0b1_1111) };
        let apdu = pair.head_end.keys(SKID, DEV, &[join]);
        pair.give(&apdu);
        let apdu = pair.head_end.group_key(DEV, GID, Epoch(1), 1);
        pair.give(&apdu);
        let ways = [Vec::new(), Vec::new()];
        Self { pair, ways, nonces: HashMap::new(), last: None, body: 0, campaign: 0, group_epoch: 1 }
    }

    /// Takes what the device gave.
    fn take(&mut self) {
        for output in std::mem::take(&mut self.pair.out) {
            match output {
                Output::Send(apdu) => self.ways[0].push(apdu),
                Output::Sealed(SealedFrame { key, nonce, frame })
                | Output::Opened(SealedFrame { key, nonce, frame }) => {
                    let other = self.nonces.insert((key, nonce), frame);
                    assert!(other.is_none_or(|other| other == frame), "a nonce twice");
                }
                _ => {}
            }
        }
        if self.pair.agent.is_halted() {
            self.pair.restart();
        }
    }

    fn arrive(&mut self, down: bool, apdu: &[u8]) {
        if down {
            self.pair.agent.handle(1, apdu, at(self.pair.now), &mut self.pair.out);
            self.take();
        } else {
            let answers = self.pair.head_end.handle(apdu);
            self.ways[1].extend(answers);
        }
    }

    fn send(&mut self, group: bool, class: Class, body: &[u8]) {
        let head_end = &mut self.pair.head_end;
        if group {
            let (_, apdu) = head_end.group_command(SKID, GID, class, body);
            self.ways[1].push(apdu);
        } else {
            let (_, apdu, signed) = head_end.command(SKID, DEV, class, body);
            self.last = Some(signed);
            self.ways[1].push(apdu);
        }
    }

    fn take_step(&mut self, step: Step) {
        let now = at(self.pair.now);
        self.pair.head_end.now = now.unix_s;
        match step {
            Step::Report => drop(self.pair.agent.report(now, &mut self.pair.out)),
            Step::Event => drop(self.pair.agent.event(47, &[1], now, &mut self.pair.out)),
            Step::Command(group) => {
                self.body += 1;
                let body = [&[3][..], &self.body.to_be_bytes(), &[0]].concat();
                self.send(group, Class::Load, &body);
            }
            Step::Again => {
                let sid = self.pair.head_end.sid(DEV);
                let last = self.last.clone();
                let again = last.and_then(|signed| self.pair.head_end.down(sid, FrameType::Command, &signed));
                self.ways[1].extend(again);
            }
            Step::Advance(delta) => {
                let sid = self.pair.head_end.sid(DEV);
                let left = self.pair.head_end.links[&sid.slot()].association.candidates_left();
                if left < usize::from(delta) {
                    return;
                }
                self.pair.head_end.issue(DEV, delta);
                self.campaign += 1;
                let advance = KeyItem::Advance { campaign: self.campaign, delta, challenge: &[1; 8] };
                let mut body = Vec::new();
                seal::control::Item::write(&advance, &mut body);
                self.send(false, Class::Keys, &body);
            }
            Step::GroupKey => {
                self.group_epoch += 1;
                let apdu = self.pair.head_end.group_key(DEV, GID, Epoch(self.group_epoch), 1);
                self.ways[1].push(apdu);
            }
            Step::Register => self.pair.agent.register(now),
            Step::Arrive(down) | Step::Lose(down) | Step::Double(down) | Step::Overtake(down) => {
                let way = &mut self.ways[usize::from(down)];
                if way.is_empty() {
                    return;
                }
                match step {
                    Step::Lose(_) => drop(way.remove(0)),
                    Step::Double(_) => way.insert(0, way[0].clone()),
                    Step::Overtake(_) => way.rotate_left(1),
                    _ => {
                        let apdu = way.remove(0);
                        self.arrive(down, &apdu);
                    }
                }
            }
            Step::Restart(cut) => {
                let storage: Box<dyn Storage> = Box::new(self.pair.storage.clone());
                match cut {
                    None => self.pair.restart_with(storage),
                    Some((saves, after)) => {
                        let cut = if after { Cut::After } else { Cut::Before };
                        self.pair.restart_with(Box::new(CutStorage::new(storage, saves.into(), cut)));
                    }
                }
            }
            Step::Pass(seconds) => self.pair.now += u64::from(seconds),
        }
        self.pair.agent.poll(at(self.pair.now), &mut self.pair.out);
        self.take();
    }

    /// Nothing goes wrong any more.
    fn calm(&mut self) {
        self.pair.restart();
        self.ways = [Vec::new(), Vec::new()];
        for round in 0..400 {
            self.pair.now += 20;
            let now = at(self.pair.now);
            self.pair.head_end.now = now.unix_s;
            if round < 200 {
                self.pair.agent.report(now, &mut self.pair.out);
            }
            self.pair.agent.poll(now, &mut self.pair.out);
            self.take();
            while self.ways.iter().any(|way| !way.is_empty()) {
                for down in [false, true] {
                    for apdu in std::mem::take(&mut self.ways[usize::from(down)]) {
                        self.arrive(down, &apdu);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_is_lost_doubled_late_and_cut(steps in vec(step(), 1..120)) {
        let mut world = World::new();
        world.pair.done.lock().unwrap().clear();
        for step in steps {
            world.take_step(step);
        }
        world.calm();
        let pair = &world.pair;
        let done = pair.done.lock().unwrap().clone();
        let different: HashSet<&Vec<u8>> = done.iter().collect();
        prop_assert_eq!(different.len(), done.len(), "a command twice");
        prop_assert_eq!(pair.agent.waiting(), 0, "a device that nobody hears");
        let numbers: HashSet<u32> = pair
            .head_end
            .reports
            .iter()
            .map(|(_, epsem)| u32::from_be_bytes(epsem[6..].try_into().unwrap()))
            .collect();
        let most = numbers.iter().max().copied().unwrap_or(0);
        prop_assert_eq!(numbers.len() as u32, most + 1, "a report is missing");
        prop_assert!(support::refused(&pair.out).is_empty());
    }
}

/// The device is cut at each save of a whole life in turn, both ways.
#[test]
fn a_cut_at_every_save_of_a_life() {
    let mut most = 0;
    for saves in 0..60 {
        for cut in [Cut::Before, Cut::After] {
            let mut world = World::new();
            world.pair.done.lock().unwrap().clear();
            let storage = CutStorage::new(world.pair.storage.clone(), saves, cut);
            world.pair.restart_with(Box::new(storage));
            let life = [
                Step::Report,
                Step::Command(false),
                Step::Again,
                Step::Command(true),
                Step::Advance(1),
                Step::Event,
                Step::GroupKey,
            ];
            for step in life.into_iter().chain([Step::Register]).chain([Step::Report; 40]).chain(life) {
                world.take_step(step);
                for _ in 0..4 {
                    world.take_step(Step::Arrive(false));
                    world.take_step(Step::Arrive(true));
                }
            }
            most = most.max(world.nonces.len());
            world.calm();
            let done = world.pair.done.lock().unwrap().clone();
            let different: HashSet<&Vec<u8>> = done.iter().collect();
            assert_eq!(different.len(), done.len());
            assert_eq!(world.pair.agent.waiting(), 0, "cut {cut:?} after {saves} saves");
        }
    }
    assert!(most > 50);
}
