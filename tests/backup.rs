//! A head-end loses its disk, and goes on with a backup: over real TCP, by the commands that an operator types,
//! with a fleet that knows nothing of it.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::lab::Lab;
use support::program;

const DEVICES: u64 = 40;

fn run(arguments: &[&str]) -> (bool, String, String) {
    let output = program().args(arguments).output().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).trim().to_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

fn must(arguments: &[&str]) -> String {
    let (done, printed, said) = run(arguments);
    assert!(done, "{arguments:?}: {printed} {said}");
    printed
}

fn gauge(lab: &Lab, name: &str) -> Option<i64> {
    lab.status().map(|status| status.sum(name, None))
}

fn wait(what: &str, lab: &Lab, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < Duration::from_secs(90), "{what} does not come: {}", lab.log());
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_fleet_goes_on_with_a_backup_of_its_head_end() {
    let lab = Lab::registering(DEVICES as u32);
    let text = lab.graph_text("").replace("[node.desk]\n", "[node.desk]\nrepeat_s = 2\ncatch_up_s = 6\n");
    std::fs::write(lab.graph(), text).unwrap();
    let (state, copy, lost) = (lab.state(), lab.file("copy"), lab.file("lost"));
    let (state, copy) = (state.to_str().unwrap(), copy.to_str().unwrap());
    must(&["policy", "sample", "--state", state, "--lab-root", lab.file("root.key").to_str().unwrap()]);

    let head_end = lab.head_end();
    let fleet = lab.devices(&[
        "--rate",
        "20",
        "--duration",
        "30",
        "--register-rate",
        "40",
        "--relays",
        "2",
        "--time-scale",
        "60",
        "--grace",
        "180",
    ]);
    wait("a registered fleet", &lab, || {
        gauge(&lab, "metergraph_associations").unwrap_or(0) == DEVICES as i64
    });
    std::thread::sleep(Duration::from_secs(2));
    let (done, _, said) = run(&["backup", "--state", state, "--to", copy]);
    assert!(!done && said.contains("in use"), "a head-end that runs: {said}");
    lab.stop(head_end);
    must(&["backup", "--state", state, "--to", copy]);
    assert!(!run(&["backup", "--state", state, "--to", copy]).0, "nothing is overwritten");
    let (done, _, said) = run(&["restore", "--state", state, "--age", "0"]);
    assert!(!done && said.contains("nothing to restore"), "{said}");

    // A life that the backup does not know, and the end of its disk. Tokens are elsewhere in truth.
    let head_end = lab.head_end();
    std::thread::sleep(Duration::from_secs(6));
    drop(head_end);
    std::fs::rename(state, &lost).unwrap();
    std::fs::rename(copy, state).unwrap();
    for entry in std::fs::read_dir(lost.join("keystore")).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".token") || name.starts_with("kek") {
            std::fs::rename(entry.path(), lab.state().join("keystore").join(name)).unwrap();
        }
    }

    let printed = must(&["restore", "--state", state, "--age", "1", "--json"]);
    let printed: Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((&printed["associations"], &printed["skip"]), (&DEVICES.into(), &131_072.into()), "{printed}");
    let head_end = lab.head_end();
    wait("the word of the shards", &lab, || {
        let files = std::fs::read_dir(lab.state().join("events")).unwrap().map(Result::unwrap);
        let mut texts = files.map(|file| std::fs::read_to_string(file.path()).unwrap());
        texts.any(|text| text.contains("wait for the proof of a new challenge"))
    });
    wait("the proofs", &lab, || gauge(&lab, "metergraph_associations_gated") == Some(0));
    let said = lab.fleet_end(fleet);
    assert_eq!((&said["registered"], &said["unacked"]), (&DEVICES.into(), &0.into()), "{said}");
    assert_eq!(said["nonce_reuses"], 0, "{said}");
    lab.stop(head_end);

    // Over all lives no key has sealed two frames under one nonce.
    let ledger = std::fs::read_to_string(lab.file("ledger")).unwrap();
    let mut frames = HashMap::new();
    for line in ledger.lines() {
        let (use_of_key, frame) = line.rsplit_once(' ').unwrap();
        let before = frames.insert(use_of_key, frame);
        assert!(before.is_none_or(|before| before == frame), "two frames under one nonce: {use_of_key}");
    }
}
