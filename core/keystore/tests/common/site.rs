//! A SoftHSM2 for one test, with the holders' tokens in it.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::Attribute;
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use metergraph_keystore::token::{Config, Holder, TOKENS_FILE, ceremony};

use crate::pkcs11_shim::{Shim, SoftHsm};

const SITE: &str = "METERGRAPH_TEST_HSM";
const PIN: &str = "holder-pin-1234";
const SO_PIN: &str = "officer-pin-5678";
/// The holders' tokens, and a second set.
pub const TOKENS: [&str; 4] = ["mg-signer", "mg-registrar", "mg-audit", "mg-keys"];

/// A folder with a SoftHSM2 of its own, in a process of its own: the module reads its configuration from the
/// environment, once.
pub struct Site {
    pub folder: PathBuf,
}

/// Runs a test in its own process.
pub fn inside(name: &str, test: impl FnOnce(&Site)) {
    if let Some(folder) = std::env::var_os(SITE) {
        return test(&Site { folder: folder.into() });
    }
    let folder = tempfile::tempdir().unwrap();
    let hsm = SoftHsm::new(folder.path());
    let shim = Shim::build(folder.path());
    for set in ["", "-2"] {
        for token in TOKENS {
            hsm.init_token(&format!("{token}{set}"), PIN, SO_PIN);
        }
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(SITE, folder.path())
        .env("TEST_PIN", PIN)
        .env("TEST_SO_PIN", SO_PIN)
        .envs([hsm.env()])
        .envs(shim.env())
        .output()
        .unwrap();
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    println!("{said}");
}

impl Site {
    /// A configuration of the tokens of a set, in a folder of its own.
    pub fn config(&self, set: &str, module: &Path) -> Config {
        let mut text = String::new();
        for (holder, token) in Holder::ALL.into_iter().zip(TOKENS) {
            text.push_str(&format!(
                "[{}]\nprovider = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"{token}{set}\"\n\
                 pin = {{ env = \"TEST_PIN\" }}\nso_pin = {{ env = \"TEST_SO_PIN\" }}\n{}\n",
                holder.name(),
                module.display(),
                if holder == Holder::Signer { "skids = [1, 2]\n" } else { "" }
            ));
        }
        let folder = self.folder.join(format!("config{set}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(TOKENS_FILE), text).unwrap();
        Config::read(&folder).unwrap_or_else(|error| panic!("{error}"))
    }

    /// The first set's, with its keys made.
    pub fn made(&self) -> Config {
        let config = self.config("", &SoftHsm::module());
        ceremony::create(&config, true).unwrap_or_else(|error| panic!("{error}"));
        config
    }

    /// A session beside those of the product.
    pub fn session(&self, label: &str, user: UserType) -> Session {
        let context = Pkcs11::new(SoftHsm::module()).unwrap();
        let _ = context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
        let slots = context.get_slots_with_token().unwrap();
        let slot = slots.into_iter().find(|slot| context.get_token_info(*slot).unwrap().label() == label);
        let session = context.open_rw_session(slot.unwrap()).unwrap();
        let pin = if matches!(user, UserType::So) { SO_PIN } else { PIN };
        session.login(user, Some(&AuthPin::from(pin))).unwrap();
        session
    }
}

impl Site {
    pub fn session_objects(&self) -> usize {
        // Already logged in by the product, in this process.
        let context = Pkcs11::new(SoftHsm::module()).unwrap();
        let slots = context.get_slots_with_token().unwrap();
        let count = |slot| {
            let session = context.open_ro_session(slot).unwrap();
            session.find_objects(&[Attribute::Token(false)]).unwrap().len()
        };
        slots
            .into_iter()
            .filter(|slot| context.get_token_info(*slot).unwrap().token_initialized())
            .map(count)
            .sum()
    }
}
