//! Waits for sockets, for the time and for a bell (Linux epoll).
//!
//! Edge-triggered: the I/O table remembers what is ready, so that changing an interest is no system call,
//! and the flag for a closed peer is seen, so that a short read needs no second one to end it.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Events taken from the kernel at a time.
const EVENTS_MAX: usize = 1024;
/// The key of the bell.
const BELL: u64 = u64::MAX;

/// Waits for sockets, for the time and for a bell.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    bell: OwnedFd,
    rung: AtomicBool,
}

/// What the kernel told of one socket.
#[derive(Clone, Copy, Debug)]
pub struct Told {
    /// The key that it was added with.
    pub key: u64,
    /// `EPOLL*` flags.
    pub flags: u32,
}

/// Where [`Poller::wait`] puts what it was told.
pub struct Events(Vec<libc::epoll_event>);

impl Default for Events {
    fn default() -> Self {
        Self(vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX])
    }
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Events(..)")
    }
}

impl Poller {
    /// A poller with nothing to wait for but its bell.
    ///
    /// # Errors
    /// The operating system's: no descriptor is left, for one.
    pub fn new() -> io::Result<Self> {
        // SAFETY: no pointers; the answer is checked.
        let epoll = owned(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: as above.
        let bell = owned(unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) })?;
        let poller = Self { epoll, bell, rung: AtomicBool::new(false) };
        poller.control(poller.bell.as_raw_fd(), BELL, libc::EPOLLIN | libc::EPOLLET)?;
        Ok(poller)
    }

    /// Waits for this socket too, until it is closed. `key` is not [`u64::MAX`].
    ///
    /// # Errors
    /// The operating system's.
    pub fn add(&self, socket: &impl AsRawFd, key: u64) -> io::Result<()> {
        let flags = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        self.control(socket.as_raw_fd(), key, flags)
    }

    fn control(&self, fd: RawFd, key: u64, flags: i32) -> io::Result<()> {
        let mut event = libc::epoll_event { events: flags.cast_unsigned(), u64: key };
        // SAFETY: both descriptors are open and `event` lives for the call.
        let code =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) };
        if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Ends the present wait, or the next one. From any thread; one system call at most for each wait.
    pub fn ring(&self) {
        if self.rung.swap(true, Ordering::AcqRel) {
            return;
        }
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight octets are read from `one`. A full counter wakes the waiter as well.
        let _ = unsafe { libc::write(self.bell.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Waits at most `limit` (rounded up to milliseconds) and gives each socket told of to `tell`.
    ///
    /// # Errors
    /// The operating system's.
    pub fn wait(&self, events: &mut Events, limit: Duration, mut tell: impl FnMut(Told)) -> io::Result<()> {
        let millis = i32::try_from(limit.as_nanos().div_ceil(1_000_000)).unwrap_or(i32::MAX);
        let room = i32::try_from(events.0.len()).unwrap_or(i32::MAX);
        // SAFETY: there is room for `room` events.
        let count = unsafe { libc::epoll_wait(self.epoll.as_raw_fd(), events.0.as_mut_ptr(), room, millis) };
        // Who rang before this line is heard now; who rings later wakes the next wait.
        self.rung.swap(false, Ordering::AcqRel);
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(()) } else { Err(error) };
        };
        for event in events.0.iter().take(count).filter(|event| event.u64 != BELL) {
            tell(Told { key: event.u64, flags: event.events });
        }
        Ok(())
    }
}

/// Takes charge of a descriptor just made.
fn owned(fd: RawFd) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_bell_rung_before_the_wait_ends_it() {
        let poller = Poller::new().unwrap();
        for _ in 0..3 {
            poller.ring();
            poller.ring();
            // Would stand for a minute if the bell were lost.
            poller.wait(&mut Events::default(), Duration::from_secs(60), |_| {}).unwrap();
        }
    }

    #[test]
    fn a_bell_rung_during_the_wait_ends_it() {
        let poller = Arc::new(Poller::new().unwrap());
        let ringer = Arc::clone(&poller);
        let thread = std::thread::spawn(move || ringer.ring());
        poller.wait(&mut Events::default(), Duration::from_secs(60), |_| {}).unwrap();
        thread.join().unwrap();
    }
}
