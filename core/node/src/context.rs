//! What a running worker works with: its inputs, its outputs, its events, and the word to stop.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::batch::Batch;
use crate::doorbell::{Doorbell, Sleeper};
use crate::edge::{Edge, Refused};
use crate::event::{Event, EventEdge, EventSink};
use crate::meters::Counter;
use crate::status::NodeStatus;

/// The longest sleep, so that gathered events go out in time.
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
    /// Nothing within the limit or half a second, or a bell for another reason (a number settled).
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
    doorbell: Doorbell,
    turn: usize,
    held: u64,
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
        orders.set_doorbell(doorbell.clone());
        let events = EventSink::new(event_outputs);
        Self {
            inputs,
            outputs,
            events,
            status,
            orders,
            event_inputs,
            dropped,
            sleeper,
            doorbell,
            turn: 0,
            held: 0,
        }
    }

    /// The bell that wakes this worker, for a thread of its own that has something for it.
    #[must_use]
    pub fn doorbell(&self) -> Doorbell {
        self.doorbell.clone()
    }

    /// The next batch or event, in turn from all inputs; waits at most `limit`, and never longer than
    /// half a second.
    ///
    /// What was handed out before counts as done, but for what [`Self::hold`] says: a panic loses only
    /// what is in hand.
    ///
    /// # Errors
    /// [`Stopped`] when told to stop at once.
    pub fn next(&mut self, limit: Duration) -> Result<Next, Stopped> {
        self.obey()?;
        if let Some(next) = self.poll() {
            return Ok(next);
        }
        if limit.is_zero() {
            return Ok(Next::Idle);
        }
        self.wait(limit)?;
        Ok(self.poll().unwrap_or(Next::Idle))
    }

    /// As [`Self::next`] without waiting, and deaf to orders; `None` when there is nothing now.
    pub fn poll(&mut self) -> Option<Next> {
        self.status.set_in_hand(self.held);
        self.events.flush(false);
        let (events, all) = (self.event_inputs.len(), self.event_inputs.len() + self.inputs.len());
        for at in (self.turn..all).chain(0..self.turn.min(all)) {
            let next = match self.event_inputs.get(at) {
                Some(edge) => edge.take().map(Next::Event),
                None => self.take(at - events),
            };
            if next.is_some() {
                self.turn = at + 1;
                return next;
            }
        }
        let ended = self.inputs.iter().all(|edge| edge.is_finished())
            && self.event_inputs.iter().all(|edge| edge.is_finished());
        // A node without inputs (a source) ends by its orders.
        (ended && (all > 0 || self.orders.draining())).then_some(Next::Finished)
    }

    fn take(&self, input: usize) -> Option<Next> {
        let (number, batch) = self.inputs.get(input)?.take()?;
        self.status.set_in_hand(self.held.saturating_add(batch.len() as u64));
        Some(Next::Batch { input, number, batch })
    }

    /// Sleeps until the bell rings, at most `limit` and half a second: for a worker whose inputs have
    /// ended, but who waits for its batches to settle.
    ///
    /// # Errors
    /// [`Stopped`] when told to stop at once.
    pub fn wait(&mut self, limit: Duration) -> Result<(), Stopped> {
        self.events.flush(false);
        self.obey()?;
        self.sleeper.sleep(limit.min(SLEEP_MAX));
        self.obey()
    }

    fn obey(&self) -> Result<(), Stopped> {
        if self.orders.stopped() { Err(Stopped) } else { Ok(()) }
    }

    /// Says that of all frames handed out, this many stay with the worker for longer (segments that wait
    /// for their rest, records before their commit); all others are passed on, refused or counted.
    pub fn hold(&mut self, frames: u64) {
        self.held = frames;
        self.status.set_in_hand(frames);
    }

    /// Frames leave the worker's hand: refused, recognised as repeats, or else counted by it. What is sent
    /// or counted by [`Self::count_dropped`] leaves it by that.
    pub fn let_go(&self, frames: u64) {
        self.status.set_in_hand(self.status.in_hand().saturating_sub(frames));
    }

    /// Index of an output port.
    #[must_use]
    pub fn output(&self, port: &str) -> Option<usize> {
        self.outputs.iter().position(|output| output.port == port)
    }

    /// Sends a batch on one edge of an output port, waiting for room where the edge says so.
    /// Answers its number, or `None` when it is empty, when the edge dropped it (counted by the edge) or
    /// when there is no such edge (counted here).
    ///
    /// A worker with a bell of its own uses [`Self::offer`]: this one would wait for the other bell.
    ///
    /// # Errors
    /// [`Stopped`] when told to stop at once; the batch is then counted as dropped.
    pub fn send(&mut self, output: usize, edge: usize, mut batch: Batch) -> Result<Option<u64>, Stopped> {
        loop {
            match self.offer(output, edge, batch) {
                Ok(number) => return Ok(number),
                Err(back) => batch = back,
            }
            if let Err(stopped) = self.wait(SLEEP_MAX) {
                self.count_dropped(batch.len() as u64);
                return Err(stopped);
            }
        }
    }

    /// As [`Self::send`], but never waits; a full edge gives the batch back.
    ///
    /// # Errors
    /// The batch, when the edge is full and says `wait`.
    pub fn offer(&mut self, output: usize, edge: usize, batch: Batch) -> Result<Option<u64>, Batch> {
        let frames = batch.len() as u64;
        if frames == 0 {
            return Ok(None);
        }
        let Some(target) = self.outputs.get(output).and_then(|output| output.edges.get(edge)) else {
            self.count_dropped(frames);
            return Ok(None);
        };
        let number = match target.offer(batch) {
            Ok(number) => Some(number),
            Err(Refused::Dropped(_)) => None,
            Err(Refused::Full(batch)) => return Err(batch),
        };
        self.let_go(frames);
        Ok(number)
    }

    /// Counts frames that this worker gave up, beside those that its edges counted.
    pub fn count_dropped(&self, frames: u64) {
        self.dropped.add(frames);
        self.let_go(frames);
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

    #[test]
    fn what_is_passed_on_held_or_counted_is_told_apart() {
        let (input, out) = (edge("a", "b"), edge("b", "c"));
        let mut context = context(vec![Arc::clone(&input)], vec![Arc::clone(&out)], Orders::default());
        let mut three = batch();
        three.push(b"y", Frame::default());
        three.push(b"z", Frame::default());
        input.offer(three).unwrap();
        assert!(matches!(context.next(Duration::ZERO).unwrap(), Next::Batch { .. }));
        assert_eq!(context.status.in_hand(), 3);
        context.send(0, 0, batch()).unwrap();
        context.count_dropped(1);
        assert_eq!(context.status.in_hand(), 1);
        context.hold(1);
        assert!(context.poll().is_none());
        assert_eq!(context.status.in_hand(), 1, "held over the next look");
        context.hold(0);
        context.send(0, 0, batch()).unwrap();
        assert_eq!(context.status.in_hand(), 0, "what a worker makes itself was never in hand");
    }

    #[test]
    fn an_edge_that_is_not_there_counts_and_an_empty_batch_is_nothing() {
        let mut context = context(vec![], vec![], Orders::default());
        assert_eq!(context.send(0, 7, batch()).unwrap(), None);
        assert_eq!(context.send(0, 7, Batch::default()).unwrap(), None);
        assert_eq!(context.dropped.get(), 1);
    }

    #[test]
    fn a_settled_number_ends_the_wait_at_once() {
        let out = edge("a", "b");
        let input = edge("x", "a");
        let mut context = context(vec![input], vec![Arc::clone(&out)], Orders::default());
        context.send(0, 0, batch()).unwrap();
        let consumer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            let (number, _) = out.take().unwrap();
            out.settle(number);
        });
        let start = std::time::Instant::now();
        while context.outputs[0].edges[0].settled() < 1 {
            assert!(matches!(context.next(Duration::from_secs(60)).unwrap(), Next::Idle));
        }
        assert!(start.elapsed() < SLEEP_MAX, "the bell rang in `settle`");
        consumer.join().unwrap();
    }

    #[test]
    fn an_order_wakes_a_sleeping_worker() {
        let orders = Orders::default();
        let input = edge("x", "a");
        let mut context = context(vec![input], vec![], orders.clone());
        let teller = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(20));
            orders.stop();
        });
        let start = std::time::Instant::now();
        assert!(context.next(Duration::from_secs(60)).is_err());
        assert!(context.wait(Duration::from_secs(60)).is_err());
        assert!(start.elapsed() < SLEEP_MAX);
        teller.join().unwrap();
    }

    #[test]
    fn events_and_batches_come_in_turn() {
        let input = edge("x", "a");
        let events = Arc::new(EventEdge::new(input.name().clone(), 8, WhenFull::Collapse));
        let mut sink = EventSink::new(vec![Arc::clone(&events)]);
        let wiring = Wiring {
            inputs: vec![Arc::clone(&input)],
            event_inputs: vec![Arc::clone(&events)],
            ..Wiring::default()
        };
        let mut context = Context::new(wiring);
        for sid in 0..3 {
            let source = crate::Source::Association(sid);
            sink.report(crate::Reason("x"), crate::Severity::Info, source, String::new);
        }
        input.offer(batch()).unwrap();
        input.close();
        events.close();
        let kinds: Vec<bool> = std::iter::from_fn(|| match context.next(Duration::ZERO).unwrap() {
            Next::Batch { .. } => Some(true),
            Next::Event(_) => Some(false),
            _ => None,
        })
        .collect();
        assert_eq!(kinds, [false, true, false, false]);
        assert!(matches!(context.next(Duration::ZERO).unwrap(), Next::Finished));
    }
}
