//! The worker over plugins in C: one that is sound, and some that are not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::path::PathBuf;

use common::{Running, compile, env, spec, table, tcp};
use metergraph_transport::{Bindings, TransportSpec, TransportWorker};
use node::{Batch, Frame, Severity};

fn faulty(name: &str, wrong: &str) -> TransportSpec {
    spec(&compile(name, "faulty.c", &[&format!("WRONG={wrong}")]))
}

/// How a worker ends whose driver is wrong, once it has been given a frame.
fn end(name: &str, wrong: &str) -> (Running, String) {
    let mut running = Running::start(&faulty(name, wrong), 8);
    running.event("link-up");
    running.send(&[(1, b"abc"), (1, b"de")]);
    let text = running.join().unwrap_err().to_string();
    assert!(!text.contains('\n'), "{text}");
    (running, text)
}

#[test]
fn what_is_sent_on_a_loop_comes_back() {
    let mut running = Running::start(&spec(&compile("loop", "loopback.c", &[])), 8);
    running.event("link-up");
    for round in 0..20u8 {
        let frames: Vec<Vec<u8>> = (0..100).map(|n| vec![round; n]).collect();
        let sent: Vec<(u32, &[u8])> = frames.iter().map(|frame| (1, frame.as_slice())).collect();
        running.send(&sent);
        let got = running.take(frames.len());
        assert!(got.iter().zip(&frames).all(|((link, got), sent)| *link == 1 && got == sent));
    }
    running.send(&[(2, b"nobody"), (1, &[0; 5000])]);
    running.until_sum("metergraph_transport_unsent_frames_total", Some("failed"), 1);
    assert_eq!(running.sum("metergraph_transport_unsent_frames_total", Some("link-down")), 1);
    assert_eq!(running.event("tx-link-down").severity, Severity::Warning);
    running.drain().unwrap();
    assert_eq!(running.sum("metergraph_transport_received_frames_total", None), 2000);
    assert_eq!(running.sum("metergraph_transport_sent_frames_total", None), 2000);
    assert_eq!(running.sum("metergraph_transport_links", None), 0);
    assert_eq!(running.event("link-down").detail, "loopback: host-closed");
}

#[test]
fn a_slow_ingress_holds_up_the_loop_and_loses_nothing() {
    let mut running = Running::start(&spec(&compile("slow", "loopback.c", &[])), 1);
    running.event("link-up");
    let mut total = 0;
    for mark in 0..40u8 {
        let mut batch = Batch::default();
        for _ in 0..50 {
            batch.push(&[mark; 100], Frame { link: 1, ..Frame::default() }.with_transport(3));
            total += 1;
        }
        running.offer(batch);
    }
    running.until("the upstream edge is full", |running| running.up.waiting() == 1);
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(running.down.waiting() > 0, "back-pressure reaches the downlink of a loop");
    let frames = running.take(total);
    let marks: Vec<u8> = frames.iter().map(|(_, octets)| *octets.first().unwrap()).collect();
    assert!(marks.is_sorted(), "in order");
    running.drain().unwrap();
}

#[test]
fn frames_of_another_transport_are_not_sent() {
    let mut running = Running::start(&spec(&compile("misrouted", "loopback.c", &[])), 8);
    let mut batch = Batch::default();
    batch.push(b"theirs", Frame { link: 1, ..Frame::default() }.with_transport(2));
    batch.push(b"ours", Frame { link: 1, ..Frame::default() }.with_transport(3));
    running.offer(batch);
    assert_eq!(running.take(1), [(1, b"ours".to_vec())]);
    assert_eq!(running.sum("metergraph_transport_unsent_frames_total", Some("misrouted")), 1);
    running.event("tx-misrouted");
}

#[test]
fn a_driver_that_breaks_ends_its_worker_with_one_line_and_a_count() {
    let (running, line) = end("poll", "p.poll=wrong_poll");
    assert_eq!(line, "plugin `loopback`: poll: internal fault (-13)");
    assert_eq!(running.sum("metergraph_transport_links", None), 0);
    let (_, line) = end("send", "p.send=wrong_send");
    assert!(line.contains("breaks the transport contract: send answers 3, where at most 2"), "{line}");
    let (_, line) = end("receive", "p.receive=wrong_receive");
    assert!(line.contains("a received frame at 3, 3 octets, is outside its batch"), "{line}");
    let (_, line) = end("boast", "p.receive=boasting_receive");
    assert!(line.contains("receive answers 3, but there are 2 frames"), "{line}");
    let (_, line) = end("overfull", "p.receive=overfull_receive");
    assert!(line.contains("breaks the transport contract"), "{line}");
}

#[test]
fn a_driver_that_gives_up_says_why() {
    let mut running = Running::start(&faulty("fatal", "p.events=fatal_events"), 8);
    let text = running.join().unwrap_err().to_string();
    assert_eq!(text, "plugin `loopback` gave up: antenna lost (input or output failed)");
    let mut running = Running::start(&faulty("events", "p.events=boasting_events"), 8);
    assert!(running.join().unwrap_err().to_string().contains("events answers 65"));
    let mut running = Running::start(&faulty("start", "p.start=wrong_start"), 8);
    let text = running.join().unwrap_err().to_string();
    assert_eq!(text, "plugin `loopback`: start: the radio is silent (timed out)");
}

#[test]
fn a_driver_that_does_not_open_says_why() {
    let open = |spec: &TransportSpec| TransportWorker::open(spec, &env()).unwrap_err().to_string();
    let line = open(&faulty("open", "p.open=wrong_open"));
    assert_eq!(line, "plugin `loopback`: open: no such radio (bad configuration)");
    assert!(open(&faulty("no_instance", "p.open=empty_open")).contains("success without an instance"));
    assert!(open(&faulty("endless", "p.open=endless_open")).contains("longest frame has 4294967295 octets"));
    let mut wrong = tcp([("idle_timeout", 5.into())]);
    assert!(open(&wrong).contains("unknown key `idle_timeout`"));
    wrong = TransportSpec { grants: table([]), ..tcp([]) };
    assert!(open(&wrong).contains("there is not exactly one tcp_listen grant; name one (not found)"));
    wrong = TransportSpec { grants: table([("wan", table([("tcp_listen", "here".into())]))]), ..tcp([]) };
    assert_eq!(open(&wrong), "grant `wan`: `here` is not IP:PORT");
    wrong = TransportSpec { plugin: "libtelepathy.so".into(), ..tcp([]) };
    assert!(open(&wrong).contains("is in none of the plugin folders"));
}

#[test]
fn an_event_that_means_nothing_is_told_and_ignored() {
    let mut running = Running::start(&faulty("unknown", "p.events=unknown_events"), 8);
    assert!(running.event("driver-event-unknown").detail.starts_with("kind 77"));
    running.send(&[(1, b"goes on")]);
    assert_eq!(running.take(1), [(1, b"goes on".to_vec())]);
}

#[test]
fn a_driver_that_balks_is_asked_again_and_not_without_pause() {
    let running = Running::start(&faulty("balks", "p.send=balking_send"), 8);
    running.send(&[(1, b"patience")]);
    assert_eq!(running.take(1), [(1, b"patience".to_vec())]);
}

#[test]
fn frames_that_a_driver_never_ends_are_counted_as_lost() {
    let begun = std::time::Instant::now();
    let mut running = Running::start(&faulty("keeps", "p.send=keeping_send"), 8);
    running.send(&[(1, b"gone"), (1, b"too")]);
    running.drain().unwrap();
    assert!(begun.elapsed() < common::LIMIT / 4, "the end does not wait for them for ever");
    assert_eq!(running.sum("metergraph_transport_unsent_frames_total", Some("lost")), 2);
}

#[test]
fn a_stop_counts_what_is_in_hand() {
    let mut running = Running::start(&faulty("stops", "p.send=keeping_send"), 8);
    running.event("link-up");
    running.send(&[(1, b"gone")]);
    running.until("it is taken", |running| running.down.taken() == 1);
    running.orders.stop();
    assert_eq!(running.join().unwrap_err().to_string(), "stopped");
    assert_eq!(running.sum("metergraph_transport_unsent_frames_total", Some("lost")), 1);
}

#[test]
fn the_hosts_services_check_what_they_are_passed() {
    let mut running = Running::start(&faulty("talks", "p.start=talking_start"), 8);
    running.event("link-up");
    assert_eq!(running.sum("metergraph_plugin_count_total", Some("beats")), 5);
    assert_eq!(running.sum("metergraph_plugin_value", Some("beats")), 7);
    running.drain().unwrap();
}

#[test]
fn many_instances_of_one_plugin_do_not_meet() {
    let path: PathBuf = compile("many", "loopback.c", &[]);
    assert_eq!(Bindings::default().load(&path, None).unwrap().description().version, "1.0");
    let all: Vec<Running> = (0..8).map(|_| Running::start(&spec(&path), 8)).collect();
    for (mark, running) in (0u8..).zip(&all) {
        running.send(&[(1, &[mark])]);
    }
    for (mark, running) in (0u8..).zip(&all) {
        assert_eq!(running.take(1), [(1, vec![mark])]);
    }
}
