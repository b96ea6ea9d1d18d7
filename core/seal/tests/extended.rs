//! The vectors that extend those of others are what their program makes, which shares no code with ours (Python
//! with `cryptography`, installed by `scripts/prepare`).

#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::process::Command;

#[test]
fn vector_files_are_what_their_program_makes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let python = root.join("target/python/bin/python");
    let output = Command::new(&python)
        .arg(root.join("tests/vectors/extended/make.py"))
        .arg("--check")
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; run `make prepare`", python.display()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
