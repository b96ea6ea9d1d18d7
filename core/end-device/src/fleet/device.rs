//! The devices of a fleet, by number and by title.

use std::collections::HashMap;

use c1222::{ApTitle, ApTitleBuf};
use seal::ids::{Dev, Epoch, Sid, System};
use seal::schedule::AssociationKeys;
use seal::secret::Key128;

use super::ledger::{Ledger, SavedDevices};
use crate::classic_reporter::{ClassicDevice, ClassicReporter};
use crate::meter::Meter;
use crate::report::ReportLayout;
use crate::reporter::{Association, Reporter, Saved};

/// A device as its shipment file has it.
pub struct Device {
    /// The device.
    pub dev: Dev,
    /// Its association.
    pub sid: Sid,
    /// Its address.
    pub title: ApTitleBuf,
    /// Which of the fleet's layouts its reports have.
    pub layout: usize,
    /// Its keys.
    pub keys: DeviceKeys,
}

/// How a device secures what it sends.
pub enum DeviceKeys {
    /// Profile 1.
    Profile1 {
        /// The epoch of the keys.
        epoch: Epoch,
        /// Traffic keys.
        keys: AssociationKeys,
    },
    /// EAX'.
    Classic {
        /// Which of its keys it uses.
        key_id: u8,
        /// That key.
        key: Key128,
    },
}

/// A device, what it measures and what the fleet knows of it.
pub(super) struct Simulated<R> {
    pub(super) reporter: R,
    pub(super) meter: Meter,
    pub(super) layout: usize,
    /// Its clock has come to its end.
    pub(super) ended: bool,
    /// A reservation is on its way to the disk.
    pub(super) asked: bool,
}

/// A device whose counters are reserved before they are used.
pub(super) trait Reserves {
    /// The floor that should be made durable now.
    fn wanted_floor(&self) -> Option<u32>;
    /// What to keep before counters up to `floor` are used.
    fn reservation(&self, floor: u32) -> Saved;
    /// Counters up to `floor` are durably reserved.
    fn reserved(&mut self, floor: u32);
}

impl Reserves for Reporter {
    fn wanted_floor(&self) -> Option<u32> {
        self.wanted_floor()
    }

    fn reservation(&self, floor: u32) -> Saved {
        self.reservation(floor)
    }

    fn reserved(&mut self, floor: u32) {
        self.reserved(floor);
    }
}

impl Reserves for ClassicReporter {
    fn wanted_floor(&self) -> Option<u32> {
        self.wanted_floor()
    }

    fn reservation(&self, floor: u32) -> Saved {
        self.reservation(floor)
    }

    fn reserved(&mut self, floor: u32) {
        self.reserved(floor);
    }
}

impl<R: Reserves> Simulated<R> {
    fn new(reporter: R, meter: Meter, layout: usize) -> Self {
        Self { reporter, meter, layout, ended: false, asked: false }
    }

    /// Reserves more counters when few are left: at once, or as soon as the ledger has it on disk.
    pub(super) fn reserve(&mut self, number: usize, ledger: Option<&mut Ledger>) {
        let Some(floor) = self.reporter.wanted_floor() else { return };
        match ledger {
            None => self.reporter.reserved(floor),
            Some(_) if self.asked => {}
            Some(ledger) => {
                self.asked = true;
                ledger.ask(number, &self.reporter.reservation(floor));
            }
        }
    }

    /// The ledger has it on disk.
    fn granted(&mut self, floor: u32) {
        self.reporter.reserved(floor);
        self.asked = false;
    }
}

/// All devices. Their numbers go over the profile-1 devices and then over the classic ones.
pub(super) struct Devices {
    pub(super) layouts: Vec<ReportLayout>,
    pub(super) reporters: Vec<Simulated<Reporter>>,
    pub(super) classics: Vec<Simulated<ClassicReporter>>,
    /// The reporter of a title.
    titles: HashMap<Box<[u8]>, usize>,
    /// The title in hand, as the map has it.
    title: Vec<u8>,
}

impl Devices {
    /// Makes them; those in `saved` go on where they were, and are taken out of it.
    pub(super) fn new(
        devices: Vec<Device>,
        layouts: Vec<ReportLayout>,
        saved: &mut SavedDevices,
        seed: u64,
        system: System,
    ) -> Self {
        let mut fleet = Self {
            layouts,
            reporters: Vec::with_capacity(devices.len()),
            classics: Vec::new(),
            titles: HashMap::with_capacity(devices.len()),
            title: Vec::new(),
        };
        for Device { dev, sid, title, layout, keys } in devices {
            let (meter, saved) = (Meter::new(seed, dev), saved.remove(&dev));
            match keys {
                DeviceKeys::Profile1 { epoch, keys } => {
                    let key = fleet.key(title.as_title()).into();
                    fleet.titles.insert(key, fleet.reporters.len());
                    let association = Association { dev, sid, epoch, keys, title };
                    let reporter = match saved {
                        Some(saved) => Reporter::resume(association, saved, system),
                        None => Reporter::new(association),
                    };
                    fleet.reporters.push(Simulated::new(reporter, meter, layout));
                }
                DeviceKeys::Classic { key_id, key } => {
                    let device = ClassicDevice { dev, sid, title, key_id, key };
                    let reporter = ClassicReporter::new(device, saved.as_ref());
                    fleet.classics.push(Simulated::new(reporter, meter, layout));
                }
            }
        }
        fleet
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.reporters.len() + self.classics.len()
    }

    /// The ledger has a device's reservation on disk.
    pub(super) fn granted(&mut self, number: usize, floor: u32) {
        match number.checked_sub(self.reporters.len()) {
            None => self.reporters.get_mut(number).map(|device| device.granted(floor)),
            Some(place) => self.classics.get_mut(place).map(|device| device.granted(floor)),
        };
    }

    /// What all of them keep at the end.
    pub(super) fn saved(&self) -> impl Iterator<Item = Saved> {
        let reporters = self.reporters.iter().map(|device| device.reporter.saved());
        reporters.chain(self.classics.iter().map(|device| device.reporter.saved()))
    }

    /// The number of the profile-1 device with this title.
    pub(super) fn find(&mut self, title: ApTitle<'_>) -> Option<usize> {
        self.key(title);
        self.titles.get(self.title.as_slice()).copied()
    }

    /// The same for titles that mean the same node.
    fn key(&mut self, title: ApTitle<'_>) -> &[u8] {
        let title = title.canonical();
        self.title.clear();
        self.title.push(title.form().tag());
        self.title.extend_from_slice(title.arcs());
        &self.title
    }
}
