//! What holds keys does not lie about for ever: old segments end, and their files are overwritten.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use common::{FOLDER, names, octets, open, read_from, read_on, reader};
use metergraph_journal::files::{Files, ForgetfulFiles};
use metergraph_journal::{Durable, Position, Writer};

const DAY_S: u64 = 86_400;
const SECRET: &[u8] = b"a key under a data key";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn put(writer: &mut Writer, kind: u8, octets: &[u8]) -> Position {
    writer.append(kind, octets).unwrap();
    writer.commit().unwrap()
}

/// The files of the folder that hold these octets.
fn holding(files: &ForgetfulFiles, octets: &[u8]) -> Vec<String> {
    let holds = |name: &String| {
        let file = files.read(&Path::new(FOLDER).join(name), 1 << 20).unwrap();
        file.windows(octets.len()).any(|window| window == octets)
    };
    names(files).into_iter().filter(holds).collect()
}

#[test]
fn a_segment_ends_by_its_age_and_can_be_given_up() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let mut writer = open(&files, &durable).unwrap();
    let late = now() + DAY_S + 60;
    assert!(!writer.end_segment_of(DAY_S, late).unwrap(), "nothing is in it");
    let end = put(&mut writer, 1, b"one");
    let (mut reader, mut slow) =
        (reader(&files, &durable, Position::START), reader(&files, &durable, Position::START));
    assert_eq!(octets(&read_on(&mut reader).unwrap()), [b"one"]);
    assert_eq!(octets(&read_on(&mut slow).unwrap()), [b"one"]);
    assert!(!writer.end_segment_of(DAY_S, now() + DAY_S - 60).unwrap(), "it is young");
    assert_eq!(writer.release(end).unwrap(), 0);
    assert!(writer.end_segment_of(DAY_S, late).unwrap());
    assert_eq!(durable.position(), writer.end());
    assert!(!writer.end_segment_of(DAY_S, late).unwrap(), "the next one is empty");
    assert!(read_on(&mut reader).unwrap().is_empty());
    assert_eq!(reader.position(), writer.end());
    // Whoever had read all of it has lost nothing, also when its file has gone to other use.
    assert_eq!(writer.release(end).unwrap(), 1);
    put(&mut writer, 1, b"two");
    assert!(writer.end_segment_of(DAY_S, late).unwrap());
    for reader in [&mut reader, &mut slow] {
        assert_eq!(octets(&read_on(reader).unwrap()), [b"two"]);
    }
    drop(writer);
    let mut writer = open(&files, &durable).unwrap();
    put(&mut writer, 1, b"three");
    for reader in [&mut reader, &mut slow] {
        assert_eq!(octets(&read_on(reader).unwrap()), [b"three"]);
    }
    // A clock that was set back since is no reason to keep it.
    assert!(writer.end_segment_of(DAY_S, now() - 60).unwrap());
    assert_eq!(octets(&read_from(&files, &durable, end).unwrap()), [&b"two"[..], b"three"]);
}

#[test]
fn the_file_of_a_key_is_overwritten_before_it_is_a_spare() {
    let (files, durable) = (ForgetfulFiles::default(), Durable::default());
    let late = now() + 2 * DAY_S;
    let open = || open(&files, &durable).unwrap().wiping(&[3, 9]).unwrap();
    let mut writer = open();
    put(&mut writer, 1, b"no key");
    assert!(writer.end_segment_of(DAY_S, late).unwrap());
    let end = put(&mut writer, 9, SECRET);
    assert!(writer.end_segment_of(DAY_S, late).unwrap());
    put(&mut writer, 1, b"behind it");
    assert_eq!(writer.release(end).unwrap(), 2);
    assert!(holding(&files, SECRET).is_empty());
    assert_eq!(names(&files).iter().filter(|name| name.ends_with(".spare")).count(), 2, "both are kept");
    assert_eq!(holding(&files, b"no key").len(), 1, "what holds no key costs no write");

    // A writer that did not write it takes it for one with keys.
    put(&mut writer, 3, SECRET);
    drop(writer);
    let mut writer = open();
    let end = put(&mut writer, 1, b"later");
    assert!(writer.end_segment_of(DAY_S, late).unwrap());
    assert_eq!(holding(&files, SECRET).len(), 1);
    assert_eq!(writer.release(end).unwrap(), 1);
    assert!(holding(&files, SECRET).is_empty());
    drop(writer);

    // A cut came between the two: the next opening does it.
    let mut writer = common::open(&files, &durable).unwrap();
    let end = put(&mut writer, 3, SECRET);
    assert!(writer.end_segment_of(DAY_S, late).unwrap());
    writer.release(end).unwrap();
    let held = holding(&files, SECRET);
    assert!(held.len() == 1 && held[0].ends_with(".spare"), "{held:?}");
    drop(writer);
    drop(open());
    assert!(holding(&files, SECRET).is_empty());
}
