//! All that was ever sealed, by head-ends and devices, over all their lives.

use std::collections::HashMap;

use seal::frame::Head;
use seal::signature::sha256;

use super::meter::frame_of;

/// A key and a nonce: direction, association or group, low octet of the epoch, counter.
type Nonce = (bool, u32, u8, u32);

/// By key and nonce: the hash of the frame.
#[derive(Default)]
pub struct Ledger(HashMap<Nonce, [u8; 32]>);

impl Ledger {
    /// Notes the frame of an APDU: no key seals two frames under one nonce.
    pub fn note(&mut self, apdu: &[u8]) -> (Head, Vec<u8>) {
        let (head, body) = frame_of(apdu);
        let nonce = (head.frame_type.is_upstream(), head.id, head.epoch_low, head.seq);
        let hash = sha256(&[&head.octets()[..], &body].concat());
        let before = self.0.insert(nonce, hash);
        assert!(before.is_none_or(|before| before == hash), "{head:?} was sealed twice");
        (head, body)
    }

    /// How many frames there were.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}
