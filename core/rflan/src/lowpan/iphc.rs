//! IPv6 and UDP headers, compressed without contexts (RFC 6282).
//!
//! Link-local addresses made from the EUI-64s of originator and final address are elided. Port 1153 is outside
//! the range F0B0h-F0BFh and F000h-F0FFh, so that both ports stand whole (4.3.3, form 00); the checksum always stands.
//! The IPv6 length and the UDP length follow from the frame or the datagram size.

use super::LowpanError;
use crate::Eui64;
use crate::reader::Reader;

/// Octets of the IPv6 and UDP headers before compression.
pub const IPV6_UDP_LEN: usize = 48;

/// All nodes on the link: ff02::1.
pub const ALL_NODES: [u8; 16] = [0xFF, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

const UDP_LEN: usize = 8;
const NEXT_HEADER_UDP: u8 = 17;
const LINK_LOCAL: [u8; 8] = [0xFE, 0x80, 0, 0, 0, 0, 0, 0];
/// The universal bit of an EUI-64, inverted in an interface identifier (RFC 4291, annex A).
const UNIVERSAL: u64 = 0x0200_0000_0000_0000;

const DISPATCH: u8 = 0b0110_0000;
const DISPATCH_MASK: u8 = 0b1110_0000;
/// Traffic class and flow label are zero and elided.
const TF_ELIDED: u8 = 0b0001_1000;
const NEXT_HEADER_COMPRESSED: u8 = 0b0000_0100;
const HOP_LIMIT_1: u8 = 1;
const HOP_LIMIT_64: u8 = 2;
const HOP_LIMIT_255: u8 = 3;
const CONTEXT: u8 = 0b1100_0100;
const MULTICAST: u8 = 0b0000_1000;
const NHC_UDP: u8 = 0b1111_0000;
const NHC_UDP_MASK: u8 = 0b1111_1000;
const NHC_CHECKSUM_ELIDED: u8 = 0b0000_0100;

/// Whom the link layer addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkDestination {
    /// One node.
    Device(Eui64),
    /// Every node.
    Broadcast,
}

/// The link addresses that elided IPv6 addresses are made from: those of the mesh header, or those of the
/// frame when there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkEnds {
    /// The originator.
    pub source: Eui64,
    /// The final address.
    pub destination: LinkDestination,
}

/// The link-local address of an EUI-64.
#[must_use]
pub fn link_local(eui: Eui64) -> [u8; 16] {
    join(LINK_LOCAL, (eui.0 ^ UNIVERSAL).to_be_bytes())
}

/// What IPv6 and UDP say about a datagram; traffic class and flow label are not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers {
    /// The IPv6 source.
    pub source: [u8; 16],
    /// The IPv6 destination.
    pub destination: [u8; 16],
    /// The hop limit; hops of the mesh do not count.
    pub hop_limit: u8,
    /// The UDP source port.
    pub source_port: u16,
    /// The UDP destination port.
    pub destination_port: u16,
    /// The UDP checksum.
    pub checksum: u16,
}

impl Headers {
    /// The headers of a datagram between the ends of the link, with its checksum.
    #[must_use]
    pub fn between(ends: &LinkEnds, port: u16, hop_limit: u8, payload: &[u8]) -> Self {
        let destination = match ends.destination {
            LinkDestination::Device(device) => link_local(device),
            LinkDestination::Broadcast => ALL_NODES,
        };
        let headers = Self {
            source: link_local(ends.source),
            destination,
            hop_limit,
            source_port: port,
            destination_port: port,
            checksum: 0,
        };
        Self { checksum: headers.checksum_of(payload), ..headers }
    }

    /// Octets that [`Headers::between`] takes when compressed.
    pub(super) const fn between_len(ends: &LinkEnds) -> usize {
        match ends.destination {
            // IPHC 2, NHC 1, ports 4, checksum 2.
            LinkDestination::Device(_) => 9,
            // The group as well.
            LinkDestination::Broadcast => 10,
        }
    }

    /// The UDP checksum that these headers and this payload should have (RFC 8200, 8.1). Never zero.
    #[must_use]
    pub fn checksum_of(&self, payload: &[u8]) -> u16 {
        let len = (payload.len() + UDP_LEN) as u32;
        let mut sum = u64::from(len) + u64::from(NEXT_HEADER_UDP);
        sum += u64::from(self.source_port) + u64::from(self.destination_port) + u64::from(len);
        for octets in [&self.source, &self.destination, payload] {
            let mut words = octets.chunks_exact(2);
            for word in &mut words {
                if let [high, low] = word {
                    sum += u64::from(u16::from_be_bytes([*high, *low]));
                }
            }
            if let [last] = words.remainder() {
                sum += u64::from(u16::from_be_bytes([*last, 0]));
            }
        }
        while sum > 0xFFFF {
            sum = (sum >> 16) + (sum & 0xFFFF);
        }
        match !(sum as u16) {
            0 => 0xFFFF,
            checksum => checksum,
        }
    }

    /// Appends the compressed headers.
    pub fn encode(&self, ends: &LinkEnds, out: &mut Vec<u8>) {
        let (hop_limit, inline_hops) = match self.hop_limit {
            1 => (HOP_LIMIT_1, None),
            64 => (HOP_LIMIT_64, None),
            255 => (HOP_LIMIT_255, None),
            other => (0, Some(other)),
        };
        let (source_mode, source) = unicast_form(&self.source, Some(ends.source));
        let (multicast, destination_mode, destination) = match &self.destination {
            [0xFF, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, _] => {
                (MULTICAST, 3, self.destination.get(15..))
            }
            [0xFF, ..] => (MULTICAST, 0, Some(&self.destination[..])),
            unicast => {
                let eui = match ends.destination {
                    LinkDestination::Device(device) => Some(device),
                    LinkDestination::Broadcast => None,
                };
                let (mode, inline) = unicast_form(unicast, eui);
                (0, mode, Some(inline))
            }
        };
        out.push(DISPATCH | TF_ELIDED | NEXT_HEADER_COMPRESSED | hop_limit);
        out.push(source_mode << 4 | multicast | destination_mode);
        out.extend(inline_hops);
        out.extend_from_slice(source);
        out.extend_from_slice(destination.unwrap_or_default());
        out.push(NHC_UDP);
        out.extend_from_slice(&self.source_port.to_be_bytes());
        out.extend_from_slice(&self.destination_port.to_be_bytes());
        out.extend_from_slice(&self.checksum.to_be_bytes());
    }

    /// Reads compressed headers. Answers them and the UDP payload.
    ///
    /// # Errors
    /// [`LowpanError`] for what is wrong or needs a context.
    pub fn decode<'a>(octets: &'a [u8], ends: &LinkEnds) -> Result<(Self, &'a [u8]), LowpanError> {
        let truncated = LowpanError::Truncated;
        let mut reader = Reader::new(octets);
        let [first, second] = reader.array().ok_or(truncated)?;
        if first & DISPATCH_MASK != DISPATCH {
            return Err(LowpanError::Dispatch);
        }
        if second & CONTEXT != 0 {
            return Err(LowpanError::IphcStateful);
        }
        if first & NEXT_HEADER_COMPRESSED == 0 {
            return Err(LowpanError::NotUdp);
        }
        let flow_len = match first >> 3 & 3 {
            0 => 4,
            1 => 3,
            2 => 1,
            _ => 0,
        };
        reader.octets(flow_len).ok_or(truncated)?;
        let hop_limit = match first & 3 {
            HOP_LIMIT_1 => 1,
            HOP_LIMIT_64 => 64,
            HOP_LIMIT_255 => 255,
            _ => reader.octet().ok_or(truncated)?,
        };
        let source = unicast(second >> 4 & 3, Some(ends.source), &mut reader)?;
        let destination = if second & MULTICAST != 0 {
            multicast(second & 3, &mut reader)?
        } else {
            let eui = match ends.destination {
                LinkDestination::Device(device) => Some(device),
                LinkDestination::Broadcast => None,
            };
            unicast(second & 3, eui, &mut reader)?
        };
        let (source_port, destination_port, checksum) = udp(&mut reader)?;
        let headers = Self { source, destination, hop_limit, source_port, destination_port, checksum };
        Ok((headers, reader.rest()))
    }
}

/// The shortest form of a unicast address: its mode and what stands in the header.
fn unicast_form(address: &[u8; 16], eui: Option<Eui64>) -> (u8, &[u8]) {
    if eui.is_some_and(|eui| link_local(eui) == *address) {
        return (3, &[]);
    }
    match address.split_first_chunk::<8>() {
        Some((&LINK_LOCAL, identifier)) => (1, identifier),
        _ => (0, address),
    }
}

/// Reads a unicast address without context (3.1.1).
fn unicast(mode: u8, eui: Option<Eui64>, reader: &mut Reader<'_>) -> Result<[u8; 16], LowpanError> {
    let truncated = LowpanError::Truncated;
    match mode {
        0 => reader.array().ok_or(truncated),
        1 => Ok(join(LINK_LOCAL, reader.array().ok_or(truncated)?)),
        2 => {
            let [high, low] = reader.array().ok_or(truncated)?;
            Ok(join(LINK_LOCAL, [0, 0, 0, 0xFF, 0xFE, 0, high, low]))
        }
        _ => eui.map(link_local).ok_or(LowpanError::IphcAddress),
    }
}

/// Reads a multicast address without context (3.1.1).
fn multicast(mode: u8, reader: &mut Reader<'_>) -> Result<[u8; 16], LowpanError> {
    let truncated = LowpanError::Truncated;
    match mode {
        0 => reader.array().ok_or(truncated),
        1 => {
            let [scope, a, b, c, d, e] = reader.array().ok_or(truncated)?;
            Ok([0xFF, scope, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d, e])
        }
        2 => {
            let [scope, a, b, c] = reader.array().ok_or(truncated)?;
            Ok([0xFF, scope, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c])
        }
        _ => {
            let [group] = reader.array().ok_or(truncated)?;
            Ok([0xFF, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, group])
        }
    }
}

/// Reads compressed UDP (4.3): ports and checksum.
fn udp(reader: &mut Reader<'_>) -> Result<(u16, u16, u16), LowpanError> {
    let truncated = LowpanError::Truncated;
    let nhc = reader.octet().ok_or(truncated)?;
    if nhc & NHC_UDP_MASK != NHC_UDP {
        return Err(LowpanError::NotUdp);
    }
    if nhc & NHC_CHECKSUM_ELIDED != 0 {
        return Err(LowpanError::ChecksumElided);
    }
    let short = |octet: u8| 0xF000 | u16::from(octet);
    let (source, destination) = match nhc & 3 {
        0 => (reader.be16().ok_or(truncated)?, reader.be16().ok_or(truncated)?),
        1 => (reader.be16().ok_or(truncated)?, short(reader.octet().ok_or(truncated)?)),
        2 => (short(reader.octet().ok_or(truncated)?), reader.be16().ok_or(truncated)?),
        _ => {
            let both = reader.octet().ok_or(truncated)?;
            (0xF0B0 | u16::from(both >> 4), 0xF0B0 | u16::from(both & 0xF))
        }
    };
    Ok((source, destination, reader.be16().ok_or(truncated)?))
}

fn join(prefix: [u8; 8], identifier: [u8; 8]) -> [u8; 16] {
    // Numbers join without an index.
    let joined = u128::from(u64::from_be_bytes(prefix)) << 64 | u128::from(u64::from_be_bytes(identifier));
    joined.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ENDS: LinkEnds = LinkEnds {
        source: Eui64(0x0200_5EEF_1000_0001),
        destination: LinkDestination::Device(Eui64(0x0200_5EEF_1000_0002)),
    };

    #[test]
    fn a_datagram_between_the_ends_needs_nine_octets() {
        let mut out = Vec::new();
        Headers::between(&ENDS, 1153, 64, b"apdu").encode(&ENDS, &mut out);
        assert_eq!(out.len(), Headers::between_len(&ENDS));
        assert_eq!(out[..7], [0x7E, 0x33, 0xF0, 0x04, 0x81, 0x04, 0x81]);
        let all = LinkEnds { destination: LinkDestination::Broadcast, ..ENDS };
        let mut out = Vec::new();
        Headers::between(&all, 1153, 64, b"apdu").encode(&all, &mut out);
        assert_eq!(out.len(), Headers::between_len(&all));
        assert_eq!(out[..3], [0x7E, 0x3B, 0x01]);
    }

    #[test]
    fn the_checksum_is_never_zero() {
        let headers = Headers::between(&ENDS, 1153, 64, &[0, 0]);
        let payload = headers.checksum.to_be_bytes();
        assert_eq!(headers.checksum_of(&payload), 0xFFFF);
    }

    #[test]
    fn what_is_not_used_is_refused_by_its_word() {
        let refused = |octets: &[u8]| Headers::decode(octets, &ENDS).unwrap_err().to_string();
        assert_eq!(refused(&[0x7E, 0x73]), "iphc-stateful");
        assert_eq!(refused(&[0x7A, 0x33, 17]), "not-udp");
        assert_eq!(refused(&[0x7E, 0x33, 0xE0]), "not-udp");
        assert_eq!(refused(&[0x7E, 0x33, 0xF4, 0, 0, 0, 0]), "udp-checksum-elided");
        assert_eq!(refused(&[0x41, 0x33]), "dispatch-not-used");
        assert_eq!(refused(&[0x7E]), "lowpan-truncated");
        let all = LinkEnds { destination: LinkDestination::Broadcast, ..ENDS };
        assert_eq!(Headers::decode(&[0x7E, 0x33], &all), Err(LowpanError::IphcAddress));
    }

    #[test]
    fn the_other_stateless_forms_are_read() {
        let (headers, rest) =
            Headers::decode(&[0x76, 0x2A, 0x00, 0xAB, 0xCD, 5, 0, 0, 2, 0xF3, 0x12, 1, 2, 9], &ENDS).unwrap();
        assert_eq!(headers.source[8..], [0, 0, 0, 0xFF, 0xFE, 0, 0xAB, 0xCD]);
        assert_eq!(headers.destination[..2], [0xFF, 0x05]);
        assert_eq!((headers.source_port, headers.destination_port), (0xF0B1, 0xF0B2));
        assert_eq!((headers.checksum, rest), (0x0102, &[9][..]));
    }

    fn address() -> impl Strategy<Value = [u8; 16]> {
        (any::<[u8; 16]>(), 0..4).prop_map(|(mut address, form)| {
            match form {
                0 => address[..8].copy_from_slice(&LINK_LOCAL),
                1 => address = link_local(ENDS.source),
                2 => {
                    address = ALL_NODES;
                }
                _ => {}
            }
            address
        })
    }

    proptest! {
        #[test]
        fn headers_read_as_they_were_written(
            source in address(),
            destination in address(),
            hop_limit in any::<u8>(),
            source_port in any::<u16>(),
            destination_port in any::<u16>(),
            checksum in any::<u16>(),
            broadcast in any::<bool>(),
        ) {
            let ends = if broadcast {
                LinkEnds { destination: LinkDestination::Broadcast, ..ENDS }
            } else {
                ENDS
            };
            let headers = Headers { source, destination, hop_limit, source_port, destination_port, checksum };
            let mut out = Vec::new();
            headers.encode(&ends, &mut out);
            out.push(0xAA);
            prop_assert_eq!(Headers::decode(&out, &ends), Ok((headers, &[0xAA][..])));
        }

        #[test]
        fn any_octets_decode_without_panic(octets in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Headers::decode(&octets, &ENDS);
        }
    }
}
