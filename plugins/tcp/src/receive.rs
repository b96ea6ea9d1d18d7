//! Reading links and cutting what they bring into frames.

use transport_sdk::abi::{ready, status};
use transport_sdk::{BatchOut, Host, Reason};

use crate::driver::{Tcp, link_fault};
use crate::framing::{FramingError, frame_len};

/// Octets asked for in one read.
const READ_MAX: usize = 65_536;
/// Links read in one call.
const READS_MAX: usize = 256;
/// With less room than this the batch is handed on first.
const READ_MIN: usize = 4096;
/// Memory that a link keeps for the beginning of a frame, octets.
const KEEP_OCTETS_MAX: usize = 4096;

/// What was found in a piece of a stream.
struct Cut {
    /// Frames handed on.
    frames: u64,
    /// Where in the batch they end.
    end: usize,
    /// Whole frames may follow: the batch had no place for more.
    full: bool,
    /// What follows is no frame.
    fault: Option<FramingError>,
}

/// Describes the whole frames among the octets from `begin` on.
fn cut(out: &mut BatchOut<'_>, begin: usize, link: u32, frame_max: usize, now: u64) -> Cut {
    let mut cut = Cut { frames: 0, end: begin, full: false, fault: None };
    loop {
        let rest = out.data().get(cut.end..).unwrap_or_default();
        match frame_len(rest, frame_max) {
            Ok(Some(len)) if len <= rest.len() => {
                if !out.push(link, cut.end, len, now) {
                    cut.full = true;
                    return cut;
                }
                cut.end = cut.end.saturating_add(len);
                cut.frames = cut.frames.saturating_add(1);
            }
            Ok(_) => return cut,
            Err(fault) => {
                cut.fault = Some(fault);
                return cut;
            }
        }
    }
}

/// The reason and the words for octets that are no frame.
fn explain(fault: FramingError) -> (Reason, String) {
    match fault {
        FramingError::Tag(tag) => (Reason::Framing, format!("a frame begins with {tag:02x}, not 60")),
        FramingError::Indefinite => (Reason::Framing, "indefinite length".to_owned()),
        FramingError::Length => (Reason::Framing, "a length of too many octets".to_owned()),
        FramingError::Oversize(len) => (Reason::Oversize, format!("a frame of {len} octets")),
    }
}

impl Tcp {
    /// Fills `out` from the links that have something to read, in turn.
    pub(crate) fn read_links(&mut self, host: &Host<'_>, out: &mut BatchOut<'_>) {
        let now = host.now();
        for _ in 0..READS_MAX {
            let Some(&number) = self.to_read.front() else { return };
            let Some(link) = self.links.get_mut(number) else {
                self.to_read.pop_front();
                continue;
            };
            // Whole frames that are held need no reading, so no more room than themselves.
            let needed = link.rx.len().saturating_add(if link.rx_whole { 0 } else { READ_MIN });
            if out.frame_room() == 0 || out.room() < needed || self.events_full() {
                return;
            }
            self.to_read.pop_front();
            self.read_link(host, number, out, now);
        }
    }

    /// Reads one link once, straight into the batch; the beginning of a frame goes back to the link.
    fn read_link(&mut self, host: &Host<'_>, number: u32, out: &mut BatchOut<'_>, now: u64) {
        let Some(link) = self.links.get_mut(number) else { return };
        let begin = out.len();
        let held = link.rx.len();
        if !out.append(&link.rx) {
            self.to_read.push_back(number);
            return;
        }
        link.rx.clear();
        let asked = out.room().min(READ_MAX);
        let read = if link.rx_whole { Ok(asked) } else { out.read(host, link.io, asked) };
        if read.is_ok() {
            link.active = now;
        }
        let cut = cut(out, begin, number, self.config.frame_max, now);
        let rest = out.data().get(cut.end..).unwrap_or_default();
        let refused = rest.len();
        if cut.fault.is_none() {
            link.rx.extend_from_slice(rest);
        }
        out.truncate(cut.end);
        if link.rx.is_empty() && link.rx.capacity() > KEEP_OCTETS_MAX {
            link.rx = Vec::new();
        }
        link.rx_whole = cut.full;
        if link.rx.is_empty() || cut.full {
            link.frame_deadline = 0;
        } else if cut.frames > 0 || held == 0 || link.frame_deadline == 0 {
            link.frame_deadline = now.saturating_add(self.config.frame_timeout);
        }
        let handed = cut.end.saturating_sub(begin) as u64;
        self.stats.rx_frames = self.stats.rx_frames.saturating_add(cut.frames);
        self.stats.rx_bytes = self.stats.rx_bytes.saturating_add(handed);

        if let Some(fault) = cut.fault {
            let (reason, text) = explain(fault);
            self.refuse(number, reason, refused, &text);
            self.end_link(host, number, reason, now);
            return;
        }
        let (io, unfinished, broken) = (link.io, !link.rx.is_empty(), link.broken);
        match (read, broken) {
            (Ok(read), _) if cut.full || read >= asked => self.to_read.push_back(number),
            (Ok(_), Some(_)) => self.to_read.push_back(number),
            (Ok(_) | Err(status::WOULD_BLOCK), None) => {
                link.queued = false;
                host.io_interest(io, ready::READABLE | if link.blocked { ready::WRITABLE } else { 0 });
                self.arm(number);
            }
            (Err(_), Some(reason)) => self.end_link(host, number, reason, now),
            (Err(status::CLOSED), None) if unfinished => {
                self.end_link(host, number, Reason::ClosedMidFrame, now);
            }
            (Err(code), None) => self.end_link(host, number, link_fault(code), now),
        }
    }
}
