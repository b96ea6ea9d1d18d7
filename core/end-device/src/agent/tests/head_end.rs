//! The head-end of the tests, and one device that talks to it.

pub use crate::testing::model::{HeadEnd, Told};

use std::sync::{Arc, Mutex};

use super::super::*;
use super::support::{self, DEV, FirstOctet, KID, SKID, SYSTEM, Stub, at};

/// A device and its head-end, and the time.
pub struct Pair {
    pub agent: Agent,
    pub head_end: HeadEnd,
    pub storage: MemoryStorage,
    pub done: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Seconds since the beginning.
    pub now: u64,
    pub out: Vec<Output>,
    pub settings: Settings,
}

impl Pair {
    /// A new device, not registered yet.
    pub fn new() -> Self {
        Self::with(Settings { paced: true, ledger: true, ..Settings::default() })
    }

    pub fn with(settings: Settings) -> Self {
        let mut head_end = HeadEnd::new(SYSTEM, KID, support::head_end_key());
        head_end.known.insert(DEV, support::identity().credential().key);
        for skid in [0, SKID] {
            head_end.signers.insert(skid, support::signing_key(skid));
        }
        let storage = MemoryStorage::default();
        let done = Arc::default();
        let agent = open(Box::new(storage.clone()), &done, settings, 1, 0).unwrap();
        Self { agent, head_end, storage, done, now: 0, out: Vec::new(), settings }
    }

    /// A registered device.
    pub fn registered() -> Self {
        let mut pair = Self::new();
        pair.register();
        pair
    }

    pub fn register(&mut self) {
        self.agent.register(at(self.now));
        self.settle();
        assert!(self.agent.association().is_some());
    }

    /// The device goes off and comes up again.
    pub fn restart(&mut self) {
        self.restart_with(Box::new(self.storage.clone()));
    }

    pub fn restart_with(&mut self, storage: Box<dyn Storage>) {
        self.agent = open(storage, &self.done, self.settings, self.now + 7, self.now).unwrap();
    }

    /// Polls, and carries everything to and fro until nothing moves; answers what came of it.
    pub fn settle(&mut self) -> Vec<Output> {
        self.head_end.now = at(self.now).unix_s;
        let mut all = Vec::new();
        for _ in 0..100 {
            self.agent.poll(at(self.now), &mut self.out);
            let sent = support::sent(&self.out);
            all.append(&mut self.out);
            if sent.is_empty() {
                return all;
            }
            for apdu in sent {
                for answer in self.head_end.handle(&apdu) {
                    self.agent.handle(1, &answer, at(self.now), &mut self.out);
                }
            }
        }
        panic!("it never ends")
    }

    /// Gives an APDU to the device, and settles.
    pub fn give(&mut self, apdu: &[u8]) -> Vec<Output> {
        self.agent.handle(1, apdu, at(self.now), &mut self.out);
        self.settle()
    }

    pub fn pass(&mut self, seconds: u64) -> Vec<Output> {
        self.now += seconds;
        self.settle()
    }
}

pub fn open(
    storage: Box<dyn Storage>,
    done: &Arc<Mutex<Vec<Vec<u8>>>>,
    settings: Settings,
    seed: u64,
    now: u64,
) -> Result<Agent, OpenError> {
    let stub = Stub { done: Arc::clone(done), ..Stub::new(FirstOctet) };
    Agent::open(support::identity(), settings, Box::new(stub), storage, support::entropy(seed), at(now))
}
