//! How a shard comes to its state at a start: what the key store holds, then the journal from where the store
//! or the shard's own checkpoint ends, whichever is first, then the checkpoint (security layer §8).
//!
//! The store follows the journal with a cursor of its own and may hold more than that says, so every record
//! may be taken in again.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use journal::{JournalError, Position};
use keystore::{Directory, Kind, Vault};
use node::{Context, NodeError, Reason, Severity, Source};
use seal::association::Association;
use seal::ids::{Dev, Epoch, Sid};

use super::associations::{Associations, Place};
use super::checkpoint::Checkpoints;
use super::classic::{Classics, Rules};
use super::groups::Groups;
use super::lives::Lives;
use super::orders::{self, Given};
use super::replay_cache::Message;
use super::{InFlight, LOOK, Shard, store};
use crate::clock::unix_s;
use crate::journal::Log;
use crate::key_store::CURSOR;
use crate::record::{self, Report};
use crate::tally::reasons;

/// How long a start waits for the fence.
const PATIENCE: Duration = Duration::from_secs(2);
const NS_PER_S: u64 = 1_000_000_000;

/// The state of a shard as it comes together.
pub(super) struct Rebuilding<'a> {
    pub(super) associations: Associations,
    pub(super) classics: Classics,
    pub(super) groups: Groups,
    pub(super) lives: Lives,
    pub(super) vault: &'a Vault,
    pub(super) directory: &'a Directory,
    /// Sealed records that should open and did not.
    pub(super) damaged: Vec<String>,
    /// Up to where the key store has taken the log in. What it holds no more of that is over, and nobody needs
    /// to open it: the data key that sealed it may be gone.
    pub(super) taken: Position,
    /// By partition: where the newest checkpoint is that covers it.
    pub(super) checkpointed: Vec<Option<Position>>,
    /// Associations that the journal brought.
    pub(super) born: HashSet<Sid>,
}

impl Shard {
    /// Loads the associations and groups and what journal and checkpoint say of them.
    pub(super) fn rebuild(
        &mut self,
        context: &mut Context,
        records: usize,
        log: &Log,
    ) -> Result<(), NodeError> {
        // What an earlier run of this shard sent is settled first, and what nobody knows of is certain only
        // in a log that was opened again: it would else be told half of it.
        let edge = context.outputs.get(records).and_then(|output| output.edges.first()).cloned();
        while log.has_ended() || edge.as_ref().is_some_and(|edge| edge.settled() < edge.pushed()) {
            context.wait(LOOK)?;
        }
        // Nothing is sealed before the incarnation is raised; a token that does not answer stops no reading.
        let patience = Instant::now() + PATIENCE;
        while !self.reserving.is_decided() && Instant::now() < patience {
            context.wait(LOOK)?;
        }
        let settled = log.settled();
        let rules = Rules::read(&self.directory);
        for (profile, error) in &rules.faults {
            let what = || format!("device profile {profile}: {error}");
            context.events.report(Reason("device-profile"), Severity::Alarm, Source::Node, what);
        }
        let mut state = Rebuilding {
            associations: Associations::new(self.own.shard, self.own.shards),
            classics: Classics::new(rules),
            groups: Groups::default(),
            lives: Lives::default(),
            vault: &self.vault,
            directory: &self.directory,
            damaged: Vec::new(),
            taken: Position::START,
            checkpointed: Vec::new(),
            born: HashSet::new(),
        };
        // Before the store is read: what it takes in later is taken in twice.
        let followed = self.followed(log).map_err(|error| NodeError::caused("read a cursor", error))?;
        state.load(self.own.shards)?;
        state
            .follow(log, followed)
            .map_err(|error| NodeError::caused("rebuild windows from the journal", error))?;
        for what in &state.damaged {
            context.events.report(reasons::STORE, Severity::Alarm, Source::Node, || what.clone());
        }
        let Rebuilding { associations, classics, groups, mut lives, .. } = state;
        self.associations = associations;
        lives.expire(&mut self.associations, unix_s());
        self.numbers.associations.set(i64::try_from(self.associations.len()).unwrap_or(i64::MAX));
        let gated = self.associations.gated();
        self.numbers.gated.set(i64::try_from(gated).unwrap_or(i64::MAX));
        if gated > 0 {
            context.events.report(Reason("restored"), Severity::Alarm, Source::Node, || {
                format!("{gated} associations of a restored state wait for the proof of a new challenge")
            });
        }
        self.numbers.groups.set(i64::try_from(groups.len()).unwrap_or(i64::MAX));
        (self.classics, self.groups, self.lives) = (classics, groups, lives);
        (self.in_flight, self.given, self.spoilt) = (InFlight::default(), Given::default(), false);
        self.issuing.clear();
        self.checkpoint(context, log, settled);
        Ok(())
    }

    /// From where on the key store has not taken the journal in; `None` where it does not follow it.
    fn followed(&self, log: &Log) -> Result<Option<Position>, JournalError> {
        if !self.followed {
            return Ok(None);
        }
        match log.cursors().load(CURSOR)? {
            Some(cursor) => Ok(Some(cursor.position)),
            None => log.first().map(Some),
        }
    }
}

impl Rebuilding<'_> {
    /// Reads the key store.
    fn load(&mut self, shards: usize) -> Result<(), NodeError> {
        let failed = |error| NodeError::caused("load associations", error);
        let devices = usize::try_from(self.directory.devices()).unwrap_or(0) / shards.max(1);
        self.associations.reserve(devices.saturating_add(devices / 8).saturating_add(1024));
        let own = self.associations.shard();
        self.read_store(&|partition| usize::from(partition) % shards.max(1) == own).map_err(failed)
    }

    /// Takes in journal and checkpoints.
    ///
    /// # Errors
    /// [`JournalError`] with the place that cannot be read.
    pub(super) fn follow(&mut self, log: &Log, followed: Option<Position>) -> Result<(), JournalError> {
        let (checkpoints, position) = Checkpoints::read(log, self)?;
        self.taken = followed.unwrap_or(Position::START);
        self.replay(log, followed.map_or(position, |followed| followed.min(position)))?;
        checkpoints.merge_rest(self);
        Ok(())
    }

    /// Takes in what the journal holds from a position on.
    pub(super) fn replay(&mut self, log: &Log, from: Position) -> Result<(), JournalError> {
        let mut reader = log.reader(from);
        loop {
            let at = reader.position();
            let Some(found) = reader.next()? else { return Ok(()) };
            self.take_in(at, found.kind, found.octets);
        }
    }

    /// Takes in the record behind a position. One that does not read is none of ours.
    fn take_in(&mut self, at: Position, kind: u8, octets: &[u8]) -> Option<()> {
        match kind {
            record::REPORT => self.report(&Report::read(octets)?.0),
            record::RESERVATION => {
                let reserved = record::Reservation::read(octets)?;
                let record::Reservation { sid, epoch, floor, day } = reserved;
                let counts = self.counts(at, sid);
                let place = self.associations.find(sid);
                match (reserved.gid(), place.and_then(|place| self.associations.both_mut(place))) {
                    (Some(gid), _) => self.groups.restore_floor(gid, epoch, floor),
                    (None, Some((entry, cold))) => {
                        entry.association.restore_floor(epoch, floor);
                        if counts {
                            cold.reserved(day);
                        }
                    }
                    (None, None) => self.classics.restore_iv_floor(sid, floor),
                }
            }
            record::ASSOCIATION => {
                let record::Association { sid, dev, replaces, sealed } = record::Association::read(octets)?;
                self.registered(at, (sid, dev), replaces, sealed);
            }
            record::PROMOTED => {
                let record::Promoted { sid, epoch, at } = record::Promoted::read(octets)?;
                let place = self.associations.find(sid)?;
                self.promote(place, at, |association| association.promoted(epoch, at));
            }
            record::ISSUED => {
                let record::Issued { sid, epoch, campaign } = record::Issued::read(octets)?;
                let place = self.associations.find(sid)?;
                self.associations.issue(place, epoch);
                let (_, cold) = self.associations.both_mut(place)?;
                cold.campaign = cold.campaign.max(campaign);
            }
            record::GATED => {
                let record::Gated { sid, active, newest, floor } = record::Gated::read(octets)?;
                let place = self.associations.find(sid)?;
                let entry = self.associations.get_mut(place)?;
                if entry.association.epoch() == active {
                    entry.gated = true;
                    entry.association.restore_floor(active, floor);
                    self.associations.issue(place, newest);
                }
            }
            record::PROVED => {
                let record::Proved { sid, dev, .. } = record::Proved::read(octets)?;
                // Whose shard ever holds the new association: it is heard no more as a classic device.
                for of_device in self.directory.associations(dev) {
                    if self.directory.kind(of_device) == Some(Kind::Classic) {
                        self.classics.remove(of_device);
                        self.directory.retired(of_device);
                    }
                }
                let place = self.associations.find(sid)?;
                self.associations.get_mut(place)?.proven = true;
                self.lives.proven(sid);
                self.directory.proved(dev, sid);
            }
            record::RETIRED => {
                let record::Retired { sid, until } = record::Retired::read(octets)?;
                if self.classics.remove(sid) {
                    self.directory.retired(sid);
                }
                let place = self.associations.find(sid)?;
                self.lives.retire(&mut self.associations, place, until);
                self.directory.retired(sid);
            }
            record::REVOKED => {
                // One record counts for the whole device, also for what the journal tells of it later.
                let record::Revoked { dev, .. } = record::Revoked::read(octets)?;
                for of_device in self.directory.revoke(dev) {
                    self.classics.remove(of_device);
                    if let Some(place) = self.associations.find(of_device) {
                        self.lives.revoke(&mut self.associations, place);
                    }
                }
            }
            record::GROUP_KEY => {
                let record::GroupKey { gid, epoch, activate_at, sealed } = record::GroupKey::read(octets)?;
                if orders::owns(&self.associations, gid) {
                    match store::open_group_key(self.vault, gid, epoch, sealed) {
                        Some(gms) => drop(self.groups.learn(gid, epoch, activate_at, &gms)),
                        None => self.unopened(at, || format!("the key of group {gid} in epoch {epoch}")),
                    }
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Whether a block that was reserved here is in no checkpoint. What the journal brought is in none that was
    /// read: all of its blocks are behind it.
    fn counts(&self, at: Position, sid: Sid) -> bool {
        let checkpointed = self.checkpointed.get(sid.partition() as usize).copied().flatten();
        checkpointed.is_none_or(|position| at >= position) || self.born.contains(&sid)
    }

    fn report(&mut self, report: &Report) {
        let &Report { sid, epoch, seq, iv, received, .. } = report;
        if !self.associations.owns(sid.partition()) {
            return;
        }
        if report.origin.is_classic() {
            let message = Message { sid, key_id: epoch.low(), iv, invocation: seq };
            if !self.classics.cache().contains(&message) {
                self.classics.cache_mut().insert(message);
            }
        } else if let Some(place) = self.associations.find(sid) {
            let at = received / NS_PER_S;
            self.promote(place, at, |association| association.restore(epoch, seq, at));
        }
    }

    /// Does something that may promote a candidate.
    fn promote(&mut self, place: Place, at: u64, promotes: impl FnOnce(&mut Association) -> bool) {
        let Some(entry) = self.associations.get_mut(place) else { return };
        let before: Epoch = entry.association.epoch();
        if promotes(&mut entry.association) {
            self.associations.promoted(place, before);
            self.lives.epoch_retires(place, at);
        }
    }

    fn registered(&mut self, at: Position, (sid, dev): (Sid, Dev), replaces: Option<Sid>, sealed: &[u8]) {
        let ours = sid.is_valid() && self.associations.owns(sid.partition());
        // What the store or an earlier record brought is newer.
        if !ours || !self.associations.has_room(sid, true) {
            return;
        }
        match store::open(self.vault, sid, dev, sealed) {
            Some(mut stored) => {
                stored.announce(self.directory);
                match store::is_revoked(self.vault, self.directory, dev) {
                    Ok(false) => {}
                    Ok(true) => return,
                    Err(error) => return self.damaged.push(format!("association {sid} of {dev}: {error}")),
                }
                stored.join(&mut self.associations, &mut self.lives, replaces);
                self.born.insert(sid);
            }
            None => self.unopened(at, || format!("association {sid} of {dev}")),
        }
    }

    fn unopened(&mut self, at: Position, what: impl FnOnce() -> String) {
        if at >= self.taken {
            self.damaged.push(what());
        }
    }
}
