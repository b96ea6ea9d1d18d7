//! TCP streams of a capture, cut into APDUs (RFC 6142: back to back, no other framing).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::IpAddr;

use c1222::apdu;

use super::source::{APDU_MAX, looks_like_apdus};

/// Directions followed at once; further ones are not looked at.
const STREAMS_MAX: usize = 100_000;
/// Octets that wait for a lost segment; past that the gap is given up.
const WAITING_MAX: usize = 4 << 20;

/// One direction of a connection, or the two ends of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct End {
    pub(super) from: IpAddr,
    pub(super) from_port: u16,
    pub(super) to: IpAddr,
    pub(super) to_port: u16,
}

impl End {
    pub(super) fn has_port(&self, port: u16) -> bool {
        self.from_port == port || self.to_port == port
    }

    /// The same text for both directions.
    pub(super) fn conversation(&self) -> String {
        let (a, b) = ((self.from, self.from_port), (self.to, self.to_port));
        let ((ip, port), (other, other_port)) = if a <= b { (a, b) } else { (b, a) };
        format!("[{ip}]:{port} [{other}]:{other_port}")
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { from, from_port, to, to_port } = self;
        write!(f, "{from}:{from_port} > {to}:{to_port}")
    }
}

/// One direction.
#[derive(Debug, Default)]
struct Stream {
    /// Sequence number of the next octet that is wanted; `None` before the first segment.
    next: Option<u32>,
    /// Octets in order that are no whole APDU yet.
    octets: Vec<u8>,
    /// Segments behind a gap, by their distance from its start.
    waiting: BTreeMap<u32, Vec<u8>>,
    waiting_octets: usize,
    /// Whether it was found to carry C12.22; `None` while nobody knows.
    is_c1222: Option<bool>,
    /// The packet of its last segment.
    packet: usize,
}

/// All directions of all connections.
#[derive(Debug, Default)]
pub(super) struct Streams {
    streams: HashMap<End, Stream>,
    order: Vec<End>,
}

impl Streams {
    /// Takes a segment; whole APDUs go to `emit`, and so do octets that can be none.
    pub(super) fn segment(
        &mut self,
        packet: usize,
        end: &End,
        sequence: u32,
        syn: bool,
        payload: &[u8],
        emit: impl FnMut(Vec<u8>),
    ) {
        if !self.streams.contains_key(end) {
            if self.streams.len() >= STREAMS_MAX {
                return;
            }
            self.order.push(*end);
        }
        let stream = self.streams.entry(*end).or_default();
        if syn {
            *stream = Stream { next: Some(sequence.wrapping_add(1)), ..Stream::default() };
            return;
        }
        stream.packet = packet;
        if payload.is_empty() {
            return;
        }
        stream.take(sequence, payload);
        stream.cut(end, emit);
    }

    /// Octets that were left without the rest of their APDU.
    pub(super) fn finish(&mut self, mut emit: impl FnMut(usize, &End, Vec<u8>)) {
        for end in &self.order {
            let Some(stream) = self.streams.get_mut(end) else { continue };
            if stream.is_c1222 == Some(true) && !stream.octets.is_empty() {
                emit(stream.packet, end, std::mem::take(&mut stream.octets));
            }
        }
    }
}

impl Stream {
    fn take(&mut self, sequence: u32, payload: &[u8]) {
        let next = *self.next.get_or_insert(sequence);
        let ahead = sequence.wrapping_sub(next);
        if ahead < u32::MAX / 2 && ahead > 0 {
            self.waiting_octets += payload.len();
            self.waiting.insert(sequence, payload.to_vec());
            if self.waiting_octets > WAITING_MAX {
                // The gap was never filled in the capture: go on behind it.
                self.next = self.waiting.keys().min_by_key(|other| other.wrapping_sub(next)).copied();
                self.octets.clear();
            }
        } else {
            self.append(next, sequence, payload);
        }
        while let Some(next) = self.next {
            let ready = self.waiting.keys().copied().find(|other| {
                let ahead = other.wrapping_sub(next);
                ahead == 0 || ahead > u32::MAX / 2
            });
            let Some(ready) = ready else { break };
            let payload = self.waiting.remove(&ready).unwrap_or_default();
            self.waiting_octets = self.waiting_octets.saturating_sub(payload.len());
            self.append(next, ready, &payload);
        }
    }

    /// Appends what is new in a segment that begins at or before `next`.
    fn append(&mut self, next: u32, sequence: u32, payload: &[u8]) {
        let known = next.wrapping_sub(sequence) as usize;
        let fresh = payload.get(known..).unwrap_or_default();
        self.octets.extend_from_slice(fresh);
        self.next = Some(next.wrapping_add(u32::try_from(fresh.len()).unwrap_or(0)));
    }

    fn cut(&mut self, end: &End, mut emit: impl FnMut(Vec<u8>)) {
        if self.is_c1222.is_none() && !self.octets.is_empty() {
            self.is_c1222 = if end.has_port(1153) || looks_like_apdus(&self.octets) {
                Some(true)
            } else if self.octets.first() == Some(&0x60) {
                // Perhaps the first APDU is not whole yet.
                None
            } else {
                Some(false)
            };
        }
        match self.is_c1222 {
            Some(true) => {}
            Some(false) => return self.octets.clear(),
            None if self.octets.len() > APDU_MAX => return self.octets.clear(),
            None => return,
        }
        loop {
            match apdu::measure(&self.octets, APDU_MAX) {
                Ok(Some(len)) if len <= self.octets.len() && len > 0 => {
                    let rest = self.octets.split_off(len);
                    emit(std::mem::replace(&mut self.octets, rest));
                }
                Ok(_) => return,
                Err(_) => {
                    // No APDU begins here, and nothing says where the next one does.
                    if !self.octets.is_empty() {
                        emit(std::mem::take(&mut self.octets));
                    }
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end() -> End {
        End {
            from: IpAddr::from([10, 0, 0, 1]),
            from_port: 5000,
            to: IpAddr::from([10, 0, 0, 2]),
            to_port: 1153,
        }
    }

    /// An APDU as far as framing goes.
    fn apdu(fill: u8, len: u8) -> Vec<u8> {
        [vec![0x60, len], vec![fill; usize::from(len)]].concat()
    }

    #[test]
    fn segments_in_any_order_and_twice_give_each_apdu_once() {
        let stream = [apdu(1, 40), apdu(2, 3), apdu(3, 90)].concat();
        let mut streams = Streams::default();
        let mut found = Vec::new();
        let start = u32::MAX - 20;
        streams.segment(1, &end(), start.wrapping_sub(1), true, &[], |_| panic!("nothing yet"));
        let pieces = [(50, 70), (0, 10), (0, 30), (30, 55), (70, 139), (10, 30)];
        for (packet, (from, to)) in (2..).zip(pieces) {
            let sequence = start.wrapping_add(from as u32);
            let payload = &stream[from..to.min(stream.len())];
            streams.segment(packet, &end(), sequence, false, payload, |apdu| found.push(apdu));
        }
        assert_eq!(found, [apdu(1, 40), apdu(2, 3), apdu(3, 90)]);
    }

    #[test]
    fn both_directions_are_one_conversation() {
        let there = end();
        let back = End { from: there.to, from_port: there.to_port, to: there.from, to_port: there.from_port };
        assert_eq!(there.conversation(), back.conversation());
    }

    #[test]
    fn what_is_left_is_told_at_the_end() {
        let mut streams = Streams::default();
        streams.segment(7, &end(), 5, false, &apdu(1, 40)[..20], |_| panic!("not whole"));
        let mut left = Vec::new();
        streams.finish(|packet, _, octets| left.push((packet, octets.len())));
        assert_eq!(left, [(7, 20)]);
    }
}
