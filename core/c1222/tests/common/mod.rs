//! Reads the test vectors.

use std::path::PathBuf;

use serde_json::Value;

/// A file of the vectors: from `$METERGRAPH_VECTORS`, where a file may be absent, else from the folder of
/// this repository, where none may.
pub fn vectors(name: &str) -> Option<Value> {
    let given = std::env::var_os("METERGRAPH_VECTORS");
    let repository = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = repository.join(given.as_deref().unwrap_or("tests/vectors".as_ref()));
    assert!(folder.is_dir(), "no folder {}", folder.display());
    let path = folder.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(error) => {
            println!("absent: {name} ({error})");
            assert!(given.is_some(), "{} must be there", path.display());
            None
        }
    }
}

/// Whether the vectors are not those of this repository, so that they may hold cases not foreseen here.
#[allow(dead_code, reason = "not every test asks")]
pub fn are_foreign() -> bool {
    std::env::var_os("METERGRAPH_VECTORS").is_some()
}

/// The octets of hex digits.
pub fn octets(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Hex digits of octets.
pub fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// A text of an object, or `""`.
pub fn text<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or_default()
}
