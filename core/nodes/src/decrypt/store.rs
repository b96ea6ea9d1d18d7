//! What a shard takes over from the key store: associations and the keys of groups.

use c1222::ApTitleBuf;
use keystore::{Directory, Keys, NewDevice, ProfileId, Standing, StoreError, StoredAssociation, Vault};
use seal::association::Association;
use seal::ids::{Dev, Epoch, Gid, Sid};
use seal::secret::Key128;

use super::associations::{Associations, Cold};
use super::lives::Lives;
use super::rebuild::Rebuilding;

/// A profile-1 association as the key store holds it, ready to join a shard's.
pub(crate) struct Stored {
    association: Association,
    cold: Cold,
    standing: Standing,
    /// Of a retired one.
    until: u64,
    /// Of a restored state.
    gated: bool,
    /// The newest epoch that was issued.
    issued: Epoch,
    /// When epochs before the active one are erased.
    retiring: Vec<u64>,
    title: ApTitleBuf,
    esn: Box<str>,
    profile: ProfileId,
}

impl Stored {
    /// `None` for a classic device.
    fn of(stored: StoredAssociation<'_>) -> Option<Self> {
        let StoredAssociation { sid, dev, epoch, title, esn, profile, standing, until, gated, keys } = stored;
        let Keys::Profile1 { prk, keys, issued, campaign, retiring } = keys else { return None };
        let mut association = Association::new(sid, dev, epoch, keys);
        let mut ends = Vec::with_capacity(retiring.len());
        // By reference: what is moved out of a list is not wiped there.
        for old in &retiring {
            let up = Key128::from_octets(*old.up.expose());
            association.add_retiring(old.epoch, up, old.common_iv, old.until);
            ends.push(old.until);
        }
        let (title, esn) = (ApTitleBuf::from(title), esn.into());
        let cold = Cold::new(prk, campaign);
        Some(Self { association, cold, standing, until, gated, issued, retiring: ends, title, esn, profile })
    }

    /// It becomes one of the shard's. Nobody stands in its place then: no key is left where it was.
    pub(super) fn join(&mut self, associations: &mut Associations, lives: &mut Lives, replaces: Option<Sid>) {
        let &mut Self { standing, until, gated, issued, .. } = self;
        let association = std::mem::replace(&mut self.association, Association::nobody());
        let cold = std::mem::replace(&mut self.cold, Cold::nobody());
        let sid = association.sid();
        associations.add(association, cold, standing != Standing::Fresh);
        let Some(place) = associations.find(sid) else { return };
        associations.issue(place, issued);
        if let Some(entry) = associations.get_mut(place) {
            entry.gated = gated;
        }
        self.retiring.drain(..).for_each(|until| lives.due_at(place, until));
        match standing {
            Standing::Fresh => lives.born(sid, replaces),
            Standing::Retired => lives.retire(associations, place, until),
            Standing::Proved | Standing::Revoked | Standing::Gone => {}
        }
    }

    /// Tells the directory of it.
    pub(super) fn announce(&self, directory: &Directory) {
        directory.insert(&NewDevice {
            sid: self.association.sid(),
            dev: self.association.dev(),
            title: self.title.as_title(),
            esn: &self.esn,
            profile: self.profile,
        });
    }
}

/// Opens an association that a registration made.
pub(super) fn open(vault: &Vault, sid: Sid, dev: Dev, sealed: &[u8]) -> Option<Stored> {
    vault.open_association(sid, dev, sealed, Stored::of).ok()?
}

/// Whether nothing of a device is accepted any more. The directory knows who was revoked since the start or had
/// an association then, the store of the others (security layer §8).
pub(super) fn is_revoked(vault: &Vault, directory: &Directory, dev: Dev) -> Result<bool, StoreError> {
    if directory.is_revoked(dev) {
        return Ok(true);
    }
    let revoked = vault.is_revoked(dev)?;
    if revoked {
        directory.revoke(dev);
    }
    Ok(revoked)
}

/// Opens a group's key, as orders and records carry it.
pub(super) fn open_group_key(vault: &Vault, gid: Gid, epoch: Epoch, sealed: &[u8]) -> Option<Key128> {
    vault.open_group_key(gid, epoch, sealed).ok()
}

impl Rebuilding<'_> {
    /// Reads the key store: all that is of this shard's partitions.
    pub(super) fn read_store(&mut self, wanted: &dyn Fn(u16) -> bool) -> Result<(), StoreError> {
        let Self { associations, classics, groups, lives, vault, directory, .. } = self;
        vault.load(wanted, &mut |stored| {
            let standing = directory.standing(stored.sid);
            if standing == Some(Standing::Revoked) {
                return;
            }
            if let Keys::Classic(keys) = stored.keys {
                // One that has registered since is not heard as a classic one (security layer §9).
                if standing != Some(Standing::Retired) {
                    classics.add(stored.sid, stored.dev, stored.title, stored.profile, keys);
                }
            } else if let Some(mut stored) = Stored::of(stored) {
                stored.join(associations, lives, None);
            }
        })?;
        vault.load_groups(wanted, &mut |key| {
            groups.learn(key.gid, key.epoch, key.activate_at, &key.gms);
        })?;
        Ok(())
    }
}
