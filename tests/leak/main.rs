//! No secret lies where it has no business: not in a log, a page, a file, and in memory only as often as it
//! must. A head-end with known secrets lives, is killed and lives again; then everything that it left is
//! searched for all of them, in every form, and held against `allowed.toml`.
//!
//! It runs as root, who alone may read another process's memory.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test"
)]
#![allow(missing_docs, reason = "a test")]

mod aes;
mod allowed;
mod memory;
mod scanner;
mod secrets;
mod site;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use allowed::{Found, judge};
use memory::{Signal, Snapshot};
use scanner::{Nature, Scanner};
use secrets::{Secrets, files_in};
use site::{DEVICES, Site, wait};
use support::lab::Running;

/// Octets searched, by process and place.
type Searched = Vec<(String, String, String, Vec<u8>)>;

#[test]
fn no_secret_lies_where_it_has_no_business() {
    assert!(
        rustix::process::geteuid().is_root(),
        "the leak test reads other processes' memory: run it as root"
    );
    let started = Instant::now();
    let mut site = Site::new();
    let said = || String::new();

    // The first life: registrations, reports, commands, a group.
    let mut head_end = site.head_end();
    let state = site.lab.file("devices").display().to_string();
    let pace = "--rate 60 --duration 90 --grace 1 --register-rate 100 --relays 3 --state";
    let pace: Vec<&str> = pace.split(' ').chain([state.as_str()]).collect();
    let mut fleet = site.lab.devices(&pace);
    let device = |number: u32| format!("02{:014x}", 0x4d_4700_0000_u64 + u64::from(number));
    let registered = |site: &mut Site, number: u32| {
        wait(said, || {
            site.ask(&["device", "show", &device(number)]).contains(" association 0").then_some(())
        });
    };
    (0..DEVICES).for_each(|number| registered(&mut site, number));
    site.ask(&["command", "read", "ST1", "--device", &device(1)]);
    let group = site.ask(&["group", "create", "night"]).trim().to_owned();
    let members: Vec<String> = (1..6).map(device).collect();
    site.ask(
        &[&["group", "join", &group][..], &members.iter().map(String::as_str).collect::<Vec<_>>()].concat(),
    );
    wait(said, || site.ask(&["group", "show", &group]).contains("5 members").then_some(()));
    std::thread::sleep(Duration::from_secs(1));
    let before = still(&head_end, &fleet);
    memory::signal(fleet.0.id(), Signal::CONT);
    head_end.0.kill().unwrap();
    head_end.0.wait().unwrap();
    println!("killed after {:?}", started.elapsed());

    // The second: an epoch passes, and a device is revoked.
    let head_end = site.head_end();
    // Who has not been heard again is not told.
    std::thread::sleep(Duration::from_secs(3));
    let told = site.ask(&["keys", "advance-epoch"]);
    let number: String =
        told.chars().skip_while(|letter| !letter.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    wait(said, || {
        site.ask(&["campaign", "show", &number])
            .contains(&format!("{DEVICES} of {DEVICES} proved"))
            .then_some(())
    });
    site.ask(&["device", "revoke", &device(2)]);
    site.ask(&["group", "rekey", &group]);
    std::thread::sleep(Duration::from_secs(2));
    let after = still(&head_end, &fleet);
    let devices = Snapshot::take(fleet.0.id());
    site.ask(&["command", "list", "--json"]);
    site.listen();
    memory::signal(fleet.0.id(), Signal::TERM);
    fleet.0.wait().unwrap();
    site.lab.stop(head_end);
    println!("ended after {:?}", started.elapsed());

    // What nobody writes in clear has a file of ours.
    for folder in ["audit", "signer-1"] {
        std::fs::write(site.lab.state().join(folder).join("canary"), &site.canary).unwrap();
    }
    let secrets = Secrets::of(&site);
    println!("{:?}, {} audit entries", secrets.counts(), secrets.audited);
    assert!(secrets.audited >= 3 && secrets.erased >= 1);

    let mut searched: Searched = Vec::new();
    let snapshots = [("head-end killed", before), ("head-end", after), ("end devices", devices)];
    for (process, snapshot) in snapshots {
        println!("{process}: {} octets of memory", snapshot.octets());
        for stretch in snapshot.stretches {
            let at = format!("{:x} {}", stretch.address, stretch.mapping);
            searched.push((process.to_owned(), "memory".to_owned(), at, stretch.octets));
        }
    }
    for (place, octets) in std::mem::take(&mut site.said) {
        searched.push(("said".to_owned(), place, String::new(), octets));
    }
    for (place, octets) in files_in(site.lab.folder.path()) {
        searched.push(("disk".to_owned(), place, String::new(), octets));
    }

    canaries(&site.canary, &device(1), &searched);
    let found = search(&secrets, &searched);
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/leak/allowed.toml");
    let verdict = judge(&list, &found);
    println!("{}\nin {:?}", verdict.table.join("\n"), started.elapsed());
    assert!(verdict.wrong.is_empty(), "{} leaks:\n{}", verdict.wrong.len(), verdict.wrong.join("\n"));
}

/// The head-end's memory while nothing comes from the end devices, which stay stopped: what it has at hand in the
/// middle of a frame does not count.
fn still(head_end: &Running, fleet: &Running) -> Snapshot {
    memory::stop(fleet.0.id());
    std::thread::sleep(Duration::from_millis(500));
    Snapshot::take(head_end.0.id())
}

/// In each of these places the scan finds a word that went there by an ordinary way: a name in the graph, of who
/// asks, in a profile; a meter's number.
fn canaries(canary: &str, meter: &str, searched: &Searched) {
    let scanner = Scanner::new([canary, meter].iter().map(|word| (word.as_bytes(), Nature::Octets)));
    let mut seen = BTreeSet::new();
    for (process, place, _, octets) in searched {
        for find in scanner.scan(octets).iter().filter(|find| find.form == "raw") {
            seen.insert((find.secret, process.as_str(), place.as_str()));
        }
    }
    let at = |word: usize, process: &str, place: &str| {
        let there = seen
            .iter()
            .any(|(found, of, path)| (*found, *of) == (word, process) && Path::new(path).starts_with(place));
        assert!(there, "the scan does not see what is in {place} of {process}");
    };
    at(0, "head-end killed", "memory");
    at(0, "head-end", "memory");
    at(1, "end devices", "memory");
    for place in ["page metrics", "control socket", "command line command list", "interface v1"] {
        at(0, "said", place);
    }
    for place in [
        "log",
        "report.json",
        "state/events",
        "state/journal",
        "state/journal/checkpoints",
        "state/keystore",
        "state/audit",
        "state/signer-1",
    ] {
        at(0, "disk", place);
    }
    at(1, "disk", "state/mdm");
}

/// All forms of all secrets, everywhere.
fn search(secrets: &Secrets, searched: &Searched) -> Vec<Found> {
    let all = &secrets.all;
    let scanner = Scanner::new(all.iter().map(|secret| (&secret.octets[..], secret.nature)));
    println!("{} strings to look for in {} pieces", scanner.needles(), searched.len());
    let mut found = Vec::new();
    for (process, place, at, octets) in searched {
        for find in scanner.scan(octets) {
            let secret = &all[find.secret];
            found.push(Found {
                kind: secret.kind,
                process: process.clone(),
                place: place.clone(),
                name: secret.name.clone(),
                form: find.form,
                at: format!("{at} +{:x}", find.at),
            });
        }
    }
    found
}
