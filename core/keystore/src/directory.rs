//! Who is who, without a key: shared by the balancer, the shards, the registrar, egress and the API.
//!
//! What was there at the start stands in arrays, two steps from a `sid`; what was registered since stands in a
//! map over them.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use c1222::{ApTitle, ApTitleBuf};
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use seal::ids::{Dev, Sid, System};

use crate::block::Place;
use crate::device::{Kind, ProfileId, Standing};
use crate::error::StoreError;
use crate::kek::partitions;
use crate::key_store::KeyStore;
use crate::record::Record;
use crate::slots::Slots;
use crate::store::Store;
use crate::table::Table;

/// What is known of one association and its end device.
#[derive(Clone, Debug)]
pub struct DeviceInfo<'a> {
    /// The device's identity.
    pub dev: Dev,
    /// The association.
    pub sid: Sid,
    /// How it secures what it sends.
    pub kind: Kind,
    /// Whether its key came in a file, for a lab.
    pub test_key: bool,
    /// How the association stands.
    pub standing: Standing,
    /// Its device profile.
    pub profile: ProfileId,
    text: Text<'a>,
}

#[derive(Clone, Debug)]
enum Text<'a> {
    Base { title: ApTitle<'a>, esn: &'a str },
    Made(Arc<Made>),
}

impl DeviceInfo<'_> {
    /// Its address, in the form provisioned.
    #[must_use]
    pub fn title(&self) -> ApTitle<'_> {
        match &self.text {
            Text::Base { title, .. } => *title,
            Text::Made(made) => made.title.as_title(),
        }
    }

    /// Its serial number.
    #[must_use]
    pub fn esn(&self) -> &str {
        match &self.text {
            Text::Base { esn, .. } => esn,
            Text::Made(made) => &made.esn,
        }
    }
}

/// An association that was made since the start: a registered one of profile 1.
#[derive(Clone, Copy, Debug)]
pub struct NewDevice<'a> {
    /// The association.
    pub sid: Sid,
    /// The device's identity.
    pub dev: Dev,
    /// Its address.
    pub title: ApTitle<'a>,
    /// Its serial number.
    pub esn: &'a str,
    /// Its device profile.
    pub profile: ProfileId,
}

/// All associations of an installation. Look-ups by `sid` are two array indices: by partition, then by index.
pub struct Directory {
    system: System,
    partitions: Vec<Partition>,
    /// Devices that have an association.
    devices: AtomicU64,
    /// In the order of their ids.
    profiles: Vec<(ProfileId, Arc<str>)>,
    sids: HashMap<Dev, Sid>,
    /// By [`absolute`] title: relays may send either form.
    classic: DashMap<Box<[u8]>, Sid>,
    /// Serial numbers of classic devices.
    serial_numbers: DashMap<Box<str>, Sid>,
    /// Made since the start.
    made: DashMap<Sid, Arc<Made>>,
    /// Where another than in `sids` is the one in use.
    current: DashMap<Dev, Sid>,
}

/// Titles and serial numbers stand in one buffer a partition: a device would else cost an allocation.
#[derive(Default)]
struct Partition {
    slots: Vec<Slot>,
    text: Vec<u8>,
}

struct Slot {
    dev: Dev,
    /// Its top bit is set where there is none.
    sid: Sid,
    text_start: u32,
    profile: u32,
    title_len: u8,
    esn_len: u8,
    state: State,
}

const _: () = assert!(size_of::<Slot>() == 24);

#[derive(Debug)]
struct Made {
    dev: Dev,
    title: ApTitleBuf,
    esn: Box<str>,
    profile: ProfileId,
    state: State,
}

/// Kind, origin of the key and standing in one octet.
#[derive(Debug)]
struct State(AtomicU8);

const CLASSIC: u8 = 1;
const LAB: u8 = 2;

impl State {
    fn new(kind: Kind, lab: bool, standing: Standing) -> Self {
        let kind = if kind == Kind::Classic { CLASSIC } else { 0 };
        Self(AtomicU8::new(kind | if lab { LAB } else { 0 } | (standing as u8) << 2))
    }

    fn kind(&self) -> Kind {
        if self.0.load(Ordering::Relaxed) & CLASSIC == 0 { Kind::Profile1 } else { Kind::Classic }
    }

    fn lab(&self) -> bool {
        self.0.load(Ordering::Relaxed) & LAB != 0
    }

    fn standing(&self) -> Standing {
        match self.0.load(Ordering::Acquire) >> 2 {
            0 => Standing::Fresh,
            1 => Standing::Proved,
            2 => Standing::Retired,
            3 => Standing::Revoked,
            _ => Standing::Gone,
        }
    }

    /// An association only goes on; one that was revoked stays so.
    fn raise(&self, standing: Standing) {
        let _ = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| {
            let raised = (standing as u8) > (state >> 2) && (state >> 2) != Standing::Revoked as u8;
            raised.then_some(state & 3 | (standing as u8) << 2)
        });
    }
}

/// Which of two associations of one device is the one in use.
fn rank(standing: Standing) -> u8 {
    match standing {
        Standing::Proved => 4,
        Standing::Fresh => 3,
        Standing::Retired => 2,
        Standing::Revoked => 1,
        Standing::Gone => 0,
    }
}

impl Store {
    /// Reads all associations into memory, and all profiles.
    ///
    /// # Errors
    /// [`StoreError::Block`], [`StoreError::Profile`] where something does not open or is gone;
    /// [`StoreError::Count`] when records are missing; those of the database.
    pub fn directory(&self) -> Result<Directory, StoreError> {
        let records = self.records()?;
        let mut directory = Directory {
            system: self.system(),
            partitions: (0..partitions()).map(|_| Partition::default()).collect(),
            devices: AtomicU64::new(0),
            profiles: read_profiles(&*self.entries)?,
            sids: HashMap::with_capacity(records.min(u64::from(Sid::SLOTS)) as usize),
            classic: DashMap::new(),
            serial_numbers: DashMap::new(),
            made: DashMap::new(),
            current: DashMap::new(),
        };
        let places: HashMap<ProfileId, u32> =
            directory.profiles.iter().zip(0..).map(|((id, _), place)| (*id, place)).collect();
        let found = self.each_record(&|_| true, &mut |place, record| {
            let profile = record.head.profile;
            let profile = places.get(&profile).ok_or(StoreError::Profile { profile })?;
            directory.add(place, &record, *profile).ok_or_else(|| place.damaged())
        })?;
        for partition in &mut directory.partitions {
            partition.slots.shrink_to_fit();
            partition.text.shrink_to_fit();
        }
        if found != records {
            return Err(StoreError::Count { found, counted: records });
        }
        let live = directory.sids.values().filter(|sid| directory.is_live(**sid)).count();
        directory.devices = AtomicU64::new(live as u64);
        Ok(directory)
    }
}

impl Directory {
    /// The identity of the installation.
    #[must_use]
    pub fn system(&self) -> System {
        self.system
    }

    /// How many devices have an association.
    #[must_use]
    pub fn devices(&self) -> u64 {
        self.devices.load(Ordering::Relaxed)
    }

    /// An association and its device, also when it is replaced, revoked or gone. The whole `sid` is compared.
    #[must_use]
    pub fn device(&self, sid: Sid) -> Option<DeviceInfo<'_>> {
        let Some((partition, slot)) = self.slot(sid) else {
            let made = Arc::clone(&*self.made.get(&sid)?);
            let (dev, profile) = (made.dev, made.profile);
            let (kind, test_key, standing) = (made.state.kind(), made.state.lab(), made.state.standing());
            return Some(DeviceInfo { dev, sid, kind, test_key, standing, profile, text: Text::Made(made) });
        };
        let start = slot.text_start as usize;
        let (title, rest) = partition.text.get(start..)?.split_at_checked(usize::from(slot.title_len))?;
        let esn = rest.get(..usize::from(slot.esn_len))?;
        Some(DeviceInfo {
            dev: slot.dev,
            sid: slot.sid,
            kind: slot.state.kind(),
            test_key: slot.state.lab(),
            standing: slot.state.standing(),
            profile: self.profiles.get(slot.profile as usize)?.0,
            text: Text::Base { title: ApTitle::decode(title).ok()?, esn: std::str::from_utf8(esn).ok()? },
        })
    }

    /// The kind of an association's device, at the least cost.
    #[must_use]
    pub fn kind(&self, sid: Sid) -> Option<Kind> {
        self.state(sid, State::kind)
    }

    /// How an association stands, at the least cost.
    #[must_use]
    pub fn standing(&self, sid: Sid) -> Option<Standing> {
        self.state(sid, State::standing)
    }

    /// The identity of an association's device, at the least cost.
    #[must_use]
    pub fn dev(&self, sid: Sid) -> Option<Dev> {
        match self.slot(sid) {
            Some((_, slot)) => Some(slot.dev),
            None => self.made.get(&sid).map(|made| made.dev),
        }
    }

    /// The association of a device that is in use: the proven one, where there are two.
    #[must_use]
    pub fn sid(&self, dev: Dev) -> Option<Sid> {
        let sid = match self.current.get(&dev) {
            Some(sid) => *sid,
            None => *self.sids.get(&dev)?,
        };
        self.is_live(sid).then_some(sid)
    }

    /// The association of the classic device with this address, in whatever form.
    #[must_use]
    pub fn classic(&self, title: ApTitle<'_>) -> Option<Sid> {
        let mut buffer = [0; ABSOLUTE_OCTETS_MAX];
        self.classic.get(absolute(title, &mut buffer)?).map(|sid| *sid)
    }

    /// The association of the classic device with this serial number.
    #[must_use]
    pub fn classic_by_esn(&self, esn: &str) -> Option<Sid> {
        self.serial_numbers.get(esn).map(|sid| *sid)
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

    /// All associations that are not gone or revoked: first those of the start, in the order of partition and
    /// index, then those made since.
    pub fn sids(&self) -> impl Iterator<Item = Sid> {
        self.known().filter(|sid| self.is_live(*sid))
    }

    /// All associations that there are or were.
    pub fn known(&self) -> impl Iterator<Item = Sid> {
        let slots = self.partitions.iter().flat_map(|partition| &partition.slots).map(|slot| slot.sid);
        slots.filter(|sid| sid.is_valid()).chain(self.made.iter().map(|made| *made.key()))
    }

    /// The numbers that new associations may get beside these.
    #[must_use]
    pub fn slots(&self) -> Slots {
        Slots::new(self.known().map(|sid| (sid, !self.is_live(sid))))
    }

    /// Adds an association that was made since the start; one that is known stays as it is.
    pub fn insert(&self, new: &NewDevice<'_>) {
        if self.slot(new.sid).is_some() {
            return;
        }
        let Entry::Vacant(place) = self.made.entry(new.sid) else { return };
        place.insert(Arc::new(Made {
            dev: new.dev,
            title: new.title.into(),
            esn: new.esn.into(),
            profile: new.profile,
            state: State::new(Kind::Profile1, false, Standing::Fresh),
        }));
        if self.sid(new.dev).is_none() {
            self.current.insert(new.dev, new.sid);
            self.devices.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A frame under this association was opened: it is the device's one now.
    pub fn proved(&self, dev: Dev, sid: Sid) {
        if self.dev(sid) != Some(dev) {
            return;
        }
        self.raise(sid, Standing::Proved);
        if self.standing(sid) == Some(Standing::Proved) {
            let before = self.sid(dev);
            self.current.insert(dev, sid);
            // A device that has registered is not heard as a classic one any more.
            if let Some(before) = before.filter(|before| *before != sid) {
                self.forget_classic(before);
            }
        }
    }

    /// This association was replaced.
    pub fn retired(&self, sid: Sid) {
        self.end(sid, Standing::Retired);
    }

    /// The device of this association is revoked.
    pub fn revoked(&self, sid: Sid) {
        self.end(sid, Standing::Revoked);
    }

    /// The keys of this association are erased.
    pub fn gone(&self, sid: Sid) {
        self.end(sid, Standing::Gone);
    }

    fn end(&self, sid: Sid, standing: Standing) {
        let was = self.dev(sid).filter(|dev| self.sid(*dev) == Some(sid));
        self.raise(sid, standing);
        self.forget_classic(sid);
        if was.is_some() && !self.is_live(sid) {
            self.devices.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn raise(&self, sid: Sid, standing: Standing) {
        self.state(sid, |state| state.raise(standing));
    }

    fn forget_classic(&self, sid: Sid) {
        let Some(device) = self.device(sid).filter(|device| device.kind == Kind::Classic) else { return };
        let mut buffer = [0; ABSOLUTE_OCTETS_MAX];
        if let Some(title) = absolute(device.title(), &mut buffer) {
            self.classic.remove_if(title, |_, other| *other == sid);
        }
        self.serial_numbers.remove_if(device.esn(), |_, other| *other == sid);
    }

    fn is_live(&self, sid: Sid) -> bool {
        let standing = self.standing(sid);
        standing.is_some_and(|standing| !matches!(standing, Standing::Revoked | Standing::Gone))
    }

    fn state<T>(&self, sid: Sid, read: impl FnOnce(&State) -> T) -> Option<T> {
        match self.slot(sid) {
            Some((_, slot)) => Some(read(&slot.state)),
            None => self.made.get(&sid).map(|made| read(&made.state)),
        }
    }

    fn slot(&self, sid: Sid) -> Option<(&Partition, &Slot)> {
        let partition = self.partitions.get(sid.partition() as usize)?;
        let slot = partition.slots.get(sid.index() as usize).filter(|slot| slot.sid == sid)?;
        sid.is_valid().then_some((partition, slot))
    }

    /// Adds an association; `None` when the slot is taken.
    fn add(&mut self, place: Place, record: &Record<'_>, profile: u32) -> Option<()> {
        let Partition { slots, text } = self.partitions.get_mut(usize::from(place.partition))?;
        let (index, head, sid) = (record.sid.index() as usize, &record.head, record.sid);
        while slots.len() <= index {
            slots.push(Slot::nobody());
        }
        let free = slots.get_mut(index).filter(|slot| !slot.sid.is_valid())?;
        let text_start = u32::try_from(text.len()).ok()?;
        head.title.write(text);
        let title_len = u8::try_from(text.len() - text_start as usize).ok()?;
        text.extend_from_slice(head.esn.as_bytes());
        *free = Slot {
            dev: record.dev,
            sid,
            text_start,
            profile,
            title_len,
            esn_len: u8::try_from(head.esn.len()).ok()?,
            state: State::new(head.kind, head.lab, head.standing()),
        };
        let live = matches!(head.standing(), Standing::Fresh | Standing::Proved);
        if head.kind == Kind::Classic && live {
            let mut buffer = [0; ABSOLUTE_OCTETS_MAX];
            self.classic.insert(absolute(head.title, &mut buffer)?.into(), sid);
            self.serial_numbers.insert(head.esn.into(), sid);
        }
        let before = self.sids.get(&record.dev).and_then(|sid| self.standing(*sid)).map(rank);
        if before.is_none_or(|before| before < rank(head.standing())) {
            self.sids.insert(record.dev, sid);
        }
        Some(())
    }
}

impl Slot {
    fn nobody() -> Self {
        Self {
            dev: Dev([0; 8]),
            sid: Sid(u32::MAX),
            text_start: 0,
            profile: 0,
            title_len: 0,
            esn_len: 0,
            state: State::new(Kind::Profile1, false, Standing::Gone),
        }
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
