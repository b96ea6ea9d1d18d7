//! The driver: the calls of the contract over the links.

use std::collections::{HashMap, VecDeque};

use transport_sdk::abi::{ready, status};
use transport_sdk::{
    BatchIn, BatchOut, Error, Event, Host, Limits, LinkEvent, LinkState, Readiness, Reason, Stats, Step,
    Transport, TxEnd,
};

use crate::accept::Listener;
use crate::config::{self, Config, Peer};
use crate::dial::Dial;
use crate::links::{Link, Links};
use crate::timers::{Due, Timers};
use crate::tx_queue::Mark;

/// Events that wait for the host; past that nothing new is begun until it has fetched some.
const EVENTS_MAX: usize = 16_384;
/// Deadlines served in one poll.
const DUE_MAX: usize = 1024;
/// A frame that is late while more of it waits to be read gets so much longer, ns.
const GRACE: u64 = 1_000_000_000;
/// An average frame, to tell octets of room as frames.
const FRAME_OCTETS: usize = 256;

/// What an I/O object of the host is to us.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Object {
    Listener(usize),
    Link(u32),
}

/// One instance of the TCP transport.
#[derive(Debug)]
pub struct Tcp {
    pub(crate) config: Config,
    pub(crate) listeners: Vec<Listener>,
    dials: Vec<Dial>,
    pub(crate) links: Links,
    pub(crate) objects: HashMap<u32, Object>,
    timers: Timers,
    /// Links with something to read, in turn.
    pub(crate) to_read: VecDeque<u32>,
    /// Links with something to write.
    to_write: Vec<u32>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) stats: Stats,
    /// Octets that wait to be written on all links.
    tx_octets: usize,
    closed: bool,
}

impl Tcp {
    /// Whether the host should fetch events before anything new is begun.
    pub(crate) fn events_full(&self) -> bool {
        self.events.len() >= EVENTS_MAX
    }

    /// Adds a link over an I/O object and arms its deadline.
    pub(crate) fn add_link(&mut self, host: &Host<'_>, now: u64, mut link: Link) -> Option<u32> {
        let (io, up) = (link.io, link.up);
        link.active = now;
        link.connect_deadline = now.saturating_add(self.config.connect_timeout);
        let Some(number) = self.links.insert(link) else {
            host.io_close(io);
            return None;
        };
        self.objects.insert(io, Object::Link(number));
        host.io_interest(io, if up { ready::READABLE } else { ready::WRITABLE });
        self.arm(number);
        if up {
            self.stats.links = self.stats.links.saturating_add(1);
        }
        self.tell_link(number, if up { LinkState::Up } else { LinkState::Connecting }, now);
        Some(number)
    }

    fn tell_link(&mut self, number: u32, state: LinkState, now: u64) {
        let peer = self.links.get_mut(number).map(|link| link.peer.clone()).unwrap_or_default();
        self.events.push_back(link_event(number, state, Reason::None, self.config.frame_max, now, peer));
    }

    /// Sets the deadline of a link anew, from what it waits for.
    pub(crate) fn arm(&mut self, number: u32) {
        let Some(link) = self.links.get_mut(number) else { return };
        let mut at = if link.up {
            link.active.saturating_add(self.config.idle_timeout)
        } else {
            link.connect_deadline
        };
        if link.frame_deadline != 0 {
            at = at.min(link.frame_deadline);
        }
        // A later deadline waits until the present one has come: activity itself moves nothing.
        if link.timer == 0 || at < link.timer {
            self.timers.set(Due::Link(number), link.timer, at);
            link.timer = at;
        }
    }

    /// Ends a link: tells why, brings its frames to an end, dials again where that is configured.
    pub(crate) fn end_link(&mut self, host: &Host<'_>, number: u32, reason: Reason, now: u64) {
        let Some(mut link) = self.links.remove(number) else { return };
        host.io_close(link.io);
        self.objects.remove(&link.io);
        self.timers.set(Due::Link(number), link.timer, 0);
        if link.up {
            self.stats.links = self.stats.links.saturating_sub(1);
        }
        if !link.rx.is_empty() {
            self.refuse(number, reason, link.rx.len(), "octets of an unfinished frame");
        }
        self.tx_octets = self.tx_octets.saturating_sub(link.tx.waiting().len());
        for mark in link.tx.take_all() {
            self.stats.queued = self.stats.queued.saturating_sub(1);
            self.end_frame(number, mark, TxEnd::LinkDown, now);
        }
        self.events.push_back(link_event(number, LinkState::Down, reason, 0, now, link.peer));
        if let Some(place) = link.dial {
            self.redial(host, place, now);
        }
        self.resume_listeners(host);
    }

    /// Counts octets that are no frame.
    pub(crate) fn refuse(&mut self, link: u32, reason: Reason, octets: usize, text: &str) {
        let text = text.to_owned();
        self.events.push_back(Event::Note { reason, link, octets: octets as u64, text });
    }

    /// Counts the end of one frame that was taken, and reports it where that was asked for.
    fn end_frame(&mut self, link: u32, mark: Mark, end: TxEnd, at: u64) {
        let stats = &mut self.stats;
        let count = match end {
            TxEnd::Delivered | TxEnd::Sent => {
                stats.tx_bytes = stats.tx_bytes.saturating_add(u64::from(mark.len));
                &mut stats.tx_sent
            }
            TxEnd::Expired => &mut stats.tx_expired,
            TxEnd::Full => &mut stats.tx_full,
            TxEnd::LinkDown => &mut stats.tx_link_down,
            TxEnd::Failed => &mut stats.tx_failed,
        };
        *count = count.saturating_add(1);
        if mark.report {
            self.events.push_back(Event::Tx { tag: mark.tag, link, end, at });
        }
    }

    /// Writes what waits on one link, as much as its connection takes.
    fn flush(&mut self, host: &Host<'_>, number: u32, now: u64) {
        let Some(link) = self.links.get_mut(number) else { return };
        link.dirty = false;
        let mut tx = std::mem::take(&mut link.tx);
        let (io, was_blocked) = (link.io, link.blocked);
        let before = tx.waiting().len();
        if was_blocked {
            tx.expire(now, |mark| {
                self.stats.queued = self.stats.queued.saturating_sub(1);
                self.end_frame(number, mark, TxEnd::Expired, now);
            });
        }
        let mut failed = None;
        let mut blocked = false;
        while !tx.waiting().is_empty() && !blocked {
            match host.io_write(io, tx.waiting()) {
                Ok(written) => {
                    blocked = written < tx.waiting().len();
                    tx.written(written, |mark| {
                        self.stats.queued = self.stats.queued.saturating_sub(1);
                        self.end_frame(number, mark, TxEnd::Sent, now);
                    });
                }
                Err(status::WOULD_BLOCK) => blocked = true,
                Err(code) => {
                    failed = Some(link_fault(code));
                    break;
                }
            }
        }
        let after = tx.waiting().len();
        self.tx_octets = self.tx_octets.saturating_sub(before.saturating_sub(after));
        let Some(link) = self.links.get_mut(number) else { return };
        link.tx = tx;
        if after < before {
            link.active = now;
        }
        if blocked != link.blocked {
            link.blocked = blocked;
            let reading = if link.queued { 0 } else { ready::READABLE };
            host.io_interest(io, reading | if blocked { ready::WRITABLE } else { 0 });
        }
        if let Some(reason) = failed {
            self.end_link(host, number, reason, now);
        }
    }

    /// A link whose connection is ready.
    fn link_ready(&mut self, host: &Host<'_>, number: u32, what: u32, now: u64) {
        let Some(link) = self.links.get_mut(number) else { return };
        if !link.up {
            if what & ready::ERROR != 0 {
                let reason = match host.io_read(link.io, &mut [0]) {
                    Err(status::NOT_FOUND) => Reason::Refused,
                    _ => Reason::Unreachable,
                };
                self.end_link(host, number, reason, now);
            } else if what & ready::WRITABLE != 0 {
                (link.up, link.active, link.connect_deadline) = (true, now, 0);
                host.io_interest(link.io, ready::READABLE);
                if let Some(dial) = link.dial.and_then(|place| self.dials.get_mut(place)) {
                    dial.is_up();
                }
                self.stats.links = self.stats.links.saturating_add(1);
                self.arm(number);
                self.tell_link(number, LinkState::Up, now);
            }
            return;
        }
        if what & (ready::READABLE | ready::CLOSED) != 0 && !link.queued {
            link.queued = true;
            // What waits to be fetched need not be told again.
            host.io_interest(link.io, if link.blocked { ready::WRITABLE } else { 0 });
            self.to_read.push_back(number);
        }
        if what & ready::WRITABLE != 0 && !link.dirty {
            link.dirty = true;
            self.to_write.push(number);
        }
    }

    /// A link whose deadline has come.
    fn link_due(&mut self, host: &Host<'_>, number: u32, now: u64) {
        let Some(link) = self.links.get_mut(number) else { return };
        link.timer = 0;
        let idle_at = link.active.saturating_add(self.config.idle_timeout);
        let reason = if !link.up {
            (link.connect_deadline <= now).then_some(Reason::Unreachable)
        } else if link.queued {
            // More has come that the host has not fetched: not the peer's fault.
            if link.frame_deadline != 0 {
                link.frame_deadline = link.frame_deadline.max(now.saturating_add(GRACE));
            }
            link.active = now;
            None
        } else if link.frame_deadline != 0 && link.frame_deadline <= now {
            Some(Reason::FrameTimeout)
        } else {
            (idle_at <= now).then_some(Reason::Idle)
        };
        match reason {
            Some(reason) => self.end_link(host, number, reason, now),
            None => self.arm(number),
        }
    }

    /// Dials a configured peer.
    fn dial(&mut self, host: &Host<'_>, place: usize, now: u64) {
        let Some(dial) = self.dials.get_mut(place) else { return };
        dial.timer = 0;
        let peer = dial.peer.clone();
        if let Err(error) = self.connect(host, &peer, Some(place), now) {
            self.refuse(0, Reason::Unreachable, 0, &format!("{}: {error}", peer.address));
            self.redial(host, place, now);
        }
    }

    /// Begins to make a connection.
    fn connect(&mut self, host: &Host<'_>, peer: &Peer, dial: Option<usize>, now: u64) -> Result<u32, Error> {
        if self.links.len() >= self.config.links_max {
            return Err(Error::new(status::BUSY, "as many links as allowed"));
        }
        let io = host.io_open(transport_sdk::IoKind::TcpConnect, &peer.grant, &peer.address)?;
        let link = Link { io, dial, peer: peer.address.clone(), ..Link::default() };
        self.add_link(host, now, link).ok_or_else(|| Error::new(status::BUSY, "no link number is free"))
    }

    fn redial(&mut self, host: &Host<'_>, place: usize, now: u64) {
        let Some(dial) = self.dials.get_mut(place) else { return };
        if self.closed {
            return;
        }
        let mut random = [0; 8];
        host.random(&mut random);
        let pause = dial.pause(self.config.redial_min, self.config.redial_max, u64::from_ne_bytes(random));
        let at = now.saturating_add(pause);
        self.timers.set(Due::Dial(place), dial.timer, at);
        dial.timer = at;
    }

    fn step(&self) -> Step {
        let room = self.config.tx_total_octets.saturating_sub(self.tx_octets) / FRAME_OCTETS;
        Step {
            deadline: self.timers.next(),
            tx_room: u32::try_from(room).unwrap_or(u32::MAX),
            rx_pending: u8::from(!self.to_read.is_empty()),
            events_pending: u8::from(!self.events.is_empty()),
            reserved: [0; 2],
        }
    }
}

/// What a failed read or write means for the link.
pub(crate) fn link_fault(code: i32) -> Reason {
    match code {
        status::CLOSED => Reason::PeerClosed,
        status::TIMED_OUT => Reason::HalfOpen,
        _ => Reason::Io,
    }
}

fn link_event(link: u32, state: LinkState, reason: Reason, mtu: usize, at: u64, peer: String) -> Event {
    let mtu = u32::try_from(mtu).unwrap_or(u32::MAX);
    Event::Link(LinkEvent { link, state, reason, mtu, hops: 0, rssi: 0, rtt: 0, at, peer })
}

impl Transport for Tcp {
    const NAME: &'static str = "tcp";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = config::SCHEMA;

    fn open(_name: &str, config: &str, host: &Host<'_>) -> Result<(Self, Limits), Error> {
        let config = Config::parse(config).map_err(|text| Error::new(status::CONFIG, text))?;
        let limits = Limits {
            size: 0,
            max_frame: u32::try_from(config.frame_max).unwrap_or(u32::MAX),
            tx_queue: u32::try_from(config.tx_total_octets / FRAME_OCTETS).unwrap_or(u32::MAX),
            max_links: u32::try_from(config.links_max).unwrap_or(u32::MAX),
        };
        let mut tcp = Self {
            listeners: Vec::new(),
            dials: config.connect.iter().cloned().map(Dial::new).collect(),
            links: Links::default(),
            objects: HashMap::new(),
            timers: Timers::default(),
            to_read: VecDeque::new(),
            to_write: Vec::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
            tx_octets: 0,
            closed: false,
            config,
        };
        tcp.listen(host)?;
        Ok((tcp, limits))
    }

    fn start(&mut self, host: &Host<'_>, now: u64) -> Result<(), Error> {
        self.resume_listeners(host);
        for place in 0..self.dials.len() {
            self.dial(host, place, now);
        }
        Ok(())
    }

    fn poll(&mut self, host: &Host<'_>, now: u64, ready: &[Readiness]) -> Result<Step, Error> {
        for readiness in ready {
            match self.objects.get(&readiness.id) {
                Some(Object::Listener(place)) => self.accept(host, *place, now),
                Some(Object::Link(number)) => self.link_ready(host, *number, readiness.ready, now),
                None => {}
            }
        }
        for number in std::mem::take(&mut self.to_write) {
            self.flush(host, number, now);
        }
        for _ in 0..DUE_MAX {
            match self.timers.take_due(now) {
                Some(Due::Link(number)) => self.link_due(host, number, now),
                Some(Due::Dial(place)) => self.dial(host, place, now),
                None => break,
            }
        }
        Ok(self.step())
    }

    fn send(&mut self, host: &Host<'_>, batch: &BatchIn<'_>) -> Result<usize, Error> {
        let mut taken = 0usize;
        let mut now = 0;
        for (frame, octets) in batch.iter() {
            let octets = octets.ok_or_else(|| Error::new(status::ARGUMENT, "a frame outside its batch"))?;
            if self.closed
                || self.events_full()
                || self.tx_octets.saturating_add(octets.len()) > self.config.tx_total_octets
            {
                break;
            }
            taken = taken.saturating_add(1);
            self.stats.tx_frames = self.stats.tx_frames.saturating_add(1);
            let mark = Mark {
                len: frame.len,
                tag: frame.tag,
                report: frame.bits & transport_sdk::abi::bits::REPORT != 0,
                expiry: frame.at,
            };
            if now == 0 {
                now = host.now();
            }
            let end = match self.links.get_mut(frame.link) {
                Some(link) if link.up => {
                    if octets.is_empty() || octets.len() > self.config.frame_max {
                        TxEnd::Failed
                    } else if frame.at != 0 && frame.at < now {
                        TxEnd::Expired
                    } else if link.tx.waiting().len().saturating_add(octets.len())
                        > self.config.tx_queue_octets
                        && !link.tx.is_empty()
                    {
                        TxEnd::Full
                    } else {
                        link.tx.push(octets, mark);
                        if !link.dirty && !link.blocked {
                            link.dirty = true;
                            self.to_write.push(frame.link);
                        }
                        self.stats.queued = self.stats.queued.saturating_add(1);
                        self.tx_octets = self.tx_octets.saturating_add(octets.len());
                        continue;
                    }
                }
                _ => TxEnd::LinkDown,
            };
            self.end_frame(frame.link, mark, end, now);
        }
        Ok(taken)
    }

    fn receive(&mut self, host: &Host<'_>, out: &mut BatchOut<'_>) -> Result<(), Error> {
        self.read_links(host, out);
        Ok(())
    }

    fn next_event(&mut self, host: &Host<'_>) -> Option<Event> {
        let was_full = self.events_full();
        let event = self.events.pop_front();
        if was_full {
            self.resume_listeners(host);
        }
        event
    }

    fn open_link(&mut self, host: &Host<'_>, address: &str) -> Result<u32, Error> {
        if self.closed {
            return Err(Error::new(status::CLOSED, "the transport is closed"));
        }
        let peer = Peer { grant: String::new(), address: address.to_owned() };
        self.connect(host, &peer, None, host.now())
    }

    fn close_link(&mut self, host: &Host<'_>, link: u32) {
        self.end_link(host, link, Reason::HostClosed, host.now());
    }

    fn stats(&self) -> Stats {
        self.stats
    }

    fn close(&mut self, host: &Host<'_>, now: u64) -> Result<(), Error> {
        self.closed = true;
        for listener in self.listeners.drain(..) {
            self.objects.remove(&listener.io);
            host.io_close(listener.io);
        }
        for number in self.links.numbers() {
            self.end_link(host, number, Reason::Shutdown, now);
        }
        self.to_read.clear();
        self.to_write.clear();
        Ok(())
    }
}
