//! What the journal says of keys, in the store: taken in once or twice, over restarts and new data keys.

// clippy.toml's leave for tests reaches only the test functions themselves, not what helps them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use c1222::ApTitleBuf;
use keystore::sample::{self, Sample};
use keystore::shipment::Shipment;
use keystore::{
    Applied, Change, FOLDER, Keys, NewAssociation, ProfileId, Standing, Store, StoreError, Vault,
};
use metergraph_keystore as keystore;
use seal::association::RETIRING_S;
use seal::ids::{Dev, Epoch, Gid, Sid};
use seal::schedule::{advance, derive};
use seal::secret::{Key128, Prk};

const PROFILE: &[u8] = b"name = \"residential\"\n";
const NOW: u64 = 1_800_000_000;
const DEV: Dev = Dev([9; 8]);
const SID: Sid = Sid(0x0000_1c07);

/// A store of 100 lab devices, the last ten classic.
fn new_store() -> (tempfile::TempDir, PathBuf) {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join(FOLDER);
    Store::init(&folder, None).unwrap();
    let mut text = Vec::new();
    sample::write(&Sample { devices: 100, classic: 10, profile: "p.toml" }, &mut text).unwrap();
    let shipment = Shipment::read(&text[..]).unwrap_or_else(|error| panic!("{error}"));
    Store::open(&folder).unwrap().import(&shipment, &|_| Some(PROFILE.to_vec()), true).unwrap();
    (state, folder)
}

fn open(folder: &Path) -> Arc<Store> {
    Arc::new(Store::open(folder).unwrap_or_else(|error| panic!("{error}")))
}

fn prk(octet: u8) -> Prk {
    Prk::from_octets([octet; 32])
}

fn registered(vault: &Vault, sid: Sid, dev: Dev) -> Change {
    let title = ApTitleBuf::parse(".99.7").unwrap();
    let (prk, profile) = (prk(7), ProfileId::of(PROFILE));
    let new = NewAssociation { sid, dev, prk: &prk, title: title.as_title(), esn: "E 9", profile };
    Change::Association { sid, dev, sealed: vault.seal_association(&new).unwrap().into() }
}

/// PRK_out of an epoch of [`registered`].
fn of_epoch(epoch: u16) -> Prk {
    (1..=epoch).fold(prk(7), |prk, epoch| advance(&prk, Epoch(epoch)))
}

/// Epoch, issued, K_up, the retiring epochs, standing.
type Loaded = (u16, u16, [u8; 16], Vec<(u16, u64)>, Standing);

/// What a shard would know of an association.
fn loaded(store: &Arc<Store>, sid: Sid) -> Option<Loaded> {
    let mut found = None;
    store
        .vault()
        .load(&|partition| u32::from(partition) == sid.partition(), &mut |stored| {
            if stored.sid != sid {
                return;
            }
            let Keys::Profile1 { prk, keys, issued, retiring, .. } = stored.keys else { panic!("classic") };
            assert_eq!(keys.up.expose(), derive(&prk, sid).up.expose());
            let retiring = retiring.iter().map(|old| (old.epoch.0, old.until)).collect();
            found = Some((stored.epoch.0, issued.0, *keys.up.expose(), retiring, stored.standing));
        })
        .unwrap();
    found
}

#[test]
fn a_registration_and_its_epochs_are_taken_in_and_may_come_again() {
    let (_state, folder) = new_store();
    let store = open(&folder);
    let all = [
        registered(&store.vault(), SID, DEV),
        Change::Proved { sid: SID },
        Change::Issued { sid: SID, epoch: Epoch(3), campaign: 11 },
        Change::Promoted { sid: SID, epoch: Epoch(2), at: NOW },
        Change::Issued { sid: SID, epoch: Epoch(4), campaign: 12 },
        Change::Promoted { sid: SID, epoch: Epoch(3), at: NOW + 1 },
        Change::Promoted { sid: SID, epoch: Epoch(4), at: NOW + 2 },
    ];
    let up = |epoch| *derive(&of_epoch(epoch), SID).up.expose();
    let first = (0, 0, up(0), vec![], Standing::Fresh);
    assert_eq!(store.apply(&all[..1], NOW).unwrap(), Applied::default());
    assert_eq!(loaded(&store, SID), Some(first));
    store.apply(&all[1..4], NOW).unwrap();
    let until = NOW + RETIRING_S;
    assert_eq!(loaded(&store, SID), Some((2, 3, up(2), vec![(0, until)], Standing::Proved)));
    // Of more than two retiring the oldest goes at once.
    store.apply(&all, NOW).unwrap();
    let last = Some((4, 4, up(4), vec![(2, until + 1), (3, until + 2)], Standing::Proved));
    assert_eq!(loaded(&store, SID), last);
    for from in 0..all.len() {
        assert_eq!(store.apply(&all[from..], NOW).unwrap(), Applied::default());
    }
    drop(store);
    let store = open(&folder);
    assert_eq!(loaded(&store, SID), last);
    let directory = store.directory().unwrap();
    let device = directory.device(SID).unwrap();
    assert_eq!((device.dev, device.esn(), device.standing), (DEV, "E 9", Standing::Proved));
    assert_eq!((directory.sid(DEV), directory.devices()), (Some(SID), 101));
    // The slots that are taken stay so; what the shipment gave stands in the first hundred.
    let slots = directory.slots();
    slots.open();
    let given: Vec<Sid> = (0..8000).map(|_| slots.allocate().unwrap()).collect();
    assert_eq!(given[0], Sid(100));
    assert!(!given.contains(&SID) && given.iter().all(|sid| sid.0 < 8101));

    // What time is over is erased: epochs first.
    assert_eq!(store.sweep(0..1024, until + 1).unwrap(), Applied::default());
    assert_eq!(loaded(&store, SID), Some((4, 4, up(4), vec![(3, until + 2)], Standing::Proved)));
}

#[test]
fn a_replaced_association_is_opened_for_a_while_and_then_gone() {
    let (_state, folder) = new_store();
    let store = open(&folder);
    let new = Sid(0x0000_1c08);
    let changes = [registered(&store.vault(), SID, DEV), registered(&store.vault(), new, DEV)];
    store.apply(&changes, NOW).unwrap();
    let until = NOW + RETIRING_S;
    store.apply(&[Change::Proved { sid: new }, Change::Retired { sid: SID, until }], NOW).unwrap();
    assert_eq!(loaded(&store, SID).unwrap().4, Standing::Retired);
    let directory = store.directory().unwrap();
    assert_eq!((directory.sid(DEV), directory.standing(SID)), (Some(new), Some(Standing::Retired)));
    assert_eq!(directory.devices(), 101);

    assert_eq!(store.sweep(0..1024, until - 1).unwrap(), Applied::default());
    assert_eq!(store.sweep(0..1024, until).unwrap(), Applied { gone: vec![SID], odd: 0 });
    assert_eq!(store.sweep(0..1024, until).unwrap(), Applied::default());
    assert_eq!((loaded(&store, SID), loaded(&store, new).unwrap().4), (None, Standing::Proved));
    // Who it was is still known, after a restart too, and its number never comes again.
    drop(store);
    let store = open(&folder);
    let directory = store.directory().unwrap();
    let device = directory.device(SID).unwrap();
    assert_eq!((device.dev, device.esn(), device.standing), (DEV, "E 9", Standing::Gone));
    assert!(!directory.sids().any(|sid| sid == SID));
    let next = Sid::new(1, SID.slot()).unwrap();
    store.apply(&[registered(&store.vault(), next, DEV), Change::Proved { sid: SID }], NOW).unwrap();
    assert_eq!((loaded(&store, next).unwrap().4, loaded(&store, SID)), (Standing::Fresh, None));
    // Its record, come late, finds its slot taken.
    let odd = store.apply(&[registered(&store.vault(), SID, DEV)], NOW).unwrap();
    assert_eq!(odd, Applied { gone: vec![], odd: 1 });
}

#[test]
fn a_revoked_device_loses_its_keys_at_once() {
    let (_state, folder) = new_store();
    let store = open(&folder);
    let lab = Sid(17);
    let dev = store.directory().unwrap().dev(lab).unwrap();
    let other = Change::Revoked { dev: DEV, sid: lab };
    assert_eq!(store.apply(&[other], NOW).unwrap(), Applied { gone: vec![], odd: 1 });
    let change = Change::Revoked { dev, sid: lab };
    assert_eq!(store.apply(std::slice::from_ref(&change), NOW).unwrap(), Applied { gone: vec![lab], odd: 0 });
    assert_eq!(store.apply(&[change], NOW).unwrap(), Applied::default());
    assert_eq!(loaded(&store, lab), None);
    drop(store);
    let directory = open(&folder).directory().unwrap();
    assert_eq!(directory.standing(lab), Some(Standing::Revoked));
    assert_eq!((directory.sid(dev), directory.devices()), (None, 99));
}

#[test]
fn what_fits_nothing_is_counted_and_changes_nothing() {
    let (_state, folder) = new_store();
    let store = open(&folder);
    let Change::Association { sealed, .. } = registered(&store.vault(), SID, DEV) else { panic!() };
    let classic = Sid(95);
    let odd = [
        // Sealed for another place, another device, or changed.
        Change::Association { sid: Sid(SID.0 + 1024), dev: DEV, sealed: sealed.clone() },
        Change::Association { sid: SID, dev: Dev([8; 8]), sealed: sealed.clone() },
        Change::Association { sid: SID, dev: DEV, sealed: sealed[1..].into() },
        Change::Promoted { sid: SID, epoch: Epoch(1), at: NOW },
        Change::Promoted { sid: classic, epoch: Epoch(1), at: NOW },
        Change::Issued { sid: classic, epoch: Epoch(1), campaign: 1 },
        // Never issued so far ahead.
        Change::Promoted { sid: Sid(0), epoch: Epoch(5), at: NOW },
        Change::GroupKey { gid: Gid(0x8000_0001), epoch: Epoch(1), activate_at: 0, sealed: sealed.clone() },
    ];
    for change in odd {
        assert_eq!(
            store.apply(std::slice::from_ref(&change), NOW).unwrap(),
            Applied { gone: vec![], odd: 1 },
            "{change:?}"
        );
    }
    assert_eq!(loaded(&store, SID), None);
    assert_eq!(store.directory().unwrap().known().count(), 100);
}

/// All group keys of a store: gid, epoch and the key.
fn group_keys(store: &Arc<Store>) -> Vec<(u32, u16, u32, [u8; 16])> {
    let mut keys = Vec::new();
    let count = store.vault().load_groups(&|_| true, &mut |key| {
        keys.push((key.gid.0, key.epoch.0, key.activate_at, *key.gms.expose()));
    });
    assert_eq!(count.unwrap(), keys.len() as u64);
    keys
}

#[test]
fn group_keys_are_kept_sealed_and_the_old_ones_go() {
    let (_state, folder) = new_store();
    let store = open(&folder);
    let vault = store.vault();
    let gid = Gid(0xddda_7c22);
    let key = |epoch: u16, octet: u8| Change::GroupKey {
        gid,
        epoch: Epoch(epoch),
        activate_at: 1_700_000_000 + u32::from(epoch) * 100_000,
        sealed: vault.seal_group_key(gid, Epoch(epoch), &Key128::from_octets([octet; 16])).unwrap().into(),
    };
    store.apply(&[key(1, 1), key(2, 2), key(2, 9)], 1_700_000_000).unwrap();
    store.apply(&[key(1, 9), key(3, 3)], 1_700_000_000).unwrap();
    let held = |epochs: &[u8]| -> Vec<_> {
        let key = |epoch: &u8| {
            (gid.0, u16::from(*epoch), 1_700_000_000 + u32::from(*epoch) * 100_000, [*epoch; 16])
        };
        epochs.iter().map(key).collect()
    };
    assert_eq!(group_keys(&store), held(&[1, 2, 3]));
    let drawn = vault.draw_group_key(gid, Epoch(4)).unwrap();
    assert!(vault.open_group_key(gid, Epoch(4), &drawn).is_ok());
    assert!(matches!(vault.open_group_key(gid, Epoch(5), &drawn), Err(StoreError::Group { .. })));
    drop((store, vault));
    let store = open(&folder);
    assert_eq!(group_keys(&store), held(&[1, 2, 3]));
    // 2 became the current one at ...200000: 1 is kept 72 h longer.
    store.sweep(0..1024, 1_700_200_000 + RETIRING_S - 1).unwrap();
    assert_eq!(group_keys(&store), held(&[1, 2, 3]));
    store.sweep(0..1024, 1_700_200_000 + RETIRING_S).unwrap();
    assert_eq!(group_keys(&store), held(&[2, 3]));
}

#[test]
fn many_updates_are_put_together_and_nothing_is_lost() {
    let (_state, folder) = new_store();
    let store = open(&folder);
    for number in 0..40_u32 {
        let sid = Sid(0x0001_0000 + number * 1023);
        let dev = Dev(u64::from(number).to_be_bytes());
        store.apply(&[registered(&store.vault(), sid, dev), Change::Proved { sid }], NOW).unwrap();
        assert_eq!(loaded(&store, sid).unwrap().4, Standing::Proved);
    }
    let live = || {
        let names = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.filter(|name| name.to_string_lossy().starts_with("sled-")).count()
    };
    assert!(live() <= 10, "{}", live());
    drop(store);
    let store = open(&folder);
    assert_eq!(store.directory().unwrap().known().count(), 140);
    assert_eq!(store.vault().load(&|_| true, &mut |_| {}).unwrap(), 140);
}

#[test]
fn new_data_keys_open_the_same_store_and_the_old_ones_nothing() {
    let (_state, folder) = new_store();
    let store = open(&folder);
    let gid = Gid(0x8000_0007);
    let sealed = |store: &Arc<Store>| store.vault().draw_group_key(gid, Epoch(1)).unwrap();
    let old = sealed(&store);
    let never = store.vault().draw_group_key(gid, Epoch(2)).unwrap();
    let key = Change::GroupKey { gid, epoch: Epoch(1), activate_at: 0, sealed: old.clone().into() };
    let before = registered(&store.vault(), SID, DEV);
    store.apply(&[before.clone(), Change::Proved { sid: SID }, key], NOW).unwrap();
    let (association, keys) = (loaded(&store, SID), group_keys(&store));
    drop(store);

    let raw = |partition: u16| {
        let store = open(&folder);
        drop(store);
        let number = std::fs::read_to_string(folder.join("current")).unwrap();
        let number = number.split_ascii_whitespace().last().unwrap().to_owned();
        let db = sled::open(folder.join(format!("sled-{number}"))).unwrap();
        db.get([&[1], &partition.to_be_bytes()[..]].concat()).unwrap()
    };
    let all: Vec<u16> = (0..1024).collect();
    Store::open(&folder).unwrap().rotate_deks(&all).unwrap();
    let first = raw(7);
    // One live database: nothing of the old keys is left.
    assert_eq!(std::fs::read_to_string(folder.join("current")).unwrap().split_ascii_whitespace().count(), 1);
    Store::open(&folder).unwrap().rotate_deks(&[7]).unwrap();
    assert_ne!(raw(7), first);

    let store = open(&folder);
    assert_eq!((loaded(&store, SID), group_keys(&store)), (association, keys));
    assert_eq!(store.vault().load(&|_| true, &mut |_| {}).unwrap(), 101);
    assert!(store.vault().open_group_key(gid, Epoch(2), &never).is_err());
    // One that the store has taken in is found there.
    assert!(store.vault().open_group_key(gid, Epoch(1), &old).is_ok());
    assert!(store.vault().open_group_key(gid, Epoch(1), &sealed(&store)).is_ok());
    // What the journal held is known already, and does no harm.
    assert_eq!(store.apply(&[before], NOW).unwrap(), Applied::default());
}
