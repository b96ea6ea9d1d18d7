//! message_1: METHOD, SUITES_I, G_X, C_I, perhaps EAD_1.

use super::agreement::PublicKey;
use super::cbor::Reader;
use super::transcript::{Hash, hash};
use super::{MESSAGE_1_LEN, Refusal, join};

/// The most octets of EAD_1.
pub const EAD_1_MAX: usize = 64;

/// Static Diffie-Hellman on both sides.
pub(super) const METHOD: u8 = 3;
/// AES-CCM-16-64-128, SHA-256, MACs of 8 octets, P-256, ES256.
pub(super) const SUITE: u8 = 2;
/// C_I, the head-end's id as a sender ever after.
pub(super) const C_I: u8 = 0;

/// The one form that we send.
pub(super) fn write(g_x: &[u8; 32]) -> [u8; MESSAGE_1_LEN] {
    join(&[&[METHOD, SUITE, 0x58, 32], g_x, &[C_I]])
}

/// A message_1 whose form and point are good. Nothing has been multiplied yet.
pub struct Message1 {
    pub(super) g_x: PublicKey,
    pub(super) hash: Hash,
}

impl Message1 {
    /// Reads a message_1. EAD_1 is ignored where it is not critical.
    ///
    /// # Errors
    /// [`Refusal`], the first fault in the order of the octets; the point is looked at last.
    pub fn read(octets: &[u8]) -> Result<Self, Refusal> {
        let mut reader = Reader::new(octets);
        if reader.integer()? != i128::from(METHOD) {
            return Err(Refusal::Method);
        }
        if selected_suite(&mut reader)? != i128::from(SUITE) {
            return Err(Refusal::Suite);
        }
        let g_x = reader.bytes()?.try_into().map_err(|_| Refusal::Format)?;
        reader.exactly(&[C_I])?;
        ignore_ead(reader)?;
        let g_x = PublicKey::from_x(g_x).ok_or(Refusal::Point)?;
        Ok(Self { g_x, hash: hash(&[octets]) })
    }

    /// The device's ephemeral x. It is never answered twice within ten minutes, but for the identical
    /// message_1 of a run that is pending.
    #[must_use]
    pub fn g_x(&self) -> [u8; 32] {
        self.g_x.x()
    }
}

/// The suite that SUITES_I (or SUITES_R) selects: the only one, or the last of 2 to 8.
pub(super) fn selected_suite(reader: &mut Reader<'_>) -> Result<i128, Refusal> {
    if !reader.is_array() {
        return reader.integer();
    }
    let suites = reader.array()?;
    if !(2..=8).contains(&suites) {
        return Err(Refusal::Format);
    }
    (1..suites).try_for_each(|_| reader.integer().map(drop))?;
    reader.integer()
}

/// EAD: labels, negative where critical, each perhaps with a byte string.
fn ignore_ead(mut reader: Reader<'_>) -> Result<(), Refusal> {
    if reader.rest().len() > EAD_1_MAX {
        return Err(Refusal::Ead);
    }
    while !reader.rest().is_empty() {
        if reader.integer()? < 0 {
            return Err(Refusal::Ead);
        }
        if reader.is_bytes() {
            reader.bytes()?;
        }
    }
    Ok(())
}
