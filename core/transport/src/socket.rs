//! System calls on sockets that the standard library does not have.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};

/// Connections that may wait to be accepted; the kernel has a limit of its own (`somaxconn`).
const BACKLOG: i32 = 4096;
/// A quiet connection is probed after so many seconds,
const KEEPALIVE_IDLE_S: i32 = 60;
/// so often,
const KEEPALIVE_INTERVAL_S: i32 = 15;
/// and given up after so many probes.
const KEEPALIVE_PROBES: i32 = 4;
/// Octets unacknowledged for so many milliseconds end the connection.
const USER_TIMEOUT_MS: i32 = 120_000;

/// A listener that does not block, with a long queue; `SO_REUSEADDR` is set.
///
/// # Errors
/// The operating system's.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    // SAFETY: the descriptor is an open, bound socket; to listen again sets only the queue.
    if unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(listener)
}

/// Begins a connection and does not wait for it.
///
/// # Errors
/// The operating system's, when it cannot even begin.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers; the answer is checked.
    let fd = unsafe { libc::socket(family, kind, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is an open socket and nobody else has it.
    let stream = unsafe { TcpStream::from_raw_fd(fd) };
    let code = match address {
        SocketAddr::V4(v4) => {
            // SAFETY: all zeros is a valid value of this plain C struct.
            let mut raw: libc::sockaddr_in = unsafe { std::mem::zeroed() };
            raw.sin_family = libc::AF_INET as libc::sa_family_t;
            raw.sin_port = v4.port().to_be();
            raw.sin_addr.s_addr = u32::from_ne_bytes(v4.ip().octets());
            // SAFETY: `raw` is a whole IPv4 address and lives for the call.
            unsafe { libc::connect(fd, (&raw const raw).cast(), size_of_val(&raw) as libc::socklen_t) }
        }
        SocketAddr::V6(v6) => {
            // SAFETY: all zeros is a valid value of this plain C struct.
            let mut raw: libc::sockaddr_in6 = unsafe { std::mem::zeroed() };
            raw.sin6_family = libc::AF_INET6 as libc::sa_family_t;
            raw.sin6_port = v6.port().to_be();
            raw.sin6_addr.s6_addr = v6.ip().octets();
            raw.sin6_scope_id = v6.scope_id();
            // SAFETY: `raw` is a whole IPv6 address and lives for the call.
            unsafe { libc::connect(fd, (&raw const raw).cast(), size_of_val(&raw) as libc::socklen_t) }
        }
    };
    if code < 0 {
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINPROGRESS) {
            return Err(error);
        }
    }
    Ok(stream)
}

/// What every connection gets: no blocking, no delay, and an end to half-open ones.
///
/// # Errors
/// The operating system's.
pub fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    set(stream, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, KEEPALIVE_IDLE_S)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, KEEPALIVE_PROBES)?;
    set(stream, libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
}

fn set(stream: &TcpStream, level: i32, name: i32, value: i32) -> io::Result<()> {
    let len = size_of::<i32>() as libc::socklen_t;
    // SAFETY: the socket is open; `len` octets are read from `value`.
    let code = unsafe { libc::setsockopt(stream.as_raw_fd(), level, name, (&raw const value).cast(), len) };
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads into memory that need not be initialised; 0 is the end of the stream.
///
/// # Safety
/// `into` must be writable for `len` octets.
///
/// # Errors
/// The operating system's.
pub unsafe fn read(stream: &TcpStream, into: *mut u8, len: usize) -> io::Result<usize> {
    // SAFETY: the socket is open; the caller vouches for `into`.
    let count = unsafe { libc::recv(stream.as_raw_fd(), into.cast(), len, libc::MSG_DONTWAIT) };
    usize::try_from(count).map_err(|_| io::Error::last_os_error())
}

/// Throws away what has been received: a socket closed with octets unread is reset, which could cost the
/// peer the last ones that it was sent.
pub fn discard(stream: &TcpStream) {
    let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
    // SAFETY: with MSG_TRUNC a TCP socket writes nothing to the pointer (tcp(7)). A failure leaves all as is.
    let _ = unsafe { libc::recv(stream.as_raw_fd(), std::ptr::null_mut(), 1 << 24, flags) };
}

/// Lets this process open as many files as it may (`RLIMIT_NOFILE`), and answers how many that is.
///
/// # Errors
/// The operating system's.
pub fn raise_file_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is writable for the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: `limit` lives for the call.
    if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit.rlim_cur)
}
