//! Sequences, the last class 3 of each end device and group, and who is a member by what devices answered.

use std::collections::{HashMap, HashSet, VecDeque};

use seal::command::{Addressee, Class, KeyItem};
use seal::control::Items;
use seal::ids::{Dev, Gid};

use crate::code::SignRefusal;
use crate::group::Membership;

/// Signed JOINs and LEAVEs whose RESULTs are waited for, at most; the oldest goes.
const EXPECTED_MAX: usize = 1 << 20;

/// One end device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Device {
    /// The last counter of its scope.
    pub ctr: u32,
    /// `nbf` of the last class 3 to it alone, or to a group that it has left.
    pub load_nbf: u32,
    /// The command that has not ended, and until when it counts as such.
    pub outstanding: Option<(u32, u64)>,
    /// The groups that it is in.
    pub groups: Vec<Gid>,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub members: HashSet<Dev>,
    pub membership: Membership,
    /// `nbf` of the last class 3 to the group.
    pub load_nbf: u32,
    /// That of the last class 3 to any of its members in another way.
    pub members_nbf: u32,
}

/// What a class-4 command changes when its end device has done it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub gid: Gid,
    pub join: bool,
}

/// A counter, and what was before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reserved {
    pub ctr: u32,
    load_nbf: u32,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Books {
    pub devices: HashMap<Dev, Device>,
    pub groups: HashMap<Gid, Group>,
    /// The last counter of all group scopes.
    pub group_ctr: u32,
    /// No counter is below this: what a copy of a restored state may have used.
    pub base: u32,
    /// By scope's device (none for groups) and counter.
    pub expected: HashMap<(Option<Dev>, u32), Vec<Change>>,
    expected_order: VecDeque<(Option<Dev>, u32)>,
}

fn key(addressee: Addressee, ctr: u32) -> (Option<Dev>, u32) {
    match addressee {
        Addressee::Device(dev) => (Some(dev), ctr),
        Addressee::Group(_) => (None, ctr),
    }
}

impl Books {
    pub fn members(&self, gid: Gid) -> impl Iterator<Item = Dev> + '_ {
        self.groups.get(&gid).into_iter().flat_map(|group| group.members.iter().copied())
    }

    pub fn membership(&self, gid: Gid) -> Membership {
        self.groups.get(&gid).map_or(Membership::EMPTY, |group| group.membership)
    }

    /// `nbf` of the last class 3 that reaches any of the same end devices.
    fn last_load(&self, addressee: Addressee) -> u32 {
        match addressee {
            Addressee::Device(dev) => self.devices.get(&dev).map_or(0, |device| {
                let groups = device.groups.iter().filter_map(|gid| self.groups.get(gid));
                groups.map(|group| group.load_nbf).max().unwrap_or(0).max(device.load_nbf)
            }),
            Addressee::Group(gid) => {
                self.groups.get(&gid).map_or(0, |group| group.load_nbf.max(group.members_nbf))
            }
        }
    }

    /// Reserves the next counter of the scope.
    pub fn reserve(
        &mut self,
        addressee: Addressee,
        class: Class,
        nbf: u32,
        ends_at: u64,
        now: u64,
    ) -> Result<Reserved, SignRefusal> {
        let last = self.last_load(addressee);
        if class == Class::Load && nbf <= last {
            return Err(SignRefusal::Order { nbf, last });
        }
        let exhausted = SignRefusal::Exhausted("the last counter is used");
        let base = self.base;
        let reserved = match addressee {
            Addressee::Device(dev) => {
                let device = self.devices.entry(dev).or_default();
                if device.outstanding.is_some_and(|(_, until)| now <= until) {
                    return Err(SignRefusal::Outstanding(dev));
                }
                device.ctr = device.ctr.max(base).checked_add(1).ok_or(exhausted)?;
                device.outstanding = Some((device.ctr, ends_at));
                Reserved { ctr: device.ctr, load_nbf: device.load_nbf }
            }
            Addressee::Group(gid) => {
                self.group_ctr = self.group_ctr.max(base).checked_add(1).ok_or(exhausted)?;
                let load_nbf = self.groups.get(&gid).map_or(0, |group| group.load_nbf);
                Reserved { ctr: self.group_ctr, load_nbf }
            }
        };
        if class == Class::Load {
            self.raise(addressee, nbf);
        }
        Ok(reserved)
    }

    /// A class 3 is issued: no other that reaches one of its end devices may be as early.
    fn raise(&mut self, addressee: Addressee, nbf: u32) {
        match addressee {
            Addressee::Device(dev) => {
                let device = self.devices.entry(dev).or_default();
                device.load_nbf = device.load_nbf.max(nbf);
                for gid in &device.groups {
                    if let Some(group) = self.groups.get_mut(gid) {
                        group.members_nbf = group.members_nbf.max(nbf);
                    }
                }
            }
            Addressee::Group(gid) => {
                let group = self.groups.entry(gid).or_default();
                group.load_nbf = group.load_nbf.max(nbf);
                let devices = group.members.iter().filter_map(|dev| self.devices.get(dev));
                let others: HashSet<Gid> = devices.flat_map(|device| device.groups.iter().copied()).collect();
                for other in others.into_iter().filter(|other| *other != gid) {
                    if let Some(group) = self.groups.get_mut(&other) {
                        group.members_nbf = group.members_nbf.max(nbf);
                    }
                }
            }
        }
    }

    /// What was reserved is not signed. The counter stays used; what it raised elsewhere stays raised, too.
    pub fn cancel(&mut self, addressee: Addressee, class: Class, nbf: u32, reserved: &Reserved) {
        self.expected.remove(&key(addressee, reserved.ctr));
        let load_nbf = match addressee {
            Addressee::Device(dev) => {
                let Some(device) = self.devices.get_mut(&dev) else { return };
                device.outstanding = device.outstanding.filter(|(ctr, _)| *ctr != reserved.ctr);
                &mut device.load_nbf
            }
            Addressee::Group(gid) => match self.groups.get_mut(&gid) {
                Some(group) => &mut group.load_nbf,
                None => return,
            },
        };
        if class == Class::Load && *load_nbf == nbf {
            *load_nbf = reserved.load_nbf;
        }
    }

    /// The state is that of a backup: no counter goes on where it is, or begins at the beginning.
    pub fn skip(&mut self, by: u32) {
        self.base = self.base.saturating_add(by);
        self.group_ctr = self.group_ctr.saturating_add(by);
        for device in self.devices.values_mut() {
            device.ctr = device.ctr.saturating_add(by);
            // What became of it is not known.
            device.outstanding = None;
        }
    }

    pub fn replay(&mut self, addressee: Addressee, ctr: u32) {
        let last = match addressee {
            Addressee::Device(dev) => &mut self.devices.entry(dev).or_default().ctr,
            Addressee::Group(_) => &mut self.group_ctr,
        };
        *last = ctr.max(*last);
    }

    pub fn replay_signed(&mut self, addressee: Addressee, class: Class, nbf: u32, ends_at: u64, ctr: u32) {
        if let Addressee::Device(dev) = addressee {
            self.devices.entry(dev).or_default().outstanding = Some((ctr, ends_at));
        }
        if class == Class::Load {
            self.raise(addressee, nbf);
        }
    }

    /// A class-4 command was signed: its RESULT says whether what it changes is so.
    pub fn expect(&mut self, addressee: Addressee, ctr: u32, body: &[u8]) {
        let Ok(items) = Items::<KeyItem<'_>>::read(body) else { return };
        let changes = items.filter_map(|item| match item {
            KeyItem::Join { gid, .. } => Some(Change { gid, join: true }),
            KeyItem::Leave { gid } => Some(Change { gid, join: false }),
            _ => None,
        });
        for change in changes {
            self.expect_change(key(addressee, ctr), change);
        }
    }

    pub fn expect_change(&mut self, key: (Option<Dev>, u32), change: Change) {
        let changes = self.expected.entry(key).or_default();
        if changes.is_empty() {
            self.expected_order.push_back(key);
        }
        changes.push(change);
        while self.expected_order.len() > EXPECTED_MAX {
            let oldest = self.expected_order.pop_front();
            oldest.and_then(|oldest| self.expected.remove(&oldest));
        }
    }

    /// An end device answered a command.
    pub fn result(&mut self, dev: Dev, kind: u8, ctr: u32, result: u8) {
        let key = if kind == Addressee::Device(dev).kind() {
            if let Some(device) = self.devices.get_mut(&dev) {
                device.outstanding = device.outstanding.filter(|(outstanding, _)| *outstanding != ctr);
            }
            (Some(dev), ctr)
        } else {
            (None, ctr)
        };
        if result != 0 {
            return;
        }
        // One device answers once: what it says again of an old command changes nothing. Of a group others follow.
        let changes = match key.0 {
            Some(_) => self.expected.remove(&key),
            None => self.expected.get(&key).cloned(),
        };
        for change in changes.unwrap_or_default() {
            if change.join { self.join(dev, change.gid) } else { self.leave(dev, change.gid) }
        }
    }

    pub fn join(&mut self, dev: Dev, gid: Gid) {
        let last = self.last_load(Addressee::Device(dev));
        let device = self.devices.entry(dev).or_default();
        let group = self.groups.entry(gid).or_default();
        if group.members.insert(dev) {
            group.membership.change(dev);
            device.groups.push(gid);
            group.members_nbf = group.members_nbf.max(last);
        }
    }

    fn leave(&mut self, dev: Dev, gid: Gid) {
        let (Some(device), Some(group)) = (self.devices.get_mut(&dev), self.groups.get_mut(&gid)) else {
            return;
        };
        if group.members.remove(&dev) {
            group.membership.change(dev);
            device.groups.retain(|joined| *joined != gid);
            device.load_nbf = device.load_nbf.max(group.load_nbf);
        }
    }

    pub fn revoked(&mut self, dev: Dev) {
        let groups = self.devices.get(&dev).map(|device| device.groups.clone()).unwrap_or_default();
        groups.into_iter().for_each(|gid| self.leave(dev, gid));
    }
}
