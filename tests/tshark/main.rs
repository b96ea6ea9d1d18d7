//! tshark as an independent decoder of what we send, and of what we say of it.

#[path = "../support/mod.rs"]
mod support;

mod capture;
mod dissector;
mod said;
mod samples;

use std::path::Path;

use capture::Capture;
use said::Ours;
use samples::{KEY_IDS, MODES, Maker, Frame};
use seal::hex::Hex;
use serde_json::Value;

fn keys() -> Vec<(u8, String)> {
    KEY_IDS.iter().map(|id| (*id, Hex(&samples::key(*id)).to_string())).collect()
}

fn inspect(capture: &Path, keys: &[(u8, String)]) -> Vec<Value> {
    let mut arguments = vec!["inspect".to_owned(), "--json".into(), capture.display().to_string()];
    for (id, key) in keys {
        arguments.extend(["--key".into(), format!("{id}:{key}")]);
    }
    let output = support::metergraph(&arguments);
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn look() {
    let mut maker = Maker::new();
    for mode in MODES {
        for (request, response) in samples::exchanges() {
            maker.exchange(Frame::new(mode), &request, &response);
        }
        for frame in samples::frames(mode) {
            maker.send(capture::Side::Host, frame, |epsem| { epsem.request(&c1222::Request::Logoff); });
        }
        if mode != c1222::SecurityMode::Clear { samples::session(&mut maker, mode); }
    }
    let path = Path::new("/tmp/look.pcap");
    let mut capture = Capture::create(path);
    for sample in &maker.samples {
        capture.datagram(sample.from, &sample.apdu);
    }
    capture.finish();
    let theirs = dissector::tshark(path, &keys());
    let seen = inspect(path, &keys());
    assert_eq!(theirs.len(), maker.samples.len());
    assert_eq!(seen.len(), maker.samples.len());
    let mut ours = Ours::default();
    for (n, (seen, theirs)) in seen.iter().zip(&theirs).enumerate() {
        assert_eq!(seen["error"], Value::Null, "{seen}");
        let (a, b) = (ours.say(seen), said::theirs(theirs));
        if !theirs.faults.is_empty() { println!("{n} FAULTS {:?} {}", theirs.faults, seen["apdu"]); }
        let show = |a: &said::Group, b: &said::Group| {
            for x in a { if !b.contains(x) { println!("{n} ours   {x:?}") } }
            for x in b { if !a.contains(x) { println!("{n} theirs {x:?}") } }
        };
        show(&a.envelope, &b.envelope);
        show(&a.seal, &b.seal);
        if a.services.len() != b.services.len() { println!("{n} services {} {}", a.services.len(), b.services.len()); }
        for (a, b) in a.services.iter().zip(&b.services) { show(a, b); }
    }
}
