//! A head-end is cut at its durable operations, one after the other, in the midst of each thing that it is asked
//! for: over real TCP, with a fleet that knows nothing of it. Afterwards all of it is done.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use journal::files::ForgetfulFiles;
use nodes::journal::FileLayer;
use runtime::Options;
use support::office::{Office, dev};
use support::story::{judge, ledger};

/// The kinds of what is asked for, each of which is cut at one of its durable operations after the other.
const STAGES: [Stage; 5] = [Stage::Reports, Stage::Group, Stage::Switch, Stage::Epochs, Stage::Revocation];
/// Cuts of each, and of the registrations.
const CUTS: u64 = 6;
const REGISTRATION_CUTS: u64 = 10;
const FEW: u32 = 60;
/// A stage that has not come to its end by then never will.
const STAGE_LIMIT: Duration = Duration::from_secs(90);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Reports,
    Group,
    Switch,
    Epochs,
    Revocation,
}

/// A head-end of this process whose files forget, and what goes on with it.
struct Site<'a> {
    office: &'a Office,
    files: ForgetfulFiles,
    start: Box<dyn Fn() -> runtime::Running + 'a>,
    running: Option<runtime::Running>,
    seed: u64,
    cuts: u64,
}

impl Site<'_> {
    /// The head-end ends at once, and starts again from what is left: of every second one the process is killed,
    /// of the others the power goes.
    fn cut(&mut self) {
        self.running = None;
        let seed = self.seed.wrapping_mul(1000).wrapping_add(self.cuts);
        if self.cuts.is_multiple_of(2) {
            self.files.cut(seed)
        } else {
            self.files.kill(seed)
        }
        self.cuts += 1;
        self.running = Some((self.start)());
    }

    /// Carries something out, with the head-end cut after so many durable operations, if there are as many.
    /// `step` is tried until it says that all is done. Answers how many operations there were without a cut.
    fn through(&mut self, after: Option<u64>, step: impl Fn(&Office, bool) -> bool + Sync) -> u64 {
        let (since, before) = (Instant::now(), self.files.operations());
        let (done, was_cut) = (AtomicBool::new(false), AtomicBool::new(after.is_none()));
        if let Some(after) = after {
            self.files.stop_after(after);
        }
        let office = self.office;
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                while !step(office, was_cut.load(Ordering::SeqCst)) {
                    assert!(since.elapsed() < STAGE_LIMIT, "it has no end");
                    // The interface limits how often it is asked.
                    std::thread::sleep(Duration::from_millis(300));
                }
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) && !worker.is_finished() {
                let at = after.map(|after| before + after);
                if !was_cut.load(Ordering::SeqCst) && at.is_some_and(|at| self.files.operations() >= at) {
                    self.cut();
                    was_cut.store(true, Ordering::SeqCst);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
        });
        self.files.stop_after(u64::MAX);
        self.files.operations() - before
    }

    fn carry_out(&mut self, stage: Stage, round: u64, gid: &str, after: Option<u64>) -> u64 {
        let live = u64::from(FEW) - round;
        let asked = format!("{stage:?}-{round}");
        match stage {
            // Reports come by themselves; after the cut, too.
            Stage::Reports => {
                let since = Instant::now();
                self.through(after, |_, was_cut| was_cut && since.elapsed() > Duration::from_secs(1))
            }
            Stage::Group => self.through(after, |office, _| {
                let order = ["command", "dr", "--minutes", "30", "--percent", "50", "--no-wait"];
                let asking = ["--event", "7", "--start", "0", "--group", gid, "--request-id", &asked];
                let (code, accepted, _) = office.call(&[&order[..], &asking].concat());
                let Some(id) = accepted["id"].as_str().filter(|_| code == 0) else { return false };
                for name in ["ada", "bob"] {
                    office.approve(id, name);
                }
                let (_, told, _) = office.call(&["command", "wait", id, "--seconds", "15"]);
                if told["outcome"].is_null() {
                    return false;
                }
                assert_eq!(told["counts"]["done"], live, "{told}");
                true
            }),
            Stage::Switch => self.through(after, |office, _| {
                // The one after the other: what is asked for under the same name is not done twice.
                ["disconnect", "reconnect"].iter().all(|word| {
                    let asked = format!("{asked}-{word}");
                    let (_, told, _) =
                        office.call(&["command", word, "--device", &dev(7), "--request-id", &asked]);
                    if told["outcome"].is_null() {
                        return false;
                    }
                    assert_eq!(
                        (&told["outcome"]["end"], &told["receipt"]["verified"]),
                        (&"done".into(), &true.into()),
                        "{told}"
                    );
                    true
                })
            }),
            Stage::Epochs => {
                let begun = std::sync::Mutex::new(None);
                self.through(after, |office, _| {
                    let mut begun = begun.lock().unwrap();
                    let number = begun.get_or_insert_with(|| {
                        let (_, campaign, _) = office.call(&["keys", "advance-epoch", "--group", gid]);
                        campaign["campaign"].as_u64()
                    });
                    let Some(number) = *number else {
                        *begun = None;
                        return false;
                    };
                    let (_, campaign, said) = office.call(&["campaign", "show", &number.to_string()]);
                    assert!(!said.contains("not-found"), "what was begun is gone: {said}");
                    if campaign["state"] != "finished" {
                        return false;
                    }
                    assert_eq!((&campaign["proved"], &campaign["missed"]), (&live.into(), &0.into()));
                    true
                })
            }
            Stage::Revocation => self.through(after, |office, _| {
                let gone = dev(FEW - 1 - u32::try_from(round).unwrap());
                let (code, revoked, _) = office.call(&["device", "revoke", &gone]);
                let (_, group, _) = office.call(&["group", "show", gid]);
                code == 0 && revoked["revoked"] == true && group["members"] == live - 1
            }),
        }
    }
}

#[test]
fn a_head_end_cut_at_each_durable_step() {
    let seed = std::env::var("METERGRAPH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    let office = Office::open(FEW);
    let lab = &office.lab;
    let files = ForgetfulFiles::default();
    // A head-end that has lost its disk is not waited for.
    let text = std::fs::read_to_string(lab.graph()).unwrap();
    let text = text.replace("[http]", "[runtime]\ndrain_timeout_ms = 300\n\n[http]");
    let plugins = metergraph::graph_file::plugins::Plugins::default();
    let compiled = graph::compile(&text, &metergraph::kinds::registry(), &plugins);
    let plan = compiled.plan.unwrap_or_else(|| panic!("{:?}", compiled.diagnostics));
    let layer = files.clone();
    let start = move || {
        let options =
            Options { state: lab.state(), plugin_dirs: vec![support::plugin_dir()], ..Options::default() };
        options.services.provide("", Arc::new(FileLayer(Arc::new(layer.clone()))));
        runtime::start(&plan, &metergraph::kinds::registry(), options)
            .unwrap_or_else(|error| panic!("seed {seed}: {error:?}"))
    };
    let running = Some(start());
    let mut site =
        Site { office: &office, files: files.clone(), start: Box::new(start), running, seed, cuts: 0 };

    let fleet = lab.devices(&[
        "--rate",
        "6",
        "--duration",
        "900",
        "--register-rate",
        "6",
        "--time-scale",
        "60",
        "--relays",
        "3",
        "--grace",
        "12",
    ]);
    for cut in 0..REGISTRATION_CUTS {
        let since = Instant::now();
        site.through(Some(3 + cut * 2 + seed % 2), |_, was_cut| {
            was_cut && since.elapsed() > Duration::from_millis(900)
        });
    }
    site.through(None, |office, _| {
        let known = office.lab.status().map(|status| status.sum("metergraph_associations", None));
        known == Some(FEW.into())
    });

    let group = office.done(&["group", "create", "all", "--classes", "0,1,3,4"]);
    let gid = group["gid"].as_str().unwrap().to_owned();
    let members: Vec<String> = (0..FEW).map(dev).collect();
    let join: Vec<&str> =
        ["group", "join", &gid].into_iter().chain(members.iter().map(String::as_str)).collect();
    office.done(&join);
    office.until(&["group", "show", &gid], |group| group["members"] == FEW);

    // Without a cut first: it says how many operations there are to cut at.
    let mut operations = BTreeMap::new();
    for stage in STAGES {
        operations.insert(stage, site.carry_out(stage, 0, &gid, None));
    }
    println!("operations without a cut: {operations:?}");
    for round in 1..=CUTS {
        for stage in STAGES {
            let stride = (operations[&stage] / CUTS).max(1);
            let after = seed % stride + (round - 1) * stride;
            let (since, before) = (Instant::now(), site.cuts);
            site.carry_out(stage, round, &gid, Some(after));
            println!("{stage:?} cut after {after}: {} cuts, {:?}", site.cuts - before, since.elapsed());
        }
    }
    println!("{} cuts, seed {seed}", site.cuts);
    assert!(site.cuts > REGISTRATION_CUTS + CUTS * 4);

    // Nobody is left behind: all that are not revoked hear of a new epoch, and prove it.
    site.carry_out(Stage::Epochs, CUTS + 1, &gid, None);
    let id = fleet.0.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let said = lab.fleet_end(fleet);
    assert_eq!((&said["registered"], &said["nonce_reuses"]), (&FEW.into(), &0.into()), "seed {seed}: {said}");
    assert!(said["unacked_devices"].as_u64().unwrap() <= CUTS + 1, "{said}");
    let (end, status) = site.running.take().unwrap().stop();
    assert!(!end.abandoned);
    assert!(status.sum("metergraph_frames_journaled_total", None) > 0);
    let story = judge(Arc::new(files), lab);
    assert_eq!(story.devices.len(), FEW as usize);
    println!("{} commands signed, {} frames taken in", story.signed, story.reports);
    let (_, uses) = ledger(lab);
    assert!(uses as u64 > said["sealed"].as_u64().unwrap());
}
