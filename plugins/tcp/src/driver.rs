//! The driver: the calls of the contract over the links.

use std::collections::{HashMap, VecDeque};

use transport_sdk::abi::status;
use transport_sdk::{
    BatchIn, BatchOut, Error, Event, Host, Limits, Readiness, Reason, Stats, Step, Transport,
};

use crate::accept::Listener;
use crate::config::{self, Config, Peer};
use crate::dial::Dial;
use crate::links::Links;
use crate::timers::{Due, Timers};
use crate::tx_queue::Mark;

/// Events that wait for the host; past that nothing new is begun until it has fetched some.
const EVENTS_MAX: usize = 16_384;
/// Deadlines served in one poll.
const DUE_MAX: usize = 1024;
/// Links written to in one poll.
const FLUSH_MAX: usize = 128;
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
    pub(crate) dials: Vec<Dial>,
    pub(crate) links: Links,
    pub(crate) objects: HashMap<u32, Object>,
    pub(crate) timers: Timers,
    /// Links with something to read, in turn.
    pub(crate) to_read: VecDeque<u32>,
    /// Links with something to write, in turn.
    pub(crate) to_write: VecDeque<u32>,
    pub(crate) events: VecDeque<Event>,
    pub(crate) stats: Stats,
    /// Octets that wait to be written on all links.
    pub(crate) tx_octets: usize,
    pub(crate) closed: bool,
}

impl Tcp {
    /// Whether the host should fetch events before anything new is begun.
    pub(crate) fn events_full(&self) -> bool {
        self.events.len() >= EVENTS_MAX
    }

    fn step(&self, now: u64) -> Step {
        let room = self.config.tx_total_octets.saturating_sub(self.tx_octets) / FRAME_OCTETS;
        Step {
            deadline: if self.to_write.is_empty() { self.timers.next() } else { now.max(1) },
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

impl Transport for Tcp {
    const NAME: &'static str = "tcp";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const CONFIG_SCHEMA: &'static str = config::SCHEMA;
    const GRANTS: &'static str = config::GRANTS;

    fn open(_name: &str, config: &str, host: &Host<'_>) -> Result<(Self, Limits), Error> {
        let config = Config::parse(config).map_err(|text| Error::new(status::CONFIG, text))?;
        let limits = Limits {
            size: 0,
            max_frame: u32::try_from(config.frame_max).unwrap_or(u32::MAX),
            tx_queue: u32::try_from(config.tx_total_octets / FRAME_OCTETS).unwrap_or(u32::MAX),
            max_links: u32::try_from(config.links_max).unwrap_or(u32::MAX),
        };
        let mut seed = [0; 4];
        host.random(&mut seed);
        let mut tcp = Self {
            listeners: Vec::new(),
            dials: config.connect.iter().cloned().map(Dial::new).collect(),
            links: Links::new(u32::from_ne_bytes(seed)),
            objects: HashMap::new(),
            timers: Timers::default(),
            to_read: VecDeque::new(),
            to_write: VecDeque::new(),
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
        for _ in 0..FLUSH_MAX {
            let Some(number) = self.to_write.pop_front() else { break };
            self.flush(host, number, now);
        }
        for _ in 0..DUE_MAX {
            match self.timers.take_due(now) {
                Some(Due::Link(number)) => self.link_due(host, number, now),
                Some(Due::Dial(place)) => self.dial(host, place, now),
                None => break,
            }
        }
        Ok(self.step(now))
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
            if frame.bits & transport_sdk::abi::bits::BROADCAST != 0 {
                self.broadcast(host, octets, mark, now);
            } else if let Some(end) = self.queue(host, frame.link, octets, mark, now) {
                self.end_frame(frame.link, mark, end, now);
            }
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
        self.timers = Timers::default();
        Ok(())
    }
}
