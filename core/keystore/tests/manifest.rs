//! Manifests: who may sign them, what they bring into the store, what is found of it later.

// clippy.toml's leave for tests reaches only the test functions themselves, not what helps them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use keystore::manifest::signature::{Detached, Signatures};
use keystore::manifest::{HEADER, LabHead, LabSample, Manifest};
use keystore::shipment::{Column, Reason, Shipment};
use keystore::{Change, FOLDER, ImportError, Imported, ProfileId, SignedText, Store, StoreError, TrustError};
use metergraph_keystore as keystore;
use seal::edhoc::{HeadEndCredential, HeadEndKid, PrivateKey};
use seal::ids::{Dev, Sid, System};
use seal::signature::{Signer, SigningKey, sha256};

const PROFILE: &[u8] = b"name = \"residential\"\n";

fn key(octet: u8) -> SigningKey {
    SigningKey::from_octets(&[octet; 32]).unwrap()
}

fn signed(name: &str, by: &SigningKey, digest: &[u8; 32]) -> Option<Vec<u8>> {
    let Ok(signature) = by.sign(digest);
    Some(Detached { key: name.into(), signature }.text().into_bytes())
}

/// Signed by manufacturer `acme` (key 2) and root (key 1).
fn signatures(digest: &[u8; 32]) -> Signatures {
    Signatures { manufacturer: signed("acme", &key(2), digest), root: signed("root", &key(1), digest) }
}

/// A store that trusts root and `acme`.
fn new_store() -> (tempfile::TempDir, PathBuf) {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join(FOLDER);
    Store::init(&folder, None).unwrap();
    let mut store = Store::open(&folder).unwrap();
    store.set_root(key(1).verifying_key()).unwrap();
    let acme = key(2).verifying_key();
    let Ok(by_root) = key(1).sign(&sha256(&store.trust_statement("acme", &acme)));
    store.add_trust("acme", acme, &by_root).unwrap();
    drop(store);
    (state, folder)
}

fn manifest(first: u32, devices: u32) -> Manifest {
    let head = LabHead {
        system: System([0; 8]),
        head_end: HeadEndCredential {
            kid: HeadEndKid::new(0).unwrap(),
            key: PrivateKey::from_octets(&[9; 32]).unwrap().public_key(),
        },
        signers: vec![],
    };
    let mut text = Vec::new();
    let sample =
        LabSample { devices, first, profile: "p.toml", profile_id: ProfileId::of(PROFILE), head: &head };
    sample.write(&mut text, &mut std::io::sink()).unwrap();
    Manifest::read(&text[..]).unwrap_or_else(|error| panic!("{error}"))
}

fn profiles(name: &str) -> Option<SignedText> {
    let digest = sha256(PROFILE);
    (name == "p.toml").then(|| SignedText { octets: PROFILE.into(), signatures: signatures(&digest) })
}

fn import(folder: &Path, manifest: &Manifest) -> Result<Imported, ImportError> {
    Store::open(folder)?.import_manifest(manifest, &signatures(manifest.digest()), &profiles)
}

#[test]
fn devices_of_a_manifest_are_found_one_by_one() {
    let (_state, folder) = new_store();
    let (one, other) = (manifest(0, 300), manifest(300, 50));
    assert_eq!(import(&folder, &one).unwrap(), Imported { profile1: 300, classic: 0, devices: 300 });
    assert_eq!(import(&folder, &other).unwrap(), Imported { profile1: 50, classic: 0, devices: 350 });
    let store = Arc::new(Store::open(&folder).unwrap());
    let credentials = store.credentials();
    assert_eq!(credentials.count().unwrap(), 350);
    for row in one.rows().iter().chain(other.rows()) {
        let found = credentials.find(row.dev).unwrap().unwrap();
        let [x, y, ..] = row.points;
        assert_eq!((found.key.x(), found.key.y(), &found.esn), (x, y, &row.esn));
        assert_eq!((&found.title, found.profile, found.revoked), (&row.title, ProfileId::of(PROFILE), false));
    }
    assert_eq!(credentials.find(Dev([1; 8])).unwrap(), None);
    // None has an association yet, and all profiles are there.
    let directory = store.directory().unwrap();
    assert_eq!((directory.devices(), directory.profiles().count()), (0, 1));
}

#[test]
fn a_revoked_device_stays_so() {
    let (_state, folder) = new_store();
    let all = manifest(0, 20);
    import(&folder, &all).unwrap();
    let (gone, dev) = (all.rows()[3].dev, all.rows()[4].dev);
    let store = Arc::new(Store::open(&folder).unwrap());
    let credentials = store.credentials();
    let revoked = |dev| credentials.find(dev).unwrap().unwrap().revoked;
    assert!(!revoked(gone));
    credentials.revoke(gone);
    assert!(revoked(gone) && !revoked(dev));
    // It has no association: its `sid` is none.
    store.apply(&[Change::Revoked { dev: gone, sid: Sid(u32::MAX) }], 0).unwrap();
    drop((credentials, store));
    let store = Arc::new(Store::open(&folder).unwrap());
    let revoked = |dev| store.credentials().find(dev).unwrap().unwrap().revoked;
    assert!(revoked(gone) && !revoked(dev));
}

fn trust_error(folder: &Path, manifest: &Manifest, signatures: &Signatures) -> TrustError {
    let mut store = Store::open(folder).unwrap();
    match store.import_manifest(manifest, signatures, &profiles) {
        Err(ImportError::Trust(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_unsigned_manifest_is_refused() {
    let (_state, folder) = new_store();
    let all = manifest(0, 3);
    let (digest, good) = (all.digest(), signatures(all.digest()));
    let with = |manufacturer, root| trust_error(&folder, &all, &Signatures { manufacturer, root });
    let other = sha256(b"another file");
    assert!(matches!(with(None, good.root.clone()), TrustError::Missing { ending: ".sig" }));
    assert!(matches!(with(good.manufacturer.clone(), None), TrustError::Missing { ending: ".root.sig" }));
    assert!(matches!(with(Some(vec![7]), None), TrustError::Form { ending: ".sig" }));
    let unknown = with(signed("evil", &key(2), digest), good.root.clone());
    assert!(matches!(unknown, TrustError::Unknown { .. }));
    for manufacturer in [signed("acme", &key(3), digest), signed("acme", &key(2), &other)] {
        let wrong = with(manufacturer, good.root.clone());
        assert!(matches!(&wrong, TrustError::Wrong { name } if name == "acme"), "{wrong}");
    }
    for root in
        [signed("root", &key(2), digest), signed("acme", &key(1), digest), signed("root", &key(1), &other)]
    {
        let wrong = with(good.manufacturer.clone(), root);
        assert!(matches!(&wrong, TrustError::Wrong { name } if name == "root"), "{wrong}");
    }
    assert_eq!(Store::open(&folder).unwrap().devices().unwrap(), 0);
}

#[test]
fn rows_that_cannot_be_taken_are_named() {
    let (_state, folder) = new_store();
    let all = manifest(0, 3);
    let refused = |profiles: &dyn Fn(&str) -> Option<SignedText>| {
        let mut store = Store::open(&folder).unwrap();
        match store.import_manifest(&all, &signatures(all.digest()), profiles) {
            Err(ImportError::Faults(faults)) => {
                let fault = &faults.listed()[0];
                assert_eq!((faults.total(), fault.line, fault.column), (3, 2, Some(Column::DeviceProfile)));
                fault.reason.clone()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused(&|_| None), Reason::ProfileMissing);
    let changed = |_: &str| Some(SignedText { octets: b"name = \"x\"".into(), ..SignedText::default() });
    assert_eq!(refused(&changed), Reason::ProfileChanged);
    let unsigned = |_: &str| Some(SignedText { octets: PROFILE.into(), ..SignedText::default() });
    assert!(matches!(refused(&unsigned), Reason::ProfileUnsigned(_)));

    import(&folder, &all).unwrap();
    let Err(ImportError::Faults(faults)) = import(&folder, &manifest(2, 2)) else { panic!("faults") };
    let dev = all.rows()[2].dev;
    assert_eq!(faults.total(), 3);
    assert!(faults.listed().iter().all(|fault| fault.line == 2 && fault.reason == Reason::Known { dev }));
}

#[test]
fn a_classic_device_may_be_in_a_manifest_and_a_registered_one_is_in_no_shipment() {
    let (_state, folder) = new_store();
    let all = manifest(0, 3);
    let shipment = |number: usize, esn: &str| {
        let row = &all.rows()[number];
        let (title, key) = (row.title.as_title(), "07".repeat(16));
        let header = keystore::shipment::HEADER;
        let text = format!("{header}\n{},{esn},{title},p.toml,classic,0000000{number},0,0:{key}\n", row.dev);
        Shipment::read(text.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
    };
    let take = |shipment: &Shipment| {
        Store::open(&folder).unwrap().import(shipment, &|_| Some(PROFILE.to_vec()), true)
    };
    take(&shipment(1, "MG00000001")).unwrap();
    assert_eq!(import(&folder, &all).unwrap(), Imported { profile1: 3, classic: 0, devices: 3 });
    let refused = take(&shipment(2, "MG00000002")).unwrap_err().to_string();
    assert!(refused.starts_with("line 2, dev: is that of device"), "{refused}");

    // Under another serial number it is another device.
    let (_state, folder) = new_store();
    let take = |shipment: &Shipment| {
        Store::open(&folder).unwrap().import(shipment, &|_| Some(PROFILE.to_vec()), true)
    };
    take(&shipment(1, "MG00000002")).unwrap();
    let refused = import(&folder, &all).unwrap_err().to_string();
    assert!(refused.contains("line 3, dev: is that of association 00000001"), "{refused}");
}

#[test]
fn root_is_set_once_and_brings_in_the_others() {
    let (_state, folder) = new_store();
    let mut store = Store::open(&folder).unwrap();
    store.set_root(key(1).verifying_key()).unwrap();
    assert!(matches!(store.set_root(key(3).verifying_key()), Err(TrustError::RootFixed)));
    let new = key(4).verifying_key();
    let statement = sha256(&store.trust_statement("next", &new));
    let (Ok(by_acme), Ok(by_root)) = (key(2).sign(&statement), key(1).sign(&statement));
    assert!(matches!(store.add_trust("next", new, &by_acme), Err(TrustError::Wrong { .. })));
    assert!(matches!(store.add_trust("other", new, &by_root), Err(TrustError::Wrong { .. })));
    for name in ["root", "", "a b", "a/b"] {
        assert!(matches!(store.add_trust(name, new, &by_root), Err(TrustError::Name { .. })));
    }
    store.add_trust("next", new, &by_root).unwrap();
    drop(store);
    let mut store = Store::open(&folder).unwrap();
    store.rotate_deks(&[0]).unwrap();
    let trust = store.trust().unwrap();
    assert_eq!(trust.root(), Some(key(1).verifying_key()));
    let names: Vec<&str> = trust.manufacturers().iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!((names, trust.manufacturers()[1].1), (vec!["acme", "next"], new));
}

#[test]
fn a_changed_anchor_or_bucket_is_refused() {
    let (_state, folder) = new_store();
    let all = manifest(0, 1);
    import(&folder, &all).unwrap();
    let tamper = |change: &dyn Fn(&sled::Db)| {
        let number = std::fs::read_to_string(folder.join("current")).unwrap();
        let number = number.split_ascii_whitespace().last().unwrap().to_owned();
        let db = sled::open(folder.join(format!("sled-{number}"))).unwrap();
        change(&db);
        db.flush().unwrap();
    };
    // One anchor in the place of another.
    tamper(&|db| {
        let acme = db.get(b"\x06acme").unwrap().unwrap();
        db.insert(b"\x06root", acme).unwrap();
    });
    assert!(
        matches!(Store::open(&folder).unwrap().trust(), Err(StoreError::Trust { name }) if name == "root")
    );
    tamper(&|db| {
        let (key, mut value) = db.scan_prefix([4]).next().unwrap().unwrap();
        let last = value.len() - 1;
        value[last] ^= 1;
        db.insert(key, value).unwrap();
    });
    let store = Arc::new(Store::open(&folder).unwrap());
    let refused = store.credentials().find(all.rows()[0].dev);
    assert!(matches!(refused, Err(StoreError::Bucket { .. })));
    assert_eq!(HEADER.split(',').count(), 8);
}
