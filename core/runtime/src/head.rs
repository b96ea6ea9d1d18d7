//! The head of a running graph: starts from the MDM end, stops from the ingress end within a limit.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message};
use node::env::Wire;
use node::{Counter, Edge, Worker};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::build::{Built, Part};
use crate::node_actor::{Drain, Ended, NodeActor, Start, Stop};

/// How often the head looks whether the drain limit has passed.
const LOOK: Duration = Duration::from_millis(20);
/// How long workers have to end after the word to stop at once.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Messages that wait for the head, beside the end of each member.
const MAILBOX: usize = 16;

/// How a graph came to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// The drain limit passed before every node had finished.
    pub forced: bool,
    /// A worker did not even follow the word to stop.
    pub abandoned: bool,
}

impl End {
    /// The actors broke down; what became of the workers is not known.
    pub(crate) const BROKEN: Self = Self { forced: true, abandoned: true };
}

/// Begin to stop.
#[derive(Message)]
#[rtype(result = "()")]
pub struct BeginStop;

/// An edge, and where the frames are counted that are left in it when all has ended.
#[derive(Clone, Debug)]
pub struct Left {
    /// The edge.
    pub edge: Arc<Edge>,
    /// Frames given up.
    pub dropped: Counter,
}

impl Left {
    fn count(&self) {
        let batches = std::iter::from_fn(|| self.edge.take());
        self.dropped.add(batches.map(|(_, batch)| batch.len() as u64).sum());
    }
}

/// One instance as the head sees it.
struct Member {
    actor: Addr<NodeActor>,
    /// Its first worker, until it is started.
    worker: Option<Box<dyn Worker>>,
    name: String,
    /// Whether it takes in from outside: a transport.
    source: bool,
}

impl Member {
    fn new(index: usize, Part { instance, worker, source, .. }: Part, head: Addr<Head>) -> Self {
        Self {
            name: instance.name.clone(),
            actor: NodeActor::new(index, instance, head.recipient()).start(),
            worker: Some(worker),
            source,
        }
    }
}

/// The head of a running graph.
pub struct Head {
    members: Vec<Member>,
    start_order: Vec<usize>,
    wires: Arc<Vec<Wire>>,
    left: Vec<Left>,
    drain_timeout: Duration,
    ended: Vec<bool>,
    drained: Vec<bool>,
    stopping: Option<Instant>,
    forced: Option<Instant>,
    on_end: Option<oneshot::Sender<End>>,
}

impl Head {
    /// Makes an actor of each part and a head over them, which starts them from the MDM end. `on_end` is
    /// told once, when all have ended.
    pub fn start(built: Built, drain_timeout: Duration, on_end: oneshot::Sender<End>) -> Addr<Self> {
        let Built { parts, start_order, wires, left, .. } = built;
        Self::create(move |mailbox| {
            let head = mailbox.address();
            let members: Vec<Member> = parts
                .into_iter()
                .enumerate()
                .map(|(index, part)| Member::new(index, part, head.clone()))
                .collect();
            Self {
                ended: vec![false; members.len()],
                drained: vec![false; members.len()],
                members,
                start_order,
                wires,
                left,
                drain_timeout,
                stopping: None,
                forced: None,
                on_end: Some(on_end),
            }
        })
    }

    fn set(list: &mut [bool], index: usize) {
        if let Some(flag) = list.get_mut(index) {
            *flag = true;
        }
    }

    fn has_ended(&self, index: usize) -> bool {
        self.ended.get(index).copied().unwrap_or(true)
    }

    /// Whether every instance of this node has ended.
    fn node_ended(&self, name: &str) -> bool {
        self.members.iter().enumerate().all(|(index, member)| member.name != name || self.has_ended(index))
    }

    fn is_wired(&self, name: &str) -> bool {
        self.wires.iter().any(|wire| wire.from == name || wire.to == name)
    }

    /// Whether what `from` gives leads to `to`, at any remove.
    fn leads(&self, from: &str, to: &str) -> bool {
        let (mut found, mut next) = (vec![from], 0);
        while let Some(node) = found.get(next).copied() {
            next += 1;
            for wire in self.wires.iter().filter(|wire| wire.from == node) {
                if wire.to == to {
                    return true;
                }
                if !found.contains(&wire.to.as_str()) {
                    found.push(&wire.to);
                }
            }
        }
        false
    }

    /// Whether it is this member's turn to drain: transports at once, others when all that they read from
    /// has ended, nodes without any wire (they serve the others) last. Who reads a log that it writes to, by
    /// whatever way, does not wait for the log's end, which waits for its own.
    fn is_due(&self, member: &Member) -> bool {
        if member.source {
            true
        } else if self.is_wired(&member.name) {
            let mut writers = self.wires.iter().filter(|wire| wire.to == member.name);
            writers.all(|wire| self.node_ended(&wire.from) || self.leads(&member.name, &wire.from))
        } else {
            self.members.iter().all(|other| !self.is_wired(&other.name) || self.node_ended(&other.name))
        }
    }

    fn drain_next(&mut self) {
        for index in 0..self.members.len() {
            let Some(member) = self.members.get(index) else { continue };
            if self.drained.get(index).copied().unwrap_or(true) || !self.is_due(member) {
                continue;
            }
            // One that has ended by itself no longer listens.
            if !self.has_ended(index) && member.actor.try_send(Drain).is_err() {
                warn!(node = member.name, "could not be told to drain");
            }
            Self::set(&mut self.drained, index);
        }
    }

    fn tell_all_to_stop(&self) {
        for (index, member) in self.members.iter().enumerate() {
            if !self.has_ended(index) && member.actor.try_send(Stop).is_err() {
                warn!(node = member.name, "could not be told to stop");
            }
        }
    }

    fn look(&mut self, mailbox: &mut Context<Self>) {
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

    fn finish(&mut self, abandoned: bool, mailbox: &mut Context<Self>) {
        self.left.iter().for_each(Left::count);
        if let Some(on_end) = self.on_end.take() {
            // Nobody waits any more when the receiver is gone.
            let _ = on_end.send(End { forced: self.forced.is_some(), abandoned });
        }
        mailbox.stop();
    }
}

impl Actor for Head {
    type Context = Context<Self>;

    fn started(&mut self, mailbox: &mut Self::Context) {
        mailbox.set_mailbox_capacity(self.members.len() + MAILBOX);
        for index in self.start_order.clone() {
            let Some(member) = self.members.get_mut(index) else { continue };
            if let Some(worker) = member.worker.take()
                && member.actor.try_send(Start(worker)).is_err()
            {
                warn!(node = member.name, "could not be started");
            }
        }
    }
}

impl Handler<BeginStop> for Head {
    type Result = ();

    fn handle(&mut self, _: BeginStop, mailbox: &mut Self::Context) {
        if self.stopping.is_none() {
            info!("stopping from the ingress end");
            self.stopping = Some(Instant::now());
            self.look(mailbox);
            mailbox.run_interval(LOOK, Self::look);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node_actor::{Instance, RestartLimits};
    use crate::wiring::{Wiring, transport_node};
    use graph::Plan;
    use graph::plan::{EdgePlan, End as PlanEnd, NodePlan, RuntimePlan, TransportPlan};
    use node::context::Orders;
    use node::{Batch, Config, Frame, Meters, Next, NodeError, NodeStatus, PortType, WhenFull};

    /// Passes everything on to its first edge, or takes in and sends out as a transport does.
    struct Fake {
        transport: bool,
        taken_in: Counter,
        sent_out: Counter,
    }

    impl Worker for Fake {
        fn run(&mut self, context: &mut node::Context) -> Result<(), NodeError> {
            loop {
                if self.transport && context.orders.draining() {
                    context.close_output(0);
                } else if self.transport {
                    let mut batch = Batch::default();
                    assert!(batch.push(b"x", Frame::default()));
                    self.taken_in.add(u64::from(context.offer(0, 0, batch).is_ok()));
                }
                match context.next(Duration::from_millis(1))? {
                    Next::Batch { batch, .. } if self.transport => self.sent_out.add(batch.len() as u64),
                    Next::Batch { batch, .. } => drop(context.send(0, 0, batch)?),
                    Next::Finished => return Ok(()),
                    Next::Idle | Next::Event(_) => {}
                }
            }
        }
    }

    /// A transport whose `ingress` feeds its own `downlink`.
    fn plan() -> Plan {
        let node = |name: &str| NodePlan {
            name: name.into(),
            kind: name.into(),
            config: Config::default(),
            instances: 1,
            transport: Some(0),
            span: Default::default(),
        };
        let edge = |from, to, port_type| EdgePlan {
            from,
            port: "out".into(),
            to,
            port_type,
            batches_max: 4,
            when_full: WhenFull::Wait,
        };
        let (wan, ingress, downlink) = (PlanEnd::Transport(0), PlanEnd::Node(0), PlanEnd::Node(1));
        Plan {
            nodes: vec![node("ingress"), node("downlink")],
            transports: vec![TransportPlan {
                name: "wan".into(),
                plugin: String::new(),
                sha256: None,
                config: Config::default(),
                grants: node::Value::Table(Default::default()),
                span: Default::default(),
            }],
            edges: vec![
                edge(wan, ingress, PortType::Received),
                edge(ingress, downlink, PortType::Sealed),
                edge(downlink, wan, PortType::Transmit),
            ],
            ..Plan::default()
        }
    }

    #[test]
    fn a_transport_stops_reading_first_and_sends_what_still_comes() {
        let wiring = Wiring::new(&plan());
        let (taken_in, sent_out) = (Counter::default(), Counter::default());
        let fake = |transport| Fake { transport, taken_in: taken_in.clone(), sent_out: sent_out.clone() };
        let parts = [("ingress", false), ("downlink", false), ("wan", true)].map(|(name, source)| {
            let name = if source { transport_node(name) } else { name.to_owned() };
            let ends = wiring.ends(&name, 0);
            let instance = Instance {
                name,
                number: 0,
                factory: Box::new(|_| panic!("nothing is started anew")),
                inputs: ends.inputs,
                outputs: ends.outputs,
                event_inputs: vec![],
                event_outputs: vec![],
                status: NodeStatus::default(),
                orders: Orders::default(),
                dropped: Counter::default(),
                lost: Counter::default(),
                restarts: Counter::default(),
                limits: RestartLimits::new(&RuntimePlan::default()),
            };
            Part { instance, worker: Box::new(fake(source)), kind: String::new(), source }
        });
        let built = Built::new(parts.into(), vec![0, 1, 2], wiring, Meters::default());
        let end = actix::System::new().block_on(async {
            let (on_end, ended) = oneshot::channel();
            let head = Head::start(built, Duration::from_secs(20), on_end);
            while sent_out.get() < 100 {
                actix::clock::sleep(Duration::from_millis(1)).await;
            }
            assert!(head.try_send(BeginStop).is_ok());
            ended.await
        });
        assert_eq!(end.unwrap(), End::default());
        assert_eq!(taken_in.get(), sent_out.get(), "what was taken in went out again");
    }
}
