//! What goes out: queues and their limits, reports, expiry, links that break.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod rig;

use rig::{Rig, SECOND, apdu};
use transport_sdk::abi::status;
use transport_sdk::{Reason, Transport, TxEnd};

#[test]
fn frames_to_one_link_are_one_write_in_order() {
    let mut rig = Rig::new("{}");
    let (socket, link) = rig.peer();
    for mark in 0..50 {
        assert!(rig.send(link, &apdu(100, mark), u64::from(mark), 0));
    }
    rig.once();
    let expected: Vec<u8> = (0..50).flat_map(|mark| apdu(100, mark)).collect();
    assert_eq!(rig.sim.written(socket), expected);
    assert_eq!(rig.ends(), (0..50).map(|tag| (tag, TxEnd::Sent)).collect::<Vec<_>>());
}

#[test]
fn a_queue_is_not_full_before_its_link_has_been_written_to() {
    let mut rig = Rig::new(r#"{"tx_queue_octets": 1024}"#);
    let (socket, link) = rig.peer();
    for tag in 0..500 {
        assert!(rig.send(link, &apdu(100, 1), tag, 0));
    }
    rig.turn();
    assert_eq!(rig.sim.written(socket).len(), 500 * 102);
    assert!(rig.ends().iter().all(|(_, end)| *end == TxEnd::Sent));
}

#[test]
fn a_slow_reader_fills_only_its_own_queue() {
    let mut rig = Rig::new(r#"{"tx_queue_octets": 1024}"#);
    let (slow, stuck) = rig.peer();
    let (fast, free) = rig.peer();
    rig.sim.set_room(slow, 150);
    for tag in 0..20 {
        assert!(rig.send(stuck, &apdu(100, 1), tag, 0));
        assert!(rig.send(free, &apdu(100, 2), 100 + tag, 0));
        rig.turn();
    }
    assert_eq!(rig.sim.written(slow).len(), 150);
    assert_eq!(rig.sim.written(fast).len(), 20 * 102);
    let full = rig.ends().iter().filter(|(_, end)| *end == TxEnd::Full).count();
    assert_eq!((full, rig.tcp.stats().queued), (9, 10));
    rig.sim.set_room(slow, usize::MAX);
    rig.turn();
    assert_eq!(rig.sim.written(slow).len(), 11 * 102 - 150);
    assert_eq!(rig.tcp.stats().queued, 0);
}

#[test]
fn past_the_limit_of_all_links_nothing_is_taken_until_there_is_room() {
    let mut rig = Rig::new(r#"{"tx_total_octets": 4096, "tx_queue_octets": 4096}"#);
    let (slow, stuck) = rig.peer();
    let (_, free) = rig.peer();
    rig.sim.set_room(slow, 0);
    let taken = (0..100).take_while(|tag| rig.send(stuck, &apdu(500, 1), *tag, 0)).count();
    assert_eq!(taken, 8);
    rig.turn();
    assert!(!rig.send(free, &apdu(500, 2), 1000, 0));
    assert_eq!(rig.step.tx_room, 0, "the host can see it");
    rig.sim.set_room(slow, usize::MAX);
    rig.turn();
    assert!(rig.step.tx_room > 0 && rig.send(free, &apdu(500, 2), 1000, 0));
}

#[test]
fn a_frame_too_late_is_not_sent() {
    let mut rig = Rig::new("{}");
    let (socket, link) = rig.peer();
    let now = rig.sim.now();
    assert!(rig.send(link, &apdu(10, 1), 1, now - 1));
    rig.sim.set_room(socket, 5);
    assert!(rig.send(link, &apdu(10, 2), 2, now + SECOND));
    assert!(rig.send(link, &apdu(10, 3), 3, now + SECOND));
    assert!(rig.send(link, &apdu(10, 4), 4, 0));
    rig.turn();
    rig.pass(2 * SECOND);
    rig.sim.set_room(socket, usize::MAX);
    rig.turn();
    let written = [apdu(10, 2), apdu(10, 4)].concat();
    assert_eq!(rig.sim.written(socket), written, "one that has begun is ended all the same");
    let mut ends = rig.ends();
    ends.sort_by_key(|(tag, _)| *tag);
    assert_eq!(ends, [(1, TxEnd::Expired), (2, TxEnd::Sent), (3, TxEnd::Expired), (4, TxEnd::Sent)]);
}

#[test]
fn frames_to_no_link_and_frames_that_are_none_are_reported() {
    let mut rig = Rig::new(r#"{"frame_max": 1000}"#);
    let (_, link) = rig.peer();
    assert!(rig.send(link ^ 1, &apdu(10, 1), 1, 0));
    assert!(rig.send(0, &apdu(10, 1), 2, 0));
    assert!(rig.send(link, &[], 3, 0));
    assert!(rig.send(link, &apdu(1000, 1), 4, 0));
    rig.turn();
    let expected = [(1, TxEnd::LinkDown), (2, TxEnd::LinkDown), (3, TxEnd::Failed), (4, TxEnd::Failed)];
    assert_eq!(rig.ends(), expected);
}

#[test]
fn every_tag_is_reported_once_when_links_break_and_at_close() {
    let mut rig = Rig::new("{}");
    let mut tag = 0;
    let mut sockets = Vec::new();
    for _ in 0..4 {
        let (socket, link) = rig.peer();
        rig.sim.set_room(socket, 30);
        for _ in 0..10 {
            tag += 1;
            assert!(rig.send(link, &apdu(20, 1), tag, 0));
        }
        sockets.push((socket, link));
    }
    rig.turn();
    rig.sim.end(sockets[0].0);
    rig.sim.fail(sockets[1].0, status::TIMED_OUT);
    rig.tcp.close_link(&rig.sim.host(), sockets[2].1);
    rig.turn();
    rig.tcp.close(&rig.sim.host(), rig.sim.now()).unwrap();
    assert!(!rig.send(sockets[3].1, &apdu(20, 1), 99, 0), "a closed transport takes nothing");
    rig.turn();
    let mut tags: Vec<u64> = rig.ends().iter().map(|(tag, _)| *tag).collect();
    tags.sort_unstable();
    assert_eq!(tags, (1..=40).collect::<Vec<_>>());
    let reasons = [Reason::PeerClosed, Reason::HalfOpen, Reason::HostClosed, Reason::Shutdown];
    for (link, reason) in rig.downs() {
        let place = sockets.iter().position(|(_, of)| *of == link).unwrap();
        assert_eq!(reason, reasons[place]);
    }
    assert!(sockets.iter().all(|(socket, _)| !rig.sim.is_open(*socket)));
    assert!(rig.sim.listeners().is_empty());
    assert_eq!((rig.tcp.stats().queued, rig.tcp.stats().links), (0, 0));
}

#[test]
fn many_links_are_written_to_in_turn() {
    let mut rig = Rig::new("{}");
    let peers: Vec<(u32, u32)> = (0..1000).map(|_| rig.peer()).collect();
    for (tag, (_, link)) in peers.iter().enumerate() {
        assert!(rig.send(*link, &apdu(10, 1), tag as u64, 0));
    }
    rig.once();
    let after_one: usize = peers.iter().filter(|(socket, _)| !rig.sim.written(*socket).is_empty()).count();
    assert!((1..1000).contains(&after_one), "one poll does not do it all: {after_one}");
    assert!(rig.step.deadline <= rig.sim.now(), "it asks for the next turn at once");
    rig.turn();
    assert_eq!(rig.ends().len(), 1000);
}

#[test]
fn a_broadcast_goes_once_over_every_link() {
    let mut rig = Rig::new(r#"{"tx_queue_octets": 1024}"#);
    assert!(rig.broadcast(&apdu(10, 1), 1), "taken, though nobody is there");
    let peers: Vec<(u32, u32)> = (0..20).map(|_| rig.peer()).collect();
    rig.tcp.close_link(&rig.sim.host(), peers[7].1);
    let before = rig.tcp.stats();
    assert!(rig.send(peers[3].1, &apdu(10, 2), 2, 0));
    assert!(rig.broadcast(&apdu(100, 3), 3));
    rig.turn();
    for (number, (socket, _)) in peers.iter().enumerate() {
        let expected = match number {
            3 => [apdu(10, 2), apdu(100, 3)].concat(),
            7 => Vec::new(),
            _ => apdu(100, 3),
        };
        assert_eq!(rig.sim.written(*socket), expected, "link {number}");
    }
    let mut ends = rig.ends();
    ends.sort_by_key(|(tag, _)| *tag);
    assert_eq!(ends, [(1, TxEnd::LinkDown), (2, TxEnd::Sent), (3, TxEnd::Sent)], "one report a frame");
    let stats = rig.tcp.stats();
    assert_eq!((stats.tx_frames - before.tx_frames, stats.tx_sent - before.tx_sent), (20, 20));
    // A link that takes nothing has no part in it, and does not hold up the others.
    rig.sim.set_room(peers[0].0, 0);
    for tag in 10..30 {
        assert!(rig.broadcast(&apdu(100, 4), tag));
        rig.turn();
    }
    assert_eq!(rig.sim.written(peers[1].0).len(), 20 * 102);
    assert!(rig.sim.written(peers[0].0).is_empty());
    assert_eq!(rig.tcp.stats().tx_full - stats.tx_full, 10);
}
