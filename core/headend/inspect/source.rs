//! Where APDUs come from: captures (pcap, pcapng) and hex lines.

use std::io::Read;
use std::path::Path;

use c1222::apdu;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use miette::{IntoDiagnostic, WrapErr, miette};
use pcap_parser::data::{PacketData, get_packetdata};
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

use super::stream::{End, Streams};

/// The largest file that is read.
const FILE_MAX: u64 = 4 << 30;
/// One block of a capture has at most so many octets.
const BLOCK_MAX: usize = 16 << 20;
/// An APDU has at most so many octets.
pub(super) const APDU_MAX: usize = 1 << 20;
/// The port of C12.22 (RFC 6142).
const PORT: u16 = 1153;

/// One APDU, or octets that are none, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where: file and line, or file, packet and addresses.
    pub(super) place: String,
    /// The id before the octets of a hex line.
    pub(super) id: Option<String>,
    /// Whom it may share a session with: who talks to whom, either way. The same for a whole hex file.
    pub(super) conversation: String,
    /// Its octets.
    pub(super) octets: Vec<u8>,
}

/// Reads a file; `-` is standard input.
pub(super) fn read(path: &Path) -> miette::Result<Vec<Found>> {
    let name = path.display().to_string();
    let mut octets = Vec::new();
    let read = if name == "-" {
        std::io::stdin().lock().take(FILE_MAX).read_to_end(&mut octets)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut octets))
    };
    read.into_diagnostic().wrap_err_with(|| name.clone())?;
    match octets.first_chunk::<4>() {
        Some(
            [0xd4, 0xc3, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0xc3, 0xd4]
            | [0x4d, 0x3c, 0xb2, 0xa1]
            | [0xa1, 0xb2, 0x3c, 0x4d]
            | [0x0a, 0x0d, 0x0d, 0x0a],
        ) => capture(&name, &octets),
        _ => hex(&name, &octets),
    }
}

/// One APDU a line; what follows `#` is a comment; an id may stand before it.
fn hex(name: &str, octets: &[u8]) -> miette::Result<Vec<Found>> {
    let text = std::str::from_utf8(octets)
        .map_err(|_| miette!("{name} is neither a capture nor lines of hex digits"))?;
    let mut found = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().collect();
        let Some((first, rest)) = words.split_first() else { continue };
        // An APDU begins with 60; any other first word before more is an id. Octets may be set apart.
        let begins = first.starts_with("60") && read_hex(first).is_some();
        let (id, digits) = match begins || rest.is_empty() {
            true => (None, words.concat()),
            false => (Some((*first).to_owned()), rest.concat()),
        };
        let octets = read_hex(&digits)
            .ok_or_else(|| miette!("{name}, line {number}: not an even number of hex digits"))?;
        found.push(Found { place: format!("{name}:{number}"), id, conversation: name.to_owned(), octets });
    }
    Ok(found)
}

fn read_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let octets = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() && !pairs.is_empty() { octets } else { None }
}

fn capture(name: &str, octets: &[u8]) -> miette::Result<Vec<Found>> {
    let broken = |error: &dyn std::fmt::Display| miette!("{name}: the capture cannot be read: {error}");
    let mut reader = create_reader(BLOCK_MAX, octets).map_err(|error| broken(&error))?;
    let mut gathered = Gathered { name, packet: 0, found: Vec::new(), streams: Streams::default() };
    let mut legacy = Linktype::NULL;
    // One number per interface of the present section.
    let mut interfaces: Vec<Linktype> = Vec::new();
    loop {
        match reader.next() {
            Ok((consumed, block)) => {
                match block {
                    PcapBlockOwned::LegacyHeader(header) => legacy = header.network,
                    PcapBlockOwned::Legacy(block) => gathered.packet(legacy, block.data),
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(block)) => interfaces.push(block.linktype),
                    PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                        let interface = usize::try_from(block.if_id).ok().and_then(|id| interfaces.get(id));
                        let captured = block.data.get(..block.caplen as usize).unwrap_or(block.data);
                        gathered.packet(interface.copied().unwrap_or(Linktype::NULL), captured);
                    }
                    PcapBlockOwned::NG(Block::SimplePacket(block)) => {
                        gathered.packet(interfaces.first().copied().unwrap_or(Linktype::NULL), block.data);
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(consumed);
            }
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_)) => {
                if reader.reader_exhausted() {
                    // The end of a capture that was cut short: what came before it is good.
                    break;
                }
                reader.refill().map_err(|error| broken(&error))?;
            }
            Err(error) => return Err(broken(&error)),
        }
    }
    gathered.streams.finish(|place, end, octets| gathered.found.push(of_stream(name, place, end, octets)));
    Ok(gathered.found)
}

fn of_stream(name: &str, packet: usize, end: &End, octets: Vec<u8>) -> Found {
    Found { place: format!("{name}:{packet} {end}"), id: None, conversation: end.conversation(), octets }
}

/// What a capture has given so far.
struct Gathered<'n> {
    name: &'n str,
    packet: usize,
    found: Vec<Found>,
    streams: Streams,
}

impl Gathered<'_> {
    fn packet(&mut self, linktype: Linktype, octets: &[u8]) {
        self.packet += 1;
        let sliced = match get_packetdata(octets, linktype, octets.len()) {
            Some(PacketData::L2(frame)) => SlicedPacket::from_ethernet(frame),
            Some(PacketData::L3(_, packet)) => SlicedPacket::from_ip(packet),
            _ => return,
        };
        let Ok(sliced) = sliced else { return };
        let (from, to) = match &sliced.net {
            Some(NetSlice::Ipv4(ip)) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            Some(NetSlice::Ipv6(ip)) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into())
            }
            _ => return,
        };
        match &sliced.transport {
            Some(TransportSlice::Udp(udp)) => {
                let end = End { from, from_port: udp.source_port(), to, to_port: udp.destination_port() };
                if end.has_port(PORT) || looks_like_apdus(udp.payload()) {
                    // One APDU a datagram.
                    self.found.push(of_stream(self.name, self.packet, &end, udp.payload().to_vec()));
                }
            }
            Some(TransportSlice::Tcp(tcp)) => {
                let end = End { from, from_port: tcp.source_port(), to, to_port: tcp.destination_port() };
                let (name, packet, found) = (self.name, self.packet, &mut self.found);
                self.streams.segment(
                    packet,
                    &end,
                    tcp.sequence_number(),
                    tcp.syn(),
                    tcp.payload(),
                    |octets| {
                        found.push(of_stream(name, packet, &end, octets));
                    },
                );
            }
            _ => {}
        }
    }
}

/// Whether octets begin with a whole APDU: so C12.22 is found on other ports too.
pub(super) fn looks_like_apdus(octets: &[u8]) -> bool {
    matches!(apdu::measure(octets, APDU_MAX), Ok(Some(len)) if len <= octets.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_lines_with_and_without_id_and_comment() {
        let text = "# a comment\n\nstd8-req 6001aa\n6002 # no id\n60 03 ab\nab12 6004\n";
        let found = hex("f", text.as_bytes()).unwrap();
        let short: Vec<(Option<&str>, &[u8])> =
            found.iter().map(|found| (found.id.as_deref(), found.octets.as_slice())).collect();
        assert_eq!(
            short,
            [
                (Some("std8-req"), &[0x60, 1, 0xaa][..]),
                (None, &[0x60, 2]),
                (None, &[0x60, 3, 0xab]),
                (Some("ab12"), &[0x60, 4]),
            ]
        );
        assert_eq!(found[1].place, "f:4");
        assert!(hex("f", b"x 600").unwrap_err().to_string().contains("line 1"));
    }
}
