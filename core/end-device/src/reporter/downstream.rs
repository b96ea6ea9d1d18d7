//! What comes down to a device that reports: acknowledgements and WAIT (security layer, Annex A, type 4).

use seal::control::{Down, Items, WAIT_MAX_S};
use seal::frame::{Bound, FrameType, Head};
use seal::ids::System;
use seal::profile1::Channel;
use seal::window::Place;

use super::{Association, Reporter, Unacknowledged};

/// Why a device refuses a downstream frame (security layer §10). Nothing is sent back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum DownRefusal {
    /// Length, version, a type that this device does not serve, or items that do not parse.
    #[error("SEC-DN-FORMAT: wrong length, version, type or items")]
    Format,
    /// No key for this association and epoch.
    #[error("SEC-DN-EPOCH: no key for this association and epoch")]
    Epoch,
    /// Seen before, or below the window.
    #[error("SEC-DN-REPLAY: seen before, or below the window")]
    Replay,
    /// The tag is not K_dn's.
    #[error("SEC-DN-AUTH: the tag is wrong")]
    Auth,
}

impl DownRefusal {
    /// The code, as metrics and reports spell it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Format => "SEC-DN-FORMAT",
            Self::Epoch => "SEC-DN-EPOCH",
            Self::Replay => "SEC-DN-REPLAY",
            Self::Auth => "SEC-DN-AUTH",
        }
    }
}

/// What an opened frame did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Items that changed something.
    pub used: u32,
    /// Items that their rule skips: keys of groups that it is not in, answers to nothing that it asked.
    pub skipped: u32,
}

impl Reporter {
    /// All steps before opening: what a downstream frame has to be opened with.
    ///
    /// # Errors
    /// [`DownRefusal::Format`], [`DownRefusal::Epoch`], [`DownRefusal::Replay`].
    pub fn admit(&self, head: &Head, system: System) -> Result<Channel<'_>, DownRefusal> {
        let Association { dev, sid, epoch, keys, .. } = self.association();
        if head.frame_type != FrameType::DownControl {
            return Err(DownRefusal::Format);
        }
        if head.id != sid.0 || head.epoch_low != epoch.low() {
            return Err(DownRefusal::Epoch);
        }
        if self.down.place(head.seq) != Place::Fresh {
            return Err(DownRefusal::Replay);
        }
        let bound = Bound { system, scope: (*dev).into(), epoch: *epoch };
        Ok(Channel { key: &keys.dn, common_iv: &keys.common_iv, bound })
    }

    /// All steps after opening, for each admitted frame of a batch in its order. `plaintext` is `None` when it
    /// did not open; each report that it shows to be durable goes to `acknowledged`.
    ///
    /// # Errors
    /// [`DownRefusal::Replay`] when an earlier frame of the batch was the same, [`DownRefusal::Auth`],
    /// [`DownRefusal::Format`].
    pub fn accept(
        &mut self,
        head: &Head,
        plaintext: Option<&[u8]>,
        now_us: u64,
        mut acknowledged: impl FnMut(Unacknowledged),
    ) -> Result<Heard, DownRefusal> {
        if self.down.place(head.seq) != Place::Fresh {
            return Err(DownRefusal::Replay);
        }
        let plaintext = plaintext.ok_or(DownRefusal::Auth)?;
        self.down.restore(head.seq);
        let mut heard = Heard::default();
        for item in Items::read(plaintext).map_err(|_| DownRefusal::Format)? {
            let used = match item {
                Down::Ack(ack) if ack.epoch == self.association.epoch => {
                    self.acknowledge(&ack, &mut acknowledged)
                }
                Down::Wait { seconds } => {
                    let wait_us = u64::from(seconds.min(WAIT_MAX_S)) * 1_000_000;
                    self.wait_until_us = now_us.saturating_add(wait_us);
                    true
                }
                Down::Ack(_) | Down::GroupKey(_) | Down::Response { .. } => false,
            };
            let count = if used { &mut heard.used } else { &mut heard.skipped };
            *count = count.saturating_add(1);
        }
        Ok(heard)
    }
}
