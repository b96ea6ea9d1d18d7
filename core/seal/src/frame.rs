//! The fixed layout of a profile-1 frame (security layer §3): nine octets of head, then ciphertext and
//! tag. A frame travels in two parts of an APDU, so head and body are handled apart.

use crate::ids::{Epoch, Scope, Sid, System};
use crate::oscore::{self, CommonIv, NONCE_LEN};
use crate::refusal::Refusal;

/// Octets of a head.
pub const HEAD_LEN: usize = 9;
/// Octets of a tag.
pub const TAG_LEN: usize = 8;
/// A frame, head and body, has at least so many octets ...
pub const FRAME_MIN: usize = HEAD_LEN + TAG_LEN;
/// ... and at most so many, both ways.
pub const FRAME_MAX: usize = 640;
/// The longest plaintext.
pub const PLAINTEXT_MAX: usize = FRAME_MAX - FRAME_MIN;
/// The highest `seq`.
pub const SEQ_MAX: u32 = (1 << 24) - 1;
/// Octets of the additional authenticated data.
pub const AAD_LEN: usize = 43;

/// The additional authenticated data `["Encrypt0", h'a1010a', external_aad]` begins with these octets.
const AAD_HEAD: [u8; 14] = *b"\x83\x68Encrypt0\x43\xa1\x01\x0a";
/// The block that CCM makes of them: their length of 43, then these 14 octets.
pub(crate) const AAD_FIRST_BLOCK: u128 = {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n] = AAD_HEAD;
    u128::from_be_bytes([0, 43, a, b, c, d, e, f, g, h, i, j, k, l, m, n])
};

/// What a frame carries, in the order of its number. EDHOC messages (8 to C) have no head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// 1: an upstream report, an EPSEM.
    Report,
    /// 2: a signed command to one end device.
    Command,
    /// 3: a signed command to a group.
    GroupCommand,
    /// 4: downstream control items, unsigned.
    DownControl,
    /// 5: upstream control items.
    UpControl,
}

impl FrameType {
    /// Version 1 and the type, as octet 0 has them.
    #[must_use]
    pub fn octet(self) -> u8 {
        match self {
            Self::Report => 0x11,
            Self::Command => 0x12,
            Self::GroupCommand => 0x13,
            Self::DownControl => 0x14,
            Self::UpControl => 0x15,
        }
    }

    /// The type of a first octet; `None` for another version or type.
    #[must_use]
    pub fn from_octet(octet: u8) -> Option<Self> {
        match octet {
            0x11 => Some(Self::Report),
            0x12 => Some(Self::Command),
            0x13 => Some(Self::GroupCommand),
            0x14 => Some(Self::DownControl),
            0x15 => Some(Self::UpControl),
            _ => None,
        }
    }

    /// Whether end devices send it.
    #[must_use]
    pub fn is_upstream(self) -> bool {
        matches!(self, Self::Report | Self::UpControl)
    }
}

/// Octets 0..8 of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What the frame carries.
    pub frame_type: FrameType,
    /// `sid`; for group commands the `gid`.
    pub id: u32,
    /// The epoch's low octet.
    pub epoch_low: u8,
    /// The counter, at most [`SEQ_MAX`]; one key and sender never use one twice.
    pub seq: u32,
}

impl Head {
    /// Reads the head of a frame whose body (ciphertext and tag) has `body_len` octets.
    ///
    /// # Errors
    /// [`Refusal::Format`] when the frame has not 17 to 640 octets, for another version or type.
    pub fn read(head: &[u8], body_len: usize) -> Result<Self, Refusal> {
        let octets = <&[u8; HEAD_LEN]>::try_from(head).map_err(|_| Refusal::Format)?;
        if !(TAG_LEN..=FRAME_MAX - HEAD_LEN).contains(&body_len) {
            return Err(Refusal::Format);
        }
        let [first, a, b, c, d, epoch_low, x, y, z] = *octets;
        Ok(Self {
            frame_type: FrameType::from_octet(first).ok_or(Refusal::Format)?,
            id: u32::from_be_bytes([a, b, c, d]),
            epoch_low,
            seq: u32::from_be_bytes([0, x, y, z]),
        })
    }

    /// Splits a frame whose parts lie together into its head and its body.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn split(frame: &[u8]) -> Result<(Self, &[u8]), Refusal> {
        let (head, body) = frame.split_at_checked(HEAD_LEN).ok_or(Refusal::Format)?;
        Ok((Self::read(head, body.len())?, body))
    }

    /// The head's octets.
    #[must_use]
    pub fn octets(&self) -> [u8; HEAD_LEN] {
        let [a, b, c, d] = self.id.to_be_bytes();
        let [_, x, y, z] = self.seq.to_be_bytes();
        [self.frame_type.octet(), a, b, c, d, self.epoch_low, x, y, z]
    }

    /// The association, when the head is not that of a group command.
    #[must_use]
    pub fn sid(&self) -> Sid {
        Sid(self.id)
    }

    /// The nonce. The sender's id is `sid` upstream, `C_I` (00) downstream, empty for a group.
    #[must_use]
    pub fn nonce(&self, common_iv: &CommonIv) -> [u8; NONCE_LEN] {
        let (id_len, id) = self.sender();
        oscore::nonce(common_iv, id_len, id, u64::from(self.seq))
    }

    /// What the tag covers besides the plaintext: the COSE `Enc_structure`, 43 octets.
    #[must_use]
    pub fn aad(&self, bound: &Bound) -> [u8; AAD_LEN] {
        aad_octets(self.aad_blocks(bound))
    }

    /// [`Self::nonce`] as a number.
    #[inline]
    pub(crate) fn nonce_number(&self, common_iv: &CommonIv) -> u128 {
        let (id_len, id) = self.sender();
        oscore::nonce_number(common_iv, id_len, id, u64::from(self.seq))
    }

    /// [`Self::aad`] as CCM has it: the second and the third block, big-endian; the first never changes.
    #[inline]
    pub(crate) fn aad_blocks(&self, bound: &Bound) -> [u128; 2] {
        let scope = u128::from(u64::from_be_bytes(bound.scope.0));
        let head = (u128::from(self.frame_type.octet()) << 64)
            | (u128::from(self.id) << 32)
            | (u128::from(self.epoch_low) << 24)
            | u128::from(self.seq & SEQ_MAX);
        [
            (0x581b << 112) | (head << 40) | (scope >> 24),
            (scope << 104)
                | (u128::from(bound.epoch.0) << 88)
                | (u128::from(u64::from_be_bytes(bound.system.0)) << 24),
        ]
    }

    /// Length of the sender's id, and the id.
    fn sender(&self) -> (u8, u64) {
        match self.frame_type {
            FrameType::Report | FrameType::UpControl => (4, u64::from(self.id)),
            FrameType::Command | FrameType::DownControl => (1, 0),
            FrameType::GroupCommand => (0, 0),
        }
    }
}

/// What a frame is bound to besides its head: never sent, always authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The installation.
    pub system: System,
    /// The end device, or the group.
    pub scope: Scope,
    /// The whole epoch.
    pub epoch: Epoch,
}

/// The additional authenticated data of its second and third block.
pub(crate) fn aad_octets(blocks: [u128; 2]) -> [u8; AAD_LEN] {
    let mut aad = [0; AAD_LEN];
    let parts = AAD_HEAD.into_iter().chain(blocks.into_iter().flat_map(u128::to_be_bytes));
    for (octet, part) in aad.iter_mut().zip(parts) {
        *octet = part;
    }
    aad
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_of_all_types_read_back() {
        for octet in 0..=u8::MAX {
            let head = [octet, 0x0e, 0x52, 0x0a, 0xd3, 0x02, 0xfc, 0xa8, 0x20];
            match Head::read(&head, 8) {
                Ok(read) => assert_eq!((read.octets(), read.seq, read.id), (head, 0x00fc_a820, 0x0e52_0ad3)),
                Err(refusal) => assert_eq!(refusal, Refusal::Format),
            }
            assert_eq!(Head::read(&head, 8).is_ok(), (0x11..=0x15).contains(&octet));
        }
    }

    #[test]
    fn a_frame_has_17_to_640_octets() {
        for len in 0..700 {
            let mut frame = vec![0; len];
            if let Some(first) = frame.first_mut() {
                *first = 0x11;
            }
            assert_eq!(Head::split(&frame).is_ok(), (17..=640).contains(&len), "{len} octets");
        }
        assert_eq!(Head::read(&[0x11; 8], 8), Err(Refusal::Format));
        assert_eq!(Head::read(&[0x11; 10], 8), Err(Refusal::Format));
    }
}
