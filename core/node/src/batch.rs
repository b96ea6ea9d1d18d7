//! A batch: one contiguous buffer and the descriptors of the frames in it.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

/// Buffers that grew past this many octets are not kept for the next batch.
const KEEP_OCTETS_MAX: usize = 1 << 20;

/// One frame of a [`Batch`]: the octets `offset .. offset + len` of its data.
///
/// The layout is that of `mg_frame` in the transport contract, so a driver writes straight into a batch.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// The communication peer, numbered by its transport; with [`Frame::transport`] it is unique.
    pub link: u32,
    /// Where the frame begins in the batch's data, in octets.
    pub offset: u32,
    /// Its length in octets.
    pub len: u32,
    /// `PRIORITY`, `BROADCAST`, `REPORT`; the top octet is the transport's number.
    pub bits: u32,
    /// Meaning set by the port: a partition, a correlation value, a record kind.
    pub tag: u64,
    /// Time of arrival, or of expiry: monotonic nanoseconds, 0 for none.
    pub at: u64,
}

impl Frame {
    /// Goes before others where a queue has classes.
    pub const PRIORITY: u32 = 1;
    /// Meant for every end device behind the link.
    pub const BROADCAST: u32 = 2;
    /// The sender wants to know what became of it.
    pub const REPORT: u32 = 4;

    /// The number of the transport that `link` belongs to.
    #[must_use]
    pub fn transport(&self) -> u8 {
        (self.bits >> 24) as u8
    }

    /// The same frame, belonging to the transport of this number.
    #[must_use]
    pub fn with_transport(mut self, transport: u8) -> Self {
        self.bits = (self.bits & 0x00ff_ffff) | (u32::from(transport) << 24);
        self
    }
}

/// The two vectors of a batch, as they wait in a pool.
#[derive(Debug, Default)]
struct Buffers {
    data: Vec<u8>,
    frames: Vec<Frame>,
}

/// One contiguous buffer with the descriptors of its frames; its memory returns to its pool on drop.
#[derive(Debug, Default)]
pub struct Batch {
    /// The octets of all frames.
    pub data: Vec<u8>,
    /// The frames, in order.
    pub frames: Vec<Frame>,
    home: Option<Arc<ArrayQueue<Buffers>>>,
}

impl Batch {
    /// Number of frames.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether it holds no frame.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The octets of a frame, or `None` when the descriptor points outside the data.
    #[must_use]
    pub fn octets(&self, frame: &Frame) -> Option<&[u8]> {
        let start = frame.offset as usize;
        self.data.get(start..start.checked_add(frame.len as usize)?)
    }

    /// As [`Self::octets`], to be changed in place.
    pub fn octets_mut(&mut self, frame: &Frame) -> Option<&mut [u8]> {
        let start = frame.offset as usize;
        self.data.get_mut(start..start.checked_add(frame.len as usize)?)
    }

    /// Appends a frame: copies `octets`, sets offset and length of `frame`.
    ///
    /// Answers `false`, and changes nothing, when the batch would pass 4 GiB.
    pub fn push(&mut self, octets: &[u8], mut frame: Frame) -> bool {
        let (Ok(offset), Ok(len)) = (u32::try_from(self.data.len()), u32::try_from(octets.len())) else {
            return false;
        };
        if offset.checked_add(len).is_none() {
            return false;
        }
        self.data.extend_from_slice(octets);
        frame.offset = offset;
        frame.len = len;
        self.frames.push(frame);
        true
    }

    /// Appends a frame whose octets `write` puts at the end of the data; what it returns is passed on.
    pub fn push_with<R>(&mut self, mut frame: Frame, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let start = self.data.len();
        let result = write(&mut self.data);
        // Past 4 GiB a frame is empty rather than another one's octets.
        let len = self.data.len().saturating_sub(start);
        (frame.offset, frame.len) = match (u32::try_from(start), u32::try_from(len)) {
            (Ok(offset), Ok(len)) => (offset, len),
            _ => (0, 0),
        };
        self.frames.push(frame);
        result
    }

    /// Empties it, keeping its memory.
    pub fn clear(&mut self) {
        self.data.clear();
        self.frames.clear();
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(home) = self.home.take() {
            let mut buffers =
                Buffers { data: std::mem::take(&mut self.data), frames: std::mem::take(&mut self.frames) };
            if buffers.data.capacity() <= KEEP_OCTETS_MAX {
                buffers.data.clear();
                buffers.frames.clear();
                // A full pool lets the memory go.
                drop(home.push(buffers));
            }
        }
    }
}

/// Recycles the memory of batches: taking and returning one allocates nothing once warm.
#[derive(Clone, Debug)]
pub struct BatchPool {
    spare: Arc<ArrayQueue<Buffers>>,
}

impl BatchPool {
    /// A pool that keeps at most `batches_max` (at least 1) spare batches.
    #[must_use]
    pub fn new(batches_max: usize) -> Self {
        Self { spare: Arc::new(ArrayQueue::new(batches_max.max(1))) }
    }

    /// An empty batch.
    #[must_use]
    pub fn take(&self) -> Batch {
        let Buffers { data, frames } = self.spare.pop().unwrap_or_default();
        Batch { data, frames, home: Some(Arc::clone(&self.spare)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_returns_to_the_pool() {
        let pool = BatchPool::new(2);
        let mut batch = pool.take();
        assert!(batch.push(&[1, 2, 3], Frame::default()));
        let capacity = batch.data.capacity();
        drop(batch);
        let again = pool.take();
        assert_eq!(again.data.capacity(), capacity);
        assert!(again.is_empty() && again.data.is_empty());
    }

    #[test]
    fn a_descriptor_outside_the_data_gives_nothing() {
        let mut batch = Batch::default();
        assert!(batch.push(b"abc", Frame::default()));
        assert!(batch.octets(&Frame { offset: 1, len: 3, ..Frame::default() }).is_none());
        assert!(batch.octets(&Frame { offset: u32::MAX, len: u32::MAX, ..Frame::default() }).is_none());
        assert_eq!(batch.octets(&batch.frames[0]), Some(&b"abc"[..]));
    }

    #[test]
    fn transport_number_rides_in_the_top_octet() {
        let frame = Frame { bits: Frame::REPORT, ..Frame::default() }.with_transport(7);
        assert_eq!((frame.transport(), frame.bits & 0xff), (7, Frame::REPORT));
    }

    #[test]
    fn a_huge_buffer_is_not_kept() {
        let pool = BatchPool::new(1);
        let mut batch = pool.take();
        batch.data.reserve(KEEP_OCTETS_MAX + 1);
        drop(batch);
        assert_eq!(pool.take().data.capacity(), 0);
    }

    proptest::proptest! {
        #[test]
        fn every_frame_keeps_its_octets(
            frames in proptest::collection::vec(proptest::collection::vec(0_u8.., 0..40), 0..40),
            copied in proptest::bool::ANY,
        ) {
            let mut batch = Batch::default();
            for octets in &frames {
                if copied {
                    assert!(batch.push(octets, Frame::default()));
                } else {
                    batch.push_with(Frame::default(), |data| data.extend_from_slice(octets));
                }
            }
            let read: Vec<&[u8]> = batch.frames.iter().map(|frame| batch.octets(frame).unwrap()).collect();
            assert_eq!(read, frames);
        }
    }
}
