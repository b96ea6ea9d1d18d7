//! SoftHSM2 for tests, and a module in front of it that counts signatures and can pull the token out.
//! Used by the tests of several crates (`#[path]`), each of which uses some of it.
#![allow(dead_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Where Debian and others put SoftHSM2's module.
const MODULES: [&str; 5] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// The variable that tells SoftHSM2 where its configuration is.
pub const SOFTHSM2_CONF: &str = "SOFTHSM2_CONF";

/// A SoftHSM2 of one test, in a folder of it. Processes that use it need [`SoftHsm::env`].
pub struct SoftHsm {
    folder: PathBuf,
}

impl SoftHsm {
    /// Takes the folder, which is made if it is not there.
    ///
    /// # Panics
    /// When SoftHSM2 is not installed (`scripts/prepare` installs it).
    pub fn new(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("tokens")).unwrap();
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            folder.join("tokens").display()
        );
        fs::write(folder.join("softhsm2.conf"), text).unwrap();
        Self { folder: folder.to_owned() }
    }

    /// SoftHSM2's module.
    pub fn module() -> PathBuf {
        let found = MODULES.iter().map(PathBuf::from).find(|path| path.exists());
        found.expect("SoftHSM2 is not installed; scripts/prepare installs it")
    }

    /// The environment of a process that uses it.
    pub fn env(&self) -> (&'static str, PathBuf) {
        (SOFTHSM2_CONF, self.folder.join("softhsm2.conf"))
    }

    /// Makes an empty token. A process that started the module before does not see it.
    pub fn init_token(&self, label: &str, pin: &str, so_pin: &str) {
        let (name, value) = self.env();
        let made = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--pin", pin, "--so-pin", so_pin])
            .env(name, value)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", said(&made));
    }
}

/// The counting module, built by gcc.
pub struct Shim {
    folder: PathBuf,
}

impl Shim {
    /// Builds it in `folder`.
    ///
    /// # Panics
    /// When gcc is not there, or refuses.
    pub fn build(folder: &Path) -> Self {
        let built = Command::new("gcc")
            .args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"])
            .arg(folder.join("shim.so"))
            .arg(
                Path::new(env!("CARGO_MANIFEST_DIR"))
                    .ancestors()
                    .map(|up| up.join(SOURCE))
                    .find(|c| c.exists())
                    .unwrap(),
            )
            .arg("-ldl")
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", said(&built));
        Self { folder: folder.to_owned() }
    }

    /// The module, for `module = ...` in `tokens.toml`.
    pub fn module(&self) -> PathBuf {
        self.folder.join("shim.so")
    }

    /// The environment of a process that uses it, beside that of SoftHSM2.
    pub fn env(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("METERGRAPH_SHIM_MODULE", SoftHsm::module()),
            ("METERGRAPH_SHIM_COUNT", self.folder.join("signed")),
            ("METERGRAPH_SHIM_GONE", self.folder.join("gone")),
        ]
    }

    /// What was signed since the beginning, a digest in hex for each signature made, over all processes.
    pub fn signed(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("signed")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Pulls the token out, or puts it in again.
    pub fn pull(&self, out: bool) {
        let file = self.folder.join("gone");
        if out { fs::write(&file, "") } else { fs::remove_file(&file) }.unwrap();
    }
}

const SOURCE: &str = "tests/pkcs11_shim/shim.c";

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
