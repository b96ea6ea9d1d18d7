//! A head-end: what it has made durable, and what it has only in memory.

use std::collections::{BTreeMap, BTreeSet};

use crate::frame::{Content, Direction, Frame, Scope};
use crate::rule::{Rule, Rules};

/// Epochs that are issued and not proven, at most.
const CANDIDATES_MAX: u8 = 2;
/// What a restore adds to counters: more than any life of the model uses.
const SKIP: u8 = 16;

/// What a head-end has made durable: journal, checkpoint and store together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Kept {
    /// Raised at every start.
    pub incarnation: u8,
    /// The proven epoch.
    pub active: u8,
    /// Candidates: issued and not proven.
    candidates: BTreeSet<u8>,
    /// Still opened.
    retiring: BTreeSet<u8>,
    /// The newest epoch ever issued.
    issued: u8,
    /// The last campaign.
    campaign: u8,
    /// Upstream frames that were accepted.
    window: BTreeSet<(u8, u8)>,
    /// Upstream frames up to here are below the window, by epoch.
    below: BTreeMap<u8, u8>,
    /// The first downstream `seq` that is not reserved, by epoch.
    floors: BTreeMap<u8, u8>,
    /// The last `ctr` that is reserved, by scope.
    ctr: [u8; 2],
    /// After a restore: nothing counts until a proof echoes it.
    challenge: Option<u8>,
    /// A proof echoed it.
    proven: bool,
}

/// What a running head-end has in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Memory {
    /// The next downstream `seq` by epoch.
    next: BTreeMap<u8, u8>,
    /// The last `ctr` used, by scope.
    ctr: [u8; 2],
    /// Candidates that only memory knows of.
    candidates: BTreeSet<u8>,
    /// A window that only memory knows of.
    window: BTreeSet<(u8, u8)>,
    /// An accepted frame whose write is on its way.
    pending: Option<Frame>,
    /// What may be acknowledged.
    due: BTreeSet<(u8, u8)>,
    /// The campaign under way: its group command was sent, the one to the device not yet.
    unicast: Option<(u8, u8)>,
}

/// A head-end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct HeadEnd {
    /// What is durable.
    pub kept: Kept,
    memory: Option<Memory>,
    /// It was told that its state is a copy.
    pub refused: bool,
}

impl HeadEnd {
    /// Whether it runs.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.memory.is_some()
    }

    /// Loses its power.
    pub fn cut(&mut self) {
        self.memory = None;
    }

    /// Starts. `hsm` is the incarnation in the HSM.
    pub fn start(&mut self, hsm: &mut u8, rules: Rules) {
        let ours = self.kept.incarnation == *hsm || self.kept.incarnation == *hsm + 1;
        if rules.hold(Rule::FenceAtStart) && !ours {
            self.refused = true;
            return;
        }
        self.kept.incarnation = self.kept.incarnation.max(*hsm) + 1;
        *hsm = self.kept.incarnation;
        let next = if rules.hold(Rule::HeadEndReserves) { self.kept.floors.clone() } else { BTreeMap::new() };
        self.memory = Some(Memory { next, ctr: self.kept.ctr, ..Memory::default() });
    }

    /// Raises its incarnation while it runs.
    pub fn raise(&mut self, hsm: &mut u8) {
        if self.kept.incarnation == *hsm {
            self.kept.incarnation += 1;
            *hsm = self.kept.incarnation;
        }
    }

    /// Becomes what a backup holds, by the rules of a restore. `challenge` is a new number.
    pub fn restore(&mut self, backup: &Kept, hsm: u8, challenge: u8, rules: Rules) {
        let mut kept = backup.clone();
        kept.incarnation = hsm;
        if rules.hold(Rule::RestoreSkipsSeq) {
            for epoch in kept.active..=kept.active + CANDIDATES_MAX {
                *kept.floors.entry(epoch).or_default() += SKIP;
            }
        }
        if rules.hold(Rule::RestoreSkipsCtr) {
            kept.ctr = kept.ctr.map(|ctr| ctr + SKIP);
        }
        kept.issued = kept.active + CANDIDATES_MAX;
        kept.candidates = (kept.active + 1..=kept.issued).collect();
        kept.campaign += SKIP;
        (kept.challenge, kept.proven) = (Some(challenge), false);
        *self = Self { kept, memory: None, refused: false };
    }

    /// Whether frames of this epoch are opened.
    #[must_use]
    pub fn opens(&self, epoch: u8) -> bool {
        let kept = &self.kept;
        let in_memory = self.memory.as_ref().is_some_and(|memory| memory.candidates.contains(&epoch));
        epoch == kept.active
            || kept.candidates.contains(&epoch)
            || kept.retiring.contains(&epoch)
            || in_memory
    }

    /// The epoch that it seals with.
    #[must_use]
    pub fn seals(&self, rules: Rules) -> u8 {
        let newest = self.kept.candidates.last().copied().unwrap_or(self.kept.active);
        if rules.hold(Rule::OldEpochUntilProof) { self.kept.active } else { newest }
    }

    /// Takes an upstream frame. Answers whether anything changed.
    pub fn receive(&mut self, frame: &Frame, rules: Rules) -> bool {
        let opens = self.opens(frame.epoch);
        let Some(memory) = &mut self.memory else { return false };
        let place = (frame.epoch, frame.seq);
        let below = self.kept.below.get(&frame.epoch).is_some_and(|below| frame.seq < *below);
        let seen = self.kept.window.contains(&place) || memory.window.contains(&place);
        if !opens || below || seen || memory.pending.is_some() {
            return false;
        }
        if let Some(challenge) = self.kept.challenge
            && rules.hold(Rule::RestoreChallenges)
            && !self.kept.proven
            && frame.content != Content::Proof(challenge)
        {
            return false;
        }
        memory.pending = Some(*frame);
        if !rules.hold(Rule::AcknowledgeDurable) {
            memory.due.insert(place);
        }
        true
    }

    /// The pending frame's write is durable. Answers the frame, which now counts as delivered.
    pub fn commit(&mut self, rules: Rules) -> Option<Frame> {
        let memory = self.memory.as_mut()?;
        let frame = memory.pending.take()?;
        let place = (frame.epoch, frame.seq);
        let window =
            if rules.hold(Rule::WindowWithReport) { &mut self.kept.window } else { &mut memory.window };
        window.insert(place);
        memory.due.insert(place);
        let kept = &mut self.kept;
        if kept.challenge.is_some() && !kept.proven && frame.content == Content::Proof(kept.challenge?) {
            kept.proven = true;
            kept.below.insert(frame.epoch, frame.seq);
        }
        if kept.candidates.contains(&frame.epoch) || memory.candidates.contains(&frame.epoch) {
            kept.retiring.insert(kept.active);
            kept.active = frame.epoch;
            let stay = |epoch: &u8| *epoch > frame.epoch && rules.hold(Rule::HigherCandidatesStay);
            kept.candidates.retain(stay);
            memory.candidates.retain(stay);
            // With a proof that is no frame of an older epoch counts as new any more.
            if kept.challenge.is_some() {
                kept.retiring.clear();
            }
        }
        Some(frame)
    }

    /// Seals under the next counter, reserving it first.
    fn seal(&mut self, content: Content, hsm: u8, rules: Rules) -> Option<Frame> {
        let epoch = self.seals(rules);
        let memory = self.memory.as_mut()?;
        let seq = memory.next.get(&epoch).copied().unwrap_or(0);
        if self.kept.floors.get(&epoch).copied().unwrap_or(0) <= seq {
            if rules.hold(Rule::FenceAtReservation) && self.kept.incarnation != hsm {
                return None;
            }
            self.kept.floors.insert(epoch, seq + 1);
        }
        memory.next.insert(epoch, seq + 1);
        Some(Frame { direction: Direction::Down, epoch, seq, content })
    }

    /// Seals an acknowledgement that is due.
    pub fn acknowledge(&mut self, hsm: u8, rules: Rules) -> Option<Frame> {
        let (epoch, seq) = self.memory.as_ref()?.due.first().copied()?;
        let frame = self.seal(Content::Acknowledgement(epoch, seq), hsm, rules)?;
        self.memory.as_mut()?.due.remove(&(epoch, seq));
        Some(frame)
    }

    /// Signs and seals a disconnect.
    pub fn disconnect(&mut self, number: u8, hsm: u8, rules: Rules) -> Option<Frame> {
        let ctr = self.ctr(Scope::Device, hsm, rules)?;
        self.seal(Content::Disconnect { ctr, number }, hsm, rules)
    }

    /// Begins a campaign with a command to the group, or goes on with one to the device.
    pub fn advance(&mut self, campaigns_max: u8, hsm: u8, rules: Rules) -> Option<Frame> {
        if let Some((campaign, challenge)) = self.memory.as_mut()?.unicast.take() {
            let ctr = self.ctr(Scope::Device, hsm, rules)?;
            return self.seal(
                Content::Advance { scope: Scope::Device, ctr, campaign, challenge },
                hsm,
                rules,
            );
        }
        let memory = self.memory.as_mut()?;
        let newest = self.kept.issued.max(memory.candidates.last().copied().unwrap_or(0));
        let restored = self.kept.challenge.is_some() && !self.kept.proven;
        if self.kept.campaign % SKIP >= campaigns_max
            || (newest >= self.kept.active + CANDIDATES_MAX && !restored)
        {
            return None;
        }
        self.kept.campaign += 1;
        let campaign = self.kept.campaign;
        let challenge = if restored { self.kept.challenge? } else { campaign };
        // A restored head-end has derived candidates enough.
        if !restored {
            if rules.hold(Rule::IssueBeforeSending) {
                self.kept.issued = newest + 1;
                self.kept.candidates.insert(newest + 1);
            } else {
                memory.candidates.insert(newest + 1);
            }
        }
        memory.unicast = Some((campaign, challenge));
        let ctr = self.ctr(Scope::Group, hsm, rules)?;
        self.seal(Content::Advance { scope: Scope::Group, ctr, campaign, challenge }, hsm, rules)
    }

    /// The next `ctr` of a scope, durable before it is signed.
    fn ctr(&mut self, scope: Scope, hsm: u8, rules: Rules) -> Option<u8> {
        if rules.hold(Rule::FenceAtReservation) && self.kept.incarnation != hsm {
            return None;
        }
        let last = self.memory.as_mut()?.ctr.get_mut(scope as usize)?;
        *last += 1;
        let ctr = *last;
        if rules.hold(Rule::CtrBeforeSignature)
            && let Some(kept) = self.kept.ctr.get_mut(scope as usize)
        {
            *kept = ctr;
        }
        Some(ctr)
    }
}
