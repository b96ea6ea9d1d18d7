//! An APDU to the payloads of its frames, and back.

use std::borrow::Cow;

use super::fragment::UNIT;
use super::{
    DATAGRAM_LEN_MAX, Dropped, FragmentHeader, Headers, IPV6_UDP_LEN, LinkDestination, LinkEnds, LowpanError,
    MeshFinal, MeshHeader, Reassembler, ReassemblyLimits,
};
use crate::Eui64;
use crate::fcs::FCS32_LEN;

/// The UDP port of C12.22 (RFC 6142).
pub const UDP_PORT: u16 = 1153;

/// The longest APDU that a datagram carries, octets.
pub const APDU_LEN_MAX: usize = DATAGRAM_LEN_MAX - IPV6_UDP_LEN;

const HOP_LIMIT: u8 = 64;

/// Room for payload in a frame, octets: the MTU less the MAC header with its IEs, less what security adds,
/// less FCS-32.
#[must_use]
pub const fn payload_max(mtu: usize, header_len: usize, security_len: usize) -> usize {
    mtu.saturating_sub(header_len).saturating_sub(security_len).saturating_sub(FCS32_LEN)
}

/// From where to where a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// To a neighbour, without a mesh header: the addresses of the frame are the ends.
    Direct(LinkEnds),
    /// Over the mesh.
    Mesh(MeshHeader),
}

impl Path {
    /// The ends of the path.
    #[must_use]
    pub const fn ends(&self) -> LinkEnds {
        match self {
            Self::Direct(ends) => *ends,
            Self::Mesh(mesh) => LinkEnds {
                source: mesh.originator,
                destination: match mesh.destination {
                    MeshFinal::Device(device) => LinkDestination::Device(device),
                    MeshFinal::Broadcast { .. } => LinkDestination::Broadcast,
                },
            },
        }
    }

    const fn encoded_len(&self) -> usize {
        match self {
            Self::Direct(_) => 0,
            Self::Mesh(mesh) => mesh.encoded_len(),
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        if let Self::Mesh(mesh) = self {
            mesh.encode(out);
        }
    }
}

/// An APDU on its way into frames.
#[derive(Clone, Debug)]
pub struct Outgoing<'a> {
    apdu: &'a [u8],
    left: &'a [u8],
    path: Path,
    headers: Headers,
    tag: u16,
    /// Octets of APDU in the first payload and in each later one; the first is all when there is one only.
    first: usize,
    later: usize,
    sent: usize,
}

impl<'a> Outgoing<'a> {
    /// Plans the payloads of an APDU: one, or fragments under `tag`.
    ///
    /// `payload_max` is the room of one frame, octets ([`payload_max`]); `apdu_max` the configured maximum, at most
    /// [`APDU_LEN_MAX`].
    ///
    /// # Errors
    /// [`LowpanError::ApduTooLong`], [`LowpanError::MtuTooSmall`].
    pub fn new(
        apdu: &'a [u8],
        path: Path,
        tag: u16,
        payload_max: usize,
        apdu_max: usize,
    ) -> Result<Self, LowpanError> {
        if apdu.len() > apdu_max.min(APDU_LEN_MAX) {
            return Err(LowpanError::ApduTooLong);
        }
        let headers = Headers::between(&path.ends(), UDP_PORT, HOP_LIMIT, apdu);
        let mesh_len = path.encoded_len();
        let lead_len = mesh_len + Headers::between_len(&path.ends());
        let fits = lead_len + apdu.len() <= payload_max;
        let (first, later) = if fits {
            (apdu.len(), 0)
        } else {
            let whole_units = |taken: usize| payload_max.saturating_sub(taken) / UNIT * UNIT;
            // All that a first fragment covers but its payload, 48 octets, is whole units as well.
            (
                whole_units(lead_len + FragmentHeader::FIRST_LEN),
                whole_units(mesh_len + FragmentHeader::NEXT_LEN),
            )
        };
        if !fits && (first == 0 || later == 0) {
            return Err(LowpanError::MtuTooSmall);
        }
        Ok(Self { apdu, left: apdu, path, headers, tag, first, later, sent: 0 })
    }

    /// How many payloads there are in all.
    #[must_use]
    pub const fn count(&self) -> usize {
        match self.apdu.len() - self.first {
            0 => 1,
            rest => 1 + rest.div_ceil(self.later),
        }
    }

    /// Appends the next payload; false when there is none.
    pub fn next(&mut self, out: &mut Vec<u8>) -> bool {
        let is_first = self.sent == 0;
        if !is_first && self.left.is_empty() {
            return false;
        }
        let room = if is_first { self.first } else { self.later };
        let (part, left) = self.left.split_at_checked(room).unwrap_or((self.left, &[]));
        self.path.encode(out);
        if self.first < self.apdu.len() {
            let at = if is_first { 0 } else { IPV6_UDP_LEN + self.apdu.len() - self.left.len() };
            // Both fit: a datagram has at most 2047 octets, 256 units.
            let size = (IPV6_UDP_LEN + self.apdu.len()) as u16;
            FragmentHeader { size, tag: self.tag, offset: (at / UNIT) as u8 }.encode(out);
        }
        if is_first {
            self.headers.encode(&self.path.ends(), out);
        }
        out.extend_from_slice(part);
        self.left = left;
        self.sent += 1;
        true
    }
}

/// The payload of one frame, its mesh header taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Whence and whither.
    pub path: Path,
    /// What follows the mesh header: a fragment or a whole datagram. A forwarder sends it on as it is.
    pub body: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a payload; `frame` are the addresses of the frame it came in.
    ///
    /// # Errors
    /// [`LowpanError`] of the mesh header.
    pub fn decode(payload: &'a [u8], frame: LinkEnds) -> Result<Self, LowpanError> {
        if MeshHeader::is_next(payload) {
            let (mesh, body) = MeshHeader::decode(payload)?;
            Ok(Self { path: Path::Mesh(mesh), body })
        } else {
            Ok(Self { path: Path::Direct(frame), body: payload })
        }
    }

    /// Appends the payload as a forwarder sends it on.
    ///
    /// # Errors
    /// [`LowpanError::HopsExhausted`], also for a packet without mesh header, which goes no further.
    pub fn forward(&self, out: &mut Vec<u8>) -> Result<(), LowpanError> {
        let Path::Mesh(mesh) = self.path else {
            return Err(LowpanError::HopsExhausted);
        };
        mesh.forwarded()?.encode(out);
        out.extend_from_slice(self.body);
        Ok(())
    }
}

/// An APDU that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received<'a> {
    /// Who sent it.
    pub originator: Eui64,
    /// Its IPv6 and UDP headers.
    pub headers: Headers,
    /// The APDU: borrowed from the frame when it came in one.
    pub apdu: Cow<'a, [u8]>,
}

/// The receiving end: packets to APDUs.
#[derive(Debug)]
pub struct Receiver {
    reassembler: Reassembler,
    apdu_max: usize,
}

impl Receiver {
    /// A receiver of APDUs up to `apdu_max` octets.
    #[must_use]
    pub const fn new(limits: ReassemblyLimits, apdu_max: usize) -> Self {
        Self { reassembler: Reassembler::new(limits), apdu_max }
    }

    /// The datagrams under way.
    #[must_use]
    pub const fn reassembler(&self) -> &Reassembler {
        &self.reassembler
    }

    /// Gives up what has taken longer than 60 s.
    pub fn expire(&mut self, now_ns: u64, dropped: &mut Vec<Dropped>) {
        self.reassembler.expire(now_ns, dropped);
    }

    /// Takes a packet that is for this node; answers the APDU when it is whole.
    ///
    /// # Errors
    /// [`LowpanError`]: of the headers, [`LowpanError::Checksum`], [`LowpanError::Port`],
    /// [`LowpanError::ApduTooLong`].
    pub fn accept<'a>(
        &mut self,
        now_ns: u64,
        packet: &Packet<'a>,
        dropped: &mut Vec<Dropped>,
    ) -> Result<Option<Received<'a>>, LowpanError> {
        let ends = packet.path.ends();
        let (headers, apdu) = if FragmentHeader::is_next(packet.body) {
            let (header, fragment) = FragmentHeader::decode(packet.body)?;
            if usize::from(header.size) > self.apdu_max.saturating_add(IPV6_UDP_LEN) {
                return Err(LowpanError::ApduTooLong);
            }
            match self.reassembler.accept(now_ns, &ends, header, fragment, dropped)? {
                Some(whole) => (whole.headers, Cow::Owned(whole.payload)),
                None => return Ok(None),
            }
        } else {
            let (headers, apdu) = Headers::decode(packet.body, &ends)?;
            (headers, Cow::Borrowed(apdu))
        };
        if apdu.len() > self.apdu_max {
            return Err(LowpanError::ApduTooLong);
        }
        if headers.checksum_of(&apdu) != headers.checksum {
            return Err(LowpanError::Checksum);
        }
        if headers.destination_port != UDP_PORT {
            return Err(LowpanError::Port);
        }
        Ok(Some(Received { originator: ends.source, headers, apdu }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: ReassemblyLimits = ReassemblyLimits { octets_max: 16_384, entries_max: 16 };
    const ENDS: LinkEnds = LinkEnds {
        source: Eui64(0x0200_5EEF_1000_0001),
        destination: LinkDestination::Device(Eui64(0x0200_5EEF_1000_0002)),
    };

    fn mesh(hops_left: u8) -> Path {
        let destination = MeshFinal::Device(Eui64(0x0200_5EEF_1000_0002));
        Path::Mesh(MeshHeader { hops_left, originator: ENDS.source, destination })
    }

    fn payloads(apdu: &[u8], path: Path, room: usize) -> Vec<Vec<u8>> {
        let mut outgoing = Outgoing::new(apdu, path, 7, room, APDU_LEN_MAX).unwrap();
        let mut all = Vec::new();
        let mut payload = Vec::new();
        while outgoing.next(&mut payload) {
            all.push(core::mem::take(&mut payload));
        }
        assert_eq!(all.len(), outgoing.count());
        all
    }

    #[test]
    fn an_apdu_of_180_octets_fits_a_psdu_of_245() {
        let room = payload_max(245, 21 + 12 + 2, 0);
        assert_eq!(payloads(&[0; 180], mesh(3), room).len(), 1);
        assert_eq!(payloads(&[0; 181], mesh(3), room).len(), 2);
    }

    #[test]
    fn limits_have_their_words() {
        let new = |len: usize, room, apdu_max| {
            Outgoing::new(&vec![0; len], Path::Direct(ENDS), 0, room, apdu_max)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(new(101, 80, 100).unwrap(), "apdu-too-long");
        assert_eq!(new(2000, 200, 4000).unwrap(), "apdu-too-long");
        assert_eq!(new(100, 20, 1999).unwrap(), "mtu-too-small");
        assert_eq!(new(1999, 21, 1999), None);
        let mut to = Receiver::new(LIMITS, 99);
        for room in [300, 80] {
            let payload = payloads(&[0; 100], Path::Direct(ENDS), room).remove(0);
            let packet = Packet::decode(&payload, ENDS).unwrap();
            assert_eq!(to.accept(0, &packet, &mut Vec::new()), Err(LowpanError::ApduTooLong));
        }
    }

    #[test]
    fn another_port_is_refused() {
        let mut payload = Vec::new();
        Headers::between(&ENDS, 1154, 64, b"apdu").encode(&ENDS, &mut payload);
        payload.extend_from_slice(b"apdu");
        let packet = Packet::decode(&payload, ENDS).unwrap();
        let mut to = Receiver::new(LIMITS, APDU_LEN_MAX);
        assert_eq!(to.accept(0, &packet, &mut Vec::new()), Err(LowpanError::Port));
    }

    #[test]
    fn a_packet_without_mesh_header_goes_no_further() {
        let payload = payloads(b"apdu", Path::Direct(ENDS), 100).remove(0);
        let packet = Packet::decode(&payload, ENDS).unwrap();
        assert_eq!(packet.forward(&mut Vec::new()), Err(LowpanError::HopsExhausted));
    }

    proptest! {
        #[test]
        fn an_apdu_arrives_over_any_path_and_mtu(
            apdu in proptest::collection::vec(any::<u8>(), 0..=APDU_LEN_MAX),
            mtu in 127_usize..=2047,
            header_len in 21_usize..60,
            hops_left in 4_u8..=255,
            shape in 0..4,
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        ) {
            let path = match shape {
                0 => Path::Direct(ENDS),
                1 => Path::Direct(LinkEnds { destination: LinkDestination::Broadcast, ..ENDS }),
                2 => mesh(hops_left),
                _ => Path::Mesh(MeshHeader {
                    hops_left,
                    originator: ENDS.source,
                    destination: MeshFinal::Broadcast { sequence: 3 },
                }),
            };
            let room = payload_max(mtu, header_len, 14);
            let mut all = payloads(&apdu, path, room);
            for (at, to) in order.iter().enumerate() {
                let count = all.len();
                all.swap(at % count, to.index(count));
            }
            let mut to = Receiver::new(LIMITS, APDU_LEN_MAX);
            let mut arrived = Vec::new();
            for payload in &all {
                prop_assert!(payload.len() <= room);
                let mut payload = payload.clone();
                if let Path::Mesh(_) = path {
                    // Two forwarders.
                    for _ in 0..2 {
                        let mut next = Vec::new();
                        Packet::decode(&payload, ENDS).unwrap().forward(&mut next).unwrap();
                        payload = next;
                    }
                }
                let packet = Packet::decode(&payload, path.ends()).unwrap();
                if let Some(received) = to.accept(0, &packet, &mut Vec::new()).unwrap() {
                    arrived.push((received.originator, received.apdu.into_owned()));
                }
            }
            prop_assert_eq!(arrived, [(ENDS.source, apdu)]);
        }

        #[test]
        fn any_payload_is_taken_without_panic(
            payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..10),
        ) {
            let mut to = Receiver::new(LIMITS, APDU_LEN_MAX);
            for payload in &payloads {
                if let Ok(packet) = Packet::decode(payload, ENDS) {
                    let _ = packet.forward(&mut Vec::new());
                    let _ = to.accept(0, &packet, &mut Vec::new());
                }
            }
        }

        #[test]
        fn a_changed_octet_of_the_apdu_is_found(
            apdu in proptest::collection::vec(any::<u8>(), 1..200),
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let mut payload = payloads(&apdu, Path::Direct(ENDS), 300).remove(0);
            let lead = payload.len() - apdu.len();
            payload[lead + at.index(apdu.len())] ^= 1_u8 << bit;
            let packet = Packet::decode(&payload, ENDS).unwrap();
            let mut to = Receiver::new(LIMITS, APDU_LEN_MAX);
            prop_assert_eq!(to.accept(0, &packet, &mut Vec::new()), Err(LowpanError::Checksum));
        }
    }
}
