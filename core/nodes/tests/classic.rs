//! Messages of classic (EAX') devices.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use c1222::epsem::ResponseControl;
use c1222::{
    ApTitleBuf, Apdu, Epsem, EpsemControl, EpsemWriter, Leniency, Qualifier, Request, SecurityMode,
    TableData, TableId, ap_title, canonified,
};
use common::device::{Classic, Message};
use common::graph::Graph;
use common::site::Site;
use common::wait_for;
use metergraph_nodes::record::Origin;
use node::event::unix_ns;
use node::{Severity, Source};
use seal::eax_prime::{EaxPrime, Mode};

fn now() -> u32 {
    u32::try_from(unix_ns() / 1_000_000_000).unwrap()
}

/// Sends a message and waits for its refusal.
fn refused(graph: &Graph, apdu: &[u8], reason: &str) {
    let before = graph.refused(reason);
    graph.send(1, &[apdu.to_vec()]);
    wait_for(reason, || (graph.refused(reason) == before + 1).then_some(()));
}

fn accepted(graph: &Graph, apdu: &[u8]) {
    let before = graph.sum("metergraph_frames_journaled_total", None);
    graph.send(1, &[apdu.to_vec()]);
    wait_for("a record", || {
        (graph.sum("metergraph_frames_journaled_total", None) == before + 1).then_some(())
    });
}

fn with_mode(message: &Message, mode: SecurityMode) -> Message {
    let control = EpsemControl::new(mode, ResponseControl::Never).with(EpsemControl::ED_CLASS_INCLUDED);
    Message { control, ..message.clone() }
}

#[test]
fn both_modes_are_taken_in_clear_and_a_replay_is_refused() {
    let site = Site::new(1, 2);
    let graph = Graph::start(&site);
    let device: &Classic = &site.classics[1];
    let iv = now();
    let ciphered = device.message(5, iv);
    let readable = with_mode(&device.message(6, iv), SecurityMode::Mac);
    let mut absolute = device.message(7, iv);
    absolute.calling = ApTitleBuf::parse(&format!("2.16.124.113620.1.22.0{}", device.title)).unwrap();
    for message in [&ciphered, &readable, &absolute] {
        accepted(&graph, &device.seal(message));
        refused(&graph, &device.seal(message), "SEC-UP-REPLAY");
    }
    // What tells messages apart is key, title, A8 and IV.
    accepted(&graph, &device.seal(&Message { invocation: 8, ..ciphered.clone() }));
    accepted(&graph, &device.seal(&Message { iv: Some(iv - 1), ..ciphered.clone() }));
    let graph = graph.drain();
    assert_eq!(graph.account(), (8, 8));
    assert!(graph.sent().is_empty(), "nobody asked");

    let mut expected = vec![0x92];
    expected.extend_from_slice(&ciphered.payload);
    for (report, body) in site.reports() {
        assert_eq!((report.origin, report.dev, report.epoch.0), (Origin::ClassicReport, device.dev, 2));
        assert_eq!(body, expected, "its EPSEM as one in clear");
    }
    assert_eq!(site.reports()[0].0.message_id(), format!("{}-c2-{iv:08x}-5", device.dev));

    // The replay cache comes back from the journal.
    let graph = Graph::start(&site);
    refused(&graph, &device.seal(&ciphered), "SEC-UP-REPLAY");
    graph.drain();
}

#[test]
fn each_refusal_has_its_name() {
    let site = Site::new(1, 1);
    let graph = Graph::start(&site);
    let device = &site.classics[0];
    let iv = now();
    let message = device.message(5, iv);
    refused(&graph, &device.seal(&device.message(1, iv - 1000)), "SEC-UP-REPLAY");
    refused(&graph, &device.seal(&device.message(2, iv + 1000)), "SEC-UP-REPLAY");
    let mut forged = device.seal(&message);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    refused(&graph, &forged, "SEC-UP-AUTH");
    refused(&graph, &device.seal(&Message { key_id: 3, ..message.clone() }), "SEC-UP-AUTH");
    refused(&graph, &device.seal(&Message { called: None, ..message.clone() }), "SEC-LEGACY");
    let stranger = ApTitleBuf::parse(".99.1").unwrap();
    refused(&graph, &device.seal(&Message { calling: stranger, ..message.clone() }), "SEC-UP-UNKNOWN");
    // A device of profile 1 is none of EAX'.
    let modern = site.devices[0].title.clone();
    refused(&graph, &device.seal(&Message { calling: modern, ..message.clone() }), "SEC-LEGACY");
    refused(&graph, &device.seal(&with_mode(&message, SecurityMode::Clear)), "clear");
    let clear = Message { iv: None, ..with_mode(&message, SecurityMode::Clear) };
    refused(&graph, &device.seal(&clear), "clear");
    refused(&graph, &device.seal(&Message { iv: None, ..message.clone() }), "no-session");
    // Never: whoever says so has not been restored.
    assert_eq!(graph.sum("metergraph_frames_journaled_total", None), 0);
    accepted(&graph, &device.seal(&message));
    let graph = graph.drain();
    assert_eq!(graph.account(), (11, 11));
}

#[test]
fn a_recovery_session_lifts_the_window_but_not_the_replay_cache() {
    let site = Site::new(0, 1);
    let graph = Graph::start(&site);
    let device = &site.classics[0];
    let mut message = device.message(5, 77);
    message.control = message.control.with(EpsemControl::RECOVERY_SESSION);
    accepted(&graph, &device.seal(&message));
    refused(&graph, &device.seal(&message), "SEC-UP-REPLAY");
    graph.drain();
}

#[test]
fn a_response_that_nobody_asked_for_is_marked_unmatched() {
    let site = Site::without_freshness(1);
    let graph = Graph::start(&site);
    let device = &site.classics[0];
    let response = Message {
        answer_to: Some(4),
        qualifier: None,
        payload: vec![1, 0],
        control: EpsemControl::new(SecurityMode::Cipher, ResponseControl::Always),
        ..device.message(9, 1_000_000)
    };
    accepted(&graph, &device.seal(&response));
    let graph = graph.drain();
    assert!(graph.sent().is_empty(), "a response is not answered");
    let (report, body) = site.reports().remove(0);
    assert_eq!((report.origin, report.seq, report.iv), (Origin::ClassicUnmatched, 9, 1_000_000));
    assert_eq!(body, [0x80, 1, 0]);
}

#[test]
fn a_canonified_header_of_sixteen_octets_is_refused_whatever_its_mac() {
    let site = Site::without_freshness(1);
    let graph = Graph::start(&site);
    let device = &site.classics[0];
    // Without called title it would be short enough to be forged without the key.
    let mut message = device.message(5, 9);
    message.called = None;
    message.qualifier = Some(Qualifier::NOTIFICATION);
    let mut apdu = device.seal(&message);
    let last = apdu.len() - 4;
    apdu[last..].fill(0);
    refused(&graph, &apdu, "SEC-LEGACY");
    graph.drain();
    assert!(site.reports().is_empty());
}

#[test]
fn a_body_that_is_no_epsem_is_kept_and_alarmed() {
    let site = Site::new(0, 1);
    let graph = Graph::start(&site);
    let device = &site.classics[0];
    accepted(&graph, &device.seal(&Message { payload: vec![9, 9], ..device.message(5, now()) }));
    let event = graph.event("SEC-UP-BODY");
    assert_eq!((event.severity, event.source), (Severity::Alarm, Source::Association(device.sid.0)));
    graph.drain();
}

#[test]
fn forged_messages_throttle_their_sender() {
    let site = Site::new(0, 2);
    let graph = Graph::start(&site);
    let device = &site.classics[0];
    let mut forged = device.seal(&device.message(5, now()));
    let last = forged.len() - 1;
    forged[last] ^= 1;
    for batch in 1..=6 {
        graph.send(5, &vec![forged.clone(); 50]);
        graph.settle(50 * batch);
    }
    let good = device.seal(&device.message(6, now()));
    graph.send(5, std::slice::from_ref(&good));
    graph.settle(301);
    assert_eq!(graph.refused("SEC-UP-LIMIT"), 1);
    graph.send(6, &[good]);
    let other = &site.classics[1];
    graph.send(5, &[other.seal(&other.message(1, now()))]);
    graph.settle(303);
    assert_eq!(graph.sum("metergraph_frames_journaled_total", None), 2);
    graph.drain();
}

/// Opens an answer with the device's key: its code by service, and its IV.
fn open_answer(device: &Classic, request: &Message, apdu: &[u8]) -> (Vec<u8>, u32) {
    let apdu = Apdu::decode(apdu, Leniency::Strict).unwrap();
    assert_eq!(apdu.envelope.answer_to.unwrap().value(), request.invocation);
    assert!(apdu.envelope.called.unwrap().same_node(&device.title.as_title()));
    let mut header = Vec::new();
    let key_iv = canonified::canonify(&apdu, None, &ap_title::ROOT, &mut header).unwrap();
    let places = canonified::sealed_places(&apdu).unwrap().unwrap();
    assert_eq!(Ok(places.mode), request.control.security_mode(), "in the mode of its request");
    let mode = if places.mode == SecurityMode::Cipher { Mode::Cipher } else { Mode::Clear };
    let mut payload = apdu.octets()[places.payload].to_vec();
    let mac = apdu.octets()[places.mac].try_into().unwrap();
    EaxPrime::new(&device.key).open(mode, &header, &mut payload, mac).unwrap();
    let epsem = Epsem::of_plaintext(EpsemControl(apdu.epsem().unwrap()[0]), &payload).unwrap();
    assert_eq!(epsem.control.response_control(), ResponseControl::Never);
    let codes = epsem.services().map(|service| service.unwrap()[0]).collect();
    (codes, u32::from_be_bytes(key_iv.iv))
}

/// A message with these services that asks for an answer.
fn asking(
    device: &Classic,
    invocation: u32,
    mode: SecurityMode,
    when: ResponseControl,
    services: &[Request<'_>],
) -> Message {
    let mut payload = Vec::new();
    let mut writer = EpsemWriter::new(&mut payload, EpsemControl(0x80), None);
    for service in services {
        writer.request(service);
    }
    payload.remove(0);
    Message { control: EpsemControl::new(mode, when), payload, ..device.message(invocation, now()) }
}

#[test]
fn whoever_asks_is_answered_when_the_report_is_durable_under_an_iv_of_its_own() {
    let (site, _, gate) = Site::gated(0, 2);
    let graph = Graph::start(&site);
    let device = &site.classics[1];
    let write = Request::FullWrite { table: TableId::standard(5), data: TableData::of(b"x") };
    let read = Request::FullRead(TableId::standard(1));
    let (always, exception) = (ResponseControl::Always, ResponseControl::OnException);
    let mut ivs = Vec::new();
    let mut ask = |graph: &Graph, message: &Message, expected: &[u8]| {
        graph.send(4, &[device.seal(message)]);
        let (link, apdu) = graph.next_sent();
        let (codes, iv) = open_answer(device, message, &apdu);
        assert_eq!((link, &codes[..]), (4, expected));
        ivs.push(iv);
    };
    ask(&graph, &asking(device, 1, SecurityMode::Cipher, always, &[write, read, write]), &[0, 2, 0]);
    ask(&graph, &asking(device, 2, SecurityMode::Mac, always, &[write]), &[0]);
    ask(&graph, &asking(device, 3, SecurityMode::Cipher, exception, &[write, read]), &[0, 2]);

    accepted(&graph, &device.seal(&asking(device, 4, SecurityMode::Cipher, exception, &[write])));
    accepted(&graph, &device.seal(&asking(device, 5, SecurityMode::Cipher, ResponseControl::Never, &[read])));
    assert!(graph.sent().is_empty(), "nothing was wrong, or nobody asked");

    gate.close();
    let message = asking(device, 6, SecurityMode::Cipher, always, &[write]);
    graph.send(4, &[device.seal(&message)]);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(graph.sent().is_empty());
    gate.open();
    ivs.push(open_answer(device, &message, &graph.next_sent().1).1);
    // A repeat is a replay: it is not answered.
    refused(&graph, &device.seal(&message), "SEC-UP-REPLAY");
    graph.kill();

    // Neither a journal that is read again nor a checkpoint loses the floor.
    for life in 0..3 {
        let graph = Graph::start(&site);
        let message = asking(device, 10 + life, SecurityMode::Cipher, always, &[write]);
        graph.send(4, &[device.seal(&message)]);
        ivs.push(open_answer(device, &message, &graph.next_sent().1).1);
        if life == 0 { graph.kill() } else { drop(graph.drain()) }
    }
    assert!(ivs.windows(2).all(|pair| pair[0] < pair[1]), "{ivs:?}");
}
