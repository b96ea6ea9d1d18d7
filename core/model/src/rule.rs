//! The rules, each of which can be left out.

/// A rule of the security layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// §8: a head-end makes a block of `seq` durable before it uses it.
    HeadEndReserves,
    /// §8: an end device does, too.
    EndDeviceReserves,
    /// §7: `ctr` is durable before it is signed.
    CtrBeforeSignature,
    /// §7: the end device stores `ctr`, then acts.
    StoreBeforeAct,
    /// §7: a command's `ctr` is greater than the last of its scope.
    CtrRises,
    /// §6: window bit and report are durable in one write.
    WindowWithReport,
    /// §6: only what is durable is acknowledged.
    AcknowledgeDurable,
    /// §8: candidates are durable when the advance is issued.
    IssueBeforeSending,
    /// §8: downstream stays on the old epoch until the new one is proven.
    OldEpochUntilProof,
    /// §8: the end device holds K_dn from the epoch of its last valid downstream frame to its own.
    HoldOlderKeys,
    /// §8: an end device ratchets only for a greater campaign.
    CampaignRises,
    /// §8: a promotion erases the candidates that were skipped; higher ones stay.
    HigherCandidatesStay,
    /// §8: state whose incarnation is below the HSM's seals nothing.
    FenceAtStart,
    /// §8: the incarnation is read again before each reservation.
    FenceAtReservation,
    /// Beyond §8: a backup raises the incarnation of the state that it was made from. Without this a backup
    /// made since the last start passes the fence, and repeats counters that were used after it.
    BackupRaises,
    /// §8: a restore skips the counters of downstream frames that may have been used since.
    RestoreSkipsSeq,
    /// Beyond §8: a restore skips the counters of commands, too.
    RestoreSkipsCtr,
    /// §8: after a restore nothing from upstream counts until a proof echoes a new challenge.
    RestoreChallenges,
    /// §8: a second restore of the same backup is refused.
    OneRestore,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::HeadEndReserves,
        Self::EndDeviceReserves,
        Self::CtrBeforeSignature,
        Self::StoreBeforeAct,
        Self::CtrRises,
        Self::WindowWithReport,
        Self::AcknowledgeDurable,
        Self::IssueBeforeSending,
        Self::OldEpochUntilProof,
        Self::HoldOlderKeys,
        Self::CampaignRises,
        Self::HigherCandidatesStay,
        Self::FenceAtStart,
        Self::FenceAtReservation,
        Self::BackupRaises,
        Self::RestoreSkipsSeq,
        Self::RestoreSkipsCtr,
        Self::RestoreChallenges,
        Self::OneRestore,
    ];
}

/// The rules that hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    without: Option<Rule>,
}

impl Rules {
    /// All of them.
    #[must_use]
    pub fn all() -> Self {
        Self { without: None }
    }

    /// All but one.
    #[must_use]
    pub fn without(rule: Rule) -> Self {
        Self { without: Some(rule) }
    }

    /// Whether this one holds.
    #[must_use]
    pub fn hold(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }
}
