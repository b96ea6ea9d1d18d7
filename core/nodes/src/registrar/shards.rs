//! Orders to the shards, until they are durable.
//!
//! An order may come again, so what became of it after a shard was started anew is not asked: it is given
//! again.

use std::collections::VecDeque;

use node::{BatchPool, Context, Edge};
use seal::ids::{Dev, Sid};

use crate::order::Order;

/// Orders given together.
const BATCH: usize = 256;

/// An order, with what it needs to be given again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// A device has registered.
    Register {
        /// The new association.
        sid: Sid,
        /// The end device.
        dev: Dev,
        /// The association that retires when the new one is proven.
        replaces: Option<Sid>,
        /// The key store's record, sealed.
        sealed: Box<[u8]>,
    },
    /// An association was replaced.
    Retire(Sid),
}

impl Given {
    fn order(&self) -> Order<'_> {
        match self {
            Self::Register { sid, dev, replaces, sealed } => {
                Order::Register { sid: *sid, dev: *dev, replaces: *replaces, sealed }
            }
            Self::Retire(sid) => Order::Retire { sid: *sid },
        }
    }

    fn sid(&self) -> Sid {
        match self {
            Self::Register { sid, .. } | Self::Retire(sid) => *sid,
        }
    }
}

/// The way to one shard.
#[derive(Debug, Default)]
struct Way {
    waiting: VecDeque<Given>,
    /// By number of their batch, oldest first.
    given: VecDeque<(u64, Vec<Given>)>,
}

/// The orders to all shards.
#[derive(Debug, Default)]
pub struct Shards {
    ways: Vec<Way>,
}

impl Shards {
    /// For so many shards.
    #[must_use]
    pub fn new(shards: usize) -> Self {
        Self { ways: (0..shards).map(|_| Way::default()).collect() }
    }

    /// Whether nothing is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ways.iter().all(|way| way.waiting.is_empty() && way.given.is_empty())
    }

    /// Whether an association is still to retire.
    #[must_use]
    pub fn retires(&self) -> bool {
        let retire = |given: &Given| matches!(given, Given::Retire(_));
        self.ways.iter().any(|way| {
            way.waiting.iter().any(retire) || way.given.iter().flat_map(|(_, orders)| orders).any(retire)
        })
    }

    /// Gives an order to the shard that owns its association; `false` when there is none.
    pub fn order(&mut self, given: Given) -> bool {
        let count = self.ways.len().max(1);
        let way = self.ways.get_mut(given.sid().partition() as usize % count);
        way.map(|way| way.waiting.push_back(given)).is_some()
    }

    /// Sends what waits, as far as there is room on the edges of this output.
    pub fn send(&mut self, context: &mut Context, output: usize, pool: &BatchPool) {
        for (at, way) in self.ways.iter_mut().enumerate() {
            while !way.waiting.is_empty() {
                let mut batch = pool.take();
                way.waiting.iter().take(BATCH).for_each(|given| given.order().push(&mut batch));
                let Ok(Some(number)) = context.offer(output, at, batch) else { break };
                let count = way.waiting.len().min(BATCH);
                way.given.push_back((number, way.waiting.drain(..count).collect()));
            }
        }
    }

    /// Hears what became of the orders: durable, or not. What no shard can tell of is given again.
    pub fn settle(&mut self, edges: &[std::sync::Arc<Edge>], mut each: impl FnMut(Given, bool)) {
        for (way, edge) in self.ways.iter_mut().zip(edges) {
            let settled = edge.settled();
            if way.given.front().is_none_or(|(number, _)| *number > settled) {
                continue;
            }
            let doubted = edge.doubted();
            let failed: Vec<u64> = std::iter::from_fn(|| edge.next_failure()).collect();
            while let Some((number, orders)) = way.given.pop_front_if(|(number, _)| *number <= settled) {
                if number <= doubted {
                    way.waiting.extend(orders);
                } else {
                    let durable = !failed.contains(&number);
                    orders.into_iter().for_each(|given| each(given, durable));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::context::{Output, Wiring};
    use node::{EdgeName, WhenFull};
    use std::sync::Arc;

    fn edge(to_instance: usize) -> Arc<Edge> {
        let name = EdgeName {
            from: "registrar".into(),
            port: "orders".into(),
            from_instance: 0,
            to: "decrypt".into(),
            to_instance,
        };
        Arc::new(Edge::new(name, 1, WhenFull::Wait))
    }

    #[test]
    fn orders_go_to_their_shard_and_come_again_until_their_fate_is_known() {
        let edges = vec![edge(0), edge(1)];
        let outputs = vec![Output { port: "orders".into(), edges: edges.clone() }];
        let mut context = Context::new(Wiring { outputs, ..Wiring::default() });
        let (mut shards, pool) = (Shards::new(2), BatchPool::new(2));
        for sid in [2, 3, 5] {
            assert!(shards.order(Given::Retire(Sid(sid))));
        }
        shards.send(&mut context, 0, &pool);
        let (number, batch) = edges[1].take().unwrap();
        assert_eq!(batch.len(), 2);
        let mut heard = Vec::new();
        edges[1].fail(number);
        edges[1].settle(number);
        shards.settle(&edges, |given, durable| heard.push((given.sid().0, durable)));
        assert_eq!(heard, [(3, false), (5, false)]);

        let (number, _) = edges[0].take().unwrap();
        edges[0].doubt(number);
        edges[0].settle(number);
        shards.settle(&edges, |_, _| panic!("nothing is known"));
        assert!(!shards.is_empty());
        shards.send(&mut context, 0, &pool);
        let (number, batch) = edges[0].take().unwrap();
        let order = Order::read(&batch.frames[0], batch.octets(&batch.frames[0]).unwrap());
        assert_eq!(order, Some(Order::Retire { sid: Sid(2) }));
        edges[0].settle(number);
        shards.settle(&edges, |given, durable| heard.push((given.sid().0, durable)));
        assert_eq!(heard.last(), Some(&(2, true)));
        assert!(shards.is_empty());
    }

    #[test]
    fn a_full_edge_keeps_orders_waiting() {
        let edges = vec![edge(0)];
        let outputs = vec![Output { port: "orders".into(), edges: edges.clone() }];
        let mut context = Context::new(Wiring { outputs, ..Wiring::default() });
        let (mut shards, pool) = (Shards::new(1), BatchPool::new(2));
        for sid in 0..600 {
            shards.order(Given::Retire(Sid(sid)));
        }
        let mut seen = 0;
        while seen < 600 {
            shards.send(&mut context, 0, &pool);
            seen += edges[0].take().unwrap().1.len();
        }
        assert!(edges[0].take().is_none() && !shards.is_empty());
    }
}
