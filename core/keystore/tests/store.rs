//! A key store from its making to the loading of a shard: what it takes, keeps, refuses and survives.

// clippy.toml's leave for tests reaches only the test functions themselves, not what helps them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::io::Read;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use c1222::ApTitleBuf;
use keystore::sample::{self, Sample};
use keystore::shipment::{Column, HEADER, Reason, RowKeys, Shipment};
use keystore::token::TokenError;
use keystore::{FOLDER, ImportError, Imported, Keys, Kind, ProfileId, Store, StoreError, Vault};
use metergraph_keystore as keystore;
use seal::ids::{Dev, Sid, System};

const PROFILE: &[u8] = b"name = \"residential\"\n";
const PRK: &str = "382f204062cb7af872444ca027585618a0cd023b1dc257727029c2c737e9456a";
const KEY: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f90";

fn profiles(name: &str) -> Option<Vec<u8>> {
    (name == "p.toml").then(|| PROFILE.to_vec())
}

/// A new store in a folder of its own.
fn new_store() -> (tempfile::TempDir, PathBuf) {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join(FOLDER);
    Store::init(&folder, None).unwrap();
    (state, folder)
}

fn shipment_text(rows: &str) -> Vec<u8> {
    format!("{HEADER}\n{rows}").into_bytes()
}

fn shipment(rows: &str) -> Shipment {
    Shipment::read(&shipment_text(rows)[..]).unwrap_or_else(|error| panic!("{error}"))
}

fn sample_text(devices: u32, classic: u32) -> Vec<u8> {
    let mut text = Vec::new();
    sample::write(&Sample { devices, classic, profile: "p.toml" }, &mut text).unwrap();
    text
}

fn import_text(folder: &Path, text: &[u8]) -> Result<Imported, ImportError> {
    let shipment = Shipment::read(text).unwrap_or_else(|error| panic!("{error}"));
    Store::open(folder)?.import(&shipment, &profiles, true)
}

/// Every key of a shipment in the order of the file: PRK_out, or the classic keys.
fn file_keys(text: &[u8]) -> BTreeMap<Sid, Vec<Vec<u8>>> {
    let shipment = Shipment::read(text).unwrap_or_else(|error| panic!("{error}"));
    let keys = |keys: &RowKeys| match keys {
        RowKeys::Profile1(prk) => vec![prk.expose().to_vec()],
        RowKeys::Classic(keys) => keys.iter().map(|(_, key)| key.expose().to_vec()).collect(),
    };
    shipment.rows().iter().map(|row| (row.sid, keys(&row.keys))).collect()
}

fn loaded_keys(vault: &Vault, wanted: &dyn Fn(u16) -> bool) -> BTreeMap<Sid, Vec<Vec<u8>>> {
    let mut loaded = BTreeMap::new();
    let count = vault
        .load(wanted, &mut |association| {
            let keys = match &association.keys {
                Keys::Profile1 { prk, .. } => vec![prk.expose().to_vec()],
                Keys::Classic(keys) => keys.iter().map(|(_, key)| key.expose().to_vec()).collect(),
            };
            assert!(loaded.insert(association.sid, keys).is_none());
        })
        .unwrap();
    assert_eq!(count, loaded.len() as u64);
    loaded
}

#[test]
fn a_store_is_made_once() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join("deep").join(FOLDER);
    let given = System([1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(Store::init(&folder, Some(given)).unwrap(), given);
    assert!(matches!(Store::init(&folder, None), Err(StoreError::Exists { .. })));
    assert_eq!(Store::open(&folder).unwrap().system(), given);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&folder), mode(&folder.join("kek"))), (0o700, 0o600));

    let (_one, one) = new_store();
    let (_other, other) = new_store();
    assert_ne!(Store::open(&one).unwrap().system(), Store::open(&other).unwrap().system());
}

#[test]
fn what_a_broken_init_left_is_in_nobodys_way() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join(FOLDER);
    fs::create_dir_all(state.path().join("keystore.new/sled-1")).unwrap();
    assert!(matches!(Store::open(&folder), Err(StoreError::Missing { .. })));
    Store::init(&folder, None).unwrap();
    assert!(Store::open(&folder).is_ok());
}

#[test]
fn devices_survive_a_reopening() {
    let (_state, folder) = new_store();
    let text = sample_text(3000, 500);
    let imported = import_text(&folder, &text).unwrap();
    assert_eq!(imported, Imported { profile1: 2500, classic: 500, devices: 3000 });

    let store = Store::open(&folder).unwrap();
    let directory = store.directory().unwrap();
    let shipment = Shipment::read(&text[..]).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((directory.devices(), directory.system()), (3000, store.system()));
    for row in shipment.rows() {
        let device = directory.device(row.sid).unwrap();
        assert_eq!((device.dev, device.sid, device.kind), (row.dev, row.sid, row.keys.kind()));
        assert_eq!((device.title(), device.profile), (row.title.as_title(), ProfileId::of(PROFILE)));
        assert_eq!(directory.sid(row.dev), Some(row.sid));
        assert_eq!(directory.dev(row.sid), Some(row.dev));
        assert_eq!(directory.kind(row.sid), Some(row.keys.kind()));
        let classic = (row.keys.kind() == Kind::Classic).then_some(row.sid);
        assert_eq!(directory.classic(row.title.as_title()), classic);
    }
    assert_eq!(directory.sids().count(), 3000);
    assert_eq!(directory.profile(ProfileId::of(PROFILE)).unwrap().as_bytes(), PROFILE);
    assert!(directory.profile(ProfileId::of(b"")).is_none());

    let vault = store.into_vault();
    assert_eq!(loaded_keys(&vault, &|_| true), file_keys(&text));
    // Again, as a shard does that starts anew, and in parts.
    let half = |odd: u16| loaded_keys(&vault, &move |partition| partition % 2 == odd);
    let (even, odd) = (half(0), half(1));
    assert!(even.keys().all(|sid| sid.partition() % 2 == 0));
    assert_eq!(even.into_iter().chain(odd).collect::<BTreeMap<_, _>>(), file_keys(&text));
}

#[test]
fn shards_may_load_at_once() {
    let (_state, folder) = new_store();
    import_text(&folder, &sample_text(3000, 0)).unwrap();
    let vault = Store::open(&folder).unwrap().into_vault();
    std::thread::scope(|scope| {
        for shard in 0..4_u16 {
            let vault = &vault;
            scope.spawn(move || {
                for _ in 0..5 {
                    let count = vault.load(&|partition| partition % 4 == shard, &mut |_| {}).unwrap();
                    assert!((700..800).contains(&count), "{count}");
                }
            });
        }
    });
}

#[test]
fn loading_goes_by_partition_and_index() {
    let (_state, folder) = new_store();
    import_text(&folder, &sample_text(5000, 0)).unwrap();
    let vault = Store::open(&folder).unwrap().into_vault();
    let order = RefCell::new(Vec::new());
    vault
        .load(&|_| true, &mut |association| {
            order.borrow_mut().push((association.sid.partition(), association.sid.index()));
        })
        .unwrap();
    assert!(order.borrow().is_sorted());
}

#[test]
fn a_classic_device_is_found_by_either_form_of_its_title() {
    let (_state, folder) = new_store();
    let rows = format!(
        "0000000000000001,E1,.1.5,p.toml,classic,00000005,0,0:{KEY}\n\
         0000000000000002,E2,1.3.6.1.4.1.33507.1.0,p.toml,classic,00100405,0,2:{KEY};3:{PRK_HALF}\n",
        PRK_HALF = &PRK[..32]
    );
    import_text(&folder, &shipment_text(&rows)).unwrap();
    let directory = Store::open(&folder).unwrap().directory().unwrap();
    let find = |text| directory.classic(ApTitleBuf::parse(text).unwrap().as_title());
    assert_eq!(find(".1.5"), Some(Sid(5)));
    assert_eq!(find("2.16.124.113620.1.22.0.1.5"), Some(Sid(5)));
    assert_eq!(find("1.3.6.1.4.1.33507.1.0"), Some(Sid(0x0010_0405)));
    assert_eq!(find(".1.6"), None);
    // The longest title there is.
    assert_eq!(find(&".1".repeat(64)), None);
    assert!(!directory.device(Sid(5)).unwrap().test_key);
}

#[test]
fn another_generation_of_a_slot_is_nobody() {
    let (_state, folder) = new_store();
    let rows = format!("0000000000000001,E1,.1.5,p.toml,profile1,03ffffff,1,{PRK}\n");
    import_text(&folder, &shipment_text(&rows)).unwrap();
    let directory = Store::open(&folder).unwrap().directory().unwrap();
    assert!(directory.device(Sid(0x03ff_ffff)).unwrap().test_key);
    for sid in [0x02ff_ffff, 0x00ff_ffff, 0x83ff_ffff, 0x03ff_fffe, 0x03ff_fbff] {
        assert!(directory.device(Sid(sid)).is_none(), "{sid:08x}");
    }
}

#[test]
fn a_second_import_adds() {
    let (_state, folder) = new_store();
    let first = sample_text(2000, 10);
    import_text(&folder, &first).unwrap();
    let second = format!(
        "0000000000000001,E1,.1.5,q.toml,profile1,010007d0,1,{PRK}\n\
         0000000000000002,E2,.1.6,p.toml,classic,00fffc05,0,0:{KEY}\n"
    );
    let texts = |name: &str| Some(name.as_bytes().to_vec());
    let imported = Store::open(&folder).unwrap().import(&shipment(&second), &texts, true).unwrap();
    assert_eq!(imported, Imported { profile1: 1, classic: 1, devices: 2002 });

    let store = Store::open(&folder).unwrap();
    let directory = store.directory().unwrap();
    assert_eq!(directory.sid(Dev([0, 0, 0, 0, 0, 0, 0, 1])), Some(Sid(0x0100_07d0)));
    let profile = |sid| directory.profile(directory.device(Sid(sid)).unwrap().profile).unwrap();
    assert_eq!(&**profile(0x0100_07d0), "q.toml");
    assert_eq!(profile(0).as_bytes(), PROFILE);
    let mut expected = file_keys(&first);
    expected.extend(file_keys(&shipment_text(&second)));
    assert_eq!(loaded_keys(&store.into_vault(), &|_| true), expected);
}

/// What importing these rows into a store of two devices is refused for.
fn refusals(rows: &str, test_keys: bool) -> Vec<(u64, Option<Column>, Reason)> {
    let (_state, folder) = new_store();
    let held = format!(
        "0000000000000001,E1,.1.5,p.toml,profile1,00000401,1,{PRK}\n\
         0000000000000002,E2,.1.6,p.toml,classic,00000402,0,0:{KEY}\n"
    );
    import_text(&folder, &shipment_text(&held)).unwrap();
    let mut store = Store::open(&folder).unwrap();
    let error = store.import(&shipment(rows), &profiles, test_keys).expect_err("a refusal");
    assert!(!error.to_string().contains(&PRK[..8]) && !error.to_string().contains(&KEY[..8]));
    // Nothing has changed, and the store goes on.
    assert_eq!(store.devices().unwrap(), 2);
    let vault = store.into_vault();
    assert_eq!(loaded_keys(&vault, &|_| true), file_keys(&shipment_text(&held)));
    drop(vault);
    let good = format!("0000000000000009,E9,.1.9,p.toml,profile1,00000009,1,{PRK}\n");
    assert_eq!(import_text(&folder, &shipment_text(&good)).unwrap().devices, 3);
    match error {
        ImportError::Faults(faults) => {
            faults.listed().iter().map(|fault| (fault.line, fault.column, fault.reason.clone())).collect()
        }
        error => panic!("{error}"),
    }
}

#[test]
fn what_the_store_has_already_is_refused_by_line() {
    let good = format!("0000000000000009,E9,.1.9,p.toml,classic,00000009,0,0:{KEY}\n");
    let stored = Reason::Stored { sid: Sid(0x401) };
    let cases = [
        ("0000000000000001,E8,.1.8,p.toml,classic,00000008,0", Column::Dev),
        ("0000000000000008,E1,.1.8,p.toml,classic,00000008,0", Column::Esn),
        ("0000000000000008,E8,2.16.124.113620.1.22.0.1.5,p.toml,classic,00000008,0", Column::ApTitle),
        ("0000000000000008,E8,.1.8,p.toml,classic,00000401,0", Column::Sid),
        // Another generation of the same slot.
        ("0000000000000008,E8,.1.8,p.toml,classic,05000401,0", Column::Sid),
    ];
    for (row, column) in cases {
        let rows = format!("{good}{row},0:{KEY}\n");
        assert_eq!(refusals(&rows, false), [(3, Some(column), stored.clone())], "{row}");
    }
    let again = format!("0000000000000002,E2,.1.6,p.toml,classic,00000402,0,0:{KEY}\n");
    let stored = Reason::Stored { sid: Sid(0x402) };
    let columns = [Column::Dev, Column::Esn, Column::ApTitle, Column::Sid];
    assert_eq!(refusals(&again, false), columns.map(|column| (2, Some(column), stored.clone())));
}

#[test]
fn profile_1_keys_in_a_file_need_leave() {
    let rows = format!(
        "0000000000000009,E9,.1.9,p.toml,classic,00000009,0,0:{KEY}\n\
         0000000000000008,E8,.1.8,p.toml,profile1,00000008,0,{PRK}\n"
    );
    assert_eq!(refusals(&rows, false), [(3, Some(Column::Key), Reason::TestKey)]);
}

#[test]
fn a_missing_profile_is_refused_by_line() {
    let rows = format!(
        "0000000000000008,E8,.1.8,no.toml,profile1,00000008,0,{PRK}\n\
         0000000000000009,E9,.1.9,p.toml,classic,00000009,0,0:{KEY}\n\
         0000000000000007,E7,.1.7,no.toml,profile1,00000007,0,{PRK}\n"
    );
    let missing = |line| (line, Some(Column::DeviceProfile), Reason::ProfileMissing);
    assert_eq!(refusals(&rows, true), [missing(2), missing(4)]);
}

#[test]
fn a_profile_that_is_no_text_is_refused() {
    let (_state, folder) = new_store();
    let rows = format!("0000000000000008,E8,.1.8,p.toml,profile1,00000008,0,{PRK}\n");
    for octets in [vec![0xff], vec![b' '; keystore::PROFILE_OCTETS_MAX + 1]] {
        let profiles = |_: &str| Some(octets.clone());
        let error = Store::open(&folder).unwrap().import(&shipment(&rows), &profiles, true).err();
        let Some(ImportError::Faults(faults)) = error else { panic!("a fault") };
        assert_eq!(faults.listed()[0].reason, Reason::ProfileText);
    }
}

#[test]
fn a_store_has_one_owner() {
    let (_state, folder) = new_store();
    let store = Store::open(&folder).unwrap();
    assert!(matches!(Store::open(&folder), Err(StoreError::InUse { .. })));
    let vault = store.into_vault();
    assert!(matches!(Store::open(&folder), Err(StoreError::InUse { .. })));
    drop(vault);
    assert!(Store::open(&folder).is_ok());
}

#[test]
fn a_wrong_kek_is_refused() {
    let (_state, folder) = new_store();
    import_text(&folder, &sample_text(10, 0)).unwrap();
    let path = folder.join("kek");
    let kek = fs::read(&path).unwrap();

    fs::write(&path, [7; 32]).unwrap();
    assert!(matches!(Store::open(&folder), Err(StoreError::WrongKek { .. })));
    fs::write(&path, &kek[..31]).unwrap();
    assert!(matches!(Store::open(&folder), Err(StoreError::Token(TokenError::Damaged { .. }))));
    fs::write(&path, &kek).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Store::open(&folder), Err(StoreError::Token(TokenError::Mode { mode: 0o640, .. }))));
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    assert!(Store::open(&folder).is_ok());
    fs::remove_file(&path).unwrap();
    assert!(matches!(Store::open(&folder), Err(StoreError::Token(TokenError::Io { .. }))));
}

/// Changes values of the live database as somebody with the files in hand could.
fn tamper(folder: &Path, change: impl Fn(&sled::Db)) {
    let number = fs::read_to_string(folder.join("current")).unwrap();
    let db = sled::open(folder.join(format!("sled-{}", number.trim()))).unwrap();
    change(&db);
    db.flush().unwrap();
}

fn block_key(partition: u16, block: u8) -> Vec<u8> {
    [&[2], &partition.to_be_bytes()[..], &[block]].concat()
}

#[test]
fn a_changed_block_is_refused_by_its_place() {
    let (_state, folder) = new_store();
    import_text(&folder, &sample_text(3000, 0)).unwrap();
    tamper(&folder, |db| {
        let mut value = db.get(block_key(77, 0)).unwrap().unwrap().to_vec();
        value[100] ^= 4;
        db.insert(block_key(77, 0), value).unwrap();
    });
    let store = Store::open(&folder).unwrap();
    let refused =
        |error: &StoreError| error.to_string() == "block 0 of partition 77 is damaged or out of its place";
    assert!(refused(&store.directory().err().unwrap()));
    let vault = store.into_vault();
    assert!(refused(&vault.load(&|_| true, &mut |_| {}).unwrap_err()));
    assert_eq!(vault.load(&|partition| partition != 77, &mut |_| {}).unwrap(), 2997);
}

#[test]
fn a_moved_or_missing_block_is_refused() {
    let (_state, folder) = new_store();
    import_text(&folder, &sample_text(3000, 0)).unwrap();
    tamper(&folder, |db| {
        let value = db.get(block_key(77, 0)).unwrap().unwrap();
        db.insert(block_key(77, 1), value).unwrap();
    });
    let moved = Store::open(&folder).unwrap().directory().err().unwrap();
    assert!(matches!(moved, StoreError::Block { partition: 77, block: 1 }), "{moved}");
    tamper(&folder, |db| {
        db.remove(block_key(77, 1)).unwrap();
        db.remove(block_key(5, 0)).unwrap();
    });
    let missing = Store::open(&folder).unwrap().directory().err().unwrap();
    assert!(matches!(missing, StoreError::Count { found: 2997, counted: 3000 }), "{missing}");
    let more = format!("0000000000000009,E9,.1.9,p.toml,profile1,00ffffff,1,{PRK}\n");
    let refused = import_text(&folder, &shipment_text(&more)).unwrap_err();
    assert!(matches!(refused, ImportError::Store(StoreError::Count { .. })), "{refused}");
}

#[test]
fn a_changed_partition_key_or_profile_is_refused() {
    let (_state, folder) = new_store();
    import_text(&folder, &sample_text(10, 0)).unwrap();
    let profile = [&[3], &ProfileId::of(PROFILE).0[..]].concat();
    tamper(&folder, |db| drop(db.insert(&profile[..], b"name = \"other\"")));
    let changed = Store::open(&folder).unwrap().directory().err().unwrap();
    assert!(matches!(changed, StoreError::Profile { .. }), "{changed}");
    tamper(&folder, |db| drop(db.remove(&profile[..])));
    let missing = Store::open(&folder).unwrap().directory().err().unwrap();
    assert!(matches!(missing, StoreError::Profile { .. }), "{missing}");

    tamper(&folder, |db| drop(db.insert([1, 0x02, 0x0a], &[0; 40][..])));
    let error = Store::open(&folder).err().unwrap();
    assert!(matches!(error, StoreError::Dek { partition: 0x20a }), "{error}");
}

/// All octets of all files below a folder.
fn raw_files(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            raw_files(&path, files);
        } else {
            let mut octets = Vec::new();
            File::open(&path).unwrap().read_to_end(&mut octets).unwrap();
            files.push((path, octets));
        }
    }
}

#[test]
fn no_file_holds_a_key_in_clear() {
    let (_state, folder) = new_store();
    let text = sample_text(300, 100);
    import_text(&folder, &text).unwrap();
    let mut keys: Vec<Vec<u8>> = file_keys(&text).into_values().flatten().collect();
    let vault = Store::open(&folder).unwrap().into_vault();
    vault
        .load(&|_| true, &mut |association| {
            if let Keys::Profile1 { keys: derived, .. } = &association.keys {
                keys.extend([derived.up.expose().to_vec(), derived.dn.expose().to_vec()]);
                keys.push(derived.common_iv.to_vec());
            }
        })
        .unwrap();
    drop(vault);
    assert_eq!(keys.len(), 200 * 4 + 100);

    // Eight octets of a key, from its beginning or its middle, are found at any place of a file.
    let mut needles: Vec<[u8; 8]> = Vec::new();
    for key in &keys {
        needles.push(key[..8].try_into().unwrap());
        needles.push(key[key.len() - 8..].try_into().unwrap());
    }
    needles.sort_unstable();
    let mut files = Vec::new();
    raw_files(&folder, &mut files);
    assert!(files.len() > 3);
    let found = |octets: &[u8]| {
        octets.windows(8).any(|eight| needles.binary_search(&eight.try_into().unwrap()).is_ok())
    };
    assert!(found(&keys[0]));
    for (path, octets) in &files {
        assert!(!found(octets), "{}", path.display());
        let printed = String::from_utf8_lossy(octets).to_lowercase();
        let hex: String = keys[0].iter().map(|octet| format!("{octet:02x}")).collect();
        assert!(!printed.contains(&hex), "{}", path.display());
    }
    // Nor does any but its own file hold the key-encryption key.
    let kek = fs::read(folder.join("kek")).unwrap();
    let holders: Vec<_> =
        files.iter().filter(|(_, octets)| octets.windows(32).any(|part| part == kek)).collect();
    assert_eq!(holders.len(), 1);
}

#[test]
fn damaged_files_are_an_error_and_no_panic() {
    let (_state, folder) = new_store();
    import_text(&folder, &sample_text(300, 100)).unwrap();
    let mut files = Vec::new();
    raw_files(&folder, &mut files);
    let other = |path: &Path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name == "lock" || name.starts_with("kek") || name.contains("token")
    };
    files.retain(|(path, octets)| !other(path) && !octets.is_empty());
    let (mut refused, mut whole) = (0, 0);
    for round in 0..90_usize {
        let (path, octets) = &files[round % files.len()];
        let place = octets.len() * (round * 7 % 91) / 91;
        File::options()
            .write(true)
            .open(path)
            .unwrap()
            .write_at(&[octets[place] ^ 0x41], place as u64)
            .unwrap();
        let result = Store::open(&folder).and_then(|store| {
            store.directory()?;
            store.into_vault().load(&|_| true, &mut |_| {})
        });
        match result {
            Ok(count) => {
                assert_eq!(count, 300);
                whole += 1;
            }
            Err(_) => refused += 1,
        }
        restore(&folder, &files);
    }
    assert_eq!(refused + whole, 90);
    assert!(refused > 45, "{refused} refused");
    assert!(Store::open(&folder).unwrap().directory().is_ok());
}

/// Puts the files back as they were; a reader may have changed or added some.
fn restore(folder: &Path, files: &[(PathBuf, Vec<u8>)]) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        }
    }
    for (path, octets) in files {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, octets).unwrap();
    }
}
