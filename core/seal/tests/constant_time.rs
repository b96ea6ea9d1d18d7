//! Tags, MACs and keys are compared by `subtle` and by nothing else: read from the source, since the
//! difference shows in no result. (What it shows in is measured by `benches/timing.rs`.)

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

/// Every place that compares a tag, a MAC, an integrity check or a key.
const PLACES: [&str; 7] = [
    "at_rest/lanes.rs",
    "control/down.rs",
    "eax_prime.rs",
    "edhoc/transcript.rs",
    "key_wrap.rs",
    "lanes.rs",
    "receiver/membership.rs",
];
/// What such a value is called here.
const NAMES: [&str; 8] = ["tag", "mac", "mac_2", "mac_3", "check", "made", "gms", "key"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("tests") && !path.ends_with("vectors") {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// The lines of the product: without tests and comments.
fn product(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap().to_owned();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
}

/// Whether a line compares a value of one of the names by an operator.
fn compares(line: &str) -> bool {
    // What stands next to an operator: a path, of which the last part is the name.
    let path = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '*' | '&');
    let name = |path: &str| NAMES.contains(&path.rsplit(['.', '*', '&']).next().unwrap());
    let sides: Vec<&str> = line.split("==").flat_map(|side| side.split("!=")).collect();
    sides.windows(2).any(|pair| {
        let left = pair[0].trim_end().trim_end_matches("()");
        let left = &left[left.rfind(|c| !path(c)).map_or(0, |at| at + 1)..];
        let right = pair[1].trim_start();
        let right = &right[..right.find(|c| !path(c)).unwrap_or(right.len())];
        name(left) || name(right)
    })
}

#[test]
fn tags_macs_and_keys_are_compared_by_subtle_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    sources(&root, &mut all);
    assert!(all.len() > 40, "{} sources", all.len());
    for path in all {
        let lines = product(&path);
        let by_operator: Vec<&String> = lines.iter().filter(|line| compares(line)).collect();
        assert!(by_operator.is_empty(), "{}: {by_operator:?}", path.display());
        let place = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
        let by_subtle = lines.iter().any(|line| line.contains("ct_eq("));
        let listed = PLACES.contains(&place.as_str()) || place == "secret.rs";
        assert_eq!(by_subtle, listed, "{place}: the list of places is no longer true");
    }
}

#[test]
fn the_test_sees_a_comparison_by_operator() {
    assert!(compares("if made == tag {") && compares("mac_2 != received") && compares("a.tag() == b"));
    assert!(!compares("tag.ct_eq(&made)") && !compares("let tag = a == b;") && !compares("key.gid == gid"));
}
