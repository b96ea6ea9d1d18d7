//! Commands from the interface to the meter and back, over real TCP: one device disconnected and reconnected, a
//! group told at once with two approvals, epochs advanced by one signed command, a device revoked; and a
//! head-end that is killed in between.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::time::Duration;

use support::office::{Office, dev};

#[test]
fn a_meter_is_read_disconnected_and_reconnected_and_signs_what_it_did() {
    let office = Office::open(20);
    let head_end = office.lab.head_end();
    let fleet = office.lab.devices(&["--rate", "20", "--duration", "20", "--relays", "2"]);
    let meter = dev(3);
    office.registered(&dev(19));

    let read = office.done(&["command", "read", "ST1", "--device", &meter]);
    assert_eq!((&read["outcome"]["end"], &read["class"]), (&"done".into(), &0.into()), "{read}");
    for word in ["disconnect", "reconnect"] {
        let switched = office.done(&["command", word, "--device", &meter]);
        assert_eq!(switched["outcome"]["end"], "done", "{switched}");
        assert_eq!(switched["receipt"]["verified"], true, "the meter's own signature: {switched}");
    }
    // The same request id does nothing twice, and another content under it is refused.
    let asked = ["command", "disconnect", "--device", &meter, "--request-id", "again-1"];
    let (first, again) = (office.done(&asked), office.done(&asked));
    assert_eq!(first["id"], again["id"]);
    let (code, _, said) =
        office.call(&["command", "reconnect", "--device", &meter, "--request-id", "again-1"]);
    assert!(code == 1 && said.contains("request-id"), "{code} {said}");
    // Nobody is told to do what no such device exists for.
    let (code, _, said) = office.call(&["command", "disconnect", "--device", "0011223344556677"]);
    assert!(code == 1 && said.contains("not-found"), "{code} {said}");

    let said = office.lab.fleet_end(fleet);
    assert_eq!((&said["executed"]["load"], &said["executed"]["read"]), (&3.into(), &1.into()), "{said}");
    assert_eq!((&said["unacked"], &said["nonce_reuses"]), (&0.into(), &0.into()), "{said}");
    office.lab.stop(head_end);
}

#[test]
fn a_group_is_told_at_once_and_its_epochs_advance_over_a_killed_head_end() {
    let office = Office::open(40);
    let mut head_end = office.lab.head_end();
    let missing = ["--miss-group-keys", "4"];
    let fleet =
        [&["--rate", "40", "--duration", "32", "--relays", "3", "--grace", "8"][..], &missing].concat();
    let fleet = office.lab.devices(&fleet);
    office.registered(&dev(39));

    let group = office.done(&["group", "create", "all", "--classes", "0,1,3,4"]);
    let gid = group["gid"].as_str().unwrap().to_owned();
    let members: Vec<String> = (0..40).map(dev).collect();
    let join: Vec<&str> =
        ["group", "join", &gid].into_iter().chain(members.iter().map(String::as_str)).collect();
    office.done(&join);
    office.until(&["group", "show", &gid], |group| group["members"] == 40 && group["epoch"] == 0);

    // One approval, or the same one twice, is not enough for class 3 to a group.
    let order = ["command", "dr", "--event", "7", "--minutes", "30", "--percent", "50", "--no-wait"];
    let asked = office.done(&[&order[..], &["--group", &gid]].concat());
    let id = asked["id"].as_str().unwrap();
    let (code, _, said) = office.approve(id, "ada");
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("start procedure SP21 (direct load control)"),
        "what is approved, in words: {said}"
    );
    office.approve(id, "ada");
    let waiting = office.done(&["command", "show", id]);
    assert_ne!(waiting["state"], "ended", "{waiting}");
    let (code, _, said) = office.approve(id, "bob");
    assert_eq!(code, 0, "{said}");
    let told = office.done(&["command", "wait", id, "--seconds", "60"]);
    assert_eq!(told["counts"]["done"], 40, "{told}");

    // All epochs advance by one signed command; who missed it is told alone. The head-end dies on the way.
    let campaign = office.done(&["keys", "advance-epoch", "--group", &gid]);
    let number = campaign["campaign"].to_string();
    std::thread::sleep(Duration::from_millis(400));
    head_end.0.kill().unwrap();
    head_end.0.wait().unwrap();
    let head_end = office.lab.head_end();
    let finished = office.until(&["campaign", "show", &number], |campaign| campaign["state"] == "finished");
    assert_eq!((&finished["proved"], &finished["missed"]), (&40.into(), &0.into()), "{finished}");

    // A revoked device is refused from now on.
    office.done(&["device", "revoke", &dev(5)]);
    let revoked = office.done(&["device", "show", &dev(5)]);
    assert_eq!(revoked["revoked"], true, "{revoked}");

    let said = office.lab.fleet_end(fleet);
    assert_eq!((&said["epochs"]["1"], &said["nonce_reuses"]), (&40.into(), &0.into()), "{said}");
    office.lab.stop(head_end);
}
