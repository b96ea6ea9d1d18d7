//! The log without accidents: what goes in comes out, over segments, restarts and retention.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{FOLDER, SMALL, names, octets, open, read_from, read_on, reader};
use metergraph_journal::files::{Files, ForgetfulFiles, OsFiles};
use metergraph_journal::{Cursors, Durable, JournalError, Position, Reader, Settings, Writer};

#[test]
fn an_empty_log_has_no_records() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut early = reader(&files, &durable, Position::START);
    assert!(early.next().unwrap().is_none(), "a reader made before the first writer waits");
    let mut writer = open(&files, &durable).unwrap();
    assert!(early.next().unwrap().is_none());
    assert_eq!(writer.commit().unwrap(), writer.end());
    assert!(early.next().unwrap().is_none());
    drop(writer);
    let mut writer = open(&files, &durable).unwrap();
    writer.append(9, b"first").unwrap();
    assert!(early.next().unwrap().is_none(), "appended is not committed");
    writer.commit().unwrap();
    let record = early.next().unwrap().unwrap();
    assert_eq!((record.kind, record.octets), (9, &b"first"[..]));
    assert!(early.next().unwrap().is_none());
    assert_eq!(early.position(), writer.end());
}

#[test]
fn a_second_writer_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let open = || Writer::open(Arc::new(OsFiles), root.path(), Settings::default(), &Durable::default());
    let first = open().unwrap();
    let refused = open().unwrap_err();
    assert!(matches!(&refused, JournalError::InUse { folder } if folder == root.path()), "{refused}");
    let refused = Durable::of_stopped(&OsFiles, root.path()).unwrap_err();
    assert!(matches!(refused, JournalError::InUse { .. }));
    drop(first);
    open().unwrap();
}

#[test]
fn records_come_back_over_segments_and_restarts_at_the_same_positions() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut expected = Vec::new();
    let mut following = reader(&files, &durable, Position::START);
    let mut followed = Vec::new();
    for run in 0..10_u8 {
        let mut writer = open(&files, &durable).unwrap();
        for commit in 0..7_u8 {
            for length in [0, 1, 100, 3000] {
                let record = vec![run.wrapping_mul(16) + commit; length];
                writer.append(run, &record).unwrap();
                expected.push(record);
            }
            assert_eq!(writer.commit().unwrap(), durable.position());
        }
        followed.extend(read_on(&mut following).unwrap());
        if run % 2 == 0 {
            writer.close().unwrap();
        }
    }
    assert_eq!(octets(&followed), expected);
    assert!(followed.is_sorted_by(|a, b| a.0 < b.0));
    assert_eq!(read_from(&files, &durable, Position::START).unwrap(), followed);
    // From every record on, and from everywhere in between, where there is none.
    for index in (0..followed.len()).step_by(7) {
        let rest = read_from(&files, &durable, followed[index].0).unwrap();
        assert_eq!(rest, followed[index..]);
        let between = Position(followed[index].0.0 + 1);
        let error = read_from(&files, &durable, between).unwrap_err();
        assert!(matches!(error, JournalError::NoRecord { position } if position == between), "{error}");
    }
    let beyond = Position(durable.position().0 + 4096);
    let error = read_from(&files, &durable, beyond).unwrap_err();
    assert!(matches!(error, JournalError::EndLost { position, .. } if position == beyond), "{error}");
    // A folder whose writer has stopped reads the same.
    let stopped = Durable::of_stopped(&files, Path::new(FOLDER)).unwrap();
    assert_eq!(read_from(&files, &stopped, Position::START).unwrap(), followed);
}

#[test]
fn a_reader_goes_on_from_any_position_it_told() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut writer = open(&files, &durable).unwrap();
    for commit in 0..12_u8 {
        for record in 0..5 {
            writer.append(commit, &[record; 700]).unwrap();
        }
        writer.commit().unwrap();
    }
    let all = read_from(&files, &durable, Position::START).unwrap();
    let mut steps = reader(&files, &durable, Position::START);
    for done in 0..all.len() {
        assert_eq!(read_from(&files, &durable, steps.position()).unwrap(), all[done..]);
        steps.next().unwrap().unwrap();
    }
    assert_eq!(steps.position(), durable.position());
}

#[test]
fn limits_are_named_and_nothing_is_lost() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut writer = open(&files, &durable).unwrap();
    let most = SMALL.record_octets_max();
    let error = writer.append(1, &vec![0; most + 1]).unwrap_err();
    assert!(matches!(error, JournalError::RecordTooLong { octets, .. } if octets == most + 1));
    writer.append(1, &vec![7; most]).unwrap();
    assert!(matches!(writer.append(1, b""), Err(JournalError::BatchFull { .. })));
    writer.commit().unwrap();
    writer.append(2, b"").unwrap();
    writer.commit().unwrap();
    let entries = read_from(&files, &durable, Position::START).unwrap();
    assert_eq!(octets(&entries), [&vec![7; most][..], b""]);

    for segment_octets in [0, 16_383, u64::MAX] {
        let settings = Settings { segment_octets, ..SMALL };
        let opened =
            Writer::open(Arc::new(files.clone()), Path::new("/other"), settings, &Durable::default());
        assert!(matches!(opened, Err(JournalError::SegmentOctets { .. })));
    }
}

/// Fills the log until it says that it is full.
fn fill(writer: &mut Writer) -> u64 {
    let mut committed = 0;
    loop {
        writer.append(1, &[1; 9000]).unwrap();
        match writer.commit() {
            Ok(_) => committed += 1,
            Err(JournalError::Full { .. }) => return committed,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_full_log_keeps_everything_and_goes_on_when_something_is_released() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let settings = Settings { size_max: 4 * SMALL.segment_octets, ..SMALL };
    let open = || Writer::open(Arc::new(files.clone()), Path::new(FOLDER), settings, &durable).unwrap();
    let mut writer = open();
    let cursors = Cursors::new(Arc::new(files.clone()), Path::new(FOLDER));
    assert_eq!(fill(&mut writer), 4, "one such record fits a segment");
    assert_eq!(writer.octets(), settings.size_max);
    assert!(matches!(writer.commit(), Err(JournalError::Full { .. })), "still full");
    let mut reader = reader(&files, &durable, Position::START);
    assert_eq!(read_on(&mut reader).unwrap().len(), 4);
    // What does fit is still taken.
    writer.discard().unwrap();
    writer.append(1, b"small").unwrap();
    writer.commit().unwrap();
    writer.append(1, &[2; 9000]).unwrap();
    assert!(matches!(writer.commit(), Err(JournalError::Full { .. })));
    // The cursor has passed the first segments: their files are used again.
    cursors.store("mdm", reader.position(), b"").unwrap();
    let floor = metergraph_journal::floor(&files, Path::new(FOLDER)).unwrap().unwrap();
    assert_eq!(writer.release(floor).unwrap(), 3);
    assert_eq!(writer.octets(), 3 * SMALL.segment_octets, "two spares are kept, one is removed");
    writer.commit().unwrap();
    let mut rest = read_on(&mut reader).unwrap();
    assert_eq!(octets(&rest), [&b"small"[..], &[2; 9000]]);
    let error = read_from(&files, &durable, Position::START).unwrap_err();
    assert!(matches!(error, JournalError::Released { first, .. } if first == writer.first()), "{error}");
    drop(writer);
    let mut writer = open();
    assert!(fill(&mut writer) >= 2);
    rest.extend(read_on(&mut reader).unwrap());
    assert_eq!(read_from(&files, &durable, writer.first()).unwrap()[1..], rest);
}

#[test]
fn recycled_segments_hold_nothing_of_their_earlier_life() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut last = Position::START;
    for run in 0..40_u8 {
        let mut writer = open(&files, &durable).unwrap();
        let mut reader = reader(&files, &durable, last);
        for commit in 0..5 {
            writer.append(run, &[commit; 100]).unwrap();
            writer.commit().unwrap();
        }
        let entries = read_on(&mut reader).unwrap();
        assert_eq!(entries.len(), 5);
        assert!(entries.iter().all(|(_, kind, _)| *kind == run));
        last = reader.position();
        writer.release(last).unwrap();
        drop(writer);
        // A copy that stops here finds the same end.
        let stopped = Durable::of_stopped(&files, Path::new(FOLDER)).unwrap();
        assert_eq!(stopped.position(), last);
    }
    let kept = names(&files);
    assert!(kept.len() <= 4, "one or two segments, two spares, the lock: {kept:?}");
}

#[test]
fn a_reader_left_behind_by_release_is_told() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut writer = open(&files, &durable).unwrap();
    for _ in 0..3 {
        writer.append(1, &[1; 3000]).unwrap();
        writer.commit().unwrap();
    }
    let mut slow = reader(&files, &durable, Position::START);
    slow.next().unwrap().unwrap();
    let (_, seal) = (0..20).fold((0, Position::START), |_, commit| {
        writer.append(1, &[1; 9000]).unwrap();
        let position = writer.commit().unwrap();
        writer.release(position).unwrap();
        (commit, position)
    });
    let error = loop {
        match slow.next() {
            Ok(Some(record)) => assert_eq!(record.octets, [1; 3000], "read ahead before"),
            Ok(None) => panic!("it is not at the end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, JournalError::Released { .. }), "{error}");
    assert_eq!(read_from(&files, &durable, seal).unwrap(), []);
}

#[test]
fn a_cursor_on_the_seal_of_a_released_segment_goes_on() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut writer = open(&files, &durable).unwrap();
    writer.append(1, &[1; 9000]).unwrap();
    let before_seal = writer.commit().unwrap();
    writer.append(2, &[2; 9000]).unwrap();
    writer.commit().unwrap();
    assert_eq!(writer.release(before_seal).unwrap(), 1);
    let entries = read_from(&files, &durable, before_seal).unwrap();
    assert_eq!(octets(&entries), [&[2; 9000][..]]);
}

#[test]
fn sizes_may_change_between_runs() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut expected = Vec::new();
    for (run, pages) in [6, 20, 4, 9, 30, 5].into_iter().enumerate() {
        let settings = Settings { segment_octets: pages * 4096 + 17, ..SMALL };
        let mut writer =
            Writer::open(Arc::new(files.clone()), Path::new(FOLDER), settings, &durable).unwrap();
        for length in [10, settings.record_octets_max(), 4000, 10] {
            let record = vec![u8::try_from(run).unwrap(); length];
            writer.append(1, &record).unwrap();
            writer.commit().unwrap();
            expected.push(record);
        }
    }
    assert_eq!(octets(&read_from(&files, &durable, Position::START).unwrap()), expected);
}

#[test]
fn readers_follow_a_writer_over_segments_on_a_real_disk() {
    const RECORDS: u64 = 20_000;
    let root = tempfile::tempdir().unwrap();
    let files: Arc<dyn Files> = Arc::new(OsFiles);
    let settings = Settings { segment_octets: 256 << 10, size_max: 1 << 30, spares_max: 2 };
    let durable = Durable::default();
    let mut writer = Writer::open(Arc::clone(&files), root.path(), settings, &durable).unwrap();
    let passed: Arc<Vec<AtomicU64>> = Arc::new((0..2).map(|_| AtomicU64::new(0)).collect());
    let readers: Vec<_> = (0..2)
        .map(|number| {
            let mut reader = Reader::new(Arc::clone(&files), root.path(), &durable, Position::START);
            let (durable, passed) = (durable.clone(), Arc::clone(&passed));
            std::thread::spawn(move || {
                let thread = std::thread::current();
                let _subscription = durable.subscribe(move || thread.unpark());
                let mut expected = 0_u64;
                while expected < RECORDS {
                    match reader.next().unwrap() {
                        Some(record) => {
                            assert_eq!(record.octets[..8], expected.to_be_bytes());
                            assert!(record.position < durable.position());
                            expected += 1;
                        }
                        None => std::thread::park(),
                    }
                    passed[number].store(reader.position().0, Ordering::Release);
                }
                assert!(reader.next().unwrap().is_none());
            })
        })
        .collect();
    for record in 0..RECORDS {
        let mut octets = vec![0x55; usize::try_from(8 + record % 300).unwrap()];
        octets[..8].copy_from_slice(&record.to_be_bytes());
        writer.append(1, &octets).unwrap();
        if record % 97 == 0 {
            writer.commit().unwrap();
            let floor = passed.iter().map(|passed| passed.load(Ordering::Acquire)).min().unwrap();
            writer.release(Position(floor)).unwrap();
        }
    }
    writer.commit().unwrap();
    for reader in readers {
        reader.join().unwrap();
    }
}
