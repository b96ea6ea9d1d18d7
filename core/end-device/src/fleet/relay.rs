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
