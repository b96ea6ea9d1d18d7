//! The whole story over real TCP: a fleet registers, reports, is told as a group by one signature, one of it is
//! switched off and on, all epochs advance, some miss it and recover, some are revoked; once with keys in PKCS#11
//! tokens and 2,000 devices, and once with a head-end that is cut at one durable step after the other.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]

mod pkcs11_shim;
mod support;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::files::OsFiles;
use pkcs11_shim::{Shim, SoftHsm};
use support::lab::Lab;
use support::office::{Office, dev};
use support::story::{account, judge, ledger};
use support::tap::Tap;

const HOLDERS: [&str; 4] = ["signer", "registrar", "audit", "key-store"];
const PIN: &str = "holder-pin-1234";
const SO_PIN: &str = "officer-pin-5678";

/// A laboratory whose keys are in tokens of SoftHSM2, behind a module that counts signatures.
fn tokens(devices: u32) -> (Lab, Shim) {
    let mut shim = None;
    let lab = Lab::with_tokens(devices, |lab| {
        let folder = lab.file("hsm");
        let hsm = SoftHsm::new(&folder);
        let built = Shim::build(&folder);
        let mut text = String::new();
        for holder in HOLDERS {
            hsm.init_token(holder, PIN, SO_PIN);
            text.push_str(&format!(
                "[{holder}]\nprovider = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"{holder}\"\n\
                 pin = {{ env = \"METERGRAPH_PIN\" }}\n",
                built.module().display()
            ));
        }
        std::fs::write(lab.file("tokens.toml"), text).unwrap();
        let env = built.env().into_iter().chain([hsm.env(), ("METERGRAPH_PIN", PathBuf::from(PIN))]);
        lab.env = env.map(|(name, value)| (name.to_owned(), value)).collect();
        shim = Some(built);
        Some(lab.file("tokens.toml"))
    });
    (lab, shim.unwrap())
}

#[test]
fn two_thousand_devices_with_keys_in_tokens() {
    const DEVICES: u32 = 2000;
    const MISSING: usize = 50;
    let (lab, shim) = tokens(DEVICES);
    let office = Office::of(lab);
    let lab = &office.lab;
    let tap = Tap::before(lab.port);
    let head_end = lab.head_end();
    let missing = MISSING.to_string();
    let fleet = lab.devices_at(
        tap.port,
        &[
            "--register-rate",
            "400",
            "--rate",
            "150",
            "--duration",
            "70",
            "--relays",
            "8",
            "--grace",
            "20",
            "--miss-group-keys",
            &missing,
            "--time-scale",
            "60",
        ],
    );
    // It dies in the middle of the registrations.
    let status = || lab.status().map_or(0, |status| status.sum("metergraph_registrations_total", None));
    let since = Instant::now();
    while status() < i64::from(DEVICES) / 3 {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", lab.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(head_end);
    let head_end = lab.head_end();
    office.registered(&dev(DEVICES - 1));

    let group = office.done(&["group", "create", "all", "--classes", "0,1,3,4"]);
    let gid = group["gid"].as_str().unwrap().to_owned();
    let members: Vec<String> = (0..DEVICES).map(dev).collect();
    let join: Vec<&str> =
        ["group", "join", &gid].into_iter().chain(members.iter().map(String::as_str)).collect();
    // Those whose registration was cut try again after a while.
    let since = Instant::now();
    while office.call(&join).0 != 0 {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", lab.log());
        std::thread::sleep(Duration::from_millis(500));
    }
    office.until(&["group", "show", &gid], |group| group["members"] == DEVICES && group["epoch"] == 0);

    // One signature for all; the module in front of the token counts it.
    let order = ["command", "dr", "--event", "7", "--minutes", "30", "--percent", "50", "--no-wait"];
    let asked = office.done(&[&order[..], &["--group", &gid]].concat());
    let id = asked["id"].as_str().unwrap();
    let before = shim.signed().len();
    for name in ["ada", "bob"] {
        let (code, _, said) = office.approve(id, name);
        assert_eq!(code, 0, "{said}");
    }
    let told = office.done(&["command", "wait", id, "--seconds", "60"]);
    assert_eq!(told["counts"]["done"], DEVICES, "{told}");
    assert_eq!(shim.signed().len() - before, 1, "signatures for {DEVICES} devices");

    for word in ["disconnect", "reconnect"] {
        let switched = office.done(&["command", word, "--device", &dev(7)]);
        assert_eq!(switched["receipt"]["verified"], true, "the meter's own signature: {switched}");
    }

    // All epochs advance by one signature; those that miss it are told alone.
    let before = shim.signed().len();
    let campaign = office.done(&["keys", "advance-epoch", "--group", &gid]);
    let number = campaign["campaign"].to_string();
    let finished = office.until(&["campaign", "show", &number], |campaign| campaign["state"] == "finished");
    assert_eq!((&finished["proved"], &finished["missed"]), (&DEVICES.into(), &0.into()), "{finished}");
    let signatures = shim.signed().len() - before;
    assert!((1 + MISSING..1 + 3 * MISSING).contains(&signatures), "{signatures} signatures");

    // Revoked devices are refused at once, whatever they send.
    for number in 100..110 {
        office.done(&["device", "revoke", &dev(number)]);
    }
    let refused = |status: &runtime::Status, code| {
        status.sum("metergraph_frames_refused_total", Some(("reason", code)))
    };
    let since = Instant::now();
    while refused(&lab.status().unwrap(), "SEC-UP-REVOKED") < 10 {
        assert!(since.elapsed() < Duration::from_secs(60), "{}", lab.log());
        std::thread::sleep(Duration::from_millis(200));
    }

    let said = lab.fleet_end(fleet);
    // They are also refused when they begin anew.
    let secrets = std::fs::read_to_string(lab.file("lab.secrets.csv")).unwrap();
    let (head, rows) = secrets.split_once("\n---\n").unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    let revoked = format!("{head}\n---\n{}\n{}\n", rows[0], rows[101..111].join("\n"));
    std::fs::write(lab.file("revoked.csv"), revoked).unwrap();
    let more = ["--duration", "3", "--grace", "1", "--register-rate", "0"];
    let again = lab.fleet_end(lab.devices_of("revoked.csv", lab.port, &more));
    assert_eq!((&again["devices"], &again["registered"]), (&10.into(), &0.into()), "{again}");
    assert!(refused(&lab.status().unwrap(), "SEC-REG-REVOKED") >= 10, "{:?}", lab.status());

    assert_eq!((&said["registered"], &said["nonce_reuses"]), (&DEVICES.into(), &0.into()), "{said}");
    // What the revoked ones sent is nobody's; all else was heard.
    assert!(said["unacked"].as_u64().unwrap() <= 10 * 32, "{said}");
    assert_eq!(said["epochs"]["1"], DEVICES, "{said}");
    let status = lab.stop(head_end);
    account(&status);
    let before = judge(Arc::new(OsFiles), lab);
    assert_eq!(before.devices.len(), DEVICES as usize);

    // All that ever went up is said once more, to a head-end that has started again: registrations among it.
    let head_end = lab.head_end();
    let octets = tap.replay();
    let status = lab.stop(head_end);
    account(&status);
    let after = judge(Arc::new(OsFiles), lab);
    println!(
        "{} signatures, {octets} octets said again: {} duplicates, {} refused",
        shim.signed().len(),
        status.sum("metergraph_frames_duplicate_total", None),
        status.sum("metergraph_frames_refused_total", None),
    );
    assert_eq!((after.devices, after.reports), (before.devices, before.reports), "a replay was taken in");
    assert!(status.sum("metergraph_frames_duplicate_total", None) > 0);
    let (_, uses) = ledger(lab);
    assert!(uses as u64 > said["sealed"].as_u64().unwrap());
}
