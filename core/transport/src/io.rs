//! The host's table of I/O objects: sockets that belong to the host and are used by a plugin.
//!
//! The kernel tells of changes (edges); the table remembers what is ready and gives it to the plugin as a
//! level: again and again, as long as it holds and is asked for.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use transport_sdk::Readiness;
use transport_sdk::abi::{io as kind, ready, status};

use crate::bound::BoundAddresses;
use crate::datagram::{DATAGRAM_MAX, Datagram};
use crate::grants::{Grant, Grants};
use crate::pipe::{PipeEnd, PipeError};
use crate::poller::{Poller, Told};
use crate::{serial, socket};

/// The low bits of an object's number are its place, the rest tells its successive users apart.
const PLACE_BITS: u32 = 20;
const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;
/// Most objects of one transport, whatever its limits say.
pub const SOCKETS_MAX: usize = 1 << PLACE_BITS;
/// Objects told of in one poll.
const READY_MAX: usize = 4096;
/// Connections that ended before they were taken and are passed over in one accept.
const ABORTED_MAX: usize = 16;
/// How long nobody is accepted after descriptors ran out, ns.
const BACK_OFF: u64 = 200_000_000;

/// Something that the host noticed by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// A kebab-case word.
    pub reason: &'static str,
    /// For people.
    pub detail: String,
}

/// Why an object could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenError {
    /// One of the contract's.
    pub status: i32,
    /// One line for people.
    pub text: String,
    /// `errno`, or 0.
    pub os_error: i32,
}

#[derive(Debug)]
enum Socket {
    Listener(TcpListener),
    Stream(TcpStream),
    Datagram(Datagram),
    Line(File),
    Pipe(PipeEnd),
}

#[derive(Debug)]
struct Object {
    socket: Socket,
    peer: Option<SocketAddr>,
    /// What is ready.
    have: u32,
    /// What the plugin wants to be told of.
    want: u32,
    /// Whether it is in the list of ready objects.
    listed: bool,
}

/// The table of one transport.
#[derive(Debug)]
pub struct Io {
    poller: Arc<Poller>,
    grants: Grants,
    sockets_max: usize,
    places: Vec<(u32, Option<Object>)>,
    free: Vec<u32>,
    open: usize,
    ready: VecDeque<u32>,
    /// Pipes, of which no kernel tells.
    pipes: Vec<u32>,
    /// Where a datagram is received; made with the first.
    scratch: Vec<u8>,
    /// Listeners that wait until descriptors are free again, and when to look.
    paused: Vec<u32>,
    resume_at: u64,
    earlier: BoundAddresses,
    bound: BoundAddresses,
    notices: Vec<Notice>,
}

impl Io {
    /// An empty table for at most `sockets_max` objects. Where a grant leaves the port open, that of
    /// `earlier` is taken if it is free.
    #[must_use]
    pub fn new(poller: Arc<Poller>, grants: Grants, earlier: BoundAddresses, sockets_max: usize) -> Self {
        Self {
            poller,
            grants,
            earlier,
            sockets_max: sockets_max.min(SOCKETS_MAX),
            places: Vec::new(),
            free: Vec::new(),
            open: 0,
            ready: VecDeque::new(),
            pipes: Vec::new(),
            scratch: Vec::new(),
            paused: Vec::new(),
            resume_at: 0,
            bound: BoundAddresses::default(),
            notices: Vec::new(),
        }
    }

    /// Where it listens, by grant.
    #[must_use]
    pub fn bound(&self) -> &BoundAddresses {
        &self.bound
    }

    /// What was noticed since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Remembers what the kernel told.
    pub fn told(&mut self, told: Told) {
        let flag = |flag: i32| told.flags & flag.cast_unsigned() != 0;
        let mut have = 0;
        if flag(libc::EPOLLIN) {
            have |= ready::READABLE;
        }
        if flag(libc::EPOLLOUT) {
            have |= ready::WRITABLE;
        }
        if flag(libc::EPOLLRDHUP) {
            have |= ready::READABLE | ready::CLOSED;
        }
        if flag(libc::EPOLLHUP) {
            have |= ready::READABLE | ready::WRITABLE | ready::CLOSED;
        }
        if flag(libc::EPOLLERR) {
            have |= ready::READABLE | ready::WRITABLE | ready::ERROR;
        }
        let Ok(id) = u32::try_from(told.key) else { return };
        if let Some(object) = self.object(id) {
            object.have |= have;
        }
        self.list(id);
    }

    /// Whether something may be ready that is asked for.
    #[must_use]
    pub fn has_ready(&mut self) -> bool {
        self.look_at_pipes();
        !self.ready.is_empty()
    }

    fn look_at_pipes(&mut self) {
        for index in 0..self.pipes.len() {
            let Some(id) = self.pipes.get(index).copied() else { break };
            let Some(Object { socket: Socket::Pipe(pipe), have, .. }) = self.object(id) else { continue };
            let (readable, writable) = pipe.ready();
            *have = if readable { ready::READABLE } else { 0 } | if writable { ready::WRITABLE } else { 0 };
            self.list(id);
        }
    }

    /// When paused listeners are to be looked at again; 0 when there are none. Host time, ns.
    #[must_use]
    pub fn resume_at(&self) -> u64 {
        if self.paused.is_empty() { 0 } else { self.resume_at }
    }

    /// Puts what is ready and asked for into `out`, in turn.
    pub fn collect(&mut self, now: u64, out: &mut Vec<Readiness>) {
        out.clear();
        self.look_at_pipes();
        if !self.paused.is_empty() && now >= self.resume_at {
            for id in std::mem::take(&mut self.paused) {
                if let Some(object) = self.object(id) {
                    object.have |= ready::READABLE;
                }
                self.list(id);
            }
        }
        for _ in 0..self.ready.len().min(READY_MAX) {
            let Some(id) = self.ready.pop_front() else { break };
            let Some(object) = self.object(id) else { continue };
            if object.have & object.want & (ready::READABLE | ready::WRITABLE) == 0 {
                object.listed = false;
                continue;
            }
            let told = object.have & (object.want | ready::CLOSED | ready::ERROR);
            out.push(Readiness { id, ready: told });
            self.ready.push_back(id);
        }
    }

    /// Opens an object by grant.
    ///
    /// # Errors
    /// [`OpenError`]: no such grant, an address outside it, a limit, or the operating system's.
    pub fn open(&mut self, what: u32, grant: &str, address: &str) -> Result<u32, OpenError> {
        let refuse = |status: i32, text: String| OpenError { status, text, os_error: 0 };
        if self.open >= self.sockets_max {
            return Err(refuse(status::BUSY, format!("all {} sockets are in use", self.sockets_max)));
        }
        let Some(word) = word(what) else {
            return Err(refuse(status::ARGUMENT, format!("no kind of I/O object has the number {what}")));
        };
        let Some((name, found)) = self.grants.find(grant, |grant| grant.opens(what)) else {
            let text = if grant.is_empty() {
                format!("there is not exactly one {word} grant; name one")
            } else {
                format!("no grant is called `{grant}`")
            };
            return Err(refuse(status::NOT_FOUND, text));
        };
        if !found.opens(what) {
            return Err(refuse(status::DENIED, format!("grant `{name}` is none of {word}")));
        }
        let (name, found) = (name.to_owned(), found.clone());
        match found {
            Grant::TcpListen(at) => {
                let earlier = self.earlier.get(&name).filter(|_| at.port() == 0);
                let listener = earlier
                    .and_then(|earlier| socket::listen(earlier).ok())
                    .map_or_else(|| socket::listen(at), Ok);
                let opened = listener.and_then(|listener| {
                    let local = listener.local_addr()?;
                    Ok((self.insert(Socket::Listener(listener), None)?, local))
                });
                let (id, local) = opened.map_err(|e| os_error(&format!("listen on {at}"), &e))?;
                self.bound.0.insert(name, local);
                Ok(id)
            }
            Grant::TcpConnect(rules) => {
                let Ok(peer) = address.parse::<SocketAddr>() else {
                    return Err(refuse(status::ARGUMENT, format!("`{address}` is not IP:PORT")));
                };
                if !rules.iter().any(|rule| rule.covers(peer)) {
                    return Err(refuse(status::DENIED, format!("grant `{name}` does not cover {peer}")));
                }
                let stream = socket::connect(peer).and_then(|stream| {
                    socket::prepare(&stream)?;
                    self.insert(Socket::Stream(stream), Some(peer))
                });
                stream.map_err(|e| os_error(&format!("connect to {peer}"), &e))
            }
            Grant::Udp { bind, peers } => {
                let earlier = self.earlier.get(&name).filter(|_| bind.port() == 0);
                let datagram = earlier
                    .and_then(|earlier| Datagram::bind(earlier, peers.clone()).ok())
                    .map_or_else(|| Datagram::bind(bind, peers), Ok);
                let opened = datagram.and_then(|datagram| {
                    let local = datagram.socket.local_addr()?;
                    Ok((self.insert(Socket::Datagram(datagram), None)?, local))
                });
                let (id, local) = opened.map_err(|e| os_error(&format!("bind {bind}"), &e))?;
                self.bound.0.insert(name, local);
                Ok(id)
            }
            Grant::Serial(line) => {
                let opened = serial::open(&line).and_then(|file| self.insert(Socket::Line(file), None));
                opened.map_err(|e| os_error(&format!("open {}", line.device.display()), &e))
            }
            Grant::Pipe(pipe) => {
                let id = self.insert(Socket::Pipe(pipe), None);
                let id = id.map_err(|e| os_error("open a pipe", &e))?;
                self.pipes.push(id);
                Ok(id)
            }
        }
    }

    /// Takes a connection of a listener; answers its number or a status.
    ///
    /// # Errors
    /// `MG_E_WOULD_BLOCK`; `MG_E_BUSY` where that cannot be now (the listener then rests a while).
    pub fn accept(&mut self, id: u32, now: u64) -> Result<u32, i32> {
        if self.open >= self.sockets_max {
            let detail = format!("all {} sockets are in use", self.sockets_max);
            return Err(self.pause(id, now, "sockets-max", detail));
        }
        for _ in 0..ABORTED_MAX {
            let object = self.object(id).ok_or(status::NOT_FOUND)?;
            let Socket::Listener(listener) = &object.socket else { return Err(status::ARGUMENT) };
            match listener.accept() {
                Ok((stream, peer)) => {
                    if socket::prepare(&stream).is_ok() {
                        let added = self.insert(Socket::Stream(stream), Some(peer));
                        return added.map_err(|e| self.pause(id, now, "accept-failed", e.to_string()));
                    }
                    // The peer is gone already.
                }
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    object.have &= !ready::READABLE;
                    return Err(status::WOULD_BLOCK);
                }
                Err(e) if ended_before_accept(&e) => {}
                Err(e) => {
                    let reason = match e.raw_os_error() {
                        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM) => {
                            "descriptors-exhausted"
                        }
                        _ => "accept-failed",
                    };
                    return Err(self.pause(id, now, reason, e.to_string()));
                }
            }
        }
        Err(status::WOULD_BLOCK)
    }

    fn pause(&mut self, id: u32, now: u64, reason: &'static str, detail: String) -> i32 {
        if let Some(object) = self.object(id) {
            object.have &= !ready::READABLE;
            self.resume_at = now.saturating_add(BACK_OFF);
            if !self.paused.contains(&id) {
                self.paused.push(id);
            }
            self.notices.push(Notice { reason, detail });
        }
        status::BUSY
    }

    /// Reads from a stream; answers octets (at least 1) or a status.
    ///
    /// # Safety
    /// `into` must be writable for `len` octets.
    ///
    /// # Errors
    /// The contract's status.
    pub unsafe fn read(&mut self, id: u32, into: *mut u8, len: usize) -> Result<usize, i32> {
        if len == 0 {
            return Err(status::ARGUMENT);
        }
        let object = self.object(id).ok_or(status::NOT_FOUND)?;
        let Socket::Stream(stream) = &object.socket else {
            // SAFETY: the caller vouches for `len` writable octets; they are initialised first.
            let octets = unsafe {
                into.write_bytes(0, len);
                std::slice::from_raw_parts_mut(into, len)
            };
            return object.read_other(octets);
        };
        loop {
            // SAFETY: promised by the caller.
            match unsafe { socket::read(stream, into, len) } {
                Ok(0) => return Err(status::CLOSED),
                Ok(read) => {
                    // A short read empties the socket; the end of the stream is told apart by its flag.
                    if read < len && object.have & (ready::CLOSED | ready::ERROR) == 0 {
                        object.have &= !ready::READABLE;
                    }
                    return Ok(read);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    object.have &= !ready::READABLE;
                    return Err(status::WOULD_BLOCK);
                }
                Err(e) => return Err(stream_status(&e)),
            }
        }
    }

    /// As [`Self::read`], into memory that is initialised.
    ///
    /// # Errors
    /// The contract's status.
    pub fn read_into(&mut self, id: u32, into: &mut [u8]) -> Result<usize, i32> {
        // SAFETY: `into` is writable for its length.
        unsafe { self.read(id, into.as_mut_ptr(), into.len()) }
    }

    /// Writes to a stream; answers octets taken or a status.
    ///
    /// # Errors
    /// The contract's status.
    pub fn write(&mut self, id: u32, octets: &[u8]) -> Result<usize, i32> {
        let object = self.object(id).ok_or(status::NOT_FOUND)?;
        let stream: &mut dyn Write = match &mut object.socket {
            Socket::Stream(stream) => stream,
            Socket::Line(file) => file,
            Socket::Pipe(pipe) => return pipe.write(octets).map_err(pipe_status),
            Socket::Listener(_) | Socket::Datagram(_) => return Err(status::ARGUMENT),
        };
        loop {
            match stream.write(octets) {
                Ok(written) => {
                    if written < octets.len() {
                        object.have &= !ready::WRITABLE;
                    }
                    return Ok(written);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    object.have &= !ready::WRITABLE;
                    return Err(status::WOULD_BLOCK);
                }
                Err(e) => return Err(stream_status(&e)),
            }
        }
    }

    /// Sets what the plugin wants to be told of.
    pub fn interest(&mut self, id: u32, want: u32) {
        if let Some(object) = self.object(id) {
            object.want = want;
        }
        self.list(id);
    }

    /// Sends datagrams, each to the peer of its number; answers how many were taken.
    ///
    /// # Errors
    /// The contract's status, when the first one cannot be taken for another reason than want of room.
    pub fn send_to<'data>(
        &mut self,
        id: u32,
        datagrams: impl IntoIterator<Item = (u32, &'data [u8])>,
    ) -> Result<usize, i32> {
        let object = self.object(id).ok_or(status::NOT_FOUND)?;
        let Socket::Datagram(datagram) = &object.socket else { return Err(status::ARGUMENT) };
        let mut taken = 0_usize;
        for (peer, octets) in datagrams {
            match datagram.send(peer, octets) {
                Ok(true) => taken = taken.saturating_add(1),
                Ok(false) => {
                    object.have &= !ready::WRITABLE;
                    break;
                }
                Err(code) if taken == 0 => return Err(code),
                // Told when it is the first of a later call.
                Err(_) => break,
            }
        }
        Ok(taken)
    }

    /// Receives datagrams of known peers and gives each to `take`, with its sender's number; answers how many.
    /// One that would pass `octets_max` in all is left for the next call.
    ///
    /// # Errors
    /// `MG_E_WOULD_BLOCK`, when there is none; the contract's other statuses.
    pub fn receive_from(
        &mut self,
        id: u32,
        frames_max: usize,
        octets_max: usize,
        mut take: impl FnMut(u32, &[u8]),
    ) -> Result<usize, i32> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(DATAGRAM_MAX, 0);
        let result = (|| {
            let object = self.object(id).ok_or(status::NOT_FOUND)?;
            let Socket::Datagram(datagram) = &mut object.socket else { return Err(status::ARGUMENT) };
            let (mut taken, mut octets) = (0_usize, 0_usize);
            // The longest one must fit: it cannot be put back.
            while taken < frames_max && (taken == 0 || octets.saturating_add(DATAGRAM_MAX) <= octets_max) {
                match datagram.receive(&mut scratch) {
                    Ok((peer, length)) => {
                        take(peer, scratch.get(..length).unwrap_or_default());
                        (taken, octets) = (taken.saturating_add(1), octets.saturating_add(length));
                    }
                    Err(status::WOULD_BLOCK) => {
                        object.have &= !ready::READABLE;
                        break;
                    }
                    Err(code) if taken == 0 => return Err(code),
                    Err(_) => break,
                }
            }
            let refused = datagram.take_refused();
            Ok((taken, refused))
        })();
        self.scratch = scratch;
        let (taken, refused) = result?;
        if refused > 0 {
            let detail = format!("{refused} datagrams of senders that no grant covers");
            self.notices.push(Notice { reason: "datagrams-refused", detail });
        }
        if taken == 0 { Err(status::WOULD_BLOCK) } else { Ok(taken) }
    }

    /// The number of a datagram socket's peer.
    ///
    /// # Errors
    /// `MG_E_DENIED`, when the grant does not cover it; `MG_E_ARGUMENT`, when it is no address.
    pub fn peer_number(&mut self, id: u32, address: &str) -> Result<u32, i32> {
        let object = self.object(id).ok_or(status::NOT_FOUND)?;
        let Socket::Datagram(datagram) = &mut object.socket else { return Err(status::ARGUMENT) };
        datagram.number(address.parse().map_err(|_| status::ARGUMENT)?)
    }

    /// The address of a peer as people write it: an IPv4 peer of an IPv6 socket is an IPv4 peer. The number
    /// is 0 for a stream's only one.
    #[must_use]
    pub fn peer_address(&mut self, id: u32, peer: u32) -> Option<String> {
        let object = self.object(id)?;
        let address = match &object.socket {
            Socket::Datagram(datagram) => datagram.peer(peer)?,
            _ if peer == 0 => object.peer?,
            _ => return None,
        };
        Some(SocketAddr::new(address.ip().to_canonical(), address.port()).to_string())
    }

    /// Changes a serial line.
    ///
    /// # Errors
    /// `MG_E_UNSUPPORTED` where there is no such thing to change, `MG_E_ARGUMENT` for a wrong value.
    pub fn control(&mut self, id: u32, name: &str, value: u32) -> Result<(), i32> {
        let object = self.object(id).ok_or(status::NOT_FOUND)?;
        let Socket::Line(file) = &object.socket else { return Err(status::UNSUPPORTED) };
        serial::control(file, name, value).map_err(|error| match (error.kind(), error.raw_os_error()) {
            (_, Some(libc::ENOTTY | libc::EINVAL)) => status::UNSUPPORTED,
            (ErrorKind::InvalidInput, _) => status::ARGUMENT,
            _ => status::IO,
        })
    }

    /// Closes all listeners: nobody is accepted any more.
    pub fn close_listeners(&mut self) {
        let places = self.places.iter().zip(0u32..);
        let listeners: Vec<u32> = places
            .filter(|((_, object), _)| {
                object.as_ref().is_some_and(|object| matches!(object.socket, Socket::Listener(_)))
            })
            .map(|((turn, _), place)| (turn << PLACE_BITS) | place)
            .collect();
        listeners.into_iter().for_each(|id| self.close(id));
    }

    /// Closes an object; what was written still goes out.
    pub fn close(&mut self, id: u32) {
        let Some((turn, place)) = self.places.get_mut((id & PLACE_MASK) as usize) else { return };
        let object = if *turn == id >> PLACE_BITS { place.take() } else { None };
        let Some(object) = object else { return };
        if let Socket::Stream(stream) = &object.socket {
            // A peer that is gone already is no fault here.
            let _ = stream.shutdown(Shutdown::Write);
            socket::discard(stream);
        }
        if let Socket::Pipe(pipe) = &object.socket {
            pipe.close();
            self.pipes.retain(|pipe| *pipe != id);
        }
        self.paused.retain(|paused| *paused != id);
        self.free.push(id & PLACE_MASK);
        self.open = self.open.saturating_sub(1);
    }

    fn object(&mut self, id: u32) -> Option<&mut Object> {
        match self.places.get_mut((id & PLACE_MASK) as usize) {
            Some((turn, object)) if *turn == id >> PLACE_BITS => object.as_mut(),
            _ => None,
        }
    }

    /// Puts an object into the list when it is ready for what is asked.
    fn list(&mut self, id: u32) {
        if let Some(object) = self.object(id)
            && !object.listed
            && object.have & object.want & (ready::READABLE | ready::WRITABLE) != 0
        {
            object.listed = true;
            self.ready.push_back(id);
        }
    }

    fn insert(&mut self, socket: Socket, peer: Option<SocketAddr>) -> io::Result<u32> {
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                let place = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
                if place > PLACE_MASK {
                    return Err(io::Error::from(ErrorKind::QuotaExceeded));
                }
                self.places.push((0, None));
                place
            }
        };
        let Some((turn, slot)) = self.places.get_mut(place as usize) else {
            return Err(io::Error::from(ErrorKind::NotFound));
        };
        *turn = (*turn).saturating_add(1) & (u32::MAX >> PLACE_BITS);
        let id = (*turn << PLACE_BITS) | place;
        let added = match &socket {
            Socket::Listener(listener) => self.poller.add(listener, u64::from(id)),
            Socket::Stream(stream) => self.poller.add(stream, u64::from(id)),
            Socket::Datagram(datagram) => self.poller.add(&datagram.socket, u64::from(id)),
            Socket::Line(file) => self.poller.add(file, u64::from(id)),
            Socket::Pipe(_) => Ok(()),
        };
        if let Err(e) = added {
            self.free.push(place);
            return Err(e);
        }
        *slot = Some(Object { socket, peer, have: 0, want: 0, listed: false });
        self.open = self.open.saturating_add(1);
        Ok(id)
    }
}

impl Object {
    /// Reads from what is no socket.
    fn read_other(&mut self, into: &mut [u8]) -> Result<usize, i32> {
        let file = match &mut self.socket {
            Socket::Line(file) => file,
            Socket::Pipe(pipe) => return pipe.read(into).map_err(pipe_status),
            Socket::Listener(_) | Socket::Stream(_) | Socket::Datagram(_) => return Err(status::ARGUMENT),
        };
        loop {
            match file.read(into) {
                Ok(0) => return Err(status::CLOSED),
                Ok(read) => return Ok(read),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    self.have &= !ready::READABLE;
                    return Err(status::WOULD_BLOCK);
                }
                // The other side of a pseudoterminal, or the device, is gone.
                Err(e) if matches!(e.raw_os_error(), Some(libc::EIO | libc::ENXIO | libc::ENODEV)) => {
                    return Err(status::CLOSED);
                }
                Err(_) => return Err(status::IO),
            }
        }
    }
}

/// The word of a kind of object in a graph.
fn word(what: u32) -> Option<&'static str> {
    match what {
        kind::UDP => Some("udp"),
        kind::TCP_CONNECT => Some("tcp_connect"),
        kind::TCP_LISTEN => Some("tcp_listen"),
        kind::STREAM => Some("serial"),
        _ => None,
    }
}

fn pipe_status(error: PipeError) -> i32 {
    match error {
        PipeError::WouldBlock => status::WOULD_BLOCK,
        PipeError::Closed => status::CLOSED,
    }
}

/// Errors of connections that ended before they were accepted, and of the network under them (accept(2)).
fn ended_before_accept(error: &io::Error) -> bool {
    use libc::{
        ECONNABORTED, EHOSTDOWN, EHOSTUNREACH, EINTR, ENETDOWN, ENETUNREACH, ENONET, ENOPROTOOPT, EOPNOTSUPP,
        EPROTO,
    };
    matches!(
        error.raw_os_error(),
        Some(
            ECONNABORTED
                | EHOSTDOWN
                | EHOSTUNREACH
                | EINTR
                | ENETDOWN
                | ENETUNREACH
                | ENONET
                | ENOPROTOOPT
                | EOPNOTSUPP
                | EPROTO
        )
    )
}

/// The contract's status for an error on a stream.
fn stream_status(error: &io::Error) -> i32 {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => status::NOT_FOUND,
        Some(libc::ETIMEDOUT | libc::EHOSTUNREACH | libc::ENETUNREACH) => status::TIMED_OUT,
        _ => status::IO,
    }
}

fn os_error(what: &str, error: &io::Error) -> OpenError {
    OpenError {
        status: status::IO,
        text: format!("{what}: {error}"),
        os_error: error.raw_os_error().unwrap_or(0),
    }
}
