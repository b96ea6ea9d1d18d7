//! Software tokens: what they do, and a backup of them.

// clippy.toml's leave for tests reaches only the test functions themselves, not what helps them.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use keystore::token::{self, Config, Holder, TOKENS_FILE, TokenError, ceremony};
use keystore::{FOLDER, Store};
use metergraph_keystore as keystore;
use seal::edhoc::{Agreement, PrivateKey};
use seal::signature::{Signer, sha256};

/// A configuration of sealed files in `folder`.
fn sealed(folder: &Path) -> Config {
    fs::create_dir_all(folder).unwrap();
    let pin = folder.join("pin");
    fs::write(&pin, "a passphrase for a lab\n").unwrap();
    fs::set_permissions(&pin, fs::Permissions::from_mode(0o600)).unwrap();
    let text: String = Holder::ALL
        .map(|holder| {
            let name = holder.name();
            format!(
                "[{name}]\nprovider = \"software\"\nfile = \"{name}.token\"\npin = {{ file = \"pin\" }}\n"
            )
        })
        .concat();
    fs::write(folder.join(TOKENS_FILE), text).unwrap();
    Config::read(folder).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_lab_store_comes_with_a_token_for_each_holder() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join(FOLDER);
    Store::init(&folder, None).unwrap();
    let open = |holder| token::open(&folder, holder).unwrap_or_else(|error| panic!("{error}"));
    let signer = open(Holder::Signer);
    assert!(signer.is_software() && signer.is_locked());
    let key = signer.command(1).unwrap();
    let digest = sha256(b"a command");
    assert!(key.verifying_key().verifies(&digest, &key.sign(&digest).unwrap()));
    let registration = open(Holder::Registrar).registration().unwrap();
    let ephemeral = PrivateKey::from_octets(&[7; 32]).unwrap();
    let Ok(ours) = ephemeral.agree(&registration.public_key());
    assert_eq!(registration.agree(&ephemeral.public_key()).unwrap().expose(), ours.expose());
    assert!(open(Holder::Audit).audit().is_ok());
    // Each its own, and no other's.
    assert!(matches!(signer.audit(), Err(TokenError::NotHeld { holder: Holder::Signer, .. })));
    assert!(matches!(signer.command(0), Err(TokenError::NotHeld { .. })));
    assert!(open(Holder::Audit).kek().is_err());
    assert!(open(Holder::KeyStore).kek().is_ok());
}

#[test]
fn handles_sign_from_many_threads() {
    let state = tempfile::tempdir().unwrap();
    let config = sealed(state.path());
    ceremony::create(&config, true).unwrap();
    let key = config.open(Holder::Signer).unwrap().command(1).unwrap();
    thread::scope(|scope| {
        for number in 0..8_u8 {
            let key = &key;
            scope.spawn(move || {
                let digest = sha256(&[number]);
                assert!(key.verifying_key().verifies(&digest, &key.sign(&digest).unwrap()));
            });
        }
    });
}

#[test]
fn the_incarnation_of_a_lab_shows_a_copy() {
    let state = tempfile::tempdir().unwrap();
    let folder = state.path().join(FOLDER);
    Store::init(&folder, None).unwrap();
    let incarnation = || token::open(&folder, Holder::KeyStore).unwrap().incarnation().unwrap();
    let (ours, copy) = (incarnation(), incarnation());
    ours.raise(1).unwrap();
    assert!(matches!(copy.raise(1), Err(TokenError::Behind { found: 1, .. })));
    copy.raise(2).unwrap();
    assert!(matches!(ours.read(), Err(TokenError::Raised { found: 2, .. })));
    fs::remove_file(folder.join("kek.incarnation")).unwrap();
    assert!(copy.read().is_err(), "a missing incarnation is no 0");
}

#[test]
fn software_tokens_are_backed_up_and_restored_and_no_key_is_in_clear() {
    let state = tempfile::tempdir().unwrap();
    let (first, second) = (sealed(&state.path().join("a")), sealed(&state.path().join("b")));
    ceremony::create(&first, true).unwrap();
    let again = ceremony::create(&first, true).unwrap();
    assert!(again.text().contains("sk-cmd-1: was there") && !again.text().contains("created"));
    let folder = state.path().join(FOLDER);
    Store::init_with(&folder, None, Some(&first)).unwrap();
    first.open(Holder::KeyStore).unwrap().incarnation().unwrap().raise(4).unwrap();
    let made = ceremony::make_backup(&first, 2, 3).unwrap();
    assert!(ceremony::restore(&second, &made.backup, &made.shares[2..], None).is_err());
    ceremony::restore(&second, &made.backup, &made.shares[..2], Some(9)).unwrap();
    let key = |config: &Config| config.open(Holder::Signer).unwrap().command(1).unwrap();
    let digest = sha256(b"a command");
    assert!(key(&first).verifying_key().verifies(&digest, &key(&second).sign(&digest).unwrap()));
    assert_eq!(second.open(Holder::KeyStore).unwrap().incarnation().unwrap().read().unwrap(), 9);
    second.write(&folder).unwrap();
    assert!(Store::open(&folder).is_ok(), "the restored KEK opens the store");
    // A second restore does not overwrite.
    assert!(matches!(
        ceremony::restore(&second, &made.backup, &made.shares[..2], None),
        Err(TokenError::Exists { .. })
    ));
    for (threshold, of) in [(1, 3), (0, 0), (4, 3)] {
        assert!(ceremony::make_backup(&first, threshold, of).is_err(), "{threshold} of {of}");
    }
}

#[test]
fn a_backup_opens_only_where_it_was_made_for() {
    let state = tempfile::tempdir().unwrap();
    let (first, second) = (sealed(&state.path().join("a")), sealed(&state.path().join("b")));
    ceremony::create(&first, true).unwrap();
    let made = ceremony::make_backup(&first, 2, 2).unwrap();
    // A token of PKCS#11 cannot take what software wrapped.
    let hsm = fs::read_to_string(state.path().join("b").join(TOKENS_FILE)).unwrap().replacen(
        "provider = \"software\"\nfile = \"signer.token\"",
        "provider = \"pkcs11\"\nmodule = \"m.so\"\ntoken = \"t\"",
        1,
    );
    fs::write(state.path().join("b").join(TOKENS_FILE), hsm).unwrap();
    drop(second);
    let second = Config::read(&state.path().join("b")).unwrap();
    let error = ceremony::restore(&second, &made.backup, &made.shares, None).err().unwrap().to_string();
    assert!(error.contains("wrapped by software"), "{error}");
}
