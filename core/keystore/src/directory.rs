//! Who is who, without a key: shared by the balancer, the shards, the registrar, egress and the API.
//!
//! What was there at the start stands in arrays, two steps from a `sid`; what was registered since stands in a
//! map over them.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use c1222::{ApTitle, ApTitleBuf};
use dashmap::mapref::entry::Entry;
use dashmap::{DashMap, DashSet};
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
    /// The other associations of a device that has several: those of the start, and all made since.
    others: DashMap<Dev, Vec<Sid>>,
    /// Devices that are revoked, and are not accepted again.
    revoked: DashSet<Dev>,
    /// Associations of revoked devices whose keys the store still has.
    unerased: Vec<(Dev, Sid)>,
    /// By [`absolute`] title: relays may send either form. Who is heard no more is known by how it stands.
    classic: DashMap<Box<[u8]>, Sid>,
    /// Associations of profile 1 by title: 40 bits of its hash above the slot, in order.
    titles: Vec<u64>,
    /// The same of those made since the start.
    made_titles: DashMap<Box<[u8]>, Sid>,
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
            others: DashMap::new(),
            revoked: DashSet::new(),
            unerased: Vec::new(),
            classic: DashMap::new(),
            titles: Vec::new(),
            made_titles: DashMap::new(),
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
        directory.titles.sort_unstable();
        directory.titles.shrink_to_fit();
        // A device is revoked as a whole, also where a power cut came between its associations.
        let revoked: Vec<Dev> = directory.revoked.iter().map(|dev| *dev).collect();
        for dev in revoked {
            let open: Vec<Sid> =
                directory.associations(dev).into_iter().filter(|sid| directory.is_live(*sid)).collect();
            directory.revoke(dev);
            directory.unerased.extend(open.into_iter().map(|sid| (dev, sid)));
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

    /// All associations of a device that there are or were since the start, but those whose keys were erased
    /// when their time was over.
    #[must_use]
    pub fn associations(&self, dev: Dev) -> Vec<Sid> {
        let first = self.sids.get(&dev).copied();
        let mut all = self.others.get(&dev).map(|others| others.clone()).unwrap_or_default();
        all.extend(first.filter(|sid| self.standing(*sid) != Some(Standing::Gone)));
        all
    }

    /// Whether nothing of a device is accepted any more, as far as is known here: of one that was revoked before
    /// it had an association the credential says so.
    #[must_use]
    pub fn is_revoked(&self, dev: Dev) -> bool {
        self.revoked.contains(&dev)
    }

    /// Associations of revoked devices whose keys the store had at the start: they are to be erased.
    #[must_use]
    pub fn unerased(&self) -> &[(Dev, Sid)] {
        &self.unerased
    }

    /// The association of the classic device with this address, in whatever form.
    #[must_use]
    pub fn classic(&self, title: ApTitle<'_>) -> Option<Sid> {
        let mut buffer = [0; ABSOLUTE_OCTETS_MAX];
        let sid = self.classic.get(absolute(title, &mut buffer)?).map(|sid| *sid);
        sid.filter(|sid| self.is_heard(*sid))
    }

    /// The association of the classic device with this serial number.
    #[must_use]
    pub fn classic_by_esn(&self, esn: &str) -> Option<Sid> {
        self.serial_numbers.get(esn).map(|sid| *sid).filter(|sid| self.is_heard(*sid))
    }

    /// How the association of the classic device with this address stands: retired when it has registered since.
    #[must_use]
    pub fn classic_standing(&self, title: ApTitle<'_>) -> Option<Standing> {
        let mut buffer = [0; ABSOLUTE_OCTETS_MAX];
        let sid = self.classic.get(absolute(title, &mut buffer)?).map(|sid| *sid);
        sid.and_then(|sid| self.standing(sid))
    }

    /// Whether the device with this address has completed a registration, so that nothing of it is taken but
    /// sealed (security layer §9).
    #[must_use]
    pub fn is_registered(&self, title: ApTitle<'_>) -> bool {
        let mut buffer = [0; ABSOLUTE_OCTETS_MAX];
        let Some(title) = absolute(title, &mut buffer) else { return false };
        // By the association in use: a newer one that is not proven changes nothing.
        let proved = |sid: Sid| {
            let used = self.dev(sid).and_then(|dev| self.sid(dev));
            used.is_some_and(|sid| {
                self.kind(sid) == Some(Kind::Profile1) && self.standing(sid) == Some(Standing::Proved)
            })
        };
        if self.made_titles.get(title).map(|sid| *sid).is_some_and(proved) {
            return true;
        }
        let hash = hash_of(title);
        let from = self.titles.partition_point(|entry| entry >> SLOT_BITS < hash);
        let found = self.titles.iter().skip(from).take_while(|entry| **entry >> SLOT_BITS == hash);
        found.map(|entry| (*entry & SLOT_MASK) as u32).filter_map(|slot| self.in_slot(slot)).any(|sid| {
            let mut buffer = [0; ABSOLUTE_OCTETS_MAX];
            let device = self.device(sid).filter(|_| proved(sid));
            device.is_some_and(|device| absolute(device.title(), &mut buffer) == Some(title))
        })
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
        drop(place.insert(Arc::new(Made {
            dev: new.dev,
            title: new.title.into(),
            esn: new.esn.into(),
            profile: new.profile,
            state: State::new(Kind::Profile1, false, Standing::Fresh),
        })));
        self.others.entry(new.dev).or_default().push(new.sid);
        let mut buffer = [0; ABSOLUTE_OCTETS_MAX];
        if let Some(title) = absolute(new.title, &mut buffer) {
            self.made_titles.insert(title.into(), new.sid);
        }
        if self.sid(new.dev).is_none() {
            self.current.insert(new.dev, new.sid);
            self.devices.fetch_add(1, Ordering::Relaxed);
        }
        // Who revokes says so first and looks for associations then: one of the two sees the other.
        if self.is_revoked(new.dev) {
            self.end(new.sid, Standing::Revoked);
        }
    }

    /// A frame under this association was opened: it is the device's one now.
    pub fn proved(&self, dev: Dev, sid: Sid) {
        if self.dev(sid) != Some(dev) {
            return;
        }
        self.raise(sid, Standing::Proved);
        if self.standing(sid) == Some(Standing::Proved) {
            self.current.insert(dev, sid);
            self.retire_classics(dev);
        }
    }

    /// This association was replaced.
    pub fn retired(&self, sid: Sid) {
        self.end(sid, Standing::Retired);
    }

    /// A device is revoked, with all its associations, also those to come. Answers which there are.
    pub fn revoke(&self, dev: Dev) -> Vec<Sid> {
        self.revoked.insert(dev);
        let all = self.associations(dev);
        all.iter().for_each(|sid| self.end(*sid, Standing::Revoked));
        all
    }

    /// The keys of this association are erased.
    pub fn gone(&self, sid: Sid) {
        self.end(sid, Standing::Gone);
        if self.standing(sid) == Some(Standing::Gone)
            && let Some(dev) = self.dev(sid)
        {
            self.others.entry(dev).or_default().retain(|other| *other != sid);
            self.others.remove_if(&dev, |_, others| others.is_empty());
        }
    }

    fn end(&self, sid: Sid, standing: Standing) {
        let was = self.dev(sid).filter(|dev| self.sid(*dev) == Some(sid));
        self.raise(sid, standing);
        if was.is_some() && !self.is_live(sid) {
            self.devices.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn raise(&self, sid: Sid, standing: Standing) {
        self.state(sid, |state| state.raise(standing));
    }

    /// A device that has registered is not heard as a classic one any more (security layer §9).
    fn retire_classics(&self, dev: Dev) {
        let all = self.associations(dev);
        let registered = |sid: &Sid| {
            self.kind(*sid) == Some(Kind::Profile1) && self.standing(*sid) == Some(Standing::Proved)
        };
        if all.iter().any(registered) {
            let classic = all.iter().filter(|sid| self.kind(**sid) == Some(Kind::Classic));
            classic.for_each(|sid| self.raise(*sid, Standing::Retired));
        }
    }

    /// Whether a classic device is heard.
    fn is_heard(&self, sid: Sid) -> bool {
        matches!(self.standing(sid), Some(Standing::Fresh | Standing::Proved))
    }

    /// The association of the start that stands in this slot.
    fn in_slot(&self, slot: u32) -> Option<Sid> {
        let place = Sid::new(0, slot)?;
        let slot = self.partitions.get(place.partition() as usize)?.slots.get(place.index() as usize)?;
        Some(slot.sid).filter(|sid| sid.is_valid())
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
        let mut buffer = [0; ABSOLUTE_OCTETS_MAX];
        let title = absolute(head.title, &mut buffer)?;
        match (head.kind, head.standing()) {
            // What was erased leaves its names to others.
            (_, Standing::Gone) => {}
            (Kind::Profile1, Standing::Proved | Standing::Fresh) => {
                self.titles.push(hash_of(title) << SLOT_BITS | u64::from(sid.slot()));
            }
            (Kind::Profile1, Standing::Retired | Standing::Revoked) => {}
            (Kind::Classic, Standing::Fresh | Standing::Proved) => {
                self.classic.insert(title.into(), sid);
                self.serial_numbers.insert(head.esn.into(), sid);
            }
            (Kind::Classic, Standing::Retired | Standing::Revoked) => {
                self.classic.entry(title.into()).or_insert(sid);
            }
        }
        if head.revoked {
            self.revoked.insert(record.dev);
        }
        self.add_to_device(record.dev, sid);
        Some(())
    }

    /// Notes whose an association is: the one in use stands first.
    fn add_to_device(&mut self, dev: Dev, sid: Sid) {
        let Some(first) = self.sids.get(&dev).copied() else {
            self.sids.insert(dev, sid);
            return;
        };
        self.others.entry(dev).or_default().push(sid);
        self.retire_classics(dev);
        let mut all = self.others.get(&dev).map(|others| others.clone()).unwrap_or_default();
        all.insert(0, first);
        let rank_of = |sid: Sid| self.standing(sid).map_or(0, rank);
        // Of equals the one that came first.
        let best =
            all.iter().copied().reduce(|best, sid| if rank_of(best) < rank_of(sid) { sid } else { best });
        let best = best.unwrap_or(first);
        all.retain(|sid| *sid != best && self.standing(*sid) != Some(Standing::Gone));
        if all.is_empty() {
            self.others.remove(&dev);
        } else {
            self.others.insert(dev, all);
        }
        self.sids.insert(dev, best);
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

/// Below the hash of a title stands a slot.
const SLOT_BITS: u32 = 24;
const SLOT_MASK: u64 = (1 << SLOT_BITS) - 1;

/// 40 bits over a title.
fn hash_of(title: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(title);
    hasher.finish() >> SLOT_BITS
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
