//! The Prometheus page: the workers' plain numbers, published through `metrics` at each scrape.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use metrics::{describe_counter, describe_gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::status::{Board, Number, NumberValue};

/// Renders the numbers of one running graph.
///
/// Workers add to plain atomics once a batch; only a scrape touches the recorder, so the number of
/// metrics costs the hot path nothing.
pub struct Page {
    board: Arc<Board>,
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    published: Mutex<Published>,
}

/// What the recorder has handed out, by name and labels.
type Published = HashMap<(&'static str, Vec<node::meters::Label>), Handle>;

enum Handle {
    Counter(metrics::Counter),
    Gauge(metrics::Gauge),
}

impl Page {
    /// A page over this board.
    #[must_use]
    pub fn new(board: Arc<Board>) -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        Self { board, recorder, handle, published: Mutex::default() }
    }

    /// The board that it shows.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// The page's text (Prometheus exposition format 0.0.4).
    #[must_use]
    pub fn render(&self) -> String {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        with_local_recorder(&self.recorder, || {
            for number in self.board.numbers() {
                publish(&mut published, number);
            }
        });
        self.handle.run_upkeep();
        self.handle.render()
    }
}

fn publish(published: &mut Published, Number { name, help, labels, value }: Number) {
    let handle = published.entry((name, labels)).or_insert_with_key(|(name, labels)| match value {
        NumberValue::Counter(_) => {
            describe_counter!(*name, help);
            Handle::Counter(metrics::counter!(*name, labels))
        }
        NumberValue::Gauge(_) => {
            describe_gauge!(*name, help);
            Handle::Gauge(metrics::gauge!(*name, labels))
        }
    });
    match (handle, value) {
        (Handle::Counter(counter), NumberValue::Counter(sum)) => counter.absolute(sum),
        #[allow(clippy::cast_precision_loss)] // The page has no other numbers.
        (Handle::Gauge(gauge), NumberValue::Gauge(value)) => gauge.set(value as f64),
        // A name is either a counter or a gauge for ever.
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::tests::board;

    #[test]
    fn counters_appear_with_their_labels_and_grow() {
        let board = Arc::new(board());
        let page = Page::new(Arc::clone(&board));
        let labels = [("node", "decrypt".to_owned()), ("reason", "SEC-UP-AUTH".to_owned())];
        let counter = board.meters.counter("metergraph_frames_refused_total", "Refused frames.", &labels);
        counter.add(2);
        assert!(
            page.render()
                .contains("metergraph_frames_refused_total{node=\"decrypt\",reason=\"SEC-UP-AUTH\"} 2\n")
        );
        counter.add(40);
        let text = page.render();
        for line in [
            "# HELP metergraph_frames_refused_total Refused frames.",
            "# TYPE metergraph_frames_refused_total counter",
            "metergraph_frames_refused_total{node=\"decrypt\",reason=\"SEC-UP-AUTH\"} 42",
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn edges_and_states_are_on_the_page() {
        let text = Page::new(Arc::new(board())).render();
        let edge = "decrypt.sealed[1]->downlink[0]";
        for line in [
            format!("metergraph_edge_frames_total{{edge=\"{edge}\"}} 1"),
            format!("metergraph_edge_waiting_batches{{edge=\"{edge}\"}} 1"),
            format!(
                "metergraph_apdus_downstream_dropped_total{{node=\"decrypt\",where=\"edge\",edge=\"{edge}\"}} 2"
            ),
            format!("metergraph_events_dropped_total{{edge=\"{edge}\"}} 1"),
            "metergraph_node_up{node=\"decrypt\",instance=\"1\"} 0".to_owned(),
        ] {
            assert!(text.lines().any(|have| have == line), "{line} is not in\n{text}");
        }
    }
}
