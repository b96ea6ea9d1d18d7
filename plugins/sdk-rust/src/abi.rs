//! The C contract, mirrored: `plugins/sdk-c/metergraph_transport.h` is its source and says what each
//! field means. A test compares every size and offset with what a C compiler makes of the header.

use std::ffi::c_void;

/// `MG_ABI_MAJOR`
pub const ABI_MAJOR: u32 = 1;
/// `MG_ABI_MINOR`
pub const ABI_MINOR: u32 = 0;
/// `MG_ENTRY_SYMBOL`
pub const ENTRY_SYMBOL: &str = "mg_transport_entry_v1";

/// `mg_status`: zero or a count, or one of [`status`].
pub type Status = i32;

/// `MG_OK` and `MG_E_*`
#[allow(missing_docs, reason = "named as in the header, which explains them")]
pub mod status {
    pub const OK: i32 = 0;
    pub const ARGUMENT: i32 = -1;
    pub const CONFIG: i32 = -2;
    pub const DENIED: i32 = -3;
    pub const NOT_FOUND: i32 = -4;
    pub const WOULD_BLOCK: i32 = -5;
    pub const CLOSED: i32 = -6;
    pub const TIMED_OUT: i32 = -7;
    pub const BUSY: i32 = -8;
    pub const TOO_LARGE: i32 = -9;
    pub const NO_MEMORY: i32 = -10;
    pub const UNSUPPORTED: i32 = -11;
    pub const IO: i32 = -12;
    pub const INTERNAL: i32 = -13;

    /// What a negative status means, in one or two words.
    #[must_use]
    pub fn word(code: i32) -> &'static str {
        match code {
            ARGUMENT => "bad argument",
            CONFIG => "bad configuration",
            DENIED => "not granted",
            NOT_FOUND => "not found",
            WOULD_BLOCK => "would block",
            CLOSED => "closed",
            TIMED_OUT => "timed out",
            BUSY => "busy",
            TOO_LARGE => "too large",
            NO_MEMORY => "no memory",
            UNSUPPORTED => "unsupported",
            IO => "input or output failed",
            INTERNAL => "internal fault",
            _ => "unknown status",
        }
    }
}

/// `MG_F_*`, the bits of a frame
#[allow(missing_docs, reason = "named as in the header, which explains them")]
pub mod bits {
    pub const PRIORITY: u32 = 1;
    pub const BROADCAST: u32 = 2;
    pub const REPORT: u32 = 4;
}

/// `MG_EV_*`, `MG_LINK_*` and `MG_TX_*`
#[allow(missing_docs, reason = "named as in the header, which explains them")]
pub mod event {
    pub const LINK: u32 = 1;
    pub const TX: u32 = 2;
    pub const NOTE: u32 = 3;
    pub const FATAL: u32 = 4;
    pub const LINK_CONNECTING: u32 = 0;
    pub const LINK_UP: u32 = 1;
    pub const LINK_DEGRADED: u32 = 2;
    pub const LINK_DOWN: u32 = 3;
    pub const TX_DELIVERED: u32 = 0;
    pub const TX_SENT: u32 = 1;
    pub const TX_EXPIRED: u32 = 2;
    pub const TX_FULL: u32 = 3;
    pub const TX_LINK_DOWN: u32 = 4;
    pub const TX_FAILED: u32 = 5;
}

/// `MG_READABLE` and its like
#[allow(missing_docs, reason = "named as in the header, which explains them")]
pub mod ready {
    pub const READABLE: u32 = 1;
    pub const WRITABLE: u32 = 2;
    pub const CLOSED: u32 = 4;
    pub const ERROR: u32 = 8;
}

/// `MG_IO_*`, kinds of I/O objects
#[allow(missing_docs, reason = "named as in the header, which explains them")]
pub mod io {
    pub const UDP: u32 = 1;
    pub const TCP_CONNECT: u32 = 2;
    pub const TCP_LISTEN: u32 = 3;
    pub const STREAM: u32 = 4;
}

/// `mg_str`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Str {
    /// UTF-8, not NUL-terminated
    pub ptr: *const u8,
    /// In octets
    pub len: usize,
}

impl Str {
    /// A text that lives for ever.
    #[must_use]
    pub const fn fixed(text: &'static str) -> Self {
        Self { ptr: text.as_ptr(), len: text.len() }
    }

    /// A text borrowed for one call.
    #[must_use]
    pub const fn lent(text: &str) -> Self {
        Self { ptr: text.as_ptr(), len: text.len() }
    }

    /// The text, when it is UTF-8 of at most `max` octets.
    ///
    /// # Safety
    /// `ptr` must be null or point to `len` octets that live and stay unchanged for `'a`.
    #[must_use]
    pub unsafe fn read<'a>(self, max: usize) -> Option<&'a str> {
        if self.len == 0 {
            return Some("");
        }
        if self.ptr.is_null() || self.len > max {
            return None;
        }
        // SAFETY: not null, and the caller vouches for `len` octets.
        std::str::from_utf8(unsafe { std::slice::from_raw_parts(self.ptr, self.len) }).ok()
    }
}

/// `mg_error`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Error {
    /// One line for people
    pub text: [u8; 240],
    /// Octets used in `text`
    pub len: u16,
    /// 0
    pub reserved: u16,
    /// `errno`, or 0
    pub os_error: i32,
}

impl Default for Error {
    fn default() -> Self {
        Self { text: [0; 240], len: 0, reserved: 0, os_error: 0 }
    }
}

impl Error {
    /// As much of `text` as there is room for.
    #[must_use]
    pub fn new(text: &str, os_error: i32) -> Self {
        let mut error = Self { os_error, ..Self::default() };
        error.len = u16::try_from(copy_text(text, &mut error.text)).unwrap_or(0);
        error
    }

    /// The text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        let used = self.text.get(..usize::from(self.len)).unwrap_or(&self.text);
        String::from_utf8_lossy(used).into_owned()
    }
}

/// Copies as many whole characters as fit; answers the octets copied.
pub fn copy_text(text: &str, into: &mut [u8]) -> usize {
    let mut len = text.len().min(into.len());
    while !text.is_char_boundary(len) {
        len = len.saturating_sub(1);
    }
    if let (Some(to), Some(from)) = (into.get_mut(..len), text.as_bytes().get(..len)) {
        to.copy_from_slice(from);
    }
    len
}

/// `mg_frame`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The link's number
    pub link: u32,
    /// Where it begins in the batch's data
    pub offset: u32,
    /// In octets
    pub len: u32,
    /// See [`bits`]
    pub bits: u32,
    /// tx: given back in the report
    pub tag: u64,
    /// tx: expiry or 0; rx: arrival
    pub at: u64,
}

/// `mg_batch`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Batch {
    /// All octets
    pub data: *const u8,
    /// How many
    pub data_len: usize,
    /// The frames
    pub frames: *const Frame,
    /// How many
    pub frame_count: u32,
    /// 0
    pub reserved: u32,
}

/// `mg_batch_out`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BatchOut {
    /// Room for octets
    pub data: *mut u8,
    /// How much
    pub data_cap: usize,
    /// How much is used
    pub data_len: usize,
    /// Room for descriptors
    pub frames: *mut Frame,
    /// How many
    pub frame_cap: u32,
    /// How many are used
    pub frame_count: u32,
}

/// `mg_event`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// See [`event`]
    pub kind: u32,
    /// The link, or 0
    pub link: u32,
    /// A link's state, a frame's end or a status
    pub state: u32,
    /// Octets of the longest frame on the link
    pub mtu: u32,
    /// Hops to the peer
    pub hops: u32,
    /// 1/256 dBm
    pub rssi: i32,
    /// The frame's tag; octets refused
    pub tag: u64,
    /// Host time, ns
    pub at: u64,
    /// Round trip, ns
    pub rtt: u64,
    /// Peer address or detail
    pub text: [u8; 72],
    /// Octets used in `text`
    pub text_len: u32,
    /// `MG_R_*`, see [`crate::Reason`]
    pub reason: u32,
}

impl Default for Event {
    fn default() -> Self {
        Self {
            kind: 0,
            link: 0,
            state: 0,
            mtu: 0,
            hops: 0,
            rssi: 0,
            tag: 0,
            at: 0,
            rtt: 0,
            text: [0; 72],
            text_len: 0,
            reason: 0,
        }
    }
}

/// `mg_limits`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// Of this struct
    pub size: u32,
    /// Octets
    pub max_frame: u32,
    /// Frames
    pub tx_queue: u32,
    /// Links
    pub max_links: u32,
}

/// `mg_stats`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Of this struct
    pub size: u32,
    /// Frames taken and not yet at an end
    pub queued: u32,
    /// Links that are up
    pub links: u32,
    /// 0
    pub reserved: u32,
    /// Frames taken by send
    pub tx_frames: u64,
    /// Octets of frames sent
    pub tx_bytes: u64,
    /// Frames received
    pub rx_frames: u64,
    /// Octets of frames received
    pub rx_bytes: u64,
    /// Received frames dropped
    pub dropped: u64,
    /// Frames sent or delivered
    pub tx_sent: u64,
    /// Frames whose time passed
    pub tx_expired: u64,
    /// Frames for a link without room
    pub tx_full: u64,
    /// Frames for no link
    pub tx_link_down: u64,
    /// Frames that failed otherwise
    pub tx_failed: u64,
}

/// `mg_readiness`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// The I/O object
    pub id: u32,
    /// See [`ready`]
    pub ready: u32,
}

/// `mg_step`
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Poll again by then; 0: no need
    pub deadline: u64,
    /// Frames that send would take, about
    pub tx_room: u32,
    /// 1: receive has something
    pub rx_pending: u8,
    /// 1: events has something
    pub events_pending: u8,
    /// 0
    pub reserved: [u8; 2],
}

/// `mg_host`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "named as in the header, which explains them")]
pub struct Host {
    pub size: u32,
    pub abi_minor: u32,
    pub ctx: *mut c_void,
    pub log: Option<unsafe extern "C" fn(*mut c_void, u32, Str)>,
    pub now: Option<unsafe extern "C" fn(*mut c_void) -> u64>,
    pub wall: Option<unsafe extern "C" fn(*mut c_void) -> u64>,
    pub random: Option<unsafe extern "C" fn(*mut c_void, *mut u8, usize)>,
    pub counter_add: Option<unsafe extern "C" fn(*mut c_void, Str, u64)>,
    pub gauge_set: Option<unsafe extern "C" fn(*mut c_void, Str, f64)>,
    pub wake: Option<unsafe extern "C" fn(*mut c_void)>,
    pub io_open: Option<unsafe extern "C" fn(*mut c_void, u32, Str, Str, *mut u32, *mut Error) -> Status>,
    pub io_accept: Option<unsafe extern "C" fn(*mut c_void, u32, *mut u32) -> Status>,
    pub io_read: Option<unsafe extern "C" fn(*mut c_void, u32, *mut u8, u32) -> Status>,
    pub io_write: Option<unsafe extern "C" fn(*mut c_void, u32, *const u8, u32) -> Status>,
    pub io_send: Option<unsafe extern "C" fn(*mut c_void, u32, *const Batch) -> Status>,
    pub io_recv: Option<unsafe extern "C" fn(*mut c_void, u32, *mut BatchOut) -> Status>,
    pub io_peer: Option<unsafe extern "C" fn(*mut c_void, u32, Str, *mut u32) -> Status>,
    pub io_peer_address: Option<unsafe extern "C" fn(*mut c_void, u32, u32, *mut u8, u32) -> Status>,
    pub io_control: Option<unsafe extern "C" fn(*mut c_void, u32, Str, u32) -> Status>,
    pub io_interest: Option<unsafe extern "C" fn(*mut c_void, u32, u32)>,
    pub io_close: Option<unsafe extern "C" fn(*mut c_void, u32)>,
}

/// `mg_instance`: known to the driver alone
#[repr(C)]
#[derive(Debug)]
pub struct Instance {
    _private: [u8; 0],
}

/// `mg_open`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Open {
    /// Of this struct
    pub size: u32,
    /// Longest call, microseconds
    pub call_budget_us: u32,
    /// Of the transport in the graph
    pub name: Str,
    /// A JSON object
    pub config: Str,
    /// Lives until destroy has returned
    pub host: *const Host,
}

/// `mg_plugin`
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "named as in the header, which explains them")]
pub struct Plugin {
    pub size: u32,
    pub abi_major: u32,
    pub abi_minor: u32,
    pub min_host_minor: u32,
    pub features: u32,
    pub reserved: u32,
    pub name: Str,
    pub version: Str,
    pub config_schema: Str,
    pub grants: Str,
    pub open:
        Option<unsafe extern "C" fn(*const Open, *mut *mut Instance, *mut Limits, *mut Error) -> Status>,
    pub start: Option<unsafe extern "C" fn(*mut Instance, u64, *mut Error) -> Status>,
    pub poll: Option<unsafe extern "C" fn(*mut Instance, u64, *const Readiness, u32, *mut Step) -> Status>,
    pub send: Option<unsafe extern "C" fn(*mut Instance, *const Batch) -> Status>,
    pub receive: Option<unsafe extern "C" fn(*mut Instance, *mut BatchOut) -> Status>,
    pub events: Option<unsafe extern "C" fn(*mut Instance, *mut Event, u32) -> Status>,
    pub open_link: Option<unsafe extern "C" fn(*mut Instance, Str, *mut u32, *mut Error) -> Status>,
    pub close_link: Option<unsafe extern "C" fn(*mut Instance, u32)>,
    pub stats: Option<unsafe extern "C" fn(*mut Instance, *mut Stats) -> Status>,
    pub command: Option<unsafe extern "C" fn(*mut Instance, Str, Str, *mut u8, u32) -> Status>,
    pub close: Option<unsafe extern "C" fn(*mut Instance, u64) -> Status>,
    pub destroy: Option<unsafe extern "C" fn(*mut Instance)>,
}

// SAFETY: the table is constant and its texts live for ever; nothing in it is written.
unsafe impl Sync for Plugin {}

/// The entry function of a plugin.
pub type Entry = unsafe extern "C" fn(host_minor: u32) -> *const Plugin;
