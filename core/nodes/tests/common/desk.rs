//! A desk in a test: it gives orders, repeats those that were not settled, and keeps the ledger of all that
//! was ever sealed.

use std::collections::HashMap;

use keystore::Vault;
use metergraph_nodes::order::Order;
use node::{Batch, Frame};
use seal::command::{Addressee, Class, Classes, KeyItem};
use seal::frame::{FrameType, Head};
use seal::ids::{Epoch, Gid};

use super::device::plain;
use super::graph::Graph;
use super::ledger::Ledger;
use super::meter::{Meter, command, items};
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
    pub ledger: Ledger,
    /// APDUs that came down, by type.
    pub came: HashMap<u8, usize>,
    /// Their heads, in order.
    pub heads: Vec<Head>,
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
            let (head, body) = self.ledger.note(&apdu);
            *self.came.entry(head.frame_type.octet()).or_default() += 1;
            self.heads.push(head);
            for meter in meters.iter_mut() {
                let group = head.frame_type == FrameType::GroupCommand;
                if !meter.deaf && (group || head.sid() == meter.sid()) {
                    let answer = meter.hear(&head, &body);
                    answers.extend(answer.filter(|_| !meter.mute));
                }
            }
        }
        self.send(graph, &answers);
    }

    /// What devices say goes up.
    pub fn send(&mut self, graph: &Graph, apdus: &[Vec<u8>]) {
        if !apdus.is_empty() {
            apdus.iter().for_each(|apdu| drop(self.ledger.note(apdu)));
            graph.send(1, apdus);
        }
    }

    /// One fresh report of each meter that may send one.
    pub fn report(&mut self, graph: &Graph, meters: &mut [Meter]) {
        let ready = meters.iter_mut().filter(|meter| meter.has_room());
        let apdus: Vec<Vec<u8>> = ready.map(|meter| meter.up(FrameType::Report, &plain())).collect();
        self.send(graph, &apdus);
    }

    /// All that is not acknowledged, again.
    pub fn repeat(&mut self, graph: &Graph, meters: &[Meter]) {
        let heard = meters.iter().filter(|meter| !meter.mute);
        let apdus: Vec<Vec<u8>> = heard.flat_map(Meter::repeats).collect();
        self.send(graph, &apdus);
    }

    /// Repeats and hears until something holds.
    pub fn until(
        &mut self,
        what: &str,
        graph: &Graph,
        meters: &mut [Meter],
        holds: impl Fn(&[Meter]) -> bool,
    ) {
        let mut turn = 0;
        wait_for(what, || {
            self.settle(graph);
            self.hear(graph, meters);
            if holds(meters) {
                return Some(());
            }
            turn += 1;
            if turn % 50 == 0 {
                self.repeat(graph, meters);
            }
            None
        });
    }

    /// As [`Self::until`]: all that was said is acknowledged.
    pub fn until_heard(&mut self, graph: &Graph, meters: &mut [Meter]) {
        self.until("acknowledgements", graph, meters, |meters| meters.iter().all(Meter::is_heard));
    }

    /// Sends a signed command to one device.
    pub fn tell(&mut self, graph: &Graph, meter: &Meter, class: Class, body: &[u8]) -> u32 {
        let signed = self.sign(Addressee::Device(meter.dev()), class, body);
        self.give(graph, &Order::Send { sid: meter.sid(), signed: &signed });
        self.ctr
    }

    /// Draws a key for an epoch of a group and gives it to the group's shard; answers it, sealed.
    pub fn key(&mut self, graph: &Graph, gid: Gid, epoch: Epoch, activate_at: u32) -> Vec<u8> {
        let vault: std::sync::Arc<Vault> = graph.services.find("keys").unwrap();
        let sealed = vault.draw_group_key(gid, epoch).unwrap();
        self.give(graph, &Order::GroupKey { gid, epoch, activate_at, sealed: &sealed });
        sealed
    }

    /// Makes all meters members of a group.
    pub fn join(&mut self, graph: &Graph, gid: Gid, meters: &mut [Meter]) {
        let body = items(&[KeyItem::Join { gid, classes: Classes(0x3f) }]);
        meters.iter().for_each(|meter| _ = self.tell(graph, meter, Class::Keys, &body));
        let joined = |meters: &[Meter]| meters.iter().all(|meter| meter.is_member(gid) && meter.is_heard());
        self.until("members", graph, meters, joined);
    }

    /// Has all meters given the key of an epoch.
    pub fn deliver(
        &mut self,
        graph: &Graph,
        gid: Gid,
        (epoch, activate_at, sealed): (Epoch, u32, &[u8]),
        meters: &mut [Meter],
    ) {
        for meter in meters.iter() {
            self.give(graph, &Order::Deliver { sid: meter.sid(), gid, epoch, activate_at, sealed });
        }
        self.until("keys", graph, meters, |meters| meters.iter().all(|meter| meter.has_key(gid, epoch)));
    }
}
