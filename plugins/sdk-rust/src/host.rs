//! What the host gives a driver, made safe.

use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};

use crate::abi::{self, Str, status};
use crate::transport::Error;

/// How much a log line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
#[allow(missing_docs, reason = "the words say it")]
pub enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// The level of this number; what is above them all is an error.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        match number {
            0 => Self::Trace,
            1 => Self::Debug,
            2 => Self::Info,
            3 => Self::Warn,
            _ => Self::Error,
        }
    }
}

/// Kinds of I/O objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum IoKind {
    /// Datagrams (`MG_E_UNSUPPORTED` so far).
    Udp = abi::io::UDP,
    /// A connection to an address within the grant.
    TcpConnect = abi::io::TCP_CONNECT,
    /// The listener that the grant names.
    TcpListen = abi::io::TCP_LISTEN,
    /// A ready-made stream (`MG_E_UNSUPPORTED` so far).
    Stream = abi::io::STREAM,
}

/// The host, lent for one call.
#[derive(Debug)]
pub struct Host<'call> {
    raw: &'call abi::Host,
    waker: &'call Waker,
    // Not to be sent to another thread: io_* are for the calling thread alone.
    here: PhantomData<*const ()>,
}

impl<'call> Host<'call> {
    /// Over the host's table.
    ///
    /// # Safety
    /// The functions and `ctx` of `raw` must be those of a living host for `'call`, and the caller must be
    /// within a call of the driver.
    #[must_use]
    pub unsafe fn new(raw: &'call abi::Host, waker: &'call Waker) -> Self {
        Self { raw, waker, here: PhantomData }
    }

    /// A handle for the driver's own threads.
    #[must_use]
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Writes a line to the host's log.
    pub fn log(&self, level: Level, message: &str) {
        if let Some(log) = self.raw.log {
            // SAFETY: `ctx` belongs to this table (promised to `new`); the text is lent for the call.
            unsafe { log(self.raw.ctx, level as u32, Str::lent(message)) }
        }
    }

    /// Monotonic time, ns; simulated time in a simulation.
    #[must_use]
    pub fn now(&self) -> u64 {
        // SAFETY: `ctx` belongs to this table (promised to `new`).
        self.raw.now.map_or(0, |now| unsafe { now(self.raw.ctx) })
    }

    /// Wall time, ns since 1970.
    #[must_use]
    pub fn wall(&self) -> u64 {
        // SAFETY: `ctx` belongs to this table (promised to `new`).
        self.raw.wall.map_or(0, |wall| unsafe { wall(self.raw.ctx) })
    }

    /// Fills `out` with random octets.
    pub fn random(&self, out: &mut [u8]) {
        if let Some(random) = self.raw.random {
            // SAFETY: `ctx` belongs to this table; `out` is writable for its length.
            unsafe { random(self.raw.ctx, out.as_mut_ptr(), out.len()) }
        }
    }

    /// Adds to a counter of the driver's own; names from a small closed set.
    pub fn counter_add(&self, name: &str, by: u64) {
        if let Some(add) = self.raw.counter_add {
            // SAFETY: `ctx` belongs to this table; the text is lent for the call.
            unsafe { add(self.raw.ctx, Str::lent(name), by) }
        }
    }

    /// Sets a gauge of the driver's own; names from a small closed set.
    pub fn gauge_set(&self, name: &str, value: f64) {
        if let Some(set) = self.raw.gauge_set {
            // SAFETY: `ctx` belongs to this table; the text is lent for the call.
            unsafe { set(self.raw.ctx, Str::lent(name), value) }
        }
    }

    /// Asks to be polled soon.
    pub fn wake(&self) {
        if let Some(wake) = self.raw.wake {
            // SAFETY: `ctx` belongs to this table (promised to `new`).
            unsafe { wake(self.raw.ctx) }
        }
    }

    /// Opens an I/O object by grant; `address` is `IP:PORT` for a connection, else empty.
    ///
    /// # Errors
    /// The host's: no such grant, address outside it, or what the operating system said.
    pub fn io_open(&self, kind: IoKind, grant: &str, address: &str) -> Result<u32, Error> {
        let Some(open) = self.raw.io_open else { return Err(missing()) };
        let (mut id, mut error) = (0, abi::Error::default());
        // SAFETY: `ctx` belongs to this table; texts and results are lent for the call.
        let code = unsafe {
            open(self.raw.ctx, kind as u32, Str::lent(grant), Str::lent(address), &raw mut id, &raw mut error)
        };
        if code < 0 {
            return Err(Error { status: code, text: error.text(), os_error: error.os_error });
        }
        Ok(id)
    }

    /// Takes the next connection of a listener.
    ///
    /// # Errors
    /// The host's status: `MG_E_WOULD_BLOCK` when there is none, `MG_E_BUSY` at a limit.
    pub fn io_accept(&self, id: u32) -> Result<u32, abi::Status> {
        let Some(accept) = self.raw.io_accept else { return Err(status::UNSUPPORTED) };
        let mut new = 0;
        // SAFETY: `ctx` belongs to this table; the result is lent for the call.
        let code = unsafe { accept(self.raw.ctx, id, &raw mut new) };
        if code < 0 { Err(code) } else { Ok(new) }
    }

    /// Reads from a stream; answers at least 1.
    ///
    /// # Errors
    /// The host's status.
    pub fn io_read(&self, id: u32, into: &mut [u8]) -> Result<usize, abi::Status> {
        // SAFETY: `into` is writable for its length.
        unsafe { self.read_raw(id, into.as_mut_ptr(), into.len()) }
    }

    /// Reads into memory that need not be initialised.
    ///
    /// # Safety
    /// `into` must be writable for `len` octets.
    pub(crate) unsafe fn read_raw(&self, id: u32, into: *mut u8, len: usize) -> Result<usize, abi::Status> {
        let Some(read) = self.raw.io_read else { return Err(status::UNSUPPORTED) };
        let asked = u32::try_from(len).unwrap_or(u32::MAX);
        // SAFETY: `ctx` belongs to this table; `into` is writable for `asked`, at most `len`, octets.
        let code = unsafe { read(self.raw.ctx, id, into, asked) };
        // A host that claims more than it was asked for is not believed.
        usize::try_from(code).map_err(|_| code).map(|read| read.min(len))
    }

    /// Writes to a stream; answers how much it took.
    ///
    /// # Errors
    /// The host's status.
    pub fn io_write(&self, id: u32, octets: &[u8]) -> Result<usize, abi::Status> {
        let Some(write) = self.raw.io_write else { return Err(status::UNSUPPORTED) };
        let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        // SAFETY: `ctx` belongs to this table; `octets` is readable for `len`, at most its length.
        let code = unsafe { write(self.raw.ctx, id, octets.as_ptr(), len) };
        usize::try_from(code).map_err(|_| code).map(|written| written.min(octets.len()))
    }

    /// The peer's address, when there is one.
    #[must_use]
    pub fn io_peer_address(&self, id: u32) -> Option<String> {
        let mut text = [0; 128];
        // SAFETY: `ctx` belongs to this table; `text` is writable for its length.
        let code = unsafe { (self.raw.io_peer_address?)(self.raw.ctx, id, 0, text.as_mut_ptr(), 128) };
        let used = text.get(..usize::try_from(code).ok()?)?;
        Some(String::from_utf8_lossy(used).into_owned())
    }

    /// Says which readiness ([`abi::ready`]) the driver wants to be told of.
    pub fn io_interest(&self, id: u32, ready: u32) {
        if let Some(interest) = self.raw.io_interest {
            // SAFETY: `ctx` belongs to this table (promised to `new`).
            unsafe { interest(self.raw.ctx, id, ready) }
        }
    }

    /// Closes an I/O object; its number is void.
    pub fn io_close(&self, id: u32) {
        if let Some(close) = self.raw.io_close {
            // SAFETY: `ctx` belongs to this table (promised to `new`).
            unsafe { close(self.raw.ctx, id) }
        }
    }
}

fn missing() -> Error {
    Error::new(status::UNSUPPORTED, "the host lacks this call")
}

/// The host as the driver's own threads may use it; does nothing once the instance is destroyed.
#[derive(Clone, Debug, Default)]
pub struct Waker(Arc<RwLock<Option<Lent>>>);

/// A host's table, as long as its instance lives.
#[derive(Clone, Copy, Debug)]
struct Lent(*const abi::Host);

// SAFETY: the contract allows `wake`, `log`, `now` and `counter_add` from any thread until destroy returns,
// and `revoke` makes destroy wait for calls under way.
unsafe impl Send for Lent {}
// SAFETY: as above; the pointer itself is only copied.
unsafe impl Sync for Lent {}

impl Waker {
    /// A handle on this table.
    ///
    /// # Safety
    /// `raw` must stay valid until [`Self::revoke`] has returned.
    #[must_use]
    pub unsafe fn new(raw: *const abi::Host) -> Self {
        Self(Arc::new(RwLock::new(Some(Lent(raw)))))
    }

    /// Asks that the instance be polled soon.
    pub fn wake(&self) {
        self.with(|host| {
            if let Some(wake) = host.wake {
                // SAFETY: `ctx` belongs to this table, which is valid while the lock is held.
                unsafe { wake(host.ctx) }
            }
        });
    }

    /// Writes a line to the host's log.
    pub fn log(&self, level: Level, message: &str) {
        self.with(|host| {
            if let Some(log) = host.log {
                // SAFETY: as in `wake`; the text is lent for the call.
                unsafe { log(host.ctx, level as u32, Str::lent(message)) }
            }
        });
    }

    /// Monotonic time, ns; 0 once the instance is destroyed.
    #[must_use]
    pub fn now(&self) -> u64 {
        let mut time = 0;
        self.with(|host| {
            if let Some(now) = host.now {
                // SAFETY: as in `wake`.
                time = unsafe { now(host.ctx) };
            }
        });
        time
    }

    /// Adds to a counter of the driver's own.
    pub fn counter_add(&self, name: &str, by: u64) {
        self.with(|host| {
            if let Some(add) = host.counter_add {
                // SAFETY: as in `wake`; the text is lent for the call.
                unsafe { add(host.ctx, Str::lent(name), by) }
            }
        });
    }

    /// Ends it, waiting for calls under way.
    pub fn revoke(&self) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn with(&self, work: impl FnOnce(&abi::Host)) {
        let lent = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(Lent(raw)) = *lent {
            // SAFETY: `new` was promised a valid table until `revoke`, which waits for this lock.
            work(unsafe { &*raw });
        }
    }
}
