//! Two head-ends from one backup: the fence lets one of them seal. What it is there for is seen where it is
//! missing: with a copy of the token too, both seal, and the ledger finds frames of both under one nonce.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use support::lab::{Lab, Running};
use support::story::reuses;
use support::tap::Tap;

const DEVICES: u32 = 2;

/// A fleet that has registered, and two head-ends that can be started from what the first one left.
struct Twins {
    first: Lab,
    second: Lab,
    tap: Tap,
    fleet: Option<Running>,
}

impl Twins {
    fn new() -> Self {
        let first = Lab::registering(DEVICES);
        let tap = Tap::before(first.port);
        let head_end = first.head_end();
        let more =
            ["--rate", "8", "--duration", "40", "--relays", "2", "--grace", "40", "--time-scale", "60"];
        let fleet = first.devices_at(tap.port, &more);
        let twins = Self { second: Lab::empty(), first, tap, fleet: Some(fleet) };
        twins.wait("acknowledged reports", || twins.sealed(&twins.first).len() > 20);
        twins.first.stop(head_end);
        Self { second: twins.first.copy(), ..twins }
    }

    /// The copy has the same token, and no other.
    fn share_token(&self) {
        let (from, to) = (self.first.state().join("keystore"), self.second.state().join("keystore"));
        let text = std::fs::read_to_string(from.join("tokens.toml")).unwrap();
        let text = text.replace("\nfile = \"", &format!("\nfile = \"{}/", from.display()));
        std::fs::write(to.join("tokens.toml"), text).unwrap();
        std::fs::remove_file(to.join("kek.incarnation")).unwrap();
        std::fs::remove_file(to.join("kek")).unwrap();
    }

    /// What a head-end sealed, by what came from it on the wire.
    fn sealed(&self, lab: &Lab) -> BTreeSet<String> {
        self.tap.sealed_by(lab.port)
    }

    /// The check of every ledger, on what both sealed.
    fn reuses(&self) -> BTreeSet<String> {
        let lines = self.sealed(&self.first).into_iter().chain(self.sealed(&self.second));
        reuses(&lines.collect::<Vec<_>>().join("\n"))
    }

    fn wait(&self, what: &str, holds: impl Fn() -> bool) {
        let since = Instant::now();
        while !holds() {
            let (first, second) = (self.first.log(), self.second.log());
            assert!(since.elapsed() < Duration::from_secs(60), "{what}: {first}\n--\n{second}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// What a head-end counts under a label's value.
fn count(lab: &Lab, name: &str, label: Option<(&str, &str)>) -> i64 {
    lab.status().map_or(0, |status| status.sum(name, label))
}

/// Its events, as its monitor wrote them.
fn events(lab: &Lab) -> String {
    let files = std::fs::read_dir(lab.state().join("events")).into_iter().flatten().flatten();
    files.map(|file| std::fs::read_to_string(file.path()).unwrap()).collect()
}

#[test]
fn the_fence_refuses_a_copy_and_the_first_goes_on() {
    let mut twins = Twins::new();
    let fleet = twins.fleet.take().unwrap();
    twins.share_token();
    let Twins { first, second, tap, .. } = &twins;
    let head_end = first.head_end();
    let before = twins.sealed(first).len();
    twins.wait("the first one seals", || twins.sealed(first).len() > before + 10);

    // The fleet comes to the copy: it opens what they say, and may answer nothing.
    let copy = second.head_end_unready();
    twins.wait("the fence of the copy", || events(second).contains("SEC-FENCE"));
    tap.turn(second.port);
    twins.wait("reports at the copy", || count(second, "metergraph_frames_received_total", None) > 20);
    twins.wait("what it may not send", || {
        count(second, "metergraph_acknowledgements_dropped_total", Some(("where", "fence"))) > 0
    });
    assert!(twins.sealed(second).is_empty(), "a copy sealed: {:?}", twins.sealed(second));

    // The first one goes on where it was.
    let before = twins.sealed(first).len();
    tap.turn(first.port);
    twins.wait("the first one goes on", || twins.sealed(first).len() > before + 10);
    let said = first.fleet_end(fleet);
    assert_eq!((&said["registered"], &said["nonce_reuses"]), (&DEVICES.into(), &0.into()), "{said}");
    drop(copy);
    first.stop(head_end);
}

#[test]
fn of_two_copies_the_one_that_started_first_seals() {
    let twins = Twins::new();
    twins.share_token();
    let Twins { first, second, tap, .. } = &twins;
    let copy = second.head_end();
    tap.turn(second.port);
    twins.wait("the copy seals", || twins.sealed(second).len() > 10);
    // Now the other one is behind the token.
    let head_end = first.head_end_unready();
    let before = twins.sealed(first);
    twins.wait("the fence of the other one", || events(first).contains("SEC-FENCE"));
    tap.turn(first.port);
    twins.wait("reports at it", || count(first, "metergraph_frames_received_total", None) > 20);
    assert_eq!(twins.sealed(first), before, "both sealed");
    assert_eq!(twins.reuses(), BTreeSet::new());
    drop((copy, head_end));
}

#[test]
fn without_the_fence_the_ledger_finds_the_reuse() {
    let twins = Twins::new();
    let Twins { first, second, tap, .. } = &twins;
    assert_eq!(twins.reuses(), BTreeSet::new(), "one head-end");
    let head_end = first.head_end();
    let before = twins.sealed(first).len();
    twins.wait("the first one seals", || twins.sealed(first).len() > before + 10);
    assert_eq!(twins.reuses(), BTreeSet::new(), "one head-end, started again");

    // The copy has a copy of the token: nothing tells it that another one runs.
    let copy = second.head_end();
    tap.turn(second.port);
    twins.wait("the copy seals", || twins.sealed(second).len() > 10);
    let reuses = twins.reuses();
    println!("{} nonces with two frames: {reuses:?}", reuses.len());
    assert!(!reuses.is_empty(), "{:?}\n{:?}", twins.sealed(first), twins.sealed(second));
    assert!(!events(second).contains("SEC-FENCE"));
    drop((copy, head_end));
}
