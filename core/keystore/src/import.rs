//! Takes a shipment into a store: all of it or nothing.

use std::collections::HashMap;

use seal::at_rest::NONCE_LEN;
use zeroize::Zeroizing;

use crate::block::{self, Place};
use crate::device::{Kind, ProfileId};
use crate::error::{ImportError, StoreError};
use crate::key_store::Entry;
use crate::record::{self, Record};
use crate::shipment::{Column, Faults, Reason, Row, Shipment, title_key};
use crate::store::{Store, devices_entry};
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
        let before = self.devices()?;
        if before > 0 {
            let found = self.find_stored(shipment, &mut faults)?;
            if found != before {
                return Err(StoreError::Count { found, counted: before }.into());
            }
        }
        faults.check()?;

        let texts: Vec<(ProfileId, Vec<u8>)> =
            texts.into_iter().flatten().map(|text| (ProfileId::of(&text), text)).collect();
        let ids: Vec<ProfileId> = texts.iter().map(|(id, _)| *id).collect();
        let classic = shipment.rows().iter().filter(|row| row.keys.kind() == Kind::Classic).count() as u64;
        let profile1 = shipment.rows().len() as u64 - classic;
        let devices = before.saturating_add(profile1 + classic);

        let mut rows: Vec<&Row> = shipment.rows().iter().collect();
        rows.sort_unstable_by_key(|row| (Place::of(row.sid), row.sid.slot()));
        let blocks = rows
            .chunk_by(|a, b| Place::of(a.sid) == Place::of(b.sid))
            .map(|rows| self.block_with(rows, &ids));
        let profiles = texts.into_iter().map(|(id, text)| Ok((Table::Profile.key(&id.0), text)));
        self.entries.commit(&mut profiles.chain(blocks).chain([Ok(devices_entry(devices))]))?;
        Ok(Imported { profile1, classic, devices })
    }

    /// Names the rows that hold what the store has already; returns how many devices it has.
    fn find_stored(&self, shipment: &Shipment, faults: &mut Faults) -> Result<u64, StoreError> {
        let rows = shipment.rows();
        let devs: HashMap<_, _> = rows.iter().map(|row| (row.dev, row.line)).collect();
        let esns: HashMap<_, _> = rows.iter().map(|row| (&*row.esn, row.line)).collect();
        let titles: HashMap<_, _> =
            rows.iter().map(|row| (title_key(row.title.as_title()), row.line)).collect();
        let slots: HashMap<_, _> = rows.iter().map(|row| (row.sid.slot(), row.line)).collect();
        self.each_record(&|_| true, &mut |_, record: Record<'_>| {
            let found = [
                (Column::Dev, devs.get(&record.dev)),
                (Column::Esn, esns.get(record.esn)),
                (Column::ApTitle, titles.get(&title_key(record.title))),
                (Column::Sid, slots.get(&record.sid.slot())),
            ];
            for (column, line) in found {
                if let Some(line) = line {
                    faults.add(*line, column, Reason::Stored { sid: record.sid });
                }
            }
            Ok(())
        })
    }

    /// The block of these rows: what it held before, and they.
    fn block_with(&self, rows: &[&Row], profiles: &[ProfileId]) -> Result<Entry, StoreError> {
        let place = rows.first().map_or(Place { partition: 0, block: 0 }, |row| Place::of(row.sid));
        let dek = self.deks.unwrap(place.partition)?;
        let mut value = Vec::new();
        self.entries.read(&[place.key()], &mut |_, before| {
            value.extend_from_slice(before);
            Ok(())
        })?;
        let mut nonces = vec![[0; NONCE_LEN]; rows.len()];
        getrandom::fill(nonces.as_flattened_mut()).map_err(StoreError::from)?;
        let mut record = Zeroizing::new(Vec::with_capacity(record::OCTETS_MAX));
        for (row, nonce) in rows.iter().zip(nonces) {
            let profile = profiles.get(usize::from(row.profile));
            record::write(&mut record, row, *profile.ok_or(StoreError::Value { name: "profiles" })?);
            block::append(&mut value, &dek, nonce, (row.sid, row.dev), &record)?;
        }
        Ok((place.key(), value))
    }
}

fn profile_text(octets: Option<Vec<u8>>) -> Result<Vec<u8>, Reason> {
    let octets = octets.ok_or(Reason::ProfileMissing)?;
    let text = octets.len() <= PROFILE_OCTETS_MAX && std::str::from_utf8(&octets).is_ok();
    if text { Ok(octets) } else { Err(Reason::ProfileText) }
}
