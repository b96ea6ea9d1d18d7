//! The vectors of the security layer, driven through ingress, balancer, shard and journal.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use common::device::{Device, carry};
use common::graph::{Graph, Wishes};
use common::site::Site;
use common::vectors::{hex, json, octets};
use common::wait_for;
use journal::files::ForgetfulFiles;
use metergraph_nodes::record::{Origin, REPORT, kind_of};
use node::Edge;
use seal::control::{Down, Item};
use seal::frame::{Bound, Head};
use seal::ids::{Dev, Epoch, Sid, System};
use seal::profile1::Channel;
use seal::schedule::AssociationKeys;
use seal::secret::Key128;
use serde_json::Value;

/// Sites whose only device is that of a vector; making one takes a while.
#[derive(Default)]
struct Sites(HashMap<(Sid, Epoch), Site>);

impl Sites {
    /// The one of a vector, with an empty disk.
    fn of(&mut self, vector: &Device, prk: &str) -> &Site {
        let site = self.0.entry((vector.sid, vector.epoch)).or_insert_with(|| site(vector, prk));
        site.files = Arc::new(ForgetfulFiles::default());
        site
    }
}

/// A site whose only device is that of a vector, with the keys of this PRK_out.
fn site(vector: &Device, prk: &str) -> Site {
    let Device { system, dev, sid, epoch, .. } = vector;
    let profile = common::device::PROFILE;
    let row = format!("{dev},SN1,.75.1,{profile},profile1,{sid},{},{prk}", epoch.0);
    let shipment = format!("{}\n{row}\n", keystore::shipment::HEADER);
    Site::with(*system, &shipment, Arc::new(ForgetfulFiles::default()))
}

fn of<const N: usize>(case: &Value, key: &str) -> [u8; N] {
    octets(&case[key])
}

/// The device of a vector with the keys that the vector names.
fn named(case: &Value) -> Device {
    let key = case.get("k_up").unwrap_or(&case["key"]);
    Device {
        system: System(of(case, "system")),
        dev: Dev(of(case, "dev")),
        sid: Sid(u32::from_be_bytes(of(case, "sid"))),
        epoch: Epoch(u16::try_from(case["epoch"].as_u64().unwrap()).unwrap()),
        keys: AssociationKeys {
            up: Key128::from_octets(octets(key)),
            dn: Key128::from_octets([0; 16]),
            common_iv: of(case, "common_iv"),
        },
        title: c1222::ApTitleBuf::parse(".75.1").unwrap(),
    }
}

/// The vector's frame, sealed anew for the same device under the keys that the site has. One that does not
/// open stays one that does not.
fn sealed_anew(vector: &Device, ours: &Device, frame: &[u8]) -> Vec<u8> {
    let (head, body) = Head::split(frame).unwrap();
    let bound = Bound { system: vector.system, scope: vector.dev.into(), epoch: vector.epoch };
    let channel = Channel { key: &vector.keys.up, common_iv: &vector.keys.common_iv, bound };
    let mut body = body.to_vec();
    match channel.open(&head, &mut body) {
        Some(plaintext) => ours.frame(head.frame_type, head.seq, plaintext),
        None => frame.to_vec(),
    }
}

/// The PRK_out that `key-schedule.json` has for an association and epoch.
fn prk_of(schedule: &Value, sid: &Value, epoch: u64) -> Option<String> {
    let found = schedule.as_array().unwrap().iter().find(|row| row["sid"] == *sid && row["epoch"] == epoch);
    found.map(|row| row["prk_out"].as_str().unwrap().to_owned())
}

/// Stands where the journal would: takes records, and settles or fails them when the test says so.
struct Records {
    edge: Arc<Edge>,
    taken: Vec<u64>,
    reports: u64,
    settled: u64,
}

impl Records {
    fn take(&mut self) -> u64 {
        while let Some((number, batch)) = self.edge.take() {
            self.taken.push(number);
            self.reports += batch.frames.iter().filter(|frame| kind_of(frame) == REPORT).count() as u64;
        }
        self.reports
    }

    /// Answers whether any report was among what is settled now.
    fn settle(&mut self, failed: bool) -> bool {
        self.take();
        let before = std::mem::replace(&mut self.settled, self.reports);
        let last = self.taken.last().copied().unwrap_or(0);
        for number in self.taken.drain(..).filter(|_| failed) {
            self.edge.fail(number);
        }
        self.edge.settle(last);
        self.reports > before
    }
}

#[test]
fn vector_windows() {
    let Some(file) = json("profile/window.json") else { return };
    for sequence in file["sequences"].as_array().unwrap() {
        let title = sequence["title"].as_str().unwrap();
        let vector = named(sequence);
        let site = site(&vector, &"5a".repeat(32));
        let ours = &site.devices[0];
        let graph = Graph::start_with(&site, &Wishes { journal: false, ..Wishes::default() });
        let mut records =
            Records { edge: Arc::clone(&graph.records), taken: Vec::new(), reports: 0, settled: 0 };
        let mut acks = BTreeSet::new();
        for (place, step) in sequence["steps"].as_array().unwrap().iter().enumerate() {
            let place = format!("{title}, step {place}");
            acks.extend(step["ack"].as_str().map(hex));
            match step["op"].as_str().unwrap() {
                "frame" => {
                    let frame = sealed_anew(&vector, ours, &hex(step["frame"].as_str().unwrap()));
                    let verdict = step["verdict"].as_str().unwrap();
                    let mut count = |graph: &Graph| match verdict {
                        "accept" => records.take(),
                        "SEC-UP-DUP" => graph.sum("metergraph_frames_duplicate_total", None),
                        reason => graph.refused(reason),
                    };
                    let before = count(&graph);
                    graph.send(1, &[ours.carry_any(&frame)]);
                    wait_for(&format!("{place}: {verdict}"), || (count(&graph) == before + 1).then_some(()));
                }
                "fail" => drop(records.settle(true)),
                // Where nothing is new, nothing is acknowledged anew.
                _ if !records.settle(false) => {}
                _ => {
                    let expected = hex(step["ack"].as_str().unwrap());
                    wait_for(&format!("{place}: the acknowledgement"), || {
                        let sent: Vec<_> = graph.sent().iter().map(|(_, apdu)| item_of(ours, apdu)).collect();
                        // An earlier one may have been on its way.
                        assert!(sent.iter().all(|item| acks.contains(item)), "{place}: {sent:02x?}");
                        sent.contains(&expected).then_some(())
                    });
                }
            }
        }
        records.settle(false);
        graph.kill();
    }
}

/// The item of an acknowledgement that a device opened.
fn item_of(device: &Device, apdu: &[u8]) -> Vec<u8> {
    let mut item = Vec::new();
    Down::Ack(device.open(apdu).unwrap().1).write(&mut item);
    item
}

#[test]
fn vector_upstream() {
    let (Some(cases), Some(schedule)) = (json("profile/upstream.json"), json("profile/key-schedule.json"))
    else {
        return;
    };
    let mut sites = Sites::default();
    // One association and epoch after the other; counters come again, as the vectors have them.
    for case in cases.as_array().unwrap() {
        let Some(prk) = prk_of(&schedule, &case["sid"], case["epoch"].as_u64().unwrap()) else { continue };
        let vector = named(case);
        let site = sites.of(&vector, &prk);
        let graph = Graph::start(site);
        let frame = hex(case["frame"].as_str().unwrap());
        assert_eq!(site.devices[0].keys.up.expose(), vector.keys.up.expose());
        graph.send(1, &[carry(Some(&vector.title), &frame)]);
        let (_, ack) = site.devices[0].open(&graph.next_sent().1).unwrap();
        assert_eq!(u64::from(ack.highest), case["seq"].as_u64().unwrap());
        graph.drain();
        let (report, body) = site.reports().remove(0);
        assert_eq!(body, hex(case["plaintext"].as_str().unwrap()));
        // The plaintexts are random octets, hardly ever an EPSEM.
        let raw = report.origin == Origin::Raw;
        assert_eq!((report.sid, report.dev, report.epoch), (vector.sid, vector.dev, vector.epoch));
        assert!(raw || report.origin == Origin::Report || report.origin == Origin::Control);
    }
}

#[test]
fn vector_negative() {
    let (Some(cases), Some(schedule)) = (json("profile/negative.json"), json("profile/key-schedule.json"))
    else {
        return;
    };
    let (mut sites, mut tried) = (Sites::default(), 0);
    for case in cases.as_array().unwrap() {
        let verdict = case["verdict"].as_str().unwrap();
        let state = &case["state"];
        let plain = state["candidates"] == 0
            && state["retiring"].as_array().is_some_and(Vec::is_empty)
            && state["window"] == "empty";
        let prk = prk_of(&schedule, &case["sid"], state["active_epoch"].as_u64().unwrap());
        let (true, Some(prk)) = (plain && (verdict.starts_with("SEC-UP-") || verdict == "SEC-FORMAT"), prk)
        else {
            continue;
        };
        let vector = named(case);
        let site = sites.of(&vector, &prk);
        let graph = Graph::start(site);
        let frame = hex(case["frame"].as_str().unwrap());
        let apdu = carry_whole(&site.devices[0], &frame);
        if verdict == "SEC-UP-DUP" {
            graph.send(1, &[apdu.clone(), apdu]);
            graph.settle(2);
            assert_eq!(graph.sum("metergraph_frames_duplicate_total", None), 1);
        } else {
            graph.send(1, &[apdu]);
            graph.settle(1);
            assert_eq!(graph.refused(verdict), 1, "{}: {:?}", case["case"], graph.events());
        }
        let graph = graph.drain();
        assert_eq!(graph.sum("metergraph_frames_journaled_total", None), u64::from(verdict == "SEC-UP-DUP"));
        tried += 1;
    }
    assert!(tried > 0 || std::env::var_os("METERGRAPH_VECTORS").is_some(), "none was tried");
}

/// Carries a frame that may be cut or of another version, as a hand would do it.
fn carry_whole(device: &Device, frame: &[u8]) -> Vec<u8> {
    let mut whole = frame.to_vec();
    whole.resize(frame.len().max(17), 0);
    let mut apdu = device.carry_any(&whole);
    let cut = whole.len() - frame.len();
    apdu.truncate(apdu.len() - cut);
    // Outer, BE, 28 and 81 count one octet less for each that was cut.
    if cut > 0 {
        let user = apdu.windows(2).rposition(|octets| octets[0] == 0x81).unwrap();
        for at in [1, user - 3, user - 1, user + 1] {
            apdu[at] -= u8::try_from(cut).unwrap();
        }
    }
    apdu
}

#[test]
fn vector_carriage() {
    let Some(file) = json("profile/carriage.json") else { return };
    let site = Site::new(1, 1);
    let graph = Graph::start(&site);
    let mut count = 0;
    for case in file["refused"].as_array().unwrap() {
        let before = graph.refused("SEC-FORMAT");
        graph.send(1, &[hex(case["apdu"].as_str().unwrap())]);
        count += 1;
        graph.settle(count);
        // A head in the octet-aligned form that does not fit is SEC-FORMAT; octets that are no APDU at all
        // have the codec's name, and what is no profile-1 APDU is looked for among the classic devices.
        let events = graph.events();
        let named = graph.refused("SEC-FORMAT") == before + 1;
        let title = case["title"].as_str().unwrap();
        let other = ["no AC", "no control octet", "AC of 10 octets", "cut", "AC twice", "EAX' form of AC"];
        assert!(named || other.contains(&title), "{title}: {events:?}");
    }
    assert_eq!(graph.sum("metergraph_frames_refused_total", None), count);
    for case in file["carried"].as_array().unwrap().iter().filter(|case| case["direction"] == "up") {
        // Nobody's association here, or a registration: refused by name, never taken.
        graph.send(1, &[hex(case["apdu"].as_str().unwrap())]);
        count += 1;
    }
    graph.settle(count);
    let upstream = graph.refused("SEC-UP-UNKNOWN") + graph.refused("no-registrar");
    let cases = file["carried"].as_array().unwrap().iter().filter(|case| case["direction"] == "up").count();
    assert!(upstream >= cases as u64);
    graph.drain();
}
