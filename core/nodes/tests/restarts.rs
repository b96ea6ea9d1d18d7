//! Nodes that end and start anew in the middle of a stream, head-ends that stop and come back with other
//! settings: windows and counters go on, nothing is lost, nothing is delivered twice.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::collections::HashSet;
use std::sync::Arc;

use common::device::{Device, carry, layout, plain};
use common::egress::SETTINGS;
use common::fleet::Fleet;
use common::graph::{Graph, Wishes};
use common::site::Site;
use common::{Random, wait_for};
use journal::Writer;
use metergraph_nodes::journal::Log;
use metergraph_nodes::record::{self, Record, Reservation};
use seal::frame::{FrameType, HEAD_LEN};
use seal::ids::Sid;

/// Runs a stream and restarts a node at some of its rounds.
fn restarted(nodes: &[(&str, usize)], shards: usize, seed: u64) {
    let mut random = Random(seed);
    let (site, _) = Site::forgetful(25, 0);
    let graph = Graph::start_with(&site, &Wishes { shards, batches_max: 4, ..Wishes::default() });
    let mut fleet = Fleet::of(&site);
    for round in 0..60 {
        fleet.report(&site, &graph, 1);
        if round % 7 == 3 {
            let (node, number) = nodes[random.below(nodes.len() as u64) as usize];
            graph.restart(node, number);
        }
        fleet.hear(&site, &graph);
        if random.below(10) == 0 {
            fleet.repeat(&graph, 2);
        }
    }
    fleet.finish(&site, &graph);
    let restarts = graph.sum("metergraph_restarts_total", None);
    assert!(restarts >= 5, "{restarts} restarts");
    let graph = graph.drain();
    assert_eq!(graph.account(), (fleet.sent, fleet.sent), "{nodes:?}, seed {seed}");
    fleet.judge(&site, false);
}

#[test]
fn a_shard_that_starts_anew_rebuilds_its_windows() {
    restarted(&[("decrypt", 0), ("decrypt", 1)], 2, 1);
}

#[test]
fn a_journal_that_starts_anew_goes_on() {
    restarted(&[("journal", 0)], 2, 2);
}

#[test]
fn every_node_may_start_anew() {
    for seed in 3..6 {
        let nodes = [
            ("ingress", 0),
            ("balancer", 0),
            ("decrypt", 0),
            ("decrypt", 2),
            ("journal", 0),
            ("downlink", 0),
        ];
        restarted(&nodes, 3, seed);
    }
}

#[test]
fn a_stop_in_the_middle_counts_every_frame() {
    for seed in 0..8 {
        let mut random = Random(seed);
        let (site, _, gate) = Site::gated(25, 0);
        let graph = Graph::start_with(&site, &Wishes { shards: 2, batches_max: 1, ..Wishes::default() });
        let mut fleet = Fleet::of(&site);
        fleet.report(&site, &graph, 1);
        fleet.finish(&site, &graph);
        // Among them some that each node refuses, and repeats.
        let mut forged = site.devices[3].frame(FrameType::Report, 900, &plain());
        forged[12] ^= 1;
        let mut stranger = forged.clone();
        stranger[2] ^= 1;
        let others = [
            site.devices[3].carry(&forged),
            site.devices[3].carry(&stranger),
            b"no APDU".to_vec(),
            carry(None, &[0x18, 1, 2]),
            site.devices[0].report(0, &site.devices[0].readings(&layout(), 0)),
        ];
        // Queues fill up behind a commit that takes long; every worker waits for room in the next edge.
        gate.close();
        for round in 0..8 + random.below(4) {
            if graph.received.waiting() == graph.received.batches_max() {
                break;
            }
            fleet.report_among(&site, &graph, u32::try_from(round).unwrap(), &others);
            std::thread::sleep(std::time::Duration::from_millis(random.below(4)));
        }
        // The commit ends when the word to stop is out.
        let graph = std::thread::scope(|scope| {
            let stopping = scope.spawn(|| graph.stop());
            std::thread::sleep(std::time::Duration::from_millis(20));
            gate.open();
            stopping.join().unwrap()
        });
        let (received, ends) = graph.account();
        assert_eq!(received, ends, "seed {seed}");
        assert!(received > 25, "seed {seed}");
        fleet.hear(&site, &graph);
        fleet.judge(&site, false);
    }
}

#[test]
fn a_kill_and_a_new_life_again_and_again() {
    let (site, _) = Site::forgetful(20, 0);
    let mut fleet = Fleet::of(&site);
    for life in 0..12 {
        // Other numbers of shards find their windows too.
        let shards = [1, 3, 2][life % 3];
        let graph = Graph::start_with(&site, &Wishes { shards, ..Wishes::default() });
        if life > 0 {
            fleet.repeat(&graph, 5);
        }
        for _ in 0..10 {
            fleet.report(&site, &graph, 1);
            fleet.hear(&site, &graph);
        }
        let graph = graph.stop();
        fleet.hear(&site, &graph);
    }
    let graph = Graph::start(&site);
    fleet.finish(&site, &graph);
    graph.drain();
    fleet.judge(&site, false);
}

#[test]
fn windows_and_counters_survive_another_number_of_shards() {
    let (site, files) = Site::forgetful(40, 0);
    let mut used: HashSet<(Sid, u32)> = HashSet::new();
    let mut next = 100;
    for (life, shards) in [1, 3, 2, 5, 5, 1].into_iter().enumerate() {
        let graph = Graph::start_with(&site, &Wishes { shards, ..Wishes::default() });
        let ack = |apdus: &[Vec<u8>], link: u32, used: &mut HashSet<(Sid, u32)>| {
            graph.send(link, apdus);
            let mut heard = 0;
            wait_for("acknowledgements", || {
                for (_, apdu) in graph.sent() {
                    let (head, _) = site.devices.iter().find_map(|device| device.open(&apdu)).unwrap();
                    assert!(used.insert((head.sid(), head.seq)), "a counter came twice");
                    heard += 1;
                }
                (heard == apdus.len()).then_some(())
            });
        };
        if life > 0 {
            // The last of the life before is a repeat; 64 below it nobody knows.
            let last: Vec<_> = site.devices.iter().map(|device| device.report(next - 1, &plain())).collect();
            ack(&last, 1, &mut used);
            assert_eq!(graph.sum("metergraph_frames_duplicate_total", None), 40);
            let below: Vec<_> =
                site.devices.iter().map(|device| device.report(next - 1 - 64, &plain())).collect();
            graph.send(1, &below);
            wait_for("refusals", || (graph.refused("SEC-UP-REPLAY") == 40).then_some(()));
        }
        for _ in 0..3 {
            let fresh: Vec<_> = site.devices.iter().map(|device| device.report(next, &plain())).collect();
            ack(&fresh, 1, &mut used);
            next += 1;
        }
        // In good order, killed, cut.
        match life % 3 {
            0 => drop(graph.drain()),
            1 => graph.kill(),
            _ => {
                graph.kill();
                files.cut(life as u64);
            }
        }
        let names = journal::files::Files::list(&files, &site.state().join("journal/checkpoints")).unwrap();
        let of_others = names.iter().filter(|name| !name.ends_with(&format!("-of-{shards}")));
        // A removal that was not synced may come undone at a cut: it is only more to read.
        assert!(life % 3 == 2 || of_others.count() == 0, "{names:?}");
    }
    assert_eq!(site.reports().len(), 6 * 3 * 40);
}

#[test]
fn no_counter_of_an_acknowledgement_comes_again() {
    let (site, files) = Site::forgetful(1, 0);
    let device = &site.devices[0];
    let mut used: HashSet<u32> = HashSet::new();
    let mut seq = 0;
    for life in 0..10_u64 {
        let graph = Graph::start(&site);
        // Over the end of a block in some lives.
        for _ in 0..[1, 70, 5, 49][life as usize % 4] {
            graph.send(1, &[device.report(seq, &plain())]);
            let (head, ack) = device.open(&graph.next_sent().1).unwrap();
            assert!(used.insert(head.seq), "life {life}: {} again", head.seq);
            assert_eq!(ack.highest, seq);
            seq += 1;
        }
        graph.kill();
        files.cut(life);
    }
    // Each block is reserved before it is used.
    let floors: Vec<u32> = site.reservations().iter().map(|reserved| reserved.floor).collect();
    assert!(floors.windows(2).all(|pair| pair[0] < pair[1]) && used.iter().max() < floors.last());
}

#[test]
fn a_day_has_so_many_blocks_whatever_starts_anew() {
    const BLOCKS: u32 = 1024;
    let (site, files) = Site::forgetful(1, 0);
    let Device { sid, epoch, .. } = site.devices[0];
    let device = &site.devices[0];
    // A clock that ran ahead has all but one of a later day, and is set back.
    let day = (common::meter::now() / 86_400) as u16 + 2;
    let log = Log::new(Arc::new(files.clone()), site.state().join("journal"));
    let mut writer = Writer::open(log.files(), log.folder(), SETTINGS, log.durable()).unwrap();
    for block in 1..BLOCKS {
        let mut octets = Vec::new();
        Reservation { sid, epoch, floor: block * 64, day }.write(&mut octets);
        writer.append(record::RESERVATION, &octets).unwrap();
    }
    writer.commit().unwrap();
    writer.close().unwrap();

    let graph = Graph::start(&site);
    graph.send(1, &[device.report(0, &plain())]);
    let (head, _) = device.open(&graph.next_sent().1).unwrap();
    assert!(head.seq >= (BLOCKS - 1) * 64, "the last block of the day");
    drop(graph.drain());
    assert_eq!(site.reservations().last().unwrap().day, day, "the day only rises");
    // From the checkpoint, and after a cut from there and the journal.
    for (life, cut) in [(1, false), (2, true), (3, false)] {
        let graph = Graph::start(&site);
        graph.send(1, &[device.report(life, &plain())]);
        wait_for("the refusal", || {
            graph.events().iter().any(|event| event.reason.0 == "SEC-SEQ").then_some(())
        });
        if cut {
            graph.kill();
            files.cut(u64::from(life));
        } else {
            assert!(graph.drain().sent().is_empty(), "nothing is sealed");
        }
    }
    assert_eq!(site.reservations().len(), BLOCKS as usize);
}

#[test]
fn frames_of_types_that_devices_do_not_send_are_refused_whatever_their_tag() {
    let site = Site::new(1, 0);
    let graph = Graph::start(&site);
    let device = &site.devices[0];
    for frame_type in [FrameType::Command, FrameType::GroupCommand, FrameType::DownControl] {
        let frame = device.frame(frame_type, 1, &plain());
        assert_eq!(frame[0], frame_type.octet());
        assert!(frame.len() > HEAD_LEN);
        graph.send(1, &[device.carry(&frame)]);
    }
    graph.settle(3);
    assert_eq!(graph.refused("SEC-FORMAT"), 3);
    graph.drain();
}
