//! A stream within this process: what a simulated device and a driver exchange. No file, no thread, no time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Octets that wait in one direction; a writer beyond it waits.
pub const PIPE_OCTETS: usize = 65_536;

#[derive(Debug, Default)]
struct Ways {
    /// To the first end, to the second.
    waiting: [VecDeque<u8>; 2],
    closed: [bool; 2],
}

/// One end of a pipe. Clones are the same end.
#[derive(Clone, Debug)]
pub struct PipeEnd {
    ways: Arc<Mutex<Ways>>,
    end: usize,
}

impl PartialEq for PipeEnd {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.ways, &other.ways) && self.end == other.end
    }
}

impl Eq for PipeEnd {}

/// Why nothing was read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipeError {
    /// Nothing waits, or there is no room.
    WouldBlock,
    /// The other end is closed, and what it wrote is read.
    Closed,
}

impl PipeEnd {
    /// Both ends of a new pipe.
    #[must_use]
    pub fn pair() -> (Self, Self) {
        let ways = Arc::<Mutex<Ways>>::default();
        (Self { ways: Arc::clone(&ways), end: 0 }, Self { ways, end: 1 })
    }

    fn ways(&self) -> MutexGuard<'_, Ways> {
        self.ways.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn other(&self) -> usize {
        1_usize.saturating_sub(self.end)
    }

    /// Reads as much as waits and fits; at least one octet.
    ///
    /// # Errors
    /// [`PipeError`].
    pub fn read(&self, into: &mut [u8]) -> Result<usize, PipeError> {
        let mut ways = self.ways();
        let closed = ways.closed.get(self.other()).copied().unwrap_or(true);
        let Some(waiting) = ways.waiting.get_mut(self.end) else { return Err(PipeError::Closed) };
        let count = waiting.len().min(into.len());
        if count == 0 {
            return Err(if closed { PipeError::Closed } else { PipeError::WouldBlock });
        }
        into.iter_mut().zip(waiting.drain(..count)).for_each(|(to, from)| *to = from);
        Ok(count)
    }

    /// Writes as much as there is room for; at least one octet.
    ///
    /// # Errors
    /// [`PipeError`].
    pub fn write(&self, octets: &[u8]) -> Result<usize, PipeError> {
        let mut ways = self.ways();
        if ways.closed.iter().any(|closed| *closed) {
            return Err(PipeError::Closed);
        }
        let other = self.other();
        let Some(waiting) = ways.waiting.get_mut(other) else { return Err(PipeError::Closed) };
        let count = PIPE_OCTETS.saturating_sub(waiting.len()).min(octets.len());
        if count == 0 {
            return Err(PipeError::WouldBlock);
        }
        waiting.extend(octets.iter().take(count));
        Ok(count)
    }

    /// Whether a read answers something, and a write takes something; an end counts.
    #[must_use]
    pub fn ready(&self) -> (bool, bool) {
        let ways = self.ways();
        let is_closed = ways.closed.iter().any(|closed| *closed);
        let readable = is_closed || ways.waiting.get(self.end).is_some_and(|waiting| !waiting.is_empty());
        let waiting = ways.waiting.get(self.other()).map_or(0, VecDeque::len);
        (readable, is_closed || waiting < PIPE_OCTETS)
    }

    /// Closes this end: the other one reads what was written, then its end.
    pub fn close(&self) {
        if let Some(closed) = self.ways().closed.get_mut(self.end) {
            *closed = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_come_out_in_order_and_the_end_after_them() {
        let (here, there) = PipeEnd::pair();
        let mut into = [0; 4];
        assert_eq!(there.read(&mut into), Err(PipeError::WouldBlock));
        assert_eq!((here.write(b"abcdef"), there.ready()), (Ok(6), (true, true)));
        here.close();
        assert_eq!((there.read(&mut into), &into), (Ok(4), b"abcd"));
        assert_eq!((there.read(&mut into), &into[..2]), (Ok(2), &b"ef"[..]));
        assert_eq!(there.read(&mut into), Err(PipeError::Closed));
        assert_eq!(there.write(b"x"), Err(PipeError::Closed));
    }

    #[test]
    fn a_full_pipe_takes_no_more_until_it_is_read() {
        let (here, there) = PipeEnd::pair();
        assert_eq!(here.write(&vec![7; PIPE_OCTETS + 5]), Ok(PIPE_OCTETS));
        assert_eq!((here.write(b"x"), here.ready()), (Err(PipeError::WouldBlock), (false, false)));
        assert_eq!(there.read(&mut [0; 3]), Ok(3));
        assert_eq!(here.write(b"wxyz"), Ok(3));
    }
}
