//! The ceremonies as a person types them, with SoftHSM2: keys made, backed up, restored elsewhere.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod pkcs11_shim;

use std::fs;
use std::path::Path;
use std::process::Command;

use pkcs11_shim::SoftHsm;

const HOLDERS: [&str; 4] = ["signer", "registrar", "audit", "key-store"];

/// Runs `metergraph`; what it printed, and whether it went well.
fn run(folder: &Path, hsm: &SoftHsm, args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_metergraph"))
        .args(args)
        .current_dir(folder)
        .envs([hsm.env()])
        .env("PIN", "holder-pin-1234")
        .env("SO_PIN", "officer-pin-5678")
        .output()
        .unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.success(), text)
}

#[test]
fn tokens_are_made_backed_up_and_restored_from_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let hsm = SoftHsm::new(&folder.join("hsm"));
    for set in ["one", "two"] {
        let mut text = String::new();
        for holder in HOLDERS {
            hsm.init_token(&format!("{holder}-{set}"), "holder-pin-1234", "officer-pin-5678");
            text.push_str(&format!(
                "[{holder}]\nprovider = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"{holder}-{set}\"\n\
                 pin = {{ env = \"PIN\" }}\nso_pin = {{ env = \"SO_PIN\" }}\n",
                SoftHsm::module().display()
            ));
        }
        fs::write(folder.join(format!("{set}.toml")), text).unwrap();
    }
    let well = |args: &[&str]| {
        let (well, text) = run(folder, &hsm, args);
        assert!(well, "{args:?}: {text}");
        text
    };
    let refused = |args: &[&str]| {
        let (well, text) = run(folder, &hsm, args);
        assert!(!well, "{args:?}: {text}");
        text
    };
    assert!(refused(&["keys", "init", "--token", "one.toml"]).contains("keys ceremony"));
    let made = well(&["keys", "ceremony", "--token", "one.toml", "--transcript", "made.txt"]);
    assert_eq!(fs::read_to_string(folder.join("made.txt")).unwrap(), made);
    assert!(made.contains("SoftHSM") && made.contains("sk-cmd-1: created, public key 04"), "{made}");
    well(&["keys", "init", "--token", "one.toml"]);
    let public = well(&["keys", "public"]);
    assert!(public.contains("\"software\":[]"), "{public}");

    let backup = ["keys", "backup", "--token", "one.toml", "--threshold", "2", "--shares", "3"];
    let backup = [&backup[..], &["--out", "tokens.backup", "--transcript", "backup.txt"]].concat();
    let said = well(&backup);
    assert!(said.contains("the backup key is destroyed in the token"), "{said}");
    assert!(refused(&backup).contains("is there already"));
    for text in [made, said] {
        assert!(!text.contains("holder-pin") && !text.contains("officer-pin"), "{text}");
    }
    let restore =
        ["keys", "restore", "--token", "two.toml", "--backup", "tokens.backup", "--transcript", "r.txt"];
    let one_share = [&restore[..], &["--share", "tokens.backup.share-3"]].concat();
    assert!(refused(&one_share).contains("it takes 2"));
    well(&[&one_share[..], &["--share", "tokens.backup.share-1"]].concat());

    // The second set opens the same store, and has the same public keys.
    let tokens = fs::read_to_string(folder.join("state/keystore/tokens.toml")).unwrap();
    fs::write(folder.join("state/keystore/tokens.toml"), tokens.replace("-one", "-two")).unwrap();
    assert_eq!(well(&["keys", "public"]), public);
    well(&["keys", "trust", "list"]);
}

#[test]
fn a_lab_s_software_keys_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let hsm = SoftHsm::new(&folder.path().join("hsm"));
    assert!(run(folder.path(), &hsm, &["keys", "init"]).0);
    let graph = Path::new(env!("CARGO_MANIFEST_DIR")).join("graphs/demo.toml");
    let (_, said) =
        run(folder.path(), &hsm, &["check", graph.to_str().unwrap(), "--no-plugins", "--state", "state"]);
    let warning = "software keys, good for labs only: command signer, registrar, audit log, key store";
    assert!(said.contains(warning), "{said}");
    assert!(run(folder.path(), &hsm, &["keys", "public"]).1.contains("\"command\":{\"1\":\""));
}
