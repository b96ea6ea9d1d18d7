//! A frame read from its PSDU.

use super::header_ie::{Termination, skip_payload_ies};
use super::{FrameError, Header, HeaderIes, MIC_LEN, RouteIe, Timing, VendorIe};
use crate::Eui64;
use crate::fcs::strip_fcs32;
use crate::reader::Reader;

/// A frame, borrowed from its PSDU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The MAC header.
    pub header: Header,
    /// The header IEs.
    pub ies: HeaderIes<'a>,
    /// What follows the header; in a secured frame ciphertext and check.
    pub payload: &'a [u8],
    termination: Termination,
}

impl<'a> Frame<'a> {
    /// Reads a PSDU whose last four octets are its FCS-32.
    ///
    /// # Errors
    /// [`FrameError::Fcs`] first; then the word for what is wrong in the header.
    pub fn decode(psdu: &'a [u8]) -> Result<Self, FrameError> {
        Self::decode_checked(strip_fcs32(psdu).ok_or(FrameError::Fcs)?)
    }

    /// Reads a PSDU without FCS, as a co-processor hands it over after its own check.
    ///
    /// # Errors
    /// [`FrameError`] for what is wrong in the header.
    pub fn decode_checked(octets: &'a [u8]) -> Result<Self, FrameError> {
        let mut reader = Reader::new(octets);
        let (header, has_ies) = Header::decode(&mut reader)?;
        let after = reader.rest();
        // The check of a secured frame is no IE, even when no payload stands before it.
        let mic = if header.security.is_some() { MIC_LEN } else { 0 };
        let body = after.len().checked_sub(mic).ok_or(FrameError::Truncated)?;
        let (ies, termination, len) = if has_ies {
            HeaderIes::decode(after.get(..body).unwrap_or_default())?
        } else {
            (HeaderIes::NONE, Termination::Payload, 0)
        };
        Ok(Self { header, ies, payload: after.get(len..).unwrap_or_default(), termination })
    }

    /// The payload without payload IEs, which this link does not use and skips.
    ///
    /// Of a secured frame it is asked only once the frame is open.
    ///
    /// # Errors
    /// [`FrameError::PayloadIe`].
    pub fn body(&self) -> Result<&'a [u8], FrameError> {
        match self.termination {
            Termination::Ht1 => skip_payload_ies(self.payload),
            Termination::Payload => Ok(self.payload),
        }
    }

    /// The sender's timing, level and path cost.
    #[must_use]
    pub fn timing(&self) -> Option<Timing> {
        self.ies.vendor().find_map(|ie| if let VendorIe::Timing(timing) = ie { Some(timing) } else { None })
    }

    /// The originator's parent.
    #[must_use]
    pub fn parent(&self) -> Option<Eui64> {
        self.ies.vendor().find_map(|ie| if let VendorIe::Parent(parent) = ie { Some(parent) } else { None })
    }

    /// The source route that is left.
    #[must_use]
    pub fn route(&self) -> Option<RouteIe<'a>> {
        self.ies.vendor().find_map(|ie| if let VendorIe::Route(route) = ie { Some(route) } else { None })
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Addressing, AuxiliaryHeader, UNICAST_MHR_LEN};
    use super::*;
    use crate::hop::SlotFraction;
    use proptest::prelude::*;

    const SOURCE: Eui64 = Eui64(0x0200_5EEF_1000_0001);
    const DESTINATION: Eui64 = Eui64(0x0200_5EEF_1000_0002);

    fn addressing() -> impl Strategy<Value = Addressing> {
        (0..4, any::<u16>(), any::<u64>(), any::<u64>()).prop_map(|(shape, cell, destination, source)| {
            let (destination, source) = (Eui64(destination), Eui64(source));
            match shape {
                0 => Addressing::Unicast { cell, destination, source },
                1 => Addressing::Broadcast { cell, source },
                2 => Addressing::Advertisement { cell, source },
                _ => Addressing::Ack { destination },
            }
        })
    }

    fn unicast() -> Header {
        Header {
            addressing: Addressing::Unicast { cell: 7, destination: DESTINATION, source: SOURCE },
            sequence: 1,
            ack_request: true,
            security: None,
        }
    }

    #[test]
    fn the_header_of_a_unicast_frame_has_the_length_the_fragments_reckon_with() {
        let mut out = Vec::new();
        unicast().encode(&[], true, &mut out);
        assert_eq!(out.len(), UNICAST_MHR_LEN);
        let mut out = Vec::new();
        unicast().encode(&[VendorIe::Timing(Timing::default())], true, &mut out);
        assert_eq!(out.len(), UNICAST_MHR_LEN + super::super::TIMING_IE_LEN + super::super::TERMINATION_LEN);
    }

    #[test]
    fn an_ack_without_payload_ends_with_its_ies() {
        let header = Header {
            addressing: Addressing::Ack { destination: SOURCE },
            sequence: 9,
            ack_request: false,
            security: None,
        };
        let timing = Timing { fraction: SlotFraction::from_u24(0x01_0203), level: 3, path_cost: 0x0180 };
        let mut out = Vec::new();
        header.encode_psdu(&[VendorIe::Timing(timing)], &[], &mut out);
        assert_eq!(out.len(), 27);
        let frame = Frame::decode(&out).unwrap();
        assert_eq!(frame.header, header);
        assert_eq!(frame.timing(), Some(timing));
        assert!(frame.payload.is_empty());
    }

    #[test]
    fn what_is_not_ours_is_refused_by_its_word() {
        let mut out = Vec::new();
        unicast().encode(&[], true, &mut out);
        let refused = |change: fn(&mut Vec<u8>)| {
            let mut octets = out.clone();
            change(&mut octets);
            Frame::decode_checked(&octets).unwrap_err().to_string()
        };
        assert_eq!(refused(|octets| octets[1] &= !0x30), "frame-version-not-used");
        assert_eq!(refused(|octets| octets[0] &= !0x07), "frame-type-not-used");
        assert_eq!(refused(|octets| octets[0] |= 0x40), "addressing-not-used");
        assert_eq!(refused(|octets| octets[1] |= 0x01), "sequence-suppressed");
        assert_eq!(refused(|octets| octets.truncate(20)), "frame-truncated");
        assert_eq!(refused(|octets| octets[0] |= 0x08), "frame-truncated");
        assert_eq!(
            refused(|octets| {
                octets[0] |= 0x08;
                octets.extend([0x05, 0, 0, 0, 0, 1]);
            }),
            "security-not-used"
        );
        assert_eq!(
            refused(|octets| {
                octets[1] |= 0x02;
                octets.extend([0x05, 0x00, 0x46, 0x52, 0x02, 0x01, 0x00]);
            }),
            "vendor-ie-length"
        );
        assert_eq!(Frame::decode(&out).unwrap_err().to_string(), "fcs-bad");
    }

    proptest! {
        #[test]
        fn any_octets_decode_without_panic(octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Frame::decode(&octets);
            if let Ok(frame) = Frame::decode_checked(&octets) {
                let _ = (frame.body(), frame.timing(), frame.parent(), frame.route());
            }
        }

        #[test]
        fn any_octets_after_a_valid_start_decode_without_panic(
            control in any::<u8>(),
            octets in proptest::collection::vec(any::<u8>(), 19..300),
        ) {
            let mut psdu = vec![0x01 | control & 0x68, 0xEE];
            psdu.extend(octets);
            if let Ok(frame) = Frame::decode_checked(&psdu) {
                let _ = (frame.body(), frame.timing(), frame.parent(), frame.route());
            }
        }

        #[test]
        fn a_frame_reads_as_it_was_written(
            addressing in addressing(),
            sequence in any::<u8>(),
            ack_request in any::<bool>(),
            fraction in 0_u32..1 << 24,
            level in any::<u8>(),
            path_cost in any::<u16>(),
            parent in any::<u64>(),
            hops in proptest::collection::vec(any::<u64>(), 0..=14),
            kinds in 0_u8..8,
            payload in proptest::collection::vec(any::<u8>(), 0..200),
            key in proptest::option::of((any::<u32>(), any::<u8>())),
        ) {
            let octets: Vec<u8> = hops.iter().flat_map(|hop| hop.to_le_bytes()).collect();
            let timing = Timing { fraction: SlotFraction::from_u24(fraction), level, path_cost };
            let route = RouteIe::from_octets(&octets).unwrap();
            let all = [VendorIe::Timing(timing), VendorIe::Parent(Eui64(parent)), VendorIe::Route(route)];
            let ies: Vec<_> =
                all.into_iter().enumerate().filter(|(at, _)| kinds >> at & 1 == 1).map(|(_, ie)| ie).collect();
            let unicast = matches!(addressing, Addressing::Unicast { .. });
            let header = Header { addressing, sequence, ack_request: ack_request && unicast, security: None };
            let mut out = Vec::new();
            header.encode_psdu(&ies, &payload, &mut out);
            let frame = Frame::decode(&out).unwrap();
            prop_assert_eq!(frame.header, header);
            prop_assert_eq!(frame.body().unwrap(), payload.as_slice());
            prop_assert_eq!(frame.ies.vendor().collect::<Vec<_>>(), ies);
            // The same with a security header: the payload stands for ciphertext and check.
            let security = key.map(|(counter, key_index)| AuxiliaryHeader { counter, key_index });
            let header = Header { security, ..header };
            let mut out = Vec::new();
            header.encode(&all, true, &mut out);
            out.extend([0x55; 8]);
            let frame = Frame::decode_checked(&out).unwrap();
            prop_assert_eq!(frame.header, header);
            prop_assert_eq!(frame.payload, [0x55; 8]);
        }
    }
}
