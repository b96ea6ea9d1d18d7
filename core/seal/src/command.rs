//! The signed command (security layer §3): `skid 1 ‖ cls 1 ‖ ctr u32 ‖ nbf u32 ‖ ttl u16 ‖ body ‖
//! signature 64`, bound to one system and to one end device or group.
//!
//! Classes 0 to 3 carry an EPSEM, class 4 a list of [`KeyItem`]s, class 5 a [`SetTime`].

use alloc::vec::Vec;

mod key_item;
mod receipt;
mod set_time;

pub use key_item::{KeyItem, Point};
pub use receipt::Receipt;
pub use set_time::SetTime;

use crate::frame::{FrameType, PLAINTEXT_MAX};
use crate::ids::{Dev, Gid, Scope, System};
use crate::signature::{SIGNATURE_LEN, Signer, VerifyingKey, sha256, structure};

/// Octets before the body.
pub const HEADER_LEN: usize = 12;
/// The shortest signed command: an empty body.
pub const COMMAND_MIN: usize = HEADER_LEN + SIGNATURE_LEN;
/// The longest body.
pub const BODY_MAX: usize = PLAINTEXT_MAX - COMMAND_MIN;
/// Bodies of classes 0, 1 and 3 are padded to multiples of so many octets.
pub const PADDING: usize = 32;
/// The offline root's `skid`.
pub const ROOT: u8 = 0;

/// What a command may do at most, in the order of what it risks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// 0
    Read,
    /// 1
    Write,
    /// 2
    Firmware,
    /// 3: disconnect, reconnect, arm, limit, demand response.
    Load,
    /// 4: keys, groups, signers, credentials.
    Keys,
    /// 5
    Time,
}

impl Class {
    /// The class of this number.
    #[must_use]
    pub fn from_octet(octet: u8) -> Option<Self> {
        [Self::Read, Self::Write, Self::Firmware, Self::Load, Self::Keys, Self::Time]
            .into_iter()
            .nth(octet.into())
    }

    /// Its number.
    #[must_use]
    pub fn octet(self) -> u8 {
        self as u8
    }

    /// Whether senders pad its bodies.
    #[must_use]
    pub fn is_padded(self) -> bool {
        matches!(self, Self::Read | Self::Write | Self::Load)
    }

    /// Pads a body of this class with services of length 00, so that its length does not tell what it
    /// says; a body that is too long to be padded so is padded to [`BODY_MAX`].
    pub fn pad(self, body: &mut Vec<u8>) {
        let padded = body.len().next_multiple_of(PADDING).min(BODY_MAX);
        if self.is_padded() && padded > body.len() {
            body.resize(padded, 0);
        }
    }
}

/// A set of classes: bit `n`, 0 the lowest, is class `n`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes(pub u8);

impl Classes {
    /// Whether the class is one of them.
    #[must_use]
    pub fn contain(self, class: Class) -> bool {
        self.0 >> class.octet() & 1 == 1
    }

    /// Whether all `others` are among them.
    #[must_use]
    pub fn cover(self, others: Self) -> bool {
        others.0 & !self.0 == 0
    }
}

/// Whom a command is signed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Addressee {
    /// One end device.
    Device(Dev),
    /// All members of a group.
    Group(Gid),
}

impl Addressee {
    /// The kind, as signatures and RESULTs have it: 1 unicast, 2 group.
    #[must_use]
    pub fn kind(self) -> u8 {
        match self {
            Self::Device(_) => 1,
            Self::Group(_) => 2,
        }
    }

    /// The scope: with the `skid` it names a sequence of counters.
    #[must_use]
    pub fn scope(self) -> Scope {
        match self {
            Self::Device(dev) => dev.into(),
            Self::Group(gid) => gid.into(),
        }
    }

    /// The type of the frame that carries the command.
    #[must_use]
    pub fn frame_type(self) -> FrameType {
        match self {
            Self::Device(_) => FrameType::Command,
            Self::Group(_) => FrameType::GroupCommand,
        }
    }
}

/// A command, before it is signed or after its signature was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// The signing key.
    pub skid: u8,
    /// The class as it is told; a number above 5 is none.
    pub class: u8,
    /// Above all before it of the same `skid` and scope.
    pub ctr: u32,
    /// Not before: Unix seconds.
    pub nbf: u32,
    /// Minutes after `nbf`; not 0.
    pub ttl: u16,
    /// What is to be done.
    pub body: &'a [u8],
}

impl<'a> Command<'a> {
    /// Reads `skid..body`; `None` when it is cut.
    #[must_use]
    pub fn read(signed: &'a [u8]) -> Option<Self> {
        let (header, body) = signed.split_first_chunk::<HEADER_LEN>()?;
        let [skid, class, c0, c1, c2, c3, n0, n1, n2, n3, t0, t1] = *header;
        Some(Self {
            skid,
            class,
            ctr: u32::from_be_bytes([c0, c1, c2, c3]),
            nbf: u32::from_be_bytes([n0, n1, n2, n3]),
            ttl: u16::from_be_bytes([t0, t1]),
            body,
        })
    }

    /// The octets that are signed, `skid..body`; `None` when the body is longer than [`BODY_MAX`].
    #[must_use]
    pub fn octets(&self) -> Option<Vec<u8>> {
        if self.body.len() > BODY_MAX {
            return None;
        }
        let mut octets = Vec::with_capacity(PLAINTEXT_MAX);
        octets.extend([self.skid, self.class]);
        octets.extend(self.ctr.to_be_bytes());
        octets.extend(self.nbf.to_be_bytes());
        octets.extend(self.ttl.to_be_bytes());
        octets.extend_from_slice(self.body);
        Some(octets)
    }
}

/// The octets that a command's signature covers; `signed` is `skid..body`.
#[must_use]
pub fn sig_structure(system: System, addressee: Addressee, signed: &[u8]) -> Vec<u8> {
    structure(&[&[1], &system.0, &[addressee.kind()], &addressee.scope().0], signed)
}

/// Signs `skid..body` and appends the signature: the plaintext of a frame of type 2 or 3.
///
/// # Errors
/// Those of the signer.
pub fn sign<S: Signer>(
    mut signed: Vec<u8>,
    system: System,
    addressee: Addressee,
    signer: &S,
) -> Result<Vec<u8>, S::Error> {
    let signature = signer.sign(&sha256(&sig_structure(system, addressee, &signed)))?;
    signed.extend(signature);
    Ok(signed)
}

/// A command with its signature, not verified yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedCommand<'a> {
    /// The command.
    pub command: Command<'a>,
    /// The octets that are signed, `skid..body`.
    pub signed: &'a [u8],
    /// The signature.
    pub signature: &'a [u8; SIGNATURE_LEN],
}

impl<'a> SignedCommand<'a> {
    /// Reads the plaintext of a frame of type 2 or 3; `None` below [`COMMAND_MIN`] octets.
    #[must_use]
    pub fn read(plaintext: &'a [u8]) -> Option<Self> {
        let (signed, signature) = plaintext.split_last_chunk()?;
        Some(Self { command: Command::read(signed)?, signed, signature })
    }

    /// Whether the signature is that of this key, for this system and addressee.
    #[must_use]
    pub fn verifies(&self, key: &VerifyingKey, system: System, addressee: Addressee) -> bool {
        key.verifies(&sha256(&sig_structure(system, addressee, self.signed)), self.signature)
    }

    /// SHA-256 of `skid..body`: equal digests are the same command, however it was signed.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        sha256(self.signed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::SigningKey;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_signed_command_reads_back_and_is_bound_to_every_bit(
            header: (u8, u8, u32, u32, u16), body in vec(any::<u8>(), 0..=BODY_MAX),
            at: prop::sample::Index, bit in 0..8_u8,
        ) {
            let (skid, class, ctr, nbf, ttl) = header;
            let command = Command { skid, class, ctr, nbf, ttl, body: &body };
            let key = SigningKey::from_octets(&[9; 32]).unwrap();
            let (system, group) = (System([1; 8]), Addressee::Group(Gid(0x8000_0001)));
            let Ok(mut plaintext) = sign(command.octets().unwrap(), system, group, &key);
            let read = SignedCommand::read(&plaintext).unwrap();
            prop_assert_eq!(read.command, command);
            let key = key.verifying_key();
            prop_assert!(read.verifies(&key, system, group));
            // The scope alone does not tell a group from an end device: the kind does.
            let same_scope = Addressee::Device(Dev(group.scope().0));
            prop_assert!(!read.verifies(&key, system, same_scope));
            prop_assert!(!read.verifies(&key, System([2; 8]), group));
            let at = at.index(plaintext.len());
            plaintext[at] ^= 1 << bit;
            prop_assert!(!SignedCommand::read(&plaintext).unwrap().verifies(&key, system, group));
        }

        #[test]
        fn any_octets_are_read_or_too_short(octets in vec(any::<u8>(), 0..200)) {
            let read = SignedCommand::read(&octets);
            prop_assert_eq!(read.is_some(), octets.len() >= COMMAND_MIN);
            if let Some(read) = read {
                prop_assert_eq!(read.command.octets().unwrap(), read.signed);
            }
        }

        #[test]
        fn padding_is_zeros_up_to_a_multiple(octets in vec(1..=255_u8, 0..=BODY_MAX), class in 0..6_u8) {
            let class = Class::from_octet(class).unwrap();
            let mut body = octets.clone();
            class.pad(&mut body);
            let (kept, padding) = body.split_at(octets.len());
            prop_assert_eq!(kept, &octets[..]);
            prop_assert!(padding.len() < PADDING && padding.iter().all(|octet| *octet == 0));
            let whole = body.len() % PADDING == 0 || body.len() == BODY_MAX;
            prop_assert_eq!((whole || !class.is_padded(), padding.is_empty() || class.is_padded()), (true, true));
        }
    }

    #[test]
    fn a_body_that_is_too_long_is_no_command() {
        let body = [0; BODY_MAX + 1];
        let command = Command { skid: 1, class: 0, ctr: 1, nbf: 1, ttl: 1, body: &body };
        assert!(command.octets().is_none());
        assert_eq!(Class::from_octet(6), None);
        assert!(Classes(0b1001).contain(Class::Load) && !Classes(0b1001).contain(Class::Keys));
        assert!(Classes(0b11).cover(Classes(0b10)) && !Classes(0b11).cover(Classes(0b110)));
    }
}
