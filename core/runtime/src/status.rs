//! What the running graph says of itself.

use std::sync::Arc;
use std::time::Instant;

use node::event::EventEdge;
use node::meters::{Label, Reading};
use node::{Meters, NodeState, NodeStatus};
use serde::{Deserialize, Serialize};

use crate::wiring::Laid;

/// Name and help of the counters of what is given up: on a full edge, at a restart, at the end. Frames of
/// end devices are counted apart from what goes down to them, so that the sums of the former match.
pub(crate) fn dropped_counter(downstream: bool) -> (&'static str, &'static str) {
    if downstream {
        ("metergraph_apdus_downstream_dropped_total", "APDUs given up on the way down, by the place where.")
    } else {
        ("metergraph_frames_dropped_total", "Frames given up, by the place where.")
    }
}

/// One node instance on the board.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The node's name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Which instance.
    pub instance: usize,
    /// Its state.
    pub status: NodeStatus,
}

/// The states of all instances, the edges and the meters of one running graph.
#[derive(Debug)]
pub struct Board {
    /// The graph's name.
    pub graph: String,
    /// All instances.
    pub entries: Vec<Entry>,
    /// All data edges.
    pub edges: Vec<Laid>,
    /// All event edges.
    pub event_edges: Vec<Arc<EventEdge>>,
    /// All meters.
    pub meters: Meters,
    /// When it was started.
    pub since: Instant,
}

/// One number of a running graph, as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Number {
    /// Begins with `metergraph_`; counters end in `_total`.
    pub name: &'static str,
    /// For people.
    pub help: &'static str,
    /// Its labels.
    pub labels: Vec<Label>,
    /// Its value.
    pub value: NumberValue,
}

/// The value of a [`Number`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NumberValue {
    /// A sum that only grows.
    Counter(u64),
    /// A value that goes up and down.
    Gauge(i64),
}

/// The answer to `status`, also as JSON.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// The graph's name.
    pub graph: String,
    /// Seconds since its start.
    pub uptime_s: f64,
    /// Whether every instance runs.
    pub ready: bool,
    /// Every instance.
    pub nodes: Vec<NodeLine>,
    /// Every data edge.
    pub edges: Vec<EdgeLine>,
    /// Every number of the metrics page that is not 0.
    pub meters: Vec<MeterLine>,
}

/// One instance in a [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeLine {
    /// The node's name.
    pub node: String,
    /// Its kind.
    pub kind: String,
    /// Which instance.
    pub instance: usize,
    /// `running`, `stalled`, `failed` ...
    pub state: String,
    /// Why, where there is a reason.
    pub note: String,
    /// How often it was started.
    pub starts: u64,
}

/// One edge in a [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct EdgeLine {
    /// Its two ends.
    pub edge: String,
    /// Batches waiting.
    pub waiting: usize,
    /// Batches it holds at most.
    pub batches_max: usize,
    /// Batches it ever took.
    pub batches: u64,
    /// Frames it ever took.
    pub frames: u64,
    /// Frames it dropped when full.
    pub dropped: u64,
}

/// One number in a [`Status`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MeterLine {
    /// Its name on the Prometheus page.
    pub name: String,
    /// Its labels.
    pub labels: Vec<(String, String)>,
    /// Its value.
    pub value: i64,
}

impl Board {
    /// Instances that keep the graph from being alive: those that failed for good.
    #[must_use]
    pub fn not_alive(&self) -> Vec<String> {
        self.lines(|state| state == NodeState::Failed)
    }

    /// Instances that do not run as they should.
    #[must_use]
    pub fn not_ready(&self) -> Vec<String> {
        self.lines(|state| state != NodeState::Running)
    }

    fn lines(&self, is_fault: impl Fn(NodeState) -> bool) -> Vec<String> {
        self.entries
            .iter()
            .filter(|entry| is_fault(entry.status.state()))
            .map(|entry| {
                let (state, note) = (entry.status.state().word(), entry.status.note());
                format!("{}[{}]: {state} {note}", entry.name, entry.instance).trim_end().to_owned()
            })
            .collect()
    }

    /// Every number of the graph: the nodes' meters, and what the edges and states say.
    #[must_use]
    pub fn numbers(&self) -> Vec<Number> {
        let meters = self.meters.all().into_iter().map(|meter| Number {
            name: meter.name,
            help: meter.help,
            labels: meter.labels,
            value: match meter.reading {
                Reading::Counter(counter) => NumberValue::Counter(counter.get()),
                Reading::Gauge(gauge) => NumberValue::Gauge(gauge.get()),
            },
        });
        let edges = self.edges.iter().flat_map(edge_numbers);
        let event_edges = self.event_edges.iter().map(|edge| Number {
            name: "metergraph_events_dropped_total",
            help: "Events that found an edge full.",
            labels: vec![("edge", edge.name().to_string())],
            value: NumberValue::Counter(edge.dropped()),
        });
        let nodes = self.entries.iter().map(|entry| Number {
            name: "metergraph_node_up",
            help: "1 for a node that runs.",
            labels: vec![("node", entry.name.clone()), ("instance", entry.instance.to_string())],
            value: NumberValue::Gauge(i64::from(entry.status.state() == NodeState::Running)),
        });
        meters.chain(edges).chain(event_edges).chain(nodes).collect()
    }

    /// The whole board as it stands.
    #[must_use]
    pub fn status(&self) -> Status {
        let node_line = |entry: &Entry| NodeLine {
            node: entry.name.clone(),
            kind: entry.kind.clone(),
            instance: entry.instance,
            state: entry.status.state().word().to_owned(),
            note: entry.status.note(),
            starts: entry.status.starts(),
        };
        let edge_line = |Laid { edge, .. }: &Laid| {
            let (frames, _, dropped) = edge.frames();
            EdgeLine {
                edge: edge.name().to_string(),
                waiting: edge.waiting(),
                batches_max: edge.batches_max(),
                batches: edge.pushed(),
                frames,
                dropped,
            }
        };
        let meter_line = |number: Number| MeterLine {
            name: number.name.to_owned(),
            labels: number.labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            value: match number.value {
                NumberValue::Counter(sum) => i64::try_from(sum).unwrap_or(i64::MAX),
                NumberValue::Gauge(value) => value,
            },
        };
        Status {
            graph: self.graph.clone(),
            uptime_s: self.since.elapsed().as_secs_f64(),
            ready: self.not_ready().is_empty(),
            nodes: self.entries.iter().map(node_line).collect(),
            edges: self.edges.iter().map(edge_line).collect(),
            meters: self.numbers().into_iter().map(meter_line).filter(|line| line.value != 0).collect(),
        }
    }
}

fn edge_numbers(Laid { edge, port_type }: &Laid) -> [Number; 3] {
    let name = edge.name();
    let labels = vec![("edge", name.to_string())];
    let (taken_in, _, dropped) = edge.frames();
    let mut of_its_node = vec![("node", name.from.clone()), ("where", "edge".to_owned())];
    of_its_node.extend(labels.iter().cloned());
    let (dropped_name, dropped_help) = dropped_counter(port_type.is_downstream());
    [
        Number {
            name: "metergraph_edge_frames_total",
            help: "Frames that an edge took.",
            labels: labels.clone(),
            value: NumberValue::Counter(taken_in),
        },
        Number {
            name: dropped_name,
            help: dropped_help,
            labels: of_its_node,
            value: NumberValue::Counter(dropped),
        },
        Number {
            name: "metergraph_edge_waiting_batches",
            help: "Batches that wait in an edge.",
            labels,
            value: NumberValue::Gauge(i64::try_from(edge.waiting()).unwrap_or(i64::MAX)),
        },
    ]
}

impl Status {
    /// The sum of a meter over all its labels, of those with the label `key` = `value` where given.
    #[must_use]
    pub fn sum(&self, name: &str, label: Option<(&str, &str)>) -> i64 {
        let matches = |line: &&MeterLine| {
            line.name == name
                && label.is_none_or(|(key, value)| line.labels.iter().any(|(k, v)| k == key && v == value))
        };
        self.meters.iter().filter(matches).map(|line| line.value).sum()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use node::edge::EdgeName;
    use node::event::EventSink;
    use node::{Batch, Edge, Frame, PortType, Reason, Severity, Source, WhenFull};

    /// A board with one node, an edge that dropped and an event edge that dropped.
    pub(crate) fn board() -> Board {
        let name = EdgeName {
            from: "decrypt".into(),
            port: "sealed".into(),
            from_instance: 1,
            to: "downlink".into(),
            to_instance: 0,
        };
        let edge = Edge::new(name.clone(), 1, WhenFull::Drop);
        for _ in 0..3 {
            let mut batch = Batch::default();
            assert!(batch.push(b"x", Frame::default()));
            drop(edge.offer(batch));
        }
        let events = Arc::new(EventEdge::new(name, 1, WhenFull::Drop));
        let mut sink = EventSink::new(vec![Arc::clone(&events)]);
        for sid in 0..2 {
            sink.report(Reason("x"), Severity::Info, Source::Association(sid), String::new);
        }
        let status = NodeStatus::default();
        Board {
            graph: "g".into(),
            entries: vec![Entry { name: "decrypt".into(), kind: "decrypt".into(), instance: 1, status }],
            edges: vec![Laid { edge: Arc::new(edge), port_type: PortType::Sealed }],
            event_edges: vec![events],
            meters: Meters::default(),
            since: Instant::now(),
        }
    }

    #[test]
    fn what_keeps_a_graph_from_being_ready_or_alive_is_named() {
        let board = board();
        let status = &board.entries[0].status;
        assert_eq!(board.not_ready(), ["decrypt[1]: built"]);
        status.set(NodeState::Running, "");
        assert!(board.not_ready().is_empty() && board.not_alive().is_empty());
        status.set(NodeState::Stalled, "disk full");
        assert_eq!(board.not_ready(), ["decrypt[1]: stalled disk full"]);
        assert!(board.not_alive().is_empty());
        status.set(NodeState::Failed, "panic: x");
        assert_eq!(board.not_alive(), ["decrypt[1]: failed panic: x"]);
    }

    #[test]
    fn drops_of_edges_are_part_of_the_sums() {
        let mut board = board();
        let (frames, apdus) = (dropped_counter(false).0, dropped_counter(true).0);
        board.meters.counter(frames, "", &[("node", "decrypt".into()), ("where", "stop".into())]).add(5);
        let status = board.status();
        assert_eq!((status.sum(frames, None), status.sum(apdus, None)), (5, 2), "APDUs down are no frames");
        board.edges[0].port_type = PortType::Frames;
        let status = board.status();
        assert_eq!((status.sum(frames, None), status.sum(apdus, None)), (7, 0));
        assert_eq!(status.sum(frames, Some(("where", "edge"))), 2);
        assert_eq!(status.sum("metergraph_events_dropped_total", None), 1);
        let line = &status.edges[0];
        assert_eq!((line.waiting, line.batches_max, line.frames, line.dropped), (1, 1, 1, 2));
    }

    #[test]
    fn a_status_survives_json() {
        let status = board().status();
        let text = serde_json::to_string(&status).unwrap();
        let again: Status = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), text);
    }
}
