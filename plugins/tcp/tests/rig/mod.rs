//! The driver under a simulated host: peers, time and the host's turns in a test's hand.

#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "for tests")]

use metergraph_tcp::Tcp;
use transport_sdk::abi::{Frame, bits};
use transport_sdk::sim::{Room, SimHost};
use transport_sdk::{BatchIn, Event, Limits, LinkState, Reason, Step, Transport, TxEnd};

/// One second of simulated time.
pub const SECOND: u64 = 1_000_000_000;

/// The driver, its host, and what came out so far.
pub struct Rig {
    pub sim: SimHost,
    pub tcp: Tcp,
    pub limits: Limits,
    pub step: Step,
    pub room: Room,
    /// Received frames with their links.
    pub frames: Vec<(u32, Vec<u8>)>,
    pub events: Vec<Event>,
    /// Whether the host fetches frames.
    pub fetches: bool,
}

/// An APDU with a body of so many octets, told apart by `mark`.
pub fn apdu(octets: usize, mark: u8) -> Vec<u8> {
    let mut apdu = vec![0x60];
    match octets {
        0..128 => apdu.push(octets as u8),
        128..256 => apdu.extend([0x81, octets as u8]),
        _ => apdu.extend([0x82, (octets >> 8) as u8, octets as u8]),
    }
    apdu.extend(std::iter::repeat_n(mark, octets));
    apdu
}

impl Rig {
    /// A started driver.
    pub fn new(config: &str) -> Self {
        let sim = SimHost::default();
        let (mut tcp, limits) = Tcp::open("wan", config, &sim.host()).unwrap();
        tcp.start(&sim.host(), sim.now()).unwrap();
        let room = Room::new(limits.max_frame as usize + 65_536, 1024);
        let mut rig = Self {
            sim,
            tcp,
            limits,
            step: Step::default(),
            room,
            frames: Vec::new(),
            events: Vec::new(),
            fetches: true,
        };
        rig.turn();
        rig
    }

    /// One poll, and one fetch where the host fetches.
    pub fn once(&mut self) {
        let host = self.sim.host();
        self.step = self.tcp.poll(&host, self.sim.now(), &self.sim.ready()).unwrap();
        if self.step.rx_pending == 1 && self.fetches {
            let tcp = &mut self.tcp;
            self.room.lend(|out| tcp.receive(&host, out)).unwrap();
            self.frames.extend(self.room.frames().map(|(frame, octets)| (frame.link, octets.to_vec())));
        }
        self.events.extend(std::iter::from_fn(|| self.tcp.next_event(&host)));
        let stats = self.tcp.stats();
        assert_eq!(
            stats.tx_frames,
            u64::from(stats.queued)
                + stats.tx_sent
                + stats.tx_expired
                + stats.tx_full
                + stats.tx_link_down
                + stats.tx_failed,
            "every frame taken is in one place"
        );
    }

    /// Turns of the host until nothing is left to do at this time.
    pub fn turn(&mut self) {
        for _ in 0..100_000 {
            self.once();
            let due = self.step.deadline != 0 && self.step.deadline <= self.sim.now();
            if !due && (self.step.rx_pending == 0 || !self.fetches) && self.sim.ready().is_empty() {
                self.once();
                if self.step.rx_pending == 0 || !self.fetches {
                    return;
                }
            }
        }
        panic!("the driver never comes to rest");
    }

    /// Lets time pass, with a turn at every deadline that the driver names.
    pub fn pass(&mut self, ns: u64) {
        let until = self.sim.now() + ns;
        loop {
            let next = self.step.deadline;
            if next == 0 || next > until {
                break;
            }
            self.sim.advance(next.saturating_sub(self.sim.now()));
            self.turn();
        }
        self.sim.advance(until - self.sim.now());
        self.turn();
    }

    /// A peer connects; answers its socket and its link.
    pub fn peer(&mut self) -> (u32, u32) {
        let socket = self.sim.connect(self.sim.listeners()[0]);
        self.turn();
        (socket, self.last_link())
    }

    /// The link that came up last.
    pub fn last_link(&self) -> u32 {
        let up = |event: &Event| match event {
            Event::Link(change) if change.state == LinkState::Up => Some(change.link),
            _ => None,
        };
        self.events.iter().rev().find_map(up).unwrap()
    }

    /// Octets arrive, and the host has its turns.
    pub fn feed(&mut self, socket: u32, octets: &[u8]) {
        self.sim.feed(socket, octets);
        self.turn();
    }

    /// Offers one frame that wants a report; answers whether it was taken.
    pub fn send(&mut self, link: u32, octets: &[u8], tag: u64, at: u64) -> bool {
        let frame = Frame { link, offset: 0, len: octets.len() as u32, bits: bits::REPORT, tag, at };
        self.tcp.send(&self.sim.host(), &BatchIn::new(octets, &[frame])).unwrap() == 1
    }

    /// Sends a frame to all links, with a report; whether it was taken.
    pub fn broadcast(&mut self, octets: &[u8], tag: u64) -> bool {
        let bits = bits::REPORT | bits::BROADCAST;
        let frame = Frame { link: 0, offset: 0, len: octets.len() as u32, bits, tag, at: 0 };
        self.tcp.send(&self.sim.host(), &BatchIn::new(octets, &[frame])).unwrap() == 1
    }

    /// The links that went down, with their reasons.
    pub fn downs(&self) -> Vec<(u32, Reason)> {
        let down = |event: &Event| match event {
            Event::Link(change) if change.state == LinkState::Down => Some((change.link, change.reason)),
            _ => None,
        };
        self.events.iter().filter_map(down).collect()
    }

    /// The notes, with the octets refused.
    pub fn notes(&self) -> Vec<(Reason, u64)> {
        let note = |event: &Event| match event {
            Event::Note { reason, octets, .. } => Some((*reason, *octets)),
            _ => None,
        };
        self.events.iter().filter_map(note).collect()
    }

    /// The ends of frames, by tag.
    pub fn ends(&self) -> Vec<(u64, TxEnd)> {
        let end = |event: &Event| match event {
            Event::Tx { tag, end, .. } => Some((*tag, *end)),
            _ => None,
        };
        self.events.iter().filter_map(end).collect()
    }
}
