//! Instances of native plugins: the C calls made safe, their answers checked.

use std::mem::offset_of;
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;
use std::time::Instant;

use node::{Batch, Counter, Frame};
use transport_sdk::abi::{self, Limits, Readiness, Stats, Status, Step, Str};

use crate::driver::{ANSWER_MAX, BATCH_FRAMES, CALL_BUDGET, Driver, READ_OCTETS, broken, failed};
use crate::error::DriverError;
use crate::host_table::HostTable;
use crate::library::Plugin;

// A driver writes its descriptors straight into a batch.
const _: () = assert!(
    size_of::<Frame>() == size_of::<abi::Frame>()
        && align_of::<Frame>() == align_of::<abi::Frame>()
        && offset_of!(Frame, link) == offset_of!(abi::Frame, link)
        && offset_of!(Frame, offset) == offset_of!(abi::Frame, offset)
        && offset_of!(Frame, len) == offset_of!(abi::Frame, len)
        && offset_of!(Frame, bits) == offset_of!(abi::Frame, bits)
        && offset_of!(Frame, tag) == offset_of!(abi::Frame, tag)
        && offset_of!(Frame, at) == offset_of!(abi::Frame, at)
);

/// One instance of a native plugin. Dropping it destroys the instance.
#[derive(Debug)]
pub struct NativeDriver {
    plugin: Plugin,
    instance: NonNull<abi::Instance>,
    limits: Limits,
    late: Counter,
    /// Dropped after the instance is destroyed: it points to it.
    _host: Arc<HostTable>,
}

// SAFETY: the contract lets calls on one instance come from different threads one after another, and they
// come through `&mut self`; everything else in here may be sent.
unsafe impl Send for NativeDriver {}

impl Drop for NativeDriver {
    fn drop(&mut self) {
        if let Some(destroy) = self.plugin.table.destroy {
            // SAFETY: the instance came from `open`, and this is its last call.
            unsafe { destroy(self.instance.as_ptr()) }
        }
    }
}

impl NativeDriver {
    /// Opens an instance called `name` with the JSON object `config`. Calls longer than
    /// [`CALL_BUDGET`] are counted in `late`.
    ///
    /// # Errors
    /// What the driver says, or how it breaks the contract.
    pub fn open(
        plugin: Plugin,
        host: Arc<HostTable>,
        name: &str,
        config: &str,
        late: Counter,
    ) -> Result<Self, DriverError> {
        let given = abi::Open {
            size: size_of::<abi::Open>() as u32,
            call_budget_us: u32::try_from(CALL_BUDGET.as_micros()).unwrap_or(u32::MAX),
            name: Str::lent(name),
            config: Str::lent(config),
            host: host.raw(),
        };
        let mut instance = null_mut();
        let mut limits = Limits { size: size_of::<Limits>() as u32, ..Limits::default() };
        let mut error = abi::Error::default();
        let code = plugin.table.open.map_or(abi::status::UNSUPPORTED, |open| {
            // SAFETY: everything is valid for the call, and `host` outlives the instance.
            unsafe { open(&raw const given, &raw mut instance, &raw mut limits, &raw mut error) }
        });
        if code < 0 {
            return Err(failed(plugin.name, "open", code, &error));
        }
        let Some(instance) = NonNull::new(instance) else {
            return Err(broken(plugin.name, "open answers success without an instance"));
        };
        let driver = Self { plugin, instance, limits, late, _host: host };
        if (limits.size as usize) < size_of::<Limits>() {
            return Err(driver.broken("its limits are cut short"));
        }
        Ok(driver)
    }

    /// A breach of the contract by this driver.
    fn broken(&self, what: impl Into<String>) -> DriverError {
        broken(self.plugin.name, what)
    }

    /// Makes a call and counts it when it takes too long.
    fn call<F>(&self, function: Option<F>, call: impl FnOnce(F, *mut abi::Instance) -> Status) -> Status {
        // That all functions are there was checked when the plugin was loaded.
        let Some(function) = function else { return abi::status::UNSUPPORTED };
        let begun = Instant::now();
        let code = call(function, self.instance.as_ptr());
        if begun.elapsed() > CALL_BUDGET {
            self.late.add(1);
        }
        code
    }

    /// A status as a count of at most `max`.
    fn count(&self, call: &'static str, code: Status, max: usize) -> Result<usize, DriverError> {
        match usize::try_from(code) {
            Ok(count) if count <= max => Ok(count),
            Ok(count) => Err(self.broken(format!("{call} answers {count}, where at most {max} is possible"))),
            Err(_) => Err(failed(self.plugin.name, call, code, &abi::Error::default())),
        }
    }
}

impl Driver for NativeDriver {
    fn name(&self) -> &str {
        self.plugin.name
    }

    fn start(&mut self, now: u64) -> Result<(), DriverError> {
        let mut error = abi::Error::default();
        let code = self.call(self.plugin.table.start, |start, instance| {
            // SAFETY: the instance is open and `error` valid for the call.
            unsafe { start(instance, now, &raw mut error) }
        });
        if code < 0 { Err(failed(self.plugin.name, "start", code, &error)) } else { Ok(()) }
    }

    fn poll(&mut self, now: u64, ready: &[Readiness]) -> Result<Step, DriverError> {
        let mut step = Step::default();
        let count = u32::try_from(ready.len()).unwrap_or(u32::MAX);
        let code = self.call(self.plugin.table.poll, |poll, instance| {
            // SAFETY: the instance is open; `ready` and `step` are valid for the call.
            unsafe { poll(instance, now, ready.as_ptr(), count, &raw mut step) }
        });
        self.count("poll", code, 0)?;
        Ok(step)
    }

    fn send(&mut self, batch: &Batch, from: usize) -> Result<usize, DriverError> {
        let frames = batch.frames.get(from..).unwrap_or_default();
        let lent = abi::Batch {
            data: batch.data.as_ptr(),
            data_len: batch.data.len(),
            frames: frames.as_ptr().cast(),
            frame_count: u32::try_from(frames.len()).unwrap_or(u32::MAX),
            reserved: 0,
        };
        let code = self.call(self.plugin.table.send, |send, instance| {
            // SAFETY: the instance is open, `lent` is valid for the call, and a frame of a batch has the
            // layout of the contract's.
            unsafe { send(instance, &raw const lent) }
        });
        self.count("send", code, frames.len())
    }

    fn receive(&mut self, batch: &mut Batch) -> Result<(), DriverError> {
        let max_frame = self.limits.max_frame as usize;
        batch.clear();
        let data_cap = max_frame.saturating_add(READ_OCTETS);
        batch.data.reserve(data_cap);
        batch.frames.reserve(BATCH_FRAMES);
        let mut room = abi::BatchOut {
            data: batch.data.as_mut_ptr(),
            // A recycled batch may be larger; what is handed on at a time stays about the same.
            data_cap,
            data_len: 0,
            frames: batch.frames.as_mut_ptr().cast(),
            frame_cap: BATCH_FRAMES as u32,
            frame_count: 0,
        };
        let code = self.call(self.plugin.table.receive, |receive, instance| {
            // SAFETY: the instance is open, `room` is valid for the call, and a frame of a batch has the
            // layout of the contract's.
            unsafe { receive(instance, &raw mut room) }
        });
        let count = self.count("receive", code, BATCH_FRAMES)?;
        if count != room.frame_count as usize || room.data_len > room.data_cap {
            let text = format!("receive answers {count}, but there are {} frames", room.frame_count);
            return Err(self.broken(text));
        }
        // SAFETY: within what was reserved, and the driver has written as many as it says (the contract).
        unsafe {
            batch.data.set_len(room.data_len);
            batch.frames.set_len(count);
        }
        if let Some(frame) = batch.frames.iter().find(|frame| batch.octets(frame).is_none()) {
            let (offset, len) = (frame.offset, frame.len);
            return Err(
                self.broken(format!("a received frame at {offset}, {len} octets, is outside its batch"))
            );
        }
        Ok(())
    }

    fn events(&mut self, events: &mut [abi::Event]) -> Result<usize, DriverError> {
        let room = u32::try_from(events.len()).unwrap_or(u32::MAX);
        let code = self.call(self.plugin.table.events, |call, instance| {
            // SAFETY: the instance is open and there is room for `room` events.
            unsafe { call(instance, events.as_mut_ptr(), room) }
        });
        self.count("events", code, events.len())
    }

    fn stats(&mut self) -> Result<Stats, DriverError> {
        let mut stats = Stats { size: size_of::<Stats>() as u32, ..Stats::default() };
        let code = self.call(self.plugin.table.stats, |call, instance| {
            // SAFETY: the instance is open and `stats` valid for the call.
            unsafe { call(instance, &raw mut stats) }
        });
        self.count("stats", code, 0)?;
        Ok(stats)
    }

    fn close(&mut self, now: u64) -> Result<(), DriverError> {
        let code = self.call(self.plugin.table.close, |close, instance| {
            // SAFETY: the instance is open.
            unsafe { close(instance, now) }
        });
        self.count("close", code, 0).map(|_| ())
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn open_link(&mut self, address: &str) -> Result<u32, DriverError> {
        let (mut link, mut error) = (0, abi::Error::default());
        let code = self.call(self.plugin.table.open_link, |open_link, instance| {
            // SAFETY: the instance is open; text and results are valid for the call.
            unsafe { open_link(instance, Str::lent(address), &raw mut link, &raw mut error) }
        });
        if code < 0 { Err(failed(self.plugin.name, "open_link", code, &error)) } else { Ok(link) }
    }

    fn close_link(&mut self, link: u32) {
        self.call(self.plugin.table.close_link, |close_link, instance| {
            // SAFETY: the instance is open.
            unsafe { close_link(instance, link) }
            abi::status::OK
        });
    }

    fn command(&mut self, name: &str, arguments: &str) -> Result<String, DriverError> {
        let mut answer = vec![0; ANSWER_MAX];
        let (name, arguments) = (Str::lent(name), Str::lent(arguments));
        let code = self.call(self.plugin.table.command, |command, instance| {
            // SAFETY: the instance is open; the texts and the room are valid for the call.
            unsafe { command(instance, name, arguments, answer.as_mut_ptr(), ANSWER_MAX as u32) }
        });
        answer.truncate(self.count("command", code, ANSWER_MAX)?);
        String::from_utf8(answer).map_err(|_| self.broken("its answer to a command is no text"))
    }
}
