//! One instance of a component, as the host holds it. Its answers are checked like those of any driver; when a
//! call traps, or does not end, the instance is dead and says so to every later call.

use std::sync::Arc;
use std::time::Instant;

use node::{Batch, Counter, Frame};
use transport::{ANSWER_MAX, BATCH_FRAMES, CALL_BUDGET, Driver, DriverError, HostTable, READ_OCTETS, broken};
use transport_sdk::abi::{self, Limits, Readiness, Stats, Step};
use wasmtime::Store;

use crate::bindings::TransportPlugin;
use crate::bindings::exports::metergraph::transport::driver as wit;
use crate::bindings::metergraph::transport::types;
use crate::convert::{event_of, frame_bits, frame_bits_of, ready_of, status_of};
use crate::engine::{CALL_FUEL, CALL_TICKS, Guard};
use crate::module::{Ready, first_line};
use crate::state::State;

/// One instance of a component.
pub struct ComponentDriver {
    plugin: String,
    store: Store<State>,
    world: TransportPlugin,
    guard: Guard,
    limits: Limits,
    late: Option<Counter>,
    /// Why it is not called any more.
    dead: Option<DriverError>,
}

impl std::fmt::Debug for ComponentDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ComponentDriver").field("plugin", &self.plugin).finish_non_exhaustive()
    }
}

impl ComponentDriver {
    /// A fresh instance that has not been opened.
    ///
    /// # Errors
    /// [`DriverError::Trapped`], when even that fails.
    pub fn bare(ready: &Ready, memory_octets: usize, plugin: &str) -> Result<Self, DriverError> {
        let mut store = Store::new(ready.pre.engine(), State::new(memory_octets));
        store.limiter(|state| &mut state.limits);
        arm(&mut store, ready.guard);
        let world = ready.pre.instantiate(&mut store).map_err(|error| trapped(plugin, "start up", &error))?;
        Ok(Self {
            plugin: plugin.to_owned(),
            store,
            world,
            guard: ready.guard,
            limits: Limits::default(),
            late: None,
            dead: None,
        })
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// [`DriverError::Trapped`].
    pub fn describe(&mut self) -> Result<wit::Descriptor, DriverError> {
        self.call("describe", |driver, store| driver.call_describe(store))
    }

    /// Opens it, once.
    ///
    /// # Errors
    /// What the driver says.
    pub fn open(
        &mut self,
        host: Arc<HostTable>,
        name: &str,
        config: &str,
        late: Counter,
    ) -> Result<(), DriverError> {
        self.store.data_mut().host = Some(host);
        self.late = Some(late);
        let budget = u32::try_from(CALL_BUDGET.as_micros()).unwrap_or(u32::MAX);
        let kept = self.call("open", |driver, store| driver.call_open(store, name, config, budget))?;
        let kept = kept.map_err(|error| self.failed("open", error))?;
        let size = size_of::<Limits>() as u32;
        self.limits =
            Limits { size, max_frame: kept.max_frame, tx_queue: kept.tx_queue, max_links: kept.max_links };
        Ok(())
    }

    /// Makes a call; what takes too long is counted, what traps ends the instance.
    fn call<T>(
        &mut self,
        name: &'static str,
        call: impl FnOnce(&wit::Guest, &mut Store<State>) -> wasmtime::Result<T>,
    ) -> Result<T, DriverError> {
        if let Some(dead) = &self.dead {
            return Err(dead.clone());
        }
        arm(&mut self.store, self.guard);
        let begun = Instant::now();
        let answer = call(self.world.metergraph_transport_driver(), &mut self.store);
        if let Some(late) = self.late.as_ref().filter(|_| begun.elapsed() > CALL_BUDGET) {
            late.add(1);
        }
        answer.map_err(|error| {
            let error = trapped(&self.plugin, name, &error);
            self.dead = Some(error.clone());
            error
        })
    }

    fn failed(&self, call: &'static str, error: types::Error) -> DriverError {
        let text = error.message.replace(char::is_control, " ");
        DriverError::Failed { plugin: self.plugin.clone(), call, code: status_of(error.code), text }
    }

    /// A call whose answer is a result.
    fn ask<T>(
        &mut self,
        name: &'static str,
        call: impl FnOnce(&wit::Guest, &mut Store<State>) -> wasmtime::Result<Result<T, types::Error>>,
    ) -> Result<T, DriverError> {
        let answer = self.call(name, call)?;
        answer.map_err(|error| self.failed(name, error))
    }

    fn broken(&self, what: impl Into<String>) -> DriverError {
        broken(&self.plugin, what)
    }

    fn at_most(&self, call: &str, count: u32, max: usize) -> Result<usize, DriverError> {
        let count = count as usize;
        if count <= max {
            return Ok(count);
        }
        Err(self.broken(format!("{call} answers {count}, where at most {max} is possible")))
    }
}

/// Gives the next call its time.
fn arm(store: &mut Store<State>, guard: Guard) {
    match guard {
        Guard::Epoch => store.set_epoch_deadline(CALL_TICKS),
        // The machine counts steps, or else it has been told to.
        Guard::Fuel => drop(store.set_fuel(CALL_FUEL)),
    }
}

fn trapped(plugin: &str, call: &'static str, error: &wasmtime::Error) -> DriverError {
    let why = match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::Interrupt) => format!("it did not end within {CALL_TICKS} ms"),
        Some(wasmtime::Trap::OutOfFuel) => format!("it did not end within {CALL_FUEL} steps"),
        Some(trap) => trap.to_string(),
        None => first_line(error),
    };
    DriverError::Trapped { plugin: plugin.to_owned(), call, why }
}

impl Driver for ComponentDriver {
    fn name(&self) -> &str {
        &self.plugin
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn start(&mut self, now: u64) -> Result<(), DriverError> {
        self.ask("start", |driver, store| driver.call_start(store, now))
    }

    fn poll(&mut self, now: u64, ready: &[Readiness]) -> Result<Step, DriverError> {
        let ready: Vec<wit::Readiness> =
            ready.iter().map(|one| wit::Readiness { id: one.id, ready: ready_of(one.ready) }).collect();
        let step = self.ask("poll", |driver, store| driver.call_poll(store, now, &ready))?;
        Ok(Step {
            deadline: step.deadline,
            tx_room: step.tx_room,
            rx_pending: step.rx_pending.into(),
            events_pending: step.events_pending.into(),
            reserved: [0; 2],
        })
    }

    fn send(&mut self, batch: &Batch, from: usize) -> Result<usize, DriverError> {
        let rest = batch.frames.get(from..).unwrap_or_default();
        if rest.is_empty() {
            return Ok(0);
        }
        let mut lent = types::Batch { data: Vec::new(), frames: Vec::with_capacity(rest.len()) };
        // Only what is offered crosses: of a batch that is taken in pieces, the octets left.
        for frame in rest {
            let octets = batch.octets(frame).unwrap_or_default();
            lent.frames.push(types::Frame {
                link: frame.link,
                offset: u32::try_from(lent.data.len()).unwrap_or(u32::MAX),
                len: u32::try_from(octets.len()).unwrap_or(u32::MAX),
                bits: frame_bits_of(frame.bits),
                tag: frame.tag,
                at: frame.at,
            });
            lent.data.extend_from_slice(octets);
        }
        let taken = self.ask("send", |driver, store| driver.call_send(store, &lent))?;
        self.at_most("send", taken, rest.len())
    }

    fn receive(&mut self, batch: &mut Batch) -> Result<(), DriverError> {
        batch.clear();
        let room = (self.limits.max_frame as usize).saturating_add(READ_OCTETS);
        let max_octets = u32::try_from(room).unwrap_or(u32::MAX);
        let given =
            self.ask("receive", |driver, store| driver.call_receive(store, BATCH_FRAMES as u32, max_octets))?;
        if given.frames.len() > BATCH_FRAMES || given.data.len() > room {
            let (frames, octets) = (given.frames.len(), given.data.len());
            return Err(self.broken(format!(
                "receive answers {frames} frames, {octets} octets; asked for {BATCH_FRAMES} and {room}"
            )));
        }
        batch.data.extend_from_slice(&given.data);
        batch.frames.extend(given.frames.iter().map(|frame| Frame {
            link: frame.link,
            offset: frame.offset,
            len: frame.len,
            bits: frame_bits(frame.bits),
            tag: frame.tag,
            at: frame.at,
        }));
        if let Some(frame) = batch.frames.iter().find(|frame| batch.octets(frame).is_none()) {
            let (offset, len) = (frame.offset, frame.len);
            return Err(
                self.broken(format!("a received frame at {offset}, {len} octets, is outside its batch"))
            );
        }
        Ok(())
    }

    fn events(&mut self, events: &mut [abi::Event]) -> Result<usize, DriverError> {
        let max = u32::try_from(events.len()).unwrap_or(u32::MAX);
        let told = self.ask("events", |driver, store| driver.call_events(store, max))?;
        let count = self.at_most("events", u32::try_from(told.len()).unwrap_or(u32::MAX), events.len())?;
        events.iter_mut().zip(told).for_each(|(place, event)| *place = event_of(event));
        Ok(count)
    }

    fn open_link(&mut self, address: &str) -> Result<u32, DriverError> {
        self.ask("open-link", |driver, store| driver.call_open_link(store, address))
    }

    fn close_link(&mut self, link: u32) {
        // A trap is told by the next call.
        drop(self.call("close-link", |driver, store| driver.call_close_link(store, link)));
    }

    fn stats(&mut self) -> Result<Stats, DriverError> {
        let sums = self.ask("get-stats", |driver, store| driver.call_get_stats(store))?;
        Ok(Stats {
            size: size_of::<Stats>() as u32,
            queued: sums.queued,
            links: sums.links,
            reserved: 0,
            tx_frames: sums.tx_frames,
            tx_bytes: sums.tx_octets,
            rx_frames: sums.rx_frames,
            rx_bytes: sums.rx_octets,
            dropped: sums.dropped,
            tx_sent: sums.tx_sent,
            tx_expired: sums.tx_expired,
            tx_full: sums.tx_full,
            tx_link_down: sums.tx_link_down,
            tx_failed: sums.tx_failed,
        })
    }

    fn command(&mut self, name: &str, arguments: &str) -> Result<String, DriverError> {
        let answer = self.ask("command", |driver, store| driver.call_command(store, name, arguments))?;
        if answer.len() > ANSWER_MAX {
            return Err(self.failed(
                "command",
                types::Error {
                    code: types::ErrorCode::TooLarge,
                    message: format!("the answer has {} octets", answer.len()),
                    os_error: 0,
                },
            ));
        }
        Ok(answer)
    }

    fn close(&mut self, now: u64) -> Result<(), DriverError> {
        self.ask("close", |driver, store| driver.call_close(store, now))
    }
}
