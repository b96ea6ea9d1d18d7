//! Serial lines and pseudoterminals (termios(3), tty_ioctl(4)).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

use crate::grants::SerialLine;

/// Rates that a line can run at, bits a second.
const SPEEDS: [(u32, libc::speed_t); 12] = [
    (9_600, libc::B9600),
    (19_200, libc::B19200),
    (38_400, libc::B38400),
    (57_600, libc::B57600),
    (115_200, libc::B115200),
    (230_400, libc::B230400),
    (460_800, libc::B460800),
    (500_000, libc::B500000),
    (576_000, libc::B576000),
    (921_600, libc::B921600),
    (1_000_000, libc::B1000000),
    (2_000_000, libc::B2000000),
];

/// The constant of a rate; `None` where lines do not run at it.
#[must_use]
pub fn speed(baud: u32) -> Option<libc::speed_t> {
    SPEEDS.iter().find(|(rate, _)| *rate == baud).map(|(_, speed)| *speed)
}

/// Opens a line for this process alone, raw and without blocking.
///
/// # Errors
/// The operating system's; `ErrorKind::InvalidInput` for a rate that lines do not run at.
pub fn open(line: &SerialLine) -> io::Result<File> {
    let flags = libc::O_NOCTTY | libc::O_NONBLOCK | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&line.device)?;
    let fd = file.as_raw_fd();
    // SAFETY: no pointers; whoever else opens the line is refused until it is closed.
    check(unsafe { libc::ioctl(fd, libc::TIOCEXCL) })?;
    let mut termios = termios(fd)?;
    // SAFETY: `termios` is a whole struct that lives for the call.
    unsafe { libc::cfmakeraw(&raw mut termios) };
    termios.c_cflag |= libc::CLOCAL | libc::CREAD;
    apply(fd, &mut termios, line.baud, line.rts_cts)?;
    // SAFETY: no pointers; what came before the line was ours is not for us.
    check(unsafe { libc::tcflush(fd, libc::TCIOFLUSH) })?;
    Ok(file)
}

/// Changes a line: `baud`, `rts-cts`, `dtr`, `rts`, `break`.
///
/// # Errors
/// The operating system's: `ENOTTY` where a pseudoterminal has no such wire; `ErrorKind::InvalidInput` for
/// another name or value.
pub fn control(file: &File, name: &str, value: u32) -> io::Result<()> {
    let fd = file.as_raw_fd();
    let on = match value {
        0 => false,
        1 => true,
        _ if name == "baud" => false,
        _ => return Err(io::Error::from(io::ErrorKind::InvalidInput)),
    };
    match name {
        "baud" => {
            let mut termios = termios(fd)?;
            let rts_cts = termios.c_cflag & libc::CRTSCTS != 0;
            apply(fd, &mut termios, value, rts_cts)
        }
        "rts-cts" => {
            let mut termios = termios(fd)?;
            // SAFETY: `termios` is a whole struct that lives for the call.
            let speed = unsafe { libc::cfgetospeed(&raw const termios) };
            let baud = SPEEDS.iter().find(|(_, constant)| *constant == speed).map_or(0, |(rate, _)| *rate);
            apply(fd, &mut termios, baud, on)
        }
        "dtr" => wire(fd, libc::TIOCM_DTR, on),
        "rts" => wire(fd, libc::TIOCM_RTS, on),
        "break" => {
            // SAFETY: no pointers.
            check(unsafe { libc::ioctl(fd, if on { libc::TIOCSBRK } else { libc::TIOCCBRK }) })
        }
        _ => Err(io::Error::from(io::ErrorKind::InvalidInput)),
    }
}

fn termios(fd: RawFd) -> io::Result<libc::termios> {
    // SAFETY: all zeros is a valid value of this plain C struct.
    let mut termios: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: `termios` is writable for the call.
    check(unsafe { libc::tcgetattr(fd, &raw mut termios) })?;
    Ok(termios)
}

fn apply(fd: RawFd, termios: &mut libc::termios, baud: u32, rts_cts: bool) -> io::Result<()> {
    let speed = speed(baud).ok_or(io::ErrorKind::InvalidInput)?;
    if rts_cts {
        termios.c_cflag |= libc::CRTSCTS;
    } else {
        termios.c_cflag &= !libc::CRTSCTS;
    }
    // SAFETY: `termios` is a whole struct that lives for the call.
    check(unsafe { libc::cfsetspeed(&raw mut *termios, speed) })?;
    // SAFETY: as above; it is only read.
    check(unsafe { libc::tcsetattr(fd, libc::TCSANOW, &raw const *termios) })
}

fn wire(fd: RawFd, which: libc::c_int, on: bool) -> io::Result<()> {
    let request = if on { libc::TIOCMBIS } else { libc::TIOCMBIC };
    // SAFETY: the request reads one int, which lives for the call.
    check(unsafe { libc::ioctl(fd, request, &raw const which) })
}

fn check(code: libc::c_int) -> io::Result<()> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
