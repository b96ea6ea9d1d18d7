//! Frames on their way out: queues, writes, and the one end of each.

use transport_sdk::abi::{ready, status};
use transport_sdk::{Event, Host, Reason, TxEnd};

use crate::driver::{Tcp, link_fault};
use crate::links::Link;
use crate::tx_queue::{Mark, TxQueue};

impl Tcp {
    /// Puts a frame into the queue of its link, or answers at once what becomes of it.
    pub(crate) fn queue(
        &mut self,
        host: &Host<'_>,
        number: u32,
        octets: &[u8],
        mark: Mark,
        now: u64,
    ) -> Option<TxEnd> {
        let octets_max = self.config.tx_queue_octets;
        let is_full = |link: &Link| {
            let waiting = link.tx.waiting().len();
            !link.tx.is_empty() && waiting.saturating_add(octets.len()) > octets_max
        };
        let Some(link) = self.links.sending(number) else { return Some(TxEnd::LinkDown) };
        if octets.is_empty() || octets.len() > self.config.frame_max {
            return Some(TxEnd::Failed);
        }
        if mark.expiry != 0 && mark.expiry < now {
            return Some(TxEnd::Expired);
        }
        // Full is a link whose connection takes no more, not one that has not been written to yet.
        if is_full(link) && !link.blocked {
            self.flush(host, number, now);
        }
        let Some(link) = self.links.sending(number) else { return Some(TxEnd::LinkDown) };
        if is_full(link) {
            return Some(TxEnd::Full);
        }
        link.tx.push(octets, mark);
        if !link.dirty && !link.blocked {
            link.dirty = true;
            self.to_write.push_back(number);
        }
        self.stats.queued = self.stats.queued.saturating_add(1);
        self.tx_octets = self.tx_octets.saturating_add(octets.len());
        None
    }

    /// Puts a frame into the queue of every link that is made, once each: a relay spreads it further. The
    /// copies are counted as one frame each beside the first, and one report speaks of all of them: sent, when
    /// any link took it. They may pass the limit of all links; the next frame then waits.
    pub(crate) fn broadcast(&mut self, host: &Host<'_>, octets: &[u8], mark: Mark, now: u64) {
        let copy = Mark { report: false, ..mark };
        let mut best = None;
        for (number, copies) in self.links.sending_numbers().into_iter().zip(0_u64..) {
            self.stats.tx_frames = self.stats.tx_frames.saturating_add(u64::from(copies > 0));
            let end = self.queue(host, number, octets, copy, now);
            if let Some(end) = end {
                self.end_frame(number, copy, end, now);
            }
            best = match (best, end) {
                (Some(TxEnd::Sent), _) | (_, None) => Some(TxEnd::Sent),
                (_, Some(end)) => Some(end),
            };
        }
        match best {
            // Not one link: the frame ends here.
            None => self.end_frame(0, mark, TxEnd::LinkDown, now),
            Some(end) if mark.report => {
                self.events.push_back(Event::Tx { tag: mark.tag, link: 0, end, at: now })
            }
            Some(_) => {}
        }
    }

    /// Writes what waits on one link, as much as its connection takes.
    pub(crate) fn flush(&mut self, host: &Host<'_>, number: u32, now: u64) {
        let Some(link) = self.links.get_mut(number) else { return };
        link.dirty = false;
        let mut tx = std::mem::take(&mut link.tx);
        let (io, was_blocked) = (link.io, link.blocked);
        let before = tx.waiting().len();
        if was_blocked {
            tx.expire(now, |mark| {
                self.stats.queued = self.stats.queued.saturating_sub(1);
                self.end_frame(number, mark, TxEnd::Expired, now);
            });
        }
        let mut failed = None;
        let mut blocked = false;
        while !tx.waiting().is_empty() && !blocked {
            match host.io_write(io, tx.waiting()) {
                Ok(written) => {
                    blocked = written < tx.waiting().len();
                    tx.written(written, |mark| {
                        self.stats.queued = self.stats.queued.saturating_sub(1);
                        self.end_frame(number, mark, TxEnd::Sent, now);
                    });
                }
                Err(status::WOULD_BLOCK) => blocked = true,
                Err(code) => {
                    failed = Some(link_fault(code));
                    break;
                }
            }
        }
        let after = tx.waiting().len();
        self.tx_octets = self.tx_octets.saturating_sub(before.saturating_sub(after));
        let Some(link) = self.links.get_mut(number) else { return };
        link.tx = tx;
        if after < before {
            link.active = now;
        }
        if blocked != link.blocked {
            link.blocked = blocked;
            let reading = if link.queued { 0 } else { ready::READABLE };
            host.io_interest(io, reading | if blocked { ready::WRITABLE } else { 0 });
        }
        if let Some(reason) = failed {
            self.break_link(host, number, reason, now);
        }
    }

    /// A link that takes nothing more: what the peer sent before is still read, then it ends.
    fn break_link(&mut self, host: &Host<'_>, number: u32, reason: Reason, now: u64) {
        let Some(link) = self.links.get_mut(number) else { return };
        (link.broken, link.blocked) = (Some(reason), false);
        host.io_interest(link.io, 0);
        if !link.queued {
            link.queued = true;
            self.to_read.push_back(number);
        }
        let mut tx = std::mem::take(&mut link.tx);
        self.end_queue(number, &mut tx, now);
    }

    /// Brings what waits on a link to its end: nothing is sent there any more.
    pub(crate) fn end_queue(&mut self, number: u32, tx: &mut TxQueue, now: u64) {
        self.tx_octets = self.tx_octets.saturating_sub(tx.waiting().len());
        for mark in tx.take_all() {
            self.stats.queued = self.stats.queued.saturating_sub(1);
            self.end_frame(number, mark, TxEnd::LinkDown, now);
        }
    }

    /// Counts the end of one frame that was taken, and reports it where that was asked for.
    pub(crate) fn end_frame(&mut self, link: u32, mark: Mark, end: TxEnd, at: u64) {
        let stats = &mut self.stats;
        let count = match end {
            TxEnd::Delivered | TxEnd::Sent => {
                stats.tx_bytes = stats.tx_bytes.saturating_add(u64::from(mark.len));
                &mut stats.tx_sent
            }
            TxEnd::Expired => &mut stats.tx_expired,
            TxEnd::Full => &mut stats.tx_full,
            TxEnd::LinkDown => &mut stats.tx_link_down,
            TxEnd::Failed => &mut stats.tx_failed,
        };
        *count = count.saturating_add(1);
        if mark.report {
            self.events.push_back(Event::Tx { tag: mark.tag, link, end, at });
        }
    }
}
