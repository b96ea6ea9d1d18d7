//! An edge: a bounded queue of batches from one worker to one other, owned by the runtime.
//!
//! An edge numbers the batches that it carries. The consumer may say how far it has *settled* them
//! and which of them failed; the producer reads that as a published number. So a shard learns from
//! its edge to the journal what is durable, without an edge back.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use crossbeam::queue::ArrayQueue;

use crate::batch::Batch;
use crate::doorbell::Doorbell;

/// Failed batches that are told apart one by one; past that the producer is told «all up to here».
const FAILURES_MAX: usize = 1024;

/// Says what an edge does when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum WhenFull {
    /// The producer waits.
    #[default]
    Wait,
    /// The batch is dropped, and counted.
    Drop,
    /// Events only: they are merged, one record per reason, source and interval, with a count.
    Collapse,
}

impl WhenFull {
    /// The word in a graph file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Wait => "wait",
            Self::Drop => "drop",
            Self::Collapse => "collapse",
        }
    }
}

/// Names the two ends of an edge.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EdgeName {
    /// The producing node.
    pub from: String,
    /// Its output port.
    pub port: String,
    /// Which instance of it.
    pub from_instance: usize,
    /// The consuming node.
    pub to: String,
    /// Which instance of it.
    pub to_instance: usize,
}

impl fmt::Display for EdgeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}[{}]->{}[{}]", self.from, self.port, self.from_instance, self.to, self.to_instance)
    }
}

/// A bounded queue of batches with one producer and one consumer at a time.
pub struct Edge {
    name: EdgeName,
    when_full: WhenFull,
    queue: ArrayQueue<Batch>,
    pushed: AtomicU64,
    taken: AtomicU64,
    settled: AtomicU64,
    failures: ArrayQueue<u64>,
    doubted: AtomicU64,
    frames: AtomicU64,
    frames_taken: AtomicU64,
    frames_dropped: AtomicU64,
    closed: AtomicBool,
    producer_waits: AtomicBool,
    consumer: RwLock<Option<Doorbell>>,
    producer: RwLock<Option<Doorbell>>,
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Edge({})", self.name)
    }
}

/// A batch that an edge did not take.
#[derive(Debug)]
pub enum Refused {
    /// The edge is full and says `wait`.
    Full(Batch),
    /// The edge is full and says `drop`: the batch is gone, and counted. Holds its number of frames.
    Dropped(usize),
}

impl Edge {
    /// An empty edge for at most `batches_max` (at least 1) batches.
    #[must_use]
    pub fn new(name: EdgeName, batches_max: usize, when_full: WhenFull) -> Self {
        Self {
            name,
            when_full,
            queue: ArrayQueue::new(batches_max.max(1)),
            pushed: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            failures: ArrayQueue::new(FAILURES_MAX),
            doubted: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            frames_taken: AtomicU64::new(0),
            frames_dropped: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            producer_waits: AtomicBool::new(false),
            consumer: RwLock::new(None),
            producer: RwLock::new(None),
        }
    }

    /// Its two ends.
    #[must_use]
    pub fn name(&self) -> &EdgeName {
        &self.name
    }

    /// What it does when full.
    #[must_use]
    pub fn when_full(&self) -> WhenFull {
        self.when_full
    }

    /// Sets who is woken when a batch arrives; a restarted consumer sets its own.
    pub fn set_consumer(&self, doorbell: Doorbell) {
        *self.consumer.write().unwrap_or_else(PoisonError::into_inner) = Some(doorbell);
    }

    /// Sets who is woken when room appears or batches settle.
    pub fn set_producer(&self, doorbell: Doorbell) {
        *self.producer.write().unwrap_or_else(PoisonError::into_inner) = Some(doorbell);
    }

    /// Offers a batch and never waits. The number of the batch, from 1, is the answer.
    ///
    /// # Errors
    /// [`Refused`] when the edge is full.
    pub fn offer(&self, batch: Batch) -> Result<u64, Refused> {
        let frames = batch.len() as u64;
        if let Err(batch) = self.queue.push(batch) {
            if self.when_full == WhenFull::Drop {
                self.frames_dropped.fetch_add(frames, Ordering::Relaxed);
                return Err(Refused::Dropped(batch.len()));
            }
            self.producer_waits.store(true, Ordering::SeqCst);
            // The consumer may have taken one between the two lines above and not have seen the wish.
            if let Err(batch) = self.queue.push(batch) {
                return Err(Refused::Full(batch));
            }
        }
        self.frames.fetch_add(frames, Ordering::Relaxed);
        let number = self.pushed.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        ring(&self.consumer);
        Ok(number)
    }

    /// Takes the oldest batch with its number.
    pub fn take(&self) -> Option<(u64, Batch)> {
        let batch = self.queue.pop()?;
        self.frames_taken.fetch_add(batch.len() as u64, Ordering::Relaxed);
        let number = self.taken.fetch_add(1, Ordering::AcqRel).saturating_add(1);
        if self.producer_waits.swap(false, Ordering::SeqCst) {
            ring(&self.producer);
        }
        Some((number, batch))
    }

    /// The consumer says that all batches up to `number` are settled.
    pub fn settle(&self, number: u64) {
        self.settled.fetch_max(number, Ordering::AcqRel);
        ring(&self.producer);
    }

    /// The consumer says that batch `number` failed; call before [`Self::settle`] passes it.
    pub fn fail(&self, number: u64) {
        if self.failures.push(number).is_err() {
            self.doubt(number);
        }
    }

    /// The consumer cannot say which batches up to `number` are done: it was restarted, or too many
    /// failed to tell them apart. A producer that depends on it rebuilds its state.
    pub fn doubt(&self, number: u64) {
        self.doubted.fetch_max(number, Ordering::AcqRel);
    }

    /// Up to which batch the consumer has settled.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.settled.load(Ordering::Acquire)
    }

    /// How many batches were ever pushed.
    #[must_use]
    pub fn pushed(&self) -> u64 {
        self.pushed.load(Ordering::Acquire)
    }

    /// How many batches were ever taken.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }

    /// The next failed batch that the producer has not heard of.
    #[must_use]
    pub fn next_failure(&self) -> Option<u64> {
        self.failures.pop()
    }

    /// Up to which number the consumer cannot say what became of the unsettled batches; 0 for none.
    #[must_use]
    pub fn doubted(&self) -> u64 {
        self.doubted.load(Ordering::Acquire)
    }

    /// Batches waiting now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Batches it holds at most.
    #[must_use]
    pub fn batches_max(&self) -> usize {
        self.queue.capacity()
    }

    /// Frames that were ever pushed, taken, and dropped for want of room.
    #[must_use]
    pub fn frames(&self) -> (u64, u64, u64) {
        (
            self.frames.load(Ordering::Relaxed),
            self.frames_taken.load(Ordering::Relaxed),
            self.frames_dropped.load(Ordering::Relaxed),
        )
    }

    /// The producer has ended and sends nothing more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        ring(&self.consumer);
    }

    /// Whether the producer has ended and nothing waits.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.closed.load(Ordering::Acquire) && self.queue.is_empty()
    }
}

fn ring(who: &RwLock<Option<Doorbell>>) {
    if let Some(doorbell) = who.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
        doorbell.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Frame;
    use crate::doorbell::Sleeper;
    use proptest::prelude::*;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    fn name() -> EdgeName {
        EdgeName { from: "a".into(), port: "out".into(), from_instance: 0, to: "b".into(), to_instance: 0 }
    }

    fn batch(frames: usize) -> Batch {
        let mut batch = Batch::default();
        for _ in 0..frames {
            batch.push(&[0], Frame::default());
        }
        batch
    }

    #[test]
    fn full_edge_gives_the_batch_back_or_counts_it() {
        let waits = Edge::new(name(), 1, WhenFull::Wait);
        assert_eq!(waits.offer(batch(2)).unwrap(), 1);
        assert!(matches!(waits.offer(batch(3)), Err(Refused::Full(b)) if b.len() == 3));
        let drops = Edge::new(name(), 1, WhenFull::Drop);
        assert!(drops.offer(batch(2)).is_ok());
        assert!(matches!(drops.offer(batch(3)), Err(Refused::Dropped(3))));
        assert_eq!(drops.frames(), (2, 0, 3));
    }

    #[test]
    fn settled_number_and_failures_reach_the_producer() {
        let edge = Edge::new(name(), 4, WhenFull::Wait);
        for n in 1..=3 {
            assert_eq!(edge.offer(batch(1)).unwrap(), n);
        }
        assert_eq!(edge.take().unwrap().0, 1);
        assert_eq!(edge.take().unwrap().0, 2);
        edge.fail(2);
        edge.settle(2);
        assert_eq!((edge.settled(), edge.next_failure(), edge.next_failure()), (2, Some(2), None));
    }

    #[test]
    fn a_waiting_producer_is_rung_when_room_appears() {
        let sleeper = Sleeper::default();
        let edge = Edge::new(name(), 1, WhenFull::Wait);
        edge.set_producer(sleeper.doorbell());
        assert!(edge.offer(batch(1)).is_ok());
        assert!(edge.offer(batch(1)).is_err());
        assert!(edge.take().is_some());
        // Does not hang: the bell rang in `take`.
        sleeper.sleep(Duration::from_secs(60));
    }

    #[test]
    fn finished_only_when_closed_and_empty() {
        let edge = Edge::new(name(), 1, WhenFull::Wait);
        assert!(edge.offer(batch(1)).is_ok());
        edge.close();
        assert!(!edge.is_finished());
        assert!(edge.take().is_some());
        assert!(edge.is_finished());
    }

    #[test]
    fn no_wake_up_is_lost_in_either_direction() {
        const BATCHES: u64 = 20_000;
        // A lost wake-up costs a whole limit: the test then takes minutes instead of a moment.
        const LIMIT: Duration = Duration::from_secs(60);
        let edge = Arc::new(Edge::new(name(), 1, WhenFull::Wait));
        let (produces, consumes) = (Sleeper::default(), Sleeper::default());
        edge.set_producer(produces.doorbell());
        edge.set_consumer(consumes.doorbell());
        let producing = Arc::clone(&edge);
        let start = Instant::now();
        let producer = std::thread::spawn(move || {
            for expected in 1..=BATCHES {
                let mut next = batch(1);
                let number = loop {
                    match producing.offer(next) {
                        Ok(number) => break number,
                        Err(Refused::Full(back)) => next = back,
                        Err(Refused::Dropped(_)) => panic!("this edge waits"),
                    }
                    produces.sleep(LIMIT);
                };
                assert_eq!(number, expected);
            }
            while producing.settled() < BATCHES {
                produces.sleep(LIMIT);
            }
            producing.close();
        });
        let mut last = 0;
        while !edge.is_finished() {
            match edge.take() {
                Some((number, _)) => {
                    assert_eq!(number, last + 1);
                    last = number;
                    edge.settle(number);
                }
                None => consumes.sleep(LIMIT),
            }
        }
        producer.join().unwrap();
        assert_eq!((last, edge.pushed(), edge.taken(), edge.waiting()), (BATCHES, BATCHES, BATCHES, 0));
        assert!(start.elapsed() < LIMIT, "a wake-up was lost");
    }

    #[test]
    fn too_many_failures_become_a_doubt() {
        let edge = Edge::new(name(), 4, WhenFull::Wait);
        let failures = FAILURES_MAX as u64;
        for number in 1..=failures {
            edge.fail(number);
        }
        assert_eq!(edge.doubted(), 0);
        edge.fail(failures + 1);
        assert_eq!(edge.doubted(), failures + 1);
        edge.doubt(3);
        assert_eq!(edge.doubted(), failures + 1, "a doubt is never taken back");
    }

    proptest! {
        /// Whatever the order of the calls: numbers are successive, frames add up, order is kept.
        #[test]
        fn an_edge_is_a_bounded_queue_that_counts(
            capacity in 1_usize..5,
            drops in any::<bool>(),
            steps in proptest::collection::vec(0_usize..4, 0..200),
        ) {
            let edge = Edge::new(name(), capacity, if drops { WhenFull::Drop } else { WhenFull::Wait });
            let mut model: std::collections::VecDeque<(u64, usize)> = Default::default();
            let (mut numbers, mut pushed, mut taken, mut dropped) = (0, 0, 0, 0);
            for step in steps {
                if step == 0 {
                    let (number, frames) = edge.take().map(|(n, batch)| (n, batch.len())).unzip();
                    let expected = model.pop_front();
                    prop_assert_eq!((number, frames), expected.unzip());
                    taken += expected.map_or(0, |(_, frames)| frames as u64);
                } else {
                    match edge.offer(batch(step)) {
                        Ok(number) => {
                            numbers += 1;
                            prop_assert_eq!(number, numbers);
                            model.push_back((number, step));
                            pushed += step as u64;
                        }
                        Err(Refused::Full(back)) => {
                            prop_assert!(!drops && model.len() == capacity && back.len() == step);
                        }
                        Err(Refused::Dropped(frames)) => {
                            prop_assert!(drops && model.len() == capacity && frames == step);
                            dropped += step as u64;
                        }
                    }
                }
                prop_assert_eq!(edge.waiting(), model.len());
                prop_assert_eq!(edge.frames(), (pushed, taken, dropped));
            }
        }
    }
}
