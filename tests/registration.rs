//! End devices that are known by a manifest alone register over TCP, report, and are acknowledged, whatever
//! happens to the head-end. The fleet keeps a ledger of every frame that it sealed and of every one that came and
//! opened, over all head-ends: none of its keys has two frames under one nonce.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::Writer;
use journal::files::{ForgetfulFiles, OsFiles};
use metergraph::compare::Exported;
use nodes::journal::{FileLayer, Log};
use nodes::record;
use runtime::Options;
use seal::ids::{Dev, Sid};
use support::lab::Lab;

/// How often the power goes.
const CUTS: u64 = 15;

/// Lines of the fleet's ledger, and how many pairs of key and nonce they have. A repeat is the same line again.
fn ledger(lab: &Lab) -> (usize, usize) {
    let text = std::fs::read_to_string(lab.file("ledger")).unwrap();
    let mut frames = HashMap::new();
    for line in text.lines() {
        let (use_of_key, frame) = line.rsplit_once(' ').unwrap();
        let before = frames.insert(use_of_key, frame);
        assert!(before.is_none_or(|before| before == frame), "two frames under one nonce: {use_of_key}");
    }
    (text.lines().count(), frames.len())
}

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
    // Over links that lose a frame in twenty either way a few need four repeats, the last after 75 s.
    let faults = ["--drop", "20", "--duplicate", "20", "--reorder", "20", "--grace", "180"];
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
    assert_eq!((&said["registered"], &said["unacked"]), (&150.into(), &0.into()), "{said}");
    assert_eq!(said["nonce_reuses"], 0, "{said}");
    lab.stop(head_end);
}

#[test]
fn each_message_may_be_lost_doubled_and_late() {
    let lab = Lab::registering(120);
    let head_end = lab.head_end();
    let faults = ["--drop", "30", "--duplicate", "30", "--reorder", "30", "--relays", "3", "--grace", "240"];
    let more = ["--rate", "120", "--duration", "8", "--register-rate", "60", "--time-scale", "60"];
    let fleet = lab.devices(&[&more[..], &faults].concat());
    let said = lab.fleet_end(fleet);
    assert_eq!((&said["registered"], &said["unacked"]), (&120.into(), &0.into()), "{said}");
    assert_eq!(said["nonce_reuses"], 0, "{said}");
    // What came down is in it too.
    let (_, uses) = ledger(&lab);
    assert!(uses as u64 > said["sealed"].as_u64().unwrap(), "{uses}: {said}");
    lab.stop(head_end);
}

#[test]
fn no_device_is_orphaned_when_the_power_goes_during_registrations() {
    let seed = std::env::var("METERGRAPH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    let lab = Lab::registering(120);
    let files = ForgetfulFiles::default();
    // A head-end that has lost its disk is not waited for.
    let text = lab.graph_text("").replace("[http]", "[runtime]\ndrain_timeout_ms = 300\n\n[http]");
    let plugins = metergraph::graph_file::plugins::Plugins::default();
    let compiled = graph::compile(&text, &metergraph::kinds::registry(), &plugins);
    let plan = compiled.plan.unwrap_or_else(|| panic!("{:?}", compiled.diagnostics));
    let start = || {
        let options =
            Options { state: lab.state(), plugin_dirs: vec![support::plugin_dir()], ..Options::default() };
        options.services.provide("", Arc::new(FileLayer(Arc::new(files.clone()))));
        runtime::start(&plan, &metergraph::kinds::registry(), options)
    };
    // Few reports, so that most of what is written is of registrations; some answers are lost with the power.
    let more = ["--rate", "10", "--duration", "20", "--register-rate", "8", "--time-scale", "60"];
    let fleet = lab.devices(&[&more[..], &["--relays", "3", "--grace", "180", "--drop", "30"]].concat());
    for cut in 0..CUTS {
        let running = start().unwrap_or_else(|error| panic!("cut {cut}, seed {seed}: {error:?}"));
        std::thread::sleep(Duration::from_millis(400 + 37 * (seed + cut) % 500));
        // The power goes in one of the next operations, each time a step later: before, within and after what
        // makes a registration durable.
        let before = files.operations();
        files.stop_after(cut + seed % 3);
        let since = Instant::now();
        while files.operations() == before && since.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(running);
        files.cut(seed.wrapping_mul(1000).wrapping_add(cut));
    }
    let running = start().unwrap();
    let said = lab.fleet_end(fleet);
    assert_eq!((&said["registered"], &said["unacked"]), (&120.into(), &0.into()), "seed {seed}: {said}");
    assert_eq!(said["nonce_reuses"], 0, "seed {seed}: {said}");
    let (_, uses) = ledger(&lab);
    assert!(uses as u64 > said["sealed"].as_u64().unwrap(), "{uses}: {said}");
    let (end, _) = running.stop();
    assert!(!end.abandoned);

    // Over all head-ends no association has the name of another.
    let log = Log::new(Arc::new(files), lab.state().join("journal"));
    let settings = journal::Settings::default();
    let writer = Writer::open(log.files(), log.folder(), settings, log.durable()).unwrap();
    let mut reader = log.reader(log.first().unwrap());
    let (mut given, mut devices): (HashMap<Sid, Vec<u8>>, HashSet<Dev>) = Default::default();
    while let Some(found) = reader.next().unwrap() {
        if found.kind != record::ASSOCIATION {
            continue;
        }
        let association = record::Association::read(found.octets).unwrap();
        let other = given.insert(association.sid, association.sealed.to_vec());
        assert!(other.is_none_or(|other| other == association.sealed), "{} twice", association.sid);
        devices.insert(association.dev);
    }
    println!("{} associations of {} devices, seed {seed}", given.len(), devices.len());
    assert_eq!(devices.len(), 120);
    drop(writer);
}

#[test]
fn nobody_of_a_whole_graph_holds_the_segments_of_the_journal_for_ever() {
    let lab = Lab::registering(100);
    let text =
        lab.graph_text("").replace("[node.journal]\n", "[node.journal]\nsegment_mib = 1\nsize_max_mib = 2\n");
    std::fs::write(lab.graph(), text).unwrap();
    let head_end = lab.head_end();
    // More than the journal has room for, so that it goes on only when everybody has moved his mark on: also
    // those who write to it and keep none.
    let more = ["--rate", "1500", "--duration", "12", "--register-rate", "100", "--relays", "4"];
    let fleet = lab.devices(&[&more[..], &["--grace", "30"]].concat());
    let said = lab.fleet_end(fleet);
    assert_eq!((&said["registered"], &said["unacked"]), (&100.into(), &0.into()), "{said}");
    lab.stop(head_end);
    let log = Log::new(Arc::new(OsFiles), lab.state().join("journal"));
    let settings = journal::Settings { segment_octets: 1 << 20, ..Default::default() };
    let writer = Writer::open(log.files(), log.folder(), settings, log.durable()).unwrap();
    assert!(log.first().unwrap() > journal::Position::START, "{said}");
    drop(writer);
}
