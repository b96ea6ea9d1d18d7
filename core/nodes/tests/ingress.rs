//! What a transport received, up to the shard that owns it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use c1222::apdu::Segment;
use c1222::{Apdu, Envelope, InvocationId, Leniency, UserInformation, segment};
use common::device::{carry, plain};
use common::graph::{Graph, Wishes};
use common::site::Site;
use common::{Random, wait_for};
use seal::frame::FrameType;

/// The segments of an APDU.
fn segments(apdu: &[u8], octets_max: usize) -> Vec<Vec<u8>> {
    let mut segments = Vec::new();
    segment::split(apdu, octets_max, |segment| segments.push(segment.to_vec())).unwrap();
    segments
}

#[test]
fn segments_are_one_frame_in_whatever_order_and_however_often_they_come() {
    let site = Site::new(2, 0);
    let graph = Graph::start(&site);
    let device = &site.devices[0];
    let mut parts = segments(&device.report(1, &vec![0x80; 400]), 100);
    assert!(parts.len() > 4);
    parts.reverse();
    let again = parts[1].clone();
    parts.push(again.clone());
    for part in &parts {
        graph.send(1, std::slice::from_ref(part));
    }
    graph.next_sent();
    // A late duplicate of a finished one says nothing, beside a frame that is whole.
    graph.send(1, &[again, site.devices[1].report(1, &plain())]);
    graph.next_sent();
    let graph = graph.drain();
    assert_eq!(graph.account(), (2, 2));
    assert_eq!(graph.sum("metergraph_segments_total", None), parts.len() as u64 + 1);
    assert_eq!(site.reports().len(), 2);
}

#[test]
fn an_apdu_whose_rest_does_not_come_is_one_refused_frame() {
    let site = Site::new(1, 0);
    let graph = Graph::start_with(
        &site,
        &Wishes { settings: vec![("ingress", "segment_timeout_s", 1.into())], ..Wishes::default() },
    );
    let device = &site.devices[0];
    for seq in 0..3 {
        // From different links: one would take them for parts of one APDU.
        graph.send(seq, &segments(&device.report(seq, &vec![0x80; 400]), 100)[1..]);
    }
    graph.settle(3);
    assert_eq!(graph.refused("segment-timeout"), 3);
    // The end of the graph is the end of the waiting too.
    graph.send(1, &segments(&device.report(9, &vec![0x80; 400]), 100)[..2]);
    wait_for("its segments", || (graph.received.waiting() == 0).then_some(()));
    let graph = graph.drain();
    assert_eq!((graph.account(), graph.refused("segment-timeout")), ((4, 4), 4));
}

#[test]
fn segments_that_contradict_each_other_or_hold_segments_are_refused() {
    let site = Site::new(1, 0);
    let graph = Graph::start(&site);
    let device = &site.devices[0];
    let parts = segments(&device.report(1, &vec![0x80; 400]), 100);
    let mut other = parts[0].clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    graph.send(1, &[parts[0].clone(), other]);
    graph.settle(1);
    assert_eq!(graph.refused("segment-mismatch"), 1);

    // Segments whose parts are together a segment of something else.
    let inner = segments(&device.report(2, &vec![0x80; 400]), 200).remove(0);
    for part in disguised(&inner) {
        graph.send(2, &[part]);
    }
    graph.settle(2);
    assert_eq!(graph.refused("nested-segment"), 1);
    let graph = graph.drain();
    assert_eq!(graph.account(), (2, 2), "nothing of it is kept");
}

/// Segments that carry these octets, made from those of an APDU that is as long.
fn disguised(octets: &[u8]) -> Vec<Vec<u8>> {
    let fillers = (0..octets.len()).map(|length| {
        let mut filler = vec![0x55; length];
        Envelope::new(InvocationId::new(3)).wrap(&mut filler, 0);
        filler
    });
    let filler = fillers.into_iter().find(|filler| filler.len() == octets.len()).unwrap();
    let mut parts = segments(&filler, 100);
    for part in &mut parts {
        let UserInformation::Segment(Segment { offset, part: old, .. }) =
            Apdu::decode(part, Leniency::Strict).unwrap().user
        else {
            panic!("a segment");
        };
        let (from, len) = (offset as usize, old.len());
        let at = part.len() - len;
        part[at..].copy_from_slice(&octets[from..from + len]);
    }
    parts
}

#[test]
fn an_apdu_over_the_limit_is_refused_whole_or_in_segments() {
    let site = Site::new(1, 0);
    let graph = Graph::start_with(
        &site,
        &Wishes { settings: vec![("ingress", "apdu_octets_max", 700.into())], ..Wishes::default() },
    );
    let device = &site.devices[0];
    let mut long = vec![0x55; 800];
    let envelope = Envelope { calling: Some(device.title.as_title()), ..Envelope::new(InvocationId::new(1)) };
    envelope.wrap(&mut long, 0);
    graph.send(1, &[long.clone()]);
    graph.settle(1);
    assert_eq!(graph.refused("too-large"), 1);
    graph.send(1, &segments(&long, 300)[..1]);
    graph.settle(2);
    graph.send(1, &[device.report(1, &vec![0x80; 600])]);
    graph.next_sent();
    graph.drain();
}

#[test]
fn octets_that_are_no_apdu_are_refused_by_the_codecs_name() {
    let site = Site::new(1, 0);
    let graph = Graph::start(&site);
    let report = site.devices[0].report(1, &plain());
    let cases = [
        ("empty", vec![]),
        ("cut", report[..report.len() - 1].to_vec()),
        ("more", [&report[..], &[0]].concat()),
        ("text", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ];
    let octets: Vec<Vec<u8>> = cases.iter().map(|(_, octets)| octets.clone()).collect();
    graph.send(3, &octets);
    graph.settle(4);
    let reasons: Vec<&str> = graph.events().iter().map(|event| event.reason.0).collect();
    assert!(reasons.iter().all(|reason| !reason.starts_with("SEC-")), "{reasons:?}");
    graph.send(3, &[report]);
    graph.next_sent();
    let graph = graph.drain();
    assert_eq!(graph.account(), (5, 5));
}

#[test]
fn whatever_octets_come_each_is_counted_once_and_nothing_panics() {
    let site = Site::new(3, 2);
    let (mut random, seed) = (Random(11), 11);
    let graph = Graph::start_with(&site, &Wishes { shards: 2, ..Wishes::default() });
    let now = u32::try_from(node::event::unix_ns() / 1_000_000_000).unwrap();
    for batch in 0..150 {
        let mut apdus = Vec::new();
        for number in 0..20 {
            let device = &site.devices[random.below(3) as usize];
            let classic = &site.classics[random.below(2) as usize];
            let seq = random.below(1 << 24) as u32;
            let mut apdu = match random.below(6) {
                0 => device.report(seq, &plain()),
                1 => device.carry(&device.frame(FrameType::UpControl, seq, &[3, 0, 1, 0, 0, 0, 1])),
                2 => classic.seal(&classic.message(seq, now)),
                3 => carry(Some(&classic.title), &[0x18, 3, 2, 0]),
                4 => {
                    segments(&device.report(seq, &vec![0x80; 300]), 90).swap_remove(random.below(3) as usize)
                }
                _ => (0..random.below(60)).map(|_| random.below(256) as u8).collect(),
            };
            // Flipped, cut, repeated in part, grown.
            for _ in 0..random.below(4) {
                let at = random.below(apdu.len() as u64) as usize;
                match random.below(4) {
                    0 if !apdu.is_empty() => apdu[at] ^= 1 << random.below(8),
                    1 => apdu.truncate(at),
                    2 => apdu.extend_from_within(at..),
                    _ => apdu.insert(at, random.below(256) as u8),
                }
            }
            if number % 7 > 0 {
                apdus.push(apdu);
            }
        }
        graph.send(batch, &apdus);
    }
    let graph = graph.drain();
    let (received, ends) = graph.account();
    assert_eq!(received, ends, "seed {seed}");
    assert_eq!(graph.sum("metergraph_restarts_total", None), 0, "seed {seed}");
    let journaled = graph.sum("metergraph_frames_journaled_total", None);
    assert!(journaled > 100 && received > journaled + 500, "{journaled} of {received}");
}

#[test]
fn frames_go_to_the_shard_of_their_partition_whatever_the_link_and_evenly() {
    let site = Site::new(40, 0);
    let graph = Graph::start_with(&site, &Wishes { shards: 4, ..Wishes::default() });
    for seq in 0..5 {
        let reports: Vec<_> = site.devices.iter().map(|device| device.report(seq, &plain())).collect();
        graph.send(seq, &reports);
    }
    graph.settle(200);
    for shard in 0..4 {
        assert_eq!(graph.frames("decrypt", shard), 50);
    }
    let graph = graph.drain();
    assert_eq!(graph.sum("metergraph_frames_journaled_total", None), 200);
}
