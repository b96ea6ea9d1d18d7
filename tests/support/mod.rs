//! What the scenario tests share: the program, the vectors, folders, fleets.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

pub mod cutter;
pub mod lab;
pub mod office;
pub mod story;
pub mod tap;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The folder of the vectors: the repository's, or the one that `METERGRAPH_VECTORS` names. It must be there.
pub fn vectors() -> PathBuf {
    let given = std::env::var_os("METERGRAPH_VECTORS");
    let folder = root().join(given.as_deref().unwrap_or("tests/vectors".as_ref()));
    assert!(folder.is_dir(), "METERGRAPH_VECTORS: no folder {}", folder.display());
    folder
}

/// Whether the vectors are the repository's own.
pub fn own_vectors() -> bool {
    std::env::var_os("METERGRAPH_VECTORS").is_none()
}

/// Whether a vector file is there. In the repository's own folder it must be.
pub fn has(name: &str) -> bool {
    let there = vectors().join(name).exists();
    assert!(there || !own_vectors(), "{name} is missing");
    if !there {
        eprintln!("no {name} in METERGRAPH_VECTORS: not checked");
    }
    there
}

/// A vector file, when it is there.
pub fn json(name: &str) -> Option<Value> {
    has(name).then(|| serde_json::from_slice(&std::fs::read(vectors().join(name)).unwrap()).unwrap())
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The program under test.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_metergraph"));
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs it to its end.
pub fn metergraph(arguments: &[String]) -> Output {
    program().args(arguments).output().unwrap()
}

/// Where the shared libraries of this build are.
pub fn plugin_dir() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_metergraph"));
    let beside = program.parent().unwrap();
    let deps = beside.join("deps");
    if deps.join("libmetergraph_tcp.so").exists() { deps } else { beside.to_owned() }
}
