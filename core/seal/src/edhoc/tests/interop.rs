//! Registrations with another implementation of EDHOC, `lakers`, on either side.

use crate::edhoc::{
    DeviceCredential, Ephemeral, HeadEndCredential, HeadEndKid, Kid, Message1, PrivateKey, Refusal,
    Registered, initiate,
};
use crate::ids::{Dev, Epoch, Sid};
use crate::oscore::Context;
use crate::schedule;
use lakers::{
    CredentialTransfer, EDHOCMethod, EDHOCSuite, EdhocInitiator, EdhocMessageBuffer, EdhocResponder,
};
use lakers_crypto_rustcrypto::Crypto;
use proptest::prelude::*;
use rand_core::{CryptoRng, RngCore};

/// All that `lakers` draws are these octets, over and over.
#[derive(Debug)]
struct Fixed([u8; 32], usize);

impl CryptoRng for Fixed {}

impl RngCore for Fixed {
    fn next_u32(&mut self) -> u32 {
        rand_core::impls::next_u32_via_fill(self)
    }

    fn next_u64(&mut self) -> u64 {
        rand_core::impls::next_u64_via_fill(self)
    }

    fn fill_bytes(&mut self, octets: &mut [u8]) {
        for octet in octets {
            *octet = self.0[self.1 % 32];
            self.1 += 1;
        }
    }

    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), rand_core::Error> {
        self.fill_bytes(octets);
        Ok(())
    }
}

/// Both parties' static keys, the ephemeral of either, and who they are.
#[derive(Debug)]
struct Parties {
    ours: [u8; 32],
    theirs: [u8; 32],
    i: [u8; 32],
    r: [u8; 32],
    device: DeviceCredential,
    head_end: HeadEndCredential,
    sid: Sid,
}

fn parties() -> impl Strategy<Value = Parties> {
    let scalar =
        || any::<[u8; 32]>().prop_filter("a scalar", |octets| PrivateKey::from_octets(octets).is_some());
    let kid = any::<u8>().prop_filter_map("a kid", HeadEndKid::new);
    (scalar(), scalar(), scalar(), scalar(), any::<[u8; 8]>(), kid, 0..1_u32 << 31).prop_map(
        |(ours, theirs, i, r, dev, kid, sid)| {
            let public = |octets| PrivateKey::from_octets(octets).unwrap().public_key();
            let device = DeviceCredential { kid: Dev(dev), key: public(&i) };
            let head_end = HeadEndCredential { kid, key: public(&r) };
            Parties { ours, theirs, i, r, device, head_end, sid: Sid(sid) }
        },
    )
}

impl Parties {
    fn crypto(&self) -> Crypto<Fixed> {
        Crypto::new(Fixed(self.theirs, 0))
    }

    fn ephemeral(&self) -> Ephemeral {
        Ephemeral::from_octets(&self.ours).unwrap()
    }
}

fn credential(ccs: &[u8]) -> lakers::Credential {
    lakers::Credential::parse_ccs(ccs).unwrap()
}

fn id(octets: &[u8]) -> lakers::ConnId {
    lakers::ConnId::from_slice(octets).unwrap()
}

fn buffer(octets: &[u8]) -> EdhocMessageBuffer {
    EdhocMessageBuffer::new_from_slice(octets).unwrap()
}

/// PRK_out, then what `lakers` derives from it: the exporter gives OSCORE's secret and salt, from which
/// the keys follow, and a key update gives the next PRK_out.
fn agree(
    registered: &Registered,
    prk_out: [u8; 32],
    mut export: impl FnMut(u8, usize) -> Vec<u8>,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(registered.prk.expose(), &prk_out);
    let secret = export(0, 16).try_into().unwrap();
    let salt = export(1, 8);
    let context = Context::new(&secret, &salt, None);
    let keys = registered.keys();
    prop_assert_eq!(*keys.up.expose(), context.key(&registered.sid.0.to_be_bytes()));
    prop_assert_eq!(*keys.dn.expose(), context.key(&[0]));
    prop_assert_eq!(keys.common_iv, context.common_iv());
    Ok(())
}

proptest! {
    #[test]
    fn our_device_registers_with_their_head_end(parties in parties()) {
        let Parties { device, head_end, sid, .. } = &parties;
        let theirs = EdhocResponder::new(
            parties.crypto(), EDHOCMethod::StatStat, parties.r, credential(&head_end.octets()),
        );
        let (ours, message_1) = initiate(parties.ephemeral());
        let (theirs, c_i, ead_1) = theirs.process_message_1(&buffer(&message_1)).unwrap();
        prop_assert!(c_i.as_slice() == [0] && ead_1.is_none());
        let c_r = id(&sid.0.to_be_bytes());
        let (theirs, message_2) =
            theirs.prepare_message_2(CredentialTransfer::ByReference, Some(c_r), &None).unwrap();
        let key = PrivateKey::from_octets(&parties.i).unwrap();
        let known = |kid| (kid == head_end.kid).then_some(head_end.key);
        let (ours, message_3) = ours.message_2(message_2.as_slice(), device, &key, known).ok().unwrap();
        prop_assert_eq!(ours.sid(), *sid);
        let message_3 = buffer(&message_3);
        let (theirs, id_cred_i, ead_3) = theirs.parse_message_3(&message_3).unwrap();
        prop_assert!(id_cred_i.as_full_value()[3..] == *device.kid.octets() && ead_3.is_none());
        let (theirs, prk_out) = theirs.verify_message_3(credential(&device.octets())).unwrap();
        let (mut theirs, message_4) = theirs.prepare_message_4(&None).unwrap();
        let registered = ours.message_4(message_4.as_slice()).ok().unwrap();
        prop_assert_eq!((registered.dev, registered.sid), (device.kid, *sid));
        agree(&registered, prk_out, |label, len| theirs.edhoc_exporter(label, &[], len)[..len].to_vec())?;
        prop_assert!(theirs.edhoc_key_update(&[0, 1]) == *schedule::advance(&registered.prk, Epoch(1)).expose());
    }

    #[test]
    fn their_device_registers_with_our_head_end(parties in parties()) {
        let Parties { device, head_end, sid, .. } = &parties;
        let mut theirs = EdhocInitiator::new(parties.crypto(), EDHOCMethod::StatStat, EDHOCSuite::CipherSuite2);
        theirs.set_identity(parties.i, credential(&device.octets()));
        let (theirs, message_1) = theirs.prepare_message_1(Some(id(&[0])), &None).unwrap();
        let key = PrivateKey::from_octets(&parties.r).unwrap();
        let (ours, message_2) = Message1::read(message_1.as_slice())
            .unwrap()
            .answer(head_end, &key, parties.ephemeral(), *sid)
            .unwrap();
        let message_2 = buffer(&message_2);
        let (theirs, c_r, id_cred_r, ead_2) = theirs.parse_message_2(&message_2).unwrap();
        prop_assert!(c_r.as_slice() == sid.0.to_be_bytes() && ead_2.is_none());
        prop_assert_eq!(&id_cred_r.as_full_value()[3..], head_end.kid.octets());
        let theirs = theirs.verify_message_2(credential(&head_end.octets())).unwrap();
        let (theirs, message_3, prk_out) =
            theirs.prepare_message_3(CredentialTransfer::ByReference, &None).unwrap();
        let known = |dev| if dev == device.kid { Ok(device.key) } else { Err(Refusal::Unknown) };
        let (registered, message_4) = ours.message_3(message_3.as_slice(), known).ok().unwrap();
        prop_assert_eq!((registered.dev, registered.sid), (device.kid, *sid));
        let message_4 = buffer(&message_4);
        let (mut theirs, ead_4) = theirs.process_message_4(&message_4).unwrap();
        prop_assert!(ead_4.is_none());
        agree(&registered, prk_out, |label, len| theirs.edhoc_exporter(label, &[], len)[..len].to_vec())?;
        prop_assert!(theirs.edhoc_key_update(&[0, 1]) == *schedule::advance(&registered.prk, Epoch(1)).expose());
    }
}
