//! How links come about: accepting with limits, dialling with back-off.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod rig;

use metergraph_tcp::Tcp;
use rig::{Rig, SECOND, apdu};
use transport_sdk::abi::status;
use transport_sdk::sim::SimHost;
use transport_sdk::{Event, LinkState, Reason, Transport};

const DIALS: &str = r#"{"connect": [{"address": "192.0.2.7:1153"}], "redial_min_s": 1, "redial_max_s": 64}"#;

#[test]
fn past_the_limit_peers_wait_and_are_told_of() {
    let mut rig = Rig::new(r#"{"links_max": 2}"#);
    let (first, _) = rig.peer();
    rig.peer();
    let listener = rig.sim.listeners()[0];
    let third = rig.sim.connect(listener);
    rig.sim.feed(third, &apdu(10, 3));
    rig.turn();
    assert_eq!((rig.tcp.stats().links, rig.frames.len()), (2, 0));
    assert_eq!(rig.notes(), [(Reason::LinksMax, 0)]);
    assert!(rig.sim.ready().is_empty(), "it does not ask to be told again and again");
    rig.sim.end(first);
    rig.turn();
    assert_eq!((rig.tcp.stats().links, rig.frames.len()), (2, 1));
}

#[test]
fn a_rush_of_peers_is_accepted_in_portions() {
    let mut rig = Rig::new("{}");
    let listener = rig.sim.listeners()[0];
    for _ in 0..1000 {
        rig.sim.connect(listener);
    }
    rig.once();
    assert!((1..1000).contains(&rig.tcp.stats().links));
    rig.turn();
    assert_eq!(rig.tcp.stats().links, 1000);
}

#[test]
fn one_connection_carries_both_directions_however_it_was_made() {
    let mut rig = Rig::new(DIALS);
    let socket = rig.sim.dialled()[0];
    rig.sim.establish(socket);
    rig.turn();
    let link = rig.last_link();
    rig.feed(socket, &apdu(10, 1));
    assert!(rig.send(link, &apdu(10, 2), 1, 0));
    rig.turn();
    assert_eq!(rig.frames, [(link, apdu(10, 1))]);
    assert_eq!(rig.sim.written(socket), apdu(10, 2));
    assert!(rig.sim.listeners().is_empty(), "a dialler does not listen unless told");
}

#[test]
fn a_peer_that_cannot_be_reached_is_dialled_ever_more_rarely() {
    let mut rig = Rig::new(DIALS);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        let socket = rig.sim.dialled()[0];
        rig.sim.fail(socket, status::NOT_FOUND);
        rig.turn();
        let failed = rig.sim.now();
        assert!(rig.sim.dialled().is_empty());
        rig.pass(rig.step.deadline - failed);
        pauses.push((rig.sim.now() - failed) / (SECOND / 10));
    }
    for (pause, whole) in pauses.iter().zip([10, 20, 40, 80, 160, 320, 640, 640, 640]) {
        assert!((whole / 2..=whole).contains(pause), "{pauses:?}");
    }
    assert!(rig.downs().iter().all(|(_, reason)| *reason == Reason::Refused));
}

#[test]
fn a_connection_that_is_never_made_is_given_up() {
    let mut rig = Rig::new(DIALS);
    let socket = rig.sim.dialled()[0];
    rig.pass(9 * SECOND);
    assert!(rig.sim.is_open(socket));
    rig.pass(2 * SECOND);
    assert!(!rig.sim.is_open(socket));
    assert_eq!(rig.downs()[0].1, Reason::Unreachable);
}

#[test]
fn a_link_that_falls_at_once_does_not_shorten_the_pause_and_one_that_stood_does() {
    let mut rig = Rig::new(DIALS);
    let mut ended = |stands: u64| {
        let socket = rig.sim.dialled()[0];
        rig.sim.establish(socket);
        rig.turn();
        rig.pass(stands);
        rig.sim.end(socket);
        rig.turn();
        let pause = rig.step.deadline - rig.sim.now();
        rig.pass(pause);
        pause
    };
    let flapping: Vec<u64> = (0..5).map(|_| ended(SECOND)).collect();
    assert!(flapping[4] >= 8 * SECOND, "{flapping:?}");
    assert!(ended(100 * SECOND) <= SECOND);
}

#[test]
fn a_refused_grant_is_told_and_tried_again() {
    let sim = SimHost::default();
    sim.refuse(Some(status::DENIED));
    assert_eq!(Tcp::open("wan", "{}", &sim.host()).unwrap_err().status, status::DENIED);
    let (mut tcp, _) = Tcp::open("wan", DIALS, &sim.host()).unwrap();
    tcp.start(&sim.host(), sim.now()).unwrap();
    let note = tcp.next_event(&sim.host()).unwrap();
    assert!(
        matches!(&note, Event::Note { reason: Reason::Unreachable, text, .. } if text.contains("192.0.2.7"))
    );
    sim.refuse(None);
    sim.advance(2 * SECOND);
    tcp.poll(&sim.host(), sim.now(), &[]).unwrap();
    assert_eq!(sim.dialled().len(), 1);
}

#[test]
fn links_open_by_address_and_close_by_number() {
    let mut rig = Rig::new("{}");
    let link = rig.tcp.open_link(&rig.sim.host(), "192.0.2.9:1153").unwrap();
    let socket = rig.sim.dialled()[0];
    assert!(rig.send(link, &apdu(10, 1), 1, 0), "not made yet: reported as down");
    rig.sim.establish(socket);
    rig.turn();
    let states = |event: &Event| match event {
        Event::Link(change) => Some(change.state),
        _ => None,
    };
    let states: Vec<LinkState> = rig.events.iter().filter_map(states).collect();
    assert_eq!(states, [LinkState::Connecting, LinkState::Up]);
    rig.tcp.close_link(&rig.sim.host(), link);
    rig.tcp.close_link(&rig.sim.host(), link);
    rig.turn();
    assert_eq!(rig.downs(), [(link, Reason::HostClosed)]);
    rig.pass(1000 * SECOND);
    assert!(rig.sim.dialled().is_empty(), "only configured peers are dialled again");
    rig.tcp.close(&rig.sim.host(), rig.sim.now()).unwrap();
    assert_eq!(rig.tcp.open_link(&rig.sim.host(), "192.0.2.9:1153").unwrap_err().status, status::CLOSED);
}
