//! A backup restored, as a program that shares no code with this one says how it goes on (security layer §8): the
//! first octets that are sealed, the next counters and group epochs, and what becomes of each frame at the gate.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::Arc;

use c1222::ApTitleBuf;
use commands::desk::Heard;
use commands::front::{CommandId, Page};
use commands::group::{GroupChange, Membership};
use commands::intent::{Intent, SigningRequest, addressee};
use common::desk::Desk;
use common::device::{PROFILE, carry, plain};
use common::graph::{Graph, Wishes};
use common::meter::{command, frame_of, items, now};
use common::office;
use common::site::Site;
use common::vectors::{hex, json, octets};
use common::wait_for;
use journal::files::OsFiles;
use journal::{Settings, Writer};
use keystore::{FOLDER, Store};
use metergraph_nodes::journal::Log;
use metergraph_nodes::key_store::Restore;
use metergraph_nodes::order::Order;
use metergraph_nodes::record::{
    self, Ctr, DeskEntry, GATED, Gated, GroupKey, Origin, Record, Report, Reservation, Restored, Signed,
};
use node::{Batch, Frame};
use seal::command::{Addressee, Class, Classes, KeyItem, SignedCommand};
use seal::frame::{FrameType, Head};
use seal::ids::{Dev, Epoch, Gid, Sid, System};
use seal::secret::Key128;
use serde_json::Value;

fn settings() -> Settings {
    Settings { segment_octets: 1 << 20, ..Settings::default() }
}

fn number(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}

fn epoch(value: &Value) -> Epoch {
    Epoch(u16::try_from(value.as_u64().unwrap()).unwrap())
}

fn sid(case: &Value) -> Sid {
    Sid(u32::from_be_bytes(octets(&case["sid"])))
}

fn gid(group: &Value) -> Gid {
    Gid(u32::from_be_bytes(octets(&group["gid"])))
}

fn octets_of<R: Record>(record: &R) -> (u8, Vec<u8>) {
    let mut octets = Vec::new();
    record.write(&mut octets);
    (R::KIND, octets)
}

/// Writes more to the journal of a head-end that has ended.
fn append(site: &Site, records: &[(u8, Vec<u8>)]) {
    let log = Log::new(Arc::clone(&site.files), site.state().join("journal"));
    let mut writer = Writer::open(log.files(), log.folder(), settings(), log.durable()).unwrap();
    records.iter().for_each(|(kind, octets)| writer.append(*kind, octets).unwrap());
    writer.commit().unwrap();
    writer.close().unwrap();
}

/// The state that is the backup: one association, and the epochs of its groups, whose counters are reserved up
/// to the floor. Its token has gone on since.
fn backup(case: &Value) -> Site {
    let (dev, sid) = (Dev(octets(&case["dev"])), sid(case));
    let prk = case["prk_out"].as_str().unwrap();
    let row = format!("{dev},SN1,.75.1,{PROFILE},profile1,{sid},{},{prk}", case["epoch"]);
    let shipment = format!("{}\n{row}\n", keystore::shipment::HEADER);
    let site = Site::with(System(octets(&case["system"])), &shipment, Arc::new(OsFiles));
    let vault = site.vault.clone().unwrap();
    let mut records = vec![octets_of(&Reservation {
        sid,
        epoch: epoch(&case["epoch"]),
        floor: number(&case["floor"]),
        day: 0,
    })];
    for group in case["groups"].as_array().unwrap() {
        let gid = gid(group);
        let name = "the meters".to_owned();
        let heard = Heard::Group(GroupChange::Created { gid, name, classes: Classes(0x3f) });
        let mut created = Vec::new();
        DeskEntry { at: 1, heard }.write(&mut created);
        records.push((record::GROUP, created));
        for (activate_at, held) in (1..).zip(group["epochs"].as_array().unwrap()) {
            let (epoch, floor) = (epoch(&held["epoch"]), number(&held["floor"]));
            let sealed =
                vault.seal_group_key(gid, epoch, &Key128::from_octets(octets(&held["gms"]))).unwrap();
            records.push(octets_of(&GroupKey { gid, epoch, activate_at, sealed: &sealed }));
            records.push(octets_of(&Reservation { sid: Sid(gid.0), epoch, floor, day: 0 }));
        }
    }
    drop(vault);
    let site = site.with_key_store();
    drop(Graph::start(&site).drain());
    append(&site, &records);
    let store = Store::open(&site.state().join(FOLDER)).unwrap();
    let token = store.token().incarnation().unwrap();
    token.raise(token.read().unwrap() + 3).unwrap();
    drop((token, store));
    site
}

/// Restores it, and looks at what that writes.
fn restore(site: &Site, case: &Value) {
    let store = Arc::new(Store::open(&site.state().join(FOLDER)).unwrap());
    let (files, folder) = (Arc::clone(&site.files), site.state().join("journal"));
    let days = number(&case["days"]);
    let now = node::event::unix_ns() / 1_000_000_000;
    let restored = Restore { store: &store, files, folder, settings: settings(), days, now, forced: false }
        .run()
        .unwrap();
    drop(store);
    assert_eq!(restored.associations, 1);
    let skip = case["skip"].as_u64().unwrap().min(u32::MAX.into());
    assert_eq!(u64::from(restored.skip), skip, "{}", case["title"]);
    assert_eq!(Restored { incarnation: 1, days, at: 1 }.skip(), restored.skip);
    let records = site.records();
    let gated: Vec<Gated> = records
        .iter()
        .filter(|(kind, _)| *kind == GATED)
        .map(|(_, octets)| Gated::read(octets).unwrap())
        .collect();
    let [gated] = gated[..] else { panic!("{gated:?}") };
    let newest = case["candidates"].as_array().unwrap().last().map_or(case, |last| last);
    assert_eq!((gated.sid, gated.active), (sid(case), epoch(&case["epoch"])), "{}", case["title"]);
    assert_eq!(u64::from(gated.floor), case["floor_after"], "{}", case["title"]);
    // Behind the last epoch there is none to issue.
    assert_eq!(gated.newest, epoch(&newest["epoch"]), "{}", case["title"]);
    // Of each key of a group the last reservation is that of the restore.
    let reservations = site.reservations();
    for group in case["groups"].as_array().unwrap() {
        for held in group["epochs"].as_array().unwrap() {
            let of = |found: &&Reservation| {
                found.gid() == Some(gid(group)) && found.epoch == epoch(&held["epoch"])
            };
            let last = reservations.iter().rfind(of).unwrap();
            assert_eq!(u64::from(last.floor), held["floor_after"], "{}: {held}", case["title"]);
        }
    }
}

/// How often a verdict was passed.
fn count(graph: &Graph, verdict: &str) -> u64 {
    match verdict {
        "accept" => graph.sum("metergraph_frames_journaled_total", None),
        "SEC-UP-DUP" => graph.sum("metergraph_frames_duplicate_total", None),
        "gated" => graph.refused("SEC-FENCE"),
        code => graph.refused(code),
    }
}

/// Sends a frame of the device and waits for its verdict.
fn judged(graph: &Graph, frame: &[u8], verdict: &str, place: &str) {
    let (before, title) = (count(graph, verdict), ApTitleBuf::parse(".75.1").unwrap());
    graph.send(1, &[carry(Some(&title), frame)]);
    wait_for(&format!("{place}: {verdict}"), || (count(graph, verdict) == before + 1).then_some(()));
}

/// Gives the order until a frame of this type comes down.
fn first_sealed(graph: &Graph, desk: &mut Desk, order: &Order<'_>, of: FrameType) -> Vec<u8> {
    desk.give(graph, order);
    let mut turn = 0;
    wait_for("the command", || {
        turn += 1;
        if desk.settle(graph) && turn % 200 == 0 {
            desk.give(graph, order);
        }
        let frames = graph.sent().into_iter().map(|(_, apdu)| frame_of(&apdu));
        let (head, body): (Head, Vec<u8>) = frames.into_iter().find(|(head, _)| head.frame_type == of)?;
        Some([&head.octets()[..], &body].concat())
    })
}

fn start(site: &Site) -> Graph {
    let graph = Graph::start_with(site, &Wishes::default());
    wait_for("the gate", || (graph.sum("metergraph_associations_gated", None) == 1).then_some(()));
    graph
}

#[test]
fn vector_restored_backups() {
    let Some(file) = json("extended/restore.json") else { return };
    for case in file["cases"].as_array().unwrap() {
        for device in case["devices"].as_array().unwrap() {
            let site = backup(case);
            restore(&site, case);
            let graph = start(&site);
            let mut desk = Desk::default();
            let steps = device["steps"].as_array().unwrap();
            let step = |step: &Value| {
                let place = format!("{}, {}: {}", case["title"], device["title"], step["title"]);
                let frame = hex(step["frame"].as_str().unwrap());
                judged(&graph, &frame, step["verdict"].as_str().unwrap(), &place);
            };
            // The shard hears where the device is, of all that comes before the gate opens; the command is
            // sent there. Only then is its challenge known.
            let opening = steps.iter().position(|step| step["opens"] == true).unwrap_or(steps.len());
            steps[..opening].iter().filter(|step| step["verdict"] == "gated").for_each(step);
            if opening == 0 {
                let report = site.devices[0].frame(FrameType::Report, 9, &plain());
                judged(&graph, &report, "gated", "a report");
            }
            let signed = hex(case["command"]["signed"].as_str().unwrap());
            let order = Order::Send { sid: sid(case), signed: &signed };
            let sealed = first_sealed(&graph, &mut desk, &order, FrameType::Command);
            assert_eq!(sealed, hex(case["command"]["frame"].as_str().unwrap()), "{}", case["title"]);
            let told = &case["group_command"];
            let signed = hex(told["signed"].as_str().unwrap());
            let order = Order::Broadcast { gid: gid(&case["groups"][0]), signed: &signed };
            let sealed = first_sealed(&graph, &mut desk, &order, FrameType::GroupCommand);
            assert_eq!(sealed, hex(told["frame"].as_str().unwrap()), "{}", case["title"]);
            steps.iter().for_each(step);
            let gated = graph.sum("metergraph_associations_gated", None);
            assert_eq!(gated, u64::from(device["after"]["gated"] == true), "{}", device["title"]);
            drop(graph.stop());
        }
    }
}

#[test]
fn vector_restored_backups_that_seal_nothing() {
    let Some(file) = json("extended/restore.json") else { return };
    for case in file["cases"].as_array().unwrap() {
        if case["devices"].as_array().is_some_and(|devices| !devices.is_empty()) {
            continue;
        }
        let site = backup(case);
        restore(&site, case);
        if case["exhausted"] != true {
            continue;
        }
        let graph = start(&site);
        let report = site.devices[0].frame(FrameType::Report, 9, &plain());
        judged(&graph, &report, "gated", "a report");
        let mut desk = Desk::default();
        let signed = desk.sign(Addressee::Device(Dev(octets(&case["dev"]))), Class::Read, &plain());
        desk.give(&graph, &Order::Send { sid: sid(case), signed: &signed });
        desk.wait(&graph);
        assert!(graph.drain().sent().is_empty(), "{}", case["title"]);
    }
}

/// What the signer had signed when the backup was made: its last command told the device to join the group.
fn signed_before(case: &Value) -> Vec<(u8, Vec<u8>)> {
    let (dev, group) = (Dev(octets(&case["dev"])), gid(&case["groups"][0]));
    let body = items(&[KeyItem::Join { gid: group, classes: Classes(0x3f) }]);
    let mut records = Vec::new();
    for (id, counter) in (1..).map(|id| CommandId([id; 16])).zip(case["counters"].as_array().unwrap()) {
        let (kind, ctr) = (number(&counter["kind"]) as u8, number(&counter["last"]));
        let to = addressee(kind, octets(&counter["scope"])).unwrap();
        if ctr == 0 {
            continue;
        }
        records.push(octets_of(&Ctr(commands::signer::Reservation {
            skid: 1,
            addressee: to,
            ctr,
            id,
            at: now(),
        })));
        if to == Addressee::Device(dev) {
            records.push(octets_of(&Signed { id, octets: &command(to, Class::Keys, ctr, &body) }));
            let (sid, epoch, received) = (Sid(1), Epoch(0), node::event::unix_ns());
            let report = Report { sid, dev, epoch, origin: Origin::Control, seq: 0, iv: 0, received };
            let result = [&[1, 1, kind][..], &ctr.to_be_bytes(), &[0]].concat();
            records.push((record::REPORT, [&report.head()[..], &result].concat()));
        }
    }
    records
}

/// Asks the signer, past the desk, and waits for the end.
fn ask(graph: &Graph, intent: &Intent) {
    let mut batch = Batch::default();
    batch.push(&SigningRequest { intent: intent.clone(), approvals: vec![] }.octets(), Frame::default());
    let edge = graph.intents.as_ref().unwrap();
    let number = edge.offer(batch).unwrap();
    wait_for("the signer", || (edge.settled() >= number).then_some(()));
}

#[test]
fn vector_restored_backups_sign_and_rekey_with_what_comes_next() {
    let Some(file) = json("extended/restore.json") else { return };
    for case in file["cases"].as_array().unwrap() {
        let (title, group) = (&case["title"], &case["groups"][0]);
        let site = backup(case);
        append(&site, &signed_before(case));
        restore(&site, case);
        let before = site.records().len();
        let graph = Graph::start_with(&site, &office::wishes(&site));
        office::open(&graph);
        let mut intents = Vec::new();
        for (id, counter) in (101..).zip(case["counters"].as_array().unwrap()) {
            let to = addressee(number(&counter["kind"]) as u8, octets(&counter["scope"])).unwrap();
            let joined = case["counters"][0]["last"] != 0;
            if matches!(to, Addressee::Group(_)) && !joined {
                continue;
            }
            let members: Membership = [Dev(octets(&case["dev"]))].into_iter().collect();
            let intent = Intent {
                id: CommandId([id; 16]),
                system: System(octets(&case["system"])),
                skid: 1,
                class: Class::Read,
                addressee: to,
                membership: if matches!(to, Addressee::Group(_)) { members.version() } else { 0 },
                body: vec![0x80, 3, 0x30, 0, 1],
                nbf: u32::try_from(now()).unwrap(),
                ttl: 60,
                requester: "alice".to_owned(),
            };
            ask(&graph, &intent);
            intents.push((intent.id, counter));
        }
        // Those on the way are in force at once: the last one is the first that is still to come.
        let front = office::front(&graph);
        if !group["next"].is_null() {
            wait_for(&format!("{title}: the next key"), || {
                front.group(gid(group), Page::NONE).ok()?.next_at.map(|_| ())
            });
        }
        drop(front);
        drop(graph.drain());
        let records = site.records().split_off(before);
        for (id, counter) in intents {
            let ctr = records.iter().find_map(|(kind, octets)| {
                let signed = (*kind == record::SIGNED).then(|| Signed::read(octets).unwrap())?;
                let ctr = SignedCommand::read(signed.octets).unwrap().command.ctr;
                (signed.id == id).then_some(ctr)
            });
            assert_eq!(ctr.map(u64::from), counter["next"].as_u64(), "{title}: {counter}");
            let refused = records.iter().find_map(|(kind, octets)| {
                let refused = (*kind == record::REFUSED).then(|| record::Refused::read(octets).unwrap())?;
                (refused.id == id).then(|| refused.code.to_owned())
            });
            assert_eq!(refused.as_deref(), ctr.is_none().then_some("SEC-SEQ"), "{title}: {counter}");
        }
        let keys = records.iter().filter(|(kind, _)| *kind == record::GROUP_KEY);
        let keys: Vec<u64> = keys.map(|(_, octets)| GroupKey::read(octets).unwrap().epoch.0.into()).collect();
        assert_eq!(keys.last().copied(), group["next"].as_u64(), "{title}");
        // End devices take a key at most 16 epochs ahead: further on it goes by several.
        let path = [&[group["last"].as_u64().unwrap()][..], &keys].concat();
        assert!(path.windows(2).all(|two| (two[0] + 1..=two[0] + 16).contains(&two[1])), "{title}: {path:?}");
    }
}
