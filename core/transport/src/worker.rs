//! The worker of one transport: gives its driver time and readiness, carries batches between it and the
//! edges, and turns what it tells into events and numbers.

use std::sync::Arc;
use std::time::Duration;

use node::clock::monotonic_ns;
use node::env::Services;
use node::{Batch, BatchPool, Context, Doorbell, Env, Frame, Next, NodeError, Stopped, Worker};
use tracing::info;
use transport_sdk::Readiness;
use transport_sdk::abi::{self, Step};

use crate::bound::BoundAddresses;
use crate::clock::Clock;
use crate::counts::{Counts, Unsent};
use crate::driver::{Driver, Module};
use crate::error::{DriverError, TransportError};
use crate::grants::Grants;
use crate::host_table::HostTable;
use crate::io::{Io, SOCKETS_MAX};
use crate::module::{Bindings, find_plugin};
use crate::notes::Notes;
use crate::poller::{self, Poller};
use crate::spec::TransportSpec;
use crate::telling;

/// The one output port of a transport.
const UPSTREAM: usize = 0;
/// Batches offered to the driver in one turn.
const SENDS_MAX: usize = 16;
/// Events fetched at a time,
const EVENTS: usize = 64;
/// and how often in one turn.
const EVENT_ROUNDS: usize = 256;
/// The longest wait, so that gathered events go out in time.
const WAIT_MAX: Duration = Duration::from_millis(500);
/// The wait while the end is near.
const WAIT_DRAINING: Duration = Duration::from_millis(10);
/// The wait where a driver says that it has room and takes nothing.
const WAIT_BALKED: Duration = Duration::from_millis(1);
/// How long frames that the driver has taken may still be on their way out at the end, ns.
const LINGER: u64 = 2_000_000_000;
/// What a driver may know of a frame's bits.
const BITS: u32 = Frame::PRIORITY | Frame::BROADCAST | Frame::REPORT;

/// A batch on its way to the driver.
#[derive(Debug)]
struct Outgoing {
    batch: Batch,
    /// Frames that the driver has taken.
    taken: usize,
}

impl Outgoing {
    fn left(&self) -> u64 {
        self.batch.len().saturating_sub(self.taken) as u64
    }
}

/// How far the orderly end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    /// Not begun.
    No,
    /// Nothing is taken in; a received batch waits for room upstream.
    Passing,
    /// Nothing more goes upstream; frames are still sent.
    Sending,
    /// There is nothing more to send; since when. Host time, ns.
    Lingering(u64),
}

/// The worker of one transport.
#[derive(Debug)]
pub struct TransportWorker {
    node: String,
    number: u8,
    driver: Box<dyn Driver>,
    host: Arc<HostTable>,
    poller: Arc<Poller>,
    pool: BatchPool,
    services: Services,
    counts: Counts,
    told: poller::Events,
    ready: Vec<Readiness>,
    events: Box<[abi::Event]>,
    step: Step,
    /// Something was done in this turn: the driver may want more before the next wait.
    active: bool,
    /// The driver said that it had room, and took nothing.
    balked: bool,
    /// Received, and not yet taken by the upstream edge.
    held: Option<Batch>,
    outgoing: Option<Outgoing>,
    inputs_ended: bool,
    drain: Drain,
}

impl TransportWorker {
    /// Loads the plugin of `spec` and opens an instance of it, which binds its addresses and moves nothing
    /// yet. Offers [`BoundAddresses`] under the name of `env`'s node.
    ///
    /// # Errors
    /// [`TransportError`], one line.
    pub fn open(spec: &TransportSpec, env: &Env) -> Result<Self, TransportError> {
        let path = find_plugin(&spec.plugin, &spec.plugin_dirs)?;
        let bindings = env.services.find::<Bindings>("").unwrap_or_default();
        let module = bindings.load(&path, spec.sha256.as_ref())?;
        let described = module.description();
        info!(
            node = env.node,
            plugin = described.name,
            version = described.version,
            path = %path.display(),
            sha256 = described.sha256,
            "plugin loaded"
        );
        Self::with_module(&*module, spec, env)
    }

    /// As [`Self::open`], with a plugin that is in this process already.
    ///
    /// # Errors
    /// [`TransportError`], one line.
    pub fn with_module(module: &dyn Module, spec: &TransportSpec, env: &Env) -> Result<Self, TransportError> {
        let grants = Grants::from_value(&spec.grants)?;
        let poller = Poller::new().map_err(|why| TransportError::Io { what: "make a poller", why })?;
        let poller = Arc::new(poller);
        let earlier = env.services.find::<BoundAddresses>(&env.node);
        let earlier = earlier.map(|bound| (*bound).clone()).unwrap_or_default();
        let io = Io::new(Arc::clone(&poller), grants, earlier, SOCKETS_MAX);
        let host = HostTable::new(Arc::clone(&poller), io, Notes::new(env), Clock::Real);
        let counts = Counts::new(env);
        let late = counts.late.clone();
        let driver = module.open(Arc::clone(&host), &spec.name, &spec.config_json(), late)?;
        let worker = Self {
            node: env.node.clone(),
            number: spec.number,
            driver,
            host,
            poller,
            pool: env.pool.clone(),
            services: env.services.clone(),
            counts,
            told: poller::Events::default(),
            ready: Vec::new(),
            events: vec![abi::Event::default(); EVENTS].into_boxed_slice(),
            step: Step::default(),
            active: true,
            balked: false,
            held: None,
            outgoing: None,
            inputs_ended: false,
            drain: Drain::No,
        };
        worker.offer_addresses();
        Ok(worker)
    }

    fn offer_addresses(&self) {
        let bound = self.host.io().bound().clone();
        self.services.provide(&self.node, Arc::new(bound));
    }

    fn work(&mut self, context: &mut Context) -> Result<(), NodeError> {
        self.driver.start(monotonic_ns())?;
        self.offer_addresses();
        while !self.has_drained(context) {
            if context.orders.stopped() {
                return Err(Stopped.into());
            }
            self.wait()?;
            self.active = false;
            self.send(context)?;
            self.step = self.driver.poll(monotonic_ns(), &self.ready)?;
            self.receive(context)?;
            self.tell(context)?;
            context
                .hold(self.upstream_held().saturating_add(self.outgoing.as_ref().map_or(0, Outgoing::left)));
        }
        self.driver.close(monotonic_ns())?;
        self.tell(context)?;
        Ok(())
    }

    /// Waits for sockets, the bell or the next deadline, and collects what is ready.
    fn wait(&mut self) -> Result<(), NodeError> {
        let (has_ready, resume_at) = {
            let mut io = self.host.io();
            (io.has_ready(), io.resume_at())
        };
        let now = monotonic_ns();
        let until = |at: u64| if at == 0 { WAIT_MAX } else { Duration::from_nanos(at.saturating_sub(now)) };
        let mut limit = WAIT_MAX.min(until(self.step.deadline)).min(until(resume_at));
        if self.drain != Drain::No {
            limit = limit.min(WAIT_DRAINING);
        }
        if self.outgoing.is_some() && self.step.tx_room > 0 {
            limit = limit.min(if self.balked { WAIT_BALKED } else { Duration::ZERO });
        }
        if self.active || has_ready {
            limit = Duration::ZERO;
        }
        let host = &self.host;
        self.poller
            .wait(&mut self.told, limit, |told| host.io().told(told))
            .map_err(|e| NodeError::caused("wait for sockets", e))?;
        self.host.io().collect(monotonic_ns(), &mut self.ready);
        Ok(())
    }

    /// Carries batches from the downlink to the driver, as far as it takes them.
    fn send(&mut self, context: &mut Context) -> Result<(), NodeError> {
        for _ in 0..SENDS_MAX {
            let mut outgoing = match self.outgoing.take() {
                Some(outgoing) => outgoing,
                None if self.inputs_ended => return Ok(()),
                None => match context.poll() {
                    Some(Next::Batch { batch, .. }) => self.prepare(batch, context),
                    Some(Next::Finished) => {
                        self.inputs_ended = true;
                        return Ok(());
                    }
                    // A transport reads no events.
                    Some(Next::Event(_) | Next::Idle) | None => return Ok(()),
                },
            };
            let taken = match self.driver.send(&outgoing.batch, outgoing.taken) {
                Ok(taken) => taken,
                Err(error) => {
                    self.outgoing = Some(outgoing);
                    return Err(error.into());
                }
            };
            self.counts.taken(taken as u64);
            self.active |= taken > 0;
            self.balked = taken == 0 && self.step.tx_room > 0;
            outgoing.taken = outgoing.taken.saturating_add(taken);
            if outgoing.left() > 0 {
                self.outgoing = Some(outgoing);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Leaves of a batch what is for this transport, in the driver's terms.
    fn prepare(&self, mut batch: Batch, context: &mut Context) -> Outgoing {
        let all = batch.len();
        let number = self.number;
        batch.frames.retain(|frame| frame.transport() == number);
        batch.frames.iter_mut().for_each(|frame| frame.bits &= BITS);
        let misrouted = all.saturating_sub(batch.len()) as u64;
        if misrouted > 0 {
            self.counts.unsent(Unsent::Misrouted, misrouted);
            telling::unsent(context, Unsent::Misrouted, misrouted);
        }
        Outgoing { batch, taken: 0 }
    }

    /// Carries one batch from the driver upstream; while the edge is full nothing is fetched, so the driver
    /// stops reading.
    fn receive(&mut self, context: &mut Context) -> Result<(), NodeError> {
        if let Some(batch) = self.held.take() {
            self.pass_on(batch, context);
        }
        if context.orders.draining() && self.drain == Drain::No {
            self.drain = Drain::Passing;
            self.host.io().close_listeners();
        }
        if self.drain == Drain::Passing && self.held.is_none() {
            context.close_output(UPSTREAM);
            self.drain = Drain::Sending;
        }
        if self.drain != Drain::No || self.held.is_some() || self.step.rx_pending == 0 {
            return Ok(());
        }
        let mut batch = self.pool.take();
        self.driver.receive(&mut batch)?;
        self.active = true;
        if batch.is_empty() {
            return Ok(());
        }
        let now = monotonic_ns();
        for frame in &mut batch.frames {
            let at = if frame.at == 0 { now } else { frame.at };
            *frame = Frame { bits: 0, tag: 0, at, ..*frame }.with_transport(self.number);
        }
        self.counts.received(batch.len() as u64, batch.data.len() as u64);
        self.pass_on(batch, context);
        Ok(())
    }

    fn pass_on(&mut self, batch: Batch, context: &mut Context) {
        if let Err(batch) = context.offer(UPSTREAM, 0, batch) {
            self.held = Some(batch);
        }
    }

    /// Fetches what the driver and the I/O table have to tell.
    fn tell(&mut self, context: &mut Context) -> Result<(), NodeError> {
        for _ in 0..EVENT_ROUNDS {
            let count = self.driver.events(&mut self.events)?;
            for event in self.events.iter().take(count) {
                telling::event(
                    context,
                    self.number,
                    self.driver.name(),
                    &mut self.counts,
                    &self.host,
                    event,
                )?;
            }
            self.active |= count > 0;
            if count < EVENTS {
                break;
            }
        }
        for (why, frames) in self.counts.update(self.driver.stats()?) {
            telling::unsent(context, why, frames);
        }
        let notices = self.host.io().take_notices();
        for notice in notices {
            telling::notice(context, &self.host, notice);
        }
        context.events.flush(false);
        Ok(())
    }

    /// Whether the orderly end is reached.
    fn has_drained(&mut self, context: &Context) -> bool {
        if self.drain == Drain::Sending && self.inputs_ended && self.outgoing.is_none() {
            self.drain = Drain::Lingering(monotonic_ns());
        }
        let Drain::Lingering(since) = self.drain else { return false };
        let late = monotonic_ns().saturating_sub(since) > LINGER || context.orders.stopped();
        late || self.counts.outstanding() == 0
    }

    fn upstream_held(&self) -> u64 {
        self.held.as_ref().map_or(0, |batch| batch.len() as u64)
    }

    /// Brings the frames in hand to an end that is counted.
    fn settle(&mut self, context: &mut Context, result: &Result<(), NodeError>) {
        match result {
            Ok(()) => {}
            Err(NodeError::Stopped(_)) => {
                // What it has taken is reported, as far as it still can.
                if self.driver.close(monotonic_ns()).is_ok() {
                    let _ = self.tell(context);
                }
                context.count_dropped(self.upstream_held());
            }
            // The runtime counts what is in hand as lost.
            Err(_) => context.hold(self.upstream_held()),
        }
        let unsent = self.outgoing.take().map_or(0, |outgoing| outgoing.left());
        self.counts.unsent(Unsent::Lost, unsent.saturating_add(self.counts.outstanding()));
        self.counts.gone();
    }
}

impl Worker for TransportWorker {
    fn run(&mut self, context: &mut Context) -> Result<(), NodeError> {
        let edges: usize = context.outputs.iter().map(|output| output.edges.len()).sum();
        if edges > 1 {
            return Err(NodeError::new(format!("a transport feeds one ingress, not {edges}")));
        }
        let result = self.work(context);
        self.settle(context, &result);
        result
    }

    fn doorbell(&self) -> Option<Doorbell> {
        let poller = Arc::clone(&self.poller);
        Some(Doorbell::calling(move || poller.ring()))
    }
}

impl From<DriverError> for NodeError {
    fn from(error: DriverError) -> Self {
        Self::new(error.to_string())
    }
}
