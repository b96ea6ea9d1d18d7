//! What becomes of associations by and by: those that are not proven yet, those that retire, epochs that do.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use seal::association::RETIRING_S;
use seal::ids::Sid;

use super::associations::{Associations, Place};

/// The lives of one shard's associations.
#[derive(Default)]
pub(super) struct Lives {
    /// Registered, and no frame under it opened yet: with the association that it replaces.
    unproven: HashMap<Sid, Option<Sid>>,
    /// Replaced: until when they are opened.
    retired: HashMap<Sid, u64>,
    /// When something is to be erased at a place.
    due: BinaryHeap<Reverse<(u64, Place)>>,
}

impl Lives {
    /// An association was registered.
    pub(super) fn born(&mut self, sid: Sid, replaces: Option<Sid>) {
        self.unproven.insert(sid, replaces);
    }

    /// Which association a new one replaces.
    pub(super) fn replaces(&self, sid: Sid) -> Option<Sid> {
        self.unproven.get(&sid).copied().flatten()
    }

    /// A frame under it opened.
    pub(super) fn proven(&mut self, sid: Sid) {
        self.unproven.remove(&sid);
    }

    /// An epoch of the association at this place retires from `now` on.
    pub(super) fn epoch_retires(&mut self, place: Place, now: u64) {
        self.due_at(place, now.saturating_add(RETIRING_S));
    }

    /// Something of the association at this place is to be erased then.
    pub(super) fn due_at(&mut self, place: Place, until: u64) {
        self.due.push(Reverse((until, place)));
    }

    /// Until when a retired association is opened.
    pub(super) fn retired_until(&self, sid: Sid) -> Option<u64> {
        self.retired.get(&sid).copied()
    }

    /// An association was replaced.
    pub(super) fn retire(&mut self, associations: &mut Associations, place: Place, until: u64) {
        let Some(entry) = associations.get_mut(place) else { return };
        // A revoked one is over, and known as such.
        if entry.association.is_revoked() {
            return;
        }
        entry.retired = true;
        let sid = entry.association.sid();
        self.unproven.remove(&sid);
        self.retired.insert(sid, until);
        self.due_at(place, until);
    }

    /// An association is refused from now on.
    pub(super) fn revoke(&mut self, associations: &mut Associations, place: Place) {
        if let Some(entry) = associations.get(place) {
            let sid = entry.association.sid();
            self.unproven.remove(&sid);
            self.retired.remove(&sid);
        }
        associations.erase(place, true);
    }

    /// Erases what has retired long enough.
    pub(super) fn expire(&mut self, associations: &mut Associations, now: u64) {
        while let Some(Reverse((until, place))) = self.due.peek().copied()
            && until <= now
        {
            self.due.pop();
            let Some(entry) = associations.get_mut(place) else { continue };
            entry.association.expire(now);
            let sid = entry.association.sid();
            if self.retired.get(&sid).is_some_and(|until| *until <= now) {
                self.retired.remove(&sid);
                associations.erase(place, false);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::associations::Cold;
    use super::*;
    use seal::association::Association;
    use seal::ids::{Dev, Epoch};
    use seal::schedule;
    use seal::secret::Prk;

    const SID: Sid = Sid(7);

    fn associations() -> (Associations, Place) {
        let mut associations = Associations::new(0, 1);
        let prk = Prk::from_octets([7; 32]);
        let keys = schedule::derive(&prk, SID);
        associations.add(Association::new(SID, Dev([1; 8]), Epoch(3), keys), Cold::new(prk, 0), true);
        let place = associations.find(SID).unwrap();
        (associations, place)
    }

    #[test]
    fn an_epoch_and_an_association_go_when_their_time_has_come() {
        let (mut associations, place) = associations();
        let mut lives = Lives::default();
        associations.issue(place, Epoch(4));
        assert!(associations.get_mut(place).unwrap().association.promoted(Epoch(4), 100));
        associations.promoted(place, Epoch(3));
        lives.epoch_retires(place, 100);
        lives.expire(&mut associations, 100 + RETIRING_S - 1);
        assert!(associations.get(place).unwrap().association.holds(Epoch(3)));
        lives.expire(&mut associations, 100 + RETIRING_S);
        assert!(!associations.get(place).unwrap().association.holds(Epoch(3)));
        lives.retire(&mut associations, place, 1_000_000);
        lives.expire(&mut associations, 999_999);
        assert_eq!(associations.find(SID), Some(place));
        lives.expire(&mut associations, 1_000_000);
        assert_eq!((associations.find(SID), lives.retired_until(SID)), (None, None));
        assert!(associations.has_room(SID, false));
    }

    #[test]
    fn a_revoked_one_is_still_known() {
        let (mut associations, place) = associations();
        let mut lives = Lives::default();
        lives.retire(&mut associations, place, 5);
        lives.revoke(&mut associations, place);
        lives.expire(&mut associations, 10);
        assert!(associations.get(place).unwrap().association.is_revoked());
        assert_eq!(associations.find(SID), Some(place));
        assert!(!associations.has_room(SID, false), "a number is given once");
        assert!(associations.has_room(Sid::new(1, SID.slot()).unwrap(), false));
    }
}
