//! Stock tshark decodes a capture of this link down to C12.22.
//!
//! The fields of tshark are compared with what was sent. A missing tshark is a failure, not a skip.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use std::path::{Path as FilePath, PathBuf};
use std::process::Command;

use common::{CELL, FORWARDER, METER, RELAY, TABLE_RESPONSE, long_response};
use rflan::Eui64;
use rflan::capture::{Reception, write_frame, write_head};
use rflan::frame::{Addressing, AuxiliaryHeader, Frame, Header, RouteIe, Timing, VendorIe, append_fcs};
use rflan::hop::SlotFraction;
use rflan::lowpan::{LinkDestination, LinkEnds, MeshFinal, MeshHeader, Outgoing, Packet, Path, payload_max};
use rflan::message::LinkKey;
use rflan::phy::PhyProfile;
use rflan::security::{LinkCipher, seal_frame};

const KEY: [u8; 16] = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xAA\xBB\xCC\xDD\xEE\xFF";
const MTU: usize = 255;
const APDU_MAX: usize = 1999;
const SEPARATOR: char = '\t';

/// Frames on the way into one capture, a millisecond apart.
struct Capture {
    octets: Vec<u8>,
    frames: u64,
}

impl Capture {
    fn new() -> Self {
        let mut octets = Vec::new();
        write_head(&mut octets);
        Self { octets, frames: 0 }
    }

    fn add(&mut self, psdu: &[u8]) {
        assert!(psdu.len() <= MTU);
        self.frames += 1;
        let reception = Reception {
            at_ns: 1_800_000_000_000_000_000 + self.frames * 1_000_000,
            profile: PhyProfile::Na50,
            channel: 100,
            rss_dbm: Some(-81.5),
        };
        write_frame(&reception, psdu, &mut self.octets);
    }

    fn save(&self, name: &str) -> PathBuf {
        let file = FilePath::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::write(&file, &self.octets).unwrap();
        file
    }
}

/// What tshark says of each frame: the values of `fields`.
fn tshark(file: &FilePath, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(file).args(["--disable-protocol", "zbee_nwk", "-o", "udp.check_checksum:TRUE"]);
    let key: String = KEY.iter().map(|octet| format!("{octet:02x}")).collect();
    command.arg("-o").arg(format!("uat:ieee802154_keys:\"{key}\",\"1\",\"No hash\""));
    command.args(["-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=,"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = command.output().unwrap_or_else(|error| panic!("tshark must be installed: {error}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split(SEPARATOR).map(str::to_owned).collect()).collect()
}

fn assert_no_complaint(file: &FilePath, frames: u64) {
    let said = tshark(file, &["_ws.malformed", "_ws.expert.message", "wpan.fcs_ok", "wpan-tap.fcs_type"]);
    assert_eq!(said.len() as u64, frames);
    for (at, said) in said.iter().enumerate() {
        assert_eq!(said[..2], ["", ""], "frame {}", at + 1);
        assert!(said[2] == "1" || said[2] == "True", "frame {}: FCS {}", at + 1, said[2]);
        assert_eq!(said[3], "2");
    }
}

fn timing() -> Timing {
    Timing { fraction: SlotFraction::from_u24(0x12_3456), level: 2, path_cost: 300 }
}

fn unicast(source: Eui64, destination: Eui64, sequence: u8) -> Header {
    Header {
        addressing: Addressing::Unicast { cell: CELL, destination, source },
        sequence,
        ack_request: true,
        security: None,
    }
}

fn colons(eui: Eui64) -> String {
    eui.0.to_be_bytes().map(|octet| format!("{octet:02x}")).join(":")
}

fn number(eui: Eui64) -> String {
    format!("0x{:016x}", eui.0)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn uplink(hops_left: u8) -> Path {
    Path::Mesh(MeshHeader { hops_left, originator: METER, destination: MeshFinal::Device(RELAY) })
}

/// The link-local address of an EUI-64, as text; written out here to check the one in the frames.
fn ipv6(eui: Eui64) -> String {
    std::net::Ipv6Addr::from(0xFE80_u128 << 112 | u128::from(eui.0 ^ 0x0200_0000_0000_0000)).to_string()
}

#[test]
fn a_report_an_ack_an_advertisement_and_a_broadcast() {
    let mut capture = Capture::new();
    let ies = [VendorIe::Timing(timing()), VendorIe::Parent(FORWARDER)];
    let apdu = common::octets(TABLE_RESPONSE);

    let room = payload_max(MTU, 21 + 12 + 14 + 2, 0);
    let mut outgoing = Outgoing::new(&apdu, uplink(3), 1, room, APDU_MAX).unwrap();
    let (mut payload, mut psdu) = (Vec::new(), Vec::new());
    assert!(outgoing.next(&mut payload));
    assert_eq!(outgoing.count(), 1);
    unicast(METER, FORWARDER, 77).encode_psdu(&ies, &payload, &mut psdu);
    capture.add(&psdu);

    let ack = Header {
        addressing: Addressing::Ack { destination: METER },
        sequence: 77,
        ack_request: false,
        security: None,
    };
    let mut psdu = Vec::new();
    ack.encode_psdu(&ies[..1], &[], &mut psdu);
    capture.add(&psdu);

    let advertisement = Header {
        addressing: Addressing::Advertisement { cell: CELL, source: RELAY },
        sequence: 3,
        ack_request: false,
        security: None,
    };
    let mut psdu = Vec::new();
    advertisement.encode_psdu(&ies[..1], &[], &mut psdu);
    capture.add(&psdu);

    let all =
        MeshHeader { hops_left: 16, originator: RELAY, destination: MeshFinal::Broadcast { sequence: 9 } };
    let mut outgoing = Outgoing::new(&apdu, Path::Mesh(all), 2, room, APDU_MAX).unwrap();
    let mut payload = Vec::new();
    assert!(outgoing.next(&mut payload));
    let broadcast = Header {
        addressing: Addressing::Broadcast { cell: CELL, source: RELAY },
        sequence: 4,
        ack_request: false,
        security: None,
    };
    let mut psdu = Vec::new();
    broadcast.encode_psdu(&ies[..1], &payload, &mut psdu);
    capture.add(&psdu);

    // Direct, without a mesh header: the IPv6 addresses come from the frame's.
    let ends = LinkEnds { source: METER, destination: LinkDestination::Device(RELAY) };
    let mut payload = Vec::new();
    assert!(Outgoing::new(&apdu, Path::Direct(ends), 3, room, APDU_MAX).unwrap().next(&mut payload));
    let mut psdu = Vec::new();
    unicast(METER, RELAY, 5).encode_psdu(&ies[..1], &payload, &mut psdu);
    capture.add(&psdu);

    let file = capture.save("report.pcap");
    assert_no_complaint(&file, 5);

    let said = tshark(
        &file,
        &[
            "wpan.frame_type",
            "wpan.version",
            "wpan.seq_no",
            "wpan.dst_pan",
            "wpan.src_pan",
            "wpan.dst64",
            "wpan.dst16",
            "wpan.src64",
            "wpan.ack_request",
        ],
    );
    let cell = format!("0x{CELL:04x}");
    let (meter, forwarder, relay) = (colons(METER), colons(FORWARDER), colons(RELAY));
    let data = "0x0001";
    assert_eq!(said[0], [data, "2", "77", &cell, "", &forwarder, "", &meter, "1"]);
    assert_eq!(said[1], ["0x0002", "2", "77", "", "", &meter, "", "", "0"]);
    assert_eq!(said[2], [data, "2", "3", "", &cell, "", "", &relay, "0"]);
    assert_eq!(said[3], [data, "2", "4", &cell, "", "", "0xffff", &relay, "0"]);
    assert_eq!(said[4], [data, "2", "5", &cell, "", &relay, "", &meter, "1"]);

    let said = tshark(
        &file,
        &[
            "6lowpan.mesh.orig64",
            "6lowpan.mesh.dest64",
            "6lowpan.mesh.dest16",
            "6lowpan.mesh.hops",
            "6lowpan.mesh.hops8",
            "6lowpan.bcast.seqnum",
        ],
    );
    let (meter, relay) = (number(METER), number(RELAY));
    assert_eq!(said[0], [&meter, &relay, "", "3", "", ""]);
    assert_eq!(said[1], ["", "", "", "", "", ""]);
    assert_eq!(said[3], [&relay, "", "0xffff", "15", "16", "9"]);
    assert_eq!(said[4], ["", "", "", "", "", ""]);

    let said = tshark(
        &file,
        &["ipv6.src", "ipv6.dst", "udp.srcport", "udp.dstport", "udp.checksum.status", "c1222.data"],
    );
    let data = responses(&apdu);
    for (at, ends) in [
        (0, [ipv6(METER), ipv6(RELAY)]),
        (3, [ipv6(RELAY), "ff02::1".into()]),
        (4, [ipv6(METER), ipv6(RELAY)]),
    ] {
        assert_eq!(said[at][..2], ends);
        assert_eq!(said[at][2..5], ["1153", "1153", "1"]);
        assert_eq!(said[at][5], data);
    }

    let said = tshark(
        &file,
        &[
            "wpan.header_ie.vendor_specific.vendor_oui",
            "wpan.header_ie.vendor_specific.content",
            "wpan.header_ie.ht2",
            "wpan-tap.rss",
            "wpan-tap.bit_rate",
            "wpan-tap.ch_num",
            "wpan-tap.ch_freq",
            "wpan-tap.chplan.start",
            "wpan-tap.chplan.spacing",
            "wpan-tap.chplan.channels",
        ],
    );
    for (said, ouis) in said.iter().zip([2, 1, 1, 1, 1]) {
        let contents = said[1].replace(' ', "");
        let contents: Vec<&str> = contents.split(',').collect();
        assert_eq!(said[0], vec!["152134"; ouis].join(","));
        assert_eq!(contents[0], "01563412022c01");
        if ouis == 2 {
            let parent: String = FORWARDER.0.to_le_bytes().map(|octet| format!("{octet:02x}")).concat();
            assert_eq!(contents[1], format!("02{parent}"));
        }
        assert_eq!(said[3..], ["-81.5", "50000", "100", "922200", "902200", "200", "129"]);
    }
}

/// The response data of [`TABLE_RESPONSE`], as tshark lists it.
fn responses(apdu: &[u8]) -> String {
    [&apdu[37..75], &apdu[77..84], &apdu[86..109]].map(hex).join(",")
}

#[test]
fn an_apdu_of_600_octets_in_fragments_over_two_hops() {
    let apdu = long_response(600);
    let mut capture = Capture::new();
    let ies = [VendorIe::Timing(timing()), VendorIe::Parent(FORWARDER)];
    let room = payload_max(MTU, 21 + 12 + 14 + 2, 0);
    let mut outgoing = Outgoing::new(&apdu, uplink(3), 0xBEEF, room, APDU_MAX).unwrap();
    let count = outgoing.count();
    let mut payload = Vec::new();
    let mut sequence = 0;
    while outgoing.next(&mut payload) {
        let mut psdu = Vec::new();
        unicast(METER, FORWARDER, sequence).encode_psdu(&ies, &payload, &mut psdu);
        capture.add(&psdu);
        let frame = Frame::decode(&psdu).unwrap();
        let ends = LinkEnds { source: METER, destination: LinkDestination::Device(FORWARDER) };
        let packet = Packet::decode(frame.body().unwrap(), ends).unwrap();
        let (mut forwarded, mut next) = (Vec::new(), Vec::new());
        packet.forward(&mut forwarded).unwrap();
        let parent = VendorIe::Parent(frame.parent().unwrap());
        unicast(FORWARDER, RELAY, sequence + 100).encode_psdu(&[ies[0], parent], &forwarded, &mut next);
        capture.add(&next);
        payload.clear();
        sequence += 1;
    }
    assert_eq!(count, 4);
    let file = capture.save("fragments.pcap");
    assert_no_complaint(&file, 8);
    let said = tshark(
        &file,
        &[
            "6lowpan.mesh.orig64",
            "6lowpan.mesh.dest64",
            "6lowpan.mesh.hops",
            "6lowpan.frag.tag",
            "6lowpan.frag.size",
            "6lowpan.frag.offset",
            "6lowpan.reassembled.length",
            "udp.dstport",
            "udp.checksum.status",
            "ipv6.src",
            "c1222.data",
        ],
    );
    // Response data: what follows "ok", up to the end of the APDU.
    let data = hex(&apdu[apdu.len() - 553..]);
    for (at, said) in said.iter().enumerate() {
        let hops = if at % 2 == 0 { "3" } else { "2" };
        assert_eq!(said[..5], [number(METER), number(RELAY), hops.into(), "0xbeef".into(), "648".into()]);
        assert_eq!(said[5], ["", "216", "392", "568"][at / 2]);
        if at < 6 {
            assert_eq!(said[6..], ["", "", "", "", ""]);
        } else {
            // Whole at both hops.
            assert_eq!(said[6..], ["648", "1153", "1", &ipv6(METER), &data]);
        }
    }
}

#[test]
fn a_secured_frame_opens_with_the_key() {
    let mut octets = KEY;
    let cipher = LinkCipher::new(1, LinkKey::take(&mut octets));
    let apdu = common::octets(TABLE_RESPONSE);
    let mut hops = Vec::new();
    hops.extend(METER.0.to_le_bytes());
    let ies = [VendorIe::Timing(timing()), VendorIe::Route(RouteIe::from_octets(&hops).unwrap())];
    let mesh = MeshHeader { hops_left: 3, originator: RELAY, destination: MeshFinal::Device(METER) };
    let mut payload = Vec::new();
    let room = payload_max(MTU, 21 + 12 + 14 + 2, 14);
    assert!(Outgoing::new(&apdu, Path::Mesh(mesh), 1, room, APDU_MAX).unwrap().next(&mut payload));
    let header = Header {
        security: Some(AuxiliaryHeader { counter: 0x0102_0304, key_index: 1 }),
        ..unicast(RELAY, FORWARDER, 200)
    };
    let mut psdu = Vec::new();
    seal_frame(&header, &ies, &payload, RELAY, &cipher, &mut psdu).unwrap();
    append_fcs(0, &mut psdu);
    let mut capture = Capture::new();
    capture.add(&psdu);
    let file = capture.save("secured.pcap");
    assert_no_complaint(&file, 1);
    let said = tshark(
        &file,
        &[
            "wpan.security",
            "wpan.aux_sec.sec_level",
            "wpan.aux_sec.key_id_mode",
            "wpan.aux_sec.frame_counter",
            "wpan.aux_sec.key_index",
            "6lowpan.mesh.orig64",
            "ipv6.dst",
            "udp.dstport",
            "udp.checksum.status",
            "c1222.data",
        ],
    );
    let (relay, meter) = (number(RELAY), ipv6(METER));
    let counter = 0x0102_0304.to_string();
    assert_eq!(said[0][..6], ["1", "0x06", "0x01", &counter, "0x01", &relay]);
    assert_eq!(said[0][6..], [&meter, "1153", "1", &responses(&apdu)]);

    // The same frame under another key, and one changed octet: tshark would have told.
    let mut octets = [0; 16];
    let other = LinkCipher::new(1, LinkKey::take(&mut octets));
    let (mut wrong_key, mut capture) = (Vec::new(), Capture::new());
    seal_frame(&header, &ies, &payload, RELAY, &other, &mut wrong_key).unwrap();
    append_fcs(0, &mut wrong_key);
    capture.add(&wrong_key);
    psdu[30] ^= 1;
    capture.add(&psdu);
    let said = tshark(&capture.save("forged.pcap"), &["_ws.expert.message", "c1222.data"]);
    for said in said {
        assert!(!said[0].is_empty());
        assert_eq!(said[1], "");
    }
}
