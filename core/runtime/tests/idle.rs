//! A graph with nothing to do does nothing. Alone in its process: it reads the process's CPU time.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{Graph, Seen, pass, sink, source, until};
use node::{Counter, Registry};

/// User and system time of this process, in clock ticks (10 ms).
fn ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name in parentheses may hold blanks; fields 14 and 15 follow it as the 12th and 13th.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn an_idle_graph_takes_no_processor_time() {
    let (sent, seen) = (Counter::default(), Seen::default());
    let test = Graph::new()
        .with(|plan| plan.http = Some("127.0.0.1:0".into()))
        .node("mdm", "sink", 1)
        .node("middle", "pass", 8)
        .node("ingress", "source", 1)
        .edge("ingress", "middle", 4)
        .edge("middle", "mdm", 4)
        .start(Registry::default().with(source(&sent, 10, 100)).with(pass()).with(sink(&seen)));
    until("all arrive", || seen.lock().unwrap().len() == 100);
    let before = ticks();
    std::thread::sleep(Duration::from_secs(3));
    let used = ticks() - before;
    assert!(used <= 3, "{} ms of processor time in 3 s", used * 10);
    assert!(!test.running.stop().0.forced);
}
