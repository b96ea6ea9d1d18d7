//! The host's I/O beside TCP: datagrams, serial lines over a real pseudoterminal, pipes of a simulation.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::FromRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{LIMIT, table};
use metergraph_transport::io::Io;
use metergraph_transport::poller::{Events, Poller};
use metergraph_transport::{BoundAddresses, Grant, Grants, PipeEnd};
use node::Value;
use transport_sdk::Readiness;
use transport_sdk::abi::{io, ready, status};

struct Table {
    io: Io,
    poller: Arc<Poller>,
}

impl Table {
    fn new(grants: Grants) -> Self {
        let poller = Arc::new(Poller::new().unwrap());
        let io = Io::new(Arc::clone(&poller), grants, BoundAddresses::default(), 100);
        Self { io, poller }
    }

    fn of(name: &str, grant: Value) -> Self {
        Self::new(Grants::from_value(&table([(name, grant)])).unwrap())
    }

    fn told(&mut self) -> Vec<Readiness> {
        let (io, mut out) = (&mut self.io, Vec::new());
        let limit = if io.has_ready() { Duration::ZERO } else { Duration::from_millis(50) };
        self.poller.wait(&mut Events::default(), limit, |told| io.told(told)).unwrap();
        io.collect(1, &mut out);
        out
    }

    fn until(&mut self, id: u32, wanted: u32) {
        let until = Instant::now() + LIMIT;
        while !self.told().iter().any(|told| told.id == id && told.ready & wanted == wanted) {
            assert!(Instant::now() < until, "never told");
        }
    }
}

/// Both ends of a pseudoterminal: the master, and the other one's path.
fn pseudoterminal() -> (File, String) {
    // SAFETY: no pointers; the answer is checked.
    let master = unsafe { libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY) };
    assert!(master >= 0);
    let mut name = [0_u8; 128];
    // SAFETY: the descriptor is open and ours; `name` is writable for its length.
    unsafe {
        assert_eq!((libc::grantpt(master), libc::unlockpt(master)), (0, 0));
        assert_eq!(libc::ptsname_r(master, name.as_mut_ptr().cast(), name.len()), 0);
    }
    let length = name.iter().position(|octet| *octet == 0).unwrap();
    // SAFETY: the descriptor is open and nobody else has it.
    let file = unsafe { File::from_raw_fd(master) };
    (file, String::from_utf8(name[..length].to_vec()).unwrap())
}

#[test]
fn datagrams_go_to_and_come_from_the_peers_of_the_grant_alone() {
    let (friend, stranger) =
        (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.2:0").unwrap());
    let peers = Value::List(vec!["127.0.0.1:*".into()]);
    let grant = table([("udp", table([("bind", "127.0.0.1:0".into()), ("peers", peers)]))]);
    let mut table = Table::of("wan", grant);
    let id = table.io.open(io::UDP, "", "").unwrap();
    let here = table.io.bound().get("wan").unwrap();
    table.io.interest(id, ready::READABLE);

    stranger.send_to(b"let me in", here).unwrap();
    friend.send_to(b"first", here).unwrap();
    friend.send_to(&[7; 40_000], here).unwrap();
    let mut came: Vec<(u32, Vec<u8>)> = Vec::new();
    let until = Instant::now() + LIMIT;
    while came.len() < 2 {
        assert!(Instant::now() < until);
        // Room for one of the longest at a time.
        match table.io.receive_from(id, 10, 65_535, |peer, octets| came.push((peer, octets.to_vec()))) {
            Ok(_) => {}
            Err(status::WOULD_BLOCK) => drop(table.told()),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!((came[0].1.as_slice(), came[1].1.len()), (&b"first"[..], 40_000));
    let peer = came[0].0;
    assert_eq!(peer, came[1].0, "one sender, one number");
    assert_eq!(table.io.peer_address(id, peer), Some(friend.local_addr().unwrap().to_string()));
    assert_eq!(table.io.take_notices()[0].reason, "datagrams-refused");

    assert_eq!(table.io.peer_number(id, &friend.local_addr().unwrap().to_string()), Ok(peer));
    assert_eq!(table.io.peer_number(id, "127.0.0.2:9"), Err(status::DENIED));
    assert_eq!(table.io.peer_number(id, "nobody"), Err(status::ARGUMENT));
    assert_eq!(table.io.send_to(id, [(peer, &b"one"[..]), (peer, b"two"), (99, b"lost")]), Ok(2));
    assert_eq!(table.io.send_to(id, [(99, &b"lost"[..])]), Err(status::NOT_FOUND));
    assert_eq!(table.io.send_to(id, [(peer, &[0; 66_000][..])]), Err(status::TOO_LARGE));
    let mut into = [0; 16];
    friend.set_read_timeout(Some(LIMIT)).unwrap();
    for text in [&b"one"[..], b"two"] {
        let (length, from) = friend.recv_from(&mut into).unwrap();
        assert_eq!((&into[..length], from), (text, here));
    }
    assert_eq!(table.io.read_into(id, &mut into), Err(status::ARGUMENT), "it is no stream");
    table.io.close(id);
    assert_eq!(table.io.send_to(id, [(peer, &b"x"[..])]), Err(status::NOT_FOUND));
}

#[test]
fn a_serial_line_is_raw_exclusive_and_says_when_the_device_is_gone() {
    let (mut master, path) = pseudoterminal();
    let line = table([("device", path.as_str().into()), ("baud", Value::Integer(460_800))]);
    let mut table = Table::of("radio", table([("serial", line)]));
    let id = table.io.open(io::STREAM, "radio", "").unwrap();
    table.io.interest(id, ready::READABLE);
    // What a cooked line would change: control characters, line ends, an echo.
    let octets = [0x03, 0x0a, 0x0d, 0x11, 0x13, 0x7f, 0x00, 0xff, 0x1a];
    master.write_all(&octets).unwrap();
    let (mut came, mut into) = (Vec::new(), [0; 64]);
    while came.len() < octets.len() {
        match table.io.read_into(id, &mut into) {
            Ok(read) => came.extend_from_slice(&into[..read]),
            Err(status::WOULD_BLOCK) => table.until(id, ready::READABLE),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(came, octets);
    assert_eq!(table.io.write(id, &octets), Ok(octets.len()));
    let mut back = [0; 9];
    master.read_exact(&mut back).unwrap();
    assert_eq!(back, octets);

    assert_eq!(table.io.control(id, "baud", 115_200), Ok(()));
    assert_eq!(table.io.control(id, "baud", 12_345), Err(status::ARGUMENT));
    assert_eq!(table.io.control(id, "rts-cts", 1), Ok(()));
    assert_eq!(table.io.control(id, "dtr", 2), Err(status::ARGUMENT));
    assert_eq!(table.io.control(id, "dtr", 1), Err(status::UNSUPPORTED), "a pseudoterminal has no such wire");
    assert_eq!(table.io.control(id, "colour", 1), Err(status::ARGUMENT));

    drop(master);
    table.until(id, ready::READABLE | ready::CLOSED);
    assert_eq!(table.io.read_into(id, &mut into), Err(status::CLOSED));
}

#[test]
fn a_line_that_is_not_there_is_named() {
    let mut table = Table::of("radio", table([("serial", "/dev/no-such-radio".into())]));
    let refused = table.io.open(io::STREAM, "", "").unwrap_err();
    assert_eq!((refused.status, refused.os_error), (status::IO, libc::ENOENT));
    assert!(refused.text.contains("/dev/no-such-radio"), "{}", refused.text);
}

#[test]
fn a_pipe_is_ready_without_a_kernel() {
    let (driver, device) = PipeEnd::pair();
    let mut table = Table::new(Grants([("radio".to_owned(), Grant::Pipe(driver))].into()));
    let id = table.io.open(io::STREAM, "", "").unwrap();
    table.io.interest(id, ready::READABLE);
    assert!(table.told().is_empty());
    device.write(b"ready").unwrap();
    table.until(id, ready::READABLE);
    let mut into = [0; 8];
    assert_eq!(table.io.read_into(id, &mut into), Ok(5));
    assert_eq!(table.io.read_into(id, &mut into), Err(status::WOULD_BLOCK));
    assert!(table.told().is_empty());
    assert_eq!(table.io.write(id, b"yes"), Ok(3));
    assert_eq!(device.read(&mut into), Ok(3));
    table.io.close(id);
    assert!(device.read(&mut into).is_err());
}
