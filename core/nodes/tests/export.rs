//! What `mdm-egress` makes of the journal.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use c1222::epsem::ResponseControl;
use c1222::tables::TableId;
use c1222::{EpsemControl, EpsemWriter, Request, SecurityMode, TableData};
use common::egress::{Egress, NEW_YEAR, append, body, report};
use common::site::Site;
use common::{Random, wait_for};
use journal::Position;
use journal::files::{Files, ForgetfulFiles};
use keystore::{NewDevice, Slots};
use metergraph_nodes::record::{Origin, RESERVATION, Report};
use node::{NodeState, Source};
use seal::ids::{Dev, Epoch, Sid};
use sha2::{Digest, Sha256};

const HOUR: u64 = 3600;

/// The report number `seq` of a device: an hour after the one before.
fn hourly(site: &Site, device: usize, seq: u32) -> (Report, Vec<u8>) {
    let device = &site.devices[device];
    let end = NEW_YEAR + HOUR * u64::from(seq);
    (report(device.dev, device.sid, seq), body(end, [i64::from(seq), 0], [1, 2, 3, 4]))
}

fn text(site: &Site, kind: &str) -> Vec<String> {
    let files = site.exports().into_iter().filter(|(name, _)| name.starts_with(kind));
    files.map(|(_, octets)| String::from_utf8(octets).unwrap()).collect()
}

#[test]
fn a_known_report_is_these_rows() {
    let (site, _) = Site::forgetful(1, 1);
    let egress = Egress::new(&site);
    let device = &site.devices[0];
    let mut writer = egress.writer();
    let classic = Report {
        origin: Origin::ClassicReport,
        epoch: Epoch(2),
        iv: 0x6955_b980,
        ..report(site.classics[0].dev, site.classics[0].sid, 17)
    };
    append(
        &mut writer,
        [
            (report(device.dev, device.sid, 7), body(NEW_YEAR, [1_234_567, 5], [250, 0, 65_535, 1])),
            // Two hours later: an hour is missing.
            (report(device.dev, device.sid, 9), body(NEW_YEAR + 2 * HOUR, [1_234_599, 5], [8, 8, 8, 8])),
            (classic, body(NEW_YEAR, [-1, 0], [1, 1, 1, 1])),
        ],
        10,
    );
    writer.close().unwrap();
    egress.export(&[]);
    let expected = "\
meter,reading_type,end_time,value,quality,source,received_time,message_id
0200004d47000000,0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2026-01-01T00:00:00Z,1234.567,1.0.0,profile1,2026-01-01T00:01:30Z,0200004d47000000-250-7
0200004d47000000,0.0.0.1.19.1.12.0.0.0.0.0.0.0.0.3.72.0,2026-01-01T00:00:00Z,0.005,1.0.0,profile1,2026-01-01T00:01:30Z,0200004d47000000-250-7
0200004d47000000,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2025-12-31T23:15:00Z,0.250,1.0.0,profile1,2026-01-01T00:01:30Z,0200004d47000000-250-7
0200004d47000000,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2025-12-31T23:30:00Z,0.000,1.0.0,profile1,2026-01-01T00:01:30Z,0200004d47000000-250-7
0200004d47000000,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2025-12-31T23:45:00Z,65.535,1.0.0,profile1,2026-01-01T00:01:30Z,0200004d47000000-250-7
0200004d47000000,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2026-01-01T00:00:00Z,0.001,1.0.0,profile1,2026-01-01T00:01:30Z,0200004d47000000-250-7
0200004d47000000,0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2026-01-01T02:00:00Z,1234.599,1.0.0,profile1,2026-01-01T00:01:30Z,0200004d47000000-250-9
0200004d47000000,0.0.0.1.19.1.12.0.0.0.0.0.0.0.0.3.72.0,2026-01-01T02:00:00Z,0.005,1.0.0,profile1,2026-01-01T00:01:30Z,0200004d47000000-250-9
0200004d47000000,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2026-01-01T01:15:00Z,0.008,1.0.0,profile1,2026-01-01T00:01:30Z,0200004d47000000-250-9
0200004d47000000,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2026-01-01T01:30:00Z,0.008,1.0.0,profile1,2026-01-01T00:01:30Z,0200004d47000000-250-9
0200004d47000000,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2026-01-01T01:45:00Z,0.008,1.0.0,profile1,2026-01-01T00:01:30Z,0200004d47000000-250-9
0200004d47000000,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2026-01-01T02:00:00Z,0.008,1.0.0,profile1,2026-01-01T00:01:30Z,0200004d47000000-250-9
0200004d47000001,0.0.0.1.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2026-01-01T00:00:00Z,-0.001,1.0.0,classic,2026-01-01T00:01:30Z,0200004d47000001-c2-6955b980-17
0200004d47000001,0.0.0.1.19.1.12.0.0.0.0.0.0.0.0.3.72.0,2026-01-01T00:00:00Z,0.000,1.0.0,classic,2026-01-01T00:01:30Z,0200004d47000001-c2-6955b980-17
0200004d47000001,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2025-12-31T23:15:00Z,0.001,1.0.0,classic,2026-01-01T00:01:30Z,0200004d47000001-c2-6955b980-17
0200004d47000001,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2025-12-31T23:30:00Z,0.001,1.0.0,classic,2026-01-01T00:01:30Z,0200004d47000001-c2-6955b980-17
0200004d47000001,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2025-12-31T23:45:00Z,0.001,1.0.0,classic,2026-01-01T00:01:30Z,0200004d47000001-c2-6955b980-17
0200004d47000001,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2026-01-01T00:00:00Z,0.001,1.0.0,classic,2026-01-01T00:01:30Z,0200004d47000001-c2-6955b980-17
";
    assert_eq!(text(&site, "readings-"), [expected]);
    let gaps = "\
meter,reading_type,missing_from,missing_to,intervals
0200004d47000000,0.0.2.4.1.1.12.0.0.0.0.0.0.0.0.3.72.0,2026-01-01T00:00:00Z,2026-01-01T01:00:00Z,4
";
    assert_eq!(text(&site, "gaps-"), [gaps]);
    assert_eq!(egress.sum("metergraph_readings_exported_total"), 18);
    check_manifests(&site);
}

/// Every manifest names the files of its range, with their lengths and hashes; every file has a manifest.
/// Ranges follow one another.
fn check_manifests(site: &Site) {
    let files: BTreeMap<String, Vec<u8>> = site.exports().into_iter().collect();
    let mut named = 0;
    let mut before = String::new();
    for (name, octets) in files.iter().filter(|(name, _)| name.starts_with("manifest-")) {
        let manifest: serde_json::Value = serde_json::from_slice(octets).unwrap();
        let (from, to) = (manifest["from"].as_str().unwrap(), manifest["to"].as_str().unwrap());
        assert_eq!(*name, format!("manifest-{from}-{to}.json"));
        assert!(before.as_str() <= from && from < to, "{name} overlaps the one before");
        before = to.to_owned();
        let mut rows = 0;
        for entry in manifest["files"].as_array().unwrap() {
            let file = entry["name"].as_str().unwrap();
            assert!(file.ends_with(&format!("-{from}-{to}.csv")), "{file}");
            let octets = files.get(file).unwrap_or_else(|| panic!("{file} is missing"));
            let hash: String = Sha256::digest(octets).iter().map(|octet| format!("{octet:02x}")).collect();
            assert_eq!(
                (entry["octets"].as_u64(), entry["sha256"].as_str()),
                (Some(octets.len() as u64), Some(&*hash))
            );
            if file.starts_with("readings-") {
                rows = octets.iter().filter(|octet| **octet == b'\n').count() as u64 - 1;
            }
            named += 1;
        }
        assert_eq!(manifest["rows"].as_u64(), Some(rows));
    }
    assert_eq!(named, files.keys().filter(|name| name.ends_with(".csv")).count(), "a file without manifest");
    assert!(files.keys().all(|name| !name.ends_with(".unfinished")));
}

/// Each of these reports is exported once, whole.
fn check_once(site: &Site, expected: &[(usize, u32)], context: &str) {
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for id in site.exported() {
        *rows.entry(id).or_default() += 1;
    }
    for (device, seq) in expected {
        let id = format!("{}-250-{seq}", site.devices[*device].dev);
        assert_eq!(rows.remove(&id), Some(6), "{context}: {id}");
    }
    assert!(rows.is_empty(), "{context}: {rows:?}");
}

#[test]
fn a_crash_at_any_point_exports_everything_once() {
    let (site, _) = Site::forgetful(3, 0);
    let mut site = site;
    let settings = [("meters_max", 2)];
    // 41 reports in commits of three, so that the ends of segments fall between files and in them, and the last
    // file ends with the journal.
    let first: Vec<(usize, u32)> = (0..41).map(|number| (number % 3, (number / 3) as u32)).collect();
    let more: Vec<(usize, u32)> = (41..48).map(|number| (number % 3, (number / 3) as u32)).collect();
    let fill = |site: &Site, reports: &[(usize, u32)]| {
        let egress = Egress::new(site);
        let mut writer = egress.writer();
        append(&mut writer, reports.iter().map(|(device, seq)| hourly(site, *device, *seq)), 3);
        writer.close().unwrap();
    };
    let begin = |site: &mut Site| {
        let files = ForgetfulFiles::default();
        site.files = std::sync::Arc::new(files.clone());
        fill(site, &first);
        files
    };
    let files = begin(&mut site);
    let before = files.operations();
    let egress = Egress::new(&site);
    drop(egress.writer());
    let opened = files.operations();
    egress.export(&settings);
    let operations = files.operations() - opened;
    check_once(&site, &first, "without a crash");
    check_manifests(&site);
    assert!(before > 0 && operations > 100, "{operations} operations");

    for stop in 0..=operations {
        for seed in 0..4 {
            let context = format!("stop after {stop}, seed {seed}");
            let files = begin(&mut site);
            let egress = Egress::new(&site);
            drop(egress.writer());
            files.stop_after(stop);
            egress.export_until_cut(&settings);
            let mut seen: BTreeMap<String, Vec<u8>> = BTreeMap::new();
            let whole = |(name, _): &(String, Vec<u8>)| !name.ends_with(".unfinished");
            seen.extend(site.exports().into_iter().filter(whole));
            // The power goes, or only the process.
            if seed % 4 == 3 {
                files.kill(seed)
            } else {
                files.cut(stop * 31 + seed)
            }
            // Somebody takes finished files away between two lives; the names and octets stay known.
            if seed % 2 == 1 {
                for (name, octets) in site.exports().into_iter().filter(whole) {
                    let _ = files.remove(&site.state().join("mdm").join(&name));
                    seen.insert(name, octets);
                }
            }
            fill(&site, &more);
            let egress = Egress::new(&site);
            drop(egress.writer());
            egress.export(&settings);
            for (name, octets) in site.exports() {
                if let Some(before) = seen.get(&name) {
                    assert!(*before == octets, "{context}: {name} has other octets now");
                }
            }
            let mut all = first.clone();
            all.extend(&more);
            if seed % 2 == 0 {
                check_once(&site, &all, &context);
                check_manifests(&site);
            } else {
                // With what was taken away.
                let mut whole: BTreeMap<String, Vec<u8>> = seen;
                whole.retain(|name, _| name.starts_with("readings-"));
                whole.extend(site.exports().into_iter().filter(|(name, _)| name.starts_with("readings-")));
                let rows: usize = whole
                    .values()
                    .map(|octets| octets.iter().filter(|octet| **octet == b'\n').count() - 1)
                    .sum();
                assert_eq!(rows, 6 * all.len(), "{context}");
            }
        }
    }
}

#[test]
fn random_lives_of_an_export() {
    let (site, _) = Site::forgetful(4, 0);
    let mut site = site;
    for seed in 0..60 {
        let mut random = Random(seed);
        let files = ForgetfulFiles::default();
        site.files = std::sync::Arc::new(files.clone());
        let settings = [("meters_max", 1 + random.below(4) as i64)];
        let (mut all, mut next) = (Vec::new(), [0_u32; 4]);
        for life in 0..6 {
            let egress = Egress::new(&site);
            let mut writer = egress.writer();
            let mut reports = Vec::new();
            for _ in 0..random.below(25) {
                let device = random.below(4) as usize;
                // Some hours never come.
                next[device] += 1 + u32::from(random.below(5) == 0);
                reports.push((device, next[device]));
                if random.below(4) == 0 {
                    writer.append(RESERVATION, &[7; 10]).unwrap();
                }
            }
            append(&mut writer, reports.iter().map(|(device, seq)| hourly(&site, *device, *seq)), 1 + life);
            all.extend(&reports);
            if random.below(3) > 0 {
                files.stop_after(random.below(80));
            }
            egress.export_until_cut(&settings);
            drop(writer);
            files.cut(random.below(1 << 20));
        }
        let egress = Egress::new(&site);
        drop(egress.writer());
        egress.export(&settings);
        check_once(&site, &all, &format!("seed {seed}"));
        check_manifests(&site);
        // Each gap once too: hours that were skipped are told, and nothing else.
        let skipped: u32 = (0..4)
            .map(|device| {
                let seqs: Vec<u32> =
                    all.iter().filter(|(of, _)| *of == device).map(|(_, seq)| *seq).collect();
                seqs.windows(2).map(|pair| u32::from(pair[1] - pair[0] > 1)).sum::<u32>()
            })
            .sum();
        let rows: usize = text(&site, "gaps-").iter().map(|text| text.lines().count() - 1).sum();
        assert_eq!(rows as u32, skipped, "seed {seed}");
    }
}

#[test]
fn a_file_is_closed_when_it_is_old_or_has_its_meters_or_its_size() {
    let (site, _) = Site::forgetful(5, 0);
    let egress = Egress::new(&site);
    let mut writer = egress.writer();
    let files = |kind: &str| site.exports().iter().filter(|(name, _)| name.starts_with(kind)).count();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| egress.run(&[("close_s", 1), ("meters_max", 3), ("file_mib", 1)]));
        // Two meters, again and again: nothing closes but by age.
        append(&mut writer, (0..20).map(|number| hourly(&site, number % 2, (number / 2) as u32)), 4);
        std::thread::sleep(Duration::from_millis(600));
        assert_eq!(files("manifest-"), 0, "too early");
        wait_for("a file that is old", || (files("manifest-") == 1).then_some(()));
        // The third meter ends a file at once.
        append(&mut writer, [hourly(&site, 2, 1), hourly(&site, 3, 1), hourly(&site, 4, 1)], 1);
        wait_for("a file with its meters", || (files("manifest-") == 2).then_some(()));
        // A mebibyte of rows of one meter.
        append(&mut writer, (100..1700).map(|seq| hourly(&site, 0, seq)), 50);
        wait_for("a file with its size", || (files("manifest-") == 3).then_some(()));
        let longest = site.exports().iter().map(|(_, octets)| octets.len()).max().unwrap();
        assert!((1 << 20..(1 << 20) + 2000).contains(&longest), "{longest}");
        // What is left is closed at the end.
        writer.close().unwrap();
        egress.orders.drain();
        run.join().unwrap().unwrap();
    });
    assert_eq!(files("manifest-"), 4);
    check_manifests(&site);
}

#[test]
fn a_range_without_readings_is_passed_without_a_file() {
    let (site, _) = Site::forgetful(1, 0);
    let egress = Egress::new(&site);
    let device = &site.devices[0];
    let mut writer = egress.writer();
    writer.append(RESERVATION, &[1; 10]).unwrap();
    let control = Report { origin: Origin::Control, ..report(device.dev, device.sid, 1) };
    let unmatched = Report { origin: Origin::ClassicUnmatched, ..control };
    append(&mut writer, [(control, vec![4; 9]), (unmatched, vec![0x80, 1, 0])], 1);
    let end = writer.end();
    writer.close().unwrap();
    egress.export(&[]);
    assert!(site.exports().is_empty());
    assert_eq!(egress.log.cursors().load("mdm").unwrap().unwrap().position, end);
}

#[test]
fn a_report_of_whom_only_the_journal_tells_yet_is_waited_for() {
    let (site, _) = Site::forgetful(1, 0);
    let egress = Egress::new(&site);
    // As after a start: the key store has not read the journal yet.
    egress.services.provide("keys", Arc::new(site.directory.slots()));
    let slots = egress.services.find::<Slots>("keys").unwrap();
    let known = site.directory.device(site.devices[0].sid).unwrap();
    let (dev, sid) = (Dev([7; 8]), Sid::new(0, 99).unwrap());
    let mut writer = egress.writer();
    append(&mut writer, [(report(dev, sid, 1), body(NEW_YEAR, [1, 2], [1, 2, 3, 4]))], 1);
    writer.close().unwrap();
    egress.orders.drain();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| egress.run(&[]));
        // One that does not wait has ended long before that.
        for _ in 0..20 {
            std::thread::sleep(Duration::from_millis(if run.is_finished() { 0 } else { 10 }));
        }
        let (title, profile) = (known.title(), known.profile);
        site.directory.insert(&NewDevice { sid, dev, title, esn: "7", profile });
        slots.open();
        run.join().unwrap().unwrap();
    });
    assert_eq!(site.exported(), vec![format!("{dev}-250-1"); 6]);
    assert_eq!(egress.sum("metergraph_reports_unreadable_total"), 0);
}

#[test]
fn what_gives_no_readings_is_named_and_the_rest_is_exported() {
    let (site, _) = Site::forgetful(2, 0);
    let egress = Egress::new(&site);
    let device = &site.devices[0];
    let mut writer = egress.writer();
    let write = |services: &[Request<'_>]| {
        let mut out = Vec::new();
        let control = EpsemControl::new(SecurityMode::Clear, ResponseControl::Never);
        let mut writer = EpsemWriter::new(&mut out, control, None);
        for service in services {
            writer.request(service);
        }
        out
    };
    let short = Request::FullWrite { table: TableId::standard(23), data: TableData::of(&[1; 5]) };
    let strange = Request::FullWrite { table: TableId::standard(5), data: TableData::of(b"x") };
    let mut good = body(NEW_YEAR, [1, 2], [1, 2, 3, 4]);
    // One service more, of another kind.
    good.extend([2, 0x70, 5]);
    append(
        &mut writer,
        [
            (report(device.dev, Sid(0x77), 1), good.clone()),
            (report(device.dev, device.sid, 2), write(&[short, strange, Request::Identification])),
            (report(device.dev, device.sid, 3), good),
        ],
        10,
    );
    writer.close().unwrap();
    egress.export(&[]);
    assert_eq!(site.exported(), vec![site.devices[0].message_id(3); 6]);
    let mut reasons: Vec<&str> = egress.events().iter().map(|event| event.reason.0).collect();
    reasons.sort_unstable();
    reasons.dedup();
    assert_eq!(reasons, ["not-a-table", "table-not-in-profile", "table-size", "unknown-device"]);
    assert_eq!(egress.sum("metergraph_reports_unreadable_total"), 5);
}

#[test]
fn a_disk_that_takes_nothing_holds_the_export_up_and_no_report_is_lost() {
    let (site, files) = Site::forgetful(2, 0);
    let egress = Egress::new(&site);
    let mut writer = egress.writer();
    append(&mut writer, (0..6).map(|number| hourly(&site, number % 2, (number / 2) as u32)), 2);
    writer.close().unwrap();
    files.set_space(Some(0));
    egress.orders.drain();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| egress.run(&[]));
        wait_for("the stall", || (egress.status.state() == NodeState::Stalled).then_some(()));
        assert!(egress.status.note().contains("cannot"), "{}", egress.status.note());
        files.set_space(None);
        run.join().unwrap().unwrap();
    });
    let event = egress.events().remove(0);
    assert_eq!((event.reason.0, event.source), ("export-failed", Source::Node));
    check_once(&site, &[(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)], "after all");
    check_manifests(&site);
}

#[test]
fn an_export_that_is_added_later_begins_where_the_journal_does() {
    let (site, _) = Site::forgetful(2, 0);
    let egress = Egress::new(&site);
    let mut writer = egress.writer();
    append(&mut writer, (0..600).map(|number| hourly(&site, number % 2, (number / 2) as u32)), 20);
    let middle = Position(writer.end().0 / 2);
    assert!(writer.release(middle).unwrap() > 0);
    writer.close().unwrap();
    egress.export(&[("meters_max", 1000)]);
    let exported = site.exported();
    assert!(exported.len().is_multiple_of(6) && !exported.is_empty() && exported.len() < 6 * 600);
    assert_eq!(exported.last(), Some(&site.devices[1].message_id(299).replace("-251-", "-250-")));
    check_manifests(&site);
}
