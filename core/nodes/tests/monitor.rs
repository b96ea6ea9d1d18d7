//! `event-monitor`: floods become few lines, and no count is lost.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use common::graph::config;
use common::wait_for;
use metergraph_nodes::event_monitor::EventMonitorKind;
use node::context::{Orders, Wiring};
use node::env::Services;
use node::event::{EventEdge, EventSink};
use node::meters::Reading;
use node::{
    BatchPool, Context, EdgeName, Env, Meters, NodeKind, NodeStatus, Reason, Severity, Source, WhenFull,
    Worker,
};

struct Monitor {
    worker: Box<dyn Worker>,
    edge: Arc<EventEdge>,
    meters: Meters,
    status: NodeStatus,
}

fn monitor(state: &Path, events_max: usize) -> Monitor {
    let (meters, status) = (Meters::default(), NodeStatus::default());
    let env = Env {
        node: "monitor".to_owned(),
        instance: 0,
        instances: 1,
        run: 1,
        state: state.to_owned(),
        meters: meters.clone(),
        services: Services::default(),
        pool: BatchPool::new(1),
        status: status.clone(),
        wires: Arc::default(),
        transports: Arc::new(vec!["wan".to_owned()]),
        transport: None,
    };
    let name = EdgeName {
        from: "decrypt".into(),
        port: "events".into(),
        from_instance: 0,
        to: "monitor".into(),
        to_instance: 0,
    };
    let edge = Arc::new(EventEdge::new(name, events_max, WhenFull::Collapse));
    let kind = EventMonitorKind;
    Monitor { worker: kind.build(&config(&kind, []), &env).unwrap(), edge, meters, status }
}

impl Monitor {
    fn context(&self) -> Context {
        Context::new(Wiring {
            event_inputs: vec![Arc::clone(&self.edge)],
            status: self.status.clone(),
            orders: Orders::default(),
            ..Wiring::default()
        })
    }
}

/// Counters of the events by reason.
fn counted(meters: &Meters) -> BTreeMap<String, u64> {
    let meters = meters.all().into_iter().filter(|meter| meter.name == "metergraph_events_total");
    meters
        .map(|meter| {
            let reason = meter.labels.iter().find(|(key, _)| *key == "reason").unwrap().1.clone();
            let Reading::Counter(counter) = meter.reading else { panic!("a counter") };
            (reason, counter.get())
        })
        .collect()
}

/// Lines of the log: how many, and the sum of their counts, by reason.
fn logged(state: &Path) -> BTreeMap<String, (u64, u64)> {
    let mut found: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for file in std::fs::read_dir(state.join("events")).unwrap() {
        for line in std::fs::read_to_string(file.unwrap().path()).unwrap().lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(line["first"].as_u64() <= line["last"].as_u64());
            let entry = found.entry(line["reason"].as_str().unwrap().to_owned()).or_default();
            *entry = (entry.0 + 1, entry.1 + line["count"].as_u64().unwrap());
        }
    }
    found
}

#[test]
fn a_flood_is_a_few_lines_and_every_event_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let mut monitor = monitor(folder.path(), 64);
    let mut context = monitor.context();
    let (edge, meters) = (Arc::clone(&monitor.edge), monitor.meters.clone());
    std::thread::scope(|scope| {
        let running = scope.spawn(|| monitor.worker.run(&mut context));
        let mut sink = EventSink::new(vec![Arc::clone(&edge)]);
        // One device, then more of them than are told apart.
        for number in 0..200_000_u32 {
            let source = Source::Association(if number < 100_000 { 7 } else { number });
            sink.report(Reason("SEC-UP-AUTH"), Severity::Warning, source, String::new);
        }
        sink.report(Reason("disk-full"), Severity::Alarm, Source::Node, || "no room".to_owned());
        wait_for("the rest of the flood", || {
            sink.flush(true);
            (counted(&meters).get("SEC-UP-AUTH") == Some(&200_000)).then_some(())
        });
        drop(sink);
        edge.close();
        running.join().unwrap().unwrap();
    });
    let (logged, counted) = (logged(folder.path()), counted(&meters));
    let (lines, events) = logged["SEC-UP-AUTH"];
    assert_eq!((events, counted["SEC-UP-AUTH"]), (200_000, 200_000));
    assert!(lines < 10_000, "{lines} lines");
    assert_eq!((logged["disk-full"], counted["disk-full"]), ((1, 1), 1));
}

#[test]
fn a_monitor_that_stands_still_stops_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let mut monitor = monitor(folder.path(), 1);
    let mut sink = EventSink::new(vec![Arc::clone(&monitor.edge)]);
    // Nobody takes them: each report returns all the same.
    for number in 0..50_000_u32 {
        sink.report(Reason("SEC-UP-UNKNOWN"), Severity::Warning, Source::Association(number), String::new);
    }
    let mut context = monitor.context();
    let (edge, meters) = (Arc::clone(&monitor.edge), monitor.meters.clone());
    std::thread::scope(|scope| {
        let running = scope.spawn(|| monitor.worker.run(&mut context));
        wait_for("all of them", || {
            sink.flush(true);
            (counted(&meters).get("SEC-UP-UNKNOWN") == Some(&50_000)).then_some(())
        });
        drop(sink);
        edge.close();
        running.join().unwrap().unwrap();
    });
    assert_eq!(logged(folder.path())["SEC-UP-UNKNOWN"].1, 50_000);
}
