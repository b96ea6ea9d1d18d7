//! What is sent.

/// Who sent a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// An end device, with K_up.
    Up,
    /// A head-end, with K_dn.
    Down,
}

/// To whom a command is signed. Each has counters of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// To this end device.
    Device,
    /// To a group that it is in.
    Group,
}

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Content {
    /// A reading, by its number.
    Report(u8),
    /// The echo of a challenge under a new epoch.
    Proof(u8),
    /// The report of this epoch and `seq` is durable.
    Acknowledgement(u8, u8),
    /// A signed order to ratchet once.
    Advance {
        /// To whom.
        scope: Scope,
        /// Its counter.
        ctr: u8,
        /// Its campaign.
        campaign: u8,
        /// What the proof has to echo.
        challenge: u8,
    },
    /// A signed order to open the switch.
    Disconnect {
        /// Its counter; to the device.
        ctr: u8,
        /// Which one it is, of all that were ever asked for.
        number: u8,
    },
}

/// A sealed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Frame {
    /// Who sent it.
    pub direction: Direction,
    /// The epoch of its key.
    pub epoch: u8,
    /// Its counter under that key: with the key, its nonce.
    pub seq: u8,
    /// What it says.
    pub content: Content,
}

impl Frame {
    /// Whether both were sealed with one key and one nonce, but say different things.
    #[must_use]
    pub fn reuses(&self, other: &Self) -> bool {
        let nonce = |frame: &Self| (frame.direction, frame.epoch, frame.seq);
        nonce(self) == nonce(other) && self.content != other.content
    }
}
