//! A fleet of agents against the head-end of the tests, over TCP.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use c1222::ApTitleBuf;
use seal::command::{Class, Classes, KeyItem};
use seal::control::Item;
use seal::edhoc::{Credential, HeadEndKid, PrivateKey};
use seal::ids::{Dev, Epoch, Gid, System};
use seal::receiver::{SignerKey, Signers};
use seal::signature::SigningKey;
use zeroize::Zeroizing;

use super::*;
use crate::agent::OpenError;
use crate::testing::model::HeadEnd;
use crate::testing::residential;

const SYSTEM: System = System([6; 8]);
const KID: u8 = 0x13;
const SKID: u8 = 3;
const GID: Gid = Gid(0x8000_0007);
const RELAYS: usize = 3;

fn dev(number: usize) -> Dev {
    Dev((0x0200_0000_0000_0000 + number as u64).to_be_bytes())
}

fn secrets(count: usize) -> Secrets {
    let key = PrivateKey::from_octets(&[0x21; 32]).unwrap();
    let mut signers = Signers::default();
    let signing = SigningKey::from_octets(&[4; 32]).unwrap().verifying_key();
    signers.add(SignerKey { skid: SKID, key: signing, classes: Classes(0x3f), not_before: 0 });
    let own = |number: usize, first: u8| {
        let mut octets = [first; 32];
        octets[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
        Zeroizing::new(octets)
    };
    let device = |number| SecretDevice {
        dev: dev(number),
        esn: format!("MGRF{number}"),
        title: ApTitleBuf::parse(&format!(".75.{}.{}", 1 + number / 1000, 1 + number % 1000)).unwrap(),
        profile: "residential.toml".into(),
        agreement: own(number, 1),
        signing: own(number, 2),
    };
    Secrets {
        system: SYSTEM,
        credential: Credential { kid: HeadEndKid::new(KID).unwrap(), key: key.public_key() },
        signers,
        devices: (0..count).map(device).collect(),
    }
}

/// The head-end, and the links that it has.
type Shared = Mutex<(HeadEnd, Vec<TcpStream>)>;

/// The head-end of the tests behind a socket.
struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(count: usize) -> Self {
        let mut head_end = HeadEnd::new(SYSTEM, KID, PrivateKey::from_octets(&[0x21; 32]).unwrap());
        head_end.now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        head_end.signers.insert(SKID, SigningKey::from_octets(&[4; 32]).unwrap());
        for device in secrets(count).devices {
            let key = PrivateKey::from_octets(&device.agreement).unwrap().public_key();
            head_end.known.insert(device.dev, key);
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new((head_end, Vec::new())));
        let stop = Arc::new(AtomicBool::new(false));
        let (all, over) = (Arc::clone(&shared), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut served = Vec::new();
            while let Ok((socket, _)) = listener.accept() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let all = Arc::clone(&all);
                served.push(std::thread::spawn(move || serve(socket, &all)));
            }
            served.into_iter().for_each(|thread| thread.join().unwrap());
        });
        Self { address, shared, stop, thread: Some(thread) }
    }

    /// Does something with the head-end, and sends the APDUs that come of it: on every link.
    fn tell(&self, what: impl FnOnce(&mut HeadEnd) -> Vec<Vec<u8>>) {
        let mut shared = self.shared.lock().unwrap();
        let (head_end, links) = &mut *shared;
        let apdus = what(head_end);
        for link in links {
            apdus.iter().for_each(|apdu| drop(link.write_all(apdu)));
        }
    }

    fn stop(mut self) -> HeadEnd {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
        self.thread.take().unwrap().join().unwrap();
        let other = HeadEnd::new(SYSTEM, KID, PrivateKey::from_octets(&[1; 32]).unwrap());
        std::mem::replace(&mut self.shared.lock().unwrap().0, other)
    }
}

fn serve(mut socket: TcpStream, shared: &Shared) {
    shared.lock().unwrap().1.push(socket.try_clone().unwrap());
    let (mut inbox, mut octets) = (vec![0; 64 << 10], Vec::new());
    loop {
        match socket.read(&mut inbox) {
            Ok(0) => return,
            Ok(read) => octets.extend_from_slice(&inbox[..read]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
            Err(error) => panic!("{error}"),
        }
        while let Some(len) = c1222::apdu::measure(&octets, 4096).unwrap().filter(|len| *len <= octets.len())
        {
            let apdu: Vec<u8> = octets.drain(..len).collect();
            let mut shared = shared.lock().unwrap();
            shared.0.now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            for answer in shared.0.handle(&apdu) {
                if socket.write_all(&answer).is_err() {
                    return;
                }
            }
        }
    }
}

fn settings(connect: SocketAddr) -> AgentsSettings {
    AgentsSettings {
        connect: vec![connect],
        head_end: ApTitleBuf::parse(".1").unwrap(),
        relays: RELAYS,
        register_rate: 0.0,
        rate: 400.0,
        duration: Duration::from_secs(2),
        grace: Duration::from_secs(30),
        seed: 1,
        state: None,
        list: None,
        ledger: None,
        agent: Settings { speedup: 20, ..Settings::default() },
        faults: Faults::default(),
    }
}

fn fleet(settings: AgentsSettings, count: usize) -> AgentFleet {
    AgentFleet::new(settings, secrets(count), vec![residential()], |_| Some(0)).unwrap()
}

fn body(requests: &[c1222::Request<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    let control = c1222::EpsemControl::new(c1222::SecurityMode::Clear, c1222::epsem::ResponseControl::Always);
    let mut writer = c1222::EpsemWriter::new(&mut body, control, None);
    for request in requests {
        writer.request(request);
    }
    body
}

#[test]
fn devices_register_report_and_do_as_they_are_told() {
    const COUNT: usize = 60;
    const DEAF: usize = 5;
    let server = Server::start(COUNT);
    let read = body(&[c1222::Request::FullRead(c1222::TableId::standard(23))]);
    let faults = Faults { miss_group_keys: DEAF, ..Faults::default() };
    let duration = Duration::from_secs(4);
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    let fleet = fleet(
        AgentsSettings { faults, duration, list: Some(list.clone()), ..settings(server.address) },
        COUNT,
    );
    let mut step = 0;
    let outcome = fleet.run(|progress| {
        let count = COUNT as u64;
        match step {
            0 if progress.registered == COUNT && server.shared.lock().unwrap().0.devices.len() == COUNT => {
                server.tell(|head_end| {
                    let join = KeyItem::Join { gid: GID, classes: Classes(0b1_1001) };
                    let joins = (0..COUNT).map(|number| head_end.keys(SKID, dev(number), &[join]));
                    joins.collect()
                });
                step = 1;
            }
            1 if progress.executed == count => {
                server.tell(|head_end| {
                    (0..COUNT).map(|number| head_end.group_key(dev(number), GID, Epoch(1), 1)).collect()
                });
                server.tell(|head_end| vec![head_end.group_command(SKID, GID, Class::Read, &read).1]);
                step = 2;
            }
            2 if progress.executed == 2 * count => {
                server.tell(|head_end| {
                    (0..COUNT).for_each(|number| head_end.issue(dev(number), 1));
                    let mut body = Vec::new();
                    KeyItem::Advance { campaign: 1, delta: 1, challenge: &[7; 8] }.write(&mut body);
                    vec![head_end.group_command(SKID, GID, Class::Keys, &body).1]
                });
                step = 3;
            }
            _ => {}
        }
        true
    });
    let outcome = outcome.unwrap();
    assert_eq!(step, 3, "{outcome:?}");
    assert!(outcome.is_good(), "{outcome:?}");
    assert_eq!(
        outcome.executed,
        BTreeMap::from([("keys", (2 * COUNT - DEAF) as u64), ("read", COUNT as u64)])
    );
    assert_eq!(outcome.epochs, BTreeMap::from([(0, DEAF), (1, COUNT - DEAF)]));
    assert!(outcome.reports > 500 && outcome.registered_after_s.is_some(), "{outcome:?}");
    let listed = std::fs::read_to_string(&list).unwrap();
    assert_eq!(listed.lines().filter(|line| line.ends_with(" acked")).count() as u64, outcome.reports);
    let head_end = server.stop();
    assert_eq!((head_end.reports.len() as u64, head_end.registered.len()), (outcome.reports, COUNT));
}

#[test]
fn whatever_goes_wrong_they_come_to_rest_and_use_no_nonce_twice() {
    const COUNT: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let ledger = folder.path().join("ledger");
    let server = Server::start(COUNT);
    let faults = Faults {
        drop_per_mille: 30,
        duplicate_per_mille: 30,
        reorder_per_mille: 30,
        miss_group_keys: 0,
        restart_every_ms: 20,
        cut_storage: true,
    };
    let settings = AgentsSettings { faults, ledger: Some(ledger.clone()), ..settings(server.address) };
    let outcome = fleet(settings.clone(), COUNT).run(|_| true).unwrap();
    assert!(outcome.is_good(), "{outcome:?}");
    assert!(outcome.restarts > 50 && outcome.faults > 20, "{outcome:?}");
    let head_end = server.stop();
    assert!(head_end.duplicates > 0);
    let lines = std::fs::read_to_string(&ledger).unwrap().lines().count() as u64;
    assert!(lines >= outcome.sealed, "{lines} for {}", outcome.sealed);
}

#[test]
fn another_run_goes_on_where_this_one_ends() {
    const COUNT: usize = 10;
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path().join("devices"));
    let ledger = Some(folder.path().join("ledger"));
    let server = Server::start(COUNT);
    let settings = AgentsSettings {
        state,
        ledger,
        duration: Duration::from_millis(1500),
        register_rate: 100.0,
        ..settings(server.address)
    };
    let first = fleet(settings.clone(), COUNT).run(|_| true).unwrap();
    let second = fleet(settings.clone(), COUNT).run(|_| true).unwrap();
    assert!(first.is_good() && second.is_good(), "{first:?} {second:?}");
    assert_eq!((first.registrations, second.registrations), (COUNT as u64, 0));
    server.stop();
    // A state is its device's own.
    let devices = settings.state.clone().unwrap();
    std::fs::copy(devices.join(format!("{}.device", dev(0))), devices.join(format!("{}.device", dev(1))))
        .unwrap();
    let other = AgentFleet::new(settings, secrets(COUNT), vec![residential()], |_| Some(0));
    assert!(matches!(other.err(), Some(AgentsError::Open(OpenError::State(_)))));
}

#[test]
fn nobody_there_is_told_and_titles_are_different() {
    let mut twice = secrets(2);
    twice.devices[1].title = twice.devices[0].title.clone();
    let address = "127.0.0.1:1".parse().unwrap();
    let fleet = AgentFleet::new(settings(address), twice, vec![residential()], |_| Some(0));
    assert!(matches!(fleet.err(), Some(AgentsError::Title(..))));
    let none = AgentFleet::new(settings(address), secrets(1), vec![residential()], |_| None);
    assert!(matches!(none.err(), Some(AgentsError::Key(_))));
}
