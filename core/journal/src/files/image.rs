//! One file of the forgetful layer: what the page cache shows, and what the disk may hold.

use std::collections::BTreeMap;

/// The disk writes pieces of this many octets whole or not at all.
const PIECE: usize = 512;

type Octets = [u8; PIECE];

/// A piece, or the length, whose state on the disk is open.
#[derive(Debug)]
struct Unsure<T> {
    /// What was written since the state on the disk was last known, oldest first.
    written: Vec<T>,
    /// The page cache still means to write the last of them.
    dirty: bool,
}

impl<T: Copy> Unsure<T> {
    fn write(&mut self, value: T) {
        self.written.push(value);
        self.dirty = true;
    }

    /// One of the states that the disk may be in; `None` is the one before all writes.
    fn choose(&self, choose: &mut dyn FnMut(usize) -> usize) -> Option<T> {
        let chosen = choose(self.written.len().saturating_add(1));
        chosen.checked_sub(1).and_then(|index| self.written.get(index)).copied()
    }
}

impl<T> Default for Unsure<T> {
    fn default() -> Self {
        Self { written: Vec::new(), dirty: false }
    }
}

/// One file.
#[derive(Debug, Default)]
pub(super) struct Image {
    /// As the page cache shows it.
    live: Vec<u8>,
    /// As the disk has it, but for what is unsure; octets beyond `disk_length` mean nothing.
    disk: Vec<u8>,
    disk_length: usize,
    pieces: BTreeMap<usize, Unsure<Octets>>,
    length: Unsure<usize>,
}

impl Image {
    pub(super) fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) fn read(&self, octets: &mut [u8], offset: usize) -> usize {
        let there = self.live.get(offset..).unwrap_or_default();
        let length = there.len().min(octets.len());
        octets.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
        length
    }

    pub(super) fn write(&mut self, octets: &[u8], offset: usize) {
        if octets.is_empty() {
            return;
        }
        let end = offset.saturating_add(octets.len());
        if end > self.live.len() {
            self.set_len(end);
        }
        if let Some(place) = self.live.get_mut(offset..end) {
            place.copy_from_slice(octets);
        }
        self.touch(offset, end);
    }

    pub(super) fn set_len(&mut self, length: usize) {
        let old = self.live.len();
        if length != old {
            self.live.resize(length, 0);
            self.length.write(length);
            // What is cut off reads as zero when the file grows again.
            self.touch(length.min(old), old);
        }
    }

    /// Notes that the octets `from .. to` were written.
    fn touch(&mut self, from: usize, to: usize) {
        for piece in from / PIECE..to.div_ceil(PIECE) {
            self.pieces.entry(piece).or_default().write(get(&self.live, piece));
        }
    }

    /// The page cache reaches the disk.
    pub(super) fn sync(&mut self) {
        if self.length.dirty {
            self.disk_length = self.live.len();
            self.length = Unsure::default();
        }
        let disk = &mut self.disk;
        self.pieces.retain(|&piece, state| {
            if let (true, Some(octets)) = (state.dirty, state.written.last()) {
                put(disk, piece, octets);
            }
            !state.dirty
        });
    }

    /// A sync that fails as on Linux: the cache takes its pages for clean, the disk has any part of them.
    /// (Not so the length: the file system keeps that, and tries again.)
    pub(super) fn fail_sync(&mut self) {
        self.pieces.values_mut().for_each(|state| state.dirty = false);
    }

    /// A power cut: the disk turns out to hold, for each piece and the length, one of the states that it
    /// may be in. `choose(count)` picks: 0 is the oldest, `count - 1` the newest.
    pub(super) fn cut(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        for (piece, state) in std::mem::take(&mut self.pieces) {
            if let Some(octets) = state.choose(choose) {
                put(&mut self.disk, piece, &octets);
            }
        }
        self.disk_length = self.length.choose(choose).unwrap_or(self.disk_length);
        self.length = Unsure::default();
        self.disk.resize(self.disk_length, 0);
        self.live.clone_from(&self.disk);
    }

    /// The cache drops the pages that a failed sync left clean: they now read as the disk has them.
    pub(super) fn evict(&mut self, choose: &mut dyn FnMut(usize) -> usize) {
        let Self { live, disk, pieces, .. } = self;
        pieces.retain(|&piece, state| {
            if !state.dirty {
                if let Some(octets) = state.choose(choose) {
                    put(disk, piece, &octets);
                }
                let place = live.iter_mut().skip(piece.saturating_mul(PIECE));
                place.zip(get(disk, piece)).for_each(|(to, from)| *to = from);
            }
            state.dirty
        });
    }

    /// Flips bits of an octet, on the disk and in the cache.
    pub(super) fn rot(&mut self, offset: usize, bits: u8) {
        for octets in [&mut self.live, &mut self.disk] {
            if let Some(octet) = octets.get_mut(offset) {
                *octet ^= bits;
            }
        }
    }
}

/// A piece of a file; what is not there is zero.
fn get(file: &[u8], piece: usize) -> Octets {
    let mut octets = [0; PIECE];
    let there = file.get(piece.saturating_mul(PIECE)..).unwrap_or_default();
    octets.iter_mut().zip(there).for_each(|(to, from)| *to = *from);
    octets
}

/// Puts a piece into a file, which grows to hold it.
fn put(file: &mut Vec<u8>, piece: usize, octets: &Octets) {
    let start = piece.saturating_mul(PIECE);
    let end = start.saturating_add(PIECE);
    if file.len() < end {
        file.resize(end, 0);
    }
    if let Some(place) = file.get_mut(start..end) {
        place.copy_from_slice(octets);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(octets: &[u8]) -> Image {
        let mut image = Image::default();
        image.write(octets, 0);
        image.sync();
        image
    }

    fn octets(image: &Image) -> Vec<u8> {
        let mut octets = vec![0; image.len()];
        assert_eq!(image.read(&mut octets, 0), octets.len());
        octets
    }

    #[test]
    fn what_was_synced_survives_and_the_rest_is_chosen_by_piece() {
        let mut image = image(&[1; 1024]);
        image.write(&[2; 1024], 0);
        image.write(&[3; 512], 0);
        assert_eq!(octets(&image), [[3; 512], [2; 512]].concat());
        let mut picks = [1, 0, 0].into_iter();
        image.cut(&mut |_| picks.next().unwrap());
        assert_eq!(octets(&image), [[2; 512], [1; 512]].concat());
    }

    #[test]
    fn a_length_is_forgotten_too() {
        let mut image = image(&[1; 700]);
        image.write(&[2; 700], 700);
        image.cut(&mut |_| 0);
        assert_eq!(octets(&image), [1; 700]);
        image.set_len(10);
        image.set_len(700);
        image.sync();
        image.cut(&mut |count| count - 1);
        assert_eq!(octets(&image), [vec![1; 10], vec![0; 690]].concat());
    }

    #[test]
    fn a_sync_after_a_failed_one_saves_only_what_was_written_again() {
        let mut image = image(&[1; 1024]);
        image.write(&[2; 1024], 0);
        image.fail_sync();
        image.write(&[3; 512], 0);
        image.sync();
        assert_eq!(octets(&image), [[3; 512], [2; 512]].concat());
        image.cut(&mut |_| 0);
        assert_eq!(octets(&image), [[3; 512], [1; 512]].concat());
    }

    #[test]
    fn pages_that_a_failed_sync_left_may_be_dropped() {
        let mut image = image(&[1; 600]);
        image.write(&[2; 600], 0);
        image.fail_sync();
        image.evict(&mut |_| 0);
        assert_eq!(octets(&image), [1; 600]);
    }
}
