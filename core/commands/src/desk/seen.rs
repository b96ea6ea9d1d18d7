//! When each association was heard last.

use seal::ids::{Epoch, Sid};

/// By slot: Unix seconds (0: not since the start), the generation, the epoch.
#[derive(Debug, Default)]
pub(super) struct Seen(Vec<(u32, u8, Epoch)>);

impl Seen {
    pub(super) fn saw(&mut self, sid: Sid, epoch: Epoch, at: u64) {
        if !sid.is_valid() {
            return;
        }
        let slot = sid.slot() as usize;
        if self.0.len() <= slot {
            self.0.resize(slot.saturating_add(1), (0, 0, Epoch(0)));
        }
        if let Some(seen) = self.0.get_mut(slot) {
            *seen = (u32::try_from(at).unwrap_or(u32::MAX), sid.generation(), epoch);
        }
    }

    pub(super) fn last(&self, sid: Sid) -> Option<(u64, Epoch)> {
        let (at, generation, epoch) = self.0.get(sid.slot() as usize).copied()?;
        (at > 0 && generation == sid.generation()).then_some((u64::from(at), epoch))
    }
}
