//! Reports that were handed to the journal and are not settled yet.

use std::collections::VecDeque;

use node::Edge;

/// What became of one batch of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Durable.
    Committed,
    /// Not durable: the journal could not be written.
    Failed,
}

/// Entries of unsettled batches, in the order of their batches.
///
/// Bounded by the edge to the journal: it holds so many batches, and each has a limit of its own.
#[derive(Debug)]
pub struct InFlight<T> {
    entries: VecDeque<T>,
    /// Number and entries of each unsettled batch, oldest first.
    batches: VecDeque<(u64, usize)>,
    failed: Vec<u64>,
}

impl<T> Default for InFlight<T> {
    fn default() -> Self {
        Self { entries: VecDeque::new(), batches: VecDeque::new(), failed: Vec::new() }
    }
}

impl<T> InFlight<T> {
    /// Adds a batch's entries under the number that the edge gave it.
    pub fn add(&mut self, number: u64, entries: &mut Vec<T>) {
        self.batches.push_back((number, entries.len()));
        self.entries.extend(entries.drain(..));
    }

    /// Whether everything is settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Takes everything that `edge` says is settled and tells `each` what became of it.
    ///
    /// Answers `false` when the journal cannot say what became of some batch: the caller must rebuild
    /// its state from the journal.
    #[must_use]
    pub fn settle(&mut self, edge: &Edge, mut each: impl FnMut(T, Settled)) -> bool {
        let settled = edge.settled();
        if self.batches.front().is_none_or(|(number, _)| *number > settled) {
            return true;
        }
        let oldest = self.batches.front().map_or(0, |(number, _)| *number);
        if edge.doubted() >= oldest {
            return false;
        }
        while let Some(number) = edge.next_failure() {
            self.failed.push(number);
        }
        while let Some((number, count)) = self.batches.front().copied() {
            if number > settled {
                break;
            }
            self.batches.pop_front();
            let failed = self.failed.contains(&number);
            let outcome = if failed { Settled::Failed } else { Settled::Committed };
            for entry in self.entries.drain(..count.min(self.entries.len())) {
                each(entry, outcome);
            }
        }
        self.failed.retain(|number| *number > settled);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::edge::EdgeName;
    use node::{Batch, Frame, WhenFull};

    fn edge() -> Edge {
        let name = EdgeName {
            from: "decrypt".into(),
            port: "records".into(),
            from_instance: 0,
            to: "journal".into(),
            to_instance: 0,
        };
        Edge::new(name, 8, WhenFull::Wait)
    }

    fn push(edge: &Edge) -> u64 {
        let mut batch = Batch::default();
        batch.push(b"r", Frame::default());
        edge.offer(batch).unwrap()
    }

    #[test]
    fn each_entry_hears_of_its_batch_once() {
        let edge = edge();
        let mut in_flight = InFlight::default();
        for entries in [vec!['a', 'b'], vec!['c'], vec!['d']] {
            let number = push(&edge);
            in_flight.add(number, &mut entries.clone());
        }
        let mut heard = Vec::new();
        edge.fail(2);
        edge.settle(2);
        assert!(in_flight.settle(&edge, |entry, outcome| heard.push((entry, outcome))));
        assert!(in_flight.settle(&edge, |entry, outcome| heard.push((entry, outcome))));
        use Settled::{Committed, Failed};
        assert_eq!(heard, [('a', Committed), ('b', Committed), ('c', Failed)]);
        edge.settle(3);
        assert!(in_flight.settle(&edge, |entry, outcome| heard.push((entry, outcome))));
        assert_eq!(heard.last(), Some(&('d', Committed)));
        assert!(in_flight.is_empty());
    }

    #[test]
    fn a_doubtful_batch_asks_for_a_rebuild() {
        let edge = edge();
        let mut in_flight = InFlight::default();
        let number = push(&edge);
        in_flight.add(number, &mut vec!['a']);
        edge.doubt(number);
        edge.settle(number);
        assert!(!in_flight.settle(&edge, |_, _| panic!("nothing is known")));
    }
}
