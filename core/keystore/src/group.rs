//! Keys of groups: one value a group, each key in it sealed for itself by the key of the group's partition,
//! with `table ‖ gid ‖ epoch` authenticated.
//!
//! ```text
//! version  u8
//! key*     epoch u16, activate_at u32, nonce 13, GMS 16 in ciphertext, tag 16; epochs ascend
//! ```

use seal::at_rest::{Dek, OVERHEAD};
use seal::ids::{Epoch, Gid, Sid};
use seal::secret::Key128;
use zeroize::Zeroizing;

use crate::error::StoreError;
use crate::key_store::Entry;
use crate::record::take;
use crate::table::Table;
use crate::vault::nonce;

const VERSION: u8 = 1;
/// Octets of a sealed GMS.
const SEALED: usize = Key128::LEN + OVERHEAD;
/// Epochs of a group that are kept: as many as an end device takes ahead, and two.
const KEYS_MAX: usize = 18;

/// A group's sealed keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) gid: Gid,
    pub(crate) keys: Vec<Sealed>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sealed {
    pub(crate) epoch: Epoch,
    pub(crate) activate_at: u32,
    pub(crate) sealed: [u8; SEALED],
}

impl Group {
    /// A group without a key yet.
    pub(crate) fn new(gid: Gid) -> Self {
        Self { gid, keys: Vec::new() }
    }

    /// The key's beginning of every group.
    pub(crate) fn prefix() -> Vec<u8> {
        Table::Group.key(&[])
    }

    /// Its key in the store.
    pub(crate) fn key(gid: Gid) -> Vec<u8> {
        Table::Group.key(&gid.0.to_be_bytes())
    }

    /// Reads an entry of the store.
    pub(crate) fn read(key: &[u8], value: &[u8]) -> Result<Self, StoreError> {
        let gid = Table::Group.rest(key).and_then(|rest| rest.try_into().ok()).map(u32::from_be_bytes);
        let gid = Gid(gid.ok_or(StoreError::Value { name: "groups" })?);
        let damaged = || StoreError::Group { gid };
        let mut rest = value.strip_prefix(&[VERSION]).ok_or_else(damaged)?;
        let mut group = Self::new(gid);
        while !rest.is_empty() {
            group.keys.push(Sealed::take(&mut rest).ok_or_else(damaged)?);
        }
        Ok(group)
    }

    /// Takes in a key; the first one of an epoch stays, the oldest go. Whether anything has changed.
    pub(crate) fn learn(&mut self, epoch: Epoch, activate_at: u32, sealed: &[u8]) -> bool {
        let Ok(sealed) = sealed.try_into() else { return false };
        let Err(place) = self.keys.binary_search_by_key(&epoch, |held| held.epoch) else { return false };
        self.keys.insert(place, Sealed { epoch, activate_at, sealed });
        self.keys.drain(..self.keys.len().saturating_sub(KEYS_MAX));
        true
    }

    /// Drops the keys that another followed before this Unix second.
    pub(crate) fn expire(&mut self, before: u64) {
        let past = |held: &Sealed| u64::from(held.activate_at) <= before;
        let gone = self.keys.iter().rposition(past).unwrap_or(0);
        self.keys.drain(..gone);
    }

    /// Seals its keys under another data key.
    pub(crate) fn renew(&mut self, from: &Dek, to: &Dek) -> Result<(), StoreError> {
        for held in &mut self.keys {
            let gms = open(from, self.gid, held.epoch, &held.sealed)?;
            let sealed = seal(to, self.gid, held.epoch, &gms)?;
            held.sealed = sealed.try_into().map_err(|_| StoreError::Group { gid: self.gid })?;
        }
        Ok(())
    }

    /// As an entry for the store.
    pub(crate) fn entry(&self) -> Entry {
        let mut value = vec![VERSION];
        for held in &self.keys {
            value.extend_from_slice(&held.epoch.0.to_be_bytes());
            value.extend_from_slice(&held.activate_at.to_be_bytes());
            value.extend_from_slice(&held.sealed);
        }
        (Self::key(self.gid), value)
    }
}

impl Sealed {
    fn take(octets: &mut &[u8]) -> Option<Self> {
        Some(Self {
            epoch: Epoch(u16::from_be_bytes(*take(octets)?)),
            activate_at: u32::from_be_bytes(*take(octets)?),
            sealed: *take(octets)?,
        })
    }
}

/// The partition of a group: its low 10 bits.
pub(crate) fn partition(gid: Gid) -> u16 {
    (gid.0 & (Sid::PARTITIONS - 1)) as u16
}

/// Seals a GMS.
pub(crate) fn seal(dek: &Dek, gid: Gid, epoch: Epoch, gms: &Key128) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::with_capacity(SEALED);
    dek.seal(nonce()?, &authenticated(gid, epoch), gms.expose(), &mut out)?;
    Ok(out)
}

/// Opens a GMS.
pub(crate) fn open(dek: &Dek, gid: Gid, epoch: Epoch, sealed: &[u8]) -> Result<Key128, StoreError> {
    let damaged = |_| StoreError::Group { gid };
    let mut octets = Zeroizing::new(<[u8; SEALED]>::try_from(sealed).map_err(damaged)?);
    let opened = dek.open(&authenticated(gid, epoch), octets.as_mut_slice());
    let opened = opened.map_err(|_| StoreError::Group { gid })?;
    let gms = Zeroizing::new(<[u8; Key128::LEN]>::try_from(&*opened).map_err(damaged)?);
    Ok(Key128::from_octets(*gms))
}

/// `table ‖ gid ‖ epoch`.
fn authenticated(gid: Gid, epoch: Epoch) -> [u8; 7] {
    let ([a, b, c, d], [e, f]) = (gid.0.to_be_bytes(), epoch.0.to_be_bytes());
    [Table::Group.octet(), a, b, c, d, e, f]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use seal::secret::Key256;

    const GID: Gid = Gid(0xddda_7c22);

    fn dek(octet: u8) -> Dek {
        Dek::new(&Key256::from_octets([octet; 32]))
    }

    #[test]
    fn a_key_opens_for_its_group_and_epoch_only() {
        let sealed = seal(&dek(1), GID, Epoch(258), &Key128::from_octets([9; 16])).unwrap();
        let opened = |key: u8, gid, epoch| open(&dek(key), gid, Epoch(epoch), &sealed);
        assert_eq!(opened(1, GID, 258).unwrap().expose(), &[9; 16]);
        for other in [opened(2, GID, 258), opened(1, Gid(GID.0 ^ 1), 258), opened(1, GID, 2)] {
            assert!(matches!(other.err(), Some(StoreError::Group { .. })));
        }
        assert_eq!(partition(GID), 0x022);
    }

    #[test]
    fn the_first_key_of_an_epoch_stays_and_the_oldest_go() {
        let mut group = Group::new(GID);
        for epoch in [5, 3, 4] {
            assert!(group.learn(Epoch(epoch), u32::from(epoch) * 100, &[epoch as u8; SEALED]));
        }
        assert!(!group.learn(Epoch(4), 1, &[0; SEALED]) && !group.learn(Epoch(6), 1, &[0; 7]));
        let (key, value) = group.entry();
        assert_eq!(Group::read(&key, &value).unwrap(), group);
        assert!(group.keys.is_sorted_by_key(|held| held.epoch));
        // 3 was followed by 4 at 400.
        group.expire(399);
        assert_eq!(group.keys.len(), 3);
        group.expire(400);
        assert_eq!(group.keys[0].epoch, Epoch(4));
        assert!((10..40).all(|epoch| group.learn(Epoch(epoch), 0, &[1; SEALED])));
        assert_eq!((group.keys.len(), group.keys[17].epoch), (KEYS_MAX, Epoch(39)));
    }

    proptest! {
        #[test]
        fn reading_never_panics(key: Vec<u8>, mut value: Vec<u8>) {
            let _ = Group::read(&key, &value);
            value.insert(0, VERSION);
            let _ = Group::read(&Group::key(GID), &value);
            let _ = open(&dek(1), GID, Epoch(1), &value);
        }
    }
}
