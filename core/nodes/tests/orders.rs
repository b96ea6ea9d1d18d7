//! Orders to shards, with the device's half of the security layer at the other end: registration, commands,
//! epochs, groups, revocation; and all of it over cuts at every durable step.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::desk::Desk;
use common::device::plain;
use common::graph::{Graph, Wishes};
use common::meter::{Meter, items};
use common::site::Site;
use common::{Random, wait_for};
use journal::files::ForgetfulFiles;
use keystore::{Directory, NewAssociation, Slots, Standing, Vault};
use metergraph_nodes::key_store::{Fence, set_incarnation_mark};
use metergraph_nodes::order::Order;
use metergraph_nodes::record;
use seal::association::CANDIDATES_MAX;
use seal::command::{Addressee, Class, Classes, KeyItem};
use seal::frame::FrameType;
use seal::ids::{Epoch, Gid, Sid};
use seal::secret::Prk;

const GID: Gid = Gid(0x8000_0203);

/// A site whose head-end has a key store, and its meters.
fn site(meters: u32) -> (Site, ForgetfulFiles, Vec<Meter>) {
    let (mut site, files) = Site::forgetful(meters, 0);
    let devices = std::mem::take(&mut site.devices);
    let meters = devices.into_iter().zip(0..).map(|(device, slot)| Meter::of(device, slot)).collect();
    (site.with_key_store(), files, meters)
}

fn lent<T: Send + Sync + 'static>(graph: &Graph) -> Arc<T> {
    graph.services.find("keys").unwrap()
}

/// One fresh report of each meter.
fn report(graph: &Graph, meters: &mut [Meter]) {
    let ready = meters.iter_mut().filter(|meter| meter.has_room());
    let apdus: Vec<Vec<u8>> = ready.map(|meter| meter.up(FrameType::Report, &plain())).collect();
    graph.send(1, &apdus);
}

fn repeat(graph: &Graph, meters: &[Meter]) {
    let apdus: Vec<Vec<u8>> = meters.iter().flat_map(Meter::repeats).collect();
    if !apdus.is_empty() {
        graph.send(1, &apdus);
    }
}

/// Repeats and hears until something holds.
fn until(what: &str, graph: &Graph, desk: &mut Desk, meters: &mut [Meter], holds: impl Fn(&[Meter]) -> bool) {
    let mut turn = 0;
    wait_for(what, || {
        desk.settle(graph);
        desk.hear(graph, meters);
        if holds(meters) {
            return Some(());
        }
        turn += 1;
        if turn % 50 == 0 {
            repeat(graph, meters);
        }
        None
    });
}

fn heard(meters: &[Meter]) -> bool {
    meters.iter().all(|meter| meter.unacknowledged.is_empty())
}

/// A new association for a meter: its number, its secret, the sealed record.
fn draw(graph: &Graph, meter: &Meter, secret: u8) -> Option<(Sid, Prk, Vec<u8>)> {
    let (slots, vault, directory) = (lent::<Slots>(graph), lent::<Vault>(graph), lent::<Directory>(graph));
    let sid = slots.allocate()?;
    let device = directory.device(meter.sid())?;
    let prk = Prk::from_octets([secret; 32]);
    let sealed = vault.seal_association(&NewAssociation {
        sid,
        dev: meter.dev(),
        prk: &prk,
        title: device.title(),
        esn: device.esn(),
        profile: device.profile,
    });
    Some((sid, prk, sealed.unwrap()))
}

fn advance(campaign: u32, delta: u8) -> Vec<u8> {
    items(&[KeyItem::Advance { campaign, delta, challenge: &[7; 8] }])
}

fn kinds(site: &Site) -> Vec<u8> {
    site.records().into_iter().map(|(kind, _)| kind).collect()
}

#[test]
fn a_device_registers_anew_proves_it_and_its_old_association_retires() {
    let (site, _, mut meters) = site(2);
    let graph = Graph::start_with(&site, &Wishes { shards: 2, ..Wishes::default() });
    let mut desk = Desk::default();
    report(&graph, &mut meters);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    let (old, dev) = (meters[0].sid(), meters[0].dev());
    let (sid, prk, sealed) = wait_for("a number", || draw(&graph, &meters[0], 99));
    let order = Order::Register { sid, dev, replaces: Some(old), sealed: &sealed };
    // Given twice, taken in once.
    desk.give(&graph, &order);
    desk.give(&graph, &order);
    desk.wait(&graph);
    let directory = lent::<Directory>(&graph);
    assert_eq!((directory.standing(sid), directory.sid(dev)), (Some(Standing::Fresh), Some(old)));
    let late = meters[0].up(FrameType::Report, &plain());
    meters[0].register(sid, prk);
    report(&graph, &mut meters);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    assert_eq!((directory.standing(sid), directory.sid(dev)), (Some(Standing::Proved), Some(sid)));
    desk.give(&graph, &Order::Retire { sid: old });
    desk.wait(&graph);
    // Opened still, but nothing is sealed under it.
    graph.send(1, &[late]);
    wait_for("the report", || (graph.sum("metergraph_frames_journaled_total", None) == 5).then_some(()));
    desk.hear(&graph, &mut meters);
    let signed = desk.sign(Addressee::Device(dev), Class::Read, &plain());
    desk.give(&graph, &Order::Send { sid: old, signed: &signed });
    desk.wait(&graph);
    graph.event("association-retired");
    drop(directory);
    drop(graph.drain());
    let records = site.records();
    let proved = records.iter().position(|(kind, _)| *kind == record::PROVED).unwrap();
    let read = record::Proved::read(&records[proved].1).unwrap();
    assert_eq!((read.sid, read.dev, read.replaces), (sid, dev, Some(old)));
    assert_eq!(record::Report::read(&records[proved + 1].1).unwrap().0.sid, sid);
    assert_eq!(kinds(&site).iter().filter(|kind| **kind == record::PROVED).count(), 1);
    // A start finds both.
    let graph = Graph::start_with(&site, &Wishes { shards: 1, ..Wishes::default() });
    report(&graph, &mut meters);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    drop(graph.drain());
}

#[test]
fn one_that_retired_before_it_was_used_proves_nothing() {
    let (site, _, mut meters) = site(1);
    let graph = Graph::start_with(&site, &Wishes { shards: 2, ..Wishes::default() });
    let mut desk = Desk::default();
    report(&graph, &mut meters);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    let dev = meters[0].dev();
    let mut given = Vec::new();
    let mut late = Vec::new();
    for secret in [98, 99] {
        let (sid, prk, sealed) = wait_for("a number", || draw(&graph, &meters[0], secret));
        let order = Order::Register { sid, dev, replaces: Some(meters[0].sid()), sealed: &sealed };
        desk.give(&graph, &order);
        desk.wait(&graph);
        if given.is_empty() {
            // Its first frame stays on the way.
            let before = meters[0].sid();
            meters[0].register(sid, prk);
            late = meters[0].up(FrameType::Report, &plain());
            assert_ne!(before, sid);
        } else {
            meters[0].register(sid, prk);
        }
        given.push(sid);
    }
    report(&graph, &mut meters);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    desk.give(&graph, &Order::Retire { sid: given[0] });
    desk.wait(&graph);
    graph.send(1, &[late]);
    wait_for("the report", || (graph.sum("metergraph_frames_journaled_total", None) == 3).then_some(()));
    let directory = lent::<Directory>(&graph);
    assert_eq!((directory.standing(given[0]), directory.sid(dev)), (Some(Standing::Retired), Some(given[1])));
    drop(directory);
    drop(graph.drain());
    let records = site.records();
    let proved = records.iter().filter(|(kind, _)| *kind == record::PROVED);
    let proved: Vec<_> = proved.map(|(_, octets)| record::Proved::read(octets).unwrap().sid).collect();
    assert_eq!(proved, [given[1]], "the one that is used stays");
}

#[test]
fn a_revoked_device_is_refused_at_once_and_after_a_start() {
    let (site, _, mut meters) = site(2);
    let mut desk = Desk::default();
    for life in 0..2 {
        let graph = Graph::start_with(&site, &Wishes::default());
        if life == 0 {
            report(&graph, &mut meters);
            until("acknowledgements", &graph, &mut desk, &mut meters, heard);
            desk.give(&graph, &Order::Revoke { dev: meters[0].dev(), sid: meters[0].sid() });
            desk.wait(&graph);
        }
        report(&graph, &mut meters);
        graph.event("SEC-UP-REVOKED");
        until("the other's", &graph, &mut desk, &mut meters, |meters| heard(&meters[1..]));
        assert!(!heard(&meters[..1]));
        drop(graph.drain());
    }
}

#[test]
fn commands_go_where_a_device_was_heard_and_what_cannot_go_is_counted() {
    let (site, _, mut meters) = site(1);
    let graph = Graph::start_with(&site, &Wishes::default());
    let mut desk = Desk::default();
    let (sid, to) = (meters[0].sid(), Addressee::Device(meters[0].dev()));
    let dropped =
        |place: &'static str| graph.sum("metergraph_commands_dropped_total", Some(("where", place)));
    let signed = desk.sign(to, Class::Read, &plain());
    desk.give(&graph, &Order::Send { sid, signed: &signed });
    desk.give(&graph, &Order::Send { sid: Sid(0x0100_0000), signed: &signed });
    desk.give(&graph, &Order::Respond { sid, items: b"no items" });
    desk.give(&graph, &Order::Broadcast { gid: GID, signed: &signed });
    desk.wait(&graph);
    wait_for("the books", || {
        (["not-heard", "format", "no-group-key"].map(dropped) == [1, 1, 1]).then_some(())
    });
    assert_eq!(graph.sum("metergraph_orders_unknown_total", None), 1);
    report(&graph, &mut meters);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    // More than a block of counters at once.
    let mut last = 0;
    for _ in 0..100 {
        let signed = desk.sign(to, Class::Read, &plain());
        desk.give(&graph, &Order::Send { sid, signed: &signed });
        last = desk.last_ctr();
        until("the command", &graph, &mut desk, &mut meters, |meters| {
            meters[0].executed.last() == Some(&(to, last))
        });
    }
    assert_eq!((meters[0].executed.len(), meters[0].refused.len()), (100, 0));
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    drop(graph.drain());
    let results = site.reports().into_iter().filter(|(report, _)| report.origin == record::Origin::Control);
    assert_eq!(results.count(), 100, "each result is a report");
    assert_eq!(last, desk.last_ctr());
}

#[test]
fn an_epoch_is_issued_durably_proven_by_its_first_frame_and_issued_once_a_campaign() {
    let (site, _, mut meters) = site(3);
    let graph = Graph::start_with(&site, &Wishes::default());
    let mut desk = Desk::default();
    report(&graph, &mut meters);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    let (sid, before) = (meters[0].sid(), meters[0].epoch());
    let to = Addressee::Device(meters[0].dev());
    let signed = desk.sign(to, Class::Keys, &advance(1, 2));
    desk.give(&graph, &Order::Send { sid, signed: &signed });
    until("the proof", &graph, &mut desk, &mut meters, |meters| meters[0].epoch() != before && heard(meters));
    assert_eq!(meters[0].epoch(), Epoch(before.0 + 2));
    // The same once more, and a new one of the same campaign: nothing is issued.
    desk.give(&graph, &Order::Send { sid, signed: &signed });
    let signed = desk.sign(to, Class::Keys, &advance(1, 4));
    desk.give(&graph, &Order::Send { sid, signed: &signed });
    desk.wait(&graph);
    until("answers", &graph, &mut desk, &mut meters, heard);
    // Unproven steps are at most four: a further ADVANCE stays at home.
    let others: Vec<u8> = meters[1..].iter().flat_map(|meter| meter.sid().0.to_be_bytes()).collect();
    for campaign in 2..=6 {
        desk.give(&graph, &Order::Issue { sids: &others, campaign, delta: 1, challenge: [1; 8] });
    }
    desk.wait(&graph);
    assert_eq!(graph.sum("metergraph_commands_dropped_total", Some(("where", "epochs"))), 2);
    drop(graph.drain());
    let records = site.records();
    let issued: Vec<_> = records.iter().filter(|(kind, _)| *kind == record::ISSUED).collect();
    assert_eq!(issued.len(), 1 + 2 * CANDIDATES_MAX);
    let promoted = records.iter().position(|(kind, _)| *kind == record::PROMOTED).unwrap();
    let read = record::Promoted::read(&records[promoted].1).unwrap();
    assert_eq!((read.sid, read.epoch), (sid, meters[0].epoch()));
    let (report, _) = record::Report::read(&records[promoted + 1].1).unwrap();
    assert_eq!((report.sid, report.epoch), (sid, meters[0].epoch()));
}

#[test]
fn a_group_is_told_by_one_frame() {
    let (site, _, mut meters) = site(5);
    let graph = Graph::start_with(&site, &Wishes { shards: 2, ..Wishes::default() });
    let mut desk = Desk::default();
    report(&graph, &mut meters);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    join(&graph, &mut desk, &mut meters);
    let to = Addressee::Group(GID);
    for ctr in 1..=3 {
        let signed = desk.sign(to, Class::Read, &plain());
        desk.give(&graph, &Order::Broadcast { gid: GID, signed: &signed });
        let all = |meters: &[Meter]| meters.iter().all(|meter| meter.executed.len() == ctr);
        until("the broadcast", &graph, &mut desk, &mut meters, all);
    }
    assert_eq!(desk.came[&0x13], 3, "one frame each for all");
    // A fleet moves on by one signed command.
    let sids: Vec<Sid> = meters.iter().map(Meter::sid).collect();
    for shard in 0..2 {
        let mine: Vec<u8> = sids
            .iter()
            .filter(|sid| sid.partition() % 2 == shard)
            .flat_map(|sid| sid.0.to_be_bytes())
            .collect();
        desk.give(&graph, &Order::Issue { sids: &mine, campaign: 1, delta: 1, challenge: [1; 8] });
    }
    desk.wait(&graph);
    let before: Vec<Epoch> = meters.iter().map(Meter::epoch).collect();
    let signed = desk.sign(to, Class::Keys, &advance(1, 1));
    desk.give(&graph, &Order::Broadcast { gid: GID, signed: &signed });
    until("proofs", &graph, &mut desk, &mut meters, |meters| {
        heard(meters) && meters.iter().zip(&before).all(|(meter, before)| meter.epoch() > *before)
    });
    drop(graph.drain());
    assert_eq!(kinds(&site).iter().filter(|kind| **kind == record::PROMOTED).count(), 5);
}

/// Makes all meters members of the group and gives it a key.
fn join(graph: &Graph, desk: &mut Desk, meters: &mut [Meter]) {
    let vault = lent::<Vault>(graph);
    let (epoch, activate_at) = (Epoch(1), 1);
    let sealed = vault.draw_group_key(GID, epoch).unwrap();
    desk.give(graph, &Order::GroupKey { gid: GID, epoch, activate_at, sealed: &sealed });
    desk.wait(graph);
    let body = items(&[KeyItem::Join { gid: GID, classes: Classes(0x3f) }]);
    for at in 0..meters.len() {
        let sid = meters[at].sid();
        let signed = desk.sign(Addressee::Device(meters[at].dev()), Class::Keys, &body);
        desk.give(graph, &Order::Send { sid, signed: &signed });
        until("a member", graph, desk, meters, |meters| meters[at].is_member(GID));
        desk.give(graph, &Order::Deliver { sid, gid: GID, epoch, activate_at, sealed: &sealed });
    }
    let keyed = |meter: &Meter| meter.receiver.groups.all().iter().any(|group| !group.held.is_empty());
    until("keys", graph, desk, meters, |meters| heard(meters) && meters.iter().all(keyed));
}

#[test]
fn a_restored_copy_reads_and_seals_nothing() {
    let (site, files, mut meters) = site(1);
    let mut desk = Desk::default();
    let graph = Graph::start(&site);
    report(&graph, &mut meters);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    drop(graph.drain());
    set_incarnation_mark(&files, &site.state().join("journal"), 0).unwrap();
    let graph = Graph::start(&site);
    assert!(lent::<Fence>(&graph).check().is_err());
    report(&graph, &mut meters);
    wait_for("the report", || (graph.sum("metergraph_frames_journaled_total", None) == 1).then_some(()));
    let signed = desk.sign(Addressee::Device(meters[0].dev()), Class::Read, &plain());
    desk.give(&graph, &Order::Send { sid: meters[0].sid(), signed: &signed });
    desk.wait(&graph);
    wait_for("the books", || {
        let fenced = graph.sum("metergraph_commands_dropped_total", Some(("where", "fence")));
        (fenced == 1).then_some(())
    });
    graph.event("SEC-FENCE");
    assert!(graph.sent().is_empty());
    drop(graph.stop());
}

/// Lives with orders of every kind and a cut at the end of each.
fn lives(seed: u64, count: u64) {
    let mut random = Random(seed);
    let (site, files, mut meters) = site(6);
    let mut desk = Desk::default();
    let mut campaign = 0;
    // Per meter: its outstanding ADVANCE, and the association before its present one.
    let mut advances: HashMap<usize, Vec<u8>> = HashMap::new();
    let mut before: HashMap<usize, Sid> = HashMap::new();
    let mut group_epoch = 1;
    let wishes = |random: &mut Random| Wishes {
        shards: 1 + random.below(3) as usize,
        settings: vec![
            ("journal", "segment_mib", 1.into()),
            ("decrypt", "checkpoint_mib", (random.below(2) as i64).into()),
            ("keys", "apply_s", 1.into()),
        ],
        ..Wishes::default()
    };
    {
        let graph = Graph::start_with(&site, &wishes(&mut random));
        report(&graph, &mut meters);
        until("acknowledgements", &graph, &mut desk, &mut meters, heard);
        join(&graph, &mut desk, &mut meters);
        drop(graph.drain());
    }
    for life in 0..count {
        let graph = Graph::start_with(&site, &wishes(&mut random));
        let (rounds, at) = (10 + random.below(20), random.below(15));
        repeat(&graph, &meters);
        for round in 0..rounds {
            if round == at {
                files.stop_after(random.below(80));
            }
            report(&graph, &mut meters);
            for place in 0..meters.len() {
                let (sid, dev) = (meters[place].sid(), meters[place].dev());
                match random.below(8) {
                    0 => {
                        let signed = desk.sign(Addressee::Device(dev), Class::Read, &plain());
                        desk.give(&graph, &Order::Send { sid, signed: &signed });
                    }
                    1 => {
                        // A new campaign only when the last one got there; else it is told again.
                        if meters[place].receiver.campaign == campaign || !advances.contains_key(&place) {
                            campaign += 1;
                            let delta = 1 + random.below(2) as u8;
                            let to = Addressee::Device(dev);
                            advances.insert(place, desk.sign(to, Class::Keys, &advance(campaign, delta)));
                        }
                        desk.give(&graph, &Order::Send { sid, signed: &advances[&place] });
                    }
                    2 => {
                        let signed = desk.sign(Addressee::Group(GID), Class::Read, &plain());
                        desk.give(&graph, &Order::Broadcast { gid: GID, signed: &signed });
                    }
                    3 if random.below(4) == 0 => {
                        let (epoch, activate_at) = (Epoch(group_epoch + 1), 1);
                        let sealed = lent::<Vault>(&graph).draw_group_key(GID, epoch).unwrap();
                        desk.give(&graph, &Order::GroupKey { gid: GID, epoch, activate_at, sealed: &sealed });
                        group_epoch += 1;
                    }
                    4 if random.below(3) == 0 => {
                        if let Some((sid, prk, sealed)) =
                            draw(&graph, &meters[place], random.below(200) as u8)
                        {
                            let replaces = Some(meters[place].sid());
                            desk.forget();
                            desk.give(&graph, &Order::Register { sid, dev, replaces, sealed: &sealed });
                            // Where it does not become durable in time nobody tells the device.
                            let patience = Instant::now() + Duration::from_millis(150);
                            while !desk.settle(&graph) && Instant::now() < patience {
                                std::thread::yield_now();
                            }
                            if desk.settle(&graph) {
                                before.insert(place, meters[place].sid());
                                meters[place].register(sid, prk);
                                advances.remove(&place);
                            }
                            desk.forget();
                        }
                    }
                    5 => {
                        if let Some(old) = before.get(&place) {
                            desk.give(&graph, &Order::Retire { sid: *old });
                        }
                    }
                    _ => {}
                }
            }
            desk.settle(&graph);
            desk.hear(&graph, &mut meters);
            if random.below(3) == 0 {
                std::thread::sleep(Duration::from_micros(random.below(4000)));
            }
        }
        let graph = graph.stop();
        desk.hear(&graph, &mut meters);
        desk.end();
        drop(graph);
        if random.below(4) == 0 { files.kill(seed + life) } else { files.cut(seed * 1000 + life) }
    }
    let graph = Graph::start_with(&site, &wishes(&mut random));
    desk.forget();
    report(&graph, &mut meters);
    until("every acknowledgement", &graph, &mut desk, &mut meters, heard);
    // Every one can still be told.
    for place in 0..meters.len() {
        let to = Addressee::Device(meters[place].dev());
        let signed = desk.sign(to, Class::Read, &plain());
        let last = desk.last_ctr();
        // Given again until it is executed. A shard knows no way to a device of which it has heard nothing but
        // repeats since its start, so a device that has room reports meanwhile.
        let mut turn = 0;
        wait_for("the last command", || {
            if turn % 50 == 0 {
                report(&graph, &mut meters);
                repeat(&graph, &meters);
                desk.give(&graph, &Order::Send { sid: meters[place].sid(), signed: &signed });
            }
            turn += 1;
            desk.settle(&graph);
            desk.hear(&graph, &mut meters);
            meters[place].executed.contains(&(to, last)).then_some(())
        });
    }
    until("every answer", &graph, &mut desk, &mut meters, heard);
    drop(graph.drain());
    let mut journaled: HashMap<(Sid, Epoch, u32), usize> = HashMap::new();
    for (report, _) in site.reports() {
        *journaled.entry((report.sid, report.epoch, report.seq)).or_default() += 1;
    }
    assert!(journaled.values().all(|times| *times == 1), "seed {seed}: a frame was taken in twice");
    for key in meters.iter().flat_map(|meter| &meter.acknowledged) {
        assert!(journaled.contains_key(key), "seed {seed}: {key:?} is acknowledged and gone");
    }
    let kinds = kinds(&site);
    for kind in [record::PROMOTED, record::PROVED, record::GROUP_KEY, record::ISSUED] {
        assert!(kinds.contains(&kind), "seed {seed}: no record {kind}");
    }
    for refused in meters.iter().flat_map(|meter| &meter.refused) {
        assert!(
            !["SEC-DN-AUTH", "SEC-DN-REPLAY", "SEC-DN-FORMAT"].contains(&&**refused),
            "seed {seed}: {refused}"
        );
    }
}

#[test]
fn nothing_is_sealed_twice_and_no_association_is_lost_whenever_the_power_goes() {
    let seed = std::env::var("METERGRAPH_SEED").ok().and_then(|seed| seed.parse().ok());
    match seed {
        Some(seed) => lives(seed, 6),
        None => (1..=6).for_each(|seed| lives(seed, 6)),
    }
}
