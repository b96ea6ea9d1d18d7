//! Commands from the interface to the meter and back, over real TCP: one device disconnected and reconnected, a
//! group told at once with two approvals, epochs advanced by one signed command, a device revoked; and a
//! head-end that is killed in between.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::time::{Duration, Instant};

use serde_json::Value;
use support::lab::Lab;
use support::program;

/// A laboratory with a policy and the token of one who may everything.
struct Office {
    lab: Lab,
    token: String,
}

impl Office {
    fn open(devices: u32) -> Self {
        let lab = Lab::registering(devices);
        let text = lab.graph_text("").replace("[node.desk]\n", "[node.desk]\nrepeat_s = 2\ncatch_up_s = 6\n");
        std::fs::write(lab.graph(), text).unwrap();
        let root = lab.file("root.key").display().to_string();
        let state = lab.state().display().to_string();
        let run = |arguments: &[&str]| {
            let output = program().args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap().trim().to_owned()
        };
        run(&["policy", "sample", "--state", &state, "--lab-root", &root]);
        let roles = "reader,operator,approver,security";
        let token = run(&["token", "add", "alice", "--role", roles, "--state", &state]);
        Self { lab, token }
    }

    /// Runs `metergraph ARGUMENTS --json` against the interface: exit code, what it printed, what it said.
    fn call(&self, arguments: &[&str]) -> (i32, Value, String) {
        let api = format!("http://127.0.0.1:{}", self.lab.api);
        let output = program()
            .args(arguments)
            .args(["--api", &api, "--json"])
            .env("METERGRAPH_TOKEN", &self.token)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let printed = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), printed, said)
    }

    /// As [`Self::call`], for what must succeed.
    fn done(&self, arguments: &[&str]) -> Value {
        let (code, printed, said) = self.call(arguments);
        assert_eq!(code, 0, "{arguments:?}: {printed} {said}: {}", self.lab.log());
        printed
    }

    /// Waits until `good` says so of what a call prints.
    fn until(&self, arguments: &[&str], good: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let (_, printed, said) = self.call(arguments);
            if good(&printed) {
                return printed;
            }
            assert!(
                since.elapsed() < Duration::from_secs(60),
                "{arguments:?}: {printed} {said}: {}",
                self.lab.log()
            );
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Waits until this device has registered.
    fn registered(&self, dev: &str) {
        self.until(&["device", "show", dev], |device| device["sid"].is_string());
    }

    fn approve(&self, id: &str, name: &str) -> (i32, Value, String) {
        let key = self.lab.file(&format!("{name}.key")).display().to_string();
        self.call(&["command", "approve", id, "--key", &key, "--name", name])
    }
}

/// The lab's device of this number.
fn dev(number: u32) -> String {
    format!("0200004d47{number:06x}")
}

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
