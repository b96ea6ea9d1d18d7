//! A head-end that goes on with the state of a backup (security layer §8): counters skip what the lost life may
//! have used, upstream frames count from the proof of a new challenge on, and no backup is restored twice.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use common::desk::Desk;
use common::device::plain;
use common::graph::{Graph, Wishes};
use common::meter::{Meter, items};
use common::site::Site;
use common::wait_for;
use journal::Settings;
use keystore::token::Config;
use keystore::{FOLDER, Store, Vault};
use metergraph_nodes::key_store::{
    Fence, FenceError, Restore, RestoreError, Restored, incarnation_mark, set_incarnation_mark,
};
use metergraph_nodes::order::Order;
use metergraph_nodes::record;
use seal::command::{Addressee, Class, Classes, KeyItem};
use seal::control::Up;
use seal::frame::FrameType;
use seal::ids::{Epoch, Gid};

const GID: Gid = Gid(0x8000_0203);
const DAYS: u32 = 2;
const SKIP: u32 = 3 << 16;

fn wishes() -> Wishes {
    Wishes { shards: 2, settings: vec![("keys", "apply_s", 1.into())], ..Wishes::default() }
}

fn meters(site: &mut Site) -> Vec<Meter> {
    let devices = std::mem::take(&mut site.devices);
    devices.into_iter().zip(0..).map(|(device, slot)| Meter::of(device, slot)).collect()
}

fn report(graph: &Graph, meters: &mut [Meter]) {
    let apdus: Vec<_> = meters.iter_mut().map(|meter| meter.up(FrameType::Report, &plain())).collect();
    graph.send(1, &apdus);
}

fn until(what: &str, graph: &Graph, desk: &mut Desk, meters: &mut [Meter], holds: impl Fn(&[Meter]) -> bool) {
    let mut turn = 0;
    wait_for(what, || {
        desk.settle(graph);
        desk.hear(graph, meters);
        if holds(meters) {
            return Some(());
        }
        turn += 1;
        if turn % 50 == 0 {
            let apdus: Vec<_> = meters.iter().flat_map(Meter::repeats).collect();
            graph.send(1, &apdus);
        }
        None
    });
}

fn heard(meters: &[Meter]) -> bool {
    meters.iter().all(|meter| meter.unacknowledged.is_empty())
}

fn advance(campaign: u32, challenge: u8) -> Vec<u8> {
    items(&[KeyItem::Advance { campaign, delta: 1, challenge: &[challenge; 8] }])
}

/// Tells each meter to advance.
fn advance_all(graph: &Graph, desk: &mut Desk, meters: &mut [Meter], campaign: u32, challenge: u8) {
    for meter in meters.iter() {
        let to = Addressee::Device(meter.dev());
        let signed = desk.sign(to, Class::Keys, &advance(campaign, challenge));
        desk.give(graph, &Order::Send { sid: meter.sid(), signed: &signed });
    }
    desk.wait(graph);
}

/// Copies a folder over another one, without the files of tokens and locks.
fn copy(from: &Path, to: &Path, tokens: &[std::path::PathBuf]) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy(&source, &target, tokens);
        } else if entry.file_name() != "lock"
            && !tokens.iter().any(|path| path.file_name() == source.file_name())
        {
            fs::copy(source, target).unwrap();
        }
    }
}

/// Puts the backup in the place of the state; only the tokens stay.
fn lose(state: &Path, backup: &Path, tokens: &[std::path::PathBuf]) {
    let aside = tempfile::tempdir().unwrap();
    let there: Vec<_> = tokens.iter().filter(|path| path.exists()).collect();
    for (number, path) in there.iter().enumerate() {
        fs::copy(path, aside.path().join(number.to_string())).unwrap();
    }
    fs::remove_dir_all(state).unwrap();
    copy(backup, state, &[]);
    for (number, path) in there.iter().enumerate() {
        fs::copy(aside.path().join(number.to_string()), path).unwrap();
    }
}

fn restore(site: &Site, forced: bool) -> Result<Restored, RestoreError> {
    restore_later(site, forced, 0)
}

/// As [`restore`], so many days from now.
fn restore_later(site: &Site, forced: bool, days: u64) -> Result<Restored, RestoreError> {
    let store = Arc::new(Store::open(&site.state().join(FOLDER)).unwrap());
    let (files, folder) = (Arc::clone(&site.files), site.state().join("journal"));
    let settings = Settings { segment_octets: 1 << 20, ..Settings::default() };
    let now = node::event::unix_ns() / 1_000_000_000 + days * 86_400;
    Restore { store: &store, files, folder, settings, days: DAYS, now, forced }.run()
}

fn may_seal(graph: &Graph) -> bool {
    let fence = graph.services.find::<Fence>("keys").unwrap();
    wait_for("the fence", || match fence.check() {
        Err(FenceError::NotYet) => None,
        checked => Some(checked.is_ok()),
    })
}

/// Makes all meters members of the group and gives it a key.
fn join(graph: &Graph, desk: &mut Desk, meters: &mut [Meter]) {
    let vault: Arc<Vault> = graph.services.find("keys").unwrap();
    let (epoch, activate_at) = (Epoch(1), 1);
    let sealed = vault.draw_group_key(GID, epoch).unwrap();
    desk.give(graph, &Order::GroupKey { gid: GID, epoch, activate_at, sealed: &sealed });
    desk.wait(graph);
    let body = items(&[KeyItem::Join { gid: GID, classes: Classes(0x3f) }]);
    for at in 0..meters.len() {
        let sid = meters[at].sid();
        let signed = desk.sign(Addressee::Device(meters[at].dev()), Class::Keys, &body);
        desk.give(graph, &Order::Send { sid, signed: &signed });
        until("a member", graph, desk, meters, |meters| meters[at].is_member(GID));
        desk.give(graph, &Order::Deliver { sid, gid: GID, epoch, activate_at, sealed: &sealed });
    }
    let keyed = |meter: &Meter| meter.receiver.groups.all().iter().any(|group| !group.held.is_empty());
    until("keys", graph, desk, meters, |meters| heard(meters) && meters.iter().all(keyed));
}

fn broadcast(graph: &Graph, desk: &mut Desk, meters: &mut [Meter]) {
    let signed = desk.sign(Addressee::Group(GID), Class::Read, &plain());
    let before: Vec<usize> = meters.iter().map(|meter| meter.executed.len()).collect();
    desk.give(graph, &Order::Broadcast { gid: GID, signed: &signed });
    until("the broadcast", graph, desk, meters, |meters| {
        meters.iter().zip(&before).all(|(meter, before)| meter.executed.len() > *before)
    });
}

/// What each meter sends under the epoch that it has is new to the restored state, and refused.
fn nothing_counts(graph: &Graph, desk: &mut Desk, meters: &mut [Meter]) {
    let (refused, journaled) =
        (graph.refused("SEC-FENCE"), graph.sum("metergraph_frames_journaled_total", None));
    report(graph, meters);
    wait_for("refusals", || (graph.refused("SEC-FENCE") == refused + meters.len() as u64).then_some(()));
    desk.hear(graph, meters);
    assert_eq!(graph.sum("metergraph_frames_journaled_total", None), journaled);
}

#[test]
fn a_backup_goes_on_without_a_nonce_twice_or_a_replay() {
    let mut site = Site::new(6, 0);
    let mut meters = meters(&mut site);
    let site = site.with_key_store();
    let (state, backup) = (site.state(), tempfile::tempdir().unwrap());
    let tokens = Config::read(&state.join(FOLDER)).unwrap().files();
    let mut desk = Desk::default();

    // A first life, of which there is a backup.
    let graph = Graph::start_with(&site, &wishes());
    report(&graph, &mut meters);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    join(&graph, &mut desk, &mut meters);
    broadcast(&graph, &mut desk, &mut meters);
    until("answers", &graph, &mut desk, &mut meters, heard);
    // What the backup knows.
    let known: Vec<Vec<u8>> = meters.iter_mut().map(|meter| meter.up(FrameType::Report, &plain())).collect();
    graph.send(1, &known);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    drop(graph.drain());
    copy(&state, backup.path(), &tokens);

    // A second one, which is lost: commands, broadcasts, and an epoch that the backup does not know.
    let graph = Graph::start_with(&site, &wishes());
    report(&graph, &mut meters);
    broadcast(&graph, &mut desk, &mut meters);
    until("answers", &graph, &mut desk, &mut meters, heard);
    let mut lost: Vec<Vec<u8>> =
        meters.iter_mut().map(|meter| meter.up(FrameType::Report, &plain())).collect();
    graph.send(1, &lost);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    // One does not hear of the advance.
    advance_all(&graph, &mut desk, &mut meters[..5], 1, 7);
    // Its proofs are frames that a restored head-end could be told once more.
    wait_for("the proofs", || {
        desk.hear(&graph, &mut meters);
        lost.extend(meters.iter().flat_map(Meter::repeats));
        meters[..5].iter().all(|meter| meter.receiver.campaign == 1).then_some(())
    });
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    let first = lost.len();
    lost.extend(meters.iter_mut().map(|meter| meter.up(FrameType::Report, &plain())));
    graph.send(1, &lost[first..]);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    broadcast(&graph, &mut desk, &mut meters);
    until("answers", &graph, &mut desk, &mut meters, heard);
    drop(graph.drain());
    lose(&state, backup.path(), &tokens);

    // The backup alone seals nothing; what comes up is taken in, since the fence says nothing of reading.
    let graph = Graph::start_with(&site, &wishes());
    assert!(!may_seal(&graph));
    drop(graph.drain());
    lose(&state, backup.path(), &tokens);

    // Its newest report says that it cannot be as young as that.
    for forced in [false, true] {
        let refused = restore_later(&site, forced, 5);
        assert!(matches!(refused, Err(RestoreError::Younger { days: DAYS, needed: 5 })), "{refused:?}");
    }
    let restored = restore_later(&site, false, u64::from(DAYS)).unwrap();
    assert_eq!((restored.associations, restored.group_epochs, restored.skip), (6, 1, SKIP));
    assert!(matches!(restore(&site, false), Err(RestoreError::Ours { .. })), "it is our own now");

    // A third life, with a restart before the gate is open.
    for _ in 0..2 {
        let graph = Graph::start_with(&site, &wishes());
        assert!(may_seal(&graph));
        wait_for("the gauge", || (graph.sum("metergraph_associations_gated", None) == 6).then_some(()));
        nothing_counts(&graph, &mut desk, &mut meters);
        // Replays of the lost life, its proofs among them.
        let refused = graph.refused("SEC-FENCE");
        graph.send(1, &lost);
        wait_for("refusals", || (graph.refused("SEC-FENCE") == refused + lost.len() as u64).then_some(()));
        // What the backup knows may be old: no acknowledgement says that it came.
        let duplicates = || graph.sum("metergraph_frames_duplicate_total", None);
        graph.send(1, &known);
        wait_for("the duplicates", || (duplicates() == known.len() as u64).then_some(()));
        let graph = graph.drain();
        assert!(graph.sent().is_empty(), "a gated association acknowledges nothing");
        assert_eq!(graph.sum("metergraph_acknowledgements_total", None), 0);
    }
    let graph = Graph::start_with(&site, &wishes());
    // A device that does not ratchet proves the challenge under an epoch that the lost life may have used.
    let stale: Vec<_> = meters[..5]
        .iter_mut()
        .map(|meter| {
            let mut body = Vec::new();
            let epoch = meter.epoch();
            seal::control::Item::write(&Up::Proof { epoch, challenge: &[8; 8] }, &mut body);
            meter.up(FrameType::UpControl, &body)
        })
        .collect();
    let before: Vec<Epoch> = meters.iter().map(Meter::epoch).collect();
    // Sealed downstream frames of a gated association are such as no life has sealed: the ledger says so.
    broadcast(&graph, &mut desk, &mut meters);
    let signed = desk.sign(Addressee::Group(GID), Class::Keys, &advance(2, 8));
    for shard in 0..2 {
        let sids = meters.iter().map(Meter::sid).filter(|sid| sid.partition() % 2 == shard);
        let sids: Vec<u8> = sids.flat_map(|sid| sid.0.to_be_bytes()).collect();
        desk.give(&graph, &Order::Issue { sids: &sids, campaign: 2, delta: 1, challenge: [8; 8] });
    }
    desk.wait(&graph);
    let refused = graph.refused("SEC-FENCE");
    graph.send(1, &stale);
    wait_for("refusals", || (graph.refused("SEC-FENCE") >= refused + 5).then_some(()));
    for meter in &mut meters {
        // The end device seals anew, under the new epoch, what was not heard under the one before.
        meter.unacknowledged.clear();
    }
    desk.give(&graph, &Order::Broadcast { gid: GID, signed: &signed });
    until("the proofs", &graph, &mut desk, &mut meters, |meters| {
        heard(meters) && meters.iter().zip(&before).all(|(meter, before)| meter.epoch() > *before)
    });
    wait_for("the gauge", || (graph.sum("metergraph_associations_gated", None) == 0).then_some(()));
    // Now all goes on.
    report(&graph, &mut meters);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    let refused = graph.refused("SEC-UP-EPOCH");
    graph.send(1, &lost);
    wait_for("refusals", || (graph.refused("SEC-UP-EPOCH") == refused + lost.len() as u64).then_some(()));
    let signed: Vec<_> = meters
        .iter()
        .map(|meter| (meter.sid(), desk.sign(Addressee::Device(meter.dev()), Class::Read, &plain())))
        .collect();
    let before: Vec<usize> = meters.iter().map(|meter| meter.executed.len()).collect();
    signed.iter().for_each(|(sid, signed)| desk.give(&graph, &Order::Send { sid: *sid, signed }));
    until("commands", &graph, &mut desk, &mut meters, |meters| {
        heard(meters) && meters.iter().zip(&before).all(|(meter, before)| meter.executed.len() > *before)
    });
    drop(graph.drain());

    // What the gate let through is all that there is, also after a restart.
    let graph = Graph::start_with(&site, &wishes());
    report(&graph, &mut meters);
    until("acknowledgements", &graph, &mut desk, &mut meters, heard);
    graph.send(1, &lost);
    wait_for("refusals", || (graph.refused("SEC-UP-EPOCH") == lost.len() as u64).then_some(()));
    drop(graph.drain());

    // The same backup once more.
    lose(&state, backup.path(), &tokens);
    assert!(matches!(restore(&site, false), Err(RestoreError::Again { .. })));
    let graph = Graph::start_with(&site, &wishes());
    assert!(!may_seal(&graph), "a refused restore changes nothing");
    drop(graph.drain());
    let forced = restore(&site, true).unwrap();
    assert_eq!(forced.skip, 2 * SKIP, "what the first restore skipped, it skips once more");
    let graph = Graph::start_with(&site, &wishes());
    assert!(may_seal(&graph));
    report(&graph, &mut meters);
    wait_for("refusals", || (graph.refused("SEC-UP-UNKNOWN") == 6).then_some(()));
    let signed = desk.sign(Addressee::Group(GID), Class::Read, &plain());
    desk.give(&graph, &Order::Broadcast { gid: GID, signed: &signed });
    desk.wait(&graph);
    drop(graph.drain());
}

#[test]
fn a_restore_that_was_cut_anywhere_is_begun_again() {
    let mut done = 0;
    for stop in 0..40 {
        for seed in 0..3 {
            let (mut site, files) = Site::forgetful(3, 0);
            let mut meters = meters(&mut site);
            let site = site.with_key_store();
            let folder = site.state().join("journal");
            let mut desk = Desk::default();
            let graph = Graph::start_with(&site, &wishes());
            report(&graph, &mut meters);
            until("acknowledgements", &graph, &mut desk, &mut meters, heard);
            drop(graph.drain());
            // Another copy has run since.
            let tokens = Store::open(&site.state().join(FOLDER)).unwrap();
            let token = tokens.token().incarnation().unwrap();
            token.raise(token.read().unwrap() + 3).unwrap();
            drop((token, tokens));
            files.stop_after(stop);
            let first = restore(&site, false);
            files.cut(seed);
            match (restore(&site, false), first) {
                (Ok(_), _) => {}
                (Err(RestoreError::Ours { .. }), _) => done += 1,
                (Err(error), first) => panic!("stop {stop} seed {seed}: {error}, first {first:?}"),
            }
            let mark = incarnation_mark(&*site.files, &folder).unwrap();
            assert_eq!(mark, 5, "one restore, whatever happened: stop {stop} seed {seed}");
            let records = site.records();
            let gated = records.iter().filter(|(kind, _)| *kind == record::GATED);
            let floors: Vec<u32> =
                gated.map(|(_, octets)| record::Gated::read(octets).unwrap().floor).collect();
            assert!(floors.len() >= 3 && floors.iter().all(|floor| *floor >= SKIP), "{floors:?}");
            if stop % 8 == 0 {
                let graph = Graph::start_with(&site, &wishes());
                assert!(may_seal(&graph));
                nothing_counts(&graph, &mut desk, &mut meters);
                meters.iter_mut().for_each(|meter| meter.unacknowledged.clear());
                advance_all(&graph, &mut desk, &mut meters, 1, 3);
                until("the proofs", &graph, &mut desk, &mut meters, |meters| {
                    heard(meters) && meters.iter().all(|meter| meter.receiver.campaign == 1)
                });
                drop(graph.stop());
            }
        }
    }
    assert!(done > 0, "the last cuts were behind its end");
}

#[test]
fn a_state_that_is_no_older_copy_is_not_restored() {
    let site = Site::new(2, 0).with_key_store();
    drop(Graph::start_with(&site, &wishes()).drain());
    assert!(matches!(restore(&site, true), Err(RestoreError::Ours { mark: 1 })));
    // The token itself is an older one, made from a backup of its own.
    set_incarnation_mark(&*site.files, &site.state().join("journal"), 9).unwrap();
    assert_eq!(restore(&site, false).unwrap().incarnation, 10);
    let graph = Graph::start_with(&site, &wishes());
    assert!(may_seal(&graph));
    drop(graph.drain());
}
