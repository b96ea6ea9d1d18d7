//! End devices that are known by a manifest alone register over TCP, report, and are acknowledged, whatever
//! happens to the head-end.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::time::Duration;

use metergraph::compare::Exported;
use support::lab::Lab;

#[test]
fn a_fleet_registers_and_reports() {
    let lab = Lab::registering(200);
    let head_end = lab.head_end();
    let fleet = lab.devices(&["--rate", "200", "--duration", "4", "--register-rate", "100", "--relays", "4"]);
    let said = lab.fleet_end(fleet);
    assert_eq!(
        (&said["registered"], &said["registrations"], &said["unacked"]),
        (&200.into(), &200.into(), &0.into()),
        "{said}"
    );
    let status = lab.stop(head_end);
    let exported = Exported::read(&lab.state().join("mdm")).unwrap();
    assert!(exported.reports.len() > 200, "{} exported", exported.reports.len());
    println!("{}", serde_json::to_string(&status).unwrap());

    // What registered is known after a restart, without the journal: the store has it.
    let head_end = lab.head_end();
    let fleet = lab.devices(&["--rate", "200", "--duration", "4", "--register-rate", "100", "--relays", "4"]);
    let said = lab.fleet_end(fleet);
    assert_eq!((&said["registered"], &said["unacked"]), (&200.into(), &0.into()), "{said}");
    lab.stop(head_end);
}

#[test]
fn registration_goes_on_over_killed_head_ends() {
    let lab = Lab::registering(150);
    let faults = ["--drop", "20", "--duplicate", "20", "--reorder", "20"];
    let more =
        ["--rate", "300", "--duration", "16", "--register-rate", "30", "--time-scale", "60", "--relays", "3"];
    let fleet = lab.devices(&[&more[..], &faults].concat());
    for cut in 0..8 {
        let mut head_end = lab.head_end_unready();
        std::thread::sleep(Duration::from_millis(700 + 130 * cut));
        head_end.0.kill().unwrap();
        head_end.0.wait().unwrap();
    }
    let head_end = lab.head_end();
    let said = lab.fleet_end(fleet);
    if said["unacked"] != 0 {
        for (name, value) in lab.status().unwrap().meters.iter().map(|m| (format!("{m:?}"), 0)) {
            println!("{name} {value}");
        }
        std::process::Command::new("cp")
            .arg("-r")
            .arg(lab.folder.path())
            .arg("/tmp/mg/failed")
            .status()
            .unwrap();
    }
    assert_eq!((&said["registered"], &said["unacked"]), (&150.into(), &0.into()), "{said}");
    assert_eq!(said["nonce_reuses"], 0, "{said}");
    lab.stop(head_end);
}
