//! A cell relay: one TCP connection, a plain pipe of APDUs back to back (RFC 6142).

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use c1222::apdu::measure;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

use super::poller::Poller;
use crate::mix::mix_below;

/// Octets in one write, where there are so many.
const WRITE_MIN: usize = 32 << 10;
/// With less than that waiting it is written all the same after this.
const HOLD_US: u64 = 2_000;
/// With so much waiting no more is taken.
const WAITING_MAX: usize = 256 << 10;
/// The longest APDU in either direction.
const APDU_MAX: usize = 4096;
/// Octets in one read.
const READ_MAX: usize = 64 << 10;
/// A lost connection is made again after this; then after twice that, and so on ...
const RETRY_MIN_US: u64 = 100_000;
/// ... up to this.
const RETRY_MAX_US: u64 = 5_000_000;
/// A connection that is not made by then is given up.
const CONNECT_LIMIT_US: u64 = 10_000_000;

#[derive(Debug)]
enum Link {
    Down { retry_us: u64 },
    Connecting { socket: TcpStream, limit_us: u64 },
    Up(TcpStream),
}

/// What reading brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadEnd {
    /// There may be more.
    More,
    /// Nothing for now.
    Empty,
    /// The connection has ended.
    Ended,
}

/// One cell relay.
#[derive(Debug)]
pub(super) struct Relay {
    number: usize,
    link: Link,
    /// What waits to be written. It begins with a whole APDU, so that the lost ones can be counted.
    out: Vec<u8>,
    /// How much of it is written.
    written: usize,
    /// Since when something waits.
    since_us: u64,
    /// The beginning of an APDU that came.
    rest: Vec<u8>,
    /// The connection takes no more for now.
    blocked: bool,
    attempts: u32,
}

impl Relay {
    pub(super) fn new(number: usize) -> Self {
        Self {
            number,
            link: Link::Down { retry_us: 0 },
            out: Vec::new(),
            written: 0,
            since_us: 0,
            rest: Vec::new(),
            blocked: false,
            attempts: 0,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.link, Link::Up(_))
    }

    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.link, Link::Connecting { .. })
    }

    /// Whether it takes more to send.
    pub(super) fn has_room(&self) -> bool {
        self.is_up() && self.out.len() < WAITING_MAX
    }

    /// Whether everything was written.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Where APDUs are appended.
    pub(super) fn out(&mut self, now_us: u64) -> &mut Vec<u8> {
        if self.out.is_empty() {
            self.since_us = now_us;
        }
        &mut self.out
    }

    /// Begins a connection when it is time for one; answers whether it has begun.
    pub(super) fn dial(
        &mut self,
        poller: &Poller,
        addresses: &[SocketAddr],
        now_us: u64,
    ) -> io::Result<bool> {
        match self.link {
            Link::Down { retry_us } if now_us >= retry_us => {}
            _ => return Ok(false),
        }
        // One address after the other, where the head-end's name has several.
        let place = self.attempts as usize % addresses.len().max(1);
        let Some(address) = addresses.get(place) else { return Ok(false) };
        self.retry_later(now_us);
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = socket_with(family, SocketType::STREAM, flags, None)?;
        match connect(&socket, address) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let socket = TcpStream::from(socket);
        poller.add(self.number, &socket, true)?;
        self.link = Link::Connecting { socket, limit_us: now_us.saturating_add(CONNECT_LIMIT_US) };
        Ok(true)
    }

    /// The socket of a connection that was begun is writable: it is made, or has failed.
    pub(super) fn dialled(&mut self, poller: &Poller, now_us: u64) -> io::Result<()> {
        let Link::Connecting { socket, .. } = std::mem::replace(&mut self.link, Link::Down { retry_us: 0 })
        else {
            return Ok(());
        };
        self.retry_later(now_us);
        if let Some(error) = socket.take_error()? {
            return Err(error);
        }
        socket.set_nodelay(true)?;
        poller.change(self.number, &socket, false)?;
        self.link = Link::Up(socket);
        self.attempts = 0;
        Ok(())
    }

    /// Whether a connection takes too long to be made; it is given up then.
    pub(super) fn give_up(&mut self, now_us: u64) -> bool {
        let late = matches!(self.link, Link::Connecting { limit_us, .. } if now_us >= limit_us);
        if late {
            self.retry_later(now_us);
        }
        late
    }

    /// The connection has ended; answers how many APDUs were not wholly written.
    pub(super) fn lost(&mut self, now_us: u64) -> u64 {
        let (mut at, mut lost) = (0, 0);
        while let Some(Ok(Some(len))) = self.out.get(at..).map(|rest| measure(rest, APDU_MAX)) {
            at = at.saturating_add(len);
            lost += u64::from(at > self.written);
        }
        self.out.clear();
        self.rest.clear();
        (self.written, self.blocked) = (0, false);
        self.retry_later(now_us);
        lost
    }

    fn retry_later(&mut self, now_us: u64) {
        let pause = RETRY_MIN_US.saturating_mul(1 << self.attempts.min(20)).min(RETRY_MAX_US);
        let spread = mix_below(self.number as u64, u64::from(self.attempts), pause / 2);
        self.attempts = self.attempts.saturating_add(1);
        self.link = Link::Down { retry_us: now_us.saturating_add(pause - pause / 4 + spread) };
    }

    /// Whether what waits should be written now: any of it, or only where it is much or has waited long.
    pub(super) fn is_ripe(&self, now_us: u64, any: bool) -> bool {
        !self.blocked
            && !self.out.is_empty()
            && (any
                || self.out.len() - self.written >= WRITE_MIN
                || now_us >= self.since_us.saturating_add(HOLD_US))
    }

    /// Writes what waits, as far as the connection takes it; answers how many octets it took.
    pub(super) fn write(&mut self, poller: &Poller) -> io::Result<usize> {
        let Link::Up(socket) = &mut self.link else { return Ok(0) };
        let mut count = 0;
        let full = loop {
            let waiting = self.out.get(self.written..).unwrap_or_default();
            if waiting.is_empty() {
                break false;
            }
            match socket.write(waiting) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.written = self.written.saturating_add(taken);
                    count += taken;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        if !full {
            self.out.clear();
            self.written = 0;
        }
        if full != self.blocked {
            poller.change(self.number, socket, full)?;
            self.blocked = full;
        }
        Ok(count)
    }

    /// Octets of the beginning of an APDU that came.
    pub(super) fn held(&self) -> usize {
        self.rest.len()
    }

    /// Reads once, behind the beginning of an APDU that came before. The octets are the first `usize` of
    /// `inbox`, which is made long enough.
    pub(super) fn read(&mut self, inbox: &mut Vec<u8>) -> (usize, ReadEnd) {
        let Link::Up(socket) = &mut self.link else { return (0, ReadEnd::Empty) };
        let held = self.rest.len();
        if inbox.len() < held.saturating_add(READ_MAX) {
            inbox.resize(held.saturating_add(READ_MAX), 0);
        }
        let (before, room) = inbox.split_at_mut(held);
        before.copy_from_slice(&self.rest);
        self.rest.clear();
        match socket.read(room) {
            Ok(0) => (held, ReadEnd::Ended),
            Ok(read) if read < room.len() => (held + read, ReadEnd::Empty),
            Ok(read) => (held + read, ReadEnd::More),
            Err(error) if error.kind() == ErrorKind::WouldBlock => (held, ReadEnd::Empty),
            Err(error) if error.kind() == ErrorKind::Interrupted => (held, ReadEnd::More),
            Err(_) => (held, ReadEnd::Ended),
        }
    }

    /// Keeps the beginning of an APDU for the next read.
    pub(super) fn keep(&mut self, rest: &[u8]) {
        self.rest.extend_from_slice(rest);
    }

    /// Nothing more will be sent; what the head-end still sends can be read.
    pub(super) fn end(&self) -> io::Result<()> {
        match &self.link {
            Link::Up(socket) => socket.shutdown(Shutdown::Write),
            _ => Ok(()),
        }
    }
}

/// The first APDU of what came: its length, `None` when it is not whole yet.
///
/// # Errors
/// When no APDU begins here, or one that is too long: the rest of the stream means nothing then.
pub(super) fn first(octets: &[u8]) -> Result<Option<usize>, c1222::DecodeError> {
    Ok(measure(octets, APDU_MAX)?.filter(|len| *len <= octets.len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::time::Duration;

    const APDU: [u8; 5] = [0x60, 3, 1, 2, 3];

    /// Waits until something happens at the relay's socket.
    fn wait(poller: &mut Poller) {
        let mut ready = Vec::new();
        while ready.is_empty() {
            poller.wait(Duration::from_secs(5), &mut ready).unwrap();
        }
    }

    #[test]
    fn what_was_not_wholly_written_is_lost() {
        for (written, lost) in [(0, 3), (1, 3), (4, 3), (5, 2), (14, 1), (15, 0)] {
            let mut relay = Relay::new(0);
            relay.out(1).extend_from_slice(&APDU.repeat(3));
            relay.written = written;
            assert_eq!((relay.lost(1), relay.is_empty()), (lost, true), "{written}");
        }
    }

    #[test]
    fn it_connects_writes_reads_and_comes_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = [listener.local_addr().unwrap()];
        let mut poller = Poller::new().unwrap();
        let mut relay = Relay::new(7);
        assert!(!relay.has_room() && relay.dial(&poller, &address, 1).unwrap() && relay.is_connecting());
        wait(&mut poller);
        relay.dialled(&poller, 1).unwrap();
        assert!(relay.is_up() && relay.has_room());
        let (mut peer, _) = listener.accept().unwrap();

        relay.out(10).extend_from_slice(&APDU);
        assert!(!relay.is_ripe(11, false) && relay.is_ripe(11, true) && relay.is_ripe(10 + HOLD_US, false));
        assert_eq!((relay.write(&poller).unwrap(), relay.is_empty()), (5, true));
        let mut came = [0; 5];
        peer.read_exact(&mut came).unwrap();
        assert_eq!(came, APDU);

        // An APDU and the beginning of another one, then the rest of that.
        let mut inbox = Vec::new();
        peer.write_all(&[&APDU[..], &APDU[..3]].concat()).unwrap();
        wait(&mut poller);
        assert_eq!(relay.read(&mut inbox), (8, ReadEnd::Empty));
        assert_eq!((first(&inbox[..8]), first(&inbox[5..8])), (Ok(Some(5)), Ok(None)));
        relay.keep(&inbox[5..8]);
        peer.write_all(&APDU[3..]).unwrap();
        wait(&mut poller);
        assert_eq!((relay.held(), relay.read(&mut inbox)), (3, (5, ReadEnd::Empty)));
        assert_eq!(inbox[..5], APDU);

        drop(peer);
        wait(&mut poller);
        assert_eq!(relay.read(&mut inbox), (0, ReadEnd::Ended));
        relay.lost(20);
        assert!(!relay.dial(&poller, &address, 21).unwrap());
        assert!(relay.dial(&poller, &address, 20 + 2 * RETRY_MIN_US).unwrap());
    }

    #[test]
    fn a_full_connection_is_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut poller, mut relay) = (Poller::new().unwrap(), Relay::new(0));
        relay.dial(&poller, &[listener.local_addr().unwrap()], 1).unwrap();
        wait(&mut poller);
        relay.dialled(&poller, 1).unwrap();
        let (peer, _) = listener.accept().unwrap();
        let mut written = 0;
        while !relay.blocked {
            relay.out(1).extend_from_slice(&APDU.repeat(10_000));
            written += relay.write(&poller).unwrap();
        }
        relay.out(1).extend_from_slice(&vec![0; WAITING_MAX]);
        assert!(!relay.has_room() && !relay.is_ripe(u64::MAX, true));
        let reader = std::thread::spawn(move || {
            let mut count = 0;
            io::copy(&mut { peer }, &mut Counting(&mut count)).unwrap();
            count
        });
        let all = written + relay.out.len() - relay.written;
        while !relay.is_empty() {
            wait(&mut poller);
            relay.write(&poller).unwrap();
        }
        drop(relay);
        assert_eq!(reader.join().unwrap(), all);
    }

    struct Counting<'c>(&'c mut usize);

    impl Write for Counting<'_> {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            *self.0 += octets.len();
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
}
