//! Groups as a shard and their members go through them (security layer §7, §8): keys of epochs, frames sealed
//! once for all links, counters in blocks of 1,024, a new epoch at its time; and all of it with a cut at every
//! durable step.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::time::{Duration, Instant};

use common::desk::Desk;
use common::device::plain;
use common::graph::{Graph, Wishes};
use common::meter::{Meter, now};
use common::site::Site;
use common::wait_for;
use journal::files::ForgetfulFiles;
use metergraph_nodes::order::Order;
use metergraph_nodes::record;
use node::Frame;
use seal::command::{Addressee, Class};
use seal::frame::Head;
use seal::ids::{Epoch, Gid, Sid};

const GID: Gid = Gid(0x8000_0203);
/// Counters that a group reserves at once.
const BLOCK: u32 = 1024;

fn meters(site: &mut Site) -> Vec<Meter> {
    let devices = std::mem::take(&mut site.devices);
    devices.into_iter().zip(0..).map(|(device, slot)| Meter::of(device, slot)).collect()
}

fn site(count: u32) -> (Site, ForgetfulFiles, Vec<Meter>) {
    let (mut site, files) = Site::forgetful(count, 0);
    let meters = meters(&mut site);
    (site.with_key_store(), files, meters)
}

/// The floors that were reserved for the group in an epoch.
fn floors(site: &Site, epoch: Epoch) -> Vec<u32> {
    let ours =
        site.reservations().into_iter().filter(|block| block.sid == Sid(GID.0) && block.epoch == epoch);
    ours.map(|block| block.floor).collect()
}

fn told(desk: &Desk) -> Vec<Head> {
    desk.heads.iter().filter(|head| head.frame_type.octet() == 0x13).copied().collect()
}

#[test]
fn a_frame_is_sealed_once_for_all_links_and_not_before_its_key_is_durable() {
    let (mut site, _, gate) = Site::gated(3, 0);
    let mut meters = meters(&mut site);
    let site = site.with_key_store();
    let graph = Graph::start_with(&site, &Wishes { shards: 2, lan: true, ..Wishes::default() });
    let mut desk = Desk::default();
    desk.report(&graph, &mut meters);
    desk.until_heard(&graph, &mut meters);
    let signed = desk.sign(Addressee::Group(GID), Class::Read, &plain());
    let broadcast = Order::Broadcast { gid: GID, signed: &signed };
    gate.hold(".segment");
    let sealed = desk.key(&graph, GID, Epoch(1), 1);
    desk.give(&graph, &broadcast);
    let dropped = || graph.sum("metergraph_commands_dropped_total", Some(("where", "no-group-key")));
    wait_for("the books", || (dropped() == 1).then_some(()));
    assert!(!desk.settle(&graph), "a key that is not durable is not settled");
    gate.open();
    desk.wait(&graph);
    desk.join(&graph, GID, &mut meters);
    desk.deliver(&graph, GID, (Epoch(1), 1, &sealed), &mut meters);
    desk.until_heard(&graph, &mut meters);
    assert!(graph.sent_over(1).is_empty(), "nobody was heard there");
    desk.give(&graph, &broadcast);
    let (mut near, mut far) = (Vec::new(), Vec::new());
    wait_for("a broadcast over both", || {
        near.extend(graph.sent_over(0));
        far.extend(graph.sent_over(1));
        (!near.is_empty() && !far.is_empty()).then_some(())
    });
    assert_eq!((near.len(), far.len()), (1, 1));
    let frames = [&near[0], &far[0]].map(|(frame, apdu)| {
        assert_eq!(frame.bits & Frame::BROADCAST, Frame::BROADCAST);
        // The ledger knows one nonce, and one hash of it.
        desk.ledger.note(apdu)
    });
    assert_eq!(frames[0], frames[1], "one frame");
    for meter in &mut meters {
        meter.hear(&frames[0].0, &frames[0].1);
        assert_eq!(meter.executed, [(Addressee::Group(GID), desk.last_ctr() - 3)]);
    }
    drop(graph.drain());
    let key = site.records().into_iter().find(|(kind, _)| *kind == record::GROUP_KEY).unwrap().1;
    let read = record::GroupKey::read(&key).unwrap();
    assert_eq!((read.gid, read.epoch, read.activate_at, read.sealed), (GID, Epoch(1), 1, &sealed[..]));
    assert_eq!(floors(&site, Epoch(1)), [BLOCK]);
}

#[test]
fn counters_come_in_blocks_of_1024_and_a_start_goes_on_behind_them() {
    let (site, files, mut meters) = site(1);
    let mut desk = Desk::default();
    // Into the second block; cut; once; cut; once.
    for (life, (count, first)) in [(1030, 0), (1, 2 * BLOCK), (1, 3 * BLOCK)].into_iter().enumerate() {
        let graph = Graph::start(&site);
        desk.report(&graph, &mut meters);
        desk.until_heard(&graph, &mut meters);
        if life == 0 {
            let sealed = desk.key(&graph, GID, Epoch(1), 1);
            desk.wait(&graph);
            desk.join(&graph, GID, &mut meters);
            desk.deliver(&graph, GID, (Epoch(1), 1, &sealed), &mut meters);
        }
        desk.heads.clear();
        // No device answers a thousand frames at once.
        meters[0].deaf = count > 1;
        let signed = desk.sign(Addressee::Group(GID), Class::Read, &plain());
        for _ in 0..count {
            desk.give(&graph, &Order::Broadcast { gid: GID, signed: &signed });
        }
        wait_for("all broadcasts", || {
            desk.settle(&graph);
            desk.hear(&graph, &mut meters);
            (told(&desk).len() == count as usize).then_some(())
        });
        let seqs: Vec<u32> = told(&desk).iter().map(|head| head.seq).collect();
        assert_eq!(seqs, (first..first + count).collect::<Vec<_>>());
        meters[0].deaf = false;
        desk.until_heard(&graph, &mut meters);
        if life == 0 {
            graph.kill()
        } else {
            drop(graph.stop())
        }
        desk.forget();
        files.cut(life as u64);
    }
    assert_eq!(floors(&site, Epoch(1)), [1, 2, 3, 4].map(|blocks| blocks * BLOCK));
    assert_eq!(meters[0].executed.len(), 2, "{:?}", meters[0].refused);
}

#[test]
fn a_new_epoch_comes_into_force_at_its_time_with_counters_of_its_own() {
    let (site, _, mut meters) = site(3);
    let graph = Graph::start(&site);
    let mut desk = Desk::default();
    desk.report(&graph, &mut meters);
    desk.until_heard(&graph, &mut meters);
    let first = desk.key(&graph, GID, Epoch(1), 1);
    desk.wait(&graph);
    desk.join(&graph, GID, &mut meters);
    desk.deliver(&graph, GID, (Epoch(1), 1, &first), &mut meters);
    let at = now() as u32 + 2;
    let second = desk.key(&graph, GID, Epoch(2), at);
    desk.wait(&graph);
    desk.deliver(&graph, GID, (Epoch(2), at, &second), &mut meters);
    let mut told_at = Vec::new();
    wait_for("the second epoch", || {
        let before = now();
        let signed = desk.sign(Addressee::Group(GID), Class::Read, &plain());
        desk.give(&graph, &Order::Broadcast { gid: GID, signed: &signed });
        let count = told(&desk).len();
        desk.until("a broadcast", &graph, &mut meters, |meters| {
            meters.iter().all(|meter| meter.executed.len() == count + 1)
        });
        told_at.push((before, now(), *told(&desk).last().unwrap()));
        std::thread::sleep(Duration::from_millis(20));
        (told_at.iter().filter(|(.., head)| head.epoch_low == 2).count() == 3).then_some(())
    });
    for (before, after, head) in &told_at {
        match head.epoch_low {
            1 => assert!(*before < u64::from(at), "the old one after its time"),
            2 => assert!(*after >= u64::from(at), "the new one before its time"),
            other => panic!("epoch {other}"),
        }
    }
    let seqs = |epoch: u8| {
        let heads = told_at.iter().map(|(.., head)| head).filter(|head| head.epoch_low == epoch);
        heads.map(|head| head.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(2), [0, 1, 2]);
    assert!(seqs(1).len() > 1);
    desk.until_heard(&graph, &mut meters);
    drop(graph.drain());
    assert_eq!((floors(&site, Epoch(1)), floors(&site, Epoch(2))), (vec![BLOCK], vec![BLOCK]));
    // A start holds both, and goes on under the one in force.
    let graph = Graph::start(&site);
    desk.report(&graph, &mut meters);
    desk.until_heard(&graph, &mut meters);
    let signed = desk.sign(Addressee::Group(GID), Class::Read, &plain());
    desk.give(&graph, &Order::Broadcast { gid: GID, signed: &signed });
    let last = (Addressee::Group(GID), desk.last_ctr());
    desk.until("a broadcast", &graph, &mut meters, |meters| {
        meters.iter().all(|meter| meter.executed.last() == Some(&last))
    });
    let head = *told(&desk).last().unwrap();
    assert_eq!((head.epoch_low, head.seq), (2, BLOCK));
    drop(graph.drain());
}

/// A group of two over head-ends that are cut, one operation later each time: a new epoch, its key to the
/// members, two broadcasts.
struct World {
    site: Site,
    files: ForgetfulFiles,
    meters: Vec<Meter>,
    desk: Desk,
}

impl World {
    fn new() -> Self {
        let (site, files, mut meters) = site(2);
        let mut desk = Desk::default();
        let graph = Graph::start(&site);
        desk.report(&graph, &mut meters);
        desk.until_heard(&graph, &mut meters);
        desk.join(&graph, GID, &mut meters);
        drop(graph.drain());
        Self { site, files, meters, desk }
    }

    fn life(&mut self, epoch: u16, operations: u64, power: bool) -> bool {
        let Self { site, files, meters, desk } = self;
        let epoch = Epoch(epoch);
        let wishes = Wishes { settings: vec![("keys", "apply_s", 1.into())], ..Wishes::default() };
        let graph = Graph::start_with(site, &wishes);
        files.stop_after(operations);
        desk.report(&graph, meters);
        let sealed = desk.key(&graph, GID, epoch, 1);
        let (mut seen, mut since) = (files.operations(), Instant::now());
        let (mut delivered, mut told, mut wanted) = (false, 0, desk.last_ctr());
        while since.elapsed() < Duration::from_millis(60) {
            let settled = desk.settle(&graph);
            if settled && !delivered {
                for meter in meters.iter().filter(|meter| meter.is_heard()) {
                    let (sid, sealed) = (meter.sid(), &sealed);
                    desk.give(&graph, &Order::Deliver { sid, gid: GID, epoch, activate_at: 1, sealed });
                }
                delivered = meters.iter().all(Meter::is_heard);
            }
            let keyed = meters.iter().all(|meter| meter.has_key(GID, epoch));
            let heard = |ctr: u32| {
                let it = (Addressee::Group(GID), ctr);
                meters.iter().all(|meter| meter.executed.contains(&it) && meter.is_heard())
            };
            if keyed && (told == 0 || (told == 1 && heard(wanted))) {
                let signed = desk.sign(Addressee::Group(GID), Class::Read, &plain());
                desk.give(&graph, &Order::Broadcast { gid: GID, signed: &signed });
                (told, wanted) = (told + 1, desk.last_ctr());
            } else if told == 2 && heard(wanted) {
                break;
            }
            desk.hear(&graph, meters);
            if files.operations() != seen {
                (seen, since) = (files.operations(), Instant::now());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let last = (Addressee::Group(GID), wanted);
        let finished =
            told == 2 && meters.iter().all(|meter| meter.executed.contains(&last) && meter.is_heard());
        let graph = graph.stop();
        desk.hear(&graph, meters);
        drop(graph);
        // Nobody knows whether the key is durable: the same one is given again.
        desk.end();
        if power {
            files.cut(u64::from(epoch.0))
        } else {
            files.kill(u64::from(epoch.0))
        }
        let graph = Graph::start_with(site, &wishes);
        desk.report(&graph, meters);
        desk.until_heard(&graph, meters);
        desk.give(&graph, &Order::GroupKey { gid: GID, epoch, activate_at: 1, sealed: &sealed });
        desk.wait(&graph);
        desk.deliver(&graph, GID, (epoch, 1, &sealed), meters);
        let signed = desk.sign(Addressee::Group(GID), Class::Read, &plain());
        desk.give(&graph, &Order::Broadcast { gid: GID, signed: &signed });
        let last = (Addressee::Group(GID), desk.last_ctr());
        desk.until("the last broadcast", &graph, meters, |meters| {
            meters.iter().all(|meter| meter.executed.last() == Some(&last) && meter.is_heard())
        });
        drop(graph.drain());
        finished
    }
}

fn cut_everywhere(power: bool) {
    let mut world = World::new();
    let mut epoch = 0;
    loop {
        epoch += 1;
        if world.life(epoch, u64::from(epoch), power) {
            break;
        }
        assert!(epoch < 120, "it does not come to its end");
    }
    assert!(epoch > 8, "only {epoch} operations");
    // A member takes the key that it has: with another one of an epoch a frame would not open.
    for refused in world.meters.iter().flat_map(|meter| &meter.refused) {
        assert!(["SEC-DN-CTR"].contains(&refused.as_str()), "{refused}");
    }
    let kinds = world.site.records().into_iter().filter(|(kind, _)| *kind == record::GROUP_KEY);
    assert!(kinds.count() >= usize::from(epoch));
    for epoch in 1..=epoch {
        let floors = floors(&world.site, Epoch(epoch));
        assert!(floors.windows(2).all(|pair| pair[0] < pair[1]), "{floors:?}");
    }
}

#[test]
fn a_group_survives_the_power_at_every_durable_step() {
    cut_everywhere(true);
}

#[test]
fn a_group_survives_the_end_of_the_process_at_every_durable_step() {
    cut_everywhere(false);
}
