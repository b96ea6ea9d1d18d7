//! Security and operating events, and the sink that a worker reports them to.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam::queue::ArrayQueue;

use crate::doorbell::Doorbell;
use crate::edge::{EdgeName, WhenFull};

/// Sources told apart within one interval; past that they are counted together as [`Source::Other`].
const SOURCES_MAX: usize = 4096;
/// How long one record gathers the repeats of an event.
const INTERVAL: Duration = Duration::from_secs(1);

/// Why something was refused, dropped or noticed: a code of the security layer §10 (`SEC-UP-AUTH`) or
/// the codec's kebab-case name (`truncated`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reason(pub &'static str);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// How much an event matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Part of normal work.
    Info,
    /// A frame was refused, a link misbehaves.
    Warning,
    /// Somebody should look.
    Alarm,
}

impl Severity {
    /// The word in logs.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Alarm => "alarm",
        }
    }
}

/// Where an event comes from; with the reason it is what repeats are merged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The node itself.
    Node,
    /// A link of a transport.
    Link {
        /// The transport's number.
        transport: u8,
        /// The link's number.
        link: u32,
    },
    /// An association, as claimed by the frame (refused frames prove nothing).
    Association(u32),
    /// One of too many sources in this interval.
    Other,
}

/// One event, or several of one reason and source within an interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub reason: Reason,
    /// How much it matters.
    pub severity: Severity,
    /// Where it came from.
    pub source: Source,
    /// For people: the detail of the first one. Never holds a key.
    pub detail: String,
    /// How many there were.
    pub count: u64,
    /// Wall time of the first, Unix nanoseconds.
    pub first: u64,
    /// Wall time of the last, Unix nanoseconds.
    pub last: u64,
}

/// A bounded queue of events from one worker to one other.
pub struct EventEdge {
    name: EdgeName,
    when_full: WhenFull,
    queue: ArrayQueue<Event>,
    dropped: AtomicU64,
    closed: AtomicBool,
    consumer: RwLock<Option<Doorbell>>,
}

impl fmt::Debug for EventEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventEdge({})", self.name)
    }
}

impl EventEdge {
    /// An empty edge for at most `events_max` (at least 1) events.
    #[must_use]
    pub fn new(name: EdgeName, events_max: usize, when_full: WhenFull) -> Self {
        Self {
            name,
            when_full,
            queue: ArrayQueue::new(events_max.max(1)),
            dropped: AtomicU64::new(0),
            closed: AtomicBool::new(false),
            consumer: RwLock::new(None),
        }
    }

    /// Its two ends.
    #[must_use]
    pub fn name(&self) -> &EdgeName {
        &self.name
    }

    /// Sets who is woken when an event arrives.
    pub fn set_consumer(&self, doorbell: Doorbell) {
        *self.consumer.write().unwrap_or_else(PoisonError::into_inner) = Some(doorbell);
    }

    /// Takes the oldest event.
    pub fn take(&self) -> Option<Event> {
        self.queue.pop()
    }

    /// Events (with their counts) that were dropped for want of room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The producer has ended and sends nothing more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.ring();
    }

    /// Whether the producer has ended and nothing waits.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.closed.load(Ordering::Acquire) && self.queue.is_empty()
    }

    /// Gives it one event; what comes back did not fit and stays with the sink.
    fn offer(&self, event: Event) -> Option<Event> {
        match self.queue.push(event) {
            Ok(()) => {
                self.ring();
                None
            }
            Err(event) if self.when_full == WhenFull::Drop => {
                self.count_dropped(&event);
                None
            }
            // `wait` too: reporting an event never holds up a worker.
            Err(event) => Some(event),
        }
    }

    fn count_dropped(&self, event: &Event) {
        self.dropped.fetch_add(event.count, Ordering::Relaxed);
    }

    fn ring(&self) {
        if let Some(doorbell) = self.consumer.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            doorbell.ring();
        }
    }
}

/// What a worker reports events to.
///
/// The first event of a reason and source goes out at once; its repeats within an interval are merged
/// into one record with a count, so that a flood costs a look-up each and stops nothing.
#[derive(Debug, Default)]
pub struct EventSink {
    edges: Vec<Arc<EventEdge>>,
    gathered: HashMap<(Reason, Source), Gathered>,
    flushed: Option<Instant>,
}

#[derive(Debug)]
struct Gathered {
    since: Instant,
    /// What each edge has not seen yet, in the order of the edges.
    unseen: Vec<Option<Event>>,
}

impl Gathered {
    /// Adds repeats to what is unseen; where an edge has seen everything, a record begins.
    fn add(&mut self, count: u64, now: u64, fresh: impl FnOnce() -> Event) {
        for event in self.unseen.iter_mut().flatten() {
            event.count = event.count.saturating_add(count);
            event.last = now;
        }
        if self.unseen.iter().any(Option::is_none) {
            let fresh = fresh();
            for slot in &mut self.unseen {
                slot.get_or_insert_with(|| fresh.clone());
            }
        }
    }

    fn offer_to(&mut self, edges: &[Arc<EventEdge>]) {
        for (edge, slot) in edges.iter().zip(&mut self.unseen) {
            *slot = slot.take().and_then(|event| edge.offer(event));
        }
    }
}

impl EventSink {
    /// A sink that feeds these edges.
    #[must_use]
    pub fn new(edges: Vec<Arc<EventEdge>>) -> Self {
        Self { edges, gathered: HashMap::new(), flushed: None }
    }

    /// Reports one event; `detail` is called only when a record begins.
    pub fn report(
        &mut self,
        reason: Reason,
        severity: Severity,
        source: Source,
        detail: impl FnOnce() -> String,
    ) {
        self.report_many(reason, severity, source, 1, detail);
    }

    /// Reports `count` events of one kind.
    pub fn report_many(
        &mut self,
        reason: Reason,
        severity: Severity,
        source: Source,
        count: u64,
        detail: impl FnOnce() -> String,
    ) {
        if self.edges.is_empty() || count == 0 {
            return;
        }
        let source = if self.gathered.len() < SOURCES_MAX || self.gathered.contains_key(&(reason, source)) {
            source
        } else {
            Source::Other
        };
        let now = unix_ns();
        let fresh = || Event { reason, severity, source, detail: detail(), count, first: now, last: now };
        match self.gathered.entry((reason, source)) {
            Entry::Occupied(mut gathered) => gathered.get_mut().add(count, now, fresh),
            Entry::Vacant(place) => {
                let unseen = vec![Some(fresh()); self.edges.len()];
                place.insert(Gathered { since: Instant::now(), unseen }).offer_to(&self.edges);
            }
        }
    }

    /// Sends the records whose interval has passed, all of them with `all` set. [`crate::Context`] calls
    /// it; with nothing gathered it costs nothing.
    pub fn flush(&mut self, all: bool) {
        if self.gathered.is_empty() {
            return;
        }
        let now = Instant::now();
        if !all && self.flushed.is_some_and(|at| now.duration_since(at) < INTERVAL / 2) {
            return;
        }
        self.flushed = Some(now);
        let edges = &self.edges;
        self.gathered.retain(|_, gathered| {
            if !all && now.duration_since(gathered.since) < INTERVAL {
                return true;
            }
            // A quiet interval ends the record: the next event goes out at once.
            let repeated = gathered.unseen.iter().any(Option::is_some);
            gathered.offer_to(edges);
            gathered.since = now;
            repeated
        });
    }
}

impl Drop for EventSink {
    /// Sends what is left; what finds no room is counted as dropped.
    fn drop(&mut self) {
        self.flush(true);
        for gathered in self.gathered.values() {
            for (edge, event) in self.edges.iter().zip(&gathered.unseen) {
                event.iter().for_each(|event| edge.count_dropped(event));
            }
        }
    }
}

/// Wall time, Unix nanoseconds.
#[must_use]
pub fn unix_ns() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(events_max: usize) -> Arc<EventEdge> {
        let name = EdgeName {
            from: "decrypt".into(),
            port: "events".into(),
            from_instance: 0,
            to: "monitor".into(),
            to_instance: 0,
        };
        Arc::new(EventEdge::new(name, events_max, WhenFull::Collapse))
    }

    #[test]
    fn a_flood_is_one_record_first_and_one_with_the_count() {
        let edge = edge(8);
        let mut sink = EventSink::new(vec![Arc::clone(&edge)]);
        for _ in 0..1000 {
            sink.report(Reason("SEC-UP-AUTH"), Severity::Warning, Source::Association(7), String::new);
        }
        sink.flush(true);
        let counts: Vec<u64> = std::iter::from_fn(|| edge.take()).map(|event| event.count).collect();
        assert_eq!(counts, [1, 999]);
    }

    #[test]
    fn a_full_edge_loses_no_count() {
        let edge = edge(1);
        let mut sink = EventSink::new(vec![Arc::clone(&edge)]);
        for sid in 0..5 {
            sink.report(Reason("SEC-UP-AUTH"), Severity::Warning, Source::Association(sid), String::new);
        }
        let mut total = 0;
        for _ in 0..5 {
            total += edge.take().map_or(0, |event| event.count);
            sink.flush(true);
        }
        total += std::iter::from_fn(|| edge.take()).map(|event| event.count).sum::<u64>();
        assert_eq!(total, 5);
    }

    #[test]
    fn each_reader_gets_every_count_once_whatever_the_others_do() {
        let (roomy, tight) = (edge(64), edge(1));
        let mut sink = EventSink::new(vec![Arc::clone(&roomy), Arc::clone(&tight)]);
        let mut heard = 0;
        for round in 0..20 {
            for sid in 0..3 {
                let source = Source::Association(sid);
                sink.report_many(Reason("SEC-UP-AUTH"), Severity::Warning, source, 1 + round, String::new);
            }
            sink.flush(round % 2 == 0);
            heard += tight.take().map_or(0, |event| event.count);
        }
        let sent = 3 * (1..=20).sum::<u64>();
        for _ in 0..4 {
            sink.flush(true);
            heard += std::iter::from_fn(|| tight.take()).map(|event| event.count).sum::<u64>();
        }
        assert_eq!(heard, sent);
        assert_eq!(std::iter::from_fn(|| roomy.take()).map(|event| event.count).sum::<u64>(), sent);
        assert_eq!((roomy.dropped(), tight.dropped()), (0, 0));
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let (keeps, drops) = (edge(1), Arc::new(EventEdge::new(edge(1).name().clone(), 1, WhenFull::Drop)));
        let mut sink = EventSink::new(vec![Arc::clone(&keeps), Arc::clone(&drops)]);
        for sid in 0..5 {
            sink.report(Reason("SEC-UP-AUTH"), Severity::Warning, Source::Association(sid), String::new);
        }
        assert_eq!((keeps.dropped(), drops.dropped()), (0, 4));
        drop(sink);
        assert_eq!((keeps.dropped(), drops.dropped()), (4, 4), "a sink that ends counts what it kept");
    }

    #[test]
    fn without_a_reader_nothing_is_kept() {
        let mut sink = EventSink::new(vec![]);
        sink.report(Reason("SEC-UP-AUTH"), Severity::Warning, Source::Node, || panic!("nobody asks"));
        assert!(sink.gathered.is_empty());
    }

    #[test]
    fn too_many_sources_are_counted_together() {
        let edge = edge(SOURCES_MAX * 2);
        let mut sink = EventSink::new(vec![Arc::clone(&edge)]);
        let sent = SOURCES_MAX as u32 + 10;
        for sid in 0..sent {
            sink.report(Reason("SEC-UP-UNKNOWN"), Severity::Warning, Source::Association(sid), String::new);
        }
        sink.flush(true);
        let events: Vec<Event> = std::iter::from_fn(|| edge.take()).collect();
        assert!(events.iter().any(|event| event.source == Source::Other));
        assert_eq!(events.iter().map(|event| event.count).sum::<u64>(), u64::from(sent));
    }
}
