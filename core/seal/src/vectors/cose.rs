//! The published examples of COSE, as far as they use what profile 1 is made of: AES-CCM-16-64-128, ES256,
//! HKDF-SHA-256. It is one fixed set (security layer §1): a message of another algorithm is passed over.

use serde_json::Value;

use super::ccm::Message;
use super::folder::{self, Fields, octets};
use crate::derivation::Expander;
use crate::signature::{VerifyingKey, sha256};

const FOLDERS: [&str; 6] = [
    "aes-ccm-examples",
    "ecdsa-examples",
    "encrypted-tests",
    "hkdf-hmac-sha-examples",
    "RFC8152",
    "sign1-tests",
];
/// Labels of header parameters.
const ALG: Cbor<'_> = Cbor::Integer(1);
const IV: Cbor<'_> = Cbor::Integer(5);
/// Algorithms.
const AES_CCM_16_64_128: Cbor<'_> = Cbor::Integer(10);
const ES256: Cbor<'_> = Cbor::Integer(-7);
/// Tags.
const ENCRYPT0: i64 = 16;
const SIGN1: i64 = 18;
const ENCRYPT: i64 = 96;
const SIGN: i64 = 98;

/// As much of CBOR as the examples have.
#[derive(Clone, Debug, PartialEq)]
enum Cbor<'a> {
    Integer(i64),
    Octets(&'a [u8]),
    Text(&'a [u8]),
    Array(Vec<Cbor<'a>>),
    Map(Vec<(Cbor<'a>, Cbor<'a>)>),
    Tagged(i64, Box<Cbor<'a>>),
    Simple(u64),
}

impl<'a> Cbor<'a> {
    fn whole(mut octets: &'a [u8]) -> Self {
        let value = Self::read(&mut octets);
        assert!(octets.is_empty(), "{octets:02x?}");
        value
    }

    fn read(octets: &mut &'a [u8]) -> Self {
        let first = take(octets, 1)[0];
        let (major, short) = (first >> 5, first & 0x1f);
        let value = match short {
            0..24 => u64::from(short),
            24..28 => {
                take(octets, 1 << (short - 24)).iter().fold(0, |value, octet| value << 8 | u64::from(*octet))
            }
            _ => panic!("{first:02x}"),
        };
        let number = i64::try_from(value).unwrap();
        let len = value as usize;
        match major {
            0 => Self::Integer(number),
            1 => Self::Integer(-1 - number),
            2 => Self::Octets(take(octets, len)),
            3 => Self::Text(take(octets, len)),
            4 => Self::Array((0..len).map(|_| Self::read(octets)).collect()),
            5 => Self::Map((0..len).map(|_| (Self::read(octets), Self::read(octets))).collect()),
            6 => Self::Tagged(number, Box::new(Self::read(octets))),
            _ => Self::Simple(value),
        }
    }

    fn octets(&self) -> &'a [u8] {
        if let Self::Octets(octets) = self { octets } else { panic!("{self:?}") }
    }

    fn array(&self) -> &[Self] {
        if let Self::Array(items) = self { items } else { panic!("{self:?}") }
    }

    /// A parameter of a map.
    fn get(&self, label: &Self) -> Option<&Self> {
        let Self::Map(entries) = self else { panic!("{self:?}") };
        entries.iter().find(|(key, _)| key == label).map(|(_, value)| value)
    }
}

fn take<'a>(octets: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = octets.split_at(count);
    *octets = rest;
    taken
}

/// A header parameter of a message or signer, whose first two items are its headers, the protected one encoded.
fn parameter<'a>(item: &[Cbor<'a>], label: &Cbor<'a>) -> Option<Cbor<'a>> {
    let protected = item[0].octets();
    let protected = if protected.is_empty() { Cbor::Map(Vec::new()) } else { Cbor::whole(protected) };
    protected.get(label).or_else(|| item[1].get(label)).cloned()
}

/// The octets of base64url.
fn base64url(text: &str) -> Vec<u8> {
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => digit - b'A',
        b'a'..=b'z' => digit - b'a' + 26,
        b'0'..=b'9' => digit - b'0' + 52,
        b'-' => 62,
        b'_' => 63,
        _ => panic!("{text}"),
    };
    let (mut out, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in text.bytes() {
        (bits, held) = (bits << 6 | u32::from(value(digit)), held + 6);
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    out
}

fn key(of: &Value) -> Option<VerifyingKey> {
    let point = |name| base64url(of.str(name)).try_into().ok();
    VerifyingKey::from_xy(&point("x")?, &point("y")?)
}

/// A byte string's encoding.
fn bstr(octets: &[u8]) -> Vec<u8> {
    let head = match octets.len() {
        len @ 0..24 => vec![0x40 | len as u8],
        len => vec![0x58, u8::try_from(len).unwrap()],
    };
    [head, octets.to_vec()].concat()
}

/// An empty protected header is signed as no octets, however it was sent.
fn protected(item: &[Cbor<'_>]) -> Vec<u8> {
    match item[0].octets() {
        [0xa0] => bstr(&[]),
        octets => bstr(octets),
    }
}

fn signature_verifies(key: Option<VerifyingKey>, structure: &[u8], signature: &Cbor<'_>) -> bool {
    let signature = signature.octets().try_into();
    key.zip(signature.ok()).is_some_and(|(key, signature)| key.verifies(&sha256(structure), &signature))
}

/// All examples, with what their message is: its tag, where it has one, and its items.
fn each(mut check: impl FnMut(&str, &Value, Option<i64>, &[Cbor<'_>])) {
    for name in FOLDERS.iter().flat_map(|folder| folder::names(&format!("cose/{folder}"), ".json")) {
        let case = folder::json(&name);
        let octets = octets(&case["output"].str("cbor").to_lowercase());
        match Cbor::whole(&octets) {
            Cbor::Tagged(tag, message) => check(&name, &case, Some(tag), message.array()),
            message => check(&name, &case, None, message.array()),
        }
    }
}

fn hex(case: &Value, field: &str) -> Vec<u8> {
    octets(&case["intermediates"].str(field).to_lowercase())
}

/// At least one was checked; other folders may have none.
fn assert_some(checked: usize) {
    println!("{checked} messages");
    assert!(checked > 0 || folder::is_lent());
}

#[test]
fn vector_cose_encrypted() {
    let mut checked = 0;
    each(|name, case, tag, message| {
        if ![Some(ENCRYPT0), Some(ENCRYPT)].contains(&tag)
            || parameter(message, &ALG) != Some(AES_CCM_16_64_128)
            || case["fail"] == true
        {
            return;
        }
        // With a partial IV the rest of it is not in the message.
        let Some(nonce) = parameter(message, &IV) else { return };
        let input = &case["input"];
        let external = ["encrypted", "enveloped"].iter().find_map(|kind| input[*kind]["external"].as_str());
        let context: &[u8] = if tag == Some(ENCRYPT0) { b"\x68Encrypt0" } else { b"\x67Encrypt" };
        let external = bstr(&octets(&external.unwrap_or_default().to_lowercase()));
        let aad = [&[0x83], context, &protected(message), &external].concat();
        assert_eq!(aad, hex(case, "AAD_hex"), "{name}");
        let message = Message {
            key: hex(case, "CEK_hex"),
            nonce: nonce.octets().to_vec(),
            aad,
            plaintext: Some(input.str("plaintext").as_bytes().to_vec()),
            sealed: message[2].octets().to_vec(),
            tag_len: 8,
        };
        assert!(message.check(name), "{name}");
        let mut forged = message.sealed.clone();
        forged[0] ^= 1;
        assert!(Message { sealed: forged, plaintext: None, ..message }.check(name), "{name}");
        checked += 1;
    });
    assert_some(checked);
}

#[test]
fn vector_cose_signed_by_one() {
    let mut checked = 0;
    each(|name, case, tag, message| {
        let of = &case["input"]["sign0"];
        if of["key"]["crv"] != "P-256" {
            return;
        }
        // The algorithm is a constant: what names another one is refused, whatever its signature.
        if tag.is_some_and(|tag| tag != SIGN1) || parameter(message, &ALG) != Some(ES256) {
            return;
        }
        let external = bstr(&octets(&of["external"].as_str().unwrap_or_default().to_lowercase()));
        let payload = bstr(message[2].octets());
        let structure = [&[0x84], &b"\x6aSignature1"[..], &protected(message), &external, &payload].concat();
        let verifies = signature_verifies(key(&of["key"]), &structure, &message[3]);
        assert_eq!(verifies, case["fail"] != true, "{name}");
        if verifies {
            assert_eq!(structure, hex(case, "ToBeSign_hex"), "{name}");
        }
        checked += 1;
    });
    assert_some(checked);
}

#[test]
fn vector_cose_signed_by_some() {
    let mut checked = 0;
    each(|name, case, tag, message| {
        if tag != Some(SIGN) || case["fail"] == true {
            return;
        }
        let of = case["input"]["sign"].list("signers");
        for (of, signer) in of.iter().zip(message[3].array()) {
            let signer = signer.array();
            if parameter(signer, &ALG) != Some(ES256) {
                continue;
            }
            let external = bstr(&octets(&of["external"].as_str().unwrap_or_default().to_lowercase()));
            let payload = bstr(message[2].octets());
            let headers = [protected(message), protected(signer)].concat();
            let structure = [&[0x85], &b"\x69Signature"[..], &headers, &external, &payload].concat();
            assert!(signature_verifies(key(&of["key"]), &structure, &signer[2]), "{name}");
            checked += 1;
        }
    });
    assert_some(checked);
}

#[test]
fn vector_cose_derived_keys() {
    let mut checked = 0;
    each(|name, case, _, _| {
        let input = &case["input"];
        let Some(of) = ["enveloped", "mac"].iter().find_map(|kind| input[*kind]["recipients"].get(0)) else {
            return;
        };
        if of["protected"]["alg"] != "HKDF-HMAC-SHA-256" || case["fail"] == true {
            return;
        }
        let secret = base64url(of["key"].str("k"));
        let salt = of["unprotected"]["salt"].as_str().unwrap_or_default();
        let context = octets(&case["intermediates"]["recipients"][0].str("Context_hex").to_lowercase());
        let expected = hex(case, "CEK_hex");
        let mut made = vec![0; expected.len()];
        Expander::extract(salt.as_bytes(), &secret).fill(&[&context], &mut made);
        assert_eq!(made, expected, "{name}");
        checked += 1;
    });
    assert_some(checked);
}
