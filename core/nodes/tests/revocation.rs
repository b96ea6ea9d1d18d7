//! A device that is revoked is refused under all its associations, whatever was under way; a device that has
//! registered is not heard in EAX' any more. At once, and after a start (security layer §8, §9).
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

use c1222::{ApTitleBuf, Apdu, Leniency, carriage};
use common::desk::Desk;
use common::device::{Classic, Device, plain};
use common::graph::{Graph, Wishes};
use common::site::{SYSTEM, Site};
use common::{lab, meter, office, wait_for};
use end_device::secrets::Secrets;
use journal::files::ForgetfulFiles;
use journal::{Settings, Writer};
use keystore::{Directory, FOLDER, NewAssociation, Slots, Standing, Store, Vault};
use metergraph_nodes::journal::Log;
use metergraph_nodes::key_store::Fence;
use metergraph_nodes::order::Order;
use metergraph_nodes::record::{Association, Proved, RETIRED, Record, Retired, Revoked};
use node::Batch;
use seal::edhoc::{AwaitMessage2, AwaitMessage4, DeviceCredential, Ephemeral, PrivateKey, initiate};
use seal::ids::{Dev, Epoch, Sid};
use seal::schedule;
use seal::secret::Prk;

/// EDHOC error 1 without detail.
const ERROR: [u8; 3] = [0x1c, 0x01, 0x60];
const REPORTS: &str = "metergraph_frames_journaled_total";

fn lent<T: Send + Sync + 'static>(graph: &Graph) -> Arc<T> {
    graph.services.find("keys").unwrap()
}

/// A graph with everything that registers and commands.
fn whole(site: &Site, shards: usize) -> Graph {
    let mut wishes = Wishes { registrar: true, shards, ..office::wishes(site) };
    wishes.settings.push(("registrar", "kid", i64::from(lab::KID).into()));
    wishes.settings.push(("keys", "apply_s", 1.into()));
    let graph = Graph::start_with(site, &wishes);
    wait_for("the key store", || graph.services.find::<Fence>("keys")?.incarnation());
    wait_for("numbers", || lent::<Slots>(&graph).is_open().then_some(()));
    graph
}

/// A graph whose desk the test plays.
fn played(site: &Site) -> Graph {
    let settings = vec![("keys", "apply_s", 1.into())];
    let graph = Graph::start_with(site, &Wishes { shards: 2, settings, ..Wishes::default() });
    wait_for("numbers", || graph.services.find::<Slots>("keys")?.is_open().then_some(()));
    graph
}

/// Ends in good order, or is cut off.
fn end(graph: Graph, files: &ForgetfulFiles, clean: bool) {
    if clean {
        drop(graph.drain());
    } else {
        graph.kill();
        files.cut(7);
    }
}

/// Sends APDUs and waits until each is refused so.
fn refused(graph: &Graph, reason: &str, apdus: &[Vec<u8>]) {
    let before = graph.refused(reason);
    graph.send(1, apdus);
    wait_for(reason, || (graph.refused(reason) == before + apdus.len() as u64).then_some(()));
}

/// Sends an APDU and waits until its record is durable.
fn accepted(graph: &Graph, apdu: Vec<u8>) {
    let before = graph.sum(REPORTS, None);
    graph.send(1, &[apdu]);
    wait_for("a record", || (graph.sum(REPORTS, None) > before).then_some(()));
}

fn standing(graph: &Graph, sid: Sid, wanted: Standing) {
    let directory = lent::<Directory>(graph);
    wait_for(wanted.word(), || (directory.standing(sid) == Some(wanted)).then_some(()));
}

/// The devices whose keys stand in the store of a head-end that has ended.
fn kept(site: &Site) -> Vec<Dev> {
    let (store, mut devs) = (Arc::new(Store::open(&site.state().join(FOLDER)).unwrap()), Vec::new());
    store.vault().load(&|_| true, &mut |stored| devs.push(stored.dev)).unwrap();
    devs
}

/// The answer to an EDHOC message that comes down over a link.
fn answer(graph: &Graph, link: u32) -> Vec<u8> {
    wait_for("an answer", || {
        let sent = graph.sent().into_iter().filter(|(to, _)| *to == link);
        let mut frames = sent.map(|(_, apdu)| {
            let apdu = Apdu::decode(&apdu, Leniency::Strict).unwrap();
            let carried = carriage::read(&apdu).unwrap().unwrap();
            [carried.head, carried.body].concat()
        });
        frames.find(|frame| frame[0] & 0xf >= 8)
    })
}

fn ask(graph: &Graph, link: u32, frame: &[u8]) -> Vec<u8> {
    graph.send(link, &[common::device::carry(Some(&ApTitleBuf::parse(".75.99").unwrap()), frame)]);
    answer(graph, link)
}

/// A device of a lab, up to message_3: what waits for message_4, and message_3.
fn open_run(graph: &Graph, secrets: &Secrets, place: usize, number: u8) -> (AwaitMessage4, Vec<u8>) {
    let device = &secrets.devices[place];
    let key = PrivateKey::from_octets(&device.agreement).unwrap();
    let credential = DeviceCredential { kid: device.dev, key: key.public_key() };
    let (waiting, message_1): (AwaitMessage2, _) =
        initiate(Ephemeral::from_octets(&[0x30 + number; 32]).unwrap());
    let message_2 = ask(graph, 40 + u32::from(number), &[&[0x18][..], &message_1].concat());
    assert_eq!(message_2[0], 0x19, "{message_2:02x?}");
    let head_end = |_| Some(secrets.credential.key);
    let (waiting, message_3) = waiting.message_2(&message_2[1..], &credential, &key, head_end).ok().unwrap();
    let frame = [&[0x1a][..], &waiting.sid().0.to_be_bytes(), &message_3].concat();
    (waiting, frame)
}

/// A device as it is under an association.
fn under(dev: Dev, title: &ApTitleBuf, sid: Sid, prk: &Prk) -> Device {
    let keys = schedule::derive(prk, sid);
    Device { system: SYSTEM, dev, sid, epoch: Epoch(0), keys, title: title.clone() }
}

/// Registers a device.
fn register(graph: &Graph, secrets: &Secrets, place: usize, number: u8) -> Device {
    let (waiting, message_3) = open_run(graph, secrets, place, number);
    let message_4 = ask(graph, 40 + u32::from(number), &message_3);
    assert_eq!(message_4[0], 0x1b, "{message_4:02x?}");
    let registered = waiting.message_4(&message_4[1..]).ok().unwrap();
    let device = &secrets.devices[place];
    under(device.dev, &device.title, registered.sid, &registered.prk)
}

/// A new association of a device, sealed and not given to a shard: on another shard of two than this one.
fn draw(graph: &Graph, dev: Dev, beside: Sid, secret: u8) -> (Device, Vec<u8>) {
    let (slots, vault, directory) = (lent::<Slots>(graph), lent::<Vault>(graph), lent::<Directory>(graph));
    let sid =
        wait_for("a number", || slots.allocate().filter(|sid| sid.partition() % 2 != beside.partition() % 2));
    let (prk, known) = (Prk::from_octets([secret; 32]), directory.device(beside).unwrap());
    let (title, esn, profile) = (known.title(), known.esn(), known.profile);
    let sealed = vault.seal_association(&NewAssociation { sid, dev, prk: &prk, title, esn, profile });
    (under(dev, &ApTitleBuf::from(title), sid, &prk), sealed.unwrap())
}

/// Writes to the journal of a head-end that has ended.
fn append(site: &Site, write: impl FnOnce(&mut Writer)) {
    let log = Log::new(Arc::clone(&site.files), site.state().join("journal"));
    let mut writer = Writer::open(log.files(), log.folder(), Settings::default(), log.durable()).unwrap();
    write(&mut writer);
    writer.commit().unwrap();
    writer.close().unwrap();
}

fn put<R: Record>(writer: &mut Writer, record: &R) {
    let mut octets = Vec::new();
    record.write(&mut octets);
    writer.append(R::KIND, &octets).unwrap();
}

#[test]
fn a_revoked_device_is_refused_under_all_its_associations() {
    for clean in [true, false] {
        let (site, files) = Site::forgetful(1, 0);
        let site = site.with_key_store();
        let secrets = lab::provision(&site.state(), 2, 900);
        let dev = secrets.devices[0].dev;
        let graph = whole(&site, 2);
        let old = register(&graph, &secrets, 0, 1);
        accepted(&graph, old.report(0, &plain()));
        let new = register(&graph, &secrets, 0, 2);
        accepted(&graph, new.report(0, &plain()));
        standing(&graph, old.sid, Standing::Retired);
        accepted(&graph, old.report(1, &plain()));
        let spare = register(&graph, &secrets, 0, 3);
        let (_, message_3) = open_run(&graph, &secrets, 0, 4);
        let other = register(&graph, &secrets, 1, 5);
        let directory = lent::<Directory>(&graph);
        assert_eq!(
            (directory.sid(dev), directory.standing(spare.sid)),
            (Some(new.sid), Some(Standing::Fresh))
        );
        drop(directory);

        office::front(&graph).revoke(dev, "alice".into()).unwrap();
        let frames =
            |seq| [old.report(seq, &plain()), new.report(seq, &plain()), spare.report(seq, &plain())];
        refused(&graph, "SEC-UP-REVOKED", &frames(2));
        assert_eq!(ask(&graph, 44, &message_3), ERROR);
        assert_eq!(graph.refused("SEC-REG-REVOKED"), 1);
        accepted(&graph, other.report(0, &plain()));
        assert_eq!(graph.sum("metergraph_orders_unknown_total", None), 0);
        end(graph, &files, clean);

        let graph = whole(&site, 1);
        refused(&graph, "SEC-UP-REVOKED", &frames(3));
        accepted(&graph, other.report(1, &plain()));
        assert_eq!(lent::<Directory>(&graph).sid(dev), None);
        drop(graph.drain());
        let reports = site.reports().into_iter().filter(|(report, _)| report.dev == dev);
        assert_eq!(reports.count(), 3, "clean {clean}");
        assert!(!kept(&site).contains(&dev) && kept(&site).contains(&other.dev), "clean {clean}");
    }
}

#[test]
fn a_registration_that_is_being_written_when_its_device_is_revoked_ends_refused() {
    let (site, _, gate) = Site::gated(1, 0);
    let site = site.with_key_store();
    let secrets = lab::provision(&site.state(), 1, 900);
    let (dev, title) = (secrets.devices[0].dev, secrets.devices[0].title.clone());
    let graph = whole(&site, 1);
    // Whatever is written at a start is written.
    office::open(&graph);
    accepted(&graph, site.devices[0].report(0, &plain()));
    let (waiting, message_3) = open_run(&graph, &secrets, 0, 1);
    let sid = waiting.sid();
    let before = graph.records.pushed();
    gate.hold("journal");
    graph.send(41, &[common::device::carry(Some(&title), &message_3)]);
    wait_for("the shard's record", || (graph.records.pushed() > before).then_some(()));
    let front = office::front(&graph);
    let revoked = std::thread::spawn(move || front.revoke(dev, "alice".into()));
    let directory = lent::<Directory>(&graph);
    wait_for("the revocation", || directory.is_revoked(dev).then_some(()));
    gate.open();
    assert_eq!(answer(&graph, 41), ERROR, "and no message_4");
    revoked.join().unwrap().unwrap();
    assert_eq!(ask(&graph, 41, &message_3), ERROR);
    assert_eq!((graph.refused("SEC-REG-REVOKED"), graph.refused("SEC-STORE")), (2, 0));
    assert_eq!((directory.sid(dev), directory.standing(sid)), (None, Some(Standing::Revoked)));
    drop(directory);
    // Whoever knows its keys, or none of them.
    let device = under(dev, &title, sid, &Prk::from_octets([1; 32]));
    refused(&graph, "SEC-UP-REVOKED", &[device.report(0, &plain())]);
    drop(graph.drain());
    let graph = whole(&site, 2);
    refused(&graph, "SEC-UP-REVOKED", &[device.report(1, &plain())]);
    drop(graph.drain());
    assert!(!kept(&site).contains(&dev));
}

#[test]
fn a_revocation_counts_for_what_the_journal_tells_of_the_device_later() {
    for clean in [true, false] {
        let (mut site, files) = Site::forgetful(2, 0);
        let devices = std::mem::take(&mut site.devices);
        let site = site.with_key_store();
        let never = lab::provision(&site.state(), 1, 900).devices.remove(0);
        let (graph, mut desk) = (played(&site), Desk::default());
        devices.iter().for_each(|device| accepted(&graph, device.report(0, &plain())));
        let [first, second] = [&devices[0], &devices[1]];

        // Of two associations on two shards one alone was written down as revoked when the power went.
        let (newer, sealed) = draw(&graph, second.dev, second.sid, 98);
        let replaces = Some(second.sid);
        desk.give(&graph, &Order::Register { sid: newer.sid, dev: second.dev, replaces, sealed: &sealed });
        desk.wait(&graph);
        accepted(&graph, newer.report(0, &plain()));
        desk.give(&graph, &Order::Revoke { dev: second.dev, sid: second.sid });
        // What comes for a revoked device is not taken, and not given again.
        let (late, late_sealed) = draw(&graph, first.dev, first.sid, 99);
        let (unused, unused_sealed) = draw(&graph, never.dev, first.sid, 97);
        desk.give(&graph, &Order::Revoke { dev: first.dev, sid: first.sid });
        desk.wait(&graph);
        let order = Order::Register {
            sid: late.sid,
            dev: first.dev,
            replaces: Some(first.sid),
            sealed: &late_sealed,
        };
        let edge = &graph.orders[late.sid.partition() as usize % 2];
        let mut batch = Batch::default();
        order.push(&mut batch);
        let number = edge.offer(batch).unwrap();
        wait_for("its end", || (edge.settled() >= number).then_some(()));
        assert_eq!(edge.next_failure(), Some(number));
        graph.event("SEC-REG-REVOKED");
        end(graph, &files, clean);
        assert!(!clean || !kept(&site).contains(&second.dev), "the store erases all of it at once");

        append(&site, |writer| put(writer, &Revoked { dev: never.dev, sid: Sid(u32::MAX) }));
        let graph = played(&site);
        refused(&graph, "SEC-UP-REVOKED", &[newer.report(1, &plain()), second.report(1, &plain())]);
        drop(graph.drain());
        assert!(!kept(&site).contains(&second.dev));

        append(&site, |writer| {
            for (device, sealed) in [(&late, &late_sealed), (&unused, &unused_sealed)] {
                let Device { sid, dev, .. } = *device;
                put(writer, &Association { sid, dev, replaces: None, sealed });
                put(writer, &Proved { sid, dev, replaces: None });
            }
        });
        for _ in 0..2 {
            let graph = played(&site);
            let frames = [late.report(1, &plain()), unused.report(1, &plain()), first.report(1, &plain())];
            refused(&graph, "SEC-UP-REVOKED", &frames);
            drop(graph.drain());
            let kept = kept(&site);
            assert!(![first.dev, second.dev, never.dev].iter().any(|dev| kept.contains(dev)));
        }
    }
}

fn eax(classic: &Classic, number: u32) -> Vec<u8> {
    classic.seal(&classic.message(number, u32::try_from(meter::now()).unwrap()))
}

#[test]
fn a_device_that_has_registered_is_not_heard_in_eax_after_a_start() {
    // The store has taken in PROVED, or has not; the classic association was retired durably, or was not.
    for (clean, retire) in [(true, false), (false, false), (true, true)] {
        let (mut site, files) = Site::forgetful(1, 2);
        let classics = std::mem::take(&mut site.classics);
        let [migrates, stays] = [&classics[0], &classics[1]];
        let site = site.with_key_store();
        let (graph, mut desk) = (played(&site), Desk::default());
        classics.iter().for_each(|classic| accepted(&graph, eax(classic, 1)));
        let (device, sealed) = draw(&graph, migrates.dev, migrates.sid, 99);
        let replaces = Some(migrates.sid);
        desk.give(&graph, &Order::Register { sid: device.sid, dev: device.dev, replaces, sealed: &sealed });
        desk.wait(&graph);
        accepted(&graph, eax(migrates, 2));
        accepted(&graph, device.report(0, &plain()));
        standing(&graph, device.sid, Standing::Proved);
        refused(&graph, "SEC-LEGACY", &[eax(migrates, 3)]);
        if retire {
            desk.give(&graph, &Order::Retire { sid: migrates.sid });
            desk.wait(&graph);
            assert_eq!(graph.sum("metergraph_orders_unknown_total", None), 0);
        }
        end(graph, &files, clean);
        let retired = site.records().into_iter().filter(|(kind, _)| *kind == RETIRED);
        let retired: Vec<Sid> = retired.map(|(_, octets)| Retired::read(&octets).unwrap().sid).collect();
        assert_eq!(retired, if retire { vec![migrates.sid] } else { vec![] });

        for number in 4..6 {
            let graph = played(&site);
            let directory = lent::<Directory>(&graph);
            wait_for("the proof", || (directory.sid(device.dev) == Some(device.sid)).then_some(()));
            drop(directory);
            refused(&graph, "SEC-LEGACY", &[eax(migrates, number)]);
            accepted(&graph, eax(stays, number));
            accepted(&graph, device.report(number, &plain()));
            drop(graph.drain());
        }
        let of_it = site.reports().into_iter().filter(|(report, _)| report.sid == migrates.sid);
        assert_eq!(of_it.count(), 2, "clean {clean}, retired {retire}");
    }
}

#[test]
fn a_revoked_classic_device_is_refused_as_such() {
    let (mut site, files) = Site::forgetful(1, 2);
    let classics = std::mem::take(&mut site.classics);
    let [gone, stays] = [&classics[0], &classics[1]];
    let site = site.with_key_store();
    let graph = whole(&site, 2);
    classics.iter().for_each(|classic| accepted(&graph, eax(classic, 1)));
    office::front(&graph).revoke(gone.dev, "alice".into()).unwrap();
    refused(&graph, "SEC-UP-REVOKED", &[eax(gone, 2)]);
    accepted(&graph, eax(stays, 2));
    assert_eq!(graph.sum("metergraph_orders_unknown_total", None), 0, "the shard knew it");
    end(graph, &files, false);
    for number in 3..5 {
        let graph = whole(&site, 1);
        refused(&graph, "SEC-UP-REVOKED", &[eax(gone, number)]);
        accepted(&graph, eax(stays, number));
        drop(graph.drain());
        assert!(!kept(&site).contains(&gone.dev) && kept(&site).contains(&stays.dev));
    }
}
