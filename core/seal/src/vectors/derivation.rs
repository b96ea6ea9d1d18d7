use ::hkdf::Hkdf;
use sha2::Sha256;

use super::folder::{self, Fields};
use crate::oscore::{self, Context};

#[test]
fn vector_oscore_contexts_and_nonces() {
    for name in folder::names("oscore", ".json") {
        let case = folder::json(&name);
        let optional = |key: &str| case[key].as_str().map(folder::octets);
        let (salt, id_context) = (optional("master_salt"), optional("id_context"));
        let context = Context::new(
            &case.array("master_secret"),
            salt.as_deref().unwrap_or_default(),
            id_context.as_deref(),
        );
        let sender = case.octets("sender_id");
        assert_eq!(context.key(&sender), case.array("sender_key"), "{name}");
        assert_eq!(context.key(&case.octets("recipient_id")), case.array("recipient_key"), "{name}");
        assert_eq!(context.common_iv(), case.array("common_iv"), "{name}");
        let id = sender.iter().fold(0, |id, octet| (id << 8) | u64::from(*octet));
        for key in case.as_object().unwrap().keys() {
            let Some(seq) = key.strip_prefix("nonce_seq_") else { continue };
            let seq = seq.parse().unwrap_or_else(|_| u64::from_str_radix(seq, 16).unwrap());
            let nonce = oscore::nonce(&context.common_iv(), sender.len() as u8, id, seq);
            assert_eq!(nonce, case.array(key), "{name} {key}");
        }
    }
}

#[test]
fn vector_wycheproof_hkdf() {
    for group in folder::cases("wycheproof/hkdf_sha256_test.json", "testGroups") {
        for case in group.list("tests") {
            let hkdf = Hkdf::<Sha256>::new(Some(&case.octets("salt")), &case.octets("ikm"));
            let mut okm = vec![0; case.number("size") as usize];
            let expanded = hkdf.expand(&case.octets("info"), &mut okm).is_ok();
            assert_eq!(expanded, case.str("result") == "valid", "{case}");
            assert!(!expanded || okm == case.octets("okm"), "{case}");
        }
    }
}
