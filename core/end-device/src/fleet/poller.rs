//! Waiting for sockets.

use std::io;
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;

/// Sockets that are told at once.
const EVENTS: usize = 1024;

/// What is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ready {
    /// Whose socket.
    pub(super) relay: usize,
    /// There is something to read, or the connection has ended.
    pub(super) readable: bool,
    /// It takes something to write, or is made.
    pub(super) writable: bool,
}

/// An epoll instance; sockets leave it when they are closed.
pub(super) struct Poller {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poller {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(EVENTS) })
    }

    /// Watches a relay's new socket.
    pub(super) fn add(&self, relay: usize, socket: &TcpStream, write: bool) -> io::Result<()> {
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(relay as u64), interest(write))?)
    }

    /// Watches it for room to write too, or no more.
    pub(super) fn change(&self, relay: usize, socket: &TcpStream, write: bool) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, socket, EventData::new_u64(relay as u64), interest(write))?)
    }

    /// Waits until something is ready, or so long.
    pub(super) fn wait(&mut self, limit: Duration, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let limit = Timespec::try_from(limit).map_err(io::Error::other)?;
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&limit)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        ready.extend(self.events.iter().map(|event| {
            let (flags, data) = (event.flags, event.data);
            let ended = flags.intersects(EventFlags::HUP | EventFlags::ERR);
            Ready {
                relay: usize::try_from(data.u64()).unwrap_or(usize::MAX),
                readable: ended || flags.contains(EventFlags::IN),
                writable: ended || flags.contains(EventFlags::OUT),
            }
        }));
        Ok(())
    }
}

fn interest(write: bool) -> EventFlags {
    if write { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN }
}
