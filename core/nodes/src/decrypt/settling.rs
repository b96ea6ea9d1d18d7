//! What a shard does when the journal has settled a record.

use keystore::Standing;
use node::{Context, NodeError};
use seal::secret::scrubbed;

use super::orders::Newborn;
use super::{Sent, Shard};
use crate::clock::unix_s;
use crate::in_flight::Settled;

impl Shard {
    /// Hears from the journal what became of earlier batches.
    pub(super) fn settle(&mut self, context: &mut Context, records: usize) -> Result<(), NodeError> {
        let edge =
            context.outputs.get(records).and_then(|output| output.edges.first()).map(std::sync::Arc::clone);
        let Some(edge) = edge else { return Ok(()) };
        let mut in_flight = std::mem::take(&mut self.in_flight);
        let known = in_flight.settle(&edge, |sent, outcome| self.settled(context, sent, outcome));
        self.in_flight = in_flight;
        if known { Ok(()) } else { Err(NodeError::Rebuild("the journal was started anew".into())) }
    }

    /// Takes in what became of one record.
    pub(super) fn settled(&mut self, context: &mut Context, sent: Sent, outcome: Settled) {
        let committed = outcome == Settled::Committed;
        match sent {
            Sent::Report { place, epoch, seq } => {
                let Some(entry) = self.associations.get_mut(place) else { return };
                if !committed {
                    return entry.association.failed(epoch, seq);
                }
                let (before, now) = (entry.association.epoch(), unix_s());
                if entry.association.committed(epoch, seq, now) {
                    entry.failures = 0;
                    let gated = &self.numbers.gated;
                    gated.set(gated.get().saturating_sub(i64::from(entry.gated)));
                    self.associations.promoted(place, before);
                    self.lives.epoch_retires(place, now);
                }
                if let Some(entry) = self.associations.get_mut(place) {
                    self.acknowledgements.due(place, epoch, entry);
                }
            }
            Sent::Reserved { place, epoch, floor } => {
                let Some(entry) = self.associations.get_mut(place) else { return };
                entry.reserving = false;
                if committed {
                    entry.association.reserved(epoch, floor);
                }
            }
            Sent::Again { place, epoch, to } if committed => self.acknowledgements.again(place, epoch, to),
            Sent::Answer(answer) if committed => self.acknowledgements.answers.push(*answer),
            Sent::Classic(message) if !committed => self.classics.cache_mut().remove(&message),
            Sent::Proved { place } if committed => self.proved(place),
            Sent::GroupReserved { gid, epoch, floor } => {
                self.groups.set_reserving(gid, epoch, false);
                if committed {
                    self.groups.reserved(gid, epoch, floor);
                }
            }
            Sent::Registered(newborn) if committed => {
                let taken = scrubbed::<8, _>(|| self.registered(newborn));
                self.spoilt |= !taken;
            }
            Sent::Retired { sid, until } if committed => {
                if let (Some(place), None) = (self.associations.find(sid), self.lives.retired_until(sid)) {
                    self.lives.retire(&mut self.associations, place, until);
                }
                self.directory.retired(sid);
            }
            Sent::Revoked { sid } if committed => {
                if let Some(place) = self.associations.find(sid) {
                    self.lives.revoke(&mut self.associations, place);
                }
            }
            Sent::Issued { place, epoch, campaign } => {
                if committed {
                    self.associations.issue(place, epoch);
                    if let Some((_, cold)) = self.associations.both_mut(place) {
                        cold.campaign = cold.campaign.max(campaign);
                    }
                }
                if self.issuing.get(&place) == Some(&(epoch, campaign)) {
                    self.issuing.remove(&place);
                }
            }
            Sent::Due { place, epoch } if !committed => {
                if let Some((_, cold)) = self.associations.both_mut(place) {
                    cold.is_not_due(epoch);
                }
            }
            Sent::GroupKey(key) if committed => {
                let super::orders::NewKey { gid, epoch, activate_at, gms } = &*key;
                scrubbed::<8, _>(|| self.groups.learn(*gid, *epoch, *activate_at, gms));
            }
            Sent::Outgoing(outgoing) if committed => self.downstream.push(context, *outgoing),
            Sent::Request(request) if committed => self.answer(context, *request),
            Sent::Orders { input, number, sound } => {
                let spoilt = std::mem::take(&mut self.spoilt);
                self.given.end(&context.inputs, (input, number), sound && committed && !spoilt);
            }
            Sent::Again { .. }
            | Sent::Answer(_)
            | Sent::Classic(_)
            | Sent::Proved { .. }
            | Sent::Registered(_)
            | Sent::Retired { .. }
            | Sent::Revoked { .. }
            | Sent::Due { .. }
            | Sent::GroupKey(_)
            | Sent::Outgoing(_)
            | Sent::Request(_) => {}
        }
    }

    /// The first frame under a new association is durable.
    fn proved(&mut self, place: super::associations::Place) {
        let Some(entry) = self.associations.get_mut(place) else { return };
        if !entry.proven {
            entry.proven = true;
            let (sid, dev) = (entry.association.sid(), entry.association.dev());
            self.lives.proven(sid);
            self.directory.proved(dev, sid);
        }
    }

    /// A new association is durable; `false` when its device was revoked meanwhile: nothing of it is taken, and
    /// the key store erases what the journal has.
    fn registered(&mut self, mut newborn: Box<Newborn>) -> bool {
        // Known first, looked at then: who revokes does it the other way round.
        newborn.stored.announce(&self.directory);
        if self.directory.standing(newborn.sid) == Some(Standing::Revoked) {
            return false;
        }
        if self.associations.find(newborn.sid).is_none() && self.associations.has_room(newborn.sid, false) {
            newborn.stored.join(&mut self.associations, &mut self.lives, newborn.replaces);
            let count = i64::try_from(self.associations.len()).unwrap_or(i64::MAX);
            self.numbers.associations.set(count);
        }
        true
    }
}
