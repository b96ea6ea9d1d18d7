//! The actor of one node instance: its mailbox takes orders, it owns the worker's thread, and it
//! starts the worker anew after a failure.
//!
//! The supervision is ours: actix leaves an actor dead after a panic, also under its `Supervisor`.
//! Here the worker panics on a thread of its own, the actor hears of it and decides.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Recipient};
use node::context::{Orders, Output};
use node::event::EventEdge;
use node::{BuildError, Counter, Edge, NodeError, NodeState, NodeStatus, Worker};
use tracing::{error, info, warn};

/// Orders and reports that wait for one actor; senders retry past that.
const MAILBOX: usize = 32;
/// How long a worker's last report waits for room in the mailbox.
const REPORT_TRIES: u32 = 1000;

/// How often a worker is started anew, and how soon.
#[derive(Clone, Copy, Debug)]
pub struct RestartLimits {
    /// Starts within the window, past which the node has failed for good.
    pub restarts_max: u32,
    /// The window.
    pub window: Duration,
    /// The first pause; it doubles with each further restart.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
}

/// Makes the worker of one run.
pub type Factory = Box<dyn Fn(u64) -> Result<Box<dyn Worker>, BuildError> + Send>;

/// Everything that stays while workers come and go.
pub struct Instance {
    /// The node's name.
    pub name: String,
    /// Which instance of it.
    pub number: usize,
    /// Makes a worker.
    pub factory: Factory,
    /// Edges it consumes.
    pub inputs: Vec<Arc<Edge>>,
    /// Ports it fills.
    pub outputs: Vec<Output>,
    /// Event edges it consumes.
    pub event_inputs: Vec<Arc<EventEdge>>,
    /// Event edges it fills.
    pub event_outputs: Vec<Arc<EventEdge>>,
    /// Its state, shared with the control socket and the page.
    pub status: NodeStatus,
    /// What its worker is told.
    pub orders: Orders,
    /// Frames that it gave up.
    pub dropped: Counter,
    /// Frames in hand when it failed.
    pub lost: Counter,
    /// Restarts.
    pub restarts: Counter,
    /// Restart limits.
    pub limits: RestartLimits,
}

impl Instance {
    fn context(&self, worker: &dyn Worker) -> node::Context {
        node::Context::new(node::context::Wiring {
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            event_inputs: self.event_inputs.clone(),
            event_outputs: self.event_outputs.clone(),
            status: self.status.clone(),
            orders: self.orders.clone(),
            dropped: self.dropped.clone(),
            doorbell: worker.doorbell(),
        })
    }
}

/// Start the first worker, which `build` has made.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Start(pub Box<dyn Worker>);

/// Stop taking in; end when the inputs have ended.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Drain;

/// End now.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Stop;

/// A worker has ended; sent by its own thread.
#[derive(Message)]
#[rtype(result = "()")]
struct WorkerEnded(Result<(), NodeError>);

/// A node instance has ended for good.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ended {
    /// Index of the instance, as given to [`NodeActor::new`].
    pub index: usize,
}

/// Time for the next start.
#[derive(Message)]
#[rtype(result = "()")]
struct StartAgain;

/// The actor of one node instance.
pub struct NodeActor {
    index: usize,
    instance: Instance,
    thread: Option<JoinHandle<()>>,
    restarts: VecDeque<Instant>,
    head: Recipient<Ended>,
}

impl NodeActor {
    /// An actor for this instance; `head` hears of its end under `index`.
    #[must_use]
    pub fn new(index: usize, instance: Instance, head: Recipient<Ended>) -> Self {
        Self { index, instance, thread: None, restarts: VecDeque::new(), head }
    }

    fn run(&mut self, mut worker: Box<dyn Worker>, mailbox: &mut Context<Self>) {
        let mut context = self.instance.context(worker.as_ref());
        let home = mailbox.address();
        let name = self.instance.name.clone();
        if self.instance.orders.draining() {
            self.instance.status.set(NodeState::Draining, "");
        } else {
            self.instance.status.set(NodeState::Running, "");
        }
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(|| worker.run(&mut context)))
                .unwrap_or_else(|panic| Err(NodeError::new(format!("panic: {}", panic_text(&*panic)))));
            context.events.flush(true);
            // The worker lets go of its files and sockets before its successor opens them.
            drop(worker);
            let mut ended = WorkerEnded(result);
            for _ in 0..REPORT_TRIES {
                match home.try_send(ended) {
                    Ok(()) => return,
                    Err(actix::dev::SendError::Full(back)) => ended = back,
                    Err(actix::dev::SendError::Closed(_)) => return,
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            error!(node = name, "its end could not be reported: the mailbox stayed full");
        };
        let thread_name = format!("{}-{}", self.instance.name, self.instance.number);
        match std::thread::Builder::new().name(thread_name).spawn(body) {
            Ok(thread) => self.thread = Some(thread),
            Err(cause) => self.fail(&format!("no thread for it: {cause}"), mailbox),
        }
    }

    fn build_and_run(&mut self, mailbox: &mut Context<Self>) {
        let run = self.instance.status.count_start();
        match (self.instance.factory)(run) {
            Ok(worker) => self.run(worker, mailbox),
            Err(cause) => {
                self.restart_later(&format!("{}", chain(&cause)), mailbox);
            }
        }
    }

    fn restart_later(&mut self, why: &str, mailbox: &mut Context<Self>) {
        let now = Instant::now();
        let limits = self.instance.limits;
        self.restarts.retain(|at| now.duration_since(*at) < limits.window);
        if self.restarts.len() >= limits.restarts_max as usize || self.instance.orders.stopped() {
            self.fail(why, mailbox);
            return;
        }
        let doubled = 1_u32.checked_shl(u32::try_from(self.restarts.len()).unwrap_or(31).min(31)).unwrap_or(1);
        let pause = limits.backoff.saturating_mul(doubled).min(limits.backoff_max);
        self.restarts.push_back(now);
        self.instance.restarts.add(1);
        self.instance.status.set(NodeState::Restarting, why);
        warn!(
            node = self.instance.name,
            instance = self.instance.number,
            pause_ms = pause.as_millis(),
            why,
            "starts anew"
        );
        mailbox.notify_later(StartAgain, pause);
    }

    fn fail(&mut self, why: &str, mailbox: &mut Context<Self>) {
        error!(node = self.instance.name, instance = self.instance.number, why, "failed for good");
        self.instance.status.set(NodeState::Failed, why);
        // Edges stay open: what the node would have read waits, and readers know nothing is coming
        // only when the graph stops.
        if self.instance.orders.draining() {
            self.end(mailbox);
        }
    }

    /// Ends for good: closes what it fills, so that its readers can finish.
    fn end(&mut self, mailbox: &mut Context<Self>) {
        for output in &self.instance.outputs {
            output.edges.iter().for_each(|edge| edge.close());
        }
        self.instance.event_outputs.iter().for_each(|edge| edge.close());
        if self.head.try_send(Ended { index: self.index }).is_err() {
            // The head looks at the states itself as well, on its own clock.
            warn!(node = self.instance.name, "its end could not be told");
        }
        mailbox.stop();
    }
}

impl Actor for NodeActor {
    type Context = Context<Self>;

    fn started(&mut self, mailbox: &mut Self::Context) {
        mailbox.set_mailbox_capacity(MAILBOX);
    }
}

impl Handler<Start> for NodeActor {
    type Result = ();

    fn handle(&mut self, Start(worker): Start, mailbox: &mut Self::Context) {
        let _ = self.instance.status.count_start();
        info!(node = self.instance.name, instance = self.instance.number, "starts");
        self.run(worker, mailbox);
    }
}

impl Handler<StartAgain> for NodeActor {
    type Result = ();

    fn handle(&mut self, _: StartAgain, mailbox: &mut Self::Context) {
        if self.instance.orders.stopped() {
            self.end(mailbox);
        } else {
            self.build_and_run(mailbox);
        }
    }
}

impl Handler<WorkerEnded> for NodeActor {
    type Result = ();

    fn handle(&mut self, WorkerEnded(result): WorkerEnded, mailbox: &mut Self::Context) {
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!(node = self.instance.name, "its thread broke after the worker had ended");
        }
        match result {
            Ok(()) | Err(NodeError::Stopped(_)) => {
                info!(node = self.instance.name, instance = self.instance.number, "stopped");
                self.instance.status.set(NodeState::Stopped, "");
                self.end(mailbox);
            }
            Err(cause) => {
                self.instance.lost.add(self.instance.status.in_hand());
                self.instance.status.set_in_hand(0);
                // What it took and did not settle may be done or not: whoever depends on it rebuilds.
                for edge in self.instance.inputs.iter().filter(|edge| edge.settled() < edge.taken()) {
                    edge.doubt(edge.taken());
                    edge.settle(edge.taken());
                }
                self.restart_later(&chain(&cause), mailbox);
            }
        }
    }
}

impl Handler<Drain> for NodeActor {
    type Result = ();

    fn handle(&mut self, _: Drain, mailbox: &mut Self::Context) {
        self.instance.orders.drain();
        match self.instance.status.state() {
            NodeState::Running | NodeState::Stalled => self.instance.status.set(NodeState::Draining, ""),
            NodeState::Failed => self.end(mailbox),
            _ => {}
        }
    }
}

impl Handler<Stop> for NodeActor {
    type Result = ();

    fn handle(&mut self, _: Stop, mailbox: &mut Self::Context) {
        self.instance.orders.stop();
        if self.instance.status.state() == NodeState::Failed {
            self.end(mailbox);
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
}

/// An error with all its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
