//! What goes wrong on purpose.

use c1222::Leniency;
use c1222::carriage::{self, Place};
use seal::command::{Class, SignedCommand};
use seal::frame::{FrameType, HEAD_LEN, Head};
use seal::group::GroupKeys;
use seal::receiver::Receiver;

use crate::mix::mix_below;

/// What goes wrong on purpose.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// Of a thousand APDUs either way, so many are lost.
    pub drop_per_mille: u32,
    /// So many come twice.
    pub duplicate_per_mille: u32,
    /// So many come after the next one.
    pub reorder_per_mille: u32,
    /// The first so many devices of the file do not hear class-4 commands to groups: they miss advances.
    pub miss_group_keys: usize,
    /// A device goes off and comes up again so often, in milliseconds; 0 for never.
    pub restart_every_ms: u64,
    /// Each that comes up again is cut off once more at one of its next saves.
    pub cut_storage: bool,
}

/// What becomes of one APDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Passes,
    Lost,
    Twice,
    Late,
}

/// Deals out fates.
pub(super) struct Dice {
    faults: Faults,
    seed: u64,
    thrown: u64,
}

impl Dice {
    pub fn new(faults: Faults, seed: u64) -> Self {
        Self { faults, seed, thrown: 0 }
    }

    pub fn fate(&mut self) -> Fate {
        let Faults { drop_per_mille, duplicate_per_mille, reorder_per_mille, .. } = self.faults;
        let mut number = self.below(1000);
        for (share, fate) in [
            (drop_per_mille, Fate::Lost),
            (duplicate_per_mille, Fate::Twice),
            (reorder_per_mille, Fate::Late),
        ] {
            match number.checked_sub(u64::from(share)) {
                None => return fate,
                Some(rest) => number = rest,
            }
        }
        Fate::Passes
    }

    pub fn below(&mut self, below: u64) -> u64 {
        self.thrown = self.thrown.wrapping_add(1);
        mix_below(self.seed, self.thrown, below)
    }
}

/// Whether an APDU is a class-4 command to a group that this device is in.
pub(super) fn is_group_keys(apdu: &[u8], receiver: &Receiver) -> bool {
    let Ok(Place::Frame(place)) = carriage::locate(apdu, Leniency::Strict).map(|located| located.place)
    else {
        return false;
    };
    if place.frame_type != FrameType::GroupCommand.octet() & 0x0f {
        return false;
    }
    let (head, mut body) = (place.head(apdu), place.body(apdu).to_vec());
    let Ok(head) = Head::read(head.get(..HEAD_LEN).unwrap_or_default(), body.len()) else { return false };
    let groups = receiver.groups.all().iter().filter(|group| group.gid.0 == head.id);
    let mut held = groups.flat_map(|group| group.held.iter().map(move |held| (group.gid, held)));
    let Some((gid, held)) = held.find(|(_, held)| held.epoch().low() == head.epoch_low) else { return false };
    let keys = GroupKeys::derive(&held.gms, gid, held.epoch());
    let opened = keys.channel(receiver.system).open(&head, &mut body);
    let command = opened.and_then(|plaintext| SignedCommand::read(plaintext));
    command.is_some_and(|read| read.command.class == Class::Keys.octet())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fates_come_in_their_shares() {
        let faults = Faults {
            drop_per_mille: 100,
            duplicate_per_mille: 50,
            reorder_per_mille: 10,
            ..Faults::default()
        };
        let mut dice = Dice::new(faults, 7);
        let fates: Vec<Fate> = (0..100_000).map(|_| dice.fate()).collect();
        let share = |fate| fates.iter().filter(|other| **other == fate).count();
        assert!((9_000..11_000).contains(&share(Fate::Lost)), "{}", share(Fate::Lost));
        assert!((4_500..5_500).contains(&share(Fate::Twice)) && (800..1_200).contains(&share(Fate::Late)));
        let mut none = Dice::new(Faults::default(), 7);
        assert!((0..1000).all(|_| none.fate() == Fate::Passes));
    }
}
