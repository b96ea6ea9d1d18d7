//! The choice of a parent: least cost, slow to change, two spares.

use crate::Eui64;
use crate::etx::{ETX_ONE, Etx};
use crate::frame::Timing;

/// The margin of SNR at which a neighbour may become a parent, dB over what the demodulator needs.
pub const JOIN_MARGIN_DB: i16 = 10;
/// A change has to gain more than this, in 1/128 ETX: 1.5 tries.
pub const CHANGE_GAIN: u16 = ETX_ONE * 3 / 2;
/// The most hops from the relay.
pub const LEVEL_MAX: u8 = 16;
/// Spares kept beside the parent.
pub const SPARES_MAX: usize = 2;
/// A candidate not heard for so long is forgotten, nanoseconds: its schedule is stale as well.
pub const CANDIDATE_LIFETIME_NS: u64 = 1_800_000_000_000;
/// The path cost of a node without a path.
pub const COST_NONE: u16 = u16::MAX;
/// The level of a node without a path.
pub const LEVEL_NONE: u8 = u8::MAX;

const CANDIDATES_MAX: usize = 1 + SPARES_MAX;

/// A neighbour that may be the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The neighbour.
    pub neighbour: Eui64,
    /// Its level.
    pub level: u8,
    /// Its path cost, 1/128 ETX.
    pub path_cost: u16,
    /// Tries on the link to it.
    pub etx: Etx,
    heard_ns: u64,
}

impl Candidate {
    /// The path cost through this neighbour: its own plus the link's.
    #[must_use]
    pub fn cost(&self) -> u16 {
        self.path_cost.saturating_add(self.etx.cost())
    }
}

/// What a choice came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// As before.
    Kept,
    /// There was no parent; now there is.
    Joined(Eui64),
    /// Another parent.
    Changed {
        /// The parent before.
        from: Eui64,
        /// The parent now.
        to: Eui64,
    },
    /// The parent is lost and no spare can take its place.
    Lost(Eui64),
}

/// The parent of one node and its spares.
#[derive(Clone, Debug, Default)]
pub struct ParentChoice {
    candidates: [Option<Candidate>; CANDIDATES_MAX],
    parent: Option<Eui64>,
    /// The level held last; it outlives the parent, so that no descendant becomes one.
    level: Option<u8>,
    changes: u32,
}

impl ParentChoice {
    /// No parent, no candidates.
    #[must_use]
    pub const fn new() -> Self {
        Self { candidates: [None; CANDIDATES_MAX], parent: None, level: None, changes: 0 }
    }

    /// The parent.
    #[must_use]
    pub fn parent(&self) -> Option<&Candidate> {
        self.parent.and_then(|parent| self.get(parent))
    }

    /// The spares.
    pub fn spares(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().flatten().filter(|candidate| Some(candidate.neighbour) != self.parent)
    }

    /// This node's level, [`LEVEL_NONE`] without a parent.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.parent().map_or(LEVEL_NONE, |parent| parent.level.saturating_add(1))
    }

    /// This node's path cost, [`COST_NONE`] without a parent.
    #[must_use]
    pub fn path_cost(&self) -> u16 {
        self.parent().map_or(COST_NONE, Candidate::cost)
    }

    /// How often the parent has changed or was lost.
    #[must_use]
    pub const fn changes(&self) -> u32 {
        self.changes
    }

    /// Takes in what a neighbour says of itself, and the margin it was heard with, dB.
    ///
    /// A new candidate needs [`JOIN_MARGIN_DB`]; with all places taken it needs a lower cost than the worst
    /// spare, which gives way. One without a path, too deep, or below this node is no candidate.
    pub fn heard(&mut self, now_ns: u64, neighbour: Eui64, timing: &Timing, margin_db: i16) -> Choice {
        // The parent is followed to any level; a circle through it climbs until the last.
        let usable = timing.path_cost != COST_NONE
            && timing.level < LEVEL_MAX
            && (self.parent == Some(neighbour) || self.level.is_none_or(|level| timing.level <= level));
        if !usable {
            return self.lost(neighbour);
        }
        if let Some(candidate) = self.get_mut(neighbour) {
            candidate.level = timing.level;
            candidate.path_cost = timing.path_cost;
            candidate.heard_ns = now_ns;
        } else if margin_db >= JOIN_MARGIN_DB {
            self.add(Candidate {
                neighbour,
                level: timing.level,
                path_cost: timing.path_cost,
                etx: Etx::new(),
                heard_ns: now_ns,
            });
        }
        self.choose()
    }

    /// Takes in how a frame to a neighbour went: acknowledged at its `tries`-th try, or never.
    pub fn sent(&mut self, neighbour: Eui64, tries: u8, acknowledged: bool) -> Choice {
        if let Some(candidate) = self.get_mut(neighbour) {
            if acknowledged { candidate.etx.delivered(tries) } else { candidate.etx.failed() }
        }
        self.choose()
    }

    /// Forgets a neighbour.
    pub fn lost(&mut self, neighbour: Eui64) -> Choice {
        for place in &mut self.candidates {
            place.take_if(|candidate| candidate.neighbour == neighbour);
        }
        self.choose()
    }

    /// Forgets what was not heard for 30 minutes.
    pub fn expire(&mut self, now_ns: u64) -> Choice {
        for place in &mut self.candidates {
            place.take_if(|candidate| candidate.heard_ns.saturating_add(CANDIDATE_LIFETIME_NS) <= now_ns);
        }
        self.choose()
    }

    /// Starts discovery anew: forgets the level, so that a neighbour of any level may become the parent.
    ///
    /// For a node that has been without a parent for as long as its descendants need to notice.
    pub fn restart(&mut self) {
        if self.parent.is_none() {
            self.level = None;
        }
    }

    fn choose(&mut self) -> Choice {
        let best = self.candidates.iter().flatten().min_by_key(|candidate| candidate.cost()).copied();
        let choice = match (self.parent, self.parent().copied(), best) {
            (None, _, None) => Choice::Kept,
            (None, _, Some(best)) => Choice::Joined(best.neighbour),
            (Some(from), None, Some(best)) => Choice::Changed { from, to: best.neighbour },
            (Some(from), None, None) => Choice::Lost(from),
            (Some(from), Some(parent), Some(best))
                if u32::from(best.cost()) + u32::from(CHANGE_GAIN) < u32::from(parent.cost()) =>
            {
                Choice::Changed { from, to: best.neighbour }
            }
            (Some(_), Some(_), _) => Choice::Kept,
        };
        match choice {
            Choice::Kept => {}
            Choice::Joined(to) => self.parent = Some(to),
            Choice::Changed { to, .. } => {
                self.parent = Some(to);
                self.changes = self.changes.saturating_add(1);
            }
            Choice::Lost(_) => {
                self.parent = None;
                self.changes = self.changes.saturating_add(1);
            }
        }
        if self.parent.is_some() {
            let level = self.level();
            self.level = Some(level);
            // What is now below this node might lead back to it.
            for place in &mut self.candidates {
                place.take_if(|candidate| candidate.level > level);
            }
        }
        choice
    }

    fn add(&mut self, new: Candidate) {
        if let Some(place) = self.candidates.iter_mut().find(|place| place.is_none()) {
            *place = Some(new);
            return;
        }
        let parent = self.parent;
        let worst = self
            .candidates
            .iter_mut()
            .filter(|place| place.as_ref().is_some_and(|kept| Some(kept.neighbour) != parent))
            .max_by_key(|place| place.as_ref().map(Candidate::cost));
        if let Some(place) = worst
            && place.as_ref().is_some_and(|kept| new.cost() < kept.cost())
        {
            *place = Some(new);
        }
    }

    fn get(&self, neighbour: Eui64) -> Option<&Candidate> {
        self.candidates.iter().flatten().find(|candidate| candidate.neighbour == neighbour)
    }

    fn get_mut(&mut self, neighbour: Eui64) -> Option<&mut Candidate> {
        self.candidates.iter_mut().flatten().find(|candidate| candidate.neighbour == neighbour)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn says(level: u8, path_cost: u16) -> Timing {
        Timing { level, path_cost, ..Timing::default() }
    }

    #[test]
    fn a_parent_needs_ten_decibels() {
        let mut choice = ParentChoice::new();
        assert_eq!(choice.heard(0, Eui64(1), &says(0, 0), 9), Choice::Kept);
        assert_eq!((choice.level(), choice.path_cost()), (LEVEL_NONE, COST_NONE));
        assert_eq!(choice.heard(0, Eui64(1), &says(0, 0), 10), Choice::Joined(Eui64(1)));
        assert_eq!((choice.level(), choice.path_cost()), (1, ETX_ONE));
        assert_eq!(choice.heard(0, Eui64(1), &says(0, 0), 3), Choice::Kept);
    }

    #[test]
    fn only_a_gain_over_one_and_a_half_changes_the_parent() {
        let mut choice = ParentChoice::new();
        choice.heard(0, Eui64(1), &says(1, 500), 20);
        assert_eq!(choice.heard(0, Eui64(2), &says(1, 500 - CHANGE_GAIN), 20), Choice::Kept);
        let changed = Choice::Changed { from: Eui64(1), to: Eui64(2) };
        assert_eq!(choice.heard(0, Eui64(2), &says(1, 499 - CHANGE_GAIN), 20), changed);
        assert_eq!(choice.spares().map(|spare| spare.neighbour).collect::<Vec<_>>(), [Eui64(1)]);
        assert_eq!(choice.changes(), 1);
    }

    #[test]
    fn two_spares_are_kept_and_the_worst_gives_way() {
        let mut choice = ParentChoice::new();
        for (neighbour, cost) in [(1, 100), (2, 220), (3, 210), (4, 230), (5, 205)] {
            choice.heard(0, Eui64(neighbour), &says(1, cost), 20);
        }
        let mut spares: Vec<_> = choice.spares().map(|spare| spare.neighbour.0).collect();
        spares.sort_unstable();
        assert_eq!(spares, [3, 5]);
        assert_eq!(choice.lost(Eui64(1)), Choice::Changed { from: Eui64(1), to: Eui64(5) });
    }

    #[test]
    fn lost_tries_and_lost_hearing_change_the_parent() {
        let mut choice = ParentChoice::new();
        choice.heard(0, Eui64(1), &says(0, 0), 20);
        choice.heard(5, Eui64(2), &says(0, 0), 20);
        assert_eq!(choice.sent(Eui64(1), 1, false), Choice::Changed { from: Eui64(1), to: Eui64(2) });
        assert_eq!(choice.expire(CANDIDATE_LIFETIME_NS), Choice::Kept);
        assert_eq!(choice.expire(CANDIDATE_LIFETIME_NS + 5), Choice::Lost(Eui64(2)));
        assert!(choice.parent().is_none());
    }

    #[test]
    fn a_node_below_is_no_candidate_even_when_the_parent_is_lost() {
        let mut choice = ParentChoice::new();
        choice.heard(0, Eui64(1), &says(1, 128), 20);
        choice.heard(0, Eui64(2), &says(3, 0), 20);
        assert_eq!(choice.spares().count(), 0);
        choice.lost(Eui64(1));
        assert_eq!(choice.heard(0, Eui64(2), &says(3, 0), 20), Choice::Kept);
        choice.restart();
        assert_eq!(choice.heard(0, Eui64(2), &says(3, 0), 20), Choice::Joined(Eui64(2)));
    }

    #[test]
    fn a_parent_that_sinks_is_followed() {
        let mut choice = ParentChoice::new();
        choice.heard(0, Eui64(1), &says(1, 128), 20);
        assert_eq!(choice.heard(0, Eui64(1), &says(5, 200), 0), Choice::Kept);
        assert_eq!((choice.level(), choice.path_cost()), (6, 200 + ETX_ONE));
    }

    #[test]
    fn no_path_and_level_16_are_no_parents() {
        let mut choice = ParentChoice::new();
        assert_eq!(choice.heard(0, Eui64(1), &says(0, COST_NONE), 20), Choice::Kept);
        assert_eq!(choice.heard(0, Eui64(1), &says(16, 0), 20), Choice::Kept);
        assert_eq!(choice.heard(0, Eui64(1), &says(15, 0), 20), Choice::Joined(Eui64(1)));
        assert_eq!(choice.level(), LEVEL_MAX);
        assert_eq!(choice.heard(0, Eui64(1), &says(15, COST_NONE), 20), Choice::Lost(Eui64(1)));
    }

    proptest! {
        #[test]
        fn the_parent_is_never_far_from_the_best(
            heard in proptest::collection::vec((0_u64..6, 0_u8..18, any::<u16>(), -5_i16..40), 0..80),
        ) {
            let mut choice = ParentChoice::new();
            for (neighbour, level, path_cost, margin_db) in heard {
                choice.heard(0, Eui64(neighbour), &says(level, path_cost), margin_db);
                prop_assert!(choice.spares().count() <= CANDIDATES_MAX);
                if let Some(parent) = choice.parent() {
                    prop_assert!(choice.level() <= LEVEL_MAX);
                    prop_assert!(choice.spares().count() <= SPARES_MAX);
                    for spare in choice.spares() {
                        prop_assert!(spare.cost().saturating_add(CHANGE_GAIN) >= parent.cost());
                        prop_assert!(spare.level <= choice.level());
                    }
                }
            }
        }
    }
}
