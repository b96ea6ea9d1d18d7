//! A writer of captures: raw IP packets, UDP datagrams and TCP streams to and from port 1153.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use etherparse::PacketBuilder;

/// The host, whose port is that of its connection, and the node, which has the port of C12.22.
const ADDRESSES: [([u8; 4], u16); 2] = [([10, 1, 1, 1], 50_000), ([10, 2, 2, 2], 1153)];
/// Octets of payload in one packet of a stream.
const MSS: usize = 1400;

/// Who sends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Host,
    Node,
}

/// A capture file in the making. TCP connections open with their first octet.
pub struct Capture {
    file: BufWriter<File>,
    packets: u32,
    /// The next sequence number of either side, by connection.
    sequences: HashMap<u16, [u32; 2]>,
}

impl Capture {
    pub fn create(path: &Path) -> Self {
        let mut file = BufWriter::new(File::create(path).unwrap());
        // Magic, version 2.4, no time zone, snap length, link type 101: raw IP.
        for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 0x0004_0000, 101_u32] {
            file.write_all(&word.to_le_bytes()).unwrap();
        }
        Self { file, packets: 0, sequences: HashMap::new() }
    }

    /// One APDU in a datagram.
    pub fn datagram(&mut self, from: Side, payload: &[u8]) {
        let [(source, source_port), (target, target_port)] = ends(from, 0);
        let builder = PacketBuilder::ipv4(source, target, 64).udp(source_port, target_port);
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).unwrap();
        self.packet(&packet);
    }

    /// Octets on a connection, cut into packets without regard to what they are.
    pub fn stream(&mut self, connection: u16, from: Side, octets: &[u8]) {
        if let Entry::Vacant(entry) = self.sequences.entry(connection) {
            // Close to the end of the numbers, so that they wrap.
            entry.insert([u32::MAX - 5000, 77]);
            self.segment(connection, Side::Host, Flags::Syn, &[]);
            self.segment(connection, Side::Node, Flags::SynAck, &[]);
            self.segment(connection, Side::Host, Flags::Ack, &[]);
        }
        for part in octets.chunks(MSS) {
            self.segment(connection, from, Flags::Ack, part);
        }
    }

    fn segment(&mut self, connection: u16, from: Side, flags: Flags, payload: &[u8]) {
        let [(source, source_port), (target, target_port)] = ends(from, connection);
        let sequences = self.sequences.get_mut(&connection).unwrap();
        let [own, other] = match from {
            Side::Host => [sequences[0], sequences[1]],
            Side::Node => [sequences[1], sequences[0]],
        };
        let builder = PacketBuilder::ipv4(source, target, 64).tcp(source_port, target_port, own, u16::MAX);
        let (builder, counted) = match flags {
            Flags::Syn => (builder.syn(), 1),
            Flags::SynAck => (builder.syn().ack(other), 1),
            Flags::Ack => (builder.ack(other), u32::try_from(payload.len()).unwrap()),
        };
        sequences[from as usize] = own.wrapping_add(counted);
        let mut packet = Vec::new();
        builder.write(&mut packet, payload).unwrap();
        self.packet(&packet);
    }

    fn packet(&mut self, octets: &[u8]) {
        let len = u32::try_from(octets.len()).unwrap();
        // Seconds, microseconds, octets here, octets on the wire.
        for word in [self.packets, 0, len, len] {
            self.file.write_all(&word.to_le_bytes()).unwrap();
        }
        self.file.write_all(octets).unwrap();
        self.packets += 1;
    }

    /// Writes what is left.
    pub fn finish(mut self) {
        self.file.flush().unwrap();
    }
}

/// Flags of a TCP segment.
enum Flags {
    Syn,
    SynAck,
    Ack,
}

fn ends(from: Side, connection: u16) -> [([u8; 4], u16); 2] {
    let [(host, port), node] = ADDRESSES;
    let host = (host, port + connection);
    match from {
        Side::Host => [host, node],
        Side::Node => [node, host],
    }
}
