//! Bad input of every kind into a running head-end: each a named refusal, counted; nothing panics, nothing
//! acknowledged is lost, other links are undisturbed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use c1222::epsem::ResponseControl;
use c1222::{Apdu, Envelope, EpsemControl, EpsemWriter, InvocationId, Leniency, Qualifier, Request};
use c1222::{SecurityMode, TableData, TableId, carriage};
use keystore::shipment::{RowKeys, Shipment};
use seal::frame::{Bound, FrameType};
use seal::ids::Epoch;
use seal::profile1::Channel;
use seal::schedule;
use support::lab::{Lab, SYSTEM};

const REFUSED: &str = "metergraph_frames_refused_total";

/// Waits until a number of the status has a value.
fn wait_for(lab: &Lab, name: &str, label: Option<(&str, &str)>, value: i64) {
    let since = Instant::now();
    loop {
        let now = lab.status().map(|status| status.sum(name, label));
        if now == Some(value) {
            return;
        }
        assert!(
            since.elapsed() < Duration::from_secs(30),
            "{name} {label:?} is {now:?}, not {value}; {}",
            lab.log()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn connect(lab: &Lab) -> TcpStream {
    TcpStream::connect(("127.0.0.1", lab.port)).unwrap()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A made-up meter that can say anything.
struct Meter {
    row: keystore::shipment::Row,
}

impl Meter {
    fn of(lab: &Lab, place: usize) -> Self {
        let shipment = Shipment::read(std::fs::File::open(lab.shipment()).unwrap()).unwrap();
        Self { row: shipment.into_rows().swap_remove(place) }
    }

    /// The APDU of a report with this counter, under an epoch so many steps on.
    fn report(&self, seq: u32, epochs_on: u16) -> Vec<u8> {
        let RowKeys::Profile1(prk) = &self.row.keys else { panic!("a profile-1 device") };
        let keys = schedule::derive(prk, self.row.sid);
        let epoch = Epoch(self.row.epoch.0 + epochs_on);
        let bound = Bound { system: SYSTEM.parse().unwrap(), scope: self.row.dev.into(), epoch };
        let channel = Channel { key: &keys.up, common_iv: &keys.common_iv, bound };
        let mut epsem = Vec::new();
        let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Never);
        EpsemWriter::new(&mut epsem, control, Some(*b"METR")).request(&Request::FullWrite {
            table: TableId::standard(5),
            data: TableData::of(b"a table without readings"),
        });
        let head = channel.head(FrameType::Report, self.row.sid.0, seq);
        let mut frame = head.octets().to_vec();
        assert!(channel.seal(&head, &epsem, &mut frame));
        let mut apdu = Vec::new();
        let envelope = Envelope {
            calling: Some(self.row.title.as_title()),
            qualifier: Some(Qualifier::NOTIFICATION),
            ..Envelope::new(InvocationId::new(seq))
        };
        carriage::write(&mut apdu, &envelope, &frame).unwrap();
        apdu
    }
}

/// The captured response of a real Elster meter, and the row of a shipment file that provisions it.
fn elster() -> Option<(Vec<u8>, String)> {
    let messages = support::json("c1222/messages.json")?;
    let message = messages.as_array().unwrap().iter().find(|message| message["id"] == "elster-v6-rsp")?;
    let octets = hex(message["apdu"].as_str().unwrap());
    let title = Apdu::decode(&octets, Leniency::Strict).unwrap().envelope.calling.unwrap().to_string();
    let profile = support::root().join("graphs/profiles/elster-classic.toml").display().to_string();
    let key = message["key"].as_str().unwrap();
    Some((octets, format!("00000000000e15e5,ELSTER1,{title},{profile},classic,0000ffff,0,0:{key}\n")))
}

#[test]
fn vector_a_real_meters_response_is_an_unmatched_record_and_any_bit_flipped_is_refused() {
    let Some((octets, row)) = elster() else { return };
    let lab = Lab::new(1, &row);
    let text =
        lab.graph_text("").replace("idle_timeout_s = 900", "idle_timeout_s = 900, frame_timeout_s = 1");
    std::fs::write(lab.graph(), text).unwrap();
    let head_end = lab.head_end();

    // Every bit of the value, all over one connection.
    let value_at = octets.len() - 0x98;
    let mut link = connect(&lab);
    let mut flips = 0;
    for bit in value_at * 8..octets.len() * 8 {
        let mut flipped = octets.clone();
        flipped[bit / 8] ^= 0x80 >> (bit % 8);
        link.write_all(&flipped).unwrap();
        flips += 1;
        // Too many failures of one sender are throttled, which is a refusal too; the sum is what counts.
        assert!(link.set_nodelay(true).is_ok());
    }
    wait_for(&lab, REFUSED, None, flips);
    assert_eq!(lab.status().unwrap().sum("metergraph_frames_journaled_total", None), 0);

    // Every bit of tag and length, each on a connection of its own: refused, or never whole. The head-end
    // ends the link, and nothing is ever answered.
    let links: Vec<TcpStream> = (0..value_at * 8)
        .map(|bit| {
            let mut flipped = octets.clone();
            flipped[bit / 8] ^= 0x80 >> (bit % 8);
            let mut link = connect(&lab);
            link.write_all(&flipped).unwrap();
            link
        })
        .collect();
    for mut link in links {
        link.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut answer = Vec::new();
        let ended = link.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{ended:?} {answer:?}");
    }
    let status = lab.status().unwrap();
    assert!(status.sum(REFUSED, None) >= flips + value_at as i64 * 8, "each is counted");
    assert_eq!(status.sum("metergraph_frames_journaled_total", None), 0);

    // A minute's throttle of that sender ends with the head-end; then the true message is taken.
    lab.stop(head_end);
    let head_end = lab.head_end();
    let mut link = connect(&lab);
    link.write_all(&octets).unwrap();
    wait_for(&lab, "metergraph_frames_journaled_total", None, 1);
    link.write_all(&octets).unwrap();
    wait_for(&lab, REFUSED, Some(("reason", "SEC-UP-REPLAY")), 1);
    lab.stop(head_end);
    let output =
        support::metergraph(&["journal".into(), "--state".into(), lab.state().display().to_string()]);
    let records: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let reports: Vec<_> = records.iter().filter(|record| record["record"] == "report").collect();
    assert_eq!(reports.len(), 1, "{records:?}");
    assert_eq!(reports[0]["origin"], "classic-unmatched");
    assert_eq!(reports[0]["dev"], "00000000000e15e5");
}

#[test]
fn every_kind_of_bad_frame_is_refused_by_name_and_the_fleet_beside_it_is_undisturbed() {
    let lab = Lab::new(50, "");
    let text =
        lab.graph_text("").replace("idle_timeout_s = 900", "idle_timeout_s = 900, frame_timeout_s = 2");
    std::fs::write(lab.graph(), text).unwrap();
    let head_end = lab.head_end();
    // The last device is ours, the others are the fleet's.
    let meter = Meter::of(&lab, 49);
    let fleet = lab.fleet(&["--devices", "49", "--rate", "300", "--duration", "8", "--relays", "3"]);

    let mut link = connect(&lab);
    let good = meter.report(100, 0);
    link.write_all(&good).unwrap();
    let mut expected: Vec<(&str, i64)> = Vec::new();
    let mut send = |octets: &[u8], reason: &'static str| {
        link.write_all(octets).unwrap();
        match expected.iter_mut().find(|(name, _)| *name == reason) {
            Some((_, count)) => *count += 1,
            None => expected.push((reason, 1)),
        }
    };
    let last = good.len() - 1;
    let mut flipped = meter.report(101, 0);
    flipped[last] ^= 1;
    send(&flipped, "SEC-UP-AUTH");
    send(&meter.report(20, 0), "SEC-UP-REPLAY");
    send(&meter.report(102, 1), "SEC-UP-EPOCH");
    let at = good.windows(4).position(|octets| octets == meter.row.sid.0.to_be_bytes()).unwrap();
    let mut unknown = meter.report(103, 0);
    unknown[at] ^= 0x40;
    send(&unknown, "SEC-UP-UNKNOWN");
    let mut version = meter.report(104, 0);
    version[at - 1] = 0x21;
    send(&version, "SEC-FORMAT");
    // Whole to the framing, but no APDU inside.
    send(&[0x60, 3, 0xa8, 9, 1], "bad-length");
    send(&[0x60, 0], "missing-element");
    // EAX', but nothing in it.
    send(&hex("6016a803020101ac0fa20da00ba109800102810448f3d061"), "missing-element");
    // A message in clear from nobody we know as a classic device.
    let mut clear = Vec::new();
    let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Always);
    EpsemWriter::new(&mut clear, control, None).request(&Request::Identification);
    let envelope =
        Envelope { calling: Some(meter.row.title.as_title()), ..Envelope::new(InvocationId::new(9)) };
    envelope.wrap(&mut clear, 0);
    send(&clear, "SEC-UP-UNKNOWN");
    // The same frame again is a duplicate, not a refusal.
    link.write_all(&good).unwrap();
    for (reason, count) in &expected {
        wait_for(&lab, REFUSED, Some(("reason", reason)), *count);
    }
    wait_for(&lab, "metergraph_frames_duplicate_total", None, 1);

    // Endless segments: the first of ever new APDUs, never the rest.
    let mut segments = connect(&lab);
    let whole = {
        let mut apdu = Vec::new();
        apdu.extend(vec![0x55; 400]);
        envelope.wrap(&mut apdu, 0);
        apdu
    };
    for number in 0..200_u32 {
        let mut renumbered = Vec::new();
        renumbered.extend(vec![0x55; 400]);
        Envelope { invocation: InvocationId::new(number), ..envelope }.wrap(&mut renumbered, 0);
        let mut first = Vec::new();
        c1222::segment::split(&renumbered, 120, |segment| {
            if first.is_empty() {
                first = segment.to_vec();
            }
        })
        .unwrap();
        segments.write_all(&first).unwrap();
    }
    assert!(whole.len() > 400);
    let since = Instant::now();
    while lab.status().unwrap().sum(REFUSED, Some(("reason", "segmented-too-many"))) == 0 {
        assert!(since.elapsed() < Duration::from_secs(20), "{}", lab.log());
        std::thread::sleep(Duration::from_millis(50));
    }

    // Octets that are no APDU end their link; so does a length over the limit, and a peer that dawdles.
    for (octets, reason) in
        [(&b"GET / HTTP/1.0\r\n\r\n"[..], "framing"), (&[0x60, 0x84, 0x7f, 0xff, 0xff, 0xff][..], "oversize")]
    {
        let before = lab.status().unwrap().sum(REFUSED, Some(("reason", reason)));
        let mut link = connect(&lab);
        link.write_all(octets).unwrap();
        wait_for(&lab, REFUSED, Some(("reason", reason)), before + 1);
        link.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert!(matches!(link.read(&mut [0; 16]), Ok(0) | Err(_)), "the link is ended");
    }
    let mut slow = connect(&lab);
    let since = Instant::now();
    for octet in &good {
        if slow.write_all(&[*octet]).is_err() {
            break;
        }
        std::thread::sleep(Duration::from_millis(500));
        if lab.status().unwrap().sum(REFUSED, Some(("reason", "frame-timeout"))) > 0 {
            break;
        }
        assert!(since.elapsed() < Duration::from_secs(20), "a dawdling peer is put up with");
    }

    let said = lab.fleet_end(fleet);
    assert_eq!((&said["unacked"], &said["links_lost"]), (&0.into(), &0.into()), "{said}");
    let status = lab.stop(head_end);
    let sum = |name: &str| status.sum(name, None);
    // Every frame that came has one end. What a transport or the reassembler refused never became one.
    let outside = ["framing", "oversize", "frame-timeout", "segmented-too-many", "closed-mid-frame"];
    let refused_outside: i64 =
        outside.iter().map(|reason| status.sum(REFUSED, Some(("reason", reason)))).sum();
    let segmented = status.sum(REFUSED, Some(("reason", "segmented-too-many")));
    assert_eq!(
        sum("metergraph_frames_received_total"),
        sum("metergraph_frames_journaled_total") + sum("metergraph_frames_duplicate_total") + sum(REFUSED)
            - refused_outside
            + segmented
            + sum("metergraph_frames_dropped_total"),
        "{status:?}"
    );
    assert_eq!(sum("metergraph_frames_dropped_total"), 0);
    assert_eq!(sum("metergraph_restarts_total"), 0);
    let log = std::fs::read_to_string(lab.file("log")).unwrap();
    assert!(!log.contains("panicked"), "{log}");
    // The first of each reason stands in the event log.
    let events: String = std::fs::read_dir(lab.state().join("events"))
        .unwrap()
        .map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    for (reason, _) in &expected {
        assert!(events.contains(&format!("\"reason\":\"{reason}\"")), "{reason}: {events}");
    }
}

#[test]
fn ten_thousand_connections_are_held_and_a_report_still_comes_through() {
    let lab = Lab::new(1, "");
    let have = transport::raise_file_limit().unwrap();
    assert!(have >= 11_000, "the system allows {have} open files; this test needs 11,000 (ulimit -n)");
    let head_end = lab.head_end();
    let links: Vec<TcpStream> = (0..10_000).map(|_| connect(&lab)).collect();
    wait_for(&lab, "metergraph_transport_links", None, 10_000);
    let meter = Meter::of(&lab, 0);
    let mut last = links.last().unwrap();
    last.write_all(&meter.report(5, 0)).unwrap();
    last.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut answer = [0; 256];
    let count = last.read(&mut answer).unwrap();
    let apdu = Apdu::decode(&answer[..count], Leniency::Strict).unwrap();
    assert!(carriage::read(&apdu).unwrap().is_some_and(|carried| carried.head[0] == 0x14), "an ACK");
    drop(links);
    let status = lab.stop(head_end);
    assert_eq!(status.sum("metergraph_frames_journaled_total", None), 1);
}
