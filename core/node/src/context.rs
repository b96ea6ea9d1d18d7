//! What a running worker works with: its inputs, its outputs, its events, and the word to stop.

use std::sync::{Arc, PoisonError, RwLock};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use crate::batch::Batch;
use crate::doorbell::{Doorbell, Sleeper};
use crate::edge::{Edge, Refused};
use crate::event::{Event, EventEdge, EventSink};
use crate::meters::Counter;
use crate::status::NodeStatus;

/// A worker that sleeps for longer looks at its events and its orders in between.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// The word to stop at once: the drain limit has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("told to stop")]
pub struct Stopped;

/// What the runtime tells a worker.
#[derive(Clone, Debug, Default)]
pub struct Orders(Arc<Told>);

#[derive(Debug, Default)]
struct Told {
    word: AtomicU8,
    doorbell: RwLock<Option<Doorbell>>,
}

impl Orders {
    const DRAIN: u8 = 1;
    const STOP: u8 = 2;

    /// A source stops taking in; others just see their inputs end.
    pub fn drain(&self) {
        self.0.word.fetch_max(Self::DRAIN, Ordering::AcqRel);
        self.ring();
    }

    /// End now.
    pub fn stop(&self) {
        self.0.word.fetch_max(Self::STOP, Ordering::AcqRel);
        self.ring();
    }

    fn set_doorbell(&self, doorbell: Doorbell) {
        *self.0.doorbell.write().unwrap_or_else(PoisonError::into_inner) = Some(doorbell);
    }

    fn ring(&self) {
        if let Some(doorbell) = self.0.doorbell.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            doorbell.ring();
        }
    }

    /// Whether a source should stop taking in.
    #[must_use]
    pub fn draining(&self) -> bool {
        self.0.word.load(Ordering::Acquire) >= Self::DRAIN
    }

    /// Whether to end now.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.0.word.load(Ordering::Acquire) >= Self::STOP
    }
}

/// One output port and the edges behind it, one for each instance of each reading node.
#[derive(Clone, Debug)]
pub struct Output {
    /// The port's name.
    pub port: String,
    /// The edges, in the order of the graph and of the instances.
    pub edges: Vec<Arc<Edge>>,
}

/// What [`Context::next`] found.
#[derive(Debug)]
pub enum Next {
    /// A batch.
    Batch {
        /// Index of the edge in [`Context::inputs`].
        input: usize,
        /// The batch's number on that edge, from 1.
        number: u64,
        /// The batch.
        batch: Batch,
    },
    /// An event of another node.
    Event(Event),
    /// Nothing within the limit, or a bell for another reason (a number settled).
    Idle,
    /// Every input has ended.
    Finished,
}

/// The edges and shared state of one node instance, from which each run gets its context.
#[derive(Debug, Default)]
pub struct Wiring {
    /// Edges that the worker consumes.
    pub inputs: Vec<Arc<Edge>>,
    /// Ports that it fills.
    pub outputs: Vec<Output>,
    /// Event edges that it consumes.
    pub event_inputs: Vec<Arc<EventEdge>>,
    /// Event edges that it fills.
    pub event_outputs: Vec<Arc<EventEdge>>,
    /// Its state.
    pub status: NodeStatus,
    /// What it is told.
    pub orders: Orders,
    /// Frames that it gave up.
    pub dropped: Counter,
    /// Its bell, where it does not sleep in [`Context::next`].
    pub doorbell: Option<Doorbell>,
}

/// What a running worker works with. Made by the runtime for each run.
#[derive(Debug)]
pub struct Context {
    /// Edges that this worker consumes.
    pub inputs: Vec<Arc<Edge>>,
    /// Ports that this worker fills.
    pub outputs: Vec<Output>,
    /// Where it reports events.
    pub events: EventSink,
    /// Its state.
    pub status: NodeStatus,
    /// What it is told.
    pub orders: Orders,
    event_inputs: Vec<Arc<EventEdge>>,
    dropped: Counter,
    sleeper: Sleeper,
    turn: usize,
}

impl Context {
    /// A context over this wiring; sets the worker's bell on all its edges.
    #[must_use]
    pub fn new(wiring: Wiring) -> Self {
        let Wiring { inputs, outputs, event_inputs, event_outputs, status, orders, dropped, doorbell } =
            wiring;
        let sleeper = Sleeper::default();
        let doorbell = doorbell.unwrap_or_else(|| sleeper.doorbell());
        for edge in &inputs {
            edge.set_consumer(doorbell.clone());
        }
        for edge in &event_inputs {
            edge.set_consumer(doorbell.clone());
        }
        for edge in outputs.iter().flat_map(|output| &output.edges) {
            edge.set_producer(doorbell.clone());
        }
        orders.set_doorbell(doorbell);
        let events = EventSink::new(event_outputs);
        Self { inputs, outputs, events, status, orders, event_inputs, dropped, sleeper, turn: 0 }
    }

    /// The next batch or event, in turn from all inputs; waits at most `limit`.
    ///
    /// What was handed out before counts as done: a panic loses only what is in hand since.
    ///
    /// # Errors
    /// [`Stopped`] when told to stop at once.
    pub fn next(&mut self, limit: Duration) -> Result<Next, Stopped> {
        self.status.set_in_hand(0);
        let until = Instant::now() + limit;
        loop {
            if self.orders.stopped() {
                return Err(Stopped);
            }
            self.events.flush(false);
            if let Some(next) = self.poll() {
                return Ok(next);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Next::Idle);
            }
            self.sleeper.sleep(left.min(SLEEP_MAX));
            if let Some(next) = self.poll() {
                return Ok(next);
            }
            if limit < SLEEP_MAX {
                return Ok(Next::Idle);
            }
        }
    }

    /// As [`Self::next`] without waiting; `None` when there is nothing now.
    pub fn poll(&mut self) -> Option<Next> {
        for edge in &self.event_inputs {
            if let Some(event) = edge.take() {
                return Some(Next::Event(event));
            }
        }
        for step in 0..self.inputs.len() {
            let input = (self.turn + step) % self.inputs.len();
            if let Some((number, batch)) = self.inputs.get(input).and_then(|edge| edge.take()) {
                self.turn = input + 1;
                self.status.set_in_hand(batch.len() as u64);
                return Some(Next::Batch { input, number, batch });
            }
        }
        let ended = self.inputs.iter().all(|edge| edge.is_finished())
            && self.event_inputs.iter().all(|edge| edge.is_finished());
        // A node without inputs (a source) ends by its orders.
        let none = self.inputs.is_empty() && self.event_inputs.is_empty();
        (ended && (!none || self.orders.draining())).then_some(Next::Finished)
    }

    /// Index of an output port.
    #[must_use]
    pub fn output(&self, port: &str) -> Option<usize> {
        self.outputs.iter().position(|output| output.port == port)
    }

    /// Sends a batch on one edge of an output port, waiting for room where the edge says so.
    /// Answers its number, or `None` when the edge dropped it (counted by the edge) or does not exist
    /// (counted here).
    ///
    /// # Errors
    /// [`Stopped`] when told to stop at once; the batch is then counted as dropped.
    pub fn send(&mut self, output: usize, edge: usize, batch: Batch) -> Result<Option<u64>, Stopped> {
        if batch.is_empty() {
            return Ok(None);
        }
        let Some(target) = self.outputs.get(output).and_then(|output| output.edges.get(edge)) else {
            self.dropped.add(batch.len() as u64);
            return Ok(None);
        };
        let target = Arc::clone(target);
        let mut batch = batch;
        loop {
            match target.offer(batch) {
                Ok(number) => return Ok(Some(number)),
                Err(Refused::Dropped(_)) => return Ok(None),
                Err(Refused::Full(back)) => {
                    batch = back;
                    if self.orders.stopped() {
                        self.dropped.add(batch.len() as u64);
                        return Err(Stopped);
                    }
                    self.sleeper.sleep(SLEEP_MAX);
                }
            }
        }
    }

    /// Offers a batch and never waits; a full edge gives it back.
    ///
    /// # Errors
    /// The batch, when the edge is full and says `wait`.
    pub fn offer(&mut self, output: usize, edge: usize, batch: Batch) -> Result<Option<u64>, Batch> {
        let Some(target) = self.outputs.get(output).and_then(|output| output.edges.get(edge)) else {
            self.dropped.add(batch.len() as u64);
            return Ok(None);
        };
        match target.offer(batch) {
            Ok(number) => Ok(Some(number)),
            Err(Refused::Dropped(_)) => Ok(None),
            Err(Refused::Full(batch)) => Err(batch),
        }
    }

    /// Counts frames that this worker gave up, beside those that its edges counted.
    pub fn count_dropped(&self, frames: u64) {
        self.dropped.add(frames);
    }

    /// Ends one output port early: a source that drains while it still has other work.
    pub fn close_output(&self, output: usize) {
        if let Some(output) = self.outputs.get(output) {
            output.edges.iter().for_each(|edge| edge.close());
        }
    }

}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Frame;
    use crate::edge::{EdgeName, WhenFull};

    fn edge(from: &str, to: &str) -> Arc<Edge> {
        let name = EdgeName {
            from: from.into(),
            port: "out".into(),
            from_instance: 0,
            to: to.into(),
            to_instance: 0,
        };
        Arc::new(Edge::new(name, 2, WhenFull::Wait))
    }

    fn context(inputs: Vec<Arc<Edge>>, outputs: Vec<Arc<Edge>>, orders: Orders) -> Context {
        let outputs = vec![Output { port: "out".into(), edges: outputs }];
        Context::new(Wiring { inputs, outputs, orders, ..Wiring::default() })
    }

    fn batch() -> Batch {
        let mut batch = Batch::default();
        batch.push(b"x", Frame::default());
        batch
    }

    #[test]
    fn inputs_are_served_in_turn_and_end() {
        let (a, b) = (edge("a", "c"), edge("b", "c"));
        let mut context = context(vec![Arc::clone(&a), Arc::clone(&b)], vec![], Orders::default());
        for edge in [&a, &a, &b] {
            edge.offer(batch()).unwrap();
        }
        a.close();
        b.close();
        let mut order = Vec::new();
        while let Next::Batch { input, .. } = context.next(Duration::from_secs(5)).unwrap() {
            order.push(input);
        }
        assert_eq!(order, [0, 1, 0]);
        assert!(matches!(context.next(Duration::ZERO).unwrap(), Next::Finished));
    }

    #[test]
    fn a_full_edge_is_waited_for_until_told_to_stop() {
        let out = edge("a", "b");
        let orders = Orders::default();
        let mut context = context(vec![], vec![Arc::clone(&out)], orders.clone());
        assert_eq!(context.send(0, 0, batch()).unwrap(), Some(1));
        assert_eq!(context.send(0, 0, batch()).unwrap(), Some(2));
        assert!(context.offer(0, 0, batch()).is_err());
        orders.stop();
        assert!(context.send(0, 0, batch()).is_err());
        assert_eq!(context.dropped.get(), 1);
    }

    #[test]
    fn a_source_ends_when_it_drains() {
        let orders = Orders::default();
        let mut context = context(vec![], vec![], orders.clone());
        assert!(matches!(context.next(Duration::ZERO).unwrap(), Next::Idle));
        orders.drain();
        assert!(matches!(context.next(Duration::ZERO).unwrap(), Next::Finished));
    }
}
