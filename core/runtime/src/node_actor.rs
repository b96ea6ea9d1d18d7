//! The actor of one node instance: its mailbox takes orders, it owns the worker's thread, and it
//! starts the worker anew after a failure.
//!
//! The supervision is ours: actix leaves an actor dead after a panic, also under its `Supervisor`.
//! Here a worker is built anew and runs on a thread of its own, may panic there, and the actor hears of
//! it and decides.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, Recipient};
use graph::plan::RuntimePlan;
use node::context::{Orders, Output};
use node::event::EventEdge;
use node::{BuildError, Counter, Edge, NodeError, NodeState, NodeStatus, Worker};
use tracing::{error, info, warn};

/// Orders and reports that wait for one actor; senders retry past that.
const MAILBOX: usize = 32;
/// How often a worker's thread tries, a millisecond apart, to report its end.
const REPORT_TRIES: u32 = 1000;

/// How often a worker is started anew, and how soon.
#[derive(Clone, Copy, Debug)]
pub struct RestartLimits {
    /// Restarts within the window, past which the node has failed for good.
    pub restarts_max: u32,
    /// The window.
    pub window: Duration,
    /// The first pause; it doubles with each further restart.
    pub backoff: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
}

impl RestartLimits {
    /// The limits of a plan.
    #[must_use]
    pub fn new(plan: &RuntimePlan) -> Self {
        Self {
            restarts_max: plan.restarts_max,
            window: Duration::from_secs(plan.restart_window_s),
            backoff: Duration::from_millis(plan.backoff_ms),
            backoff_max: Duration::from_millis(plan.backoff_max_ms),
        }
    }

    /// The pause before the next restart after `restarts` within the window; `None` when the budget is
    /// spent.
    fn pause(&self, restarts: usize) -> Option<Duration> {
        let restarts = u32::try_from(restarts).ok().filter(|restarts| *restarts < self.restarts_max)?;
        let doubled = 1_u32.checked_shl(restarts).unwrap_or(u32::MAX);
        Some(self.backoff.saturating_mul(doubled).min(self.backoff_max))
    }
}

/// Makes the worker of one run.
pub type Factory = Box<dyn Fn(u64) -> Result<Box<dyn Worker>, BuildError> + Send + Sync>;

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
    /// One run, on the worker's thread: from `first`, or from a worker built anew, to its end.
    fn work(&self, first: Option<Box<dyn Worker>>) -> Result<(), NodeError> {
        let mut worker = match first {
            Some(worker) => worker,
            None => self.build()?,
        };
        let mut context = node::Context::new(node::context::Wiring {
            inputs: self.inputs.clone(),
            outputs: self.outputs.clone(),
            event_inputs: self.event_inputs.clone(),
            event_outputs: self.event_outputs.clone(),
            status: self.status.clone(),
            orders: self.orders.clone(),
            dropped: self.dropped.clone(),
            doorbell: worker.doorbell(),
        });
        let result = caught(|| worker.run(&mut context));
        // The worker lets go of its files and sockets before its successor opens them.
        let let_go = move || {
            drop(worker);
            Ok(())
        };
        if let Err(cause) = caught(let_go) {
            error!(node = self.name, instance = self.number, why = chain(&cause), "ended untidily");
        }
        result
    }

    fn build(&self) -> Result<Box<dyn Worker>, NodeError> {
        let run = self.status.count_start();
        let worker = caught(|| Ok((self.factory)(run)))?
            .map_err(|cause| NodeError::caused("it could not be built", cause))?;
        self.set_running();
        Ok(worker)
    }

    fn set_running(&self) {
        self.status.set(NodeState::Running, "");
        if self.orders.draining() {
            self.status.set(NodeState::Draining, "");
        }
    }

    fn inputs_ended(&self) -> bool {
        self.inputs.iter().all(|edge| edge.is_finished())
            && self.event_inputs.iter().all(|edge| edge.is_finished())
    }

    /// Takes the frames that the ended worker had in hand.
    fn take_in_hand(&self) -> u64 {
        let frames = self.status.in_hand();
        self.status.set_in_hand(0);
        frames
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
    instance: Arc<Instance>,
    thread: Option<JoinHandle<()>>,
    restarts: VecDeque<Instant>,
    head: Recipient<Ended>,
}

impl NodeActor {
    /// An actor for this instance; `head` hears of its end under `index`.
    #[must_use]
    pub fn new(index: usize, instance: Instance, head: Recipient<Ended>) -> Self {
        Self { index, instance: Arc::new(instance), thread: None, restarts: VecDeque::new(), head }
    }

    /// Sets a worker going: `first`, or one built anew.
    fn run(&mut self, first: Option<Box<dyn Worker>>, mailbox: &mut Context<Self>) {
        let home = mailbox.address();
        let instance = Arc::clone(&self.instance);
        let body = move || {
            let mut ended = WorkerEnded(instance.work(first));
            for _ in 0..REPORT_TRIES {
                match home.try_send(ended) {
                    Ok(()) | Err(actix::dev::SendError::Closed(_)) => return,
                    Err(actix::dev::SendError::Full(back)) => ended = back,
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            error!(node = instance.name, "its end could not be reported: the mailbox stayed full");
        };
        let thread_name = format!("{}-{}", self.instance.name, self.instance.number);
        match std::thread::Builder::new().name(thread_name).spawn(body) {
            Ok(thread) => self.thread = Some(thread),
            Err(cause) => self.restart_later(&format!("no thread for it: {cause}"), mailbox),
        }
    }

    fn restart_later(&mut self, why: &str, mailbox: &mut Context<Self>) {
        let Instance { name, number, limits, orders, status, .. } = &*self.instance;
        self.restarts.retain(|at| at.elapsed() < limits.window);
        let Some(pause) = limits.pause(self.restarts.len()).filter(|_| !orders.stopped()) else {
            error!(node = name, instance = number, why, "failed for good");
            status.set(NodeState::Failed, why);
            // Its edges stay open: what it would have read waits, and its readers hear that nothing is
            // coming only when the graph stops.
            if orders.draining() {
                self.end(mailbox);
            }
            return;
        };
        warn!(node = name, instance = number, pause_ms = pause.as_millis(), why, "starts anew");
        status.set(NodeState::Restarting, why);
        self.restarts.push_back(Instant::now());
        self.instance.restarts.add(1);
        mailbox.notify_later(StartAgain, pause);
    }

    fn stopped(&mut self, mailbox: &mut Context<Self>) {
        info!(node = self.instance.name, instance = self.instance.number, "stopped");
        self.instance.status.set(NodeState::Stopped, "");
        self.end(mailbox);
    }

    /// Ends for good: closes what it fills, so that its readers can finish.
    fn end(&mut self, mailbox: &mut Context<Self>) {
        for output in &self.instance.outputs {
            output.edges.iter().for_each(|edge| edge.close());
        }
        self.instance.event_outputs.iter().for_each(|edge| edge.close());
        if self.head.try_send(Ended { index: self.index }).is_err() {
            // Its mailbox has room for all of us.
            error!(node = self.instance.name, "its end could not be told");
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
        let run = self.instance.status.count_start();
        info!(node = self.instance.name, instance = self.instance.number, run, "starts");
        self.instance.set_running();
        self.run(Some(worker), mailbox);
    }
}

impl Handler<StartAgain> for NodeActor {
    type Result = ();

    fn handle(&mut self, _: StartAgain, mailbox: &mut Self::Context) {
        self.run(None, mailbox);
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
        let instance = &self.instance;
        let early = !instance.orders.draining() && !instance.inputs_ended();
        let cause = match result {
            Ok(()) if early => NodeError::new("it ended before its inputs did"),
            Ok(()) | Err(NodeError::Stopped(_)) => {
                instance.dropped.add(instance.take_in_hand());
                self.stopped(mailbox);
                return;
            }
            Err(cause) => cause,
        };
        instance.lost.add(instance.take_in_hand());
        // What it took and did not settle may be done or not: whoever depends on it rebuilds.
        for edge in instance.inputs.iter().filter(|edge| edge.settled() < edge.taken()) {
            edge.doubt(edge.taken());
            edge.settle(edge.taken());
        }
        self.restart_later(&chain(&cause), mailbox);
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
        match (&self.thread, self.instance.status.state()) {
            (_, NodeState::Failed) => self.end(mailbox),
            // It waits for its next start, which does not come.
            (None, _) => self.stopped(mailbox),
            (Some(_), _) => {}
        }
    }
}

/// What `work` answers; a panic in it is a failure.
fn caught<T>(work: impl FnOnce() -> Result<T, NodeError>) -> Result<T, NodeError> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|panic| Err(NodeError::new(format!("panic: {}", panic_text(&*panic)))))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_doubles_up_to_its_limit_and_the_budget_ends_it() {
        let limits = RestartLimits {
            restarts_max: 40,
            window: Duration::from_secs(60),
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(1),
        };
        let pauses: Vec<_> = (0..6).map(|n| limits.pause(n).unwrap().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(limits.pause(39), Some(limits.backoff_max));
        assert_eq!(limits.pause(40), None);
        assert_eq!(RestartLimits { restarts_max: 0, ..limits }.pause(0), None);
    }

    #[test]
    fn a_panic_is_a_failure_with_its_text() {
        let texts = [
            caught::<()>(|| panic!("plain")).unwrap_err().to_string(),
            caught::<()>(|| panic!("made of {}", 2)).unwrap_err().to_string(),
            caught::<()>(|| std::panic::panic_any(7)).unwrap_err().to_string(),
        ];
        assert_eq!(texts, ["panic: plain", "panic: made of 2", "panic: without a text"]);
    }

    #[test]
    fn a_chain_names_every_cause() {
        let cause = std::io::Error::other("no space left");
        assert_eq!(chain(&NodeError::caused("write the segment", cause)), "write the segment: no space left");
    }
}
