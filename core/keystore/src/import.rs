//! Takes a shipment into a store: all of it or nothing.

use std::collections::HashMap;

use crate::block::{Edit, Place};
use crate::device::{Kind, ProfileId};
use crate::error::{ImportError, StoreError};
use crate::key_store::Entry;
use crate::record::{self, Record};
use crate::shipment::{Column, Faults, Reason, Row, Shipment, title_key};
use crate::store::{Store, devices_entry, records_entry};
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
        let records = self.records()?;
        if before > 0 {
            self.find_stored(shipment, &mut faults)?;
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
        let counts = [devices_entry(devices), records_entry(records.saturating_add(profile1 + classic))];
        self.entries.commit(&mut profiles.chain(blocks).chain(counts.map(Ok)))?;
        Ok(Imported { profile1, classic, devices })
    }

    /// Names the rows that hold what the store has already.
    fn find_stored(&self, shipment: &Shipment, faults: &mut Faults) -> Result<(), StoreError> {
        let rows = shipment.rows();
        let devs: HashMap<_, _> = rows.iter().map(|row| (row.dev, row.line)).collect();
        let esns: HashMap<_, _> = rows.iter().map(|row| (&*row.esn, row.line)).collect();
        let titles: HashMap<_, _> =
            rows.iter().map(|row| (title_key(row.title.as_title()), row.line)).collect();
        let slots: HashMap<_, _> = rows.iter().map(|row| (row.sid.slot(), row.line)).collect();
        let counted = self.records()?;
        let found = self.each_record(&|_| true, &mut |_, record: Record<'_>| {
            let found = [
                (Column::Dev, devs.get(&record.dev)),
                (Column::Esn, esns.get(record.head.esn)),
                (Column::ApTitle, titles.get(&title_key(record.head.title))),
                (Column::Sid, slots.get(&record.sid.slot())),
            ];
            for (column, line) in found {
                if let Some(line) = line {
                    faults.add(*line, column, Reason::Stored { sid: record.sid });
                }
            }
            Ok(())
        })?;
        if found != counted {
            return Err(StoreError::Count { found, counted });
        }
        self.each_credential(&mut |record| {
            let found = [
                (Column::Dev, devs.get(&record.dev)),
                (Column::Esn, esns.get(record.esn)),
                (Column::ApTitle, titles.get(&title_key(record.title))),
            ];
            for (column, line) in found {
                if let Some(line) = line {
                    faults.add(*line, column, Reason::Known { dev: record.dev });
                }
            }
            Ok(())
        })
        .map(drop)
    }

    /// The block of these rows: what it held before, and they.
    fn block_with(&self, rows: &[&Row], profiles: &[ProfileId]) -> Result<Entry, StoreError> {
        let place = rows.first().map_or(Place { partition: 0, block: 0 }, |row| Place::of(row.sid));
        let dek = self.deks.unwrap(place.partition)?;
        let before = self.entries.get(&place.key())?.unwrap_or_default();
        let mut edit = Edit::begin(place, &dek, &before)?;
        for row in rows {
            let profile = profiles.get(usize::from(row.profile));
            let profile = *profile.ok_or(StoreError::Value { name: "profiles" })?;
            edit.set((row.sid, row.dev), |out| record::write_row(out, row, profile));
        }
        Ok((place.key(), edit.finish()?))
    }
}

pub(crate) fn profile_text(octets: Option<Vec<u8>>) -> Result<Vec<u8>, Reason> {
    let octets = octets.ok_or(Reason::ProfileMissing)?;
    let text = octets.len() <= PROFILE_OCTETS_MAX && std::str::from_utf8(&octets).is_ok();
    if text { Ok(octets) } else { Err(Reason::ProfileText) }
}
