//! What the offline root orders, from its key to the meters and back: command keys that were added are revoked,
//! one meter at a time and a group at once; nobody else may.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod support;

use serde_json::Value;
use support::lab::SYSTEM;
use support::office::{Office, dev};

/// The public key of a command key, x and y of P-256's generator.
const KEY: &str = "6b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296\
                   4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5";

/// What root signs, with its own key, where no head-end is.
fn by_root(office: &Office, key: &str, to: [&str; 2], ctr: u32, order: &[&str]) -> String {
    let mut command = office.lab.program();
    command.args(["keys", "root-command", "--system", SYSTEM, "--minutes", "60", "--lab-root"]);
    command.arg(office.lab.file(key)).args(to).args(["--ctr", &ctr.to_string()]).args(order);
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("root tells"), "{said}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn root_revokes_command_keys_at_one_meter_and_in_a_group() {
    let office = Office::open(6);
    let head_end = office.lab.head_end();
    let fleet = office.lab.devices(&["--rate", "6", "--duration", "25", "--relays", "2"]);
    office.registered(&dev(5));
    let meter = dev(2);
    let one = ["--device", &*meter];

    // A further command key is brought in by the one in use.
    let added = office.done(&["command", "signer-add", "2", KEY, "0,3", one[0], one[1]]);
    assert_eq!((&added["order"], &added["outcome"]["result"]), (&"signer-add".into(), &0.into()), "{added}");
    // It cannot revoke it: neither does the program ask, nor does the head-end take it.
    let (code, _, said) = office.call(&["command", "signer-revoke", "2", one[0], one[1]]);
    assert!(code == 1 && said.contains("only the offline root"), "{said}");
    assert!(said.contains("keys root-command") && said.contains("command send-signed"), "{said}");
    let revoke = serde_json::json!({
        "to": { "device": meter }, "order": { "do": "signer-revoke", "skid": 2 }, "request_id": "r",
    });
    let url = format!("http://127.0.0.1:{}/v1/commands", office.lab.api);
    let call = ureq::post(url).header("Authorization", format!("Bearer {}", office.token));
    let call = call.config().http_status_as_error(false).proxy(None).build();
    let mut answer = call.send_json(&revoke).unwrap();
    let (status, problem): (u16, Value) = (answer.status().as_u16(), answer.body_mut().read_json().unwrap());
    assert_eq!((status, &problem["code"]), (403, &"SEC-CMD-POLICY".into()), "{problem}");
    assert!(problem["help"].as_str().unwrap().contains("root-command"), "{problem}");

    // Root can. The same octets twice are the same command.
    let signed = by_root(&office, "root.key", one, 1, &["signer-revoke", "2"]);
    let send = |signed: &str, to: [&str; 2]| {
        office.call(&["command", "send-signed", signed, to[0], to[1], "--wait"])
    };
    let (code, revoked, said) = send(&signed, one);
    assert_eq!(code, 0, "{revoked} {said}");
    assert_eq!((&revoked["outcome"]["end"], &revoked["outcome"]["result"]), (&"done".into(), &0.into()));
    assert_eq!((&revoked["order"], &revoked["intent"]["skid"]), (&"signer-revoke".into(), &0.into()));
    let (code, again, _) = send(&signed, one);
    assert_eq!((code, &again["id"]), (0, &revoked["id"]));
    // The meter has done it: a second time is a conflict there.
    let second = by_root(&office, "root.key", one, 2, &["signer-revoke", "2"]);
    let (code, conflict, _) = send(&second, one);
    assert_eq!((code, &conflict["outcome"]["result"]), (1, &3.into()), "{conflict}");
    // A counter of root's that is used up is refused, by the desk or by the meter.
    let other = by_root(&office, "root.key", one, 2, &["signer-revoke", "7"]);
    let (code, _, said) = send(&other, one);
    assert!(code == 1 && said.contains("SEC-SEQ"), "{said}");

    // A group is told at once.
    let group = office.done(&["group", "create", "all", "--classes", "0,4"]);
    let gid = group["gid"].as_str().unwrap().to_owned();
    let all = ["--group", &*gid];
    let members: Vec<String> = (0..6).map(dev).collect();
    let join: Vec<&str> =
        ["group", "join", &gid].into_iter().chain(members.iter().map(String::as_str)).collect();
    office.done(&join);
    office.until(&["group", "show", &gid], |group| group["members"] == 6 && group["epoch"] == 0);
    let added = office.done(&["command", "signer-add", "3", KEY, "0", all[0], all[1]]);
    assert_eq!(added["counts"]["done"], 6, "{added}");
    let signed = by_root(&office, "root.key", all, 1, &["signer-revoke", "3"]);
    let (code, revoked, said) = send(&signed, all);
    assert_eq!((code, &revoked["counts"]["done"]), (0, &6.into()), "{revoked} {said}");

    // Whoever is not root, or signs for somebody else, is refused before anything is sent.
    let forged = by_root(&office, "ada.key", all, 2, &["signer-revoke", "1"]);
    let (code, _, said) = send(&forged, all);
    assert!(code == 1 && said.contains("SEC-CMD-APPROVAL"), "{said}");
    let (code, _, said) = send(&signed, one);
    assert!(code == 1 && said.contains("SEC-CMD-APPROVAL"), "{said}");
    let (code, _, said) = send("01", one);
    assert!(code == 1 && said.contains("SEC-CMD-CLASS"), "{said}");

    // The key in use still works.
    let read = office.done(&["command", "read", "ST1", one[0], one[1]]);
    assert_eq!(read["outcome"]["end"], "done", "{read}");
    let said = office.lab.fleet_end(fleet);
    assert_eq!((&said["unacked"], &said["nonce_reuses"]), (&0.into(), &0.into()), "{said}");
    office.lab.stop(head_end);
}
