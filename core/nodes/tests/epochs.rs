//! Epochs as a shard and end devices go through them (security layer §8): issued durably, lost, heard twice,
//! several unproven at once, promoted by the first valid frame, retiring; and all of it with a cut at every
//! durable step, by the process and by the power.
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
use common::device::{Device, plain};
use common::egress::SETTINGS;
use common::graph::{Graph, Wishes};
use common::meter::{Meter, items, now};
use common::site::Site;
use common::wait_for;
use journal::Writer;
use journal::files::ForgetfulFiles;
use metergraph_nodes::journal::Log;
use metergraph_nodes::order::Order;
use metergraph_nodes::record::{self, Issued, Origin, Promoted, Record, Report, Reservation};
use seal::association::RETIRING_S;
use seal::command::{Addressee, Class, KeyItem};
use seal::counter::HEAD_END_BLOCK;
use seal::frame::{FrameType, Head};
use seal::ids::{Epoch, Gid, Sid};
use seal::schedule;
use seal::secret::Prk;

const GID: Gid = Gid(0x8000_0203);
const JOURNALED: &str = "metergraph_frames_journaled_total";

fn site(meters: u32) -> (Site, ForgetfulFiles, Vec<Meter>) {
    let (mut site, files) = Site::forgetful(meters, 0);
    let devices = std::mem::take(&mut site.devices);
    let meters = devices.into_iter().zip(0..).map(|(device, slot)| Meter::of(device, slot)).collect();
    (site.with_key_store(), files, meters)
}

fn advance(campaign: u32, delta: u8) -> Vec<u8> {
    items(&[KeyItem::Advance { campaign, delta, challenge: &[7; 8] }])
}

/// A frame of this device in an epoch so many steps after that of its shipment.
fn frame_in(device: &Device, slot: u8, steps: u16, seq: u32) -> Vec<u8> {
    let mut prk = Prk::from_octets([slot + 1; 32]);
    let mut epoch = device.epoch;
    for _ in 0..steps {
        epoch = epoch.next().unwrap();
        prk = schedule::advance(&prk, epoch);
    }
    let keys = schedule::derive(&prk, device.sid);
    let then = Device { epoch, keys, title: device.title.clone(), ..*device };
    then.carry(&then.frame(FrameType::Report, seq, &plain()))
}

fn promoted(site: &Site, sid: Sid) -> Vec<Epoch> {
    let records = site.records();
    let promoted = records.iter().filter(|(kind, _)| *kind == record::PROMOTED);
    let read = promoted.map(|(_, octets)| Promoted::read(octets).unwrap());
    // Until one is durable every frame says so.
    let mut epochs: Vec<Epoch> =
        read.filter(|promoted| promoted.sid == sid).map(|promoted| promoted.epoch).collect();
    epochs.dedup();
    epochs
}

#[test]
fn downstream_stays_on_the_old_epoch_until_the_proof_and_the_new_one_counts_from_nought() {
    let (site, _, mut meters) = site(1);
    let graph = Graph::start_with(&site, &Wishes::default());
    let mut desk = Desk::default();
    desk.report(&graph, &mut meters);
    desk.until_heard(&graph, &mut meters);
    let (sid, before) = (meters[0].sid(), meters[0].epoch());
    let after = Epoch(before.0 + 1);
    meters[0].mute = true;
    desk.tell(&graph, &meters[0], Class::Keys, &advance(1, 1));
    desk.until("the ratchet", &graph, &mut meters, |meters| meters[0].epoch() == after);
    // The device has gone on, and nothing of that has come up: more than a block of counters goes down.
    desk.heads.clear();
    for _ in 0..HEAD_END_BLOCK + 6 {
        let ctr = desk.tell(&graph, &meters[0], Class::Read, &plain());
        desk.until("a command", &graph, &mut meters, |meters| {
            meters[0].executed.last().is_some_and(|(_, last)| *last == ctr)
        });
    }
    assert!(desk.heads.iter().all(|head| head.epoch_low == before.low()), "{:?}", desk.heads);
    let last_old = desk.heads.last().unwrap().seq;
    // One frame of the new epoch is the proof.
    desk.heads.clear();
    meters[0].mute = false;
    meters[0].unacknowledged.retain(|(_, _, seq), _| *seq < 5);
    desk.repeat(&graph, &meters);
    desk.until_heard(&graph, &mut meters);
    desk.tell(&graph, &meters[0], Class::Read, &plain());
    desk.until("a command", &graph, &mut meters, |meters| meters[0].executed.len() == 71);
    desk.until_heard(&graph, &mut meters);
    let (old, new): (Vec<&Head>, Vec<&Head>) =
        desk.heads.iter().partition(|head| head.epoch_low == before.low());
    assert!(old.iter().all(|head| head.seq > last_old), "{old:?}");
    let seqs: Vec<u32> = new.iter().map(|head| head.seq).collect();
    assert_eq!(seqs, (0..new.len() as u32).collect::<Vec<_>>(), "its own counters, from the first");
    assert!(new.iter().all(|head| head.epoch_low == after.low()));
    assert!(
        desk.heads.is_sorted_by_key(|head| head.epoch_low == after.low()),
        "never back: {:?}",
        desk.heads
    );
    drop(graph.drain());
    // ISSUED, and much later PROMOTED with the report that proves it, and the first block of its counters.
    let records = site.records();
    let at = |kind: u8| records.iter().position(|(of, _)| *of == kind).unwrap();
    let (issued, promoted) = (at(record::ISSUED), at(record::PROMOTED));
    assert!(issued < promoted);
    let (report, _) = Report::read(&records[promoted + 1].1).unwrap();
    assert_eq!((report.sid, report.epoch), (sid, after));
    let reserved: Vec<Reservation> = site.reservations();
    let first = reserved.iter().find(|reserved| reserved.epoch == after).unwrap();
    assert_eq!((first.sid, first.floor), (sid, HEAD_END_BLOCK));
    let block = records
        .iter()
        .position(|(kind, octets)| {
            *kind == record::RESERVATION && Reservation::read(octets).unwrap().epoch == after
        })
        .unwrap();
    assert!(block > promoted, "a candidate seals nothing");
}

#[test]
fn whichever_advances_are_lost_the_first_valid_frame_promotes_its_epoch() {
    // Four ADVANCEs are unproven, and meter m hears those whose bit of m + 1 is set.
    let (site, _, mut meters) = site(15);
    let graph = Graph::start_with(&site, &Wishes { shards: 2, ..Wishes::default() });
    let mut desk = Desk::default();
    desk.report(&graph, &mut meters);
    desk.until_heard(&graph, &mut meters);
    let before: Vec<Epoch> = meters.iter().map(Meter::epoch).collect();
    for campaign in 1..=4 {
        for (mask, meter) in (1_u32..).zip(&mut meters) {
            (meter.deaf, meter.mute) = (mask >> (campaign - 1) & 1 == 0, true);
        }
        let so_far = desk.came.get(&0x12).copied().unwrap_or(0);
        meters.iter().for_each(|meter| _ = desk.tell(&graph, meter, Class::Keys, &advance(campaign, 1)));
        wait_for("all commands", || {
            desk.settle(&graph);
            desk.hear(&graph, &mut meters);
            (desk.came.get(&0x12) == Some(&(so_far + 15))).then_some(())
        });
    }
    let steps: Vec<u16> = (1..=15_u32).map(|mask| mask.count_ones() as u16).collect();
    for ((meter, before), steps) in meters.iter().zip(&before).zip(&steps) {
        assert_eq!(meter.epoch().0, before.0 + steps);
    }
    // A fifth is not issued while four are unproven.
    meters.iter().for_each(|meter| _ = desk.tell(&graph, meter, Class::Keys, &advance(5, 1)));
    desk.wait(&graph);
    assert_eq!(graph.sum("metergraph_commands_dropped_total", Some(("where", "epochs"))), 15);
    // Of all that a meter said only the last epoch's gets through.
    for meter in &mut meters {
        let now = meter.epoch();
        meter.unacknowledged.retain(|(_, epoch, _), _| *epoch == now);
        (meter.deaf, meter.mute) = (false, false);
    }
    desk.repeat(&graph, &meters);
    desk.until_heard(&graph, &mut meters);
    // The old epoch retires: it is opened still. Those that were skipped are erased.
    let journaled = graph.sum(JOURNALED, None);
    let old: Vec<_> =
        meters.iter().zip(0..).map(|(meter, slot)| frame_in(&meter.device, slot, 0, 30)).collect();
    desk.send(&graph, &old);
    wait_for("reports of the old epoch", || (graph.sum(JOURNALED, None) == journaled + 15).then_some(()));
    let mut skipped = 0;
    for ((meter, slot), steps) in meters.iter().zip(0..).zip(&steps) {
        for step in 1..*steps {
            desk.send(&graph, &[frame_in(&meter.device, slot, step, 30)]);
            skipped += 1;
        }
    }
    wait_for("refusals", || (graph.refused("SEC-UP-EPOCH") == skipped).then_some(()));
    assert_eq!(skipped, 17);
    // Nobody is orphaned: all go on, those that were behind into an epoch that was issued before.
    meters.iter().for_each(|meter| _ = desk.tell(&graph, meter, Class::Keys, &advance(6, 1)));
    desk.until("the sixth", &graph, &mut meters, |meters| {
        meters.iter().all(|meter| meter.receiver.campaign == 6 && meter.is_heard())
    });
    let all = desk.ledger.len();
    drop(graph.drain());
    for ((meter, before), steps) in meters.iter().zip(&before).zip(&steps) {
        let proven = [before.0 + steps, before.0 + steps + 1].map(Epoch);
        assert_eq!(promoted(&site, meter.sid()), proven);
    }
    assert!(all > 15 * 8, "{all}");
    assert_eq!(meters.iter().flat_map(|meter| &meter.refused).next(), None);
}

#[test]
fn an_advance_that_comes_twice_ratchets_once() {
    let (site, _, mut meters) = site(1);
    let graph = Graph::start_with(&site, &Wishes::default());
    let mut desk = Desk::default();
    desk.report(&graph, &mut meters);
    desk.until_heard(&graph, &mut meters);
    let (sid, before) = (meters[0].sid(), meters[0].epoch());
    let signed = desk.sign(Addressee::Device(meters[0].dev()), Class::Keys, &advance(1, 1));
    // Sealed anew each time: the window lets it through, the counter of the command does not.
    for _ in 0..3 {
        desk.give(&graph, &Order::Send { sid, signed: &signed });
    }
    desk.until("three", &graph, &mut meters, |meters| meters[0].is_heard() && meters[0].epoch() != before);
    wait_for("all of them", || {
        desk.hear(&graph, &mut meters);
        (desk.came.get(&0x12) == Some(&3)).then_some(())
    });
    desk.until_heard(&graph, &mut meters);
    // Signed anew, with a counter of its own: the device says that it knows the campaign.
    desk.tell(&graph, &meters[0], Class::Keys, &advance(1, 1));
    wait_for("the fourth", || {
        desk.settle(&graph);
        desk.hear(&graph, &mut meters);
        (desk.came.get(&0x12) == Some(&4)).then_some(())
    });
    desk.until_heard(&graph, &mut meters);
    assert_eq!(meters[0].epoch(), Epoch(before.0 + 1));
    drop(graph.drain());
    // Written again while the first is on its way, and never a further one.
    let issued = site.records().into_iter().filter(|(kind, _)| *kind == record::ISSUED);
    assert!(
        issued.map(|(_, octets)| Issued::read(&octets).unwrap()).all(|issued| issued.epoch.0 == before.0 + 1)
    );
    assert_eq!(promoted(&site, sid), [Epoch(before.0 + 1)]);
}

#[test]
fn of_more_than_two_retiring_epochs_the_oldest_goes_at_once() {
    let (site, _, mut meters) = site(1);
    let mut desk = Desk::default();
    let graph = Graph::start(&site);
    desk.report(&graph, &mut meters);
    desk.until_heard(&graph, &mut meters);
    for campaign in 1..=3 {
        desk.tell(&graph, &meters[0], Class::Keys, &advance(campaign, 1));
        desk.until("the proof", &graph, &mut meters, |meters| {
            meters[0].receiver.campaign == campaign && meters[0].is_heard()
        });
    }
    // So it is in this run, and after a start.
    drop(graph.drain());
    let graph = Graph::start(&site);
    let journaled = graph.sum(JOURNALED, None);
    let retiring: Vec<_> = (0..3).map(|steps| frame_in(&meters[0].device, 0, steps, 30)).collect();
    desk.send(&graph, &retiring);
    wait_for("two of three", || {
        (graph.sum(JOURNALED, None) == journaled + 2 && graph.refused("SEC-UP-EPOCH") == 1).then_some(())
    });
    desk.report(&graph, &mut meters);
    desk.until_heard(&graph, &mut meters);
    drop(graph.drain());
}

#[test]
fn an_old_epoch_is_opened_for_72_hours_and_nothing_is_sealed_under_it() {
    let (site, files, meters) = site(2);
    // As a head-end left it that was off since: both were promoted, one 73 hours ago, the other 71.
    let log = Log::new(std::sync::Arc::new(files), site.state().join("journal"));
    let mut writer = Writer::open(log.files(), log.folder(), SETTINGS, log.durable()).unwrap();
    for (meter, hours) in meters.iter().zip([73, 71]) {
        let Device { sid, dev, epoch, .. } = meter.device;
        let epoch = epoch.next().unwrap();
        let at = now() - hours * 3600;
        let received = at * 1_000_000_000;
        let report = Report { sid, dev, epoch, origin: Origin::Report, seq: 0, iv: 0, received };
        let mut append = |kind: u8, octets: &[u8]| writer.append(kind, octets).unwrap();
        let octets = |write: &dyn Fn(&mut Vec<u8>)| {
            let mut octets = Vec::new();
            write(&mut octets);
            octets
        };
        append(record::ISSUED, &octets(&|out| Issued { sid, epoch, campaign: 1 }.write(out)));
        append(record::PROMOTED, &octets(&|out| Promoted { sid, epoch, at }.write(out)));
        append(record::REPORT, &[&report.head()[..], &plain()].concat());
    }
    writer.commit().unwrap();
    writer.close().unwrap();
    assert!((71 * 3600..73 * 3600).contains(&RETIRING_S));
    let graph = Graph::start(&site);
    let mut desk = Desk::default();
    for (slot, meter) in (0..).zip(&meters) {
        desk.send(&graph, &[frame_in(&meter.device, slot, 0, 30)]);
    }
    wait_for("one of two", || {
        (graph.sum(JOURNALED, None) == 1 && graph.refused("SEC-UP-EPOCH") == 1).then_some(())
    });
    // What answers it is of the new epoch.
    let (head, _) = desk.ledger.note(&graph.next_sent().1);
    assert_eq!((head.sid(), head.epoch_low), (meters[1].sid(), meters[1].epoch().low().wrapping_add(1)));
    drop(graph.drain());
    let late: Vec<_> = site.reports().into_iter().filter(|(report, _)| report.seq == 30).collect();
    assert_eq!((late.len(), late[0].0.sid), (1, meters[1].sid()));
}

/// Three meters over head-ends that are cut, one operation later each time.
struct World {
    site: Site,
    files: ForgetfulFiles,
    meters: Vec<Meter>,
    desk: Desk,
}

impl World {
    fn new() -> Self {
        let (site, files, mut meters) = site(3);
        let mut desk = Desk::default();
        let graph = Graph::start_with(&site, &wishes());
        desk.report(&graph, &mut meters);
        desk.until_heard(&graph, &mut meters);
        let sealed = desk.key(&graph, GID, Epoch(1), 1);
        desk.wait(&graph);
        desk.join(&graph, GID, &mut meters[..2]);
        desk.deliver(&graph, GID, (Epoch(1), 1, &sealed), &mut meters[..2]);
        drop(graph.drain());
        Self { site, files, meters, desk }
    }

    /// An ADVANCE to a group of two, and one of two steps to a third meter; the power goes, or the process,
    /// after so many operations. Answers whether all was done before.
    fn life(&mut self, campaign: u32, operations: u64, power: bool) -> bool {
        let Self { site, files, meters, desk } = self;
        let sids: Vec<u8> = meters[..2].iter().flat_map(|meter| meter.sid().0.to_be_bytes()).collect();
        let group = desk.sign(Addressee::Group(GID), Class::Keys, &advance(campaign, 1));
        let alone = desk.sign(Addressee::Device(meters[2].dev()), Class::Keys, &advance(campaign, 2));
        let wanted: Vec<u16> =
            meters.iter().zip([1, 1, 2]).map(|(meter, steps)| meter.epoch().0 + steps).collect();
        let done = |meters: &[Meter]| {
            meters.iter().zip(&wanted).all(|(meter, wanted)| meter.epoch().0 == *wanted && meter.is_heard())
        };
        let issue = Order::Issue { sids: &sids, campaign, delta: 1, challenge: [7; 8] };
        let tell = |graph: &Graph, desk: &mut Desk, sid: Sid| {
            desk.give(graph, &issue);
            // To the group only when all candidates are durable.
            let patience = Instant::now() + Duration::from_millis(100);
            while !desk.settle(graph) && Instant::now() < patience {
                std::thread::yield_now();
            }
            if desk.settle(graph) {
                desk.give(graph, &Order::Broadcast { gid: GID, signed: &group });
                desk.give(graph, &Order::Send { sid, signed: &alone });
            }
        };
        let sid = meters[2].sid();
        let graph = Graph::start_with(site, &wishes());
        files.stop_after(operations);
        desk.report(&graph, meters);
        let (mut seen, mut since) = (files.operations(), Instant::now());
        while !meters.iter().all(Meter::is_heard) && since.elapsed() < Duration::from_millis(60) {
            desk.hear(&graph, meters);
            std::thread::yield_now();
        }
        tell(&graph, desk, sid);
        // Until it is done, or nothing moves any more.
        while !done(meters) && since.elapsed() < Duration::from_millis(60) {
            desk.settle(&graph);
            desk.hear(&graph, meters);
            if files.operations() != seen {
                (seen, since) = (files.operations(), Instant::now());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        let finished = done(meters);
        let graph = graph.stop();
        desk.hear(&graph, meters);
        drop(graph);
        desk.forget();
        if power {
            files.cut(u64::from(campaign))
        } else {
            files.kill(u64::from(campaign))
        }
        let graph = Graph::start_with(site, &wishes());
        // Whatever the devices know by now, the head-end takes it.
        desk.report(&graph, meters);
        desk.until_heard(&graph, meters);
        let mut turn = 0;
        wait_for("the epochs of all", || {
            if turn % 300 == 0 {
                tell(&graph, desk, sid);
                desk.repeat(&graph, meters);
            }
            turn += 1;
            desk.settle(&graph);
            desk.hear(&graph, meters);
            done(meters).then_some(())
        });
        for place in 0..meters.len() {
            let ctr = desk.tell(&graph, &meters[place], Class::Read, &plain());
            desk.until("a command", &graph, meters, |meters| {
                meters[place].executed.last().is_some_and(|(_, last)| *last == ctr)
            });
        }
        desk.until_heard(&graph, meters);
        desk.forget();
        drop(graph.drain());
        finished
    }

    /// What the journal says of all lives.
    fn judge(&self) {
        let mut seen = std::collections::HashSet::new();
        for (report, _) in self.site.reports() {
            assert!(seen.insert((report.sid, report.epoch, report.seq)), "{report:?} twice");
        }
        for key in self.meters.iter().flat_map(|meter| &meter.acknowledged) {
            assert!(seen.contains(key), "{key:?} is acknowledged and gone");
        }
        for meter in &self.meters {
            let proven = promoted(&self.site, meter.sid());
            assert!(proven.is_sorted(), "{proven:?}");
            assert_eq!(proven.last(), Some(&meter.epoch()));
            // A frame to a group that it is not in is of no epoch that it knows.
            let bad = ["SEC-DN-AUTH", "SEC-DN-REPLAY", "SEC-DN-FORMAT", "SEC-DN-EPOCH"];
            let bad = &bad[..if meter.is_member(GID) { 4 } else { 3 }];
            let refused = meter.refused.iter().find(|code| bad.contains(&code.as_str()));
            assert_eq!(refused, None);
        }
    }
}

fn wishes() -> Wishes {
    Wishes { settings: vec![("keys", "apply_s", 1.into())], ..Wishes::default() }
}

fn cut_everywhere(power: bool) {
    let mut world = World::new();
    let mut campaign = 0;
    loop {
        campaign += 1;
        if world.life(campaign, u64::from(campaign), power) {
            break;
        }
        assert!(campaign < 120, "it does not come to its end");
    }
    assert!(campaign > 8, "only {campaign} operations");
    world.judge();
}

#[test]
fn an_advance_survives_the_power_at_every_durable_step() {
    cut_everywhere(true);
}

#[test]
fn an_advance_survives_the_end_of_the_process_at_every_durable_step() {
    cut_everywhere(false);
}
