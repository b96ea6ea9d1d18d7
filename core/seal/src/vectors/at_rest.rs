use aes::cipher::consts::U16;
use aes::cipher::{BlockDecrypt, BlockEncrypt, BlockSizeUser, KeyInit};
use aes::{Aes128, Aes192, Aes256};
use serde_json::Value;

use super::folder::{self, Fields};
use crate::key_wrap::{unwrap, unwrap_in_place, wrap, wrap_in_place};
use crate::secret::Key256;

/// Wraps and unwraps with a KEK of any length; `None` when the sizes are none of RFC 3394.
fn check<C>(case: &Value) -> Option<bool>
where
    C: BlockEncrypt + BlockDecrypt + BlockSizeUser<BlockSize = U16> + KeyInit,
{
    let cipher = C::new_from_slice(&case.octets("key")).unwrap();
    let wrapped = case.octets("ct");
    if wrapped.len() < 24 || !wrapped.len().is_multiple_of(8) {
        return None;
    }
    let (check, key) = wrapped.split_first_chunk::<8>().unwrap();
    let mut key = key.to_vec();
    let opened = unwrap_in_place(&cipher, *check, &mut key);
    if opened {
        assert_eq!(key, case.octets("msg"), "{case}");
        assert_eq!([&wrap_in_place(&cipher, &mut key)[..], &key].concat(), wrapped, "{case}");
    }
    Some(opened)
}

#[test]
fn vector_wycheproof_key_wrap() {
    for group in folder::cases("wycheproof/aes_wrap_test.json", "testGroups") {
        for case in group.list("tests") {
            let opened = match group.number("keySize") {
                128 => check::<Aes128>(case),
                192 => check::<Aes192>(case),
                _ => check::<Aes256>(case),
            };
            match case.str("result") {
                "valid" => assert_eq!(opened, Some(true), "{case}"),
                "invalid" => assert_ne!(opened, Some(true), "{case}"),
                _ => {}
            }
            let (key, wrapped) = (case.octets("key"), case.octets("ct"));
            if let (Ok(key), Ok(wrapped)) = (key.try_into(), wrapped.try_into()) {
                let kek = Key256::from_octets(key);
                let dek = unwrap(&kek, &wrapped).ok();
                assert_eq!(dek.is_some(), case.str("result") == "valid", "{case}");
                if let Some(dek) = dek {
                    assert_eq!(wrap(&kek, &dek), wrapped, "{case}");
                }
            }
        }
    }
}
