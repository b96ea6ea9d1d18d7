//! Group keys (security layer §4): the random GMS of one epoch → OSCORE, with an empty salt and id and
//! the context `gid‖epoch` → K_g, IV_g. Frames of type 3 are sealed and opened with them.

use crate::frame::Bound;
use crate::ids::{Epoch, Gid, System};
use crate::oscore::{self, CommonIv};
use crate::profile1::Channel;
use crate::secret::Key128;

/// The keys of one group in one epoch.
pub struct GroupKeys {
    gid: Gid,
    epoch: Epoch,
    /// K_g: frames of type 3.
    pub key: Key128,
    /// IV_g: with the counter it gives the nonce.
    pub common_iv: CommonIv,
}

impl GroupKeys {
    /// From the group master secret of this epoch.
    #[must_use]
    pub fn derive(gms: &Key128, gid: Gid, epoch: Epoch) -> Self {
        let ([a, b, c, d], [e, f]) = (gid.0.to_be_bytes(), epoch.0.to_be_bytes());
        let id_context = [a, b, c, d, e, f];
        let context = oscore::Context::new(gms.expose(), &[], Some(&id_context));
        Self { gid, epoch, key: Key128::from_octets(context.key(&[])), common_iv: context.common_iv() }
    }

    /// The epoch that they are the keys of.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// What seals and opens the group's frames in this epoch.
    #[must_use]
    pub fn channel(&self, system: System) -> Channel<'_> {
        let bound = Bound { system, scope: self.gid.into(), epoch: self.epoch };
        Channel { key: &self.key, common_iv: &self.common_iv, bound }
    }
}
