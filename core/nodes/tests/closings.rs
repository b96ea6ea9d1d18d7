//! What closes signing, and what goes on meanwhile (security layer §10): token, audit log, clock and journal
//! fail under a running head-end, and work again.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use commands::code::SignRefusal;
use commands::front::{By, CommandId, Outcome, Refusal};
use common::device::plain;
use common::fleet::Fleet;
use common::gated::Gate;
use common::graph::{Graph, Wishes};
use common::ledger::Ledger;
use common::meter::{Meter, frame_of};
use common::office::{self, signing_key};
use common::site::Site;
use common::wait_for;
use journal::files::ForgetfulFiles;
use keystore::token::{Config, SigningHandle};
use keystore::{Directory, Kind, ProfileId};
use metergraph_nodes::command_signer::{Lent, Means};
use metergraph_nodes::key_store::Fence;
use node::NodeState;
use node::env::Services;
use seal::command::Classes;
use seal::frame::FrameType;
use seal::ids::{Dev, System};
use seal::receiver::{SignerKey, Signers};
use seal::signature::{SIGNATURE_LEN, Signer};

const JOURNALED: &str = "metergraph_frames_journaled_total";
const DROPPED: &str = "metergraph_frames_dropped_total";
const SIGNED: &str = "metergraph_commands_signed_total";

/// A running head-end that reads and signs, devices that report, and one that is commanded.
struct World {
    site: Site,
    files: ForgetfulFiles,
    gate: Gate,
    graph: Option<Graph>,
    fleet: Fleet,
    meter: Meter,
    ledger: Ledger,
}

impl World {
    fn new() -> Self {
        let (mut site, files, gate) = Site::gated(9, 0);
        let mut meter = Meter::of(site.devices.remove(0), 0);
        let site = site.with_key_store();
        let mut signers = Signers::default();
        let key = signing_key(&site).verifying_key();
        signers.add(SignerKey { skid: 1, key, classes: Classes(0x3f), not_before: 0 });
        meter.receiver.signers = signers;
        let fleet = Fleet::of(&site);
        Self { site, files, gate, graph: None, fleet, meter, ledger: Ledger::default() }
    }

    fn wishes(&self) -> Wishes {
        Wishes { mdm: true, ..office::wishes(&self.site) }
    }

    fn start(&mut self, wishes: &Wishes) {
        let graph = Graph::start_with(&self.site, wishes);
        office::open(&graph);
        let report = self.meter.up(FrameType::Report, &plain());
        graph.send(1, &[report]);
        self.graph = Some(graph);
        self.pump_until("an acknowledgement", |world| world.meter.is_heard().then_some(()));
    }

    fn graph(&self) -> &Graph {
        self.graph.as_ref().unwrap()
    }

    /// Hands on what came down.
    fn pump(&mut self) {
        let graph = self.graph.as_ref().unwrap();
        let mut others = Vec::new();
        for (_, apdu) in graph.sent() {
            let (head, body) = self.ledger.note(&apdu);
            if head.sid() != self.meter.sid() {
                others.push(apdu);
            } else if let Some(answer) = self.meter.hear(&head, &body) {
                self.ledger.note(&answer);
                graph.send(1, &[answer]);
            }
        }
        self.fleet.hear_all(&self.site, others);
    }

    fn pump_until<T>(&mut self, what: &str, mut look: impl FnMut(&mut Self) -> Option<T>) -> T {
        wait_for(what, || {
            self.pump();
            look(self)
        })
    }

    /// Readings are taken and acknowledged.
    fn reads(&mut self) {
        let (before, sent) = (self.fleet.acknowledged(), self.fleet.sent);
        self.fleet.report(&self.site, self.graph.as_ref().unwrap(), 1);
        let fresh = (self.fleet.sent - sent) as usize;
        assert_eq!(fresh, self.site.devices.len());
        self.pump_until("acknowledgements", |world| {
            (world.fleet.acknowledged() == before + fresh).then_some(())
        });
    }

    /// How a command to the meter ends.
    fn command(&mut self) -> Outcome {
        let id = office::ask(self.graph(), office::read(self.meter.dev())).id;
        self.end(id)
    }

    fn end(&mut self, id: CommandId) -> Outcome {
        self.pump_until("the end of a command", |world| office::ended(world.graph(), id))
    }

    /// Signing is closed with this code, and reading goes on.
    fn is_closed(&mut self, code: &str) {
        let (signed, executed) = (self.graph().sum(SIGNED, None), self.meter.executed.len());
        for _ in 0..2 {
            let refused = Outcome::Refused { by: By::Signer, code: code.to_owned() };
            assert_eq!(self.command(), refused);
            self.reads();
        }
        self.graph().event(code);
        assert_eq!((self.graph().sum(SIGNED, None), self.meter.executed.len()), (signed, executed));
    }

    fn is_open(&mut self) {
        let executed = self.meter.executed.len();
        assert!(matches!(self.command(), Outcome::Done { result: 0, .. }));
        assert_eq!(self.meter.executed.len(), executed + 1);
        self.reads();
    }

    /// Readings come again until all are acknowledged.
    fn all_heard(&mut self) {
        self.pump_until("all acknowledgements", |world| {
            world.fleet.repeat(world.graph.as_ref().unwrap(), 1);
            std::thread::sleep(Duration::from_millis(20));
            (world.fleet.unacknowledged() == 0).then_some(())
        });
    }

    /// Drains; every reading was delivered once, no command executed twice.
    fn judge(mut self) {
        self.all_heard();
        drop(self.graph.take().unwrap().drain());
        // What is judged are the fleet's reports.
        let mut executed = self.meter.executed.clone();
        executed.sort_by_key(|(_, ctr)| *ctr);
        assert!(executed.windows(2).all(|pair| pair[0].1 < pair[1].1), "{executed:?}");
        self.fleet.judge_beside(&self.site, true, Some(self.meter.dev()));
    }
}

/// A file of the tokens.
fn token_file(site: &Site, name: &str) -> PathBuf {
    let files = Config::read(&site.state().join(keystore::FOLDER)).unwrap().files();
    let named = |file: &PathBuf| file.file_name().unwrap() == name;
    files.iter().find(|file| named(file)).unwrap_or_else(|| panic!("no {name} in {files:?}")).clone()
}

/// Takes a file away until it is brought back.
fn unplug(file: &PathBuf) -> PathBuf {
    let drawer = file.with_extension("away");
    std::fs::rename(file, &drawer).unwrap();
    drawer
}

#[test]
fn without_the_signers_token_nothing_is_signed_and_reading_goes_on() {
    let mut world = World::new();
    let token = token_file(&world.site, "signer.token");
    let drawer = unplug(&token);
    let wishes = world.wishes();
    world.start(&wishes);
    world.is_closed("SEC-HSM");
    std::fs::rename(drawer, token).unwrap();
    // It is left alone for a moment.
    std::thread::sleep(Duration::from_millis(1100));
    world.is_open();
    world.judge();
}

#[test]
fn without_the_key_stores_token_nothing_is_signed_and_reading_goes_on() {
    let mut world = World::new();
    let wishes = world.wishes();
    world.start(&wishes);
    world.is_open();
    // The incarnation is read before each reservation: with its token away nobody knows whose it is.
    let token = token_file(&world.site, "kek.incarnation");
    let drawer = unplug(&token);
    world.is_closed("SEC-HSM");
    std::fs::rename(drawer, token).unwrap();
    world.is_open();
    world.judge();
}

#[test]
fn without_an_audit_log_nothing_is_signed_and_reading_goes_on() {
    let mut world = World::new();
    let wishes = world.wishes();
    world.start(&wishes);
    world.is_open();
    world.graph().tap.as_ref().unwrap().set_broken(true);
    world.is_closed("SEC-AUDIT");
    world.graph().tap.as_ref().unwrap().set_broken(false);
    world.is_open();
    world.judge();
}

/// The key store and the token, and a clock that the test sets.
struct Clocked {
    directory: Arc<Directory>,
    fence: Arc<Fence>,
    key: SigningHandle,
    /// Milliseconds ahead.
    ahead: Arc<AtomicI64>,
}

impl Means for Clocked {
    fn system(&self) -> System {
        self.directory.system()
    }

    fn device(&self, dev: Dev) -> Option<(ProfileId, bool)> {
        let device = self.directory.device(self.directory.sid(dev)?)?;
        Some((device.profile, device.kind == Kind::Classic))
    }

    fn profiles(&self) -> Vec<(ProfileId, Arc<str>)> {
        self.directory.profiles().map(|(id, text)| (id, Arc::clone(text))).collect()
    }

    fn fence(&self) -> Result<(), SignRefusal> {
        self.fence.check().map_err(|_| SignRefusal::Fence)
    }

    fn sign(&self, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], String> {
        self.key.sign(digest).map_err(|error| error.to_string())
    }

    fn now_ms(&self) -> u64 {
        (node::event::unix_ns() / 1_000_000).saturating_add_signed(self.ahead.load(Ordering::SeqCst))
    }
}

/// A graph whose signer has its time from a clock that the test sets.
fn clocked(world: &World) -> (Wishes, Arc<AtomicI64>) {
    let ahead = Arc::new(AtomicI64::new(0));
    let (folder, clock) = (world.site.state().join(keystore::FOLDER), Arc::clone(&ahead));
    let lend = move |services: &Services| {
        let token = keystore::token::open(&folder, keystore::token::Holder::Signer).unwrap();
        let means = Clocked {
            directory: services.find("keys").unwrap(),
            fence: services.find("keys").unwrap(),
            key: token.command(1).unwrap(),
            ahead: Arc::clone(&clock),
        };
        services.provide("keys", Arc::new(Lent(Arc::new(means))));
    };
    (Wishes { lend: Some(Arc::new(lend)), ..world.wishes() }, ahead)
}

#[test]
fn after_a_clock_that_stepped_back_nothing_is_signed_and_reading_goes_on() {
    let mut world = World::new();
    let (wishes, ahead) = clocked(&world);
    world.start(&wishes);
    world.is_open();
    ahead.store(-60_000, Ordering::SeqCst);
    world.is_closed("SEC-SEQ");
    // What the clock said stands in the log: a start does not help.
    world.graph.take().unwrap().kill();
    world.start(&wishes);
    world.is_closed("SEC-SEQ");
    // So does no step that other clocks make too.
    ahead.store(-1000, Ordering::SeqCst);
    world.is_open();
    ahead.store(0, Ordering::SeqCst);
    world.is_open();
    world.judge();
}

#[test]
fn after_a_clock_that_stepped_forward_nothing_is_signed_until_it_is_put_right() {
    let mut world = World::new();
    let (wishes, ahead) = clocked(&world);
    world.start(&wishes);
    world.is_open();
    ahead.store(3_600_000, Ordering::SeqCst);
    world.is_closed("SEC-SEQ");
    ahead.store(0, Ordering::SeqCst);
    world.is_open();
    // Nothing in the log is of that hour.
    world.graph.take().unwrap().kill();
    world.start(&wishes);
    world.is_open();
    world.judge();
}

#[test]
fn while_the_disk_is_full_nothing_is_acknowledged_signed_or_taken_from_sockets() {
    let mut world = World::new();
    let mut wishes = Wishes { batches_max: 2, ..world.wishes() };
    wishes.settings.push(("journal", "segment_mib", 1.into()));
    world.start(&wishes);
    world.is_open();
    world.files.set_space(Some(0));
    let submission = office::read(world.meter.dev());
    {
        let World { site, fleet, graph, files, meter, .. } = &mut world;
        let (graph, sid) = (graph.as_ref().unwrap(), meter.sid());
        let stalled = || graph.status("journal").state() == NodeState::Stalled;
        std::thread::scope(|scope| {
            let feeding = scope.spawn(|| {
                for _ in 0..2000 {
                    fleet.report(site, graph, 1);
                    let apdus = graph.sent().into_iter().map(|(_, apdu)| apdu);
                    // What is for the meter is lost: it is sent again.
                    fleet.hear_all(site, apdus.filter(|apdu| frame_of(apdu).0.sid() != sid));
                }
            });
            wait_for("the stall", || stalled().then_some(()));
            // The transport's edge fills, and nobody takes from it.
            wait_for("full sockets", || (graph.received.waiting() == 2).then_some(()));
            let before = (graph.sum(JOURNALED, None), graph.sum(SIGNED, None));
            assert_eq!(office::front(graph).submit(submission.clone()), Err(Refusal::TimedOut));
            assert_eq!((graph.sum(JOURNALED, None), graph.sum(SIGNED, None)), before);
            assert_eq!((graph.received.waiting(), graph.sum(DROPPED, None)), (2, 0));
            graph.event("disk-full");
            files.set_space(None);
            feeding.join().unwrap();
        });
    }
    // The same request once more is the same command, whatever became of the first.
    let id = office::ask(world.graph(), submission).id;
    let executed = world.meter.executed.len();
    assert!(matches!(world.end(id), Outcome::Done { result: 0, .. }));
    assert_eq!(world.meter.executed.len(), executed + 1);
    assert_eq!(world.graph().sum(SIGNED, None), 2);
    world.judge();
}

#[test]
fn what_the_journal_does_not_take_is_not_acknowledged_and_not_signed() {
    let mut world = World::new();
    let wishes = world.wishes();
    world.start(&wishes);
    world.is_open();
    // Readings are not taken: none is acknowledged until they come again.
    let acknowledged = world.fleet.acknowledged();
    world.gate.hold(".segment");
    world.fleet.report(&world.site, world.graph.as_ref().unwrap(), 1);
    wait_for("the journal's work", || (world.graph().records_in_hand() > 0).then_some(()));
    world.files.fail_syncs(1);
    world.gate.open();
    assert_eq!(world.graph().event("journal-write").severity, node::Severity::Alarm);
    // It is counted after it was said.
    let lost = wait_for("what is lost", || {
        Some(world.graph().sum(DROPPED, Some(("where", "journal-write"))) as usize).filter(|lost| *lost > 0)
    });
    let rest = world.site.devices.len() - lost;
    world.pump_until("what was beside them", |world| {
        (world.fleet.acknowledged() >= acknowledged + rest).then_some(())
    });
    assert_eq!(world.fleet.unacknowledged(), lost);
    world.all_heard();
    // A command is not taken: whoever asks hears so.
    world.gate.hold(".segment");
    let submission = office::read(world.meter.dev());
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| office::front(world.graph()).submit(submission.clone()));
        wait_for("the journal's work", || (world.graph().records_in_hand() > 0).then_some(()));
        world.files.fail_syncs(1);
        world.gate.open();
        assert_eq!(asking.join().unwrap(), Err(Refusal::Store));
    });
    world.is_open();
    // Its counter is not taken: it is asked for again, with a later one, and signed then.
    let signed = world.graph().sum(SIGNED, None);
    world.gate.hold_after(1, ".segment");
    let id = office::ask(world.graph(), submission).id;
    wait_for("the journal's work", || (world.graph().records_in_hand() > 0).then_some(()));
    assert_eq!(world.graph().sum(SIGNED, None), signed);
    world.files.fail_syncs(1);
    world.gate.open();
    world.graph().event("SEC-STORE");
    assert!(matches!(world.end(id), Outcome::Done { result: 0, .. }));
    assert_eq!(world.graph().sum(SIGNED, None), signed + 1);
    world.is_open();
    world.judge();
}
