//! The head-end's role.

use super::agreement::{Agreement, Ephemeral, PrivateKey, PublicKey};
use super::credential::{Credential, HeadEndCredential, Kid};
use super::message_1::Message1;
use super::transcript::{self, Chain, Hash, MacContext};
use super::{MESSAGE_2_LEN, MESSAGE_3_LEN, MESSAGE_4_LEN, Refusal, Registered, c_r, join};
use crate::ids::{Dev, Sid};

impl Message1 {
    /// Answers with message_2. `credential` and `key` are the head-end's own (`key` is used once, for
    /// r·G_X); an ephemeral key serves one run; `sid` is free and names an association from now on.
    ///
    /// # Errors
    /// Those of the key's token.
    pub fn answer<K: Agreement>(
        &self,
        credential: &HeadEndCredential,
        key: &K,
        ephemeral: Ephemeral,
        sid: Sid,
    ) -> Result<(AwaitMessage3, [u8; MESSAGE_2_LEN]), K::Error> {
        debug_assert!(sid.is_valid(), "a device refuses the sid of a group");
        let Ephemeral { key: y, g: g_y } = ephemeral;
        let g_rx = key.agree(&self.g_x)?;
        let th_2 = transcript::th_2(&g_y, &self.hash);
        let prk_2e = Chain::begin(&th_2, &y.shared(&self.g_x));
        let prk_3e2m = prk_2e.with_responder(&th_2, &g_rx);

        let c_r = c_r(sid);
        let ccs = credential.octets();
        let context_2 = MacContext { c_r: &c_r, id: &credential.id(), th: &th_2, credential: &ccs, ead: &[] };
        let mac_2 = prk_3e2m.mac_2(&context_2);
        let mut text: [u8; 15] = join(&[&c_r, &[credential.kid.octet(), 0x48], &mac_2]);
        let th_3 = transcript::th_next(&th_2, &text, &ccs);
        prk_2e.mask_2(&th_2, &mut text);
        let waiting = AwaitMessage3 { g_x: self.g_x, y, sid, th_3, prk_3e2m };
        Ok((waiting, join(&[&[0x58, 0x2f], &g_y, &text])))
    }
}

/// message_2 is sent.
pub struct AwaitMessage3 {
    g_x: PublicKey,
    y: PrivateKey,
    sid: Sid,
    th_3: Hash,
    prk_3e2m: Chain,
}

impl AwaitMessage3 {
    /// The association that message_3 will prove.
    #[must_use]
    pub fn sid(&self) -> Sid {
        self.sid
    }

    /// Takes message_3 and answers with message_4, to be sent when the association is durable. `device`
    /// gives the key of an end device that names itself, or [`Refusal::Unknown`] or [`Refusal::Revoked`].
    ///
    /// # Errors
    /// [`Refusal`]. An unknown or revoked device takes as long as a wrong MAC does.
    pub fn message_3(
        &self,
        message_3: &[u8],
        device: impl FnOnce(Dev) -> Result<PublicKey, Refusal>,
    ) -> Result<(Registered, [u8; MESSAGE_4_LEN]), Refusal> {
        let message_3 = <&[u8; MESSAGE_3_LEN]>::try_from(message_3).map_err(|_| Refusal::Format)?;
        let [0x58, 0x1a, ciphertext_3 @ ..] = message_3 else { return Err(Refusal::Format) };
        let (ciphertext_3, tag) = ciphertext_3.split_last_chunk().ok_or(Refusal::Format)?;
        let mut text: [u8; 18] = join(&[ciphertext_3]);
        self.prk_3e2m.open_3(&self.th_3, &mut text, tag)?;
        let (named, mac_3) = text.split_last_chunk().ok_or(Refusal::Format)?;
        let [0x48, dev @ .., 0x48] = named else { return Err(Refusal::Format) };
        let dev = Dev::from_octets(dev).ok_or(Refusal::Format)?;

        let known = device(dev);
        // Where there is no key, the steps are taken with another point, so that the time tells nothing.
        let device = Credential { kid: dev, key: known.unwrap_or(self.g_x) };
        let prk_4e3m = self.prk_3e2m.with_initiator(&self.th_3, &self.y.shared(&device.key));
        let ccs = device.octets();
        let context_3 = MacContext { c_r: &[], id: &device.id(), th: &self.th_3, credential: &ccs, ead: &[] };
        let verified = transcript::verify(&prk_4e3m.mac_3(&context_3), mac_3);
        known.and(verified)?;

        let th_4 = transcript::th_next(&self.th_3, &text, &ccs);
        let message_4 = join(&[&[0x48], &prk_4e3m.seal_4(&th_4, &mut [])]);
        Ok((Registered { dev, sid: self.sid, prk: prk_4e3m.out(&th_4) }, message_4))
    }
}
