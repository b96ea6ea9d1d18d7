//! The mesh header (RFC 4944, 5.2) with EUI-64s, and the broadcast header (11.1) behind it.

use super::LowpanError;
use crate::Eui64;
use crate::reader::Reader;

/// The most hops that a mesh header can name, in its deep form.
pub const HOPS_LEFT_MAX: u8 = 255;

const DISPATCH: u8 = 0b1000_0000;
const DISPATCH_MASK: u8 = 0b1100_0000;
/// The originator is a 16-bit address.
const SHORT_ORIGINATOR: u8 = 0b0010_0000;
/// The final address is a 16-bit address.
const SHORT_FINAL: u8 = 0b0001_0000;
/// The hops stand in an octet of their own.
const DEEP: u8 = 0b0000_1111;
const DISPATCH_BC0: u8 = 0b0101_0000;
const BROADCAST: [u8; 2] = [0xFF, 0xFF];

/// Whom a mesh header names as its final address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeshFinal {
    /// One node.
    Device(Eui64),
    /// Every node; the sequence of the broadcast header tells two broadcasts of an originator apart.
    Broadcast {
        /// The sequence number.
        sequence: u8,
    },
}

/// A mesh header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeshHeader {
    /// The hops that the frame may still take.
    pub hops_left: u8,
    /// Who built the packet.
    pub originator: Eui64,
    /// Whom it is for.
    pub destination: MeshFinal,
}

impl MeshHeader {
    /// Whether a payload starts with a mesh header.
    #[must_use]
    pub fn is_next(payload: &[u8]) -> bool {
        payload.first().is_some_and(|octet| octet & DISPATCH_MASK == DISPATCH)
    }

    /// Reads a mesh header. Answers it and what follows.
    ///
    /// # Errors
    /// [`LowpanError::Dispatch`], [`LowpanError::Truncated`], [`LowpanError::MeshShortAddress`],
    /// [`LowpanError::BroadcastWithoutSequence`].
    pub fn decode(payload: &[u8]) -> Result<(Self, &[u8]), LowpanError> {
        let truncated = LowpanError::Truncated;
        let mut reader = Reader::new(payload);
        let first = reader.octet().ok_or(truncated)?;
        if first & DISPATCH_MASK != DISPATCH {
            return Err(LowpanError::Dispatch);
        }
        if first & SHORT_ORIGINATOR != 0 {
            return Err(LowpanError::MeshShortAddress);
        }
        let hops_left = match first & DEEP {
            DEEP => reader.octet().ok_or(truncated)?,
            hops => hops,
        };
        let originator = Eui64(u64::from_be_bytes(reader.array().ok_or(truncated)?));
        let destination = if first & SHORT_FINAL == 0 {
            MeshFinal::Device(Eui64(u64::from_be_bytes(reader.array().ok_or(truncated)?)))
        } else if reader.array().ok_or(truncated)? != BROADCAST {
            return Err(LowpanError::MeshShortAddress);
        } else {
            let [dispatch, sequence] = reader.array().ok_or(LowpanError::BroadcastWithoutSequence)?;
            if dispatch != DISPATCH_BC0 {
                return Err(LowpanError::BroadcastWithoutSequence);
            }
            MeshFinal::Broadcast { sequence }
        };
        Ok((Self { hops_left, originator, destination }, reader.rest()))
    }

    /// Octets on the air; deep hops take one more.
    #[must_use]
    pub const fn encoded_len(&self) -> usize {
        let deep = if self.hops_left >= DEEP { 1 } else { 0 };
        let last = match self.destination {
            MeshFinal::Device(_) => 8,
            MeshFinal::Broadcast { .. } => 4,
        };
        9 + deep + last
    }

    /// Appends the header.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let short = match self.destination {
            MeshFinal::Device(_) => 0,
            MeshFinal::Broadcast { .. } => SHORT_FINAL,
        };
        out.push(DISPATCH | short | self.hops_left.min(DEEP));
        if self.hops_left >= DEEP {
            out.push(self.hops_left);
        }
        out.extend_from_slice(&self.originator.0.to_be_bytes());
        match self.destination {
            MeshFinal::Device(device) => out.extend_from_slice(&device.0.to_be_bytes()),
            MeshFinal::Broadcast { sequence } => {
                out.extend_from_slice(&BROADCAST);
                out.extend_from_slice(&[DISPATCH_BC0, sequence]);
            }
        }
    }

    /// The header as a forwarder sends it on: one hop fewer (RFC 4944, 5.2).
    ///
    /// # Errors
    /// [`LowpanError::HopsExhausted`] when none would be left.
    pub fn forwarded(&self) -> Result<Self, LowpanError> {
        match self.hops_left {
            0 | 1 => Err(LowpanError::HopsExhausted),
            hops => Ok(Self { hops_left: hops - 1, ..*self }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hops_run_out() {
        let header =
            MeshHeader { hops_left: 2, originator: Eui64(1), destination: MeshFinal::Device(Eui64(2)) };
        let header = header.forwarded().unwrap();
        assert_eq!(header.hops_left, 1);
        assert_eq!(header.forwarded(), Err(LowpanError::HopsExhausted));
    }

    #[test]
    fn a_broadcast_needs_its_sequence() {
        let header = MeshHeader {
            hops_left: 3,
            originator: Eui64(1),
            destination: MeshFinal::Broadcast { sequence: 9 },
        };
        let mut out = Vec::new();
        header.encode(&mut out);
        assert_eq!(MeshHeader::decode(&out), Ok((header, &[][..])));
        assert_eq!(MeshHeader::decode(&out[..11]), Err(LowpanError::BroadcastWithoutSequence));
        out[10] = 0x00;
        assert_eq!(MeshHeader::decode(&out), Err(LowpanError::MeshShortAddress));
    }

    proptest! {
        #[test]
        fn a_header_reads_as_it_was_written(
            hops_left in any::<u8>(),
            originator in any::<u64>(),
            device in proptest::option::of(any::<u64>()),
            sequence in any::<u8>(),
        ) {
            let destination = match device {
                Some(device) => MeshFinal::Device(Eui64(device)),
                None => MeshFinal::Broadcast { sequence },
            };
            let header = MeshHeader { hops_left, originator: Eui64(originator), destination };
            let mut out = Vec::new();
            header.encode(&mut out);
            prop_assert_eq!(out.len(), header.encoded_len());
            out.push(0xAA);
            prop_assert_eq!(MeshHeader::decode(&out), Ok((header, &[0xAA][..])));
        }

        #[test]
        fn any_octets_decode_without_panic(octets in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = MeshHeader::decode(&octets);
        }
    }
}
