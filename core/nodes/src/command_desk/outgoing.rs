//! What the desk sends: orders to shards, intents to the signer, records to the journal; each until there is
//! room for it, and until it is settled.

use std::collections::VecDeque;
use std::sync::Arc;

use node::{Batch, BatchPool, Context, Edge, NodeError};

use crate::in_flight::{InFlight, Settled};
use crate::order::Order;

/// Frames sent together.
const BATCH: usize = 256;

/// The way over one edge, with what is to be told of when it is settled.
struct Way<T> {
    edge: usize,
    waiting: VecDeque<(Batch, Vec<T>)>,
    in_flight: InFlight<T>,
}

impl<T> Way<T> {
    fn new(edge: usize) -> Self {
        Self { edge, waiting: VecDeque::new(), in_flight: InFlight::default() }
    }

    fn push(&mut self, pool: &BatchPool, write: impl FnOnce(&mut Batch), then: Option<T>) {
        if self.waiting.back().is_none_or(|(batch, _)| batch.len() >= BATCH) {
            self.waiting.push_back((pool.take(), Vec::new()));
        }
        if let Some((batch, thens)) = self.waiting.back_mut() {
            write(batch);
            thens.extend(then);
        }
    }
}

/// The ways over all edges of one output.
pub(super) struct Outgoing<T> {
    output: usize,
    name: &'static str,
    ways: Vec<Way<T>>,
    pool: BatchPool,
}

impl<T> Outgoing<T> {
    /// # Errors
    /// When nobody reads the output.
    pub(super) fn new(context: &Context, name: &'static str, pool: &BatchPool) -> Result<Self, NodeError> {
        let output = context.output(name);
        let edges =
            output.and_then(|output| context.outputs.get(output)).map_or(0, |output| output.edges.len());
        match output {
            Some(output) if edges > 0 => {
                let ways = (0..edges).map(Way::new).collect();
                Ok(Self { output, name, ways, pool: pool.clone() })
            }
            _ => Err(NodeError::new(format!("nobody reads `{name}`"))),
        }
    }

    /// Over how many edges it goes.
    pub(super) fn ways(&self) -> usize {
        self.ways.len()
    }

    /// Puts a frame on a way; `then` comes back when it is settled.
    pub(super) fn push(&mut self, way: usize, write: impl FnOnce(&mut Batch), then: Option<T>) {
        let Self { ways, pool, .. } = self;
        if let Some(way) = ways.get_mut(way) {
            way.push(pool, write, then);
        }
    }

    /// Puts an order on the way to the shard that it is for.
    pub(super) fn order(&mut self, order: &Order<'_>, then: Option<T>) {
        let way = order.partition().map_or(0, |partition| partition as usize % self.ways.len().max(1));
        self.push(way, |batch| order.push(batch), then);
    }

    /// Whether so much waits for room that no more should be made.
    pub(super) fn is_full(&self) -> bool {
        self.ways.iter().any(|way| way.waiting.len() > 64)
    }

    /// Whether nothing waits or is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.ways.iter().all(|way| way.waiting.is_empty() && way.in_flight.is_empty())
    }

    /// Whether nothing that an earlier run sent is unsettled.
    pub(super) fn is_settled(&self, context: &Context) -> bool {
        self.edges(context).iter().all(|edge| edge.settled() >= edge.pushed())
    }

    fn edges(&self, context: &Context) -> Vec<Arc<Edge>> {
        context.outputs.get(self.output).map(|output| output.edges.clone()).unwrap_or_default()
    }

    /// Sends what there is room for.
    pub(super) fn send(&mut self, context: &mut Context) {
        for way in &mut self.ways {
            while let Some((batch, mut thens)) = way.waiting.pop_front() {
                match context.offer(self.output, way.edge, batch) {
                    Ok(Some(number)) => way.in_flight.add(number, &mut thens),
                    Ok(None) => {}
                    Err(back) => {
                        way.waiting.push_front((back, thens));
                        break;
                    }
                }
            }
        }
    }

    /// Hears what is settled.
    ///
    /// # Errors
    /// [`NodeError::Rebuild`] when nobody knows what became of something.
    pub(super) fn settle(
        &mut self,
        context: &Context,
        mut each: impl FnMut(T, Settled),
    ) -> Result<(), NodeError> {
        let edges = self.edges(context);
        for (way, edge) in self.ways.iter_mut().zip(edges) {
            if !way.in_flight.settle(&edge, &mut each) {
                return Err(NodeError::Rebuild(format!("nobody knows what became of `{}`", self.name)));
            }
        }
        Ok(())
    }
}
