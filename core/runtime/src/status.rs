//! What the running graph says of itself.

use std::sync::Arc;
use std::time::Instant;

use node::meters::Reading;
use node::{Edge, Meters, NodeState, NodeStatus};
use serde::{Deserialize, Serialize};

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
    pub edges: Vec<Arc<Edge>>,
    /// All meters.
    pub meters: Meters,
    /// When it was started.
    pub since: Instant,
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
    /// Every counter and gauge that is not 0.
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
        let edge_line = |edge: &Arc<Edge>| {
            let (frames, _, dropped) = edge.frames();
            EdgeLine {
                edge: edge.name().to_string(),
                waiting: edge.waiting(),
                batches_max: edge.batches_max(),
                frames,
                dropped,
            }
        };
        let meter_line = |meter: node::meters::Meter| MeterLine {
            name: meter.name.to_owned(),
            labels: meter.labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
            value: match meter.reading {
                Reading::Counter(counter) => i64::try_from(counter.get()).unwrap_or(i64::MAX),
                Reading::Gauge(gauge) => gauge.get(),
            },
        };
        Status {
            graph: self.graph.clone(),
            uptime_s: self.since.elapsed().as_secs_f64(),
            ready: self.not_ready().is_empty(),
            nodes: self.entries.iter().map(node_line).collect(),
            edges: self.edges.iter().map(edge_line).collect(),
            meters: self.meters.all().into_iter().map(meter_line).filter(|line| line.value != 0).collect(),
        }
    }
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
