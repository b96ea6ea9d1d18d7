//! A graph starts from the MDM end and stops from the ingress end, within a limit.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Graph, Seen, each, kind, pass, sink, source, until};
use metergraph_runtime::{Options, RuntimeError};
use node::env::Services;
use node::{BuildError, Counter, NodeState, NodeStatus, Registry};

/// Three nodes in a row, with small edges.
fn row() -> Graph {
    Graph::new()
        .node("mdm", "sink", 1)
        .node("balancer", "pass", 1)
        .node("ingress", "source", 1)
        .edge("ingress", "balancer", 2)
        .edge("balancer", "mdm", 2)
}

/// A worker, and the others that were running when it began.
type WhoWasUp = (String, Vec<String>);

#[test]
fn the_far_end_is_up_before_the_first_frame_comes() {
    // Every worker notes, as its first act, who was up before it.
    let statuses: Arc<Mutex<Vec<(String, NodeStatus)>>> = Arc::default();
    let up: Arc<Mutex<Vec<WhoWasUp>>> = Arc::default();
    let noting = |name| {
        let (statuses, up) = (Arc::clone(&statuses), Arc::clone(&up));
        kind(name, move |env| {
            statuses.lock().unwrap().push((env.node.clone(), env.status.clone()));
            let (me, statuses, up) = (env.node.clone(), Arc::clone(&statuses), Arc::clone(&up));
            Box::new(move |context| {
                let others = statuses.lock().unwrap();
                let running = others
                    .iter()
                    .filter(|(name, status)| *name != me && status.state() == NodeState::Running);
                up.lock().unwrap().push((me.clone(), running.map(|(name, _)| name.clone()).collect()));
                drop(others);
                (each(|_, _| Ok(())))(context)
            })
        })
    };
    let registry = Registry::default().with(noting("sink")).with(noting("pass")).with(noting("source"));
    let test = row().start(registry);
    until("all run", || up.lock().unwrap().len() == 3);
    let up = up.lock().unwrap();
    let seen_by = |name: &str| up.iter().find(|(me, _)| me == name).unwrap().1.clone();
    assert!(seen_by("balancer").contains(&"mdm".into()));
    assert!(seen_by("ingress").contains(&"mdm".into()) && seen_by("ingress").contains(&"balancer".into()));
    assert!(!test.running.stop().0.forced);
}

#[test]
fn a_stop_drains_every_frame() {
    let (sent, seen) = (Counter::default(), Seen::default());
    let registry = Registry::default().with(source(&sent, 10, u64::MAX)).with(pass()).with(sink(&seen));
    let test = row().start(registry);
    until("frames flow", || seen.lock().unwrap().len() > 1000);
    let (end, status) = test.running.stop();
    assert!(!end.forced && !end.abandoned);
    assert_eq!(*seen.lock().unwrap(), (0..sent.get()).collect::<Vec<_>>());
    assert!(status.nodes.iter().all(|node| node.state == "stopped"), "{:?}", status.nodes);
    assert_eq!(status.sum("metergraph_frames_dropped_total", None), 0);
}

#[test]
fn those_without_a_queue_end_after_what_they_read_and_what_serves_all_ends_last() {
    let ends: Arc<Mutex<Vec<String>>> = Arc::default();
    let noting = |name| {
        let ends = Arc::clone(&ends);
        kind(name, move |env| {
            let (ends, me) = (Arc::clone(&ends), env.node.clone());
            Box::new(move |context| {
                (each(|_, _| Ok(())))(context)?;
                std::thread::sleep(Duration::from_millis(10));
                ends.lock().unwrap().push(me.clone());
                Ok(())
            })
        })
    };
    let registry = Registry::default().with(noting("plain"));
    let test = Graph::new()
        .node("keys", "plain", 1)
        .node("mdm", "plain", 1)
        .node("journal", "plain", 1)
        .node("ingress", "plain", 1)
        .edge("ingress", "journal", 2)
        .log("journal", "mdm")
        .start(registry);
    assert!(!test.running.stop().0.forced);
    assert_eq!(*ends.lock().unwrap(), ["ingress", "journal", "mdm", "keys"]);
}

#[test]
fn past_the_limit_it_stops_at_once_and_counts_what_is_left() {
    let (sent, delivered) = (Counter::default(), Counter::default());
    let counts = delivered.clone();
    // Takes one batch and then sleeps on it.
    let stuck = kind("sink", move |_| {
        let counts = counts.clone();
        each(move |context, batch| {
            counts.add(batch.len() as u64);
            context.hold(0);
            loop {
                context.wait(Duration::from_secs(1))?;
            }
        })
    });
    let registry = Registry::default().with(source(&sent, 10, u64::MAX)).with(pass()).with(stuck);
    let test = row().with(|plan| plan.runtime.drain_timeout_ms = 100).start(registry);
    until("every edge is full", || sent.get() >= 70);
    let since = Instant::now();
    let (end, status) = test.running.stop();
    assert!(end.forced && !end.abandoned);
    assert!(since.elapsed() >= Duration::from_millis(100) && since.elapsed() < Duration::from_secs(4));
    let dropped = status.sum("metergraph_frames_dropped_total", Some(("where", "stop")));
    assert_eq!(delivered.get() + u64::try_from(dropped).unwrap(), sent.get());
    assert!(status.edges.iter().all(|edge| edge.waiting == 0));
}

#[test]
fn one_that_does_not_follow_is_left_behind() {
    let free = Arc::new(AtomicBool::new(false));
    let frees = Arc::clone(&free);
    let deaf = kind("deaf", move |_| {
        let free = Arc::clone(&frees);
        Box::new(move |_| {
            while !free.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        })
    });
    let test = Graph::new()
        .with(|plan| plan.runtime.drain_timeout_ms = 10)
        .node("deaf", "deaf", 1)
        .start(Registry::default().with(deaf));
    until("it runs", || test.state("deaf") == "running");
    let (end, _) = test.running.stop();
    assert!(end.forced && end.abandoned);
    free.store(true, Ordering::Release);
}

#[test]
fn a_graph_that_ends_by_itself_is_noticed() {
    let (sent, seen) = (Counter::default(), Seen::default());
    let finite = kind("source", {
        let sent = sent.clone();
        move |_| {
            let sent = sent.clone();
            Box::new(move |context| {
                sent.add(5);
                context.send(0, 0, common::numbered(0, 5))?;
                Ok(())
            })
        }
    });
    let test = row().start(Registry::default().with(finite).with(pass()).with(sink(&seen)));
    let end = test.running.wait(common::LIMIT).expect("it ends");
    assert!(!end.forced);
    assert_eq!(test.running.wait(Duration::ZERO), Some(end), "the end stays the end");
    assert_eq!(seen.lock().unwrap().len(), 5);
}

#[test]
fn what_cannot_be_built_starts_nothing() {
    let ran = Arc::new(AtomicBool::new(false));
    let runs = Arc::clone(&ran);
    let fine = kind("fine", move |_| {
        let ran = Arc::clone(&runs);
        Box::new(move |_| {
            ran.store(true, Ordering::Release);
            Ok(())
        })
    });
    let broken = common::try_kind("broken", |env| Err(BuildError::new(env, "no such file")));
    let registry = Registry::default().with(fine).with(broken);
    let folder = tempfile::tempdir().unwrap();
    let options = || Options { state: folder.path().into(), ..Options::default() };
    let start = |graph: Graph| metergraph_runtime::start(graph.plan(), &registry, options()).unwrap_err();
    let error = start(Graph::new().node("a", "fine", 1).node("b", "broken", 1));
    assert_eq!(error.to_string(), "node `b`: no such file");
    let error = start(Graph::new().node("a", "fine", 1).node("b", "unheard-of", 1));
    assert!(matches!(error, RuntimeError::UnknownKind { .. }), "{error}");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = start(Graph::new().with(|plan| plan.http = Some(address.clone())).node("a", "fine", 1));
    assert_eq!(error.to_string(), format!("http listen {address}"));
    assert!(!ran.load(Ordering::Acquire));
}

#[test]
fn nodes_find_what_the_program_brings_and_what_others_offer() {
    let found = Arc::new(Mutex::new((None, None)));
    let provider = kind("provider", |env| {
        env.services.provide(&env.node, Arc::new(7_u32));
        each(|_, _| Ok(()))
    });
    let finds = Arc::clone(&found);
    let user = kind("user", move |env| {
        let services = &env.services;
        *finds.lock().unwrap() = (
            services.find::<u32>("keys").as_deref().copied(),
            services.find::<String>("").as_deref().cloned(),
        );
        each(|_, _| Ok(()))
    });
    let graph = Graph::new().node("keys", "provider", 1).node("user", "user", 1);
    let folder = tempfile::tempdir().unwrap();
    let services = Services::default();
    services.provide("", Arc::new("brought".to_owned()));
    let options = Options { state: folder.path().into(), services, ..Options::default() };
    let registry = Registry::default().with(provider).with(user);
    let running = metergraph_runtime::start(graph.plan(), &registry, options).unwrap();
    assert_eq!(*found.lock().unwrap(), (Some(7), Some("brought".to_owned())));
    assert_eq!(running.services().find::<u32>("keys").as_deref(), Some(&7));
    assert!(!running.stop().0.forced);
}

#[test]
fn a_second_head_end_on_the_state_folder_builds_nothing() {
    let test = Graph::new()
        .node("a", "fine", 1)
        .start(Registry::default().with(kind("fine", |_| each(|_, _| Ok(())))));
    let builds = kind("fine", |_| panic!("its files belong to the other one"));
    let options = Options { state: test.folder.path().into(), ..Options::default() };
    let graph = Graph::new().node("a", "fine", 1);
    let error =
        metergraph_runtime::start(graph.plan(), &Registry::default().with(builds), options).unwrap_err();
    assert!(error.to_string().starts_with("control socket in"), "{error}");
    // The folder is free again as soon as the first has ended.
    let folder = test.folder;
    assert!(!test.running.stop().0.forced);
    let options = Options { state: folder.path().into(), ..Options::default() };
    let registry = Registry::default().with(kind("fine", |_| each(|_, _| Ok(()))));
    drop(metergraph_runtime::start(graph.plan(), &registry, options).unwrap());
}
