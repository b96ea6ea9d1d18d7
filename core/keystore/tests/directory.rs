//! Who is who while the head-end runs: associations that are made, proven, replaced, revoked.

// clippy.toml's leave for tests reaches only the test functions themselves, not what helps them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use c1222::ApTitleBuf;
use keystore::sample::{self, Sample};
use keystore::shipment::Shipment;
use keystore::{Directory, FOLDER, Kind, NewDevice, ProfileId, Standing, Store};
use metergraph_keystore as keystore;
use seal::ids::{Dev, Sid};

const PROFILE: &[u8] = b"name = \"residential\"\n";

/// Ten lab devices, the last two of them classic.
fn directory() -> Directory {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join(FOLDER);
    Store::init(&folder, None).unwrap();
    let mut text = Vec::new();
    sample::write(&Sample { devices: 10, classic: 2, profile: "p.toml" }, &mut text).unwrap();
    let shipment = Shipment::read(&text[..]).unwrap_or_else(|error| panic!("{error}"));
    let mut store = Store::open(&folder).unwrap();
    store.import(&shipment, &|_| Some(PROFILE.to_vec()), true).unwrap();
    store.directory().unwrap()
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
    directory.revoked(next);
    directory.gone(next);
    assert_eq!((directory.sid(dev), directory.standing(next)), (None, Some(Standing::Revoked)));
    assert_eq!((directory.devices(), directory.sids().count()), (9, 10));
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
