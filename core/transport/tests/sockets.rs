//! The TCP plugin, as built, over real sockets.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use common::{LIMIT, Running, apdu, env, table, tcp};
use metergraph_transport::{BoundAddresses, TransportSpec, TransportWorker};
use node::{Batch, Frame, Source, Value};

const UNSENT: &str = "metergraph_transport_unsent_frames_total";
const REFUSED: &str = "metergraph_frames_refused_total";
const LINKS: &str = "metergraph_transport_links";
const ENDED: &str = "metergraph_transport_links_ended_total";

fn dial(running: &Running) -> TcpStream {
    let peer = TcpStream::connect(running.address()).unwrap();
    peer.set_nodelay(true).unwrap();
    peer.set_read_timeout(Some(LIMIT)).unwrap();
    peer
}

fn read(peer: &mut TcpStream, octets: usize) -> Vec<u8> {
    let mut read = vec![0; octets];
    peer.read_exact(&mut read).unwrap();
    read
}

/// Reads until the other side has closed, in whatever way.
fn closed(peer: &mut TcpStream) -> bool {
    match peer.read_to_end(&mut Vec::new()) {
        Ok(_) => true,
        Err(e) => e.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn both_directions_on_one_connection_split_and_coalesced() {
    let mut running = Running::start(&tcp([]), 8);
    let mut peer = dial(&running);
    let frames: Vec<Vec<u8>> = (0..60).map(|n| apdu(n * 37, n as u8)).collect();
    // Octet by octet, then all in one write, then in pieces that respect nothing.
    let (slow, rest) = frames.split_at(3);
    for octet in slow.concat() {
        peer.write_all(&[octet]).unwrap();
    }
    let (at_once, pieces) = rest.split_at(20);
    peer.write_all(&at_once.concat()).unwrap();
    for piece in pieces.concat().chunks(1009) {
        peer.write_all(piece).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    let got = running.take(frames.len());
    let link = got[0].0;
    assert!(got.iter().zip(&frames).all(|((from, got), sent)| *from == link && got == sent));
    let back: Vec<(u32, &[u8])> = frames.iter().map(|frame| (link, frame.as_slice())).collect();
    running.send(&back);
    let octets = frames.concat();
    assert_eq!(read(&mut peer, octets.len()), octets);
    running.until_sum("metergraph_transport_sent_frames_total", None, 60);
    assert_eq!(running.sum("metergraph_transport_sent_octets_total", None), octets.len() as i64);
    assert_eq!(running.sum("metergraph_transport_received_octets_total", None), octets.len() as i64);
    let up = running.event("link-up");
    assert_eq!(
        (up.source, up.detail),
        (Source::Link { transport: 3, link }, peer.local_addr().unwrap().to_string())
    );
    drop(peer);
    running.until_sum(ENDED, Some("peer-closed"), 1);
    assert_eq!(running.sum(REFUSED, None), 0);
}

#[test]
fn a_full_ingress_stops_the_reading_and_never_the_downlink() {
    let running = Running::start(&tcp([]), 1);
    let mut peer = dial(&running);
    peer.write_all(&apdu(10, 0)).unwrap();
    let link = running.take(1)[0].0;
    peer.set_nonblocking(true).unwrap();
    let chunk = apdu(1000, 1).repeat(64);
    let mut written = 0;
    let mut quiet = Instant::now();
    while quiet.elapsed() < Duration::from_millis(500) {
        match peer.write(&chunk[written % chunk.len()..]) {
            Ok(count) => (written, quiet) = (written + count, Instant::now()),
            Err(e) => assert_eq!(e.kind(), ErrorKind::WouldBlock),
        }
        assert!(written < 200 << 20, "nothing ever stops the peer");
    }
    peer.set_nonblocking(false).unwrap();
    running.send(&[(link, &apdu(20, 2))]);
    assert_eq!(read(&mut peer, 24), apdu(20, 2), "the downlink goes on");
    let rest = chunk[written % chunk.len()..].to_vec();
    let total = written + rest.len();
    let writer = std::thread::spawn(move || {
        peer.write_all(&rest).unwrap();
        peer
    });
    assert_eq!(total % 1004, 0);
    let frames = running.take(total / 1004);
    assert!(frames.iter().all(|(from, octets)| *from == link && octets.len() == 1004), "nothing is lost");
    drop(writer.join().unwrap());
}

#[test]
fn what_one_read_brings_is_one_batch() {
    const PEERS: usize = 10;
    const FRAMES: usize = 40_000;
    let running = Running::start(&tcp([]), 64);
    let begun = Instant::now();
    let writers: Vec<_> = (0..PEERS)
        .map(|_| {
            let mut peer = dial(&running);
            std::thread::spawn(move || {
                let some = apdu(176, 1).repeat(400);
                for _ in 0..FRAMES / 400 {
                    peer.write_all(&some).unwrap();
                }
                peer
            })
        })
        .collect();
    running.take(PEERS * FRAMES);
    let took = begun.elapsed();
    let batches = running.sum("metergraph_transport_received_batches_total", None);
    let per_batch = running.sum("metergraph_transport_received_frames_total", None) / batches;
    let nanos = took.as_nanos() / (PEERS * FRAMES) as u128;
    println!("{per_batch} frames of 180 octets a batch, {nanos} ns a frame with both ends on this machine");
    assert!(per_batch >= 64, "{per_batch} frames a batch");
    drop(writers.into_iter().map(|writer| writer.join().unwrap()).collect::<Vec<_>>());
}

#[test]
fn garbage_is_refused_by_name_and_other_links_are_undisturbed() {
    let mut running = Running::start(&tcp([("frame_max", 2000.into())]), 8);
    let mut good = dial(&running);
    let huge = [0x60, 0x84, 0x7f, 0xff, 0xff, 0xff];
    let faults = [(&b"GET / HTTP/1.1\r\n\r\n"[..], "framing"), (&huge, "oversize")];
    for (octets, reason) in faults {
        let mut bad = dial(&running);
        bad.write_all(&[&apdu(5, 9), octets].concat()).unwrap();
        assert!(closed(&mut bad));
        running.take(1);
        assert_eq!(running.sum(REFUSED, Some(reason)), 1);
        running.until_sum(ENDED, Some(reason), 1);
        running.event(reason);
    }
    let mut cut = dial(&running);
    cut.write_all(&apdu(500, 1)[..100]).unwrap();
    cut.shutdown(Shutdown::Write).unwrap();
    assert!(closed(&mut cut));
    running.until_sum(REFUSED, Some("closed-mid-frame"), 1);
    assert_eq!(running.event("closed-mid-frame").count, 1);
    good.write_all(&apdu(7, 7)).unwrap();
    assert_eq!(running.take(1)[0].1, apdu(7, 7));
    assert_eq!(running.sum(LINKS, None), 1);
    assert_eq!(running.sum("metergraph_transport_refused_octets_total", None), 18 + 6 + 100);
}

#[test]
fn a_peer_that_sends_one_octet_at_a_time_runs_out_of_time() {
    let mut running = Running::start(&tcp([("frame_timeout_s", 1.into())]), 8);
    let mut peer = dial(&running);
    let cut = apdu(500, 1).into_iter().any(|octet| {
        std::thread::sleep(Duration::from_millis(100));
        peer.write_all(&[octet]).is_err()
    });
    assert!(cut, "the whole frame was taken");
    assert!(closed(&mut peer));
    running.until_sum(REFUSED, Some("frame-timeout"), 1);
    running.event("frame-timeout");
}

#[test]
fn an_idle_peer_is_closed() {
    let mut running = Running::start(&tcp([("idle_timeout_s", 1.into())]), 8);
    let mut peer = dial(&running);
    assert!(closed(&mut peer));
    running.until_sum(ENDED, Some("idle"), 1);
    assert_eq!(running.sum(REFUSED, None), 0);
}

#[test]
fn a_peer_that_does_not_read_loses_only_its_own_frames() {
    let config = [("tx_queue_octets", 65_536.into())];
    let mut running = Running::start(&tcp(config), 8);
    let (mut stuck, mut free) = (dial(&running), dial(&running));
    stuck.write_all(&apdu(1, 1)).unwrap();
    let to_stuck = running.take(1)[0].0;
    free.write_all(&apdu(1, 2)).unwrap();
    let to_free = running.take(1)[0].0;
    let frame = apdu(1000, 3);
    let mut sent = 0;
    running.until("its queue is full", |running| {
        running.send(&vec![(to_stuck, frame.as_slice()); 200]);
        sent += 200;
        running.sum(UNSENT, Some("full")) > 0
    });
    running.send(&[(to_free, &frame)]);
    assert_eq!(read(&mut free, frame.len()), frame);
    drop(stuck);
    running.until("every frame is at its end", |running| {
        let unsent = running.sum(UNSENT, None);
        unsent + running.sum("metergraph_transport_sent_frames_total", None) == sent + 1
    });
    assert!(running.sum(UNSENT, Some("link-down")) > 0);
    running.event("tx-full");
}

#[test]
fn the_end_closes_upstream_first_and_still_sends() {
    let mut running = Running::start(&tcp([]), 8);
    let mut peer = dial(&running);
    peer.write_all(&apdu(10, 1)).unwrap();
    let link = running.take(1)[0].0;
    let address = running.address();
    running.orders.drain();
    running.until("upstream is closed", |running| running.up.is_finished());
    peer.write_all(&apdu(10, 2)).unwrap();
    running.until("nobody is accepted", |_| TcpStream::connect(address).is_err());
    for mark in 0..50 {
        let mut batch = Batch::default();
        batch.push(&apdu(100, mark), Frame { link, ..Frame::default() }.with_transport(3));
        running.offer(batch);
    }
    running.down.close();
    let octets: Vec<u8> = (0..50).flat_map(|mark| apdu(100, mark)).collect();
    assert_eq!(read(&mut peer, octets.len()), octets);
    running.join().unwrap();
    assert!(closed(&mut peer));
    assert_eq!(running.sum("metergraph_transport_sent_frames_total", None), 50);
    assert_eq!((running.sum(UNSENT, None), running.up.waiting()), (0, 0));
    running.until_sum(ENDED, Some("shutdown"), 1);
}

#[test]
fn frames_outstanding_at_the_end_are_counted() {
    let mut running = Running::start(&tcp([]), 8);
    let mut peer = dial(&running);
    peer.write_all(&apdu(10, 1)).unwrap();
    let link = running.take(1)[0].0;
    let frame = apdu(1000, 3);
    let mut sent = 0;
    running.until("its queue is full", |running| {
        running.send(&vec![(link, frame.as_slice()); 200]);
        sent += 200;
        running.sum(UNSENT, Some("full")) > 0
    });
    running.drain().unwrap();
    let (unsent, out) =
        (running.sum(UNSENT, None), running.sum("metergraph_transport_sent_frames_total", None));
    assert_eq!(unsent + out, sent);
    assert!(running.sum(UNSENT, Some("link-down")) > 0);
    assert_eq!(running.sum(UNSENT, Some("lost")), 0, "the driver itself reports them");
}

#[test]
fn a_batch_received_before_the_end_still_goes_upstream() {
    let mut running = Running::start(&tcp([]), 1);
    let mut peer = dial(&running);
    peer.write_all(&apdu(10, 1)).unwrap();
    running.until("the edge is full", |running| running.up.waiting() == 1);
    peer.write_all(&apdu(10, 2)).unwrap();
    running.until("one more is held", |running| {
        running.sum("metergraph_transport_received_frames_total", None) == 2
    });
    running.orders.drain();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(running.take(2).len(), 2);
    running.until("upstream is closed", |running| running.up.is_finished());
    running.drain().unwrap();
}

#[test]
fn a_dialled_peer_is_dialled_again_when_it_comes_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer: Value = table([("address", address.to_string().as_str().into())]);
    let config = [("connect", Value::List(vec![peer])), ("redial_max_s", 1.into())];
    let grants = table([("up", table([("tcp_connect", "127.0.0.0/8:*".into())]))]);
    let mut running = Running::start(&TransportSpec { grants, ..tcp(config) }, 8);
    let (mut first, _) = listener.accept().unwrap();
    first.write_all(&apdu(10, 1)).unwrap();
    let link = running.take(1)[0].0;
    running.send(&[(link, &apdu(10, 2))]);
    assert_eq!(read(&mut first, 14), apdu(10, 2));
    drop((listener, first));
    running.until_sum(ENDED, Some("peer-closed"), 1);
    running.until("it is tried", |running| running.sum(ENDED, Some("refused")) > 0);
    let listener = TcpListener::bind(address).unwrap();
    let (mut second, _) = listener.accept().unwrap();
    second.write_all(&apdu(10, 3)).unwrap();
    let (again, octets) = running.take(1).remove(0);
    assert!(again != link && octets == apdu(10, 3), "a link has a number of its own");
    running.send(&[(link, &apdu(10, 4)), (again, &apdu(10, 5))]);
    assert_eq!(read(&mut second, 14), apdu(10, 5));
    running.until_sum(UNSENT, Some("link-down"), 1);
}

#[test]
fn what_no_grant_allows_is_not_dialled() {
    let peer = table([("address", "127.0.0.1:9".into())]);
    let config = [("connect", Value::List(vec![peer]))];
    let grants = table([("up", table([("tcp_connect", "10.0.0.0/8:*".into())]))]);
    let mut running = Running::start(&TransportSpec { grants, ..tcp(config) }, 8);
    let note = running.event("unreachable");
    assert!(note.detail.contains("does not cover 127.0.0.1:9"), "{}", note.detail);
}

#[test]
fn a_new_start_listens_where_the_old_one_did() {
    let mut first = Running::start(&tcp([]), 8);
    let address = first.address();
    assert_ne!(address.port(), 0);
    let mut peer = dial(&first);
    peer.write_all(&apdu(10, 1)).unwrap();
    let old = first.take(1)[0].0;
    first.orders.stop();
    assert!(first.join().is_err());
    assert!(closed(&mut peer));
    let mut second = Running::restart(&tcp([]), 8, first.env.clone());
    assert_eq!(second.address(), address);
    let mut peer = dial(&second);
    peer.write_all(&apdu(10, 2)).unwrap();
    let new = second.take(1)[0].0;
    assert_ne!(old, new);
    second.until_sum("metergraph_transport_received_frames_total", None, 2);
}

#[test]
fn an_address_in_use_is_one_clear_line_and_an_unused_worker_gives_it_back() {
    let env = env();
    let worker = TransportWorker::open(&tcp([]), &env).unwrap();
    let bound = env.services.find::<BoundAddresses>("transport:wan").unwrap();
    let address = bound.only().unwrap();
    let taken = table([("wan", table([("tcp_listen", address.to_string().as_str().into())]))]);
    let again = TransportSpec { grants: taken, ..tcp([]) };
    let line = TransportWorker::open(&again, &common::env()).unwrap_err().to_string();
    let start = format!("plugin `tcp`: open: listen on {address}: Address already in use");
    assert!(line.starts_with(&start) && !line.contains('\n'), "{line}");
    drop(worker);
    assert!(TransportWorker::open(&again, &common::env()).is_ok());
}

#[test]
fn ipv6_and_many_listeners() {
    let grants = table([
        ("four", table([("tcp_listen", "127.0.0.1:0".into())])),
        ("six", table([("tcp_listen", "[::1]:0".into())])),
    ]);
    let config = [("listen", Value::List(vec!["four".into(), "six".into()]))];
    let running = Running::start(&TransportSpec { grants, ..tcp(config) }, 8);
    let bound = running.env.services.find::<BoundAddresses>("transport:wan").unwrap();
    assert!(bound.only().is_none());
    for grant in ["four", "six"] {
        let address: SocketAddr = bound.get(grant).unwrap();
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(&apdu(10, 1)).unwrap();
        assert_eq!(running.take(1)[0].1, apdu(10, 1));
    }
}
