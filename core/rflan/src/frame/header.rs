//! The MAC header and its encoding.

use super::{FrameError, VendorIe, header_ie};
use crate::Eui64;
use crate::fcs::fcs32;
use crate::reader::Reader;

/// Octets of the check that ENC-MIC-64 appends.
pub(crate) const MIC_LEN: usize = 8;

const TYPE_DATA: u16 = 1;
const TYPE_ACK: u16 = 2;
const SECURED: u16 = 1 << 3;
const ACK_REQUEST: u16 = 1 << 5;
const PAN_ID_COMPRESSION: u16 = 1 << 6;
const SEQUENCE_SUPPRESSED: u16 = 1 << 8;
const IE_PRESENT: u16 = 1 << 9;
const DESTINATION_SHIFT: u16 = 10;
const VERSION_2: u16 = 2 << 12;
const VERSION_MASK: u16 = 3 << 12;
const SOURCE_SHIFT: u16 = 14;
const MODE_NONE: u16 = 0;
const MODE_SHORT: u16 = 2;
const MODE_EXTENDED: u16 = 3;
const BROADCAST: u16 = 0xFFFF;

/// Security level ENC-MIC-64.
const LEVEL: u8 = 6;
/// Key id mode 1 (a key index, no key source), in its place of the security control octet.
const KEY_ID_MODE_1: u8 = 1 << 3;

/// Who sends a frame to whom; the cell id is the PAN id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// A data frame to one neighbour.
    Unicast {
        /// The cell.
        cell: u16,
        /// The neighbour.
        destination: Eui64,
        /// The sender.
        source: Eui64,
    },
    /// A data frame to every neighbour in the cell.
    Broadcast {
        /// The cell.
        cell: u16,
        /// The sender.
        source: Eui64,
    },
    /// A discovery frame: its sender is in this cell. It has no destination.
    Advertisement {
        /// The cell.
        cell: u16,
        /// The sender.
        source: Eui64,
    },
    /// An Enhanced ACK to the sender of the frame of the same sequence number.
    Ack {
        /// Who sent the frame that is acknowledged.
        destination: Eui64,
    },
}

impl Addressing {
    /// The sender, when the frame names it.
    #[must_use]
    pub const fn source(&self) -> Option<Eui64> {
        match self {
            Self::Unicast { source, .. }
            | Self::Broadcast { source, .. }
            | Self::Advertisement { source, .. } => Some(*source),
            Self::Ack { .. } => None,
        }
    }

    /// The cell, when the frame names it.
    #[must_use]
    pub const fn cell(&self) -> Option<u16> {
        match self {
            Self::Unicast { cell, .. } | Self::Broadcast { cell, .. } | Self::Advertisement { cell, .. } => {
                Some(*cell)
            }
            Self::Ack { .. } => None,
        }
    }

    const fn control(&self) -> u16 {
        match self {
            Self::Unicast { .. } => {
                TYPE_DATA | MODE_EXTENDED << DESTINATION_SHIFT | MODE_EXTENDED << SOURCE_SHIFT
            }
            Self::Broadcast { .. } => {
                TYPE_DATA
                    | PAN_ID_COMPRESSION
                    | MODE_SHORT << DESTINATION_SHIFT
                    | MODE_EXTENDED << SOURCE_SHIFT
            }
            Self::Advertisement { .. } => TYPE_DATA | MODE_EXTENDED << SOURCE_SHIFT,
            Self::Ack { .. } => TYPE_ACK | PAN_ID_COMPRESSION | MODE_EXTENDED << DESTINATION_SHIFT,
        }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Unicast { cell, destination, source } => {
                out.extend_from_slice(&cell.to_le_bytes());
                out.extend_from_slice(&destination.0.to_le_bytes());
                out.extend_from_slice(&source.0.to_le_bytes());
            }
            Self::Broadcast { cell, source } => {
                out.extend_from_slice(&cell.to_le_bytes());
                out.extend_from_slice(&BROADCAST.to_le_bytes());
                out.extend_from_slice(&source.0.to_le_bytes());
            }
            Self::Advertisement { cell, source } => {
                out.extend_from_slice(&cell.to_le_bytes());
                out.extend_from_slice(&source.0.to_le_bytes());
            }
            Self::Ack { destination } => out.extend_from_slice(&destination.0.to_le_bytes()),
        }
    }

    fn decode(control: u16, reader: &mut Reader<'_>) -> Result<Self, FrameError> {
        let modes = (
            control & 7,
            control >> DESTINATION_SHIFT & 3,
            control >> SOURCE_SHIFT & 3,
            control & PAN_ID_COMPRESSION != 0,
        );
        let eui = |reader: &mut Reader<'_>| {
            reader.array().map(|octets| Eui64(u64::from_le_bytes(octets))).ok_or(FrameError::Truncated)
        };
        let le16 = |reader: &mut Reader<'_>| reader.le16().ok_or(FrameError::Truncated);
        match modes {
            (TYPE_DATA, MODE_EXTENDED, MODE_EXTENDED, false) => {
                Ok(Self::Unicast { cell: le16(reader)?, destination: eui(reader)?, source: eui(reader)? })
            }
            (TYPE_DATA, MODE_SHORT, MODE_EXTENDED, true) => {
                let cell = le16(reader)?;
                if le16(reader)? != BROADCAST {
                    return Err(FrameError::Addressing);
                }
                Ok(Self::Broadcast { cell, source: eui(reader)? })
            }
            (TYPE_DATA, MODE_NONE, MODE_EXTENDED, false) => {
                Ok(Self::Advertisement { cell: le16(reader)?, source: eui(reader)? })
            }
            (TYPE_ACK, MODE_EXTENDED, MODE_NONE, true) => Ok(Self::Ack { destination: eui(reader)? }),
            (TYPE_DATA | TYPE_ACK, ..) => Err(FrameError::Addressing),
            _ => Err(FrameError::Type),
        }
    }
}

/// The auxiliary security header of ENC-MIC-64 with key id mode 1 (802.15.4-2015, 9.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuxiliaryHeader {
    /// The frame counter of the sender under this key.
    pub counter: u32,
    /// Which key; 1 to 255.
    pub key_index: u8,
}

impl AuxiliaryHeader {
    /// Octets on the air: control 1, counter 4, key index 1.
    pub const LEN: usize = 6;
}

/// A MAC header without its IEs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Who sends to whom.
    pub addressing: Addressing,
    /// The sequence number; an ACK repeats that of its frame.
    pub sequence: u8,
    /// Whether an ACK is asked for. Only a unicast frame asks for one; in others it is sent as zero.
    pub ack_request: bool,
    /// How the frame is secured, if it is.
    pub security: Option<AuxiliaryHeader>,
}

impl Header {
    /// Appends the MAC header with its IEs: what ENC-MIC-64 authenticates but does not encrypt.
    ///
    /// `has_payload` says whether a payload follows; then header termination 2 closes the IEs.
    pub fn encode(&self, ies: &[VendorIe<'_>], has_payload: bool, out: &mut Vec<u8>) {
        let mut control = self.addressing.control() | VERSION_2;
        if self.security.is_some() {
            control |= SECURED;
        }
        if self.ack_request && matches!(self.addressing, Addressing::Unicast { .. }) {
            control |= ACK_REQUEST;
        }
        if !ies.is_empty() {
            control |= IE_PRESENT;
        }
        out.extend_from_slice(&control.to_le_bytes());
        out.push(self.sequence);
        self.addressing.encode(out);
        if let Some(auxiliary) = self.security {
            out.push(LEVEL | KEY_ID_MODE_1);
            out.extend_from_slice(&auxiliary.counter.to_le_bytes());
            out.push(auxiliary.key_index);
        }
        header_ie::encode(ies, has_payload, out);
    }

    /// Appends a frame that is not secured, without its FCS: header and payload.
    ///
    /// A header that names a key is sent as if it named none; [`crate::security::seal_frame`] secures.
    pub fn encode_frame(&self, ies: &[VendorIe<'_>], payload: &[u8], out: &mut Vec<u8>) {
        Self { security: None, ..*self }.encode(ies, !payload.is_empty(), out);
        out.extend_from_slice(payload);
    }

    /// Appends a whole PSDU that is not secured: the frame and its FCS-32.
    pub fn encode_psdu(&self, ies: &[VendorIe<'_>], payload: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        self.encode_frame(ies, payload, out);
        append_fcs(start, out);
    }

    /// Reads a header up to its IEs. Answers it and whether IEs follow.
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<(Self, bool), FrameError> {
        let control = reader.le16().ok_or(FrameError::Truncated)?;
        // The version first: it says how to read the rest (7.2.1.9).
        if control & VERSION_MASK != VERSION_2 {
            return Err(FrameError::Version);
        }
        if control & SEQUENCE_SUPPRESSED != 0 {
            return Err(FrameError::SequenceSuppressed);
        }
        let sequence = reader.octet().ok_or(FrameError::Truncated)?;
        let addressing = Addressing::decode(control, reader)?;
        let security = if control & SECURED == 0 {
            None
        } else {
            let [level, c0, c1, c2, c3, key_index] = reader.array().ok_or(FrameError::Truncated)?;
            if level != LEVEL | KEY_ID_MODE_1 {
                return Err(FrameError::Security);
            }
            Some(AuxiliaryHeader { counter: u32::from_le_bytes([c0, c1, c2, c3]), key_index })
        };
        let header = Self { addressing, sequence, ack_request: control & ACK_REQUEST != 0, security };
        Ok((header, control & IE_PRESENT != 0))
    }
}

/// Appends the FCS-32 of the frame that stands in `out` from `start` on.
pub fn append_fcs(start: usize, out: &mut Vec<u8>) {
    let fcs = fcs32(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&fcs.to_le_bytes());
}
