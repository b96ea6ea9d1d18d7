//! What fails is started anew, within a budget; what it had in hand is counted.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Graph, Seen, Test, each, get, kind, numbered, pass, sink, source, try_kind, until};
use node::{BuildError, Counter, Next, NodeError, Registry};

/// Counts how often something happened, over all runs.
fn times() -> (Arc<AtomicU32>, impl Fn() -> u32) {
    let times = Arc::new(AtomicU32::new(0));
    let counts = Arc::clone(&times);
    (times, move || counts.fetch_add(1, Ordering::AcqRel) + 1)
}

/// A source of `total` frames, ten a batch, before a node of kind `middle`, before a sink.
fn row(total: u64, middle: common::Fake, change: impl FnOnce(Graph) -> Graph) -> (Test, Counter, Seen) {
    let (sent, seen) = (Counter::default(), Seen::default());
    let registry = Registry::default().with(source(&sent, 10, total)).with(middle).with(sink(&seen));
    let graph = Graph::new()
        .node("mdm", "sink", 1)
        .node("middle", "middle", 1)
        .node("ingress", "source", 1)
        .edge("ingress", "middle", 4)
        .edge("middle", "mdm", 4);
    (change(graph).start(registry), sent, seen)
}

#[test]
fn after_a_panic_it_runs_again_and_only_the_batch_in_hand_is_lost() {
    let (_, count) = times();
    let count = Arc::new(count);
    let middle = kind("middle", move |_| {
        let count = Arc::clone(&count);
        each(move |context, batch| {
            // The third batch ever is bad luck.
            assert!(count() != 3, "bad luck");
            context.send(0, 0, batch)?;
            Ok(())
        })
    });
    let (test, sent, seen) = row(200, middle, |graph| graph);
    until("the others arrive", || seen.lock().unwrap().len() == 190);
    let expected: Vec<u64> = (0..20).chain(30..200).collect();
    assert_eq!(*seen.lock().unwrap(), expected, "what waited in the edge is there after the restart");
    assert_eq!((sent.get(), test.starts("middle"), test.state("middle")), (200, 2, "running".into()));
    assert_eq!((test.dropped("restart"), test.dropped("stop")), (10, 0));
    let (end, status) = test.running.stop();
    assert!(!end.forced);
    assert_eq!(status.sum("metergraph_restarts_total", Some(("node", "middle"))), 1);
}

#[test]
fn what_was_passed_on_before_a_panic_is_not_counted_as_lost() {
    let (_, count) = times();
    let count = Arc::new(count);
    let middle = kind("middle", move |_| {
        let count = Arc::clone(&count);
        each(move |context, batch| {
            let first = batch.frames[0].tag;
            context.send(0, 0, numbered(first, 7))?;
            context.count_dropped(1);
            assert!(count() != 2, "after eight of ten");
            context.send(0, 0, numbered(first + 8, 2))?;
            Ok(())
        })
    });
    let (test, _, seen) = row(50, middle, |graph| graph);
    until("the others arrive", || seen.lock().unwrap().len() == 5 * 9 - 2);
    assert_eq!((test.dropped("restart"), test.dropped("stop")), (2, 5));
}

#[test]
fn every_start_builds_a_new_worker_with_a_higher_run_number() {
    let runs: Arc<Mutex<Vec<u64>>> = Arc::default();
    let notes = Arc::clone(&runs);
    let middle = kind("middle", move |env| {
        notes.lock().unwrap().push(env.run);
        let run = env.run;
        each(move |_, _| if run < 3 { Err(NodeError::Rebuild(format!("run {run}"))) } else { Ok(()) })
    });
    let (test, ..) = row(100, middle, |graph| graph);
    until("three starts", || test.starts("middle") == 3);
    assert_eq!(*runs.lock().unwrap(), [1, 2, 3]);
}

#[test]
fn past_its_budget_a_node_has_failed_and_livez_and_status_say_so() {
    let middle = kind("middle", |_| each(|_, _| panic!("always")));
    let (test, ..) = row(1000, middle, |graph| {
        graph.with(|plan| {
            plan.http = Some("127.0.0.1:0".into());
            plan.runtime.restarts_max = 2;
            plan.runtime.drain_timeout_ms = 100;
        })
    });
    until("it fails for good", || test.state("middle") == "failed");
    assert_eq!((test.starts("middle"), test.note("middle")), (3, "panic: always".into()));
    let http = test.running.http().unwrap();
    assert_eq!(get(http, "/livez"), (503, "middle[0]: failed panic: always\n".into()));
    assert_eq!(get(http, "/readyz").0, 503);
    assert!(!test.running.status().ready);
    assert_eq!(test.dropped("restart"), 30);
    // Its neighbours go on, and what waits for it stays in its edge until the graph stops.
    assert_eq!((test.state("ingress"), test.state("mdm")), ("running".into(), "running".into()));
    let waiting = |edge: &str| {
        let status = test.running.status();
        status.edges.iter().find(|line| line.edge == edge).unwrap().waiting
    };
    until("its edge is full", || waiting("ingress.out[0]->middle[0]") == 4);
    let (end, status) = test.running.stop();
    assert!(end.forced && !end.abandoned, "nobody takes what waits for the failed node");
    // Four batches in the edge, and the one that found no room.
    assert_eq!(status.sum("metergraph_frames_dropped_total", Some(("where", "stop"))), 50);
}

#[test]
fn a_failed_node_ends_with_the_others_where_nothing_waits_for_it() {
    let middle = kind("middle", |_| Box::new(|_| panic!("at once")));
    let (test, ..) = row(0, middle, |graph| graph);
    until("it fails for good", || test.state("middle") == "failed");
    let (end, status) = test.running.stop();
    assert!(!end.forced);
    let states: Vec<&str> = status.nodes.iter().map(|node| node.state.as_str()).collect();
    assert_eq!(states, ["stopped", "failed", "stopped"]);
}

#[test]
fn pauses_grow_between_restarts() {
    let starts: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let notes = Arc::clone(&starts);
    let middle = kind("middle", move |_| {
        notes.lock().unwrap().push(Instant::now());
        Box::new(|_| Err(NodeError::new("no")))
    });
    let (test, ..) = row(0, middle, |graph| {
        graph.with(|plan| {
            plan.runtime.backoff_ms = 40;
            plan.runtime.backoff_max_ms = 100;
        })
    });
    until("it fails for good", || test.state("middle") == "failed");
    let starts = starts.lock().unwrap();
    let pauses: Vec<u128> = starts.windows(2).map(|pair| (pair[1] - pair[0]).as_millis()).collect();
    assert_eq!(pauses.len(), 3);
    assert!(pauses[0] >= 40 && pauses[1] >= 80 && pauses[2] >= 100, "{pauses:?}");
}

#[test]
fn restarts_outside_the_window_are_forgiven() {
    let middle = kind("middle", |env| {
        let run = env.run;
        each(move |_, _| if run <= 5 { Err(NodeError::new("no")) } else { Ok(()) })
    });
    let (test, ..) = row(1000, middle, |graph| {
        graph.with(|plan| {
            plan.runtime.restarts_max = 1;
            plan.runtime.restart_window_s = 0;
        })
    });
    until("it runs at last", || test.starts("middle") == 6 && test.state("middle") == "running");
}

#[test]
fn a_build_that_fails_or_panics_at_a_restart_is_tried_again() {
    let middle = try_kind("middle", |env| match env.run {
        1 => Ok(Box::new(|_| Err(NodeError::new("the first run fails")))),
        2 => Err(BuildError::caused(env, "open the log", std::io::Error::other("no space left"))),
        3 => panic!("out of thin air"),
        _ => Ok(each(|context, batch| {
            context.send(0, 0, batch)?;
            Ok(())
        })),
    });
    let notes: Arc<Mutex<Vec<String>>> = Arc::default();
    let (test, _, seen) = row(50, middle, |graph| graph.with(|plan| plan.runtime.backoff_ms = 60));
    until("all arrive", || {
        let note = test.note("middle");
        let mut notes = notes.lock().unwrap();
        if !note.is_empty() && notes.last() != Some(&note) {
            notes.push(note);
        }
        seen.lock().unwrap().len() == 50
    });
    assert_eq!(
        *notes.lock().unwrap(),
        [
            "the first run fails",
            "it could not be built: node `middle`: open the log: no space left",
            "panic: out of thin air",
        ]
    );
    assert_eq!(test.starts("middle"), 4);
    assert!(!test.running.stop().0.forced);
}

#[test]
fn one_that_ends_before_its_inputs_do_is_started_anew() {
    let middle = kind("middle", |env| {
        let run = env.run;
        if run == 1 {
            Box::new(|_| Ok(()))
        } else {
            each(|context, batch| {
                context.send(0, 0, batch)?;
                Ok(())
            })
        }
    });
    let (test, _, seen) = row(50, middle, |graph| graph);
    until("all arrive", || seen.lock().unwrap().len() == 50);
    assert_eq!(test.starts("middle"), 2);
}

#[test]
fn a_panic_while_letting_go_of_a_worker_stops_nothing() {
    struct Untidy;
    impl Drop for Untidy {
        fn drop(&mut self) {
            panic!("untidy");
        }
    }
    let middle = kind("middle", |env| {
        let (untidy, run) = (Untidy, env.run);
        each(move |context, batch| {
            let _ = &untidy;
            assert!(run > 1, "the first run fails");
            context.send(0, 0, batch)?;
            Ok(())
        })
    });
    let (test, _, seen) = row(50, middle, |graph| graph);
    until("the others arrive", || seen.lock().unwrap().len() == 40);
    assert!(!test.running.stop().0.forced);
}

#[test]
fn one_that_waits_for_its_restart_stops_at_once_when_told() {
    let middle = kind("middle", |_| Box::new(|_| Err(NodeError::new("no"))));
    let (test, ..) = row(100, middle, |graph| {
        graph.with(|plan| {
            plan.runtime.backoff_ms = 60_000;
            plan.runtime.backoff_max_ms = 60_000;
            plan.runtime.drain_timeout_ms = 50;
        })
    });
    until("it waits", || test.state("middle") == "restarting");
    let since = Instant::now();
    let (end, status) = test.running.stop();
    assert!(end.forced && !end.abandoned && since.elapsed() < Duration::from_secs(4));
    assert!(status.nodes.iter().all(|node| node.state == "stopped"));
}

#[test]
fn batches_that_a_dead_consumer_did_not_settle_are_doubted() {
    // The producer sends five batches and hears what became of them.
    let heard: Arc<Mutex<Vec<(u64, u64)>>> = Arc::default();
    let tells = Arc::clone(&heard);
    let producer = kind("producer", move |_| {
        let heard = Arc::clone(&tells);
        Box::new(move |context| {
            for first in 0..5 {
                context.send(0, 0, numbered(first, 1))?;
            }
            let edge = Arc::clone(&context.outputs[0].edges[0]);
            while !context.orders.draining() {
                let now = (edge.settled(), edge.doubted());
                let mut heard = heard.lock().unwrap();
                if heard.last() != Some(&now) {
                    heard.push(now);
                }
                drop(heard);
                context.next(Duration::from_millis(1))?;
            }
            Ok(())
        })
    });
    // The first run settles batch 1, takes 2 and 3 and dies; the second settles the rest, once told.
    let settle_to = Arc::new(AtomicU64::new(0));
    let told = Arc::clone(&settle_to);
    let consumer = kind("consumer", move |env| {
        let (run, told) = (env.run, Arc::clone(&told));
        Box::new(move |context| {
            loop {
                match context.next(Duration::from_millis(1))? {
                    Next::Batch { input, number, .. } => match run {
                        1 if number == 1 => context.inputs[input].settle(1),
                        1 => assert!(number < 3, "dies with batches 2 and 3"),
                        _ => {}
                    },
                    Next::Finished => return Ok(()),
                    Next::Idle | Next::Event(_) => {}
                }
                if run > 1 {
                    context.inputs[0].settle(told.load(Ordering::Acquire));
                }
            }
        })
    });
    let graph = Graph::new()
        .node("journal", "consumer", 1)
        .node("decrypt", "producer", 1)
        .edge("decrypt", "journal", 8);
    let test = graph.start(Registry::default().with(producer).with(consumer));
    until("the doubt is heard", || heard.lock().unwrap().last() == Some(&(3, 3)));
    settle_to.store(5, Ordering::Release);
    until("the rest is settled", || heard.lock().unwrap().last() == Some(&(5, 3)));
    assert!(heard.lock().unwrap().iter().all(|(settled, doubted)| *settled < 3 || *doubted == 3));
    assert!(!test.running.stop().0.forced);
}

#[test]
fn a_pass_through_graph_survives_a_panic_of_its_sink() {
    let (sent, seen) = (Counter::default(), Seen::default());
    let keeps = Arc::clone(&seen);
    let fragile = kind("sink", move |env| {
        let (run, seen) = (env.run, Arc::clone(&keeps));
        each(move |context, batch| {
            let mut seen = seen.lock().unwrap();
            seen.extend(batch.frames.iter().map(|frame| frame.tag));
            context.hold(0);
            let have = seen.len();
            drop(seen);
            assert!(run > 1 || have < 50, "after the fifth batch");
            Ok(())
        })
    });
    let registry = Registry::default().with(source(&sent, 10, 200)).with(pass()).with(fragile);
    let test = Graph::new()
        .node("mdm", "sink", 1)
        .node("middle", "pass", 1)
        .node("ingress", "source", 1)
        .edge("ingress", "middle", 1)
        .edge("middle", "mdm", 1)
        .start(registry);
    until("all arrive", || seen.lock().unwrap().len() == 200);
    assert_eq!((test.starts("mdm"), test.dropped("restart")), (2, 0));
}
