//! The fence of a head-end that runs: what it keeps back is counted as such, it opens late, and a copy that
//! starts later closes it.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::desk::Desk;
use common::graph::{Graph, Wishes};
use common::meter::Meter;
use common::site::Site;
use common::wait_for;
use journal::files::{Files, ForgetfulFiles};
use keystore::token::{self, Holder};
use metergraph_nodes::key_store::{Fence, incarnation_mark};

const DROPPED: &str = "metergraph_acknowledgements_dropped_total";

fn site(meters: u32) -> (Site, ForgetfulFiles, Vec<Meter>) {
    let (mut site, files) = Site::forgetful(meters, 0);
    let devices = std::mem::take(&mut site.devices);
    let meters = devices.into_iter().zip(0..).map(|(device, slot)| Meter::of(device, slot)).collect();
    (site.with_key_store(), files, meters)
}

fn dropped(graph: &Graph, place: &'static str) -> u64 {
    graph.sum(DROPPED, Some(("where", place)))
}

/// As `metergraph_fence` has it: waiting, open, refused.
fn states(graph: &Graph) -> [u64; 3] {
    ["waiting", "open", "refused"].map(|state| graph.sum("metergraph_fence", Some(("state", state))))
}

fn wait_states(graph: &Graph, states_wanted: [u64; 3]) {
    wait_for("the fence", || (states(graph) == states_wanted).then_some(()));
}

fn told(graph: &Graph, reason: &'static str) -> u64 {
    graph.sum("metergraph_events_total", Some(("reason", reason)))
}

fn monitored() -> Wishes {
    Wishes { monitor: true, ..Wishes::default() }
}

#[test]
fn a_fence_that_cannot_be_raised_keeps_acknowledgements_back_until_it_can() {
    let (site, files, mut meters) = site(3);
    let mut desk = Desk::default();
    let graph = Graph::start_with(&site, &monitored());
    desk.report(&graph, &mut meters);
    desk.until_heard(&graph, &mut meters);
    drop(graph.drain());
    let (folder, before) = (site.state().join("journal"), desk.heads.len());
    let mark = folder.join("incarnation");
    let good = files.read(&mark, 16).unwrap();
    files.write_atomically(&mark, b"damaged").unwrap();
    let graph = Graph::start_with(&site, &monitored());
    wait_states(&graph, [1, 0, 0]);
    assert_eq!(graph.services.find::<Fence>("keys").unwrap().check().unwrap_err().code(), "SEC-STORE");
    // Reading goes on.
    desk.report(&graph, &mut meters);
    wait_for("what is kept back", || (dropped(&graph, "fence") == 3).then_some(()));
    assert_eq!((dropped(&graph, "no-counter"), graph.sum("metergraph_frames_journaled_total", None)), (0, 3));
    desk.hear(&graph, &mut meters);
    assert_eq!(desk.heads.len(), before, "something was sealed");
    wait_for("the event", || (told(&graph, "SEC-STORE") > 0).then_some(()));
    assert!(graph.sum("metergraph_fence_tries_failed_total", Some(("reason", "SEC-STORE"))) > 0);
    // Mended while it runs.
    files.write_atomically(&mark, &good).unwrap();
    wait_states(&graph, [0, 1, 0]);
    desk.until_heard(&graph, &mut meters);
    wait_for("the event", || (told(&graph, "fence-open") == 1).then_some(()));
    assert_eq!((told(&graph, "SEC-FENCE"), incarnation_mark(&files, &folder).unwrap()), (0, 2));
    drop(graph.drain());
}

/// What a copy of this state does when it starts.
fn raise_as_a_copy(state: &Path) {
    let token = token::open(&state.join(keystore::FOLDER), Holder::KeyStore).unwrap();
    let incarnation = token.incarnation().unwrap();
    incarnation.raise(incarnation.read().unwrap() + 1).unwrap();
}

#[test]
fn a_copy_that_starts_later_closes_this_one_for_good_and_it_is_said() {
    let (site, _, mut meters) = site(2);
    let mut desk = Desk::default();
    let graph = Graph::start_with(&site, &monitored());
    desk.report(&graph, &mut meters);
    desk.until_heard(&graph, &mut meters);
    wait_states(&graph, [0, 1, 0]);
    assert_eq!((told(&graph, "SEC-FENCE"), dropped(&graph, "fence")), (0, 0));
    raise_as_a_copy(&site.state());
    // As far as the counters reach that are reserved.
    let mut reports = 0;
    wait_for("what is kept back", || {
        desk.hear(&graph, &mut meters);
        let settled = graph.account();
        if settled.0 == settled.1 {
            desk.report(&graph, &mut meters);
            reports += 1;
        }
        (dropped(&graph, "fence") >= 2).then_some(())
    });
    assert!(reports < 200, "{reports} rounds on reserved counters");
    assert_eq!(dropped(&graph, "no-counter"), 0);
    wait_states(&graph, [0, 0, 1]);
    wait_for("the event", || (told(&graph, "SEC-FENCE") > 0).then_some(()));
    let fence: Arc<Fence> = graph.services.find("keys").unwrap();
    assert_eq!(fence.check().unwrap_err().code(), "SEC-FENCE");
    assert_eq!(graph.sum("metergraph_fence_tries_failed_total", None), 0, "a refusal is not tried again");
    drop(fence);
    drop(graph.stop());
}
