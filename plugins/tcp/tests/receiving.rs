//! What comes in: framing, time-outs, peers that vanish, back-pressure.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod rig;

use proptest::prelude::*;
use rig::{Rig, SECOND, apdu};
use transport_sdk::Reason;
use transport_sdk::abi::status;

#[test]
fn apdus_are_cut_out_of_the_stream_and_one_read_is_one_batch() {
    let mut rig = Rig::new("{}");
    let (socket, link) = rig.peer();
    let sent: Vec<Vec<u8>> = (0..200u8).map(|mark| apdu(200, mark)).collect();
    rig.sim.feed(socket, &sent.concat());
    rig.once();
    assert_eq!(rig.frames.len(), 200, "all frames of one read are handed on at once");
    assert!(rig.frames.iter().zip(&sent).all(|((from, octets), sent)| *from == link && octets == sent));
}

#[test]
fn an_apdu_may_come_octet_by_octet() {
    let mut rig = Rig::new("{}");
    let (socket, link) = rig.peer();
    let sent = apdu(300, 7);
    for octet in &sent {
        assert!(rig.frames.is_empty());
        rig.feed(socket, &[*octet]);
    }
    assert_eq!(rig.frames, [(link, sent)]);
}

#[test]
fn octets_that_are_no_apdu_end_the_link_with_a_name() {
    let oversize = [0x60, 0x83, 0x01, 0x00, 0x00];
    for (octets, reason) in [
        (&b"GET / HTTP/1.0\r\n"[..], Reason::Framing),
        (&[0x60, 0x80, 0, 0], Reason::Framing),
        (&[0x60, 0xff, 1], Reason::Framing),
        (&oversize, Reason::Oversize),
    ] {
        let mut rig = Rig::new("{}");
        let (other, _) = rig.peer();
        let (socket, link) = rig.peer();
        let good = apdu(20, 1);
        rig.feed(socket, &[&good, octets].concat());
        assert_eq!(rig.frames, [(link, good.clone())], "what came before is handed on");
        assert_eq!(rig.downs(), [(link, reason)]);
        assert_eq!(rig.notes(), [(reason, octets.len() as u64)]);
        assert!(!rig.sim.is_open(socket));
        rig.feed(other, &good);
        assert_eq!(rig.frames.len(), 2, "other links are undisturbed");
    }
}

#[test]
fn the_longest_apdu_is_configured() {
    let mut rig = Rig::new(r#"{"frame_max": 1000}"#);
    let (socket, link) = rig.peer();
    rig.feed(socket, &apdu(996, 1));
    rig.feed(socket, &apdu(997, 2));
    assert_eq!((rig.frames.len(), rig.downs()), (1, vec![(link, Reason::Oversize)]));
}

#[test]
fn a_peer_that_sends_one_octet_a_second_is_cut_off() {
    let mut rig = Rig::new(r#"{"frame_timeout_s": 30}"#);
    let (socket, link) = rig.peer();
    let sent = apdu(100, 1);
    for octet in sent.iter().take(40) {
        rig.feed(socket, &[*octet]);
        rig.pass(SECOND);
    }
    assert_eq!(rig.downs(), [(link, Reason::FrameTimeout)]);
    assert_eq!(rig.notes(), [(Reason::FrameTimeout, 30)]);
}

#[test]
fn a_slow_peer_that_ends_its_frames_in_time_stays() {
    let mut rig = Rig::new(r#"{"frame_timeout_s": 30}"#);
    let (socket, _) = rig.peer();
    for _ in 0..20 {
        for octet in apdu(20, 1) {
            rig.feed(socket, &[octet]);
            rig.pass(SECOND);
        }
    }
    assert_eq!((rig.frames.len(), rig.downs().len()), (20, 0));
}

#[test]
fn an_idle_link_is_closed_and_a_busy_one_is_not() {
    let mut rig = Rig::new(r#"{"idle_timeout_s": 60}"#);
    let (_, idle) = rig.peer();
    let (talks, talking) = rig.peer();
    let (_, hears) = rig.peer();
    for round in 0..5 {
        rig.feed(talks, &apdu(10, 1));
        assert!(rig.send(hears, &apdu(10, 2), round, 0));
        rig.pass(20 * SECOND);
    }
    assert_eq!(rig.downs(), [(idle, Reason::Idle)]);
    rig.pass(70 * SECOND);
    let mut downs: Vec<u32> = rig.downs().into_iter().map(|(link, _)| link).collect();
    downs.sort_unstable();
    let mut all = vec![idle, talking, hears];
    all.sort_unstable();
    assert_eq!(downs, all);
}

#[test]
fn a_peer_that_vanished_is_half_open_and_one_that_left_is_closed() {
    let mut rig = Rig::new("{}");
    let (vanished, first) = rig.peer();
    let (left, second) = rig.peer();
    let (torn, third) = rig.peer();
    rig.sim.fail(vanished, status::TIMED_OUT);
    rig.turn();
    rig.sim.end(left);
    rig.turn();
    rig.sim.feed(torn, &apdu(50, 1)[..30]);
    rig.sim.end(torn);
    rig.turn();
    let expected = [(first, Reason::HalfOpen), (second, Reason::PeerClosed), (third, Reason::ClosedMidFrame)];
    assert_eq!(rig.downs(), expected);
    assert_eq!(rig.notes(), [(Reason::ClosedMidFrame, 30)]);
    assert_eq!(rig.tcp_links(), 0);
}

#[test]
fn frames_of_a_link_come_before_its_end() {
    let mut rig = Rig::new("{}");
    let (socket, link) = rig.peer();
    rig.fetches = false;
    rig.sim.feed(socket, &apdu(50, 1));
    rig.sim.end(socket);
    rig.turn();
    assert!(rig.downs().is_empty());
    rig.fetches = true;
    rig.turn();
    assert_eq!((rig.frames.len(), rig.downs()), (1, vec![(link, Reason::PeerClosed)]));
}

#[test]
fn what_a_peer_sent_before_it_broke_is_still_read() {
    let mut rig = Rig::new("{}");
    let (socket, link) = rig.peer();
    rig.fetches = false;
    rig.sim.feed(socket, &vec![apdu(200, 1); 1000].concat());
    rig.turn();
    rig.sim.fail(socket, status::IO);
    assert!(rig.send(link, &apdu(10, 2), 5, 0));
    rig.turn();
    assert_eq!(rig.ends().len(), 1, "what was to be sent has failed");
    assert!(rig.send(link, &apdu(10, 2), 6, 0));
    rig.fetches = true;
    rig.turn();
    assert_eq!((rig.frames.len(), rig.downs()), (1000, vec![(link, Reason::Io)]));
    assert_eq!(rig.ends().len(), 2);
}

#[test]
fn what_the_host_does_not_fetch_stays_in_the_socket() {
    let mut rig = Rig::new(r#"{"frame_timeout_s": 5, "idle_timeout_s": 10}"#);
    let (socket, link) = rig.peer();
    rig.feed(socket, &apdu(100, 1)[..60]);
    rig.fetches = false;
    rig.sim.feed(socket, &apdu(100, 1)[60..]);
    rig.sim.feed(socket, &vec![apdu(100, 1); 50].concat());
    rig.pass(300 * SECOND);
    assert!(rig.frames.is_empty() && rig.sim.unread(socket) > 5000);
    assert!(rig.downs().is_empty(), "waiting for the host is not the peer's fault");
    assert!(rig.send(link, &apdu(10, 3), 1, 0), "the other direction goes on");
    rig.turn();
    assert_eq!(rig.sim.written(socket), apdu(10, 3));
    rig.fetches = true;
    rig.turn();
    assert_eq!((rig.frames.len(), rig.downs().len()), (51, 0));
}

#[test]
fn many_small_frames_need_more_batches_and_none_is_lost() {
    let mut rig = Rig::new("{}");
    let (socket, _) = rig.peer();
    rig.feed(socket, &[0x60, 0x00].repeat(20_000));
    assert_eq!(rig.frames.len(), 20_000);
    assert!(rig.frames.iter().all(|(_, octets)| octets == &[0x60, 0x00]));
}

#[test]
fn no_link_waits_for_a_flood_on_another() {
    let mut rig = Rig::new("{}");
    let (flood, _) = rig.peer();
    let (quiet, link) = rig.peer();
    rig.sim.feed(flood, &apdu(1000, 1).repeat(2000));
    rig.sim.feed(quiet, &apdu(10, 2));
    for _ in 0..3 {
        rig.once();
    }
    assert!(rig.frames.iter().any(|(from, _)| *from == link));
    assert!(rig.frames.len() < 2001, "the flood is not through yet");
}

impl Rig {
    fn tcp_links(&self) -> u32 {
        use transport_sdk::Transport;
        self.tcp.stats().links
    }
}

/// A stream of frames, garbage at its end perhaps, and the pieces that it arrives in.
fn stream() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<usize>, bool)> {
    let frames = prop::collection::vec((0usize..600, any::<u8>()).prop_map(|(n, mark)| apdu(n, mark)), 0..20);
    (frames, prop::collection::vec(1usize..700, 1..60), any::<bool>())
}

proptest! {
    #[test]
    fn pieces_do_not_matter((frames, pieces, garbage) in stream()) {
        let mut rig = Rig::new("{}");
        let (socket, link) = rig.peer();
        let mut octets = frames.concat();
        if garbage {
            octets.extend(b"garbage");
        }
        let mut rest = &octets[..];
        for piece in pieces.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at(rest.len().min(*piece));
            rig.feed(socket, now);
            rest = later;
        }
        let got: Vec<Vec<u8>> = rig.frames.drain(..).map(|(_, octets)| octets).collect();
        prop_assert_eq!(got, frames);
        let downs = rig.downs();
        prop_assert_eq!(downs, if garbage { vec![(link, Reason::Framing)] } else { vec![] });
    }

    #[test]
    fn any_octets_are_taken_or_refused(octets in prop::collection::vec(any::<u8>(), 0..5000)) {
        let mut rig = Rig::new(r#"{"frame_max": 300}"#);
        let (socket, _) = rig.peer();
        rig.feed(socket, &octets);
        rig.sim.end(socket);
        rig.turn();
        let handed: usize = rig.frames.iter().map(|(_, octets)| octets.len()).sum();
        let refused: u64 = rig.notes().iter().map(|(_, octets)| octets).sum();
        prop_assert_eq!(handed as u64 + refused, octets.len() as u64, "each octet is in one place");
        prop_assert_eq!(rig.downs().len(), 1);
    }
}
