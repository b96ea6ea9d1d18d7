//! A backup restored, as a program that shares no code with this one says how it goes on (security layer §8): the
//! first octets that are sealed, and what becomes of each frame at the gate.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::sync::Arc;

use c1222::ApTitleBuf;
use common::desk::Desk;
use common::device::{PROFILE, carry, plain};
use common::graph::{Graph, Wishes};
use common::meter::frame_of;
use common::site::Site;
use common::vectors::{hex, json, octets};
use common::wait_for;
use journal::files::OsFiles;
use journal::{Settings, Writer};
use keystore::{FOLDER, Store};
use metergraph_nodes::journal::Log;
use metergraph_nodes::key_store::Restore;
use metergraph_nodes::order::Order;
use metergraph_nodes::record::{GATED, Gated, RESERVATION, Record, Reservation, Restored};
use seal::command::{Addressee, Class};
use seal::frame::{FrameType, Head};
use seal::ids::{Dev, Epoch, Sid, System};
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

/// The state that is the backup: one association, whose counters are reserved up to the floor. Its token has
/// gone on since.
fn backup(case: &Value) -> Site {
    let (dev, sid) = (Dev(octets(&case["dev"])), sid(case));
    let prk = case["prk_out"].as_str().unwrap();
    let row = format!("{dev},SN1,.75.1,{PROFILE},profile1,{sid},{},{prk}", case["epoch"]);
    let shipment = format!("{}\n{row}\n", keystore::shipment::HEADER);
    let site = Site::with(System(octets(&case["system"])), &shipment, Arc::new(OsFiles)).with_key_store();
    drop(Graph::start(&site).drain());
    let log = Log::new(Arc::clone(&site.files), site.state().join("journal"));
    let mut writer = Writer::open(log.files(), log.folder(), settings(), log.durable()).unwrap();
    let mut reservation = Vec::new();
    Reservation { sid, epoch: epoch(&case["epoch"]), floor: number(&case["floor"]) }.write(&mut reservation);
    writer.append(RESERVATION, &reservation).unwrap();
    writer.commit().unwrap();
    writer.close().unwrap();
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
    let restored =
        Restore { store: &store, files, folder, settings: settings(), days, forced: false }.run().unwrap();
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

/// Gives the order until something comes down; the frame of it.
fn first_sealed(graph: &Graph, desk: &mut Desk, order: &Order<'_>) -> Vec<u8> {
    desk.give(graph, order);
    let mut turn = 0;
    wait_for("the command", || {
        turn += 1;
        if desk.settle(graph) && turn % 200 == 0 {
            desk.give(graph, order);
        }
        let (_, apdu) = graph.sent().into_iter().next()?;
        let (head, body): (Head, Vec<u8>) = frame_of(&apdu);
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
            let sealed = first_sealed(&graph, &mut desk, &Order::Send { sid: sid(case), signed: &signed });
            assert_eq!(sealed, hex(case["command"]["frame"].as_str().unwrap()), "{}", case["title"]);
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
