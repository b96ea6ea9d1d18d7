//! The radios of a co-processor.

use super::MessageError;
use super::wire::{Reader, Writer};
use crate::phy::PhyProfile;

/// The most radios that a RESET_IND lists.
pub const RADIOS_MAX: usize = 8;

/// One PHY that a co-processor can be set to; 11 octets: mode id u8, first channel u32, spacing u32, channels u16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Radio {
    /// The Wi-SUN `PhyModeId`.
    pub mode_id: u8,
    /// The middle of channel 0, hertz.
    pub base_hz: u32,
    /// From one channel to the next, hertz.
    pub spacing_hz: u32,
    /// How many channels.
    pub channels: u16,
}

impl Radio {
    const UNUSED: Self = Self { mode_id: 0, base_hz: 0, spacing_hz: 0, channels: 0 };

    /// The radio of a profile.
    #[must_use]
    pub const fn of(profile: PhyProfile) -> Self {
        Self {
            mode_id: profile.mode_id(),
            base_hz: profile.base_hz(),
            spacing_hz: profile.spacing_hz(),
            channels: profile.channels(),
        }
    }

    /// The profile, if mode and whole plan are those of one.
    #[must_use]
    pub fn profile(&self) -> Option<PhyProfile> {
        PhyProfile::from_mode_id(self.mode_id).filter(|profile| Self::of(*profile) == *self)
    }
}

/// At most [`RADIOS_MAX`] radios, in the co-processor's order.
#[derive(Clone, Copy, Debug)]
pub struct RadioList {
    radios: [Radio; RADIOS_MAX],
    len: usize,
}

impl Default for RadioList {
    fn default() -> Self {
        Self { radios: [Radio::UNUSED; RADIOS_MAX], len: 0 }
    }
}

impl PartialEq for RadioList {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for RadioList {}

impl RadioList {
    /// The list of `radios`.
    ///
    /// # Errors
    /// [`MessageError::TooManyRadios`] over [`RADIOS_MAX`].
    pub fn new(radios: &[Radio]) -> Result<Self, MessageError> {
        let mut list = Self::default();
        let places = list.radios.get_mut(..radios.len()).ok_or(MessageError::TooManyRadios)?;
        places.copy_from_slice(radios);
        list.len = radios.len();
        Ok(list)
    }

    /// The radios.
    #[must_use]
    pub fn as_slice(&self) -> &[Radio] {
        self.radios.get(..self.len).unwrap_or(&self.radios)
    }

    /// Whether a profile is among them, plan and all.
    #[must_use]
    pub fn offers(&self, profile: PhyProfile) -> bool {
        self.as_slice().contains(&Radio::of(profile))
    }

    pub(super) fn read(body: &mut Reader<'_>) -> Result<Self, MessageError> {
        let mut list = Self { len: usize::from(body.u8()?), ..Self::default() };
        for place in list.radios.get_mut(..list.len).ok_or(MessageError::TooManyRadios)? {
            *place = Radio {
                mode_id: body.u8()?,
                base_hz: body.u32()?,
                spacing_hz: body.u32()?,
                channels: body.u16()?,
            };
        }
        Ok(list)
    }

    pub(super) fn write<'o>(&self, out: Writer<'o>) -> Result<Writer<'o>, MessageError> {
        let mut out = out.u8(self.len as u8)?;
        for radio in self.as_slice() {
            out = out.u8(radio.mode_id)?.u32(radio.base_hz)?.u32(radio.spacing_hz)?.u16(radio.channels)?;
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_radio_is_a_profile_only_with_its_whole_plan() {
        let radio = Radio::of(PhyProfile::Na150);
        assert_eq!(radio.profile(), Some(PhyProfile::Na150));
        assert_eq!(Radio { channels: 63, ..radio }.profile(), None);
        let list = RadioList::new(&[radio]).unwrap();
        assert!(list.offers(PhyProfile::Na150) && !list.offers(PhyProfile::Na50));
        assert_eq!(RadioList::new(&[radio; 9]), Err(MessageError::TooManyRadios));
    }
}
