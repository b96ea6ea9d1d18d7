//! Tokens that do not protect an object as they must are refused, by object and attribute.

// clippy.toml's leave for tests reaches only the test functions themselves, not what helps them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "../../../tests/pkcs11_shim/mod.rs"]
mod pkcs11_shim;
#[path = "common/site.rs"]
mod site;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::{Session, UserType};
use keystore::token::{Config, Holder, TokenError};
use metergraph_keystore as keystore;
use pkcs11_shim::SoftHsm;
use site::{Site, inside};

const P256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";

/// Everything in a token, gone.
fn clear(site: &Site, token: &str) {
    let session = site.session(token, UserType::User);
    for object in session.find_objects(&[Attribute::Token(true)]).unwrap() {
        session.destroy_object(object).unwrap();
    }
}

/// A good template, but for these.
fn with(mut template: Vec<Attribute>, changes: &[Attribute]) -> Vec<Attribute> {
    template.retain(|old| !changes.iter().any(|new| new.attribute_type() == old.attribute_type()));
    template.extend_from_slice(changes);
    template
}

fn key(label: &str) -> Vec<Attribute> {
    vec![
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(label.into()),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Modifiable(false),
        Attribute::Copyable(false),
        Attribute::Decrypt(false),
        Attribute::Unwrap(false),
        Attribute::Derive(false),
        Attribute::Sign(false),
    ]
}

fn plant_pair(session: &Session, label: &str, changes: &[Attribute]) {
    let public = [
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Label(label.into()),
        Attribute::EcParams(P256.to_vec()),
    ];
    let private = with([key(label), vec![Attribute::SignRecover(false)]].concat(), changes);
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).unwrap();
}

fn plant_kek(session: &Session, label: &str, changes: &[Attribute]) {
    let good = vec![
        Attribute::Wrap(true),
        Attribute::Unwrap(true),
        Attribute::Encrypt(false),
        Attribute::Verify(false),
        Attribute::ValueLen(32.into()),
    ];
    let template = with(with(key(label), &good), changes);
    session.generate_key(&Mechanism::AesKeyGen, &template).unwrap();
}

fn plant_incarnation(session: &Session, private: bool) {
    let template = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(private),
        Attribute::Label(b"incarnation".to_vec()),
        Attribute::Value(vec![0; 32]),
    ];
    session.create_object(&template).unwrap();
}

/// What the token of `holder` is refused for: object and attribute.
fn refusal(config: &Config, holder: Holder) -> String {
    match config.open(holder) {
        Ok(_) => "nothing".to_owned(),
        Err(TokenError::Violation { object, attribute, .. }) => format!("{object} {attribute}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_signing_key_that_could_do_more_or_leave_is_refused() {
    inside("a_signing_key_that_could_do_more_or_leave_is_refused", |site| {
        let config = site.config("", &SoftHsm::module());
        let cases: &[(&[Attribute], &str)] = &[
            (&[], "nothing"),
            (&[Attribute::Extractable(true), Attribute::WrapWithTrusted(true)], "nothing"),
            (&[Attribute::Extractable(true)], "sk-audit CKA_EXTRACTABLE"),
            (&[Attribute::Sensitive(false)], "sk-audit CKA_SENSITIVE"),
            (&[Attribute::Private(false)], "sk-audit CKA_PRIVATE"),
            (&[Attribute::Modifiable(true)], "sk-audit CKA_MODIFIABLE"),
            (&[Attribute::Copyable(true)], "sk-audit CKA_COPYABLE"),
            (&[Attribute::Decrypt(true)], "sk-audit CKA_DECRYPT"),
            (&[Attribute::Derive(true)], "sk-audit CKA_DERIVE"),
            (&[Attribute::Unwrap(true)], "sk-audit CKA_UNWRAP"),
            (&[Attribute::SignRecover(true)], "sk-audit CKA_SIGN_RECOVER"),
            (&[Attribute::Sign(false)], "sk-audit CKA_SIGN"),
        ];
        for (changes, refused) in cases {
            clear(site, "mg-audit");
            let session = site.session("mg-audit", UserType::User);
            plant_pair(&session, "sk-audit", &with(vec![Attribute::Sign(true)], changes));
            assert_eq!(refusal(&config, Holder::Audit), *refused, "{changes:?}");
        }
    });
}

#[test]
fn a_registration_key_derives_and_does_not_sign() {
    inside("a_registration_key_derives_and_does_not_sign", |site| {
        let config = site.config("", &SoftHsm::module());
        let cases: &[(&[Attribute], &str)] = &[
            (&[Attribute::Derive(true)], "nothing"),
            (&[Attribute::Derive(true), Attribute::Sign(true)], "sk-reg CKA_SIGN"),
            (&[Attribute::Derive(false)], "sk-reg CKA_DERIVE"),
        ];
        for (changes, refused) in cases {
            clear(site, "mg-registrar");
            let session = site.session("mg-registrar", UserType::User);
            plant_pair(&session, "sk-reg", changes);
            assert_eq!(refusal(&config, Holder::Registrar), *refused, "{changes:?}");
        }
    });
}

#[test]
fn a_key_that_wraps_and_also_decrypts_is_refused() {
    inside("a_key_that_wraps_and_also_decrypts_is_refused", |site| {
        let config = site.config("", &SoftHsm::module());
        let cases: &[(&[Attribute], &str)] = &[
            (&[], "nothing"),
            (&[Attribute::Decrypt(true)], "kek CKA_DECRYPT"),
            (&[Attribute::Encrypt(true)], "kek CKA_ENCRYPT"),
            (&[Attribute::Sign(true)], "kek CKA_SIGN"),
            (&[Attribute::Derive(true)], "kek CKA_DERIVE"),
            (&[Attribute::Wrap(false)], "kek CKA_WRAP"),
            (&[Attribute::Unwrap(false)], "kek CKA_UNWRAP"),
            (&[Attribute::Extractable(true)], "kek CKA_EXTRACTABLE"),
            (&[Attribute::Sensitive(false)], "kek CKA_SENSITIVE"),
            (&[Attribute::Modifiable(true)], "kek CKA_MODIFIABLE"),
            (&[Attribute::ValueLen(16.into())], "kek CKA_VALUE_LEN"),
        ];
        for (changes, refused) in cases {
            clear(site, "mg-keys");
            let session = site.session("mg-keys", UserType::User);
            plant_incarnation(&session, true);
            plant_kek(&session, "kek", changes);
            assert_eq!(refusal(&config, Holder::KeyStore), *refused, "{changes:?}");
        }
        clear(site, "mg-keys");
        let session = site.session("mg-keys", UserType::User);
        plant_incarnation(&session, false);
        plant_kek(&session, "kek", &[]);
        assert_eq!(refusal(&config, Holder::KeyStore), "incarnation CKA_PRIVATE");
    });
}

#[test]
fn a_kek_that_the_officer_made_trusted_is_refused() {
    inside("a_kek_that_the_officer_made_trusted_is_refused", |site| {
        let config = site.config("", &SoftHsm::module());
        {
            let session = site.session("mg-keys", UserType::User);
            plant_incarnation(&session, true);
        }
        {
            // Only the officer makes a key trusted, and sees no private object.
            let session = site.session("mg-keys", UserType::So);
            plant_kek(&session, "kek", &[Attribute::Private(false), Attribute::Trusted(true)]);
        }
        assert_eq!(refusal(&config, Holder::KeyStore), "kek CKA_PRIVATE");
    });
}

#[test]
fn a_key_that_is_not_the_holder_s_is_refused() {
    inside("a_key_that_is_not_the_holder_s_is_refused", |site| {
        let config = site.config("", &SoftHsm::module());
        let session = site.session("mg-audit", UserType::User);
        plant_pair(&session, "sk-audit", &[Attribute::Sign(true)]);
        assert_eq!(refusal(&config, Holder::Audit), "nothing");
        // A backup key left behind, another holder's key, a second one of the same name.
        let leftover = session
            .create_object(&[
                Attribute::Class(ObjectClass::SECRET_KEY),
                Attribute::KeyType(KeyType::AES),
                Attribute::Token(true),
                Attribute::Label(b"left behind".to_vec()),
                Attribute::Wrap(true),
                Attribute::Value(vec![7; 32]),
            ])
            .unwrap();
        assert_eq!(refusal(&config, Holder::Audit), "left behind CKA_CLASS");
        session.destroy_object(leftover).unwrap();
        plant_pair(&session, "sk-cmd-1", &[Attribute::Sign(true)]);
        assert_eq!(refusal(&config, Holder::Audit), "sk-cmd-1 CKA_CLASS");
        plant_pair(&session, "sk-audit", &[Attribute::Sign(true)]);
        assert_eq!(refusal(&config, Holder::Audit), "sk-audit CKA_LABEL");
    });
}

#[test]
fn a_public_key_that_is_another_s_is_refused() {
    inside("a_public_key_that_is_another_s_is_refused", |site| {
        let config = site.config("", &SoftHsm::module());
        let session = site.session("mg-audit", UserType::User);
        plant_pair(&session, "sk-audit", &[Attribute::Sign(true)]);
        let public = |label: &str| {
            let template = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::Label(label.into())];
            session.find_objects(&template).unwrap()[0]
        };
        session.destroy_object(public("sk-audit")).unwrap();
        plant_pair(&session, "other", &[Attribute::Sign(true)]);
        let private = [Attribute::Class(ObjectClass::PRIVATE_KEY), Attribute::Label(b"other".to_vec())];
        session.destroy_object(session.find_objects(&private).unwrap()[0]).unwrap();
        session.update_attributes(public("other"), &[Attribute::Label(b"sk-audit".to_vec())]).unwrap();
        let refused = refusal(&config, Holder::Audit);
        assert!(refused.contains("does not verify under its public key"), "{refused}");
    });
}
