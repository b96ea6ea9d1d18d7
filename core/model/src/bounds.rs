//! How much happens in one life.

/// How often each thing happens at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Readings.
    pub reports: u8,
    /// Disconnects that are asked for.
    pub disconnects: u8,
    /// Epoch campaigns.
    pub campaigns: u8,
    /// Losses of power at head-ends, together.
    pub head_end_cuts: u8,
    /// Losses of power at the end device.
    pub end_device_cuts: u8,
    /// Whether a copy of a backup is started as a second head-end.
    pub copy: bool,
    /// Whether the running head-end's machine is cloned.
    pub clone: bool,
    /// Restores.
    pub restores: u8,
    /// Frames that a head-end seals in one life, together.
    pub sealed: u8,
}
