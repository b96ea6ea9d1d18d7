//! Data keys are replaced under a head-end with shards: all that stands sealed follows, the old key goes when
//! everybody has passed, and a start opens everything, wherever the one before was cut.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::desk::Desk;
use common::device::plain;
use common::graph::{Graph, Wishes};
use common::meter::{Meter, now};
use common::office;
use common::site::Site;
use common::wait_for;
use journal::files::{Files, ForgetfulFiles};
use keystore::{Directory, FOLDER, NewAssociation, Slots, Store, Vault};
use metergraph_nodes::journal::Log;
use metergraph_nodes::key_store::catch_up;
use metergraph_nodes::order::Order;
use seal::frame::FrameType;
use seal::ids::{Dev, Epoch, Gid, Sid};
use seal::secret::Prk;

const GID: Gid = Gid(0x8000_0203);
const DAY_S: u64 = 86_400;

fn site(meters: u32) -> (Site, ForgetfulFiles, Vec<Meter>) {
    let (mut site, files) = Site::forgetful(meters, 0);
    let devices = std::mem::take(&mut site.devices);
    let meters = devices.into_iter().zip(0..).map(|(device, slot)| Meter::of(device, slot)).collect();
    (site.with_key_store(), files, meters)
}

fn start(site: &Site, shards: usize) -> Graph {
    let settings = vec![("keys", "apply_s", 1.into())];
    Graph::start_with(site, &Wishes { shards, settings, ..Wishes::default() })
}

fn lent<T: Send + Sync + 'static>(graph: &Graph) -> Arc<T> {
    graph.services.find("keys").unwrap()
}

/// A registration that is not in the journal yet.
struct Registration {
    sid: Sid,
    dev: Dev,
    prk: Prk,
    replaces: Sid,
    sealed: Vec<u8>,
}

impl Registration {
    fn draw(graph: &Graph, meter: &Meter, secret: u8) -> Self {
        let (slots, directory) = (lent::<Slots>(graph), lent::<Directory>(graph));
        let (dev, replaces, prk) = (meter.dev(), meter.sid(), Prk::from_octets([secret; 32]));
        let sid = wait_for("a number", || slots.allocate());
        let device = directory.device(replaces).unwrap();
        let (title, esn, profile) = (device.title(), device.esn(), device.profile);
        let new = NewAssociation { sid, dev, prk: &prk, title, esn, profile };
        let sealed = lent::<Vault>(graph).seal_association(&new).unwrap();
        Self { sid, dev, prk, replaces, sealed }
    }

    fn order(&self) -> Order<'_> {
        let Self { sid, dev, replaces, sealed, .. } = self;
        Order::Register { sid: *sid, dev: *dev, replaces: Some(*replaces), sealed }
    }

    fn partition(&self) -> u16 {
        self.sid.partition() as u16
    }

    fn opens(&self, vault: &Vault) -> bool {
        vault.open_association(self.sid, self.dev, &self.sealed, |_| ()).is_ok()
    }
}

fn register(graph: &Graph, desk: &mut Desk, meter: &mut Meter, secret: u8) -> Registration {
    let new = Registration::draw(graph, meter, secret);
    desk.give(graph, &new.order());
    desk.wait(graph);
    meter.register(new.sid, Prk::from_octets(*new.prk.expose()));
    new
}

/// Everybody reports and is heard, and nothing sealed was missed.
fn all_well(what: &str, graph: &Graph, desk: &mut Desk, meters: &mut [Meter]) {
    desk.report(graph, meters);
    desk.until_heard(graph, meters);
    for event in graph.events() {
        let bad = ["SEC-STORE", "key-record", "dek-not-replaced", "SEC-UP-UNKNOWN", "SEC-UP-AUTH"];
        assert!(!bad.contains(&event.reason.0), "{what}: {} {:?}", event.reason.0, event.detail);
    }
}

/// The files of the journal that hold these octets.
fn holding(files: &ForgetfulFiles, site: &Site, octets: &[u8]) -> Vec<String> {
    let folder = site.state().join("journal");
    let holds = |name: &String| {
        // One that has gone since it was listed holds nothing.
        let file = files.read(&folder.join(name), 1 << 30).unwrap_or_default();
        file.windows(octets.len()).any(|window| window == octets)
    };
    files.list(&folder).unwrap().into_iter().filter(holds).collect()
}

#[test]
fn a_sealed_key_does_not_stay_in_the_journal_of_a_quiet_head_end() {
    let (site, files, mut meters) = site(2);
    let mut desk = Desk::default();
    let settings = vec![
        ("keys", "apply_s", 1.into()),
        ("mdm", "close_s", 1.into()),
        ("journal", "age_max_s", 2.into()),
        ("journal", "segment_mib", 1.into()),
    ];
    let graph = Graph::start_with(&site, &Wishes { shards: 2, settings, ..Wishes::default() });
    all_well("first", &graph, &mut desk, &mut meters);
    let new = register(&graph, &mut desk, &mut meters[0], 99);
    // Nothing comes any more, and still everybody moves on.
    wait_for("the end of the record", || holding(&files, &site, &new.sealed).is_empty().then_some(()));
    assert!(new.opens(&lent::<Vault>(&graph)));
    all_well("later", &graph, &mut desk, &mut meters);
    drop(graph.drain());
    // A start needs nothing of it.
    let graph = start(&site, 2);
    all_well("the next life", &graph, &mut desk, &mut meters);
}

#[test]
fn everybody_who_holds_segments_back_moves_on_once_a_day() {
    let (site, _, mut meters) = site(2);
    let mut wishes = Wishes { shards: 2, registrar: true, ..office::wishes(&site) };
    wishes.settings.extend([
        ("keys", "apply_s", 1.into()),
        ("mdm", "close_s", 1.into()),
        ("journal", "age_max_s", 1.into()),
        ("journal", "segment_mib", 1.into()),
    ]);
    let graph = Graph::start_with(&site, &wishes);
    office::open(&graph);
    let log: Arc<Log> = graph.services.find("journal").unwrap();
    // The tap stands between the audit log and the journal, so that its word does not come there.
    log.mark("audit.records");
    for _ in 0..2 {
        let reports: Vec<_> = meters.iter_mut().map(|meter| meter.up(FrameType::Report, &plain())).collect();
        let before = log.durable().position();
        graph.send(1, &reports);
        wait_for("the records", || (log.durable().position() > before).then_some(()));
        let written = log.durable().position();
        wait_for("their end", || (log.first().unwrap() > written).then_some(()));
    }
    drop(graph.drain());
}

/// What the store has of replaced keys in a partition: when, and whether it is marked.
fn old(graph: &Graph, partition: u16) -> Vec<(u64, bool)> {
    let all = lent::<Store>(graph).old_deks();
    let here = all.iter().filter(|old| old.partition == partition);
    here.map(|old| (old.replaced, old.mark.is_some())).collect()
}

#[test]
fn all_follows_a_key_that_is_replaced_and_the_old_one_goes_when_everybody_has_passed() {
    let (site, _, mut meters) = site(4);
    let mut desk = Desk::default();
    let graph = start(&site, 2);
    all_well("first", &graph, &mut desk, &mut meters);
    let new = register(&graph, &mut desk, &mut meters[0], 99);
    let key = desk.key(&graph, GID, Epoch(1), 1);
    desk.wait(&graph);
    let (partition, others) = (new.partition(), GID.0 as u16 & 1023);
    // So old that the key store replaces it at once, while the shards go on.
    for partition in [partition, others] {
        lent::<Store>(&graph).replace_dek(partition, 1).unwrap();
    }
    let replaced = || graph.sum("metergraph_deks_replaced_total", None);
    let other = register(&graph, &mut desk, &mut meters[1], 98);
    wait_for("new keys", || {
        desk.report(&graph, &mut meters);
        desk.hear(&graph, &mut meters);
        (replaced() >= 2).then_some(())
    });
    all_well("new keys", &graph, &mut desk, &mut meters);
    for partition in [partition, others] {
        let old = old(&graph, partition);
        assert!(old.len() == 2 && old[1] == (1, false) && old[0].0 > DAY_S, "{old:?}");
    }
    assert!(new.opens(&lent::<Vault>(&graph)));
    drop(graph.drain());

    // The next start marks the one of long ago; the one of just now may still be on its way somewhere.
    let graph = start(&site, 1);
    wait_for("a mark", || (old(&graph, partition).last() == Some(&(1, true))).then_some(()));
    assert!(matches!(old(&graph, partition)[..], [(_, false), (1, true)]));
    all_well("marked", &graph, &mut desk, &mut meters);
    assert!(new.opens(&lent::<Vault>(&graph)), "it is kept until the checkpoints have passed");
    drop(graph.drain());

    // Checkpoints and cursor have: it goes.
    let graph = start(&site, 2);
    wait_for("the release", || (old(&graph, partition).len() == 1).then_some(()));
    wait_for("the release", || (old(&graph, others).len() == 1).then_some(()));
    let vault = lent::<Vault>(&graph);
    assert!(!new.opens(&vault), "it was sealed under the key that is gone");
    assert!(other.opens(&vault));
    assert!(vault.open_group_key(GID, Epoch(1), &key).is_ok(), "the store has it anew");
    drop(vault);
    all_well("released", &graph, &mut desk, &mut meters);
    drop(graph.drain());

    // Starts with nothing but the new ones.
    for shards in [1, 3] {
        let graph = start(&site, shards);
        all_well("after it", &graph, &mut desk, &mut meters);
        assert_eq!(graph.sum("metergraph_groups", None), 1);
        drop(graph.drain());
    }
    let vault = Store::open(&site.state().join(FOLDER)).unwrap().into_vault();
    assert_eq!(vault.load(&|_| true, &mut |_| {}).unwrap(), 6);
}

#[test]
fn a_head_end_that_is_cut_at_any_step_opens_everything_while_keys_are_replaced_and_released() {
    const STEPS: u64 = 40;
    let (site, files, mut meters) = site(3);
    let mut desk = Desk::default();
    let (mut registered, mut first) = (0, None);
    for step in 0..STEPS {
        let graph = start(&site, 1 + step as usize % 2);
        all_well(&format!("step {step}"), &graph, &mut desk, &mut meters);
        let (store, at) = (lent::<Store>(&graph), step as usize % meters.len());
        let new = Registration::draw(&graph, &meters[at], step as u8 + 100);
        files.stop_after(step);
        // Replaced long enough ago to be marked by the next start, and released by the one after it.
        for partition in [new.partition(), meters[at].sid().partition() as u16] {
            store.replace_dek(partition, now() - 4 * DAY_S).unwrap();
        }
        desk.give(&graph, &new.order());
        let patience = Instant::now() + Duration::from_millis(150);
        while !desk.settle(&graph) && Instant::now() < patience {
            desk.hear(&graph, &mut meters);
        }
        if desk.settle(&graph) {
            meters[at].register(new.sid, Prk::from_octets(*new.prk.expose()));
            registered += 1;
        }
        desk.forget();
        for _ in 0..3 {
            desk.report(&graph, &mut meters);
            desk.hear(&graph, &mut meters);
        }
        // Some lives see the store take in what the journal says, most do not.
        if step % 8 == 7 {
            std::thread::sleep(Duration::from_millis(1200));
        }
        first.get_or_insert(new);
        drop(store);
        graph.kill();
        if step % 3 == 0 { files.kill(step) } else { files.cut(step) }
    }
    assert!((5..STEPS).contains(&registered), "{registered} registrations were durable");
    // Clean lives: what is left is marked and goes.
    let mut left = usize::MAX;
    for life in 0..4 {
        let graph = start(&site, 2);
        all_well(&format!("clean life {life}"), &graph, &mut desk, &mut meters);
        left = lent::<Store>(&graph).old_deks().len();
        drop(graph.drain());
    }
    assert_eq!(left, 0, "old keys stay");
    let vault = Store::open(&site.state().join(FOLDER)).unwrap().into_vault();
    assert!(!first.unwrap().opens(&vault), "the key that sealed it is gone");
    let mut sids = Vec::new();
    vault.load(&|_| true, &mut |stored| sids.push(stored.sid)).unwrap();
    assert!(meters.iter().all(|meter| sids.contains(&meter.sid())));
}

#[test]
fn data_keys_are_rotated_offline_wherever_the_head_end_stopped() {
    for clean in [true, false] {
        let (site, files, mut meters) = site(4);
        let mut desk = Desk::default();
        let graph = start(&site, 2);
        all_well("first", &graph, &mut desk, &mut meters);
        // Behind the checkpoints of the start, on both shards.
        register(&graph, &mut desk, &mut meters[0], 99);
        register(&graph, &mut desk, &mut meters[1], 98);
        desk.key(&graph, GID, Epoch(1), 1);
        all_well("registered", &graph, &mut desk, &mut meters);
        // One that the store erases: nobody can open its record, and nobody needs to.
        let gone = meters.pop().unwrap();
        let unused = Registration::draw(&graph, &gone, 97);
        desk.give(&graph, &unused.order());
        desk.wait(&graph);
        desk.give(&graph, &Order::Revoke { dev: gone.dev(), sid: unused.sid });
        desk.wait(&graph);
        if clean {
            drop(graph.drain())
        } else {
            graph.kill()
        }
        files.cut(7);

        let mut store = Store::open(&site.state().join(FOLDER)).unwrap();
        catch_up(&store, &site.files, &site.state().join("journal")).unwrap();
        store.rotate_deks(&(0..1024).collect::<Vec<u16>>()).unwrap();
        drop(store);
        // Again, with nothing new: a head-end that is quiet.
        let mut store = Store::open(&site.state().join(FOLDER)).unwrap();
        catch_up(&store, &site.files, &site.state().join("journal")).unwrap();
        store.rotate_deks(&(0..1024).collect::<Vec<u16>>()).unwrap();
        assert!(!unused.opens(&Arc::new(store).vault()));
        for shards in [1, 2] {
            let graph = start(&site, shards);
            all_well(&format!("clean {clean}, {shards} shards"), &graph, &mut desk, &mut meters);
            assert_eq!(graph.sum("metergraph_groups", None), 1);
            graph.kill();
            files.kill(3);
        }
    }
}
