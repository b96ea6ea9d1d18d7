//! An import that is killed at any moment has happened, or it has not.

// clippy.toml's leave for tests reaches only the test functions themselves, not what helps them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use metergraph_keystore::sample::{self, Sample};
use metergraph_keystore::shipment::{HEADER, Shipment};
use metergraph_keystore::{FOLDER, Store};

const DEVICES: u32 = 20_000;
const STATE: &str = "METERGRAPH_TEST_CUT";

/// What the test below starts as a process of its own; nothing without it.
#[test]
fn import_alone() {
    let Ok(state) = std::env::var(STATE) else { return };
    let shipment = Shipment::read(fs::File::open(Path::new(&state).join("shipment.csv")).unwrap());
    let shipment = shipment.unwrap_or_else(|error| panic!("{error}"));
    let mut store = Store::open(&Path::new(&state).join(FOLDER)).unwrap_or_else(|error| panic!("{error}"));
    store.import(&shipment, &|_| Some(Vec::new()), true).unwrap();
}

#[test]
fn an_import_killed_at_any_moment_is_whole_or_nothing() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join(FOLDER);
    let mut text = Vec::new();
    sample::write(&Sample { devices: DEVICES, classic: 0, profile: "p.toml" }, &mut text).unwrap();
    fs::write(state.path().join("shipment.csv"), &text).unwrap();
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "import_alone"]).env(STATE, state.path());
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let devices = || {
        let store = Store::open(&folder).unwrap_or_else(|error| panic!("{error}"));
        let devices = store.directory().unwrap_or_else(|error| panic!("{error}")).devices();
        assert_eq!(store.into_vault().load(&|_| true, &mut |_| {}).unwrap(), devices);
        devices
    };

    // One device is there before, so that a cut import has something to lose.
    let key = "07".repeat(32);
    let first = format!("{HEADER}\n0102030405060708,E,.1.5,p.toml,profile1,00ffffff,0,{key}\n");
    let first = Shipment::read(first.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    let renew = || {
        let _ = fs::remove_dir_all(&folder);
        Store::init(&folder, None).unwrap();
        let mut store = Store::open(&folder).unwrap_or_else(|error| panic!("{error}"));
        store.import(&first, &|_| Some(Vec::new()), true).unwrap();
    };
    renew();
    let whole = Instant::now();
    assert!(start().wait().unwrap().success());
    let whole = whole.elapsed();
    assert_eq!(devices(), u64::from(DEVICES) + 1);

    renew();
    let mut taken = 0;
    for round in 0..24 {
        let mut child = start();
        std::thread::sleep(whole * round / 20 + Duration::from_millis(1));
        child.kill().unwrap();
        child.wait().unwrap();
        match devices() {
            1 => {}
            count => {
                assert_eq!(count, u64::from(DEVICES) + 1, "round {round}");
                taken += 1;
                renew();
            }
        }
    }
    assert!(taken < 24, "no import was cut");
}
