//! The calls of the world, over a plugin's table; [`crate::export_transport!`] forwards to them.

use std::cell::RefCell;
use std::ptr::{NonNull, null_mut};

use super::bindings::exports::metergraph::transport::driver;
use super::bindings::metergraph::transport::{host, types};
use super::convert::{code_of, frame_of, internal, ready_of, to_event, to_frame};
use super::imports::HOST;
use crate::abi::{self, Batch, BatchOut, Frame, Status, Str, status};

/// Longest answer to a command, octets.
const ANSWER_MAX: usize = 65_536;

/// The one instance of this component.
struct Instance {
    table: &'static abi::Plugin,
    driver: NonNull<abi::Instance>,
    /// The driver points to it until it is destroyed.
    _host: Box<abi::Host>,
}

thread_local! {
    static INSTANCE: RefCell<Option<Instance>> = const { RefCell::new(None) };
}

fn error(code: Status, told: &abi::Error) -> types::Error {
    types::Error { code: code_of(code), message: told.text(), os_error: told.os_error }
}

/// Calls the driver, once it is open.
fn with<T>(
    call: impl FnOnce(&'static abi::Plugin, *mut abi::Instance) -> Result<T, types::Error>,
) -> Result<T, types::Error> {
    // The borrow ends before the call: the host's imports never call back, but nothing depends on that.
    let found = INSTANCE.with_borrow(|instance| instance.as_ref().map(|i| (i.table, i.driver.as_ptr())));
    let (table, driver) = found.ok_or_else(|| internal("it is not open"))?;
    call(table, driver)
}

/// A status as a count.
fn counted(code: Status) -> Result<usize, types::Error> {
    usize::try_from(code).map_err(|_| error(code, &abi::Error::default()))
}

/// `describe` of the world.
pub fn describe(table: &'static abi::Plugin) -> driver::Descriptor {
    // SAFETY: the texts of a table live for ever.
    let text = |text: Str| unsafe { text.read(usize::MAX) }.unwrap_or_default().to_owned();
    driver::Descriptor {
        name: text(table.name),
        version: text(table.version),
        config_schema: text(table.config_schema),
        grants: text(table.grants),
    }
}

/// `open` of the world.
pub fn open(
    table: &'static abi::Plugin,
    name: &str,
    config: &str,
    call_budget_us: u32,
) -> Result<driver::Limits, types::Error> {
    std::panic::set_hook(Box::new(|info| host::log(host::Level::Error, &info.to_string())));
    let given_host = Box::new(HOST);
    let given = abi::Open {
        size: size_of::<abi::Open>() as u32,
        call_budget_us,
        name: Str::lent(name),
        config: Str::lent(config),
        host: &raw const *given_host,
    };
    let (mut instance, mut told) = (null_mut(), abi::Error::default());
    let mut limits = abi::Limits { size: size_of::<abi::Limits>() as u32, ..abi::Limits::default() };
    let code = table.open.map_or(status::UNSUPPORTED, |open| {
        // SAFETY: everything is valid for the call, and the host's table lives in the instance.
        unsafe { open(&raw const given, &raw mut instance, &raw mut limits, &raw mut told) }
    });
    if code < 0 {
        return Err(error(code, &told));
    }
    let driver = NonNull::new(instance).ok_or_else(|| internal("open gave no instance"))?;
    INSTANCE.set(Some(Instance { table, driver, _host: given_host }));
    Ok(driver::Limits { max_frame: limits.max_frame, tx_queue: limits.tx_queue, max_links: limits.max_links })
}

/// `start` of the world.
pub fn start(now: u64) -> Result<(), types::Error> {
    with(|table, driver| {
        let mut told = abi::Error::default();
        let code = table.start.map_or(status::UNSUPPORTED, |start| {
            // SAFETY: the instance is open and `told` valid for the call.
            unsafe { start(driver, now, &raw mut told) }
        });
        if code < 0 { Err(error(code, &told)) } else { Ok(()) }
    })
}

/// `poll` of the world.
pub fn poll(now: u64, ready: &[driver::Readiness]) -> Result<driver::Step, types::Error> {
    let ready: Vec<abi::Readiness> =
        ready.iter().map(|one| abi::Readiness { id: one.id, ready: ready_of(one.ready) }).collect();
    with(|table, driver| {
        let mut step = abi::Step::default();
        let code = table.poll.map_or(status::UNSUPPORTED, |poll| {
            // SAFETY: the instance is open; `ready` and `step` are valid for the call.
            unsafe { poll(driver, now, ready.as_ptr(), ready.len() as u32, &raw mut step) }
        });
        counted(code)?;
        Ok(driver::Step {
            deadline: step.deadline,
            tx_room: step.tx_room,
            rx_pending: step.rx_pending != 0,
            events_pending: step.events_pending != 0,
        })
    })
}

/// `send` of the world.
pub fn send(batch: &types::Batch) -> Result<u32, types::Error> {
    let frames: Vec<Frame> = batch.frames.iter().map(frame_of).collect();
    with(|table, driver| {
        let lent = lent(&batch.data, &frames);
        let code = table.send.map_or(status::UNSUPPORTED, |send| {
            // SAFETY: the instance is open and `lent` valid for the call.
            unsafe { send(driver, &raw const lent) }
        });
        Ok(counted(code)? as u32)
    })
}

/// `receive` of the world.
pub fn receive(max_frames: u32, max_octets: u32) -> Result<types::Batch, types::Error> {
    let mut data: Vec<u8> = Vec::with_capacity(max_octets as usize);
    let mut frames: Vec<Frame> = Vec::with_capacity(max_frames as usize);
    with(|table, driver| {
        let mut room = BatchOut {
            data: data.as_mut_ptr(),
            data_cap: max_octets as usize,
            data_len: 0,
            frames: frames.as_mut_ptr(),
            frame_cap: max_frames,
            frame_count: 0,
        };
        let code = table.receive.map_or(status::UNSUPPORTED, |receive| {
            // SAFETY: the instance is open and the room is there for the call.
            unsafe { receive(driver, &raw mut room) }
        });
        counted(code)?;
        // SAFETY: the driver has written as many as it says, within the room (the contract).
        unsafe {
            data.set_len(room.data_len.min(max_octets as usize));
            frames.set_len(room.frame_count.min(max_frames) as usize);
        }
        Ok(())
    })?;
    Ok(types::Batch { data, frames: frames.iter().map(to_frame).collect() })
}

/// `events` of the world.
pub fn events(max: u32) -> Result<Vec<types::Event>, types::Error> {
    let mut told = vec![abi::Event::default(); max as usize];
    let count = with(|table, driver| {
        let code = table.events.map_or(status::UNSUPPORTED, |events| {
            // SAFETY: the instance is open and there is room for `max` events.
            unsafe { events(driver, told.as_mut_ptr(), max) }
        });
        counted(code)
    })?;
    told.truncate(count);
    told.iter().map(to_event).collect()
}

/// `open-link` of the world.
pub fn open_link(address: &str) -> Result<u32, types::Error> {
    with(|table, driver| {
        let (mut link, mut told) = (0, abi::Error::default());
        let code = table.open_link.map_or(status::UNSUPPORTED, |open_link| {
            // SAFETY: the instance is open; text and results are valid for the call.
            unsafe { open_link(driver, Str::lent(address), &raw mut link, &raw mut told) }
        });
        if code < 0 { Err(error(code, &told)) } else { Ok(link) }
    })
}

/// `close-link` of the world.
pub fn close_link(link: u32) {
    // Nothing is open: there is no link to close.
    let _ = with(|table, driver| {
        if let Some(close_link) = table.close_link {
            // SAFETY: the instance is open.
            unsafe { close_link(driver, link) }
        }
        Ok(())
    });
}

/// `get-stats` of the world.
pub fn stats() -> Result<driver::Stats, types::Error> {
    with(|table, driver| {
        let mut sums = abi::Stats { size: size_of::<abi::Stats>() as u32, ..abi::Stats::default() };
        let code = table.stats.map_or(status::UNSUPPORTED, |stats| {
            // SAFETY: the instance is open and `sums` valid for the call.
            unsafe { stats(driver, &raw mut sums) }
        });
        counted(code)?;
        Ok(driver::Stats {
            queued: sums.queued,
            links: sums.links,
            tx_frames: sums.tx_frames,
            tx_octets: sums.tx_bytes,
            rx_frames: sums.rx_frames,
            rx_octets: sums.rx_bytes,
            dropped: sums.dropped,
            tx_sent: sums.tx_sent,
            tx_expired: sums.tx_expired,
            tx_full: sums.tx_full,
            tx_link_down: sums.tx_link_down,
            tx_failed: sums.tx_failed,
        })
    })
}

/// `command` of the world.
pub fn command(name: &str, arguments: &str) -> Result<String, types::Error> {
    let mut answer = vec![0; ANSWER_MAX];
    let length = with(|table, driver| {
        let code = table.command.map_or(status::UNSUPPORTED, |command| {
            let (name, arguments) = (Str::lent(name), Str::lent(arguments));
            // SAFETY: the instance is open; the texts and the room are valid for the call.
            unsafe { command(driver, name, arguments, answer.as_mut_ptr(), ANSWER_MAX as u32) }
        });
        counted(code)
    })?;
    answer.truncate(length);
    String::from_utf8(answer).map_err(|_| internal("its answer to a command is no text"))
}

/// `close` of the world.
pub fn close(now: u64) -> Result<(), types::Error> {
    with(|table, driver| {
        let code = table.close.map_or(status::UNSUPPORTED, |close| {
            // SAFETY: the instance is open.
            unsafe { close(driver, now) }
        });
        counted(code).map(|_| ())
    })
}

fn lent(data: &[u8], frames: &[Frame]) -> Batch {
    Batch {
        data: data.as_ptr(),
        data_len: data.len(),
        frames: frames.as_ptr(),
        frame_count: frames.len() as u32,
        reserved: 0,
    }
}
