//! Fleets against a tiny head-end over TCP.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use c1222::device_profile::Stamp;
use c1222::{Apdu, Epsem, Leniency, Request};
use common::{Faults, HeadEnd, Taken, devices, layout, settings};
use metergraph_end_device::fleet::{Fleet, FleetError, Outcome, Settings};
use sha2::{Digest, Sha256};

fn run(settings: Settings, count: u32, classic: u32) -> Outcome {
    let fleet = Fleet::new(settings, vec![layout()], devices(count, classic)).unwrap();
    fleet.run(|_| true).unwrap()
}

/// Message ids, hashes and whether they were acknowledged.
fn listed(path: &Path) -> BTreeMap<String, (String, bool)> {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| {
        let [id, hash, word] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        assert!(["acked", "unacked"].contains(&word));
        (id.to_owned(), (hash.to_owned(), word == "acked"))
    });
    let (count, lines) = (text.lines().count(), lines.collect::<BTreeMap<_, _>>());
    assert_eq!(lines.len(), count, "no report is listed twice");
    lines
}

/// The hash of each report's rows, as an MDM gets them.
fn hashes(taken: &Taken) -> BTreeMap<String, String> {
    let text = include_str!("../../../graphs/profiles/residential.toml");
    let profile = graph::device_profile::parse(text).0.unwrap();
    let hash = |slot: u32, epsem: &[u8]| {
        let (mut stamp, mut hash) = (Stamp::received(0), Sha256::new());
        for service in Epsem::decode(epsem).unwrap().services() {
            let Request::FullWrite { table, data } = Request::decode(service.unwrap()).unwrap() else {
                panic!("another service");
            };
            let readings = profile.readings(table, data.as_single().unwrap(), &mut stamp, |reading| {
                let (days, of_day) = (reading.end_time / 86_400, reading.end_time % 86_400);
                let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
                let date = date(days);
                hash.update(format!(
                    "{},{},{date}T{hour:02}:{minute:02}:{second:02}Z,{}\n",
                    common::dev(slot),
                    reading.reading_type,
                    reading.value
                ));
            });
            readings.unwrap();
        }
        hash.finalize().iter().map(|octet| format!("{octet:02x}")).collect()
    };
    taken
        .reports
        .iter()
        .map(|((slot, seq), epsem)| (format!("{}-258-{seq}", common::dev(*slot)), hash(*slot, epsem)))
        .collect()
}

/// Counts the days from 1970 on, one by one.
fn date(mut days: u64) -> String {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    format!("{year:04}-{:02}-{:02}", month + 1, days + 1)
}

fn assert_listed(list: &Path, taken: &Taken) {
    let listed = listed(list);
    assert!(listed.values().all(|(_, acked)| *acked));
    let listed: BTreeMap<_, _> = listed.into_iter().map(|(id, (hash, _))| (id, hash)).collect();
    assert!(listed == hashes(taken), "what is listed and what was taken in differ");
}

#[test]
fn every_report_is_taken_acknowledged_and_listed() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    let head_end = HeadEnd::start(50, true, Faults::default());
    let outcome = run(Settings { list: Some(list.clone()), ..settings(head_end.address) }, 50, 0);
    let taken = head_end.stop();
    assert!(outcome.reports > 1000, "{outcome:?}");
    assert_eq!((outcome.acked, outcome.unacked), (outcome.reports, 0));
    assert_eq!(outcome.sent, taken.fresh + taken.duplicate);
    assert_eq!((outcome.sent, taken.fresh), (outcome.reports + outcome.repeats, outcome.reports));
    assert_eq!((outcome.refused_downstream, outcome.links, outcome.links_lost), (0, 3, 0));
    assert!(outcome.latency_p50_ms.unwrap() <= outcome.latency_p99_ms.unwrap());
    assert_listed(&list, &taken);
}

#[test]
fn a_rate_is_kept() {
    let head_end = HeadEnd::start(500, false, Faults::default());
    let settings = Settings { rate: 2000.0, duration: Duration::from_secs(1), ..settings(head_end.address) };
    let outcome = run(settings, 500, 0);
    assert!((1900..=2010).contains(&outcome.reports), "{outcome:?}");
    assert_eq!(outcome.acked, outcome.reports);
    assert_eq!(head_end.stop().fresh, outcome.reports);
}

#[test]
fn after_a_lost_connection_what_is_missing_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let list = folder.path().join("list");
    let faults = Faults { close_after: Some(700), ..Faults::default() };
    let head_end = HeadEnd::start(40, true, faults);
    let outcome = run(
        Settings { list: Some(list.clone()), duration: Duration::from_secs(2), ..settings(head_end.address) },
        40,
        0,
    );
    let taken = head_end.stop();
    assert!(outcome.links_lost > 0 && outcome.repeats > 0, "{outcome:?}");
    assert_eq!((outcome.acked, outcome.unacked, taken.fresh), (outcome.reports, 0, outcome.reports));
    assert_listed(&list, &taken);
}

#[test]
fn forged_and_repeated_acknowledgements_are_refused_and_counted() {
    let head_end = HeadEnd::start(30, false, Faults { noisy: true, ..Faults::default() });
    let outcome = run(settings(head_end.address), 30, 0);
    head_end.stop();
    assert_eq!((outcome.acked, outcome.unacked), (outcome.reports, 0));
    assert_eq!(outcome.refused_downstream, outcome.refused_downstream_by.values().sum::<u64>());
    // The copy is a replay; the flipped one is told by the window before it is opened.
    assert!(outcome.refused_downstream_by["SEC-DN-REPLAY"] >= outcome.refused_downstream / 2, "{outcome:?}");
}

#[test]
fn lost_acknowledgements_are_made_up_for_by_later_ones() {
    let head_end = HeadEnd::start(30, false, Faults { silent: 2, ..Faults::default() });
    let outcome = run(settings(head_end.address), 30, 0);
    let taken = head_end.stop();
    assert_eq!((outcome.acked, outcome.unacked, taken.fresh), (outcome.reports, 0, outcome.reports));
    assert!(outcome.reports > 100, "{outcome:?}");
}

#[test]
fn another_run_goes_on_where_the_first_one_ended() {
    let folder = tempfile::tempdir().unwrap();
    let (list, state) = (folder.path().join("list"), folder.path().join("state"));
    // The first run is not acknowledged at all, but all that it sends is taken in.
    let head_end = HeadEnd::start(20, true, Faults { silent: u64::MAX, ..Faults::default() });
    let first = run(
        Settings {
            list: Some(list.clone()),
            state: Some(state.clone()),
            grace: Duration::from_millis(300),
            ..settings(head_end.address)
        },
        20,
        2,
    );
    assert_eq!((first.acked, first.unacked), (0, 20 * 32), "{first:?}");
    assert!(listed(&list).values().all(|(_, acked)| !acked));
    let before = head_end.stop();
    let (classic, reports) = (before.classic.len(), before.reports);

    // The second run repeats all of it, goes on, and is acknowledged.
    let head_end = HeadEnd::start(20, true, Faults::default());
    let second =
        run(Settings { list: Some(list.clone()), state: Some(state), ..settings(head_end.address) }, 20, 2);
    assert_eq!((second.carried, second.unacked), (20 * 32, 0), "{second:?}");
    let taken = head_end.stop();
    assert!(reports.iter().all(|(key, epsem)| taken.reports.get(key) == Some(epsem)));
    assert!(taken.reports.len() > reports.len());
    let listed = listed(&list);
    assert_eq!(listed.values().filter(|(_, acked)| *acked).count(), taken.reports.len());
    let profile1 = listed.iter().filter(|(id, _)| !id.contains("-c"));
    let listed: BTreeMap<_, _> = profile1.map(|(id, (hash, _))| (id.clone(), hash.clone())).collect();
    assert!(listed == hashes(&taken));
    // No interval comes twice, over both runs.
    let mut ends = std::collections::BTreeSet::new();
    assert!(taken.reports.iter().all(|((slot, _), epsem)| ends.insert((*slot, epsem.clone()))));
    assert!(classic > 0);
}

#[test]
fn another_seed_is_refused_for_the_same_state() {
    let folder = tempfile::tempdir().unwrap();
    let head_end = HeadEnd::start(1, false, Faults::default());
    let settings = Settings {
        state: Some(folder.path().to_owned()),
        duration: Duration::ZERO,
        ..settings(head_end.address)
    };
    run(settings.clone(), 1, 0);
    head_end.stop();
    let other = Fleet::new(Settings { seed: 2, ..settings }, vec![layout()], devices(1, 0));
    assert!(matches!(other.err(), Some(FleetError::State(_))));
}

#[test]
fn classic_devices_report_once_a_second_and_all_of_it_arrives() {
    let head_end = HeadEnd::start(0, false, Faults::default());
    let settings = Settings { duration: Duration::from_millis(1200), ..settings(head_end.address) };
    let outcome = run(settings, 0, 40);
    let taken = head_end.stop();
    assert!((40..=120).contains(&outcome.classic), "{outcome:?}");
    assert_eq!((outcome.sent, outcome.reports, outcome.unacked), (outcome.classic, 0, 0));
    assert_eq!(taken.classic.len() as u64, outcome.classic);
    let mut ids: Vec<_> = taken
        .classic
        .iter()
        .map(|octets| {
            let apdu = Apdu::decode(octets, Leniency::Strict).unwrap();
            format!("{:?} {:?}", apdu.envelope.calling, apdu.envelope.authentication)
        })
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len() as u64, outcome.classic);
}

#[test]
fn it_ends_when_it_is_told_to() {
    let head_end = HeadEnd::start(10, false, Faults::default());
    let settings = Settings { duration: Duration::from_secs(3600), ..settings(head_end.address) };
    let fleet = Fleet::new(settings, vec![layout()], devices(10, 0)).unwrap();
    let outcome = fleet.run(|progress| progress.acked < 500).unwrap();
    head_end.stop();
    assert!(outcome.acked >= 500 && outcome.seconds < 60.0, "{outcome:?}");
}
