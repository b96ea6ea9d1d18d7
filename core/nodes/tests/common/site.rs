//! What outlives a head-end's process: key store, files, devices.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use journal::files::{Files, ForgetfulFiles, OsFiles};
use journal::{Durable, Position, Reader};
use keystore::shipment::Shipment;
use keystore::{Directory, Store, Vault};
use metergraph_nodes::record::{REPORT, RESERVATION, Report, Reservation};
use seal::ids::System;
use tempfile::TempDir;

use super::device::{Classic, Device, PROFILE};
use super::gated::{Gate, GatedFiles};

pub const SYSTEM: System = System([0x5a; 8]);

/// One installation.
pub struct Site {
    folder: TempDir,
    pub files: Arc<dyn Files>,
    pub directory: Arc<Directory>,
    /// The store's, while the test holds it open; else a key store's node opens it.
    pub vault: Option<Arc<Vault>>,
    pub devices: Vec<Device>,
    pub classics: Vec<Classic>,
}

/// The text of a shipment file with so many devices of each kind, over several partitions.
fn shipment(devices: u32, classics: u32, profile: &str) -> String {
    let mut text = format!("{}\n", keystore::shipment::HEADER);
    for slot in 0..devices + classics {
        let (dev, title) = (0x0200_004d_4700_0000_u64 + u64::from(slot), slot + 1);
        let row = if slot < devices {
            format!(
                "profile1,{slot:08x},{},{}",
                250 + slot % 20,
                format!("{:02x}", slot % 251 + 1).repeat(32)
            )
        } else {
            format!("classic,{slot:08x},0,2:{}", format!("{:02x}", slot % 251 + 1).repeat(16))
        };
        writeln!(text, "{dev:016x},SN{slot},.75.{title},{profile},{row}").unwrap();
    }
    text
}

impl Site {
    /// With files of the operating system.
    pub fn new(devices: u32, classics: u32) -> Self {
        Self::with(SYSTEM, &shipment(devices, classics, PROFILE), Arc::new(OsFiles))
    }

    /// With files that forget at a cut what was not synced.
    pub fn forgetful(devices: u32, classics: u32) -> (Self, ForgetfulFiles) {
        let files = ForgetfulFiles::default();
        (Self::with(SYSTEM, &shipment(devices, classics, PROFILE), Arc::new(files.clone())), files)
    }

    /// With files in memory behind a gate.
    pub fn gated(devices: u32, classics: u32) -> (Self, ForgetfulFiles, Gate) {
        let (files, gate) = (ForgetfulFiles::default(), Gate::default());
        let gated = GatedFiles { inner: Arc::new(files.clone()), gate: gate.clone() };
        (Self::with(SYSTEM, &shipment(devices, classics, PROFILE), Arc::new(gated)), files, gate)
    }

    /// With devices of classic freshness 0: any IV is taken.
    pub fn without_freshness(classics: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let text = std::fs::read_to_string(PROFILE).unwrap().replace("freshness_s = 900", "freshness_s = 0");
        let profile = folder.path().join("profile.toml");
        std::fs::write(&profile, text).unwrap();
        Self::with(SYSTEM, &shipment(0, classics, profile.to_str().unwrap()), Arc::new(OsFiles))
    }

    pub fn with(system: System, shipment: &str, files: Arc<dyn Files>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(keystore::FOLDER);
        let shipment = Shipment::read(shipment.as_bytes()).unwrap_or_else(|error| panic!("{error}"));
        Store::init(&path, Some(system)).unwrap();
        let mut store = Store::open(&path).unwrap();
        store.import(&shipment, &|path| std::fs::read(path).ok(), true).unwrap();
        let directory = Arc::new(store.directory().unwrap());
        let rows = shipment.rows();
        Self {
            files,
            directory,
            vault: Some(Arc::new(store.into_vault())),
            devices: rows.iter().filter_map(|row| Device::of(system, row)).collect(),
            classics: rows.iter().filter_map(Classic::of).collect(),
            folder,
        }
    }

    /// Lets go of the store: a head-end over this site has a key store of its own that follows the journal,
    /// and takes orders.
    pub fn with_key_store(self) -> Self {
        Self { vault: None, ..self }
    }

    /// The records of the journal: kind and octets.
    pub fn records(&self) -> Vec<(u8, Vec<u8>)> {
        let (mut records, Some(mut reader)) = (Vec::new(), self.log()) else { return Vec::new() };
        while let Some(found) = reader.next().unwrap() {
            records.push((found.kind, found.octets.to_vec()));
        }
        records
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// A reader of the journal of a head-end that has ended.
    fn log(&self) -> Option<Reader> {
        let folder = self.state().join("journal");
        let durable = Durable::of_stopped(&*self.files, &folder).unwrap();
        let mut reader = Reader::new(Arc::clone(&self.files), &folder, &durable, Position::START);
        reader.next().unwrap()?;
        Some(Reader::new(Arc::clone(&self.files), &folder, &durable, Position::START))
    }

    /// All reports in the journal, with their bodies.
    pub fn reports(&self) -> Vec<(Report, Vec<u8>)> {
        let (mut reports, Some(mut reader)) = (Vec::new(), self.log()) else { return Vec::new() };
        while let Some(found) = reader.next().unwrap() {
            if found.kind == REPORT {
                let (report, body) = Report::read(found.octets).unwrap();
                reports.push((report, body.to_vec()));
            }
        }
        reports
    }

    /// All reservations in the journal.
    pub fn reservations(&self) -> Vec<Reservation> {
        let (mut reservations, Some(mut reader)) = (Vec::new(), self.log()) else { return Vec::new() };
        while let Some(found) = reader.next().unwrap() {
            if found.kind == RESERVATION {
                reservations.push(Reservation::read(found.octets).unwrap());
            }
        }
        reservations
    }

    /// The finished exports: name and octets of each file, in order.
    pub fn exports(&self) -> Vec<(String, Vec<u8>)> {
        let folder = self.state().join("mdm");
        let names = match self.files.list(&folder) {
            Ok(names) => names,
            Err(error) if error.is_missing() => return Vec::new(),
            Err(error) => panic!("{error}"),
        };
        let read = |name: String| {
            let octets = self.files.read(&folder.join(&name), 1 << 30).unwrap();
            (name, octets)
        };
        names.into_iter().map(read).collect()
    }

    /// The message id of each row of all readings, in order.
    pub fn exported(&self) -> Vec<String> {
        let readings = self.exports().into_iter().filter(|(name, _)| name.starts_with("readings-"));
        readings
            .flat_map(|(_, octets)| {
                let text = String::from_utf8(octets).unwrap();
                let ids = text.lines().skip(1).map(|line| line.rsplit(',').next().unwrap().to_owned());
                ids.collect::<Vec<_>>()
            })
            .collect()
    }
}
