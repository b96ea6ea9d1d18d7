//! Who is who while the head-end runs: associations that are made, proven, replaced, revoked.

// clippy.toml's leave for tests reaches only the test functions themselves, not what helps them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;

use c1222::ApTitleBuf;
use keystore::sample::{self, Sample};
use keystore::shipment::Shipment;
use keystore::{Change, Directory, FOLDER, Kind, NewAssociation, NewDevice, ProfileId, Standing, Store};
use metergraph_keystore as keystore;
use seal::ids::{Dev, Sid};
use seal::secret::Prk;

const PROFILE: &[u8] = b"name = \"residential\"\n";

/// A store of ten lab devices, the last two of them classic, in this folder.
fn store(state: &Path) -> Store {
    let folder = state.join(FOLDER);
    Store::init(&folder, None).unwrap();
    let mut text = Vec::new();
    sample::write(&Sample { devices: 10, classic: 2, profile: "p.toml" }, &mut text).unwrap();
    let shipment = Shipment::read(&text[..]).unwrap_or_else(|error| panic!("{error}"));
    let mut store = Store::open(&folder).unwrap();
    store.import(&shipment, &|_| Some(PROFILE.to_vec()), true).unwrap();
    store
}

fn directory() -> Directory {
    let state = tempfile::tempdir().unwrap();
    store(state.path()).directory().unwrap()
}

fn insert(directory: &Directory, sid: Sid, dev: Dev) {
    let title = ApTitleBuf::parse(".77.8").unwrap();
    let new = NewDevice { sid, dev, title: title.as_title(), esn: "E 1", profile: ProfileId::of(PROFILE) };
    directory.insert(&new);
}

#[test]
fn a_new_device_is_found_as_the_others_are() {
    let directory = directory();
    let (sid, dev) = (Sid(0x0100_0003), Dev([9; 8]));
    // Another generation of a slot that is in use: two associations.
    assert!(directory.device(sid).is_none() && directory.sid(dev).is_none());
    insert(&directory, sid, dev);
    insert(&directory, sid, Dev([8; 8]));
    let device = directory.device(sid).unwrap();
    assert_eq!((device.dev, device.sid, device.kind, device.test_key), (dev, sid, Kind::Profile1, false));
    assert_eq!((device.title().to_string().as_str(), device.esn()), (".77.8", "E 1"));
    assert_eq!((device.standing, device.profile), (Standing::Fresh, ProfileId::of(PROFILE)));
    assert_eq!((directory.dev(sid), directory.kind(sid)), (Some(dev), Some(Kind::Profile1)));
    assert_eq!((directory.sid(dev), directory.devices()), (Some(sid), 11));
    let base = directory.device(Sid(3)).unwrap();
    assert_eq!((base.esn(), base.standing, base.test_key), ("MG00000003", Standing::Proved, true));
    assert_eq!(directory.sids().count(), 11);
    // One that was there stays as it is.
    insert(&directory, Sid(3), dev);
    assert_eq!(directory.device(Sid(3)).unwrap().esn(), "MG00000003");
}

#[test]
fn the_proven_association_of_a_device_is_the_one_in_use() {
    let directory = directory();
    let (old, dev) = (Sid(4), directory.dev(Sid(4)).unwrap());
    let (new, next) = (Sid(0x20), Sid(0x21));
    insert(&directory, new, dev);
    assert_eq!((directory.sid(dev), directory.devices()), (Some(old), 10));
    directory.proved(Dev([1; 8]), new);
    assert_eq!(directory.standing(new), Some(Standing::Fresh), "not that device's");
    directory.proved(dev, new);
    assert_eq!((directory.sid(dev), directory.standing(new)), (Some(new), Some(Standing::Proved)));
    directory.retired(old);
    directory.gone(old);
    assert_eq!((directory.standing(old), directory.sid(dev)), (Some(Standing::Gone), Some(new)));
    assert_eq!(directory.device(old).unwrap().esn(), "MG00000004", "still told who it was");
    insert(&directory, next, dev);
    directory.proved(dev, next);
    // A replaced one does not come back.
    directory.retired(new);
    directory.proved(dev, new);
    assert_eq!((directory.sid(dev), directory.standing(new)), (Some(next), Some(Standing::Retired)));
    assert_eq!(directory.revoke(dev), [new, next], "what is erased is over");
    directory.gone(next);
    assert_eq!((directory.sid(dev), directory.standing(next)), (None, Some(Standing::Revoked)));
    assert_eq!((directory.devices(), directory.sids().count()), (9, 9));
    // One that was on its way is no more than those.
    insert(&directory, Sid(0x22), dev);
    directory.proved(dev, Sid(0x22));
    assert_eq!((directory.sid(dev), directory.standing(Sid(0x22))), (None, Some(Standing::Revoked)));
    assert_eq!(directory.devices(), 9);
}

#[test]
fn a_classic_device_that_has_registered_is_not_found_as_one() {
    let directory = directory();
    let (old, new) = (Sid(8), Sid(0x30));
    let device = directory.device(old).unwrap();
    let (dev, title, esn) = (device.dev, ApTitleBuf::from(device.title()), device.esn().to_owned());
    assert_eq!((directory.classic(title.as_title()), directory.classic_by_esn(&esn)), (Some(old), Some(old)));
    insert(&directory, new, dev);
    assert_eq!(directory.classic(title.as_title()), Some(old));
    directory.proved(dev, new);
    assert_eq!((directory.classic(title.as_title()), directory.classic_by_esn(&esn)), (None, None));
    assert_eq!(directory.classic_by_esn("MG00000009"), Some(Sid(9)));
}

#[test]
fn slots_go_on_behind_what_is_known() {
    let directory = directory();
    insert(&directory, Sid(11), Dev([1; 8]));
    directory.gone(Sid(2));
    let slots = directory.slots();
    assert_eq!(slots.allocate(), None, "the journal is not read yet");
    slots.open();
    let given: Vec<u32> = (0..3).map(|_| slots.allocate().unwrap().0).collect();
    assert_eq!(given, [10, 12, 13]);
}

/// What the journal tells of a registration of the device of this lab association.
fn registered(store: &Arc<Store>, of: Sid, sid: Sid) -> Change {
    let directory = store.directory().unwrap();
    let device = directory.device(of).unwrap();
    let (dev, title, esn, profile) = (device.dev, device.title(), device.esn(), device.profile);
    let new = NewAssociation { sid, dev, prk: &Prk::from_octets([7; 32]), title, esn, profile };
    let sealed = store.vault().seal_association(&new).unwrap().into();
    Change::Association { sid, dev, sealed }
}

#[test]
fn a_start_knows_a_classic_device_that_has_registered_as_such_also_when_its_keys_are_erased() {
    let state = tempfile::tempdir().unwrap();
    let store = Arc::new(store(state.path()));
    let (old, new, spare) = (Sid(8), Sid(0x30), Sid(0x31));
    let (dev, title) = {
        let directory = store.directory().unwrap();
        let device = directory.device(old).unwrap();
        (device.dev, ApTitleBuf::from(device.title()))
    };
    // A spare one that was never used stands in a partition before the proven one, or behind it.
    let changes = [registered(&store, old, spare), registered(&store, old, new)];
    store.apply(&changes, 0).unwrap();
    let directory = store.directory().unwrap();
    assert_eq!((directory.classic(title.as_title()), directory.sid(dev)), (Some(old), Some(old)));
    assert!(!directory.is_registered(title.as_title()));
    store.apply(&[Change::Proved { sid: new }], 0).unwrap();
    let look = || {
        let directory = store.directory().unwrap();
        assert_eq!((directory.classic(title.as_title()), directory.sid(dev)), (None, Some(new)));
        assert!(directory.is_registered(title.as_title()));
        assert_eq!(directory.devices(), 10);
        directory.classic_standing(title.as_title())
    };
    assert_eq!(look(), Some(Standing::Retired), "nobody has written down that it is");
    store.apply(&[Change::Retired { sid: old, until: 5 }], 0).unwrap();
    assert_eq!(look(), Some(Standing::Retired));
    store.sweep(0..1024, 5).unwrap();
    assert_eq!(look(), None);
    let other = store.directory().unwrap();
    let other = other.device(Sid(9)).unwrap();
    assert!(!store.directory().unwrap().is_registered(other.title()));
}

#[test]
fn a_device_is_revoked_as_a_whole() {
    let state = tempfile::tempdir().unwrap();
    let store = Arc::new(store(state.path()));
    let (old, new, late) = (Sid(3), Sid(0x30), Sid(0x31));
    let dev = store.directory().unwrap().dev(old).unwrap();
    let late_change = registered(&store, old, late);
    store.apply(&[registered(&store, old, new), Change::Proved { sid: new }], 0).unwrap();
    // What was on its way is in the store without its keys.
    let applied = store.apply(&[Change::Revoked { dev, sid: old }, late_change], 0).unwrap();
    assert_eq!((applied.gone.len(), applied.odd), (2, 0));
    let directory = store.directory().unwrap();
    for sid in [old, new, late] {
        assert_eq!(directory.standing(sid), Some(Standing::Revoked), "{sid}");
    }
    assert_eq!((directory.sid(dev), directory.is_revoked(dev), directory.devices()), (None, true, 9));
    assert_eq!(directory.unerased(), [(dev, new)]);
    store.apply(&[Change::Revoked { dev, sid: new }], 0).unwrap();
    assert!(store.directory().unwrap().unerased().is_empty());
    let mut kept = 0;
    store.vault().load(&|_| true, &mut |stored| kept += usize::from(stored.dev == dev)).unwrap();
    assert_eq!(kept, 0);
}
