//! One accident at a time: failing syncs and writes, a full disk, rot, missing files.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use common::{Entry, FOLDER, SMALL, names, octets, open, read_from, read_on, reader};
use metergraph_journal::files::{Files, ForgetfulFiles};
use metergraph_journal::{Cursors, Durable, JournalError, Position, Settings, Writer};

fn commit(writer: &mut Writer, octets: &[u8]) -> Result<Position, JournalError> {
    writer.append(1, octets).unwrap();
    writer.commit()
}

fn after_cut(files: &ForgetfulFiles, seed: u64) -> Vec<Entry> {
    files.cut(seed);
    let durable = Durable::default();
    let writer = open(files, &durable).unwrap();
    read_from(files, &durable, writer.first()).unwrap()
}

#[test]
fn a_sync_that_fails_is_an_error_until_the_octets_were_written_again() {
    for seed in 0..200 {
        let (files, durable) = (ForgetfulFiles::default(), Durable::default());
        let mut writer = open(&files, &durable).unwrap();
        let end = commit(&mut writer, b"one").unwrap();
        files.fail_syncs(1);
        let error = commit(&mut writer, &[2; 6000]).unwrap_err();
        assert!(matches!(&error, JournalError::File(_)), "{error}");
        assert!(error.to_string().starts_with("cannot sync /state/journal/0000000000000000.segment: "));
        assert_eq!(
            (durable.position(), writer.records()),
            (end, 1),
            "nothing is published, the batch is kept"
        );
        assert_eq!(read_from(&files, &durable, Position::START).unwrap().len(), 1);
        // The same batch again: it is written again, not only synced again.
        writer.commit().unwrap();
        assert_eq!(octets(&after_cut(&files, seed)), [&b"one"[..], &[2; 6000]], "seed {seed}");
    }
}

#[test]
fn a_discarded_batch_is_overwritten_or_voided_and_never_turns_up() {
    for seed in 0..200 {
        let (files, durable) = (ForgetfulFiles::default(), Durable::default());
        let mut writer = open(&files, &durable).unwrap();
        commit(&mut writer, b"one").unwrap();
        files.fail_syncs(1);
        commit(&mut writer, &[2; 6000]).unwrap_err();
        writer.discard().unwrap();
        assert_eq!(writer.records(), 0);
        if seed % 2 == 0 {
            commit(&mut writer, b"three").unwrap();
            assert_eq!(octets(&after_cut(&files, seed)), [&b"one"[..], b"three"], "seed {seed}");
        } else {
            assert_eq!(octets(&after_cut(&files, seed)), [b"one"], "seed {seed}");
        }
    }
}

#[test]
fn what_is_not_there_at_an_opening_never_turns_up_later() {
    let mut seen = 0;
    for seed in 0..400 {
        let (files, durable) = (ForgetfulFiles::default(), Durable::default());
        let mut writer = open(&files, &durable).unwrap();
        commit(&mut writer, b"one").unwrap();
        // The batch may be on the disk; that it was voided is in the cache only.
        files.fail_syncs(2);
        commit(&mut writer, b"two").unwrap_err();
        writer.discard().unwrap_err();
        files.kill(seed);
        let durable = Durable::default();
        drop(open(&files, &durable).unwrap());
        let found = read_from(&files, &durable, Position::START).unwrap();
        seen += found.len() - 1;
        assert_eq!(after_cut(&files, seed), found, "seed {seed}");
    }
    assert!(seen > 0, "the batch was never on the disk");
}

#[test]
fn a_failed_change_of_names_asks_for_a_new_opening() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut writer = open(&files, &durable).unwrap();
    let mut end = Position::START;
    for _ in 0..3 {
        end = commit(&mut writer, &[1; 9000]).unwrap();
    }
    files.fail_syncs(1);
    assert!(matches!(writer.release(end), Err(JournalError::File(_))));
    let error = commit(&mut writer, &[2; 9000]).unwrap_err();
    assert!(matches!(&error, JournalError::MustReopen { folder } if folder == Path::new(FOLDER)), "{error}");
    assert!(matches!(writer.release(end), Err(JournalError::MustReopen { .. })));
    drop(writer);
    let mut writer = open(&files, &durable).unwrap();
    commit(&mut writer, &[2; 9000]).unwrap();
    assert_eq!(writer.release(end).unwrap(), 2, "the first of three had gone");
    let mut reader = reader(&files, &durable, end);
    assert_eq!(octets(&read_on(&mut reader).unwrap()), [&[2; 9000][..]]);
}

#[test]
fn a_full_disk_is_named_and_the_writer_goes_on_when_there_is_room() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut writer = open(&files, &durable).unwrap();
    commit(&mut writer, &[1; 9000]).unwrap();
    files.set_space(Some(SMALL.segment_octets - 1));
    for _ in 0..3 {
        writer.discard().unwrap();
        let error = commit(&mut writer, &[2; 9000]).unwrap_err();
        assert!(matches!(error, JournalError::DiskFull(_)), "{error}");
    }
    assert_eq!(names(&files), ["0000000000000000.segment"], "half a segment takes no room");
    assert_eq!(writer.records(), 1, "the batch is kept");
    files.set_space(None);
    writer.commit().unwrap();
    // A disk that is full when a block is written: the file system could not reserve the space.
    files.fail_write_after(100);
    assert!(matches!(commit(&mut writer, b"three"), Err(JournalError::DiskFull(_))));
    writer.commit().unwrap();
    let expected = [&[1; 9000][..], &[2; 9000], b"three"];
    assert_eq!(octets(&read_from(&files, &durable, Position::START).unwrap()), expected);
    assert_eq!(octets(&after_cut(&files, 1)), expected);
}

#[test]
fn a_full_disk_at_the_first_opening_leaves_a_folder_that_opens_later() {
    for space in [0, 1, 4095, SMALL.segment_octets - 1] {
        let files = ForgetfulFiles::default();
        files.set_space(Some(space));
        assert!(matches!(open(&files, &Durable::default()), Err(JournalError::DiskFull(_))));
        files.set_space(None);
        let mut writer = open(&files, &Durable::default()).unwrap();
        commit(&mut writer, b"one").unwrap();
    }
}

/// Three segments, several commits each, closed; and all records.
fn sample() -> (ForgetfulFiles, Durable, Vec<Entry>) {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut writer = open(&files, &durable).unwrap();
    for number in 0..9_u8 {
        writer.append(number, &[number; 300]).unwrap();
        commit(&mut writer, &vec![number; 1000 * usize::from(number % 3 + 1)]).unwrap();
    }
    writer.close().unwrap();
    let entries = read_from(&files, &durable, Position::START).unwrap();
    (files, durable, entries)
}

fn segment(files: &ForgetfulFiles, index: usize) -> (PathBuf, u64) {
    let name = names(files)[index].clone();
    let base = name.split_once('.').unwrap().0.parse::<Position>().unwrap().0;
    (Path::new(FOLDER).join(name), base)
}

#[test]
fn rot_is_named_with_its_position_and_nothing_before_it_is_lost() {
    let (files, durable, entries) = sample();
    assert_eq!(names(&files).len(), 3);
    let mut named = 0;
    for index in 0..3 {
        let (path, base) = segment(&files, index);
        for offset in (0..SMALL.segment_octets).step_by(61) {
            files.rot(&path, offset, 0x04);
            let mut reader = reader(&files, &durable, Position::START);
            let mut before = 0;
            let error = loop {
                match reader.next() {
                    Ok(Some(record)) => {
                        assert_eq!(
                            (record.position, record.octets),
                            (entries[before].0, &entries[before].2[..])
                        );
                        before += 1;
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            };
            match error {
                None => assert_eq!(before, entries.len(), "offset {offset}: records are missing"),
                Some(JournalError::Damaged { position, path: named_path, .. }) => {
                    named += 1;
                    assert_eq!(named_path, path);
                    // It names the block, which begins at or before the rot, behind the last good record.
                    assert!(
                        position.0 <= base + offset && base + offset < position.0 + 8192,
                        "offset {offset}"
                    );
                    assert!(before == 0 || entries[before - 1].0 < position);
                    assert!(reader.next().is_err(), "it is skipped");
                }
                Some(error) => panic!("{error}"),
            }
            // The writer, too, refuses to go on behind a damaged last segment.
            let opened = open(&files, &Durable::default());
            if index == 2 && before < entries.len() {
                assert!(matches!(opened.unwrap_err(), JournalError::Damaged { .. }), "offset {offset}");
            } else if let Err(error) = opened {
                assert!(offset < 4096, "offset {offset}: {error}");
            }
            files.rot(&path, offset, 0x04);
        }
    }
    assert!(named > 300, "{named}");
    assert_eq!(read_from(&files, &durable, Position::START).unwrap(), entries);
}

#[test]
fn a_missing_segment_is_named() {
    for index in 0..3 {
        let (files, durable, entries) = sample();
        let (path, base) = segment(&files, index);
        files.remove(&path).unwrap();
        let error = read_from(&files, &durable, Position::START).unwrap_err();
        match index {
            0 => assert!(matches!(error, JournalError::Released { .. }), "{error}"),
            _ => assert!(
                matches!(error, JournalError::Damaged { position, .. } if position.0 == base),
                "{error}"
            ),
        }
        let opened = open(&files, &Durable::default());
        match index {
            1 => assert!(matches!(opened, Err(JournalError::Damaged { position, .. }) if position.0 == base)),
            _ => drop(opened.unwrap()),
        }
        // A follower that was ahead is told that the end went.
        let opened = open(&files, &durable);
        if index == 2 {
            let error = opened.unwrap_err();
            assert!(matches!(error, JournalError::EndLost { .. }), "{error}");
        }
        assert!(!entries.is_empty());
    }
}

#[test]
fn a_cursor_ahead_of_the_end_is_named_and_nothing_is_changed() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut writer = open(&files, &durable).unwrap();
    commit(&mut writer, b"one").unwrap();
    let end = commit(&mut writer, b"two").unwrap();
    let cursors = Cursors::new(Arc::new(files.clone()), Path::new(FOLDER));
    cursors.store("mdm", end, b"").unwrap();
    drop(writer);
    // The last commit rots: alone it looks like one that was never finished.
    let path = Path::new(FOLDER).join("0000000000000000.segment");
    files.rot(&path, 8192 + 30, 1);
    let error = open(&files, &Durable::default()).unwrap_err();
    assert!(matches!(&error, JournalError::EndLost { position, .. } if *position == end), "{error}");
    assert!(error.to_string().contains("/state/journal/cursors/mdm"), "{error}");
    files.rot(&path, 8192 + 30, 1);
    open(&files, &Durable::default()).unwrap();
    assert_eq!(read_from(&files, &durable, Position::START).unwrap().len(), 2);
}

#[test]
fn a_block_inside_a_record_is_no_block() {
    // A batch that holds an image of blocks fails; a shorter one takes its place. What then stands
    // behind the end is page for page the image, made for just these positions, but of another life.
    let other = ForgetfulFiles::default();
    let mut writer = open(&other, &Durable::default()).unwrap();
    for _ in 0..3 {
        commit(&mut writer, b"forged").unwrap();
    }
    let path = Path::new(FOLDER).join("0000000000000000.segment");
    let image = other.read(&path, 1 << 20).unwrap();

    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut writer = open(&files, &durable).unwrap();
    files.fail_syncs(1);
    // A head of 28 octets and a record's of 4 stand before the record.
    commit(&mut writer, &image[4096 + 32..4 * 4096]).unwrap_err();
    writer.discard().unwrap();
    commit(&mut writer, b"one").unwrap();
    drop(writer);
    let written = files.read(&path, 1 << 20).unwrap();
    assert_eq!(written[8192..4 * 4096], image[8192..4 * 4096], "the image is in place");
    let durable = Durable::default();
    drop(open(&files, &durable).unwrap());
    assert_eq!(octets(&read_from(&files, &durable, Position::START).unwrap()), [b"one"]);
}

#[test]
fn anything_in_the_folder_is_an_error_or_a_log_never_a_panic() {
    use proptest::prelude::*;
    let strategy = (0..3_usize, 0..6 * 4096_u64, proptest::collection::vec(any::<u8>(), 0..200), 0..3_u8);
    proptest!(ProptestConfig::with_cases(500), |((index, offset, junk, how) in strategy)| {
        let (files, durable, entries) = sample();
        let (path, _) = segment(&files, index);
        let file = files.open(&path, metergraph_journal::files::Open::Update).unwrap();
        match how {
            0 => file.write_at(&junk, offset).unwrap(),
            1 => file.allocate(offset).unwrap(),
            _ => {
                file.allocate(0).unwrap();
                file.write_at(&junk, 0).unwrap();
            }
        }
        drop(file);
        let mut reader = reader(&files, &durable, Position::START);
        let mut read = 0;
        while let Ok(Some(record)) = reader.next() {
            prop_assert_eq!(record.octets, &entries[read].2[..]);
            read += 1;
        }
        let settings = Settings { size_max: 1 << 20, ..SMALL };
        if let Ok(mut writer) =
            Writer::open(Arc::new(files.clone()), Path::new(FOLDER), settings, &Durable::default())
        {
            prop_assert!(writer.append(1, b"more").is_ok());
            prop_assert!(writer.commit().is_ok());
        }
    });
}
