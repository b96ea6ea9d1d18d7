//! The head-end is killed under load, again and again: every acknowledged report is in the CSV exactly
//! once, with the values that the meter sent, and no replay is delivered.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::files::{Files, ForgetfulFiles};
use metergraph::compare::{Exported, Listed, differences};
use nodes::journal::FileLayer;
use runtime::Options;
use support::lab::Lab;

/// How often the head-end is killed.
const CUTS: u64 = 20;

/// A small generator, so that a failure can be told by its seed and run again.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn seed() -> u64 {
    let seed = std::env::var("METERGRAPH_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("METERGRAPH_SEED={seed}");
    seed
}

/// What the fleet lists as acknowledged must be in the files, once; what is there beyond must be a report of
/// the fleet whose acknowledgement was lost with the last head-end. `Exported::read` refuses a report that
/// stands in two files, and the hash covers a report that stands twice in one.
fn judge(list: &Path, mdm: &Path) {
    let listed = Listed::read(list).unwrap();
    let exported = Exported::read(mdm).unwrap();
    assert!(listed.reports.len() > 1000, "only {} reports: this shows nothing", listed.reports.len());
    let found = differences(&listed, &exported);
    let wrong: Vec<&String> = found.iter().filter(|line| !line.contains("not acknowledged")).collect();
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), listed.reports.len());
    println!("{} acknowledged, {} exported", listed.reports.len(), exported.reports.len());
}

#[test]
fn killed_with_9_at_random_points_under_load() {
    let mut random = Random(seed());
    let lab = Lab::new(300, "");
    let fleet = lab.fleet(&["--rate", "1500", "--duration", "25", "--relays", "4", "--grace", "60"]);
    for _ in 0..CUTS {
        let mut head_end = lab.head_end_unready();
        std::thread::sleep(Duration::from_millis(300 + random.below(900)));
        head_end.0.kill().unwrap();
        head_end.0.wait().unwrap();
    }
    let head_end = lab.head_end();
    let said = lab.fleet_end(fleet);
    assert_eq!(said["unacked"], 0, "{said}");
    lab.stop(head_end);
    judge(&lab.file("list.txt"), &lab.state().join("mdm"));
}

#[test]
fn cut_over_a_file_layer_that_forgets_what_was_not_synced() {
    let seed = seed();
    let mut random = Random(seed);
    let lab = Lab::new(300, "");
    let files = ForgetfulFiles::default();
    // A head-end that has lost its disk is not waited for.
    let text = lab.graph_text("").replace("[http]", "[runtime]\ndrain_timeout_ms = 300\n\n[http]");
    let text = text.replace("close_s = 2", "close_s = 1");
    let plan = |text: &str| {
        let compiled = graph::compile(
            text,
            &metergraph::kinds::registry(),
            &metergraph::graph_file::plugins::Plugins::default(),
        );
        compiled.plan.unwrap_or_else(|| panic!("{:?}", compiled.diagnostics))
    };
    let plan = plan(&text);
    let start = || {
        let options =
            Options { state: lab.state(), plugin_dirs: vec![support::plugin_dir()], ..Options::default() };
        options.services.provide("", Arc::new(FileLayer(Arc::new(files.clone()))));
        runtime::start(&plan, &metergraph::kinds::registry(), options)
    };
    let fleet = lab.fleet(&["--rate", "1500", "--duration", "25", "--relays", "4", "--grace", "90"]);
    for cut in 0..CUTS {
        let running = start().unwrap_or_else(|error| panic!("cut {cut}, seed {seed}: {error:?}"));
        std::thread::sleep(Duration::from_millis(300 + random.below(700)));
        // The next operations still reach the disk; the power goes in the middle of one.
        let before = files.operations();
        files.stop_after(random.below(40));
        let since = Instant::now();
        while files.operations() == before && since.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(5));
        }
        std::thread::sleep(Duration::from_millis(random.below(100)));
        drop(running);
        files.cut(seed.wrapping_add(cut));
    }
    let running = start().unwrap();
    let said = lab.fleet_end(fleet);
    assert_eq!(said["unacked"], 0, "{said}");
    // Give the last file time to be closed, then end in good order.
    let (end, _) = running.stop();
    assert!(!end.abandoned);
    let mdm = lab.file("mdm");
    std::fs::create_dir_all(&mdm).unwrap();
    let folder = lab.state().join("mdm");
    for name in files.list(&folder).unwrap() {
        std::fs::write(mdm.join(&name), files.read(&folder.join(&name), 1 << 30).unwrap()).unwrap();
    }
    judge(&lab.file("list.txt"), &mdm);
}

#[test]
fn devices_that_lose_their_counters_repeat_no_interval_in_the_files() {
    let lab = Lab::new(100, "");
    let head_end = lab.head_end();
    let devices = lab.file("devices");
    let state = devices.display().to_string();
    for round in 0..4 {
        let more = ["--rate", "800", "--duration", "4", "--relays", "3", "--state", &state];
        let mut fleet = lab.fleet(&more);
        if round < 3 {
            std::thread::sleep(Duration::from_millis(1500 + 300 * round));
            fleet.0.kill().unwrap();
            fleet.0.wait().unwrap();
        } else {
            let said = lab.fleet_end(fleet);
            assert_eq!(said["unacked"], 0, "{said}");
        }
    }
    lab.stop(head_end);
    let mut seen = std::collections::HashSet::new();
    for file in std::fs::read_dir(lab.state().join("mdm")).unwrap() {
        let path = file.unwrap().path();
        if !path.file_name().unwrap().to_str().unwrap().starts_with("readings-") {
            continue;
        }
        for line in std::fs::read_to_string(path).unwrap().lines().skip(1) {
            let key: Vec<&str> = line.split(',').take(3).collect();
            assert!(seen.insert(key.join(",")), "twice: {line}");
        }
    }
    assert!(seen.len() > 10_000, "{} readings", seen.len());
}
