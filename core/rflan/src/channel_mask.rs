//! Which channels of a plan are in use.

use crate::phy::PhyProfile;

/// Octets that hold one bit for each of 129 channels.
pub const CHANNEL_MASK_LEN_MAX: usize = 17;

/// Why a channel mask is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelMaskError {
    /// No channel is left.
    #[error("channel-mask-empty")]
    Empty,
    /// A bit stands for a channel that the plan does not have.
    #[error("channel-beyond-plan")]
    BeyondPlan,
}

/// The channels in use; never empty.
///
/// Channel n is bit n mod 8 of octet n / 8, as in the published Wi-SUN host interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelMask {
    octets: [u8; CHANNEL_MASK_LEN_MAX],
    len: u8,
    count: u16,
}

impl ChannelMask {
    /// Every channel of the plan.
    #[must_use]
    pub fn all(profile: PhyProfile) -> Self {
        let mut octets = [0; CHANNEL_MASK_LEN_MAX];
        let mut left = profile.channels();
        for octet in &mut octets {
            let bits = left.min(8);
            *octet = u8::MAX.checked_shr(8 - u32::from(bits)).unwrap_or(0);
            left -= bits;
        }
        Self { octets, len: len_of(profile), count: profile.channels() }
    }

    /// The mask in `octets`; what they leave out is not in use.
    ///
    /// # Errors
    /// [`ChannelMaskError::Empty`] without a channel, [`ChannelMaskError::BeyondPlan`] with one too high.
    pub fn from_octets(profile: PhyProfile, octets: &[u8]) -> Result<Self, ChannelMaskError> {
        let all = Self::all(profile);
        let mut mask = Self { octets: [0; CHANNEL_MASK_LEN_MAX], len: all.len, count: 0 };
        for (at, octet) in octets.iter().enumerate() {
            if *octet & !all.octets.get(at).copied().unwrap_or(0) != 0 {
                return Err(ChannelMaskError::BeyondPlan);
            }
            if let Some(kept) = mask.octets.get_mut(at) {
                *kept = *octet;
            }
        }
        mask.count = mask.octets.iter().map(|octet| octet.count_ones() as u16).sum();
        if mask.count == 0 { Err(ChannelMaskError::Empty) } else { Ok(mask) }
    }

    /// The mask as it is sent: one bit a channel, as many octets as the plan needs.
    #[must_use]
    pub fn as_octets(&self) -> &[u8] {
        self.octets.get(..usize::from(self.len)).unwrap_or(&self.octets)
    }

    /// How many channels are in use; at least one.
    #[must_use]
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// Whether a channel is in use.
    #[must_use]
    pub fn contains(&self, channel: u16) -> bool {
        self.octets
            .get(usize::from(channel / 8))
            .is_some_and(|octet| octet.checked_shr(u32::from(channel % 8)).unwrap_or(0) & 1 == 1)
    }

    /// The channel that a hash names: the n-th of those in use, n being the hash modulo their count.
    #[must_use]
    pub fn pick(&self, hash: u32) -> u16 {
        let mut left = hash % u32::from(self.count.max(1));
        let mut first = 0;
        for octet in &self.octets {
            let here = octet.count_ones();
            if left < here {
                for bit in 0..8 {
                    if octet >> bit & 1 == 1 {
                        if left == 0 {
                            return first + bit;
                        }
                        left -= 1;
                    }
                }
            }
            left -= here;
            first += 8;
        }
        // Not reached: a mask is never empty.
        0
    }
}

const fn len_of(profile: PhyProfile) -> u8 {
    profile.channels().div_ceil(8) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_whole_plan_picks_the_hash_itself() {
        for profile in PhyProfile::ALL {
            let mask = ChannelMask::all(profile);
            assert_eq!(mask.count(), profile.channels());
            for hash in 0..u32::from(profile.channels()) {
                assert_eq!(u32::from(mask.pick(hash)), hash);
            }
            assert_eq!(ChannelMask::from_octets(profile, mask.as_octets()), Ok(mask));
        }
        assert_eq!(ChannelMask::all(PhyProfile::Na50).as_octets().len(), 17);
        assert_eq!(ChannelMask::all(PhyProfile::Na150).as_octets().len(), 8);
    }

    #[test]
    fn an_empty_mask_and_a_channel_too_high_are_refused() {
        assert_eq!(ChannelMask::from_octets(PhyProfile::Na50, &[0; 17]), Err(ChannelMaskError::Empty));
        assert_eq!(ChannelMask::from_octets(PhyProfile::Na50, &[]), Err(ChannelMaskError::Empty));
        assert_eq!(
            ChannelMask::from_octets(PhyProfile::Na50, &[0xFF; 17]),
            Err(ChannelMaskError::BeyondPlan)
        );
        assert_eq!(ChannelMask::from_octets(PhyProfile::Na150, &[1; 9]), Err(ChannelMaskError::BeyondPlan));
        assert!(ChannelMask::from_octets(PhyProfile::Na150, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_ok());
    }

    proptest! {
        #[test]
        fn a_pick_is_the_nth_channel_in_use(octets in proptest::array::uniform8(any::<u8>()), hash in any::<u32>()) {
            prop_assume!(octets != [0; 8]);
            let mask = ChannelMask::from_octets(PhyProfile::Na150, &octets).unwrap();
            let used: Vec<u16> = (0..64).filter(|channel| mask.contains(*channel)).collect();
            prop_assert_eq!(usize::from(mask.count()), used.len());
            prop_assert_eq!(mask.pick(hash), used[hash as usize % used.len()]);
        }
    }
}
