//! DUE: an association should go on to its next epoch.

use commands::desk::Why;
use seal::ids::{Dev, Epoch, Sid};

use super::{DUE, Record};
use crate::fields::Fields;

/// An association should leave its epoch (security layer §6, §8). A shard says so once a run and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Due {
    /// The association.
    pub sid: Sid,
    /// Its end device.
    pub dev: Dev,
    /// The epoch that it should leave.
    pub epoch: Epoch,
    /// Why.
    pub why: Why,
}

impl Due {
    /// Reads one; `None` when it is cut, or says something else.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let mut fields = Fields(octets);
        let (sid, dev, epoch) = (fields.sid()?, fields.dev()?, fields.epoch()?);
        let why = Why::from_octet(fields.u8()?)?;
        fields.end().map(|()| Self { sid, dev, epoch, why })
    }
}

impl Record for Due {
    const KIND: u8 = DUE;

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sid.0.to_be_bytes());
        out.extend_from_slice(&self.dev.0);
        out.extend_from_slice(&self.epoch.0.to_be_bytes());
        out.push(self.why.octet());
    }
}
