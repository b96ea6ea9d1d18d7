//! PHY profiles: 802.15.4 SUN FSK in 902-928 MHz.
//!
//! Channel plans are those of 802.15.4-2020, 10.1.2 for North America; the mode ids are the Wi-SUN
//! `PhyModeId` of the same rate and modulation index.

use core::fmt;

/// Octets of a PPDU before the PSDU: preamble 8, SFD 2, PHR 2.
pub const PPDU_OVERHEAD: u32 = 12;
/// Octets of a PPDU up to the end of the SFD, the instant that every time stamp of a frame names.
pub const SFD_END: u32 = 10;
/// The longest PSDU that a PHR can name, octets, FCS included.
pub const PSDU_LEN_MAX: u16 = 2047;
/// From the end of a frame to the start of its ACK, nanoseconds.
pub const ACK_TURNAROUND_NS: u64 = 1_000_000;

const NS_PER_S: u64 = 1_000_000_000;

/// What a radio modulates and on which channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PhyProfile {
    /// 50 kb/s, modulation index 1, 129 channels of 200 kHz.
    Na50,
    /// 150 kb/s, modulation index 0.5, 64 channels of 400 kHz.
    Na150,
}

impl PhyProfile {
    /// Every profile.
    pub const ALL: [Self; 2] = [Self::Na50, Self::Na150];

    /// The name in configurations.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Na50 => "na50",
            Self::Na150 => "na150",
        }
    }

    /// The profile of a name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }

    /// The Wi-SUN `PhyModeId`: FSK mode 1b or mode 3.
    #[must_use]
    pub const fn mode_id(self) -> u8 {
        match self {
            Self::Na50 => 0x02,
            Self::Na150 => 0x05,
        }
    }

    /// The profile of a Wi-SUN `PhyModeId`.
    #[must_use]
    pub fn from_mode_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.mode_id() == id)
    }

    /// Bits a second.
    #[must_use]
    pub const fn rate(self) -> u32 {
        match self {
            Self::Na50 => 50_000,
            Self::Na150 => 150_000,
        }
    }

    /// The number of channels, counted from zero.
    #[must_use]
    pub const fn channels(self) -> u16 {
        match self {
            Self::Na50 => 129,
            Self::Na150 => 64,
        }
    }

    /// The middle of channel zero, hertz.
    #[must_use]
    pub const fn base_hz(self) -> u32 {
        match self {
            Self::Na50 => 902_200_000,
            Self::Na150 => 902_400_000,
        }
    }

    /// From one channel to the next, hertz.
    #[must_use]
    pub const fn spacing_hz(self) -> u32 {
        match self {
            Self::Na50 => 200_000,
            Self::Na150 => 400_000,
        }
    }

    /// Twice the deviation over the rate.
    #[must_use]
    pub const fn modulation_index(self) -> f64 {
        match self {
            Self::Na50 => 1.0,
            Self::Na150 => 0.5,
        }
    }

    /// The bandwidth by Carson's rule, hertz: twice the sum of deviation and half the rate.
    ///
    /// An estimate which sorts a profile under a paragraph of 47 CFR 15.247(a)(1)(i). What a module
    /// really occupies is a matter of its certificate.
    #[must_use]
    pub const fn bandwidth_hz(self) -> u32 {
        match self {
            Self::Na50 => 100_000,
            Self::Na150 => 225_000,
        }
    }

    /// The middle of a channel, hertz; nothing for a channel outside the plan.
    #[must_use]
    pub fn frequency_hz(self, channel: u16) -> Option<u32> {
        (channel < self.channels()).then(|| self.base_hz() + u32::from(channel) * self.spacing_hz())
    }

    /// How long a frame is on the air, nanoseconds, rounded up: (PSDU + 12) x 8 / rate.
    ///
    /// `psdu` is in octets and includes the FCS.
    #[must_use]
    pub const fn airtime_ns(self, psdu: u16) -> u64 {
        self.octets_ns(psdu as u32 + PPDU_OVERHEAD)
    }

    /// From the start of a frame to the end of its SFD, nanoseconds.
    #[must_use]
    pub const fn sfd_ns(self) -> u64 {
        self.octets_ns(SFD_END)
    }

    /// How long a frame, the pause after it and its ACK take together, nanoseconds.
    ///
    /// Both PSDUs are in octets and include the FCS. This is what has to fit in a slot.
    #[must_use]
    pub const fn exchange_ns(self, psdu: u16, ack_psdu: u16) -> u64 {
        self.airtime_ns(psdu) + ACK_TURNAROUND_NS + self.airtime_ns(ack_psdu)
    }

    const fn octets_ns(self, octets: u32) -> u64 {
        (octets as u64 * 8 * NS_PER_S).div_ceil(self.rate() as u64)
    }
}

impl fmt::Display for PhyProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_of_180_octets_is_on_the_air_for_41_or_14_ms() {
        assert_eq!(PhyProfile::Na50.airtime_ns(245), 41_120_000);
        assert_eq!(PhyProfile::Na150.airtime_ns(245), 13_706_667);
        assert_eq!(PhyProfile::Na50.airtime_ns(0), 1_920_000);
        assert_eq!(PhyProfile::Na50.sfd_ns(), 1_600_000);
    }

    #[test]
    fn the_plans_stay_inside_the_band() {
        for profile in PhyProfile::ALL {
            let last = profile.frequency_hz(profile.channels() - 1).unwrap();
            assert!(profile.base_hz() - profile.spacing_hz() / 2 >= 902_000_000);
            assert!(last + profile.spacing_hz() / 2 <= 928_000_000, "{profile}");
            assert_eq!(profile.frequency_hz(profile.channels()), None);
        }
        assert_eq!(PhyProfile::Na50.frequency_hz(128), Some(927_800_000));
        assert_eq!(PhyProfile::Na150.frequency_hz(63), Some(927_600_000));
    }

    #[test]
    fn the_bandwidth_follows_from_rate_and_index() {
        for profile in PhyProfile::ALL {
            let carson = f64::from(profile.rate()) * (profile.modulation_index() + 1.0);
            assert!((carson - f64::from(profile.bandwidth_hz())).abs() < 1.0);
        }
    }

    #[test]
    fn names_and_mode_ids_lead_back() {
        for profile in PhyProfile::ALL {
            assert_eq!(PhyProfile::from_name(profile.name()), Some(profile));
            assert_eq!(PhyProfile::from_mode_id(profile.mode_id()), Some(profile));
        }
        assert_eq!(PhyProfile::from_name("na300"), None);
        assert_eq!(PhyProfile::from_mode_id(0), None);
    }
}
