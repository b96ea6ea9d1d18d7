//! The actor at the head of a graph: starts the nodes from the MDM end, stops them from the ingress.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message};
use node::env::Wire;
use node::{NodeState, Worker};
use tracing::{info, warn};

use crate::node_actor::{Drain, Ended, NodeActor, Start, Stop};
use crate::status::Board;

/// How often the head looks whether the drain limit has passed.
const LOOK: Duration = Duration::from_millis(20);
/// How long workers have to end after the word to stop at once.
const STOP_LIMIT: Duration = Duration::from_secs(5);

/// How a graph came to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The drain limit passed before every node had finished.
    pub forced: bool,
    /// A worker did not even follow the word to stop.
    pub abandoned: bool,
}

/// Sent once, when every node has ended.
pub type EndSender = tokio::sync::oneshot::Sender<End>;

/// Begin to stop.
#[derive(Message)]
#[rtype(result = "()")]
pub struct BeginStop;

/// One instance as the head sees it.
pub struct Member {
    /// Its actor.
    pub actor: Addr<NodeActor>,
    /// Its first worker, until it is started.
    pub worker: Option<Box<dyn Worker>>,
    /// The node's name (`transport:NAME` for a transport).
    pub name: String,
    /// Whether it takes in from outside: a transport.
    pub source: bool,
}

/// The head of a running graph.
pub struct Head {
    members: Vec<Member>,
    start_order: Vec<usize>,
    wires: Arc<Vec<Wire>>,
    board: Arc<Board>,
    drain_timeout: Duration,
    ended: Vec<bool>,
    drained: Vec<bool>,
    stopping: Option<Instant>,
    forced: Option<Instant>,
    on_end: Option<EndSender>,
}

impl Head {
    /// A head over these members; `start_order` holds indices into `members`.
    #[must_use]
    pub fn new(
        members: Vec<Member>,
        start_order: Vec<usize>,
        wires: Arc<Vec<Wire>>,
        board: Arc<Board>,
        drain_timeout: Duration,
        on_end: EndSender,
    ) -> Self {
        let (ended, drained) = (vec![false; members.len()], vec![false; members.len()]);
        let on_end = Some(on_end);
        let (stopping, forced) = (None, None);
        Self { members, start_order, wires, board, drain_timeout, ended, drained, stopping, forced, on_end }
    }

    fn set(list: &mut [bool], index: usize) {
        if let Some(flag) = list.get_mut(index) {
            *flag = true;
        }
    }

    fn has_ended(&self, index: usize) -> bool {
        self.ended.get(index).copied().unwrap_or(true)
    }

    /// Whether every node of this name has ended.
    fn node_ended(&self, name: &str) -> bool {
        self.members.iter().enumerate().all(|(index, member)| member.name != name || self.has_ended(index))
    }

    /// Tells those to drain whose writers have all ended; nodes without any wire go last.
    fn drain_next(&mut self) {
        let wired = |name: &str| self.wires.iter().any(|wire| wire.from == name || wire.to == name);
        let others_left = self
            .members
            .iter()
            .enumerate()
            .any(|(index, member)| wired(&member.name) && !self.has_ended(index));
        let due: Vec<usize> = self
            .members
            .iter()
            .enumerate()
            .filter(|(index, member)| {
                let mut writers = self.wires.iter().filter(|wire| wire.to == member.name);
                let ready = member.source
                    || if wired(&member.name) {
                        writers.all(|wire| self.node_ended(&wire.from))
                    } else {
                        !others_left
                    };
                ready && !self.drained.get(*index).copied().unwrap_or(true)
            })
            .map(|(index, _)| index)
            .collect();
        for index in due {
            Self::set(&mut self.drained, index);
            if let Some(member) = self.members.get(index)
                && member.actor.try_send(Drain).is_err()
            {
                warn!(node = member.name, "could not be told to drain");
            }
        }
    }

    fn tell_all_to_stop(&self) {
        for (index, member) in self.members.iter().enumerate() {
            if !self.has_ended(index) && member.actor.try_send(Stop).is_err() {
                warn!(node = member.name, "could not be told to stop");
            }
        }
    }

    fn finish(&mut self, abandoned: bool, mailbox: &mut Context<Self>) {
        if let Some(on_end) = self.on_end.take() {
            // Nobody waits any more when the receiver is gone.
            let _ = on_end.send(End { forced: self.forced.is_some(), abandoned });
        }
        mailbox.stop();
    }

    fn look(&mut self, mailbox: &mut Context<Self>) {
        for (index, entry) in self.board.entries.iter().enumerate() {
            if entry.status.state() == NodeState::Stopped {
                Self::set(&mut self.ended, index);
            }
        }
        if self.ended.iter().all(|ended| *ended) {
            self.finish(false, mailbox);
            return;
        }
        let Some(since) = self.stopping else { return };
        self.drain_next();
        match self.forced {
            None if since.elapsed() > self.drain_timeout => {
                warn!(limit_ms = self.drain_timeout.as_millis(), "drain limit passed: stopping at once");
                self.forced = Some(Instant::now());
                self.tell_all_to_stop();
            }
            Some(at) if at.elapsed() > STOP_LIMIT => self.finish(true, mailbox),
            _ => {}
        }
    }
}

impl Actor for Head {
    type Context = Context<Self>;

    fn started(&mut self, mailbox: &mut Self::Context) {
        for index in self.start_order.clone() {
            let Some(member) = self.members.get_mut(index) else { continue };
            if let Some(worker) = member.worker.take()
                && member.actor.try_send(Start(worker)).is_err()
            {
                warn!(node = member.name, "could not be started");
            }
        }
        mailbox.run_interval(LOOK, Self::look);
    }
}

impl Handler<BeginStop> for Head {
    type Result = ();

    fn handle(&mut self, _: BeginStop, _: &mut Self::Context) {
        if self.stopping.is_none() {
            info!("stopping from the ingress end");
            self.stopping = Some(Instant::now());
            self.drain_next();
        }
    }
}

impl Handler<Ended> for Head {
    type Result = ();

    fn handle(&mut self, Ended { index }: Ended, mailbox: &mut Self::Context) {
        Self::set(&mut self.ended, index);
        self.look(mailbox);
    }
}
