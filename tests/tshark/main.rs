//! tshark as an independent decoder of what we send, and a check of what `inspect` says of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![allow(missing_docs, reason = "a test")]

#[path = "../support/mod.rs"]
mod support;

mod capture;
mod compare;
mod differences;
mod dissector;
mod laid_out;
mod live;
mod ours;
mod said;
mod samples;

use std::time::{SystemTime, UNIX_EPOCH};

use c1222::{ApTitle, Envelope, InvocationId, Qualifier, SecurityMode, carriage};
use capture::{Capture, Side};
use compare::compare;
use differences::DIFFERENCES;
use live::{Served, Tap};
use samples::{Frame, KEY_IDS, MODES, Maker, SOME_TIME, frames, services};
use seal::hex::Hex;
use support::lab::Lab;

fn keys() -> Vec<(u8, String)> {
    KEY_IDS.iter().map(|id| (*id, Hex(&samples::key(*id)).to_string())).collect()
}

/// Every service and response in every mode, every envelope.
fn every_message() -> Maker {
    let mut maker = Maker::new(SOME_TIME);
    for mode in MODES {
        for (request, response) in services::exchanges() {
            maker.exchange(Frame::new(mode), &[request], &[response]);
        }
        services::several(&mut maker, mode);
        frames::all(&mut maker, mode);
    }
    maker
}

#[test]
fn every_service_in_datagrams() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("datagrams.pcap");
    let samples = every_message().samples;
    let mut capture = Capture::create(&path);
    samples.iter().for_each(|sample| capture.datagram(sample.from, &sample.apdu));
    capture.finish();
    let comparison = compare(&path, &keys(), samples.len());
    // Every service of c1222.md §3 and every response code.
    let requests = [0x20..=0x22, 0x24..=0x27, 0x30..=0x39, 0x3e..=0x49, 0x4e..=0x53, 0x70..=0x71];
    for code in requests.into_iter().flatten().chain(0x00..=0x12) {
        for mode in 0..MODES.len() as u64 {
            assert!(comparison.services.contains(&(mode, code)), "{code:02x} in mode {mode}");
        }
    }
}

#[test]
fn every_service_in_a_stream_and_what_is_beyond_tshark() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream.pcap");
    let mut maker = every_message();
    for mode in MODES {
        services::continued(&mut maker, mode);
        frames::beyond(&mut maker, mode);
        if mode != SecurityMode::Clear {
            frames::lengths(&mut maker, mode);
            frames::session(&mut maker, mode);
        }
    }
    let samples = maker.samples;
    let mut capture = Capture::create(&path);
    // All that the host says back to back, then all that the node says.
    for side in [Side::Host, Side::Node] {
        let stream: Vec<u8> = samples
            .iter()
            .filter(|sample| sample.from == side)
            .flat_map(|sample| sample.apdu.clone())
            .collect();
        capture.stream(0, side, &stream);
    }
    capture.finish();
    let comparison = compare(&path, &keys(), samples.len());
    for difference in DIFFERENCES {
        assert!(comparison.met.contains(difference.why), "no longer needed: {}", difference.why);
    }
}

#[test]
fn vector_profile_1_frames_as_our_encoder_carries_them() {
    let Some(vectors) = support::json("profile/carriage.json") else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("carriage.pcap");
    let mut capture = Capture::create(&path);
    let cases = vectors["carried"].as_array().unwrap();
    for case in cases {
        let (called, calling) = (ours::hex(&case["called"]), ours::hex(&case["calling"]));
        let number = |field: &str| case[field].as_u64().map(|id| InvocationId::new(id.try_into().unwrap()));
        let envelope = Envelope {
            called: Some(ApTitle::decode(&called).unwrap()),
            calling: Some(ApTitle::decode(&calling).unwrap()),
            answer_to: number("answer_to"),
            qualifier: (case["notification"] == true).then_some(Qualifier::NOTIFICATION),
            ..Envelope::new(number("invocation").unwrap())
        };
        let mut apdu = Vec::new();
        carriage::write(&mut apdu, &envelope, &ours::hex(&case["frame"])).unwrap();
        let side = if case["direction"] == "up" { Side::Host } else { Side::Node };
        capture.datagram(side, &apdu);
        capture.stream(0, side, &apdu);
    }
    capture.finish();
    let comparison = compare(&path, &keys(), 2 * cases.len());
    assert_eq!(comparison.profile1, 2 * cases.len());
}

#[test]
fn a_fleet_and_a_head_end() {
    let classic = |id: usize| {
        let profile = support::root().join("graphs/profiles/residential.toml");
        let (key, profile) = (Hex(&samples::key(KEY_IDS[id])).to_string(), profile.display());
        let row = format!("0200004d4800000{id},MH{id},.75.2.7{id},{profile},classic,0000fff{id},0");
        format!("{row},{}:{key}\n", KEY_IDS[id])
    };
    let mut lab = Lab::new(4, &(0..KEY_IDS.len()).map(classic).collect::<String>());
    let head_end = lab.head_end();
    let tap = Tap::before(lab.port);
    lab.port = tap.port;
    let fleet = lab.fleet(&["--relays", "2", "--rate", "20", "--duration", "3"]);
    lab.fleet_end(fleet);
    lab.stop(head_end);

    let path = lab.file("live.pcap");
    let mut capture = Capture::create(&path);
    let heard = tap.heard();
    let (mut up, mut down) = (0, 0);
    for (connection, said) in (0..).zip(&heard) {
        let (host, node) = (live::cut(&said.host), live::cut(&said.node));
        capture.stream(connection, Side::Host, &host.concat());
        capture.stream(connection, Side::Node, &node.concat());
        (up, down) = (up + host.len(), down + node.len());
    }
    capture.finish();
    let comparison = compare(&path, &keys(), up + down);
    // Reports and acknowledgements.
    assert!(down > 0 && comparison.classic > 0 && comparison.profile1 > down);
}

#[test]
fn a_served_classic_device() {
    let (id, hex) = &keys()[2];
    let mut device = Served::classic(".68.33.3", &format!("{id}:{hex}"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // IVs are the next seconds, all of them within the acceptance window.
    let mut maker = Maker::new(now.try_into().unwrap());
    for mode in MODES {
        let frame = Frame::new(mode).with(|envelope| envelope.called = Some(samples::title(".68.33.3")));
        for (request, _) in services::exchanges() {
            maker.request(frame, &[request]);
        }
    }
    let requests: Vec<&[u8]> = maker.samples.iter().map(|sample| sample.apdu.as_slice()).collect();
    let (datagrams, streamed) = requests.split_at(requests.len() / 2);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("served.pcap");
    let mut capture = Capture::create(&path);
    let mut count = requests.len();
    for request in datagrams {
        capture.datagram(Side::Host, request);
        for answer in device.datagram(request) {
            capture.datagram(Side::Node, &answer);
            count += 1;
        }
    }
    let answers = device.stream(streamed);
    capture.stream(0, Side::Host, &streamed.concat());
    capture.stream(0, Side::Node, &answers);
    capture.finish();
    let comparison = compare(&path, &keys(), count + live::cut(&answers).len());
    // In both EAX' modes it does what it is asked, and refuses what it cannot do.
    for answer in [(1, 0x00), (2, 0x00), (1, 0x02), (2, 0x02)] {
        assert!(comparison.services.contains(&answer), "{answer:?}");
    }
}
