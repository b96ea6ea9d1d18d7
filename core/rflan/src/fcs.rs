//! Check sequences of the serial line and of the air.
//!
//! Three 16-bit sums share one polynomial (1021h, reflected) and one table; they differ in the value they
//! start with and in whether the result is inverted. FCS-16/X.25 guards HDLC-lite frames (RFC 1662, annex C);
//! CRC-16/MCRF4XX and one that starts with C6C6h guard header and payload of the Wi-SUN co-processor framing.
//! FCS-32 guards the frame on the air (802.15.4-2015, 7.2.10): it is CRC-32 of ISO 3309.

/// What the running FCS-16 is after a frame and its own check octets: the frame is whole.
pub const FCS16_GOOD: u16 = 0xF0B8;

/// Octets of the FCS-32 at the end of a PSDU.
pub const FCS32_LEN: usize = 4;

/// The start of FCS-16/X.25 and CRC-16/MCRF4XX.
const CRC16_INIT: u16 = 0xFFFF;
/// What the reflected register of the Wi-SUN payload check starts with.
const CRC16_WISUN_INIT: u16 = 0xC6C6;
/// 1021h, reflected.
const CRC16_POLYNOMIAL: u16 = 0x8408;
/// 04C11DB7h, reflected.
const CRC32_POLYNOMIAL: u32 = 0xEDB8_8320;

const CRC16_TABLE: [u16; 256] = crc16_table();
const CRC32_TABLE: [u32; 256] = crc32_table();

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which checks the index")]
const fn crc16_table() -> [u16; 256] {
    let mut table = [0_u16; 256];
    let mut octet = 0_u16;
    while octet < 256 {
        let mut crc = octet;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ CRC16_POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[octet as usize] = crc;
        octet += 1;
    }
    table
}

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler, which checks the index")]
const fn crc32_table() -> [u32; 256] {
    let mut table = [0_u32; 256];
    let mut octet = 0_u32;
    while octet < 256 {
        let mut crc = octet;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ CRC32_POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        table[octet as usize] = crc;
        octet += 1;
    }
    table
}

fn crc16_step(crc: u16, octet: u8) -> u16 {
    let [low, high] = crc.to_le_bytes();
    // An octet cannot leave a table of 256.
    CRC16_TABLE.get(usize::from(low ^ octet)).copied().unwrap_or(0) ^ u16::from(high)
}

fn crc32_step(crc: u32, octet: u8) -> u32 {
    let [low, ..] = crc.to_le_bytes();
    CRC32_TABLE.get(usize::from(low ^ octet)).copied().unwrap_or(0) ^ (crc >> 8)
}

/// A running FCS-16/X.25.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fcs16(u16);

impl Default for Fcs16 {
    fn default() -> Self {
        Self::new()
    }
}

impl Fcs16 {
    /// Before the first octet.
    #[must_use]
    pub const fn new() -> Self {
        Self(CRC16_INIT)
    }

    /// Takes one octet in.
    pub fn update(&mut self, octet: u8) {
        self.0 = crc16_step(self.0, octet);
    }

    /// The check to send after what was taken in, low octet first.
    #[must_use]
    pub const fn value(self) -> u16 {
        !self.0
    }

    /// Whether what was taken in ended with its own check.
    #[must_use]
    pub const fn is_good(self) -> bool {
        self.0 == FCS16_GOOD
    }
}

/// FCS-16/X.25 of `octets` (RFC 1662, annex C); sent low octet first.
#[must_use]
pub fn fcs16(octets: &[u8]) -> u16 {
    let mut fcs = Fcs16::new();
    for octet in octets {
        fcs.update(*octet);
    }
    fcs.value()
}

/// CRC-16/MCRF4XX of `octets`: FCS-16 that is not inverted.
#[must_use]
pub fn crc16_mcrf4xx(octets: &[u8]) -> u16 {
    octets.iter().fold(CRC16_INIT, |crc, octet| crc16_step(crc, *octet))
}

/// The payload check of open Wi-SUN co-processors.
///
/// Their document calls it CRC-A (ISO/IEC 14443-3, type A), whose start is C6C6h before reflection. The published host
/// and firmware put C6C6h into the register of the reflected form, where CRC-A has 6363h. This follows what
/// they do: a board would refuse the other.
#[must_use]
pub fn crc16_wisun(octets: &[u8]) -> u16 {
    octets.iter().fold(CRC16_WISUN_INIT, |crc, octet| crc16_step(crc, *octet))
}

/// FCS-32 of the MHR and MAC payload of a frame; sent low octet first.
///
/// Fewer than four octets are taken as if zero octets followed up to four (802.15.4-2015, 7.2.10).
#[must_use]
pub fn fcs32(octets: &[u8]) -> u32 {
    let padding = FCS32_LEN.saturating_sub(octets.len());
    let crc = octets.iter().copied().chain(core::iter::repeat_n(0, padding)).fold(u32::MAX, crc32_step);
    !crc
}

/// The PSDU without its FCS-32, or nothing when the check is wrong or missing.
#[must_use]
pub fn strip_fcs32(psdu: &[u8]) -> Option<&[u8]> {
    let (body, check) = psdu.split_last_chunk::<FCS32_LEN>()?;
    (fcs32(body) == u32::from_le_bytes(*check)).then_some(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CHECK: &[u8] = b"123456789";

    #[test]
    fn the_check_values_of_the_published_catalogue_hold() {
        assert_eq!(fcs16(CHECK), 0x906E);
        assert_eq!(crc16_mcrf4xx(CHECK), 0x6F91);
        assert_eq!(fcs32(CHECK), 0xCBF4_3926);
    }

    #[test]
    fn the_wisun_payload_check_is_crc_a_but_for_its_start() {
        let from = |start: u16| CHECK.iter().fold(start, |crc, octet| crc16_step(crc, *octet));
        assert_eq!(from(0xC6C6_u16.reverse_bits()), 0xBF05, "CRC-A as catalogued");
        assert_eq!(crc16_wisun(CHECK), from(0xC6C6));
        assert_ne!(crc16_wisun(CHECK), 0xBF05);
    }

    #[test]
    fn a_short_frame_is_padded_for_its_fcs32_only() {
        assert_eq!(fcs32(&[0x02, 0x00, 0x17]), fcs32(&[0x02, 0x00, 0x17, 0x00]));
        assert_ne!(fcs32(&[0x02, 0x00, 0x17, 0x00]), fcs32(&[0x02, 0x00, 0x17, 0x00, 0x00]));
        assert_eq!(strip_fcs32(&[1, 2, 3]), None);
    }

    proptest! {
        #[test]
        fn a_frame_with_its_check_leaves_the_good_residue(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut running = Fcs16::new();
            for octet in octets.iter().copied().chain(fcs16(&octets).to_le_bytes()) {
                running.update(octet);
            }
            prop_assert!(running.is_good());
        }

        #[test]
        fn one_or_two_flipped_bits_are_found(
            octets in proptest::collection::vec(any::<u8>(), 1..300),
            first in any::<prop::sample::Index>(),
            second in any::<prop::sample::Index>(),
        ) {
            let mut psdu = octets.clone();
            psdu.extend(fcs32(&octets).to_le_bytes());
            prop_assert_eq!(strip_fcs32(&psdu), Some(octets.as_slice()));
            let bits = psdu.len() * 8;
            let (first, second) = (first.index(bits), second.index(bits));
            psdu[first / 8] ^= 1 << (first % 8);
            prop_assert_eq!(strip_fcs32(&psdu), None);
            if second != first {
                psdu[second / 8] ^= 1 << (second % 8);
                prop_assert_eq!(strip_fcs32(&psdu), None);
            }
        }
    }
}
