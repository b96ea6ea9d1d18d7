//! Finding and reading the files. Another folder than ours may lack some: then the test says which and
//! passes. In ours a missing file is a failure.

use std::env;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use crate::hex;

fn root() -> (PathBuf, bool) {
    // A test runs in its crate's folder; whoever names another one stands at the repository's root.
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    match env::var_os("METERGRAPH_VECTORS") {
        Some(folder) => {
            let folder = repository.join(folder);
            assert!(folder.is_dir(), "METERGRAPH_VECTORS: no folder {}", folder.display());
            (folder, true)
        }
        None => (repository.join("tests/vectors"), false),
    }
}

/// Whether the folder is another than ours.
pub fn is_lent() -> bool {
    root().1
}

/// The text of one file.
pub fn text(name: &str) -> Option<String> {
    let (root, replaced) = root();
    match fs::read_to_string(root.join(name)) {
        Ok(text) => Some(text),
        Err(error) if replaced => {
            println!("no vectors in {name}: {error}");
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

/// A JSON file; nothing when it is absent.
pub fn json(name: &str) -> Value {
    text(name).map_or(Value::Null, |text| serde_json::from_str(&text).expect(name))
}

/// The cases of one JSON file: the file itself when it is an array, else its array `key`.
pub fn cases(name: &str, key: &str) -> Vec<Value> {
    let mut file = json(name);
    let cases = if file.is_array() { file.take() } else { file[key].take() };
    let cases = cases.as_array().cloned().unwrap_or_default();
    println!("{} cases in {name}", cases.len());
    assert!(!cases.is_empty() || root().1, "no {key} in {name}");
    cases
}

/// The names of all files in a folder that end so, sorted.
pub fn names(folder: &str, ending: &str) -> Vec<String> {
    let (root, replaced) = root();
    let mut names: Vec<String> = fs::read_dir(root.join(folder))
        .into_iter()
        .flatten()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(ending))
        .map(|name| format!("{folder}/{name}"))
        .collect();
    names.sort();
    if names.is_empty() {
        assert!(replaced, "no vectors in {folder}");
        println!("no vectors in {folder}");
    }
    names
}

/// Octets from hex digits.
pub fn octets(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text}");
    text.as_bytes()
        .chunks(2)
        .map(|pair| hex::read::<1>(std::str::from_utf8(pair).unwrap()).expect(text)[0])
        .collect()
}

/// Reading the fields of a case.
pub trait Fields {
    fn str(&self, key: &str) -> &str;
    fn octets(&self, key: &str) -> Vec<u8>;
    fn array<const N: usize>(&self, key: &str) -> [u8; N];
    fn number(&self, key: &str) -> u64;
    fn list(&self, key: &str) -> &[Value];
}

impl Fields for Value {
    fn str(&self, key: &str) -> &str {
        self[key].as_str().unwrap_or_else(|| panic!("{key} of {self}"))
    }

    fn octets(&self, key: &str) -> Vec<u8> {
        octets(self.str(key))
    }

    fn array<const N: usize>(&self, key: &str) -> [u8; N] {
        hex::read(self.str(key)).unwrap_or_else(|error| panic!("{key} of {self}: {error}"))
    }

    fn number(&self, key: &str) -> u64 {
        self[key].as_u64().unwrap_or_else(|| panic!("{key} of {self}"))
    }

    fn list(&self, key: &str) -> &[Value] {
        self[key].as_array().map(Vec::as_slice).unwrap_or_else(|| panic!("{key} of {self}"))
    }
}
