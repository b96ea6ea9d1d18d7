//! PKCS#11 against SoftHSM2: what the token does, what it refuses, and which tokens we refuse.

// clippy.toml's leave for tests reaches only the test functions themselves, not what helps them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

#[path = "../../../tests/pkcs11_shim/mod.rs"]
mod pkcs11_shim;
#[path = "common/site.rs"]
mod site;

use std::fs;

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, AttributeType, ObjectClass};
use cryptoki::session::UserType;
use keystore::token::{Config, Holder, TOKENS_FILE, TokenError, ceremony};
use keystore::{FOLDER, Store, StoreError};
use metergraph_keystore as keystore;
use pkcs11_shim::{Shim, SoftHsm};
use seal::edhoc::{Agreement, PrivateKey};
use seal::secret::Key256;
use seal::signature::{Signer, sha256};
use site::{TOKENS, inside};

#[test]
fn keys_sign_multiply_and_wrap_inside_their_tokens() {
    inside("keys_sign_multiply_and_wrap_inside_their_tokens", |site| {
        let config = site.made();
        let signer = config.open(Holder::Signer).unwrap();
        assert_eq!((signer.skids(), signer.is_software()), (vec![1, 2], false));
        let (one, two) = (signer.command(1).unwrap(), signer.command(2).unwrap());
        assert_ne!(one.verifying_key(), two.verifying_key());
        for text in [&b"one"[..], b"two"] {
            let digest = sha256(text);
            let signature = one.sign(&digest).unwrap();
            assert!(one.verifying_key().verifies(&digest, &signature));
            assert!(!two.verifying_key().verifies(&digest, &signature));
        }
        let registration = config.open(Holder::Registrar).unwrap().registration().unwrap();
        for number in 1..=40 {
            let ephemeral = PrivateKey::from_octets(&[number; 32]).unwrap();
            let Ok(ours) = ephemeral.agree(&registration.public_key());
            assert_eq!(registration.agree(&ephemeral.public_key()).unwrap().expose(), ours.expose());
        }
        let kek = config.open(Holder::KeyStore).unwrap().kek().unwrap();
        let mut wrapped = kek.wrap(&Key256::from_octets([7; 32])).unwrap();
        assert_eq!(kek.unwrap(&wrapped).unwrap().expose(), &[7; 32]);
        wrapped[20] ^= 1;
        assert!(matches!(kek.unwrap(&wrapped), Err(TokenError::Unopened { .. })));
        // Nothing is left behind in the sessions.
        let left = site.session_objects();
        assert_eq!(left, 0, "session objects left");
    });
}

#[test]
fn each_holder_gets_only_its_own_keys() {
    inside("each_holder_gets_only_its_own_keys", |site| {
        let config = site.made();
        let audit = config.open(Holder::Audit).unwrap();
        assert!(audit.audit().is_ok());
        assert!(matches!(audit.command(1), Err(TokenError::NotHeld { holder: Holder::Audit, .. })));
        assert!(audit.kek().is_err() && audit.registration().is_err() && audit.incarnation().is_err());
        assert!(config.open(Holder::Signer).unwrap().command(3).is_err());
        // The configuration of another may name the token, but the token says whose it is.
        let text = fs::read_to_string(site.folder.join("config").join(TOKENS_FILE)).unwrap();
        let swapped =
            text.replace("mg-signer", "x").replace("mg-audit", "mg-signer").replace("\"x\"", "\"mg-audit\"");
        fs::write(site.folder.join("config").join(TOKENS_FILE), swapped).unwrap();
        let swapped = Config::read(&site.folder.join("config")).unwrap();
        assert!(matches!(swapped.open(Holder::Audit), Err(TokenError::Missing { .. })));
    });
}

#[test]
fn a_key_store_stands_on_a_token() {
    inside("a_key_store_stands_on_a_token", |site| {
        let config = site.made();
        let folder = site.folder.join("state").join(FOLDER);
        let system = Store::init_with(&folder, None, Some(&config)).unwrap();
        let start = std::time::Instant::now();
        let store = Store::open(&folder).unwrap();
        println!("opened in {:?}", start.elapsed());
        assert_eq!(store.system(), system);
        assert!(!store.token().is_software() && !folder.join("kek").exists());
        drop(store);
        // Another KEK, in the second set of tokens.
        let other = site.config("-2", &SoftHsm::module());
        ceremony::create(&other, true).unwrap();
        other.write(&folder).unwrap();
        assert!(
            matches!(Store::open(&folder), Err(StoreError::WrongKek { token, .. }) if token == "token `mg-keys-2`")
        );
    });
}

#[test]
fn the_incarnation_rises_in_the_token_and_shows_a_copy() {
    inside("the_incarnation_rises_in_the_token_and_shows_a_copy", |site| {
        let config = site.made();
        let ours = config.open(Holder::KeyStore).unwrap().incarnation().unwrap();
        assert_eq!(ours.read().unwrap(), 0);
        ours.raise(1).unwrap();
        assert!(matches!(ours.raise(1), Err(TokenError::Behind { found: 1, wanted: 1, .. })));
        ours.raise(2).unwrap();
        let copy = config.open(Holder::KeyStore).unwrap().incarnation().unwrap();
        assert_eq!((copy.read().unwrap(), ours.read().unwrap()), (2, 2));
        copy.raise(3).unwrap();
        assert!(matches!(ours.read(), Err(TokenError::Raised { found: 3, .. })));
        assert!(matches!(ours.raise(4), Err(TokenError::Raised { .. })));
        assert_eq!(copy.read().unwrap(), 3);
    });
}

#[test]
fn a_pulled_out_token_is_an_error_until_it_is_back() {
    inside("a_pulled_out_token_is_an_error_until_it_is_back", |site| {
        let shim = Shim::build(&site.folder);
        let config = site.config("", &shim.module());
        ceremony::create(&config, true).unwrap();
        let command = config.open(Holder::Signer).unwrap().command(1).unwrap();
        let kek = config.open(Holder::KeyStore).unwrap().kek().unwrap();
        let digest = sha256(b"while it is in");
        let before = shim.signed().len();
        command.sign(&digest).unwrap();
        assert_eq!(shim.signed().len(), before + 1);
        assert_eq!(shim.signed().last(), Some(&seal::hex::Hex(&digest).to_string()));
        let wrapped = kek.wrap(&Key256::from_octets([7; 32])).unwrap();
        shim.pull(true);
        for _ in 0..3 {
            let error = command.sign(&digest).unwrap_err().to_string();
            assert!(error.starts_with("SEC-HSM"), "{error}");
            assert!(!matches!(kek.unwrap(&wrapped), Ok(_) | Err(TokenError::Unopened { .. })));
        }
        assert_eq!(shim.signed().len(), before + 1);
        shim.pull(false);
        assert!(command.verifying_key().verifies(&digest, &command.sign(&digest).unwrap()));
        assert!(kek.unwrap(&wrapped).is_ok());
    });
}

#[test]
fn a_wrong_pin_or_token_is_named_and_no_pin_shown() {
    inside("a_wrong_pin_or_token_is_named_and_no_pin_shown", |site| {
        site.made();
        let file = site.folder.join("config").join(TOKENS_FILE);
        let text = fs::read_to_string(&file).unwrap();
        let pin = site.folder.join("config").join("wrong.pin");
        fs::write(&pin, "wrong-pin-9999\n").unwrap();
        let says = |from: &str, to: &str| {
            fs::write(&file, text.replace(from, to)).unwrap();
            let error = keystore::token::open(file.parent().unwrap(), Holder::Audit).err().unwrap();
            assert!(!error.to_string().contains("wrong-pin"), "{error}");
            error.to_string()
        };
        let from = "pin = { env = \"TEST_PIN\" }";
        assert!(says(from, "pin = { file = \"wrong.pin\" }").contains("may read it (600)"));
        fs::set_permissions(&pin, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let said = says(from, "pin = { file = \"wrong.pin\" }");
        assert!(said.contains("token `mg-audit`") && said.contains("PIN"), "{said}");
        assert!(says(from, "pin = { env = \"NOT_SET\" }").contains("NOT_SET"));
        assert!(says("mg-audit", "mg-none").contains("has no token `mg-none`"));
        assert!(says("libsofthsm2", "libnone").contains("libnone"));
    });
}

#[test]
fn two_of_three_shares_restore_into_second_tokens_and_one_does_not() {
    inside("two_of_three_shares_restore_into_second_tokens_and_one_does_not", |site| {
        let config = site.made();
        let folder = site.folder.join("state").join(FOLDER);
        Store::init_with(&folder, None, Some(&config)).unwrap();
        config.open(Holder::KeyStore).unwrap().incarnation().unwrap().raise(7).unwrap();
        let made = ceremony::make_backup(&config, 2, 3).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(made.shares.len(), 3);
        println!("{}{}", made.transcript.text(), made.backup);
        // The backup key is gone from every token.
        for token in TOKENS {
            for user in [UserType::User, UserType::So] {
                let session = site.session(token, user);
                assert_eq!(session.find_objects(&[Attribute::Trusted(true)]).unwrap().len(), 0, "{token}");
            }
        }
        let second = site.config("-2", &SoftHsm::module());
        let refused = |backup: &str, shares: &[zeroize::Zeroizing<String>]| {
            let error = ceremony::restore(&second, backup, shares, None).err().unwrap().to_string();
            assert!(matches!(second.open(Holder::Signer), Err(TokenError::Missing { .. })));
            error
        };
        assert!(refused(&made.backup, &made.shares[..1]).contains("it takes 2"));
        let lie = |text: &str| zeroize::Zeroizing::new(text.replace("threshold = 2", "threshold = 1"));
        assert!(refused(&lie(&made.backup), &[lie(&made.shares[0])]).contains("changed"));
        assert!(refused(&made.backup.replace("sk-cmd-1", "sk-cmd-9"), &made.shares[1..]).contains("changed"));
        let other = ceremony::make_backup(&config, 2, 2).unwrap();
        assert!(refused(&made.backup, &other.shares).contains("another backup"));

        let transcript = ceremony::restore(&second, &made.backup, &made.shares[1..], None);
        println!("{}", transcript.unwrap_or_else(|error| panic!("{error}")).text());
        for skid in [1, 2] {
            let (before, after) =
                (config.open(Holder::Signer).unwrap(), second.open(Holder::Signer).unwrap());
            let (before, after) = (before.command(skid).unwrap(), after.command(skid).unwrap());
            assert_eq!(before.verifying_key(), after.verifying_key());
            let digest = sha256(b"signed by the second token");
            assert!(before.verifying_key().verifies(&digest, &after.sign(&digest).unwrap()));
        }
        assert_eq!(second.open(Holder::KeyStore).unwrap().incarnation().unwrap().read().unwrap(), 7);
        // The restored KEK opens the store.
        second.write(&folder).unwrap();
        assert_eq!(Store::open(&folder).unwrap().token().name(), "token `mg-keys-2`");
        // What is there is not overwritten; and the restored can be backed up again.
        assert!(ceremony::restore(&second, &made.backup, &made.shares[1..], None).is_err());
        assert!(ceremony::make_backup(&second, 2, 2).is_ok());
    });
}

#[test]
fn without_a_backup_no_key_leaves() {
    inside("without_a_backup_no_key_leaves", |site| {
        let config = site.config("", &SoftHsm::module());
        ceremony::create(&config, false).unwrap();
        let error = ceremony::make_backup(&config, 2, 3).err().unwrap().to_string();
        assert!(error.contains("sk-cmd-1") || error.contains("sk-"), "{error}");
        // Nor under a wrapping key of the holder's own.
        let session = site.session("mg-keys", UserType::User);
        let kek = session.find_objects(&[Attribute::Class(ObjectClass::SECRET_KEY)]).unwrap();
        assert!(session.wrap_key(&Mechanism::AesKeyWrap, kek[0], kek[0]).is_err());
        let read = session.get_attributes(kek[0], &[AttributeType::Value, AttributeType::NeverExtractable]);
        assert_eq!(read.unwrap(), [Attribute::NeverExtractable(true)]);
    });
}

/// Another copy of the installation, as a process of its own; nothing without the test below.
#[test]
fn a_copy_alone() {
    if std::env::var_os("METERGRAPH_TEST_COPY").is_none() {
        return;
    }
    inside("a_copy_alone", |site| {
        let copy = site.config("", &SoftHsm::module()).open(Holder::KeyStore).unwrap();
        let incarnation = copy.incarnation().unwrap();
        incarnation.raise(incarnation.read().unwrap() + 1).unwrap();
    });
}

#[test]
fn a_copy_in_another_process_is_seen_at_the_next_reading() {
    inside("a_copy_in_another_process_is_seen_at_the_next_reading", |site| {
        let ours = site.made().open(Holder::KeyStore).unwrap().incarnation().unwrap();
        ours.raise(1).unwrap();
        let copy = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_copy_alone"])
            .env("METERGRAPH_TEST_COPY", "1")
            .status();
        assert!(copy.unwrap().success());
        assert!(matches!(ours.read(), Err(TokenError::Raised { found: 2, .. })));
    });
}
