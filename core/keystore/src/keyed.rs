//! Tests of the lock between those who read what is sealed and who replaces the key that it is sealed under:
//! between the reading of a value and its opening a data key is replaced, and released.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use seal::edhoc::{HeadEndCredential, HeadEndKid, PrivateKey};
use seal::ids::{Dev, Epoch, Gid, System};
use seal::signature::{Signer, SigningKey, sha256};

use crate::credentials::Bucket;
use crate::key_store::{Entry, EntrySink, EntrySource, KeyStore};
use crate::manifest::signature::{Detached, Signatures};
use crate::manifest::{LabHead, LabSample, Manifest};
use crate::sample::{self, Sample};
use crate::shipment::Shipment;
use crate::sled_store::SledStore;
use crate::{Change, FOLDER, ProfileId, SignedText, Store, StoreError};

const PROFILE: &[u8] = b"name = \"residential\"\n";
const GID: Gid = Gid(0x8000_0007);
const NOW: u64 = 1_800_000_000;
/// What would take the key away has so long for it; it takes a hundredth of that where nobody stops it.
const MOMENT: Duration = Duration::from_secs(2);

type Hook = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// A database that does something, once, between the reading of a value and its handing on.
struct Pausing {
    inner: Box<dyn KeyStore>,
    hook: Hook,
}

impl Pausing {
    fn pause(&self) {
        let hook = self.hook.lock().unwrap().take();
        if let Some(hook) = hook {
            hook();
        }
    }
}

impl KeyStore for Pausing {
    fn read(&self, prefixes: &[Vec<u8>], sink: &mut EntrySink<'_>) -> Result<(), StoreError> {
        self.inner.read(prefixes, &mut |key, value| {
            self.pause();
            sink(key, value)
        })
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let value = self.inner.get(key)?;
        self.pause();
        Ok(value)
    }

    fn commit(&self, entries: &mut EntrySource<'_>) -> Result<(), StoreError> {
        self.inner.commit(entries)
    }

    fn update(&self, entries: &[Entry]) -> Result<(), StoreError> {
        self.inner.update(entries)
    }
}

fn key(octet: u8) -> SigningKey {
    SigningKey::from_octets(&[octet; 32]).unwrap()
}

/// Signed by manufacturer and root.
fn signatures(digest: &[u8; 32]) -> Signatures {
    let signed = |name: &str, by: &SigningKey| {
        let Ok(signature) = by.sign(digest);
        Some(Detached { key: name.into(), signature }.text().into_bytes())
    };
    Signatures { manufacturer: signed("acme", &key(2)), root: signed("root", &key(1)) }
}

/// One device that may register.
fn manifest() -> Manifest {
    let head_end = HeadEndCredential {
        kid: HeadEndKid::new(0).unwrap(),
        key: PrivateKey::from_octets(&[9; 32]).unwrap().public_key(),
    };
    let head = LabHead { system: System([0; 8]), head_end, signers: vec![] };
    let profile_id = ProfileId::of(PROFILE);
    let mut text = Vec::new();
    let sample = LabSample { devices: 1, first: 9000, profile: "p.toml", profile_id, head: &head };
    sample.write(&mut text, &mut std::io::sink()).unwrap();
    Manifest::read(&text[..]).unwrap_or_else(|error| panic!("{error}"))
}

/// A store with associations, one credential and a group of a key; and that device.
fn new_store(folder: &Path) -> (Arc<Store>, Hook, Dev) {
    Store::init(folder, None).unwrap();
    let mut text = Vec::new();
    sample::write(&Sample { devices: 2048, classic: 0, profile: "p.toml" }, &mut text).unwrap();
    let shipment = Shipment::read(&text[..]).unwrap_or_else(|error| panic!("{error}"));
    let mut store = Store::open(folder).unwrap();
    store.import(&shipment, &|_| Some(PROFILE.to_vec()), true).unwrap();
    store.set_root(key(1).verifying_key()).unwrap();
    let acme = key(2).verifying_key();
    let Ok(by_root) = key(1).sign(&sha256(&store.trust_statement("acme", &acme)));
    store.add_trust("acme", acme, &by_root).unwrap();
    let manifest = manifest();
    let profile = SignedText { octets: PROFILE.into(), signatures: signatures(&sha256(PROFILE)) };
    let profiles = |_: &str| {
        let SignedText { octets, signatures } = &profile;
        let Signatures { manufacturer, root } = signatures;
        let signatures = Signatures { manufacturer: manufacturer.clone(), root: root.clone() };
        Some(SignedText { octets: octets.clone(), signatures })
    };
    store.import_manifest(&manifest, &signatures(manifest.digest()), &profiles).unwrap();
    let hook = Hook::default();
    store.entries = Box::new(Pausing { inner: Box::new(SledStore::new(folder)), hook: Arc::clone(&hook) });
    let store = Arc::new(store);
    let sealed = store.vault().draw_group_key(GID, Epoch(1)).unwrap().into();
    let change = Change::GroupKey { gid: GID, epoch: Epoch(1), activate_at: 0, sealed };
    assert_eq!(store.apply(&[change], NOW).unwrap().odd, 0);
    (store, hook, manifest.rows()[0].dev)
}

/// Reads, and in the middle of it the data key of a partition goes.
fn race(partition: impl FnOnce(Dev) -> u16, read: impl FnOnce(&Arc<Store>, Dev) -> Result<(), StoreError>) {
    let state = tempfile::tempdir().unwrap();
    let (store, hook, dev) = new_store(&state.path().join(FOLDER));
    let (partition, replacing) = (partition(dev), Arc::new(AtomicBool::new(false)));
    let (done, waits) = mpsc::channel();
    let (end, ends) = mpsc::channel();
    let (other, began) = (Arc::clone(&store), Arc::clone(&replacing));
    *hook.lock().unwrap() = Some(Box::new(move || {
        std::thread::spawn(move || {
            let replaced = other.replace_dek(partition, NOW);
            let released = other.release_deks(&|_| true);
            let _ = done.send(());
            let _ = end.send((replaced.is_ok(), released.ok()));
        });
        began.store(true, SeqCst);
        // It waits for who reads; else it is through by now.
        let _ = waits.recv_timeout(MOMENT);
    }));
    read(&store, dev).unwrap_or_else(|error| panic!("the key went between value and opening: {error}"));
    assert!(replacing.load(SeqCst), "nothing was read");
    assert_eq!(ends.recv().unwrap(), (true, Some(1)), "who waits goes on");
    assert_ne!(store.dek_dates()[usize::from(partition)], 0);
    read_all(&store, dev);
}

/// Everything opens under the key that stands there now.
fn read_all(store: &Arc<Store>, dev: Dev) {
    assert_eq!(store.vault().load(&|_| true, &mut |_| {}).unwrap(), 2048);
    assert_eq!(store.vault().load_groups(&|_| true, &mut |_| {}).unwrap(), 1);
    assert!(store.credential(dev).unwrap().is_some());
}

#[test]
fn associations_are_read_whole() {
    race(|_| 7, |store, _| store.vault().load(&|partition| partition == 7, &mut |_| {}).map(drop));
}

#[test]
fn keys_of_groups_are_read_whole() {
    race(|_| 7, |store, _| store.vault().load_groups(&|_| true, &mut |_| {}).map(drop));
}

#[test]
fn the_key_of_a_group_that_the_store_has_opens() {
    race(|_| 7, |store, _| store.vault().open_group_key(GID, Epoch(1), &[0; 45]).map(drop));
}

#[test]
fn a_credential_opens() {
    race(|dev| Bucket::of(dev).partition, |store, dev| store.credential(dev).map(drop));
}

#[test]
fn credentials_are_read_whole() {
    let partition = |dev| Bucket::of(dev).partition;
    race(partition, |store, _| store.each_credential(&mut |_| Ok(())).map(drop));
}
