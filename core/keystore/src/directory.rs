//! Who is who, without a key: shared by the balancer, the shards and egress.

use std::collections::HashMap;
use std::sync::Arc;

use c1222::ApTitle;
use dashmap::DashMap;
use seal::ids::{Dev, Sid, System};

use crate::block::Place;
use crate::device::{Kind, ProfileId};
use crate::error::StoreError;
use crate::kek::partitions;
use crate::key_store::KeyStore;
use crate::record::Record;
use crate::store::Store;
use crate::table::Table;

/// What is known of one end device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceInfo<'a> {
    /// Its identity.
    pub dev: Dev,
    /// Its association.
    pub sid: Sid,
    /// How it secures what it sends.
    pub kind: Kind,
    /// Whether its key came in a file, for a lab.
    pub test_key: bool,
    /// Its address, in the form provisioned.
    pub title: ApTitle<'a>,
    /// Its device profile.
    pub profile: ProfileId,
}

/// All end devices of an installation. Look-ups by `sid` are two array indices: by partition, then by index.
pub struct Directory {
    system: System,
    partitions: Vec<Partition>,
    devices: u64,
    /// In the order of their ids.
    profiles: Vec<(ProfileId, Arc<str>)>,
    sids: HashMap<Dev, Sid>,
    /// By [`absolute`] title: relays may send either form.
    classic: DashMap<Box<[u8]>, Sid>,
}

/// Titles stand in one buffer a partition: a device would else cost an allocation.
#[derive(Default)]
struct Partition {
    slots: Vec<Option<Slot>>,
    titles: Vec<u8>,
}

#[derive(Clone, Copy)]
struct Slot {
    dev: Dev,
    sid: Sid,
    title_start: u32,
    profile: u32,
    title_len: u8,
    kind: Kind,
    test_key: bool,
}

impl Store {
    /// Reads all devices into memory, and all profiles.
    ///
    /// # Errors
    /// [`StoreError::Block`], [`StoreError::Profile`] where something does not open or is gone;
    /// [`StoreError::Count`] when devices are missing; those of the database.
    pub fn directory(&self) -> Result<Directory, StoreError> {
        let devices = self.devices()?;
        let mut directory = Directory {
            system: self.system(),
            partitions: (0..partitions()).map(|_| Partition::default()).collect(),
            devices,
            profiles: read_profiles(&*self.entries)?,
            sids: HashMap::with_capacity(devices.min(u64::from(Sid::SLOTS)) as usize),
            classic: DashMap::new(),
        };
        let places: HashMap<ProfileId, u32> =
            directory.profiles.iter().zip(0..).map(|((id, _), place)| (*id, place)).collect();
        let found = self.each_record(&|_| true, &mut |place, record| {
            let profile =
                places.get(&record.profile).ok_or(StoreError::Profile { profile: record.profile })?;
            directory.add(place, &record, *profile).ok_or_else(|| place.damaged())
        })?;
        for partition in &mut directory.partitions {
            partition.slots.shrink_to_fit();
            partition.titles.shrink_to_fit();
        }
        if found != directory.devices {
            return Err(StoreError::Count { found, counted: directory.devices });
        }
        Ok(directory)
    }
}

impl Directory {
    /// The identity of the installation.
    #[must_use]
    pub fn system(&self) -> System {
        self.system
    }

    /// How many devices there are.
    #[must_use]
    pub fn devices(&self) -> u64 {
        self.devices
    }

    /// The device of an association. The whole `sid` is compared: that of an earlier generation is nobody's.
    #[must_use]
    pub fn device(&self, sid: Sid) -> Option<DeviceInfo<'_>> {
        let partition = self.partition(sid)?;
        let slot = partition.slot(sid)?;
        let start = slot.title_start as usize;
        let title = partition.titles.get(start..start + usize::from(slot.title_len))?;
        Some(DeviceInfo {
            dev: slot.dev,
            sid: slot.sid,
            kind: slot.kind,
            test_key: slot.test_key,
            title: ApTitle::decode(title).ok()?,
            profile: self.profiles.get(slot.profile as usize)?.0,
        })
    }

    /// The kind of an association's device, at the least cost.
    #[must_use]
    pub fn kind(&self, sid: Sid) -> Option<Kind> {
        self.partition(sid)?.slot(sid).map(|slot| slot.kind)
    }

    /// The identity of an association's device, at the least cost.
    #[must_use]
    pub fn dev(&self, sid: Sid) -> Option<Dev> {
        self.partition(sid)?.slot(sid).map(|slot| slot.dev)
    }

    /// The association of a device.
    #[must_use]
    pub fn sid(&self, dev: Dev) -> Option<Sid> {
        self.sids.get(&dev).copied()
    }

    /// The association of the classic device with this address, in whatever form.
    #[must_use]
    pub fn classic(&self, title: ApTitle<'_>) -> Option<Sid> {
        let mut buffer = [0; ABSOLUTE_OCTETS_MAX];
        self.classic.get(absolute(title, &mut buffer)?).map(|sid| *sid)
    }

    /// The text of a device profile.
    #[must_use]
    pub fn profile(&self, id: ProfileId) -> Option<&Arc<str>> {
        let place = self.profiles.binary_search_by_key(&id, |(other, _)| *other).ok()?;
        self.profiles.get(place).map(|(_, text)| text)
    }

    /// All device profiles.
    pub fn profiles(&self) -> impl Iterator<Item = (ProfileId, &Arc<str>)> {
        self.profiles.iter().map(|(id, text)| (*id, text))
    }

    /// All associations, in the order of partition and index.
    pub fn sids(&self) -> impl Iterator<Item = Sid> {
        self.partitions.iter().flat_map(|partition| &partition.slots).flatten().map(|slot| slot.sid)
    }

    fn partition(&self, sid: Sid) -> Option<&Partition> {
        self.partitions.get(sid.partition() as usize)
    }

    /// Adds a device; `None` when the slot or the identity is taken.
    fn add(&mut self, place: Place, record: &Record<'_>, profile: u32) -> Option<()> {
        let Partition { slots, titles } = self.partitions.get_mut(usize::from(place.partition))?;
        let index = record.sid.index() as usize;
        if slots.len() <= index {
            slots.resize(index + 1, None);
        }
        let free = slots.get_mut(index).filter(|slot| slot.is_none())?;
        *free = Some(Slot {
            dev: record.dev,
            sid: record.sid,
            title_start: u32::try_from(titles.len()).ok()?,
            profile,
            title_len: u8::try_from(record.title_octets.len()).ok()?,
            kind: record.kind,
            test_key: record.test_key,
        });
        titles.extend_from_slice(record.title_octets);
        if record.kind == Kind::Classic {
            let mut buffer = [0; ABSOLUTE_OCTETS_MAX];
            self.classic.insert(absolute(record.title, &mut buffer)?.into(), record.sid);
        }
        self.sids.insert(record.dev, record.sid).is_none().then_some(())
    }
}

impl Partition {
    fn slot(&self, sid: Sid) -> Option<&Slot> {
        self.slots.get(sid.index() as usize)?.as_ref().filter(|slot| slot.sid == sid)
    }
}

fn read_profiles(entries: &dyn KeyStore) -> Result<Vec<(ProfileId, Arc<str>)>, StoreError> {
    let mut profiles = Vec::new();
    entries.read(&[Table::Profile.key(&[])], &mut |key, value| {
        let name = Table::Profile.rest(key).and_then(|rest| rest.try_into().ok()).map(ProfileId);
        let profile = name.ok_or(StoreError::Value { name: "profiles" })?;
        let text = std::str::from_utf8(value).ok().filter(|_| ProfileId::of(value) == profile);
        profiles.push((profile, text.ok_or(StoreError::Profile { profile })?.into()));
        Ok(())
    })?;
    Ok(profiles)
}

/// The root of relative titles and the longest arcs below it.
const ABSOLUTE_OCTETS_MAX: usize = c1222::ap_title::ROOT.len() + ApTitle::LEN_MAX;

/// The arcs of a title's absolute form, written to `buffer`.
fn absolute<'a>(title: ApTitle<'_>, buffer: &'a mut [u8; ABSOLUTE_OCTETS_MAX]) -> Option<&'a [u8]> {
    let root: &[u8] = match title.form() {
        c1222::ap_title::Form::Absolute => &[],
        _ => &c1222::ap_title::ROOT,
    };
    let octets = buffer.get_mut(..root.len() + title.arcs().len())?;
    let (head, tail) = octets.split_at_mut_checked(root.len())?;
    head.copy_from_slice(root);
    tail.copy_from_slice(title.arcs());
    Some(octets)
}
