//! Vectors that an independent program wrote: `vectors/make_frames.py`.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod common;

use common::octets;
use rflan::Eui64;
use rflan::fcs::FCS32_LEN;
use rflan::frame::{Addressing, AuxiliaryHeader, Frame, Header, RouteIe, Timing, VendorIe, append_fcs};
use rflan::hop::SlotFraction;
use rflan::lowpan::{
    APDU_LEN_MAX, LinkDestination, LinkEnds, MeshFinal, MeshHeader, Outgoing, Packet, Path, ReassemblyLimits,
    Receiver,
};
use rflan::message::LinkKey;
use rflan::security::{LinkCipher, ReplayGuard, open_frame, seal_frame};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../vectors/rflan-frames.json")).unwrap()
}

fn list<'v>(vectors: &'v Value, name: &str) -> &'v [Value] {
    let list = vectors[name].as_array().unwrap();
    assert!(!list.is_empty());
    list
}

fn eui(value: &Value) -> Eui64 {
    Eui64(u64::from_str_radix(value.as_str().unwrap(), 16).unwrap())
}

fn hex(value: &Value) -> Vec<u8> {
    octets(value.as_str().unwrap())
}

fn number<T: TryFrom<u64>>(value: &Value) -> T
where
    T::Error: core::fmt::Debug,
{
    T::try_from(value.as_u64().unwrap()).unwrap()
}

fn addressing(cell: u16, vector: &Value) -> Addressing {
    match vector["shape"].as_str().unwrap() {
        "unicast" => Addressing::Unicast {
            cell,
            destination: eui(&vector["destination"]),
            source: eui(&vector["source"]),
        },
        "broadcast" => Addressing::Broadcast { cell, source: eui(&vector["source"]) },
        "advertisement" => Addressing::Advertisement { cell, source: eui(&vector["source"]) },
        "ack" => Addressing::Ack { destination: eui(&vector["destination"]) },
        other => panic!("{other}"),
    }
}

fn timing(value: &Value) -> Timing {
    Timing {
        fraction: SlotFraction::from_u24(number(&value["fraction"])),
        level: number(&value["level"]),
        path_cost: number(&value["path_cost"]),
    }
}

#[test]
fn frames_are_written_and_read_as_the_other_program_does() {
    let vectors = vectors();
    let cell = number(&vectors["cell"]);
    for vector in list(&vectors, "frames") {
        let name = &vector["name"];
        let header = Header {
            addressing: addressing(cell, vector),
            sequence: number(&vector["sequence"]),
            ack_request: vector["ack_request"].as_bool().unwrap(),
            security: None,
        };
        let hops: Vec<Eui64> = vector["route"].as_array().into_iter().flatten().map(eui).collect();
        let route: Vec<u8> = hops.iter().rev().flat_map(|hop| hop.0.to_le_bytes()).collect();
        let mut ies = Vec::new();
        if !vector["timing"].is_null() {
            ies.push(VendorIe::Timing(timing(&vector["timing"])));
        }
        if !vector["parent"].is_null() {
            ies.push(VendorIe::Parent(eui(&vector["parent"])));
        }
        if !hops.is_empty() {
            ies.push(VendorIe::Route(RouteIe::from_octets(&route).unwrap()));
        }
        let (payload, psdu) = (hex(&vector["payload"]), hex(&vector["psdu"]));
        let mut out = Vec::new();
        header.encode_psdu(&ies, &payload, &mut out);
        assert_eq!(out, psdu, "{name}");

        let frame = Frame::decode(&psdu).unwrap();
        assert_eq!(frame.header, header, "{name}");
        assert_eq!(frame.body().unwrap(), payload, "{name}");
        assert_eq!(frame.ies.vendor().collect::<Vec<_>>(), ies, "{name}");
        let read: Vec<Eui64> = frame.route().into_iter().flat_map(RouteIe::hops).collect();
        assert_eq!(read, hops, "{name}");
    }
}

#[test]
fn secured_frames_are_sealed_and_opened_as_the_other_program_does() {
    let vectors = vectors();
    let cell = number(&vectors["cell"]);
    for vector in list(&vectors, "secured") {
        let name = &vector["name"];
        let mut key: [u8; 16] = hex(&vector["key"]).try_into().unwrap();
        let cipher = LinkCipher::new(number(&vector["key_index"]), LinkKey::take(&mut key));
        let source = eui(&vector["source"]);
        let header = Header {
            addressing: Addressing::Unicast { cell, destination: eui(&vector["destination"]), source },
            sequence: number(&vector["sequence"]),
            ack_request: true,
            security: Some(AuxiliaryHeader {
                counter: number(&vector["counter"]),
                key_index: number(&vector["key_index"]),
            }),
        };
        let ies = [VendorIe::Timing(Timing {
            fraction: SlotFraction::from_u24(0x12_3456),
            level: 2,
            path_cost: 300,
        })];
        let (payload, mut psdu) = (hex(&vector["payload"]), hex(&vector["psdu"]));
        let mut out = Vec::new();
        seal_frame(&header, &ies, &payload, source, &cipher, &mut out).unwrap();
        append_fcs(0, &mut out);
        assert_eq!(out, psdu, "{name}");
        psdu.truncate(psdu.len() - FCS32_LEN);
        let opened = open_frame(&mut psdu, None, &cipher, &mut ReplayGuard::new(1)).unwrap();
        assert_eq!((opened.header, opened.body().unwrap()), (header, payload.as_slice()), "{name}");
    }
}

#[test]
fn packets_are_cut_and_joined_as_the_other_program_does() {
    let vectors = vectors();
    let mut receiver = Receiver::new(ReassemblyLimits { octets_max: 8000, entries_max: 4 }, APDU_LEN_MAX);
    for (at, vector) in list(&vectors, "packets").iter().enumerate() {
        let originator = eui(&vector["originator"]);
        let ends = LinkEnds {
            source: originator,
            destination: match &vector["final"] {
                Value::Null => LinkDestination::Broadcast,
                device => LinkDestination::Device(eui(device)),
            },
        };
        let path = match &vector["hops_left"] {
            Value::Null => Path::Direct(ends),
            hops => Path::Mesh(MeshHeader {
                hops_left: number(hops),
                originator,
                destination: match ends.destination {
                    LinkDestination::Device(device) => MeshFinal::Device(device),
                    LinkDestination::Broadcast => {
                        MeshFinal::Broadcast { sequence: number(&vector["sequence"]) }
                    }
                },
            }),
        };
        let (apdu, tag, room) = (hex(&vector["apdu"]), number(&vector["tag"]), number(&vector["room"]));
        let mut outgoing = Outgoing::new(&apdu, path, tag, room, APDU_LEN_MAX).unwrap();
        let payloads: Vec<Vec<u8>> = vector["payloads"].as_array().unwrap().iter().map(hex).collect();
        assert_eq!(outgoing.count(), payloads.len(), "packet {at}");
        let mut arrived = Vec::new();
        for payload in &payloads {
            let mut out = Vec::new();
            assert!(outgoing.next(&mut out));
            assert_eq!(out, *payload, "packet {at}");
            let packet = Packet::decode(payload, ends).unwrap();
            assert_eq!(packet.path, path, "packet {at}");
            let received = receiver.accept(0, &packet, &mut Vec::new()).unwrap();
            arrived.extend(received.map(|received| received.apdu.into_owned()));
        }
        assert!(!outgoing.next(&mut Vec::new()));
        assert_eq!(arrived, [apdu], "packet {at}");
    }
}
