//! What a restore closes (security layer §8): read from the store and the log of a head-end that does not run.

use std::collections::HashSet;
use std::sync::Arc;

use journal::{JournalError, Position};
use keystore::{Directory, Store};
use seal::association::CANDIDATES_MAX;
use seal::counter::STOP_AT;
use seal::ids::{Epoch, Gid, Sid};

use super::associations::Associations;
use super::classic::{Classics, Rules};
use super::groups::Groups;
use super::lives::Lives;
use super::rebuild::Rebuilding;
use crate::journal::Log;
use crate::key_store::CURSOR;
use crate::record::Gated;

/// Counters of a group's epoch go on from here.
pub(crate) struct GroupFloor {
    pub(crate) gid: Gid,
    pub(crate) epoch: Epoch,
    pub(crate) floor: u32,
}

/// Why it cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ClosingError {
    /// The log cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] keystore::StoreError),
    /// What is not read would not be closed.
    #[error("SEC-STORE: {} sealed records do not open, the first one is {first}", .count)]
    Damaged {
        /// How many.
        count: usize,
        /// The first one.
        first: String,
    },
}

/// All counters as they were when the backup was made, moved on by `skip`; and the next epochs issued.
pub(crate) struct Closing {
    pub(crate) associations: Vec<Gated>,
    pub(crate) groups: Vec<GroupFloor>,
}

impl Closing {
    /// Reads store and log.
    pub(crate) fn read(store: &Arc<Store>, log: &Log, skip: u32) -> Result<Self, ClosingError> {
        let (vault, directory): (_, Directory) = (store.vault(), store.directory()?);
        let mut state = Rebuilding {
            associations: Associations::new(0, 1),
            classics: Classics::new(Rules::read(&directory)),
            groups: Groups::default(),
            lives: Lives::default(),
            vault: &vault,
            directory: &directory,
            damaged: Vec::new(),
            taken: Position::START,
            checkpointed: Vec::new(),
            born: HashSet::new(),
        };
        let cursor: Option<Position> = log.cursors().load(CURSOR)?.map(|cursor| cursor.position);
        let first = log.first()?;
        state.read_store(&|_| true)?;
        state.follow(log, Some(cursor.unwrap_or(first)))?;
        if let Some(first) = state.damaged.first() {
            return Err(ClosingError::Damaged { count: state.damaged.len(), first: first.clone() });
        }
        let past = |floor: u32| floor.saturating_add(skip).min(STOP_AT);
        let associations = state.associations.iter().map(|(association, _)| association);
        let live =
            associations.filter(|association| association.sid().is_valid() && !association.is_revoked());
        let ahead = u16::try_from(CANDIDATES_MAX).unwrap_or(u16::MAX);
        let associations = live.map(|association| Gated {
            sid: association.sid(),
            active: association.epoch(),
            newest: Epoch(association.epoch().0.saturating_add(ahead)),
            floor: past(association.counter().floor()),
        });
        let groups = state.groups.held();
        Ok(Self {
            associations: associations.collect(),
            groups: groups.map(|(gid, epoch, floor)| GroupFloor { gid, epoch, floor: past(floor) }).collect(),
        })
    }

    /// The associations' numbers.
    pub(crate) fn sids(&self) -> impl Iterator<Item = Sid> + '_ {
        self.associations.iter().map(|gated| gated.sid)
    }
}
