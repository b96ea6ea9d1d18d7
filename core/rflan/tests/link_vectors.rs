//! The vectors of `vectors/rflan-link.json`, written by an independent program.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use rflan::Eui64;
use rflan::channel_mask::ChannelMask;
use rflan::fcs::{crc16_mcrf4xx, crc16_wisun, fcs16, fcs32};
use rflan::framing::Framing;
use rflan::hop::{BroadcastSchedule, SlotFraction, UnicastSchedule, hash3};
use rflan::phy::PhyProfile;
use serde_json::Value;

fn rows(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("../vectors/rflan-link.json")).unwrap();
    let rows = all[name].as_array().unwrap().clone();
    assert!(!rows.is_empty(), "{name}");
    rows
}

fn octets(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[test]
fn checks() {
    for row in rows("checks") {
        let octets = octets(&row["octets"]);
        assert_eq!(u64::from(fcs16(&octets)), number(&row["fcs16"]), "{row}");
        assert_eq!(u64::from(crc16_mcrf4xx(&octets)), number(&row["mcrf4xx"]), "{row}");
        assert_eq!(u64::from(crc16_wisun(&octets)), number(&row["wisun"]), "{row}");
        assert_eq!(u64::from(fcs32(&octets)), number(&row["fcs32"]), "{row}");
    }
}

#[test]
fn serial_frames() {
    for row in rows("frames") {
        let payload = octets(&row["payload"]);
        for (framing, name) in [(Framing::HdlcLite, "hdlc_lite"), (Framing::Wisun, "wisun")] {
            let expected = octets(&row[name]);
            let mut out = vec![0; framing.encoded_len_max(payload.len())];
            let len = framing.encode(&payload, &mut out).unwrap();
            assert_eq!(out[..len], expected, "{framing}");
            let mut got = Vec::new();
            framing.decode(&expected, |frame| got.extend_from_slice(frame));
            assert_eq!(got, payload, "{framing}");
        }
    }
}

#[test]
fn hashes() {
    for row in rows("hash3") {
        let words: Vec<u32> =
            row["words"].as_array().unwrap().iter().map(|word| number(word) as u32).collect();
        assert_eq!(u64::from(hash3(words[0], words[1], words[2])), number(&row["hash"]), "{row}");
    }
}

#[test]
fn unicast_channels() {
    for row in rows("unicast") {
        let eui64 = Eui64(u64::from_str_radix(row["eui64"].as_str().unwrap(), 16).unwrap());
        for profile in PhyProfile::ALL {
            let node = UnicastSchedule::own(eui64, ChannelMask::all(profile), 0);
            let channel = node.channel(number(&row["slot"]) as u16);
            assert_eq!(u64::from(channel), number(&row[profile.name()]), "{row}");
        }
    }
}

#[test]
fn broadcast_channels() {
    for row in rows("broadcast") {
        for profile in PhyProfile::ALL {
            let cell = BroadcastSchedule::own(number(&row["cell"]) as u16, ChannelMask::all(profile), 0);
            let channel = cell.channel(number(&row["slot"]) as u16);
            assert_eq!(u64::from(channel), number(&row[profile.name()]), "{row}");
        }
    }
}

#[test]
fn slot_fractions() {
    for row in rows("fractions") {
        let fraction = SlotFraction::at_position_ns(number(&row["position_ns"]));
        assert_eq!(u64::from(fraction.to_u24()), number(&row["u24"]), "{row}");
    }
}

#[test]
fn airtimes() {
    for row in rows("airtimes") {
        let profile = PhyProfile::from_name(row["profile"].as_str().unwrap()).unwrap();
        assert_eq!(profile.airtime_ns(number(&row["psdu"]) as u16), number(&row["airtime_ns"]), "{row}");
    }
}
