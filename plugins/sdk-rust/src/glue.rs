//! Makes the C table of a [`Transport`]: what [`crate::export_transport!`] expands to.
//!
//! Every function catches panics. After one the instance is dead: it answers `MG_E_INTERNAL` to all.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::abi::{self, Limits, Readiness, Stats, Status, Step, Str, status};
use crate::batch::{BatchIn, BatchOut};
use crate::host::{Host, Level, Waker};
use crate::transport::{Error, Transport};

/// Longest text that a host may pass (configuration, command), octets.
const TEXT_MAX: usize = 16 << 20;
/// What the oldest host of this minor gives.
const MIN_HOST_MINOR: u32 = 0;

/// An instance as the host holds it, behind an opaque pointer.
struct Shell<T> {
    /// Gone after a panic.
    driver: Option<T>,
    host: *const abi::Host,
    waker: Waker,
}

/// The table of a transport.
#[must_use]
pub const fn plugin<T: Transport>() -> abi::Plugin {
    abi::Plugin {
        size: size_of::<abi::Plugin>() as u32,
        abi_major: abi::ABI_MAJOR,
        abi_minor: abi::ABI_MINOR,
        min_host_minor: MIN_HOST_MINOR,
        features: 0,
        reserved: 0,
        name: Str::fixed(T::NAME),
        version: Str::fixed(T::VERSION),
        config_schema: Str::fixed(T::CONFIG_SCHEMA),
        grants: Str::fixed(T::GRANTS),
        open: Some(open::<T>),
        start: Some(start::<T>),
        poll: Some(poll::<T>),
        send: Some(send::<T>),
        receive: Some(receive::<T>),
        events: Some(events::<T>),
        open_link: Some(open_link::<T>),
        close_link: Some(close_link::<T>),
        stats: Some(stats::<T>),
        command: Some(command::<T>),
        close: Some(close::<T>),
        destroy: Some(destroy::<T>),
    }
}

/// The table, or null for a host that is too old.
#[must_use]
pub fn entry(plugin: &'static abi::Plugin, host_minor: u32) -> *const abi::Plugin {
    if host_minor < plugin.min_host_minor { std::ptr::null() } else { plugin }
}

/// Runs `work` on a living instance and turns what comes back into a status.
///
/// # Safety
/// `instance` must be null or come from [`open`] of the same `T`, not be destroyed, and not be in use.
unsafe fn call<T: Transport>(
    instance: *mut abi::Instance,
    work: impl FnOnce(&mut T, &Host<'_>) -> Result<i32, Error>,
) -> Result<i32, Error> {
    // SAFETY: as promised by the caller.
    let Some(shell) = (unsafe { instance.cast::<Shell<T>>().as_mut() }) else {
        return Err(Error::new(status::ARGUMENT, "no instance"));
    };
    let Some(driver) = shell.driver.as_mut() else {
        return Err(Error::new(status::INTERNAL, "the driver panicked before"));
    };
    // SAFETY: the host's table lives until destroy, and this is a call of the driver.
    let host = unsafe { Host::new(&*shell.host, &shell.waker) };
    if let Ok(result) = catch_unwind(AssertUnwindSafe(|| work(driver, &host))) {
        return result;
    }
    // What a panic leaves behind is not used again; its drop may panic too.
    let broken = shell.driver.take();
    drop(catch_unwind(AssertUnwindSafe(move || drop(broken))));
    host.log(Level::Error, "the driver panicked");
    Err(Error::new(status::INTERNAL, "the driver panicked"))
}

/// The status of a result; its text goes where `error` points.
///
/// # Safety
/// `error` must be null or writable.
unsafe fn answer(result: Result<i32, Error>, error: *mut abi::Error) -> Status {
    match result {
        Ok(count) => count.max(0),
        Err(failed) => {
            // SAFETY: as promised by the caller.
            if let Some(error) = unsafe { error.as_mut() } {
                *error = abi::Error::new(&failed.text, failed.os_error);
            }
            // A status that says «well done» would hide the error.
            if failed.status < 0 { failed.status } else { status::INTERNAL }
        }
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn argument(what: &str) -> Error {
    Error::new(status::ARGUMENT, what)
}

unsafe extern "C" fn open<T: Transport>(
    given: *const abi::Open,
    out: *mut *mut abi::Instance,
    limits: *mut Limits,
    error: *mut abi::Error,
) -> Status {
    let work = || -> Result<i32, Error> {
        // SAFETY: the host lends a valid `mg_open` or null.
        let given = unsafe { given.as_ref() }.ok_or_else(|| argument("no mg_open"))?;
        if (given.size as usize) < size_of::<abi::Open>() || given.host.is_null() || out.is_null() {
            return Err(argument("mg_open is too small or incomplete"));
        }
        // SAFETY: the texts are lent for the call.
        let (name, config) = unsafe { (given.name.read(TEXT_MAX), given.config.read(TEXT_MAX)) };
        let (Some(name), Some(config)) = (name, config) else { return Err(argument("a text is not UTF-8")) };
        // SAFETY: not null; a host's table begins with its size.
        if (unsafe { (*given.host).size } as usize) < size_of::<abi::Host>() {
            return Err(Error::new(status::UNSUPPORTED, "the host gives fewer calls than this plugin needs"));
        }
        // SAFETY: the table lives until destroy has returned, and destroy revokes the waker.
        let waker = unsafe { Waker::new(given.host) };
        // SAFETY: checked above; this is a call of the driver.
        let host = unsafe { Host::new(&*given.host, &waker) };
        let opened = catch_unwind(AssertUnwindSafe(|| T::open(name, config, &host)));
        let opened = opened.unwrap_or_else(|_| Err(Error::new(status::INTERNAL, "the driver panicked")));
        let (driver, mut kept) = opened.inspect_err(|_| waker.revoke())?;
        kept.size = size_of::<Limits>() as u32;
        // SAFETY: the host lends writable limits or null.
        if let Some(limits) = unsafe { limits.as_mut() } {
            *limits = kept;
        }
        let shell = Box::new(Shell { driver: Some(driver), host: given.host, waker });
        // SAFETY: checked not to be null; the host lends it writable.
        unsafe { *out = Box::into_raw(shell).cast() };
        Ok(0)
    };
    // SAFETY: the host lends `error` writable or null.
    unsafe { answer(work(), error) }
}

unsafe extern "C" fn start<T: Transport>(
    instance: *mut abi::Instance,
    now: u64,
    error: *mut abi::Error,
) -> Status {
    // SAFETY: the host passes what `open` gave it, one call at a time, and lends `error`.
    unsafe { answer(call::<T>(instance, |driver, host| driver.start(host, now).map(|()| 0)), error) }
}

unsafe extern "C" fn poll<T: Transport>(
    instance: *mut abi::Instance,
    now: u64,
    ready: *const Readiness,
    n: u32,
    step: *mut Step,
) -> Status {
    let ready = if ready.is_null() || n == 0 {
        &[]
    } else {
        // SAFETY: the host lends `n` of them for the call.
        unsafe { std::slice::from_raw_parts(ready, n as usize) }
    };
    let work = |driver: &mut T, host: &Host<'_>| {
        let wish = driver.poll(host, now, ready)?;
        // SAFETY: the host lends it writable or null.
        if let Some(step) = unsafe { step.as_mut() } {
            *step = wish;
        }
        Ok(0)
    };
    // SAFETY: the host passes what `open` gave it, one call at a time.
    unsafe { answer(call::<T>(instance, work), std::ptr::null_mut()) }
}

unsafe extern "C" fn send<T: Transport>(instance: *mut abi::Instance, batch: *const abi::Batch) -> Status {
    let work = |driver: &mut T, host: &Host<'_>| {
        // SAFETY: the host lends a valid batch or null.
        let batch = unsafe { batch.as_ref() }.ok_or_else(|| argument("no batch"))?;
        if batch.frame_count == 0 || batch.frames.is_null() {
            return Ok(0);
        }
        let data = if batch.data.is_null() {
            &[]
        } else {
            // SAFETY: the host lends `data_len` octets for the call.
            unsafe { std::slice::from_raw_parts(batch.data, batch.data_len) }
        };
        // SAFETY: not null; the host lends `frame_count` descriptors for the call.
        let frames = unsafe { std::slice::from_raw_parts(batch.frames, batch.frame_count as usize) };
        driver.send(host, &BatchIn::new(data, frames)).map(count)
    };
    // SAFETY: the host passes what `open` gave it, one call at a time.
    unsafe { answer(call::<T>(instance, work), std::ptr::null_mut()) }
}

unsafe extern "C" fn receive<T: Transport>(instance: *mut abi::Instance, out: *mut abi::BatchOut) -> Status {
    let work = |driver: &mut T, host: &Host<'_>| {
        // SAFETY: the host lends valid room or null.
        let raw = unsafe { out.as_mut() }.ok_or_else(|| argument("no room"))?;
        let before = raw.frame_count;
        // SAFETY: the host lends the arrays at their sizes for the call.
        driver.receive(host, &mut unsafe { BatchOut::new(raw) })?;
        Ok(i32::try_from(raw.frame_count.saturating_sub(before)).unwrap_or(i32::MAX))
    };
    // SAFETY: the host passes what `open` gave it, one call at a time.
    unsafe { answer(call::<T>(instance, work), std::ptr::null_mut()) }
}

unsafe extern "C" fn events<T: Transport>(
    instance: *mut abi::Instance,
    into: *mut abi::Event,
    max: u32,
) -> Status {
    let work = |driver: &mut T, host: &Host<'_>| {
        if into.is_null() {
            return Err(argument("no room"));
        }
        let mut written = 0;
        while written < max as usize {
            let Some(event) = driver.next_event(host) else { break };
            // SAFETY: the host lends room for `max` events, and `written` is below it.
            unsafe { into.add(written).write(event.to_abi()) };
            written = written.saturating_add(1);
        }
        Ok(count(written))
    };
    // SAFETY: the host passes what `open` gave it, one call at a time.
    unsafe { answer(call::<T>(instance, work), std::ptr::null_mut()) }
}

unsafe extern "C" fn open_link<T: Transport>(
    instance: *mut abi::Instance,
    address: Str,
    link: *mut u32,
    error: *mut abi::Error,
) -> Status {
    let work = |driver: &mut T, host: &Host<'_>| {
        // SAFETY: the text is lent for the call.
        let address =
            unsafe { address.read(TEXT_MAX) }.ok_or_else(|| argument("the address is not UTF-8"))?;
        let opened = driver.open_link(host, address)?;
        // SAFETY: the host lends it writable or null.
        if let Some(link) = unsafe { link.as_mut() } {
            *link = opened;
        }
        Ok(0)
    };
    // SAFETY: the host passes what `open` gave it, one call at a time, and lends `error`.
    unsafe { answer(call::<T>(instance, work), error) }
}

unsafe extern "C" fn close_link<T: Transport>(instance: *mut abi::Instance, link: u32) {
    let work = |driver: &mut T, host: &Host<'_>| {
        driver.close_link(host, link);
        Ok(0)
    };
    // SAFETY: the host passes what `open` gave it, one call at a time. There is no status to give; a
    // driver that panicked says so at the next call.
    drop(unsafe { call::<T>(instance, work) });
}

unsafe extern "C" fn stats<T: Transport>(instance: *mut abi::Instance, into: *mut Stats) -> Status {
    let work = |driver: &mut T, _: &Host<'_>| {
        // SAFETY: the host lends valid stats or null.
        let into = unsafe { into.as_mut() }.ok_or_else(|| argument("no stats"))?;
        if (into.size as usize) < size_of::<Stats>() {
            return Err(argument("mg_stats is too small"));
        }
        *into = Stats { size: size_of::<Stats>() as u32, ..driver.stats() };
        Ok(0)
    };
    // SAFETY: the host passes what `open` gave it, one call at a time.
    unsafe { answer(call::<T>(instance, work), std::ptr::null_mut()) }
}

unsafe extern "C" fn command<T: Transport>(
    instance: *mut abi::Instance,
    name: Str,
    arguments: Str,
    out: *mut u8,
    cap: u32,
) -> Status {
    let work = |driver: &mut T, host: &Host<'_>| {
        // SAFETY: the texts are lent for the call.
        let (name, arguments) = unsafe { (name.read(TEXT_MAX), arguments.read(TEXT_MAX)) };
        let (Some(name), Some(arguments)) = (name, arguments) else {
            return Err(argument("a text is not UTF-8"));
        };
        let text = driver.command(host, name, arguments)?;
        if text.len() > cap as usize || out.is_null() {
            return Err(Error::new(status::TOO_LARGE, format!("the answer has {} octets", text.len())));
        }
        // SAFETY: the host lends `cap` octets and there are at most that; `text` is ours.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), out, text.len()) };
        Ok(count(text.len()))
    };
    // SAFETY: the host passes what `open` gave it, one call at a time.
    unsafe { answer(call::<T>(instance, work), std::ptr::null_mut()) }
}

unsafe extern "C" fn close<T: Transport>(instance: *mut abi::Instance, now: u64) -> Status {
    let work = |driver: &mut T, host: &Host<'_>| driver.close(host, now).map(|()| 0);
    // SAFETY: the host passes what `open` gave it, one call at a time.
    unsafe { answer(call::<T>(instance, work), std::ptr::null_mut()) }
}

unsafe extern "C" fn destroy<T: Transport>(instance: *mut abi::Instance) {
    if instance.is_null() {
        return;
    }
    // SAFETY: it came from `open` by `Box::into_raw`, and destroy is the last call.
    let Shell { driver, waker, .. } = *unsafe { Box::from_raw(instance.cast::<Shell<T>>()) };
    drop(catch_unwind(AssertUnwindSafe(move || drop(driver))));
    waker.revoke();
}
