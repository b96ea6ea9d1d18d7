//! `metergraph restore`: makes the state of a backup one that may seal again (security layer §8).
//!
//! The steps, each durable before the next, so that a restore that was cut is begun again:
//!
//! 1. `restoring` beside the journal names the state and the incarnation that the restore makes;
//! 2. RESTORED goes to the journal, and for each association GATED, for each key of a group a reservation:
//!    counters skip all that a copy may have used, candidates are issued, upstream frames wait for a proof;
//! 3. the token is raised, and remembers that no older state may be restored after it;
//! 4. the state's mark follows, and `restoring` goes.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use journal::files::{FileError, Files};
use journal::{JournalError, Settings, Writer};
use keystore::token::{Restores, TokenError};
use keystore::{Change, Store, StoreError};
use seal::counter::STOP_AT;
use seal::ids::Sid;

use super::fence::{incarnation_mark, set_incarnation_mark};
use crate::decrypt::{Closing, ClosingError};
use crate::journal::Log;
use crate::record::{self, Record, Report, Reservation, Restored, Retired};

/// Names a restore that is under way.
const RESTORING: &str = "restoring";
const SECONDS_A_DAY: u64 = 86_400;
/// Changes that are taken in at once.
const CHANGES_MAX: usize = 50_000;

/// A state that is not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is the running installation's own.
    #[error(
        "nothing to restore: the incarnation of this state is {mark}, and so is the token's: it is no older copy"
    )]
    Ours {
        /// Of both.
        mark: u64,
    },
    /// This backup, or a later one, was restored before.
    #[error(
        "SEC-FENCE: the incarnation of this state is {mark}; a state was restored as incarnation {restored}, and \
         what its head-end has sealed since this backup does not know"
    )]
    Again {
        /// The state's.
        mark: u64,
        /// That of the last restore.
        restored: u64,
    },
    /// It has sealed since it is said to have been copied.
    #[error(
        "this state took in a report {needed} days ago, so a backup of it is not {days} days old at most: what \
         was sealed since then would be sealed again"
    )]
    Younger {
        /// What was said.
        days: u32,
        /// The least that can be true.
        needed: u32,
    },
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What the state holds cannot be read whole.
    #[error(transparent)]
    Closing(#[from] ClosingError),
    /// A mark beside the journal.
    #[error(transparent)]
    File(#[from] FileError),
}

/// What a restore did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The incarnation that it made; the next start raises it.
    pub incarnation: u64,
    /// Associations that wait for a proof; with a forced restore for a new registration.
    pub associations: usize,
    /// Epochs of groups whose counters were moved on.
    pub group_epochs: usize,
    /// What each counter skips.
    pub skip: u32,
}

/// A state to be restored; its head-end does not run.
pub struct Restore<'a> {
    /// The store, open.
    pub store: &'a Arc<Store>,
    /// The file layer.
    pub files: Arc<dyn Files>,
    /// The journal's folder.
    pub folder: PathBuf,
    /// The journal's sizes.
    pub settings: Settings,
    /// How old the backup is, in days, rounded up.
    pub days: u32,
    /// The time, unix s.
    pub now: u64,
    /// Also when a restore came before: nothing is sealed under the old keys, every device registers anew.
    pub forced: bool,
}

impl Restore<'_> {
    /// Does it.
    ///
    /// # Errors
    /// [`RestoreError`]; with the first three nothing has changed, after all others it may be begun again.
    pub fn run(&self) -> Result<Outcome, RestoreError> {
        let token = self.store.token().incarnation()?;
        let (mark, found) = (incarnation_mark(&*self.files, &self.folder)?, token.restores()?);
        let under_way = self.under_way()?.filter(|(from, to)| *from == mark && found.value <= *to);
        let (to, sealed) = match under_way {
            // It was cut behind the token.
            Some((_, to)) if found.value == to && found.restored == to => (to, true),
            Some((_, to)) if found.value < to => (to, false),
            _ => (self.judge(mark, found)?, false),
        };
        let log = Log::new(Arc::clone(&self.files), self.folder.clone());
        let mut writer = Writer::open(log.files(), log.folder(), self.settings, log.durable())?;
        self.check_age(&log)?;
        set_under_way(&*self.files, &self.folder, (mark, to))?;
        let restored = Restored { incarnation: to, days: self.effective_days(found), at: self.now };
        let closing = Closing::read(self.store, &log, restored.skip())?;
        if !sealed {
            self.close(&mut writer, restored, &closing)?;
            token.restore(to)?;
        }
        set_incarnation_mark(&*self.files, &self.folder, to)?;
        self.files.remove(&self.folder.join(RESTORING))?;
        writer.close()?;
        Ok(Outcome {
            incarnation: to,
            associations: closing.associations.len(),
            group_epochs: closing.groups.len(),
            skip: restored.skip(),
        })
    }

    /// Whether this state may be restored, and as which incarnation.
    fn judge(&self, mark: u64, found: Restores) -> Result<u64, RestoreError> {
        if mark == found.value || mark == found.value.saturating_add(1) {
            return Err(RestoreError::Ours { mark });
        }
        if mark < found.restored && !self.forced {
            return Err(RestoreError::Again { mark, restored: found.restored });
        }
        Ok(found.value.max(mark).saturating_add(1))
    }

    /// A state seals so much in each day of the calendar: there may not be more of them since its last report
    /// than are skipped.
    fn check_age(&self, log: &Log) -> Result<(), RestoreError> {
        let mut reader = log.reader(log.first()?);
        let mut newest = None;
        while let Some(found) = reader.next()? {
            let report = (found.kind == record::REPORT).then(|| Report::read(found.octets)).flatten();
            newest = newest.max(report.map(|(report, _)| report.received / 1_000_000_000));
        }
        let day = |time: u64| time / SECONDS_A_DAY;
        let needed = newest.map_or(0, |newest| day(self.now).saturating_sub(day(newest)));
        if needed <= u64::from(self.days) {
            return Ok(());
        }
        let needed = u32::try_from(needed).unwrap_or(u32::MAX);
        Err(RestoreError::Younger { days: self.days, needed })
    }

    /// A forced restore may follow others, each of which has skipped as much and was used since.
    fn effective_days(&self, found: Restores) -> u32 {
        let times =
            if self.forced { u32::try_from(found.count).unwrap_or(u32::MAX).saturating_add(1) } else { 1 };
        self.days.saturating_add(1).saturating_mul(times).saturating_sub(1)
    }

    /// Writes to the journal, and to the store, what closes the state.
    fn close(&self, writer: &mut Writer, restored: Restored, closing: &Closing) -> Result<(), RestoreError> {
        put(writer, &restored)?;
        for gated in &closing.associations {
            put(writer, gated)?;
            if self.forced {
                put(writer, &Retired { sid: gated.sid, until: restored.at })?;
            }
        }
        for group in &closing.groups {
            let floor = if self.forced { STOP_AT } else { group.floor };
            put(writer, &Reservation { sid: Sid(group.gid.0), epoch: group.epoch, floor, day: 0 })?;
        }
        writer.commit()?;
        // A store that does not follow the journal knows it, too.
        let gates = closing.associations.iter().map(|gated| {
            let record::Gated { sid, active, newest, .. } = *gated;
            Change::Gated { sid, active, newest }
        });
        let retired = closing.sids().filter(|_| self.forced);
        let retired = retired.map(|sid| Change::Retired { sid, until: restored.at });
        let changes: Vec<Change> = gates.chain(retired).collect();
        for some in changes.chunks(CHANGES_MAX) {
            self.store.apply(some, restored.at)?;
        }
        Ok(())
    }

    fn under_way(&self) -> Result<Option<(u64, u64)>, FileError> {
        let path = self.folder.join(RESTORING);
        let octets = match self.files.read(&path, 32) {
            Err(error) if error.is_missing() => return Ok(None),
            read => read?,
        };
        let ([from, to, check], []) = octets.as_chunks() else { return Ok(None) };
        let [from, to, check] = [from, to, check].map(|octets| u64::from_be_bytes(*octets));
        Ok((check == !(from ^ to)).then_some((from, to)))
    }
}

fn set_under_way(files: &dyn Files, folder: &Path, (from, to): (u64, u64)) -> Result<(), FileError> {
    let octets = [from, to, !(from ^ to)].map(u64::to_be_bytes).concat();
    files.write_atomically(&folder.join(RESTORING), &octets)
}

/// Appends a record; what was appended before is written when there is no room.
fn put<R: Record>(writer: &mut Writer, record: &R) -> Result<(), JournalError> {
    let mut octets = Vec::new();
    record.write(&mut octets);
    match writer.append(R::KIND, &octets) {
        Err(JournalError::BatchFull { .. }) => {
            writer.commit()?;
            writer.append(R::KIND, &octets)
        }
        appended => appended,
    }
}
