//! What a full edge does: it holds up its producer, drops and counts, or collapses.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Fake, Graph, Seen, each, kind, numbered, sink, source, until};
use node::{Counter, Next, Reason, Registry, Severity, Source};

/// Takes nothing until the gate is open.
fn gated(gate: &Arc<AtomicBool>, taken: &Counter) -> Fake {
    let (gate, taken) = (Arc::clone(gate), taken.clone());
    kind("gated", move |_| {
        let (gate, taken) = (Arc::clone(&gate), taken.clone());
        let mut take = each({
            let taken = taken.clone();
            move |_, batch| {
                taken.add(batch.len() as u64);
                Ok(())
            }
        });
        Box::new(move |context| {
            while !gate.load(Ordering::Acquire) {
                context.wait(Duration::from_millis(1))?;
            }
            take(context)
        })
    })
}

#[test]
fn a_slow_consumer_holds_up_its_producer_and_loses_nothing() {
    let (gate, taken, sent) = (Arc::new(AtomicBool::new(false)), Counter::default(), Counter::default());
    let test = Graph::new()
        .node("slow", "gated", 1)
        .node("fast", "source", 1)
        .edge("fast", "slow", 3)
        .start(Registry::default().with(gated(&gate, &taken)).with(source(&sent, 10, 500)));
    // Three batches in the edge, one in the producer's hand.
    until("the edge is full", || sent.get() == 40);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(sent.get(), 40, "the producer waits");
    assert_eq!(test.running.status().edges[0].waiting, 3);
    gate.store(true, Ordering::Release);
    until("all arrive", || taken.get() == 500);
    let (end, status) = test.running.stop();
    assert!(!end.forced);
    assert_eq!(status.sum("metergraph_frames_dropped_total", None), 0);
}

#[test]
fn an_edge_that_drops_counts_and_holds_up_nobody() {
    let (gate, taken, sent) = (Arc::new(AtomicBool::new(false)), Counter::default(), Counter::default());
    let test = Graph::new()
        .node("slow", "gated", 1)
        .node("fast", "source", 1)
        .dropping_edge("fast", "slow", 3)
        .start(Registry::default().with(gated(&gate, &taken)).with(source(&sent, 10, 500)));
    until("all are sent", || sent.get() == 500);
    until("all but three batches are dropped", || test.dropped("edge") == 470);
    gate.store(true, Ordering::Release);
    let (end, status) = test.running.stop();
    assert!(!end.forced);
    assert_eq!((taken.get(), status.edges[0].frames, status.edges[0].dropped), (30, 30, 470));
}

#[test]
fn one_full_edge_does_not_hold_up_the_readers_of_another() {
    // A producer that only offers goes on with the edge that has room.
    let (gate, taken, seen) = (Arc::new(AtomicBool::new(false)), Counter::default(), Seen::default());
    let offering = kind("offering", |_| {
        Box::new(move |context| {
            let mut waits = Vec::new();
            for first in 0..100 {
                if let Err(batch) = context.offer(0, 0, numbered(first, 1)) {
                    waits.push(batch);
                }
                context.send(0, 1, numbered(first, 1))?;
            }
            for batch in waits {
                context.send(0, 0, batch)?;
            }
            Ok(())
        })
    });
    let test = Graph::new()
        .node("slow", "gated", 1)
        .node("quick", "sink", 1)
        .node("both", "offering", 1)
        .edge("both", "slow", 2)
        .edge("both", "quick", 2)
        .start(Registry::default().with(gated(&gate, &taken)).with(sink(&seen)).with(offering));
    until("the quick one has all", || seen.lock().unwrap().len() == 100);
    assert_eq!(taken.get(), 0);
    gate.store(true, Ordering::Release);
    until("the slow one has all", || taken.get() == 100);
    assert!(test.running.wait(common::LIMIT).is_some());
}

/// Reports an event for every frame that it takes, from one of 5,000 sources, and passes the frame on.
fn complaining() -> Fake {
    kind("complaining", |_| {
        each(|context, batch| {
            for frame in &batch.frames {
                let source = Source::Association(u32::try_from(frame.tag % 5000).unwrap());
                context.events.report(Reason("SEC-UP-AUTH"), Severity::Warning, source, String::new);
            }
            context.send(0, 0, batch)?;
            Ok(())
        })
    })
}

#[test]
fn a_flood_of_events_collapses_and_stops_nothing() {
    const FRAMES: u64 = 200_000;
    let (sent, seen) = (Counter::default(), Seen::default());
    let counts: Arc<Mutex<HashMap<Source, u64>>> = Arc::default();
    let records = Counter::default();
    let (keeps, tells) = (Arc::clone(&counts), records.clone());
    // Slower than any flood.
    let monitor = kind("monitor", move |_| {
        let (counts, records) = (Arc::clone(&keeps), tells.clone());
        Box::new(move |context| {
            loop {
                match context.next(Duration::from_secs(1))? {
                    Next::Event(event) => {
                        records.add(1);
                        *counts.lock().unwrap().entry(event.source).or_default() += event.count;
                        if records.get() % 100 == 0 {
                            std::thread::sleep(Duration::from_millis(1));
                        }
                    }
                    Next::Finished => return Ok(()),
                    _ => {}
                }
            }
        })
    });
    let registry = Registry::default()
        .with(source(&sent, 256, FRAMES))
        .with(complaining())
        .with(sink(&seen))
        .with(monitor);
    let test = Graph::new()
        .node("monitor", "monitor", 1)
        .node("mdm", "sink", 1)
        .node("decrypt", "complaining", 1)
        .node("ingress", "source", 1)
        .edge("ingress", "decrypt", 4)
        .edge("decrypt", "mdm", 4)
        .events("decrypt", "monitor", 16)
        .start(registry);
    until("every frame passes", || seen.lock().unwrap().len() as u64 == sent.get() && sent.get() >= FRAMES);
    let (end, status) = test.running.stop();
    assert!(!end.forced);
    let heard: u64 = counts.lock().unwrap().values().sum();
    let dropped = u64::try_from(status.sum("metergraph_events_dropped_total", None)).unwrap();
    assert_eq!(heard + dropped, sent.get(), "every event is told or counted");
    assert!(records.get() < FRAMES / 10, "{} records", records.get());
}

#[test]
fn a_dead_monitor_stops_nothing() {
    let (sent, seen) = (Counter::default(), Seen::default());
    let dead = kind("monitor", |_| Box::new(|_| panic!("dead")));
    let registry =
        Registry::default().with(source(&sent, 100, 10_000)).with(complaining()).with(sink(&seen)).with(dead);
    let test = Graph::new()
        .node("monitor", "monitor", 1)
        .node("mdm", "sink", 1)
        .node("decrypt", "complaining", 1)
        .node("ingress", "source", 1)
        .edge("ingress", "decrypt", 4)
        .edge("decrypt", "mdm", 4)
        .events("decrypt", "monitor", 16)
        .start(registry);
    until("every frame passes", || seen.lock().unwrap().len() == 10_000);
    let (end, _) = test.running.stop();
    assert!(!end.forced);
}
