//! The host's table of sockets: what is ready is told as long as it holds, numbers are void after their
//! object, limits are limits.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{LIMIT, table};
use metergraph_transport::io::Io;
use metergraph_transport::poller::{Events, Poller};
use metergraph_transport::{BoundAddresses, Grants};
use transport_sdk::Readiness;
use transport_sdk::abi::{io, ready, status};

struct Table {
    io: Io,
    poller: Arc<Poller>,
    now: u64,
}

impl Table {
    fn new(sockets_max: usize) -> Self {
        let grants = table([
            ("wan", table([("tcp_listen", "127.0.0.1:0".into())])),
            ("up", table([("tcp_connect", "127.0.0.0/8:*".into())])),
        ]);
        let grants = Grants::from_value(&grants).unwrap();
        let poller = Arc::new(Poller::new().unwrap());
        let io = Io::new(Arc::clone(&poller), grants, BoundAddresses::default(), sockets_max);
        Self { io, poller, now: 1 }
    }

    fn listen(&mut self) -> u32 {
        let id = self.io.open(io::TCP_LISTEN, "", "").unwrap();
        self.io.interest(id, ready::READABLE);
        id
    }

    fn dial(&self) -> TcpStream {
        TcpStream::connect(self.io.bound().only().unwrap()).unwrap()
    }

    /// What is told after at most `limit`.
    fn told(&mut self, limit: Duration) -> Vec<Readiness> {
        let (io, mut out) = (&mut self.io, Vec::new());
        let limit = if io.has_ready() { Duration::ZERO } else { limit };
        self.poller.wait(&mut Events::default(), limit, |told| io.told(told)).unwrap();
        io.collect(self.now, &mut out);
        out
    }

    /// Waits until this is told.
    fn until(&mut self, id: u32, wanted: u32) {
        let until = Instant::now() + LIMIT;
        let holds = |told: &Readiness| told.id == id && told.ready & wanted == wanted;
        while !self.told(Duration::from_millis(100)).iter().any(holds) {
            assert!(Instant::now() < until, "never told");
        }
    }

    fn accept(&mut self, listener: u32) -> u32 {
        self.until(listener, ready::READABLE);
        self.io.accept(listener, self.now).unwrap()
    }

    fn read(&mut self, id: u32, len: usize) -> Result<Vec<u8>, i32> {
        let mut octets = vec![0; len];
        // SAFETY: `octets` has `len` writable octets.
        let read = unsafe { self.io.read(id, octets.as_mut_ptr(), len) }?;
        octets.truncate(read);
        Ok(octets)
    }
}

#[test]
fn what_is_ready_is_told_again_until_it_is_used_or_silenced() {
    let mut table = Table::new(100);
    let listener = table.listen();
    let mut peer = table.dial();
    let id = table.accept(listener);
    assert_eq!(table.io.accept(listener, 1), Err(status::WOULD_BLOCK));
    assert!(table.told(Duration::ZERO).is_empty(), "nothing is asked of the new one");
    peer.write_all(b"abcdef").unwrap();
    table.io.interest(id, ready::READABLE);
    table.until(id, ready::READABLE);
    let readable = Readiness { id, ready: ready::READABLE };
    assert_eq!(table.told(Duration::ZERO), [readable]);
    assert_eq!(table.read(id, 4), Ok(b"abcd".to_vec()));
    assert_eq!(table.told(Duration::ZERO), [readable], "more may wait");
    table.io.interest(id, 0);
    assert!(table.told(Duration::ZERO).is_empty());
    table.io.interest(id, ready::READABLE);
    assert_eq!(table.told(Duration::ZERO), [readable]);
    assert_eq!(table.read(id, 4), Ok(b"ef".to_vec()), "a short read empties it");
    assert!(table.told(Duration::ZERO).is_empty());
    assert_eq!(table.read(id, 4), Err(status::WOULD_BLOCK));
    peer.write_all(b"g").unwrap();
    drop(peer);
    table.until(id, ready::READABLE | ready::CLOSED);
    assert_eq!(table.read(id, 4), Ok(b"g".to_vec()));
    assert_eq!(table.read(id, 4), Err(status::CLOSED));
}

#[test]
fn what_was_written_before_a_close_still_arrives() {
    let mut table = Table::new(100);
    let listener = table.listen();
    let mut peer = table.dial();
    let id = table.accept(listener);
    peer.write_all(b"unread").unwrap();
    table.io.interest(id, ready::READABLE);
    table.until(id, ready::READABLE);
    assert_eq!(table.io.write(id, b"last words"), Ok(10));
    table.io.close(id);
    let mut words = String::new();
    peer.read_to_string(&mut words).unwrap();
    assert_eq!(words, "last words");
}

#[test]
fn a_full_socket_becomes_writable_again() {
    let mut table = Table::new(100);
    let listener = table.listen();
    let mut peer = table.dial();
    let id = table.accept(listener);
    table.io.interest(id, ready::WRITABLE);
    let mut written = 0;
    // The kernel may make room a few times before all its queues are full.
    while table.told(Duration::from_millis(50)).iter().any(|told| told.id == id) {
        while let Ok(count) = table.io.write(id, &[7; 65_536]) {
            written += count;
        }
    }
    let reader = std::thread::spawn(move || {
        let mut read = vec![0; written];
        peer.read_exact(&mut read).unwrap();
        peer
    });
    table.until(id, ready::WRITABLE);
    assert!(table.io.write(id, b"x").is_ok());
    drop(reader.join().unwrap());
}

#[test]
fn a_number_is_void_after_its_object() {
    let mut table = Table::new(100);
    let listener = table.listen();
    let _first = table.dial();
    let old = table.accept(listener);
    table.io.close(old);
    table.io.close(old);
    let _second = table.dial();
    let new = table.accept(listener);
    assert_ne!(old, new);
    assert_eq!(table.io.write(old, b"x"), Err(status::NOT_FOUND));
    assert!(table.io.peer_address(old, 0).is_none() && table.io.peer_address(new, 0).is_some());
    assert_eq!(table.io.write(listener, b"x"), Err(status::ARGUMENT));
    assert_eq!(table.io.accept(new, 1), Err(status::ARGUMENT));
    assert_eq!(table.read(new, 0), Err(status::ARGUMENT));
}

#[test]
fn at_the_limit_peers_wait_and_are_looked_at_again_later() {
    let mut table = Table::new(2);
    let listener = table.listen();
    let _first = table.dial();
    let id = table.accept(listener);
    let _second = table.dial();
    table.until(listener, ready::READABLE);
    assert_eq!(table.io.accept(listener, table.now), Err(status::BUSY));
    assert_eq!(table.io.take_notices()[0].reason, "sockets-max");
    assert_eq!(table.io.open(io::TCP_CONNECT, "up", "127.0.0.1:9").unwrap_err().status, status::BUSY);
    assert!(table.told(Duration::ZERO).is_empty() && table.io.resume_at() > table.now);
    table.io.close(id);
    table.now = table.io.resume_at();
    assert!(table.accept(listener) != id);
    assert_eq!(table.io.resume_at(), 0);
}

#[test]
fn closed_listeners_take_nobody() {
    let mut table = Table::new(100);
    let listener = table.listen();
    let _peer = table.dial();
    let id = table.accept(listener);
    let address = table.io.bound().only().unwrap();
    table.io.close_listeners();
    assert!(TcpStream::connect(address).is_err());
    assert_eq!(table.io.accept(listener, 1), Err(status::NOT_FOUND));
    assert_eq!(table.io.write(id, b"streams stay"), Ok(12));
}

#[test]
fn nothing_is_reached_but_by_grant() {
    let mut table = Table::new(100);
    let status_of =
        |table: &mut Table, kind, grant, address| table.io.open(kind, grant, address).unwrap_err().status;
    assert_eq!(status_of(&mut table, io::TCP_LISTEN, "other", ""), status::NOT_FOUND);
    assert_eq!(status_of(&mut table, io::TCP_LISTEN, "up", ""), status::DENIED);
    assert_eq!(status_of(&mut table, io::TCP_CONNECT, "wan", "127.0.0.1:9"), status::DENIED);
    assert_eq!(status_of(&mut table, io::TCP_CONNECT, "up", "10.0.0.1:9"), status::DENIED);
    assert_eq!(status_of(&mut table, io::TCP_CONNECT, "up", "localhost:9"), status::ARGUMENT);
    assert_eq!(status_of(&mut table, io::UDP, "wan", ""), status::DENIED);
    assert_eq!(status_of(&mut table, io::STREAM, "", ""), status::NOT_FOUND);
    assert_eq!(status_of(&mut table, 77, "wan", ""), status::ARGUMENT);
}

#[test]
fn a_connection_that_fails_says_why_by_reading() {
    let mut table = Table::new(100);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let id = table.io.open(io::TCP_CONNECT, "", &free.to_string()).unwrap();
    table.io.interest(id, ready::WRITABLE);
    table.until(id, ready::WRITABLE | ready::ERROR);
    assert_eq!(table.read(id, 1), Err(status::NOT_FOUND), "nobody listens there");
}
