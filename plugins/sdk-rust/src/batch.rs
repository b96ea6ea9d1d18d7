//! Batches as a driver sees them: frames to send, and room for frames received.

use std::marker::PhantomData;

use crate::abi::{self, Frame, status};
use crate::host::Host;

/// Frames to send, borrowed for one call.
#[derive(Clone, Copy, Debug)]
pub struct BatchIn<'call> {
    data: &'call [u8],
    frames: &'call [Frame],
}

impl<'call> BatchIn<'call> {
    /// A batch over these octets and descriptors.
    #[must_use]
    pub fn new(data: &'call [u8], frames: &'call [Frame]) -> Self {
        Self { data, frames }
    }

    /// The frames with their octets; a descriptor outside the data has none.
    pub fn iter(&self) -> impl Iterator<Item = (&'call Frame, Option<&'call [u8]>)> + use<'call> {
        let data = self.data;
        self.frames.iter().map(move |frame| {
            let start = usize::try_from(frame.offset).unwrap_or(usize::MAX);
            let end = start.checked_add(usize::try_from(frame.len).unwrap_or(usize::MAX));
            (frame, end.and_then(|end| data.get(start..end)))
        })
    }

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
}

/// Room for received frames, lent by the host for one call.
///
/// Octets are appended first, by [`Self::append`] or [`Self::read`], then described as frames.
#[derive(Debug)]
pub struct BatchOut<'call> {
    raw: &'call mut abi::BatchOut,
    life: PhantomData<&'call mut [u8]>,
}

impl<'call> BatchOut<'call> {
    /// Over the host's room.
    ///
    /// # Safety
    /// `data` and `frames` must point to room for `data_cap` octets and `frame_cap` descriptors that
    /// nobody else touches for `'call`; the first `data_len` octets must have been written.
    #[must_use]
    pub unsafe fn new(raw: &'call mut abi::BatchOut) -> Self {
        Self { raw, life: PhantomData }
    }

    /// Octets written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.raw.data_len.min(self.raw.data_cap)
    }

    /// Whether no frame has been added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.raw.frame_count == 0
    }

    /// Octets that still fit.
    #[must_use]
    pub fn room(&self) -> usize {
        self.raw.data_cap.saturating_sub(self.raw.data_len)
    }

    /// Frames that still fit.
    #[must_use]
    pub fn frame_room(&self) -> usize {
        usize::try_from(self.raw.frame_cap.saturating_sub(self.raw.frame_count)).unwrap_or(0)
    }

    /// The octets written so far.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        if self.raw.data.is_null() {
            return &[];
        }
        // SAFETY: `new` was promised `data_cap` octets; the first `data_len` were written by `append` or
        // `read`, or before `new`; `len` never passes `data_cap`.
        unsafe { std::slice::from_raw_parts(self.raw.data, self.len()) }
    }

    /// Appends octets; `false`, and nothing changes, when they do not fit.
    pub fn append(&mut self, octets: &[u8]) -> bool {
        if octets.len() > self.room() || self.raw.data.is_null() {
            return false;
        }
        // SAFETY: there is room for them behind the `data_len` octets written, and `octets` is borrowed
        // from elsewhere, since the room is lent to us alone.
        unsafe {
            std::ptr::copy_nonoverlapping(
                octets.as_ptr(),
                self.raw.data.add(self.raw.data_len),
                octets.len(),
            );
        }
        self.raw.data_len = self.raw.data_len.saturating_add(octets.len());
        true
    }

    /// Reads at most `max` octets from a stream, straight into the room.
    ///
    /// # Errors
    /// The host's status, negative; `MG_E_TOO_LARGE` when there is no room.
    pub fn read(&mut self, host: &Host<'_>, id: u32, max: usize) -> Result<usize, abi::Status> {
        let room = self.room().min(max);
        if room == 0 || self.raw.data.is_null() {
            return Err(status::TOO_LARGE);
        }
        // SAFETY: `room` octets behind the `data_len` written are ours to write.
        let read = unsafe { host.read_raw(id, self.raw.data.add(self.raw.data_len), room) }?;
        self.raw.data_len = self.raw.data_len.saturating_add(read);
        Ok(read)
    }

    /// Takes back all octets from `len` on.
    pub fn truncate(&mut self, len: usize) {
        self.raw.data_len = self.raw.data_len.min(len);
    }

    /// Describes octets that were written as one frame; `false` when they were not, or no descriptor is
    /// left.
    pub fn push(&mut self, link: u32, offset: usize, len: usize, at: u64) -> bool {
        let inside = offset.checked_add(len).is_some_and(|end| end <= self.len());
        let (Ok(offset), Ok(len)) = (u32::try_from(offset), u32::try_from(len)) else { return false };
        if !inside || self.frame_room() == 0 || self.raw.frames.is_null() {
            return false;
        }
        let frame = Frame { link, offset, len, bits: 0, tag: 0, at };
        let place = usize::try_from(self.raw.frame_count).unwrap_or(usize::MAX);
        // SAFETY: `frame_count` is below `frame_cap`, so the place is within the room lent to us.
        unsafe { self.raw.frames.add(place).write(frame) };
        self.raw.frame_count = self.raw.frame_count.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octets_and_frames_stay_within_the_room() {
        let (mut data, mut frames) = ([0u8; 8], [Frame::default(); 2]);
        let mut raw = abi::BatchOut {
            data: data.as_mut_ptr(),
            data_cap: 8,
            data_len: 0,
            frames: frames.as_mut_ptr(),
            frame_cap: 2,
            frame_count: 0,
        };
        // SAFETY: both arrays outlive `out`, and their sizes are those given.
        let mut out = unsafe { BatchOut::new(&mut raw) };
        assert!(out.append(b"abcde") && !out.append(b"fghi") && out.append(b"fgh"));
        assert!(!out.push(1, 4, 5, 0) && !out.push(1, usize::MAX, 2, 0));
        assert!(out.push(1, 0, 4, 9) && out.push(1, 4, 4, 9) && !out.push(1, 0, 1, 9));
        out.truncate(6);
        assert_eq!((out.data(), out.room(), out.frame_room()), (&b"abcdef"[..], 2, 0));
        assert_eq!((frames[1].offset, frames[1].len, frames[1].at), (4, 4, 9));
    }

    #[test]
    fn a_descriptor_outside_the_data_has_no_octets() {
        let frames = [
            Frame { offset: 1, len: 2, ..Frame::default() },
            Frame { offset: 2, len: 2, ..Frame::default() },
            Frame { offset: u32::MAX, len: u32::MAX, ..Frame::default() },
        ];
        let batch = BatchIn::new(b"abc", &frames);
        let octets: Vec<_> = batch.iter().map(|(_, octets)| octets).collect();
        assert_eq!(octets, [Some(&b"bc"[..]), None, None]);
    }
}
