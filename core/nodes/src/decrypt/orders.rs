//! What a shard does when it is told to: orders of the registrar and of the desk.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use keystore::Kind;
use node::{Batch, Context, Edge, NodeError, Reason, Severity, Source};
use seal::association::RETIRING_S;
use seal::command::{Class, KeyItem, SignedCommand};
use seal::control::{Down, Items};
use seal::edhoc::Refusal;
use seal::ids::{Dev, Epoch, Gid, Sid};
use seal::secret::{Key128, scrubbed};

use super::associations::{Associations, Place};
use super::downstream::{Lost, Outgoing, To, What};
use super::store::{self, Stored};
use super::{Sent, Shard};
use crate::clock::unix_s;
use crate::journal::Log;
use crate::order::{Order, partition_of};
use crate::record::{self, Association, GroupKey, Issued, Retired, Revoked};
use crate::tally::reasons;

/// Batches of orders that are not settled, by input and in their order: with `None` until it is known whether
/// all that one asked for was done.
#[derive(Default)]
pub(super) struct Given {
    batches: HashMap<usize, VecDeque<(u64, Option<bool>)>>,
}

impl Given {
    fn begin(&mut self, (input, number): (usize, u64)) {
        self.batches.entry(input).or_default().push_back((number, None));
    }

    /// All that a batch asked for is done, or not; tells its producer when the batches before are settled.
    pub(super) fn end(&mut self, inputs: &[Arc<Edge>], (input, number): (usize, u64), done: bool) {
        let Some(batches) = self.batches.get_mut(&input) else { return };
        if let Some((_, outcome)) = batches.iter_mut().find(|(of, _)| *of == number) {
            *outcome = Some(done);
        }
        let Some(edge) = inputs.get(input) else { return };
        while let Some((number, Some(done))) = batches.front().copied() {
            batches.pop_front();
            if !done {
                edge.fail(number);
            }
            edge.settle(number);
        }
    }
}

/// An association on its way to the journal.
pub(crate) struct Newborn {
    pub(super) sid: Sid,
    pub(super) replaces: Option<Sid>,
    pub(super) stored: Stored,
}

/// A group's key on its way to the journal.
pub(crate) struct NewKey {
    pub(super) gid: Gid,
    pub(super) epoch: Epoch,
    pub(super) activate_at: u32,
    pub(super) gms: Key128,
}

/// Why an order is not followed; who gave it hears that it failed.
enum Bad {
    /// What it brings does not open.
    Store,
    /// Its slot holds another association.
    Slot,
    /// It is for a device that is revoked.
    Revoked,
    /// The key store does not follow the journal: what the order brings would be forgotten.
    Follower,
}

impl Bad {
    fn words(&self) -> (Reason, &'static str) {
        match self {
            Self::Store => (reasons::STORE, "what it brings does not open"),
            Self::Slot => (Reason("slot-taken"), "its slot is taken"),
            Self::Revoked => (reasons::of_registration(Refusal::Revoked), "its device is revoked"),
            Self::Follower => (Reason("no-follower"), "the key store does not follow the journal"),
        }
    }
}

impl Shard {
    /// Follows a batch of orders: all its records are one batch for the journal.
    pub(super) fn obey(
        &mut self,
        context: &mut Context,
        records: usize,
        log: &Log,
        (input, number): (usize, u64),
        batch: &Batch,
    ) -> Result<(), NodeError> {
        let (mut out, mut sound) = (self.pool.take(), true);
        self.given.begin((input, number));
        for frame in &batch.frames {
            let order = Order::read(frame, batch.octets(frame).unwrap_or_default());
            let Some(order) = order.filter(|order| self.is_ours(order)) else {
                self.unknown(context, None);
                continue;
            };
            if let Err(bad) = scrubbed::<16, _>(|| self.follow(context, order, &mut out)) {
                let (reason, what) = bad.words();
                context.events.report(reason, Severity::Alarm, Source::Node, || {
                    format!(
                        "an order of {} is not followed: {what}",
                        context.inputs.get(input).map_or("?", |edge| &edge.name().from)
                    )
                });
                sound = false;
            }
        }
        if out.is_empty() {
            self.sent.clear();
            self.given.end(&context.inputs, (input, number), sound);
            return Ok(());
        }
        self.sent.push(Sent::Orders { input, number, sound });
        self.write(context, records, log, out, 0)
    }

    /// Whether an order is for a partition of this shard.
    fn is_ours(&self, order: &Order<'_>) -> bool {
        order.partition().is_some_and(|partition| self.associations.owns(partition))
    }

    /// Counts and reports an order for nobody.
    fn unknown(&mut self, context: &mut Context, sid: Option<Sid>) {
        self.numbers.unknown_orders.add(1);
        let source = sid.map_or(Source::Node, |sid| Source::Association(sid.0));
        context.events.report(Reason("unknown-order"), Severity::Warning, source, || match sid {
            Some(sid) => format!("an order for {sid}, which is not known here"),
            None => "an order that does not read, or of another shard".to_owned(),
        });
    }

    fn follow(&mut self, context: &mut Context, order: Order<'_>, out: &mut Batch) -> Result<(), Bad> {
        if !self.followed && writes(&order) {
            return Err(Bad::Follower);
        }
        match order {
            Order::Register { sid, dev, replaces, sealed } => {
                self.register(sid, dev, replaces, sealed, out)?
            }
            Order::Retire { sid } => self.retire(context, sid, out),
            Order::Revoke { dev, sid } => self.revoke(context, dev, sid, out),
            Order::Send { sid, signed } => self.send_command(context, sid, signed, out)?,
            Order::Broadcast { gid, signed } => {
                let to = To::Group(gid);
                if SignedCommand::read(signed).is_none() {
                    self.downstream.give_up(context, to, Lost::Format);
                } else {
                    self.downstream.push(context, Outgoing { to, what: What::Command(signed.into()) });
                }
            }
            Order::Issue { sids, campaign, delta, challenge } => {
                self.challenges.issue(challenge);
                for sid in Order::sids(sids) {
                    match self.associations.find(sid) {
                        None => self.unknown(context, Some(sid)),
                        Some(place) if self.issue(place, campaign, delta, out).is_none() => {
                            let to = To::Device { place, sid, at: None };
                            self.downstream.give_up(context, to, Lost::Epochs);
                        }
                        Some(_) => {}
                    }
                }
            }
            Order::GroupKey { gid, epoch, activate_at, sealed } => {
                let gms = store::open_group_key(&self.vault, gid, epoch, sealed).ok_or(Bad::Store)?;
                record::push(out, &GroupKey { gid, epoch, activate_at, sealed });
                self.sent.push(Sent::GroupKey(Box::new(NewKey { gid, epoch, activate_at, gms })));
            }
            Order::Deliver { sid, gid, epoch, activate_at, sealed } => match self.associations.find(sid) {
                None => self.unknown(context, Some(sid)),
                Some(place) => {
                    let what = What::GroupKey { gid, epoch, activate_at, sealed: sealed.into() };
                    let to = To::Device { place, sid, at: None };
                    self.downstream.push(context, Outgoing { to, what });
                }
            },
            Order::Respond { sid, items } => match self.associations.find(sid) {
                None => self.unknown(context, Some(sid)),
                Some(place) => {
                    let to = To::Device { place, sid, at: None };
                    if Items::<Down<'_>>::read(items).is_ok() {
                        self.downstream.push(context, Outgoing { to, what: What::Control(items.into()) });
                    } else {
                        self.downstream.give_up(context, to, Lost::Format);
                    }
                }
            },
        }
        Ok(())
    }

    /// Writes a new association to the journal; it is added when that is durable.
    fn register(
        &mut self,
        sid: Sid,
        dev: Dev,
        replaces: Option<Sid>,
        sealed: &[u8],
        out: &mut Batch,
    ) -> Result<(), Bad> {
        if store::is_revoked(&self.vault, &self.directory, dev).map_err(|_| Bad::Store)? {
            return Err(Bad::Revoked);
        }
        if self.associations.find(sid).is_some() {
            // It came before, and is durable.
            return Ok(());
        }
        if !self.associations.has_room(sid, false) {
            return Err(Bad::Slot);
        }
        let stored = store::open(&self.vault, sid, dev, sealed).ok_or(Bad::Store)?;
        record::push(out, &Association { sid, dev, replaces, sealed });
        self.sent.push(Sent::Registered(Box::new(Newborn { sid, replaces, stored })));
        Ok(())
    }

    /// Nothing is sealed under an association any more; its frames are opened for 72 h. A classic device that has
    /// registered is heard no more at once (security layer §9).
    fn retire(&mut self, context: &mut Context, sid: Sid, out: &mut Batch) {
        let until = match self.associations.find(sid) {
            Some(place) => {
                let retired = self.lives.retired_until(sid);
                let until = retired.unwrap_or_else(|| unix_s().saturating_add(RETIRING_S));
                self.lives.retire(&mut self.associations, place, until);
                until
            }
            None if self.directory.kind(sid) == Some(Kind::Classic) => {
                self.classics.remove(sid);
                unix_s()
            }
            None => return self.unknown(context, Some(sid)),
        };
        record::push(out, &Retired { sid, until });
        self.sent.push(Sent::Retired { sid, until });
    }

    /// A device is refused at once, under each association that is held here. Also one whose association is
    /// gone is written down.
    fn revoke(&mut self, context: &mut Context, dev: Dev, sid: Sid, out: &mut Batch) {
        for of_device in self.directory.revoke(dev) {
            self.classics.remove(of_device);
            if let Some(place) = self.associations.find(of_device) {
                self.lives.revoke(&mut self.associations, place);
            }
        }
        if self.directory.dev(sid) != Some(dev) {
            self.unknown(context, Some(sid));
        }
        record::push(out, &Revoked { dev, sid });
        self.sent.push(Sent::Revoked { sid });
    }

    /// Sends a signed command; what an ADVANCE in it asks for is issued, and durable, before.
    fn send_command(
        &mut self,
        context: &mut Context,
        sid: Sid,
        signed: &[u8],
        out: &mut Batch,
    ) -> Result<(), Bad> {
        let Some(place) = self.associations.find(sid) else {
            self.unknown(context, Some(sid));
            return Ok(());
        };
        let to = To::Device { place, sid, at: None };
        let Some(SignedCommand { command, .. }) = SignedCommand::read(signed) else {
            self.downstream.give_up(context, to, Lost::Format);
            return Ok(());
        };
        let outgoing = Outgoing { to, what: What::Command(signed.into()) };
        let keys = command.class == Class::Keys.octet();
        let items = Items::<KeyItem<'_>>::read(command.body).ok().filter(|_| keys);
        self.challenges.issue_all(items.into_iter().flatten());
        let mut issued = false;
        for item in items.into_iter().flatten() {
            let KeyItem::Advance { campaign, delta, .. } = item else { continue };
            if !self.followed {
                return Err(Bad::Follower);
            }
            match self.issue(place, campaign, delta, out) {
                Some(new) => issued = issued || new,
                None => {
                    self.downstream.give_up(context, to, Lost::Epochs);
                    return Ok(());
                }
            }
        }
        if issued {
            self.sent.push(Sent::Outgoing(Box::new(outgoing)));
        } else {
            self.downstream.push(context, outgoing);
        }
        Ok(())
    }

    /// Issues so many epochs after the newest, once a campaign; `Some` with whether that is on its way to the
    /// journal, `None` when there is no room for so many.
    fn issue(&mut self, place: Place, campaign: u32, delta: u8, out: &mut Batch) -> Option<bool> {
        let (entry, cold) = self.associations.both_mut(place)?;
        let association = &entry.association;
        let sid = association.sid();
        let (newest, last) = match self.issuing.get(&place) {
            Some((newest, last)) => (*newest, (*last).max(cold.campaign)),
            None => (association.newest(), cold.campaign),
        };
        let pending = self.issuing.contains_key(&place);
        // With steps that no device takes nothing is issued: it refuses the command.
        if (campaign <= last && !pending) || !(1..=4).contains(&delta) {
            return Some(false);
        }
        let epoch = if campaign <= last || entry.gated {
            // On its way already: the record is written once more, so that what follows it waits. A restore
            // has issued all that may be.
            newest
        } else {
            let epoch = Epoch(newest.0.checked_add(u16::from(delta))?);
            let unproven = epoch.0.saturating_sub(association.epoch().0);
            if usize::from(unproven) > seal::association::CANDIDATES_MAX {
                return None;
            }
            epoch
        };
        let campaign = campaign.max(last);
        record::push(out, &Issued { sid, epoch, campaign });
        self.issuing.insert(place, (epoch, campaign));
        self.sent.push(Sent::Issued { place, epoch, campaign });
        Some(true)
    }
}

/// Whether an order changes what the key store keeps; of commands only an ADVANCE does.
fn writes(order: &Order<'_>) -> bool {
    use Order::{GroupKey, Issue, Register, Retire, Revoke};
    matches!(order, Register { .. } | Retire { .. } | Revoke { .. } | Issue { .. } | GroupKey { .. })
}

/// Whether a group is one of this shard's.
pub(super) fn owns(associations: &Associations, gid: Gid) -> bool {
    associations.owns(partition_of(gid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::edge::EdgeName;
    use node::{Frame, WhenFull};

    #[test]
    fn batches_are_settled_in_their_order() {
        let name = EdgeName {
            from: "desk".into(),
            port: "orders".into(),
            from_instance: 0,
            to: "decrypt".into(),
            to_instance: 0,
        };
        let edges = [Arc::new(Edge::new(name, 8, WhenFull::Wait))];
        let mut given = Given::default();
        for number in 1..=4 {
            let mut batch = Batch::default();
            batch.push(b"o", Frame::default());
            edges[0].offer(batch).unwrap();
            given.begin((0, number));
        }
        given.end(&edges, (0, 2), true);
        assert_eq!(edges[0].settled(), 0);
        given.end(&edges, (0, 1), true);
        assert_eq!(edges[0].settled(), 2);
        given.end(&edges, (0, 4), true);
        given.end(&edges, (0, 3), false);
        assert_eq!(
            (edges[0].settled(), edges[0].next_failure(), edges[0].next_failure()),
            (4, Some(3), None)
        );
    }
}
