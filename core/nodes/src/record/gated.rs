//! GATED: a restore closed an association.

use seal::ids::{Epoch, Sid};

use super::{GATED, Record};
use crate::fields::Fields;

/// What a restore writes for each association (security layer §8): its upstream frames count from the proof of
/// a new challenge on, candidates are issued, and downstream counters go on at a floor that no copy of the
/// state has reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gated {
    /// The association.
    pub sid: Sid,
    /// The active epoch; with another one it has been proven since.
    pub active: Epoch,
    /// The newest candidate.
    pub newest: Epoch,
    /// Downstream counters of the active epoch begin here.
    pub floor: u32,
}

impl Gated {
    /// Reads one; `None` when it is cut.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        let (sid, active, newest) = (fields.sid()?, fields.epoch()?, fields.epoch()?);
        let read = Self { sid, active, newest, floor: fields.u32()? };
        fields.end().map(|()| read)
    }
}

impl Record for Gated {
    const KIND: u8 = GATED;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sid.0.to_be_bytes());
        out.extend_from_slice(&self.active.0.to_be_bytes());
        out.extend_from_slice(&self.newest.0.to_be_bytes());
        out.extend_from_slice(&self.floor.to_be_bytes());
    }
}
