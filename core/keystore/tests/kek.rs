//! Another key-encryption key takes the place of the present one: cut after any step it goes on, nothing is lost,
//! and the old key opens nothing of the new store.

// clippy.toml's leave for tests reaches only the test functions themselves, not what helps them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use c1222::ApTitleBuf;
use keystore::sample::{self, Sample};
use keystore::shipment::Shipment;
use keystore::token::{Config, Holder, KekHandle, TOKENS_FILE};
use keystore::{
    Change, FOLDER, KekChange, KekChanged, KekId, KekStep, KekWitness, NewAssociation, ProfileId, Store,
    StoreError, abandon_kek, rotate_kek,
};
use metergraph_keystore as keystore;
use proptest::prelude::*;
use seal::ids::{Dev, Epoch, Gid, Sid};
use seal::secret::{Key256, Prk};

const PROFILE: &[u8] = b"name = \"residential\"\n";
const STATE: &str = "METERGRAPH_TEST_KEK";
const SID: Sid = Sid(0x0000_1c07);
const DEV: Dev = Dev([9; 8]);
const GID: Gid = Gid(0x8000_0007);
const DEVICES: u64 = 300;
/// What stands for the audit log's wrapped key, in the state folder.
const OTHER: &str = "other.key";

/// A store with associations, a group, and something beside it that its KEK wraps.
fn new_store() -> (tempfile::TempDir, PathBuf) {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join(FOLDER);
    Store::init(&folder, None).unwrap();
    let mut text = Vec::new();
    sample::write(&Sample { devices: DEVICES as u32, classic: 10, profile: "p.toml" }, &mut text).unwrap();
    let shipment = Shipment::read(&text[..]).unwrap_or_else(|error| panic!("{error}"));
    Store::open(&folder).unwrap().import(&shipment, &|_| Some(PROFILE.to_vec()), true).unwrap();
    let store = open(&folder);
    let vault = store.vault();
    let (title, prk) = (ApTitleBuf::parse(".99.7").unwrap(), Prk::from_octets([7; 32]));
    let profile = ProfileId::of(PROFILE);
    let new = NewAssociation { sid: SID, dev: DEV, prk: &prk, title: title.as_title(), esn: "E 9", profile };
    let association =
        Change::Association { sid: SID, dev: DEV, sealed: vault.seal_association(&new).unwrap().into() };
    let sealed = vault.draw_group_key(GID, Epoch(1)).unwrap().into();
    let group = Change::GroupKey { gid: GID, epoch: Epoch(1), activate_at: 0, sealed };
    store.apply(&[association, group], 0).unwrap();
    // A replaced data key, which is kept.
    store.replace_dek(7, 5).unwrap();
    let wrapped = store.token().kek().unwrap().wrap(&Key256::from_octets([3; 32])).unwrap();
    fs::write(state.path().join(OTHER), wrapped).unwrap();
    drop((vault, store));
    (state, folder)
}

fn open(folder: &Path) -> Arc<Store> {
    Arc::new(Store::open(folder).unwrap_or_else(|error| panic!("{error}")))
}

/// How many associations and keys of groups open.
fn count(folder: &Path) -> Result<(u64, u64), StoreError> {
    let vault = Arc::new(Store::open(folder)?).vault();
    Ok((vault.load(&|_| true, &mut |_| {})?, vault.load_groups(&|_| true, &mut |_| {})?))
}

fn kek(folder: &Path) -> KekHandle {
    Config::read(folder).unwrap().open(Holder::KeyStore).unwrap().kek().unwrap()
}

/// Looks after the thing beside the store, and stops where it is told.
struct Beside<'a> {
    state: &'a Path,
    stop: Option<KekStep>,
    steps: Vec<KekStep>,
    ready: u32,
}

#[derive(Debug)]
enum Stopped {
    Here,
    Store(StoreError),
}

impl From<StoreError> for Stopped {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl KekWitness for Beside<'_> {
    type Error = Stopped;

    fn ready(&mut self, _: &Store) -> Result<(), Stopped> {
        self.ready += 1;
        Ok(())
    }

    fn others(&mut self, old: &KekHandle, new: &KekHandle, _: bool) -> Result<(), Stopped> {
        let path = self.state.join(OTHER);
        let wrapped = fs::read(&path).unwrap().try_into().unwrap();
        if new.unwrap(&wrapped).is_err() {
            let key = old.unwrap(&wrapped).map_err(StoreError::from)?;
            fs::write(path, new.wrap(&key).map_err(StoreError::from)?).unwrap();
        }
        Ok(())
    }

    fn done(&mut self, step: KekStep) -> Result<(), Stopped> {
        self.steps.push(step);
        if self.stop == Some(step) { Err(Stopped::Here) } else { Ok(()) }
    }
}

fn rotate(folder: &Path, wanted: &KekChange<'_>, stop: Option<KekStep>) -> Result<KekChanged, Stopped> {
    let mut beside = Beside { state: folder.parent().unwrap(), stop, steps: Vec::new(), ready: 0 };
    let changed = rotate_kek(folder, wanted, &mut beside);
    assert!(beside.ready == 0 || !wanted.rewrap, "data keys that stay need no leave");
    changed
}

fn copy(from: &Path, to: &Path) {
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Puts the wrapped data keys of one store into another: what a thief does who has unwrapped them.
fn graft(from: &Path, to: &Path) {
    let databases = |folder: &Path| {
        let numbers = fs::read_to_string(folder.join("current")).unwrap();
        let of = |number: &str| sled::open(folder.join(format!("sled-{number}"))).unwrap();
        numbers.split_ascii_whitespace().map(of).collect::<Vec<_>>()
    };
    let target = databases(to);
    for found in databases(from).iter().flat_map(|database| database.scan_prefix([1])) {
        let (key, value) = found.unwrap();
        target.last().unwrap().insert(key, value).unwrap();
    }
    target.last().unwrap().flush().unwrap();
}

#[test]
fn the_old_key_opens_nothing_of_the_new_store() {
    for (rewrap, keep_old) in [(false, false), (true, false), (false, true)] {
        let (state, folder) = new_store();
        let stolen = state.path().join("stolen");
        copy(&folder, &stolen);
        let before = KekId::of(&kek(&folder)).unwrap();
        let changed = rotate(&folder, &KekChange { rewrap, keep_old, ..KekChange::default() }, None).unwrap();
        assert!(changed.kek != before && !changed.went_on && changed.rewrapped == rewrap);
        assert_eq!(changed.kept, keep_old.then(|| "kek".to_owned()));
        assert_eq!(count(&folder).unwrap(), (DEVICES + 1, 1));
        assert_eq!(open(&folder).kek(), changed.kek);
        assert_eq!(open(&folder).old_deks().len(), usize::from(rewrap), "those that were kept stay, or go");
        // The incarnation is where it was; a file that is kept is one that no copy of the state may hold.
        assert!(folder.join("kek.incarnation").exists() && folder.join("kek-2").exists());
        assert_eq!(folder.join("kek").exists(), keep_old);
        assert_eq!(Config::read(&folder).unwrap().files().contains(&folder.join("kek")), keep_old);
        let wrapped = fs::read(state.path().join(OTHER)).unwrap().try_into().unwrap();
        assert_eq!(kek(&folder).unwrap(&wrapped).unwrap().expose(), &[3; 32]);

        // A thief with the old key and the old store: he opens that, and nothing else.
        assert_eq!(count(&stolen).unwrap(), (DEVICES + 1, 1));
        let disk = state.path().join("disk");
        copy(&folder, &disk);
        fs::remove_file(disk.join("kek-2")).unwrap();
        fs::remove_file(disk.join(TOKENS_FILE)).unwrap();
        fs::copy(stolen.join("kek"), disk.join("kek")).unwrap();
        let refused = Store::open(&disk).map(drop).unwrap_err();
        let StoreError::WrongKek { found, wanted, .. } = &refused else { panic!("{refused}") };
        assert_eq!((*found, *wanted), (before, Some(changed.kek)));
        assert!(refused.to_string().contains(&before.to_string()), "{refused}");
        // Nor with the data keys that he unwrapped: unless they stayed.
        graft(&stolen, &disk);
        assert_eq!(count(&disk).is_ok(), rewrap, "rewrap {rewrap}");
    }
}

#[test]
fn each_change_has_a_name_of_its_own() {
    let (_state, folder) = new_store();
    let keep = KekChange { keep_old: true, ..KekChange::default() };
    fs::write(folder.join("kek-2"), "somebody else's").unwrap();
    assert_eq!(rotate(&folder, &keep, None).unwrap().kept.unwrap(), "kek");
    assert_eq!(rotate(&folder, &keep, None).unwrap().kept.unwrap(), "kek-3");
    assert_eq!(rotate(&folder, &KekChange::default(), None).unwrap().kept, None);
    assert!(folder.join("kek-5").exists() && !folder.join("kek-4").exists());
    let files = Config::read(&folder).unwrap().files();
    assert!(["kek", "kek-3", "kek-5"].iter().all(|name| files.contains(&folder.join(name))), "{files:?}");
    assert_eq!(fs::read(folder.join("kek-2")).unwrap(), b"somebody else's");
    // A kept key opens the store of its time again.
    assert_eq!(count(&folder).unwrap(), (DEVICES + 1, 1));
}

#[test]
fn the_key_moves_to_another_token() {
    let (state, folder) = new_store();
    open(&folder).token().incarnation().unwrap().raise(7).unwrap();
    let other = state.path().join("other");
    fs::create_dir(&other).unwrap();
    let lab = fs::read_to_string(folder.join(TOKENS_FILE)).unwrap();
    fs::write(other.join(TOKENS_FILE), lab).unwrap();
    let other = Config::read(&other).unwrap();
    let both = KekChange { to: Some(&other), keep_old: true, ..KekChange::default() };
    assert!(matches!(rotate(&folder, &both, None), Err(Stopped::Store(StoreError::KekChange { .. }))));
    let wanted = KekChange { to: Some(&other), ..KekChange::default() };
    for stop in [KekStep::Made, KekStep::Sealed] {
        assert!(matches!(rotate(&folder, &wanted, Some(stop)), Err(Stopped::Here)));
    }
    assert!(rotate(&folder, &wanted, None).unwrap().went_on);
    assert_eq!(count(&folder).unwrap(), (DEVICES + 1, 1));
    assert!(!folder.join("kek").exists() && state.path().join("other/kek").exists());
    assert_eq!(open(&folder).token().incarnation().unwrap().read().unwrap(), 7);
    // To the token where it is.
    for stop in [Some(KekStep::Planned), None] {
        let error = rotate(&folder, &wanted, stop).unwrap_err();
        assert_eq!(
            matches!(error, Stopped::Store(StoreError::KekChange { .. })),
            stop.is_none(),
            "{error:?}"
        );
    }
    assert!(state.path().join("other/kek").exists());
    assert_eq!(count(&folder).unwrap(), (DEVICES + 1, 1));
}

/// What stands outside the store refuses: nothing has begun, and the head-end can run.
#[test]
fn a_change_that_is_not_ready_does_not_begin() {
    struct Unready;
    impl KekWitness for Unready {
        type Error = StoreError;
        fn ready(&mut self, _: &Store) -> Result<(), StoreError> {
            Err(StoreError::OldDeks { partition: 1 })
        }
        fn others(&mut self, _: &KekHandle, _: &KekHandle, _: bool) -> Result<(), StoreError> {
            Ok(())
        }
        fn done(&mut self, _: KekStep) -> Result<(), StoreError> {
            Ok(())
        }
    }
    let (_state, folder) = new_store();
    let refused = rotate_kek(&folder, &KekChange::default(), &mut Unready);
    assert!(matches!(refused, Err(StoreError::OldDeks { partition: 1 })), "{refused:?}");
    assert_eq!(count(&folder).unwrap(), (DEVICES + 1, 1));
    assert!(!folder.join("kek-2").exists());
}

#[test]
fn a_change_is_given_up_until_the_store_has_gone_over() {
    let (_state, folder) = new_store();
    assert!(matches!(abandon_kek(&folder), Err(StoreError::KekChange { .. })));
    let before = KekId::of(&kek(&folder)).unwrap();
    for stop in [KekStep::Planned, KekStep::Made] {
        assert!(matches!(rotate(&folder, &KekChange::default(), Some(stop)), Err(Stopped::Here)));
        assert!(matches!(count(&folder), Err(StoreError::KekChanging { .. })));
        abandon_kek(&folder).unwrap();
        assert!(!folder.join("kek-2").exists());
        assert_eq!((count(&folder).unwrap(), open(&folder).kek()), ((DEVICES + 1, 1), before));
    }
    assert!(matches!(rotate(&folder, &KekChange::default(), Some(KekStep::Sealed)), Err(Stopped::Here)));
    assert!(matches!(abandon_kek(&folder), Err(StoreError::WrongKek { .. })));
    assert!(folder.join("kek-2").exists() && folder.join("kek").exists());
    rotate(&folder, &KekChange::default(), None).unwrap();
    assert_eq!(count(&folder).unwrap(), (DEVICES + 1, 1));
}

#[test]
fn cut_after_any_step_it_goes_on() {
    for step in KekStep::ALL {
        for rewrap in [false, true] {
            let (state, folder) = new_store();
            let wanted = KekChange { rewrap, ..KekChange::default() };
            assert!(matches!(rotate(&folder, &wanted, Some(step)), Err(Stopped::Here)), "{step:?}");
            let old = folder.join("kek").exists();
            assert_eq!(old, !matches!(step, KekStep::Destroyed | KekStep::Finished), "{step:?}");
            if step == KekStep::Finished {
                assert_eq!(count(&folder).unwrap(), (DEVICES + 1, 1));
                continue;
            }
            assert!(matches!(count(&folder), Err(StoreError::KekChanging { .. })), "{step:?}");
            // What is wanted the second time counts no more.
            let other = KekChange { rewrap: !rewrap, keep_old: true, ..KekChange::default() };
            let mut beside = Beside { state: state.path(), stop: None, steps: Vec::new(), ready: 0 };
            let changed = rotate_kek(&folder, &other, &mut beside).unwrap();
            assert_eq!((changed.went_on, changed.rewrapped, changed.kept), (true, rewrap, None), "{step:?}");
            assert_eq!(count(&folder).unwrap(), (DEVICES + 1, 1), "{step:?}");
            let wrapped = fs::read(state.path().join(OTHER)).unwrap().try_into().unwrap();
            assert!(kek(&folder).unwrap(&wrapped).is_ok() && !folder.join("kek").exists(), "{step:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 10, ..ProptestConfig::default() })]
    #[test]
    fn cut_again_and_again_it_comes_to_its_end(
        cuts in proptest::collection::vec(proptest::sample::select(&KekStep::ALL[..6]), 0..5),
        rewrap: bool,
        keep_old: bool,
    ) {
        let (state, folder) = new_store();
        let wanted = KekChange { rewrap, keep_old, ..KekChange::default() };
        for cut in cuts {
            // A step that is behind is told of again, but for those that have left nothing to do.
            if let Ok(changed) = rotate(&folder, &wanted, Some(cut)) {
                prop_assert_eq!(cut, KekStep::Others);
                prop_assert!(changed.went_on);
                break;
            }
        }
        if rotate_is_open(&folder) {
            rotate(&folder, &wanted, None).unwrap();
        }
        prop_assert_eq!(count(&folder).unwrap(), (DEVICES + 1, 1));
        prop_assert_eq!(folder.join("kek").exists(), keep_old);
        let wrapped = fs::read(state.path().join(OTHER)).unwrap().try_into().unwrap();
        prop_assert!(kek(&folder).unwrap(&wrapped).is_ok());
    }
}

/// Whether a change is not over, or never began.
fn rotate_is_open(folder: &Path) -> bool {
    folder.join("kek-change.toml").exists() || !folder.join("kek-2").exists()
}

/// What the test below starts as a process of its own: changes again and again.
#[test]
fn rotate_alone() {
    let Ok(state) = std::env::var(STATE) else { return };
    for number in 0_u64.. {
        let wanted = KekChange { rewrap: number.is_multiple_of(2), ..KekChange::default() };
        rotate(&Path::new(&state).join(FOLDER), &wanted, None).unwrap();
        fs::write(Path::new(&state).join("done"), number.to_string()).unwrap();
    }
}

#[test]
fn killed_at_any_moment_it_goes_on() {
    let (state, folder) = new_store();
    let (mut done, mut begun) = (0, 0);
    for round in 0..10_u64 {
        let _ = fs::remove_file(state.path().join("done"));
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "rotate_alone"]).env(STATE, state.path());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(150 + 131 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        done += u32::from(state.path().join("done").exists());
        if folder.join("kek-change.toml").exists() {
            begun += 1;
            assert!(rotate(&folder, &KekChange::default(), None).unwrap().went_on);
        }
        assert_eq!(count(&folder).unwrap(), (DEVICES + 1, 1), "round {round}");
        let wrapped = fs::read(state.path().join(OTHER)).unwrap().try_into().unwrap();
        assert!(kek(&folder).unwrap(&wrapped).is_ok(), "round {round}");
    }
    assert!(done > 0 && begun > 0, "{done} done, {begun} begun");
}
