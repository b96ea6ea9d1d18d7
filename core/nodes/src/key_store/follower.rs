//! Follows the journal: what it says of keys goes into the store in batches, and then the cursor moves. The
//! directory, the slots and the credentials hear of it at once.

use std::time::{Duration, Instant};

use journal::{Position, Reader};
use keystore::{Applied, Change, NewDevice, Vault};
use node::{Context, Next, NodeError, Reason, Severity, Source};

use super::Keeper;
use super::raising::Raising;
use super::rekey::Rekey;
use crate::clock::unix_s;
use crate::journal::Log;
use crate::record::{self, Association, Gated, GroupKey, Issued, Promoted, Proved, Retired, Revoked};
use crate::stall;

/// The cursor's name.
pub const CURSOR: &str = "keystore";

/// How often the journal's end is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// How long a store that takes nothing is left alone.
const PAUSE: Duration = Duration::from_millis(500);
/// Records read between two looks at the orders.
const RECORDS_A_TURN: usize = 10_000;
/// So many changes are taken in without waiting for more.
const CHANGES_MAX: usize = 50_000;
/// Whose time is over is looked for so often, in so many partitions.
const SWEEP_EVERY: Duration = Duration::from_secs(60);
const SWEEP_PARTITIONS: u16 = 16;
const PARTITIONS: u16 = 1024;

pub(super) struct Follower<'a> {
    keeper: &'a Keeper,
    log: &'a Log,
    vault: Vault,
    /// Changes since the cursor.
    changes: Vec<Change>,
    /// Where the cursor stands, and behind the last record that was read.
    stored: Position,
    read: Position,
    /// When the first record since the cursor was read.
    begun: Option<Instant>,
    sweep_at: Instant,
    sweep_from: u16,
    rekey: Rekey,
    raising: Raising,
}

impl<'a> Follower<'a> {
    pub(super) fn new(keeper: &'a Keeper, log: &'a Log, raising: Raising) -> Self {
        Self {
            keeper,
            log,
            vault: keeper.store.vault(),
            changes: Vec::new(),
            stored: Position::START,
            read: Position::START,
            begun: None,
            sweep_at: Instant::now(),
            sweep_from: 0,
            rekey: Rekey::new(&keeper.env, keeper.rekey_days),
            raising,
        }
    }

    pub(super) fn run(mut self, context: &mut Context) -> Result<(), NodeError> {
        let mut reader = self.resume(context)?;
        // Numbers are given when all that is in the log is known.
        while self.gather(context, &mut reader)? {}
        self.keeper.slots.open();
        loop {
            let more = self.gather(context, &mut reader)?;
            let due = self.begun.is_some_and(|at| at.elapsed() >= self.keeper.apply_every);
            // A journal without room may wait for this cursor.
            if due || (self.read > self.stored && self.log.wants_mark(self.stored)) {
                self.apply(context)?;
            }
            self.raising.turn(context);
            self.sweep(context)?;
            self.rekey.turn(context, &self.keeper.store, self.log, self.stored);
            if let Next::Finished = context.next(if more { Duration::ZERO } else { LOOK })? {
                // The journal has ended: nothing comes after what is durable now.
                while self.gather(context, &mut reader)? {}
                return self.apply(context);
            }
        }
    }

    /// Goes on where the cursor stands.
    fn resume(&mut self, context: &mut Context) -> Result<Reader, NodeError> {
        let failed = |error| NodeError::caused("follow the journal", error);
        let from = match self.log.cursors().load(CURSOR).map_err(failed)? {
            Some(cursor) => cursor.position,
            None => {
                let first = self.log.first().map_err(failed)?;
                self.store_cursor(context, first)?;
                first
            }
        };
        (self.stored, self.read) = (from, from);
        // What a power cut left of revoked devices.
        let unerased = self.keeper.directory.unerased().iter();
        self.changes.extend(unerased.map(|(dev, sid)| Change::Revoked { dev: *dev, sid: *sid }));
        self.log.mark(CURSOR);
        Ok(self.log.reader(from))
    }

    /// Reads on. Answers whether there may be more to read.
    fn gather(&mut self, context: &mut Context, reader: &mut Reader) -> Result<bool, NodeError> {
        for _ in 0..RECORDS_A_TURN {
            if self.changes.len() >= CHANGES_MAX {
                self.apply(context)?;
            }
            let found = reader.next().map_err(|error| NodeError::caused("read the journal", error))?;
            let Some(found) = found else {
                // Perhaps in the next segment, where the end is when one was ended by its age.
                self.read = reader.position();
                return Ok(false);
            };
            let (kind, change) = (found.kind, change(found.kind, found.octets));
            match change {
                Some(change) => {
                    let others = self.tell(context, &change);
                    self.changes.push(change);
                    self.changes.extend(others);
                }
                None if is_of_keys(kind) => self.odd(context, || format!("a record of kind {kind}")),
                None => {}
            }
            self.begun.get_or_insert_with(Instant::now);
            self.read = reader.position();
        }
        Ok(true)
    }

    /// Tells those who need to know before the store does. Answers what follows from it.
    fn tell(&self, context: &mut Context, change: &Change) -> Vec<Change> {
        let Keeper { directory, slots, credentials, .. } = self.keeper;
        match change {
            Change::Association { sid, dev, sealed } => {
                slots.taken(*sid);
                let told = self.vault.open_association(*sid, *dev, sealed, |stored| {
                    let (title, esn, profile) = (stored.title, stored.esn, stored.profile);
                    directory.insert(&NewDevice { sid: *sid, dev: *dev, title, esn, profile });
                });
                // One that the store has already may be sealed under a data key that was replaced since.
                if told.is_err() && directory.dev(*sid) != Some(*dev) {
                    self.odd(context, || format!("association {sid} does not open"));
                }
                // It was on its way when its device was revoked.
                if directory.is_revoked(*dev) {
                    return vec![Change::Revoked { dev: *dev, sid: *sid }];
                }
            }
            Change::Proved { sid } => {
                if let Some(dev) = directory.dev(*sid) {
                    directory.proved(dev, *sid);
                }
            }
            Change::Retired { sid, .. } => directory.retired(*sid),
            Change::Revoked { dev, sid } => {
                credentials.revoke(*dev);
                // With all its associations: the secrets of each are erased.
                let others = directory.revoke(*dev).into_iter().filter(|other| other != sid);
                return others.map(|sid| Change::Revoked { dev: *dev, sid }).collect();
            }
            Change::Promoted { .. }
            | Change::Issued { .. }
            | Change::Gated { .. }
            | Change::GroupKey { .. } => {}
        }
        Vec::new()
    }

    /// Takes the changes into the store, and moves the cursor behind them.
    fn apply(&mut self, context: &mut Context) -> Result<(), NodeError> {
        if self.read > self.stored {
            if !self.changes.is_empty() {
                let changes = std::mem::take(&mut self.changes);
                let store = &self.keeper.store;
                let applied = insist(context, || store.apply(&changes, unix_s()))?;
                self.applied(context, &applied);
            }
            self.store_cursor(context, self.read)?;
            self.stored = self.read;
        }
        self.begun = None;
        Ok(())
    }

    fn applied(&self, context: &mut Context, applied: &Applied) {
        for sid in &applied.gone {
            self.keeper.directory.gone(*sid);
            self.keeper.slots.release(*sid);
        }
        if applied.odd > 0 {
            self.odd(context, || format!("{} changes fit nothing in the store", applied.odd));
        }
    }

    /// Erases what has retired long enough, some partitions at a time.
    fn sweep(&mut self, context: &mut Context) -> Result<(), NodeError> {
        if self.sweep_at.elapsed() < SWEEP_EVERY {
            return Ok(());
        }
        let partitions = self.sweep_from..self.sweep_from.saturating_add(SWEEP_PARTITIONS);
        let store = &self.keeper.store;
        let applied = insist(context, || store.sweep(partitions.clone(), unix_s()))?;
        self.applied(context, &applied);
        (self.sweep_at, self.sweep_from) = (Instant::now(), partitions.end % PARTITIONS);
        Ok(())
    }

    fn store_cursor(&self, context: &mut Context, position: Position) -> Result<(), NodeError> {
        insist(context, || self.log.cursors().store(CURSOR, position, &[]))
    }

    fn odd(&self, context: &mut Context, detail: impl FnOnce() -> String) {
        context.events.report(Reason("key-record"), Severity::Alarm, Source::Node, detail);
    }
}

/// Whether a record changes keys.
fn is_of_keys(kind: u8) -> bool {
    (record::ASSOCIATION..=record::GROUP_KEY).contains(&kind) || kind == record::GATED
}

/// What a record changes in the store.
pub(super) fn change(kind: u8, octets: &[u8]) -> Option<Change> {
    Some(match kind {
        record::ASSOCIATION => {
            let Association { sid, dev, sealed, .. } = Association::read(octets)?;
            Change::Association { sid, dev, sealed: sealed.into() }
        }
        record::PROMOTED => {
            let Promoted { sid, epoch, at } = Promoted::read(octets)?;
            Change::Promoted { sid, epoch, at }
        }
        record::ISSUED => {
            let Issued { sid, epoch, campaign } = Issued::read(octets)?;
            Change::Issued { sid, epoch, campaign }
        }
        record::GATED => {
            let Gated { sid, active, newest, .. } = Gated::read(octets)?;
            Change::Gated { sid, active, newest }
        }
        record::PROVED => Change::Proved { sid: Proved::read(octets)?.sid },
        record::RETIRED => {
            let Retired { sid, until } = Retired::read(octets)?;
            Change::Retired { sid, until }
        }
        record::REVOKED => {
            let Revoked { dev, sid } = Revoked::read(octets)?;
            Change::Revoked { dev, sid }
        }
        record::GROUP_KEY => {
            let GroupKey { gid, epoch, activate_at, sealed } = GroupKey::read(octets)?;
            Change::GroupKey { gid, epoch, activate_at, sealed: sealed.into() }
        }
        _ => return None,
    })
}

/// Does what needs a disk that works, again and again until it has succeeded.
fn insist<T, E: std::fmt::Display>(
    context: &mut Context,
    mut act: impl FnMut() -> Result<T, E>,
) -> Result<T, NodeError> {
    let mut stalled = false;
    loop {
        match act() {
            Ok(done) => {
                if stalled {
                    stall::end(context);
                }
                return Ok(done);
            }
            Err(error) => {
                stalled = true;
                stall::begin(context, &error.to_string());
                let detail = || error.to_string();
                context.events.report(Reason("SEC-STORE"), Severity::Alarm, Source::Node, detail);
                context.wait(PAUSE)?;
            }
        }
    }
}
