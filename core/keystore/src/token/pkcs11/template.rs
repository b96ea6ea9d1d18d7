//! What objects are created with: each may do what it is for, and nothing else (security layer §4).

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};

use crate::token::Object;
use crate::token::provider::Mark;

/// OID of P-256, in DER.
pub(super) const P256: [u8; 10] = *b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

/// How key pairs are made.
pub(super) const KEY_PAIR: Mechanism<'static> = Mechanism::EccKeyPairGen;

/// What no key of ours may change or do, whatever it is.
fn protected(label: &str, backup: bool) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(label.as_bytes().to_vec()),
        Attribute::Sensitive(true),
        // With a backup only a trusted key wraps it, which the security officer makes for the ceremony.
        Attribute::Extractable(backup),
        Attribute::WrapWithTrusted(backup),
        Attribute::Modifiable(false),
        Attribute::Copyable(false),
        Attribute::Decrypt(false),
    ]
}

/// SK_cmd, SK_audit: sign. SK_reg: derives.
pub(super) fn private_key(object: Object, label: &str, backup: bool) -> Vec<Attribute> {
    let mut template = protected(label, backup);
    template.extend([
        Attribute::Sign(object.signs()),
        Attribute::SignRecover(false),
        Attribute::Derive(!object.signs()),
        Attribute::Unwrap(false),
    ]);
    template
}

/// The public half.
pub(super) fn public_key(object: Object, label: &str) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Id(label.as_bytes().to_vec()),
        Attribute::EcParams(P256.to_vec()),
        Attribute::Modifiable(false),
        Attribute::Verify(object.signs()),
        Attribute::VerifyRecover(false),
        Attribute::Encrypt(false),
        Attribute::Wrap(false),
    ]
}

/// The KEK: wraps and unwraps.
pub(super) fn kek(label: &str, backup: bool) -> Vec<Attribute> {
    let mut template = protected(label, backup);
    template.extend([
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
        Attribute::Encrypt(false),
        Attribute::Sign(false),
        Attribute::Verify(false),
        Attribute::Derive(false),
    ]);
    template
}

/// The incarnation: data of the holder. It is replaced, not changed.
pub(super) fn incarnation(label: &str, mark: Mark) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Modifiable(false),
        Attribute::Application(b"metergraph".to_vec()),
        Attribute::Label(label.as_bytes().to_vec()),
        Attribute::Value(mark.octets().to_vec()),
    ]
}

/// A data key on its way through the token: of this session only, to be read.
pub(super) fn data_key() -> Vec<Attribute> {
    let mut template = passing(KeyType::AES);
    template.extend([Attribute::Encrypt(false), Attribute::Decrypt(false)]);
    template
}

/// x of a product, of this session only, to be read.
pub(super) fn shared_secret() -> Vec<Attribute> {
    let mut template = passing(KeyType::GENERIC_SECRET);
    template.push(Attribute::ValueLen(32.into()));
    template
}

fn passing(kind: KeyType) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(kind),
        Attribute::Token(false),
        Attribute::Private(true),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ]
}

/// The backup key, of this session only: it never reaches the token's store.
pub(super) fn backup_key(wraps: bool) -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(false),
        // The officer who makes it sees no private object, and the holder who wraps must see it.
        Attribute::Private(false),
        Attribute::Label(b"metergraph backup key".to_vec()),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Wrap(wraps),
        Attribute::Trusted(wraps),
        Attribute::Unwrap(!wraps),
        Attribute::Encrypt(false),
        Attribute::Decrypt(false),
    ]
}
