//! A host in memory, for tests of a driver: time that the test moves, sockets that it fills and empties.
//!
//! Nothing waits and nothing is left to chance, so that a time-out of an hour is tested in no time.

mod table;

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::abi::{self, Frame, Readiness, Status, ready, status};
use crate::batch::BatchOut;
use crate::host::{Host, Waker};

/// A socket of the simulated host: a listener, or one end of a stream.
#[derive(Debug, Default)]
struct Socket {
    listens: bool,
    /// Whether the connection is made.
    up: bool,
    peer: String,
    /// What the driver can read.
    incoming: VecDeque<u8>,
    /// The peer sends no more.
    ended: bool,
    /// What reading (behind the octets that have come) and writing answer.
    fault: Option<Status>,
    /// What the driver has written.
    written: Vec<u8>,
    /// Octets that it may still write.
    room: usize,
    want: u32,
    /// Connections to be accepted.
    waiting: VecDeque<u32>,
}

impl Socket {
    fn have(&self) -> u32 {
        let flag = |holds: bool, bits: u32| if holds { bits } else { 0 };
        flag(!self.incoming.is_empty() || !self.waiting.is_empty(), ready::READABLE)
            | flag(self.ended, ready::READABLE | ready::CLOSED)
            | flag(self.fault.is_some(), ready::READABLE | ready::WRITABLE | ready::ERROR)
            | flag(self.up && self.room > 0, ready::WRITABLE)
    }
}

#[derive(Debug)]
struct State {
    now: u64,
    seed: u64,
    next: u32,
    sockets: BTreeMap<u32, Socket>,
    refusal: Option<Status>,
    lines: Vec<String>,
    counters: BTreeMap<String, u64>,
    wakes: u64,
}

/// A host in memory.
#[derive(Debug)]
pub struct SimHost {
    raw: Rc<abi::Host>,
    waker: Waker,
    state: Arc<Mutex<State>>,
}

impl Default for SimHost {
    /// A host at one second, without sockets.
    fn default() -> Self {
        let state = Arc::new(Mutex::new(State {
            now: 1_000_000_000,
            seed: 1,
            next: 1,
            sockets: BTreeMap::new(),
            refusal: None,
            lines: Vec::new(),
            counters: BTreeMap::new(),
            wakes: 0,
        }));
        let raw = Rc::new(table::functions(Arc::as_ptr(&state).cast_mut().cast()));
        // SAFETY: `raw` stays where it is until this host is dropped, which revokes the waker first.
        let waker = unsafe { Waker::new(Rc::as_ptr(&raw)) };
        Self { raw, waker, state }
    }
}

impl Drop for SimHost {
    fn drop(&mut self) {
        self.waker.revoke();
    }
}

impl SimHost {
    /// The host, as a driver is given it for one call.
    #[must_use]
    pub fn host(&self) -> Host<'_> {
        // SAFETY: the table and its `ctx` live as long as `self`, and a test that calls a driver with this
        // is within a call of the driver.
        unsafe { Host::new(&self.raw, &self.waker) }
    }

    /// The table itself, for a test of the C side; it lives as long as `self`.
    #[must_use]
    pub fn table(&self) -> *const abi::Host {
        Rc::as_ptr(&self.raw)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<R>(&self, id: u32, work: impl FnOnce(&mut Socket) -> R) -> Option<R> {
        self.state().sockets.get_mut(&id).map(work)
    }

    /// Time, ns.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.state().now
    }

    /// Lets time pass.
    pub fn advance(&self, ns: u64) {
        let mut state = self.state();
        state.now = state.now.saturating_add(ns);
    }

    /// What is ready and asked for.
    #[must_use]
    pub fn ready(&self) -> Vec<Readiness> {
        let told = |(id, socket): (&u32, &Socket)| {
            let asked = socket.have() & socket.want & (ready::READABLE | ready::WRITABLE);
            let ready = socket.have() & (socket.want | ready::CLOSED | ready::ERROR);
            (asked != 0).then_some(Readiness { id: *id, ready })
        };
        self.state().sockets.iter().filter_map(told).collect()
    }

    /// The open listeners.
    #[must_use]
    pub fn listeners(&self) -> Vec<u32> {
        self.state().sockets.iter().filter(|(_, socket)| socket.listens).map(|(id, _)| *id).collect()
    }

    /// The connections that the driver has begun and that are not made yet.
    #[must_use]
    pub fn dialled(&self) -> Vec<u32> {
        let begun = |socket: &Socket| !socket.listens && !socket.up && socket.fault.is_none();
        self.state().sockets.iter().filter(|(_, socket)| begun(socket)).map(|(id, _)| *id).collect()
    }

    /// A peer connects to a listener; answers the socket that the driver will accept.
    pub fn connect(&self, listener: u32) -> u32 {
        let mut state = self.state();
        let id = state.next;
        let peer = format!("192.0.2.1:{id}");
        let room = usize::MAX;
        state.add(Socket { up: true, peer, room, ..Socket::default() });
        if let Some(listener) = state.sockets.get_mut(&listener) {
            listener.waiting.push_back(id);
        }
        id
    }

    /// A connection that the driver has begun is made.
    pub fn establish(&self, id: u32) {
        self.with(id, |socket| (socket.up, socket.room) = (true, usize::MAX));
    }

    /// Octets arrive.
    pub fn feed(&self, id: u32, octets: &[u8]) {
        self.with(id, |socket| socket.incoming.extend(octets));
    }

    /// The peer closes its side.
    pub fn end(&self, id: u32) {
        self.with(id, |socket| socket.ended = true);
    }

    /// The connection breaks: reading (behind what has come) and writing answer `code`.
    pub fn fail(&self, id: u32, code: Status) {
        self.with(id, |socket| socket.fault = Some(code));
    }

    /// The driver may write so many more octets.
    pub fn set_room(&self, id: u32, octets: usize) {
        self.with(id, |socket| socket.room = octets);
    }

    /// Opening anything fails with `code`, until told otherwise.
    pub fn refuse(&self, code: Option<Status>) {
        self.state().refusal = code;
    }

    /// Takes what the driver has written.
    pub fn written(&self, id: u32) -> Vec<u8> {
        self.with(id, |socket| std::mem::take(&mut socket.written)).unwrap_or_default()
    }

    /// Octets that the driver has not read yet.
    #[must_use]
    pub fn unread(&self, id: u32) -> usize {
        self.with(id, |socket| socket.incoming.len()).unwrap_or(0)
    }

    /// Whether the driver has not closed it.
    #[must_use]
    pub fn is_open(&self, id: u32) -> bool {
        self.state().sockets.contains_key(&id)
    }

    /// What the driver has logged.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.state().lines.clone()
    }

    /// A counter of the driver's own.
    #[must_use]
    pub fn counter(&self, name: &str) -> u64 {
        self.state().counters.get(name).copied().unwrap_or(0)
    }

    /// How often the driver asked to be polled.
    #[must_use]
    pub fn wakes(&self) -> u64 {
        self.state().wakes
    }
}

impl State {
    fn add(&mut self, socket: Socket) -> u32 {
        let id = self.next;
        self.next = id.saturating_add(1);
        self.sockets.insert(id, socket);
        id
    }

    fn read(&mut self, id: u32, into: &mut [u8]) -> Result<usize, Status> {
        let socket = self.sockets.get_mut(&id).ok_or(status::NOT_FOUND)?;
        if socket.incoming.is_empty() {
            let quiet = if socket.ended { status::CLOSED } else { status::WOULD_BLOCK };
            return Err(socket.fault.unwrap_or(quiet));
        }
        let count = into.len().min(socket.incoming.len());
        into.iter_mut().zip(socket.incoming.drain(..count)).for_each(|(to, from)| *to = from);
        Ok(count)
    }

    fn write(&mut self, id: u32, octets: &[u8]) -> Result<usize, Status> {
        let socket = self.sockets.get_mut(&id).ok_or(status::NOT_FOUND)?;
        if let Some(fault) = socket.fault {
            return Err(fault);
        }
        let taken = octets.get(..octets.len().min(socket.room)).unwrap_or_default();
        socket.room = socket.room.saturating_sub(taken.len());
        socket.written.extend_from_slice(taken);
        if taken.is_empty() { Err(status::WOULD_BLOCK) } else { Ok(taken.len()) }
    }
}

/// Room for received frames, as a host brings it.
#[derive(Debug)]
pub struct Room {
    data: Vec<u8>,
    frames: Vec<Frame>,
    used: usize,
    count: usize,
}

impl Room {
    /// Room for so many octets and frames.
    #[must_use]
    pub fn new(octets: usize, frames: usize) -> Self {
        Self { data: vec![0; octets], frames: vec![Frame::default(); frames], used: 0, count: 0 }
    }

    /// Lends the room, emptied, to a driver.
    pub fn lend<R>(&mut self, work: impl FnOnce(&mut BatchOut<'_>) -> R) -> R {
        let mut raw = abi::BatchOut {
            data: self.data.as_mut_ptr(),
            data_cap: self.data.len(),
            data_len: 0,
            frames: self.frames.as_mut_ptr(),
            frame_cap: u32::try_from(self.frames.len()).unwrap_or(u32::MAX),
            frame_count: 0,
        };
        // SAFETY: both arrays have these sizes, are initialised, and are touched by nobody else meanwhile.
        let result = work(&mut unsafe { BatchOut::new(&mut raw) });
        self.used = raw.data_len;
        self.count = usize::try_from(raw.frame_count).unwrap_or(0);
        result
    }

    /// The frames of the last call, with their octets.
    pub fn frames(&self) -> impl Iterator<Item = (&Frame, &[u8])> {
        let used = self.data.get(..self.used).unwrap_or_default();
        self.frames.iter().take(self.count).map(move |frame| {
            let start = frame.offset as usize;
            (frame, used.get(start..start.saturating_add(frame.len as usize)).unwrap_or_default())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::{IoKind, Level};

    #[test]
    fn a_stream_tells_what_it_has() {
        let sim = SimHost::default();
        let host = sim.host();
        let listener = host.io_open(IoKind::TcpListen, "wan", "").unwrap();
        host.io_interest(listener, ready::READABLE);
        assert!(sim.ready().is_empty());
        let peer = sim.connect(listener);
        assert_eq!(sim.ready(), [Readiness { id: listener, ready: ready::READABLE }]);
        assert_eq!(host.io_accept(listener), Ok(peer));
        assert_eq!(host.io_accept(listener), Err(status::WOULD_BLOCK));
        host.io_interest(peer, ready::READABLE);
        sim.feed(peer, b"abc");
        let mut octets = [0; 2];
        assert_eq!((host.io_read(peer, &mut octets), octets), (Ok(2), *b"ab"));
        sim.end(peer);
        assert_eq!(sim.ready(), [Readiness { id: peer, ready: ready::READABLE | ready::CLOSED }]);
        assert_eq!(host.io_read(peer, &mut octets), Ok(1));
        assert_eq!(host.io_read(peer, &mut octets), Err(status::CLOSED));
        sim.set_room(peer, 2);
        assert_eq!(
            (host.io_write(peer, b"xyz"), host.io_write(peer, b"z")),
            (Ok(2), Err(status::WOULD_BLOCK))
        );
        assert_eq!(sim.written(peer), b"xy");
        host.io_close(peer);
        assert!(!sim.is_open(peer));
    }

    #[test]
    fn a_drivers_own_thread_reaches_the_host_until_it_is_gone() {
        let sim = SimHost::default();
        let waker = sim.host().waker();
        let thread = waker.clone();
        let joined = std::thread::spawn(move || {
            thread.wake();
            thread.counter_add("beats", 3);
            thread.log(Level::Info, "from a thread");
            thread.now()
        });
        assert_eq!(joined.join().unwrap(), sim.now());
        assert_eq!((sim.wakes(), sim.counter("beats"), sim.lines().len()), (1, 3, 1));
        drop(sim);
        waker.wake();
        assert_eq!(waker.now(), 0);
    }
}
