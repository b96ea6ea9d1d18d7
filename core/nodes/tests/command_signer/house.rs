//! A signer between a desk, a journal and an audit log that the test plays.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use commands::approval::{Approval, prehash};
use commands::audit::AuditEntry;
use commands::code::SignRefusal;
use commands::front::CommandId;
use commands::intent::{Intent, SigningRequest};
use journal::Writer;
use journal::files::ForgetfulFiles;
use keystore::ProfileId;
use metergraph_nodes::command_signer::{CommandSignerKind, Lent, Means};
use metergraph_nodes::journal::Log;
use metergraph_nodes::record::{self, Ctr, Origin, Refused, Report, Signed};
use node::context::{Orders, Output, Wiring};
use node::env::{Services, Wire};
use node::event::EventEdge;
use node::{
    Batch, BatchPool, Context, Edge, EdgeName, Env, Frame, Meters, NodeError, NodeKind, NodeStatus, Value,
    WhenFull,
};
use seal::command::{Addressee, Class, SignedCommand};
use seal::ids::{Dev, Epoch, Sid, System};
use seal::signature::{SIGNATURE_LEN, Signer, SigningKey, sha256};

use super::common::egress::SETTINGS;
use super::common::graph::config;
use super::common::wait_for;

pub const SYSTEM: System = System([1; 8]);
pub const CLASSIC: Dev = Dev([7; 8]);
pub const NOW: u64 = 1_800_000_000;
/// Reads ST1.
pub const READ: [u8; 5] = [0x80, 3, 0x30, 0, 1];
/// MP1 by ST7.
pub const SWITCH: [u8; 11] = [0x80, 9, 0x40, 0, 7, 0, 3, 1, 8, 0, 0xf7];

const PROFILE: &str = "device_profile = 1\nname = 'x'\n[classes]\nread = ['ST1']\nprocedure = { MP1 = 3 }\n";

/// Keys by number: 1 to 3 approvers, 5 the signer, 9 root.
pub fn key(number: u8) -> SigningKey {
    SigningKey::from_octets(&[number; 32]).unwrap()
}

pub fn dev(number: u8) -> Dev {
    Dev([number, 0, 0, 0, 0, 0, 0, 0])
}

pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Key store, fence, token and clock.
pub struct Keys {
    pub fenced: AtomicBool,
    pub unplugged: AtomicBool,
    pub signed: AtomicUsize,
    pub now: AtomicU64,
}

impl Means for Keys {
    fn system(&self) -> System {
        SYSTEM
    }

    fn device(&self, dev: Dev) -> Option<(ProfileId, bool)> {
        (dev.0[0] < 100).then(|| (ProfileId::of(PROFILE.as_bytes()), dev == CLASSIC))
    }

    fn profiles(&self) -> Vec<(ProfileId, Arc<str>)> {
        vec![(ProfileId::of(PROFILE.as_bytes()), PROFILE.into())]
    }

    fn fence(&self) -> Result<(), SignRefusal> {
        if self.fenced.load(Ordering::SeqCst) { Err(SignRefusal::Fence) } else { Ok(()) }
    }

    fn sign(&self, digest: &[u8; 32]) -> Result<[u8; SIGNATURE_LEN], String> {
        if self.unplugged.load(Ordering::SeqCst) {
            return Err("no token in its slot".to_owned());
        }
        self.signed.fetch_add(1, Ordering::SeqCst);
        let Ok(signature) = key(5).sign(digest);
        Ok(signature)
    }

    fn now_ms(&self) -> u64 {
        self.now.load(Ordering::SeqCst) * 1000
    }

    /// Both stand still.
    fn running_ms(&self) -> u64 {
        0
    }
}

pub fn intent(id: u8, addressee: Addressee, class: Class, body: &[u8]) -> Intent {
    Intent {
        id: CommandId([id; 16]),
        system: SYSTEM,
        skid: 1,
        class,
        addressee,
        membership: 0,
        body: body.to_vec(),
        nbf: NOW as u32 + u32::from(id),
        ttl: 60,
        requester: "alice".to_owned(),
    }
}

pub fn read(id: u8, number: u8) -> Intent {
    intent(id, Addressee::Device(dev(number)), Class::Read, &READ)
}

pub fn approval(intent: &Intent, approver: &str, number: u8) -> Approval {
    let Ok(signature) = key(number).sign(&prehash(&intent.digest()));
    Approval { approver: approver.to_owned(), signature }
}

pub fn policy(version: u64) -> String {
    let mut text = format!(
        "policy = 1\nversion = {version}\n[roles]\nall = [0, 1, 2, 3, 4, 5]\n[requesters]\nalice = [\"all\"]\n"
    );
    for (number, name) in [(1, "ada"), (2, "bob"), (3, "eve")] {
        let [_, xy @ ..] = key(number).verifying_key().uncompressed();
        let (x, y) = xy.split_at(32);
        text += &format!("[[approver]]\nname = \"{name}\"\nx = \"{}\"\ny = \"{}\"\n", hex(x), hex(y));
    }
    text
}

pub fn write_policy(state: &Path, text: &str, by: &[(&str, u8)]) {
    let digest = sha256(text.as_bytes());
    let signatures: String = by
        .iter()
        .map(|(by, number)| {
            let Ok(signature) = key(*number).sign(&digest);
            format!("[[signature]]\nby = \"{by}\"\nes256 = \"{}\"\n", hex(&signature))
        })
        .collect();
    std::fs::write(state.join("policy.toml.sig"), signatures).unwrap();
    std::fs::write(state.join("policy.toml"), text).unwrap();
}

/// What became of an intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    Signed { ctr: u32 },
    Refused(String),
}

/// Where the journal or the audit log fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    Journal,
    Audit,
}

pub struct House {
    pub state: tempfile::TempDir,
    pub keys: Arc<Keys>,
    log: Arc<Log>,
    writer: Writer,
    pub intents: Arc<Edge>,
    pub records: Arc<Edge>,
    pub audit: Arc<Edge>,
    pub events: Arc<EventEdge>,
    orders: Orders,
    thread: Option<JoinHandle<Result<(), NodeError>>>,
    /// All that was ever signed: addressee, counter, digest of the command.
    pub ledger: Mutex<Vec<(Addressee, u32, [u8; 32])>>,
    addressees: Mutex<Vec<(CommandId, Addressee)>>,
    pub entries: Vec<AuditEntry>,
    pub ended: Vec<(CommandId, Ended)>,
}

fn edge(from: &str, port: &str, to: &str) -> Arc<Edge> {
    let name =
        EdgeName { from: from.into(), port: port.into(), from_instance: 0, to: to.into(), to_instance: 0 };
    Arc::new(Edge::new(name, 16, WhenFull::Wait))
}

impl House {
    /// A house without a policy.
    pub fn bare() -> Self {
        let log = Arc::new(Log::new(Arc::new(ForgetfulFiles::default()), "journal".into()));
        let writer = Writer::open(log.files(), log.folder(), SETTINGS, log.durable()).unwrap();
        let state = tempfile::tempdir().unwrap();
        std::fs::write(state.path().join("root.pub"), hex(&key(9).verifying_key().uncompressed())).unwrap();
        let keys = Arc::new(Keys {
            fenced: AtomicBool::new(false),
            unplugged: AtomicBool::new(false),
            signed: AtomicUsize::new(0),
            now: AtomicU64::new(NOW),
        });
        let event_name = edge("signer", "events", "monitor").name().clone();
        let mut house = Self {
            state,
            keys,
            log,
            writer,
            intents: edge("desk", "intents", "signer"),
            records: edge("signer", "records", "journal"),
            audit: edge("signer", "audit", "audit"),
            events: Arc::new(EventEdge::new(event_name, 1024, WhenFull::Collapse)),
            orders: Orders::default(),
            thread: None,
            ledger: Mutex::default(),
            addressees: Mutex::default(),
            entries: Vec::new(),
            ended: Vec::new(),
        };
        house.start();
        house
    }

    /// A house with policy version 1 in force.
    pub fn open() -> Self {
        let mut house = Self::bare();
        write_policy(house.state.path(), &policy(1), &[("root", 9)]);
        house.policy_in_force(1);
        house
    }

    pub fn policy_in_force(&mut self, version: u64) {
        let kept = self.state.path().join("signer-1/policy.toml");
        let line = format!("version = {version}\n");
        wait_for("the policy", || {
            self.serve_audit(true);
            std::fs::read_to_string(&kept).ok().filter(|text| text.contains(&line))
        });
    }

    fn start(&mut self) {
        let services = Services::default();
        services.provide("journal", Arc::clone(&self.log));
        services.provide("keys", Arc::new(Lent(Arc::clone(&self.keys) as Arc<dyn Means>)));
        let wire = |port: &str, to: &str| Wire { from: "signer".into(), port: port.into(), to: to.into() };
        let status = NodeStatus::default();
        let env = Env {
            node: "signer".to_owned(),
            instance: 0,
            instances: 1,
            run: 1,
            state: self.state.path().to_owned(),
            meters: Meters::default(),
            services,
            pool: BatchPool::new(16),
            status: status.clone(),
            wires: Arc::new(vec![wire("records", "journal"), wire("audit", "audit")]),
            transports: Arc::default(),
            transport: None,
        };
        let text = |text: &str| Value::Text(text.to_owned());
        let settings = [("keys", text("keys")), ("policy", text("policy.toml")), ("root", text("root.pub"))];
        let mut worker = CommandSignerKind.build(&config(&CommandSignerKind, settings), &env).unwrap();
        self.intents = edge("desk", "intents", "signer");
        self.records = edge("signer", "records", "journal");
        self.audit = edge("signer", "audit", "audit");
        self.orders = Orders::default();
        let output =
            |port: &str, edge: &Arc<Edge>| Output { port: port.into(), edges: vec![Arc::clone(edge)] };
        let wiring = Wiring {
            inputs: vec![Arc::clone(&self.intents)],
            outputs: vec![output("records", &self.records), output("audit", &self.audit)],
            event_outputs: vec![Arc::clone(&self.events)],
            orders: self.orders.clone(),
            status,
            ..Wiring::default()
        };
        self.thread = Some(std::thread::spawn(move || worker.run(&mut Context::new(wiring))));
    }

    /// Cut: what is not durable is gone; then it begins anew.
    pub fn cut(&mut self) {
        self.orders.stop();
        assert!(matches!(self.thread.take().unwrap().join().unwrap(), Err(NodeError::Stopped(_))));
        self.start();
    }

    /// Ends as when the head-end is stopped, and begins anew.
    pub fn restart(&mut self) {
        self.intents.close();
        assert!(self.thread.take().unwrap().join().unwrap().is_ok());
        self.start();
    }

    pub fn send(&self, requests: &[(Intent, Vec<Approval>)]) -> u64 {
        let mut batch = Batch::default();
        for (intent, approvals) in requests {
            self.addressees.lock().unwrap().push((intent.id, intent.addressee));
            let request = SigningRequest { intent: intent.clone(), approvals: approvals.clone() };
            batch.push(&request.octets(), Frame::default());
        }
        self.intents.offer(batch).unwrap()
    }

    /// Takes what came for the journal, if anything did; signed commands go into the ledger at once.
    pub fn take_records(&self) -> Option<(u64, Batch)> {
        let (number, batch) = self.records.take()?;
        for frame in batch.frames.iter().filter(|frame| record::kind_of(frame) == record::SIGNED) {
            let signed = Signed::read(batch.octets(frame).unwrap()).unwrap();
            let addressees = self.addressees.lock().unwrap();
            let addressee = addressees.iter().rev().find(|(id, _)| *id == signed.id).unwrap().1;
            let read = SignedCommand::read(signed.octets).unwrap();
            assert!(read.verifies(&key(5).verifying_key(), SYSTEM, addressee));
            self.ledger.lock().unwrap().push((addressee, read.command.ctr, read.digest()));
        }
        Some((number, batch))
    }

    /// Makes a batch durable.
    pub fn commit(&mut self, number: u64, batch: &Batch) {
        for frame in &batch.frames {
            let (kind, octets) = (record::kind_of(frame), batch.octets(frame).unwrap());
            self.writer.append(kind, octets).unwrap();
            match kind {
                record::SIGNED => {
                    let signed = Signed::read(octets).unwrap();
                    let ctr = SignedCommand::read(signed.octets).unwrap().command.ctr;
                    self.ended.push((signed.id, Ended::Signed { ctr }));
                }
                record::REFUSED => {
                    let refused = Refused::read(octets).unwrap();
                    self.ended.push((refused.id, Ended::Refused(refused.code.to_owned())));
                }
                kind => {
                    assert!(kind == record::CTR && Ctr::read(octets).is_some(), "a record of kind {kind}")
                }
            }
        }
        self.writer.commit().unwrap();
        self.records.settle(number);
    }

    pub fn serve_audit(&mut self, works: bool) -> bool {
        let Some((number, batch)) = self.audit.take() else { return false };
        if works {
            let entries =
                batch.frames.iter().map(|frame| AuditEntry::read(batch.octets(frame).unwrap()).unwrap());
            self.entries.extend(entries);
        } else {
            self.audit.fail(number);
        }
        self.audit.settle(number);
        true
    }

    /// Plays journal and audit log until a batch of intents is settled.
    pub fn serve(&mut self, number: u64, fault: Fault) {
        let intents = Arc::clone(&self.intents);
        wait_for("the end of a batch", || {
            if let Some((number, batch)) = self.take_records() {
                if fault == Fault::Journal {
                    self.records.fail(number);
                    self.records.settle(number);
                } else {
                    self.commit(number, &batch);
                }
            }
            self.serve_audit(fault != Fault::Audit);
            (intents.settled() >= number).then_some(())
        });
    }

    /// What becomes of one intent.
    pub fn ask(&mut self, intent: &Intent, approvals: Vec<Approval>) -> Ended {
        let before = self.ended.len();
        let number = self.send(&[(intent.clone(), approvals)]);
        self.serve(number, Fault::None);
        let new: Vec<_> = self.ended[before..].to_vec();
        let [(id, ended)] = new.as_slice() else { panic!("{new:?}") };
        assert_eq!(*id, intent.id);
        ended.clone()
    }

    /// An end device answers a command, as the journal has it.
    pub fn answer(&mut self, dev: Dev, kind: u8, ctr: u32, result: u8) {
        let report =
            Report { sid: Sid(1), dev, epoch: Epoch(0), origin: Origin::Control, seq: 0, iv: 0, received: 0 };
        let item = [&[1, 1, kind][..], &ctr.to_be_bytes(), &[result]].concat();
        self.writer.append(record::REPORT, &[&report.head()[..], &item].concat()).unwrap();
        self.writer.commit().unwrap();
    }

    /// The reasons of all events so far.
    pub fn reasons(&self) -> Vec<&'static str> {
        std::iter::from_fn(|| self.events.take()).map(|event| event.reason.0).collect()
    }

    /// No counter of a scope was ever signed for two commands.
    pub fn check_ledger(&self) {
        let ledger = self.ledger.lock().unwrap();
        for (addressee, ctr, digest) in ledger.iter() {
            let same = |other: &&(Addressee, u32, [u8; 32])| {
                (other.0.kind(), other.1) == (addressee.kind(), *ctr)
                    && (other.0 == *addressee || addressee.kind() == 2)
            };
            assert!(ledger.iter().filter(same).all(|other| other.2 == *digest), "ctr {ctr} twice");
            assert_eq!(ledger.iter().filter(same).count(), 1, "ctr {ctr} was signed twice");
        }
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.orders.stop();
        self.thread.take().into_iter().for_each(|thread| drop(thread.join()));
    }
}
