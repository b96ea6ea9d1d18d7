//! The key store follows the journal: what it says of keys is known at once, taken into the store, and found
//! again after a restart; numbers are given only when all of it is known; a restored copy seals nothing.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use c1222::ApTitleBuf;
use common::graph::config;
use common::wait_for;
use journal::files::{Files, ForgetfulFiles, OsFiles};
use journal::{Settings, Writer};
use keystore::shipment::Shipment;
use keystore::{Credentials, Directory, FOLDER, NewAssociation, ProfileId, Slots, Standing, Store, Vault};
use metergraph_nodes::journal::{FileLayer, Log};
use metergraph_nodes::key_store::{CURSOR, Fence, KeyStoreKind, catch_up, set_incarnation_mark};
use metergraph_nodes::record::{Association, GroupKey, Issued, Promoted, Proved, Record, Retired, Revoked};
use node::context::{Orders, Wiring};
use node::env::{Services, Wire};
use node::event::EventEdge;
use node::meters::Reading;
use node::{BatchPool, Context, EdgeName, Env, Meters, NodeKind, NodeStatus, Value, WhenFull};
use seal::ids::{Dev, Epoch, Gid, Sid};
use seal::secret::Prk;

const PROFILE: &[u8] = b"name = \"p\"\n";
const DEV: Dev = Dev([7; 8]);

/// A state folder with a store of one lab device, and a journal.
struct Site {
    folder: tempfile::TempDir,
    files: Arc<dyn Files>,
}

impl Site {
    fn new(files: Arc<dyn Files>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FOLDER);
        Store::init(&path, None).unwrap();
        let header = keystore::shipment::HEADER;
        let row = format!("0000000000000001,E,.1.5,p.toml,profile1,00000000,0,{}", "07".repeat(32));
        let shipment = Shipment::read(format!("{header}\n{row}\n").as_bytes());
        let shipment = shipment.unwrap_or_else(|error| panic!("{error}"));
        let mut store = Store::open(&path).unwrap();
        store.import(&shipment, &|_| Some(PROFILE.to_vec()), true).unwrap();
        Self { folder, files }
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    fn start(&self) -> Life {
        self.start_with(|| ())
    }

    /// Starts; `built` is done when the store is open, before the node runs.
    fn start_with(&self, built: impl FnOnce()) -> Life {
        let services = Services::default();
        services.provide("", Arc::new(FileLayer(Arc::clone(&self.files))));
        let log = Arc::new(Log::new(Arc::clone(&self.files), self.journal()));
        let settings = Settings { segment_octets: 4 << 20, ..Settings::default() };
        let writer = Writer::open(log.files(), log.folder(), settings, log.durable()).unwrap();
        services.provide("journal", Arc::clone(&log));
        let wire = Wire { from: "journal".into(), port: "log".into(), to: "keys".into() };
        let meters = Meters::default();
        let env = Env {
            node: "keys".to_owned(),
            instance: 0,
            instances: 1,
            run: 1,
            state: self.folder.path().to_owned(),
            meters: meters.clone(),
            services: services.clone(),
            pool: BatchPool::new(4),
            status: NodeStatus::default(),
            wires: Arc::new(vec![wire]),
            transports: Arc::new(vec![]),
            transport: None,
        };
        let config = config(&KeyStoreKind, [("apply_s", Value::from(1))]);
        let mut worker = KeyStoreKind.build(&config, &env).unwrap_or_else(|error| panic!("{error:?}"));
        built();
        let name = EdgeName {
            from: "keys".to_owned(),
            port: "events".to_owned(),
            from_instance: 0,
            to: "monitor".to_owned(),
            to_instance: 0,
        };
        let events = Arc::new(EventEdge::new(name, 1024, WhenFull::Collapse));
        let orders = Orders::default();
        let wiring =
            Wiring { event_outputs: vec![Arc::clone(&events)], orders: orders.clone(), ..Wiring::default() };
        let thread = std::thread::spawn(move || drop(worker.run(&mut Context::new(wiring))));
        Life { services, log, writer: Some(writer), orders, events, meters, thread: Some(thread) }
    }
}

/// One run of the head-end.
struct Life {
    services: Services,
    log: Arc<Log>,
    writer: Option<Writer>,
    orders: Orders,
    events: Arc<EventEdge>,
    meters: Meters,
    thread: Option<JoinHandle<()>>,
}

impl Life {
    fn lent<T: Send + Sync + 'static>(&self) -> Arc<T> {
        self.services.find("keys").unwrap()
    }

    fn write<R: Record>(&mut self, record: &R) {
        let mut octets = Vec::new();
        record.write(&mut octets);
        self.writer.as_mut().unwrap().append(R::KIND, &octets).unwrap();
    }

    fn commit(&mut self) {
        self.writer.as_mut().unwrap().commit().unwrap();
    }

    /// A registration, durable in the journal.
    fn register(&mut self, sid: Sid, dev: Dev) {
        let (title, prk) = (ApTitleBuf::parse(".9").unwrap(), Prk::from_octets([9; 32]));
        let new = NewAssociation {
            sid,
            dev,
            prk: &prk,
            title: title.as_title(),
            esn: "E9",
            profile: ProfileId::of(PROFILE),
        };
        let sealed = self.lent::<Vault>().seal_association(&new).unwrap();
        self.write(&Association { sid, dev, replaces: None, sealed: &sealed });
        self.commit();
    }

    fn standing(&self, sid: Sid) -> Option<Standing> {
        self.lent::<Directory>().standing(sid)
    }

    fn wait_standing(&self, sid: Sid, standing: Standing) {
        wait_for("a standing", || (self.standing(sid) == Some(standing)).then_some(()));
    }

    /// Waits until the slots are open.
    fn allocate(&self) -> Sid {
        let slots = self.lent::<Slots>();
        wait_for("a slot", || slots.allocate())
    }

    /// The sum of a counter or gauge.
    fn metered(&self, name: &str, label: Option<&str>) -> i64 {
        let all = self.meters.all();
        let fits = all.iter().filter(|meter| {
            let labels = label.is_none_or(|label| meter.labels.iter().any(|(_, value)| value == label));
            meter.name == name && labels
        });
        fits.map(|meter| match &meter.reading {
            Reading::Counter(counter) => counter.get() as i64,
            Reading::Gauge(gauge) => gauge.get(),
        })
        .sum()
    }

    fn end(&mut self, drain: bool) {
        if drain {
            self.writer.take().unwrap().close().unwrap();
            self.orders.drain();
        } else {
            self.orders.stop();
        }
        self.thread.take().unwrap().join().unwrap();
    }
}

/// Epoch and standing of an association in the store.
fn stored(state: &Path, sid: Sid) -> Option<(u16, Standing)> {
    let mut found = None;
    let vault = Store::open(&state.join(FOLDER)).unwrap().into_vault();
    let count = vault.load(&|_| true, &mut |stored| {
        if stored.sid == sid {
            found = Some((stored.epoch.0, stored.standing));
        }
    });
    count.unwrap();
    found
}

#[test]
fn what_the_journal_says_is_taken_in_at_a_drain() {
    let site = Site::new(Arc::new(OsFiles));
    let mut life = site.start();
    let sid = life.allocate();
    assert_eq!(sid, Sid(1));
    life.register(sid, DEV);
    life.wait_standing(sid, Standing::Fresh);
    life.write(&Issued { sid, epoch: Epoch(2), campaign: 1 });
    life.write(&Proved { sid, dev: DEV, replaces: None });
    life.write(&Promoted { sid, epoch: Epoch(1), at: 5 });
    let vault = life.lent::<Vault>();
    let gid = Gid(0x8000_0001);
    let sealed = vault.draw_group_key(gid, Epoch(1)).unwrap();
    life.write(&GroupKey { gid, epoch: Epoch(1), activate_at: 0, sealed: &sealed });
    life.commit();
    life.wait_standing(sid, Standing::Proved);
    assert_eq!(life.lent::<Directory>().sid(DEV), Some(sid));
    let log = Arc::clone(&life.log);
    drop(vault);
    life.end(true);
    drop(life);
    let cursor = log.cursors().load(CURSOR).unwrap().unwrap();
    assert!(log.reader(cursor.position).next().unwrap().is_none(), "nothing is left to read");
    assert_eq!(stored(site.folder.path(), sid), Some((1, Standing::Proved)));
    let vault = Store::open(&site.folder.path().join(FOLDER)).unwrap().into_vault();
    assert_eq!(vault.load_groups(&|_| true, &mut |_| {}).unwrap(), 1);
}

#[test]
fn a_start_reads_the_journal_before_it_gives_numbers() {
    // Most times the store hears of nothing before the cut: it takes in after a second.
    for round in 0..6 {
        let files = ForgetfulFiles::default();
        let site = Site::new(Arc::new(files.clone()));
        let mut life = site.start();
        let sid = life.allocate();
        life.register(sid, DEV);
        life.write(&Proved { sid, dev: DEV, replaces: None });
        life.commit();
        if round % 2 == 0 {
            life.wait_standing(sid, Standing::Proved);
        }
        life.end(false);
        drop(life);
        files.cut(round);
        let mut life = site.start();
        assert_eq!(life.allocate(), Sid(2), "round {round}");
        assert_eq!((life.standing(sid), life.lent::<Directory>().devices()), (Some(Standing::Proved), 2));
        life.end(true);
        drop(life);
        assert_eq!(stored(site.folder.path(), sid), Some((0, Standing::Proved)));
    }
}

#[test]
fn a_replaced_and_a_revoked_association_are_known_as_such() {
    let site = Site::new(Arc::new(OsFiles));
    let mut life = site.start();
    let (old, new) = (life.allocate(), life.allocate());
    life.register(old, DEV);
    life.register(new, DEV);
    life.write(&Proved { sid: new, dev: DEV, replaces: Some(old) });
    life.write(&Retired { sid: old, until: u64::MAX });
    let lab = Sid(0);
    let dev = life.lent::<Directory>().dev(lab).unwrap();
    life.write(&Revoked { dev, sid: lab });
    life.commit();
    life.wait_standing(lab, Standing::Revoked);
    let directory = life.lent::<Directory>();
    assert_eq!((directory.standing(old), directory.sid(DEV)), (Some(Standing::Retired), Some(new)));
    assert_eq!((directory.sid(dev), directory.devices()), (None, 1));
    assert!(life.lent::<Credentials>().find(dev).unwrap().is_none(), "it came in a shipment");
    drop(directory);
    life.end(true);
    drop(life);
    assert_eq!(stored(site.folder.path(), lab), None);
    assert_eq!(stored(site.folder.path(), old), Some((0, Standing::Retired)));
    assert_eq!(stored(site.folder.path(), new), Some((0, Standing::Proved)));
}

#[test]
fn what_makes_no_sense_is_told_and_passed() {
    let site = Site::new(Arc::new(OsFiles));
    let mut life = site.start();
    let sid = life.allocate();
    life.write(&Association { sid, dev: DEV, replaces: None, sealed: &[7; 90] });
    life.writer.as_mut().unwrap().append(Promoted::KIND, &[1, 2, 3]).unwrap();
    life.write(&Promoted { sid: Sid(77), epoch: Epoch(1), at: 5 });
    life.commit();
    let mut told = 0;
    wait_for("three events", || {
        while let Some(event) = life.events.take() {
            if event.reason.0 != "software-keys" {
                assert_eq!(event.reason.0, "key-record");
                told += event.count;
            }
        }
        (told >= 3).then_some(())
    });
    life.register(sid, DEV);
    life.wait_standing(sid, Standing::Fresh);
    life.end(true);
}

#[test]
fn a_restored_copy_seals_nothing_and_says_so() {
    let site = Site::new(Arc::new(OsFiles));
    let mut life = site.start();
    let fence = life.lent::<Fence>();
    wait_for("an open fence", || fence.check().ok());
    assert_eq!(fence.incarnation(), Some(1));
    drop(fence);
    life.end(true);
    drop(life);
    // The journal of before the start comes back.
    set_incarnation_mark(&OsFiles, &site.journal(), 0).unwrap();
    let mut life = site.start();
    wait_for("an event", || life.events.take().filter(|event| event.reason.0 == "SEC-FENCE"));
    assert_eq!(life.lent::<Fence>().check().unwrap_err().code(), "SEC-FENCE");
    // Reading goes on.
    let sid = life.allocate();
    life.register(sid, DEV);
    life.wait_standing(sid, Standing::Fresh);
    life.end(true);
}

#[test]
fn a_token_that_comes_late_opens_the_fence() {
    let site = Site::new(Arc::new(OsFiles));
    let token = site.folder.path().join(FOLDER).join("kek.incarnation");
    let away = token.with_extension("away");
    let mut life = site.start_with(|| std::fs::rename(&token, &away).unwrap());
    let fence = life.lent::<Fence>();
    wait_for("a try", || fence.check().err().filter(|error| error.code() == "SEC-HSM"));
    wait_for("an event", || life.events.take().filter(|event| event.reason.0 == "SEC-HSM"));
    // Numbers are given, and the store follows the journal.
    let sid = life.allocate();
    life.register(sid, DEV);
    life.wait_standing(sid, Standing::Fresh);
    assert_eq!((fence.incarnation(), life.metered("metergraph_fence", Some("waiting"))), (None, 1));
    std::fs::rename(&away, &token).unwrap();
    wait_for("an open fence", || fence.check().ok());
    wait_for("an event", || life.events.take().filter(|event| event.reason.0 == "fence-open"));
    assert_eq!(fence.incarnation(), Some(1));
    assert!(life.metered("metergraph_fence_tries_failed_total", Some("SEC-HSM")) > 0);
    wait_for("a gauge", || (life.metered("metergraph_fence", Some("open")) == 1).then_some(()));
    drop(fence);
    life.end(true);
    drop(life);
    // One that comes late and was raised by a copy meanwhile stays refused.
    let mut life = site.start_with(|| std::fs::rename(&token, &away).unwrap());
    let fence = life.lent::<Fence>();
    wait_for("a try", || fence.check().err().filter(|error| error.code() == "SEC-HSM"));
    let raised = std::fs::read_to_string(&away).unwrap().replacen("0000000000000001", "0000000000000002", 1);
    std::fs::write(&away, raised).unwrap();
    std::fs::rename(&away, &token).unwrap();
    wait_for("an event", || life.events.take().filter(|event| event.reason.0 == "SEC-FENCE"));
    assert_eq!(fence.check().unwrap_err().code(), "SEC-FENCE");
    assert_eq!(life.metered("metergraph_fence", Some("refused")), 1);
    drop(fence);
    life.end(true);
}

#[test]
fn data_keys_are_replaced_when_nobody_needs_the_old_ones() {
    let site = Site::new(Arc::new(OsFiles));
    let mut life = site.start();
    let sid = life.allocate();
    life.register(sid, DEV);
    life.end(false);
    drop(life);
    let path = site.folder.path().join(FOLDER);
    let mut store = Store::open(&path).unwrap();
    catch_up(&store, &site.files, &site.journal()).unwrap();
    store.rotate_deks(&[1]).unwrap();
    drop(store);
    assert_eq!(stored(site.folder.path(), sid), Some((0, Standing::Fresh)));
    // Also where the checkpoint of a shard has not passed the record: the store has it.
    let mut life = site.start();
    let checkpoint = journal::CheckpointWriter::begin(
        Arc::clone(&site.files),
        &site.journal(),
        "windows-0-of-1",
        life.log.durable().position(),
    );
    checkpoint.unwrap().finish().unwrap();
    let other = life.allocate();
    life.register(other, Dev([8; 8]));
    life.end(false);
    drop(life);
    let mut store = Store::open(&path).unwrap();
    catch_up(&store, &site.files, &site.journal()).unwrap();
    store.rotate_deks(&[1, 2]).unwrap();
    drop(store);
    assert_eq!(stored(site.folder.path(), other), Some((0, Standing::Fresh)));
    // Nothing of it is read again.
    let mut life = site.start();
    life.wait_standing(other, Standing::Fresh);
    life.end(true);
    while let Some(event) = life.events.take() {
        assert_eq!(event.reason.0, "software-keys", "{:?}", event.detail);
    }
}

#[test]
fn a_data_key_that_is_overdue_is_replaced_while_shards_seal_under_it() {
    let site = Site::new(Arc::new(OsFiles));
    let path = site.folder.path().join(FOLDER);
    let (first, other) = (Sid(1), Sid(1 + 1024));
    // Nobody replaced it for long.
    Store::open(&path).unwrap().replace_dek(1, 1).unwrap();
    let mut life = site.start();
    assert_eq!(life.allocate(), first);
    let vault = life.lent::<Vault>();
    let gid = Gid(0x8000_0001);
    let before = vault.draw_group_key(gid, Epoch(1)).unwrap();
    life.register(first, DEV);
    wait_for("a new key", || (life.metered("metergraph_deks_replaced_total", None) > 0).then_some(()));
    let store = life.lent::<Store>();
    assert!(store.dek_dates()[1] > 1_000_000_000 && store.old_deks().iter().all(|old| old.partition == 1));
    wait_for("its age", || (life.metered("metergraph_dek_age_days", None) == 0).then_some(()));
    // Of before and after, known at once.
    life.register(other, Dev([8; 8]));
    life.write(&GroupKey { gid, epoch: Epoch(1), activate_at: 0, sealed: &before });
    life.commit();
    life.wait_standing(first, Standing::Fresh);
    life.wait_standing(other, Standing::Fresh);
    assert!(vault.open_group_key(gid, Epoch(1), &before).is_ok());
    drop((store, vault));
    // Cut, and on: everything is there, and nothing of it was odd.
    life.end(false);
    drop(life);
    let mut life = site.start();
    life.wait_standing(other, Standing::Fresh);
    life.end(true);
    while let Some(event) = life.events.take() {
        assert_eq!(event.reason.0, "software-keys", "{:?}", event.detail);
    }
    drop(life);
    assert_eq!(stored(site.folder.path(), first), Some((0, Standing::Fresh)));
    assert_eq!(stored(site.folder.path(), other), Some((0, Standing::Fresh)));
    let vault = Store::open(&path).unwrap().into_vault();
    assert_eq!(vault.load_groups(&|_| true, &mut |_| {}).unwrap(), 1);
}

#[test]
fn keys_that_are_not_protected_are_told_once() {
    let site = Site::new(Arc::new(OsFiles));
    let mut life = site.start();
    life.allocate();
    life.end(true);
    let mut told = Vec::new();
    while let Some(event) = life.events.take() {
        told.push((event.reason.0, event.count));
    }
    let locked = life.lent::<Store>().is_locked();
    let expected = [("software-keys", 1), ("keys-not-locked", 1)];
    assert_eq!(told, expected.get(..if locked { 1 } else { 2 }).unwrap());
    let gauge = |what| life.metered("metergraph_key_protection", Some(what));
    assert_eq!((gauge("tokens"), gauge("memory")), (0, i64::from(locked)));
}
