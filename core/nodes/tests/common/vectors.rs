//! The test vectors, as data.

use std::path::Path;

use serde_json::Value;

/// A file of the vectors. It may be missing only from a folder of somebody else's.
pub fn json(name: &str) -> Option<Value> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let given = std::env::var_os("METERGRAPH_VECTORS");
    let folder = repository.join(given.as_deref().unwrap_or("tests/vectors".as_ref()));
    assert!(folder.is_dir(), "no folder {}", folder.display());
    let path = folder.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(_) if given.is_some() => {
            println!("{} is absent", path.display());
            None
        }
        Err(error) => panic!("{}: {error}", path.display()),
    }
}

pub fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// A field of hex digits, as so many octets.
pub fn octets<const N: usize>(value: &Value) -> [u8; N] {
    hex(value.as_str().unwrap()).try_into().unwrap()
}
