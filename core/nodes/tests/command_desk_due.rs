//! A shard says once that an association should leave its epoch, however many frames say so.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use commands::desk::Why;
use common::device::{Device, plain};
use common::graph::{Graph, Wishes};
use common::meter::frame_of;
use common::office;
use common::site::Site;
use common::wait_for;
use metergraph_nodes::record::{self, Due};
use seal::command::{KeyItem, SignedCommand};
use seal::control::Items;
use seal::counter::ADVANCE_AT;
use seal::frame::{Bound, FrameType};
use seal::hex::Hex;
use seal::ids::Epoch;
use seal::profile1::Channel;
use seal::signature::{Signer, sha256};

/// The records of this kind in the journal of a head-end that has ended.
fn dues(site: &Site) -> Vec<Due> {
    let records = site.records().into_iter().filter(|(kind, _)| *kind == record::DUE);
    records.map(|(_, octets)| Due::read(&octets).unwrap()).collect()
}

/// So many frames that do not open, over links of which none is throttled.
fn flood(graph: &Graph, device: &Device, links: std::ops::Range<u32>) {
    let mut forged = device.frame(FrameType::Report, 1, &plain());
    forged[11] ^= 1;
    let forged = device.carry(&forged);
    for link in links {
        graph.send(link, &vec![forged.clone(); 128]);
    }
}

#[test]
fn a_flood_of_frames_that_do_not_open_writes_one_record() {
    let site = Site::new(2, 0);
    let (device, other) = (&site.devices[0], &site.devices[1]);
    let due = Due { sid: device.sid, dev: device.dev, epoch: device.epoch, why: Why::Failures };
    let graph = Graph::start(&site);
    flood(&graph, device, 0..7);
    flood(&graph, other, 0..4);
    graph.settle(11 * 128);
    flood(&graph, device, 7..40);
    graph.settle(44 * 128);
    graph.drain();
    assert_eq!(dues(&site), [due]);
    // A start has counted nothing so far.
    let graph = Graph::start(&site);
    flood(&graph, device, 0..7);
    graph.settle(7 * 128);
    graph.drain();
    assert_eq!(dues(&site), [due]);
}

#[test]
fn counters_near_their_end_write_one_record_a_run() {
    let site = Site::new(1, 0);
    let device = &site.devices[0];
    let due = Due { sid: device.sid, dev: device.dev, epoch: device.epoch, why: Why::Counters };
    for run in 0..2 {
        let graph = Graph::start(&site);
        graph.send(1, &[device.report(ADVANCE_AT - 2 + run, &plain())]);
        graph.next_sent();
        for seq in 0..20 {
            graph.send(1, &[device.report(ADVANCE_AT + 20 * run + seq, &plain())]);
            graph.next_sent();
        }
        assert_eq!(graph.event("epoch-due").severity, node::Severity::Warning);
        graph.drain();
        assert_eq!(dues(&site), vec![due; 1 + run as usize]);
    }
    assert_ne!(device.epoch, Epoch(0));
}

#[test]
fn a_record_that_could_not_be_written_is_written_by_the_next_frame() {
    let (site, files) = Site::forgetful(1, 0);
    let graph = Graph::start(&site);
    let device = &site.devices[0];
    graph.send(1, &[device.report(1, &plain())]);
    graph.next_sent();
    files.fail_syncs(1);
    graph.send(1, &[device.report(ADVANCE_AT, &plain())]);
    wait_for("the failure", || {
        (graph.sum("metergraph_frames_dropped_total", Some(("where", "journal-write"))) == 1).then_some(())
    });
    graph.send(1, &[device.report(ADVANCE_AT + 1, &plain())]);
    graph.next_sent();
    graph.drain();
    assert_eq!(dues(&site).len(), 1);
}

/// A graph whose policy lets campaigns ask for what concerns keys.
fn with_campaigns(site: &Site) -> Wishes {
    let (wishes, state) = (office::wishes(site), site.state());
    let text = std::fs::read_to_string(state.join("policy.toml")).unwrap();
    let text = text.replace("[requesters]\n", "[requesters]\ncampaign = [\"all\"]\n");
    let Ok(signature) = office::key(9).sign(&sha256(text.as_bytes()));
    let signature = format!("[[signature]]\nby = \"root\"\nes256 = \"{}\"\n", Hex(&signature));
    std::fs::write(state.join("policy.toml.sig"), signature).unwrap();
    std::fs::write(state.join("policy.toml"), text).unwrap();
    wishes
}

#[test]
fn a_flood_ends_with_a_signed_advance_for_its_device_alone() {
    let site = Site::new(2, 0).with_key_store();
    let graph = Graph::start_with(&site, &with_campaigns(&site));
    office::open(&graph);
    let (device, other) = (&site.devices[0], &site.devices[1]);
    graph.send(50, &[device.report(1, &plain()), other.report(1, &plain())]);
    wait_for("acknowledgements", || {
        (graph.sum("metergraph_frames_journaled_total", None) == 2).then_some(())
    });
    flood(&graph, device, 0..9);
    let signed = wait_for("a command", || {
        graph.sent().into_iter().find_map(|(link, apdu)| {
            let (head, mut body) = frame_of(&apdu);
            assert_ne!((head.frame_type, head.id), (FrameType::Command, other.sid.0));
            if head.frame_type != FrameType::Command {
                return None;
            }
            assert_eq!((link, head.id), (50, device.sid.0), "where it was heard last");
            let bound = Bound { system: device.system, scope: device.dev.into(), epoch: device.epoch };
            let channel = Channel { key: &device.keys.dn, common_iv: &device.keys.common_iv, bound };
            Some(channel.open(&head, &mut body).unwrap().to_vec())
        })
    });
    let command = SignedCommand::read(&signed).unwrap().command;
    let items: Vec<KeyItem<'_>> = Items::read(command.body).unwrap().collect();
    assert!(matches!(items[..], [KeyItem::Advance { delta: 1, .. }]), "{items:?}");
    assert_eq!(graph.sum("metergraph_epochs_due", Some(("why", "failures"))), 1);
    graph.kill();
    assert_eq!(dues(&site).len(), 1);
    let issued = site.records().into_iter().filter(|(kind, _)| *kind == record::ISSUED);
    let issued: Vec<_> = issued.map(|(_, octets)| record::Issued::read(&octets).unwrap()).collect();
    assert_eq!(issued.len(), 1, "before it was sent");
    assert_eq!((issued[0].sid, issued[0].epoch), (device.sid, device.epoch.next().unwrap()));
}
