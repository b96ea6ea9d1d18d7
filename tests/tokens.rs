//! The ceremonies as a person types them, with SoftHSM2: keys made, backed up, restored elsewhere.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used)]

mod pkcs11_shim;
mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use keystore::FOLDER;
use pkcs11_shim::SoftHsm;
use support::lab::Lab;

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

/// A laboratory whose keys are in tokens of SoftHSM2, with a second token for the key store.
fn laboratory(devices: u32) -> Lab {
    Lab::with_tokens(devices, |lab| {
        let hsm = SoftHsm::new(&lab.file("hsm"));
        for set in ["one", "two"] {
            let mut text = String::new();
            for holder in HOLDERS {
                let token = if holder == "key-store" { format!("{holder}-{set}") } else { holder.to_owned() };
                text.push_str(&format!(
                    "[{holder}]\nprovider = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"{token}\"\n\
                     pin = {{ env = \"PIN\" }}\n",
                    SoftHsm::module().display()
                ));
            }
            fs::write(lab.file(&format!("{set}.toml")), text).unwrap();
        }
        for token in ["signer", "registrar", "audit", "key-store-one", "key-store-two"] {
            hsm.init_token(token, "holder-pin-1234", "officer-pin-5678");
        }
        let (name, value) = hsm.env();
        lab.env = vec![(name.to_owned(), value), ("PIN".to_owned(), PathBuf::from("holder-pin-1234"))];
        Some(lab.file("one.toml"))
    })
}

#[test]
fn a_fleet_goes_on_under_another_key_encryption_key() {
    let lab = laboratory(6);
    let state = lab.state().display().to_string();
    let run = |arguments: &[&str]| {
        let output = lab.program().args(arguments).args(["--state", &state]).output().unwrap();
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        // Long messages are broken into lines.
        (output.status.success(), text(&output.stdout) + &text(&output.stderr).replace("\n  │ ", " "))
    };
    let well = |arguments: &[&str]| {
        let (well, said) = run(arguments);
        assert!(well, "{arguments:?}: {said}");
        assert!(!said.contains("holder-pin"), "{said}");
        said
    };
    let head_end = lab.head_end();
    let fleet = ["--rate", "4", "--duration", "20", "--relays", "1", "--time-scale", "60", "--grace", "180"];
    let fleet = lab.devices(&fleet);
    let since = Instant::now();
    while lab.status().is_none_or(|status| status.sum("metergraph_associations", None) < 6) {
        assert!(since.elapsed() < Duration::from_secs(90), "no registered fleet: {}", lab.log());
        std::thread::sleep(Duration::from_millis(50));
    }
    let (running, said) = run(&["keys", "rotate-kek"]);
    assert!(!running && said.contains("in use"), "a head-end that runs: {said}");
    lab.stop(head_end);

    let said = well(&["keys", "rotate-kek"]);
    assert!(said.contains("token `key-store-one`, `kek-2`") && said.contains("is destroyed"), "{said}");
    let tokens = || fs::read_to_string(lab.state().join(FOLDER).join("tokens.toml")).unwrap();
    assert!(tokens().contains("kek = \"kek-2\""), "{}", tokens());
    // The same devices, under the associations that they had.
    let head_end = lab.head_end();
    let said = lab.fleet_end(fleet);
    assert_eq!((&said["registered"], &said["unacked"]), (&6.into(), &0.into()), "{said}");
    assert_eq!(said["nonce_reuses"], 0, "{said}");
    lab.stop(head_end);

    // The old one is kept, and is looked at as the present one is; a name that nobody has is refused.
    let said = well(&["keys", "rotate-kek", "--rewrap", "--keep-old", "--no-backup"]);
    assert!(said.contains("`kek-3`") && said.contains("the old one stays, as `kek-2`"), "{said}");
    well(&["keys", "trust", "list"]);
    let text = tokens();
    let path = lab.state().join(FOLDER).join("tokens.toml");
    fs::write(&path, text.replace("kept = [\"kek-2\"]\n", "")).unwrap();
    let (opened, said) = run(&["keys", "trust", "list"]);
    assert!(!opened && said.contains("object `kek-2`") && said.contains("no such key"), "{said}");
    // The former key in the place of the present one: a mix-up has a name.
    let mixed = text.replace("kek-3", "x").replace("kek-2", "kek-3").replace("\"x\"", "\"kek-2\"");
    fs::write(&path, mixed).unwrap();
    let (opened, said) = run(&["keys", "trust", "list"]);
    assert!(!opened && said.contains("is not that of this key store, "), "{said}");
    fs::write(&path, text).unwrap();

    // Into another token, and from there the head-end starts.
    let two = lab.file("two.toml").display().to_string();
    let said = well(&["keys", "rotate-kek", "--to", &two]);
    assert!(said.contains("token `key-store-two`, `kek`"), "{said}");
    lab.stop(lab.head_end());
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
