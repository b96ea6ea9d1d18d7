//! An import that is killed at any moment has happened, or it has not.

// clippy.toml's leave for tests reaches only the test functions themselves, not what helps them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use metergraph_keystore::sample::{self, Sample};
use metergraph_keystore::shipment::{HEADER, Shipment};
use metergraph_keystore::{Change, FOLDER, NewAssociation, ProfileId, Store, Vault};
use seal::ids::{Dev, Sid};
use seal::secret::Prk;

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

/// What the test below starts as a process of its own: updates the store again and again.
#[test]
fn update_alone() {
    let Ok(state) = std::env::var(STATE) else { return };
    let store = std::sync::Arc::new(Store::open(&Path::new(&state).join(FOLDER)).unwrap());
    let vault = store.vault();
    for number in 0..u32::MAX {
        let changes: Vec<Change> = (0..PAIR).map(|half| association(&vault, number * PAIR + half)).collect();
        store.apply(&changes, 0).unwrap();
        fs::write(Path::new(&state).join("done"), (number + 1).to_string()).unwrap();
    }
}

/// Associations that an update adds.
const PAIR: u32 = 64;

fn association(vault: &Vault, number: u32) -> Change {
    // Numbers of one update are far apart: each is in a block of its own.
    let (sid, dev) = (Sid(number * 1023), Dev(u64::from(number).to_be_bytes()));
    let title = c1222::ApTitleBuf::parse(".9").unwrap();
    let prk = Prk::from_octets([7; 32]);
    let new = NewAssociation {
        sid,
        dev,
        prk: &prk,
        title: title.as_title(),
        esn: "E",
        profile: ProfileId::of(&[]),
    };
    Change::Association { sid, dev, sealed: vault.seal_association(&new).unwrap().into() }
}

#[test]
fn an_update_killed_at_any_moment_is_whole_or_nothing() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join(FOLDER);
    Store::init(&folder, None).unwrap();
    let key = "07".repeat(32);
    let first = format!("{HEADER}\n0102030405060708,E,.1.5,p.toml,profile1,00ffffff,0,{key}\n");
    let first = Shipment::read(first.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
    Store::open(&folder).unwrap().import(&first, &|_| Some(Vec::new()), true).unwrap();
    let mut before = 0;
    for round in 0..8 {
        let _ = fs::remove_file(state.path().join("done"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "update_alone"]).env(STATE, state.path());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(300 + 137 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        let done: u64 =
            fs::read_to_string(state.path().join("done")).map_or(0, |text| text.parse().unwrap_or(0));
        let store = Store::open(&folder).unwrap_or_else(|error| panic!("{error}"));
        let directory = store.directory().unwrap_or_else(|error| panic!("{error}"));
        let found = directory.known().count() as u64 - 1;
        assert_eq!(found % u64::from(PAIR), 0, "round {round}");
        // The updates begin again at the first: what was there stays.
        assert!(found >= before && found >= done * u64::from(PAIR), "round {round}: {found}, {done}");
        before = found;
    }
    assert!(before > 0, "nothing was updated");
}
