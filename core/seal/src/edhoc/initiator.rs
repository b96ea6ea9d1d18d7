//! The end device's role.

use super::agreement::{Ephemeral, PrivateKey, PublicKey};
use super::credential::{Credential, DeviceCredential, HeadEndKid};
use super::message_1;
use super::transcript::{self, Chain, Hash, MAC_LEN, MacContext};
use super::{MESSAGE_1_LEN, MESSAGE_2_LEN, MESSAGE_3_LEN, MESSAGE_4_LEN, Refusal, Registered, c_r, join};
use crate::ids::{Dev, Sid};

/// Begins a run: message_1 and the state that waits for its answer. An ephemeral key serves one run.
#[must_use]
pub fn initiate(ephemeral: Ephemeral) -> (AwaitMessage2, [u8; MESSAGE_1_LEN]) {
    let message_1 = message_1::write(&ephemeral.g);
    (AwaitMessage2 { hash: transcript::hash(&[&message_1]), x: ephemeral.key }, message_1)
}

/// message_1 is sent.
pub struct AwaitMessage2 {
    hash: Hash,
    x: PrivateKey,
}

impl AwaitMessage2 {
    /// Takes message_2 and answers with message_3. `credential` and `key` are the device's own;
    /// `head_end` gives the key of the credential with this `kid`, current or next.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is sent for any.
    pub fn message_2(
        &self,
        message_2: &[u8],
        credential: &DeviceCredential,
        key: &PrivateKey,
        head_end: impl FnOnce(HeadEndKid) -> Option<PublicKey>,
    ) -> Result<(AwaitMessage4, [u8; MESSAGE_3_LEN]), Refusal> {
        let message_2 = <&[u8; MESSAGE_2_LEN]>::try_from(message_2).map_err(|_| Refusal::Format)?;
        let [0x58, 0x2f, message_2 @ ..] = message_2 else { return Err(Refusal::Format) };
        let (g_y, ciphertext_2) = message_2.split_first_chunk().ok_or(Refusal::Format)?;
        let responder_share = PublicKey::from_x(g_y).ok_or(Refusal::Point)?;

        let th_2 = transcript::th_2(g_y, &self.hash);
        let prk_2e = Chain::begin(&th_2, &self.x.shared(&responder_share));
        let mut plaintext_2: [u8; 15] = join(&[ciphertext_2]);
        prk_2e.mask_2(&th_2, &mut plaintext_2);
        let (named, mac_2) = plaintext_2.split_last_chunk().ok_or(Refusal::Format)?;
        let [0x44, a, b, c, d, kid, 0x48] = *named else { return Err(Refusal::Format) };
        let sid = Sid(u32::from_be_bytes([a, b, c, d]));
        let kid = HeadEndKid::new(kid).filter(|_| sid.is_valid()).ok_or(Refusal::Format)?;
        let head_end = Credential { kid, key: head_end(kid).ok_or(Refusal::Unknown)? };

        let prk_3e2m = prk_2e.with_responder(&th_2, &self.x.shared(&head_end.key));
        let ccs = head_end.octets();
        let context_2 =
            MacContext { c_r: &c_r(sid), id: &head_end.id(), th: &th_2, credential: &ccs, ead: &[] };
        transcript::verify(&prk_3e2m.mac_2(&context_2), mac_2)?;

        let th_3 = transcript::th_next(&th_2, &plaintext_2, &ccs);
        let prk_4e3m = prk_3e2m.with_initiator(&th_3, &key.shared(&responder_share));
        let ccs = credential.octets();
        let context_3 = MacContext { c_r: &[], id: &credential.id(), th: &th_3, credential: &ccs, ead: &[] };
        let mac_3 = prk_4e3m.mac_3(&context_3);
        let mut text: [u8; 18] = join(&[&[0x48], &credential.kid.0, &[0x48], &mac_3]);
        let th_4 = transcript::th_next(&th_3, &text, &ccs);
        let tag = prk_3e2m.seal_3(&th_3, &mut text);
        let waiting = AwaitMessage4 { dev: credential.kid, sid, th_4, prk_4e3m };
        Ok((waiting, join(&[&[0x58, 0x1a], &text, &tag])))
    }
}

/// message_3 is sent: the head-end is known to be ours, but not yet that it knows us.
pub struct AwaitMessage4 {
    dev: Dev,
    sid: Sid,
    th_4: Hash,
    prk_4e3m: Chain,
}

impl AwaitMessage4 {
    /// The association that message_4 will begin.
    #[must_use]
    pub fn sid(&self) -> Sid {
        self.sid
    }

    /// Takes message_4, which ends the run.
    ///
    /// # Errors
    /// [`Refusal`]; another message_4 may still come.
    pub fn message_4(&self, message_4: &[u8]) -> Result<Registered, Refusal> {
        const TAG_HEAD: u8 = 0x40 | MAC_LEN as u8;
        let message_4 = <&[u8; MESSAGE_4_LEN]>::try_from(message_4).map_err(|_| Refusal::Format)?;
        let [TAG_HEAD, tag @ ..] = message_4 else { return Err(Refusal::Format) };
        self.prk_4e3m.open_4(&self.th_4, &mut [], tag)?;
        Ok(Registered { dev: self.dev, sid: self.sid, prk: self.prk_4e3m.out(&self.th_4) })
    }
}
