//! What operations see: the control socket, the metrics page and the health answers.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::os::unix::fs::PermissionsExt;

use common::{Graph, Seen, Test, get, kind, pass, sink, source, until};
use metergraph_runtime::{Answer, Request, ask};
use node::{Counter, NodeState, Registry};

/// Two instances in the middle, an HTTP side, 100 frames.
fn graph(registry: Registry) -> (Test, Seen) {
    let (sent, seen) = (Counter::default(), Seen::default());
    let registry = registry.with(source(&sent, 10, 100)).with(sink(&seen));
    let test = Graph::new()
        .with(|plan| plan.http = Some("127.0.0.1:0".into()))
        .node("mdm", "sink", 1)
        .node("middle", "pass", 2)
        .node("ingress", "source", 1)
        .edge("ingress", "middle", 4)
        .edge("middle", "mdm", 4)
        .start(registry);
    until("all arrive", || seen.lock().unwrap().len() == 100);
    (test, seen)
}

#[test]
fn the_control_socket_tells_nodes_edges_and_numbers() {
    let (test, _) = graph(Registry::default().with(pass()));
    let state = test.folder.path();
    let mode = std::fs::metadata(state.join("control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let Answer::Status(status) = ask(state, &Request::Status).unwrap() else { panic!("a status was asked") };
    assert_eq!((status.graph.as_str(), status.ready), ("test", true));
    let nodes: Vec<_> = status.nodes.iter().map(|node| (node.node.as_str(), node.instance)).collect();
    assert_eq!(nodes, [("mdm", 0), ("middle", 0), ("middle", 1), ("ingress", 0)]);
    assert!(status.nodes.iter().all(|node| node.state == "running" && node.starts == 1));
    assert_eq!(status.nodes[1].kind, "pass");
    let edges: Vec<_> = status.edges.iter().map(|edge| (edge.edge.as_str(), edge.frames)).collect();
    assert_eq!(
        edges,
        [
            ("ingress.out[0]->middle[0]", 100),
            ("ingress.out[0]->middle[1]", 0),
            ("middle.out[0]->mdm[0]", 100),
            ("middle.out[1]->mdm[0]", 0),
        ]
    );
    assert_eq!(status.sum("metergraph_node_up", None), 4);
    let folder = test.folder;
    assert!(!test.running.stop().0.forced);
    assert!(ask(folder.path(), &Request::Status).is_err(), "nobody answers after the end");
}

#[test]
fn the_page_holds_every_number_in_the_form_that_prometheus_reads() {
    let counting = kind("pass", |env| {
        let refused =
            env.counter("metergraph_frames_refused_total", "Refused frames.", &[("reason", "truncated")]);
        common::each(move |context, batch| {
            refused.add(1);
            context.send(0, 0, batch)?;
            Ok(())
        })
    });
    let (test, _) = graph(Registry::default().with(counting));
    let (code, text) = get(test.running.http().unwrap(), "/metrics");
    assert_eq!(code, 200);
    for line in [
        "# TYPE metergraph_frames_refused_total counter",
        "metergraph_frames_refused_total{node=\"middle\",reason=\"truncated\"} 10",
        "metergraph_edge_frames_total{edge=\"ingress.out[0]->middle[0]\"} 100",
        "metergraph_edge_waiting_batches{edge=\"middle.out[0]->mdm[0]\"} 0",
        "metergraph_frames_dropped_total{node=\"middle\",where=\"restart\"} 0",
        "metergraph_frames_dropped_total{node=\"middle\",where=\"stop\"} 0",
        "metergraph_restarts_total{node=\"middle\"} 0",
        "metergraph_node_up{node=\"middle\",instance=\"1\"} 1",
    ] {
        assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
    }
    for line in text.lines().filter(|line| !line.is_empty()) {
        assert!(line.starts_with("# ") || line.starts_with("metergraph_"), "{line}");
    }
    assert_eq!(get(test.running.http().unwrap(), "/nothing").0, 404);
}

#[test]
fn health_follows_the_states() {
    let (test, _) = graph(Registry::default().with(pass()));
    let http = test.running.http().unwrap();
    assert_eq!(get(http, "/livez"), (200, "ok\n".into()));
    assert_eq!(get(http, "/readyz"), (200, "ok\n".into()));
    let status = &test.running.board().entries[0].status;
    status.set(NodeState::Stalled, "disk full");
    assert_eq!(get(http, "/livez").0, 200);
    assert_eq!(get(http, "/readyz"), (503, "mdm[0]: stalled disk full\n".into()));
    status.set(NodeState::Running, "");
    assert_eq!(get(http, "/readyz").0, 200);
}

#[test]
fn health_and_numbers_are_there_while_it_drains() {
    let gate = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let opens = std::sync::Arc::clone(&gate);
    let slow_to_end = kind("slow", move |_| {
        let gate = std::sync::Arc::clone(&opens);
        Box::new(move |context| {
            while !gate.load(std::sync::atomic::Ordering::Acquire) {
                context.wait(std::time::Duration::from_millis(5))?;
            }
            Ok(())
        })
    });
    let test = Graph::new()
        .with(|plan| plan.http = Some("127.0.0.1:0".into()))
        .node("slow", "slow", 1)
        .start(Registry::default().with(slow_to_end));
    test.running.begin_stop();
    until("it drains", || test.state("slow") == "draining");
    let http = test.running.http().unwrap();
    assert_eq!(get(http, "/livez").0, 200);
    assert_eq!(get(http, "/readyz"), (503, "slow[0]: draining\n".into()));
    assert_eq!(get(http, "/metrics").0, 200);
    gate.store(true, std::sync::atomic::Ordering::Release);
    assert!(!test.running.stop().0.forced);
}
