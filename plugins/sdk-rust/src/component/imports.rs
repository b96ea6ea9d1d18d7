//! The host's table of C functions, over the world's imports.

use std::ffi::c_void;
use std::ptr::null_mut;

use super::bindings::metergraph::transport::{host, io, types};
use super::convert::{READY, status_of, to_frame};
use crate::abi::{self, Batch, BatchOut, Status, Str, io as kinds, status};

/// The host's table of C functions, over the world's imports.
pub const HOST: abi::Host = abi::Host {
    size: size_of::<abi::Host>() as u32,
    abi_minor: abi::ABI_MINOR,
    ctx: null_mut(),
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
};

/// A text of the driver's.
///
/// # Safety
/// It must be null or point to its octets, for the call.
unsafe fn text<'a>(text: Str) -> &'a str {
    // SAFETY: as promised by the caller.
    unsafe { text.read(usize::MAX) }.unwrap_or_default()
}

fn answer(result: Result<u32, types::ErrorCode>) -> Status {
    result.map_or_else(status_of, |count| Status::try_from(count).unwrap_or(Status::MAX))
}

unsafe extern "C" fn log(_: *mut c_void, level: u32, message: Str) {
    let level = match level {
        0 => host::Level::Trace,
        1 => host::Level::Debug,
        2 => host::Level::Info,
        3 => host::Level::Warn,
        _ => host::Level::Error,
    };
    // SAFETY: the driver lends the text.
    host::log(level, unsafe { text(message) });
}

unsafe extern "C" fn now(_: *mut c_void) -> u64 {
    host::now()
}

unsafe extern "C" fn wall(_: *mut c_void) -> u64 {
    host::wall()
}

unsafe extern "C" fn random(_: *mut c_void, out: *mut u8, len: usize) {
    let mut done = 0;
    while done < len {
        let octets = host::random((len - done).min(65_536) as u32);
        if octets.is_empty() {
            return;
        }
        let count = octets.len().min(len - done);
        // SAFETY: the driver lends `len` octets, and `done + count` is at most that.
        unsafe { std::ptr::copy_nonoverlapping(octets.as_ptr(), out.add(done), count) };
        done += count;
    }
}

unsafe extern "C" fn counter_add(_: *mut c_void, name: Str, by: u64) {
    // SAFETY: the driver lends the text.
    host::counter_add(unsafe { text(name) }, by);
}

unsafe extern "C" fn gauge_set(_: *mut c_void, name: Str, value: f64) {
    // SAFETY: the driver lends the text.
    host::gauge_set(unsafe { text(name) }, value);
}

/// A component has no thread that could ask for it; whoever is called asks by its step.
unsafe extern "C" fn wake(_: *mut c_void) {}

unsafe extern "C" fn io_open(
    _: *mut c_void,
    kind: u32,
    grant: Str,
    address: Str,
    id: *mut u32,
    told: *mut abi::Error,
) -> Status {
    let kind = match kind {
        kinds::UDP => io::Kind::Udp,
        kinds::TCP_CONNECT => io::Kind::TcpConnect,
        kinds::TCP_LISTEN => io::Kind::TcpListen,
        kinds::STREAM => io::Kind::Stream,
        _ => return status::ARGUMENT,
    };
    // SAFETY: the driver lends the texts, and writable results or null.
    let (grant, address, id, told) = unsafe { (text(grant), text(address), id.as_mut(), told.as_mut()) };
    let Some(id) = id else { return status::ARGUMENT };
    match io::open(kind, grant, address) {
        Ok(opened) => {
            *id = opened;
            status::OK
        }
        Err(refused) => {
            if let Some(told) = told {
                *told = abi::Error::new(&refused.message, refused.os_error);
            }
            status_of(refused.code)
        }
    }
}

unsafe extern "C" fn io_accept(_: *mut c_void, id: u32, new_id: *mut u32) -> Status {
    // SAFETY: the driver lends it writable or null.
    let Some(new_id) = (unsafe { new_id.as_mut() }) else { return status::ARGUMENT };
    match io::accept(id) {
        Ok(accepted) => {
            *new_id = accepted;
            status::OK
        }
        Err(code) => status_of(code),
    }
}

unsafe extern "C" fn io_read(_: *mut c_void, id: u32, buf: *mut u8, len: u32) -> Status {
    match io::read(id, len) {
        Ok(octets) if octets.len() <= len as usize && !buf.is_null() => {
            // SAFETY: the driver lends `len` writable octets.
            unsafe { std::ptr::copy_nonoverlapping(octets.as_ptr(), buf, octets.len()) };
            answer(Ok(octets.len() as u32))
        }
        Ok(_) => status::ARGUMENT,
        Err(code) => status_of(code),
    }
}

unsafe extern "C" fn io_write(_: *mut c_void, id: u32, buf: *const u8, len: u32) -> Status {
    if buf.is_null() {
        return status::ARGUMENT;
    }
    // SAFETY: not null; the driver lends `len` octets.
    answer(io::write(id, unsafe { std::slice::from_raw_parts(buf, len as usize) }))
}

unsafe extern "C" fn io_send(_: *mut c_void, id: u32, batch: *const Batch) -> Status {
    // SAFETY: the driver lends a valid batch or null.
    let Some(batch) = (unsafe { batch.as_ref() }) else { return status::ARGUMENT };
    if batch.data.is_null() || batch.frames.is_null() {
        return status::ARGUMENT;
    }
    // SAFETY: not null; the driver lends both arrays at their sizes.
    let (data, frames) = unsafe {
        (
            std::slice::from_raw_parts(batch.data, batch.data_len),
            std::slice::from_raw_parts(batch.frames, batch.frame_count as usize),
        )
    };
    let batch = types::Batch { data: data.to_vec(), frames: frames.iter().map(to_frame).collect() };
    answer(io::send(id, &batch))
}

unsafe extern "C" fn io_recv(_: *mut c_void, id: u32, batch: *mut BatchOut) -> Status {
    // SAFETY: the driver lends valid room or null.
    let Some(batch) = (unsafe { batch.as_mut() }) else { return status::ARGUMENT };
    // SAFETY: the driver lends the arrays at their sizes for the call.
    let mut room = unsafe { crate::BatchOut::new(batch) };
    let received = io::recv(id, room.frame_room() as u32, u32::try_from(room.room()).unwrap_or(u32::MAX));
    let received = match received {
        Ok(received) => received,
        Err(code) => return status_of(code),
    };
    let mut added = 0;
    for frame in &received.frames {
        let (start, at) = (frame.offset as usize, room.len());
        let octets = received.data.get(start..start.saturating_add(frame.len as usize)).unwrap_or_default();
        if !room.append(octets) || !room.push(frame.link, at, octets.len(), frame.at) {
            break;
        }
        added += 1;
    }
    added
}

unsafe extern "C" fn io_peer(_: *mut c_void, id: u32, address: Str, peer: *mut u32) -> Status {
    // SAFETY: the driver lends the text, and a writable result or null.
    let (address, Some(peer)) = (unsafe { text(address) }, unsafe { peer.as_mut() }) else {
        return status::ARGUMENT;
    };
    match io::peer(id, address) {
        Ok(number) => {
            *peer = number;
            status::OK
        }
        Err(code) => status_of(code),
    }
}

unsafe extern "C" fn io_peer_address(_: *mut c_void, id: u32, peer: u32, out: *mut u8, cap: u32) -> Status {
    let Some(text) = io::peer_address(id, peer) else { return status::NOT_FOUND };
    let count = text.len().min(cap as usize);
    if !out.is_null() {
        // SAFETY: the driver lends `cap` octets; `count` is at most that and the text's length.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), out, count) };
    }
    answer(Ok(text.len() as u32))
}

unsafe extern "C" fn io_control(_: *mut c_void, id: u32, name: Str, value: u32) -> Status {
    // SAFETY: the driver lends the text.
    answer(io::control(id, unsafe { text(name) }, value).map(|()| 0))
}

unsafe extern "C" fn io_interest(_: *mut c_void, id: u32, want: u32) {
    let set = READY.iter().filter(|(_, bit)| want & bit != 0);
    io::interest(id, set.fold(types::Ready::empty(), |flags, (flag, _)| flags | *flag));
}

unsafe extern "C" fn io_close(_: *mut c_void, id: u32) {
    io::close(id);
}
