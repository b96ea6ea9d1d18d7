//! Who is who to the desk, and how each device is told what it is to do.

use std::collections::HashMap;
use std::sync::Arc;

use commands::body::{Body, Maker, Recipes, universal};
use commands::class::ProfileClassifier;
use commands::desk::{Fleet, Unreadable};
use commands::front::{OrderKind, Refusal};
use keystore::{Credentials, Directory, Kind, ProfileId};
use seal::command::Addressee;
use seal::ids::{Dev, Gid, Sid, System};
use seal::signature::VerifyingKey;

/// A device profile, read.
#[derive(Debug)]
struct Profile {
    classifier: ProfileClassifier,
    recipes: Recipes,
}

/// The end devices of the key store.
pub(super) struct Known {
    pub(super) directory: Arc<Directory>,
    pub(super) credentials: Arc<Credentials>,
    profiles: HashMap<ProfileId, Option<Profile>>,
}

impl Fleet for Known {
    fn system(&self) -> System {
        self.directory.system()
    }

    fn signing_key(&self, dev: Dev) -> Result<Option<VerifyingKey>, Unreadable> {
        let found = self.credentials.find(dev).map_err(|_| Unreadable)?;
        Ok(found.map(|credential| credential.verifying))
    }

    fn count(&self) -> u64 {
        let mut count = 0;
        self.each(&mut |_| count += 1);
        count
    }

    fn each(&self, sink: &mut dyn FnMut(Dev)) {
        for sid in self.directory.sids() {
            let Some(device) = self.directory.device(sid) else { continue };
            if device.kind == Kind::Profile1 && self.directory.sid(device.dev) == Some(sid) {
                sink(device.dev);
            }
        }
    }
}

impl Known {
    pub(super) fn new(directory: Arc<Directory>, credentials: Arc<Credentials>) -> Self {
        Self { directory, credentials, profiles: HashMap::new() }
    }

    /// The association of a device that takes signed commands, and its profile.
    pub(super) fn device(&self, dev: Dev) -> Result<(Sid, ProfileId), Refusal> {
        let Some(sid) = self.directory.sid(dev) else {
            let known = self.credentials.find(dev).ok().flatten();
            return Err(known.map_or(Refusal::NoDevice(dev), |_| Refusal::NotRegistered(dev)));
        };
        let device = self.directory.device(sid).ok_or(Refusal::NoDevice(dev))?;
        match device.kind {
            Kind::Profile1 => Ok((sid, device.profile)),
            Kind::Classic => Err(Refusal::Classic(dev)),
        }
    }

    /// The body of an order to a device, or to members who all have one profile.
    pub(super) fn body(
        &mut self,
        order: &OrderKind,
        addressee: Addressee,
        members: &mut dyn Iterator<Item = Dev>,
        sequence: u8,
        now_ms: u64,
    ) -> Result<Body, Refusal> {
        if let Addressee::Device(dev) = addressee {
            self.device(dev)?;
        }
        if let Some(body) = universal(order, now_ms) {
            return Ok(body?);
        }
        let profile = match addressee {
            Addressee::Device(dev) => self.device(dev)?.1,
            Addressee::Group(gid) => self.profile_of_all(gid, members)?,
        };
        let read = self.profiles.entry(profile).or_insert_with(|| read(&self.directory, profile));
        let Profile { classifier, recipes } =
            read.as_ref().ok_or(Refusal::Invalid("the device profile cannot be read"))?;
        let maker = Maker { profile: &classifier.0, recipes, procedure_class: classifier };
        Ok(maker.body(order, sequence, now_ms)?)
    }

    fn profile_of_all(&self, gid: Gid, members: &mut dyn Iterator<Item = Dev>) -> Result<ProfileId, Refusal> {
        let mut profiles = members.filter_map(|dev| self.device(dev).ok()).map(|(_, profile)| profile);
        let first = profiles.next().ok_or(Refusal::EmptyGroup(gid))?;
        if profiles.all(|profile| profile == first) { Ok(first) } else { Err(Refusal::MixedGroup(gid)) }
    }
}

fn read(directory: &Directory, profile: ProfileId) -> Option<Profile> {
    let text = directory.profile(profile)?;
    let classifier = ProfileClassifier(graph::device_profile::parse(text).0?);
    Some(Profile { classifier, recipes: text.parse().ok()? })
}
