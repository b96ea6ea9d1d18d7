//! Optional link security: AES-CCM level 6, ENC-MIC-64 (802.15.4-2015, clause 9 and annex B).
//!
//! Key id mode 1. Nonce: source EUI-64, frame counter, security level, high octets first. The header with its
//! IEs is authenticated; the payload is encrypted as well. Each hop opens and seals anew.

use std::collections::BTreeMap;

use aes::Aes128Enc;
use ccm::aead::{AeadInPlace, KeyInit};
use ccm::consts::{U8, U13};
use ccm::{Ccm, Tag};

use crate::Eui64;
use crate::frame::{AuxiliaryHeader, Frame, FrameError, Header, MIC_LEN, VendorIe};
use crate::message::LinkKey;

/// Octets that security adds to a frame: auxiliary header and check.
pub const SECURITY_LEN: usize = AuxiliaryHeader::LEN + MIC_LEN;

const LEVEL: u8 = 6;
const NONCE_LEN: usize = 13;

/// Why a frame is not sealed or not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecurityError {
    /// The octets are no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The frame is not secured, or the header to seal names no key.
    #[error("frame-not-secured")]
    NotSecured,
    /// The frame names another key.
    #[error("key-index-unknown")]
    KeyIndex,
    /// Neither the frame nor the caller names its sender.
    #[error("source-unknown")]
    SourceUnknown,
    /// The frame counter was used before, or is the last one, which is never used (9.2.4).
    #[error("frame-replayed")]
    Replayed,
    /// The check is wrong.
    #[error("mic-bad")]
    Mic,
    /// The counters of as many neighbours as fit are kept already.
    #[error("neighbour-table-full")]
    TableFull,
    /// The sender's own counter is used up: the key has to change.
    #[error("frame-counter-exhausted")]
    CounterExhausted,
    /// More octets than the cipher takes.
    #[error("frame-too-long")]
    TooLong,
}

/// A link key and its number. It cannot be printed; the key is wiped on drop, and is expanded for one frame at a time,
/// since the cipher does not wipe what it expands.
pub struct LinkCipher {
    key: LinkKey,
    index: u8,
}

impl core::fmt::Debug for LinkCipher {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("LinkCipher(..)")
    }
}

impl LinkCipher {
    /// Takes a key; frames name it by `index`, 1 to 255.
    #[must_use]
    pub fn new(index: u8, key: LinkKey) -> Self {
        Self { key, index }
    }

    /// The index by which frames name this key.
    #[must_use]
    pub const fn index(&self) -> u8 {
        self.index
    }

    /// Encrypts `text` in place and answers its check.
    ///
    /// The caller sees to it that a source never uses a counter twice under one key ([`SendCounter`]).
    ///
    /// # Errors
    /// [`SecurityError::TooLong`] past 65 535 octets.
    pub fn seal(
        &self,
        source: Eui64,
        counter: u32,
        header: &[u8],
        text: &mut [u8],
    ) -> Result<[u8; MIC_LEN], SecurityError> {
        let tag = self
            .ccm()
            .encrypt_in_place_detached(&nonce(source, counter).into(), header, text)
            .map_err(|_| SecurityError::TooLong)?;
        Ok(tag.into())
    }

    /// Checks and decrypts `text` in place.
    ///
    /// # Errors
    /// [`SecurityError::Mic`]; then the text is of no use.
    pub fn open(
        &self,
        source: Eui64,
        counter: u32,
        header: &[u8],
        text: &mut [u8],
        mic: [u8; MIC_LEN],
    ) -> Result<(), SecurityError> {
        self.ccm()
            .decrypt_in_place_detached(&nonce(source, counter).into(), header, text, &Tag::from(mic))
            .map_err(|_| SecurityError::Mic)
    }

    fn ccm(&self) -> Ccm<Aes128Enc, U8, U13> {
        Ccm::new(self.key.octets().into())
    }
}

fn nonce(source: Eui64, counter: u32) -> [u8; NONCE_LEN] {
    let mut nonce = [0; NONCE_LEN];
    let octets = source.0.to_be_bytes().into_iter().chain(counter.to_be_bytes()).chain([LEVEL]);
    for (to, from) in nonce.iter_mut().zip(octets) {
        *to = from;
    }
    nonce
}

/// The counter of one sender under one key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendCounter {
    next: u32,
}

impl SendCounter {
    /// A counter that starts at `next`, as kept over a restart.
    #[must_use]
    pub const fn starting_at(next: u32) -> Self {
        Self { next }
    }

    /// The counter of the next frame.
    ///
    /// # Errors
    /// [`SecurityError::CounterExhausted`] at FFFFFFFFh, which no frame may have.
    pub fn take(&mut self) -> Result<u32, SecurityError> {
        let taken = self.next;
        self.next = taken.checked_add(1).ok_or(SecurityError::CounterExhausted)?;
        Ok(taken)
    }
}

/// The least counter that each neighbour may still use under one key.
///
/// A full table takes no new neighbour: to forget one would let its frames be played again.
#[derive(Clone, Debug)]
pub struct ReplayGuard {
    next: BTreeMap<Eui64, u32>,
    neighbours_max: usize,
}

impl ReplayGuard {
    /// An empty guard for at most `neighbours_max` neighbours.
    #[must_use]
    pub const fn new(neighbours_max: usize) -> Self {
        Self { next: BTreeMap::new(), neighbours_max }
    }

    /// Whether a frame may still come; asked before its check is computed.
    ///
    /// # Errors
    /// [`SecurityError::Replayed`], [`SecurityError::TableFull`].
    pub fn check(&self, source: Eui64, counter: u32) -> Result<(), SecurityError> {
        if counter == u32::MAX {
            return Err(SecurityError::Replayed);
        }
        match self.next.get(&source) {
            Some(next) if counter < *next => Err(SecurityError::Replayed),
            None if self.next.len() >= self.neighbours_max => Err(SecurityError::TableFull),
            _ => Ok(()),
        }
    }

    /// Takes a counter as used, once its frame's check is right.
    ///
    /// # Errors
    /// As [`ReplayGuard::check`].
    pub fn commit(&mut self, source: Eui64, counter: u32) -> Result<(), SecurityError> {
        self.check(source, counter)?;
        self.next.insert(source, counter.saturating_add(1));
        Ok(())
    }
}

/// Appends a secured frame without its FCS: header, ciphertext, check.
///
/// `source` is the sender: that of the header, or the acknowledging node for an ACK, which does not name it.
///
/// # Errors
/// [`SecurityError::NotSecured`], [`SecurityError::KeyIndex`], [`SecurityError::TooLong`]; then `out` is as
/// before.
pub fn seal_frame(
    header: &Header,
    ies: &[VendorIe<'_>],
    payload: &[u8],
    source: Eui64,
    key: &LinkCipher,
    out: &mut Vec<u8>,
) -> Result<(), SecurityError> {
    let auxiliary = header.security.ok_or(SecurityError::NotSecured)?;
    if auxiliary.key_index != key.index {
        return Err(SecurityError::KeyIndex);
    }
    let start = out.len();
    header.encode(ies, !payload.is_empty(), out);
    let text_at = out.len() - start;
    out.extend_from_slice(payload);
    let (mhr, text) =
        out.get_mut(start..).unwrap_or_default().split_at_mut_checked(text_at).unwrap_or_default();
    match key.seal(source, auxiliary.counter, mhr, text) {
        Ok(mic) => out.extend_from_slice(&mic),
        Err(error) => {
            out.truncate(start);
            return Err(error);
        }
    }
    Ok(())
}

/// Opens a secured frame, its FCS taken off, in place and answers it with its payload in clear.
///
/// The counter is looked at first, then the check; the counter is taken as used only after that.
/// `source` names the sender of a frame that does not name it itself, an ACK.
///
/// # Errors
/// [`SecurityError`]; then nothing in `octets` is to be used.
pub fn open_frame<'a>(
    octets: &'a mut [u8],
    source: Option<Eui64>,
    key: &LinkCipher,
    guard: &mut ReplayGuard,
) -> Result<Frame<'a>, SecurityError> {
    let frame = Frame::decode_checked(octets)?;
    let auxiliary = frame.header.security.ok_or(SecurityError::NotSecured)?;
    if auxiliary.key_index != key.index {
        return Err(SecurityError::KeyIndex);
    }
    let source = frame.header.addressing.source().or(source).ok_or(SecurityError::SourceUnknown)?;
    guard.check(source, auxiliary.counter)?;
    let sealed = frame.payload.len();
    let text_len = sealed.checked_sub(MIC_LEN).ok_or(FrameError::Truncated)?;
    let mhr_len = octets.len().checked_sub(sealed).ok_or(FrameError::Truncated)?;
    let (mhr, rest) = octets.split_at_mut_checked(mhr_len).ok_or(FrameError::Truncated)?;
    let (text, rest) = rest.split_at_mut_checked(text_len).ok_or(FrameError::Truncated)?;
    let mic = *rest.first_chunk::<MIC_LEN>().ok_or(FrameError::Truncated)?;
    key.open(source, auxiliary.counter, mhr, text, mic)?;
    guard.commit(source, auxiliary.counter)?;
    let mut frame = Frame::decode_checked(octets)?;
    frame.payload = frame.payload.get(..text_len).unwrap_or_default();
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Addressing, Timing};
    use proptest::prelude::*;

    const SOURCE: Eui64 = Eui64(0x0200_5EEF_1000_0001);
    const DESTINATION: Eui64 = Eui64(0x0200_5EEF_1000_0002);

    fn key() -> LinkCipher {
        LinkCipher::new(1, LinkKey::take(&mut [0x42; 16]))
    }

    fn sealed(counter: u32, payload: &[u8]) -> Vec<u8> {
        let header = Header {
            addressing: Addressing::Unicast { cell: 7, destination: DESTINATION, source: SOURCE },
            sequence: 1,
            ack_request: true,
            security: Some(AuxiliaryHeader { counter, key_index: 1 }),
        };
        let mut out = Vec::new();
        seal_frame(&header, &[VendorIe::Timing(Timing::default())], payload, SOURCE, &key(), &mut out)
            .unwrap();
        out
    }

    #[test]
    fn a_key_is_not_printed_and_is_wiped_on_drop() {
        fn wiped<T: zeroize::ZeroizeOnDrop>(_: &T) {}
        wiped(&key().key);
        assert_eq!(format!("{:?}", key()), "LinkCipher(..)");
    }

    #[test]
    fn a_frame_opens_once() {
        let mut guard = ReplayGuard::new(4);
        let frame = sealed(5, b"reading");
        assert_eq!(open_frame(&mut frame.clone(), None, &key(), &mut guard).unwrap().payload, b"reading");
        assert_eq!(open_frame(&mut frame.clone(), None, &key(), &mut guard), Err(SecurityError::Replayed));
        assert_eq!(
            open_frame(&mut sealed(4, b"reading"), None, &key(), &mut guard),
            Err(SecurityError::Replayed)
        );
        assert!(open_frame(&mut sealed(6, b""), None, &key(), &mut guard).unwrap().payload.is_empty());
    }

    #[test]
    fn a_forged_frame_does_not_move_the_counter() {
        let mut guard = ReplayGuard::new(4);
        let mut forged = sealed(u32::MAX - 1, b"reading");
        *forged.last_mut().unwrap() ^= 1;
        assert_eq!(open_frame(&mut forged, None, &key(), &mut guard), Err(SecurityError::Mic));
        assert!(open_frame(&mut sealed(0, b"reading"), None, &key(), &mut guard).is_ok());
    }

    #[test]
    fn a_full_table_takes_no_new_neighbour_and_the_last_counter_is_never_used() {
        let mut guard = ReplayGuard::new(1);
        guard.commit(SOURCE, 0).unwrap();
        assert_eq!(guard.commit(DESTINATION, 0), Err(SecurityError::TableFull));
        assert_eq!(guard.commit(SOURCE, u32::MAX), Err(SecurityError::Replayed));
        guard.commit(SOURCE, u32::MAX - 1).unwrap();
        let mut counter = SendCounter::starting_at(u32::MAX - 1);
        assert_eq!(counter.take(), Ok(u32::MAX - 1));
        assert_eq!(counter.take(), Err(SecurityError::CounterExhausted));
    }

    #[test]
    fn an_ack_opens_with_the_source_that_the_caller_names() {
        let header = Header {
            addressing: Addressing::Ack { destination: DESTINATION },
            sequence: 1,
            ack_request: false,
            security: Some(AuxiliaryHeader { counter: 3, key_index: 1 }),
        };
        let mut out = Vec::new();
        seal_frame(&header, &[VendorIe::Timing(Timing::default())], &[], SOURCE, &key(), &mut out).unwrap();
        let mut guard = ReplayGuard::new(4);
        assert_eq!(open_frame(&mut out.clone(), None, &key(), &mut guard), Err(SecurityError::SourceUnknown));
        let opened = open_frame(&mut out, Some(SOURCE), &key(), &mut guard).unwrap();
        assert_eq!(opened.timing(), Some(Timing::default()));
    }

    proptest! {
        #[test]
        fn any_changed_octet_is_found(
            payload in proptest::collection::vec(any::<u8>(), 0..80),
            at in any::<prop::sample::Index>(),
            bit in 0..8,
        ) {
            let mut frame = sealed(1, &payload);
            let at = at.index(frame.len());
            frame[at] ^= 1_u8 << bit;
            prop_assert!(open_frame(&mut frame, None, &key(), &mut ReplayGuard::new(4)).is_err());
        }

        #[test]
        fn any_octets_open_without_panic(mut octets in proptest::collection::vec(any::<u8>(), 0..120)) {
            let _ = open_frame(&mut octets, Some(SOURCE), &key(), &mut ReplayGuard::new(4));
        }
    }
}
