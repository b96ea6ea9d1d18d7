//! Disks that are full, syncs that fail, panics: nothing acknowledged is lost, nothing is delivered twice,
//! and every frame is counted.
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

use common::device::plain;
use common::fleet::Fleet;
use common::graph::{Graph, Wishes};
use common::site::Site;
use common::wait_for;
use journal::files::ForgetfulFiles;
use node::NodeState;

const JOURNALED: &str = "metergraph_frames_journaled_total";
const DROPPED: &str = "metergraph_frames_dropped_total";
const DUPLICATE: &str = "metergraph_frames_duplicate_total";

/// A graph whose start is behind it.
fn started(site: &Site, wishes: &Wishes) -> Graph {
    let graph = Graph::start_with(site, wishes);
    wait_for("a checkpoint of each shard", || {
        let shards = (0..wishes.shards).map(|shard| format!("windows-{shard}-of-{}", wishes.shards));
        shards.into_iter().all(|name| graph.log().has_mark(&name)).then_some(())
    });
    graph
}

#[test]
fn a_failed_commit_gives_the_window_back_and_the_repeat_is_accepted() {
    let (site, files) = Site::forgetful(1, 0);
    let graph = started(&site, &Wishes::default());
    let device = &site.devices[0];
    graph.send(1, &[device.report(1, &plain())]);
    graph.next_sent();
    // The commit's sync fails, voiding its place succeeds.
    files.fail_syncs(1);
    graph.send(1, &[device.report(2, &plain())]);
    wait_for("the failure", || (graph.sum(DROPPED, Some(("where", "journal-write"))) == 1).then_some(()));
    assert_eq!(graph.event("journal-write").severity, node::Severity::Alarm);
    assert!(graph.sent().is_empty(), "nothing is acknowledged");
    graph.send(1, &[device.report(2, &plain())]);
    let (_, ack) = device.open(&graph.next_sent().1).unwrap();
    assert_eq!((ack.highest, ack.bitmap), (2, 1));
    assert_eq!(graph.status("decrypt").starts(), 1, "the shard knows what became of it");
    let graph = graph.drain();
    assert_eq!((graph.account(), graph.sum(DUPLICATE, None)), ((3, 3), 0));
    assert_eq!(site.reports().len(), 2);
}

#[test]
fn a_commit_of_which_nothing_is_known_is_delivered_once_whatever_came_of_it() {
    for syncs in [2, 3, 5] {
        let (site, files) = Site::forgetful(2, 0);
        let graph = started(&site, &Wishes::default());
        let device = &site.devices[0];
        graph.send(1, &[device.report(1, &plain())]);
        graph.next_sent();
        // The commit fails, voiding its place too, perhaps also opening the log again.
        files.fail_syncs(syncs);
        graph.send(1, &[device.report(2, &plain()), site.devices[1].report(9, &plain())]);
        wait_for("the shard's new start", || (graph.status("decrypt").starts() > 1).then_some(()));
        wait_for("the acknowledgement", || {
            // Sent again and again: fresh, or known to be durable.
            graph.send(1, &[device.report(2, &plain())]);
            std::thread::sleep(Duration::from_millis(20));
            let acks = graph.sent().into_iter().filter_map(|(_, apdu)| device.open(&apdu));
            acks.into_iter().find(|(_, ack)| ack.covers(2)).map(drop)
        });
        let graph = graph.drain();
        let (received, ends) = graph.account();
        assert_eq!(received, ends, "{syncs} syncs");
        let seqs: Vec<u32> = site.reports().iter().map(|(report, _)| report.seq).collect();
        assert_eq!(seqs.iter().filter(|seq| **seq == 2).count(), 1, "{syncs} syncs: {seqs:?}");
        assert!(seqs.iter().filter(|seq| **seq == 9).count() <= 1, "{syncs} syncs: {seqs:?}");
    }
}

#[test]
fn a_shard_waits_for_the_log_to_be_opened_again_before_it_believes_it() {
    let (site, files, gate) = Site::gated(1, 0);
    let graph = started(&site, &Wishes::default());
    let device = &site.devices[0];
    graph.send(1, &[device.report(1, &plain())]);
    graph.next_sent();
    // The sync fails, its place cannot be voided, and opening the log again takes long: it then finds the
    // commit whole, in one page.
    gate.hold_after(1, ".segment");
    files.fail_syncs(1);
    files.fail_write_after(4096);
    graph.send(1, &[device.report(2, &plain())]);
    wait_for("the shard's new start", || (graph.status("decrypt").starts() > 1).then_some(()));
    graph.send(1, &[device.report(2, &plain())]);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(graph.sum(DUPLICATE, None), 0, "it does not know yet");
    gate.open();
    let (_, ack) = device.open(&graph.next_sent().1).unwrap();
    assert!(ack.covers(2));
    let graph = graph.drain();
    let (received, ends) = graph.account();
    assert_eq!((received, ends, graph.sum(DUPLICATE, None)), (3, 3, 1));
    assert_eq!(site.reports().len(), 2);
}

#[test]
fn a_batch_over_the_limit_of_a_commit_is_written_in_parts() {
    for failing in [false, true] {
        let (site, files, gate) = Site::gated(60, 0);
        let graph = started(
            &site,
            &Wishes { settings: vec![("journal", "segment_mib", 1.into())], ..Wishes::default() },
        );
        let long = vec![0x80; 600];
        let reports: Vec<Vec<u8>> = (0..32)
            .flat_map(|seq| site.devices.iter().map(move |device| (device, seq)))
            .map(|(device, seq)| device.report(seq, &long))
            .collect();
        gate.hold_after(1, ".segment");
        graph.send(1, &reports);
        // The first part is durable, the second is on its way.
        wait_for("the first part", || (graph.sum(JOURNALED, None) > 0).then_some(()));
        std::thread::sleep(Duration::from_millis(20));
        assert!(graph.sent().is_empty(), "a batch is acknowledged whole");
        files.fail_syncs(if failing { 2 } else { 0 });
        gate.open();
        let mut sent = reports.len() as u64;
        if failing {
            wait_for("the shard's new start", || (graph.status("decrypt").starts() > 1).then_some(()));
            graph.send(1, &reports);
            sent *= 2;
        }
        wait_for("acknowledgements", || {
            let heard: Vec<_> = graph.sent();
            let done = |device: &common::device::Device| {
                heard.iter().any(|(_, apdu)| device.open(apdu).is_some_and(|(_, ack)| ack.highest == 31))
            };
            (heard.len() >= 60 && site.devices.iter().all(done)).then_some(())
        });
        let graph = graph.drain();
        assert_eq!(graph.account(), (sent, sent), "failing: {failing}");
        assert_eq!(site.reports().len(), reports.len(), "failing: {failing}");
        assert_eq!(graph.sum(DUPLICATE, None) > 0, failing);
    }
}

#[test]
fn a_full_disk_holds_everything_up_until_there_is_room() {
    let (site, files) = Site::forgetful(40, 0);
    let settings = vec![("journal", "segment_mib", 1.into())];
    let wishes = Wishes { settings, batches_max: 2, ..Wishes::default() };
    let graph = started(&site, &wishes);
    let mut fleet = Fleet::of(&site);
    fleet.report(&site, &graph, 1);
    fleet.finish(&site, &graph);
    files.set_space(Some(0));
    // More than a segment holds, from devices that have more to say than they are answered.
    let full = std::thread::scope(|scope| {
        let fleet = &mut fleet;
        let feeding = scope.spawn(|| {
            for _ in 0..300 {
                fleet.report(&site, &graph, 1);
                fleet.hear(&site, &graph);
            }
        });
        wait_for("the stall", || (graph.status("journal").state() == NodeState::Stalled).then_some(()));
        let full = graph.status("journal").note();
        let event = graph.event("disk-full");
        assert_eq!(event.severity, node::Severity::Alarm);
        // Everything waits: the transport is not read any more.
        let journaled = graph.sum(JOURNALED, None);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(graph.sum(JOURNALED, None), journaled);
        assert_eq!(graph.sum(DROPPED, None), 0, "frames wait");
        files.set_space(None);
        feeding.join().unwrap();
        full
    });
    assert!(full.contains("full"), "{full}");
    fleet.finish(&site, &graph);
    assert_eq!(graph.status("journal").state(), NodeState::Running);
    assert_eq!((graph.status("decrypt").starts(), graph.status("journal").starts()), (1, 1));
    let graph = graph.drain();
    assert_eq!(graph.account(), (fleet.sent, fleet.sent));
    assert_eq!(graph.sum(DROPPED, None), 0);
    fleet.judge(&site, false);
}

#[test]
fn a_disk_that_stays_full_ends_with_everything_counted() {
    let (site, files) = Site::forgetful(40, 0);
    let settings = vec![("journal", "segment_mib", 1.into())];
    let graph = started(&site, &Wishes { settings, batches_max: 2, ..Wishes::default() });
    let mut fleet = Fleet::of(&site);
    files.set_space(Some(0));
    for _ in 0..400 {
        if graph.status("journal").state() == NodeState::Stalled {
            break;
        }
        fleet.report(&site, &graph, 1);
        fleet.hear(&site, &graph);
    }
    wait_for("the stall", || (graph.status("journal").state() == NodeState::Stalled).then_some(()));
    let graph = graph.stop();
    let (received, ends) = graph.account();
    assert_eq!(received, ends);
    assert!(graph.sum(DROPPED, None) > 0);
    fleet.hear(&site, &graph);
    files.set_space(None);
    // What was acknowledged is there; the rest is repeated to the next one.
    fleet.judge(&site, false);
    let graph = Graph::start(&site);
    fleet.finish(&site, &graph);
    graph.drain();
    fleet.judge(&site, false);
}

#[test]
fn at_its_size_limit_the_journal_waits_for_marks_that_then_move() {
    let (site, _) = Site::forgetful(50, 0);
    // Checkpoints of shards and gaps would come after 256 and 64 MiB, files after a minute.
    let settings = vec![("journal", "segment_mib", 1.into()), ("journal", "size_max_mib", 2.into())];
    let wishes = Wishes { shards: 2, mdm: true, settings, ..Wishes::default() };
    let graph = started(&site, &wishes);
    let mut fleet = Fleet::of(&site);
    let rounds = 500;
    for _ in 0..rounds {
        let before = fleet.sent;
        wait_for("room in the device", || {
            fleet.hear(&site, &graph);
            fleet.report(&site, &graph, 1);
            (fleet.sent > before).then_some(())
        });
    }
    fleet.finish(&site, &graph);
    assert!(graph.events().iter().any(|event| event.reason.0 == "journal-full"), "it came to its limit");
    assert!(graph.sum("metergraph_journal_bytes", None) <= 3 << 20);
    let graph = graph.drain();
    assert_eq!(graph.account(), (fleet.sent, fleet.sent));
    // The journal's beginning is gone; the files have everything once.
    let exported = site.exported();
    let each = exported.iter().collect::<std::collections::HashSet<_>>().len();
    assert_eq!((each, exported.len()), (fleet.acknowledged(), 6 * fleet.acknowledged()));
}

#[test]
fn nothing_that_a_reader_needs_is_deleted_at_the_size_limit() {
    let (site, _, gate) = Site::gated(50, 0);
    let settings = vec![("journal", "segment_mib", 1.into()), ("journal", "size_max_mib", 2.into())];
    let graph = started(&site, &Wishes { mdm: true, settings, ..Wishes::default() });
    let mut fleet = Fleet::of(&site);
    // The folder of the exports takes nothing.
    gate.hold("mdm/");
    let stalled = || graph.status("journal").state() == NodeState::Stalled;
    std::thread::scope(|scope| {
        let fleet = &mut fleet;
        let feeding = scope.spawn(|| {
            let until = Instant::now() + Duration::from_secs(15);
            while !stalled() && Instant::now() < until {
                fleet.report(&site, &graph, 1);
                fleet.hear(&site, &graph);
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        wait_for("the stall", || stalled().then_some(()));
        assert!(graph.status("journal").note().contains("full"));
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(graph.log().first().unwrap().0, 0, "all of it is there");
        gate.open();
        feeding.join().unwrap();
    });
    fleet.finish(&site, &graph);
    let graph = graph.drain();
    assert_eq!(graph.account(), (fleet.sent, fleet.sent));
    let exported = site.exported();
    assert_eq!(exported.len(), 6 * fleet.acknowledged());
}

#[test]
fn a_full_disk_under_the_checkpoints_does_no_harm() {
    let (site, files) = Site::forgetful(20, 0);
    let graph = started(&site, &Wishes::default());
    let mut fleet = Fleet::of(&site);
    fleet.report(&site, &graph, 1);
    fleet.finish(&site, &graph);
    files.set_space(Some(0));
    graph.restart("decrypt", 0);
    fleet.report(&site, &graph, 1);
    fleet.finish(&site, &graph);
    assert_eq!(graph.event("checkpoint-failed").severity, node::Severity::Alarm);
    assert_eq!(graph.status("decrypt").starts(), 2, "it goes on without");
    files.set_space(None);
    graph.drain();
    fleet.judge(&site, false);
}

/// Everything in flight, and a panic at the next sync of a file with this name.
fn panics(name: &'static str, shards: usize, checkpoint: i64) {
    let (site, _, gate) = Site::gated(30, 0);
    let settings = vec![("decrypt", "checkpoint_mib", checkpoint.into())];
    let graph = started(&site, &Wishes { shards, settings, ..Wishes::default() });
    let mut fleet = Fleet::of(&site);
    for round in 0..40 {
        if round == 10 || round == 20 {
            gate.panic_at(name);
        }
        fleet.report(&site, &graph, 1);
        fleet.hear(&site, &graph);
    }
    fleet.finish(&site, &graph);
    assert!(graph.sum("metergraph_restarts_total", None) >= 1, "{name}: nothing panicked");
    let graph = graph.drain();
    assert_eq!(graph.account(), (fleet.sent, fleet.sent), "{name}");
    fleet.judge(&site, false);
}

#[test]
fn a_panic_in_the_middle_of_a_commit_loses_nothing() {
    panics(".segment", 2, 256);
}

#[test]
fn a_panic_of_a_shard_loses_nothing() {
    panics("windows-0", 2, 0);
}

/// A file layer of its own under everything is what makes these tests fast; it is the same for the store.
#[test]
fn the_file_layer_is_brought_by_the_program() {
    let (site, files): (Site, ForgetfulFiles) = Site::forgetful(1, 0);
    let graph = started(&site, &Wishes { mdm: true, ..Wishes::default() });
    graph.send(1, &[site.devices[0].report(1, &plain())]);
    graph.next_sent();
    graph.drain();
    assert!(files.operations() > 0);
    for folder in ["journal", "mdm"] {
        assert!(!common::graph::stands(&site, folder), "{folder} is on the disk of the test");
    }
}
