//! Joining segments to the APDU they were cut from: any order, duplicates, and a limit on everything.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use crate::ap_title::ApTitleBuf;
use crate::apdu::{Apdu, Segment, UserInformation};
use crate::segment::SegmentError;

/// How much a [`Reassembler`] keeps.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of one APDU.
    pub octets_per_message: usize,
    /// Unfinished APDUs of one link.
    pub messages_per_link: usize,
    /// Octets that the unfinished APDUs of one link take.
    pub octets_per_link: usize,
    /// Unfinished APDUs of all links.
    pub messages: usize,
    /// Octets that the unfinished APDUs of all links take.
    pub octets: usize,
    /// Scattered parts of one APDU.
    pub parts_per_message: usize,
    /// Finished and refused APDUs that are remembered, so that a late duplicate begins nothing new.
    pub remembered: usize,
    /// How long an APDU is waited for, from its first segment on; a sixteenth more at most.
    pub life_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            octets_per_message: 32_767,
            messages_per_link: 64,
            octets_per_link: 1 << 18,
            messages: 4096,
            octets: 1 << 24,
            parts_per_message: 64,
            remembered: 4096,
            life_ns: 30_000_000_000,
        }
    }
}

/// What became of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reassembly {
    /// Kept; more are missing.
    Incomplete,
    /// It says nothing new: a duplicate, of a finished APDU too.
    Repeated,
    /// It was the last: the whole APDU.
    Complete(Vec<u8>),
    /// Refused. After a contradiction or too many parts, the whole APDU is.
    Refused(SegmentError),
}

/// Which APDU a segment belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    link: u64,
    calling: Option<ApTitleBuf>,
    invocation: u32,
    total: u32,
}

/// An unfinished APDU.
#[derive(Debug)]
struct Message {
    deadline: u64,
    octets: Vec<u8>,
    /// What is there: sorted, disjoint, not adjoining.
    parts: Vec<Range<usize>>,
}

/// What one link takes.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    messages: usize,
    octets: usize,
}

/// A finished or refused APDU.
#[derive(Clone, Copy, Debug)]
struct Closed {
    deadline: u64,
    refused: Option<SegmentError>,
}

/// Joins segments of many links.
#[derive(Debug)]
pub struct Reassembler {
    limits: Limits,
    open: HashMap<Key, Message>,
    links: HashMap<u64, Usage>,
    all: Usage,
    closed: HashMap<Key, Closed>,
    /// Keys of `closed`, oldest first.
    closed_order: VecDeque<Key>,
    /// No look for expired APDUs before this.
    look_at: u64,
}

impl Reassembler {
    /// One that keeps nothing yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            open: HashMap::new(),
            links: HashMap::new(),
            all: Usage::default(),
            closed: HashMap::new(),
            closed_order: VecDeque::new(),
            look_at: 0,
        }
    }

    /// Takes a segment that came over `link` at `now`, in nanoseconds of a clock that does not go back.
    pub fn push(&mut self, link: u64, apdu: &Apdu<'_>, now: u64) -> Reassembly {
        let UserInformation::Segment(segment) = apdu.user else {
            return Reassembly::Refused(SegmentError::NotASegment);
        };
        let key = Key {
            link,
            calling: apdu.envelope.calling.map(|title| title.canonical().into()),
            invocation: apdu.envelope.invocation.value(),
            total: segment.total,
        };
        match self.closed.get(&key) {
            Some(closed) if now < closed.deadline => {
                return closed.refused.map_or(Reassembly::Repeated, Reassembly::Refused);
            }
            Some(_) => drop(self.closed.remove(&key)),
            None => {}
        }
        if !self.open.contains_key(&key)
            && let Err(error) = self.begin(&key, now)
        {
            return Reassembly::Refused(error);
        }
        let Some(message) = self.open.get_mut(&key) else { return Reassembly::Incomplete };
        match message.put(&segment, self.limits.parts_per_message) {
            Ok(false) => Reassembly::Repeated,
            Ok(true) if !message.is_whole() => Reassembly::Incomplete,
            Ok(true) => self.close(key, None).map_or(Reassembly::Incomplete, Reassembly::Complete),
            Err(error) => {
                self.close(key, Some(error));
                Reassembly::Refused(error)
            }
        }
    }

    /// Gives up what has been waited for long enough; answers how many APDUs that were.
    pub fn expire(&mut self, now: u64) -> usize {
        if now < self.look_at {
            return 0;
        }
        let (links, all, mut next) = (&mut self.links, &mut self.all, u64::MAX);
        let before = self.open.len();
        self.open.retain(|key, message| {
            let keep = now < message.deadline;
            if keep {
                next = next.min(message.deadline);
            } else {
                release(links, all, key.link, message.octets.len());
            }
            keep
        });
        // Not for each deadline anew: a flood of them would be a look at all for each segment.
        self.look_at = next.max(now.saturating_add(self.limits.life_ns / 16));
        before.saturating_sub(self.open.len())
    }

    /// Forgets what came over a link that is gone; answers how many unfinished APDUs that were.
    pub fn close_link(&mut self, link: u64) -> usize {
        let before = self.open.len();
        if self.links.contains_key(&link) {
            let (links, all) = (&mut self.links, &mut self.all);
            self.open.retain(|key, message| {
                if key.link == link {
                    release(links, all, link, message.octets.len());
                }
                key.link != link
            });
        }
        before.saturating_sub(self.open.len())
    }

    /// Unfinished APDUs.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.all.messages
    }

    /// Octets that they take.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.all.octets
    }

    /// Makes room for an APDU whose first segment has come.
    fn begin(&mut self, key: &Key, now: u64) -> Result<(), SegmentError> {
        self.expire(now);
        let limits = &self.limits;
        let total = usize::try_from(key.total).unwrap_or(usize::MAX);
        let used = self.links.get(&key.link).copied().unwrap_or_default();
        if total > limits.octets_per_message {
            return Err(SegmentError::MessageTooLarge);
        }
        if used.messages >= limits.messages_per_link || self.all.messages >= limits.messages {
            return Err(SegmentError::TooManyMessages);
        }
        if used.octets.saturating_add(total) > limits.octets_per_link
            || self.all.octets.saturating_add(total) > limits.octets
        {
            return Err(SegmentError::TooManyOctets);
        }
        for usage in [self.links.entry(key.link).or_default(), &mut self.all] {
            usage.messages = usage.messages.saturating_add(1);
            usage.octets = usage.octets.saturating_add(total);
        }
        let deadline = now.saturating_add(limits.life_ns);
        self.look_at = self.look_at.min(deadline);
        self.open.insert(key.clone(), Message { deadline, octets: vec![0; total], parts: Vec::new() });
        Ok(())
    }

    /// Ends an APDU and remembers it; its octets.
    fn close(&mut self, key: Key, refused: Option<SegmentError>) -> Option<Vec<u8>> {
        let message = self.open.remove(&key)?;
        release(&mut self.links, &mut self.all, key.link, message.octets.len());
        self.closed.insert(key.clone(), Closed { deadline: message.deadline, refused });
        self.closed_order.push_back(key);
        while self.closed_order.len() > self.limits.remembered {
            if let Some(oldest) = self.closed_order.pop_front() {
                self.closed.remove(&oldest);
            }
        }
        Some(message.octets)
    }
}

fn release(links: &mut HashMap<u64, Usage>, all: &mut Usage, link: u64, octets: usize) {
    if let Some(usage) = links.get_mut(&link) {
        usage.release(octets);
        if usage.messages == 0 {
            links.remove(&link);
        }
    }
    all.release(octets);
}

impl Usage {
    fn release(&mut self, octets: usize) {
        self.messages = self.messages.saturating_sub(1);
        self.octets = self.octets.saturating_sub(octets);
    }
}

impl Message {
    /// Puts a part in its place; whether it says anything new.
    fn put(&mut self, segment: &Segment<'_>, parts_max: usize) -> Result<bool, SegmentError> {
        // Decoding has checked that the part ends within the total size.
        let start = segment.offset as usize;
        let part = start..start.saturating_add(segment.part.len());
        for known in &self.parts {
            let overlap = known.start.max(part.start)..known.end.min(part.end);
            if !overlap.is_empty() {
                let theirs = segment.part.get(overlap.start - start..overlap.end - start);
                if self.octets.get(overlap) != theirs {
                    return Err(SegmentError::Mismatch);
                }
            }
        }
        if self.parts.iter().any(|known| known.start <= part.start && part.end <= known.end) {
            return Ok(false);
        }
        if let Some(place) = self.octets.get_mut(part.clone()) {
            place.copy_from_slice(segment.part);
        }
        self.add(part);
        if self.parts.len() > parts_max { Err(SegmentError::TooManyParts) } else { Ok(true) }
    }

    /// Adds a range, joined with all that it touches.
    fn add(&mut self, mut part: Range<usize>) {
        self.parts.retain(|known| {
            let touches = known.start <= part.end && part.start <= known.end;
            if touches {
                part = known.start.min(part.start)..known.end.max(part.end);
            }
            !touches
        });
        let at = self.parts.partition_point(|known| known.start < part.start);
        self.parts.insert(at, part);
    }

    fn is_whole(&self) -> bool {
        self.parts.first().is_some_and(|part| *part == (0..self.octets.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Cut, Envelope};
    use crate::error::Leniency;
    use crate::invocation_id::InvocationId;

    const TOTAL: usize = 100;

    fn segment(id: u32, offset: usize, part: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let cut = Cut { total: u32::try_from(TOTAL).unwrap(), offset: u32::try_from(offset).unwrap() };
        Envelope::new(InvocationId::new(id)).write_head_of(&mut out, part.len(), Some(cut));
        out.extend_from_slice(part);
        out
    }

    fn push(to: &mut Reassembler, link: u64, octets: &[u8], now: u64) -> Reassembly {
        to.push(link, &Apdu::decode(octets, Leniency::Strict).unwrap(), now)
    }

    fn small() -> Reassembler {
        Reassembler::new(Limits {
            octets_per_message: TOTAL,
            messages_per_link: 2,
            octets_per_link: 2 * TOTAL,
            messages: 3,
            octets: 3 * TOTAL,
            parts_per_message: 3,
            remembered: 2,
            life_ns: 1600,
        })
    }

    #[test]
    fn parts_may_overlap_but_not_contradict() {
        let mut reassembler = small();
        let mut put = |octets: &[u8]| push(&mut reassembler, 1, octets, 0);
        assert_eq!(put(&segment(1, 10, &[1; 20])), Reassembly::Incomplete);
        assert_eq!(put(&segment(1, 50, &[1; 20])), Reassembly::Incomplete);
        assert_eq!(put(&segment(1, 12, &[1; 5])), Reassembly::Repeated);
        assert_eq!(put(&segment(1, 0, &[1; 60])), Reassembly::Incomplete);
        assert_eq!(put(&segment(1, 60, &[1; 40])), Reassembly::Complete(vec![1; TOTAL]));
        assert_eq!(put(&segment(1, 60, &[1; 40])), Reassembly::Repeated);

        assert_eq!(put(&segment(2, 10, &[1; 20])), Reassembly::Incomplete);
        let refused = Reassembly::Refused(SegmentError::Mismatch);
        assert_eq!(put(&segment(2, 29, &[2; 2])), refused);
        assert_eq!(put(&segment(2, 0, &[1; 100])), refused);
        assert_eq!((reassembler.messages(), reassembler.octets()), (0, 0));
    }

    #[test]
    fn every_limit_refuses_with_its_name() {
        let mut reassembler = small();
        for (link, id) in [(1, 1), (1, 2), (2, 1)] {
            let kept = push(&mut reassembler, link, &segment(id, 0, &[0; 5]), 0);
            assert_eq!(kept, Reassembly::Incomplete);
        }
        for (link, id) in [(1, 3), (2, 3)] {
            let refused = push(&mut reassembler, link, &segment(id, 0, &[0; 5]), 0);
            assert_eq!(refused, Reassembly::Refused(SegmentError::TooManyMessages));
        }
        assert_eq!((reassembler.messages(), reassembler.octets()), (3, 300));
        for (offset, last) in [(10, false), (20, false), (30, true)] {
            let put = push(&mut reassembler, 1, &segment(1, offset, &[0; 5]), 0);
            let expected =
                if last { Reassembly::Refused(SegmentError::TooManyParts) } else { Reassembly::Incomplete };
            assert_eq!(put, expected);
        }
        reassembler.limits.octets = 250;
        let refused = push(&mut reassembler, 2, &segment(9, 0, &[0; 5]), 0);
        assert_eq!(refused, Reassembly::Refused(SegmentError::TooManyOctets));
        reassembler.limits.octets_per_message = 99;
        let refused = push(&mut reassembler, 3, &segment(9, 0, &[0; 5]), 0);
        assert_eq!(refused, Reassembly::Refused(SegmentError::MessageTooLarge));
        let mut whole = Vec::new();
        Envelope::new(InvocationId::new(1)).write_head(&mut whole, 1);
        whole.push(0x80);
        let refused = push(&mut reassembler, 1, &whole, 0);
        assert_eq!(refused, Reassembly::Refused(SegmentError::NotASegment));
    }

    #[test]
    fn time_and_links_end() {
        let mut reassembler = small();
        for (link, id) in [(1, 1), (1, 2), (2, 1)] {
            push(&mut reassembler, link, &segment(id, 0, &[0; 5]), 0);
        }
        assert_eq!(reassembler.close_link(1), 2);
        assert_eq!(reassembler.close_link(7), 0);
        assert_eq!((reassembler.messages(), reassembler.expire(1599)), (1, 0));
        // The late part begins anew: what came before is forgotten.
        assert_eq!(push(&mut reassembler, 3, &segment(1, 0, &[0; 5]), 1600), Reassembly::Incomplete);
        assert_eq!(push(&mut reassembler, 2, &segment(1, 5, &[0; 95]), 1700), Reassembly::Incomplete);
        assert_eq!(reassembler.messages(), 2);
        assert_eq!(reassembler.expire(10_000), 2);
        assert!(reassembler.links.is_empty() && reassembler.octets() == 0);
    }

    #[test]
    fn only_so_many_finished_ones_are_remembered() {
        let mut reassembler = small();
        for id in 0..50 {
            let done = push(&mut reassembler, 1, &segment(id, 0, &[9; TOTAL]), 0);
            assert_eq!(done, Reassembly::Complete(vec![9; TOTAL]));
        }
        assert_eq!((reassembler.closed.len(), reassembler.closed_order.len()), (2, 2));
        assert_eq!(push(&mut reassembler, 1, &segment(49, 0, &[9; 5]), 1599), Reassembly::Repeated);
        assert_eq!(push(&mut reassembler, 1, &segment(49, 0, &[9; 5]), 1600), Reassembly::Incomplete);
    }
}
