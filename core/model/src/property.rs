//! What must never happen.

use std::collections::BTreeSet;

use crate::frame::{Content, Direction};
use crate::rule::Rules;
use crate::world::World;

/// Something that holds in every state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Property {
    /// No key seals two things under one nonce.
    NoNonceTwice,
    /// No counter is signed twice.
    NoCtrTwice,
    /// No command is carried out twice.
    NoCommandTwice,
    /// No upstream frame is accepted twice.
    NoReplay,
    /// What was acknowledged is durable.
    NothingLost,
    /// Head-end and end device can still talk: each opens what the other seals.
    NoOrphan,
}

impl Property {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NoNonceTwice,
        Self::NoCtrTwice,
        Self::NoCommandTwice,
        Self::NoReplay,
        Self::NothingLost,
        Self::NoOrphan,
    ];

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::NoNonceTwice => "no nonce twice",
            Self::NoCtrTwice => "no ctr twice",
            Self::NoCommandTwice => "no command twice",
            Self::NoReplay => "no replay",
            Self::NothingLost => "nothing lost",
            Self::NoOrphan => "no orphan",
        }
    }

    /// Whether it holds.
    #[must_use]
    pub fn holds(self, world: &World, rules: Rules) -> bool {
        match self {
            Self::NoNonceTwice => {
                let mut pairs = world.sent.iter().zip(world.sent.iter().skip(1));
                !pairs.any(|(first, second)| first.reuses(second))
            }
            Self::NoCtrTwice => {
                let commands: BTreeSet<Content> = world
                    .sent
                    .iter()
                    .filter(|frame| frame.direction == Direction::Down)
                    .map(|frame| frame.content)
                    .collect();
                let counters = commands.iter().filter_map(|content| match *content {
                    Content::Advance { scope, ctr, .. } => Some((scope, ctr)),
                    Content::Disconnect { ctr, .. } => Some((crate::Scope::Device, ctr)),
                    _ => None,
                });
                let mut seen = BTreeSet::new();
                counters.into_iter().all(|counter| seen.insert(counter))
            }
            Self::NoCommandTwice => {
                let mut seen = BTreeSet::new();
                world.end_device.carried_out.iter().all(|number| seen.insert(number))
            }
            Self::NoReplay => !world.accepted_twice,
            Self::NothingLost => world.end_device.acknowledged.is_subset(&world.delivered),
            // A restored head-end may have to wait for the device's own new registration; a copy that was
            // refused talks to nobody.
            Self::NoOrphan => {
                let head_end = &world.head_ends[0];
                world.restores > 0
                    || (head_end.opens(world.end_device.epoch)
                        && world.end_device.held.contains(&head_end.seals(rules)))
            }
        }
    }
}
