//! The Prometheus page: the workers' plain numbers, published through `metrics` at each scrape.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{Label, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use node::meters::Reading;
use node::{Edge, Meters};

/// Renders the counters and gauges of one running graph.
///
/// Workers add to plain atomics once a batch; only a scrape touches the recorder, so the number of
/// metrics costs the hot path nothing.
pub struct Page {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    meters: Meters,
    edges: Vec<Arc<Edge>>,
    handles: Mutex<Handles>,
}

#[derive(Default)]
struct Handles {
    counters: HashMap<(&'static str, Vec<(&'static str, String)>), metrics::Counter>,
    gauges: HashMap<(&'static str, Vec<(&'static str, String)>), metrics::Gauge>,
}

impl Page {
    /// A page over these meters and edges.
    #[must_use]
    pub fn new(meters: Meters, edges: Vec<Arc<Edge>>) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        Self { recorder, handle, meters, edges, handles: Mutex::default() }
    }

    /// The page's text (Prometheus exposition format 0.0.4).
    #[must_use]
    pub fn render(&self) -> String {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        with_local_recorder(&self.recorder, || {
            for meter in self.meters.all() {
                match meter.reading {
                    Reading::Counter(counter) => {
                        handles.counter(meter.name, meter.help, meter.labels).absolute(counter.get());
                    }
                    #[allow(clippy::cast_precision_loss)]
                    Reading::Gauge(gauge) => {
                        handles.gauge(meter.name, meter.help, meter.labels).set(gauge.get() as f64);
                    }
                }
            }
            for edge in &self.edges {
                let labels = vec![("edge", edge.name().to_string())];
                let (pushed, _, dropped) = edge.frames();
                handles.counter(EDGE_FRAMES, "Frames that an edge took.", labels.clone()).absolute(pushed);
                handles
                    .counter(EDGE_DROPPED, "Frames that a full edge dropped.", labels.clone())
                    .absolute(dropped);
                #[allow(clippy::cast_precision_loss)]
                handles
                    .gauge(EDGE_WAITING, "Batches waiting in an edge.", labels)
                    .set(edge.waiting() as f64);
            }
        });
        self.handle.run_upkeep();
        self.handle.render()
    }
}

const EDGE_FRAMES: &str = "metergraph_edge_frames_total";
const EDGE_DROPPED: &str = "metergraph_edge_dropped_frames_total";
const EDGE_WAITING: &str = "metergraph_edge_waiting_batches";

impl Handles {
    fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, String)>,
    ) -> &metrics::Counter {
        self.counters.entry((name, labels)).or_insert_with_key(|(name, labels)| {
            metrics::describe_counter!(*name, help);
            metrics::counter!(*name, to_labels(labels))
        })
    }

    fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Vec<(&'static str, String)>,
    ) -> &metrics::Gauge {
        self.gauges.entry((name, labels)).or_insert_with_key(|(name, labels)| {
            metrics::describe_gauge!(*name, help);
            metrics::gauge!(*name, to_labels(labels))
        })
    }
}

fn to_labels(labels: &[(&'static str, String)]) -> Vec<Label> {
    labels.iter().map(|(key, value)| Label::new(*key, value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_appear_with_their_labels_and_grow() {
        let meters = Meters::default();
        let page = Page::new(meters.clone(), vec![]);
        let labels = [("node", "decrypt".to_owned()), ("reason", "SEC-UP-AUTH".to_owned())];
        let counter = meters.counter("metergraph_frames_refused_total", "Refused frames.", &labels);
        counter.add(2);
        assert!(page.render().contains(
            "metergraph_frames_refused_total{node=\"decrypt\",reason=\"SEC-UP-AUTH\"} 2"
        ));
        counter.add(40);
        let text = page.render();
        assert!(text.contains("# TYPE metergraph_frames_refused_total counter"));
        assert!(text.contains("reason=\"SEC-UP-AUTH\"} 42"));
    }
}
