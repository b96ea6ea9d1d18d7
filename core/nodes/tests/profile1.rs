//! Reports of profile 1: accepted, journaled, acknowledged when durable; repeats, refusals, events.
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

use common::device::{carry, plain};
use common::graph::Graph;
use common::site::Site;
use common::wait_for;
use metergraph_nodes::record::Origin;
use node::{Severity, Source};
use seal::control::{Item, Up};
use seal::frame::FrameType;
use seal::ids::Sid;

const JOURNALED: &str = "metergraph_frames_journaled_total";
const DUPLICATE: &str = "metergraph_frames_duplicate_total";

#[test]
fn a_report_is_acknowledged_when_it_is_durable_and_not_before() {
    let (site, _, gate) = Site::gated(3, 0);
    let graph = Graph::start(&site);
    let device = &site.devices[1];
    // What a start writes is through.
    graph.send(9, &[device.report(69, &plain())]);
    graph.next_sent();
    gate.close();
    graph.send(9, &[device.report(70, &plain())]);
    std::thread::sleep(Duration::from_millis(100));
    assert!(graph.sent().is_empty(), "acknowledged before the sync");
    assert_eq!(graph.sum(JOURNALED, None), 1);
    gate.open();
    let (link, apdu) = graph.next_sent();
    let (head, ack) = device.open(&apdu).unwrap();
    assert_eq!((link, head.seq, ack.highest, ack.bitmap), (9, 1, 70, 1));
    let graph = graph.drain();
    assert_eq!(graph.account(), (2, 2));
    let reports = site.reports();
    assert_eq!((reports.len(), reports[1].0.seq, &reports[1].1), (2, 70, &plain()));
    assert!(reports.iter().all(|(report, _)| report.origin == Origin::Report && report.dev == device.dev));
}

#[test]
fn many_reports_of_one_device_are_one_acknowledgement() {
    let (site, _, gate) = Site::gated(1, 0);
    let graph = Graph::start(&site);
    let device = &site.devices[0];
    graph.send(1, &[device.report(0, &plain())]);
    graph.next_sent();
    gate.close();
    graph.send(1, &[device.report(1, &plain())]);
    // These wait for the first one's commit and go with the next.
    let more: Vec<Vec<u8>> = (2..40).map(|seq| device.report(seq, &plain())).collect();
    for pair in more.chunks(2) {
        graph.send(1, pair);
    }
    let all = 2 + more.chunks(2).len() as u64;
    wait_for("all of them to be on their way to the journal", || {
        (graph.records.pushed() >= all).then_some(())
    });
    gate.open();
    wait_for("an acknowledgement of all", || {
        let acks = graph.sent().into_iter().map(|(_, apdu)| device.open(&apdu).unwrap().1);
        acks.into_iter().find(|ack| (0..40).all(|seq| ack.covers(seq)))
    });
    let graph = graph.drain();
    assert!(graph.sum("metergraph_acknowledgements_total", None) < 10);
}

#[test]
fn a_repeat_is_acknowledged_again_at_most_once_a_second_and_only_when_durable() {
    let (site, _, gate) = Site::gated(1, 0);
    let graph = Graph::start(&site);
    let device = &site.devices[0];
    graph.send(1, &[device.report(4, &plain())]);
    graph.next_sent();

    gate.close();
    let report = device.report(5, &plain());
    for _ in 0..3 {
        graph.send(1, std::slice::from_ref(&report));
    }
    wait_for("the repeats", || (graph.sum(DUPLICATE, None) == 2).then_some(()));
    assert!(graph.sent().is_empty());
    gate.open();
    graph.next_sent();

    let since = Instant::now();
    let mut acks = 0;
    for _ in 0..60 {
        graph.send(7, std::slice::from_ref(&report));
        std::thread::sleep(Duration::from_millis(20));
        for (link, apdu) in graph.sent() {
            acks += 1;
            // The repeat shows where the answer can be heard, not where the device is.
            assert_eq!((link, device.open(&apdu).unwrap().1.highest), (7, 5));
        }
    }
    let seconds = since.elapsed().as_secs();
    assert!((1..=seconds + 1).contains(&acks), "{acks} acknowledgements in {seconds} s");
    // A fresh report from elsewhere is acknowledged there.
    graph.send(8, &[device.report(6, &plain())]);
    assert_eq!(graph.next_sent().0, 8);
    graph.send(8, &[report]);
    let graph = graph.drain();
    assert_eq!(graph.account(), (66, 66));
    assert_eq!(site.reports().len(), 3);
}

#[test]
fn a_repeat_after_a_restart_is_answered_where_it_comes_from() {
    let site = Site::new(1, 0);
    let device = &site.devices[0];
    let report = device.report(5, &plain());
    let graph = Graph::start(&site);
    graph.send(1, std::slice::from_ref(&report));
    graph.next_sent();
    graph.drain();
    let graph = Graph::start(&site);
    graph.send(3, &[report]);
    let (link, apdu) = graph.next_sent();
    let (head, ack) = device.open(&apdu).unwrap();
    assert_eq!((link, ack.highest), (3, 5));
    assert_eq!(head.seq, 64, "counters go on behind the reserved block");
    graph.drain();
    assert_eq!(site.reports().len(), 1);
}

#[test]
fn each_refusal_has_its_name() {
    let site = Site::new(4, 0);
    let graph = Graph::start(&site);
    let device = &site.devices[2];
    graph.send(1, &[device.report(200, &plain())]);
    graph.next_sent();

    let good = device.frame(FrameType::Report, 201, &plain());
    let spoilt = |at: usize, octet: u8| {
        let mut frame = good.clone();
        frame[at] = octet;
        device.carry_any(&frame)
    };
    let stranger = Sid(0x00ff_0000).0.to_be_bytes();
    let mut strange = good.clone();
    strange[1..5].copy_from_slice(&stranger);
    let cases = [
        ("SEC-UP-UNKNOWN", device.carry(&strange)),
        // Another generation of its slot.
        ("SEC-UP-UNKNOWN", spoilt(1, 0x01)),
        // A neighbour's association.
        ("SEC-UP-EPOCH", spoilt(4, 0x01)),
        ("SEC-UP-EPOCH", spoilt(5, device.epoch.low().wrapping_add(1))),
        ("SEC-UP-REPLAY", device.report(200 - 64, &plain())),
        ("SEC-UP-AUTH", spoilt(8, 202)),
        ("SEC-UP-AUTH", spoilt(good.len() - 1, good[good.len() - 1] ^ 1)),
        ("SEC-UP-AUTH", spoilt(12, good[12] ^ 0x80)),
        ("SEC-FORMAT", spoilt(0, 0x12)),
        ("SEC-FORMAT", spoilt(0, 0x21)),
        ("no-registrar", carry(Some(&device.title), &[0x18, 3, 2])),
    ];
    for (place, (reason, apdu)) in cases.iter().enumerate() {
        let before = graph.refused(reason);
        graph.send(1, std::slice::from_ref(apdu));
        wait_for(&format!("{reason}, case {place}"), || (graph.refused(reason) == before + 1).then_some(()));
        if *reason != "SEC-FORMAT" {
            let event = graph.event(reason);
            assert_eq!(event.severity, Severity::Warning);
        }
        // Refused at one time, events are told together: let the record end.
        graph.events();
    }
    assert!(graph.sent().is_empty(), "nothing is sent back");
    // The window was moved by none of them.
    graph.send(1, &[device.carry(&good), device.report(201 - 63, &plain())]);
    graph.next_sent();
    let graph = graph.drain();
    assert_eq!(graph.account(), (14, 14));
    assert_eq!(site.reports().len(), 3);
}

#[test]
fn any_flipped_bit_is_refused() {
    let site = Site::new(1, 0);
    let graph = Graph::start(&site);
    let device = &site.devices[0];
    let frame = device.frame(FrameType::Report, 7, &plain());
    // Each over a link of its own, or the first 256 would be all.
    for bit in 0..frame.len() * 8 {
        let mut frame = frame.clone();
        frame[bit / 8] ^= 0x80 >> (bit % 8);
        graph.send(u32::try_from(bit).unwrap(), &[device.carry_any(&frame)]);
    }
    let bits = frame.len() as u64 * 8;
    graph.settle(bits);
    assert_eq!(graph.sum("metergraph_frames_refused_total", None), bits);
    graph.send(1, &[device.carry(&frame)]);
    graph.next_sent();
    graph.drain();
    assert_eq!(site.reports().len(), 1);
}

#[test]
fn what_is_no_epsem_is_kept_raw_acknowledged_and_alarmed() {
    let site = Site::new(1, 0);
    let graph = Graph::start(&site);
    let device = &site.devices[0];
    let mut sealed_inside = plain();
    sealed_inside[0] |= 0x08;
    let mut dirty = plain();
    dirty.extend([0, 1]);
    let cases = [b"".to_vec(), vec![0x80, 9, 1], sealed_inside, dirty];
    for (seq, body) in cases.iter().enumerate() {
        graph.send(1, &[device.report(u32::try_from(seq).unwrap(), body)]);
        let (_, ack) = device.open(&graph.next_sent().1).unwrap();
        assert_eq!(ack.highest as usize, seq);
    }
    graph.send(1, &[device.carry(&device.frame(FrameType::UpControl, 9, &[3, 1]))]);
    graph.next_sent();
    let event = graph.event("SEC-UP-BODY");
    assert_eq!((event.severity, event.source), (Severity::Alarm, Source::Association(device.sid.0)));
    graph.drain();
    let reports = site.reports();
    assert!(reports.iter().all(|(report, _)| report.origin == Origin::Raw));
    let bodies: Vec<Vec<u8>> = reports.into_iter().map(|(_, body)| body).collect();
    assert_eq!((&bodies[..4], &bodies[4]), (&cases[..], &vec![3, 1]));
}

#[test]
fn an_event_of_the_device_is_an_event_here() {
    let site = Site::new(1, 0);
    let graph = Graph::start(&site);
    let device = &site.devices[0];
    let mut body = Vec::new();
    Up::TimeRequest { nonce: &[1; 8] }.write(&mut body);
    Up::Event { number: 0x8005, time: 1_800_000_000, data: b"x" }.write(&mut body);
    graph.send(1, &[device.carry(&device.frame(FrameType::UpControl, 3, &body))]);
    graph.next_sent();
    let event = graph.event("device-event");
    assert_eq!((event.severity, event.source), (Severity::Info, Source::Association(device.sid.0)));
    assert!(event.detail.contains("manufacturer event 5"), "{}", event.detail);
    graph.drain();
    assert_eq!(site.reports()[0].0.origin, Origin::Control);
}

#[test]
fn over_256_refusals_a_minute_throttle_that_pair_only() {
    let site = Site::new(3, 0);
    let graph = Graph::start(&site);
    let (bad, other) = (&site.devices[0], &site.devices[1]);
    let mut forged = bad.frame(FrameType::Report, 1, &plain());
    forged[11] ^= 1;
    let forged = bad.carry(&forged);
    for batch in 1..=4 {
        graph.send(5, &vec![forged.clone(); 75]);
        // The balancer learns of it from the shard.
        graph.settle(75 * batch);
    }
    let auth = graph.refused("SEC-UP-AUTH");
    assert!((257..=300).contains(&auth), "{auth} tried");
    graph.send(5, &[bad.report(1, &plain()), other.report(1, &plain())]);
    graph.send(6, &[bad.report(2, &plain())]);
    graph.settle(303);
    assert_eq!(graph.refused("SEC-UP-LIMIT"), 300 - auth + 1);
    assert_eq!(graph.refused("SEC-UP-AUTH"), auth);
    assert_eq!(graph.event("SEC-UP-LIMIT").source, Source::Association(bad.sid.0));
    let graph = graph.drain();
    assert_eq!(graph.account(), (303, 303));
    let mut seen: Vec<(Sid, u32)> =
        site.reports().iter().map(|(report, _)| (report.sid, report.seq)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [(bad.sid, 2), (other.sid, 1)]);
}

#[test]
fn frames_of_a_wrong_length_throttle_nobody_else() {
    let site = Site::new(2, 0);
    let graph = Graph::start(&site);
    // Too long by one octet, from an association that is not ours: the first slot must not pay for it.
    let (first, second) = (&site.devices[0], &site.devices[1]);
    let mut long = second.frame(FrameType::Report, 1, &plain());
    long.resize(641, 0);
    for batch in 1..=4 {
        graph.send(5, &vec![second.carry(&long); 70]);
        graph.settle(70 * batch);
    }
    graph.send(5, &[first.report(1, &plain())]);
    graph.next_sent();
    graph.send(5, &[second.report(1, &plain())]);
    graph.settle(282);
    assert!(graph.refused("SEC-UP-LIMIT") >= 1);
    graph.drain();
}

#[test]
fn frames_that_do_not_open_ask_for_the_next_epoch() {
    let site = Site::new(1, 0);
    let graph = Graph::start(&site);
    let device = &site.devices[0];
    let mut forged = device.frame(FrameType::Report, 1, &plain());
    forged[11] ^= 1;
    let forged = device.carry(&forged);
    for link in 0..8 {
        graph.send(link, &vec![forged.clone(); 128]);
    }
    graph.settle(1024);
    let alarm =
        wait_for("an alarm", || graph.events().into_iter().find(|event| event.severity == Severity::Alarm));
    assert_eq!((alarm.reason.0, alarm.source), ("SEC-UP-LIMIT", Source::Association(device.sid.0)));
    // Nobody is locked out.
    graph.send(9, &[device.report(1, &plain())]);
    graph.next_sent();
    graph.drain();
}
