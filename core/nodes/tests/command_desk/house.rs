//! A desk between a journal, a signer and a shard that the test plays.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use commands::approval::prehash;
use commands::audit::AuditEntry;
use commands::desk::Heard;
use commands::front::{CommandId, CommandView, Front, OrderKind, Page, Part, Roles, Submission, TableRead};
use commands::intent::SigningRequest;
use commands::policy::Policy;
use journal::Writer;
use journal::files::ForgetfulFiles;
use keystore::shipment::Shipment;
use keystore::{Directory, Store};
use metergraph_nodes::audit_log::{ABOUT, AuditKey, AuditLogKind};
use metergraph_nodes::command_desk::CommandDeskKind;
use metergraph_nodes::journal::Log;
use metergraph_nodes::order::Order;
use metergraph_nodes::record::{self, DeskEntry, GroupKey, Origin, Record, Report, Signed};
use node::context::{Orders, Output, Wiring};
use node::env::{Services, Wire};
use node::meters::Reading;
use node::{
    Batch, BatchPool, Context, Edge, EdgeName, Env, Meters, NodeError, NodeKind, NodeStatus, Value, WhenFull,
};
use seal::at_rest::Dek;
use seal::command::{Addressee, Command, SignedCommand, sign};
use seal::ids::{Dev, Epoch, Gid, Sid, System};
use seal::secret::Key256;
use seal::signature::{Signer, SigningKey};

use super::common::device::PROFILE;
use super::common::egress::SETTINGS;
use super::common::graph::config;
use super::common::wait_for;

pub const SYSTEM: System = System([0x5a; 8]);

pub fn dev(number: u8) -> Dev {
    Dev([2, 0, 0, 0x4d, 0x47, 0, 0, number])
}

fn key(number: u8) -> SigningKey {
    SigningKey::from_octets(&[number; 32]).unwrap()
}

/// One that names ada and bob, and lets ada ask too.
fn policy() -> Policy {
    let mut text = "policy = 1\nversion = 1\n[roles]\n[requesters]\n".to_owned();
    for (number, name) in [(1, "ada"), (2, "bob")] {
        let [_, xy @ ..] = key(number).verifying_key().uncompressed();
        let (x, y) = xy.split_at(32);
        let hex = seal::hex::Hex;
        text += &format!("[[approver]]\nname = \"{name}\"\nx = \"{}\"\ny = \"{}\"\n", hex(x), hex(y));
    }
    Policy::read(&text).unwrap()
}

/// The approval of ada, 1, or bob, 2; of anybody else by another number.
pub fn approval(digest: &[u8; 32], number: u8) -> [u8; 64] {
    let Ok(signature) = key(number).sign(&prehash(digest));
    signature
}

/// What a shard was told to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Send(Dev, Vec<u8>),
    Broadcast(Gid, Vec<u8>),
    Deliver(Dev, Gid, Epoch),
    Issue(u32),
    Revoke(Dev),
}

/// The neighbours, played by a thread of their own.
struct Neighbours {
    writer: Writer,
    records: Arc<Edge>,
    intents: Arc<Edge>,
    orders: Arc<Edge>,
    /// From a real audit log.
    entries: Arc<Edge>,
    directory: Arc<Directory>,
    ctr: u32,
    /// Sealed, as the journal has them.
    audited: Vec<Vec<u8>>,
    signed: Vec<CommandId>,
    told: Vec<Told>,
    heard: Vec<DeskEntry>,
    /// Requests that came to the signer.
    asked: usize,
}

/// What goes wrong, or waits.
#[derive(Default)]
pub struct Faults {
    /// The journal takes nothing yet.
    pub journal_waits: AtomicBool,
    /// The journal cannot be written.
    pub journal_fails: AtomicBool,
    /// The journal takes no audit entries.
    pub audit_fails: AtomicBool,
    /// No shard takes orders.
    pub shards_wait: AtomicBool,
    /// The signer does not answer.
    pub signer_sleeps: AtomicBool,
    done: AtomicBool,
}

pub struct House {
    _state: tempfile::TempDir,
    pub faults: Arc<Faults>,
    neighbours: Arc<Mutex<Neighbours>>,
    pump: Option<JoinHandle<()>>,
    pub services: Services,
    meters: Meters,
    orders: Orders,
    /// What is set otherwise than in most tests.
    settings: Vec<(&'static str, Value)>,
    thread: Option<JoinHandle<Result<(), NodeError>>>,
    audit: Option<JoinHandle<Result<(), NodeError>>>,
}

fn audit_key() -> Dek {
    Dek::new(&Key256::from_octets([3; 32]))
}

fn edge(port: &str, to: &str) -> Arc<Edge> {
    let name =
        EdgeName { from: "desk".into(), port: port.into(), from_instance: 0, to: to.into(), to_instance: 0 };
    Arc::new(Edge::new(name, 16, WhenFull::Wait))
}

impl House {
    /// A house with so many registered devices.
    pub fn open(devices: u8) -> Self {
        Self::open_with(devices, vec![])
    }

    /// The same with these settings of the desk.
    pub fn open_with(devices: u8, settings: Vec<(&'static str, Value)>) -> Self {
        let house = Self::without_policy(devices, settings);
        house.services.provide("signer", Arc::new(policy()));
        house
    }

    /// The same with a signer that has no policy.
    pub fn without_policy(devices: u8, settings: Vec<(&'static str, Value)>) -> Self {
        let state = tempfile::tempdir().unwrap();
        let path = state.path().join(keystore::FOLDER);
        let mut text = format!("{}\n", keystore::shipment::HEADER);
        for slot in 0..devices {
            let (dev, secret) = (dev(slot), format!("{:02x}", slot + 1).repeat(32));
            text += &format!("{dev},SN{slot},.75.{},{PROFILE},profile1,{slot:08x},0,{secret}\n", slot + 1);
        }
        let shipment = Shipment::read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        Store::init(&path, Some(SYSTEM)).unwrap();
        let mut store = Store::open(&path).unwrap();
        store.import(&shipment, &|path| std::fs::read(path).ok(), true).unwrap();
        let store = Arc::new(store);
        let directory = Arc::new(store.directory().unwrap());
        let log = Arc::new(Log::new(Arc::new(ForgetfulFiles::default()), "journal".into()));
        let writer = Writer::open(log.files(), log.folder(), SETTINGS, log.durable()).unwrap();
        let services = Services::default();
        services.provide("journal", Arc::clone(&log));
        services.provide("keys", Arc::clone(&directory));
        services.provide("keys", Arc::new(store.credentials()));
        services.provide("keys", Arc::new(store.group_key_source()));
        services.provide("keys", Arc::new(AuditKey(audit_key())));
        let neighbours = Arc::new(Mutex::new(Neighbours {
            writer,
            records: edge("records", "journal"),
            intents: edge("intents", "signer"),
            orders: edge("orders", "decrypt"),
            entries: edge("records", "journal"),
            directory,
            ctr: 0,
            audited: Vec::new(),
            signed: Vec::new(),
            told: Vec::new(),
            heard: Vec::new(),
            asked: 0,
        }));
        let faults = Arc::new(Faults::default());
        let pump = {
            let (neighbours, faults) = (Arc::clone(&neighbours), Arc::clone(&faults));
            std::thread::spawn(move || {
                while !faults.done.load(Ordering::SeqCst) {
                    neighbours.lock().unwrap().serve(&faults);
                    std::thread::sleep(Duration::from_millis(1));
                }
            })
        };
        let (meters, orders) = (Meters::default(), Orders::default());
        let mut house = Self {
            _state: state,
            faults,
            neighbours,
            pump: Some(pump),
            services,
            meters,
            orders,
            settings,
            thread: None,
            audit: None,
        };
        house.start();
        house
    }

    fn start(&mut self) {
        let wire = |port: &str, to: &str| Wire { from: "desk".into(), port: port.into(), to: to.into() };
        let status = NodeStatus::default();
        let env = Env {
            node: "desk".to_owned(),
            instance: 0,
            instances: 1,
            run: 1,
            state: "state".into(),
            meters: self.meters.clone(),
            services: self.services.clone(),
            pool: BatchPool::new(16),
            status: status.clone(),
            wires: Arc::new(vec![
                wire("records", "journal"),
                wire("intents", "signer"),
                wire("orders", "decrypt"),
                wire("audit", "audit"),
            ]),
            transports: Arc::default(),
            transport: None,
        };
        let settings = [("grace_s", 0_i64), ("repeat_s", 1), ("group_lead_s", 0)];
        let settings = settings.map(|(key, value)| (key, Value::Integer(value)));
        let settings = settings.into_iter().chain(self.settings.iter().cloned());
        let mut worker = CommandDeskKind.build(&config(&CommandDeskKind, settings), &env).unwrap();
        let wires = vec![Wire { from: "audit".into(), port: "records".into(), to: "journal".into() }];
        let env = Env { node: "audit".to_owned(), wires: Arc::new(wires), ..env };
        let keys = [("keys", Value::Text("keys".to_owned()))];
        let mut audit = AuditLogKind.build(&config(&AuditLogKind, keys), &env).unwrap();
        let told = edge("audit", "audit");
        let mut neighbours = self.neighbours.lock().unwrap();
        neighbours.records = edge("records", "journal");
        neighbours.intents = edge("intents", "signer");
        neighbours.orders = edge("orders", "decrypt");
        neighbours.entries = edge("records", "journal");
        self.orders = Orders::default();
        let output =
            |port: &str, edge: &Arc<Edge>| Output { port: port.into(), edges: vec![Arc::clone(edge)] };
        let wiring = Wiring {
            inputs: vec![],
            outputs: vec![
                output("records", &neighbours.records),
                output("intents", &neighbours.intents),
                output("orders", &neighbours.orders),
                output("audit", &told),
            ],
            orders: self.orders.clone(),
            status,
            ..Wiring::default()
        };
        let audit_log = Wiring {
            inputs: vec![told],
            outputs: vec![output("records", &neighbours.entries)],
            orders: self.orders.clone(),
            ..Wiring::default()
        };
        self.audit = Some(std::thread::spawn(move || audit.run(&mut Context::new(audit_log))));
        self.thread = Some(std::thread::spawn(move || worker.run(&mut Context::new(wiring))));
    }

    pub fn front(&self) -> Arc<Front> {
        self.services.find("desk").unwrap()
    }

    /// Cut: what is not durable is gone; then it begins anew.
    pub fn cut(&mut self) {
        self.orders.stop();
        assert!(matches!(self.thread.take().unwrap().join().unwrap(), Err(NodeError::Stopped(_))));
        drop(self.audit.take().unwrap().join());
        self.start();
    }

    /// Ends as when the head-end is stopped, and begins anew.
    pub fn restart(&mut self) {
        self.orders.drain();
        assert!(self.thread.take().unwrap().join().unwrap().is_ok());
        self.orders.stop();
        drop(self.audit.take().unwrap().join());
        self.start();
    }

    pub fn told(&self) -> Vec<Told> {
        self.neighbours.lock().unwrap().told.clone()
    }

    /// What the audit log has, opened.
    pub fn audited(&self) -> Vec<AuditEntry> {
        let sealed = self.neighbours.lock().unwrap().audited.clone();
        let open =
            |mut sealed: Vec<u8>| AuditEntry::read(audit_key().open(ABOUT, &mut sealed).unwrap()).unwrap();
        sealed.into_iter().map(open).collect()
    }

    pub fn asked(&self) -> usize {
        self.neighbours.lock().unwrap().asked
    }

    /// What the desk told itself.
    pub fn heard(&self) -> Vec<Heard> {
        self.neighbours.lock().unwrap().heard.iter().map(|entry| entry.heard.clone()).collect()
    }

    /// The same with its times.
    pub fn entries(&self) -> Vec<DeskEntry> {
        self.neighbours.lock().unwrap().heard.clone()
    }

    /// Something that another node writes to the journal.
    pub fn record<R: Record>(&self, record: &R) {
        self.neighbours.lock().unwrap().record(record);
    }

    /// Something that the desk told itself in an earlier life.
    pub fn told_before(&self, entry: &DeskEntry) {
        let mut batch = Batch::default();
        entry.push(&mut batch);
        self.neighbours.lock().unwrap().commit(&batch);
    }

    pub fn sid(&self, dev: Dev) -> Sid {
        self.neighbours.lock().unwrap().directory.sid(dev).unwrap()
    }

    /// Waits for the signed octets that go to a device.
    pub fn sent(&self, to: Dev) -> Vec<u8> {
        let to_it = |told: Told| matches!(&told, Told::Send(dev, _) if *dev == to).then_some(told);
        wait_for("a command to be sent", || match self.told().into_iter().rev().find_map(to_it)? {
            Told::Send(_, signed) => Some(signed),
            _ => None,
        })
    }

    /// An end device answers a signed command.
    pub fn answer(&self, from: Dev, signed: &[u8], kind: u8, result: u8) {
        let Command { skid, ctr, .. } = SignedCommand::read(signed).unwrap().command;
        let item = [&[1, skid, kind][..], &ctr.to_be_bytes(), &[result]].concat();
        self.report(from, &item);
    }

    /// Items of type 5 as the journal has them.
    pub fn report(&self, from: Dev, items: &[u8]) {
        self.report_in(Epoch(0), from, items);
    }

    /// The same in this epoch.
    pub fn report_in(&self, epoch: Epoch, from: Dev, items: &[u8]) {
        let neighbours = &mut *self.neighbours.lock().unwrap();
        let sid = neighbours.directory.sid(from).unwrap();
        let received = node::event::unix_ns();
        let report = Report { sid, dev: from, epoch, origin: Origin::Control, seq: 0, iv: 0, received };
        neighbours.append(record::REPORT, &[&report.head()[..], items].concat());
    }

    /// Waits for the end of a command.
    pub fn end(&self, id: CommandId) -> CommandView {
        let front = self.front();
        wait_for("the end of a command", || {
            front.command(id, Page { skip: 0, count: 9 }).ok().filter(|view| view.outcome.is_some())
        })
    }

    /// The sum of a counter over its labels.
    pub fn sum(&self, name: &str) -> u64 {
        self.sum_of(name, "")
    }

    /// The same over those with this value of some label; all with none.
    pub fn sum_of(&self, name: &str, value: &str) -> u64 {
        let meters = self.meters.all().into_iter().filter(|meter| meter.name == name);
        let meters =
            meters.filter(|meter| value.is_empty() || meter.labels.iter().any(|(_, of)| of == value));
        meters
            .map(|meter| match meter.reading {
                Reading::Counter(counter) => counter.get(),
                Reading::Gauge(gauge) => u64::try_from(gauge.get()).unwrap(),
            })
            .sum()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.orders.stop();
        let threads = self.thread.take().into_iter().chain(self.audit.take());
        threads.for_each(|thread| drop(thread.join()));
        self.faults.done.store(true, Ordering::SeqCst);
        self.pump.take().into_iter().for_each(|pump| drop(pump.join()));
    }
}

impl Neighbours {
    fn append(&mut self, kind: u8, octets: &[u8]) {
        self.writer.append(kind, octets).unwrap();
        self.writer.commit().unwrap();
    }

    fn serve(&mut self, faults: &Faults) {
        let is = |fault: &AtomicBool| fault.load(Ordering::SeqCst);
        if !is(&faults.journal_waits)
            && let Some((number, batch)) = self.records.take()
        {
            if is(&faults.journal_fails) {
                self.records.fail(number);
            } else {
                self.commit(&batch);
            }
            self.records.settle(number);
        }
        if !is(&faults.signer_sleeps)
            && let Some((number, batch)) = self.intents.take()
        {
            for frame in &batch.frames {
                self.sign(batch.octets(frame).unwrap());
            }
            self.intents.settle(number);
        }
        if let Some((number, batch)) = self.entries.take() {
            if is(&faults.audit_fails) {
                self.entries.fail(number);
            } else {
                for frame in &batch.frames {
                    assert_eq!(record::kind_of(frame), record::AUDIT);
                    let sealed = batch.octets(frame).unwrap().to_vec();
                    self.append(record::AUDIT, &sealed);
                    self.audited.push(sealed);
                }
            }
            self.entries.settle(number);
        }
        if !is(&faults.shards_wait)
            && let Some((number, batch)) = self.orders.take()
        {
            for frame in &batch.frames {
                self.order(Order::read(frame, batch.octets(frame).unwrap()).unwrap());
            }
            self.orders.settle(number);
        }
    }

    fn commit(&mut self, batch: &Batch) {
        for frame in &batch.frames {
            let (kind, octets) = (record::kind_of(frame), batch.octets(frame).unwrap());
            let entry = DeskEntry::read(octets).unwrap();
            let mut again = Batch::default();
            entry.push(&mut again);
            assert_eq!(record::kind_of(&again.frames[0]), kind);
            self.heard.push(entry);
            self.writer.append(kind, octets).unwrap();
        }
        self.writer.commit().unwrap();
    }

    /// An id signs once, and only what is durable comes here.
    fn sign(&mut self, octets: &[u8]) {
        self.asked += 1;
        let SigningRequest { intent, approvals } = SigningRequest::read(octets).unwrap();
        let durable =
            |entry: &DeskEntry| matches!(&entry.heard, Heard::Taken(taken) if taken.id == intent.id);
        assert!(self.heard.iter().any(durable), "an intent that is not durable came to the signer");
        if intent.class.octet() == 3 && matches!(intent.addressee, Addressee::Group(_)) {
            assert!(approvals.len() >= 2);
        }
        if self.signed.contains(&intent.id) {
            return;
        }
        self.signed.push(intent.id);
        self.ctr += 1;
        let command = Command {
            skid: intent.skid,
            class: intent.class.octet(),
            ctr: self.ctr,
            nbf: intent.nbf,
            ttl: intent.ttl,
            body: &intent.body,
        };
        let key = SigningKey::from_octets(&[5; 32]).unwrap();
        let Ok(octets) = sign(command.octets().unwrap(), SYSTEM, intent.addressee, &key);
        self.record(&Signed { id: intent.id, octets: &octets });
    }

    fn record<R: Record>(&mut self, record: &R) {
        let mut octets = Vec::new();
        record.write(&mut octets);
        self.append(R::KIND, &octets);
    }

    fn order(&mut self, order: Order<'_>) {
        let dev = |sid| self.directory.dev(sid).unwrap();
        let told = match order {
            Order::Send { sid, signed } => Told::Send(dev(sid), signed.to_vec()),
            Order::Broadcast { gid, signed } => Told::Broadcast(gid, signed.to_vec()),
            Order::Deliver { sid, gid, epoch, .. } => Told::Deliver(dev(sid), gid, epoch),
            Order::Issue { campaign, .. } => Told::Issue(campaign),
            Order::Revoke { dev, sid } => {
                self.record(&record::Revoked { dev, sid });
                Told::Revoke(dev)
            }
            Order::GroupKey { gid, epoch, activate_at, sealed } => {
                return self.record(&GroupKey { gid, epoch, activate_at, sealed });
            }
            other => panic!("{other:?}"),
        };
        self.told.push(told);
    }
}

/// Somebody who may everything wants ST23 read.
pub fn read(request_id: &str, to: Addressee) -> Submission {
    let part = Part::Whole;
    Submission {
        request_id: request_id.to_owned(),
        addressee: to,
        order: OrderKind::ReadTables(vec![TableRead { table: c1222::TableId::standard(23), part }]),
        nbf: None,
        ttl_min: 60,
        requester: "alice".to_owned(),
        roles: Roles(0xf),
    }
}
