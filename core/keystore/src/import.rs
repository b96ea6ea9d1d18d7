//! Takes a shipment or a manifest into a store: all of it or nothing.

use std::collections::HashMap;

use c1222::ApTitle;
use seal::at_rest::NONCE_LEN;
use seal::ids::Dev;

use crate::block::{Edit, Place};
use crate::credentials::{self, Bucket};
use crate::device::{Kind, ProfileId};
use crate::error::{ImportError, StoreError};
use crate::key_store::Entry;
use crate::manifest::signature::Signatures;
use crate::manifest::{self, Manifest};
use crate::record;
use crate::shipment::{Column, Faults, Reason, Row, Shipment, title_key};
use crate::store::{Store, credentials_entry, devices_entry, records_entry};
use crate::table::Table;

/// The longest text of a device profile, in octets.
pub const PROFILE_OCTETS_MAX: usize = 1 << 20;

/// What an import added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Imported {
    /// Devices of profile 1.
    pub profile1: u64,
    /// Classic devices.
    pub classic: u64,
    /// Devices in the store now.
    pub devices: u64,
}

/// A device profile with its signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignedText {
    /// The octets of the file.
    pub octets: Vec<u8>,
    /// What was found beside it.
    pub signatures: Signatures,
}

impl Store {
    /// Adds the devices of a shipment, with the texts of their profiles. `profiles` gives the octets of a
    /// profile by the name in the shipment, a path relative to its file; whether the text is a good profile
    /// is the caller's to check. Profile-1 keys are taken only with `test_keys`: in earnest they come by
    /// registration.
    ///
    /// # Errors
    /// [`ImportError::Faults`] names the rows that cannot be taken: a device, serial number, address or slot
    /// that the store has already, an unreadable profile, a profile-1 key without `test_keys`. Nothing has
    /// changed then, nor after [`ImportError::Store`].
    pub fn import(
        &mut self,
        shipment: &Shipment,
        profiles: &dyn Fn(&str) -> Option<Vec<u8>>,
        test_keys: bool,
    ) -> Result<Imported, ImportError> {
        let mut faults = Faults::default();
        let texts: Vec<Result<Vec<u8>, Reason>> =
            shipment.profiles().iter().map(|name| profile_text(profiles(name))).collect();
        for row in shipment.rows() {
            if row.keys.kind() == Kind::Profile1 && !test_keys {
                faults.add(row.line, Column::Key, Reason::TestKey);
            }
            if let Some(Err(reason)) = texts.get(usize::from(row.profile)) {
                faults.add(row.line, Column::DeviceProfile, reason.clone());
            }
        }
        let mut wanted = Wanted::default();
        for row in shipment.rows() {
            wanted.add(row.line, row.dev, &row.esn, row.title.as_title());
            wanted.slots.insert(row.sid.slot(), row.line);
        }
        self.find_stored(&wanted, &mut faults)?;
        faults.check()?;

        let texts: Vec<(ProfileId, Vec<u8>)> =
            texts.into_iter().flatten().map(|text| (ProfileId::of(&text), text)).collect();
        let ids: Vec<ProfileId> = texts.iter().map(|(id, _)| *id).collect();
        let classic = shipment.rows().iter().filter(|row| row.keys.kind() == Kind::Classic).count() as u64;
        let profile1 = shipment.rows().len() as u64 - classic;
        let devices = self.devices()?.saturating_add(profile1 + classic);
        let records = self.records()?.saturating_add(profile1 + classic);

        let mut rows: Vec<&Row> = shipment.rows().iter().collect();
        rows.sort_unstable_by_key(|row| (Place::of(row.sid), row.sid.slot()));
        let blocks = rows
            .chunk_by(|a, b| Place::of(a.sid) == Place::of(b.sid))
            .map(|rows| self.block_with(rows, &ids));
        let profiles = texts.into_iter().map(|(id, text)| Ok((Table::Profile.key(&id.0), text)));
        let counts = [devices_entry(devices), records_entry(records)].map(Ok);
        self.entries.commit(&mut profiles.chain(blocks).chain(counts))?;
        Ok(Imported { profile1, classic, devices })
    }

    /// Adds the devices of a manifest: from then on they may register. `signatures` are the manifest's own;
    /// `profiles` gives a profile with its signatures by the name in the manifest, a path relative to its
    /// file. A classic device of the store may be in it, under its own serial number and address: it will
    /// register.
    ///
    /// # Errors
    /// [`ImportError::Trust`] when the manifest is not signed by a trusted manufacturer and by root;
    /// [`ImportError::Faults`] names the rows that cannot be taken, as [`Store::import`] does, also those
    /// whose profile is unsigned or another one. Nothing has changed then, nor after [`ImportError::Store`].
    pub fn import_manifest(
        &mut self,
        manifest: &Manifest,
        signatures: &Signatures,
        profiles: &dyn Fn(&str) -> Option<SignedText>,
    ) -> Result<Imported, ImportError> {
        let trust = self.trust()?;
        trust.check(manifest.digest(), signatures)?;
        let mut faults = Faults::default();
        let signed = |(name, id): &(String, ProfileId)| {
            let SignedText { octets, signatures } = profiles(name).ok_or(Reason::ProfileMissing)?;
            let octets = profile_text(Some(octets))?;
            if ProfileId::of(&octets) != *id {
                return Err(Reason::ProfileChanged);
            }
            let checked = trust.check(&id.0, &signatures);
            checked.map(|()| octets).map_err(|error| Reason::ProfileUnsigned(error.to_string()))
        };
        let texts: Vec<Result<Vec<u8>, Reason>> = manifest.profiles().iter().map(signed).collect();
        let mut wanted = Wanted { registers: true, ..Wanted::default() };
        for row in manifest.rows() {
            if let Some(Err(reason)) = texts.get(usize::from(row.profile)) {
                faults.add(row.line, Column::DeviceProfile, reason.clone());
            }
            wanted.add(row.line, row.dev, &row.esn, row.title.as_title());
        }
        let again = self.find_stored(&wanted, &mut faults)?;
        faults.check()?;

        let ids: Vec<ProfileId> = manifest.profiles().iter().map(|(_, id)| *id).collect();
        let profile1 = manifest.rows().len() as u64;
        let devices = self.devices()?.saturating_add(profile1).saturating_sub(again);
        let credentials = self.credentials_counted()?.saturating_add(profile1);
        let records = self.records()?;

        let mut rows: Vec<(Bucket, &manifest::Row)> =
            manifest.rows().iter().map(|row| (Bucket::of(row.dev), row)).collect();
        rows.sort_unstable_by_key(|(bucket, row)| (*bucket, row.dev));
        let buckets = rows.chunk_by(|a, b| a.0 == b.0).map(|rows| self.bucket_with(rows, &ids));
        let texts = ids.iter().zip(texts.into_iter().flatten());
        let texts = texts.map(|(id, text)| Ok((Table::Profile.key(&id.0), text)));
        let counts = [devices_entry(devices), credentials_entry(credentials), records_entry(records)].map(Ok);
        self.entries.commit(&mut texts.chain(buckets).chain(counts))?;
        Ok(Imported { profile1, classic: 0, devices })
    }

    /// Names the rows that hold what the store has already. Returns how many classic devices will register.
    fn find_stored(&self, wanted: &Wanted<'_>, faults: &mut Faults) -> Result<u64, StoreError> {
        let (counted, mut again) = (self.records()?, 0);
        let found = self.each_record(&|_| true, &mut |_, record| {
            let head = &record.head;
            let [dev, esn, title] = wanted.lines(record.dev, head.esn, head.title);
            if wanted.registers
                && head.kind == Kind::Classic
                && !head.gone
                && dev.is_some()
                && [esn, title].iter().all(|line| line.is_none() || *line == dev)
            {
                again += 1;
                return Ok(());
            }
            let slot = wanted.slots.get(&record.sid.slot()).copied();
            let columns = [
                (Column::Dev, dev),
                // What was erased leaves its names to others.
                (Column::Esn, esn.filter(|_| !head.gone)),
                (Column::ApTitle, title.filter(|_| !head.gone)),
                (Column::Sid, slot),
            ];
            for (column, line) in columns {
                if let Some(line) = line {
                    faults.add(line, column, Reason::Stored { sid: record.sid });
                }
            }
            Ok(())
        })?;
        if found != counted {
            return Err(StoreError::Count { found, counted });
        }
        let counted = self.credentials_counted()?;
        let found = self.each_credential(&mut |record| {
            let lines = wanted.lines(record.dev, record.esn, record.title);
            for (column, line) in [Column::Dev, Column::Esn, Column::ApTitle].into_iter().zip(lines) {
                if let Some(line) = line {
                    faults.add(line, column, Reason::Known { dev: record.dev });
                }
            }
            Ok(())
        })?;
        if found == counted { Ok(again) } else { Err(StoreError::Count { found, counted }) }
    }

    /// The block of these rows: what it held before, and they.
    fn block_with(&self, rows: &[&Row], profiles: &[ProfileId]) -> Result<Entry, StoreError> {
        let place = rows.first().map_or(Place { partition: 0, block: 0 }, |row| Place::of(row.sid));
        let dek = self.deks.unwrap(place.partition)?;
        let before = self.entries.get(&place.key())?.unwrap_or_default();
        let mut edit = Edit::begin(place, &dek, &before)?;
        for row in rows {
            let profile = profile_of(row.profile, profiles)?;
            edit.set((row.sid, row.dev), |out| record::write_row(out, row, profile));
        }
        Ok((place.key(), edit.finish()?))
    }

    /// The bucket of these rows: what it held before, and they.
    fn bucket_with(
        &self,
        rows: &[(Bucket, &manifest::Row)],
        profiles: &[ProfileId],
    ) -> Result<Entry, StoreError> {
        let bucket = rows.first().map_or(Bucket { partition: 0, number: 0 }, |(bucket, _)| *bucket);
        let dek = self.deks.unwrap(bucket.partition)?;
        let mut value = self.entries.get(&bucket.key())?.unwrap_or_default();
        let mut nonces = vec![[0; NONCE_LEN]; rows.len()];
        getrandom::fill(nonces.as_flattened_mut()).map_err(StoreError::from)?;
        for ((_, row), nonce) in rows.iter().zip(nonces) {
            let [dh_x, dh_y, sign_x, sign_y] = &row.points;
            let record = credentials::Record {
                dev: row.dev,
                revoked: false,
                profile: profile_of(row.profile, profiles)?,
                points: [dh_x, dh_y, sign_x, sign_y],
                title: row.title.as_title(),
                esn: &row.esn,
            };
            record.append(&mut value, &dek, nonce)?;
        }
        Ok((bucket.key(), value))
    }
}

/// What is to be added, by what nobody else may have; each with its line.
#[derive(Default)]
struct Wanted<'a> {
    devs: HashMap<Dev, u64>,
    esns: HashMap<&'a str, u64>,
    titles: HashMap<(u8, &'a [u8]), u64>,
    slots: HashMap<u32, u64>,
    /// They will register, so a classic device among them does no harm.
    registers: bool,
}

impl<'a> Wanted<'a> {
    fn add(&mut self, line: u64, dev: Dev, esn: &'a str, title: ApTitle<'a>) {
        self.devs.insert(dev, line);
        self.esns.insert(esn, line);
        self.titles.insert(title_key(title), line);
    }

    /// The lines that hold these.
    fn lines(&self, dev: Dev, esn: &str, title: ApTitle<'_>) -> [Option<u64>; 3] {
        let title = self.titles.get(&title_key(title));
        [self.devs.get(&dev).copied(), self.esns.get(esn).copied(), title.copied()]
    }
}

fn profile_of(place: u16, profiles: &[ProfileId]) -> Result<ProfileId, StoreError> {
    profiles.get(usize::from(place)).copied().ok_or(StoreError::Value { name: "profiles" })
}

fn profile_text(octets: Option<Vec<u8>>) -> Result<Vec<u8>, Reason> {
    let octets = octets.ok_or(Reason::ProfileMissing)?;
    let text = octets.len() <= PROFILE_OCTETS_MAX && std::str::from_utf8(&octets).is_ok();
    if text { Ok(octets) } else { Err(Reason::ProfileText) }
}
