//! What waits to be written to one link: octets in one piece, so that many frames are one write.

use std::collections::VecDeque;

/// Memory that an empty queue keeps, octets.
const KEEP_OCTETS_MAX: usize = 8192;

/// A frame that has come to an end, or waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Octets
    pub len: u32,
    /// Given back in the report.
    pub tag: u64,
    /// Whether a report is wanted.
    pub report: bool,
    /// Not to be sent after; 0: no limit. Host time, ns.
    pub expiry: u64,
}

/// The queue of one link.
#[derive(Debug, Default)]
pub struct TxQueue {
    data: Vec<u8>,
    head: usize,
    marks: VecDeque<Mark>,
    /// Octets of the first frame that are written already.
    begun: usize,
}

impl TxQueue {
    /// Octets that wait.
    pub fn waiting(&self) -> &[u8] {
        self.data.get(self.head..).unwrap_or_default()
    }

    /// Whether nothing waits; a frame of no octets never does.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Appends a frame.
    pub fn push(&mut self, octets: &[u8], mark: Mark) {
        self.data.extend_from_slice(octets);
        self.marks.push_back(mark);
    }

    /// Counts octets as written and gives each frame that is complete to `sent`.
    pub fn written(&mut self, octets: usize, mut sent: impl FnMut(Mark)) {
        self.head = self.head.saturating_add(octets).min(self.data.len());
        self.begun = self.begun.saturating_add(octets);
        while let Some(&mark) = self.marks.front() {
            let len = mark.len as usize;
            if self.begun < len {
                break;
            }
            self.begun = self.begun.saturating_sub(len);
            self.marks.pop_front();
            sent(mark);
        }
        if self.head == self.data.len() {
            self.data.clear();
            self.head = 0;
            if self.data.capacity() > KEEP_OCTETS_MAX {
                self.data = Vec::new();
            }
        } else if self.head > self.data.len() / 2 {
            self.data.drain(..self.head);
            self.head = 0;
        }
    }

    /// Takes out frames whose time has passed and of which nothing is written, and gives each to `expired`.
    pub fn expire(&mut self, now: u64, mut expired: impl FnMut(Mark)) {
        let begun = self.begun;
        let is_late =
            |place: usize, mark: &Mark| mark.expiry != 0 && mark.expiry < now && !(place == 0 && begun > 0);
        if !self.marks.iter().enumerate().any(|(place, mark)| is_late(place, mark)) {
            return;
        }
        let old = std::mem::take(&mut self.data);
        let mut at = self.head;
        self.head = 0;
        for (place, mark) in std::mem::take(&mut self.marks).into_iter().enumerate() {
            let left = (mark.len as usize).saturating_sub(if place == 0 { begun } else { 0 });
            let end = at.saturating_add(left);
            if is_late(place, &mark) {
                expired(mark);
            } else {
                self.data.extend_from_slice(old.get(at..end).unwrap_or_default());
                self.marks.push_back(mark);
            }
            at = end;
        }
    }

    /// Empties it; gives the frames that were not sent.
    pub fn take_all(&mut self) -> VecDeque<Mark> {
        self.data = Vec::new();
        (self.head, self.begun) = (0, 0);
        std::mem::take(&mut self.marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(len: u32, tag: u64, expiry: u64) -> Mark {
        Mark { len, tag, report: false, expiry }
    }

    #[test]
    fn frames_end_when_their_last_octet_is_written() {
        let mut queue = TxQueue::default();
        queue.push(b"abc", mark(3, 1, 0));
        queue.push(b"de", mark(2, 2, 0));
        let mut sent = Vec::new();
        queue.written(2, |mark| sent.push(mark.tag));
        assert_eq!((sent.len(), queue.waiting()), (0, &b"cde"[..]));
        queue.push(b"f", mark(1, 3, 0));
        queue.written(3, |mark| sent.push(mark.tag));
        assert_eq!((&sent[..], queue.waiting()), (&[1, 2][..], &b"f"[..]));
        queue.written(1, |mark| sent.push(mark.tag));
        assert!(queue.is_empty() && queue.waiting().is_empty());
        assert_eq!(sent, [1, 2, 3]);
    }

    #[test]
    fn a_late_frame_goes_unless_it_has_begun() {
        let mut queue = TxQueue::default();
        queue.push(b"abc", mark(3, 1, 5));
        queue.push(b"de", mark(2, 2, 5));
        queue.push(b"fg", mark(2, 3, 50));
        queue.written(1, |_| {});
        let mut late = Vec::new();
        queue.expire(5, |mark| late.push(mark.tag));
        assert!(late.is_empty());
        queue.expire(10, |mark| late.push(mark.tag));
        assert_eq!((&late[..], queue.waiting()), (&[2][..], &b"bcfg"[..]));
        let left: Vec<u64> = queue.take_all().into_iter().map(|mark| mark.tag).collect();
        assert_eq!(left, [1, 3]);
    }
}
