//! THREATS.md and scripts/threats.toml say the same, and what they name is there: each control once in its file,
//! each test in its own. That the tests fail without the controls is what `scripts/threats` shows.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
struct Table {
    threat: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    /// The file of the control.
    control: String,
    /// Its text, and the text in its place when it is switched off.
    on: String,
    off: String,
    /// What `cargo test` is told: package, target, test.
    package: String,
    target: String,
    test: String,
    /// The file of the test.
    file: String,
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rows() -> Vec<Row> {
    toml::from_str::<Table>(&read("scripts/threats.toml")).unwrap().threat
}

/// The rows of THREATS.md that have an id: its other cells.
fn told() -> BTreeMap<String, Vec<String>> {
    let text = read("THREATS.md");
    let mut told = BTreeMap::new();
    for line in text.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<String> =
            line.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect();
        let is_id = |id: &str| {
            id.starts_with(|first: char| "ERCWHD".contains(first)) && id[1..].parse::<u8>().is_ok()
        };
        if is_id(&cells[0]) {
            assert!(told.insert(cells[0].clone(), cells[1..].to_vec()).is_none(), "{} twice", cells[0]);
        }
    }
    told
}

#[test]
fn every_threat_has_its_control_and_its_test_and_the_reverse() {
    let (rows, mut told) = (rows(), told());
    assert!(rows.len() > 50, "{} rows", rows.len());
    for row in &rows {
        let cells = told.remove(&row.id).unwrap_or_else(|| panic!("{} is not in THREATS.md", row.id));
        let [threat, control, test] = &cells[..] else { panic!("{}: {cells:?}", row.id) };
        assert!(!threat.is_empty(), "{}", row.id);
        assert!(control.contains(&format!("`{}`", row.control)), "{}: {control}", row.id);
        assert!(control.contains('§'), "{}: no clause in {control}", row.id);
        let function = row.test.rsplit("::").next().unwrap();
        assert_eq!(*test, format!("`{}::{function}`", row.file), "{}", row.id);
    }
    assert!(told.is_empty(), "in THREATS.md alone: {:?}", told.keys());
    let places = ["E", "R", "C", "W", "H", "D"];
    assert!(places.iter().all(|place| rows.iter().any(|row| row.id.starts_with(place))));
}

#[test]
fn every_control_stands_once_and_every_test_is_there() {
    for row in rows() {
        let text = read(&row.control);
        assert_eq!(text.matches(&row.on).count(), 1, "{}: the control in {}", row.id, row.control);
        assert_ne!(row.on, row.off, "{}", row.id);
        // Only what the product does is switched off, never a test.
        let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
        assert!(text.find(&row.on).unwrap() < tests, "{}: the control is in a test", row.id);
        let function = row.test.rsplit("::").next().unwrap();
        assert!(
            read(&row.file).contains(&format!("fn {function}(")),
            "{}: {} in {}",
            row.id,
            row.test,
            row.file
        );
        let folder = if row.package == "metergraph" {
            "Cargo.toml".to_owned()
        } else {
            let (folder, _) =
                row.file.split_once("/src/").or_else(|| row.file.split_once("/tests/")).unwrap();
            format!("{folder}/Cargo.toml")
        };
        assert!(read(&folder).contains(&format!("name = \"{}\"", row.package)), "{}", row.id);
        assert!(row.target == "--lib" || row.target.starts_with("--test "), "{}", row.id);
        // A test of a library goes by its module, one of `tests/` by its name alone, if that is a file and no folder.
        let parts = row.target.strip_prefix("--test ").is_some_and(|name| {
            row.file.contains(&format!("tests/{name}/")) && !row.file.ends_with("/main.rs")
        });
        assert_eq!(row.target == "--lib" || parts, row.test.contains("::"), "{}", row.id);
    }
}
