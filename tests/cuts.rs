//! The story of 2,000 devices over real TCP, with a head-end that is cut at each of its durable steps, in each way:
//! killed before it, cut off by the power, killed when it is done and before anybody hears of it. The fleet knows
//! nothing of it; afterwards all of it is done, and nothing was done twice.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use journal::Position;
use journal::files::{Doing, ForgetfulFiles};
use nodes::journal::{FileLayer, Log};
use runtime::{Options, Running};
use support::cutter::{Cutter, Step, Way};
use support::office::{Office, dev};
use support::story::{account, judge, ledger, reuses};
use support::tap::Tap;

const DEVICES: u32 = 2000;
/// So many of them do not hear that the group's epoch advances.
const MISSING: u32 = 50;
/// So many are revoked at least.
const REVOKED: u32 = 10;
/// A round of a stage in which nothing has gone on for so long never comes to its end.
const STILL_LIMIT: Duration = Duration::from_secs(120);
/// Nor does one that has gone on for so long.
const ROUND_LIMIT: Duration = Duration::from_secs(600);
/// A stage is not repeated more often for steps that do not come by again.
const ROUNDS_MAX: u32 = 12;
/// The desk's further settings. After each cut a device is reached again when it has said something: that is not
/// long, and no group command is given up for it. A member whose first key is the next epoch's hears nothing of
/// the one before: no key is on its way for long.
const DESK: &str = "repeat_max_s = 4\nbroadcasts_max = 1000\ngroup_lead_s = 0\n";
/// Holds back all of the journal, so that it can be judged whole.
const JUDGE: &str = "judge";

/// Reports that the export passed over since it did not know whose they were.
const UNREADABLE: (&str, (&str, &str)) =
    ("metergraph_reports_unreadable_total", ("reason", "unknown-device"));

/// What each stage must have been cut at: the kinds of record that it makes durable.
const EXPECTED: [(&str, &[&str]); 7] = [
    ("registration", &["ASSOCIATION", "PROVED", "REPORT", "RESERVATION"]),
    ("membership", &["INTENT", "CTR", "AUDIT", "SIGNED", "CLOSED", "GROUP", "GROUP_KEY", "REPORT"]),
    ("demand-response", &["INTENT", "APPROVAL", "CTR", "AUDIT", "SIGNED", "CLOSED", "REPORT"]),
    ("switch", &["INTENT", "CTR", "AUDIT", "SIGNED", "CLOSED", "REPORT"]),
    ("epochs", &["CAMPAIGN", "INTENT", "CTR", "AUDIT", "SIGNED", "ISSUED", "PROMOTED", "CLOSED", "REPORT"]),
    ("revocation", &["REVOKED", "GROUP_KEY", "REPORT"]),
    ("reports", &["REPORT", "RESERVATION"]),
];

/// A head-end of this process whose files forget, and what goes on with it.
struct Site<'a> {
    office: &'a Office,
    files: ForgetfulFiles,
    cutter: Cutter,
    tap: Tap,
    start: Box<dyn Fn() -> Result<Running, String> + 'a>,
    running: Option<Running>,
    seed: u64,
    /// Reports of nobody, as far as the export knew.
    unreadable: i64,
    /// How long it took from a stop to the next start.
    ending: Duration,
    restarting: Duration,
}

impl Site<'_> {
    /// Ends what was stopped, and starts again from what is left of it; also where it is stopped in starting.
    fn restart(&mut self) {
        loop {
            let since = Instant::now();
            let ended = self.running.take().map(Running::stop);
            if let Some((_, status)) = &ended {
                self.unreadable += status.sum(UNREADABLE.0, Some(UNREADABLE.1));
            }
            let seed = self.seed.wrapping_mul(10_000).wrapping_add(self.cutter.cuts());
            match self.cutter.stopped() {
                Some(Way::PowerCut) => self.files.cut(seed),
                _ => self.files.kill(seed),
            }
            self.cutter.cut_done();
            self.ending += since.elapsed();
            if self.started() {
                return;
            }
        }
    }

    /// Whether it has started, and was not stopped in it.
    fn started(&mut self) -> bool {
        let since = Instant::now();
        self.cutter.set_starting(true);
        let started = (self.start)();
        self.cutter.set_starting(false);
        self.restarting += since.elapsed();
        match started {
            Ok(running) => self.running = Some(running),
            Err(error) => assert!(self.cutter.stopped().is_some(), "seed {}: {error}", self.seed),
        }
        let goes_on = self.cutter.stopped().is_none();
        if goes_on {
            self.tap.open();
        }
        goes_on
    }

    /// Carries out one round: `step` is tried until nothing is left of it, and the head-end is cut and started
    /// again wherever the cutter stops it.
    fn round(&mut self, step: impl Fn(&Office) -> Result<(), String> + Sync) {
        let since = Instant::now();
        let done = AtomicBool::new(false);
        let office = self.office;
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| {
                let (mut before, mut changed) = (String::new(), since);
                while let Err(left) = step(office) {
                    if left != before {
                        (before, changed) = (left, Instant::now());
                    }
                    let goes_on = changed.elapsed() < STILL_LIMIT && since.elapsed() < ROUND_LIMIT;
                    assert!(goes_on, "it has no end: {}", before.get(..600).unwrap_or(&before));
                    // The interface limits how often it is asked.
                    std::thread::sleep(Duration::from_millis(100));
                }
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) && !worker.is_finished() {
                if self.cutter.stopped().is_some() {
                    self.restart();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            if worker.join().is_err() {
                // What is behind it is mostly a key's or a counter's use twice.
                self.no_reuse();
                self.cutter.begin("the end", false);
                self.running = None;
                self.files.kill(self.seed);
                judge(Arc::new(self.files.clone()), &self.office.lab);
                panic!("seed {}: a round did not come to its end", self.seed);
            }
        });
    }

    /// Of all that went down, whether a device heard it or not, no two frames have one key and nonce.
    fn no_reuse(&self) -> usize {
        let sealed: Vec<String> = self.tap.sealed_by(self.office.lab.port).into_iter().collect();
        assert_eq!(reuses(&sealed.join("\n")), BTreeSet::new(), "seed {}", self.seed);
        sealed.len()
    }

    /// Carries out round after round of a stage, until one finds no step that was not cut yet.
    fn stage(&mut self, stage: &'static str, rounds_min: u32, mut round: impl FnMut(&mut Self, u32)) {
        let (since, before) = (Instant::now(), self.cutter.cuts());
        self.cutter.begin(stage, true);
        let mut rounds = 0;
        loop {
            let cuts = self.cutter.cuts();
            round(self, rounds);
            rounds += 1;
            if rounds >= rounds_min && (self.cutter.cuts() == cuts || rounds >= ROUNDS_MAX) {
                break;
            }
        }
        let cuts = self.cutter.cuts() - before;
        self.no_reuse();
        println!("{stage}: {rounds} rounds, {cuts} cuts, {:.1} s", since.elapsed().as_secs_f64());
    }
}

#[test]
fn two_thousand_devices_and_a_head_end_cut_at_each_durable_step() {
    let seed = std::env::var("METERGRAPH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1_u64);
    let begun = Instant::now();
    let office = Office::open(DEVICES);
    let lab = &office.lab;
    let files = ForgetfulFiles::default();
    let tap = Tap::before(lab.port);
    let log = Log::new(Arc::new(files.clone()), lab.state().join("journal"));
    log.cursors().store(JUDGE, Position::START, &[]).unwrap();
    // A head-end that has lost its disk is not waited for, and the journal goes to a next segment often.
    let text = std::fs::read_to_string(lab.graph()).unwrap();
    let text = text.replace("[http]", "[runtime]\ndrain_timeout_ms = 20\n\n[http]");
    let text = text.replace("kind  = \"journal\"", "kind  = \"journal\"\nsegment_mib = 1");
    let text = text.replace("repeat_s = 2\n", &format!("repeat_s = 2\n{DESK}"));
    assert!(text.contains("segment_mib") && text.contains(DESK));
    let plugins = metergraph::graph_file::plugins::Plugins::default();
    let compiled = graph::compile(&text, &metergraph::kinds::registry(), &plugins);
    let plan = compiled.plan.unwrap_or_else(|| panic!("{:?}", compiled.diagnostics));
    let layer = files.clone();
    let start = move || {
        let options =
            Options { state: lab.state(), plugin_dirs: vec![support::plugin_dir()], ..Options::default() };
        options.services.provide("", Arc::new(FileLayer(Arc::new(layer.clone()))));
        runtime::start(&plan, &metergraph::kinds::registry(), options).map_err(|error| format!("{error:?}"))
    };
    let gag = tap.clone();
    let cutter = Cutter::of(&files, &lab.state(), seed, move || gag.close());
    let mut site = Site {
        office: &office,
        files: files.clone(),
        cutter: cutter.clone(),
        tap: tap.clone(),
        start: Box::new(start),
        running: None,
        seed,
        unreadable: 0,
        ending: Duration::ZERO,
        restarting: Duration::ZERO,
    };
    println!("made in {:?}", begun.elapsed());
    cutter.begin("registration", true);
    if !site.started() {
        site.restart();
    }
    let missing = MISSING.to_string();
    let fleet = lab.devices_at(
        tap.port,
        &[
            "--rate",
            "400",
            "--duration",
            "1500",
            "--register-rate",
            "100",
            "--time-scale",
            "60",
            "--relays",
            "8",
            "--grace",
            "45",
            "--miss-group-keys",
            &missing,
        ],
    );
    site.stage("registration", 1, |site, _| {
        site.round(|office| {
            let known = office.lab.status().map(|status| status.sum("metergraph_associations", None));
            if known.is_some_and(|known| known >= DEVICES.into()) {
                Ok(())
            } else {
                Err(format!("{known:?}"))
            }
        });
    });

    let group = Mutex::new(String::new());
    let members: Vec<String> = (0..DEVICES).map(dev).collect();
    site.stage("membership", 2, |site, round| {
        let (joined, left) = (AtomicBool::new(false), AtomicBool::new(false));
        // In later rounds some leave and come again, and there are another group and another epoch.
        let (made, rekeyed) = (AtomicBool::new(false), AtomicBool::new(false));
        let some = if round == 0 { &members[..] } else { &members[20..40] };
        site.round(|office| {
            let mut gid = group.lock().unwrap();
            if gid.is_empty() {
                let (_, made, said) = office.call(&["group", "create", "all", "--classes", "0,1,3,4"]);
                *gid = made["gid"].as_str().ok_or(said)?.to_owned();
            }
            let once = |done: &AtomicBool, asking: &[&str]| {
                if !done.load(Ordering::SeqCst) {
                    let (code, _, said) = office.call(asking);
                    done.store(code == 0, Ordering::SeqCst);
                    if code != 0 {
                        return Err(said);
                    }
                }
                Ok(())
            };
            let ask = |word: &str, done: &AtomicBool| {
                let asking = ["group", word, &gid].into_iter().chain(some.iter().map(String::as_str));
                once(done, &asking.collect::<Vec<_>>())
            };
            let are = |count: u32| {
                let (_, group, said) = office.call(&["group", "show", &gid]);
                if group["members"] == count { Ok(()) } else { Err(format!("not {count}: {group} {said}")) }
            };
            if round > 0 && !joined.load(Ordering::SeqCst) {
                once(&made, &["group", "create", "another", "--classes", "1"])?;
                once(&rekeyed, &["group", "rekey", &gid])?;
                ask("leave", &left)?;
                are(DEVICES - u32::try_from(some.len()).unwrap())?;
            }
            ask("join", &joined)?;
            are(DEVICES)
        });
    });
    let gid = group.into_inner().unwrap();

    site.stage("demand-response", 1, |site, round| {
        let asked = format!("dr-{round}");
        let accepted_as = Mutex::new(None);
        site.round(|office| {
            let order = ["command", "dr", "--minutes", "30", "--percent", "50", "--no-wait"];
            let asking = ["--event", "7", "--start", "0", "--group", &gid, "--request-id", &asked];
            let (_, accepted, said) = office.call(&[&order[..], &asking].concat());
            let id = accepted["id"].as_str().ok_or(said)?;
            same(&accepted_as, id);
            for name in ["ada", "bob"] {
                office.approve(id, name);
            }
            let (_, told, said) = office.call(&["command", "wait", id, "--seconds", "15"]);
            ended(&told, said)?;
            assert_eq!(told["counts"]["done"], DEVICES, "{told}");
            Ok(())
        });
    });

    site.stage("switch", 1, |site, round| {
        let device = dev(60 + round);
        let accepted_as = [Mutex::new(None), Mutex::new(None)];
        site.round(|office| {
            // The one after the other: what is asked for under the same name is not done twice.
            for (word, accepted_as) in ["disconnect", "reconnect"].into_iter().zip(&accepted_as) {
                let asked = format!("{word}-{round}");
                let (_, told, said) =
                    office.call(&["command", word, "--device", &device, "--request-id", &asked]);
                told["id"].as_str().into_iter().for_each(|id| same(accepted_as, id));
                ended(&told, said)?;
                assert_eq!(
                    (&told["outcome"]["end"], &told["receipt"]["verified"]),
                    (&"done".into(), &true.into()),
                    "{told}"
                );
            }
            Ok(())
        });
    });

    let epochs = |site: &mut Site<'_>, live: u32| {
        let begun = Mutex::new(None);
        site.round(|office| {
            let mut begun = begun.lock().unwrap();
            if begun.is_none() {
                let (_, campaign, said) = office.call(&["keys", "advance-epoch", "--group", &gid]);
                *begun = Some(campaign["campaign"].as_u64().ok_or(said)?);
            }
            let number = begun.unwrap_or_default().to_string();
            let (_, campaign, said) = office.call(&["campaign", "show", &number]);
            assert!(!said.contains("not-found"), "what was begun is gone: {said}");
            if campaign["state"] != "finished" {
                return Err(format!("{campaign} {said}"));
            }
            assert_eq!((&campaign["proved"], &campaign["missed"]), (&live.into(), &0.into()));
            Ok(())
        });
    };
    site.stage("epochs", 1, |site, _| epochs(site, DEVICES));

    let mut revoked = 0;
    site.stage("revocation", REVOKED, |site, _| {
        let (gone, live) = (dev(DEVICES - 1 - revoked), DEVICES - 1 - revoked);
        site.round(|office| {
            let (_, told, said) = office.call(&["device", "revoke", &gone]);
            let (_, group, _) = office.call(&["group", "show", &gid]);
            let done = told["revoked"] == true && group["members"] == live;
            if done { Ok(()) } else { Err(format!("{told} {said} {group}")) }
        });
        revoked += 1;
    });

    // Reports come by themselves.
    site.stage("reports", 1, |site, _| {
        let since = Instant::now();
        let passed = || since.elapsed() > Duration::from_secs(6);
        site.round(|_| if passed() { Ok(()) } else { Err("reports".to_owned()) });
    });

    // Nobody is left behind: all that are not revoked hear of a new epoch, and prove it.
    site.stage("epochs", 1, |site, _| epochs(site, DEVICES - revoked));
    cutter.begin("the end", false);
    println!(
        "{} cuts in {:.0} s, seed {seed}; {:.1} s to end, {:.1} s to start",
        cutter.cuts(),
        begun.elapsed().as_secs_f64(),
        site.ending.as_secs_f64(),
        site.restarting.as_secs_f64()
    );
    // A last time without a cut, so that what it counts is whole.
    let _ = site.running.take().unwrap().stop();
    assert!(site.started());
    let id = fleet.0.id().to_string();
    assert!(std::process::Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    let said = lab.fleet_end(fleet);
    println!("{said}");
    assert_eq!(
        (&said["registered"], &said["nonce_reuses"]),
        (&DEVICES.into(), &0.into()),
        "seed {seed}: {said}"
    );
    assert!(said["unacked_devices"].as_u64().unwrap() <= revoked.into(), "{said}");
    let (end, status) = site.running.take().unwrap().stop();
    assert!(!end.abandoned);
    assert_eq!(site.unreadable + status.sum(UNREADABLE.0, Some(UNREADABLE.1)), 0, "reports went nowhere");
    account(&status);
    let before = judge(Arc::new(files.clone()), lab);
    assert_eq!(before.devices.len(), DEVICES as usize);
    println!("{} commands signed, {} frames taken in", before.signed, before.reports);
    let (_, uses) = ledger(lab);
    assert!(uses as u64 > said["sealed"].as_u64().unwrap());
    println!("{} frames sealed downwards", site.no_reuse());

    // All that ever went up is said once more: nothing of it is taken in.
    assert!(site.started());
    let octets = tap.replay();
    let (_, status) = site.running.take().unwrap().stop();
    account(&status);
    let after = judge(Arc::new(files.clone()), lab);
    println!("{octets} octets said again, in {:?}", begun.elapsed());
    assert_eq!((after.devices, after.reports), (before.devices, before.reports), "a replay was taken in");

    // What nobody needs any more is given up, and nothing else.
    log.cursors().remove(JUDGE).unwrap();
    cutter.begin("release", true);
    if !site.started() {
        site.restart();
    }
    let spare = Step { stage: "-", doing: Doing::Rename, what: "journal/#.spare".to_owned() };
    site.stage("release", 1, |site, _| {
        let (cutter, spare) = (site.cutter.clone(), &spare);
        site.round(|office| {
            let known = office.lab.status().map(|status| status.sum("metergraph_associations", None));
            let cut = cutter.steps().get(spare).is_some_and(|cut| cut[..2].iter().all(|cut| *cut > 0));
            let live = i64::from(DEVICES - revoked);
            if cut && known.is_some_and(|known| known >= live) { Ok(()) } else { Err(format!("{known:?}")) }
        });
    });
    cutter.begin("the end", false);
    let (end, _) = site.running.take().unwrap().stop();
    assert!(!end.abandoned);
    println!("{} cuts, seed {seed}, {:?}", cutter.cuts(), begun.elapsed());

    let steps = cutter.steps();
    for (step, cut) in &steps {
        println!("{step}: {cut:?}");
    }
    for (stage, kinds) in EXPECTED {
        for (doing, ways) in [(Doing::Write, &Way::ALL[..2]), (Doing::Sync, &Way::ALL)] {
            for kind in kinds {
                let found = steps
                    .iter()
                    .find(|(step, _)| (step.stage, step.doing, step.what.as_str()) == (stage, doing, *kind));
                let (step, cut) = found.unwrap_or_else(|| panic!("no {stage} {doing:?} {kind}"));
                assert!(ways.iter().all(|way| cut[*way as usize] > 0), "{step}: {cut:?}");
            }
        }
    }
}

/// What was accepted once is found again under its name: it is the same command.
fn same(accepted_as: &Mutex<Option<String>>, id: &str) {
    let before = accepted_as.lock().unwrap().get_or_insert_with(|| id.to_owned()).clone();
    assert_eq!(before, id, "a command that was accepted is gone");
}

/// Whether a command has come to its end; else what was said of it.
fn ended(told: &serde_json::Value, said: String) -> Result<(), String> {
    if told["outcome"].is_null() { Err(format!("{told} {said}")) } else { Ok(()) }
}
