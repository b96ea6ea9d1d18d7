//! The C functions of the simulated host.

use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Socket, State};
use crate::abi::{self, Status, Str, io, status};

/// Longest text that a driver may pass.
const TEXT_MAX: usize = 1 << 16;

/// The table over the state behind `ctx`.
pub fn functions(ctx: *mut c_void) -> abi::Host {
    abi::Host {
        size: size_of::<abi::Host>() as u32,
        abi_minor: abi::ABI_MINOR,
        ctx,
        log: Some(log),
        now: Some(now),
        wall: Some(now),
        random: Some(random),
        counter_add: Some(counter_add),
        gauge_set: None,
        wake: Some(wake),
        io_open: Some(io_open),
        io_accept: Some(io_accept),
        io_read: Some(io_read),
        io_write: Some(io_write),
        io_send: None,
        io_recv: None,
        io_peer: None,
        io_peer_address: Some(io_peer_address),
        io_control: None,
        io_interest: Some(io_interest),
        io_close: Some(io_close),
    }
}

/// The state behind a `ctx`.
///
/// # Safety
/// `ctx` must be that of a living [`SimHost`].
unsafe fn state<'a>(ctx: *mut c_void) -> MutexGuard<'a, State> {
    // SAFETY: as promised by the caller; the state is only ever reached through its lock.
    let state = unsafe { &*ctx.cast::<Mutex<State>>() };
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(result: Result<usize, Status>) -> Status {
    result.map_or_else(|code| code, |count| Status::try_from(count).unwrap_or(Status::MAX))
}

unsafe extern "C" fn log(ctx: *mut c_void, _: u32, message: Str) {
    // SAFETY: the driver passes the table's `ctx` and lends the text.
    let (mut state, line) = unsafe { (state(ctx), message.read(TEXT_MAX)) };
    state.lines.push(line.unwrap_or("(no UTF-8)").to_owned());
}

unsafe extern "C" fn now(ctx: *mut c_void) -> u64 {
    // SAFETY: the driver passes the table's `ctx`.
    unsafe { state(ctx) }.now
}

unsafe extern "C" fn random(ctx: *mut c_void, out: *mut u8, len: usize) {
    if out.is_null() {
        return;
    }
    // SAFETY: the driver passes the table's `ctx`.
    let mut state = unsafe { state(ctx) };
    for place in 0..len {
        state.seed = state.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        // SAFETY: the driver lends `len` octets, and `place` is below that.
        unsafe { out.add(place).write((state.seed >> 56) as u8) };
    }
}

unsafe extern "C" fn counter_add(ctx: *mut c_void, name: Str, by: u64) {
    // SAFETY: the driver passes the table's `ctx` and lends the text.
    let (mut state, name) = unsafe { (state(ctx), name.read(TEXT_MAX)) };
    let counter = state.counters.entry(name.unwrap_or_default().to_owned()).or_default();
    *counter = counter.saturating_add(by);
}

unsafe extern "C" fn wake(ctx: *mut c_void) {
    // SAFETY: the driver passes the table's `ctx`.
    let mut state = unsafe { state(ctx) };
    state.wakes = state.wakes.saturating_add(1);
}

unsafe extern "C" fn io_open(
    ctx: *mut c_void,
    kind: u32,
    grant: Str,
    address: Str,
    id: *mut u32,
    error: *mut abi::Error,
) -> Status {
    // SAFETY: the driver passes the table's `ctx` and lends the texts.
    let (mut state, grant, address) = unsafe { (state(ctx), grant.read(TEXT_MAX), address.read(TEXT_MAX)) };
    let code = state.refusal.unwrap_or(match kind {
        io::TCP_LISTEN | io::TCP_CONNECT => status::OK,
        _ => status::UNSUPPORTED,
    });
    if code < 0 {
        // SAFETY: the driver lends it writable or null.
        if let Some(error) = unsafe { error.as_mut() } {
            *error = abi::Error::new(&format!("grant `{}` refused", grant.unwrap_or_default()), 0);
        }
        return code;
    }
    let listens = kind == io::TCP_LISTEN;
    let peer = address.unwrap_or_default().to_owned();
    let opened = state.add(Socket { listens, peer, ..Socket::default() });
    // SAFETY: the driver lends it writable or null.
    if let Some(id) = unsafe { id.as_mut() } {
        *id = opened;
    }
    status::OK
}

unsafe extern "C" fn io_accept(ctx: *mut c_void, id: u32, new_id: *mut u32) -> Status {
    // SAFETY: the driver passes the table's `ctx`.
    let mut state = unsafe { state(ctx) };
    let Some(listener) = state.sockets.get_mut(&id) else { return status::NOT_FOUND };
    let Some(accepted) = listener.waiting.pop_front() else { return status::WOULD_BLOCK };
    // SAFETY: the driver lends it writable or null.
    if let Some(new_id) = unsafe { new_id.as_mut() } {
        *new_id = accepted;
    }
    status::OK
}

unsafe extern "C" fn io_read(ctx: *mut c_void, id: u32, buf: *mut u8, len: u32) -> Status {
    if buf.is_null() || len == 0 {
        return status::ARGUMENT;
    }
    // The driver's memory need not be initialised.
    let mut octets = vec![0; len as usize];
    // SAFETY: the driver passes the table's `ctx`.
    let read = unsafe { state(ctx) }.read(id, &mut octets);
    let count = *read.as_ref().unwrap_or(&0);
    // SAFETY: the driver lends `len` octets at `buf`, and `count` is at most that.
    unsafe { std::ptr::copy_nonoverlapping(octets.as_ptr(), buf, count) };
    answer(read)
}

unsafe extern "C" fn io_write(ctx: *mut c_void, id: u32, buf: *const u8, len: u32) -> Status {
    if buf.is_null() || len == 0 {
        return status::ARGUMENT;
    }
    // SAFETY: the driver lends `len` octets at `buf` and passes the table's `ctx`.
    let (mut state, octets) = unsafe { (state(ctx), std::slice::from_raw_parts(buf, len as usize)) };
    answer(state.write(id, octets))
}

unsafe extern "C" fn io_peer_address(ctx: *mut c_void, id: u32, _: u32, out: *mut u8, cap: u32) -> Status {
    // SAFETY: the driver passes the table's `ctx`.
    let state = unsafe { state(ctx) };
    let Some(socket) = state.sockets.get(&id) else { return status::NOT_FOUND };
    let count = socket.peer.len().min(cap as usize);
    if !out.is_null() {
        // SAFETY: the driver lends `cap` octets, and `count` is at most that and at most the text's length.
        unsafe { std::ptr::copy_nonoverlapping(socket.peer.as_ptr(), out, count) };
    }
    answer(Ok(socket.peer.len()))
}

unsafe extern "C" fn io_interest(ctx: *mut c_void, id: u32, want: u32) {
    // SAFETY: the driver passes the table's `ctx`.
    if let Some(socket) = unsafe { state(ctx) }.sockets.get_mut(&id) {
        socket.want = want;
    }
}

unsafe extern "C" fn io_close(ctx: *mut c_void, id: u32) {
    // SAFETY: the driver passes the table's `ctx`.
    unsafe { state(ctx) }.sockets.remove(&id);
}
