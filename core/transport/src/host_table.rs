//! What the host gives a driver: the C functions over the I/O table, clock, log and numbers.
//!
//! Each checks what it is passed; none can panic, so that nothing unwinds into a plugin.

use std::ffi::c_void;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use transport_sdk::abi::{self, ABI_MINOR, Batch, BatchOut, Error, Status, Str, status};
use transport_sdk::{BatchIn, BatchOut as Room, Level};

use crate::clock::Clock;
use crate::datagram::DATAGRAM_MAX;
use crate::io::Io;
use crate::notes::Notes;
use crate::poller::Poller;

/// Longest grant name, address or counter name that is read, octets.
const TEXT_MAX: usize = 256;
/// Longest log line; the rest is cut, octets.
const LINE_MAX: usize = 1024;

/// The table of one driver. A driver holds a pointer to it until `destroy` has returned.
pub struct HostTable {
    raw: abi::Host,
    poller: Arc<Poller>,
    io: Mutex<Io>,
    notes: Notes,
    clock: Clock,
}

// SAFETY: the only pointer in it is `raw.ctx`, to the table itself, which is used through `&HostTable` alone;
// all that changes is behind locks or atomic.
unsafe impl Send for HostTable {}
// SAFETY: as above.
unsafe impl Sync for HostTable {}

impl std::fmt::Debug for HostTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostTable(..)")
    }
}

impl HostTable {
    /// A table over these parts.
    #[must_use]
    pub fn new(poller: Arc<Poller>, io: Io, notes: Notes, clock: Clock) -> Arc<Self> {
        Arc::new_cyclic(|me: &Weak<Self>| Self {
            raw: functions(me.as_ptr().cast_mut().cast()),
            poller,
            io: Mutex::new(io),
            notes,
            clock,
        })
    }

    /// What a driver is given; valid as long as the table.
    #[must_use]
    pub fn raw(&self) -> *const abi::Host {
        &raw const self.raw
    }

    /// Log lines and numbers of the plugin.
    #[must_use]
    pub fn notes(&self) -> &Notes {
        &self.notes
    }

    /// What time it is, and random numbers.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The I/O table; not to be held while the driver is called.
    pub fn io(&self) -> MutexGuard<'_, Io> {
        self.io.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn functions(ctx: *mut c_void) -> abi::Host {
    abi::Host {
        size: size_of::<abi::Host>() as u32,
        abi_minor: ABI_MINOR,
        ctx,
        log: Some(log),
        now: Some(now),
        wall: Some(wall),
        random: Some(random),
        counter_add: Some(counter_add),
        gauge_set: Some(gauge_set),
        wake: Some(wake),
        io_open: Some(io_open),
        io_accept: Some(io_accept),
        io_read: Some(io_read),
        io_write: Some(io_write),
        io_send: Some(io_send),
        io_recv: Some(io_recv),
        io_peer: Some(io_peer),
        io_peer_address: Some(io_peer_address),
        io_control: Some(io_control),
        io_interest: Some(io_interest),
        io_close: Some(io_close),
    }
}

/// The table behind a `ctx`.
///
/// # Safety
/// `ctx` must be that of a living table.
unsafe fn table<'a>(ctx: *mut c_void) -> &'a HostTable {
    // SAFETY: as promised by the caller.
    unsafe { &*ctx.cast::<HostTable>() }
}

/// As much of a text as `max` octets hold; what is no UTF-8 is replaced.
///
/// # Safety
/// `text` must be null or point to its octets.
unsafe fn lossy(text: Str, max: usize) -> String {
    if text.ptr.is_null() || text.len == 0 {
        return String::new();
    }
    // SAFETY: as promised by the caller; no more than its octets are read.
    let octets = unsafe { std::slice::from_raw_parts(text.ptr, text.len.min(max)) };
    String::from_utf8_lossy(octets).into_owned()
}

fn answer(result: Result<usize, Status>) -> Status {
    result.map_or_else(|code| code, |count| Status::try_from(count).unwrap_or(Status::MAX))
}

unsafe extern "C" fn log(ctx: *mut c_void, level: u32, message: Str) {
    // SAFETY: the driver passes the table's `ctx` and lends the text.
    let (table, line) = unsafe { (table(ctx), lossy(message, LINE_MAX)) };
    table.notes.log(Level::from_number(level), &line);
}

unsafe extern "C" fn now(ctx: *mut c_void) -> u64 {
    // SAFETY: the driver passes the table's `ctx`.
    unsafe { table(ctx) }.clock.now()
}

unsafe extern "C" fn wall(ctx: *mut c_void) -> u64 {
    // SAFETY: the driver passes the table's `ctx`.
    unsafe { table(ctx) }.clock.wall()
}

unsafe extern "C" fn random(ctx: *mut c_void, out: *mut u8, len: usize) {
    if out.is_null() {
        return;
    }
    // SAFETY: the driver passes the table's `ctx` and lends `len` octets, which need not be initialised.
    let (table, out) = unsafe {
        out.write_bytes(0, len);
        (table(ctx), std::slice::from_raw_parts_mut(out, len))
    };
    // Where not even the kernel has any they stay 0: better the same octets than none.
    let _ = table.clock.random(out);
}

unsafe extern "C" fn counter_add(ctx: *mut c_void, name: Str, by: u64) {
    // SAFETY: the driver passes the table's `ctx` and lends the text.
    let (table, name) = unsafe { (table(ctx), name.read(TEXT_MAX)) };
    table.notes.count(name.unwrap_or_default(), by);
}

unsafe extern "C" fn gauge_set(ctx: *mut c_void, name: Str, value: f64) {
    // SAFETY: the driver passes the table's `ctx` and lends the text.
    let (table, name) = unsafe { (table(ctx), name.read(TEXT_MAX)) };
    table.notes.set(name.unwrap_or_default(), value);
}

unsafe extern "C" fn wake(ctx: *mut c_void) {
    // SAFETY: the driver passes the table's `ctx`.
    unsafe { table(ctx) }.poller.ring();
}

unsafe extern "C" fn io_open(
    ctx: *mut c_void,
    kind: u32,
    grant: Str,
    address: Str,
    id: *mut u32,
    error: *mut Error,
) -> Status {
    // SAFETY: the driver passes the table's `ctx` and lends the texts.
    let (table, grant, address) = unsafe { (table(ctx), grant.read(TEXT_MAX), address.read(TEXT_MAX)) };
    let (Some(grant), Some(address), false) = (grant, address, id.is_null()) else {
        return status::ARGUMENT;
    };
    match table.io().open(kind, grant, address) {
        Ok(opened) => {
            // SAFETY: not null; the driver lends it writable.
            unsafe { id.write(opened) };
            status::OK
        }
        Err(refused) => {
            // SAFETY: the driver lends it writable or null.
            if let Some(error) = unsafe { error.as_mut() } {
                *error = Error::new(&refused.text, refused.os_error);
            }
            refused.status
        }
    }
}

unsafe extern "C" fn io_accept(ctx: *mut c_void, id: u32, new_id: *mut u32) -> Status {
    if new_id.is_null() {
        return status::ARGUMENT;
    }
    // SAFETY: the driver passes the table's `ctx`.
    let table = unsafe { table(ctx) };
    let accepted = table.io().accept(id, table.clock.now());
    match accepted {
        Ok(accepted) => {
            // SAFETY: not null; the driver lends it writable.
            unsafe { new_id.write(accepted) };
            status::OK
        }
        Err(code) => code,
    }
}

unsafe extern "C" fn io_read(ctx: *mut c_void, id: u32, buf: *mut u8, len: u32) -> Status {
    if buf.is_null() {
        return status::ARGUMENT;
    }
    // SAFETY: the driver passes the table's `ctx` and lends `len` writable octets.
    answer(unsafe { table(ctx).io().read(id, buf, len as usize) })
}

unsafe extern "C" fn io_write(ctx: *mut c_void, id: u32, buf: *const u8, len: u32) -> Status {
    if buf.is_null() || len == 0 {
        return status::ARGUMENT;
    }
    // SAFETY: the driver passes the table's `ctx` and lends `len` octets.
    let (table, octets) = unsafe { (table(ctx), std::slice::from_raw_parts(buf, len as usize)) };
    answer(table.io().write(id, octets))
}

unsafe extern "C" fn io_send(ctx: *mut c_void, id: u32, batch: *const Batch) -> Status {
    // SAFETY: the driver passes the table's `ctx`, and lends a valid batch or null.
    let (table, Some(batch)) = (unsafe { table(ctx) }, unsafe { batch.as_ref() }) else {
        return status::ARGUMENT;
    };
    if batch.frame_count == 0 || batch.frames.is_null() || batch.data.is_null() {
        return status::ARGUMENT;
    }
    // SAFETY: not null; the driver lends both arrays at their sizes for the call.
    let (data, frames) = unsafe {
        (
            std::slice::from_raw_parts(batch.data, batch.data_len),
            std::slice::from_raw_parts(batch.frames, batch.frame_count as usize),
        )
    };
    let datagrams = BatchIn::new(data, frames);
    let whole = datagrams.iter().map_while(|(frame, octets)| octets.map(|octets| (frame.link, octets)));
    answer(table.io().send_to(id, whole))
}

unsafe extern "C" fn io_recv(ctx: *mut c_void, id: u32, batch: *mut BatchOut) -> Status {
    // SAFETY: the driver passes the table's `ctx`, and lends valid room or null.
    let (table, Some(batch)) = (unsafe { table(ctx) }, unsafe { batch.as_mut() }) else {
        return status::ARGUMENT;
    };
    // SAFETY: the driver lends the arrays at their sizes for the call.
    let mut room = unsafe { Room::new(batch) };
    let now = table.clock.now();
    let (frames, octets) = (room.frame_room(), room.room());
    if octets < DATAGRAM_MAX {
        return status::TOO_LARGE;
    }
    let take = |peer: u32, datagram: &[u8]| {
        let at = room.len();
        // There is room for it: that was asked for.
        let _ = room.append(datagram) && room.push(peer, at, datagram.len(), now);
    };
    answer(table.io().receive_from(id, frames, octets, take))
}

unsafe extern "C" fn io_peer(ctx: *mut c_void, id: u32, address: Str, peer: *mut u32) -> Status {
    // SAFETY: the driver passes the table's `ctx` and lends the text.
    let (table, address) = unsafe { (table(ctx), address.read(TEXT_MAX)) };
    let (Some(address), false) = (address, peer.is_null()) else { return status::ARGUMENT };
    match table.io().peer_number(id, address) {
        Ok(number) => {
            // SAFETY: not null; the driver lends it writable.
            unsafe { peer.write(number) };
            status::OK
        }
        Err(code) => code,
    }
}

unsafe extern "C" fn io_peer_address(ctx: *mut c_void, id: u32, peer: u32, out: *mut u8, cap: u32) -> Status {
    // SAFETY: the driver passes the table's `ctx`.
    let Some(text) = unsafe { table(ctx) }.io().peer_address(id, peer) else { return status::NOT_FOUND };
    let count = text.len().min(cap as usize);
    if !out.is_null() {
        // SAFETY: the driver lends `cap` octets; `count` is at most that and at most the text's length.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), out, count) };
    }
    answer(Ok(text.len()))
}

unsafe extern "C" fn io_control(ctx: *mut c_void, id: u32, name: Str, value: u32) -> Status {
    // SAFETY: the driver passes the table's `ctx` and lends the text.
    let (table, name) = unsafe { (table(ctx), name.read(TEXT_MAX)) };
    let Some(name) = name else { return status::ARGUMENT };
    answer(table.io().control(id, name, value).map(|()| 0))
}

unsafe extern "C" fn io_interest(ctx: *mut c_void, id: u32, want: u32) {
    // SAFETY: the driver passes the table's `ctx`.
    unsafe { table(ctx) }.io().interest(id, want);
}

unsafe extern "C" fn io_close(ctx: *mut c_void, id: u32) {
    // SAFETY: the driver passes the table's `ctx`.
    unsafe { table(ctx) }.io().close(id);
}
