//! Datagrams put together from their fragments, with a limit on everything.

use std::collections::BTreeMap;

use super::partial::{Comparison, Cover, Partial};
use super::{FragmentHeader, Headers, IPV6_UDP_LEN, LinkEnds, LowpanError};
use crate::Eui64;

/// How long a datagram may take from its first fragment to its last, nanoseconds (RFC 4944, 5.3: 60 s).
pub const REASSEMBLY_TIMEOUT_NS: u64 = 60_000_000_000;

/// How many whole datagrams are remembered, so that their late duplicates start nothing.
const COMPLETED_MAX: usize = 64;

type Key = (Eui64, u16);

/// The memory that one cell may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReassemblyLimits {
    /// Octets of UDP payload of all datagrams that are not whole yet.
    pub octets_max: usize,
    /// Datagrams that are not whole yet.
    pub entries_max: usize,
}

/// Why a datagram was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DropReason {
    /// 60 s went by.
    #[error("reassembly-timeout")]
    Timeout,
    /// It was the oldest when a newer one needed its place.
    #[error("reassembly-evicted")]
    Evicted,
    /// A fragment came that differs in size, overlaps another or contradicts it; it starts the datagram anew
    /// (RFC 4944, 5.3).
    #[error("fragment-overlap")]
    Overlap,
}

/// A datagram that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// Who sent it.
    pub originator: Eui64,
    /// Its tag.
    pub tag: u16,
    /// Why.
    pub reason: DropReason,
}

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReassemblyCounts {
    /// Datagrams made whole.
    pub complete: u64,
    /// Fragments that had come before.
    pub duplicates: u64,
    /// Datagrams given up for [`DropReason::Timeout`].
    pub timeouts: u64,
    /// Datagrams given up for [`DropReason::Evicted`].
    pub evicted: u64,
    /// Datagrams given up for [`DropReason::Overlap`].
    pub overlaps: u64,
}

/// A whole datagram.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Its headers.
    pub headers: Headers,
    /// Its UDP payload.
    pub payload: Vec<u8>,
}

/// Reassembly by originator and tag.
#[derive(Debug)]
pub struct Reassembler {
    limits: ReassemblyLimits,
    entries: BTreeMap<Key, Partial>,
    octets: usize,
    /// No entry times out before.
    next_timeout_ns: u64,
    completed: [Option<(Key, u16, u64)>; COMPLETED_MAX],
    oldest: usize,
    counts: ReassemblyCounts,
}

impl Reassembler {
    /// An empty reassembler.
    #[must_use]
    pub const fn new(limits: ReassemblyLimits) -> Self {
        Self {
            limits,
            entries: BTreeMap::new(),
            octets: 0,
            next_timeout_ns: u64::MAX,
            completed: [None; COMPLETED_MAX],
            oldest: 0,
            counts: ReassemblyCounts { complete: 0, duplicates: 0, timeouts: 0, evicted: 0, overlaps: 0 },
        }
    }

    /// What has happened so far.
    #[must_use]
    pub const fn counts(&self) -> ReassemblyCounts {
        self.counts
    }

    /// How many datagrams are not whole yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no datagram is under way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Octets of UDP payload held.
    #[must_use]
    pub const fn octets(&self) -> usize {
        self.octets
    }

    /// Takes a fragment; answers the datagram when it is whole.
    ///
    /// `ends` are the link addresses that the first fragment's headers elide; the originator is their source.
    /// Datagrams that are given up are appended to `dropped`.
    ///
    /// # Errors
    /// [`LowpanError`] for a fragment that belongs to no datagram that could be; it changes nothing.
    pub fn accept(
        &mut self,
        now_ns: u64,
        ends: &LinkEnds,
        header: FragmentHeader,
        fragment: &[u8],
        dropped: &mut Vec<Dropped>,
    ) -> Result<Option<Whole>, LowpanError> {
        self.expire(now_ns, dropped);
        let cover = Cover::of(header, fragment, ends)?;
        let payload_len = usize::from(header.size).saturating_sub(IPV6_UDP_LEN);
        if payload_len > self.limits.octets_max || self.limits.entries_max == 0 {
            return Err(LowpanError::DatagramOverMemory);
        }
        let key = (ends.source, header.tag);
        if self.is_completed(key, header.size, now_ns) {
            self.counts.duplicates = self.counts.duplicates.saturating_add(1);
            return Ok(None);
        }
        match self.entries.get(&key).map(|entry| entry.compare(header.size, &cover)) {
            Some(Comparison::New) => {}
            Some(Comparison::Duplicate) => {
                self.counts.duplicates = self.counts.duplicates.saturating_add(1);
                return Ok(None);
            }
            Some(Comparison::Overlap) => {
                self.remove(key, DropReason::Overlap, dropped);
                self.start(key, header.size, payload_len, now_ns, dropped);
            }
            None => self.start(key, header.size, payload_len, now_ns, dropped),
        }
        let Some(entry) = self.entries.get_mut(&key) else {
            return Ok(None);
        };
        entry.take(&cover);
        if !entry.is_whole() {
            return Ok(None);
        }
        let Some(Partial { headers: Some(headers), payload, .. }) = self.entries.remove(&key) else {
            return Ok(None);
        };
        self.octets = self.octets.saturating_sub(payload.len());
        self.counts.complete = self.counts.complete.saturating_add(1);
        if let Some(slot) = self.completed.get_mut(self.oldest) {
            *slot = Some((key, header.size, now_ns));
        }
        self.oldest = (self.oldest + 1) % COMPLETED_MAX;
        Ok(Some(Whole { headers, payload }))
    }

    /// Gives up what has taken longer than 60 s.
    pub fn expire(&mut self, now_ns: u64, dropped: &mut Vec<Dropped>) {
        if now_ns < self.next_timeout_ns {
            return;
        }
        let due = |entry: &Partial| entry.started_ns.saturating_add(REASSEMBLY_TIMEOUT_NS);
        while let Some(key) = self.entries.iter().find(|(_, entry)| due(entry) <= now_ns).map(|(key, _)| *key)
        {
            self.remove(key, DropReason::Timeout, dropped);
        }
        self.next_timeout_ns = self.entries.values().map(due).min().unwrap_or(u64::MAX);
    }

    fn is_completed(&self, key: Key, size: u16, now_ns: u64) -> bool {
        self.completed.iter().flatten().any(|(kept, kept_size, at_ns)| {
            *kept == key && *kept_size == size && now_ns < at_ns.saturating_add(REASSEMBLY_TIMEOUT_NS)
        })
    }

    /// Makes room and an entry. The caller has checked that the entry can fit.
    fn start(&mut self, key: Key, size: u16, payload_len: usize, now_ns: u64, dropped: &mut Vec<Dropped>) {
        while self.entries.len() >= self.limits.entries_max
            || self.octets.saturating_add(payload_len) > self.limits.octets_max
        {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.started_ns).map(|(key, _)| *key);
            let Some(oldest) = oldest else { break };
            self.remove(oldest, DropReason::Evicted, dropped);
        }
        self.octets = self.octets.saturating_add(payload_len);
        self.next_timeout_ns = self.next_timeout_ns.min(now_ns.saturating_add(REASSEMBLY_TIMEOUT_NS));
        self.entries.insert(key, Partial::new(size, payload_len, now_ns));
    }

    fn remove(&mut self, key: Key, reason: DropReason, dropped: &mut Vec<Dropped>) {
        if let Some(entry) = self.entries.remove(&key) {
            self.octets = self.octets.saturating_sub(entry.payload.len());
            let count = match reason {
                DropReason::Timeout => &mut self.counts.timeouts,
                DropReason::Evicted => &mut self.counts.evicted,
                DropReason::Overlap => &mut self.counts.overlaps,
            };
            *count = count.saturating_add(1);
            dropped.push(Dropped { originator: key.0, tag: key.1, reason });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lowpan::LinkDestination;
    use crate::lowpan::fragment::UNIT;
    use proptest::prelude::*;

    const LIMITS: ReassemblyLimits = ReassemblyLimits { octets_max: 4000, entries_max: 4 };

    fn ends(originator: u64) -> LinkEnds {
        LinkEnds { source: Eui64(originator), destination: LinkDestination::Device(Eui64(99)) }
    }

    /// The fragments of a payload of `len` octets: `chunk` octets each.
    fn fragments(originator: u64, tag: u16, len: usize, chunk: usize) -> Vec<(FragmentHeader, Vec<u8>)> {
        let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
        let size = (len + IPV6_UDP_LEN) as u16;
        let ends = ends(originator);
        payload
            .chunks(chunk)
            .enumerate()
            .map(|(at, part)| {
                let mut octets = Vec::new();
                let mut offset = 0;
                if at == 0 {
                    Headers::between(&ends, 1153, 64, &payload).encode(&ends, &mut octets);
                } else {
                    offset = ((at * chunk + IPV6_UDP_LEN) / UNIT) as u8;
                }
                octets.extend_from_slice(part);
                (FragmentHeader { size, tag, offset }, octets)
            })
            .collect()
    }

    fn give(
        to: &mut Reassembler,
        now_ns: u64,
        originator: u64,
        fragment: &(FragmentHeader, Vec<u8>),
        dropped: &mut Vec<Dropped>,
    ) -> Option<Whole> {
        to.accept(now_ns, &ends(originator), fragment.0, &fragment.1, dropped).unwrap()
    }

    #[test]
    fn what_takes_a_minute_is_given_up() {
        let (mut to, mut dropped) = (Reassembler::new(LIMITS), Vec::new());
        let parts = fragments(1, 7, 200, 80);
        give(&mut to, 5, 1, &parts[0], &mut dropped);
        to.expire(5 + REASSEMBLY_TIMEOUT_NS - 1, &mut dropped);
        assert!(dropped.is_empty());
        to.expire(5 + REASSEMBLY_TIMEOUT_NS, &mut dropped);
        assert_eq!(dropped, [Dropped { originator: Eui64(1), tag: 7, reason: DropReason::Timeout }]);
        assert_eq!((to.len(), to.octets(), to.counts().timeouts), (0, 0, 1));
    }

    #[test]
    fn a_late_duplicate_starts_nothing_but_a_tag_used_again_does() {
        let (mut to, mut dropped) = (Reassembler::new(LIMITS), Vec::new());
        let parts = fragments(1, 7, 200, 80);
        let whole: Vec<_> = parts.iter().filter_map(|part| give(&mut to, 5, 1, part, &mut dropped)).collect();
        assert_eq!(whole.len(), 1);
        give(&mut to, 5 + REASSEMBLY_TIMEOUT_NS - 1, 1, &parts[0], &mut dropped);
        assert_eq!((to.len(), to.counts().duplicates), (0, 1));
        // Another size: another datagram. So is the same size after a minute.
        give(&mut to, 6, 1, &fragments(1, 7, 208, 80)[0], &mut dropped);
        assert_eq!(to.len(), 1);
        give(&mut to, 5 + REASSEMBLY_TIMEOUT_NS, 1, &parts[0], &mut dropped);
        assert_eq!((to.len(), to.counts().overlaps), (1, 1));
    }

    #[test]
    fn the_oldest_gives_way_for_entries_and_for_octets() {
        let (mut to, mut dropped) = (Reassembler::new(LIMITS), Vec::new());
        for originator in 1..=5 {
            give(&mut to, originator, originator, &fragments(originator, 0, 200, 80)[0], &mut dropped);
        }
        assert_eq!(dropped, [Dropped { originator: Eui64(1), tag: 0, reason: DropReason::Evicted }]);
        dropped.clear();
        for originator in 6..=8 {
            give(&mut to, originator, originator, &fragments(originator, 0, 1800, 80)[0], &mut dropped);
        }
        assert_eq!(to.octets(), 3600);
        assert_eq!(dropped.len(), 5);
        assert_eq!(to.counts().evicted, 6);
    }

    #[test]
    fn a_datagram_over_all_memory_is_refused() {
        let mut to = Reassembler::new(ReassemblyLimits { octets_max: 100, entries_max: 4 });
        let (header, octets) = &fragments(1, 0, 200, 80)[0];
        let refused = to.accept(0, &ends(1), *header, octets, &mut Vec::new());
        assert_eq!(refused, Err(LowpanError::DatagramOverMemory));
    }

    #[test]
    fn an_overlap_starts_the_datagram_anew() {
        let (mut to, mut dropped) = (Reassembler::new(LIMITS), Vec::new());
        let (wide, narrow) = (fragments(1, 7, 240, 80), fragments(1, 7, 240, 40));
        give(&mut to, 0, 1, &wide[1], &mut dropped);
        give(&mut to, 0, 1, &narrow[3], &mut dropped);
        assert_eq!(dropped, [Dropped { originator: Eui64(1), tag: 7, reason: DropReason::Overlap }]);
        for part in &narrow[..5] {
            assert_eq!(give(&mut to, 0, 1, part, &mut dropped), None);
        }
        assert!(give(&mut to, 0, 1, &narrow[5], &mut dropped).is_some());
        // Same start and octets, but shorter than what came.
        give(&mut to, 0, 1, &fragments(1, 9, 240, 80)[1], &mut dropped);
        give(&mut to, 0, 1, &fragments(1, 9, 240, 40)[2], &mut dropped);
        assert_eq!(to.counts().overlaps, 2);
        // Same bounds, other octets.
        let mut changed = fragments(1, 8, 240, 80);
        give(&mut to, 0, 1, &changed[1], &mut dropped);
        changed[1].1[3] ^= 1;
        give(&mut to, 0, 1, &changed[1], &mut dropped);
        // Another size under the same tag.
        give(&mut to, 0, 1, &fragments(1, 8, 248, 80)[1], &mut dropped);
        assert_eq!(to.counts().overlaps, 4);
    }

    #[test]
    fn fragments_that_cannot_be_are_refused_by_their_word() {
        let mut to = Reassembler::new(LIMITS);
        let mut refused = |size, offset, len: usize| {
            let header = FragmentHeader { size, tag: 0, offset };
            to.accept(0, &ends(1), header, &vec![0; len], &mut Vec::new()).unwrap_err().to_string()
        };
        assert_eq!(refused(47, 6, 8), "datagram-too-short");
        assert_eq!(refused(200, 5, 8), "fragment-offset");
        assert_eq!(refused(200, 24, 16), "fragment-offset");
        assert_eq!(refused(200, 6, 9), "fragment-length");
        assert_eq!(refused(200, 6, 0), "fragment-length");
        assert_eq!(refused(200, 0, 9), "dispatch-not-used");
    }

    proptest! {
        #[test]
        fn fragments_in_any_order_and_twice_make_the_datagram_once(
            len in 1_usize..1999,
            units in 1_usize..20,
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..300),
        ) {
            let mut parts = fragments(1, 7, len, units * UNIT);
            parts.extend(parts.clone());
            for (at, to) in order.iter().enumerate() {
                let count = parts.len();
                parts.swap(at % count, to.index(count));
            }
            let (mut to, mut dropped) = (Reassembler::new(LIMITS), Vec::new());
            let whole: Vec<Whole> =
                parts.iter().filter_map(|part| give(&mut to, 0, 1, part, &mut dropped)).collect();
            prop_assert_eq!(whole.len(), 1);
            prop_assert_eq!(&whole[0].payload, &(0..len).map(|at| at as u8).collect::<Vec<_>>());
            prop_assert_eq!(whole[0].headers.checksum_of(&whole[0].payload), whole[0].headers.checksum);
            prop_assert!(dropped.is_empty());
            prop_assert_eq!((to.len(), to.octets()), (0, 0));
            prop_assert_eq!(to.counts().duplicates as usize, parts.len() / 2);
        }

        #[test]
        fn without_one_fragment_there_is_no_datagram(
            len in 100_usize..1999,
            units in 1_usize..10,
            lost in any::<prop::sample::Index>(),
        ) {
            let mut parts = fragments(1, 7, len, units * UNIT);
            parts.remove(lost.index(parts.len()));
            let (mut to, mut dropped) = (Reassembler::new(LIMITS), Vec::new());
            for part in &parts {
                prop_assert_eq!(give(&mut to, 0, 1, part, &mut dropped), None);
            }
        }

        #[test]
        fn any_fragments_keep_the_limits_and_every_start_is_accounted_for(
            given in proptest::collection::vec(
                (0_u64..4, 0_u16..2, 0_u16..400, 0_u8..50, 0_usize..80, 0_u64..1000),
                0..120,
            ),
        ) {
            let limits = ReassemblyLimits { octets_max: 600, entries_max: 3 };
            let (mut to, mut dropped) = (Reassembler::new(limits), Vec::new());
            let mut now_ns = 0;
            for (originator, tag, size, offset, len, wait_ms) in given {
                now_ns += wait_ms * 10_000_000;
                let header = FragmentHeader { size, tag, offset };
                let _ = to.accept(now_ns, &ends(originator), header, &vec![7; len], &mut dropped);
                prop_assert!(to.len() <= 3 && to.octets() <= 600);
                let held: usize = to.entries.values().map(|entry| entry.payload.len()).sum();
                prop_assert_eq!(held, to.octets());
            }
            let counts = to.counts();
            prop_assert_eq!(dropped.len() as u64, counts.timeouts + counts.evicted + counts.overlaps);
            to.expire(now_ns + REASSEMBLY_TIMEOUT_NS, &mut dropped);
            prop_assert_eq!((to.len(), to.octets()), (0, 0));
        }
    }
}
