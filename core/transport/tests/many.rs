//! Very many peers, and more peers than the system lets this process hold.
//!
//! The other side runs in a process of its own, which is this test again with one ignored test named.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use common::{LIMIT, Running, apdu, tcp};
use metergraph_transport::raise_file_limit;

/// Tells an ignored test that it is the other side.
const ROLE: &str = "METERGRAPH_TEST_ROLE";
/// Files that a process holds beside its connections, at most.
const OTHER_FILES: u64 = 200;

fn other_side(test: &str, role: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture", "--test-threads", "1"])
        .env(ROLE, role)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn ten_thousand_peers_at_a_time() {
    let files = raise_file_limit().unwrap();
    let peers = usize::try_from(files.saturating_sub(OTHER_FILES)).unwrap().min(10_000);
    if peers < 10_000 {
        println!("the system allows only {files} open files: {peers} peers instead of 10000");
    }
    let mut running = Running::start(&tcp([]), 64);
    let mut others = other_side("dials_many", &format!("{} {peers}", running.address()));
    let frames = running.take(peers);
    running.until_sum("metergraph_transport_links", None, i64::try_from(peers).unwrap());
    let by_link: HashMap<u32, &[u8]> =
        frames.iter().map(|(link, octets)| (*link, octets.as_slice())).collect();
    assert_eq!(by_link.len(), peers, "each peer has a link of its own");
    for some in by_link.into_iter().collect::<Vec<_>>().chunks(256) {
        running.send(some);
    }
    assert!(others.wait().unwrap().success(), "each peer gets its own frame back");
    running.until_sum("metergraph_transport_links", None, 0);
    running.until_sum("metergraph_transport_sent_frames_total", None, i64::try_from(peers).unwrap());
    running.drain().unwrap();
    assert_eq!(running.sum("metergraph_transport_unsent_frames_total", None), 0);
}

#[test]
#[ignore = "the other side of ten_thousand_peers_at_a_time"]
fn dials_many() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let (address, count) = role.split_once(' ').unwrap();
    raise_file_limit().unwrap();
    let frame = |number: usize| apdu(10 + number % 200, number as u8);
    let mut peers: Vec<TcpStream> = (0..count.parse::<usize>().unwrap())
        .map(|number| {
            let mut peer = TcpStream::connect(address).unwrap();
            peer.set_read_timeout(Some(LIMIT)).unwrap();
            peer.write_all(&frame(number)).unwrap();
            peer
        })
        .collect();
    for (number, peer) in peers.iter_mut().enumerate() {
        let mut back = vec![0; frame(number).len()];
        peer.read_exact(&mut back).unwrap();
        assert_eq!(back, frame(number));
    }
}

#[test]
fn where_descriptors_run_out_peers_wait_and_none_is_lost() {
    let mut server = other_side("serves_with_few_descriptors", "serve");
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let address = lines.find_map(|line| Some(line.unwrap().strip_prefix("address ")?.to_owned()));
    let address: SocketAddr = address.unwrap().parse().unwrap();
    let mut peers: Vec<TcpStream> = Vec::new();
    for number in 0..100u8 {
        let mut peer = TcpStream::connect(address).unwrap();
        peer.write_all(&apdu(10, number)).unwrap();
        peers.push(peer);
    }
    assert_eq!(
        lines.find_map(|line| Some(line.unwrap().strip_prefix("exhausted ")?.to_owned())).unwrap(),
        "1"
    );
    // Those that were accepted leave, so that the others' turn comes.
    for peer in peers {
        drop(peer);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(server.wait().unwrap().success());
}

#[test]
#[ignore = "the other side of where_descriptors_run_out_peers_wait_and_none_is_lost"]
fn serves_with_few_descriptors() {
    if std::env::var(ROLE).is_err() {
        return;
    }
    let few = libc::rlimit { rlim_cur: 64, rlim_max: 64 };
    // SAFETY: `few` lives for the call; this process is for this test alone.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const few) }, 0);
    let mut running = Running::start(&tcp([]), 200);
    // Behind the words of the test harness.
    println!("\naddress {}", running.address());
    let event = running.event("descriptors-exhausted");
    assert!(event.detail.contains("Too many open files"), "{}", event.detail);
    println!("exhausted 1");
    let mut marks: Vec<u8> = running.take(100).iter().map(|(_, octets)| octets[4]).collect();
    marks.sort_unstable();
    assert_eq!(marks, (0..100).collect::<Vec<u8>>());
    running.drain().unwrap();
}
