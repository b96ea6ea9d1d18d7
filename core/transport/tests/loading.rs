//! Which files are plugins of this host, and what is said of those that are not.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

mod common;

use std::path::{Path, PathBuf};

use common::{compile, plugin_dir};
use metergraph_transport::{Bindings, Description, Sha256Digest, TransportError, find_plugin, hex};
use sha2::{Digest, Sha256};

fn load(path: &Path, pinned: Option<&Sha256Digest>) -> Result<Description, TransportError> {
    Bindings::default().load(path, pinned).map(|module| module.description().clone())
}

fn describe(path: &Path) -> Result<Description, TransportError> {
    load(path, None)
}

/// The digest of a file.
fn digest(path: &Path) -> Sha256Digest {
    Sha256::digest(std::fs::read(path).unwrap()).into()
}

/// The one line that a person reads.
fn refusal(path: &Path) -> String {
    let line = describe(path).unwrap_err().to_string();
    assert!(!line.contains('\n'), "one line: {line}");
    assert!(line.contains(&path.display().to_string()), "it names the file: {line}");
    line
}

/// A plugin with one thing wrong.
fn faulty(name: &str, wrong: &str) -> PathBuf {
    compile(name, "faulty.c", &[&format!("WRONG={wrong}")])
}

fn scratch(name: &str, octets: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, octets).unwrap();
    path
}

#[test]
fn the_tcp_plugin_describes_itself() {
    let description = describe(&plugin_dir().join("libmetergraph_tcp.so")).unwrap();
    assert_eq!((description.name.as_str(), description.contract.as_str()), ("tcp", "1.0"));
    assert_eq!(description.grants.len(), 2);
    assert_eq!((description.grants[0].kind.as_str(), description.grants[0].needed), ("tcp_listen", false));
    assert_eq!(description.config_schema["properties"]["idle_timeout_s"]["default"], 900);
    assert_eq!(description.sha256.len(), 64);
    let json = serde_json::to_value(&description).unwrap();
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_plugin_in_c_describes_itself() {
    let description = describe(&compile("described", "loopback.c", &[])).unwrap();
    assert_eq!((description.name.as_str(), description.version.as_str()), ("loopback", "1.0"));
}

#[test]
fn a_pinned_plugin_must_be_the_one_pinned() {
    let path = plugin_dir().join("libmetergraph_tcp.so");
    let digest = digest(&path);
    assert_eq!(load(&path, None).unwrap().sha256, hex(&digest));
    assert!(load(&path, Some(&digest)).is_ok());
    let mut other = digest;
    other[31] ^= 1;
    let error = load(&path, Some(&other)).unwrap_err();
    let TransportError::Digest { pinned, found, .. } = &error else { panic!("{error}") };
    let line = error.to_string();
    assert!(pinned != found && line.contains(pinned) && line.contains(found) && !line.contains('\n'));
}

#[test]
fn a_bad_pin_is_seen_before_the_library_runs() {
    let path = compile("pinned", "faulty.c", &[]);
    assert!(matches!(load(&path, Some(&[0; 32])), Err(TransportError::Digest { .. })));
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    assert!(!maps.contains("libpinned.so"), "it was not even mapped");
}

#[test]
fn what_is_no_library_is_refused() {
    assert!(refusal(&scratch("libtext.so", b"not a library")).contains("cannot be loaded"));
    assert!(refusal(&scratch("libempty.so", b"")).contains("cannot be loaded"));
    let half = std::fs::read(plugin_dir().join("libmetergraph_tcp.so")).unwrap();
    assert!(refusal(&scratch("libhalf.so", &half[..2000])).contains("cannot be loaded"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    assert!(refusal(folder).contains("cannot be read: "));
    assert!(refusal(&folder.join("libabsent.so")).contains("cannot be read: No such file"));
}

#[test]
fn a_library_without_the_entry_is_no_plugin() {
    let path = compile("other_entry", "faulty.c", &["ENTRY=something_else"]);
    assert!(refusal(&path).contains("exports no `mg_transport_entry_v1`"));
}

#[test]
fn another_version_is_named_with_ours() {
    let later = compile("entry_v3", "faulty.c", &["ENTRY=mg_transport_entry_v3"]);
    assert!(refusal(&later).contains("speaks version 3.x of the transport contract, this host speaks 1.0"));
    let draft = compile("entry_v0", "faulty.c", &["ENTRY=mg_transport_entry_v0"]);
    assert!(refusal(&draft).contains("speaks version 0.x of the transport contract"));
    assert!(refusal(&faulty("major", "p.abi_major=7")).contains("version 7.0"));
    assert!(refusal(&faulty("floor", "p.min_host_minor=9")).contains("wants a newer host"));
    let null = compile("null", "faulty.c", &["NOTHING"]);
    assert!(refusal(&null).contains("wants a newer host"));
}

#[test]
fn a_later_minor_of_this_major_is_taken_with_what_this_host_knows_of_it() {
    assert_eq!(describe(&faulty("minor", "p.abi_minor=2;p.size+=64")).unwrap().contract, "1.2");
}

#[test]
fn a_table_that_makes_no_sense_is_refused() {
    assert!(refusal(&faulty("small", "p.size=40")).contains("its table has 40 octets"));
    assert!(refusal(&faulty("hole", "p.poll=NULL")).contains("its `poll` is NULL"));
    assert!(refusal(&faulty("nameless", "p.name.len=0")).contains("its name is no text"));
    assert!(
        refusal(&faulty("binary", "p.version.ptr=\"\\xff\\xfe\\xfd\"")).contains("its version is no text")
    );
    assert!(refusal(&faulty("long", "p.name.len=65")).contains("its name is no text"));
    let schema = "p.config_schema.len=5";
    assert!(refusal(&faulty("schema", schema)).contains("the schema of its configuration is no JSON"));
    let grants = "p.grants.len=1";
    assert!(refusal(&faulty("grants", grants)).contains("the list of grants that it wants cannot be read"));
}

#[test]
fn a_file_replaced_after_it_was_loaded_is_not_mistaken_for_the_new_one() {
    let path = compile("replaced", "loopback.c", &[]);
    assert!(load(&path, Some(&digest(&path))).is_ok());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(compile("replaced", "faulty.c", &[]), path);
    let line = load(&path, None).unwrap_err().to_string();
    assert!(line.contains("has changed since it was loaded") && !line.contains('\n'), "{line}");
    let copy = path.with_file_name("libreplaced-2.so");
    std::fs::copy(&path, &copy).unwrap();
    assert!(load(&copy, None).is_ok(), "under another name it is loaded beside the old one");
}

#[test]
fn a_refused_file_replaced_is_not_mistaken_either() {
    let path = faulty("mended", "p.abi_major=7");
    assert!(refusal(&path).contains("version 7.0"));
    assert!(refusal(&path).contains("version 7.0"), "again the same");
    std::fs::remove_file(&path).unwrap();
    compile("mended", "loopback.c", &[]);
    assert!(refusal(&path).contains("has changed since it was loaded"));
}

#[test]
fn plugins_are_looked_for_in_order_and_paths_are_taken_as_they_are() {
    let folders = [PathBuf::from("/nonexistent"), plugin_dir()];
    let found = find_plugin("libmetergraph_tcp.so", &folders).unwrap();
    assert_eq!(found, plugin_dir().join("libmetergraph_tcp.so"));
    assert_eq!(find_plugin(&found.display().to_string(), &[]).unwrap(), found);
    let line = find_plugin("libtelepathy.so", &folders).unwrap_err().to_string();
    assert!(line.contains("libtelepathy.so") && line.contains("/nonexistent, "), "{line}");
}
