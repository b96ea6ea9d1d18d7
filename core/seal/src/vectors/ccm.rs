use std::collections::HashMap;

use ::ccm::aead::generic_array::ArrayLength;
use ::ccm::aead::{AeadInPlace, KeyInit};
use ::ccm::consts::{U8, U13, U16};
use ::ccm::{Ccm, TagSize};
use aes::Aes128Enc;
use serde_json::Value;

use super::folder::{self, Fields, octets};
use crate::at_rest::Dek;
use crate::secret::Key256;

/// One message for the cipher that profile 1 is built on, with the tag length that it has.
pub struct Message {
    pub key: Vec<u8>,
    pub nonce: Vec<u8>,
    pub aad: Vec<u8>,
    /// Not known for a message that must be refused.
    pub plaintext: Option<Vec<u8>>,
    pub sealed: Vec<u8>,
    pub tag_len: usize,
}

impl Message {
    /// `false` when it has a size that profile 1 does not.
    pub fn check(&self, name: &str) -> bool {
        if self.key.len() != 16 || self.nonce.len() != 13 {
            return false;
        }
        match self.tag_len {
            8 => self.check_with::<U8>(name),
            16 => self.check_with::<U16>(name),
            _ => return false,
        }
        true
    }

    fn check_with<T: ArrayLength<u8> + TagSize>(&self, name: &str) {
        let cipher = Ccm::<Aes128Enc, T, U13>::new_from_slice(&self.key).unwrap();
        let nonce = self.nonce.as_slice().into();
        let (text, tag) = self.sealed.split_at(self.sealed.len() - self.tag_len);
        let mut opened = text.to_vec();
        let verdict = cipher.decrypt_in_place_detached(nonce, &self.aad, &mut opened, tag.into());
        let Some(plaintext) = &self.plaintext else {
            assert!(verdict.is_err(), "{name} opens");
            assert!(opened.iter().all(|octet| *octet == 0), "{name} leaves plaintext behind");
            return;
        };
        assert!(verdict.is_ok() && opened == *plaintext, "{name} does not open");
        let made = cipher.encrypt_in_place_detached(nonce, &self.aad, &mut opened).unwrap();
        assert!(opened == text && made.as_slice() == tag, "{name} seals differently");
    }
}

#[test]
fn vector_rfc3610() {
    for name in folder::names("rfc3610", ".json") {
        let case = folder::json(&name);
        let message = Message {
            key: case.octets("key"),
            nonce: case.octets("nonce"),
            aad: case.octets("aad"),
            plaintext: Some(case.octets("plaintext")),
            sealed: case.octets("ciphertext_and_tag"),
            tag_len: case.number("tag_octets") as usize,
        };
        message.check(&name);
    }
}

#[test]
fn vector_nist_ccm() {
    let mut checked = 0;
    let names = folder::names("nist-ccm", ".rsp");
    for name in &names {
        let text = folder::text(name).unwrap();
        // Values hold until they are set again; those of a record stand between blank lines.
        let mut values: HashMap<&str, &str> = HashMap::new();
        for line in text.lines().map(str::trim).chain([""]) {
            for setting in line.trim_matches(['[', ']']).split(", ") {
                if let Some((key, value)) = setting.split_once(" = ") {
                    values.insert(key, value);
                }
            }
            if !line.is_empty() || !values.contains_key("CT") {
                continue;
            }
            let number = |key: &str| values[key].parse::<usize>().unwrap();
            // An empty string is written 00.
            let sized = |key: &str, len: &str| octets(values[key])[..number(len)].to_vec();
            let refused = values.get("Result").is_some_and(|result| result.starts_with("Fail"));
            let message = Message {
                key: octets(values["Key"]),
                nonce: octets(values["Nonce"]),
                aad: sized("Adata", "Alen"),
                plaintext: (!refused).then(|| sized("Payload", "Plen")),
                sealed: octets(values["CT"]),
                tag_len: number("Tlen"),
            };
            checked += usize::from(message.check(&format!("{name} {}", values["Count"])));
            for key in ["CT", "Payload", "Result"] {
                values.remove(key);
            }
        }
    }
    println!("{checked} messages");
    assert!(names.is_empty() || checked > 0);
}

#[test]
fn vector_wycheproof_ccm() {
    for group in folder::cases("wycheproof/aes_ccm_test.json", "testGroups") {
        for case in group.list("tests") {
            let valid = case.str("result") == "valid";
            let message = Message {
                key: case.octets("key"),
                nonce: case.octets("iv"),
                aad: case.octets("aad"),
                plaintext: valid.then(|| case.octets("msg")),
                sealed: [case.octets("ct"), case.octets("tag")].concat(),
                tag_len: case.octets("tag").len(),
            };
            message.check(&case["tcId"].to_string());
            let (nonce, tag_len) = (message.nonce.len(), message.tag_len);
            if (message.key.len(), nonce, tag_len) == (32, 13, 16) {
                check_at_rest(&message, case);
            }
        }
    }
}

/// AES-256-CCM with a tag of 16: the records at rest.
fn check_at_rest(message: &Message, case: &Value) {
    let dek = Dek::new(&Key256::from_octets(case.array("key")));
    let nonce: [u8; 13] = case.array("iv");
    let mut sealed = [&nonce[..], &message.sealed].concat();
    let opened = dek.open(&message.aad, &mut sealed).ok().map(|record| record.to_vec());
    assert_eq!(opened, message.plaintext, "{case}");
    if let Some(plaintext) = opened {
        let mut again = Vec::new();
        dek.seal(nonce, &message.aad, &plaintext, &mut again).unwrap();
        assert_eq!(again, [&nonce[..], &message.sealed].concat(), "{case}");
    }
}
