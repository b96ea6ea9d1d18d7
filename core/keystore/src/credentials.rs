//! What the manufacturer said of end devices of profile 1: the public keys of those that may register. No
//! secret, but a registration stands on it, so each record is sealed as those of associations are.
//!
//! Records stand in 2^18 buckets by a hash of `dev`: few enough values that ten million devices load in
//! order, small enough that one look-up reads little.
//!
//! ```text
//! bucket   version u8, record*
//! record   u16 length of what follows, dev 8, nonce 13, ciphertext, tag 16
//! sealed   flags u8 (bit 0: revoked), profile 32, static DH key x 32 y 32, signing key x 32 y 32,
//!          title u8 length and ApTitle, esn u8 length and ASCII
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use c1222::{ApTitle, ApTitleBuf};
use seal::at_rest::{Dek, NONCE_LEN, OVERHEAD};
use seal::edhoc::{self, PublicKey};
use seal::ids::Dev;
use seal::signature::VerifyingKey;
use sha2::{Digest, Sha256};

use crate::device::ProfileId;
use crate::error::StoreError;
use crate::record::{put_counted, take, take_counted};
use crate::store::Store;
use crate::table::Table;

const VERSION: u8 = 1;
const REVOKED: u8 = 1;
/// Credentials that are kept after a look-up.
const CACHED_MAX: usize = 4096;

/// What is known of an end device that may register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceCredential {
    /// Its identity.
    pub dev: Dev,
    /// Its static Diffie-Hellman key.
    pub key: PublicKey,
    /// Its signing key.
    pub verifying: VerifyingKey,
    /// Its serial number.
    pub esn: Box<str>,
    /// Its address.
    pub title: ApTitleBuf,
    /// Its device profile.
    pub profile: ProfileId,
    /// Nothing of it is accepted any more.
    pub revoked: bool,
}

impl DeviceCredential {
    /// As EDHOC has it.
    #[must_use]
    pub fn edhoc(&self) -> edhoc::DeviceCredential {
        edhoc::Credential { kid: self.dev, key: self.key }
    }
}

/// The credentials of an installation, looked up in the store one by one.
pub struct Credentials {
    store: Arc<Store>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    cached: HashMap<Dev, Arc<DeviceCredential>>,
    /// Revoked since the start; the store hears of it by the journal.
    revoked: HashSet<Dev>,
}

impl Credentials {
    pub(crate) fn new(store: Arc<Store>) -> Self {
        Self { store, seen: Mutex::default() }
    }

    /// The credential of a device; `None` when it is in no manifest.
    ///
    /// # Errors
    /// [`StoreError::Bucket`] when it does not open; those of the database.
    pub fn find(&self, dev: Dev) -> Result<Option<Arc<DeviceCredential>>, StoreError> {
        if let Some(found) = self.seen().cached.get(&dev) {
            return Ok(Some(Arc::clone(found)));
        }
        let Some(mut found) = self.store.credential(dev)? else { return Ok(None) };
        let seen = &mut *self.seen();
        found.revoked |= seen.revoked.contains(&dev);
        let found = Arc::new(found);
        if seen.cached.len() >= CACHED_MAX {
            seen.cached.clear();
        }
        seen.cached.insert(dev, Arc::clone(&found));
        Ok(Some(found))
    }

    /// From now on the device is refused. To outlast a restart it must be in the journal too (REVOKED).
    pub fn revoke(&self, dev: Dev) {
        let seen = &mut *self.seen();
        seen.revoked.insert(dev);
        if let Some(cached) = seen.cached.get_mut(&dev) {
            let mut revoked = DeviceCredential::clone(cached);
            revoked.revoked = true;
            *cached = Arc::new(revoked);
        }
    }

    /// How many devices may register, or could before they were revoked.
    ///
    /// # Errors
    /// Those of the database.
    pub fn count(&self) -> Result<u64, StoreError> {
        self.store.credentials_counted()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a credential stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Bucket {
    pub(crate) partition: u16,
    pub(crate) number: u8,
}

impl Bucket {
    /// The bucket of a device.
    pub(crate) fn of(dev: Dev) -> Self {
        let [a, b, number, ..] = <[u8; 32]>::from(Sha256::digest(dev.0));
        Self { partition: u16::from_be_bytes([a & 3, b]), number }
    }

    /// Its key in the store.
    pub(crate) fn key(self) -> Vec<u8> {
        let [high, low] = self.partition.to_be_bytes();
        Table::Device.key(&[high, low, self.number])
    }

    /// The bucket that a key of the store names.
    pub(crate) fn read(key: &[u8]) -> Option<Self> {
        match Table::Device.rest(key)? {
            &[high, low, number] => Some(Self { partition: u16::from_be_bytes([high, low]), number }),
            _ => None,
        }
    }

    /// The key's beginning for every bucket of a partition.
    pub(crate) fn prefix(partition: u16) -> Vec<u8> {
        Table::Device.key(&partition.to_be_bytes())
    }

    /// What is said when a record does not open, or makes no sense.
    pub(crate) fn damaged(self) -> StoreError {
        StoreError::Bucket { partition: self.partition, bucket: self.number }
    }

    /// Hands on the records of the value that stands here.
    pub(crate) fn open(
        self,
        dek: &Dek,
        value: &[u8],
        sink: &mut dyn FnMut(Record<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut rest = value.strip_prefix(&[VERSION]).ok_or_else(|| self.damaged())?;
        let mut buffer = Vec::new();
        while !rest.is_empty() {
            let (dev, sealed) = next(&mut rest).ok_or_else(|| self.damaged())?;
            buffer.clear();
            buffer.extend_from_slice(sealed);
            let opened = dek.open(&authenticated(dev), &mut buffer).map_err(|_| self.damaged())?;
            let record = Record::read(dev, opened).filter(|_| Self::of(dev) == self);
            sink(record.ok_or_else(|| self.damaged())?)?;
        }
        Ok(())
    }
}

/// A credential's record, read in place; its points are not looked at.
#[derive(Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) dev: Dev,
    pub(crate) revoked: bool,
    pub(crate) profile: ProfileId,
    /// x and y of the static DH key and of the signing key.
    pub(crate) points: [&'a [u8; 32]; 4],
    pub(crate) title: ApTitle<'a>,
    pub(crate) esn: &'a str,
}

impl<'a> Record<'a> {
    fn read(dev: Dev, mut octets: &'a [u8]) -> Option<Self> {
        let octets = &mut octets;
        let [flags] = *take(octets)?;
        let profile = ProfileId(*take(octets)?);
        let points = [take(octets)?, take(octets)?, take(octets)?, take(octets)?];
        let title = ApTitle::decode(take_counted(octets)?).ok()?;
        let esn = std::str::from_utf8(take_counted(octets)?).ok()?;
        let record = Self { dev, revoked: flags & REVOKED != 0, profile, points, title, esn };
        octets.is_empty().then_some(record)
    }

    /// Appends it to the value of its bucket, which is empty at first.
    pub(crate) fn append(
        &self,
        value: &mut Vec<u8>,
        dek: &Dek,
        nonce: [u8; NONCE_LEN],
    ) -> Result<(), StoreError> {
        if value.is_empty() {
            value.push(VERSION);
        }
        let mut title = Vec::with_capacity(ApTitle::LEN_MAX + 2);
        self.title.write(&mut title);
        let mut octets = vec![if self.revoked { REVOKED } else { 0 }];
        octets.extend_from_slice(&self.profile.0);
        self.points.iter().for_each(|point| octets.extend_from_slice(*point));
        put_counted(&mut octets, &title);
        put_counted(&mut octets, self.esn.as_bytes());
        let length = 8 + octets.len() + OVERHEAD;
        value.extend_from_slice(&(length as u16).to_be_bytes());
        value.extend_from_slice(&self.dev.0);
        Ok(dek.seal(nonce, &authenticated(self.dev), &octets, value)?)
    }

    /// The credential, its points checked.
    pub(crate) fn credential(&self) -> Option<DeviceCredential> {
        let [x, y, sign_x, sign_y] = self.points;
        Some(DeviceCredential {
            dev: self.dev,
            key: PublicKey::from_xy(x, y)?,
            verifying: VerifyingKey::from_xy(sign_x, sign_y)?,
            esn: self.esn.into(),
            title: self.title.into(),
            profile: self.profile,
            revoked: self.revoked,
        })
    }
}

fn next<'a>(octets: &mut &'a [u8]) -> Option<(Dev, &'a [u8])> {
    let length = u16::from_be_bytes(*take(octets)?);
    let (record, rest) = octets.split_at_checked(usize::from(length))?;
    let (dev, sealed) = record.split_first_chunk::<8>()?;
    *octets = rest;
    Some((Dev(*dev), sealed))
}

/// `table ‖ dev ‖ version`.
fn authenticated(dev: Dev) -> [u8; 10] {
    let mut octets = [Table::Device.octet(), 0, 0, 0, 0, 0, 0, 0, 0, VERSION];
    if let Some(place) = octets.get_mut(1..9) {
        place.copy_from_slice(&dev.0);
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use seal::secret::Key256;

    fn dek() -> Dek {
        Dek::new(&Key256::from_octets([7; 32]))
    }

    fn open(bucket: Bucket, value: &[u8]) -> Result<Vec<Option<DeviceCredential>>, StoreError> {
        let mut found = Vec::new();
        bucket.open(&dek(), value, &mut |record| {
            found.push(record.credential());
            Ok(())
        })?;
        Ok(found)
    }

    #[test]
    fn a_credential_opens_in_its_bucket_only() {
        let key = edhoc::PrivateKey::from_octets(&[7; 32]).unwrap().public_key();
        let (x, y, dev) = (key.x(), key.y(), Dev([9; 8]));
        let title = ApTitleBuf::parse(".1.5").unwrap();
        let record = Record {
            dev,
            revoked: false,
            profile: ProfileId([3; 32]),
            points: [&x, &y, &x, &y],
            title: title.as_title(),
            esn: "E1",
        };
        let (mut value, bucket) = (Vec::new(), Bucket::of(dev));
        record.append(&mut value, &dek(), [1; 13]).unwrap();
        let found = open(bucket, &value).unwrap().remove(0).unwrap();
        assert_eq!((found.key, &*found.esn, found.edhoc().kid), (key, "E1", dev));
        assert_eq!(Bucket::read(&bucket.key()), Some(bucket));
        assert!(bucket.key().starts_with(&Bucket::prefix(bucket.partition)));
        let elsewhere = Bucket { number: bucket.number ^ 1, ..bucket };
        assert!(matches!(open(elsewhere, &value), Err(StoreError::Bucket { .. })));
        for bit in 0..value.len() * 8 {
            let mut value = value.clone();
            value[bit / 8] ^= 1 << (bit % 8);
            assert!(open(bucket, &value).is_err());
        }
        // A record whose point is none gives no credential.
        let mut value = Vec::new();
        Record { points: [&x, &y, &y, &x], ..record }.append(&mut value, &dek(), [1; 13]).unwrap();
        assert_eq!(open(bucket, &value).unwrap(), [None]);
    }

    #[test]
    fn devices_spread_over_the_buckets() {
        let mut counts: HashMap<Bucket, u32> = HashMap::new();
        for number in 0..1_u64 << 18 {
            *counts.entry(Bucket::of(Dev((0x0200_004d_4700_0000 + number).to_be_bytes()))).or_default() += 1;
        }
        assert!(counts.keys().all(|bucket| bucket.partition < 1024));
        assert!(counts.len() > 150_000 && counts.values().all(|count| *count < 16));
    }

    proptest! {
        #[test]
        fn opening_never_panics(mut octets: Vec<u8>, dev: [u8; 8]) {
            let bucket = Bucket { partition: 0, number: 0 };
            let _ = Record::read(Dev(dev), &octets).map(|record| record.credential());
            let _ = open(bucket, &octets);
            octets.insert(0, VERSION);
            let _ = open(bucket, &octets);
        }
    }
}
