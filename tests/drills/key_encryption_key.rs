//! The key-encryption key is stolen, and a copy of the disk.

use std::collections::HashSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use keystore::token::{self, Holder};
use keystore::{Keys, Store, StoreError};
use seal::key_wrap;
use seal::secret::Key256;

use crate::standing::Standing;
use crate::support::lab::Lab;

/// K_up of all associations that a key store in a folder opens frames of; what a thief opens a copy with.
fn keys_of(folder: &Path) -> Result<HashSet<[u8; 16]>, StoreError> {
    let mut found = HashSet::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let vault = Store::open(folder)?.into_vault();
    vault.load(&|_| true, &mut |association| {
        // What is over is erased soon, and not opened until then.
        let over = association.standing == keystore::Standing::Retired && association.until <= now;
        if let Keys::Profile1 { keys, .. } = &association.keys
            && !over
        {
            found.insert(*keys.up.expose());
        }
    })?;
    Ok(found)
}

fn copied(from: &Path, to: &Path) {
    assert!(std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

/// Puts the wrapped data keys of one key store into another: `keystore` keeps them in its table 1.
fn graft(from: &Path, to: &Path) {
    let databases = |folder: &Path| -> Vec<sled::Db> {
        let numbers = std::fs::read_to_string(folder.join("current")).unwrap();
        let of = |number| sled::open(folder.join(format!("sled-{number}"))).unwrap();
        numbers.split_ascii_whitespace().map(of).collect()
    };
    let target = databases(to).pop().unwrap();
    for found in databases(from).iter().flat_map(|database| database.scan_prefix([1])) {
        let (key, value) = found.unwrap();
        target.insert(key, value).unwrap();
    }
    target.flush().unwrap();
}

/// A copy of what lies on the disk of a key store, with this KEK and no other token.
fn copy(lab: &Lab, name: &str, kek: &[u8]) -> std::path::PathBuf {
    let (from, to) = (lab.state().join(keystore::FOLDER), lab.file(name));
    copied(&from, &to);
    for file in ["tokens.toml", "signer.token", "registrar.token", "audit.token", "kek", "kek-2"] {
        let _ = std::fs::remove_file(to.join(file));
    }
    let file = to.join("kek");
    std::fs::write(&file, kek).unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    to
}

#[test]
fn the_key_encryption_key_is_stolen() {
    let lab = Lab::registering(6);
    let run = |arguments: &[&str]| {
        let output = lab.program().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let registered = || {
        let head_end = lab.head_end();
        // What is lost while the head-end still gets its token is soon repeated.
        let fleet =
            ["--rate", "6", "--duration", "6", "--relays", "1", "--time-scale", "60", "--grace", "20"];
        let said = lab.fleet_end(lab.devices(&fleet));
        lab.stop(head_end);
        said["registered"].as_u64().unwrap()
    };
    assert_eq!(registered(), 6);
    // Stolen: the KEK, and a copy of the disk. Either alone is nothing.
    let old_audit = lab.file("stolen-state");
    std::fs::create_dir(&old_audit).unwrap();
    copied(&lab.state().join("audit"), &old_audit.join("audit"));
    let kek = std::fs::read(lab.state().join(keystore::FOLDER).join("kek")).unwrap();
    let stolen = copy(&lab, "stolen", &kek);
    let loot = keys_of(&stolen).unwrap();
    assert_eq!(loot.len(), 6, "he has the keys of all associations");
    assert!(matches!(keys_of(&copy(&lab, "disk-alone", &[7; 32])), Err(StoreError::WrongKek { .. })));
    // Other holders' keys are not wrapped by it.
    for holder in [Holder::Signer, Holder::Registrar, Holder::Audit] {
        assert!(token::open(&stolen, holder).is_err());
    }
    // New data keys alone are no answer: the same KEK wraps them.
    let later = copy(&lab, "later", &kek);
    Store::open(&later).unwrap().rotate_deks(&(0..1024).collect::<Vec<u16>>()).unwrap();
    assert_eq!(keys_of(&later).unwrap().len(), 6);

    let state = lab.state().display().to_string();
    let public =
        || serde_json::from_str::<serde_json::Value>(&run(&["keys", "public", "--state", &state])).unwrap();
    let before = public();
    // The answer: another KEK, and other data keys. Who has registered before stays with it, and the signing tokens
    // are not touched.
    let said = run(&["keys", "rotate-kek", "--state", &state]);
    assert!(said.contains("the old one is destroyed"), "{said}");
    assert!(!lab.state().join(keystore::FOLDER).join("kek").exists());
    assert_eq!(keys_of(&lab.state().join(keystore::FOLDER)).unwrap(), loot);
    // What he has read he has: the associations of the copy are closed, and all register anew.
    let (backup, old) = (lab.file("backup"), lab.file("state.old"));
    run(&["backup", "--state", &state, "--to", &backup.display().to_string()]);
    std::fs::rename(lab.state(), &old).unwrap();
    std::fs::rename(&backup, lab.state()).unwrap();
    // Tokens are elsewhere in truth.
    let tokens = ["signer.token", "registrar.token", "audit.token", "kek-2", "kek.incarnation"];
    for file in tokens {
        let (from, to) = (old.join(keystore::FOLDER), lab.state().join(keystore::FOLDER));
        std::fs::rename(from.join(file), to.join(file)).unwrap();
    }
    run(&["restore", "--state", &state, "--age", "0", "--force"]);
    let all_again = registered() == 6;

    let now = keys_of(&lab.state().join(keystore::FOLDER)).unwrap();
    let disk = copy(&lab, "new-disk", &kek);
    let old_kek = keys_of(&disk).is_ok();
    // Nor with the data keys that his KEK unwraps: he puts them in the places of those of now.
    graft(&stolen, &disk);
    let old_data_keys = keys_of(&disk).is_ok();
    let audit = |state: &Path| std::fs::read(state.join("audit").join("audit.key")).unwrap();
    let his = Key256::from_octets(*kek.first_chunk().unwrap());
    assert!(key_wrap::unwrap(&his, audit(&old_audit).first_chunk().unwrap()).is_ok());
    let old_audit = key_wrap::unwrap(&his, audit(&lab.state()).first_chunk().unwrap()).is_ok();
    let after = public();
    let same = |what: &str| before[what] == after[what] && !after[what].is_null();
    Standing::default()
        .of("the KEK that was stolen", old_kek)
        .of("the data keys that it wraps", old_data_keys || old_audit)
        .of("the associations of the copy", !now.is_disjoint(&loot))
        .of("the new KEK", now.len() == 6)
        .of("meters' credentials, SK_reg", all_again)
        .of("SK_cmd, SK_audit", same("command") && same("audit"))
        .must_be(
            "KEK stolen",
            &["the new KEK", "meters' credentials, SK_reg", "SK_cmd, SK_audit"],
            &["the KEK that was stolen", "the data keys that it wraps", "the associations of the copy"],
        );
}
