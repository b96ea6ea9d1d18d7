//! Where orders to a device go: to the link that its last fresh frame came over. What somebody recorded, or made up,
//! and plays over a link of his own draws nothing to it.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use common::desk::Desk;
use common::device::plain;
use common::graph::{Graph, Wishes};
use common::meter::frame_of;
use common::site::Site;
use common::wait_for;
use metergraph_nodes::order::Order;
use seal::command::{Addressee, Class};
use seal::frame::FrameType;

#[test]
fn orders_go_where_the_last_fresh_frame_came_from_whoever_repeats_it() {
    let (site, _files) = Site::forgetful(1, 0);
    let site = site.with_key_store();
    let device = &site.devices[0];
    let graph = Graph::start_with(&site, &Wishes::default());
    let mut desk = Desk::default();
    let report = device.report(5, &plain());
    graph.send(1, std::slice::from_ref(&report));
    assert_eq!(graph.next_sent().0, 1);

    let mut forged = device.report(6, &plain());
    *forged.last_mut().unwrap() ^= 1;
    graph.send(7, &[report, forged]);
    wait_for("the forgery", || (graph.refused("SEC-UP-AUTH") == 1).then_some(()));
    let signed = desk.sign(Addressee::Device(device.dev), Class::Read, &plain());
    let mut ordered = |link: u32| {
        desk.give(&graph, &Order::Send { sid: device.sid, signed: &signed });
        desk.wait(&graph);
        let went = wait_for("the order", || {
            let (to, apdu) = graph.next_sent();
            (frame_of(&apdu).0.frame_type == FrameType::Command).then_some(to)
        });
        assert_eq!(went, link);
    };
    ordered(1);
    graph.send(8, &[device.report(6, &plain())]);
    wait_for("the fresh report", || (graph.next_sent().0 == 8).then_some(()));
    ordered(8);
    graph.drain();
}
