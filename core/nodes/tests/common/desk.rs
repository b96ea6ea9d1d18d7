//! A desk in a test: it gives orders, repeats those that were not settled, and keeps the ledger of all that
//! was ever sealed.

use std::collections::HashMap;

use metergraph_nodes::order::Order;
use node::{Batch, Frame};
use seal::command::{Addressee, Class};
use seal::frame::FrameType;

use super::graph::Graph;
use super::meter::{Meter, command, frame_of};
use super::wait_for;

/// An order, given or not yet.
#[derive(Clone)]
pub struct Asked {
    partition: u32,
    tag: u64,
    octets: Vec<u8>,
}

impl Asked {
    pub fn of(order: &Order<'_>) -> Self {
        let mut batch = Batch::default();
        order.push(&mut batch);
        let frame = batch.frames[0];
        let octets = batch.octets(&frame).unwrap().to_vec();
        Self { partition: order.partition().unwrap(), tag: frame.tag, octets }
    }
}

#[derive(Default)]
pub struct Desk {
    ctr: u32,
    /// Given: shard and number on its edge.
    given: Vec<(Asked, usize, u64)>,
    /// Orders of an earlier life that nobody knows the end of.
    open: Vec<Asked>,
    /// By association or group, epoch and counter: what was sealed.
    ledger: HashMap<(u32, u8, u32), Vec<u8>>,
    /// APDUs that came down, by type.
    pub came: HashMap<u8, usize>,
}

impl Desk {
    /// A signed command; no two have one counter.
    pub fn sign(&mut self, to: Addressee, class: Class, body: &[u8]) -> Vec<u8> {
        self.ctr += 1;
        command(to, class, self.ctr, body)
    }

    pub fn last_ctr(&self) -> u32 {
        self.ctr
    }

    /// Gives an order.
    pub fn give(&mut self, graph: &Graph, order: &Order<'_>) {
        self.give_asked(graph, Asked::of(order));
    }

    fn give_asked(&mut self, graph: &Graph, asked: Asked) {
        let shard = asked.partition as usize % graph.orders.len();
        let mut batch = Batch::default();
        batch.push(&asked.octets, Frame { tag: asked.tag, ..Frame::default() });
        match graph.orders[shard].offer(batch) {
            Ok(number) => self.given.push((asked, shard, number)),
            Err(_) => self.open.push(asked),
        }
    }

    /// Hears what became of the orders; what failed is given again. Whether all are settled.
    pub fn settle(&mut self, graph: &Graph) -> bool {
        let settled: Vec<u64> = graph.orders.iter().map(|edge| edge.settled()).collect();
        let doubted: Vec<u64> = graph.orders.iter().map(|edge| edge.doubted()).collect();
        let mut failed = Vec::new();
        for (shard, edge) in graph.orders.iter().enumerate() {
            failed.extend(std::iter::from_fn(|| edge.next_failure()).map(|number| (shard, number)));
        }
        let mut again = std::mem::take(&mut self.open);
        self.given.retain(|(asked, shard, number)| {
            let ended = *number <= settled[*shard];
            let bad = *number <= doubted[*shard] || failed.contains(&(*shard, *number));
            if ended && bad {
                again.push(asked.clone());
            }
            !ended
        });
        let all = self.given.is_empty() && again.is_empty();
        again.into_iter().for_each(|asked| self.give_asked(graph, asked));
        all
    }

    /// The head-end has ended: nobody knows what became of what is not settled.
    pub fn end(&mut self) {
        self.open.extend(self.given.drain(..).map(|(asked, ..)| asked));
    }

    /// Forgets what is not settled, as those do who gave it.
    pub fn forget(&mut self) {
        self.given.clear();
        self.open.clear();
    }

    pub fn wait(&mut self, graph: &Graph) {
        wait_for("settled orders", || self.settle(graph).then_some(()));
    }

    /// Has the meters hear what came down, once; their answers go up.
    pub fn hear(&mut self, graph: &Graph, meters: &mut [Meter]) {
        let mut answers = Vec::new();
        for (_, apdu) in graph.sent() {
            let (head, body) = frame_of(&apdu);
            let key = (head.id, head.epoch_low, head.seq);
            let sealed = [&head.octets()[..], &body].concat();
            let before = self.ledger.insert(key, sealed.clone());
            assert!(before.is_none_or(|before| before == sealed), "{key:?} was sealed twice");
            *self.came.entry(head.frame_type.octet()).or_default() += 1;
            for meter in meters.iter_mut() {
                let group = head.frame_type == FrameType::GroupCommand;
                if group || head.sid() == meter.sid() {
                    answers.extend(meter.hear(&head, &body));
                }
            }
        }
        if !answers.is_empty() {
            graph.send(1, &answers);
        }
    }
}
