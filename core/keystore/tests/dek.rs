//! Data keys that are replaced while the store is in use: what was sealed before opens until the old key is
//! released, and a cut at any moment leaves a store that opens everything.

// clippy.toml's leave for tests reaches only the test functions themselves, not what helps them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use c1222::ApTitleBuf;
use keystore::sample::{self, Sample};
use keystore::shipment::Shipment;
use keystore::{Applied, Change, FOLDER, NewAssociation, ProfileId, Store, StoreError, Vault};
use metergraph_keystore as keystore;
use seal::ids::{Dev, Epoch, Gid, Sid};
use seal::secret::Prk;

const PROFILE: &[u8] = b"name = \"residential\"\n";
const NOW: u64 = 1_800_000_000;
const STATE: &str = "METERGRAPH_TEST_DEK";
/// In partition 7, where the sample has devices too.
const SID: Sid = Sid(0x0000_1c07);
const DEV: Dev = Dev([9; 8]);
const GID: Gid = Gid(0x8000_0007);
const PARTITION: u16 = 7;
const DEVICES: u64 = 3000;

fn new_store() -> (tempfile::TempDir, PathBuf) {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join(FOLDER);
    Store::init(&folder, None).unwrap();
    let mut text = Vec::new();
    sample::write(&Sample { devices: DEVICES as u32, classic: 10, profile: "p.toml" }, &mut text).unwrap();
    let shipment = Shipment::read(&text[..]).unwrap_or_else(|error| panic!("{error}"));
    Store::open(&folder).unwrap().import(&shipment, &|_| Some(PROFILE.to_vec()), true).unwrap();
    (state, folder)
}

fn open(folder: &Path) -> Arc<Store> {
    Arc::new(Store::open(folder).unwrap_or_else(|error| panic!("{error}")))
}

fn sealed(vault: &Vault, sid: Sid) -> Vec<u8> {
    let (title, prk) = (ApTitleBuf::parse(".99.7").unwrap(), Prk::from_octets([7; 32]));
    let profile = ProfileId::of(PROFILE);
    let new = NewAssociation { sid, dev: DEV, prk: &prk, title: title.as_title(), esn: "E 9", profile };
    vault.seal_association(&new).unwrap()
}

fn opens(vault: &Vault, sealed: &[u8]) -> bool {
    vault.open_association(SID, DEV, sealed, |_| ()).is_ok()
}

/// How many associations and keys of groups open.
fn count(store: &Arc<Store>) -> (u64, u64) {
    let vault = store.vault();
    (vault.load(&|_| true, &mut |_| {}).unwrap(), vault.load_groups(&|_| true, &mut |_| {}).unwrap())
}

/// The wrapped data key that stands first in a partition's entry, of any live database.
fn wrapped(folder: &Path) -> Vec<Vec<u8>> {
    let numbers = fs::read_to_string(folder.join("current")).unwrap();
    let value = |number: &str| {
        let db = sled::open(folder.join(format!("sled-{number}"))).unwrap();
        db.get([&[1], &PARTITION.to_be_bytes()[..]].concat()).unwrap().map(|value| value.to_vec())
    };
    numbers.split_ascii_whitespace().filter_map(value).collect()
}

#[test]
fn what_was_sealed_before_opens_until_the_old_key_is_released() {
    let (_state, folder) = new_store();
    let first = wrapped(&folder).remove(0);
    let store = open(&folder);
    let vault = store.vault();
    let (before, key) = (sealed(&vault, SID), vault.draw_group_key(GID, Epoch(1)).unwrap());
    let unused = vault.draw_group_key(GID, Epoch(2)).unwrap();
    assert_eq!(store.dek_dates().len(), 1024);
    assert!(store.old_deks().is_empty() && store.dek_dates().iter().all(|date| *date > 0));
    store.replace_dek(PARTITION, NOW).unwrap();
    assert_eq!((store.dek_dates()[7], store.old_deks().len()), (NOW, 1));

    // From before and after, in this run and in the next one.
    let after = sealed(&vault, SID);
    assert!(opens(&vault, &before) && opens(&vault, &after));
    assert!(vault.open_group_key(GID, Epoch(1), &key).is_ok());
    drop((vault, store));
    let store = open(&folder);
    let vault = store.vault();
    assert_eq!((store.dek_dates()[7], store.old_deks()[0].mark), (NOW, None));
    assert!(opens(&vault, &before) && opens(&vault, &after));
    assert_eq!(count(&store), (DEVICES, 0));

    // The store takes in what stands sealed in the journal, under its present key.
    let group = Change::GroupKey { gid: GID, epoch: Epoch(1), activate_at: 0, sealed: key.clone().into() };
    let new = Change::Association { sid: SID, dev: DEV, sealed: before.clone().into() };
    assert_eq!(store.apply(&[new, group], NOW).unwrap(), Applied::default());
    assert_eq!(count(&store), (DEVICES + 1, 1));

    // Marked, once, when nothing comes any more.
    assert_eq!(store.mark_deks(&|old| old.replaced < NOW, 5).unwrap(), 0);
    assert_eq!(store.mark_deks(&|_| true, 5).unwrap(), 1);
    assert_eq!(store.mark_deks(&|_| true, 6).unwrap(), 0);
    assert_eq!(store.old_deks()[0].mark, Some(5));
    assert!(opens(&vault, &before));

    // Released: the old key opens nothing, and no file has it.
    store.replace_dek(PARTITION, NOW + 9).unwrap();
    assert_eq!(store.release_deks(&|old| old.mark.is_some()).unwrap(), 1);
    assert!(!opens(&vault, &before) && opens(&vault, &after), "the second one is kept");
    assert!(matches!(vault.open_group_key(GID, Epoch(2), &unused), Err(StoreError::Group { .. })));
    assert!(vault.open_group_key(GID, Epoch(1), &key).is_ok(), "the store has it anew");
    drop((vault, store));
    let values = wrapped(&folder);
    assert_eq!(values.len(), 1);
    assert!(values[0].windows(first.len()).all(|octets| octets[..40] != first[..40]));
    let store = open(&folder);
    assert!(!opens(&store.vault(), &before) && opens(&store.vault(), &after));
    assert_eq!((count(&store), store.old_deks().len()), ((DEVICES + 1, 1), 1));
}

#[test]
fn replaced_keys_have_an_end() {
    let (_state, folder) = new_store();
    let store = open(&folder);
    let before = sealed(&store.vault(), SID);
    for time in 0..6 {
        store.replace_dek(PARTITION, NOW + time).unwrap();
    }
    let refused = store.replace_dek(PARTITION, NOW);
    assert!(matches!(refused, Err(StoreError::OldDeks { partition: PARTITION })), "{refused:?}");
    assert!(opens(&store.vault(), &before));
    // Those between go, the first one stays where it can be found.
    assert_eq!(store.release_deks(&|old| old.replaced > NOW).unwrap(), 1);
    assert!(opens(&store.vault(), &before));
    drop(store);
    assert!(opens(&open(&folder).vault(), &before));
}

#[test]
fn a_vault_opens_all_while_keys_are_replaced() {
    let (_state, folder) = new_store();
    let store = open(&folder);
    let done = AtomicBool::new(false);
    let each = {
        let mut count = 0;
        let wanted = |partition| partition == PARTITION;
        store.vault().load(&wanted, &mut |_| count += 1).unwrap();
        count
    };
    let before = sealed(&store.vault(), SID);
    std::thread::scope(|scope| {
        let read = || {
            let vault = store.vault();
            let mut rounds = 0_u64;
            while !done.load(Ordering::Relaxed) || rounds < 3 {
                let new = sealed(&vault, SID);
                assert!(opens(&vault, &new) && opens(&vault, &before), "round {rounds}");
                let found = vault.load(&|partition| partition == PARTITION, &mut |_| {});
                assert_eq!(found.unwrap_or_else(|error| panic!("round {rounds}: {error}")), each);
                rounds += 1;
            }
            rounds
        };
        let readers: Vec<_> = (0..3).map(|_| scope.spawn(read)).collect();
        for time in 0..30 {
            store.replace_dek(PARTITION, NOW + time).unwrap();
            // The first one stays: what was sealed before all this is under it.
            store.release_deks(&|old| old.replaced > NOW).unwrap();
        }
        done.store(true, Ordering::Relaxed);
        assert!(readers.into_iter().all(|reader| reader.join().unwrap() >= 3));
    });
}

/// What the test below starts as a process of its own: replaces, marks and releases again and again.
#[test]
fn replace_alone() {
    let Ok(state) = std::env::var(STATE) else { return };
    let store = Store::open(&Path::new(&state).join(FOLDER)).unwrap();
    for time in 0.. {
        store.replace_dek(PARTITION, NOW + 1 + time).unwrap();
        store.mark_deks(&|_| true, time).unwrap();
        // One is always kept: that under which the record of the test is sealed.
        store.release_deks(&|old| old.replaced > NOW).unwrap();
        fs::write(Path::new(&state).join("done"), time.to_string()).unwrap();
    }
}

#[test]
fn a_store_cut_at_any_moment_opens_everything() {
    let (state, folder) = new_store();
    let store = open(&folder);
    let before = sealed(&store.vault(), SID);
    // Kept for ever: its key is replaced before all others.
    store.replace_dek(PARTITION, NOW).unwrap();
    drop(store);
    let mut cut = 0;
    for round in 0..10_u64 {
        let _ = fs::remove_file(state.path().join("done"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "replace_alone"]).env(STATE, state.path());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(250 + 171 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        cut += u32::from(state.path().join("done").exists());
        let store = open(&folder);
        assert!(opens(&store.vault(), &before), "round {round}");
        assert_eq!(count(&store), (DEVICES, 0), "round {round}");
        store.replace_dek(PARTITION, NOW + 1000 + round).unwrap();
        assert!(opens(&store.vault(), &before), "round {round}");
        store.release_deks(&|old| old.replaced > NOW).unwrap();
    }
    assert!(cut > 0, "nothing was replaced");
}
